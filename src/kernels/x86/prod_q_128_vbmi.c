/* Look-up convolution with AVX-512, tables of 64 bytes in a register or of 128 in two: one byte
 * permutation looks 64 outputs of a pixel up. Looked-up bytes are summed as in prod_q_16_avx2.c. */
#include "kernels/prod_q.h"

#include "kernels/x86/simd_q_avx2.h"

#define KERNEL(suffix) fbk_prod_q_128_vbmi##suffix
enum { MR = 8, NB = 64, INDEX_BYTES = 256, STRIP_BYTES = 384 * 1024 };
enum { LEAST_WORDS = 17, MOST_WORDS = 128, PART = 64 /* entries of a register */ };
#define WORDS(c) ((c)->n_words <= PART ? 64u : 128u)

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

/* Output o of a block lies in byte 2 o, and from 32 on in byte 2 (o - 32) + 1: low and high sums
 * come out in order. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    quad[table * 64 + o % 32 * 2 + o / 32] = index;
}

#include "kernels/prod_q_layout.h"

#include "kernels/x86/prod_q_build_dot.h"
#include "kernels/x86/prod_q_out_vbmi.h"

/* The 16-bit sums of a chunk, added to 32-bit ones in the order of the outputs. */
static inline void widen(__m512i whole, __m512i high, __m512i sums[4])
{
    __m512i low = _mm512_sub_epi16(whole, _mm512_slli_epi16(high, 8));
    sums[0] = _mm512_add_epi32(sums[0], _mm512_cvtepu16_epi32(_mm512_castsi512_si256(low)));
    sums[1] = _mm512_add_epi32(sums[1], _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(low, 1)));
    sums[2] = _mm512_add_epi32(sums[2], _mm512_cvtepu16_epi32(_mm512_castsi512_si256(high)));
    sums[3] = _mm512_add_epi32(sums[3], _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1)));
}

/* Named variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define PIXELS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define CLEAR(i)  __m512i w##i = none, h##i = none;
#define START(i)  const uint8_t *p##i = x[mr > i ? i : 0] + run->offset;
#define TABLE(i, t)                                                                                \
    (parts == 1 ? _mm512_permutexvar_epi8(index##t, _mm512_loadu_si512(p##i + (t)*PART))           \
                : _mm512_permutex2var_epi8(_mm512_loadu_si512(p##i + (t)*2 * PART), index##t,      \
                                           _mm512_loadu_si512(p##i + ((t)*2 + 1) * PART)))
#define FLUSH(i, v)                                                                                \
    do {                                                                                           \
        __m512i v_ = (v);                                                                          \
        w##i = _mm512_add_epi16(w##i, v_);                                                         \
        h##i = _mm512_add_epi16(h##i, _mm512_srli_epi16(v_, 8));                                   \
    } while (0)
#define LOOK_UP(i)                                                                                 \
    if (mr > i) {                                                                                  \
        if (sum_of == 4) {                                                                         \
            FLUSH(i, _mm512_add_epi8(_mm512_add_epi8(TABLE(i, 0), TABLE(i, 1)),                    \
                                     _mm512_add_epi8(TABLE(i, 2), TABLE(i, 3))));                  \
        } else if (sum_of == 2) {                                                                  \
            FLUSH(i, _mm512_add_epi8(TABLE(i, 0), TABLE(i, 1)));                                   \
            FLUSH(i, _mm512_add_epi8(TABLE(i, 2), TABLE(i, 3)));                                   \
        } else {                                                                                   \
            FLUSH(i, TABLE(i, 0));                                                                 \
            FLUSH(i, TABLE(i, 1));                                                                 \
            FLUSH(i, TABLE(i, 2));                                                                 \
            FLUSH(i, TABLE(i, 3));                                                                 \
        }                                                                                          \
        p##i += QUAD * parts * PART;                                                               \
    }
#define WIDEN(i)                                                                                   \
    if (mr > i)                                                                                    \
        widen(w##i, h##i, sums[i]);

/* mr pixels x NB outputs, tables of parts * 64 bytes, sum_of looked-up bytes to a sum; all three
 * are constants after inlining. */
static inline __attribute__((always_inline)) void
micro_kernel(const micro *m, const micro_block *k, const uint8_t *const *x, size_t at,
             const uint32_t mr, const uint32_t parts, const uint32_t sum_of)
{
    __m512i sums[MR][4];
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < 4; j++)
            sums[i][j] = _mm512_loadu_si512(k->bias + j * 16);
    const uint8_t *index = k->index;
    const __m512i none = _mm512_setzero_si512();
    const piece *run = m->pieces, *end = run + m->n_pieces;
    while (run < end) {
        PIXELS(CLEAR)
        bool last;
        do {
            PIXELS(START)
            for (uint32_t q = 0; q < run->quads; q++, index += INDEX_BYTES) {
                __m512i index0 = _mm512_loadu_si512(index);
                __m512i index1 = _mm512_loadu_si512(index + 64);
                __m512i index2 = _mm512_loadu_si512(index + 128);
                __m512i index3 = _mm512_loadu_si512(index + 192);
                PIXELS(LOOK_UP)
            }
            last = run->widen;
            run++;
        } while (!last);
        PIXELS(WIDEN)
    }
    for (uint32_t i = 0; i < mr; i++, at += m->oc)
        for (uint32_t j = 0; j * 16 < k->n; j++)
            finish_half(m, k->scale + j * 16, sums[i][j], at + j * 16, k->n - j * 16);
}

#define MICRO(mr, parts, sum_of)                                                                   \
    static void micro_##mr##_##parts##_##sum_of(const micro *m, const micro_block *k,              \
                                                const uint8_t *const *x, size_t at)                \
    {                                                                                              \
        micro_kernel(m, k, x, at, mr, parts, sum_of);                                              \
    }
#define MICROS(parts, sum_of)                                                                      \
    MICRO(1, parts, sum_of)                                                                        \
    MICRO(2, parts, sum_of)                                                                        \
    MICRO(3, parts, sum_of)                                                                        \
    MICRO(4, parts, sum_of)                                                                        \
    MICRO(5, parts, sum_of)                                                                        \
    MICRO(6, parts, sum_of)                                                                        \
    MICRO(7, parts, sum_of)                                                                        \
    MICRO(8, parts, sum_of)
MICROS(1, 1)
MICROS(1, 2)
MICROS(1, 4)
MICROS(2, 1)
MICROS(2, 2)
MICROS(2, 4)

#define ROW(parts, sum_of)                                                                         \
    {                                                                                              \
        NULL, micro_1_##parts##_##sum_of, micro_2_##parts##_##sum_of, micro_3_##parts##_##sum_of,  \
            micro_4_##parts##_##sum_of, micro_5_##parts##_##sum_of, micro_6_##parts##_##sum_of,    \
            micro_7_##parts##_##sum_of, micro_8_##parts##_##sum_of                                 \
    }

static micro_fn *const *micros_of(const fbk_prod_q *c)
{
    static micro_fn *const micros[2][3][MR + 1] = {{ROW(1, 1), ROW(1, 2), ROW(1, 4)},
                                                   {ROW(2, 1), ROW(2, 2), ROW(2, 4)}};
    return micros[c->n_words > PART][c->table_bits <= 6 ? 2 : c->table_bits == 7 ? 1 : 0];
}

#include "kernels/prod_q_run.h"
