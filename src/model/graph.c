/* Rewriting support: who uses what, dead code, execution order. */
#include "model/model.h"

#include <string.h>

void fb_model_uses(const fb_model *m, int32_t *producer, uint32_t *n_uses)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (producer)
            producer[i] = -1;
        if (n_uses)
            n_uses[i] = 0;
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        for (uint32_t k = 0; k < n->n_in && n_uses; k++) {
            if (n->in[k] >= 0)
                n_uses[n->in[k]]++;
        }
        for (uint32_t k = 0; k < n->n_out && producer; k++) {
            if (n->out[k] >= 0)
                producer[n->out[k]] = (int32_t)i;
        }
    }
    for (uint32_t k = 0; k < m->n_outputs && n_uses; k++)
        n_uses[m->outputs[k]]++;
}

int32_t fb_node_weight(const fb_model *m, const fb_node *n)
{
    if (!fb_op_has_weight(n->op) || n->n_in < 2 || n->in[1] < 0)
        return -1;
    return m->tensors[n->in[1]].is_const ? n->in[1] : -1;
}

/* Depth-first order from the outputs, with an explicit stack: graphs from files can be deep. */
typedef struct walk {
    const fb_model *m;
    int32_t *producer;
    uint8_t *state; /* per node: 0 new, 1 on the stack, 2 done */
    int32_t *stack;
    uint32_t *next; /* per stack entry: input to look at next */
    int32_t *order; /* nodes in execution order */
    size_t n_order;
} walk;

static fb_status visit(walk *w, int32_t root)
{
    size_t depth = 0;
    if (w->state[root] != 0)
        return FB_OK;
    w->stack[depth] = root;
    w->next[depth++] = 0;
    w->state[root] = 1;
    while (depth > 0) {
        int32_t i = w->stack[depth - 1];
        const fb_node *n = &w->m->nodes[i];
        uint32_t k = w->next[depth - 1];
        if (k == n->n_in) {
            w->state[i] = 2;
            w->order[w->n_order++] = i;
            depth--;
            continue;
        }
        w->next[depth - 1]++;
        int32_t p = n->in[k] >= 0 ? w->producer[n->in[k]] : -1;
        if (p < 0 || w->state[p] == 2)
            continue;
        if (w->state[p] == 1)
            return fb_fail(FB_E_FORMAT, "node '%s' depends on its own output", n->name);
        w->state[p] = 1;
        w->stack[depth] = p;
        w->next[depth++] = 0;
    }
    return FB_OK;
}

static fb_status sort_nodes(fb_model *m, walk *w)
{
    for (uint32_t k = 0; k < m->n_outputs; k++) {
        int32_t p = w->producer[m->outputs[k]];
        if (p >= 0)
            FB_TRY(visit(w, p));
    }
    fb_node *sorted = fb_calloc(w->n_order ? w->n_order : 1, sizeof *sorted);
    if (!sorted)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < w->n_order; i++)
        sorted[i] = m->nodes[w->order[i]];
    fb_free(m->nodes);
    m->nodes = sorted;
    m->n_nodes = w->n_order;
    m->cap_nodes = w->n_order ? w->n_order : 1;
    return FB_OK;
}

/* Keeps the tensors that inputs, outputs and nodes name. `renumber` has room for n_tensors. */
static void drop_tensors(fb_model *m, int32_t *renumber)
{
    memset(renumber, 0, m->n_tensors * sizeof *renumber);
    for (uint32_t k = 0; k < m->n_inputs; k++)
        renumber[m->inputs[k]] = 1;
    for (uint32_t k = 0; k < m->n_outputs; k++)
        renumber[m->outputs[k]] = 1;
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] >= 0)
                renumber[m->nodes[i].in[k]] = 1;
        }
        for (uint32_t k = 0; k < m->nodes[i].n_out; k++) {
            if (m->nodes[i].out[k] >= 0)
                renumber[m->nodes[i].out[k]] = 1;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (!renumber[i])
            continue;
        m->tensors[kept] = m->tensors[i];
        renumber[i] = (int32_t)kept++;
    }
    m->n_tensors = kept;
    for (uint32_t k = 0; k < m->n_inputs; k++)
        m->inputs[k] = renumber[m->inputs[k]];
    for (uint32_t k = 0; k < m->n_outputs; k++)
        m->outputs[k] = renumber[m->outputs[k]];
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] >= 0)
                m->nodes[i].in[k] = renumber[m->nodes[i].in[k]];
        }
        for (uint32_t k = 0; k < m->nodes[i].n_out; k++) {
            if (m->nodes[i].out[k] >= 0)
                m->nodes[i].out[k] = renumber[m->nodes[i].out[k]];
        }
    }
}

fb_status fb_model_compact(fb_model *m)
{
    size_t nn = m->n_nodes + 1, nt = m->n_tensors + 1;
    walk w = {.m = m,
              .producer = fb_calloc(nt, sizeof(int32_t)),
              .state = fb_calloc(nn, 1),
              .stack = fb_calloc(nn, sizeof(int32_t)),
              .next = fb_calloc(nn, sizeof(uint32_t)),
              .order = fb_calloc(nn, sizeof(int32_t))};
    fb_status status;
    if (!w.producer || !w.state || !w.stack || !w.next || !w.order) {
        status = fb_fail(FB_E_MEMORY, "no memory for the model");
        goto fail;
    }
    fb_model_uses(m, w.producer, NULL);
    FB_GO(sort_nodes(m, &w));
    drop_tensors(m, w.producer);
fail:
    fb_free(w.producer);
    fb_free(w.state);
    fb_free(w.stack);
    fb_free(w.next);
    fb_free(w.order);
    return status;
}
