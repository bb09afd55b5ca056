/* Look-up convolution with AVX-512: a register holds the tables of a quad, and a byte permutation
 * looks 16 outputs of a pixel up in all four; four looked-up bytes to an output lie side by side,
 * so that a dot product with ones adds them to 32-bit sums. Nothing is rounded or can overflow. */
#include "kernels/prod_q.h"

#include "kernels/x86/simd_q_avx2.h"

#define KERNEL(suffix) fbk_prod_q_16_vbmi##suffix
enum { LANES = 4, MR = 8, NB = 32, INDEX_BYTES = 64, STRIP_BYTES = 160 * 1024 };
enum { LEAST_WORDS = 2, MOST_WORDS = 16 };
#define WORDS(c) 16u
#define CHUNK(c) ((void)(c), 1u << 24) /* sums are never widened */

/* Output o of a block: byte o % 16 * 4 + table, the low half for the first 16 outputs. */
static inline void index_put(uint8_t *quad, uint32_t table, uint32_t o, uint8_t index)
{
    uint8_t *byte = quad + o % 16 * 4 + table;
    *byte = (uint8_t)(*byte | index << (o / 16 * 4));
}

#include "kernels/prod_q_layout.h"

typedef __m512i vec;

static inline vec v_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

static inline vec v_codes(const uint8_t *codes, const uint32_t *from, bool near)
{
    __m128i first = _mm_loadu_si128((const void *)(codes + from[0]));
    if (near)
        return _mm512_broadcast_i32x4(first);
    vec v = _mm512_castsi128_si512(first);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(codes + from[1])), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(codes + from[2])), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(codes + from[3])), 3);
}

#define v_store(p, v)     _mm512_storeu_si512((void *)(p), v)
#define v_set8(x)         _mm512_set1_epi8(x)
#define v_shuffle(v, i)   _mm512_shuffle_epi8(v, i)
#define v_pairs(u, s)     _mm512_maddubs_epi16(u, s)
#define v_add16(a, b)     _mm512_add_epi16(a, b)
#define v_mul_round(a, b) _mm512_mulhrs_epi16(a, b)
#define v_pack(a, b)      _mm512_packs_epi16(a, b)
#define v_add8(a, b)      _mm512_add_epi8(a, b)
#define v_max8(a, b)      _mm512_max_epi8(a, b)
#define v_min8(a, b)      _mm512_min_epi8(a, b)

#include "kernels/x86/prod_q_build.h"
#include "kernels/x86/prod_q_out_vbmi.h"

/* Named variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define PIXELS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define CLEAR(i)  __m512i s##i = b0, t##i = b1;
#define START(i)  const uint8_t *p##i = x[mr > i ? i : 0] + run->offset;
#define LOOK_UP(i)                                                                                 \
    if (mr > i) {                                                                                  \
        __m512i tables = _mm512_loadu_si512(p##i + q * 64);                                        \
        s##i = _mm512_dpbusd_epi32(s##i, _mm512_permutexvar_epi8(index0, tables), one);            \
        t##i = _mm512_dpbusd_epi32(t##i, _mm512_permutexvar_epi8(index1, tables), one);            \
    }
#define FINISH(i)                                                                                  \
    if (mr > i)                                                                                    \
        finish(m, k, s##i, t##i, at + (size_t)i * m->oc);

static inline void finish(const micro *m, const micro_block *k, __m512i s, __m512i t, size_t at)
{
    finish_half(m, k->scale, s, at, k->n);
    if (k->n > 16)
        finish_half(m, k->scale + 16, t, at + 16, k->n - 16);
}

/* mr pixels x NB outputs; mr is a constant after inlining. */
static inline __attribute__((always_inline)) void micro_kernel(const micro *m, const micro_block *k,
                                                               const uint8_t *const *x, size_t at,
                                                               const uint32_t mr)
{
    const uint8_t *packed_index = k->index;
    const __m512i nibble = _mm512_set1_epi8(15), one = _mm512_set1_epi8(1);
    const __m512i table = _mm512_set1_epi32(0x30201000); /* where a quad's tables begin */
    __m512i b0 = _mm512_loadu_si512(k->bias), b1 = _mm512_loadu_si512(k->bias + 16);
    PIXELS(CLEAR)
    for (const piece *run = m->pieces, *end = run + m->n_pieces; run < end; run++) {
        PIXELS(START)
        size_t quads = run->quads;
        for (size_t q = 0; q < quads; q++, packed_index += INDEX_BYTES) {
            __m512i both = _mm512_loadu_si512(packed_index); /* (both & nibble) | table */
            __m512i index0 = _mm512_ternarylogic_epi32(both, nibble, table, 0xEA);
            both = _mm512_srli_epi16(both, 4);
            __m512i index1 = _mm512_ternarylogic_epi32(both, nibble, table, 0xEA);
            PIXELS(LOOK_UP)
        }
    }
    PIXELS(FINISH)
}

#define MICRO(mr)                                                                                  \
    static void micro_##mr(const micro *m, const micro_block *k, const uint8_t *const *x,          \
                           size_t at)                                                              \
    {                                                                                              \
        micro_kernel(m, k, x, at, mr);                                                             \
    }
MICRO(1)
MICRO(2)
MICRO(3)
MICRO(4)
MICRO(5)
MICRO(6)
MICRO(7)
MICRO(8)

static micro_fn *const *micros_of(const fbk_prod_q *c)
{
    static micro_fn *const micros[MR + 1] = {NULL,    micro_1, micro_2, micro_3, micro_4,
                                             micro_5, micro_6, micro_7, micro_8};
    (void)c; /* entries of 8 bits are as fast as any */
    return micros;
}

#include "kernels/prod_q_run.h"
