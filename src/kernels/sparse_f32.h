/* Convolutions and dense layers whose weights are mostly 0: work and memory for the others alone.
 *
 * Convolution: neighbouring output pixels are the lanes. A tile copies its part of the image into
 * planes, one for each input channel (with a stride s: one for each of the s x s phases, so that
 * neighbours are neighbours there, too), with zeros where there is padding. Then a tap is a number:
 * how far its plane and place lie from those of the first tap, for every pixel alike; and a weight
 * that is not 0 is that number, in 16 bits, and a value.
 *
 *   lanes  run over the rows of the output and the columns between them that the planes have more
 *          (those results are dropped), in blocks of at most 64
 *   block  of channels: so many that their planes' part for 64 lanes stays in L1
 *
 * The sum of an output is the bias, then its weights in the order of the planes' taps (block of
 * channels, channel, kernel row, column), whatever the tile: results depend on no thread. Error as
 * in conv_f32.h, K = weights that are not 0.
 *
 * Measured: docs/methods/prune.md. */
#ifndef FB_KERNELS_SPARSE_F32_H
#define FB_KERNELS_SPARSE_F32_H

#include "kernels/any.h"
#include "kernels/registry.h"
#include "kernels/window.h"

#include <stddef.h>

/* --- micro-kernel ------------------------------------------------------------------------------
 */

enum { FBK_SPARSE_LANES = 64 };

/* sum[j][i] += sum over t in [start[j], start[j + 1]) of w[t] * x[off[t] + i], then clamped, for
 * j < n_out and i < lanes. Lanes up to the next multiple of 8 are read and written likewise. */
typedef struct fbk_sparse_f32_block {
    size_t n_out, lanes;   /* 1 .. FBK_SPARSE_LANES */
    const uint32_t *start; /* [n_out + 1] */
    const uint16_t *off;
    const float *w, *x;
    float *sum;   /* [n_out][FBK_SPARSE_LANES] */
    float lo, hi; /* NaN passes */
} fbk_sparse_f32_block;
typedef void fbk_sparse_f32_fn(const fbk_sparse_f32_block *b);

/* y[i][j] = clamp(bias[j] + sum over t in [start[j], start[j + 1]) of w[t] * x[i][at[t]], lo, hi)
 * for i < m and j in [j0, j1). */
typedef struct fbk_sparse_dense_f32_args {
    size_t m, k, ldy;
    const float *x, *w, *bias; /* x [m][k]; bias [n] or NULL */
    const uint32_t *start;     /* [n + 1] */
    const uint16_t *at;
    float *y; /* [m][ldy] */
    float lo, hi;
} fbk_sparse_dense_f32_args;
typedef void fbk_sparse_dense_f32_fn(const fbk_sparse_dense_f32_args *a, size_t j0, size_t j1);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/sparse_f32.inc"
#undef FBK

FBK_PICK(sparse_f32)
FBK_PICK(sparse_dense_f32)

/* --- the whole image ---------------------------------------------------------------------------
 */

/* Everything that depends on the shape alone. */
typedef struct fbk_sparse_f32_shape {
    fbk_window g; /* groups = 1 */
    size_t phases_h, phases_w;
    size_t plane_h, plane_w, channel; /* floats of a phase's plane, of all phases of a channel */
    size_t block;                     /* channels of a block */
    size_t n_blocks;
    size_t rows, row_tiles; /* output rows of a tile */
    size_t cols, col_tiles; /* columns: all, unless the output is one row of 1 x 1 windows */
    size_t outs, out_tiles; /* output channels of a tile */
    size_t scratch_bytes;
} fbk_sparse_f32_shape;

/* False when a shape does not fit: groups, or taps further apart than 16 bits reach. */
bool fbk_sparse_f32_shape_make(const fbk_window *g, fbk_sparse_f32_shape *s);
uint32_t fbk_sparse_f32_tiles(const fbk_sparse_f32_shape *s);

/* What an image costs with so many weights that are not 0, relative to the dense kernel. */
double fbk_sparse_f32_cost(const fbk_sparse_f32_shape *s, size_t kept);

/* Weights that are not 0, by block of channels and output channel. The caller's memory: start
 * [n_blocks * oc + 1], off and value [as many as w [oc][kh][kw][c] has that are not 0]. */
typedef struct fbk_sparse_f32_weights {
    uint32_t *start;
    uint16_t *off;
    float *value;
} fbk_sparse_f32_weights;
void fbk_sparse_f32_pack(const fbk_sparse_f32_shape *s, const float *w, fbk_sparse_f32_weights *to);

typedef struct fbk_sparse_f32_args {
    const fbk_sparse_f32_shape *s;
    fbk_sparse_f32_fn *micro;
    fbk_move_any_fn *move;
    fbk_sparse_f32_weights w;
    const float *x, *bias; /* one image [h][w][c]; bias [oc] or NULL */
    float *y;              /* [oh][ow][oc] */
    float lo, hi;
    void *scratch; /* s->scratch_bytes, 64-byte aligned */
} fbk_sparse_f32_args;

void fbk_sparse_f32_tile(const fbk_sparse_f32_args *a, uint32_t tile);

#endif
