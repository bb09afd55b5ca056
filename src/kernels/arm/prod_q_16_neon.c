/* Look-up convolution with NEON, tables of 16 bytes in a register: tbl looks 16 outputs of a pixel
 * up. */
#include "kernels/prod_q.h"

#include "kernels/arm/simd_q_neon.h"

#define KERNEL(suffix) fbk_prod_q_16_neon##suffix
enum { MR = 4, NB = 32, INDEX_BYTES = 64, STRIP_BYTES = 160 * 1024 };
enum { LEAST_WORDS = 2, MOST_WORDS = 16 };
#define WORDS(c) 16u

/* A sum of bytes is at most 255; a quad adds 1, 2 or 4 of them to a 16-bit one. */
#define CHUNK(c) ((c)->table_bits <= 6 ? 256u : (c)->table_bits == 7 ? 128u : 64u)

/* Tables 0 and 1 share a byte, and 2 and 3. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    uint8_t *byte = quad + table / 2 * NB + o;
    *byte = (uint8_t)(*byte | index << (table % 2 * 4));
}

#include "kernels/prod_q_layout.h"

#include "kernels/arm/prod_q_build.h"
#include "kernels/arm/prod_q_sum.h"

/* One pixel's look-ups in a quad's tables for half h of the outputs; sum_of is a constant. */
static inline __attribute__((always_inline)) void look_up(const uint8x16_t table[QUAD],
                                                          const uint8x16_t index[QUAD], uint32_t h,
                                                          const uint32_t sum_of, sums16 *s)
{
    uint8x16_t v0 = vqtbl1q_u8(table[0], index[0]), v1 = vqtbl1q_u8(table[1], index[1]);
    uint8x16_t v2 = vqtbl1q_u8(table[2], index[2]), v3 = vqtbl1q_u8(table[3], index[3]);
    if (sum_of == 4) {
        add_bytes(s, h, vaddq_u8(vaddq_u8(v0, v1), vaddq_u8(v2, v3)));
    } else if (sum_of == 2) {
        add_bytes(s, h, vaddq_u8(v0, v1));
        add_bytes(s, h, vaddq_u8(v2, v3));
    } else {
        add_bytes(s, h, v0);
        add_bytes(s, h, v1);
        add_bytes(s, h, v2);
        add_bytes(s, h, v3);
    }
}

static inline void unpack(const uint8_t *quad, uint32_t h, uint8x16_t index[QUAD])
{
    for (uint32_t t = 0; t < QUAD; t += 2) {
        uint8x16_t both = vld1q_u8(quad + t / 2 * NB + h * 16);
        index[t] = vandq_u8(both, vdupq_n_u8(15));
        index[t + 1] = vshrq_n_u8(both, 4);
    }
}

/* mr pixels x NB outputs, sum_of looked-up bytes to a sum; both are constants after inlining. */
static inline __attribute__((always_inline)) void micro_kernel(const micro *m, const micro_block *k,
                                                               const uint8_t *const *x, size_t at,
                                                               const uint32_t mr,
                                                               const uint32_t sum_of)
{
    sums32 sums[MR];
    for (uint32_t i = 0; i < mr; i++)
        for (uint32_t j = 0; j < NB / 4; j++)
            sums[i].v[j] = vld1q_s32(k->bias + j * 4);
    const uint8_t *packed_index = k->index;
    const piece *run = m->pieces, *end = run + m->n_pieces;
    while (run < end) {
        sums16 s[MR];
        for (uint32_t i = 0; i < mr; i++)
            for (uint32_t j = 0; j < NB / 8; j++)
                s[i].v[j] = vdupq_n_u16(0);
        bool last;
        do {
            size_t quads = run->quads, offset = run->offset;
            for (size_t q = 0; q < quads; q++, packed_index += INDEX_BYTES) {
                uint8x16_t index[NB / 16][QUAD];
                for (uint32_t h = 0; h < NB / 16; h++)
                    unpack(packed_index, h, index[h]);
                for (uint32_t i = 0; i < mr; i++) {
                    uint8x16_t table[QUAD];
                    for (uint32_t t = 0; t < QUAD; t++)
                        table[t] = vld1q_u8(x[i] + offset + (q * QUAD + t) * LANE);
                    for (uint32_t h = 0; h < NB / 16; h++)
                        look_up(table, index[h], h, sum_of, &s[i]);
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

#include "kernels/prod_q_micros.h"
#include "kernels/prod_q_run.h"
