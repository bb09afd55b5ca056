/* Fixed point with an accumulator that saturates after each product: channels side by side,
 * products one after the other in their order. */
#define MR 2
#include "kernels/x86/conv_fx_tile.h"

/* The products are made of pairs (x, 0) and (0, x), so codes must fit 16 signed bits as they are.
 */
bool fbk_conv_fx_each_avx2_plan(fbk_conv_fx *c)
{
    if (c->law.overflow != FB_OVERFLOW_SATURATE || stage_offset(c) != 0)
        return false;
    c->form = c->law.acc_bits == 32;
    return plan_tiles(c, 2);
}

void fbk_conv_fx_each_avx2_pack(const fbk_conv_fx *c, const fbk_fx_weights *w)
{
    pack_layer(c, w, 2);
}

typedef struct limits {
    __m256i lo, hi;
} limits;

/* acc + p, clamped; *left becomes negative in lanes where the clamp bites. With fewer than 32 bits
 * the sum of an accumulator and a product (at most 2^30) cannot leave 32. */
static inline __m256i add_product(__m256i acc, __m256i p, const limits *l, bool full, __m256i *left)
{
    __m256i sum = _mm256_add_epi32(acc, p), most, over;
    if (!full) {
        most = _mm256_min_epi32(_mm256_max_epi32(sum, l->lo), l->hi);
        *left = _mm256_or_si256(*left, _mm256_xor_si256(sum, most));
        return most;
    }
    over = _mm256_and_si256(_mm256_xor_si256(acc, sum), _mm256_xor_si256(p, sum));
    most = _mm256_xor_si256(_mm256_srai_epi32(acc, 31), l->hi);
    *left = _mm256_or_si256(*left, over);
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(sum), _mm256_castsi256_ps(most),
                                                _mm256_castsi256_ps(over)));
}

static inline uint32_t count_left(__m256i left, bool full)
{
    const __m256i none = _mm256_setzero_si256();
    return full ? count_lanes(left) : NR / 2 - count_lanes(_mm256_cmpeq_epi32(left, none));
}

#define ROWS(X) X(0) X(1)
#define CLEAR(i)                                                                                   \
    __m256i s##i = b0, t##i = b1, u##i = l0, v##i = l1; /* sums, then what left them               \
                                                         */
#define START(i) const int16_t *p##i = x[mr > i ? i : 0] + m->offset[r];
#define STEP(i)                                                                                    \
    if (mr > i) {                                                                                  \
        uint32_t pair = (uint32_t)pair_at(p##i + 2 * k);                                           \
        __m256i a = _mm256_set1_epi32((int32_t)(pair & 0xffffu));                                  \
        s##i = add_product(s##i, _mm256_madd_epi16(a, w0), &range, full, &u##i);                   \
        t##i = add_product(t##i, _mm256_madd_epi16(a, w1), &range, full, &v##i);                   \
        a = _mm256_set1_epi32((int32_t)(pair & 0xffff0000u));                                      \
        s##i = add_product(s##i, _mm256_madd_epi16(a, w0), &range, full, &u##i);                   \
        t##i = add_product(t##i, _mm256_madd_epi16(a, w1), &range, full, &v##i);                   \
    }
#define FINISH(i)                                                                                  \
    if (mr > i) {                                                                                  \
        counts->sums += count_left(u##i, full) + count_left(v##i, full);                           \
        finish(m, h, s##i, t##i, y, at + (size_t)i * m->oc, n, counts);                            \
    }

/* mr and full are constants after inlining. */
static inline __attribute__((always_inline)) void
micro_kernel(const micro *m, const int16_t *const *x, const void *w, const head *h, void *y,
             size_t at, uint32_t n, fb_saturations *counts, const uint32_t mr, const bool full)
{
    const limits range = {_mm256_set1_epi32(m->acc_lo), _mm256_set1_epi32(m->acc_hi)};
    __m256i b0 = _mm256_load_si256((const void *)h->start);
    __m256i b1 = _mm256_load_si256((const void *)(h->start + 8));
    __m256i l0 = _mm256_load_si256((const void *)h->left);
    __m256i l1 = _mm256_load_si256((const void *)(h->left + 8));
    ROWS(CLEAR)
    for (uint32_t r = 0; r < m->runs; r++) {
        ROWS(START)
        for (size_t k = 0; k < m->pairs; k++) {
            __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256((const __m256i *)w + 1);
            w = (const char *)w + 4 * NR;
            ROWS(STEP)
        }
    }
    ROWS(FINISH)
}

#define MICRO(mr, full)                                                                            \
    static void micro_##mr##_##full(const micro *m, const int16_t *const *x, const void *w,        \
                                    const head *h, void *y, size_t at, uint32_t n,                 \
                                    fb_saturations *counts)                                        \
    {                                                                                              \
        micro_kernel(m, x, w, h, y, at, n, counts, mr, full);                                      \
    }
MICRO(1, 0)
MICRO(2, 0)
MICRO(1, 1)
MICRO(2, 1)
static micro_fn *const micros[][MR + 1] = {{NULL, micro_1_0, micro_2_0},
                                           {NULL, micro_1_1, micro_2_1}};

void fbk_conv_fx_each_avx2(const fbk_conv_fx *c, const void *x, void *y, void *scratch,
                           uint32_t tile, fb_saturations *counts)
{
    run_tile(c, micros[c->form], 2, x, y, scratch, tile, counts);
}
