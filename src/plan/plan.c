/* From model to plan: slots for tensors, steps for nodes (node.c), memory for slots (memory.c). */
#include "plan/ops.h"

#include "base/cpu.h"
#include "base/size.h"
#include "plan/dense.h"
#include "plan/room.h"

#include <string.h>

const fb_encoding fb_plan_plain = {.kind = FB_ENC_PLAIN, .axis = -1};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the plan");
}

/* --- what prepare functions use ------------------------------------------------------------- */

const fb_slot *fb_prepare_input(const fb_prepare *p, uint32_t i)
{
    int32_t slot = i < p->step->n_in ? p->step->in[i] : -1;
    return slot >= 0 ? &p->plan->slots[slot] : NULL;
}

void *fb_plan_alloc(fb_plan *plan, size_t n, size_t elem_bytes)
{
    return fb_arena_array(plan->arena, n, elem_bytes);
}

void *fb_plan_alloc_packed(fb_plan *plan, size_t n, size_t elem_bytes)
{
    void *p = fb_arena_array(plan->arena, n, elem_bytes);
    if (p)
        plan->packed_bytes += n * elem_bytes;
    return p;
}

fb_status fb_plan_no_memory(const fb_prepare *p)
{
    return fb_fail(FB_E_MEMORY, "no memory to prepare layer '%s'", p->step->name);
}

fb_status fb_prepare_decode(const fb_prepare *p, const fb_slot *slot, float **out)
{
    size_t bytes;
    *out = NULL;
    FB_ENSURE(slot->tensor && slot->tensor->is_const);
    if (!fb_size_mul(slot->elems, sizeof(float), &bytes) || !(*out = fb_alloc(bytes)))
        return fb_plan_no_memory(p);
    fb_status status = fb_tensor_decode(slot->tensor, *out);
    if (status != FB_OK) {
        fb_free(*out);
        *out = NULL;
    }
    return status;
}

static int32_t root_of(const fb_plan *plan, int32_t slot)
{
    while (plan->slots[slot].alias_of >= 0)
        slot = plan->slots[slot].alias_of;
    return slot;
}

void fb_prepare_alias(fb_prepare *p)
{
    fb_slot *out = &p->plan->slots[p->step->out[0]];
    int32_t root = root_of(p->plan, p->step->in[0]);
    out->alias_of = root;
    out->place = p->plan->slots[root].place;
    out->data = p->plan->slots[root].data;
    p->step->kernel = "alias";
    p->step->run = NULL;
}

/* --- slots ----------------------------------------------------------------------------------- */

fb_status fb_plan_add_slot(fb_plan *plan, const fb_slot *slot, const char *name, int32_t *index)
{
    void *items = plan->slots;
    fb_slot s = *slot;
    if (!fb_grow(&items, &plan->cap_slots, plan->n_slots + 1, sizeof *plan->slots))
        return no_memory();
    plan->slots = items;
    if (!fb_layout_of(s.place == FB_PLACE_CONST ? &fb_plan_plain : s.enc, s.shape.dtype,
                      s.shape.rank, s.shape.dims, &s.lay) ||
        s.lay.bytes > SIZE_MAX / 4 || s.lay.elems > SIZE_MAX / 16)
        return fb_fail(FB_E_LIMIT, "tensor '%s' is too large", name);
    s.shape.dtype = s.lay.dtype;
    s.elems = s.lay.elems;
    s.bytes = s.lay.bytes;
    plan->slots[plan->n_slots] = s;
    *index = (int32_t)plan->n_slots++;
    return FB_OK;
}

static fb_status make_slots(fb_plan *plan)
{
    const fb_model *m = plan->model;
    fb_shape *shapes = fb_calloc(m->n_tensors + 1, sizeof *shapes);
    if (!shapes)
        return no_memory();
    fb_status status;
    FB_GO(fb_shape_infer(m, plan->batch, shapes));
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        fb_slot slot = {.place = t->is_const ? FB_PLACE_CONST : FB_PLACE_NONE,
                        .shape = shapes[i],
                        .enc = &t->enc,
                        .tensor = t,
                        .alias_of = -1,
                        .data = t->is_const ? t->data : NULL};
        int32_t index;
        FB_GO(fb_plan_add_slot(plan, &slot, t->name, &index));
    }
    for (uint32_t k = 0; k < m->n_inputs; k++)
        plan->slots[m->inputs[k]].place = FB_PLACE_ARENA;
fail:
    fb_free(shapes);
    return status;
}

void fb_plan_options_default(fb_plan_options *options)
{
    *options = (fb_plan_options){.batch = 1, .cpu = fb_cpu_usable()};
}

fb_status fb_plan_create(const fb_model *model, const fb_plan_options *options, fb_plan **out)
{
    return fb_plan_create_form(model, options, FB_FORM_AUTO, 0, out);
}

fb_status fb_plan_create_form(const fb_model *model, const fb_plan_options *options, fb_form form,
                              uint32_t band_rows, fb_plan **out)
{
    fb_plan_options defaults;
    *out = NULL;
    fb_plan_options_default(&defaults);
    if (!options)
        options = &defaults;
    if (options->batch < 1 || options->batch > 65536)
        return fb_fail(FB_E_ARG, "batch %u is not between 1 and 65536", options->batch);
    fb_plan *plan = fb_calloc(1, sizeof *plan);
    if (!plan)
        return no_memory();
    fb_status status = FB_OK;
    plan->model = model;
    plan->batch = options->batch;
    plan->cpu = options->cpu & fb_cpu_detect();
    plan->keep_all = options->keep_all;
    plan->tables = options->tables;
    plan->form = form;
    plan->band_rows = band_rows;
    plan->arena = fb_arena_create();
    if (!plan->arena) {
        status = no_memory();
        goto fail;
    }
    FB_GO(make_slots(plan));
    for (uint32_t k = 0; k < model->n_outputs; k++)
        FB_GO(fb_plan_keep_dense(plan, model->outputs[k]));
    FB_GO(fb_plan_find_room(plan));
    for (size_t i = 0; i < model->n_nodes; i++)
        FB_GO(fb_plan_add_node(plan, &model->nodes[i]));
    FB_GO(fb_plan_memory(plan));
    *out = plan;
    return FB_OK;
fail:
    fb_plan_destroy(&plan);
    return status;
}

void fb_plan_destroy(fb_plan **plan)
{
    fb_plan *p = plan ? *plan : NULL;
    if (!p)
        return;
    fb_free(p->slots);
    fb_free(p->steps);
    fb_arena_destroy(p->arena);
    fb_free(p);
    *plan = NULL;
}

uint64_t fb_plan_workspace_bytes(const fb_plan *plan)
{
    return plan->arena_bytes;
}

uint64_t fb_plan_packed_bytes(const fb_plan *plan)
{
    return plan->packed_bytes;
}

uint32_t fb_plan_n_steps(const fb_plan *plan)
{
    return (uint32_t)plan->n_steps;
}

fb_status fb_plan_step(const fb_plan *plan, uint32_t i, fb_step_info *info)
{
    if (i >= plan->n_steps)
        return fb_fail(FB_E_ARG, "step %u of %zu does not exist", i, plan->n_steps);
    const fb_step *s = &plan->steps[i];
    int32_t out = s->n_out > 0 ? s->out[0] : -1;
    *info = (fb_step_info){.name = s->name,
                           .op = s->op,
                           .kernel = s->kernel,
                           .macs = s->macs,
                           .out = out < (int32_t)plan->model->n_tensors ? out : -1};
    return FB_OK;
}
