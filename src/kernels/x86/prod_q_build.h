/* Look-up convolution on x86: the tables of one pixel and group, LANES at a time; see
 * prod_q_layout.h. The includer defines vec, a register of LANES 16-byte lanes, and v_...
 *
 * 8 entries of each table are 16-bit numbers in its lane: the pair of codes at hand stands in all
 * 8, and a multiply-add takes it to the words' pairs. */

/* 8 entries of LANES tables. */
static inline vec half_tables(const vec *pair, uint32_t n, const int8_t *word, const int16_t *zero,
                              vec mul)
{
    vec raw = v_load(zero);
    for (uint32_t j = 0; j < n; j++)
        raw = v_add16(raw, v_pairs(pair[j], v_load(word + j * LANES * 32)));
    return v_mul_round(raw, mul);
}

/* 16 entries of LANES tables, clamped and stored as codes. */
static inline void store_tables(vec lo, vec hi, uint8_t fill, uint8_t *to)
{
    vec both = v_max8(v_pack(lo, hi), v_set8((char)-fill));
    v_store(to, v_add8(v_min8(both, v_set8((char)(fill - 1))), v_set8((char)fill)));
}

/* Sub-vectors of `pairs` <= 8 pairs; pairs and near are constants after inlining. */
static inline __attribute__((always_inline)) void
build_short(const builder *b, const uint8_t *codes, const int8_t *word, const int16_t *zero,
            uint8_t *to, const uint32_t pairs, const bool near)
{
    const uint32_t *from = b->p->from;
    const int16_t *mul = b->p->mul;
    uint8_t fill = b->fill;
    vec pattern[8], pair[8];
    for (uint32_t j = 0; j < pairs; j++)
        pattern[j] = v_load(b->p->pattern + j * LANES * 16);
    size_t padded = b->l->padded;
    for (size_t t = 0; t < padded; t += LANES) {
        vec x = v_codes(codes, from + t, near), m = v_load(mul + t * 8);
        for (uint32_t j = 0; j < pairs; j++)
            pair[j] = v_shuffle(x, pattern[j]);
        store_tables(half_tables(pair, pairs, word, zero, m),
                     half_tables(pair, pairs, word + LANES * 16, zero + LANES * 8, m), fill, to);
        to += LANES * 16;
        word += pairs * LANES * 32;
        zero += LANES * 16;
    }
}

/* Sub-vectors of any length. */
static void build_long(const builder *b, const uint8_t *codes, const int8_t *word,
                       const int16_t *zero, uint8_t *to)
{
    const packed *p = b->p;
    uint32_t padded = b->l->padded, pairs = b->l->pairs;
    for (uint32_t t = 0; t < padded; t += LANES, to += LANES * 16, zero += LANES * 16) {
        vec lo = v_load(zero), hi = v_load(zero + LANES * 8), x = lo;
        for (uint32_t j = 0; j < pairs; j++, word += LANES * 32) {
            if (j % 8 == 0)
                x = v_codes(codes + j * 2, p->from + t, false);
            vec pair = v_shuffle(x, v_load(p->pattern + j % 8 * LANES * 16));
            lo = v_add16(lo, v_pairs(pair, v_load(word)));
            hi = v_add16(hi, v_pairs(pair, v_load(word + LANES * 16)));
        }
        vec mul = v_load(p->mul + t * 8);
        store_tables(v_mul_round(lo, mul), v_mul_round(hi, mul), b->fill, to);
    }
}

static void build_tables(const builder *b, const uint8_t *codes, const int8_t *word,
                         const int16_t *zero, uint8_t *to)
{
    uint32_t pairs = b->l->pairs;
    bool near = b->l->near;
    if (pairs == 2 && near)
        build_short(b, codes, word, zero, to, 2, true);
    else if (pairs == 3 && near)
        build_short(b, codes, word, zero, to, 3, true);
    else if (pairs == 4 && near)
        build_short(b, codes, word, zero, to, 4, true);
    else if (pairs == 4)
        build_short(b, codes, word, zero, to, 4, false);
    else if (pairs <= 8)
        build_short(b, codes, word, zero, to, pairs, near);
    else
        build_long(b, codes, word, zero, to);
}
