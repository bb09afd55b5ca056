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

/* Sums of 16 channels to y[at .. at + n), n <= 16; scale [16]. */
static inline void simd_q_finish(const simd_q_out *m, const float *scale, __m256i a0, __m256i a1,
                                 void *y, size_t at, uint32_t n)
{
    __m256 lo = _mm256_set1_ps(m->lo), hi = _mm256_set1_ps(m->hi);
    __m256 f0 = _mm256_mul_ps(_mm256_cvtepi32_ps(a0), _mm256_loadu_ps(scale));
    __m256 f1 = _mm256_mul_ps(_mm256_cvtepi32_ps(a1), _mm256_loadu_ps(scale + 8));
    f0 = _mm256_min_ps(_mm256_max_ps(f0, lo), hi);
    f1 = _mm256_min_ps(_mm256_max_ps(f1, lo), hi);
    if (m->f32_out) {
        float *to = (float *)y + at, rest[16];
        float *v = n == 16 ? to : rest;
        _mm256_storeu_ps(v, f0);
        _mm256_storeu_ps(v + 8, f1);
        if (n != 16)
            memcpy(to, rest, n * sizeof *to);
        return;
    }
    __m256i q = _mm256_packs_epi32(_mm256_cvtps_epi32(f0), _mm256_cvtps_epi32(f1));
    q = _mm256_add_epi16(_mm256_permute4x64_epi64(q, 0xD8), _mm256_set1_epi16(m->zero));
    q = _mm256_and_si256(q, _mm256_set1_epi16(0xff)); /* the low byte, signed or not */
    __m128i codes = _mm_packus_epi16(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    uint8_t *to = (uint8_t *)y + at;
    if (n == 16) {
        _mm_storeu_si128((void *)to, codes);
    } else {
        uint8_t rest[16];
        _mm_storeu_si128((void *)rest, codes);
        memcpy(to, rest, n);
    }
}

#endif
