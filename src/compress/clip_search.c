/* Boundaries that are searched for all layers together. */
#include "compress/clip.h"
#include "compress/judge.h"

#include "base/status.h"

#include <math.h>

/* --- k standard deviations ------------------------------------------------------------------- */

static double deviation_of(const float *w, size_t n)
{
    double sum = 0, sq = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)w[i];
    for (size_t i = 0; i < n; i++)
        sq += ((double)w[i] - sum / (double)n) * ((double)w[i] - sum / (double)n);
    return sqrt(sq / (double)n);
}

/* Squared error over squared weights. */
static double relative_error(const fb_clip *c, const fb_clip_layer *layer, double k)
{
    double error = 0, all = 0;
    for (size_t b = 0; b < layer->n_blocks; b++) {
        const float *w = layer->w + b * layer->n;
        float t = (float)fmin(k * (double)layer->t[b], (double)layer->most[b]);
        fb_weight_grid grid = fb_weight_cover(&c->measure, -t, t);
        if (grid.scale > 0)
            error += fb_weight_error(&c->measure, w, layer->n, grid);
        for (size_t i = 0; i < layer->n; i++)
            all += (double)w[i] * (double)w[i];
    }
    return all > 0 ? error / all : 0;
}

void fb_clip_by_deviation(fb_clip *c)
{
    double best = INFINITY, least = INFINITY;
    for (uint32_t i = 0; i < c->n; i++) {
        fb_clip_layer *layer = &c->layers[i];
        for (size_t b = 0; b < layer->n_blocks; b++)
            layer->t[b] = (float)deviation_of(layer->w + b * layer->n, layer->n);
    }
    for (int step = 4; step <= 40; step++) { /* k = 1 .. 10 */
        double error = 0, k = step / 4.0;
        for (uint32_t i = 0; i < c->n; i++)
            error += relative_error(c, &c->layers[i], k);
        if (error < least) {
            least = error;
            best = k;
        }
    }
    for (uint32_t i = 0; i < c->n; i++) {
        fb_clip_layer *layer = &c->layers[i];
        for (size_t b = 0; b < layer->n_blocks; b++) {
            double t = best * (double)layer->t[b]; /* no deviation: one value, which stays */
            layer->t[b] = t > 0 && t < (double)layer->most[b] ? (float)t : layer->most[b];
        }
    }
}

/* --- least loss ------------------------------------------------------------------------------ */

typedef struct search {
    fb_clip *clip;
    fb_judge judge;
    fb_model *best; /* weights in codes, by `factor` */
    double *factor; /* [layers] */
    double loss;    /* of best */
    uint64_t trials, expected;
} search;

/* Layer k of `m` in codes, with boundaries times `factor`. */
static fb_status encode(const search *s, fb_model *m, uint32_t k, double factor)
{
    const fb_clip_layer *layer = &s->clip->layers[k];
    fb_tensor t = m->tensors[layer->weight];
    size_t n = layer->n_blocks * layer->n;
    float *data = fb_calloc(n, sizeof *data);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory to try boundaries");
    fb_clip_apply(layer, factor, data);
    t.dtype = FB_F32;
    t.enc = (fb_encoding){.kind = FB_ENC_PLAIN, .axis = -1};
    t.data = data;
    t.data_bytes = n * sizeof *data;
    fb_weight_codes codes;
    fb_status status = fb_weight_codes_init(&codes, &t, &s->clip->rule);
    if (status == FB_OK) {
        status = fb_weight_codes_store(&codes, m, layer->weight);
        fb_weight_codes_free(&codes);
    }
    fb_free(data);
    return status;
}

/* Judges `best` with other factors for layers [from, to), and takes it where it is better. */
static fb_status try_factor(search *s, uint32_t from, uint32_t to, double factor, bool *better)
{
    fb_model *m = NULL;
    const fb_bar bar = {.loss = s->loss};
    fb_verdict verdict = {0};
    fb_status status;
    *better = false;
    FB_TRY(fb_job_report(s->clip->job, "clip", s->trials, s->expected));
    s->trials += s->trials + 1 < s->expected;
    FB_GO(fb_model_clone(s->best, false, &m));
    for (uint32_t k = from; k < to; k++)
        FB_GO(encode(s, m, k, factor));
    FB_GO(fb_judge_try(&s->judge, m, &bar, &verdict, better));
    *better = *better && verdict.loss < s->loss;
    for (uint32_t k = from; k < to && *better; k++) {
        FB_GO(encode(s, s->best, k, factor));
        s->factor[k] = factor;
    }
    if (*better)
        s->loss = verdict.loss;
fail:
    fb_model_close(&m);
    return status;
}

/* One factor for all; 1e30 clips nothing. */
static fb_status search_together(search *s)
{
    static const double factors[] = {1, 0.8, 1.25, 0.64, 1.5625, 1e30};
    bool better;
    s->loss = INFINITY;
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++)
        FB_TRY(try_factor(s, 0, s->clip->n, factors[i], &better));
    return FB_OK;
}

/* Steps of `by` for one layer, three at most, while they help. */
static fb_status walk(search *s, uint32_t k, double by, bool *moved)
{
    bool better = true;
    *moved = false;
    for (int i = 0; i < 3 && better; i++) {
        FB_TRY(try_factor(s, k, k + 1, s->factor[k] * by, &better));
        *moved = *moved || better;
    }
    return FB_OK;
}

/* The first node that reads a layer's weights. */
static uint32_t node_of(const search *s, uint32_t k)
{
    const fb_model *m = s->best;
    uint32_t i = 0;
    while (i < m->n_nodes && fb_node_weight(m, &m->nodes[i]) != s->clip->layers[k].weight)
        i++;
    return i;
}

/* Each layer by itself, down or else up; what nothing clips stays. */
static fb_status search_alone(search *s)
{
    for (uint32_t k = 0; k < s->clip->n; k++) {
        bool moved = s->factor[k] > 1e3;
        FB_TRY(fb_judge_hold(&s->judge, s->best, node_of(s, k)));
        if (!moved)
            FB_TRY(walk(s, k, 0.8, &moved));
        if (!moved)
            FB_TRY(walk(s, k, 1.25, &moved));
    }
    return FB_OK;
}

fb_status fb_clip_by_accuracy(fb_clip *c)
{
    search s = {.clip = c, .expected = 6 + 3 * (uint64_t)c->n};
    fb_status status;
    s.factor = fb_calloc(c->n, sizeof *s.factor);
    if (!s.factor)
        return fb_fail(FB_E_MEMORY, "no memory to try boundaries");
    FB_GO(fb_judge_open(c->job, c->images, &s.judge));
    FB_GO(fb_model_clone(c->job->model, false, &s.best));
    FB_GO(search_together(&s));
    FB_GO(search_alone(&s));
    for (uint32_t k = 0; k < c->n; k++) {
        for (size_t b = 0; b < c->layers[k].n_blocks; b++) {
            fb_clip_layer *layer = &c->layers[k];
            double t = s.factor[k] * (double)layer->t[b];
            layer->t[b] = t < (double)layer->most[b] ? (float)t : layer->most[b];
        }
    }
fail:
    fb_judge_close(&s.judge);
    fb_model_close(&s.best);
    fb_free(s.factor);
    return status;
}
