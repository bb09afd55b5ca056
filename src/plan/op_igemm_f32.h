/* Steps that run as an indirect gemm: convolutions, and dense layers of several rows. */
#ifndef FB_PLAN_OP_IGEMM_F32_H
#define FB_PLAN_OP_IGEMM_F32_H

#include "kernels/window.h"
#include "plan/op_weight.h"

/* Whether the plan may use a fast micro-kernel (the reference plan computes directly instead, so
 * that the two ways share no code). */
bool fb_igemm_f32_usable(const fb_prepare *p);

/* Freezes the step: input 0 holds `images` images as g says, input 1 is a constant weight
 * [oc][kh][kw][c / groups], input 2 the bias or absent. */
fb_status fb_prepare_igemm_f32(fb_prepare *p, const fbk_window *g, size_t images,
                               const fb_act *act);

#endif
