/* Look-up convolution on x86: the tables of two pixels, LANES at a time, so that words
 * and constants are loaded once for both; see prod_q_layout.h. The includer defines vec, a register
 * of LANES 16-byte lanes, and v_...
 *
 * 8 entries of each table are 16-bit numbers in its lane: the pair of codes at hand stands in all
 * 8, and a multiply-add takes it to the words' pairs. */

/* 16 entries of LANES tables, clamped and stored as codes. */
static inline void store_tables(vec lo, vec hi, vec mul, uint8_t fill, uint8_t *to)
{
    vec both = v_pack(v_mul_round(lo, mul), v_mul_round(hi, mul));
    both = v_min8(v_max8(both, v_set8((char)-fill)), v_set8((char)(fill - 1)));
    v_store(to, v_add8(both, v_set8((char)fill)));
}

/* pairs and near are constants after inlining. */
static inline __attribute__((always_inline)) void
build_with(const builder *b, const uint8_t *const codes[2], const int8_t *word, const int16_t *zero,
           uint8_t *const to[2], const uint32_t pairs, const bool near)
{
    const uint32_t *from = b->p->from;
    const int16_t *mul = b->p->mul;
    const uint8_t *pattern = b->p->pattern, *c0 = codes[0], *c1 = codes[1];
    uint8_t fill = b->fill, *to0 = to[0], *to1 = to[1];
    size_t padded = b->l->padded;
    for (size_t t = 0; t < padded; t += LANES, zero += LANES * 16) {
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
        store_tables(lo0, hi0, m, fill, to0 + t * 16);
        store_tables(lo1, hi1, m, fill, to1 + t * 16);
    }
}

/* Of two pixels, or of one given twice; each with its codes and its place. */
static void build_tables(const builder *b, const uint8_t *const codes[2], const int8_t *word,
                         const int16_t *zero, uint8_t *const to[2])
{
    uint32_t pairs = b->l->pairs;
    bool near = b->l->near;
    if (pairs == 2 && near)
        build_with(b, codes, word, zero, to, 2, true);
    else if (pairs == 4 && near)
        build_with(b, codes, word, zero, to, 4, true);
    else if (pairs == 4)
        build_with(b, codes, word, zero, to, 4, false);
    else
        build_with(b, codes, word, zero, to, pairs, near);
}
