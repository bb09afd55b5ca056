/* From model to steps: slots for tensors, an operator's prepare function for each node, conversions
 * where a node has no integer form. */
#include "plan/ops.h"

#include "base/cpu.h"
#include "base/size.h"
#include "plan/dense.h"

#include <string.h>

static const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};

static const fb_prepare_fn f32_ops[FB_OP_COUNT] = {
#define FB_PLAN_F32(op, fn) [FB_OP_##op] = fn,
#include "plan/ops_f32.inc"
#undef FB_PLAN_F32
};

static const fb_prepare_fn q_ops[FB_OP_COUNT] = {
#define FB_PLAN_Q(op, fn) [FB_OP_##op] = fn,
#include "plan/ops_q.inc"
#undef FB_PLAN_Q
};

fb_prepare_fn fb_plan_op_f32(fb_op op)
{
    return f32_ops[op];
}

fb_prepare_fn fb_plan_op_q(fb_op op)
{
    return q_ops[op];
}

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

static fb_dtype stored_dtype(const fb_tensor *t)
{
    if (t->enc.kind != FB_ENC_AFFINE)
        return t->dtype;
    if (t->enc.bits <= 8)
        return t->enc.is_signed ? FB_S8 : FB_U8;
    return t->enc.is_signed ? FB_S16 : FB_U16;
}

static fb_status size_slot(fb_slot *slot, const char *name)
{
    size_t elems = 1;
    for (int32_t i = 0; i < slot->shape.rank; i++) {
        if (!fb_size_mul(elems, (size_t)slot->shape.dims[i], &elems))
            return fb_fail(FB_E_LIMIT, "tensor '%s' is too large", name);
    }
    slot->elems = elems;
    if (!fb_size_mul(elems, fb_dtype_bytes(slot->shape.dtype), &slot->bytes) ||
        slot->bytes > SIZE_MAX / 4)
        return fb_fail(FB_E_LIMIT, "tensor '%s' is too large", name);
    return FB_OK;
}

static fb_status add_slot(fb_plan *plan, const fb_slot *slot, int32_t *index)
{
    void *items = plan->slots;
    if (!fb_grow(&items, &plan->cap_slots, plan->n_slots + 1, sizeof *plan->slots))
        return no_memory();
    plan->slots = items;
    plan->slots[plan->n_slots] = *slot;
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
        if (!t->is_const)
            slot.shape.dtype = stored_dtype(t);
        int32_t index;
        FB_GO(size_slot(&slot, t->name));
        FB_GO(add_slot(plan, &slot, &index));
    }
    for (uint32_t k = 0; k < m->n_inputs; k++)
        plan->slots[m->inputs[k]].place = FB_PLACE_ARENA;
fail:
    fb_free(shapes);
    return status;
}

/* An f32 temporary of the same shape as slot `like`. */
static fb_status add_float_temp(fb_plan *plan, int32_t like, int32_t *index)
{
    fb_slot slot = {
        .place = FB_PLACE_ARENA, .shape = plan->slots[like].shape, .enc = &plain, .alias_of = -1};
    slot.shape.dtype = FB_F32;
    FB_TRY(size_slot(&slot, "temporary"));
    return add_slot(plan, &slot, index);
}

/* An encoded constant that an operator wants as plain f32. */
static fb_status decode_const(fb_plan *plan, int32_t from, int32_t *index)
{
    fb_slot slot = plan->slots[from];
    slot.enc = &plain;
    slot.tensor = NULL;
    slot.shape.dtype = FB_F32;
    FB_TRY(size_slot(&slot, plan->slots[from].tensor->name));
    float *data = fb_plan_alloc_packed(plan, slot.elems, sizeof *data);
    if (!data)
        return no_memory();
    FB_TRY(fb_tensor_decode(plan->slots[from].tensor, data));
    slot.data = data;
    return add_slot(plan, &slot, index);
}

/* --- steps ----------------------------------------------------------------------------------- */

static const char *op_text(const fb_node *node)
{
    if (!node)
        return "convert";
    if (node->op == FB_OP_UNARY)
        return fb_unary_name(node->attr.unary.kind);
    if (node->op == FB_OP_BINARY)
        return fb_binary_name(node->attr.binary.kind);
    return fb_op_get(node->op)->name;
}

/* Appends a step on the given slots and lets `prepare` fill it. *taken = false when it declined;
 * the step is then gone. */
static fb_status add_step(fb_plan *plan, const fb_node *node, const char *name, uint32_t n_in,
                          const int32_t *in, uint32_t n_out, const int32_t *out,
                          fb_prepare_fn prepare, bool *taken)
{
    void *items = plan->steps;
    if (!fb_grow(&items, &plan->cap_steps, plan->n_steps + 1, sizeof *plan->steps))
        return no_memory();
    plan->steps = items;
    int32_t *slots = fb_arena_array(plan->arena, (size_t)n_in + n_out, sizeof *slots);
    if (!slots)
        return no_memory();
    memcpy(slots, in, n_in * sizeof *slots);
    memcpy(slots + n_in, out, n_out * sizeof *slots);
    fb_step *step = &plan->steps[plan->n_steps];
    *step = (fb_step){.node = node,
                      .name = name,
                      .op = op_text(node),
                      .n_in = n_in,
                      .n_out = n_out,
                      .in = slots,
                      .out = slots + n_in,
                      .n_tiles = 1};
    for (uint32_t k = 0; k < n_out; k++) {
        if (out[k] >= 0)
            plan->slots[out[k]].place = FB_PLACE_ARENA;
    }
    fb_prepare p = {.plan = plan, .node = node, .step = step};
    for (uint32_t k = 0; k < n_in && k < 8; k++)
        p.in[k] = in[k] >= 0 ? &plan->slots[in[k]] : NULL;
    for (uint32_t k = 0; k < n_out && k < 2; k++)
        p.out[k] = out[k] >= 0 ? &plan->slots[out[k]] : NULL;
    fb_status status = prepare(&p);
    if (status != FB_OK)
        return fb_fail_in(status, "layer '%s' (%s)", name, step->op);
    *taken = step->kernel != NULL;
    if (*taken)
        plan->n_steps++;
    if (step->scratch_bytes > plan->scratch_bytes)
        plan->scratch_bytes = fb_round_up(step->scratch_bytes, FB_ALIGN);
    return FB_OK;
}

static fb_status add_convert(fb_plan *plan, const char *name, int32_t from, int32_t to)
{
    bool taken;
    FB_TRY(add_step(plan, NULL, name, 1, &from, 1, &to, fb_prepare_convert, &taken));
    FB_ENSURE(taken);
    return FB_OK;
}

static bool is_encoded(const fb_plan *plan, int32_t slot)
{
    return slot >= 0 && plan->slots[slot].enc->kind != FB_ENC_PLAIN &&
           plan->slots[slot].place != FB_PLACE_CONST;
}

static bool any_encoded(const fb_plan *plan, const int32_t *slots, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        if (is_encoded(plan, slots[k]))
            return true;
    }
    return false;
}

/* The float step of a node, with decoding before and encoding after where activations or constants
 * are encoded. `io` has room for the node's inputs and outputs. */
static fb_status add_float_steps(fb_plan *plan, const fb_node *n, int32_t *io)
{
    int32_t *in = io, *out = io + n->n_in;
    for (uint32_t k = 0; k < n->n_in; k++) {
        in[k] = n->in[k];
        if (in[k] < 0)
            continue;
        const fb_slot *slot = &plan->slots[in[k]];
        bool weight = fb_op_has_weight(n->op) && k == 1;
        if (is_encoded(plan, in[k])) {
            int32_t temp;
            FB_TRY(add_float_temp(plan, in[k], &temp));
            FB_TRY(add_convert(plan, n->name, in[k], temp));
            in[k] = temp;
        } else if (slot->place == FB_PLACE_CONST && slot->enc->kind != FB_ENC_PLAIN && !weight) {
            FB_TRY(decode_const(plan, in[k], &in[k]));
        }
    }
    for (uint32_t k = 0; k < n->n_out; k++) {
        out[k] = n->out[k];
        if (is_encoded(plan, out[k]))
            FB_TRY(add_float_temp(plan, n->out[k], &out[k]));
    }
    bool taken;
    FB_TRY(add_step(plan, n, n->name, n->n_in, in, n->n_out, out, f32_ops[n->op], &taken));
    FB_ENSURE(taken);
    for (uint32_t k = 0; k < n->n_out; k++) {
        if (out[k] != n->out[k])
            FB_TRY(add_convert(plan, n->name, out[k], n->out[k]));
    }
    return FB_OK;
}

static fb_status add_dense_node(fb_plan *plan, const fb_node *n)
{
    if (q_ops[n->op] &&
        (any_encoded(plan, n->in, n->n_in) || any_encoded(plan, n->out, n->n_out))) {
        bool taken;
        FB_TRY(add_step(plan, n, n->name, n->n_in, n->in, n->n_out, n->out, q_ops[n->op], &taken));
        if (taken)
            return FB_OK;
    }
    int32_t *io = fb_calloc((size_t)n->n_in + n->n_out, sizeof *io);
    if (!io)
        return no_memory();
    fb_status status = add_float_steps(plan, n, io);
    fb_free(io);
    return status;
}

/* Operators see sparse constants as dense ones. */
static fb_status add_node(fb_plan *plan, const fb_node *n)
{
    fb_lent weight;
    fb_status status = fb_plan_lend(plan, n, &weight);
    if (status == FB_OK)
        status = add_dense_node(plan, n);
    fb_plan_take_back(plan, &weight);
    return status;
}

void fb_plan_options_default(fb_plan_options *options)
{
    *options = (fb_plan_options){.batch = 1, .cpu = fb_cpu_usable()};
}

fb_status fb_plan_create(const fb_model *model, const fb_plan_options *options, fb_plan **out)
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
    plan->arena = fb_arena_create();
    if (!plan->arena) {
        status = no_memory();
        goto fail;
    }
    FB_GO(make_slots(plan));
    for (uint32_t k = 0; k < model->n_outputs; k++)
        FB_GO(fb_plan_keep_dense(plan, model->outputs[k]));
    for (size_t i = 0; i < model->n_nodes; i++)
        FB_GO(add_node(plan, &model->nodes[i]));
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
