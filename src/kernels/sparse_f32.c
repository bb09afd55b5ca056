/* Planes, packing and tiles around the sparse micro-kernel. Plain C; sparse_f32.h says what it
 * computes.
 *
 *   tile = some output rows x some output channels
 *     the image's part -> planes
 *     for each 64 lanes
 *       for each block of channels    (their planes' part stays in L1)
 *         micro-kernel: all output channels of the tile
 *       sums -> y */
#include "kernels/sparse_f32.h"

#include <math.h>
#include <string.h>

enum {
    PLANES_MOST = 65536, /* floats of a tile's planes where one row does not need more: of L2 */
    L1_BYTES = 20480,    /* of the planes, beside 8 KiB of sums */
    TILES = 8,           /* of an image, so that threads end together */
    FEWEST_MACS = 300    /* output channels x taps of a tile that pay for making the planes */
};

/* Time in units of a dense multiply-add: of one here, of a float into a plane, of an output from
 * the sums to y. Measured on ResNet-18, ResNet-20, SqueezeNet and MobileNetV2
 * (docs/methods/prune.md).
 */
static const double MAC_COST = 1.5, IN_COST = 7, OUT_COST = 20;

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Most places that a tap lies further within its phase. */
static size_t reach(int32_t taps, int32_t dil, int32_t stride)
{
    return (size_t)(taps - 1) * (size_t)dil / (size_t)stride;
}

static void make_planes(fbk_sparse_f32_shape *s)
{
    const fbk_window *g = &s->g;
    s->plane_w = s->cols + reach(g->kw, g->dil_w, g->stride_w);
    s->plane_h = s->rows + reach(g->kh, g->dil_h, g->stride_h);
    s->channel = s->phases_h * s->phases_w * s->plane_h * s->plane_w;
}

/* The floats that 64 lanes touch of one channel. */
static size_t touched(const fbk_sparse_f32_shape *s)
{
    const fbk_window *g = &s->g;
    size_t span = FBK_SPARSE_LANES + reach(g->kh, g->dil_h, g->stride_h) * s->plane_w +
                  reach(g->kw, g->dil_w, g->stride_w);
    return smaller(s->channel, s->phases_h * s->phases_w * span);
}

static void cut_columns(fbk_sparse_f32_shape *s)
{
    size_t ow = (size_t)s->g.ow, most = PLANES_MOST / (size_t)s->g.c / FBK_SPARSE_LANES;
    size_t blocks = ceil_div(ow, FBK_SPARSE_LANES), want = ceil_div(blocks, TILES);
    want = want < most ? want : most ? most : 1;
    s->cols = smaller(want * FBK_SPARSE_LANES, ow);
    s->col_tiles = ceil_div(ow, s->cols);
    make_planes(s);
}

static void cut_rows(fbk_sparse_f32_shape *s)
{
    size_t c = (size_t)s->g.c, oh = (size_t)s->g.oh, one = s->channel * c;
    size_t row = s->phases_h * s->phases_w * s->plane_w * c;
    size_t rows = one < PLANES_MOST ? 1 + (PLANES_MOST - one) / row : 1;
    s->row_tiles = ceil_div(oh, smaller(rows, oh));
    s->rows = ceil_div(oh, s->row_tiles);
    s->row_tiles = ceil_div(oh, s->rows);
    make_planes(s);
}

bool fbk_sparse_f32_shape_make(const fbk_window *g, fbk_sparse_f32_shape *s)
{
    size_t oc = (size_t)g->oc, c = (size_t)g->c;
    *s = (fbk_sparse_f32_shape){.g = *g};
    s->phases_h = smaller((size_t)g->stride_h, (size_t)(g->kh - 1) * (size_t)g->dil_h + 1);
    s->phases_w = smaller((size_t)g->stride_w, (size_t)(g->kw - 1) * (size_t)g->dil_w + 1);
    s->rows = s->col_tiles = 1;
    s->cols = (size_t)g->ow;
    make_planes(s);
    if (g->oh == 1 && g->kh == 1 && g->kw == 1)
        cut_columns(s);
    if (g->groups != 1 || s->channel > 65535 || s->channel > ((size_t)1 << 26) / c)
        return false;
    cut_rows(s);
    s->block = L1_BYTES / sizeof(float) / touched(s);
    s->block = smaller(s->block, 65535 / s->channel);
    s->block = smaller(s->block ? s->block : 1, c);
    s->n_blocks = ceil_div(c, s->block);
    size_t taps = (size_t)g->kh * (size_t)g->kw, tiles = s->row_tiles * s->col_tiles;
    size_t splits = smaller(ceil_div(TILES, tiles), ceil_div(oc * taps, FEWEST_MACS));
    s->outs = ceil_div(oc, splits);
    s->out_tiles = ceil_div(oc, s->outs);
    /* Lanes read up to 7 floats beyond the last plane. */
    s->scratch_bytes = (s->outs * FBK_SPARSE_LANES + s->channel * c + 8) * sizeof(float);
    return true;
}

uint32_t fbk_sparse_f32_tiles(const fbk_sparse_f32_shape *s)
{
    return (uint32_t)(s->row_tiles * s->col_tiles * s->out_tiles);
}

double fbk_sparse_f32_cost(const fbk_sparse_f32_shape *s, size_t kept)
{
    const fbk_window *g = &s->g;
    double pixels = (double)g->oh * g->ow, lanes = (double)g->oh * (double)s->plane_w;
    double dense = pixels * g->oc * g->c * g->kh * g->kw;
    lanes *= (double)s->col_tiles;
    return (MAC_COST * lanes * (double)kept +
            IN_COST * (double)s->channel * g->c * fbk_sparse_f32_tiles(s) +
            OUT_COST * pixels * g->oc) /
           dense;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* How far a tap of the first channel lies from the first pixel's place. */
static size_t place_of(const fbk_sparse_f32_shape *s, size_t ky, size_t kx)
{
    const fbk_window *g = &s->g;
    size_t y = ky * (size_t)g->dil_h, x = kx * (size_t)g->dil_w;
    size_t sh = (size_t)g->stride_h, sw = (size_t)g->stride_w;
    size_t phase = y % sh * s->phases_w + x % sw;
    return (phase * s->plane_h + y / sh) * s->plane_w + x / sw;
}

void fbk_sparse_f32_pack(const fbk_sparse_f32_shape *s, const float *w, fbk_sparse_f32_weights *to)
{
    const fbk_window *g = &s->g;
    size_t c = (size_t)g->c, kh = (size_t)g->kh, kw = (size_t)g->kw, oc = (size_t)g->oc, n = 0;
    to->start[0] = 0;
    for (size_t b = 0; b < s->n_blocks; b++) {
        size_t first = b * s->block, end = smaller(first + s->block, c);
        for (size_t o = 0; o < oc; o++) {
            for (size_t i = first; i < end; i++) {
                for (size_t k = 0; k < kh * kw; k++) {
                    float v = w[(o * kh * kw + k) * c + i];
                    if (v == 0)
                        continue;
                    to->off[n] = (uint16_t)((i - first) * s->channel + place_of(s, k / kw, k % kw));
                    to->value[n++] = v;
                }
            }
            to->start[b * oc + o + 1] = (uint32_t)n;
        }
    }
}

/* ---- the tile ------------------------------------------------------------------------------- */

/* Columns of one input row into row `to` of a phase of all channels. */
static void copy_row(const fbk_sparse_f32_args *a, int32_t iy, int32_t phase, size_t col0,
                     float *to)
{
    const fbk_sparse_f32_shape *s = a->s;
    const fbk_window *g = &s->g;
    int32_t first, end, at = phase - g->pad_l + (int32_t)col0 * g->stride_w;
    fbk_taps_inside(at, g->w, (int32_t)s->plane_w, g->stride_w, &first, &end);
    if (first == end)
        return;
    ptrdiff_t c = g->c;
    fbk_walk walk = {.rank = 2,
                     .dims = {(size_t)c, (size_t)(end - first)},
                     .stride = {{(ptrdiff_t)s->channel, 1}, {1, c * g->stride_w}}};
    const float *from = a->x + (ptrdiff_t)iy * g->w * c + (ptrdiff_t)(at + first * g->stride_w) * c;
    a->move(&walk, sizeof(float), from, to + first, 0, (size_t)c);
}

static void make_tile_planes(const fbk_sparse_f32_args *a, size_t row0, size_t col0, float *planes)
{
    const fbk_sparse_f32_shape *s = a->s;
    const fbk_window *g = &s->g;
    memset(planes, 0, (s->channel * (size_t)g->c + 8) * sizeof *planes);
    for (size_t p = 0; p < s->phases_h * s->phases_w; p++) {
        int32_t ph = (int32_t)(p / s->phases_w), pw = (int32_t)(p % s->phases_w);
        for (size_t r = 0; r < s->plane_h; r++) {
            int64_t iy = (int64_t)(row0 + r) * g->stride_h - g->pad_t + ph;
            if (iy >= 0 && iy < g->h)
                copy_row(a, (int32_t)iy, pw, col0, planes + (p * s->plane_h + r) * s->plane_w);
        }
    }
}

/* Lanes [at, at + lanes) of a tile whose first pixel is y's: what is an output pixel goes there. */
static void store(const fbk_sparse_f32_args *a, const float *sum, float *y, size_t at, size_t lanes,
                  size_t outs)
{
    const fbk_sparse_f32_shape *s = a->s;
    size_t ow = (size_t)s->g.ow, oc = (size_t)s->g.oc;
    for (size_t i = 0; i < lanes;) {
        size_t row = (at + i) / s->plane_w, col = (at + i) % s->plane_w;
        size_t run = smaller(s->plane_w - col, lanes - i),
               inside = col < s->cols ? s->cols - col : 0;
        size_t n = smaller(run, inside);
        fbk_walk walk = {
            .rank = 2, .dims = {n, outs}, .stride = {{(ptrdiff_t)oc, 1}, {1, FBK_SPARSE_LANES}}};
        if (n > 0)
            a->move(&walk, sizeof(float), sum + i, y + (row * ow + col) * oc, 0, n);
        i += run;
    }
}

static void run_lanes(const fbk_sparse_f32_args *a, const float *planes, float *sum, size_t lanes,
                      size_t out0, size_t outs)
{
    const fbk_sparse_f32_shape *s = a->s;
    for (size_t o = 0; o < outs; o++) {
        float bias = a->bias ? a->bias[out0 + o] : 0;
        for (size_t i = 0; i < FBK_SPARSE_LANES; i++)
            sum[o * FBK_SPARSE_LANES + i] = bias;
    }
    for (size_t b = 0; b < s->n_blocks; b++) {
        bool last = b + 1 == s->n_blocks;
        fbk_sparse_f32_block block = {.n_out = outs,
                                      .lanes = lanes,
                                      .start = a->w.start + b * (size_t)s->g.oc + out0,
                                      .off = a->w.off,
                                      .w = a->w.value,
                                      .x = planes + b * s->block * s->channel,
                                      .sum = sum,
                                      .lo = last ? a->lo : -INFINITY,
                                      .hi = last ? a->hi : INFINITY};
        a->micro(&block);
    }
}

void fbk_sparse_f32_tile(const fbk_sparse_f32_args *a, uint32_t tile)
{
    const fbk_sparse_f32_shape *s = a->s;
    size_t row0 = tile % s->row_tiles * s->rows, rest = tile / s->row_tiles;
    size_t col0 = rest % s->col_tiles * s->cols, out0 = rest / s->col_tiles * s->outs;
    size_t rows = smaller(s->rows, (size_t)s->g.oh - row0);
    size_t cols = smaller(s->cols, (size_t)s->g.ow - col0);
    size_t outs = smaller(s->outs, (size_t)s->g.oc - out0);
    float *sum = a->scratch, *planes = sum + s->outs * FBK_SPARSE_LANES;
    float *y = a->y + (row0 * (size_t)s->g.ow + col0) * (size_t)s->g.oc + out0;
    make_tile_planes(a, row0, col0, planes);
    size_t all = (rows - 1) * s->plane_w + cols;
    size_t pieces = ceil_div(all, FBK_SPARSE_LANES), piece = ceil_div(ceil_div(all, pieces), 8) * 8;
    for (size_t at = 0; at < all; at += piece) {
        size_t lanes = smaller(piece, all - at);
        run_lanes(a, planes + at, sum, lanes, out0, outs);
        store(a, sum, y, at, lanes, outs);
    }
}
