/* Look-up convolution, tables of 16 bytes in a register: one byte shuffle looks 32 outputs of a
 * pixel up. As many looked-up bytes are added as fit a byte (4 of up to 6 bits, 2 of 7), then the
 * sums as 16-bit words and their high halves: of the outputs (2 j, 2 j + 1) of a word
 *
 *   whole += word, high += word >> 8       low = whole - 256 * high, all modulo 2^16
 *
 * without masking; low and high are exact as long as they stay below 2^16, which CHUNK sees to. */
#include "kernels/prod_q.h"

#include "kernels/x86/simd_q_avx2.h"

#define KERNEL(suffix) fbk_prod_q_16_avx2##suffix
enum { LANES = 2, MR = 4, NB = 32, INDEX_BYTES = 64, STRIP_BYTES = 160 * 1024 };
enum { LEAST_WORDS = 2, MOST_WORDS = 16 };
#define WORDS(c) 16u

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

/* Output o of a block lies in byte 2 o, and from 16 on in byte 2 (o - 16) + 1: low and high sums
 * come out in order. Tables 0 and 1 share a byte, and 2 and 3. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    uint8_t *byte = quad + table / 2 * 32 + o % 16 * 2 + o / 16;
    *byte = (uint8_t)(*byte | index << (table % 2 * 4));
}

#include "kernels/prod_q_layout.h"

#include "kernels/x86/prod_q_vec_avx2.h"

#include "kernels/x86/prod_q_build.h"

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
    for (uint32_t i = 0; i < mr; i++)
        finish(m, k, sums[i], at + (size_t)i * m->oc);
}

#include "kernels/prod_q_micros.h"
#include "kernels/prod_q_run.h"
