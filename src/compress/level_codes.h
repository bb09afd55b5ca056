/* A weight tensor in few bits as indices of levels. */
#ifndef FB_COMPRESS_LEVEL_CODES_H
#define FB_COMPRESS_LEVEL_CODES_H

#include "compress/fit.h"
#include "model/model.h"

typedef enum fb_level_fit {
    FB_LEVELS_EXACT, /* k-means */
    FB_LEVELS_LLOYD,
    FB_LEVELS_EVEN,
    FB_LEVELS_POW2, /* integer tables that only a scale is missing to */
    FB_LEVELS_APOT,
    FB_LEVELS_TERNARY,
    FB_LEVELS_TWN
} fb_level_fit;

typedef enum fb_level_per {
    FB_LEVELS_AUTO,    /* CHANNEL where a table has at most a quarter of the bytes of its channel's
                          indices, else SHARED; both k-means only */
    FB_LEVELS_CHANNEL, /* a scale and a table for each output channel */
    FB_LEVELS_SHARED,  /* a scale for each output channel, one table for all; k-means only */
    FB_LEVELS_TENSOR
} fb_level_per;

typedef enum fb_level_zero {
    FB_LEVELS_ZERO_AUTO, /* where at least one in 2^bits weights is 0 */
    FB_LEVELS_ZERO_KEEP,
    FB_LEVELS_ZERO_FREE
} fb_level_zero;

typedef struct fb_level_rule {
    unsigned bits; /* 1..8; POW2 and APOT 2..5; TERNARY and TWN 2 */
    fb_level_fit fit;
    fb_level_per per;
    fb_kmeans_start start; /* of LLOYD */
    uint64_t seed;
    unsigned level_bits; /* 2..16: k-means and even levels are rounded to integers; 0: floats */
    fb_level_zero zero;  /* of k-means: one level is 0 exactly */
    bool pow2;           /* scales are powers of two, as fixed point wants them; with level_bits */
} fb_level_rule;

/* Replaces a plain weight [output channels][...] by indices and levels. FB_E_FORMAT when a weight
 * is not finite. Scales along channels lie on the grid of numeric/grid.h. importance, for k-means:
 * what the squared error of each element counts, > 0; NULL: all the same. */
fb_status fb_level_encode(fb_model *m, int32_t tensor, const fb_level_rule *rule,
                          const float *importance);

#endif
