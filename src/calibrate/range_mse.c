/* The range with the least mean squared error of rounding and clipping (METHODS M.1): both ends
 * shrink together on a grid of 1%, then each end is searched alone. Judged on the histogram, each
 * bin at its middle. */
#include "calibrate/range.h"

#include "numeric/requant.h"

typedef struct sample {
    double x, count;
} sample;

typedef struct search {
    sample samples[FB_HIST_BINS];
    uint32_t n;
    unsigned bits;
} search;

static double error_of(const search *q, double lo, double hi)
{
    float scale;
    int32_t zero;
    fb_range_codes((fb_range){(float)lo, (float)hi}, q->bits, &scale, &zero);
    double s = (double)scale, least = -(double)zero;
    double most = (double)fb_code_max(q->bits, false) + least;
    double total = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        double v = q->samples[i].x / s;
        double code = v < least ? least : v > most ? most : rint(v);
        total += q->samples[i].count * (v - code) * (v - code);
    }
    return total * s * s;
}

/* Best of the candidates lo * (1 - 0.01 i), hi * (1 - 0.01 j); an end that does not move has step
 * 0. The widest wins ties. */
static void shrink(const search *q, double lo_step, double hi_step, double *lo, double *hi)
{
    const int steps = 85;
    double lo0 = *lo, hi0 = *hi, best = error_of(q, lo0, hi0);
    for (int i = 1; i <= steps; i++) {
        double l = lo0 * (1 - lo_step * i), u = hi0 * (1 - hi_step * i);
        double e = error_of(q, l, u);
        if (e < best) {
            best = e;
            *lo = l;
            *hi = u;
        }
    }
}

fb_range fb_range_mse(const fb_stats *s, unsigned bits)
{
    search q = {.bits = bits};
    const double w = (double)s->hist.width;
    for (int32_t j = 0; j < FB_HIST_BINS; j++) {
        if (s->hist.bins[j] == 0)
            continue;
        double x = (j - FB_HIST_SIDE + 0.5) * w;
        q.samples[q.n++] = (sample){x, (double)s->hist.bins[j]};
    }
    fb_range full = fb_range_minmax(s);
    double lo = (double)full.lo, hi = (double)full.hi;
    if (q.n == 0)
        return full;
    shrink(&q, 0.01, 0.01, &lo, &hi);
    if (lo < 0 && hi > 0) {
        shrink(&q, 0, 0.01, &lo, &hi);
        shrink(&q, 0.01, 0, &lo, &hi);
    }
    return fb_range_fit(s, lo, hi);
}
