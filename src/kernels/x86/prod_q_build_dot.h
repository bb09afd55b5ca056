/* Look-up convolution with AVX-512: tables of 64 or 128 entries of two pixels, by dot products of 4
 * elements at a time; see prod_q_layout.h. 64 entries are 32-bit sums in four registers. Packing
 * these twice takes 4 of each register to each 16 bytes, so word k lies in register k % 16 / 4 at
 * place k / 16 * 4 + k % 4. */
#ifndef FB_KERNELS_PROD_Q_BUILD_DOT_H
#define FB_KERNELS_PROD_Q_BUILD_DOT_H

typedef struct build_parts {
    int16_t *mul;   /* [stages] */
    int32_t *zero;  /* [groups][tables][parts][64] -x_zero * sum of the word */
    int8_t *word;   /* [groups][tables][parts][fours][64][4] */
    uint32_t fours; /* of elements of a sub-vector */
    uint32_t parts; /* of a table */
    size_t bytes;
} build_parts;

static build_parts build_split(const fbk_prod_q *c, const layout *l, void *base)
{
    build_parts p = {.fours = (c->d + 3) / 4, .parts = l->words / PART};
    size_t used = 0, entries = (size_t)c->groups * l->tables * l->words;
    p.mul = next_part(base, &used, c->stages * sizeof *p.mul);
    p.zero = next_part(base, &used, entries * sizeof *p.zero);
    p.word = next_part(base, &used, entries * p.fours * 4);
    p.bytes = used;
    return p;
}

static size_t build_bytes(const fbk_prod_q *c, const layout *l)
{
    return build_split(c, l, NULL).bytes;
}

/* One table; ic is the sub-vector's first channel. */
static void pack_table(const fbk_prod_q *c, const layout *l, const build_parts *p,
                       const int8_t *table, uint32_t ic, int32_t *zero, int8_t *to)
{
    for (uint32_t k = 0; k < c->n_words; k++) {
        const int8_t *word = table + (size_t)k * c->d;
        uint32_t part = k / PART, i = k % PART, place = i % 16 / 4 * 16 + i / 16 * 4 + i % 4;
        int32_t sum = 0;
        for (uint32_t j = 0; j < c->d && ic + j < l->icg; j++) {
            sum += word[j];
            to[(((size_t)part * p->fours + j / 4) * PART + place) * 4 + j % 4] = word[j];
        }
        zero[part * PART + place] = -c->x_zero * sum;
    }
}

static void build_pack(const fbk_prod_q *c, const layout *l, const int8_t *word, void *to)
{
    build_parts p = build_split(c, l, to);
    for (uint32_t s = 0; s < c->stages; s++)
        p.mul[s] = (int16_t)c->mul[s];
    for (uint32_t i = 0; i < c->groups * l->tables; i++)
        pack_table(c, l, &p, word + (size_t)i * c->n_words * c->d, i % l->tables / c->stages * c->d,
                   p.zero + (size_t)i * l->words, p.word + (size_t)i * l->words * p.fours * 4);
}

/* 64 entries, clamped and stored as codes. */
static inline void store_part(const __m512i s[4], __m512i mul, uint8_t fill, uint8_t *to)
{
    __m512i lo = _mm512_mulhrs_epi16(_mm512_packs_epi32(s[0], s[1]), mul);
    __m512i hi = _mm512_mulhrs_epi16(_mm512_packs_epi32(s[2], s[3]), mul);
    __m512i both = _mm512_packs_epi16(lo, hi);
    both = _mm512_max_epi8(both, _mm512_set1_epi8((char)-fill));
    both = _mm512_min_epi8(both, _mm512_set1_epi8((char)(fill - 1)));
    _mm512_storeu_si512(to, _mm512_add_epi8(both, _mm512_set1_epi8((char)fill)));
}

static inline __m512i four_codes(const uint8_t *x)
{
    int32_t codes;
    memcpy(&codes, x, sizeof codes);
    return _mm512_set1_epi32(codes);
}

static void build_tables(const builder *b, uint32_t group, const uint8_t *const codes[2],
                         uint8_t *const to[2])
{
    const layout *l = b->l;
    build_parts p = build_split(b->c, l, b->parts);
    size_t first = (size_t)group * l->tables * l->words, step = l->pairs * 2;
    const int32_t *zero = p.zero + first;
    const int8_t *word = p.word + first * p.fours * 4;
    uint8_t *to0 = to[0], *to1 = to[1];
    for (uint32_t t = 0; t < l->tables; t++) {
        const uint8_t *x0 = codes[0] + t / b->c->stages * step;
        const uint8_t *x1 = codes[1] + t / b->c->stages * step;
        __m512i mul = _mm512_set1_epi16(p.mul[t % b->c->stages]);
        for (uint32_t i = 0; i < p.parts; i++, zero += PART, to0 += PART, to1 += PART) {
            __m512i s0[4], s1[4];
            for (uint32_t r = 0; r < 4; r++)
                s0[r] = s1[r] = _mm512_loadu_si512(zero + r * 16);
            for (uint32_t j = 0; j < p.fours; j++) {
                __m512i v0 = four_codes(x0 + j * 4), v1 = four_codes(x1 + j * 4);
                for (uint32_t r = 0; r < 4; r++, word += 64) {
                    __m512i w = _mm512_loadu_si512(word);
                    s0[r] = _mm512_dpbusd_epi32(s0[r], v0, w);
                    s1[r] = _mm512_dpbusd_epi32(s1[r], v1, w);
                }
            }
            store_part(s0, mul, b->fill, to0);
            store_part(s1, mul, b->fill, to1);
        }
    }
    size_t rest = (size_t)(l->padded - l->tables) * l->words;
    memset(to0, b->fill, rest);
    memset(to1, b->fill, rest);
}

#endif
