/* Element by element in f32. List: point_f32.inc. Outputs may be one of the inputs. */
#ifndef FB_KERNELS_POINT_F32_H
#define FB_KERNELS_POINT_F32_H

#include "kernels/any.h"

/* y[i] = clamp(a[i * sa] op b[i * sb], lo, hi); sa, sb are 0 or 1, not both 0 unless n == 1. The
 * result is correctly rounded but for pow (libm's powf on every row). NaN wins max and min. */
typedef void fbk_binary_f32_fn(fbk_binary op, size_t n, const float *a, size_t sa, const float *b,
                               size_t sb, float *y, float lo, float hi);

/* y[i] = op(x[i]), parameters as in model/op.h. Relative error below 4e-7 (sigmoid, tanh, elu,
 * selu, softplus, exp within f32's normal range), others correctly rounded per step or libm's. */
typedef void fbk_unary_f32_fn(fbk_unary op, float a, float b, size_t n, const float *x, float *y);

/* x [n_px][c] -> y = x * scale[c] + shift[c]; one rounding (FMA) or two. */
typedef void fbk_scale_shift_f32_fn(size_t n_px, size_t c, const float *x, const float *scale,
                                    const float *shift, float *y);

/* y[i] = x[i] < 0 ? x[i] * slope[i * ss] : x[i], ss 0 or 1. */
typedef void fbk_prelu_f32_fn(size_t n, const float *x, const float *slope, size_t ss, float *y);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/point_f32.inc"
#undef FBK

FBK_PICK(binary_f32)
FBK_PICK(unary_f32)
FBK_PICK(scale_shift_f32)
FBK_PICK(prelu_f32)

#endif
