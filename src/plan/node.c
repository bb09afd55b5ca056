/* From a node to its steps: the integer form of its operator where there is one for its encodings,
 * else the float form between conversions. plan.h tells the order in which they are tried. */
#include "plan/band.h"
#include "plan/codec.h"
#include "plan/dense.h"
#include "plan/room.h"

#include <string.h>

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

/* --- one step --------------------------------------------------------------------------------- */

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

/* --- temporaries ------------------------------------------------------------------------------ */

/* An array of the shape of slot `like`: f32, or the codes that integer kernels see for it. */
static fb_status add_temp(fb_plan *plan, int32_t like, fb_work work, int32_t *index)
{
    fb_slot slot = {.place = FB_PLACE_ARENA,
                    .shape = plan->slots[like].shape,
                    .enc = &fb_plan_plain,
                    .alias_of = -1};
    slot.shape.dtype = FB_F32;
    fb_encoding *grid = NULL;
    if (work == FB_WORK_CODES) {
        grid = fb_plan_alloc(plan, 1, sizeof *grid);
        if (!grid)
            return no_memory();
        FB_ENSURE(fb_codec_grid(&plan->slots[like], grid));
        slot.shape.dtype = fb_code_dtype(grid->bits, grid->is_signed);
    }
    FB_TRY(fb_plan_add_slot(plan, &slot, "temporary", index));
    if (grid)
        plan->slots[*index].enc = grid;
    return FB_OK;
}

fb_status fb_plan_decode_const(fb_plan *plan, int32_t from, int32_t *index)
{
    fb_slot slot = plan->slots[from];
    slot.enc = &fb_plan_plain;
    slot.tensor = NULL;
    slot.shape.dtype = FB_F32;
    float *data = fb_plan_alloc_packed(plan, slot.elems, sizeof *data);
    if (!data)
        return no_memory();
    FB_TRY(fb_tensor_decode(plan->slots[from].tensor, data));
    slot.data = data;
    return fb_plan_add_slot(plan, &slot, plan->slots[from].tensor->name, index);
}

static fb_status add_convert(fb_plan *plan, const char *name, int32_t from, int32_t to)
{
    bool taken;
    FB_TRY(add_step(plan, NULL, name, 1, &from, 1, &to, fb_prepare_convert, &taken));
    FB_ENSURE(taken);
    const fb_slot *s = &plan->slots[from];
    plan->steps[plan->n_steps - 1].from_float = !s->tensor && s->shape.dtype == FB_F32;
    return FB_OK;
}

/* --- nodes ------------------------------------------------------------------------------------ */

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

/* Whether a step that works so needs an array in place of this slot. */
static bool needs_temp(const fb_plan *plan, int32_t slot, fb_work work)
{
    return is_encoded(plan, slot) &&
           (work == FB_WORK_FLOATS || fb_slot_is_coded(&plan->slots[slot]));
}

/* False where an activation has no codes that integer kernels could see. */
static bool has_grids(const fb_plan *plan, const int32_t *slots, uint32_t n)
{
    fb_encoding grid;
    for (uint32_t k = 0; k < n; k++) {
        if (needs_temp(plan, slots[k], FB_WORK_CODES) &&
            !fb_codec_grid(&plan->slots[slots[k]], &grid))
            return false;
    }
    return true;
}

static fb_status open_input(fb_plan *plan, const fb_node *n, uint32_t k, fb_work work,
                            int32_t *slot)
{
    int32_t temp;
    if (*slot < 0)
        return FB_OK;
    if (needs_temp(plan, *slot, work)) {
        FB_TRY(add_temp(plan, *slot, work, &temp));
        FB_TRY(add_convert(plan, n->name, *slot, temp));
        *slot = temp;
        return FB_OK;
    }
    const fb_slot *s = &plan->slots[*slot];
    bool weight = fb_op_has_weight(n->op) && k == 1;
    if (work == FB_WORK_FLOATS && s->place == FB_PLACE_CONST && s->enc->kind != FB_ENC_PLAIN &&
        !weight)
        return fb_plan_decode_const(plan, *slot, slot);
    return FB_OK;
}

/* The node's step on arrays, with conversions of whole tensors before and after where they are not.
 * `io` has room for the node's inputs and outputs. When the operator declines, nothing is left. */
static fb_status add_whole(fb_plan *plan, const fb_node *n, fb_work work, int32_t *io, bool *taken)
{
    int32_t *in = io, *out = io + n->n_in;
    size_t n_slots = plan->n_slots, n_steps = plan->n_steps;
    fb_prepare_fn prepare = work == FB_WORK_CODES ? q_ops[n->op] : f32_ops[n->op];
    memcpy(in, n->in, n->n_in * sizeof *in);
    memcpy(out, n->out, n->n_out * sizeof *out);
    for (uint32_t k = 0; k < n->n_in; k++)
        FB_TRY(open_input(plan, n, k, work, &in[k]));
    for (uint32_t k = 0; k < n->n_out; k++) {
        if (needs_temp(plan, out[k], work))
            FB_TRY(add_temp(plan, n->out[k], work, &out[k]));
    }
    FB_TRY(add_step(plan, n, n->name, n->n_in, in, n->n_out, out, prepare, taken));
    if (!*taken) {
        plan->n_slots = n_slots;
        plan->n_steps = n_steps;
        return FB_OK;
    }
    for (uint32_t k = 0; k < n->n_out; k++) {
        if (out[k] != n->out[k])
            FB_TRY(add_convert(plan, n->name, out[k], n->out[k]));
    }
    return FB_OK;
}

/* Where the stored form passes through: a conversion, and a reshape that keeps the bytes. */
static fb_status add_stored(fb_plan *plan, const fb_node *n, bool *taken)
{
    *taken = false;
    if (n->op == FB_OP_CONVERT)
        return add_step(plan, n, n->name, 1, n->in, 1, n->out, fb_prepare_convert, taken);
    if (n->op == FB_OP_RESHAPE)
        return add_step(plan, n, n->name, n->n_in, n->in, n->n_out, n->out,
                        fb_prepare_reshape_stored, taken);
    return FB_OK;
}

static bool any_coded(const fb_plan *plan, const fb_node *n)
{
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && fb_slot_is_coded(&plan->slots[n->in[k]]))
            return true;
    }
    for (uint32_t k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0 && fb_slot_is_coded(&plan->slots[n->out[k]]))
            return true;
    }
    return false;
}

/* One way of working: in bands where whole temporaries would need more memory than the network
 * needs elsewhere, else on whole tensors. */
static fb_status add_working(fb_plan *plan, const fb_node *n, fb_work work, int32_t *io,
                             bool *taken)
{
    fb_prepare_fn bands = work == FB_WORK_CODES ? fb_prepare_band_codes : fb_prepare_band_floats;
    if (any_coded(plan, n) && !fb_plan_has_room(plan, n, work))
        FB_TRY(add_step(plan, n, n->name, n->n_in, n->in, n->n_out, n->out, bands, taken));
    return *taken ? FB_OK : add_whole(plan, n, work, io, taken);
}

static fb_status add_encoded(fb_plan *plan, const fb_node *n, int32_t *io, bool *taken)
{
    FB_TRY(add_stored(plan, n, taken));
    if (*taken || !q_ops[n->op] || !has_grids(plan, n->in, n->n_in) ||
        !has_grids(plan, n->out, n->n_out))
        return FB_OK;
    return add_working(plan, n, FB_WORK_CODES, io, taken);
}

static fb_status add_dense_node(fb_plan *plan, const fb_node *n)
{
    bool taken = false;
    int32_t *io = fb_calloc((size_t)n->n_in + n->n_out, sizeof *io);
    if (!io)
        return no_memory();
    fb_status status = FB_OK;
    if (any_encoded(plan, n->in, n->n_in) || any_encoded(plan, n->out, n->n_out))
        FB_GO(add_encoded(plan, n, io, &taken));
    if (!taken) {
        FB_GO(add_working(plan, n, FB_WORK_FLOATS, io, &taken));
        status = taken ? FB_OK
                       : fb_fail(FB_E_INTERNAL, "internal error: layer '%s' (%s) has no step",
                                 n->name, op_text(n));
    }
fail:
    fb_free(io);
    return status;
}

/* Operators see sparse constants as dense ones. */
fb_status fb_plan_add_node(fb_plan *plan, const fb_node *n)
{
    fb_lent weight;
    fb_status status = fb_plan_lend(plan, n, &weight);
    if (status == FB_OK)
        status = add_dense_node(plan, n);
    fb_plan_take_back(plan, &weight);
    return status;
}
