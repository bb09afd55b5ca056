/* Entropy calibration (METHODS M.2): the clipping whose quantised distribution loses the least
 * information about the clipped one. Works on magnitudes; exact zeros do not take part. */
#include "calibrate/range.h"

#include "numeric/requant.h"

/* End of a level's bins, counted from the first bin kept. With half ends the outermost levels stand
 * on the ends of the range, so that only half of their cells lies within. */
static uint32_t end_of(uint32_t level, uint32_t levels, uint32_t bins, bool half_ends)
{
    uint64_t at = half_ends ? ((2 * (uint64_t)level + 1) * bins + levels - 1) / (2 * (levels - 1))
                            : ((uint64_t)level + 1) * bins / levels;
    return at < bins ? (uint32_t)at : bins;
}

/* P: bins [from, to), with everything outside added to the outermost ones. Q: the same bins without
 * it, merged into levels, the mass of each level spread evenly over its bins in use. */
double fb_kl_cells(const uint64_t *counts, uint32_t n, uint32_t from, uint32_t to, uint32_t levels,
                   bool half_ends)
{
    double inside = 0, below = 0, beyond = 0, kl = 0;
    for (uint32_t k = 0; k < n; k++)
        *(k < from ? &below : k < to ? &inside : &beyond) += (double)counts[k];
    if ((below > 0 && counts[from] == 0) || (beyond > 0 && counts[to - 1] == 0))
        return -1; /* P has mass where Q has none */
    double all = below + inside + beyond;
    for (uint32_t level = 0, k = from; level < levels && all > 0; level++) {
        uint32_t end = from + end_of(level, levels, to - from, half_ends), used = 0;
        double mass = 0;
        for (uint32_t j = k; j < end; j++) {
            mass += (double)counts[j];
            used += counts[j] != 0;
        }
        for (; k < end; k++) {
            if (counts[k] == 0)
                continue;
            double p = (double)counts[k] + (k == from ? below : 0) + (k == to - 1 ? beyond : 0);
            kl += p / all * log(p / all * inside * used / mass);
        }
    }
    return kl > 0 ? kl : 0;
}

double fb_kl_of(const uint64_t *counts, uint32_t n, uint32_t i, uint32_t levels)
{
    return fb_kl_cells(counts, n, 0, i, levels, false);
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
