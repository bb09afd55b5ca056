/* Look-up convolution on x86: the tables of two pixels, LANES lanes at a time, so that words and
 * constants are loaded once for both; see prod_q_layout.h. The includer defines vec, a register of
 * LANES 16-byte lanes, and v_...
 *
 * 8 entries of each lane are 16-bit numbers in it: the pair of codes at hand stands in all 8, and
 * a multiply-add takes it to the words' pairs. */

/* "near": LANES lanes in a row look at 16 neighbouring codes, always in the same way. */
typedef struct build_parts {
    uint8_t *pattern; /* [8][LANES * 16] where a lane's pair of elements lies */
    uint32_t *from;   /* [lanes] sub-vector's first byte in the pixel's codes */
    int16_t *mul;     /* [lanes / LANES][LANES * 8] */
    int16_t *zero;    /* [groups][lanes / LANES][2][LANES * 8] -x_zero * sum of the word */
    int8_t *word;     /* [groups][lanes / LANES][pairs][2][LANES][8][2] */
    uint32_t lanes;   /* of a pixel and group */
    size_t bytes;
    bool near;
} build_parts;

static build_parts build_split(const fbk_prod_q *c, const layout *l, void *base)
{
    build_parts p;
    size_t used = 0;
    uint32_t of_one = l->chunks * c->stages; /* lanes of a sub-vector */
    p.lanes = l->padded * l->chunks;
    p.near = (of_one % LANES == 0 && l->pairs * 2 <= 16) ||
             (LANES % of_one == 0 && LANES / of_one * l->pairs * 2 <= 16);
    p.pattern = next_part(base, &used, 8 * LANES * 16);
    p.from = next_part(base, &used, p.lanes * sizeof *p.from);
    p.mul = next_part(base, &used, (size_t)p.lanes * 8 * sizeof *p.mul);
    p.zero = next_part(base, &used, (size_t)c->groups * p.lanes * LANE * sizeof *p.zero);
    p.word = next_part(base, &used, (size_t)c->groups * p.lanes * LANE * l->pairs * 2);
    p.bytes = used;
    return p;
}

static size_t build_bytes(const fbk_prod_q *c, const layout *l)
{
    return build_split(c, l, NULL).bytes;
}

/* 16 words of a table, from `first` on: lane t of the group. */
static void pack_lane(const fbk_prod_q *c, const layout *l, const build_parts *p, uint32_t group,
                      uint32_t t, const int8_t *table, uint32_t first)
{
    size_t step = (size_t)group * (p->lanes / LANES) + t / LANES;
    uint32_t lane = t % LANES, ic = t / l->chunks / c->stages * c->d;
    for (uint32_t k = 0; k < LANE && first + k < c->n_words; k++) {
        const int8_t *word = table + (size_t)(first + k) * c->d;
        size_t slot = (k / 8 * LANES + lane) * 8 + k % 8;
        int32_t sum = 0;
        for (uint32_t j = 0; j < c->d && ic + j < l->icg; j++) {
            sum += word[j];
            p->word[(step * l->pairs + j / 2) * LANES * 32 + slot * 2 + j % 2] = word[j];
        }
        p->zero[step * LANES * LANE + slot] = (int16_t)(-c->x_zero * sum);
    }
}

static void build_pack(const fbk_prod_q *c, const layout *l, const int8_t *word, void *to)
{
    build_parts p = build_split(c, l, to);
    uint32_t of_one = l->chunks * c->stages;
    for (uint32_t j = 0; j < 8 * LANES * 16; j++) {
        uint32_t lane = j / 16 % LANES, pair = j / 16 / LANES;
        uint32_t base = p.near ? lane / of_one * l->pairs * 2 : 0;
        p.pattern[j] = (uint8_t)((base + pair * 2 + j % 2) % 16);
    }
    for (uint32_t t = 0; t < l->tables * l->chunks; t++) {
        p.from[t] = t / of_one * l->pairs * 2;
        for (uint32_t i = 0; i < 8; i++)
            p.mul[t * 8 + i] = (int16_t)c->mul[t / l->chunks % c->stages];
    }
    for (uint32_t g = 0; g < c->groups; g++)
        for (uint32_t t = 0; t < l->tables * l->chunks; t++) {
            size_t table = (size_t)g * l->tables + t / l->chunks;
            pack_lane(c, l, &p, g, t, word + table * c->n_words * c->d, t % l->chunks * LANE);
        }
}

/* 16 entries of LANES lanes, clamped and stored as codes. */
static inline void store_tables(vec lo, vec hi, vec mul, uint8_t fill, uint8_t *to)
{
    vec both = v_pack(v_mul_round(lo, mul), v_mul_round(hi, mul));
    both = v_min8(v_max8(both, v_set8((char)-fill)), v_set8((char)(fill - 1)));
    v_store(to, v_add8(both, v_set8((char)fill)));
}

/* pairs and near are constants after inlining. */
static inline __attribute__((always_inline)) void
build_with(const build_parts *p, uint8_t fill, uint32_t group, const uint8_t *const codes[2],
           uint8_t *const to[2], const uint32_t pairs, const bool near)
{
    const uint32_t *from = p->from;
    const int16_t *mul = p->mul, *zero = p->zero + (size_t)group * p->lanes * LANE;
    const int8_t *word = p->word + (size_t)group * p->lanes * LANE * pairs * 2;
    const uint8_t *pattern = p->pattern, *c0 = codes[0], *c1 = codes[1];
    uint8_t *to0 = to[0], *to1 = to[1];
    size_t lanes = p->lanes;
    for (size_t t = 0; t < lanes; t += LANES, zero += LANES * LANE) {
        vec x0 = v_codes(c0, from + t, near), x1 = v_codes(c1, from + t, near);
        vec lo0 = v_load(zero), hi0 = v_load(zero + LANES * 8), lo1 = lo0, hi1 = hi0;
        for (uint32_t j = 0; j < pairs; j++, word += LANES * 32) {
            if (j && j % 8 == 0) {
                x0 = v_codes(c0 + j * 2, from + t, false);
                x1 = v_codes(c1 + j * 2, from + t, false);
            }
            vec w0 = v_load(word), w1 = v_load(word + LANES * 16);
            vec at = v_load(pattern + j % 8 * LANES * 16);
            vec pair0 = v_shuffle(x0, at), pair1 = v_shuffle(x1, at);
            lo0 = v_add16(lo0, v_pairs(pair0, w0));
            hi0 = v_add16(hi0, v_pairs(pair0, w1));
            lo1 = v_add16(lo1, v_pairs(pair1, w0));
            hi1 = v_add16(hi1, v_pairs(pair1, w1));
        }
        vec m = v_load(mul + t * 8);
        store_tables(lo0, hi0, m, fill, to0 + t * LANE);
        store_tables(lo1, hi1, m, fill, to1 + t * LANE);
    }
}

static void build_tables(const builder *b, uint32_t group, const uint8_t *const codes[2],
                         uint8_t *const to[2])
{
    build_parts p = build_split(b->c, b->l, b->parts);
    uint32_t pairs = b->l->pairs;
    if (pairs == 2 && p.near)
        build_with(&p, b->fill, group, codes, to, 2, true);
    else if (pairs == 4 && p.near)
        build_with(&p, b->fill, group, codes, to, 4, true);
    else if (pairs == 4)
        build_with(&p, b->fill, group, codes, to, 4, false);
    else
        build_with(&p, b->fill, group, codes, to, pairs, p.near);
}
