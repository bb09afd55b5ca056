/* What the prepare functions of plain tensors share: windows, walks, ranges of a tile. */
#ifndef FB_PLAN_OP_UTIL_H
#define FB_PLAN_OP_UTIL_H

#include "base/size.h"
#include "base/status.h"
#include "kernels/walk.h"
#include "kernels/window.h"
#include "plan/ops.h"

#include <math.h>

/* Elements of an elementwise step per tile: about 4 microseconds of work, a quarter of L2. */
enum { FB_GRAIN_ELEMS = 16384 };

/* [*from, *to) of tile `index` when n items are cut into pieces of `grain`. */
static inline void fb_tile_range(size_t n, size_t grain, uint32_t index, size_t *from, size_t *to)
{
    *from = (size_t)index * grain;
    *to = n - *from < grain ? n : *from + grain;
}

/* How many rows of `row_elems` make a tile; at least 1. */
static inline size_t fb_row_grain(size_t row_elems)
{
    size_t rows = FB_GRAIN_ELEMS / (row_elems ? row_elems : 1);
    return rows ? rows : 1;
}

/* Dims as size_t products: of [from, to). */
static inline size_t fb_dims_product(const fb_shape *s, int32_t from, int32_t to)
{
    size_t n = 1;
    for (int32_t i = from; i < to; i++)
        n *= (size_t)s->dims[i];
    return n;
}

/* Row-major strides in elements. */
static inline void fb_strides(const fb_shape *s, ptrdiff_t stride[FB_MAX_RANK])
{
    ptrdiff_t step = 1;
    for (int32_t i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= (ptrdiff_t)s->dims[i];
    }
}

static inline float fb_act_lo(const fb_act *a)
{
    return a->clamp ? a->lo : -INFINITY;
}

static inline float fb_act_hi(const fb_act *a)
{
    return a->clamp ? a->hi : INFINITY;
}

/* Drops axes of length 1 and merges neighbours that are contiguous in every operand; rank >= 1. */
void fb_walk_simplify(fbk_walk *w);

/* The geometry of a sliding window over image slot `in` giving image slot `out`, both [n][h][w][c],
 * from the first ten fields that conv and pool attributes share. FB_E_LIMIT when a coordinate does
 * not fit 32 bits. */
typedef struct fb_window_attr {
    int32_t kh, kw, stride_h, stride_w, dil_h, dil_w, pad_t, pad_l, pad_b, pad_r;
} fb_window_attr;
fb_status fb_window_make(const fb_window_attr *a, const fb_slot *in, const fb_slot *out,
                         int32_t groups, fbk_window *g);

/* FB_OK when every given slot (NULL is skipped) holds plain f32. */
fb_status fb_need_f32(const fb_prepare *p, const fb_slot *const *slots, uint32_t n);

/* A frozen struct of the plan, or return. */
#define FB_PLAN_ALLOC(p, var, n)                                                                   \
    do {                                                                                           \
        (var) = fb_plan_alloc((p)->plan, (n), sizeof *(var));                                      \
        if (!(var))                                                                                \
            return fb_plan_no_memory(p);                                                           \
    } while (0)

#endif
