/* What calibration remembers of one tensor: a few numbers and a histogram, whatever the number of
 * images. */
#ifndef FB_CALIBRATE_STATS_H
#define FB_CALIBRATE_STATS_H

#include "calibrate/histogram.h"

typedef struct fb_stats {
    uint64_t n;             /* values seen */
    float min, max;         /* of all; 0 when n = 0 */
    float ema_min, ema_max; /* moving averages of the minimum and maximum of each batch:
                               m <- 0.9 m + 0.1 batch */
    double sum, sum_sq;
    fb_hist hist;
} fb_stats;

fb_status fb_stats_init(fb_stats *s);
void fb_stats_free(fb_stats *s);

/* One batch of n > 0 values. FB_E_FORMAT when one is not finite: the sentence says so without
 * naming the tensor. */
fb_status fb_stats_add(fb_stats *s, const float *x, size_t n);

/* Made-up statistics of tensor number k for a dry run: some range around or above zero, another for
 * each k, since a file would code equal ones in less room than real ones take. */
fb_status fb_stats_invent(fb_stats *s, uint32_t k, bool positive);

/* Sums over the values of one channel each; the channel is the last axis. */
typedef struct fb_moments {
    uint32_t channels;
    float lo, hi;         /* bounds of an activation; -inf and inf when there are none */
    uint64_t *inside;     /* [channels] values strictly between them */
    uint64_t n;           /* values of each channel */
    double *sum, *sum_sq; /* [channels] */
} fb_moments;

fb_status fb_moments_init(fb_moments *m, uint32_t channels);
void fb_moments_free(fb_moments *m);
/* n values, a multiple of the channels. */
void fb_moments_add(fb_moments *m, const float *x, size_t n);
double fb_moments_inside(const fb_moments *m, uint32_t c); /* share of values */
double fb_moments_mean(const fb_moments *m, uint32_t c);
double fb_moments_variance(const fb_moments *m, uint32_t c); /* >= 0 */

#endif
