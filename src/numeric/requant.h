/* The law of integers: how codes become values, values become codes, and accumulators become codes.
 * Every integer kernel computes exactly these functions (docs/NUMERICS.md gives the reasons and
 * says which ONNX Runtime kernel each one equals); the plain-C kernels call them, the others are
 * held to them bit by bit.
 *
 * A code q stands for scale * (q - zero). `lo <= hi` are the codes that may be produced: the range
 * of the type, narrowed by a fused activation. Scales are finite and > 0. Rounding is to nearest,
 * ties to even, in the default floating-point environment.
 */
#ifndef FB_NUMERIC_REQUANT_H
#define FB_NUMERIC_REQUANT_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float arithmetic must be done in float: x87 or wider evaluation changes integer results"
#endif
#if defined(__FAST_MATH__)
#error "fast-math changes integer results"
#endif

/* Codes of an affine encoding of `bits` (1..16) bits. */
static inline int32_t fb_code_min(unsigned bits, bool is_signed)
{
    return is_signed ? -(1 << (bits - 1)) : 0;
}

static inline int32_t fb_code_max(unsigned bits, bool is_signed)
{
    return is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
}

/* Nearest integer, ties to even; |v| < 2^31. */
static inline int32_t fb_rne(float v)
{
    return (int32_t)lrintf(v);
}

/* v as a code, v already in units of the output scale and relative to `zero`. The clamp stands
 * before the rounding, and a NaN becomes `lo`, as maxps/minps do. */
static inline int32_t fb_code_of(float v, int32_t zero, int32_t lo, int32_t hi)
{
    float least = (float)(lo - zero), most = (float)(hi - zero);
    v = v > least ? v : least;
    v = v < most ? v : most;
    return fb_rne(v) + zero;
}

/* Accumulator to code (QLinearConv, QGemm, QLinearMatMul, QLinearGlobalAveragePool). */
static inline int32_t fb_requant(int32_t acc, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    return fb_code_of((float)acc * scale, zero, lo, hi);
}

/* The scale of fb_requant for a conv or dense channel, in this order of operations. */
static inline float fb_requant_scale(float x_scale, float w_scale, float y_scale)
{
    return (x_scale * w_scale) / y_scale;
}

/* The scale of fb_requant for a mean over `count` codes. */
static inline float fb_mean_scale(float x_scale, float y_scale, uint32_t count)
{
    return x_scale / (y_scale * (float)count);
}

/* Value to code (QuantizeLinear). A division, not a product with 1/scale. */
static inline int32_t fb_quantize(float x, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    return fb_code_of(x / scale, zero, lo, hi);
}

/* Code to value (DequantizeLinear). */
static inline float fb_dequantize(int32_t q, float scale, int32_t zero)
{
    return (float)(q - zero) * scale;
}

/* A float bias in units of the accumulator, kept within [-limit, limit] (limit >= 0) so that the
 * accumulator cannot wrap. */
static inline int32_t fb_bias_code(float bias, float x_scale, float w_scale, int32_t limit)
{
    double v = (double)(bias / (x_scale * w_scale)), most = (double)limit;
    if (!(v > -most))
        return -limit;
    return v < most ? (int32_t)lrint(v) : limit;
}

/* fb_add_codes, fb_mul_codes and fb_mean_code round a number that contains the output's zero point,
 * so they are laws of unsigned codes: signed codes and zero points are shifted by 128 first. The
 * other functions give the same either way. */

/* Sum of two codes (QLinearAdd): two fused multiply-adds on the codes themselves, the zero points
 * gathered in one constant. */
typedef struct fb_add_law {
    float a_ratio, b_ratio, fixed;
} fb_add_law;

static inline fb_add_law fb_add_law_of(float a_scale, int32_t a_zero, float b_scale, int32_t b_zero,
                                       float y_scale, int32_t y_zero)
{
    fb_add_law law;
    law.a_ratio = a_scale / y_scale;
    law.b_ratio = b_scale / y_scale;
    float zeros = fmaf(law.a_ratio, (float)a_zero, law.b_ratio * (float)b_zero);
    law.fixed = (float)y_zero - zeros;
    return law;
}

static inline int32_t fb_add_codes(int32_t a, int32_t b, const fb_add_law *law, int32_t lo,
                                   int32_t hi)
{
    float v = fmaf((float)a, law->a_ratio, fmaf((float)b, law->b_ratio, law->fixed));
    return fb_code_of(v, 0, lo, hi);
}

/* Product of two codes (QLinearMul): the zero point of y is added before the rounding. */
static inline float fb_mul_ratio(float a_scale, float b_scale, float y_scale)
{
    return a_scale * b_scale / y_scale;
}

static inline int32_t fb_mul_codes(int32_t a, int32_t a_zero, int32_t b, int32_t b_zero,
                                   float ratio, int32_t y_zero, int32_t lo, int32_t hi)
{
    float v = (float)((a - a_zero) * (b - b_zero)) * ratio;
    return fb_code_of(v + (float)y_zero, 0, lo, hi);
}

/* Mean of a window (QLinearAveragePool): `sum` is the float32 sum of fb_dequantize over the taps
 * inside the image, row by row, starting from 0; the zero point is added before the rounding. */
static inline int32_t fb_mean_code(float sum, float count, float y_scale, int32_t y_zero,
                                   int32_t lo, int32_t hi)
{
    return fb_code_of(sum / count / y_scale + (float)y_zero, 0, lo, hi);
}

/* Codes that a clamp to [act_lo, act_hi] leaves of [*lo, *hi]. Rounding is monotone, so clamping
 * codes equals clamping values and rounding afterwards. */
static inline void fb_act_codes(float act_lo, float act_hi, float scale, int32_t zero, int32_t *lo,
                                int32_t *hi)
{
    int32_t least = fb_quantize(act_lo, scale, zero, *lo, *hi);
    int32_t most = fb_quantize(act_hi, scale, zero, *lo, *hi);
    *lo = least;
    *hi = most < least ? least : most;
}

#endif
