/* Entropy calibration (METHODS M.2): the clipping whose quantised distribution loses the least
 * information about the clipped one. Works on magnitudes; exact zeros do not take part. */
#include "calibrate/range.h"

#include "numeric/requant.h"

/* P: the first i bins, with everything beyond added to the last. Q: the first i bins without it,
 * merged into levels, the mass of each level spread evenly over its bins in use. */
double fb_kl_of(const uint64_t *counts, uint32_t n, uint32_t i, uint32_t levels)
{
    double inside = 0, beyond = 0, kl = 0;
    for (uint32_t k = 0; k < n; k++)
        *(k < i ? &inside : &beyond) += (double)counts[k];
    if (beyond > 0 && counts[i - 1] == 0)
        return -1; /* P has mass where Q has none */
    if (inside + beyond == 0)
        return 0;
    for (uint32_t level = 0, k = 0; level < levels; level++) {
        uint32_t end = (uint32_t)((uint64_t)(level + 1) * i / levels), used = 0;
        double mass = 0;
        for (uint32_t j = k; j < end; j++) {
            mass += (double)counts[j];
            used += counts[j] != 0;
        }
        for (; k < end; k++) {
            if (counts[k] == 0)
                continue;
            double p = ((double)counts[k] + (k == i - 1 ? beyond : 0)) / (inside + beyond);
            kl += p * log(p * inside * used / mass);
        }
    }
    return kl > 0 ? kl : 0;
}

fb_range fb_range_kl(const fb_stats *s, unsigned bits)
{
    uint64_t counts[FB_HIST_SIDE];
    uint32_t n = fb_hist_fold(&s->hist, counts);
    uint32_t levels = s->min < 0 ? 1u << (bits - 1) : 1u << bits;
    if (n <= levels)
        return fb_range_minmax(s);
    double best = fb_kl_of(counts, n, n, levels);
    uint32_t at = n;
    for (uint32_t i = n - 1; i >= levels; i--) {
        double kl = fb_kl_of(counts, n, i, levels);
        if (kl >= 0 && kl < best) {
            best = kl;
            at = i;
        }
    }
    double t = (at + 0.5) * (double)s->hist.width;
    return fb_range_fit(s, -t, t);
}
