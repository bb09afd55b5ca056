/* Staged codes of the 6 x 16 integer convolution (conv_q_6x16.h) on CPUs with VNNI (and AVX-512VL,
 * which gives it 256 bits).
 *
 * vpdpbusd adds four u8 x s8 products to a 32-bit sum, exactly: 64 multiply-adds where the AVX2 row
 * needs four instructions. Its left operand is unsigned, so signed codes are staged 128 higher and
 * their zero point with them.
 */
#ifndef FB_KERNELS_CONV_Q_STAGE_VNNI_H
#define FB_KERNELS_CONV_Q_STAGE_VNNI_H

#include "kernels/x86/simd_q_avx2.h"

#define UNIT 4
typedef uint8_t stage_t;

static inline int32_t stage_zero(const fbk_conv_q *c)
{
    return c->x_signed ? c->x_zero + 128 : c->x_zero;
}

static void stage_copy(stage_t *to, const uint8_t *from, size_t n, bool is_signed)
{
    if (!is_signed) {
        memcpy(to, from, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] ^ 0x80;
}

static void stage_fill(stage_t *to, size_t n, int32_t v)
{
    memset(to, v, n);
}

static inline __m256i load_w(const void *w, size_t i, bool wide)
{
    (void)wide;
    return _mm256_load_si256((const __m256i *)w + i);
}

static inline __m256i multiply_add(__m256i sum, __m256i a, __m256i w)
{
    return _mm256_dpbusd_epi32(sum, a, w);
}

#endif
