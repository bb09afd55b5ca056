#include "plan/room.h"

/* The life of tensor `t` begins and ends. */
typedef struct life {
    size_t from, to; /* nodes */
    bool born;
} life;

static void extend(life *l, int32_t tensor, size_t node)
{
    if (tensor < 0)
        return;
    if (!l[tensor].born)
        l[tensor].from = node;
    l[tensor].born = true;
    l[tensor].to = node;
}

static void find_lives(const fb_model *m, life *l)
{
    size_t last = m->n_nodes - 1;
    for (uint32_t k = 0; k < m->n_inputs; k++)
        extend(l, m->inputs[k], 0);
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++)
            extend(l, m->nodes[i].in[k], i);
        for (uint32_t k = 0; k < m->nodes[i].n_out; k++)
            extend(l, m->nodes[i].out[k], i);
    }
    for (uint32_t k = 0; k < m->n_inputs; k++)
        extend(l, m->inputs[k], last);
    for (uint32_t k = 0; k < m->n_outputs; k++)
        extend(l, m->outputs[k], last);
}

fb_status fb_plan_find_room(fb_plan *plan)
{
    const fb_model *m = plan->model;
    if (m->n_nodes == 0)
        return FB_OK;
    life *l = fb_calloc(m->n_tensors + 1, sizeof *l);
    plan->live = fb_plan_alloc(plan, m->n_nodes, sizeof *plan->live);
    if (!l || !plan->live) {
        fb_free(l);
        return fb_fail(FB_E_MEMORY, "no memory for the plan");
    }
    find_lives(m, l);
    for (size_t t = 0; t < m->n_tensors; t++) {
        if (!l[t].born || m->tensors[t].is_const)
            continue;
        plan->live[l[t].from] += plan->slots[t].bytes;
        if (l[t].to + 1 < m->n_nodes)
            plan->live[l[t].to + 1] -= plan->slots[t].bytes; /* modulo 2^64, until summed */
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        plan->live[i] += i > 0 ? plan->live[i - 1] : 0;
        plan->most_live = plan->live[i] > plan->most_live ? plan->live[i] : plan->most_live;
    }
    fb_free(l);
    return FB_OK;
}

static size_t temp_bytes(const fb_slot *s, fb_work work)
{
    fb_encoding grid;
    if (s->place == FB_PLACE_CONST || s->enc->kind == FB_ENC_PLAIN)
        return 0;
    if (work == FB_WORK_FLOATS)
        return s->elems * sizeof(float);
    return fb_slot_is_coded(s) && fb_codec_grid(s, &grid) ? s->elems * (grid.bits > 8 ? 2 : 1) : 0;
}

bool fb_plan_has_room(const fb_plan *plan, const fb_node *n, fb_work work)
{
    size_t need = plan->live[n - plan->model->nodes];
    if (plan->form != FB_FORM_AUTO)
        return plan->form == FB_FORM_WHOLE;
    for (uint32_t k = 0; k < n->n_in; k++)
        need += n->in[k] >= 0 ? temp_bytes(&plan->slots[n->in[k]], work) : 0;
    for (uint32_t k = 0; k < n->n_out; k++)
        need += n->out[k] >= 0 ? temp_bytes(&plan->slots[n->out[k]], work) : 0;
    return need <= plan->most_live;
}
