/* Staged codes of the 6 x 16 integer convolution (conv_q_6x16.h) on AVX2: 16-bit pair products.
 *
 * vpmaddwd multiplies pairs of 16-bit numbers into exact 32-bit sums, so nothing can saturate; on
 * CPUs without VNNI it has the same peak as the 8-bit vpmaddubsw + vpmaddwd + vpaddd.
 */
#ifndef FB_KERNELS_CONV_Q_STAGE_AVX2_H
#define FB_KERNELS_CONV_Q_STAGE_AVX2_H

#include "kernels/x86/simd_q_avx2.h"

#define UNIT 2
typedef int16_t stage_t;

static inline int32_t stage_zero(const fbk_conv_q *c)
{
    return c->x_zero;
}

/* Widens n codes; reads and writes nothing beyond them. */
static void stage_copy(stage_t *to, const uint8_t *from, size_t n, bool is_signed)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i q = _mm_loadu_si128((const void *)(from + i));
        __m256i v = is_signed ? _mm256_cvtepi8_epi16(q) : _mm256_cvtepu8_epi16(q);
        _mm256_storeu_si256((void *)(to + i), v);
    }
    for (; i < n; i++)
        to[i] = is_signed ? (int8_t)from[i] : from[i];
}

static void stage_fill(stage_t *to, size_t n, int32_t v)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((void *)(to + i), _mm256_set1_epi16((int16_t)v));
    for (; i < n; i++)
        to[i] = (int16_t)v;
}

static inline __m256i load_w(const void *w, size_t i, bool wide)
{
    if (wide)
        return _mm256_load_si256((const __m256i *)w + i);
    return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)w + i));
}

static inline __m256i multiply_add(__m256i sum, __m256i a, __m256i w)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, w));
}

#endif
