/* Leaves out a share of the values at each end (METHODS M.1). */
#include "calibrate/range.h"

/* Zeros lie between bin FB_HIST_SIDE - 1 and bin FB_HIST_SIDE; a bound never crosses them, since
 * ranges hold zero anyway. */
fb_range fb_range_percentile(const fb_stats *s, double percentile)
{
    const fb_hist *h = &s->hist;
    double spare = (1 - percentile / 100) * (double)s->n;
    double out = 0;
    int32_t hi = FB_HIST_SIDE, lo = FB_HIST_SIDE;
    for (; hi > 0; hi--) {
        out += (double)h->bins[FB_HIST_SIDE + hi - 1];
        if (out > spare)
            break;
    }
    out = 0;
    for (; lo > 0; lo--) {
        out += (double)h->bins[FB_HIST_SIDE - lo];
        if (out > spare)
            break;
    }
    double w = (double)h->width;
    return fb_range_fit(s, -w * lo, w * hi);
}
