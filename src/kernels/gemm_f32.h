/* Dense layers and matrix products in f32. List: gemm_f32.inc. Error of each output as in
 * conv_f32.h, K = k. */
#ifndef FB_KERNELS_GEMM_F32_H
#define FB_KERNELS_GEMM_F32_H

#include "kernels/registry.h"

#include <stddef.h>

/* y[i][j] = clamp(bias[j] + sum_k x[i][k] * w[j][k], lo, hi) for i < m and j in [j0, j1). The
 * weights are read in place, once: for few rows (m), where memory bandwidth rules. x     [m][k] w
 * [n][k] bias  [n] or NULL   y     [m][ldy], ldy >= n
 */
typedef struct fbk_dense_f32_args {
    size_t m, k, ldy;
    const float *x, *w, *bias;
    float *y;
    float lo, hi;
} fbk_dense_f32_args;
typedef void fbk_dense_f32_fn(const fbk_dense_f32_args *a, size_t j0, size_t j1);

/* y = a b for rows [i0, i1): a [m][k], b [k][n], y [m][n], rows lda, ldb, ldy apart. */
typedef struct fbk_matmul_f32_args {
    size_t n, k, lda, ldb, ldy;
    const float *a, *b;
    float *y;
} fbk_matmul_f32_args;
typedef void fbk_matmul_f32_fn(const fbk_matmul_f32_args *a, size_t i0, size_t i1);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/gemm_f32.inc"
#undef FBK

FBK_PICK(dense_f32)
FBK_PICK(matmul_f32)

#endif
