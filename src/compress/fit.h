/* Levels for numbers on a line: which few values stand for many with the least squared error. Pure
 * functions in double; nothing about tensors. */
#ifndef FB_COMPRESS_FIT_H
#define FB_COMPRESS_FIT_H

#include "base/status.h"

enum {
    FB_FIT_MOST_LEVELS = 256,
    FB_FIT_POINTS = 8192 /* that fb_points_init makes at most */
};

/* Ascending different values with weights. */
typedef struct fb_points {
    double *x, *w;
    uint32_t n;    /* >= 1 */
    double within; /* squared error of the numbers around their points: 0 while each different
                      number is a point of its own */
} fb_points;

/* Points of n >= 1 finite numbers. weight (NULL: all 1) are >= 0, not all 0. Numbers of more than
 * FB_FIT_POINTS different values are collected in as many bins of equal width h, each the mean of
 * what it holds: then sqrt(within) <= h/2 sqrt(sum of weights), and the levels that are best for
 * the points cost at most (sqrt(least) + 2 sqrt(within))^2 on the numbers (triangle inequality of
 * the distance to the nearest level). Sorts; a copy of the numbers. */
fb_status fb_points_init(fb_points *p, const float *x, const float *weight, size_t n);
void fb_points_free(fb_points *p);

/* Squared error of the points, each at its nearest of k ascending levels, without `within`. */
double fb_points_error(const fb_points *p, const double *level, uint32_t k);

/* The k levels (1..256; fewer when there are fewer points) of the least error, exactly: dynamic
 * programming over clusters of neighbours, divide and conquer on the monotone start of the last
 * one, O(k n log n) (METHODS N.3, IV.6). with_zero: one level is 0, and the others are the best
 * beside it. *found levels, ascending, are written. FB_E_MEMORY. */
fb_status fb_kmeans_exact(const fb_points *p, uint32_t k, bool with_zero, double *level,
                          uint32_t *found);

/* The k levels (0..256 less n_fixed; fewer when there are fewer points) that are best beside
 * ascending levels that are fixed (0..256), exactly; *found, ascending, are written, the fixed ones
 * not among them. */
fb_status fb_kmeans_beside(const fb_points *p, const double *fixed, uint32_t n_fixed, uint32_t k,
                           double *level, uint32_t *found);

/* The most_chosen (1..256) of n ascending candidates that are best as levels, exactly, or fewer
 * where more gain nothing: O(n^2 most_chosen). must, of which there are at most most_chosen, are
 * chosen in any case. chosen [n]. */
fb_status fb_fit_choose(const fb_points *p, const double *candidate, const bool *must, uint32_t n,
                        uint32_t most_chosen, bool *chosen);

typedef enum fb_kmeans_start {
    FB_KMEANS_LINEAR,  /* evenly spaced */
    FB_KMEANS_DENSITY, /* quantiles */
    FB_KMEANS_RANDOM   /* points drawn by a seed */
} fb_kmeans_start;

/* Lloyd's iteration, at most 100 rounds: a local optimum, for comparison (METHODS D.6). */
fb_status fb_kmeans_lloyd(const fb_points *p, uint32_t k, bool with_zero, fb_kmeans_start start,
                          uint64_t seed, double *level, uint32_t *found);

/* At most so many rounds of it from k ascending levels (1..256), of which those that are fixed
 * stay; so do levels that are nearest to no point. */
void fb_kmeans_refine(const fb_points *p, uint32_t k, const bool *fixed, uint32_t rounds,
                      double *level);

/* n >= 2 levels from lo to hi in equal steps (METHODS E.2). */
void fb_fit_even(double lo, double hi, uint32_t n, double *level);

/* Integer levels that only a scale is missing to, ascending; both return how many.
 * pow2: 0, +-1, +-2, ... +-2^(2^(bits-2) - 1): 2^(bits-1) + 1 of them, bits 2..5 (METHODS B.5).
 * apot: 0 and +- sums of two powers of two, 2^bits - 1 of them, bits 2..5 (METHODS T.3). */
uint32_t fb_fit_pow2(unsigned bits, double *level);
uint32_t fb_fit_apot(unsigned bits, double *level);
/* The exponent of the largest of the powers of two for weights up to `most` > 0: floor(log2(4 most
 * / 3)) (METHODS B.5). */
int fb_fit_pow2_top(double most);

/* -a, 0, a for n numbers: those with |x| > *threshold get +-a, the returned value (0 when all are
 * 0).
 * twn: threshold 0.7 mean|x| (Li 2016); exact: the least squared error (METHODS T.4). Exact sorts a
 * copy. */
double fb_fit_twn(const float *x, size_t n, double *threshold);
fb_status fb_fit_ternary(const float *x, size_t n, double *a, double *threshold);

#endif
