/* Convolutions of f32 images. Lists: conv_f32.inc (direct forms on plain weights) here; the packed
 * form is in igemm_f32.h.
 *
 * Results may differ between rows by rounding: each output is a sum of K = kh * kw * ic / groups
 * products (and the bias), in some fixed order that does not depend on tiles or threads, so its
 * error is below (K + 1) * 2^-24 * sum |w x|.
 */
#ifndef FB_KERNELS_CONV_F32_H
#define FB_KERNELS_CONV_F32_H

#include "kernels/registry.h"
#include "kernels/window.h"

#include <stddef.h>

/* One image. */
typedef struct fbk_conv_f32_args {
    const fbk_window *g;
    const float *x;    /* [h][w][c] */
    const float *w;    /* conv, conv_transpose: [oc][kh][kw][c / groups]; dwconv: [kh][kw][c] */
    const float *bias; /* [oc], or NULL */
    float *y;          /* [oh][ow][oc] */
    float lo, hi;      /* clamp, -inf and inf for none; NaN passes */
} fbk_conv_f32_args;

/* Output pixels [p0, p1), counted oy * ow + ox. */
typedef void fbk_conv_f32_fn(const fbk_conv_f32_args *a, size_t p0, size_t p1);

/* Transposed: y[oy] gathers x[iy] with oy = iy * stride_h - pad_t + ky * dil_h; oh and ow are
 * given. */
typedef void fbk_conv_transpose_f32_fn(const fbk_conv_f32_args *a, size_t p0, size_t p1);

/* Depthwise: groups = c = oc. */
typedef void fbk_dwconv_f32_fn(const fbk_conv_f32_args *a, size_t p0, size_t p1);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/conv_f32.inc"
#undef FBK

FBK_PICK(conv_f32)
FBK_PICK(conv_transpose_f32)
FBK_PICK(dwconv_f32)

#endif
