/* Pools and column sums in f32. List: pool_f32.inc. */
#ifndef FB_KERNELS_POOL_F32_H
#define FB_KERNELS_POOL_F32_H

#include "kernels/registry.h"
#include "kernels/window.h"

#include <stddef.h>

/* One image, output rows [oy0, oy1): x [h][w][c] -> y [oh][ow][c]. An empty window gives -inf. NaN
 * in a window: the result is NaN or one of the other elements. */
typedef void fbk_max_pool_f32_fn(const fbk_window *g, const float *x, float *y, int32_t oy0,
                                 int32_t oy1);

/* Mean of the taps inside the image divided by their number, or, with pad_b, pad_r >= 0 ("count
 * include pad"), by the number of taps inside the padded image [-pad_t, h + pad_b) x [-pad_l,
 * w + pad_r). A window without taps gives 0. */
typedef void fbk_avg_pool_f32_fn(const fbk_window *g, bool include_pad, int32_t pad_b,
                                 int32_t pad_r, const float *x, float *y, int32_t oy0, int32_t oy1);

/* y[j] = scale * sum_i x[i * ld + j] for j < n, i < m: the mean over h and w with scale = 1 / m.
 * Error below (m + 1) * 2^-24 * scale * sum |x|. */
typedef void fbk_col_sum_f32_fn(size_t m, size_t n, size_t ld, const float *x, float scale,
                                float *y);

/* y[j] = max_i x[i * ld + j] for j < n, i < m: exact; NaN as in max pooling. */
typedef void fbk_col_max_f32_fn(size_t m, size_t n, size_t ld, const float *x, float *y);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/pool_f32.inc"
#undef FBK

FBK_PICK(max_pool_f32)
FBK_PICK(avg_pool_f32)
FBK_PICK(col_sum_f32)
FBK_PICK(col_max_f32)

#endif
