/* The shape of an integer convolution; a dense layer is a 1x1 convolution of one row of pixels.
 *
 *   x  [n][ih][iw][ic]    w  [oc][kh][kw][ic / groups]    y  [n][oh][ow][oc]
 *
 * Output pixel (oy, ox), tap (r, s) reads input row oy * stride_h + r * dil_h - pad_t and the
 * column likewise. */
#ifndef FB_KERNELS_LAYER_H
#define FB_KERNELS_LAYER_H

#include <stdint.h>

/* The fields, so that kernels can name them without a detour: all counts > 0, pads >= 0. */
#define FBK_LAYER_FIELDS                                                                           \
    uint32_t n, ih, iw, ic, oh, ow, oc;                                                            \
    uint32_t kh, kw, stride_h, stride_w, dil_h, dil_w, groups;                                     \
    int32_t pad_t, pad_l;

typedef struct fbk_layer {
    FBK_LAYER_FIELDS
} fbk_layer;

/* Multiply-adds of `rows` output rows of one image. */
static inline uint64_t fbk_layer_macs(const fbk_layer *s, uint64_t rows)
{
    return rows * s->ow * s->oc * s->kh * s->kw * (s->ic / s->groups);
}

#endif
