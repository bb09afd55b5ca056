/* The prepare functions of all operators, and the lookup that plan.c uses. */
#ifndef FB_PLAN_OPS_H
#define FB_PLAN_OPS_H

#include "plan/plan.h"

#define FB_PLAN_F32(op, fn) fb_status fn(fb_prepare *p);
#include "plan/ops_f32.inc"
#undef FB_PLAN_F32
#define FB_PLAN_Q(op, fn) fb_status fn(fb_prepare *p);
#include "plan/ops_q.inc"
#undef FB_PLAN_Q

fb_prepare_fn fb_plan_op_f32(fb_op op);
fb_prepare_fn fb_plan_op_q(fb_op op); /* NULL when the operator has no integer form */

#endif
