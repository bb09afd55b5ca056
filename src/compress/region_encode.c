/* The rewrite of a region's activations. */
#include "compress/region.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static bool is_boundary(const fb_model *m, int32_t t)
{
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        if (m->inputs[k] == t)
            return true;
    }
    for (uint32_t k = 0; k < m->n_outputs; k++) {
        if (m->outputs[k] == t)
            return true;
    }
    return false;
}

/* Who reads codes where a float tensor and its encoded twin both exist. */
static bool reads_codes(const fb_model *m, const fb_region *r, size_t node)
{
    const fb_node *n = &m->nodes[node];
    return r->integer[node] ||
           (n->out[0] >= 0 && r->encoded[n->out[0]] && fb_node_is_carrier(m, n));
}

/* A model input or output stays float: its readers, among the first n_nodes, get a twin that a
 * convert node encodes. */
static fb_status add_twin(fb_model *m, const fb_region *r, size_t n_nodes, int32_t t, int32_t *twin)
{
    char name[256];
    (void)snprintf(name, sizeof name, "%.200s.codes", m->tensors[t].name);
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) == 0)
            name[0] = '\0';
    }
    fb_tensor like = m->tensors[t];
    FB_TRY(fb_model_add_tensor(m, name, FB_F32, like.rank, like.dims, twin));
    for (size_t i = 0; i < n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] == t && reads_codes(m, r, i))
                m->nodes[i].in[k] = *twin;
        }
    }
    return FB_OK;
}

/* Appends the convert nodes, then moves each to its place: right behind what produces its input. */
static void place_converts(fb_model *m, size_t first)
{
    for (size_t i = first; i < m->n_nodes; i++) {
        fb_node convert = m->nodes[i];
        size_t at = 0;
        for (size_t k = 0; k < i; k++) {
            for (uint32_t j = 0; j < m->nodes[k].n_out; j++)
                at = m->nodes[k].out[j] == convert.in[0] ? k + 1 : at;
        }
        memmove(m->nodes + at + 1, m->nodes + at, (i - at) * sizeof *m->nodes);
        m->nodes[at] = convert;
    }
}

fb_status fb_region_encode(fb_model *m, const fb_region *r, const fb_code_choice *choice)
{
    const size_t first = m->n_nodes, n_tensors = m->n_tensors;
    for (size_t t = 0; t < n_tensors; t++) {
        int32_t from = (int32_t)t, to = from;
        const fb_code_choice *c = &choice[t];
        if (!r->encoded[t] || (!c->enc && c->bits == 0))
            continue;
        if (is_boundary(m, from)) {
            FB_TRY(add_twin(m, r, first, from, &to));
            FB_TRY(fb_model_add_node(m, FB_OP_CONVERT, m->tensors[to].name, 1, &from, 1, &to, NULL,
                                     NULL));
        }
        if (c->enc) {
            FB_TRY(fb_model_set_activation_encoding(m, to, c->enc));
            continue;
        }
        FB_TRY(fb_model_set_activation(m, to, c->bits, c->is_signed, c->scale, c->zero));
        m->tensors[to].enc.pow2 = c->pow2;
    }
    place_converts(m, first);
    return FB_OK;
}
