/* Sparse constants for operators that know only dense ones. */
#ifndef FB_PLAN_DENSE_H
#define FB_PLAN_DENSE_H

#include "plan/plan.h"

/* A slot whose sparse codes are dense while a node is prepared. */
typedef struct fb_lent {
    int32_t slot; /* -1: nothing was done */
    const fb_tensor *sparse;
    fb_tensor dense;
    void *owned;
} fb_lent;

/* Makes the node's inputs dense: those that a run may read for good, in the plan's memory; codes of
 * a weight, which are packed, until fb_plan_take_back. (A sparse weight in floats stays: who wants
 * it decodes it, op_weight.h.) */
fb_status fb_plan_lend(fb_plan *plan, const fb_node *node, fb_lent *weight);
void fb_plan_take_back(fb_plan *plan, fb_lent *weight);

/* Makes the sparse constant of a slot dense for good. */
fb_status fb_plan_keep_dense(fb_plan *plan, int32_t slot);

#endif
