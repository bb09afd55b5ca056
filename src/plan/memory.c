/* Memory by liveness: tensors whose lives do not overlap share bytes.
 *
 * Greedy by size: the largest tensor first, each at the lowest offset that is free throughout its
 * life. Inputs live for the whole run, so that a run can be repeated without filling them again.
 */
#include "plan/plan.h"

#include "base/size.h"

#include <stdlib.h>

static int32_t root_of(const fb_plan *plan, int32_t slot)
{
    while (plan->slots[slot].alias_of >= 0)
        slot = plan->slots[slot].alias_of;
    return slot;
}

static void extend(fb_plan *plan, int32_t slot, int32_t step)
{
    if (slot < 0)
        return;
    fb_slot *s = &plan->slots[root_of(plan, slot)];
    if (step < s->first_step)
        s->first_step = step;
    if (step > s->last_step)
        s->last_step = step;
}

static void find_lives(fb_plan *plan)
{
    int32_t end = (int32_t)plan->n_steps;
    for (size_t i = 0; i < plan->n_slots; i++) {
        plan->slots[i].first_step = end + 1;
        plan->slots[i].last_step = -2;
    }
    for (size_t i = 0; i < plan->n_steps; i++) {
        const fb_step *s = &plan->steps[i];
        for (uint32_t k = 0; k < s->n_in; k++)
            extend(plan, s->in[k], (int32_t)i);
        for (uint32_t k = 0; k < s->n_out; k++)
            extend(plan, s->out[k], (int32_t)i);
    }
    for (uint32_t k = 0; k < plan->model->n_inputs; k++) {
        extend(plan, plan->model->inputs[k], -1);
        extend(plan, plan->model->inputs[k], end);
    }
    for (uint32_t k = 0; k < plan->model->n_outputs; k++)
        extend(plan, plan->model->outputs[k], end);
}

typedef struct placed {
    size_t offset, bytes;
    int32_t first, last;
} placed;

typedef struct order_item {
    size_t bytes;
    int32_t slot;
} order_item;

static int larger_first(const void *a, const void *b)
{
    const order_item *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->slot < y->slot ? -1 : 1;
}

/* Lowest offset with `bytes` free for the life of `want`; `list` is sorted by offset. */
static size_t find_hole(const placed *list, size_t n, const placed *want)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].last < want->first || list[i].first > want->last)
            continue;
        if (list[i].offset >= at && list[i].offset - at >= want->bytes)
            break;
        if (list[i].offset + list[i].bytes > at)
            at = list[i].offset + list[i].bytes;
    }
    return at;
}

static void insert_sorted(placed *list, size_t n, const placed *p)
{
    size_t i = n;
    for (; i > 0 && list[i - 1].offset > p->offset; i--)
        list[i] = list[i - 1];
    list[i] = *p;
}

fb_status fb_plan_memory(fb_plan *plan)
{
    find_lives(plan);
    order_item *order = fb_calloc(plan->n_slots + 1, sizeof *order);
    placed *list = fb_calloc(plan->n_slots + 1, sizeof *list);
    fb_status status = FB_OK;
    size_t n = 0, end = 0;
    if (!order || !list) {
        status = fb_fail(FB_E_MEMORY, "no memory for the plan");
        goto done;
    }
    for (size_t i = 0; i < plan->n_slots; i++) {
        fb_slot *s = &plan->slots[i];
        if (s->alias_of < 0 && s->place == FB_PLACE_ARENA && s->last_step >= -1)
            order[n++] = (order_item){fb_round_up(s->bytes ? s->bytes : 1, FB_ALIGN), (int32_t)i};
    }
    qsort(order, n, sizeof *order, larger_first);
    for (size_t i = 0; i < n; i++) {
        fb_slot *s = &plan->slots[order[i].slot];
        placed p = {0, order[i].bytes, s->first_step, s->last_step};
        if (plan->keep_all) {
            p.first = -1;
            p.last = s->last_step = (int32_t)plan->n_steps;
        }
        p.offset = find_hole(list, i, &p);
        if (!fb_size_add(p.offset, p.bytes, &p.bytes) || p.bytes > SIZE_MAX / 4) {
            status = fb_fail(FB_E_LIMIT, "the activations need more memory than can be addressed");
            goto done;
        }
        if (p.bytes > end)
            end = p.bytes;
        s->offset = p.offset;
        p.bytes = order[i].bytes;
        insert_sorted(list, i, &p);
    }
    plan->arena_bytes = end;
    for (size_t i = 0; i < plan->n_slots; i++) {
        fb_slot *s = &plan->slots[i];
        if (s->alias_of < 0)
            continue;
        const fb_slot *root = &plan->slots[root_of(plan, (int32_t)i)];
        s->offset = root->offset;
        s->first_step = root->first_step;
        s->last_step = root->last_step;
    }
done:
    fb_free(order);
    fb_free(list);
    return status;
}
