/* Look-up convolution with AVX2: the registers of prod_q_build.h, and what becomes of 16-bit sums.
 */
#ifndef FB_KERNELS_PROD_Q_VEC_AVX2_H
#define FB_KERNELS_PROD_Q_VEC_AVX2_H

typedef __m256i vec;

static inline vec v_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

static inline vec v_codes(const uint8_t *codes, const uint32_t *from, bool near)
{
    __m128i first = _mm_loadu_si128((const void *)(codes + from[0]));
    if (near)
        return _mm256_broadcastsi128_si256(first);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first),
                                   _mm_loadu_si128((const void *)(codes + from[1])), 1);
}

#define v_store(p, v)     _mm256_storeu_si256((void *)(p), v)
#define v_set8(x)         _mm256_set1_epi8(x)
#define v_shuffle(v, i)   _mm256_shuffle_epi8(v, i)
#define v_pairs(u, s)     _mm256_maddubs_epi16(u, s)
#define v_add16(a, b)     _mm256_add_epi16(a, b)
#define v_mul_round(a, b) _mm256_mulhrs_epi16(a, b)
#define v_pack(a, b)      _mm256_packs_epi16(a, b)
#define v_add8(a, b)      _mm256_add_epi8(a, b)
#define v_max8(a, b)      _mm256_max_epi8(a, b)
#define v_min8(a, b)      _mm256_min_epi8(a, b)

/* The 16-bit sums of a chunk, added to 32-bit ones in the order of the outputs. */
static inline void widen(__m256i whole, __m256i high, __m256i sums[4])
{
    __m256i low = _mm256_sub_epi16(whole, _mm256_slli_epi16(high, 8));
    sums[0] = _mm256_add_epi32(sums[0], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(low)));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(low, 1)));
    sums[2] = _mm256_add_epi32(sums[2], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(high)));
    sums[3] = _mm256_add_epi32(sums[3], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(high, 1)));
}

/* The sums of a pixel to its outputs. */
static inline void finish(const micro *m, const micro_block *k, const __m256i sums[4], size_t at)
{
    if (k->n == NB) {
        simd_q_store(&m->out, k->scale, sums[0], sums[1], m->y, at);
        simd_q_store(&m->out, k->scale + 16, sums[2], sums[3], m->y, at + 16);
        return;
    }
    simd_q_finish(&m->out, k->scale, sums[0], sums[1], m->y, at, k->n < 16 ? k->n : 16);
    if (k->n > 16)
        simd_q_finish(&m->out, k->scale + 16, sums[2], sums[3], m->y, at + 16, k->n - 16);
}

#endif
