/* What the importer does for ONNX files, on a model: batch norms go into the layer before them,
 * clamps into conv, dense and add, where nobody else reads the value between. */
#include "train/layer.h"

#include <math.h>
#include <string.h>

typedef struct fuser {
    fb_model *m;
    int32_t *producer;
    uint32_t *uses;
    bool *dead;
} fuser;

/* The node that makes tensor t for one reader alone. */
static fb_node *only_producer(const fuser *f, int32_t t)
{
    int32_t p = f->producer[t];
    return p >= 0 && f->uses[t] == 1 && !f->dead[p] ? &f->m->nodes[p] : NULL;
}

static bool is_float_const(const fb_model *m, int32_t t)
{
    const fb_tensor *x = t >= 0 ? &m->tensors[t] : NULL;
    return x && x->is_const && x->dtype == FB_F32 && x->enc.kind == FB_ENC_PLAIN && !x->enc.sparse;
}

static void take_output(fuser *f, fb_node *first, size_t second)
{
    int32_t out = f->m->nodes[second].out[0];
    f->producer[out] = f->producer[first->out[0]];
    first->out[0] = out;
    f->dead[second] = true;
}

/* Weight [oc][...] and bias [oc] of a layer for y * scale + shift. */
static fb_status scale_layer(fb_model *m, fb_node *n, const float *scale, const float *shift)
{
    const fb_tensor *w = &m->tensors[n->in[1]];
    int64_t oc = w->dims[0];
    size_t row = w->data_bytes / sizeof(float) / (size_t)oc;
    const float *from = w->data;
    const float *old = n->n_in > 2 && n->in[2] >= 0 ? m->tensors[n->in[2]].data : NULL;
    float *to = fb_arena_array(m->arena, (size_t)oc * row, sizeof *to);
    float *bias = fb_arena_array(m->arena, (size_t)oc, sizeof *bias);
    int32_t *in = fb_arena_array(m->arena, 3, sizeof *in);
    if (!to || !bias || !in)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t o = 0; o < (size_t)oc; o++) {
        for (size_t k = 0; k < row; k++)
            to[o * row + k] = from[o * row + k] * scale[o];
        bias[o] = (old ? old[o] * scale[o] : 0) + shift[o];
    }
    fb_tensor weight = *w;
    memcpy(in, n->in, 2 * sizeof *in);
    n->in = in;
    n->n_in = 3;
    FB_TRY(fb_model_add_const(m, weight.name, FB_F32, weight.rank, weight.dims, to, &n->in[1]));
    FB_TRY(fb_model_add_const(m, "", FB_F32, 1, &oc, bias, &n->in[2]));
    return FB_OK;
}

static fb_status fold_norm(fuser *f, size_t i)
{
    const fb_node *s = &f->m->nodes[i];
    fb_node *n = only_producer(f, s->in[0]);
    bool layer = n && (n->op == FB_OP_CONV || n->op == FB_OP_DENSE);
    if (!layer || !is_float_const(f->m, n->in[1]) || !is_float_const(f->m, s->in[1]) ||
        !is_float_const(f->m, s->in[2]))
        return FB_OK;
    if (n->op == FB_OP_CONV ? n->attr.conv.act.clamp : n->attr.dense.act.clamp)
        return FB_OK;
    if (n->n_in > 2 && n->in[2] >= 0 && !is_float_const(f->m, n->in[2]))
        return FB_OK;
    FB_TRY(scale_layer(f->m, n, f->m->tensors[s->in[1]].data, f->m->tensors[s->in[2]].data));
    take_output(f, n, i);
    return FB_OK;
}

static void fuse_clamp(fuser *f, size_t i)
{
    const fb_node *u = &f->m->nodes[i];
    int32_t kind = u->attr.unary.kind;
    if (kind != FB_UNARY_RELU && kind != FB_UNARY_CLIP)
        return;
    fb_node *n = only_producer(f, u->in[0]);
    fb_act *act = !n                     ? NULL
                  : n->op == FB_OP_CONV  ? &n->attr.conv.act
                  : n->op == FB_OP_DENSE ? &n->attr.dense.act
                  : n->op == FB_OP_BINARY && n->attr.binary.kind == FB_BINARY_ADD
                      ? &n->attr.binary.act
                      : NULL;
    if (!act || act->clamp)
        return;
    bool relu = kind == FB_UNARY_RELU;
    *act = (fb_act){1, relu ? 0 : u->attr.unary.a, relu ? INFINITY : u->attr.unary.b};
    take_output(f, n, i);
}

static void sweep(fuser *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->m->n_nodes; i++) {
        if (!f->dead[i])
            f->m->nodes[kept++] = f->m->nodes[i];
    }
    f->m->n_nodes = kept;
}

static fb_status fuse_all(fuser *f)
{
    fb_model_uses(f->m, f->producer, f->uses);
    for (size_t i = 0; i < f->m->n_nodes; i++) {
        if (f->m->nodes[i].op == FB_OP_SCALE_SHIFT)
            FB_TRY(fold_norm(f, i));
    }
    for (size_t i = 0; i < f->m->n_nodes; i++) {
        if (f->m->nodes[i].op == FB_OP_UNARY)
            fuse_clamp(f, i);
    }
    sweep(f);
    return FB_OK;
}

fb_status fb_net_fuse(fb_model *m)
{
    fuser f = {.m = m,
               .producer = fb_calloc(m->n_tensors, sizeof *f.producer),
               .uses = fb_calloc(m->n_tensors, sizeof *f.uses),
               .dead = fb_calloc(m->n_nodes + 1, sizeof *f.dead)};
    fb_status status = f.producer && f.uses && f.dead
                           ? fuse_all(&f)
                           : fb_fail(FB_E_MEMORY, "no memory for the model");
    fb_free(f.producer);
    fb_free(f.uses);
    fb_free(f.dead);
    return status;
}
