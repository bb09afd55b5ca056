/* Weight tensors in few bits: affine codes with scales per tensor, channel or group. */
#ifndef FB_COMPRESS_WEIGHTS_H
#define FB_COMPRESS_WEIGHTS_H

#include "model/model.h"

/* How the range is chosen that a scale's codes cover. */
typedef enum fb_weight_range {
    FB_WEIGHT_MINMAX, /* all values */
    FB_WEIGHT_MSE,    /* least squared error of rounding and clipping */
    FB_WEIGHT_KL, /* least divergence of the codes' distribution from the values' (METHODS C.2.3) */
    FB_WEIGHT_ACIQ /* optimum for a Laplace or Gauss distribution of the same spread (M.3) */
} fb_weight_range;

/* The names in the order of fb_weight_range, as options spell them. */
#define FB_WEIGHT_RANGES "minmax|mse|kl|aciq"

typedef struct fb_weight_rule {
    unsigned bits;    /* 1..16 */
    bool per_channel; /* one scale for each index of axis 0 (output channels) */
    uint32_t group;   /* with per_channel: a scale for so many weights of a channel; 0 = all */
    fb_weight_range range;
    bool pow2;    /* scales are powers of two */
    bool zero;    /* unsigned codes with a zero point; always so for 1 bit */
    bool restore; /* weights that were integers once take their old scales (fb_weights_restore) */
    double outliers; /* the share of weights, 0..0.5, that is stored aside as 16-bit floats */
} fb_weight_rule;

/* Whether old scales, four bytes each in a file instead of less than one, would be a small part
 * (2%) of this model's weights. */
bool fb_weights_restore(const fb_model *m);

/* --- one scale's worth of weights (weight_range.c) ------------------------------------------- */

typedef struct fb_weight_grid {
    float scale; /* 0 where all weights are 0 */
    int32_t zero;
} fb_weight_grid;

/* Whether codes are unsigned with a zero point. */
bool fb_weight_has_zero(const fb_weight_rule *rule);
void fb_weight_limits(const fb_weight_rule *rule, int32_t *lo, int32_t *hi); /* codes in use */

/* The grid whose codes cover [lo, hi] and 0; its scale is as the rule wants scales to be. */
fb_weight_grid fb_weight_cover(const fb_weight_rule *rule, float lo, float hi);
/* Squared error of n weights on a grid with a scale. */
double fb_weight_error(const fb_weight_rule *rule, const float *w, size_t n, fb_weight_grid grid);
/* The grid that rule->range gives. */
fb_weight_grid fb_weight_choose(const fb_weight_rule *rule, const float *w, size_t n);

/* The boundary t in [0, max|w|] to clip n weights at before they are quantised by the rule, by a
 * range of the caller's: one of the candidates max|w| i / 128, i = 8..128, for MSE and KL; max|w|
 * for MINMAX. */
float fb_weight_boundary(const fb_weight_rule *rule, fb_weight_range range, const float *w,
                         size_t n);

/* --- a tensor (weights.c) -------------------------------------------------------------------- */

/* A weight tensor on its way to codes: [n_blocks] runs of consecutive weights with one scale each.
 */
typedef struct fb_weight_codes {
    const fb_weight_rule *rule;
    float *w;        /* [n] decoded */
    size_t n, inner; /* inner = weights of one index of axis 0 (n when per tensor) */
    size_t block;    /* weights of a block; the last one of each `inner` may be shorter */
    size_t per_inner, n_blocks;
    float *scale;  /* [n_blocks] */
    int32_t *zero; /* [n_blocks], or NULL */
    uint32_t n_patches;
    uint64_t *patch_at; /* [n_patches] weights, ascending, that patch[] stands for */
    float *patch;
} fb_weight_codes;

/* First weight of a block, and how many it has. */
size_t fb_weight_block(const fb_weight_codes *c, size_t block, size_t *n);

/* The largest weights, in units of their block's root mean square, are 0 until they return; then
 * those stay outliers whom a 16-bit float is closer to than their code (outliers.c). */
fb_status fb_outliers_take(fb_weight_codes *c);
void fb_outliers_return(fb_weight_codes *c);

/* Decodes the constant and chooses scales. After a failure *c is empty. */
fb_status fb_weight_codes_init(fb_weight_codes *c, const fb_tensor *t, const fb_weight_rule *rule);
void fb_weight_codes_free(fb_weight_codes *c);

/* Replaces the tensor's payload and encoding by the codes. */
fb_status fb_weight_codes_store(const fb_weight_codes *c, fb_model *m, int32_t tensor);

/* Code of weight i for a scale and zero point of the caller's. */
int32_t fb_weight_code(const fb_weight_rule *rule, float w, float scale, int32_t zero);

#endif
