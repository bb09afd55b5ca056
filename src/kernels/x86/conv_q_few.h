/* Weights of the 6 x 16 integer convolution (conv_q_6x16.h, which includes this) that take at most
 * 16 values: packed as codes of 4 bits, or of 2 for at most 4 values, that are numbers of a table.
 *
 * Many pixels: a block of 16 channels is decoded into scratch as the micro-kernel takes it, once
 * for all pixels of the tile. One pixel (dense layers): decoded in registers, where the codes
 * stream from memory once and nothing is written.
 *
 * A block is cut into groups of 256 weights, 16 k of 16 channels, that decode into 8 vectors of 32.
 * 32 bytes hold 8 / bits vectors: byte i has weight i of the first in its lowest bits, and so on.
 * vpshufb looks 32 codes up in a table of 16 bytes a half.
 *
 *   one table      the vectors are those of the micro-kernel.
 *   one a channel  each half of a vector is 16 k of one channel, so that a shuffle serves a
 *                  channel; the vectors are then transposed.
 *
 * weights: tables (32 bytes, or 8 x 32 a block) | [groups * blocks] codes
 */

enum { GROUP = 256, VECTORS = 8, TABLE_BYTES = 64 };

static bool by_channel(const fbk_conv_q *c)
{
    return c->n_tables > 1;
}

static size_t groups_of(const layout *l)
{
    return (l->block_elems + GROUP - 1) / GROUP;
}

static size_t codes_bytes(const fbk_conv_q *c, const layout *l)
{
    return groups_of(l) * GROUP / 8 * c->code_bits;
}

static size_t tables_bytes(const fbk_conv_q *c)
{
    return by_channel(c) ? (size_t)c->oc_blocks * VECTORS * 32 : TABLE_BYTES;
}

/* The values of a table as codes number them: ascending, and a 0 behind them when runs are padded
 * and have none. Returns how many there are, or 17. */
static uint32_t make_table(const layout *l, const int8_t *values, int8_t table[16])
{
    uint32_t n = 1;
    memcpy(table, values, 16);
    while (n < 16 && table[n] != table[n - 1])
        n++;
    if (l->run_len % UNIT == 0 || memchr(table, 0, n))
        return n;
    if (n < 16)
        memset(table + n, 0, 16 - n);
    return n + 1;
}

static bool weights_plan(fbk_conv_q *c, const layout *l)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < c->n_tables; i++) {
        int8_t table[16];
        uint32_t n = make_table(l, c->values + (size_t)i * 16, table);
        most = n > most ? n : most;
    }
    c->code_bits = most <= 4 ? 2 : 4;
    return c->n_tables > 0 && most <= 16;
}

static size_t weights_bytes(const fbk_conv_q *c, const layout *l)
{
    return tables_bytes(c) + c->oc_blocks * codes_bytes(c, l);
}

static size_t weights_scratch_bytes(const layout *l)
{
    return groups_of(l) * GROUP;
}

/* Which half vector of a group holds channel j, when channels have tables of their own: such that
 * transposing gives units. */
static uint32_t half_of(uint32_t j)
{
    return UNIT == 4 ? j / 8 * 8 + j % 4 * 2 + j / 4 % 2 : j % 8 * 2 + j / 8;
}

static void weights_pack(const fbk_conv_q *c, const layout *l, const int16_t *w, uint32_t o,
                         uint32_t b, uint32_t j, void *to)
{
    int8_t table[16];
    uint8_t code[256] = {0};
    uint32_t n = make_table(l, c->values + (by_channel(c) ? (size_t)o * 16 : 0), table);
    for (uint32_t i = n; i-- > 0;)
        code[(uint8_t)table[i]] = (uint8_t)i;
    uint8_t *tables = to, *codes = tables + tables_bytes(c) + b * codes_bytes(c, l);
    if (by_channel(c)) {
        memcpy(tables + ((size_t)b * VECTORS * 2 + half_of(j)) * 16, table, 16);
    } else {
        memcpy(tables, table, 16);
        memcpy(tables + 16, table, 16);
    }
    size_t run_elems = (size_t)l->units * UNIT, per_chunk = 256 / c->code_bits;
    for (size_t k = 0; k < l->runs * run_elems; k++) {
        size_t r = k / run_elems, i = k % run_elems;
        int16_t v = i < l->run_len ? w[r * l->run_len + i] : 0;
        size_t at = by_channel(c) ? k / 16 * GROUP + half_of(j) * 16 + k % 16
                                  : k / UNIT * UNIT * NR + j * UNIT + k % UNIT;
        uint8_t *byte = codes + at / per_chunk * 32 + at % 32;
        *byte = (uint8_t)(*byte | code[(uint8_t)v] << (at % per_chunk / 32 * c->code_bits));
    }
}

/* --- decoding a group ----------------------------------------------------------------------- */

#define UNROLLED _Pragma("GCC unroll 8")

/* 8 x 8 words (UNIT 2) or 4 x 4 dwords (UNIT 4) in each half, so that halves that were 16 k of one
 * channel become units. */
static inline __attribute__((always_inline)) void transpose(__m256i v[VECTORS])
{
#if UNIT == 4
    const __m256i u[VECTORS] = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
    UNROLLED
    for (int h = 0; h < 2; h++) { /* channels 0 to 7, 8 to 15 */
        __m256i a = _mm256_unpacklo_epi32(u[4 * h], u[4 * h + 1]);
        __m256i b = _mm256_unpackhi_epi32(u[4 * h], u[4 * h + 1]);
        __m256i c = _mm256_unpacklo_epi32(u[4 * h + 2], u[4 * h + 3]);
        __m256i d = _mm256_unpackhi_epi32(u[4 * h + 2], u[4 * h + 3]);
        v[h] = _mm256_unpacklo_epi64(a, c);
        v[h + 2] = _mm256_unpackhi_epi64(a, c);
        v[h + 4] = _mm256_unpacklo_epi64(b, d);
        v[h + 6] = _mm256_unpackhi_epi64(b, d);
    }
#else
    __m256i a[VECTORS], b[VECTORS];
    UNROLLED
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
        a[i + 4] = _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
    }
    UNROLLED
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
        b[i + 2] = _mm256_unpacklo_epi32(a[i + 2], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi32(a[i + 2], a[i + 3]);
    }
    UNROLLED
    for (int i = 0; i < 8; i += 4) {
        v[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
        v[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
        v[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
        v[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#endif
}

/* A group as the micro-kernel takes it. bits and own (a table a channel) are constants after
 * inlining. */
static inline __attribute__((always_inline)) void expand(const uint8_t *codes,
                                                         const __m256i *tables, const int bits,
                                                         const bool own, __m256i v[VECTORS])
{
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    const int per_chunk = 8 / bits;
    UNROLLED
    for (int i = 0; i < VECTORS; i++) {
        __m256i chunk = _mm256_load_si256((const __m256i *)(const void *)codes + i / per_chunk);
        __m256i code = _mm256_srli_epi16(chunk, i % per_chunk * bits);
        v[i] = _mm256_shuffle_epi8(tables[own ? i : 0], _mm256_and_si256(code, mask));
    }
    if (own)
        transpose(v);
}

static inline __attribute__((always_inline)) void decode(const uint8_t *codes,
                                                         const __m256i *tables, size_t groups,
                                                         int8_t *to, const int bits, const bool own)
{
    for (; groups > 0; groups--, codes += GROUP / 8 * bits, to += GROUP) {
        __m256i v[VECTORS];
        expand(codes, tables, bits, own, v);
        UNROLLED
        for (int i = 0; i < VECTORS; i++)
            _mm256_store_si256((__m256i *)(void *)to + i, v[i]);
    }
}

/* sums += the groups' weights times x, which has zeros behind its end. Two sums for each half of
 * the channels hide the latency. */
static inline __attribute__((always_inline)) void
multiply_codes(const uint8_t *codes, const __m256i *tables, size_t groups, const stage_t *x,
               __m256i sums[2], const int bits, const bool own)
{
    __m256i s[2] = {sums[0], _mm256_setzero_si256()}, t[2] = {sums[1], _mm256_setzero_si256()};
    for (; groups > 0; groups--, codes += GROUP / 8 * bits, x += GROUP / NR) {
        __m256i v[VECTORS];
        expand(codes, tables, bits, own, v);
#if UNIT == 4
        UNROLLED
        for (int u = 0; u < VECTORS / 2; u++) {
            __m256i a = broadcast_unit(x + u * UNIT);
            s[u % 2] = multiply_add(s[u % 2], a, v[2 * u]);
            t[u % 2] = multiply_add(t[u % 2], a, v[2 * u + 1]);
        }
#else
        UNROLLED
        for (int u = 0; u < VECTORS; u++) {
            __m256i a = broadcast_unit(x + u * UNIT);
            __m256i lo = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v[u]));
            __m256i hi = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v[u], 1));
            s[u % 2] = multiply_add(s[u % 2], a, lo);
            t[u % 2] = multiply_add(t[u % 2], a, hi);
        }
#endif
    }
    sums[0] = _mm256_add_epi32(s[0], s[1]);
    sums[1] = _mm256_add_epi32(t[0], t[1]);
}

/* --- what the tile calls -------------------------------------------------------------------- */

typedef struct block_codes {
    const uint8_t *codes;
    const __m256i *tables;
    size_t groups;
} block_codes;

static block_codes codes_of(const fbk_conv_q *c, const layout *l, const void *w, uint32_t block)
{
    const uint8_t *tables = w;
    block_codes b = {tables + tables_bytes(c) + block * codes_bytes(c, l),
                     (const __m256i *)w + (by_channel(c) ? block * (size_t)VECTORS : 0),
                     groups_of(l)};
    return b;
}

/* Calls f with constant bits and own. */
#define WITH_FORM(c, f, ...)                                                                       \
    do {                                                                                           \
        if ((c)->code_bits == 4 && !by_channel(c))                                                 \
            f(__VA_ARGS__, 4, false);                                                              \
        else if ((c)->code_bits == 4)                                                              \
            f(__VA_ARGS__, 4, true);                                                               \
        else if (!by_channel(c))                                                                   \
            f(__VA_ARGS__, 2, false);                                                              \
        else                                                                                       \
            f(__VA_ARGS__, 2, true);                                                               \
    } while (0)

static const void *weights_of(const fbk_conv_q *c, const layout *l, const void *w, uint32_t block,
                              void *scratch)
{
    block_codes b = codes_of(c, l, w, block);
    WITH_FORM(c, decode, b.codes, b.tables, b.groups, scratch);
    return scratch;
}

/* The sums of one pixel whose receptive field is one run. */
static void weights_multiply(const fbk_conv_q *c, const layout *l, const void *w, uint32_t block,
                             const stage_t *x, __m256i sums[2])
{
    block_codes b = codes_of(c, l, w, block);
    WITH_FORM(c, multiply_codes, b.codes, b.tables, b.groups, x, sums);
}
