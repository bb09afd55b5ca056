/* Look-up convolution with NEON, tables of 64 or 128 bytes: tbl over four registers looks 16
 * outputs of a pixel up in 64 bytes and gives 0 for an index beyond, so that the sum of two of them
 * is a look-up in 128. */
#include "kernels/prod_q.h"

#include "kernels/arm/simd_q_neon.h"

#define KERNEL(suffix) fbk_prod_q_128_neon##suffix
enum { MR = 2, NB = 32, INDEX_BYTES = 128, STRIP_BYTES = 256 * 1024 };
enum { LEAST_WORDS = 17, MOST_WORDS = 128, PART = 64 /* entries that one tbl sees */ };
#define WORDS(c) ((c)->n_words <= PART ? 64u : 128u)

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them to a 16-bit one. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    quad[table * NB + o] = index;
}

#include "kernels/prod_q_layout.h"

#include "kernels/arm/prod_q_build.h"
#include "kernels/arm/prod_q_sum.h"

/* 16 outputs in a table of `parts` * 64 bytes, added to `sum`. */
static inline __attribute__((always_inline)) uint8x16_t
look_up(const uint8_t *table, uint8x16_t index, const uint32_t parts, uint8x16_t sum)
{
    for (uint32_t i = 0; i < parts; i++)
        sum = vaddq_u8(sum, vqtbl4q_u8(vld1q_u8_x4(table + i * PART),
                                       vsubq_u8(index, vdupq_n_u8((uint8_t)(i * PART)))));
    return sum;
}

/* mr pixels x NB outputs, tables of parts * 64 bytes, sum_of looked-up bytes to a sum; all three
 * are constants after inlining. */
static inline __attribute__((always_inline)) void
micro_kernel(const micro *m, const micro_block *k, const uint8_t *const *x, size_t at,
             const uint32_t mr, const uint32_t parts, const uint32_t sum_of)
{
    sums32 sums[MR];
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < NB / 4; j++)
            sums[i].v[j] = vld1q_s32(k->bias + j * 4);
    const uint8_t *index = k->index;
    const piece *run = m->pieces, *end = run + m->n_pieces;
    while (run < end) {
        sums16 s[MR];
        for (uint32_t i = 0; i < mr; i++)
            for (uint32_t j = 0; j < NB / 8; j++)
                s[i].v[j] = vdupq_n_u16(0);
        bool last;
        do {
            size_t tables = (size_t)run->quads * QUAD, offset = run->offset;
            for (size_t t = 0; t < tables; t += sum_of) {
                uint8x16_t v[MR][NB / 16];
                for (uint32_t i = 0; i < mr; i++)
                    v[i][0] = v[i][1] = vdupq_n_u8(0);
                for (size_t u = t; u < t + sum_of; u++, index += NB) {
                    uint8x16_t index0 = vld1q_u8(index), index1 = vld1q_u8(index + 16);
                    for (uint32_t i = 0; i < mr; i++) {
                        const uint8_t *table = x[i] + offset + u * parts * PART;
                        v[i][0] = look_up(table, index0, parts, v[i][0]);
                        v[i][1] = look_up(table, index1, parts, v[i][1]);
                    }
                }
                for (uint32_t i = 0; i < mr; i++) {
                    add_bytes(&s[i], 0, v[i][0]);
                    add_bytes(&s[i], 1, v[i][1]);
                }
            }
            last = run->widen;
            run++;
        } while (!last);
        for (uint32_t i = 0; i < mr; i++)
            widen(&s[i], &sums[i]);
    }
    for (uint32_t i = 0; i < mr; i++)
        finish(m, k, &sums[i], at + (size_t)i * m->oc);
}

#define MICRO(mr, parts, sum_of)                                                                   \
    static void micro_##mr##_##parts##_##sum_of(const micro *m, const micro_block *k,              \
                                                const uint8_t *const *x, size_t at)                \
    {                                                                                              \
        micro_kernel(m, k, x, at, mr, parts, sum_of);                                              \
    }
#define MICROS(parts, sum_of) MICRO(1, parts, sum_of) MICRO(2, parts, sum_of)
MICROS(1, 1)
MICROS(1, 2)
MICROS(1, 4)
MICROS(2, 1)
MICROS(2, 2)
MICROS(2, 4)

static micro_fn *const *micros_of(const fbk_prod_q *c)
{
    static micro_fn *const micros[2][3][MR + 1] = {
        {{NULL, micro_1_1_1, micro_2_1_1},
         {NULL, micro_1_1_2, micro_2_1_2},
         {NULL, micro_1_1_4, micro_2_1_4}},
        {{NULL, micro_1_2_1, micro_2_2_1},
         {NULL, micro_1_2_2, micro_2_2_2},
         {NULL, micro_1_2_4, micro_2_2_4}},
    };
    return micros[c->n_words > PART][c->table_bits <= 6 ? 2 : c->table_bits == 7 ? 1 : 0];
}

#include "kernels/prod_q_run.h"
