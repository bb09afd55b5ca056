/* From a net that learned back to the compressed model: batch norms into scales and biases, masters
 * into codes, learned scales into activations. */
#include "compress/bias.h"
#include "compress/sparse.h"
#include "train/quant_def.h"
#include "train/tuning_self.h"

#include <math.h>
#include <string.h>

typedef struct writer {
    const fb_tuning *t;
    const float *const *values;
    fb_model *m;
} writer;

static const float *value_of(const writer *w, int32_t param)
{
    return w->values ? w->values[param] : w->t->net->params[param].w;
}

/* What a batch norm multiplies by and adds, as evaluation has it. gamma is its first parameter. */
static void fold(const writer *w, int32_t gamma, float *scale, float *shift)
{
    const float *g = value_of(w, gamma), *beta = value_of(w, gamma + FB_NORM_BETA);
    const float *mean = value_of(w, gamma + FB_NORM_MEAN);
    const float *variance = value_of(w, gamma + FB_NORM_VARIANCE);
    for (size_t i = 0; i < w->t->net->params[gamma].n; i++) {
        double s = (double)g[i] / sqrt((double)variance[i] + (double)FB_NET_NORM_EPSILON);
        scale[i] = (float)s;
        shift[i] = (float)((double)beta[i] - (double)mean[i] * s);
    }
}

static fb_status set_plain(fb_model *m, int32_t tensor, const float *data, size_t n)
{
    const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    return fb_model_set_payload(m, tensor, &plain, data, n * sizeof *data);
}

/* Shared values, times what a batch norm multiplies by. */
static fb_status write_share(const writer *w, const fb_share *s, int32_t tensor,
                             const float *factor)
{
    float *scale = fb_alloc(s->channels * sizeof *scale);
    if (!scale)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < s->channels; i++)
        scale[i] = s->scale[i] * (factor ? factor[i] : 1);
    fb_status status = fb_share_store(s, scale, w->m, tensor);
    fb_free(scale);
    return status;
}

static fb_status write_weight(const writer *w, const tuned *l, int32_t tensor, const float *scale)
{
    const fb_param *p = &w->t->net->params[l->weight];
    const float *from = value_of(w, l->weight);
    size_t inner = p->n / (size_t)w->m->tensors[tensor].dims[0];
    if (l->quant)
        return fb_quant_store(l->quant, w->values, scale, w->m, tensor);
    if (l->share && fb_share_n_free(l->share) == 0)
        return write_share(w, l->share, tensor, scale);
    float *to = fb_alloc(p->n * sizeof *to);
    if (!to)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < p->n; i++)
        to[i] = from[i] * (scale ? scale[i / inner] : 1);
    fb_status status = set_plain(w->m, tensor, to, p->n);
    fb_free(to);
    return status;
}

static fb_status write_layer(const writer *w, const tuned *l, const fb_spelled_layer *s)
{
    size_t c = w->t->net->params[l->bias].n;
    const float *bias = value_of(w, l->bias);
    float *scale = fb_alloc(3 * c * sizeof *scale), *shift = scale + c, *to = shift + c;
    if (!scale)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    if (l->gamma >= 0)
        fold(w, l->gamma, scale, shift);
    for (size_t i = 0; i < c; i++)
        to[i] = l->gamma >= 0 ? bias[i] * scale[i] + shift[i] : bias[i];
    fb_status status = write_weight(w, l, s->weight, l->gamma >= 0 ? scale : NULL);
    if (status == FB_OK)
        status = set_plain(w->m, s->bias, to, c);
    fb_free(scale);
    return status;
}

/* Batch norms that the model has itself, which no layer takes in. */
static fb_status write_norm(const writer *w, const fb_layer *l)
{
    int32_t gamma = l->param[FB_NORM_GAMMA];
    const fb_param *p = &w->t->net->params[gamma];
    int32_t beta = w->t->net->params[gamma + FB_NORM_BETA].tensor;
    if ((size_t)p->tensor >= w->t->model->n_tensors)
        return FB_OK; /* put in by us: folded */
    float *scale = fb_alloc(2 * p->n * sizeof *scale);
    if (!scale)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    fold(w, gamma, scale, scale + p->n);
    fb_status status = set_plain(w->m, p->tensor, scale, p->n);
    if (status == FB_OK)
        status = set_plain(w->m, beta, scale + p->n, p->n);
    fb_free(scale);
    return status;
}

/* Learned scales; then those of tensors that only hand codes on. */
static fb_status write_activations(const writer *w)
{
    const fb_net *net = w->t->net;
    for (size_t i = 0; i < net->n_layers; i++) {
        const fb_layer *l = &net->layers[i];
        if (l->def != &fb_train_convert || l->param[0] < 0 || !net->params[l->param[0]].g)
            continue;
        const fb_encoding e = w->m->tensors[l->out].enc;
        float s = fb_quant_scale(value_of(w, l->param[0])[0], e.scale[0]);
        FB_TRY(
            fb_model_set_activation(w->m, l->out, e.bits, e.is_signed, s, e.zero ? e.zero[0] : 0));
    }
    for (size_t i = 0; i < w->m->n_nodes; i++) {
        const fb_node *n = &w->m->nodes[i];
        if (fb_spelled_moves(w->t->model, n)) {
            const fb_encoding e = w->m->tensors[n->in[0]].enc;
            FB_TRY(fb_model_set_activation_encoding(w->m, n->out[0], &e));
        }
    }
    return FB_OK;
}

static fb_status write_all(const writer *w)
{
    const fb_tuning *t = w->t;
    for (size_t i = 0; i < t->n_layers; i++)
        FB_TRY(write_layer(w, &t->layers[i], &t->spelled.layers[i]));
    for (size_t i = 0; i < t->net->n_layers; i++) {
        if (t->net->layers[i].def == &fb_train_norm)
            FB_TRY(write_norm(w, &t->net->layers[i]));
    }
    FB_TRY(write_activations(w));
    FB_TRY(fb_bias_encode_integer(w->m));
    FB_TRY(fb_model_compact(w->m));
    if (t->any_sparse || t->pruned)
        FB_TRY(fb_store_sparse(w->m));
    return fb_model_validate(w->m);
}

fb_status fb_tuning_model(const fb_tuning *t, const float *const *values, fb_model **out)
{
    writer w = {.t = t, .values = values};
    *out = NULL;
    FB_TRY(fb_model_clone(t->model, false, &w.m));
    fb_status status = write_all(&w);
    if (status == FB_OK)
        status = fb_model_clone(w.m, true, out);
    fb_model_close(&w.m);
    return status;
}
