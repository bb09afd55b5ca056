/* Look-up convolution, tables of 16 bytes in a register: one byte shuffle looks 32 outputs of a
 * pixel up. As many looked-up bytes are added as fit a byte (4 of up to 6 bits, 2 of 7), then the
 * sums as 16-bit words and their high halves: of the outputs (2 j, 2 j + 1) of a word
 *
 *   whole += word, high += word >> 8       low = whole - 256 * high, all modulo 2^16
 *
 * without masking; low and high are exact as long as they stay below 2^16, which CHUNK sees to. */
#include "kernels/prod_q.h"

#include <immintrin.h>
#include <string.h>

#define KERNEL(suffix) fbk_prod_q_16_avx2##suffix
enum { LANES = 2, MR = 4, INDEX_BYTES = 64 };

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

/* Output o of a block lies in byte 2 o, and from 16 on in byte 2 (o - 16) + 1: low and high sums
 * come out in order. Tables 0 and 1 share a byte, and 2 and 3. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    uint8_t *byte = quad + table / 2 * 32 + o % 16 * 2 + o / 16;
    *byte = (uint8_t)(*byte | index << (table % 2 * 4));
}

#include "kernels/x86/prod_q_layout.h"

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

#include "kernels/x86/prod_q_build.h"

/* The 16-bit sums of a chunk, added to 32-bit ones in the order of the outputs. */
static inline void widen(__m256i whole, __m256i high, __m256i sums[4])
{
    __m256i low = _mm256_sub_epi16(whole, _mm256_slli_epi16(high, 8));
    sums[0] = _mm256_add_epi32(sums[0], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(low)));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(low, 1)));
    sums[2] = _mm256_add_epi32(sums[2], _mm256_cvtepu16_epi32(_mm256_castsi256_si128(high)));
    sums[3] = _mm256_add_epi32(sums[3], _mm256_cvtepu16_epi32(_mm256_extracti128_si256(high, 1)));
}

/* Keeps an unpacked index vector in its register: clang would unpack it again for each pixel. */
#define PIN(v) __asm__("" : "+x"(v))

/* Named variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define PIXELS(X) X(0) X(1) X(2) X(3)
#define CLEAR(i)  __m256i w##i = none, h##i = none;
#define START(i)  const uint8_t *p##i = x[mr > i ? i : 0] + run->offset;
#define TABLE(i, t)                                                                                \
    _mm256_shuffle_epi8(                                                                           \
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(p##i + q * 64 + (t)*16))),      \
        index##t)
#define FLUSH(i, v)                                                                                \
    do {                                                                                           \
        __m256i v_ = (v);                                                                          \
        w##i = _mm256_add_epi16(w##i, v_);                                                         \
        h##i = _mm256_add_epi16(h##i, _mm256_srli_epi16(v_, 8));                                   \
    } while (0)
#define LOOK_UP(i)                                                                                 \
    if (mr > i) {                                                                                  \
        if (sum_of == 4) {                                                                         \
            FLUSH(i, _mm256_add_epi8(_mm256_add_epi8(TABLE(i, 0), TABLE(i, 1)),                    \
                                     _mm256_add_epi8(TABLE(i, 2), TABLE(i, 3))));                  \
        } else if (sum_of == 2) {                                                                  \
            FLUSH(i, _mm256_add_epi8(TABLE(i, 0), TABLE(i, 1)));                                   \
            FLUSH(i, _mm256_add_epi8(TABLE(i, 2), TABLE(i, 3)));                                   \
        } else {                                                                                   \
            FLUSH(i, TABLE(i, 0));                                                                 \
            FLUSH(i, TABLE(i, 1));                                                                 \
            FLUSH(i, TABLE(i, 2));                                                                 \
            FLUSH(i, TABLE(i, 3));                                                                 \
        }                                                                                          \
    }
#define WIDEN(i)                                                                                   \
    if (mr > i)                                                                                    \
        widen(w##i, h##i, sums[i]);

/* mr pixels x NB outputs, sum_of looked-up bytes to a sum; both are constants after inlining. */
static inline __attribute__((always_inline)) void micro_kernel(const micro *m, const micro_block *k,
                                                               const uint8_t *const *x, size_t at,
                                                               const uint32_t mr,
                                                               const uint32_t sum_of)
{
    __m256i sums[MR][4];
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < 4; j++)
            sums[i][j] = _mm256_loadu_si256((const void *)(k->bias + j * 8));
    const uint8_t *packed_index = k->index;
    const __m256i nibble = _mm256_set1_epi8(15), none = _mm256_setzero_si256();
    const piece *run = m->pieces, *end = run + m->n_pieces;
    while (run < end) {
        PIXELS(CLEAR)
        bool last;
        do {
            PIXELS(START)
            size_t quads = run->quads;
            for (size_t q = 0; q < quads; q++, packed_index += INDEX_BYTES) {
                __m256i a = _mm256_loadu_si256((const void *)packed_index);
                __m256i b = _mm256_loadu_si256((const void *)(packed_index + 32));
                __m256i index0 = _mm256_and_si256(a, nibble), index2 = _mm256_and_si256(b, nibble);
                __m256i index1 = _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble);
                __m256i index3 = _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble);
                PIN(index0);
                PIN(index1);
                PIN(index2);
                PIN(index3);
                PIXELS(LOOK_UP)
            }
            last = run->widen;
            run++;
        } while (!last);
        PIXELS(WIDEN)
    }
    for (uint32_t i = 0; i < mr; i++, at += m->oc) {
        if (k->n == NB) {
            simd_q_store(&m->out, k->scale, sums[i][0], sums[i][1], m->y, at);
            simd_q_store(&m->out, k->scale + 16, sums[i][2], sums[i][3], m->y, at + 16);
            continue;
        }
        uint32_t n = k->n < 16 ? k->n : 16;
        simd_q_finish(&m->out, k->scale, sums[i][0], sums[i][1], m->y, at, n);
        if (k->n > 16)
            simd_q_finish(&m->out, k->scale + 16, sums[i][2], sums[i][3], m->y, at + 16, k->n - 16);
    }
}

#define MICRO(mr, sum_of)                                                                          \
    static void micro_##mr##_##sum_of(const micro *m, const micro_block *k,                        \
                                      const uint8_t *const *x, size_t at)                          \
    {                                                                                              \
        micro_kernel(m, k, x, at, mr, sum_of);                                                     \
    }
#define MICROS(sum_of) MICRO(1, sum_of) MICRO(2, sum_of) MICRO(3, sum_of) MICRO(4, sum_of)
MICROS(1)
MICROS(2)
MICROS(4)

static micro_fn *const *micros_of(uint32_t table_bits)
{
    static micro_fn *const micros[][MR + 1] = {
        {NULL, micro_1_1, micro_2_1, micro_3_1, micro_4_1},
        {NULL, micro_1_2, micro_2_2, micro_3_2, micro_4_2},
        {NULL, micro_1_4, micro_2_4, micro_3_4, micro_4_4},
    };
    return micros[table_bits <= 6 ? 2 : table_bits == 7 ? 1 : 0];
}

#include "kernels/x86/prod_q_run.h"
