/* Weights in few bits that the f32 kernels read packed (kernels/few_f32.h): which ones, and their
 * tables, scales and codes as the kernels want them. All others are decoded when the plan is made
 * (op_weight.h). */
#ifndef FB_PLAN_OP_FEW_H
#define FB_PLAN_OP_FEW_H

#include "kernels/few_f32.h"
#include "plan/plan.h"

/* Columns of a packed matrix: those of each group of `n` output channels, padded to `padded`. */
typedef struct fb_columns {
    size_t groups, n, padded;
} fb_columns;

/* A dense constant, affine of at most 8 bits or levels of at most 4, without values set aside,
 * whose scales and tables are one for the tensor or one for each index of its first axis. Looking
 * up more than 16 floats costs more than floats in memory do. */
bool fb_few_takes(const fb_slot *w);

/* Tables, zeros and scales of the columns, in the plan's memory. */
fb_status fb_few_params(const fb_prepare *p, const fb_slot *w, const fb_columns *columns,
                        fbk_few_f32 *few);

/* The codes in heap memory (fb_free them), one a byte, row-major; signed ones as their low bits. */
fb_status fb_few_codes(const fb_prepare *p, const fb_slot *w, uint8_t **codes);

/* Rows [n][k] of a weight matrix as octets: where they lie, if they lie so, else a packed copy. */
fb_status fb_few_rows(const fb_prepare *p, const fb_slot *w, const fbk_few_f32 *few, size_t n,
                      size_t k, const uint8_t **rows);

#endif
