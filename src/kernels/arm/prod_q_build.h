/* Look-up convolution with NEON: the tables of two pixels, a lane of 16 entries at a time, so that
 * words are loaded once for both; see prod_q_layout.h. The codes are taken less 128, which fits
 * the signed multiply-add; `zero` puts that right. Sums wrap on the way, the last one fits. */
#ifndef FB_KERNELS_ARM_PROD_Q_BUILD_H
#define FB_KERNELS_ARM_PROD_Q_BUILD_H

enum { CODE_SHIFT = 128 };

typedef struct build_parts {
    uint32_t *from; /* [lanes] sub-vector's first byte in the pixel's codes */
    int16_t *mul;   /* [lanes] */
    int16_t *zero;  /* [groups][lanes][16] (128 - x_zero) * sum of the word */
    int8_t *word;   /* [groups][lanes][d][16] */
    uint32_t lanes; /* of a pixel and group */
    size_t bytes;
} build_parts;

static build_parts build_split(const fbk_prod_q *c, const layout *l, void *base)
{
    build_parts p;
    size_t used = 0;
    p.lanes = l->padded * l->chunks;
    size_t entries = (size_t)c->groups * p.lanes * LANE;
    p.from = next_part(base, &used, p.lanes * sizeof *p.from);
    p.mul = next_part(base, &used, p.lanes * sizeof *p.mul);
    p.zero = next_part(base, &used, entries * sizeof *p.zero);
    p.word = next_part(base, &used, entries * c->d);
    p.bytes = used;
    return p;
}

static size_t build_bytes(const fbk_prod_q *c, const layout *l)
{
    return build_split(c, l, NULL).bytes;
}

/* 16 words of a table, from `first` on; ic is the sub-vector's first channel. */
static void pack_lane(const fbk_prod_q *c, const layout *l, const int8_t *table, uint32_t first,
                      uint32_t ic, int16_t *zero, int8_t *to)
{
    for (uint32_t k = 0; k < LANE && first + k < c->n_words; k++) {
        const int8_t *word = table + (size_t)(first + k) * c->d;
        int32_t sum = 0;
        for (uint32_t j = 0; j < c->d && ic + j < l->icg; j++) {
            sum += word[j];
            to[j * LANE + k] = word[j];
        }
        zero[k] = (int16_t)((CODE_SHIFT - c->x_zero) * sum);
    }
}

static void build_pack(const fbk_prod_q *c, const layout *l, const int8_t *word, void *to)
{
    build_parts p = build_split(c, l, to);
    for (uint32_t t = 0; t < l->tables * l->chunks; t++) {
        uint32_t table = t / l->chunks, m = table / c->stages;
        p.from[t] = m * l->pairs * 2;
        p.mul[t] = (int16_t)c->mul[table % c->stages];
        for (uint32_t g = 0; g < c->groups; g++) {
            size_t at = ((size_t)g * p.lanes + t) * LANE;
            pack_lane(c, l, word + ((size_t)g * l->tables + table) * c->n_words * c->d,
                      t % l->chunks * LANE, m * c->d, p.zero + at, p.word + at * c->d);
        }
    }
}

/* 16 entries, clamped and stored as codes. */
static inline void store_lane(int16x8_t lo, int16x8_t hi, int16_t mul, uint8_t fill, uint8_t *to)
{
    int8x16_t both =
        vcombine_s8(vqmovn_s16(vqrdmulhq_n_s16(lo, mul)), vqmovn_s16(vqrdmulhq_n_s16(hi, mul)));
    both = vmaxq_s8(both, vdupq_n_s8((int8_t)-fill));
    both = vminq_s8(both, vdupq_n_s8((int8_t)(fill - 1)));
    vst1q_u8(to, vaddq_u8(vreinterpretq_u8_s8(both), vdupq_n_u8(fill)));
}

static inline int8x16_t code_all(const uint8_t *x)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_dup_u8(x), vdupq_n_u8(CODE_SHIFT)));
}

/* d is a constant after inlining where it is one of the usual. */
static inline __attribute__((always_inline)) void build_with(const build_parts *p, uint8_t fill,
                                                             uint32_t group,
                                                             const uint8_t *const codes[2],
                                                             uint8_t *const to[2], const uint32_t d)
{
    const int16_t *zero = p->zero + (size_t)group * p->lanes * LANE;
    const int8_t *word = p->word + (size_t)group * p->lanes * LANE * d;
    for (size_t t = 0; t < p->lanes; t++, zero += LANE) {
        const uint8_t *x0 = codes[0] + p->from[t], *x1 = codes[1] + p->from[t];
        int16x8_t lo0 = vld1q_s16(zero), hi0 = vld1q_s16(zero + 8), lo1 = lo0, hi1 = hi0;
        for (uint32_t j = 0; j < d; j++, word += LANE) {
            int8x16_t w = vld1q_s8(word), v0 = code_all(x0 + j), v1 = code_all(x1 + j);
            lo0 = vmlal_s8(lo0, vget_low_s8(w), vget_low_s8(v0));
            hi0 = vmlal_high_s8(hi0, w, v0);
            lo1 = vmlal_s8(lo1, vget_low_s8(w), vget_low_s8(v1));
            hi1 = vmlal_high_s8(hi1, w, v1);
        }
        store_lane(lo0, hi0, p->mul[t], fill, to[0] + t * LANE);
        store_lane(lo1, hi1, p->mul[t], fill, to[1] + t * LANE);
    }
}

static void build_tables(const builder *b, uint32_t group, const uint8_t *const codes[2],
                         uint8_t *const to[2])
{
    build_parts p = build_split(b->c, b->l, b->parts);
    uint32_t d = b->c->d;
    if (d == 4)
        build_with(&p, b->fill, group, codes, to, 4);
    else if (d == 8)
        build_with(&p, b->fill, group, codes, to, 8);
    else
        build_with(&p, b->fill, group, codes, to, d);
}

#endif
