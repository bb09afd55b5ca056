/* Inside the encodings: the definitions that the table of encoding.c lists. */
#ifndef FB_MODEL_ENCODING_DEFS_H
#define FB_MODEL_ENCODING_DEFS_H

#include "model/encoding.h"

extern const fb_encoding_def fb_encoding_plain, fb_encoding_affine, fb_encoding_levels,
    fb_encoding_product;

/* Scales finite, > 0 and as `pow2` says; zero points within lo..hi. */
fb_status fb_scales_validate(const fb_encoding *e, int32_t lo, int32_t hi);
/* Codes [0, n) of a payload of `levels` are below n_levels. */
fb_status fb_levels_check_codes(const struct fb_tensor *t, size_t n);

/* All indices of a product's payload, whose size is right, are below n_words. */
fb_status fb_product_check_codes(const struct fb_tensor *t);
/* fb_tensor_integers of a product with words of 8 bits and one stage. */
void fb_product_integers(const struct fb_tensor *t, size_t first, size_t n, int16_t *out);

fb_status fb_patches_validate(const struct fb_tensor *t);
/* Overwrites the decoded elements [first, first + n) that have a patch. */
void fb_patches_apply(const fb_encoding *e, size_t first, size_t n, float *out);
/* " +12 outliers", or "" without any; returns `text`. */
const char *fb_patches_text(const fb_encoding *e, char *text, size_t cap);

#endif
