/* Plain weights that are ternary in training: TWN and TTQ (METHODS T.4). */
#include "train/quant_def.h"

#include <math.h>
#include <string.h>

enum { POSITIVE, NEGATIVE };

typedef struct ternary {
    fb_ternary_rule rule;
    float part;
    float *scale; /* [channels] */
    int8_t *code; /* [n] */
    fb_ternary t; /* of the last forward pass */
} ternary;

static bool learns(const ternary *k)
{
    return k->rule == FB_TERNARY_TTQ;
}

static fb_status create(fb_quant *q, float *w)
{
    ternary *k = fb_quant_room(q, 1, sizeof *k);
    if (!k)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    q->self = k;
    const fb_share_plan *plan = q->options.ternary;
    k->rule = plan->ternary_rule;
    k->part = plan->part;
    k->scale = fb_quant_room(q, q->channels, sizeof *k->scale);
    k->code = fb_quant_room(q, q->n, sizeof *k->code);
    if (!k->scale || !k->code)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    FB_TRY(fb_share_plan_scales(plan, w, q->n, q->channels, k->scale));
    FB_TRY(fb_ternary_fit(w, k->scale, q->n, q->channels, k->rule, k->part, &k->t));
    const float start[2] = {k->t.positive, k->t.negative};
    return learns(k) ? fb_quant_add(q, FB_QUANT_TABLE, "weight.ternary", 2, start) : FB_OK;
}

/* Threshold and levels of the weights w. */
static fb_status find(const fb_quant *q, const float *const *values, const float *w, fb_ternary *t)
{
    const ternary *k = q->self;
    if (!learns(k))
        return fb_ternary_fit(w, k->scale, q->n, q->channels, k->rule, k->part, t);
    const float *level = fb_quant_numbers(q, values, q->own[FB_QUANT_TABLE]);
    t->threshold = fb_ternary_threshold(w, k->scale, q->n, q->channels, k->rule, k->part);
    t->positive = fmaxf(level[POSITIVE], 0);
    t->negative = fmaxf(level[NEGATIVE], 0);
    return FB_OK;
}

static fb_status forward(fb_quant *q)
{
    ternary *k = q->self;
    const float *w = fb_quant_master(q)->w;
    FB_TRY(find(q, NULL, w, &k->t));
    fb_ternary_forward(&k->t, w, k->scale, q->n, q->channels, k->code, q->value);
    return FB_OK;
}

static void level_gradients(const fb_quant *q, const ternary *k, const float *g)
{
    fb_param *level = fb_quant_own(q, FB_QUANT_TABLE);
    double positive, negative;
    size_t n[2] = {0, 0};
    for (size_t i = 0; i < q->n; i++) {
        n[POSITIVE] += k->code[i] > 0;
        n[NEGATIVE] += k->code[i] < 0;
    }
    fb_ternary_levels_gradient(k->code, k->scale, q->n, q->channels, g, &positive, &negative);
    level->g[POSITIVE] = (float)(positive / sqrt((double)(n[POSITIVE] ? n[POSITIVE] : 1)));
    level->g[NEGATIVE] = (float)(negative / sqrt((double)(n[NEGATIVE] ? n[NEGATIVE] : 1)));
}

static void backward(fb_quant *q)
{
    const ternary *k = q->self;
    float *g = fb_quant_master(q)->g;
    if (!learns(k))
        return;
    level_gradients(q, k, g);
    fb_ternary_gradient(&k->t, k->code, q->n, g, g);
}

static fb_status store(const fb_quant *q, const float *const *values, const float *factor,
                       fb_model *m, int32_t tensor)
{
    const ternary *k = q->self;
    fb_ternary t;
    float *w = fb_alloc(q->n * sizeof *w), *scale = fb_alloc(q->channels * sizeof *scale);
    fb_share s = {.name = q->as->name, .n = q->n, .channels = q->channels, .w = w};
    s.scale = k->scale;
    s.mask = fb_alloc(q->n);
    s.code = fb_alloc(q->n);
    fb_status status = fb_fail(FB_E_MEMORY, "no memory for weight '%s'", q->as->name);
    if (!w || !scale || !s.mask || !s.code)
        goto fail;
    memcpy(w, fb_quant_numbers(q, values, q->param), q->n * sizeof *w);
    FB_GO(find(q, values, w, &t));
    fb_ternary_finish(&t, &s);
    for (size_t i = 0; i < q->channels; i++)
        scale[i] = k->scale[i] * (factor ? factor[i] : 1);
    status = fb_share_store(&s, scale, m, tensor);
fail:
    fb_free(w);
    fb_free(scale);
    fb_free(s.mask);
    fb_free(s.code);
    return status;
}

const fb_quant_def fb_quant_ternary_def = {create, forward, backward, store, NULL};
