/* Building a net from a model and walking it forward and back. */
#include "base/size.h"
#include "train/layer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const fb_layer_def *const defs[FB_OP_COUNT] = {
#define FB_TRAIN_OP(op, def) [FB_OP_##op] = &def,
#include "train/ops.inc"
#undef FB_TRAIN_OP
};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the network to train");
}

fb_status fb_layer_no(const fb_layer *l, const char *format, ...)
{
    char why[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return fb_fail(FB_E_UNSUPPORTED, "cannot train '%s' (%s): %s", l->node->name,
                   fb_op_get(l->node->op)->name, why);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static fb_status add_param(fb_net *net, const fb_param *p, bool learned, int32_t *index)
{
    FB_ENSURE(net->n_params < net->max_params);
    fb_param *to = &net->params[net->n_params];
    *to = *p;
    to->w = fb_arena_array(net->arena, p->n, sizeof *p->w);
    to->g = learned ? fb_arena_array(net->arena, p->n, sizeof *p->g) : NULL;
    if (!to->w || (learned && !to->g))
        return no_memory();
    *index = (int32_t)net->n_params++;
    return FB_OK;
}

fb_status fb_net_add_param(fb_net *net, const char *name, size_t n, const float *start,
                           int32_t *index)
{
    const fb_param p = {.name = name, .tensor = -1, .n = n};
    FB_TRY(add_param(net, &p, true, index));
    memcpy(net->params[*index].w, start, n * sizeof *start);
    return FB_OK;
}

fb_status fb_layer_take(fb_net *net, fb_layer *l, uint32_t in, uint32_t k, bool decay)
{
    int32_t at = l->node->in[in];
    const fb_tensor *t = &net->model->tensors[at];
    if (!t->is_const)
        return fb_layer_no(l, "'%s' is computed, and only constants can be learned", t->name);
    if (t->dtype != FB_F32 || t->enc.kind != FB_ENC_PLAIN || t->enc.sparse)
        return fb_layer_no(l, "'%s' is encoded; encoded weights are tuned, not trained", t->name);
    for (size_t i = 0; i < net->n_params; i++) {
        if (net->params[i].tensor == at)
            return fb_layer_no(l, "'%s' is another layer's weight, too", t->name);
    }
    fb_param p = {.name = t->name, .tensor = at, .n = net->values[at].n, .decay = decay};
    FB_TRY(add_param(net, &p, true, &l->param[k]));
    l->in[in] = -1;
    memcpy(net->params[l->param[k]].w, t->data, p.n * sizeof(float));
    return FB_OK;
}

fb_status fb_layer_own(fb_net *net, fb_layer *l, const char *name, size_t n, uint32_t k,
                       bool learned)
{
    const fb_param p = {.name = name, .tensor = -1, .n = n};
    return add_param(net, &p, learned, &l->param[k]);
}

/* ---- building -------------------------------------------------------------------------------- */

static fb_status make_values(fb_net *net, uint32_t batch)
{
    const fb_model *m = net->model;
    size_t n = m->n_tensors + m->n_nodes; /* a dropout layer adds one */
    fb_shape *shapes = fb_calloc(m->n_tensors, sizeof *shapes);
    net->values = fb_arena_array(net->arena, n, sizeof *net->values);
    net->sums = fb_arena_array(net->arena, n, sizeof *net->sums);
    fb_status status = shapes && net->values && net->sums ? FB_OK : no_memory();
    if (status == FB_OK)
        status = fb_shape_infer(m, batch, shapes);
    for (size_t i = 0; status == FB_OK && i < m->n_tensors; i++) {
        fb_value *v = &net->values[i];
        const fb_tensor *t = &m->tensors[i];
        int64_t elems;
        v->shape = shapes[i];
        v->alias = -1;
        v->is_const = t->is_const;
        if (!fb_tensor_elems(t, batch, &elems) || elems > INT32_MAX)
            status =
                fb_fail(FB_E_LIMIT, "'%s' has too many elements in a batch of %u", t->name, batch);
        else
            v->n = (size_t)elems;
        if (t->is_const && t->dtype == FB_F32 && t->enc.kind == FB_ENC_PLAIN)
            v->x = (float *)(uintptr_t)t->data;
    }
    net->n_values = m->n_tensors;
    fb_free(shapes);
    return status;
}

static fb_status find_ends(fb_net *net)
{
    const fb_model *m = net->model;
    if (m->n_inputs != 1 || m->n_outputs != 1)
        return fb_fail(FB_E_UNSUPPORTED,
                       "training takes networks with one input and one output; this one has %u and "
                       "%u",
                       m->n_inputs, m->n_outputs);
    net->input = m->inputs[0];
    net->logits = m->outputs[0];
    const fb_node *last = m->n_nodes ? &m->nodes[m->n_nodes - 1] : NULL;
    if (last && last->op == FB_OP_SOFTMAX && last->out[0] == net->logits)
        net->logits = last->in[0];
    const fb_value *in = &net->values[net->input], *out = &net->values[net->logits];
    if (in->shape.dtype != FB_F32 || out->shape.dtype != FB_F32)
        return fb_fail(FB_E_UNSUPPORTED, "training takes networks with f32 input and output");
    return FB_OK;
}

static fb_layer *add_layer(fb_net *net, const fb_layer_def *def, const fb_node *node, uint32_t n_in)
{
    fb_layer *l = &net->layers[net->n_layers];
    *l = (fb_layer){.def = def, .node = node, .n_in = n_in};
    l->in = fb_arena_array(net->arena, n_in, sizeof *l->in);
    for (int k = 0; k < FB_LAYER_PARAMS; k++)
        l->param[k] = -1;
    if (l->in)
        net->n_layers++;
    return l->in ? l : NULL;
}

/* Creates the layer's own part and says whether its output depends on a parameter. */
static fb_status finish_layer(fb_net *net, fb_layer *l)
{
    FB_TRY(l->def->create(net, l));
    fb_value *out = fb_layer_out(net, l);
    for (int k = 0; k < FB_LAYER_PARAMS; k++)
        out->wants_g = out->wants_g || (l->param[k] >= 0 && net->params[l->param[k]].g);
    for (uint32_t i = 0; i < l->n_in; i++) {
        if (l->in[i] < 0)
            continue;
        fb_value *v = fb_layer_in(net, l, i);
        out->wants_g = out->wants_g || v->wants_g;
        v->readers++;
        if (v->is_const && !v->x)
            return fb_layer_no(l, "it reads a constant that is not plain f32");
    }
    return FB_OK;
}

/* A value of its own between a dense layer and what it read. */
static fb_status add_dropout(fb_net *net, int32_t *x)
{
    fb_value *v = &net->values[net->n_values];
    const fb_value *from = &net->values[*x];
    *v = (fb_value){.shape = from->shape, .n = from->n, .alias = -1};
    fb_layer *l = add_layer(net, &fb_train_dropout, NULL, 1);
    if (!l)
        return no_memory();
    l->in[0] = *x;
    l->out = (int32_t)net->n_values++;
    *x = l->out;
    return finish_layer(net, l);
}

/* The batch norm that makes value v for nobody but one reader, or NULL. */
static fb_layer *norm_before(fb_net *net, int32_t v, const uint32_t *uses)
{
    fb_layer *last = net->n_layers ? &net->layers[net->n_layers - 1] : NULL;
    bool own = last && last->out == v && uses[v] == 1 && !net->values[v].tapped;
    return own && last->def == &fb_train_norm ? last : NULL;
}

static fb_status add_node(fb_net *net, const fb_node *n, const uint32_t *uses)
{
    const fb_layer_def *def = defs[n->op];
    if (!def)
        return fb_fail(FB_E_UNSUPPORTED, "cannot train '%s' (%s): the operator has no gradient",
                       n->name, fb_op_get(n->op)->name);
    fb_layer *norm = n->op == FB_OP_UNARY && n->attr.unary.kind == FB_UNARY_RELU
                         ? norm_before(net, n->in[0], uses)
                         : NULL;
    if (norm) {
        norm->relu = true;
        norm->out = n->out[0];
        net->values[norm->out].wants_g = true;
        return FB_OK;
    }
    int32_t x = n->in[0];
    if (n->op == FB_OP_DENSE && net->dropout > 0)
        FB_TRY(add_dropout(net, &x));
    fb_layer *l = add_layer(net, def, n, n->n_in);
    if (!l)
        return no_memory();
    memcpy(l->in, n->in, n->n_in * sizeof *l->in);
    l->in[0] = x;
    l->out = n->out[0];
    return finish_layer(net, l);
}

static fb_status make_layers(fb_net *net)
{
    const fb_model *m = net->model;
    uint32_t *uses = fb_calloc(m->n_tensors, sizeof *uses);
    net->layers = fb_arena_array(net->arena, 2 * m->n_nodes, sizeof *net->layers);
    net->max_params = FB_LAYER_PARAMS * m->n_nodes; /* room for two of a quantiser's at a weight */
    net->params = fb_arena_array(net->arena, net->max_params, sizeof *net->params);
    fb_status status = uses && net->layers && net->params ? FB_OK : no_memory();
    if (status == FB_OK)
        fb_model_uses(m, NULL, uses);
    for (size_t i = 0; status == FB_OK && i < m->n_nodes; i++) {
        bool last_softmax = m->nodes[i].op == FB_OP_SOFTMAX && i + 1 == m->n_nodes &&
                            m->nodes[i].in[0] == net->logits;
        if (!last_softmax)
            status = add_node(net, &m->nodes[i], uses);
    }
    fb_free(uses);
    if (status == FB_OK && net->n_params == 0)
        return fb_fail(FB_E_UNSUPPORTED, "the network has nothing to learn");
    return status;
}

static fb_status make_taps(fb_net *net, const fb_net_options *o)
{
    net->taps = fb_arena_array(net->arena, o->n_taps, sizeof *net->taps);
    if (!net->taps)
        return no_memory();
    for (uint32_t k = 0; k < o->n_taps; k++) {
        int32_t t = o->taps[k];
        if (t < 0 || (size_t)t >= net->model->n_tensors || net->values[t].is_const)
            return fb_fail(FB_E_ARG, "tap %u is tensor %d, which is no activation of the model", k,
                           t);
        net->taps[k] = t;
        net->values[t].tapped = net->values[t].wants_g = true;
    }
    net->n_taps = o->n_taps;
    return FB_OK;
}

static fb_status build(fb_net *net, const fb_model *model, const fb_net_options *o)
{
    if (o->batch < 1 || !(o->dropout >= 0 && o->dropout < 1))
        return fb_fail(FB_E_ARG,
                       "a batch of %u and dropout %g; the batch must be at least 1 and dropout in "
                       "[0, 1)",
                       o->batch, (double)o->dropout);
    net->arena = fb_arena_create();
    if (!net->arena)
        return no_memory();
    net->dropout = o->dropout;
    net->seed = o->seed;
    net->ranks = o->ranks;
    FB_TRY(fb_dnn_create(o->n_threads, &net->dnn));
    FB_TRY(fb_net_split(model, &net->model));
    FB_TRY(make_values(net, o->batch));
    FB_TRY(find_ends(net));
    FB_TRY(make_taps(net, o));
    net->learn = o->learn;
    FB_TRY(make_layers(net));
    net->learn = NULL;
    return fb_net_place(net);
}

fb_status fb_net_create(const fb_model *model, const fb_net_options *options, fb_net **out)
{
    *out = NULL;
    fb_net *net = fb_calloc(1, sizeof *net);
    if (!net)
        return no_memory();
    fb_status status = build(net, model, options);
    if (status != FB_OK) {
        fb_net_destroy(&net);
        return status;
    }
    *out = net;
    return FB_OK;
}

void fb_net_destroy(fb_net **net)
{
    fb_net *n = net ? *net : NULL;
    if (!n)
        return;
    for (size_t i = 0; i < n->n_layers; i++) {
        if (n->layers[i].def->destroy)
            n->layers[i].def->destroy(&n->layers[i]);
    }
    for (size_t i = 0; n->sums && i < n->n_values; i++)
        fb_dnn_layer_destroy(n->sums[i]);
    fb_free(n->memory);
    fb_free(n->spare);
    fb_dnn_destroy(n->dnn);
    fb_model_close(&n->model);
    fb_arena_destroy(n->arena);
    fb_free(n);
    *net = NULL;
}

/* ---- looking --------------------------------------------------------------------------------- */

uint32_t fb_net_n_params(const fb_net *net)
{
    return (uint32_t)net->n_params;
}

fb_param *fb_net_param(fb_net *net, uint32_t i)
{
    return &net->params[i];
}

static fb_value *root(const fb_net *net, int32_t v)
{
    while (net->values[v].alias >= 0)
        v = net->values[v].alias;
    return &net->values[v];
}

float *fb_net_input(fb_net *net, size_t *n)
{
    *n = net->values[net->input].n;
    return net->values[net->input].x;
}

float *fb_net_logits(fb_net *net, size_t *n)
{
    *n = net->values[net->logits].n;
    return net->values[net->logits].x;
}

float *fb_net_logits_gradient(fb_net *net)
{
    return net->values[net->logits].g;
}

uint64_t fb_net_arena_bytes(const fb_net *net)
{
    return net->memory_bytes;
}

fb_status fb_net_tap(fb_net *net, uint32_t tap, const float **x, float **g, size_t *n)
{
    if (tap >= net->n_taps)
        return fb_fail(FB_E_ARG, "tap %u of %u", tap, net->n_taps);
    const fb_value *v = &net->values[net->taps[tap]];
    *x = v->x;
    *g = v->g;
    *n = v->n;
    return FB_OK;
}

bool fb_net_has_norms(const fb_net *net)
{
    for (size_t i = 0; i < net->n_layers; i++) {
        if (net->layers[i].def == &fb_train_norm)
            return true;
    }
    return false;
}

fb_status fb_net_adopt(fb_net *net)
{
    for (size_t i = 0; i < net->n_layers; i++) {
        if (net->layers[i].def == &fb_train_norm)
            FB_TRY(fb_norm_adopt(net, &net->layers[i]));
    }
    return FB_OK;
}

/* ---- walking --------------------------------------------------------------------------------- */

fb_status fb_net_forward(fb_net *net, fb_net_mode mode, uint64_t step)
{
    net->step = step;
    for (size_t i = 0; i < net->n_layers; i++)
        FB_TRY(net->layers[i].def->forward(net, &net->layers[i], mode));
    for (uint32_t k = 0; k < net->n_taps; k++) {
        const fb_value *v = root(net, net->taps[k]);
        memset(v->g, 0, v->n * sizeof *v->g);
    }
    return FB_OK;
}

static void zero_params(fb_net *net, const fb_layer *l)
{
    for (uint32_t k = 0; k < FB_LAYER_PARAMS; k++) {
        const fb_param *p = fb_layer_param(net, l, k);
        if (p && p->g)
            memset(p->g, 0, p->n * sizeof *p->g);
    }
}

/* The layer's gradients; those of values that have one already go through `spare`. */
static fb_status layer_back(fb_net *net, fb_layer *l, float **dx)
{
    float *spare = net->spare;
    for (uint32_t i = 0; i < l->n_in; i++) {
        fb_value *v = l->in[i] >= 0 ? root(net, l->in[i]) : NULL;
        dx[i] = NULL;
        if (!v || !v->wants_g)
            continue;
        dx[i] = v->written ? spare : v->g;
        if (v->written)
            spare += fb_round_up(v->n, FB_ALIGN);
        v->written = true;
    }
    FB_TRY(l->def->backward(net, l, dx));
    for (uint32_t i = 0; i < l->n_in; i++) {
        fb_value *v = dx[i] ? root(net, l->in[i]) : NULL;
        if (!v || dx[i] == v->g)
            continue;
        fb_dnn_layer **sum = &net->sums[v - net->values];
        if (!*sum)
            FB_TRY(fb_dnn_sum(net->dnn, (int64_t)v->n, sum));
        FB_TRY(fb_dnn_sum_run(*sum, v->g, dx[i], v->g));
    }
    return FB_OK;
}

fb_status fb_net_backward(fb_net *net)
{
    float **dx = NULL;
    uint32_t most = 1;
    for (size_t i = 0; i < net->n_values; i++)
        net->values[i].written = false;
    for (size_t i = 0; i < net->n_layers; i++)
        most = net->layers[i].n_in > most ? net->layers[i].n_in : most;
    dx = fb_calloc(most, sizeof *dx);
    if (!dx)
        return no_memory();
    root(net, net->logits)->written = true;
    for (uint32_t k = 0; k < net->n_taps; k++)
        root(net, net->taps[k])->written = true;
    fb_status status = FB_OK;
    for (size_t i = net->n_layers; status == FB_OK && i-- > 0;) {
        fb_layer *l = &net->layers[i];
        const fb_value *out = root(net, l->out);
        if (!out->written || !out->wants_g)
            zero_params(net, l);
        else if (l->def->backward)
            status = layer_back(net, l, dx);
    }
    fb_free(dx);
    return status;
}
