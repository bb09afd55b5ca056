/* From the statistics of an activation to the range that its codes cover. One chooser a file; each
 * returns lo <= 0 <= hi, so that zero has a code. */
#ifndef FB_CALIBRATE_RANGE_H
#define FB_CALIBRATE_RANGE_H

#include "calibrate/stats.h"

typedef struct fb_range {
    float lo, hi;
} fb_range;

typedef enum fb_range_rule {
    FB_RANGE_MINMAX,     /* all that was seen */
    FB_RANGE_EMA,        /* moving average of each image's minimum and maximum */
    FB_RANGE_PERCENTILE, /* leaves out (100 - percentile)% of the values at each end */
    FB_RANGE_MSE,        /* least mean squared rounding-plus-clipping error */
    FB_RANGE_KL,         /* least loss of information (entropy) */
    FB_RANGE_ACIQ        /* optimum for a Laplace or Gauss distribution of the same spread */
} fb_range_rule;

/* The names in the order of fb_range_rule, as options spell them. */
#define FB_RANGE_NAMES "minmax|ema|percentile|mse|kl|aciq"

/* `bits` 2..16; `percentile` in (50, 100] is read by that rule alone. */
fb_range fb_range_choose(fb_range_rule rule, const fb_stats *s, unsigned bits, double percentile);

fb_range fb_range_minmax(const fb_stats *s);
fb_range fb_range_ema(const fb_stats *s);
fb_range fb_range_percentile(const fb_stats *s, double percentile);
fb_range fb_range_mse(const fb_stats *s, unsigned bits);
fb_range fb_range_kl(const fb_stats *s, unsigned bits);
fb_range fb_range_aciq(const fb_stats *s, unsigned bits);

/* Widened to hold zero, and cut to what was seen. */
fb_range fb_range_fit(const fb_stats *s, double lo, double hi);

/* Scale and zero point of unsigned codes that cover the range. An empty range gives scale 1. */
void fb_range_codes(fb_range r, unsigned bits, float *scale, int32_t *zero);

/* ACIQ's optimal clipping for `bits` (1..16), in units of b = E|x - Ex| or of the standard
 * deviation. */
double fb_aciq_laplace(unsigned bits);
double fb_aciq_gauss(unsigned bits);
/* The clipping for a mean deviation and a standard deviation, by the distribution of the two that
 * has their ratio more nearly. */
double fb_aciq_boundary(double deviation, double sigma, unsigned bits);

/* KL's candidate i: divergence between counts [n] clipped to their first i bins and the same
 * quantised to `levels`; negative when it is infinite. */
double fb_kl_of(const uint64_t *counts, uint32_t n, uint32_t i, uint32_t levels);
/* The same for bins [from, to) on both sides of zero. With half_ends the outermost levels (2 at
 * least) stand on the ends of the range, as those of symmetric codes do. */
double fb_kl_cells(const uint64_t *counts, uint32_t n, uint32_t from, uint32_t to, uint32_t levels,
                   bool half_ends);

#endif
