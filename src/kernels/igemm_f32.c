/* Blocking, packing and row pointers around the indirect gemm micro-kernel. Plain C; igemm_f32.h
 * says what it computes.
 *
 *   tile = tile_px pixels x tile_panels panels of one group
 *     pointers of all its rows -> scratch
 *     for each block of k          (a panel's block stays in L1: KC * 16 floats = 24 KiB)
 *       for each panel
 *         for each 6 (or 4) pixels  micro-kernel
 */
#include "kernels/igemm_f32.h"

#include "base/size.h"

#include <math.h>
#include <string.h>

enum {
    KC = 384,             /* longest block of k: 24 KiB of a 16-wide panel, of 32 KiB L1 */
    BY_TAP_CHANNELS = 32, /* from here on a tap is long enough to be a segment of its own */
    MAX_TILE_PX = 192,
    MIN_TILE_PX = 48 /* fewer pixels would stream weights faster than L2 gives them */
};

/* Multiply-adds of a tile: at most 80 microseconds, so that threads end together; at least 5, so
 * that claiming a tile costs nothing beside it. */
static const double MAX_TILE_MACS = 4e6, MIN_TILE_MACS = 250e3;

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* ceil(n / pieces) where n is cut into pieces of at most `piece`. */
static size_t even_piece(size_t n, size_t piece)
{
    return ceil_div(n, ceil_div(n, piece));
}

static void make_segments(fbk_igemm_f32_shape *s)
{
    const fbk_window *g = &s->g;
    size_t taps = (size_t)g->kh * (size_t)g->kw, icg = (size_t)g->c / (size_t)g->groups;
    s->by_tap = taps == 1 || g->dil_w != 1 || g->groups != 1 || g->c >= BY_TAP_CHANNELS;
    s->n_seg = s->by_tap ? taps : (size_t)g->kh;
    s->seg_len = s->by_tap ? icg : (size_t)g->kw * icg;
    s->k = s->n_seg * s->seg_len;
    if (s->seg_len >= KC) {
        s->segs_per_block = 1;
        s->part_len = even_piece(s->seg_len, KC);
    } else {
        s->segs_per_block = even_piece(s->n_seg, KC / s->seg_len);
        s->part_len = s->seg_len;
    }
}

/* The block of k that starts at row k. */
typedef struct k_block {
    size_t seg, part; /* where it starts */
    size_t n_seg, len, rows;
} k_block;

static k_block block_at(const fbk_igemm_f32_shape *s, size_t k)
{
    k_block b = {.seg = k / s->seg_len, .part = k % s->seg_len};
    size_t segs = s->n_seg - b.seg, left = s->seg_len - b.part;
    b.n_seg = segs < s->segs_per_block ? segs : s->segs_per_block;
    b.len = left < s->part_len ? left : s->part_len;
    b.rows = b.n_seg * b.len;
    return b;
}

static void make_coded_k(fbk_igemm_f32_shape *s)
{
    s->coded_k = 0;
    for (size_t k = 0, rows; k < s->k; k += rows) {
        rows = block_at(s, k).rows;
        s->coded_k += fb_round_up(rows, 8);
    }
}

static void make_panels(fbk_igemm_f32_shape *s)
{
    s->n = (size_t)s->g.oc / (size_t)s->g.groups;
    size_t eights = ceil_div(s->n, 8);
    if (eights == 1)
        s->last_nr = 8;
    else
        s->last_nr = eights % 2 ? 24 : 16;
    s->n_panels = eights < 4 ? 1 : (eights - s->last_nr / 8) / 2 + 1;
}

/* Pixels and panels of a tile. */
static void make_tiles(fbk_igemm_f32_shape *s)
{
    size_t px = (size_t)s->g.oh * (size_t)s->g.ow;
    double total = (double)px * (double)s->k * (double)s->g.oc, macs = total / 16;
    macs = macs > MAX_TILE_MACS ? MAX_TILE_MACS : macs < MIN_TILE_MACS ? MIN_TILE_MACS : macs;
    double per_px = (double)s->k * (double)s->n;
    double want = macs / per_px;
    size_t tile_px = want > MAX_TILE_PX   ? MAX_TILE_PX
                     : want < MIN_TILE_PX ? MIN_TILE_PX
                                          : (size_t)want;
    tile_px = even_piece(px, tile_px);
    if (tile_px < px)
        tile_px = ceil_div(tile_px, FBK_IGEMM_MR) * FBK_IGEMM_MR;
    double panel_macs = (double)tile_px * (double)s->k * FBK_IGEMM_NR;
    size_t panels = macs > panel_macs ? (size_t)(macs / panel_macs) : 1;
    s->tile_px = tile_px;
    s->tile_panels = even_piece(s->n_panels, panels < s->n_panels ? panels : s->n_panels);
    s->px_tiles = ceil_div(px, s->tile_px);
    s->panel_tiles = ceil_div(s->n_panels, s->tile_panels);
}

/* Whether the kernel rows of output column ox stick out of the image to the left or right. */
static bool sticks_out(const fbk_window *g, int32_t ox)
{
    int32_t x0 = ox * g->stride_w - g->pad_l;
    return x0 < 0 || x0 + g->kw > g->w;
}

/* Scratch: row pointers [n_seg][tile_px], then the copied rows, each seg_len floats. */
static void make_scratch(fbk_igemm_f32_shape *s)
{
    s->copy_slots = 0;
    if (!s->by_tap) {
        size_t border = 0, rows = (s->tile_px + (size_t)s->g.ow - 2) / (size_t)s->g.ow + 1;
        for (int32_t ox = 0; ox < s->g.ow; ox++)
            border += sticks_out(&s->g, ox);
        border *= rows;
        s->copy_slots = s->n_seg * (border < s->tile_px ? border : s->tile_px);
    }
    s->scratch_bytes =
        s->n_seg * s->tile_px * sizeof(float *) + s->copy_slots * s->seg_len * sizeof(float);
}

void fbk_igemm_f32_shape_make(const fbk_window *g, fbk_igemm_f32_shape *s)
{
    s->g = *g;
    make_segments(s);
    make_coded_k(s);
    make_panels(s);
    make_tiles(s);
    make_scratch(s);
}

uint32_t fbk_igemm_f32_tiles(const fbk_igemm_f32_shape *s)
{
    return (uint32_t)((size_t)s->g.groups * s->px_tiles * s->panel_tiles);
}

static size_t panel_nr(const fbk_igemm_f32_shape *s, size_t panel)
{
    return panel + 1 == s->n_panels ? s->last_nr : FBK_IGEMM_NR;
}

/* Packed floats of one group, and where the zeros begin. */
static size_t group_elems(const fbk_igemm_f32_shape *s)
{
    return ((s->n_panels - 1) * FBK_IGEMM_NR + s->last_nr) * s->k;
}

static size_t weight_elems(const fbk_igemm_f32_shape *s)
{
    return group_elems(s) * (size_t)s->g.groups;
}

size_t fbk_igemm_f32_packed_elems(const fbk_igemm_f32_shape *s)
{
    return weight_elems(s) + s->seg_len;
}

/* Where a channel's weights go: its group, the panel and the column there. */
typedef struct place {
    size_t group, first, nr, column; /* first: column of the group with which the panel starts */
} place;

static place place_of(const fbk_igemm_f32_shape *s, size_t o)
{
    size_t j = o % s->n;
    size_t panel = j / FBK_IGEMM_NR < s->n_panels ? j / FBK_IGEMM_NR : s->n_panels - 1;
    size_t first = panel * FBK_IGEMM_NR;
    place p = {o / s->n, first, panel_nr(s, panel), j - first};
    return p;
}

void fbk_igemm_f32_pack(const fbk_igemm_f32_shape *s, const float *w, float *packed)
{
    for (size_t o = 0; o < (size_t)s->g.oc; o++) {
        place p = place_of(s, o);
        float *dst = packed + p.group * group_elems(s) + p.first * s->k + p.column;
        for (size_t k = 0; k < s->k; k++)
            dst[k * p.nr] = w[o * s->k + k];
    }
}

size_t fbk_igemm_f32_columns(const fbk_igemm_f32_shape *s)
{
    return (s->n_panels - 1) * FBK_IGEMM_NR + s->last_nr;
}

/* Codes before row k of the panel that starts with column j of a group; coded_k rows. */
static size_t codes_before(const fbk_igemm_f32_shape *s, size_t group, size_t j, size_t nr,
                           size_t k)
{
    return (group * fbk_igemm_f32_columns(s) + j) * s->coded_k + k * nr;
}

size_t fbk_igemm_f32_codes_bytes(const fbk_igemm_f32_shape *s, uint32_t bits)
{
    size_t codes = (size_t)s->g.groups * fbk_igemm_f32_columns(s) * s->coded_k;
    return codes / 8 * bits + FBK_FEW_SLACK;
}

size_t fbk_igemm_f32_block_bytes(const fbk_igemm_f32_shape *s)
{
    size_t rows = fb_round_up(s->segs_per_block * s->part_len, 8);
    return rows * s->last_nr * sizeof(float); /* no panel is wider */
}

static void put_code(uint8_t *codes, size_t at, uint32_t bits, uint8_t code)
{
    uint32_t v = (uint32_t)code << at * bits % 8;
    uint8_t *p = codes + at * bits / 8;
    p[0] = (uint8_t)(p[0] | v);
    p[1] = (uint8_t)(p[1] | v >> 8); /* of the slack, at the very end */
}

void fbk_igemm_f32_pack_codes(const fbk_igemm_f32_shape *s, const uint8_t *w, uint32_t bits,
                              bool own, uint8_t *codes)
{
    for (size_t o = 0; o < (size_t)s->g.oc; o++) {
        place p = place_of(s, o);
        size_t at = codes_before(s, p.group, p.first, p.nr, 0), rows;
        for (size_t k = 0; k < s->k; k += rows) {
            rows = block_at(s, k).rows;
            for (size_t i = 0; i < rows; i++) {
                size_t within = own ? (i / 8 * p.nr + p.column) * 8 + i % 8 : i * p.nr + p.column;
                put_code(codes, at + within, bits, w[o * s->k + k + i]);
            }
            at += fb_round_up(rows, 8) * p.nr;
        }
    }
}

/* --- row pointers ------------------------------------------------------------------------------
 */

/* Rows of a pixel at (y0, x0): a pointer for each tap. */
static void point_taps(const fbk_window *g, const float *x, const float *zeros, int32_t y0,
                       int32_t x0, const float **rows, size_t ld)
{
    for (int32_t ky = 0; ky < g->kh; ky++) {
        int32_t iy = y0 + ky * g->dil_h;
        bool inside = iy >= 0 && iy < g->h;
        for (int32_t kx = 0; kx < g->kw; kx++, rows += ld) {
            int32_t ix = x0 + kx * g->dil_w;
            bool in = inside && ix >= 0 && ix < g->w;
            *rows = in ? x + ((size_t)iy * (size_t)g->w + (size_t)ix) * (size_t)g->c : zeros;
        }
    }
}

/* Copies the kernel row at (iy, x0), which sticks out, with zeros where there is no image. */
static void copy_row(const fbk_window *g, const float *x, int32_t iy, int32_t x0, float *dst)
{
    int32_t first, end;
    size_t c = (size_t)g->c;
    fbk_taps_inside(x0, g->w, g->kw, 1, &first, &end);
    memset(dst, 0, (size_t)first * c * sizeof *dst);
    if (end > first)
        memcpy(dst + (size_t)first * c, x + ((size_t)iy * (size_t)g->w + (size_t)(x0 + first)) * c,
               (size_t)(end - first) * c * sizeof *dst);
    memset(dst + (size_t)end * c, 0, (size_t)(g->kw - end) * c * sizeof *dst);
}

/* Rows of a pixel: a pointer for each kernel row, copied to *copies (advanced) where needed. */
static void point_rows(const fbk_igemm_f32_shape *s, const float *x, const float *zeros, int32_t y0,
                       int32_t x0, const float **rows, size_t ld, float **copies)
{
    const fbk_window *g = &s->g;
    bool out = x0 < 0 || x0 + g->kw > g->w;
    for (int32_t ky = 0; ky < g->kh; ky++, rows += ld) {
        int32_t iy = y0 + ky * g->dil_h;
        if (iy < 0 || iy >= g->h) {
            *rows = zeros;
        } else if (!out) {
            *rows = x + ((size_t)iy * (size_t)g->w + (size_t)x0) * (size_t)g->c;
        } else {
            copy_row(g, x, iy, x0, *copies);
            *rows = *copies;
            *copies += s->seg_len;
        }
    }
}

static void point_pixels(const fbk_igemm_f32_args *a, const float *x, const float *zeros, size_t p0,
                         size_t m, const float **rows)
{
    const fbk_igemm_f32_shape *s = a->s;
    const fbk_window *g = &s->g;
    float *copies = (float *)(void *)(rows + s->n_seg * s->tile_px);
    int32_t oy = (int32_t)(p0 / (size_t)g->ow), ox = (int32_t)(p0 % (size_t)g->ow);
    for (size_t i = 0; i < m; i++) {
        int32_t y0 = oy * g->stride_h - g->pad_t, x0 = ox * g->stride_w - g->pad_l;
        if (s->by_tap)
            point_taps(g, x, zeros, y0, x0, rows + i, m);
        else
            point_rows(s, x, zeros, y0, x0, rows + i, m, &copies);
        if (++ox == g->ow) {
            ox = 0;
            oy++;
        }
    }
}

/* --- the tile ----------------------------------------------------------------------------------
 */

/* Asks for piece i of n of the block of weights that comes after this one, so that it lies in L2
 * when its turn comes: large layers stream their weights from L3 or memory. Nothing is read. */
static void prefetch_piece(const void *next, size_t bytes, size_t i, size_t n)
{
    size_t lines = bytes / 64, end = lines * (i + 1) / n;
    for (size_t line = lines * i / n; line < end; line++)
        __builtin_prefetch((const void *)((uintptr_t)next + line * 64), 0, 2);
}

/* The weights of one panel in a block of k: where they lie, and where the micro-kernel reads them.
 */
typedef struct panel_weights {
    const void *packed;
    size_t packed_bytes;
    const float *b;
} panel_weights;

/* Decodes rows [k, k + rows), padded to whole 8, of the columns from `column` on. */
static void decode_block(const fbk_igemm_f32_few *few, const uint8_t *codes, size_t column,
                         size_t nr, size_t k, size_t rows, float *to)
{
    size_t group = few->w.group, n;
    if (group == 0) {
        few->unpack(&few->w, codes, column, nr, fb_round_up(rows, 8), to);
        return;
    }
    for (size_t i = 0; i < rows; i += n) {
        size_t at = (k + i) / group, left = group - (k + i) % group;
        fbk_few_f32 w = few->w;
        w.scale += at * w.columns;
        w.zero = w.zero ? w.zero + at * w.columns : NULL;
        n = left < rows - i ? left : rows - i;
        few->unpack(&w, codes + i * nr / 8 * w.bits, column, nr, n, to + i * nr);
    }
}

/* Rows [k, k + rows) of the columns [j, j + nr) of a group; coded: what k is among coded rows. */
static panel_weights weights_of(const fbk_igemm_f32_args *a, size_t group, size_t j, size_t nr,
                                size_t k, size_t coded, size_t rows)
{
    const fbk_igemm_f32_shape *s = a->s;
    const fbk_igemm_f32_few *few = a->few;
    panel_weights w;
    if (!few) {
        w.b = a->packed + group * group_elems(s) + j * s->k + k * nr;
        w.packed = w.b;
        w.packed_bytes = rows * nr * sizeof(float);
        return w;
    }
    float *decoded = (float *)(void *)((char *)a->scratch + fb_round_up(s->scratch_bytes, 64));
    w.packed = few->codes + codes_before(s, group, j, nr, coded) / 8 * few->w.bits;
    w.packed_bytes = fb_round_up(rows, 8) * nr / 8 * few->w.bits;
    w.b = decoded;
    decode_block(few, w.packed, group * fbk_igemm_f32_columns(s) + j, nr, k, rows, decoded);
    return w;
}

/* Columns [j, j + n) of one block of k for all m pixels: the pixels are cut as evenly as possible.
 */
static void run_panel(const fbk_igemm_f32_args *a, const panel_weights *w, fbk_igemm_f32_block *b,
                      const float *const *rows, size_t m)
{
    const void *next = (const char *)w->packed + w->packed_bytes;
    size_t mr = b->nr == 24 ? FBK_IGEMM_MR_24 : FBK_IGEMM_MR;
    size_t pieces = ceil_div(m, mr), base = m / pieces, longer = m % pieces, at = 0;
    float *y = b->y;
    for (size_t i = 0; i < pieces; i++) {
        b->m = base + (i < longer);
        b->rows = rows + at;
        b->y = y + at * b->ldy;
        prefetch_piece(next, w->packed_bytes, i, pieces);
        a->micro(b);
        at += b->m;
    }
    b->y = y;
}

void fbk_igemm_f32_tile(const fbk_igemm_f32_args *a, uint32_t tile)
{
    const fbk_igemm_f32_shape *s = a->s;
    size_t px_tile = tile % s->px_tiles, rest = tile / s->px_tiles;
    size_t panel0 = rest % s->panel_tiles * s->tile_panels, group = rest / s->panel_tiles;
    size_t px = (size_t)s->g.oh * (size_t)s->g.ow, p0 = px_tile * s->tile_px;
    size_t m = px - p0 < s->tile_px ? px - p0 : s->tile_px;
    size_t panel1 = panel0 + s->tile_panels < s->n_panels ? panel0 + s->tile_panels : s->n_panels;
    const float *zeros = a->packed + (a->few ? 0 : weight_elems(s));
    const float **rows = a->scratch;
    point_pixels(a, a->x + (s->g.groups > 1 ? group * s->seg_len : 0), zeros, p0, m, rows);
    for (size_t k = 0, coded = 0; k < s->k;) {
        k_block kb = block_at(s, k);
        fbk_igemm_f32_block b = {.n_seg = kb.n_seg,
                                 .len = kb.len,
                                 .rows_ld = m,
                                 .offset = kb.part,
                                 .add = k > 0,
                                 .ldy = (size_t)s->g.oc,
                                 .lo = -INFINITY,
                                 .hi = INFINITY};
        if (k + kb.rows == s->k) {
            b.lo = a->lo;
            b.hi = a->hi;
        }
        for (size_t panel = panel0; panel < panel1; panel++) {
            size_t j = panel * FBK_IGEMM_NR;
            b.nr = panel_nr(s, panel);
            b.n = s->n - j < b.nr ? s->n - j : b.nr;
            panel_weights w = weights_of(a, group, j, b.nr, k, coded, kb.rows);
            b.b = w.b;
            b.bias = a->bias ? a->bias + group * s->n + j : NULL;
            b.y = a->y + p0 * b.ldy + group * s->n + j;
            run_panel(a, &w, &b, rows + kb.seg * m, m);
        }
        k += kb.rows;
        coded += fb_round_up(kb.rows, 8);
    }
}
