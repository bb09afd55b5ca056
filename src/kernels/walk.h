/* N-dimensional strided loops over up to three operands, cut into rows along the last axis. */
#ifndef FB_KERNELS_WALK_H
#define FB_KERNELS_WALK_H

#include <stddef.h>
#include <stdint.h>

enum { FBK_MAX_RANK = 8, FBK_WALK_OPERANDS = 3 };

/* Element (i0, ..., i[rank-1]) of operand o lies at sum i[k] * stride[o][k], in elements; strides
 * may be 0 (broadcast) or negative. rank >= 1. */
typedef struct fbk_walk {
    int32_t rank;
    size_t dims[FBK_MAX_RANK];
    ptrdiff_t stride[FBK_WALK_OPERANDS][FBK_MAX_RANK];
} fbk_walk;

/* Product of all dims but the last. */
static inline size_t fbk_walk_rows(const fbk_walk *w)
{
    size_t n = 1;
    for (int32_t i = 0; i + 1 < w->rank; i++)
        n *= w->dims[i];
    return n;
}

/* Offset of the first element of a row, for each operand. */
static inline void fbk_walk_at(const fbk_walk *w, size_t row, ptrdiff_t off[FBK_WALK_OPERANDS])
{
    off[0] = off[1] = off[2] = 0;
    for (int32_t k = w->rank - 2; k >= 0; k--) {
        ptrdiff_t i = (ptrdiff_t)(row % w->dims[k]);
        row /= w->dims[k];
        for (int o = 0; o < FBK_WALK_OPERANDS; o++)
            off[o] += i * w->stride[o][k];
    }
}

#endif
