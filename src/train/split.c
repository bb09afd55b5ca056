/* Layers with a clamp of their own become two, so that each has one gradient. */
#include "train/layer.h"

#include <math.h>

static fb_act *act_of(fb_node *n)
{
    switch (n->op) {
    case FB_OP_CONV:
    case FB_OP_CONV_TRANSPOSE:
        return &n->attr.conv.act;
    case FB_OP_DENSE:
        return &n->attr.dense.act;
    case FB_OP_BINARY:
        return &n->attr.binary.act;
    default:
        return NULL;
    }
}

static fb_status add_split(fb_model *m, fb_node *n)
{
    fb_act *act = act_of(n);
    int32_t out = n->out[0], before;
    const fb_tensor t = m->tensors[out];
    fb_attr unary = {0};
    if (!act || !act->clamp)
        return fb_model_add_node(m, n->op, n->name, n->n_in, n->in, n->n_out, n->out, &n->attr,
                                 NULL);
    bool relu = act->lo == 0 && act->hi == INFINITY;
    unary.unary = (fb_attr_unary){relu ? FB_UNARY_RELU : FB_UNARY_CLIP, relu ? 0 : act->lo,
                                  relu ? 0 : act->hi};
    *act = (fb_act){0};
    FB_TRY(fb_model_add_tensor(m, "", t.dtype, t.rank, t.dims, &before));
    FB_TRY(fb_model_add_node(m, n->op, n->name, n->n_in, n->in, 1, &before, &n->attr, NULL));
    return fb_model_add_node(m, FB_OP_UNARY, n->name, 1, &before, 1, &out, &unary, NULL);
}

fb_status fb_net_split(const fb_model *model, fb_model **out)
{
    fb_model *m;
    *out = NULL;
    FB_TRY(fb_model_clone(model, true, &m));
    fb_node *nodes = m->nodes;
    size_t n = m->n_nodes;
    m->nodes = NULL;
    m->n_nodes = m->cap_nodes = 0;
    fb_status status = FB_OK;
    for (size_t i = 0; status == FB_OK && i < n; i++)
        status = add_split(m, &nodes[i]);
    fb_free(nodes);
    if (status != FB_OK)
        fb_model_close(&m);
    *out = m;
    return status;
}
