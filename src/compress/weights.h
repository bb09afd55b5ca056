/* Weight tensors in few bits: affine codes with scales per tensor, channel or group. */
#ifndef FB_COMPRESS_WEIGHTS_H
#define FB_COMPRESS_WEIGHTS_H

#include "model/model.h"

typedef struct fb_weight_rule {
    unsigned bits;    /* 1..16 */
    bool per_channel; /* one scale for each index of axis 0 (output channels) */
    uint32_t group;   /* with per_channel: a scale for so many weights of a channel; 0 = all */
    bool mse;         /* scales by least squared error, else by the largest value */
    bool pow2;        /* scales are powers of two */
    bool zero;        /* unsigned codes with a zero point; always so for 1 bit */
    bool restore; /* weights that were integers once take their old scales (fb_weights_restore) */
} fb_weight_rule;

/* Whether old scales, four bytes each in a file instead of less than one, would be a small part
 * (2%) of this model's weights. */
bool fb_weights_restore(const fb_model *m);

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
} fb_weight_codes;

/* Decodes the constant and chooses scales. After a failure *c is empty. */
fb_status fb_weight_codes_init(fb_weight_codes *c, const fb_tensor *t, const fb_weight_rule *rule);
void fb_weight_codes_free(fb_weight_codes *c);

/* Replaces the tensor's payload and encoding by the codes. */
fb_status fb_weight_codes_store(const fb_weight_codes *c, fb_model *m, int32_t tensor);

/* Code of weight i for a scale and zero point of the caller's. */
int32_t fb_weight_code(const fb_weight_rule *rule, float w, float scale, int32_t zero);

#endif
