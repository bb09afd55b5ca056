/* Look-up convolution on x86: what prod_q_16_avx2.c and prod_q_16_vbmi.c share. They differ in how
 * many tables a register holds and in how looked-up bytes are summed; each defines
 *
 *   KERNEL(suffix)   its symbol
 *   LANES            tables that are built at a time: 16-byte lanes of a register
 *   MR               output pixels of a micro-tile
 *   INDEX_BYTES      packed indices of QUAD tables and NB outputs
 *   CHUNK(c)         quads whose sums the micro-kernel holds before it must widen them
 *   index_put        one index into a quad's packed indices
 *
 * includes this file once, defines
 *
 *   build_tables     of one pixel and group
 *   micros_of        micro-kernels [MR + 1] for a width of table entries
 *
 * and includes prod_q_run.h.
 *
 * A tile is (image, band of output rows, some blocks of NB channels). It walks its band in strips
 * of rows whose tables stay in L2:
 *   1. tables: each pixel under the strip, padding filled in, becomes [groups][tables][16] bytes;
 *      rows that the strip before has built are moved, not built again. An entry is stored as
 *      t + 2^(table_bits - 1); the bias takes the constant out. Tables of a pixel are padded to
 *      whole quads, whose entries are the code of 0.
 *   2. for each block, for each MR pixels of the strip: the micro-kernel walks `runs` of contiguous
 *      tables; with dil_w = 1 and no groups a run is a kernel row, otherwise one tap.
 *
 * packed: bias [blocks][NB] | scale | pieces of runs | byte patterns | of each table: where its
 * sub-vector begins, its multiplier | what x_zero adds | words | indices
 */
#include "base/size.h"
#include "kernels/x86/simd_q_avx2.h"

enum {
    QUAD = 4,                 /* tables that are looked up together */
    NB = 32,                  /* output channels of a block */
    WORDS = 16,               /* entries of a table */
    STRIP_BYTES = 160 * 1024, /* tables of a strip */
    TILE_LOOKUPS = 1 << 22,   /* about 40 microseconds */
    SLACK = 64                /* readable bytes behind a pixel's codes */
};

typedef struct layout {
    uint32_t n, ih, iw, oh, ow;  /* after the 1x1 rewrite */
    uint32_t step_h, step_w;     /* input rows / columns per row / column of tables */
    uint32_t stride_h, stride_w; /* rows / columns of tables per output pixel */
    uint32_t cols;               /* columns of tables */
    uint32_t icg, ocg, blocks;   /* channels and blocks of a group */
    uint32_t tables, padded;     /* of a pixel and group; in whole quads */
    uint32_t pairs;              /* pairs of elements of a sub-vector */
    uint32_t runs, run_quads, pieces;
    size_t group_bytes, pixel_bytes, row_bytes; /* of tables */
    size_t block_bytes;                         /* of indices */
    bool flat; /* 1x1: one image, one pixel wide, a pixel to a row */
    bool near; /* LANES tables in a row look at 16 neighbouring codes, always in the same way */
} layout;

typedef struct piece {
    uint32_t offset; /* bytes of tables from the pixel's first to the run's */
    uint32_t quads;
    uint32_t widen; /* the sums must be widened behind it */
} piece;

static layout layout_of(const fbk_prod_q *c)
{
    layout l;
    bool flat = c->kh == 1 && c->kw == 1 && c->stride_h == 1 && c->stride_w == 1 && c->pad_t == 0 &&
                c->pad_l == 0 && c->oh == c->ih && c->ow == c->iw;
    l.flat = flat;
    uint32_t pixels = c->n * c->oh * c->ow;
    l.n = flat ? 1 : c->n;
    l.ih = flat ? pixels : c->ih;
    l.iw = flat ? 1 : c->iw;
    l.oh = flat ? pixels : c->oh;
    l.ow = flat ? 1 : c->ow;
    l.step_h = c->kh == 1 ? c->stride_h : 1;
    l.step_w = c->kw == 1 ? c->stride_w : 1;
    l.stride_h = c->kh == 1 ? 1 : c->stride_h;
    l.stride_w = c->kw == 1 ? 1 : c->stride_w;
    l.cols = (l.ow - 1) * l.stride_w + (c->kw - 1) * c->dil_w + 1;
    l.icg = c->ic / c->groups;
    l.ocg = c->oc / c->groups;
    l.blocks = (l.ocg + NB - 1) / NB;
    l.tables = c->subs * c->stages;
    uint32_t quads = (l.tables + QUAD - 1) / QUAD;
    l.padded = quads * QUAD;
    l.pairs = (c->d + 1) / 2;
    bool by_row = c->groups == 1 && (c->dil_w == 1 || c->kw == 1);
    l.runs = by_row ? c->kh : c->kh * c->kw;
    l.run_quads = by_row ? c->kw * quads : quads;
    l.pieces = l.runs * ((l.run_quads + CHUNK(c) - 1) / CHUNK(c));
    l.group_bytes = (size_t)l.padded * WORDS;
    l.pixel_bytes = l.group_bytes * c->groups;
    l.row_bytes = l.pixel_bytes * l.cols;
    l.block_bytes = (size_t)l.runs * l.run_quads * INDEX_BYTES;
    l.near = LANES % c->stages == 0 && LANES / c->stages * l.pairs * 2 <= 16;
    return l;
}

static uint32_t table_rows(const fbk_prod_q *c, const layout *l, uint32_t rows)
{
    return (rows - 1) * l->stride_h + (c->kh - 1) * c->dil_h + 1;
}

/* Of a pixel and group, with sub-vectors of an even length. */
static size_t codes_bytes(const fbk_prod_q *c, const layout *l)
{
    return fb_round_up((size_t)c->subs * l->pairs * 2 + SLACK, 64);
}

/* Rows of a band that are computed together. */
static uint32_t strip_of(const fbk_prod_q *c, const layout *l, uint32_t rows)
{
    while (rows > 1 && (size_t)rows * l->ow > 4 * MR &&
           table_rows(c, l, rows) * l->row_bytes > STRIP_BYTES)
        rows = (rows + 1) / 2;
    if (l->ow == 1 && rows > MR)
        rows = rows / MR * MR; /* whole micro-tiles where rows are pixels */
    return rows;
}

typedef struct packed {
    int32_t *bias;
    float *scale;
    piece *pieces;
    uint8_t *pattern; /* [8][LANES * 16] where a lane's pair of elements lies */
    uint32_t *from;   /* [padded] sub-vector's first byte in the pixel's codes */
    int16_t *mul;     /* [padded / LANES][LANES * 8] */
    int16_t *zero;    /* [groups][padded / LANES][2][LANES * 8] -x_zero * sum of the word */
    int8_t *word;     /* [groups][padded / LANES][pairs][2][LANES][8][2] */
    uint8_t *index;   /* [groups * blocks][runs][run_quads][INDEX_BYTES] */
    size_t bytes;
} packed;

static char *next_part(packed *p, char *base, size_t bytes)
{
    char *at = base ? base + p->bytes : NULL;
    p->bytes += fb_round_up(bytes, 64);
    return at;
}

/* With base NULL only `bytes` means something. */
static packed split(const fbk_prod_q *c, const layout *l, void *base)
{
    packed p = {.bytes = 0};
    size_t outputs = (size_t)c->groups * l->blocks * NB, entries = (size_t)l->padded * WORDS;
    p.bias = (void *)next_part(&p, base, outputs * sizeof *p.bias);
    p.scale = (void *)next_part(&p, base, outputs * sizeof *p.scale);
    p.pieces = (void *)next_part(&p, base, l->pieces * sizeof *p.pieces);
    p.pattern = (void *)next_part(&p, base, 8 * LANES * 16);
    p.from = (void *)next_part(&p, base, l->padded * sizeof *p.from);
    p.mul = (void *)next_part(&p, base, l->padded * 8 * sizeof *p.mul);
    p.zero = (void *)next_part(&p, base, c->groups * entries * sizeof *p.zero);
    p.word = (void *)next_part(&p, base, c->groups * entries * l->pairs * 2);
    p.index = (void *)next_part(&p, base, c->groups * l->blocks * l->block_bytes);
    return p;
}

/* Bands that give threads work, and as few as possible otherwise: each builds the rows of tables
 * above and below it again. One pixel (or a few) is cut by channels instead. */
bool KERNEL(_plan)(fbk_prod_q *c)
{
    layout l = layout_of(c);
    if (c->n_words > WORDS || c->d > 64 || (uint64_t)c->kh * c->kw * l.padded > (1u << 22) ||
        c->ic > (1u << 20) || (uint64_t)l.row_bytes * table_rows(c, &l, 1) > (1u << 30))
        return false;
    uint64_t row_lookups = (uint64_t)l.ow * c->oc * c->kh * c->kw * l.tables;
    uint64_t bands = (row_lookups * l.oh + TILE_LOOKUPS - 1) / TILE_LOOKUPS;
    uint64_t most = l.ow == 1 ? (l.oh + 4 * MR - 1) / (4 * MR) : (l.oh + 3) / 4;
    bands = bands > 16 ? 16 : bands;
    bands = bands > most ? most : bands;
    uint32_t rows = (uint32_t)((l.oh + bands - 1) / bands);
    if (l.ow == 1 && rows > MR)
        rows = (rows + MR - 1) / MR * MR;
    c->band = rows;
    c->n_bands = (l.oh + rows - 1) / rows;
    c->strip = strip_of(c, &l, rows);
    c->oc_blocks = c->groups * l.blocks;
    uint64_t splits = 1;
    if ((uint64_t)l.n * c->n_bands == 1 && (uint64_t)l.oh * l.ow <= 4 * MR)
        splits = row_lookups * rows / (TILE_LOOKUPS / 4);
    splits = splits > 8 ? 8 : splits;
    splits = splits > c->oc_blocks ? c->oc_blocks : splits;
    c->n_splits = splits ? (uint32_t)splits : 1;
    c->n_tiles = l.n * c->n_bands * c->n_splits;
    c->packed_bytes = split(c, &l, NULL).bytes;
    c->scratch_bytes =
        fb_round_up(table_rows(c, &l, c->strip) * l.row_bytes, 64) + 2 * codes_bytes(c, &l);
    return true;
}

static void pack_pieces(const fbk_prod_q *c, const layout *l, piece *to)
{
    uint32_t chunk = CHUNK(c), held = 0;
    piece *p = to;
    for (uint32_t r = 0; r < l->runs; r++) {
        bool row = l->runs == c->kh;
        uint32_t kr = row ? r : r / c->kw, ks = row ? 0 : r % c->kw;
        size_t offset = kr * c->dil_h * l->row_bytes + ks * c->dil_w * l->pixel_bytes;
        for (uint32_t done = 0; done < l->run_quads; p++) {
            uint32_t quads = l->run_quads - done < chunk ? l->run_quads - done : chunk;
            if (held + quads > chunk) {
                p[-1].widen = 1;
                held = 0;
            }
            *p = (piece){(uint32_t)(offset + (size_t)done * QUAD * WORDS), quads, 0};
            held += quads;
            done += quads;
        }
    }
    p[-1].widen = 1;
}

/* What building the tables reads. */
static void pack_words(const fbk_prod_q *c, const layout *l, const int8_t *word, const packed *p)
{
    for (uint32_t j = 0; j < 8 * LANES * 16; j++) {
        uint32_t lane = j / 16 % LANES, pair = j / 16 / LANES;
        uint32_t base = l->near ? lane / c->stages * l->pairs * 2 : 0;
        p->pattern[j] = (uint8_t)((base + pair * 2 + j % 2) % 16);
    }
    for (uint32_t t = 0; t < l->tables; t++) {
        p->from[t] = t / c->stages * l->pairs * 2;
        for (uint32_t i = 0; i < 8; i++)
            p->mul[t * 8 + i] = (int16_t)c->mul[t % c->stages];
    }
    for (uint32_t g = 0; g < c->groups; g++) {
        for (uint32_t t = 0; t < l->tables; t++) {
            size_t step = (size_t)g * (l->padded / LANES) + t / LANES;
            uint32_t lane = t % LANES, first = t / c->stages * c->d;
            const int8_t *table = word + ((size_t)g * l->tables + t) * c->n_words * c->d;
            for (uint32_t k = 0; k < c->n_words; k++) {
                size_t slot = (k / 8 * LANES + lane) * 8 + k % 8;
                int32_t sum = 0;
                for (uint32_t j = 0; j < c->d && first + j < l->icg; j++) {
                    sum += table[k * c->d + j];
                    p->word[(step * l->pairs + j / 2) * LANES * 32 + slot * 2 + j % 2] =
                        table[k * c->d + j];
                }
                p->zero[step * LANES * 16 + slot] = (int16_t)(-c->x_zero * sum);
            }
        }
    }
}

static void pack_indices(const fbk_prod_q *c, const layout *l, const uint8_t *index, uint32_t o,
                         uint8_t *to)
{
    uint32_t quads = l->padded / QUAD;
    for (uint32_t tap = 0; tap < c->kh * c->kw; tap++) {
        const uint8_t *from = index + ((size_t)o * c->kh * c->kw + tap) * l->tables;
        for (uint32_t t = 0; t < l->tables; t++)
            index_put(to + ((size_t)tap * quads + t / QUAD) * INDEX_BYTES, t % QUAD,
                      o % l->ocg % NB, from[t]);
    }
}

void KERNEL(_pack)(const fbk_prod_q *c, const fbk_prod_source *s)
{
    layout l = layout_of(c);
    packed p = split(c, &l, c->packed);
    memset(c->packed, 0, c->packed_bytes);
    pack_pieces(c, &l, p.pieces);
    pack_words(c, &l, s->word, &p);
    uint32_t codes = c->kh * c->kw * l.padded << (c->table_bits - 1);
    for (uint32_t o = 0; o < c->oc; o++) {
        uint32_t block = o / l.ocg * l.blocks + o % l.ocg / NB;
        size_t at = (size_t)block * NB + o % l.ocg % NB;
        p.bias[at] = (int32_t)((uint32_t)s->bias[o] - codes);
        p.scale[at] = s->scale[o];
        pack_indices(c, &l, s->index, o, p.index + block * l.block_bytes);
    }
}

/* The tables under a strip. */
typedef struct builder {
    const fbk_prod_q *c;
    const layout *l;
    const packed *p;
    const uint8_t *x, *x_end; /* the image; the end of the input */
    uint8_t *codes;           /* room for two pixels' */
    size_t codes_bytes;       /* of one */
    uint8_t fill;             /* the code of 0 */
} builder;

/* What the micro-kernel does not change between pixels and blocks, and a block's part. */
typedef struct micro {
    const piece *pieces;
    uint32_t n_pieces;
    uint32_t oc; /* y elements from pixel to pixel */
    simd_q_out out;
    void *y;
} micro;

typedef struct micro_block {
    const uint8_t *index;
    const int32_t *bias;
    const float *scale;
    uint32_t n; /* channels, at most NB */
} micro_block;

/* As many pixels as the function is made for; x points at their first tables, `at` is y's element
 * of the first pixel and the block's first channel. */
typedef void micro_fn(const micro *m, const micro_block *k, const uint8_t *const *x, size_t at);
