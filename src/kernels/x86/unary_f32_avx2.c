/* Elementwise functions. Those with an exponential use simd_avx2.h's; log, erf and softplus go to
 * the reference (libm in double). */
#include "kernels/point_f32.h"
#include "kernels/x86/simd_avx2.h"

#include <math.h>

FBK_INLINE __m256 set1(float v)
{
    return _mm256_set1_ps(v);
}

FBK_INLINE __m256 absolute(__m256 x)
{
    return _mm256_andnot_ps(set1(-0.0f), x);
}

FBK_INLINE __m256 is_negative(__m256 x)
{
    return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ);
}

/* e = e^-|x|: 1 / (1 + e) right of 0, e / (1 + e) left of it. */
FBK_INLINE __m256 sigmoid(__m256 x)
{
    __m256 e = fbk_exp(_mm256_or_ps(set1(-0.0f), x));
    __m256 top = _mm256_blendv_ps(set1(1), e, is_negative(x));
    return _mm256_div_ps(top, _mm256_add_ps(set1(1), e));
}

/* t = e^(-2|x|) - 1: |tanh| = -t / (t + 2), without cancellation near 0. */
FBK_INLINE __m256 tanh8(__m256 x)
{
    __m256 sign = _mm256_and_ps(set1(-0.0f), x);
    __m256 t = fbk_expm1_negative(_mm256_mul_ps(set1(-2), absolute(x)));
    __m256 r = _mm256_div_ps(t, _mm256_add_ps(t, set1(2))); /* -|tanh| */
    return _mm256_xor_ps(_mm256_xor_ps(r, set1(-0.0f)), sign);
}

/* a (e^x - 1) below 0, x above, all times b. */
FBK_INLINE __m256 elu(__m256 x, float a, float b)
{
    __m256 low = _mm256_mul_ps(set1(a), fbk_expm1_negative(x));
    return _mm256_mul_ps(set1(b), _mm256_blendv_ps(x, low, is_negative(x)));
}

FBK_INLINE __m256 apply(const fbk_unary op, __m256 x, float a, float b)
{
    const __m256 zero = _mm256_setzero_ps(), one = set1(1);
    switch (op) {
    case FBK_RELU:
        return _mm256_max_ps(zero, x);
    case FBK_LEAKY_RELU:
        return _mm256_blendv_ps(x, _mm256_mul_ps(set1(a), x), is_negative(x));
    case FBK_CLIP:
        return fbk_clamp(x, set1(a), set1(b));
    case FBK_SIGMOID:
        return sigmoid(x);
    case FBK_HARD_SIGMOID:
        return fbk_clamp(_mm256_fmadd_ps(set1(a), x, set1(b)), zero, one);
    case FBK_HARD_SWISH:
        return _mm256_mul_ps(x,
                             fbk_clamp(_mm256_fmadd_ps(x, set1(1.0f / 6), set1(0.5f)), zero, one));
    case FBK_TANH:
        return tanh8(x);
    case FBK_ELU:
        return elu(x, a, 1);
    case FBK_SELU:
        return elu(x, a, b);
    case FBK_SOFTSIGN:
        return _mm256_div_ps(x, _mm256_add_ps(one, absolute(x)));
    case FBK_EXP:
        return fbk_exp(x);
    case FBK_SQRT:
        return _mm256_sqrt_ps(x);
    case FBK_ABS:
        return absolute(x);
    default: /* neg */
        return _mm256_xor_ps(set1(-0.0f), x);
    }
}

FBK_INLINE void loop(const fbk_unary op, float a, float b, size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i += 8)
        fbk_store(y + i, n - i, apply(op, fbk_load(x + i, n - i), a, b));
}

#define CASE(op)                                                                                   \
    case op:                                                                                       \
        loop(op, a, b, n, x, y);                                                                   \
        break;

void fbk_unary_f32_avx2(fbk_unary op, float a, float b, size_t n, const float *x, float *y)
{
    switch (op) {
        CASE(FBK_RELU)
        CASE(FBK_LEAKY_RELU)
        CASE(FBK_CLIP)
        CASE(FBK_SIGMOID)
        CASE(FBK_HARD_SIGMOID)
        CASE(FBK_HARD_SWISH)
        CASE(FBK_TANH)
        CASE(FBK_ELU)
        CASE(FBK_SELU)
        CASE(FBK_SOFTSIGN)
        CASE(FBK_EXP)
        CASE(FBK_SQRT)
        CASE(FBK_ABS)
        CASE(FBK_NEG)
    default:
        fbk_unary_f32_ref(op, a, b, n, x, y);
        break;
    }
}
