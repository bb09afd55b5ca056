/* Look-up convolution by tables: what the rows of all instruction sets share. They differ in how
 * tables are built, how many entries a register holds and how looked-up bytes are summed; each
 * defines
 *
 *   KERNEL(suffix)        its symbol
 *   simd_q_out            what its requantisation wants to know
 *   MR, NB                output pixels and channels of a micro-tile; NB a multiple of 16
 *   INDEX_BYTES           packed indices of QUAD tables and NB outputs
 *   LEAST_WORDS, MOST_WORDS  codewords that it takes
 *   WORDS(c)              entries that a table has in memory, a multiple of 16
 *   STRIP_BYTES           tables of a strip
 *   CHUNK(c)              quads whose sums the micro-kernel holds before it must widen them
 *   index_put             one index into a quad's packed indices
 *
 * includes this file, defines
 *
 *   build_bytes, build_pack, build_tables   of what tables are built from, and the building
 *   micros_of             the micro-kernels [MR + 1] of a layer
 *
 * and includes prod_q_run.h.
 *
 * A tile is (image, band of output rows, some blocks of NB channels). It walks its band in strips
 * of rows whose tables stay in L2:
 *   1. tables: each pixel under the strip, padding filled in, becomes [groups][tables][WORDS]
 *      bytes; rows that the strip before has built are moved, not built again. An entry is stored
 *      as t + 2^(table_bits - 1); the bias takes the constant out. Tables of a pixel are padded to
 *      whole quads, whose entries are the code of 0.
 *   2. for each block, for each MR pixels of the strip: the micro-kernel walks `pieces` of
 *      contiguous tables: kernel row by row, `depth` quads of all its columns at a time, so that
 *      the tables which neighbouring pixels share are still in L1.
 *
 * A table is built in lanes of 16 entries, which lie one behind the other.
 *
 * packed: bias [blocks][NB] | scale | pieces | what tables are built from | indices
 */
#ifndef FB_KERNELS_PROD_Q_LAYOUT_H
#define FB_KERNELS_PROD_Q_LAYOUT_H

#include "base/size.h"

enum {
    QUAD = 4,                 /* tables that are looked up together */
    LANE = 16,                /* entries that are built together */
    TILE_LOOKUPS = 1 << 22,   /* about 40 microseconds */
    COLUMN_BYTES = 16 * 1024, /* tables that stay in L1 from one kernel column to the next */
    SLACK = 64                /* readable bytes behind a pixel's codes */
};

typedef struct layout {
    uint32_t n, ih, iw, oh, ow;  /* after the 1x1 rewrite */
    uint32_t step_h, step_w;     /* input rows / columns per row / column of tables */
    uint32_t stride_h, stride_w; /* rows / columns of tables per output pixel */
    uint32_t cols;               /* columns of tables */
    uint32_t icg, ocg, blocks;   /* channels and blocks of a group */
    uint32_t tables, padded;     /* of a pixel and group; in whole quads */
    uint32_t words, chunks;      /* entries and lanes of a table in memory */
    uint32_t pairs;              /* pairs of elements of a sub-vector */
    uint32_t quads, depth;       /* of a pixel and group; looked up before the next kernel column */
    size_t group_bytes, pixel_bytes, row_bytes; /* of tables */
    size_t block_bytes;                         /* of indices */
    bool flat; /* 1x1: one image, one pixel wide, a pixel to a row */
} layout;

typedef struct piece {
    uint32_t offset; /* bytes of tables from the pixel's first to the piece's */
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
    l.quads = (l.tables + QUAD - 1) / QUAD;
    l.padded = l.quads * QUAD;
    l.words = WORDS(c);
    l.chunks = l.words / LANE;
    l.pairs = (c->d + 1) / 2;
    l.group_bytes = (size_t)l.padded * l.words;
    l.pixel_bytes = l.group_bytes * c->groups;
    l.row_bytes = l.pixel_bytes * l.cols;
    l.block_bytes = (size_t)c->kh * c->kw * l.quads * INDEX_BYTES;
    size_t columns = (size_t)(MR - 1) * l.stride_w + (c->kw - 1) * c->dil_w + 1;
    size_t depth = COLUMN_BYTES / (columns * QUAD * l.words) + 1;
    l.depth = c->kw > 1 && depth < l.quads ? (uint32_t)depth : l.quads;
    return l;
}

/* What building the tables reads, of the row's own making. */
static size_t build_bytes(const fbk_prod_q *c, const layout *l);
static void build_pack(const fbk_prod_q *c, const layout *l, const int8_t *word, void *to);

typedef struct packed {
    int32_t *bias;
    float *scale;
    uint32_t *n_pieces;
    piece *pieces;
    void *build;
    uint8_t *index; /* [groups * blocks][kh][quads / depth][kw][depth][INDEX_BYTES] */
    size_t bytes;
} packed;

/* The next part of memory that begins at base and has *used bytes so far; NULL without base. */
static void *next_part(void *base, size_t *used, size_t bytes)
{
    char *at = base ? (char *)base + *used : NULL;
    *used += fb_round_up(bytes, 64);
    return at;
}

/* At least as many as there are pieces. */
static size_t piece_limit(const fbk_prod_q *c, const layout *l)
{
    size_t groups = (l->quads + l->depth - 1) / l->depth;
    return c->kh * c->kw * groups * ((l->depth + CHUNK(c) - 1) / CHUNK(c));
}

/* With base NULL only `bytes` means something. */
static packed split(const fbk_prod_q *c, const layout *l, void *base)
{
    packed p;
    size_t outputs = (size_t)c->groups * l->blocks * NB, used = 0;
    p.bias = next_part(base, &used, outputs * sizeof *p.bias);
    p.scale = next_part(base, &used, outputs * sizeof *p.scale);
    p.n_pieces = next_part(base, &used, sizeof *p.n_pieces);
    p.pieces = next_part(base, &used, piece_limit(c, l) * sizeof *p.pieces);
    p.build = next_part(base, &used, build_bytes(c, l));
    p.index = next_part(base, &used, c->groups * l->blocks * l->block_bytes);
    p.bytes = used;
    return p;
}

/* The tables under a strip. */
typedef struct builder {
    const fbk_prod_q *c;
    const layout *l;
    void *parts;              /* as build_pack filled them */
    const uint8_t *x, *x_end; /* the image; the end of the input */
    uint8_t *codes;           /* room for two pixels' */
    size_t codes_bytes;       /* of one */
    uint8_t fill;             /* the code of 0 */
} builder;

/* The tables of a group of two pixels, or of one given twice. codes: each pixel's, sub-vectors
 * 2 * pairs bytes apart, SLACK bytes readable behind them; what lies behind a sub-vector's end is
 * anything. to: their places, [padded][words]. */
static void build_tables(const builder *b, uint32_t group, const uint8_t *const codes[2],
                         uint8_t *const to[2]);

/* What the micro-kernel does not change between pixels and blocks, and a block's part. */
typedef struct micro {
    const piece *pieces;
    uint32_t n_pieces;
    uint32_t oc;     /* y elements from pixel to pixel */
    uint32_t chunks; /* lanes of a table */
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

#endif
