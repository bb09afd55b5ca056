/* Steps on weights that are mostly 0 (kernels/sparse_f32.h): convolutions, and dense layers. */
#ifndef FB_PLAN_OP_SPARSE_F32_H
#define FB_PLAN_OP_SPARSE_F32_H

#include "plan/op_weight.h"

/* Freeze the step where enough of the constant weight is 0 for the sparse kernels to be faster than
 * the dense ones, and leave step->kernel NULL otherwise. The reference plan computes densely.
 *
 * Convolution: as fb_prepare_igemm_f32. Dense: m rows [m][k] give [m][n]. */
fb_status fb_prepare_sparse_conv_f32(fb_prepare *p, const fbk_window *g, size_t images,
                                     const fb_act *act);
fb_status fb_prepare_sparse_dense_f32(fb_prepare *p, size_t m, size_t n, size_t k,
                                      const fb_act *act);

#endif
