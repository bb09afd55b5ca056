#include "train/tuning_self.h"

#include "compress/bias.h"
#include "model/sparse.h"

#include <string.h>

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the network to train");
}

/* ---- the model as it is trained ---------------------------------------------------------------
 */

static fb_status note_sparse(fb_tuning *t, const fb_model *model)
{
    const char *method = fb_model_note(model, "method");
    t->pruned = method && strstr(method, "prune");
    t->sparse = fb_arena_array(t->model->arena, model->n_tensors, sizeof *t->sparse);
    if (!t->sparse)
        return no_memory();
    for (size_t i = 0; i < model->n_tensors; i++) {
        t->sparse[i] = model->tensors[i].enc.sparse != FB_DENSE;
        t->any_sparse = t->any_sparse || t->sparse[i];
    }
    return FB_OK;
}

static fb_status prepare(fb_tuning *t, const fb_model *model)
{
    FB_TRY(fb_model_clone(model, true, &t->model));
    FB_TRY(note_sparse(t, model));
    FB_TRY(fb_model_densify(t->model));
    for (uint32_t i = 0; i < t->model->n_nodes; i++) {
        const fb_node *n = &t->model->nodes[i];
        int32_t bias;
        if (n->op != FB_OP_CONV && n->op != FB_OP_DENSE)
            continue;
        if (n->in[1] < 0 || !t->model->tensors[n->in[1]].is_const)
            return fb_fail(FB_E_UNSUPPORTED, "cannot tune '%s': its weight is computed", n->name);
        uint32_t channels = (uint32_t)t->model->tensors[n->in[1]].dims[0];
        FB_TRY(fb_bias_own(t->model, i, channels, &bias));
    }
    return FB_OK;
}

/* ---- layers -----------------------------------------------------------------------------------
 */

static int32_t param_of(const fb_net *net, int32_t tensor)
{
    for (size_t i = 0; tensor >= 0 && i < net->n_params; i++) {
        if (net->params[i].tensor == tensor)
            return (int32_t)i;
    }
    return -1;
}

/* The weight of the same name and size in the float network. */
static const float *start_of(const fb_tuning *t, const fb_tensor *w)
{
    const fb_model *m = t->options.reference;
    for (size_t i = 0; m && w->name[0] && i < m->n_tensors; i++) {
        const fb_tensor *x = &m->tensors[i];
        if (x->is_const && x->dtype == FB_F32 && x->enc.kind == FB_ENC_PLAIN && !x->enc.sparse &&
            x->rank == w->rank &&
            memcmp(x->dims, w->dims, (size_t)w->rank * sizeof *w->dims) == 0 &&
            strcmp(x->name, w->name) == 0)
            return x->data;
    }
    return NULL;
}

static fb_status keep_zeros(tuned *l, fb_param *p)
{
    l->mask = fb_alloc(p->n);
    if (!l->mask)
        return no_memory();
    for (size_t i = 0; i < p->n; i++)
        l->mask[i] = p->w[i] != 0;
    p->mask = l->mask;
    return FB_OK;
}

/* Whether the plan has this layer. */
static bool is_wanted(const fb_tuning *t, const fb_spelled_layer *s)
{
    const fb_share_plan *plan = t->options.plan;
    return plan && fb_share_plan_wants(plan, t->model->nodes[s->node].name);
}

static fb_status add_share(fb_tuning *t, tuned *l, const fb_tensor *w)
{
    fb_param *p = &t->net->params[l->weight];
    fb_share *s = &t->shares[t->n_shares];
    size_t channels = (size_t)w->dims[0];
    float *scale = fb_arena_array(t->model->arena, channels, sizeof *scale);
    *s = (fb_share){.name = w->name, .n = p->n, .channels = channels, .w = p->w, .scale = scale};
    s->code = fb_arena_array(t->model->arena, p->n, 1);
    l->mask = fb_alloc(p->n);
    if (!scale || !s->code || !l->mask)
        return no_memory();
    memset(l->mask, 1, p->n);
    FB_TRY(fb_share_plan_scales(t->options.plan, p->w, p->n, channels, scale));
    s->mask = l->mask;
    p->mask = l->mask;
    l->share = s;
    fb_blob *b = &t->blobs[3 * t->n_shares++];
    b[0] = (fb_blob){s->mask, p->n};
    b[1] = (fb_blob){s->code, p->n};
    b[2] = (fb_blob){&s->table, sizeof s->table};
    return FB_OK;
}

/* A plain weight: shared, ternary, or as it is. */
static fb_status make_plain(fb_tuning *t, const fb_spelled_layer *s, tuned *l,
                            const fb_quant_options *o)
{
    const fb_tensor *w = &t->model->tensors[s->weight];
    if (is_wanted(t, s) && !t->options.plan->ternary)
        return add_share(t, l, w);
    if (is_wanted(t, s)) {
        fb_quant_options ternary = *o;
        ternary.ternary = t->options.plan;
        return fb_quant_create(t->net, l->weight, w, NULL, &ternary, &l->quant);
    }
    return o->keep_zeros ? keep_zeros(l, &t->net->params[l->weight]) : FB_OK;
}

static fb_status make_layer(fb_tuning *t, const fb_spelled_layer *s, tuned *l)
{
    const fb_tensor *w = &t->model->tensors[s->weight];
    bool zeros = t->pruned || t->sparse[s->weight];
    *l = (tuned){.weight = param_of(t->net, s->weight),
                 .bias = param_of(t->net, s->bias),
                 .gamma = param_of(t->net, s->gamma),
                 .node = s->node};
    FB_ENSURE(l->weight >= 0 && l->bias >= 0);
    const fb_quant_options o = {.codes = t->options.codes,
                                .learn = t->options.learn,
                                .norm = l->gamma >= 0,
                                .keep_zeros = zeros};
    if (w->enc.kind == FB_ENC_PLAIN)
        return make_plain(t, s, l, &o);
    if (w->enc.pow2 && l->gamma >= 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "cannot put a batch norm behind '%s': its scales are powers of two; tune "
                       "without norms",
                       t->model->nodes[s->node].name);
    return fb_quant_create(t->net, l->weight, w, start_of(t, w), &o, &l->quant);
}

/* Whether weights or activations came encoded. */
static bool is_encoded(const fb_tuning *t)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        const fb_spelled_layer *s = &t->spelled.layers[i];
        if (t->model->tensors[s->weight].enc.kind != FB_ENC_PLAIN)
            return true;
    }
    for (size_t i = 0; i < t->net->n_layers; i++) {
        if (t->net->layers[i].def == &fb_train_convert)
            return true;
    }
    return false;
}

static fb_status make(fb_tuning *t, const fb_model *model, const fb_net_options *net_options)
{
    FB_TRY(prepare(t, model));
    FB_TRY(fb_spell(t->model, t->options.norms, &t->spelled));
    fb_net_options o = *net_options;
    o.learn = t->options.learn ? t->spelled.learn : NULL;
    FB_TRY(fb_net_create(t->spelled.model, &o, &t->net));
    t->layers = fb_calloc(t->spelled.n_layers + 1, sizeof *t->layers);
    t->shares = fb_calloc(t->spelled.n_layers + 1, sizeof *t->shares);
    t->blobs = fb_calloc(t->spelled.n_layers + 1, 3 * sizeof *t->blobs);
    if (!t->layers || !t->shares || !t->blobs)
        return no_memory();
    for (size_t i = 0; i < t->spelled.n_layers; i++) {
        t->n_layers++;
        FB_TRY(make_layer(t, &t->spelled.layers[i], &t->layers[i]));
    }
    if ((!t->options.learn || t->options.codes == FB_CODES_FIXED) && !is_encoded(t))
        return fb_fail(FB_E_ARG, "nothing is encoded: there are no codes or scales to hold fixed");
    if (!t->options.plan)
        return FB_OK;
    for (size_t i = 0; i < t->n_layers; i++) {
        if (is_wanted(t, &t->spelled.layers[i]) && (t->layers[i].share || t->layers[i].quant))
            return FB_OK;
    }
    return fb_fail(FB_E_UNSUPPORTED, "the method finds no plain weights to work on");
}

fb_status fb_tuning_create(const fb_model *model, const fb_tuning_options *options,
                           const fb_net_options *net_options, fb_tuning **out)
{
    *out = NULL;
    fb_tuning *t = fb_calloc(1, sizeof *t);
    if (!t)
        return no_memory();
    t->options = *options;
    fb_status status = make(t, model, net_options);
    t->options.reference = NULL;
    if (status != FB_OK)
        fb_tuning_destroy(&t);
    *out = t;
    return status;
}

void fb_tuning_destroy(fb_tuning **tuning)
{
    fb_tuning *t = tuning ? *tuning : NULL;
    if (!t)
        return;
    for (size_t i = 0; i < t->n_layers; i++) {
        fb_quant_destroy(t->layers[i].quant);
        fb_free(t->layers[i].mask);
    }
    fb_free(t->layers);
    fb_free(t->shares);
    fb_free(t->blobs);
    fb_net_destroy(&t->net);
    fb_spelled_free(&t->spelled);
    fb_model_close(&t->model);
    fb_free(t);
    *tuning = NULL;
}

fb_net *fb_tuning_net(const fb_tuning *t)
{
    return t->net;
}

fb_status fb_tuning_share(fb_tuning *t, uint32_t step)
{
    return fb_share_step(t->shares, t->n_shares, &t->options.plan->rule, step);
}

void fb_tuning_state(fb_tuning *t, const fb_blob **blobs, size_t *n)
{
    *blobs = t->blobs;
    *n = 3 * t->n_shares;
}

/* A batch norm goes into the scales of encoded weights, which are positive. */
static void keep_positive(const fb_tuning *t, const tuned *l)
{
    fb_param *gamma = (l->quant || l->share) && l->gamma >= 0 ? &t->net->params[l->gamma] : NULL;
    for (size_t i = 0; gamma && i < gamma->n; i++)
        gamma->w[i] = gamma->w[i] > FB_TUNING_LEAST_GAMMA ? gamma->w[i] : FB_TUNING_LEAST_GAMMA;
}

fb_status fb_tuning_forward(fb_tuning *t)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        keep_positive(t, &t->layers[i]);
        if (t->layers[i].quant)
            FB_TRY(fb_quant_forward(t->layers[i].quant));
    }
    return FB_OK;
}

void fb_tuning_backward(fb_tuning *t)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        if (t->layers[i].quant)
            fb_quant_backward(t->layers[i].quant);
    }
}
