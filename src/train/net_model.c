/* Into a net and out of it: first weights, and the model that training leaves. */
#include "numeric/random.h"
#include "train/layer.h"

#include <math.h>
#include <string.h>

/* ---- first weights --------------------------------------------------------------------------- */

/* Box and Muller; two uniforms for each number, so that the stream does not depend on pairing. */
static float normal(uint64_t *state)
{
    double u = ((double)(fb_random_next(state) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(fb_random_next(state) >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void init_weight(const fb_net *net, const fb_param *p, bool last, uint64_t *state)
{
    const fb_tensor *t = &net->model->tensors[p->tensor];
    double fan_in = (double)p->n / (double)t->dims[0];
    float deviation = (float)sqrt((last ? 1.0 : 2.0) / fan_in);
    for (size_t i = 0; i < p->n; i++)
        p->w[i] = deviation * normal(state);
}

static void fill(float *w, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        w[i] = value;
}

void fb_net_init(fb_net *net, uint64_t seed)
{
    size_t last = 0;
    for (size_t i = 0; i < net->n_layers; i++)
        last = net->layers[i].def != &fb_train_norm && net->layers[i].param[0] >= 0 ? i : last;
    for (size_t i = 0; i < net->n_layers; i++) {
        const fb_layer *l = &net->layers[i];
        bool norm = l->def == &fb_train_norm;
        uint64_t state = seed;
        state = fb_random_next(&state) + i; /* a stream for each layer */
        for (uint32_t k = 0; k < FB_LAYER_PARAMS; k++) {
            const fb_param *p = fb_layer_param(net, l, k);
            if (p && !norm && k == 0)
                init_weight(net, p, i == last, &state);
            else if (p)
                fill(p->w, p->n, norm && (k == FB_NORM_GAMMA || k == FB_NORM_VARIANCE) ? 1 : 0);
        }
    }
}

/* ---- the model ------------------------------------------------------------------------------- */

typedef struct writer {
    const fb_net *net;
    const float *const *values;
    fb_model *m;
} writer;

static const float *value_of(const writer *w, int32_t param)
{
    return w->values ? w->values[param] : w->net->params[param].w;
}

static fb_status write_tensor(const writer *w, int32_t param, const float *data)
{
    const fb_param *p = &w->net->params[param];
    const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    return fb_model_set_payload(w->m, p->tensor, &plain, data, p->n * sizeof *data);
}

static fb_status write_norm(const writer *w, const fb_layer *l)
{
    const float *gamma = value_of(w, l->param[FB_NORM_GAMMA]);
    const float *beta = value_of(w, l->param[FB_NORM_BETA]);
    const float *mean = value_of(w, l->param[FB_NORM_MEAN]);
    const float *variance = value_of(w, l->param[FB_NORM_VARIANCE]);
    size_t c = w->net->params[l->param[FB_NORM_GAMMA]].n;
    float *scale = fb_arena_array(w->m->arena, 2 * c, sizeof *scale), *shift = scale + c;
    if (!scale)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < c; i++) {
        double s = (double)gamma[i] / sqrt((double)variance[i] + (double)FB_NET_NORM_EPSILON);
        scale[i] = (float)s;
        shift[i] = (float)((double)beta[i] - (double)mean[i] * s);
    }
    FB_TRY(write_tensor(w, l->param[FB_NORM_GAMMA], scale));
    return write_tensor(w, l->param[FB_NORM_BETA], shift);
}

static fb_status write_layers(const writer *w)
{
    for (size_t i = 0; i < w->net->n_layers; i++) {
        const fb_layer *l = &w->net->layers[i];
        if (l->def == &fb_train_norm) {
            FB_TRY(write_norm(w, l));
            continue;
        }
        for (uint32_t k = 0; k < FB_LAYER_PARAMS; k++) {
            if (l->param[k] >= 0)
                FB_TRY(write_tensor(w, l->param[k], value_of(w, l->param[k])));
        }
    }
    return FB_OK;
}

fb_status fb_net_to_model(const fb_net *net, const float *const *values, fb_model **out)
{
    writer w = {.net = net, .values = values};
    fb_status status;
    *out = NULL;
    FB_TRY(fb_model_clone(net->model, false, &w.m));
    FB_GO(write_layers(&w));
    FB_GO(fb_net_fuse(w.m));
    FB_GO(fb_model_compact(w.m));
    FB_GO(fb_model_validate(w.m));
    FB_GO(fb_model_clone(w.m, true, out));
fail:
    fb_model_close(&w.m);
    return status;
}
