/* Look-up convolution with AVX2, tables of up to 128 bytes: a byte shuffle looks 32 outputs of a
 * pixel up in 16 entries and gives 0 where the index's top bit is set, so that the sum over a
 * table's chunks of 16 is a look-up in the whole table. For chunk i the index less 16 i is taken;
 * adding 0x70 with saturation sets the top bit of all but 0..15. Looked-up bytes are summed as in
 * prod_q_16_avx2.c. */
#include "kernels/prod_q.h"

#include "kernels/x86/simd_q_avx2.h"

#define KERNEL(suffix) fbk_prod_q_128_avx2##suffix
enum { LANES = 2, MR = 4, NB = 32, INDEX_BYTES = 128, STRIP_BYTES = 256 * 1024 };
enum { LEAST_WORDS = 17, MOST_WORDS = 128 };
#define WORDS(c) (((c)->n_words + 15) / 16 * 16)

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

/* Output o of a block lies in byte 2 o, and from 16 on in byte 2 (o - 16) + 1: low and high sums
 * come out in order. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    quad[table * 32 + o % 16 * 2 + o / 16] = index;
}

#include "kernels/prod_q_layout.h"

#include "kernels/x86/prod_q_vec_avx2.h"

#include "kernels/x86/prod_q_build.h"

/* Named variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define PIXELS(X) X(0) X(1) X(2) X(3)
#define CLEAR(i)  __m256i w##i = none, h##i = none;
#define START(i)  const uint8_t *p##i = x[mr > i ? i : 0] + run->offset;
#define BEGIN(i)  __m256i v##i = none;
#define LOOK_UP(i)                                                                                 \
    if (mr > i) {                                                                                  \
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(p##i + c)));    \
        v##i = _mm256_add_epi8(v##i, _mm256_shuffle_epi8(table, at));                              \
    }
#define NEXT(i) p##i += bytes;
#define FLUSH(i)                                                                                   \
    if (mr > i) {                                                                                  \
        w##i = _mm256_add_epi16(w##i, v##i);                                                       \
        h##i = _mm256_add_epi16(h##i, _mm256_srli_epi16(v##i, 8));                                 \
    }
#define WIDEN(i)                                                                                   \
    if (mr > i)                                                                                    \
        widen(w##i, h##i, sums[i]);

/* mr pixels x NB outputs, sum_of looked-up bytes to a sum; both are constants after inlining. */
static inline __attribute__((always_inline)) void micro_kernel(const micro *m, const micro_block *k,
                                                               const uint8_t *const *x, size_t at0,
                                                               const uint32_t mr,
                                                               const uint32_t sum_of)
{
    __m256i sums[MR][4];
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < 4; j++)
            sums[i][j] = _mm256_loadu_si256((const void *)(k->bias + j * 8));
    const uint8_t *packed_index = k->index;
    const __m256i none = _mm256_setzero_si256(), chunk = _mm256_set1_epi8(16);
    const __m256i top = _mm256_set1_epi8(0x70);
    const piece *run = m->pieces, *end = run + m->n_pieces;
    const size_t bytes = (size_t)m->chunks * LANE;
    while (run < end) {
        PIXELS(CLEAR)
        bool last;
        do {
            PIXELS(START)
            size_t sets = (size_t)run->quads * (QUAD / sum_of);
            for (size_t s = 0; s < sets; s++) {
                PIXELS(BEGIN)
                for (uint32_t t = 0; t < sum_of; t++, packed_index += 32) {
                    __m256i index = _mm256_loadu_si256((const void *)packed_index);
                    for (size_t c = 0; c < bytes; c += LANE) {
                        __m256i at = _mm256_adds_epu8(index, top);
                        PIXELS(LOOK_UP)
                        index = _mm256_sub_epi8(index, chunk);
                    }
                    PIXELS(NEXT)
                }
                PIXELS(FLUSH)
            }
            last = run->widen;
            run++;
        } while (!last);
        PIXELS(WIDEN)
    }
    for (uint32_t i = 0; i < mr; i++)
        finish(m, k, sums[i], at0 + (size_t)i * m->oc);
}

#include "kernels/prod_q_micros.h"
#include "kernels/prod_q_run.h"
