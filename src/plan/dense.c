#include "plan/dense.h"

#include "model/sparse.h"

#include <string.h>

static bool is_sparse(const fb_plan *plan, int32_t slot)
{
    return slot >= 0 && plan->slots[slot].place == FB_PLACE_CONST &&
           plan->slots[slot].enc->sparse != FB_DENSE;
}

static void show(fb_plan *plan, int32_t slot, const fb_tensor *t)
{
    plan->slots[slot].tensor = t;
    plan->slots[slot].enc = &t->enc;
    plan->slots[slot].data = t->data;
}

fb_status fb_plan_keep_dense(fb_plan *plan, int32_t slot)
{
    void *owned;
    fb_tensor dense, *keep = fb_plan_alloc(plan, 1, sizeof *keep);
    if (!is_sparse(plan, slot))
        return FB_OK;
    if (!keep)
        return fb_fail(FB_E_MEMORY, "no memory for the plan");
    FB_TRY(fb_sparse_expand(plan->slots[slot].tensor, &dense, &owned));
    void *data = fb_plan_alloc_packed(plan, dense.data_bytes, 1);
    *keep = dense;
    keep->data = data;
    if (data)
        memcpy(data, owned, dense.data_bytes);
    fb_free(owned);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for the plan");
    show(plan, slot, keep);
    return FB_OK;
}

fb_status fb_plan_lend(fb_plan *plan, const fb_node *node, fb_lent *weight)
{
    weight->slot = -1;
    for (uint32_t k = 0; k < node->n_in; k++) {
        int32_t slot = node->in[k];
        if (!is_sparse(plan, slot) || (k == 1 && fb_op_has_weight(node->op)))
            continue;
        FB_TRY(fb_plan_keep_dense(plan, slot));
    }
    int32_t slot = fb_op_has_weight(node->op) ? node->in[1] : -1;
    if (!is_sparse(plan, slot) || plan->slots[slot].enc->kind == FB_ENC_PLAIN)
        return FB_OK;
    weight->sparse = plan->slots[slot].tensor;
    FB_TRY(fb_sparse_expand(weight->sparse, &weight->dense, &weight->owned));
    weight->slot = slot;
    show(plan, slot, &weight->dense);
    return FB_OK;
}

void fb_plan_take_back(fb_plan *plan, fb_lent *weight)
{
    if (weight->slot < 0)
        return;
    show(plan, weight->slot, weight->sparse);
    fb_free(weight->owned);
    weight->slot = -1;
}
