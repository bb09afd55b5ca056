/* How integer convolutions are cut into tiles, and what a tile stages: geometry that all kernels of
 * 16 channels a block share, whatever they multiply. Whoever includes this defines MR, the most
 * pixels of its micro-kernels, before.
 *
 * A tile is (image, band of output rows, some blocks of 16 channels). The input rows of the band
 * are staged, [rows][cols][ic] with the padding filled in; columns and rows that a 1-tap dimension
 * with a stride would skip are left out. A block then walks `runs` of contiguous stage elements for
 * each pixel, in the order (kh, kw, channel): with dil_w = 1 and no groups a run is a kernel row of
 * kw * ic elements, otherwise one tap of ic / groups. 1x1 layers without padding and stride (dense
 * ones too) are one image, one pixel wide, of n * oh * ow rows. */
#ifndef FB_KERNELS_CONV_TILE_H
#define FB_KERNELS_CONV_TILE_H

#include "base/size.h"
#include "kernels/layer.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    NR = 16,
    STAGE_BYTES = 96 * 1024, /* of a band, so that it stays in L2 with the weights of a block */
    TILE_MACS = 1 << 20,     /* about 12 microseconds: worth handing to a thread */
    SLACK = 32               /* stage elements behind the last: a run's rest, whole vectors */
};

typedef struct layout {
    uint32_t n, ih, iw, oh, ow;    /* after the 1x1 rewrite */
    uint32_t step_h, step_w;       /* input rows / columns per stage row / column */
    uint32_t stride_h, stride_w;   /* stage rows / columns per output pixel */
    uint32_t cols;                 /* stage columns */
    uint32_t ocg, blocks;          /* channels and blocks of a group */
    uint32_t runs, run_len, units; /* a unit: elements of a run that are multiplied at once */
    size_t block_elems;            /* packed weights of a block: [runs][units][16][unit] */
} layout;

static layout tile_layout(const fbk_layer *s, uint32_t unit)
{
    layout l;
    bool flat = s->kh == 1 && s->kw == 1 && s->stride_h == 1 && s->stride_w == 1 &&
                s->oh == s->ih && s->ow == s->iw;
    uint32_t pixels = s->n * s->oh * s->ow;
    l.n = flat ? 1 : s->n;
    l.ih = flat ? pixels : s->ih;
    l.iw = flat ? 1 : s->iw;
    l.oh = flat ? pixels : s->oh;
    l.ow = flat ? 1 : s->ow;
    l.step_h = s->kh == 1 ? s->stride_h : 1;
    l.step_w = s->kw == 1 ? s->stride_w : 1;
    l.stride_h = s->kh == 1 ? 1 : s->stride_h;
    l.stride_w = s->kw == 1 ? 1 : s->stride_w;
    l.cols = (l.ow - 1) * l.stride_w + (s->kw - 1) * s->dil_w + 1;
    l.ocg = s->oc / s->groups;
    l.blocks = (l.ocg + NR - 1) / NR;
    bool by_row = s->groups == 1 && (s->dil_w == 1 || s->kw == 1);
    l.runs = by_row ? s->kh : s->kh * s->kw;
    l.run_len = by_row ? s->kw * s->ic : s->ic / s->groups;
    l.units = (l.run_len + unit - 1) / unit;
    l.block_elems = (size_t)l.runs * l.units * unit * NR;
    return l;
}

/* --- cutting --------------------------------------------------------------------------------- */

static uint32_t stage_rows(const fbk_layer *s, const layout *l, uint32_t rows)
{
    return (rows - 1) * l->stride_h + (s->kh - 1) * s->dil_h + 1;
}

static size_t stage_bytes(const fbk_layer *s, const layout *l, uint32_t rows, size_t elem_bytes)
{
    size_t elems = (size_t)stage_rows(s, l, rows) * l->cols * s->ic + SLACK;
    return fb_round_up(elems * elem_bytes, 64);
}

/* Whether stage elements can be counted in 30 bits. */
static bool stage_fits(const fbk_layer *s, const layout *l, uint32_t rows)
{
    return (uint64_t)stage_rows(s, l, rows) * l->cols * s->ic < (1u << 30);
}

typedef struct tile_cut {
    uint32_t band, n_bands; /* output rows of a band */
    uint32_t oc_blocks, n_splits, n_tiles;
} tile_cut;

static tile_cut cut_tiles(const fbk_layer *s, const layout *l, size_t elem_bytes)
{
    tile_cut t;
    uint64_t row_macs = (uint64_t)l->ow * s->oc * s->kh * s->kw * (s->ic / s->groups);
    uint32_t rows = l->oh;
    while (rows > 1 && (stage_bytes(s, l, rows, elem_bytes) > STAGE_BYTES ||
                        (row_macs * rows > 4 * TILE_MACS && (uint64_t)rows * l->ow > 16 * MR)))
        rows = (rows + 1) / 2;
    t.n_bands = (l->oh + rows - 1) / rows;
    rows = (l->oh + t.n_bands - 1) / t.n_bands; /* even bands, */
    if (rows * l->ow > MR && l->ow == 1)
        rows = (rows + MR - 1) / MR * MR; /* whole micro-tiles where rows are pixels */
    t.band = rows;
    t.n_bands = (l->oh + rows - 1) / rows;
    t.oc_blocks = s->groups * l->blocks;
    uint64_t splits = row_macs * rows / TILE_MACS;
    uint64_t bands = (uint64_t)l->n * t.n_bands;
    if (bands * splits > 16)
        splits = 16 / bands;
    if (splits > t.oc_blocks)
        splits = t.oc_blocks;
    t.n_splits = splits ? (uint32_t)splits : 1;
    t.n_tiles = l->n * t.n_bands * t.n_splits;
    return t;
}

/* One tile. */
typedef struct tile_part {
    uint32_t row, rows; /* output rows [row, row + rows) */
    uint32_t from, to;  /* blocks [from, to) */
    size_t x, y;        /* elements where the image, and the first output row, begin */
} tile_part;

static tile_part part_of(const fbk_layer *s, const layout *l, const tile_cut *t, uint32_t tile)
{
    tile_part p;
    uint32_t split = tile % t->n_splits, band = tile / t->n_splits % t->n_bands;
    size_t image = tile / t->n_splits / t->n_bands;
    p.row = band * t->band;
    p.rows = l->oh - p.row < t->band ? l->oh - p.row : t->band;
    p.from = (uint32_t)((uint64_t)t->oc_blocks * split / t->n_splits);
    p.to = (uint32_t)((uint64_t)t->oc_blocks * (split + 1) / t->n_splits);
    p.x = image * l->ih * l->iw * s->ic;
    p.y = (image * l->oh + p.row) * l->ow * s->oc;
    return p;
}

/* --- staging --------------------------------------------------------------------------------- */

/* [runs]: stage elements from a pixel's first to the run's first. */
static void run_offsets(const fbk_layer *s, const layout *l, int32_t *offset)
{
    for (uint32_t r = 0; r < l->runs; r++) {
        uint32_t kr = l->runs == s->kh ? r : r / s->kw, ks = l->runs == s->kh ? 0 : r % s->kw;
        offset[r] = (int32_t)((kr * s->dil_h * l->cols + ks * s->dil_w) * s->ic);
    }
}

/* The input row of stage row i of the band from output row `row`, or -1: padding. */
static int64_t input_row(const fbk_layer *s, const layout *l, uint32_t row, uint32_t i)
{
    int64_t at = ((int64_t)row * l->stride_h + i) * l->step_h - s->pad_t;
    return at < 0 || at >= l->ih ? -1 : at;
}

/* Stage columns [*left, *right) lie inside the image; *from is the input column of the first. */
static void input_columns(const fbk_layer *s, const layout *l, uint32_t *left, uint32_t *right,
                          size_t *from)
{
    uint32_t first = s->pad_l > 0 ? ((uint32_t)s->pad_l + l->step_w - 1) / l->step_w : 0;
    int64_t limit = ((int64_t)l->iw + s->pad_l + l->step_w - 1) / l->step_w;
    *right = limit < l->cols ? (uint32_t)(limit > 0 ? limit : 0) : l->cols;
    *left = first < *right ? first : *right;
    *from = *left < *right ? (size_t)((int64_t)*left * l->step_w - s->pad_l) : 0;
}

/* --- walking --------------------------------------------------------------------------------- */

/* Stage elements of the pixels of a band, one after the other. */
typedef struct pixel_walk {
    size_t base, next, row_step, col_step;
    uint32_t col, ow;
} pixel_walk;

static pixel_walk walk_of(const fbk_layer *s, const layout *l, uint32_t group)
{
    size_t first = (size_t)group * (s->ic / s->groups);
    return (pixel_walk){.base = first,
                        .next = first,
                        .row_step = (size_t)l->stride_h * l->cols * s->ic,
                        .col_step = (size_t)l->stride_w * s->ic,
                        .ow = l->ow};
}

static inline size_t next_pixel(pixel_walk *w)
{
    size_t at = w->next;
    w->next += w->col_step;
    if (++w->col == w->ow) {
        w->col = 0;
        w->base += w->row_step;
        w->next = w->base;
    }
    return at;
}

#endif
