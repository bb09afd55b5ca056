/* The grids of act<b>: from what calibration saw of a group of activations to its codes (METHODS
 * E.2). */
#ifndef FB_COMPRESS_ACT_GRID_H
#define FB_COMPRESS_ACT_GRID_H

#include "compress/activations.h"

typedef enum fb_act_grid {
    FB_ACT_AFFINE, /* a step for each group, range by a rule of calibrate/range.h */
    FB_ACT_UNIT,   /* one power-of-two step for the whole network; large values saturate */
    FB_ACT_EVEN,   /* levels evenly spaced between minimum and maximum */
    FB_ACT_KMEANS  /* levels of least squared error */
} fb_act_grid;

typedef struct fb_act_rule {
    fb_act_grid grid;
    fb_range_rule range; /* AFFINE */
    double percentile;   /* AFFINE with FB_RANGE_PERCENTILE */
    int32_t exponent;    /* UNIT: the step is 2^exponent */
    uint32_t n_levels;   /* EVEN: how many, at most 2^bits; 0 = 2^bits */
    unsigned level_bits; /* KMEANS: 0 = float levels, 8 = multiples of one step */
} fb_act_rule;

/* Codes of a group with `bits`. `bound`: KMEANS clips magnitudes at so much of the largest one
 * before levels are fitted; 1 = no bound. The network's input has affine codes in every grid. */
fb_status fb_act_choose(const fb_activations *a, uint32_t group, const fb_act_rule *rule,
                        unsigned bits, double bound, fb_act_code *code);

/* The exponent of the step for UNIT with which the squared errors of rounding and saturation to
 * `bits`, each relative to the power of its group, have the least sum over all groups but the
 * network's input. */
int32_t fb_act_unit_exponent(const fb_activations *a, unsigned bits);

/* The share of the largest magnitude of a group that leaves out (100 - percentile)% of its values
 * at each end: a bound. */
double fb_act_percentile_bound(const fb_activations *a, uint32_t group, double percentile);

/* --- levels ---------------------------------------------------------------------------------- */

/* n levels, ascending strictly, of least weighted squared error for ascending values [count] that
 * are clipped to [-bound, bound] first (METHODS E.2.4, N.3). With `zero` one level is exactly 0.
 * Where fewer levels would do, the others lie above. FB_E_MEMORY. */
fb_status fb_levels_kmeans(const double *value, const double *weight, uint32_t count, double bound,
                           bool zero, uint32_t n, double *v);

/* The nearest levels that are multiples of one step, as a code of level_bits (>= the bits of n
 * levels): code->scale, zero, level, n_levels. The level 0 stays 0. */
void fb_levels_snap(const double *v, uint32_t n, unsigned level_bits, fb_act_code *code);

#endif
