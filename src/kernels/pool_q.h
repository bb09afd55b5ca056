/* Integer pools over one image x [h][w][c] of 8-bit codes, signed or not. List: pool_q.inc. */
#ifndef FB_KERNELS_POOL_Q_H
#define FB_KERNELS_POOL_Q_H

#include "kernels/registry.h"
#include "kernels/window.h"
#include "numeric/requant.h"

/* Largest code of each window, output rows [oy0, oy1) of y [oh][ow][c]; an empty window gives the
 * lowest code. */
typedef void fbk_max_pool_q_fn(const fbk_window *g, bool is_signed, const uint8_t *x, uint8_t *y,
                               int32_t oy0, int32_t oy1);

/* Mean of each window by fb_mean_code, output rows [oy0, oy1). */
typedef struct fbk_avg_pool_q {
    float x_scale, y_scale;
    int32_t x_zero, y_zero, lo, hi;
    bool include_pad; /* divide by kh * kw everywhere */
    uint8_t flip;     /* signed codes as in fbk_add_q */
} fbk_avg_pool_q;
typedef void fbk_avg_pool_q_fn(const fbk_window *g, const fbk_avg_pool_q *q, const uint8_t *x,
                               uint8_t *y, int32_t oy0, int32_t oy1);

/* y[i] = fb_requant(sum over p of (x[p][i] - x_zero), scale) for channels [0, n); x [pixels][c]
 * points at the first of them. pixels < 2^23. */
typedef struct fbk_mean_q {
    float scale; /* fb_mean_scale */
    int32_t x_zero, y_zero, lo, hi;
    bool is_signed;
} fbk_mean_q;
typedef void fbk_mean_q_fn(const fbk_mean_q *q, size_t pixels, size_t c, size_t n, const uint8_t *x,
                           uint8_t *y);

#define FBK(symbol, cpu, role) fbk_##role##_fn symbol;
#include "kernels/pool_q.inc"
#undef FBK

FBK_PICK(max_pool_q)
FBK_PICK(avg_pool_q)
FBK_PICK(mean_q)

#endif
