/* What the integer AVX2 kernels share: from 16 sums to 16 codes or floats. */
#ifndef FB_KERNELS_SIMD_Q_AVX2_H
#define FB_KERNELS_SIMD_Q_AVX2_H

#include "kernels/conv_q.h"

#include <immintrin.h>
#include <string.h>

typedef struct simd_q_out {
    bool f32_out;
    float lo, hi; /* clamp before rounding: y_lo - y_zero, y_hi - y_zero; or the activation's */
    int16_t zero;
} simd_q_out;

static inline simd_q_out simd_q_out_of(const fbk_conv_q *c)
{
    simd_q_out o;
    o.f32_out = c->f32_out;
    o.lo = c->f32_out ? c->act_lo : (float)(c->y_lo - c->y_zero);
    o.hi = c->f32_out ? c->act_hi : (float)(c->y_hi - c->y_zero);
    o.zero = (int16_t)c->y_zero;
    return o;
}

static inline __m256 simd_q_scaled(const simd_q_out *m, const float *scale, __m256i sums)
{
    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scale));
    return _mm256_min_ps(_mm256_max_ps(f, _mm256_set1_ps(m->lo)), _mm256_set1_ps(m->hi));
}

/* Sums of 16 channels to 16 codes; scale [16]. */
static inline __m128i simd_q_codes(const simd_q_out *m, const float *scale, __m256i s0, __m256i s1)
{
    __m256i v0 = _mm256_cvtps_epi32(simd_q_scaled(m, scale, s0));
    __m256i v1 = _mm256_cvtps_epi32(simd_q_scaled(m, scale + 8, s1));
    __m256i q = _mm256_permute4x64_epi64(_mm256_packs_epi32(v0, v1), 0xD8);
    q = _mm256_add_epi16(q, _mm256_set1_epi16(m->zero));
    q = _mm256_and_si256(q, _mm256_set1_epi16(0xff)); /* the low byte, signed or not */
    return _mm_packus_epi16(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
}

/* Sums of 16 channels to y[at .. at + n), codes or floats, n <= 16. */
static inline void simd_q_finish(const simd_q_out *m, const float *scale, __m256i s0, __m256i s1,
                                 void *y, size_t at, uint32_t n)
{
    if (m->f32_out) {
        float rest[16];
        _mm256_storeu_ps(rest, simd_q_scaled(m, scale, s0));
        _mm256_storeu_ps(rest + 8, simd_q_scaled(m, scale + 8, s1));
        memcpy((float *)y + at, rest, n * sizeof *rest);
    } else {
        uint8_t rest[16];
        _mm_storeu_si128((void *)rest, simd_q_codes(m, scale, s0, s1));
        memcpy((uint8_t *)y + at, rest, n);
    }
}

/* The same for all 16. */
static inline void simd_q_store(const simd_q_out *m, const float *scale, __m256i s0, __m256i s1,
                                void *y, size_t at)
{
    if (m->f32_out)
        simd_q_finish(m, scale, s0, s1, y, at, 16);
    else
        _mm_storeu_si128((void *)((uint8_t *)y + at), simd_q_codes(m, scale, s0, s1));
}

#endif
