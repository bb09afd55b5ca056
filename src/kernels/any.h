/* Kernels for elements of any type: movers by element size, and the slow generic arithmetic
 * (through double, or exactly through 64-bit integers) behind everything that has no fast f32 form.
 * Plain C; list: any.inc. Tensors are given as pointers and element counts; none may overlap
 * another unless said. Nothing fails: what could is checked by the plan. */
#ifndef FB_KERNELS_ANY_H
#define FB_KERNELS_ANY_H

#include "kernels/element.h"
#include "kernels/registry.h"
#include "kernels/walk.h"
#include "kernels/window.h"

/* dst[walk operand 0] = src[walk operand 1] for rows [row0, row0 + n_rows), elements of elem_bytes
 * bytes (1, 2, 4 or 8). Serves slice, transpose, expand and concat. */
typedef void fbk_move_any_fn(const fbk_walk *w, size_t elem_bytes, const void *src, void *dst,
                             size_t row0, size_t n_rows);

/* One axis of a take: output index i reads input index map[i]; map NULL is the identity; -1 stands
 * for the fill value. */
typedef struct fbk_take {
    int32_t rank;                     /* >= 1 */
    size_t dims[FBK_MAX_RANK];        /* of the output, row-major */
    ptrdiff_t stride[FBK_MAX_RANK];   /* of the input */
    const int32_t *map[FBK_MAX_RANK]; /* [dims[k]] each */
    size_t elem_bytes;                /* 1, 2, 4, 8 */
    uint8_t fill[8];                  /* bytes of the fill value */
} fbk_take;

/* Output rows [row0, row0 + n_rows) along the last axis. Serves pad and nearest resize. */
typedef void fbk_take_any_fn(const fbk_take *t, const void *src, void *dst, size_t row0,
                             size_t n_rows);

/* dst [outer][n_idx][inner] = src [outer][axis][inner] at idx[n_idx] (s64 or s32, negative counts
 * from the end, clamped into range). Rows [row0, row0 + n_rows) of the outer * n_idx. */
typedef void fbk_gather_any_fn(const void *src, size_t axis, size_t inner_bytes, const void *idx,
                               fb_dtype idx_type, size_t n_idx, void *dst, size_t row0,
                               size_t n_rows);

/* dst[i] = src[i] in another type: floats round to nearest even; float to integer truncates, NaN
 * gives 0, beyond 64 bits saturates, narrower types take it modulo 2^bits; to bool is != 0. */
typedef void fbk_cast_any_fn(fb_dtype to, void *dst, fb_dtype from, const void *src, size_t n);

typedef enum fbk_binary {
    FBK_ADD,
    FBK_SUB,
    FBK_MUL,
    FBK_DIV,
    FBK_MAX,
    FBK_MIN,
    FBK_POW,
    FBK_BINARY_COUNT
} fbk_binary;

/* y[i] = clamp(a[i * sa] op b[i * sb], lo, hi) with lo, hi ignored for integers. ta, tb, ty are the
 * types; where all three are integers the result is exact modulo 2^64, then modulo the type:
 * division truncates, by zero gives 0. Else through double. NaN wins max and min. */
typedef void fbk_binary_any_fn(fbk_binary op, size_t n, fb_dtype ta, const void *a, ptrdiff_t sa,
                               fb_dtype tb, const void *b, ptrdiff_t sb, fb_dtype ty, void *y,
                               float lo, float hi);

typedef enum fbk_unary {
    FBK_RELU,
    FBK_LEAKY_RELU,
    FBK_CLIP,
    FBK_SIGMOID,
    FBK_HARD_SIGMOID,
    FBK_HARD_SWISH,
    FBK_TANH,
    FBK_ELU,
    FBK_SELU,
    FBK_SOFTPLUS,
    FBK_SOFTSIGN,
    FBK_EXP,
    FBK_LOG,
    FBK_SQRT,
    FBK_ABS,
    FBK_NEG,
    FBK_ERF,
    FBK_UNARY_COUNT
} fbk_unary;

/* The function itself, in double; a and b as in model/op.h. The truth for every unary kernel. */
double fbk_unary_f64(fbk_unary op, double a, double b, double x);

/* y[i] = op(x[i]); type t for both. Integers: relu, clip, abs, neg exactly, the others through
 * double and truncation. y == x is allowed. */
typedef void fbk_unary_any_fn(fbk_unary op, float a, float b, size_t n, fb_dtype t, const void *x,
                              void *y);

/* Largest element of each window of one image, output rows [oy0, oy1). x [h][w][c], y [oh][ow][c]
 * of type t. index, if not NULL, [oh][ow][c]: flat position c * h * w + iy * w + ix of the winner,
 * the first in row-major order of the window (column_major: c * h * w + ix * h + iy). index_base is
 * added. An empty window gives the type's lowest value (-inf for floats) and index_base. */
typedef void fbk_max_pool_any_fn(const fbk_window *g, fb_dtype t, const void *x, void *y,
                                 int64_t *index, int64_t index_base, bool column_major, int32_t oy0,
                                 int32_t oy1);

typedef enum fbk_reduce { FBK_REDUCE_MEAN, FBK_REDUCE_SUM, FBK_REDUCE_MAX } fbk_reduce;

/* Outputs [y0, y0 + n): y[i] = op over the walk `red` from x + offset(i), where `keep` gives the
 * offset of output i on operand 1 (its last axis included) and `red` strides on operand 1. Floats
 * sum in double, integers in 64 bits modulo; an integer mean truncates. */
typedef void fbk_reduce_any_fn(fbk_reduce op, fb_dtype t, const fbk_walk *keep, const fbk_walk *red,
                               const void *x, void *y, size_t y0, size_t n);

/* x [outer][n][inner] -> y [outer][inner], the index of the largest (first; last with select_last).
 * Outputs [y0, y0 + count). NaN counts as largest. */
typedef void fbk_arg_max_any_fn(fb_dtype t, const void *x, size_t n, size_t inner, bool select_last,
                                int64_t *y, size_t y0, size_t count);

/* Softmax (log: its logarithm) along the middle of x [outer][n][inner] for lines [l0, l0 + count)
 * of the outer * inner. Float types, through double. */
typedef void fbk_softmax_any_fn(fb_dtype t, const void *x, void *y, size_t n, size_t inner,
                                bool log, size_t l0, size_t count);

/* Interpolation tables of one axis: output index o reads taps indices idx[o * taps + j] with weight
 * wt[o * taps + j]. idx -1: the output is the extrapolation value. idx NULL: identity (taps 1). */
typedef struct fbk_resize_axis {
    size_t out;
    ptrdiff_t stride; /* of the input */
    int32_t taps;     /* 1, 2 or 4 */
    const int32_t *idx;
    const float *wt;
} fbk_resize_axis;

typedef struct fbk_resize {
    int32_t rank; /* >= 1 */
    fbk_resize_axis axis[FBK_MAX_RANK];
    size_t block; /* after the last axis: this many elements of stride 1 move together */
    float extrapolation;
} fbk_resize;

/* Output points [p0, p0 + n) of the product of all axes' `out`, each of `block` elements of type t:
 * sum over the taps of all axes, products of weights; in double. Integers round to nearest even. */
typedef void fbk_resize_any_fn(const fbk_resize *r, fb_dtype t, const void *x, void *y, size_t p0,
                               size_t n);
/* The same for f32, sums in float: error below 5 * taps_total * 2^-24 * sum |w x|. */
typedef void fbk_resize_f32_fn(const fbk_resize *r, const float *x, float *y, size_t p0, size_t n);

#define FBK(symbol, cpu, role) fbk_##role##_fn symbol;
#include "kernels/any.inc"
#undef FBK

FBK_PICK(move_any)
FBK_PICK(take_any)
FBK_PICK(gather_any)
FBK_PICK(cast_any)
FBK_PICK(binary_any)
FBK_PICK(unary_any)
FBK_PICK(max_pool_any)
FBK_PICK(reduce_any)
FBK_PICK(arg_max_any)
FBK_PICK(softmax_any)
FBK_PICK(resize_any)
FBK_PICK(resize_f32)

#endif
