/* Softmax and local response normalisation over the last axis, f32. List: norm_f32.inc. */
#ifndef FB_KERNELS_NORM_F32_H
#define FB_KERNELS_NORM_F32_H

#include "kernels/registry.h"

#include <stddef.h>

/* Rows x [n_rows][n] -> y: e^(x - max) / sum, or x - max - log(sum) with `log`. Relative error of
 * softmax below (n / 8 + 16) * 2^-24. y == x is allowed. */
typedef void fbk_softmax_f32_fn(const float *x, float *y, size_t n, size_t n_rows, bool log);

/* Pixels x [n_px][c]: y = x / (bias + alpha / size * s)^beta, s the sum of x^2 over channels
 * [i - (size - 1) / 2, i + size / 2] that exist. size >= 1. Relative error below 1e-6 where
 * bias + alpha / size * s > 0. `scratch` holds c + size floats. */
typedef struct fbk_lrn {
    int32_t size;
    float alpha, beta, bias;
} fbk_lrn;
typedef void fbk_lrn_f32_fn(const fbk_lrn *p, const float *x, float *y, size_t c, size_t n_px,
                            float *scratch);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/norm_f32.inc"
#undef FBK

FBK_PICK(softmax_f32)
FBK_PICK(lrn_f32)

#endif
