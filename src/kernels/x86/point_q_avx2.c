/* Element-wise integer kernels on AVX2. Tails are done by moving what is left through a buffer of
 * one vector, so that every element goes through the same instructions. */
#include "kernels/point_q.h"

#include <immintrin.h>
#include <string.h>

/* 8 unsigned codes. */
static inline __m256i load_codes_8(const uint8_t *x, __m128i flip)
{
    return _mm256_cvtepu8_epi32(_mm_xor_si128(_mm_loadl_epi64((const void *)x), flip));
}

/* 16 rounded values, already within a byte's range, to bytes. */
static inline __m128i pack_bytes(__m256i v0, __m256i v1)
{
    __m256i q = _mm256_permute4x64_epi64(_mm256_packs_epi32(v0, v1), 0xD8);
    q = _mm256_and_si256(q, _mm256_set1_epi16(0xff));
    return _mm_packus_epi16(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
}

static inline __m256i round_within(__m256 v, __m256 lo, __m256 hi)
{
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, lo), hi));
}

/* --- add -------------------------------------------------------------------------------------- */

static inline void add_16(const fbk_add_q *q, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    __m256 ra = _mm256_set1_ps(q->law.a_ratio), rb = _mm256_set1_ps(q->law.b_ratio);
    __m256 fixed = _mm256_set1_ps(q->law.fixed);
    __m256 lo = _mm256_set1_ps((float)q->lo), hi = _mm256_set1_ps((float)q->hi);
    __m128i flip = _mm_set1_epi8((char)q->flip);
    __m256i v[2];
    for (int i = 0; i < 2; i++) {
        __m256 fa = _mm256_cvtepi32_ps(load_codes_8(a + 8 * i, flip));
        __m256 fb = _mm256_cvtepi32_ps(load_codes_8(b + 8 * i, flip));
        v[i] = round_within(_mm256_fmadd_ps(fa, ra, _mm256_fmadd_ps(fb, rb, fixed)), lo, hi);
    }
    _mm_storeu_si128((void *)y, _mm_xor_si128(pack_bytes(v[0], v[1]), flip));
}

void fbk_add_q_avx2(const fbk_add_q *q, size_t n, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        add_16(q, a + i, b + i, y + i);
    if (i < n) {
        uint8_t ta[16] = {0}, tb[16] = {0}, ty[16];
        memcpy(ta, a + i, n - i);
        memcpy(tb, b + i, n - i);
        add_16(q, ta, tb, ty);
        memcpy(y + i, ty, n - i);
    }
}

/* --- mul -------------------------------------------------------------------------------------- */

static inline void mul_16(const fbk_mul_q *q, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    __m256 ratio = _mm256_set1_ps(q->ratio), zero = _mm256_set1_ps((float)q->y_zero);
    __m256 lo = _mm256_set1_ps((float)q->lo), hi = _mm256_set1_ps((float)q->hi);
    __m256i a_zero = _mm256_set1_epi32(q->a_zero), b_zero = _mm256_set1_epi32(q->b_zero);
    __m128i flip = _mm_set1_epi8((char)q->flip);
    __m256i v[2];
    for (int i = 0; i < 2; i++) {
        __m256i va = _mm256_sub_epi32(load_codes_8(a + 8 * i, flip), a_zero);
        __m256i vb = _mm256_sub_epi32(load_codes_8(b + 8 * i, flip), b_zero);
        /* Both fit 9 bits, so the pair product, with one high half cleared, is the product. */
        vb = _mm256_and_si256(vb, _mm256_set1_epi32(0xffff));
        __m256 product = _mm256_cvtepi32_ps(_mm256_madd_epi16(va, vb));
        v[i] = round_within(_mm256_add_ps(_mm256_mul_ps(product, ratio), zero), lo, hi);
    }
    _mm_storeu_si128((void *)y, _mm_xor_si128(pack_bytes(v[0], v[1]), flip));
}

void fbk_mul_q_avx2(const fbk_mul_q *q, size_t n, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        mul_16(q, a + i, b + i, y + i);
    if (i < n) {
        uint8_t ta[16] = {0}, tb[16] = {0}, ty[16];
        memcpy(ta, a + i, n - i);
        memcpy(tb, b + i, n - i);
        mul_16(q, ta, tb, ty);
        memcpy(y + i, ty, n - i);
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

/* vpshufb looks up the low half of the byte in each of the 16 rows of the table; the high half
 * picks the row: an index with its top bit set gives 0, so row r is asked with x - 16 r, saturated
 * out of range elsewhere, and the 16 answers are or-ed. */
static inline __m256i lut_32(const __m256i rows[16], __m256i x)
{
    const __m256i sixteen = _mm256_set1_epi8(16), out = _mm256_set1_epi8(0x70);
    __m256i y = _mm256_setzero_si256();
    for (int r = 0; r < 16; r++) {
        y = _mm256_or_si256(y, _mm256_shuffle_epi8(rows[r], _mm256_adds_epu8(x, out)));
        x = _mm256_sub_epi8(x, sixteen);
    }
    return y;
}

void fbk_lut_q_avx2(const uint8_t table[256], size_t n, const uint8_t *x, uint8_t *y)
{
    size_t i = 0;
    if (n >= 64) {
        __m256i rows[16];
        for (int r = 0; r < 16; r++)
            rows[r] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(table + 16 * r)));
        for (; i + 32 <= n; i += 32) {
            __m256i q = _mm256_loadu_si256((const void *)(x + i));
            _mm256_storeu_si256((void *)(y + i), lut_32(rows, q));
        }
    }
    for (; i < n; i++)
        y[i] = table[x[i]];
}

/* --- quantise and decode -----------------------------------------------------------------------
 */

/* 16 floats to codes of 16 bits, in order. */
static inline __m256i quantize_16(const float *x, __m256 scale, __m256 lo, __m256 hi, __m256i zero)
{
    __m256i v0 = round_within(_mm256_div_ps(_mm256_loadu_ps(x), scale), lo, hi);
    __m256i v1 = round_within(_mm256_div_ps(_mm256_loadu_ps(x + 8), scale), lo, hi);
    v0 = _mm256_and_si256(_mm256_add_epi32(v0, zero), _mm256_set1_epi32(0xffff));
    v1 = _mm256_and_si256(_mm256_add_epi32(v1, zero), _mm256_set1_epi32(0xffff));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(v0, v1), 0xD8);
}

void fbk_quantize_q_avx2(const fbk_codes *q, size_t n, const float *x, void *y)
{
    __m256 scale = _mm256_set1_ps(q->scale);
    __m256 lo = _mm256_set1_ps((float)(q->lo - q->zero));
    __m256 hi = _mm256_set1_ps((float)(q->hi - q->zero));
    __m256i zero = _mm256_set1_epi32(q->zero);
    bool narrow = q->type == FB_U8 || q->type == FB_S8;
    size_t size = narrow ? 1 : 2;
    for (size_t i = 0; i < n; i += 16) {
        float tail[16] = {0};
        bool whole = n - i >= 16;
        if (!whole)
            memcpy(tail, x + i, (n - i) * sizeof *x);
        __m256i v = quantize_16(whole ? x + i : tail, scale, lo, hi, zero);
        if (narrow) {
            v = _mm256_and_si256(v, _mm256_set1_epi16(0xff));
            v = _mm256_permute4x64_epi64(_mm256_packus_epi16(v, v), 0xD8);
        }
        uint8_t *to = (uint8_t *)y + i * size, rest[32];
        if (!whole) {
            _mm256_storeu_si256((void *)rest, v);
            memcpy(to, rest, (n - i) * size);
        } else if (narrow) {
            _mm_storeu_si128((void *)to, _mm256_castsi256_si128(v));
        } else {
            _mm256_storeu_si256((void *)to, v);
        }
    }
}

static inline __m256i load_codes(const fbk_codes *q, const void *x)
{
    if (q->type == FB_U8)
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(x));
    if (q->type == FB_S8)
        return _mm256_cvtepi8_epi32(_mm_loadl_epi64(x));
    if (q->type == FB_U16)
        return _mm256_cvtepu16_epi32(_mm_loadu_si128(x));
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(x));
}

void fbk_dequantize_q_avx2(const fbk_codes *q, size_t n, const void *x, float *y)
{
    __m256 scale = _mm256_set1_ps(q->scale);
    __m256i zero = _mm256_set1_epi32(q->zero);
    size_t size = q->type == FB_U8 || q->type == FB_S8 ? 1 : 2;
    for (size_t i = 0; i < n; i += 8) {
        uint8_t tail[16] = {0};
        const uint8_t *from = (const uint8_t *)x + i * size;
        bool whole = n - i >= 8;
        if (!whole)
            memcpy(tail, from, (n - i) * size);
        __m256i v = _mm256_sub_epi32(load_codes(q, whole ? from : tail), zero);
        __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(v), scale);
        if (whole) {
            _mm256_storeu_ps(y + i, f);
        } else {
            float rest[8];
            _mm256_storeu_ps(rest, f);
            memcpy(y + i, rest, (n - i) * sizeof *y);
        }
    }
}
