/* Convolution and dense layers in fixed point: nodes with `fixed` attributes. Never declined: what
 * fb_fixed_check lets through has a kernel, and anything else is an error, since no other kernel
 * gives the same numbers. */
#ifndef FB_PLAN_OP_CONV_FX_H
#define FB_PLAN_OP_CONV_FX_H

#include "plan/plan.h"

fb_status fb_prepare_conv_fx(fb_prepare *p);
fb_status fb_prepare_dense_fx(fb_prepare *p);

#endif
