/* What the f32 AVX2 kernels share. */
#ifndef FB_KERNELS_X86_SIMD_AVX2_H
#define FB_KERNELS_X86_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define FBK_INLINE static inline __attribute__((always_inline))

/* The next loop has a small constant count and indexes an array of registers: unroll it whole. */
#if defined(__clang__)
#define FBK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FBK_UNROLL _Pragma("GCC unroll 8")
#endif

/* Lanes 0 .. n - 1, n in 0 .. 8. */
FBK_INLINE __m256i fbk_mask(size_t n)
{
    static const int32_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(const void *)(bits + 8 - n));
}

/* n in 1 .. 8 floats; the other lanes are 0 and not read. */
FBK_INLINE __m256 fbk_load(const float *p, size_t n)
{
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, fbk_mask(n));
}

FBK_INLINE void fbk_store(float *p, size_t n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, fbk_mask(n), v);
}

/* NaN passes: min and max give their second operand when one is NaN. */
FBK_INLINE __m256 fbk_clamp(__m256 v, __m256 lo, __m256 hi)
{
    return _mm256_min_ps(hi, _mm256_max_ps(lo, v));
}

FBK_INLINE float fbk_sum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* --- exponentials -------------------------------------------------------------------------------
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2 and ln 2 in two parts, so that r is exact to 2^-33; then
 * e^r - 1 = r + r^2 q(r), q of degree 5 from the Taylor series: its remainder r^8 / 8! is below
 * 6e-9 and the leading terms dominate every rounding. */

FBK_INLINE __m256 fbk_expm1_reduced(__m256 x, __m256 *n)
{
    *n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 q = _mm256_set1_ps(1.0f / 5040);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(1.0f / 720));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(1.0f / 120));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(1.0f / 24));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(1.0f / 6));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r);
}

/* 2^n for integral n in [-126, 127]. */
FBK_INLINE __m256 fbk_pow2(__m256 n)
{
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* e^x; inf above 88.73, to subnormals and 0 below -87.3; NaN stays NaN. Relative error < 1.5e-7 for
 * normal results. */
FBK_INLINE __m256 fbk_exp(__m256 x)
{
    __m256 n;
    x = fbk_clamp(x, _mm256_set1_ps(-104.0f), _mm256_set1_ps(89.0f));
    __m256 y = _mm256_add_ps(fbk_expm1_reduced(x, &n), _mm256_set1_ps(1.0f));
    /* 2^n in two factors, because n may be 128 or below -126. */
    __m256 half = _mm256_round_ps(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)),
                                  _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return _mm256_mul_ps(_mm256_mul_ps(y, fbk_pow2(half)), fbk_pow2(_mm256_sub_ps(n, half)));
}

/* e^x - 1 for x <= 0 (NaN stays NaN); relative error < 2.5e-7. */
FBK_INLINE __m256 fbk_expm1_negative(__m256 x)
{
    __m256 n;
    x = _mm256_max_ps(_mm256_set1_ps(-30.0f), x); /* the result is -1 from -18 on */
    __m256 m = fbk_expm1_reduced(x, &n), s = fbk_pow2(n);
    return _mm256_fmadd_ps(s, m, _mm256_sub_ps(s, _mm256_set1_ps(1.0f)));
}

#endif
