/* One layer as two of lower rank: the graph side of `svd`.
 *
 *   FB_FACTOR_DENSE    W [m][n]               = A [m][r] B [r][n]
 *   FB_FACTOR_CHANNEL  W [oc][kh][kw][ic]     = kh x kw conv B with r channels, then 1 x 1 conv A
 *   FB_FACTOR_SPATIAL  the same               = kh x 1 conv B with r channels, then 1 x kw conv A
 *
 * B keeps the stride, padding and dilation that concern it and has neither bias nor activation; A
 * has those of the layer and writes its output. */
#ifndef FB_COMPRESS_FACTOR_H
#define FB_COMPRESS_FACTOR_H

#include "model/model.h"

typedef enum fb_factor_form {
    FB_FACTOR_DENSE,
    FB_FACTOR_CHANNEL,
    FB_FACTOR_SPATIAL
} fb_factor_form;

/* The matrix W [m][n] that a form gives low rank, and what it saves. */
typedef struct fb_factor_shape {
    size_t m, n;
    uint64_t params, rank_params; /* weights of the layer; of both factors for each unit of rank */
    double macs, rank_macs;       /* multiplications for one image, likewise */
} fb_factor_shape;

fb_factor_shape fb_factor_shape_of(const fb_model *m, const fb_node *n, fb_factor_form form);

/* Largest rank that leaves fewer weights and fewer multiplications than the layer has; 0 if none.
 */
size_t fb_factor_most(const fb_factor_shape *s);

/* The matrix [oc * kw][kh * ic] of FB_FACTOR_SPATIAL from a conv's weights; those of the other
 * forms are the weights as they lie. */
void fb_factor_spatial(const fb_tensor *weight, const float *w, float *matrix);

/* Replaces node `at` by two, NAME.svd0 and NAME.svd1, in its place. a [m][r] and b [r][n] are
 * copied; bias (NULL: the layer's own stays) has the output's channels. */
fb_status fb_factor_apply(fb_model *m, size_t at, fb_factor_form form, size_t r, const float *a,
                          const float *b, const float *bias);

#endif
