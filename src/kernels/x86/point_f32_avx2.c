/* Elementwise arithmetic with two inputs. */
#include "kernels/point_f32.h"
#include "kernels/x86/simd_avx2.h"

/* NaN of either side wins: x86's max and min give their second operand when one is NaN, so only a
 * NaN on the left needs help. */
FBK_INLINE __m256 keep_nan(__m256 a, __m256 r)
{
    return _mm256_blendv_ps(r, a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}

FBK_INLINE __m256 apply(const fbk_binary op, __m256 a, __m256 b)
{
    switch (op) {
    case FBK_ADD:
        return _mm256_add_ps(a, b);
    case FBK_SUB:
        return _mm256_sub_ps(a, b);
    case FBK_MUL:
        return _mm256_mul_ps(a, b);
    case FBK_DIV:
        return _mm256_div_ps(a, b);
    case FBK_MAX:
        return keep_nan(a, _mm256_max_ps(a, b));
    default:
        return keep_nan(a, _mm256_min_ps(a, b));
    }
}

FBK_INLINE void loop(const fbk_binary op, size_t n, const float *a, size_t sa, const float *b,
                     size_t sb, float *y, float lo, float hi)
{
    __m256 vlo = _mm256_set1_ps(lo), vhi = _mm256_set1_ps(hi);
    __m256 a0 = _mm256_set1_ps(*a), b0 = _mm256_set1_ps(*b);
    for (size_t i = 0; i < n; i += 8) {
        size_t k = n - i;
        __m256 va = sa ? fbk_load(a + i, k) : a0, vb = sb ? fbk_load(b + i, k) : b0;
        fbk_store(y + i, k, fbk_clamp(apply(op, va, vb), vlo, vhi));
    }
}

void fbk_binary_f32_avx2(fbk_binary op, size_t n, const float *a, size_t sa, const float *b,
                         size_t sb, float *y, float lo, float hi)
{
    if (n == 0)
        return;
    switch (op) {
    case FBK_ADD:
        loop(FBK_ADD, n, a, sa, b, sb, y, lo, hi);
        break;
    case FBK_SUB:
        loop(FBK_SUB, n, a, sa, b, sb, y, lo, hi);
        break;
    case FBK_MUL:
        loop(FBK_MUL, n, a, sa, b, sb, y, lo, hi);
        break;
    case FBK_DIV:
        loop(FBK_DIV, n, a, sa, b, sb, y, lo, hi);
        break;
    case FBK_MAX:
        loop(FBK_MAX, n, a, sa, b, sb, y, lo, hi);
        break;
    case FBK_MIN:
        loop(FBK_MIN, n, a, sa, b, sb, y, lo, hi);
        break;
    default: /* pow: libm */
        fbk_binary_f32_ref(op, n, a, sa, b, sb, y, lo, hi);
        break;
    }
}

void fbk_scale_shift_f32_avx2(size_t n_px, size_t c, const float *x, const float *scale,
                              const float *shift, float *y)
{
    for (size_t p = 0; p < n_px; p++, x += c, y += c) {
        for (size_t i = 0; i < c; i += 8) {
            size_t k = c - i;
            fbk_store(y + i, k,
                      _mm256_fmadd_ps(fbk_load(x + i, k), fbk_load(scale + i, k),
                                      fbk_load(shift + i, k)));
        }
    }
}

void fbk_prelu_f32_avx2(size_t n, const float *x, const float *slope, size_t ss, float *y)
{
    if (n == 0)
        return;
    __m256 s0 = _mm256_set1_ps(*slope);
    for (size_t i = 0; i < n; i += 8) {
        size_t k = n - i;
        __m256 v = fbk_load(x + i, k), s = ss ? fbk_load(slope + i, k) : s0;
        __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
        fbk_store(y + i, k, _mm256_blendv_ps(v, _mm256_mul_ps(v, s), negative));
    }
}
