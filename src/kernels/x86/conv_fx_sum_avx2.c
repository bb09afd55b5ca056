/* Fixed point where a sum is exact before anything happens to it: layers whose accumulators cannot
 * overflow, and those that saturate in the end or wrap.
 *
 * Narrow forms: the sum is proved to lie within 32 bits, and vpmaddwd adds pairs of products to it.
 * Wide form: 32-bit lanes still suffice for a sum T of any size. One lane adds the pair sums p
 * modulo 2^32, another adds floor(p / 2^16). The latter times 2^16 is less than T by a rest of at
 * most 65535 for each pair, so with fewer than 65536 pairs the rest is known from the former lane.
 */
#define MR 6
#include "kernels/x86/conv_fx_tile.h"

enum { NARROW8, NARROW16, WIDE, WIDE_MR = 3 };

bool fbk_conv_fx_sum_avx2_plan(fbk_conv_fx *c)
{
    bool each = c->law.overflow == FB_OVERFLOW_SATURATE;
    if (fbk_conv_fx_is_safe(c) || (!each && c->reach <= INT32_MAX))
        c->form = c->w_least >= -128 && c->w_most <= 127 ? NARROW8 : NARROW16;
    else if (each)
        return false;
    else
        c->form = WIDE;
    layout l = layout_of(c);
    /* A pair of products is exact unless both are (-2^15)^2. */
    if (c->form == WIDE && ((uint64_t)l.runs * l.units > 65535 || c->w_least < -32767))
        return false;
    return plan_tiles(c, c->form == NARROW8 ? 1 : 2);
}

void fbk_conv_fx_sum_avx2_pack(const fbk_conv_fx *c, const fbk_fx_weights *w)
{
    pack_layer(c, w, c->form == NARROW8 ? 1 : 2);
}

/* Exact sums as accumulators. */
static inline __m256i settle(const micro *m, __m256i sum, uint32_t *over)
{
    __m256i acc;
    if (m->law.overflow == FB_OVERFLOW_WRAP) {
        __m128i n = _mm_cvtsi32_si128(32 - m->law.acc_bits);
        acc = _mm256_sra_epi32(_mm256_sll_epi32(sum, n), n);
    } else {
        acc = _mm256_min_epi32(_mm256_max_epi32(sum, _mm256_set1_epi32(m->acc_lo)),
                               _mm256_set1_epi32(m->acc_hi));
    }
    *over += NR / 2 - count_lanes(_mm256_cmpeq_epi32(acc, sum));
    return acc;
}

static __attribute__((noinline)) void finish_narrow(const micro *m, const head *h, __m256i s0,
                                                    __m256i s1, void *y, size_t at, uint32_t n,
                                                    fb_saturations *counts)
{
    uint32_t over = 0;
    s0 = settle(m, s0, &over);
    s1 = settle(m, s1, &over);
    counts->sums += over;
    finish(m, h, s0, s1, y, at, n, counts);
}

static inline __m256i load_w(const void *w, size_t i, bool bytes)
{
    if (bytes)
        return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)w + i));
    return _mm256_load_si256((const __m256i *)w + i);
}

/* One pixel. 12 sums, 2 weights, a broadcast and a product fill 16 registers exactly. Named
 * variables instead of arrays, since clang 14 keeps arrays in memory here. */
#define ROWS(X)  X(0) X(1) X(2) X(3) X(4) X(5)
#define CLEAR(i) __m256i s##i = b0, t##i = b1;
#define START(i) const int16_t *p##i = x[mr > i ? i : 0] + m->offset[r];
#define FINISH(i)                                                                                  \
    if (mr > i)                                                                                    \
        finish_narrow(m, h, s##i, t##i, y, at + (size_t)i * m->oc, n, counts);
#define STEP(i)                                                                                    \
    if (mr > i) {                                                                                  \
        __m256i a = _mm256_set1_epi32(pair_at(p##i + 2 * k));                                      \
        s##i = _mm256_add_epi32(s##i, _mm256_madd_epi16(a, w0));                                   \
        t##i = _mm256_add_epi32(t##i, _mm256_madd_epi16(a, w1));                                   \
    }

/* mr and bytes are constants after inlining. */
static inline __attribute__((always_inline)) void
narrow(const micro *m, const int16_t *const *x, const void *w, const head *h, void *y, size_t at,
       uint32_t n, fb_saturations *counts, const uint32_t mr, const bool bytes)
{
    __m256i b0 = _mm256_load_si256((const void *)h->start);
    __m256i b1 = _mm256_load_si256((const void *)(h->start + 8));
    ROWS(CLEAR)
    for (uint32_t r = 0; r < m->runs; r++) {
        ROWS(START)
        for (size_t k = 0; k < m->pairs; k++) {
            __m256i w0 = load_w(w, 0, bytes), w1 = load_w(w, 1, bytes);
            w = (const char *)w + 2 * NR * (bytes ? 1 : 2);
            ROWS(STEP)
        }
    }
    ROWS(FINISH)
}

/* --- wide ------------------------------------------------------------------------------------ */

/* low modulo 2^32, high in units of 2^16, to accumulators. */
static __attribute__((noinline)) void finish_wide(const micro *m, const head *h, __m256i low0,
                                                  __m256i low1, __m256i high0, __m256i high1,
                                                  void *y, size_t at, uint32_t n,
                                                  fb_saturations *counts)
{
    int32_t low[NR], high[NR], acc[NR];
    _mm256_storeu_si256((void *)low, low0);
    _mm256_storeu_si256((void *)(low + 8), low1);
    _mm256_storeu_si256((void *)high, high0);
    _mm256_storeu_si256((void *)(high + 8), high1);
    for (int j = 0; j < NR; j++) {
        uint32_t rest = (uint32_t)low[j] - ((uint32_t)high[j] << 16);
        int64_t sum = (int64_t)high[j] * 65536 + rest + h->bias[j];
        acc[j] = (int32_t)fb_acc_of(sum, &m->law);
        counts->sums += acc[j] != sum;
    }
    finish(m, h, _mm256_loadu_si256((const void *)acc), _mm256_loadu_si256((const void *)(acc + 8)),
           y, at, n, counts);
}

#define WIDE_ROWS(X)  X(0) X(1) X(2)
#define WIDE_CLEAR(i) __m256i s##i = none, t##i = none, u##i = none, v##i = none;
#define WIDE_FINISH(i)                                                                             \
    if (mr > i)                                                                                    \
        finish_wide(m, h, s##i, t##i, u##i, v##i, y, at + (size_t)i * m->oc, n, counts);
#define WIDE_STEP(i)                                                                               \
    if (mr > i) {                                                                                  \
        __m256i a = _mm256_set1_epi32(pair_at(p##i + 2 * k));                                      \
        __m256i q = _mm256_madd_epi16(a, w0);                                                      \
        a = _mm256_madd_epi16(a, w1);                                                              \
        s##i = _mm256_add_epi32(s##i, q);                                                          \
        t##i = _mm256_add_epi32(t##i, a);                                                          \
        u##i = _mm256_add_epi32(u##i, _mm256_srai_epi32(q, 16));                                   \
        v##i = _mm256_add_epi32(v##i, _mm256_srai_epi32(a, 16));                                   \
    }

static inline __attribute__((always_inline)) void wide(const micro *m, const int16_t *const *x,
                                                       const void *w, const head *h, void *y,
                                                       size_t at, uint32_t n,
                                                       fb_saturations *counts, const uint32_t mr)
{
    const __m256i none = _mm256_setzero_si256();
    WIDE_ROWS(WIDE_CLEAR)
    for (uint32_t r = 0; r < m->runs; r++) {
        WIDE_ROWS(START)
        for (size_t k = 0; k < m->pairs; k++) {
            __m256i w0 = load_w(w, 0, false), w1 = load_w(w, 1, false);
            w = (const char *)w + 4 * NR;
            WIDE_ROWS(WIDE_STEP)
        }
    }
    WIDE_ROWS(WIDE_FINISH)
}

/* --- rows ------------------------------------------------------------------------------------ */

#define MICRO(name, ...)                                                                           \
    static void name(const micro *m, const int16_t *const *x, const void *w, const head *h,        \
                     void *y, size_t at, uint32_t n, fb_saturations *counts)                       \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
#define NARROW(mr, bytes)                                                                          \
    MICRO(narrow_##mr##_##bytes, narrow(m, x, w, h, y, at, n, counts, mr, bytes))
NARROW(1, 0)
NARROW(2, 0)
NARROW(3, 0)
NARROW(4, 0)
NARROW(5, 0)
NARROW(6, 0)
NARROW(1, 1)
NARROW(2, 1)
NARROW(3, 1)
NARROW(4, 1)
NARROW(5, 1)
NARROW(6, 1)
MICRO(wide_1, wide(m, x, w, h, y, at, n, counts, 1))
MICRO(wide_2, wide(m, x, w, h, y, at, n, counts, 2))
MICRO(wide_3, wide(m, x, w, h, y, at, n, counts, 3))
/* More pixels than the registers hold: two halves. */
MICRO(wide_4, wide_3(m, x, w, h, y, at, n, counts);
      wide_1(m, x + 3, w, h, y, at + 3 * (size_t)m->oc, n, counts))
MICRO(wide_5, wide_3(m, x, w, h, y, at, n, counts);
      wide_2(m, x + 3, w, h, y, at + 3 * (size_t)m->oc, n, counts))
MICRO(wide_6, wide_3(m, x, w, h, y, at, n, counts);
      wide_3(m, x + 3, w, h, y, at + 3 * (size_t)m->oc, n, counts))

static micro_fn *const micros[][MR + 1] = {
    [NARROW8] = {NULL, narrow_1_1, narrow_2_1, narrow_3_1, narrow_4_1, narrow_5_1, narrow_6_1},
    [NARROW16] = {NULL, narrow_1_0, narrow_2_0, narrow_3_0, narrow_4_0, narrow_5_0, narrow_6_0},
    [WIDE] = {NULL, wide_1, wide_2, wide_3, wide_4, wide_5, wide_6}};

void fbk_conv_fx_sum_avx2(const fbk_conv_fx *c, const void *x, void *y, void *scratch,
                          uint32_t tile, fb_saturations *counts)
{
    run_tile(c, micros[c->form], c->form == NARROW8 ? 1 : 2, x, y, scratch, tile, counts);
}
