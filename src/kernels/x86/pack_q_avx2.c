/* Packing on AVX2. 8 codes of `bits` bits are `bits` whole bytes: one half of a register.
 *
 * Unpacking brings to each lane the two bytes (three for codes of more than 8 bits) that hold its
 * code, multiplies or shifts so that the code's highest bit is the lane's, and shifts back down,
 * with or without sign. Packing joins neighbours: pairs, fours, eights.
 *
 * A half is read and written as 16 bytes, of which `bits` or 2 * `bits` count; where fewer than 16
 * are left in the row, the reference does the rest. */
#include "kernels/pack_q.h"

#include <immintrin.h>

/* --- codes of 1..7 bits ----------------------------------------------------------------------- */

/* For lanes of 16 bits: which two bytes hold code k of 8, and the factor that lifts it. */
static void lift_8(unsigned bits, __m256i *which, __m256i *factor)
{
    uint8_t w[16];
    uint16_t f[8];
    for (unsigned k = 0; k < 8; k++) {
        unsigned at = k * bits, byte = at / 8, second = (at + bits - 1) / 8;
        w[2 * k] = (uint8_t)byte;
        w[2 * k + 1] = (uint8_t)(second > byte ? second : 0x80);
        f[k] = (uint16_t)(1u << (16 - bits - at % 8));
    }
    *which = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)w));
    *factor = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)f));
}

static inline __m256i two_halves(const uint8_t *x, size_t apart)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)x)),
                                   _mm_loadu_si128((const void *)(x + apart)), 1);
}

static inline __m256i lowered(__m256i v, __m128i by, bool is_signed)
{
    return is_signed ? _mm256_sra_epi16(v, by) : _mm256_srl_epi16(v, by);
}

void fbk_unpack8_q_avx2(unsigned bits, bool is_signed, size_t n, const uint8_t *x, uint8_t *y)
{
    size_t i = 0, left = (n * bits + 7) / 8;
    __m256i which, factor, byte = _mm256_set1_epi16(0xff);
    __m128i by = _mm_cvtsi32_si128((int)(16 - bits));
    lift_8(bits, &which, &factor);
    for (; i + 32 <= n && left >= 3 * bits + 16; i += 32, x += 4 * bits, left -= 4 * bits) {
        __m256i a = _mm256_shuffle_epi8(two_halves(x, 2 * bits), which);
        __m256i b = _mm256_shuffle_epi8(two_halves(x + bits, 2 * bits), which);
        a = lowered(_mm256_mullo_epi16(a, factor), by, is_signed);
        b = lowered(_mm256_mullo_epi16(b, factor), by, is_signed);
        a = _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
        _mm256_storeu_si256((void *)(y + i), a);
    }
    fbk_unpack8_q_ref(bits, is_signed, n - i, x, y + i);
}

/* Moves the `bits` low bytes of both 64-bit lanes of a half next to each other. */
static __m256i squeeze(unsigned bytes)
{
    uint8_t w[16];
    for (unsigned k = 0; k < 16; k++)
        w[k] = (uint8_t)(k < bytes ? k : k < 2 * bytes ? 8 + k - bytes : 0x80);
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)w));
}

void fbk_pack8_q_avx2(unsigned bits, size_t n, const uint8_t *x, uint8_t *y)
{
    size_t i = 0, left = (n * bits + 7) / 8;
    __m256i mask = _mm256_set1_epi8((char)((1u << bits) - 1));
    __m256i pair = _mm256_set1_epi16((int16_t)(1u | 1u << (8 + bits)));
    __m256i four = _mm256_set1_epi32((int32_t)(1u | 1u << (16 + 2 * bits)));
    __m256i low = _mm256_set1_epi64x(0xffffffff), order = squeeze(bits);
    __m128i by = _mm_cvtsi32_si128((int)(32 - 4 * bits));
    for (; i + 32 <= n && left >= 2 * bits + 16; i += 32, y += 4 * bits, left -= 4 * bits) {
        __m256i v = _mm256_and_si256(_mm256_loadu_si256((const void *)(x + i)), mask);
        v = _mm256_maddubs_epi16(pair, v); /* 1 and 2^bits, unsigned; codes fit 7 bits */
        v = _mm256_madd_epi16(v, four);    /* 1 and 4^bits, at most 2^14 */
        v = _mm256_or_si256(_mm256_and_si256(v, low),
                            _mm256_srl_epi64(_mm256_andnot_si256(low, v), by));
        v = _mm256_shuffle_epi8(v, order);
        _mm_storeu_si128((void *)y, _mm256_castsi256_si128(v));
        _mm_storeu_si128((void *)(y + 2 * bits), _mm256_extracti128_si256(v, 1));
    }
    fbk_pack8_q_ref(bits, n - i, x + i, y);
}

/* --- codes of 9..15 bits ---------------------------------------------------------------------- */

/* For lanes of 32 bits: which bytes hold code k of 8, from the half's first byte on, and how far up
 * the code has to go. Codes 4..7 lie in the upper half. */
static void lift_16(unsigned bits, __m256i *which, __m256i *up)
{
    uint8_t w[32];
    uint32_t s[8];
    for (unsigned k = 0; k < 8; k++) {
        unsigned at = k * bits, last = (at + bits - 1) / 8;
        for (unsigned j = 0; j < 4; j++)
            w[4 * k + j] = (uint8_t)(at / 8 + j <= last ? at / 8 + j : 0x80);
        s[k] = 32 - bits - at % 8;
    }
    *which = _mm256_loadu_si256((const void *)w);
    *up = _mm256_loadu_si256((const void *)s);
}

void fbk_unpack16_q_avx2(unsigned bits, bool is_signed, size_t n, const uint8_t *x, uint16_t *y)
{
    size_t i = 0, left = (n * bits + 7) / 8;
    __m256i which, up;
    __m128i by = _mm_cvtsi32_si128((int)(32 - bits));
    lift_16(bits, &which, &up);
    for (; i + 8 <= n && left >= 16; i += 8, x += bits, left -= bits) {
        __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)x));
        v = _mm256_sllv_epi32(_mm256_shuffle_epi8(v, which), up);
        v = is_signed ? _mm256_sra_epi32(v, by) : _mm256_srl_epi32(v, by);
        v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
        _mm_storeu_si128((void *)(y + i), _mm_packus_epi32(_mm256_castsi256_si128(v),
                                                           _mm256_extracti128_si256(v, 1)));
    }
    fbk_unpack16_q_ref(bits, is_signed, n - i, x, y + i);
}

/* Four codes in the low 4 * bits bits of either 64-bit lane. */
static inline __m128i join_fours(__m128i v, unsigned bits)
{
    __m128i low = _mm_set1_epi32(0xffff), half = _mm_set1_epi64x(0xffffffff);
    v = _mm_or_si128(_mm_and_si128(v, low),
                     _mm_srl_epi32(_mm_andnot_si128(low, v), _mm_cvtsi32_si128((int)(16 - bits))));
    return _mm_or_si128(
        _mm_and_si128(v, half),
        _mm_srl_epi64(_mm_andnot_si128(half, v), _mm_cvtsi32_si128((int)(32 - 2 * bits))));
}

void fbk_pack16_q_avx2(unsigned bits, size_t n, const uint16_t *x, uint8_t *y)
{
    size_t i = 0, left = (n * bits + 7) / 8;
    unsigned first = bits / 2; /* byte in which the second four begin, after a nibble if odd */
    uint8_t w[16];
    for (unsigned k = 0; k < 16; k++)
        w[k] = (uint8_t)(k >= first && k < first + 8 ? 8 + k - first : 0x80);
    __m128i move = _mm_loadu_si128((const void *)w);
    __m128i nibble = _mm_set_epi64x(bits % 2 ? 4 : 0, 0);
    __m128i mask = _mm_set1_epi16((int16_t)((1u << bits) - 1));
    for (; i + 8 <= n && left >= 16; i += 8, y += bits, left -= bits) {
        __m128i v = _mm_and_si128(_mm_loadu_si128((const void *)(x + i)), mask);
        v = _mm_sllv_epi64(join_fours(v, bits), nibble);
        v = _mm_or_si128(_mm_move_epi64(v), _mm_shuffle_epi8(v, move));
        _mm_storeu_si128((void *)y, v);
    }
    fbk_pack16_q_ref(bits, n - i, x + i, y);
}

/* --- levels ----------------------------------------------------------------------------------- */

void fbk_lut_f32_avx2(const float table[256], size_t n, const uint8_t *x, float *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(x + i)));
        _mm256_storeu_ps(y + i, _mm256_i32gather_ps(table, at, 4));
    }
    fbk_lut_f32_ref(table, n - i, x + i, y + i);
}

/* Bisection: the edges ascend, and those that are not used are +inf. */
static inline __m256i nearest_8(const fbk_nearest *q, __m256 v)
{
    __m256i found = _mm256_setzero_si256();
    for (unsigned step = 1u << (q->bits - 1); step > 0; step /= 2) {
        __m256i at = _mm256_add_epi32(found, _mm256_set1_epi32((int32_t)step - 1));
        __m256 above = _mm256_cmp_ps(v, _mm256_i32gather_ps(q->edge, at, 4), _CMP_GT_OQ);
        found = _mm256_add_epi32(
            found, _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32((int32_t)step)));
    }
    return found;
}

void fbk_nearest_f32_avx2(const fbk_nearest *q, size_t n, const float *x, uint8_t *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i a = nearest_8(q, _mm256_loadu_ps(x + i));
        __m256i b = nearest_8(q, _mm256_loadu_ps(x + i + 8));
        a = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xD8);
        _mm_storeu_si128((void *)(y + i), _mm_packus_epi16(_mm256_castsi256_si128(a),
                                                           _mm256_extracti128_si256(a, 1)));
    }
    fbk_nearest_f32_ref(q, n - i, x + i, y + i);
}
