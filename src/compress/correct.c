/* Measuring and removing each layer's shift. */
#include "compress/correct.h"

#include "base/status.h"
#include "compress/accumulator.h"
#include "compress/bias.h"
#include "compress/stage.h"
#include "numeric/half.h"

#include <math.h>
#include <string.h>

typedef struct corrector {
    fb_job *job;
    fb_correction what;
    const char *phase;
    fb_samples samples;
    fb_stage stage;     /* the model up to the layer at hand */
    uint32_t *nodes;    /* [n] layers to correct, in order */
    fb_moments *wanted; /* [n] of the reference, before the activation */
    uint32_t n;
} corrector;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to correct the layers");
}

/* --- which layers ---------------------------------------------------------------------------- */

/* Encoded, or with other floats than the reference, whose payloads the model shares until a step
 * writes its own. */
static bool is_changed(const fb_job *job, const fb_node *n)
{
    const fb_model *m = job->model, *ref = job->reference;
    int32_t w = fb_node_weight(m, n);
    return w >= 0 && n->in[0] >= 0 &&
           (m->tensors[w].enc.kind != FB_ENC_PLAIN ||
            m->tensors[n->in[0]].enc.kind != FB_ENC_PLAIN ||
            ((size_t)w < ref->n_tensors && ref->tensors[w].data != m->tensors[w].data));
}

static fb_status find_layers(corrector *c)
{
    const fb_model *m = c->job->model;
    c->nodes = fb_calloc(m->n_nodes + 1, sizeof *c->nodes);
    c->wanted = fb_calloc(m->n_nodes + 1, sizeof *c->wanted);
    if (!c->nodes || !c->wanted)
        return no_memory();
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (is_changed(c->job, &m->nodes[i]))
            c->nodes[c->n++] = (uint32_t)i;
    }
    if (c->n == 0)
        return fb_fail(FB_E_ARG, "no layer is quantised yet; this step follows one that quantises");
    return FB_OK;
}

static uint32_t channels_of(const fb_model *m, int32_t t)
{
    return (uint32_t)m->tensors[t].dims[m->tensors[t].rank - 1];
}

/* --- what the reference gives ---------------------------------------------------------------- */

static fb_status find_producer(const fb_model *m, int32_t tensor, size_t *node)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].out[0] == tensor && fb_op_has_weight(m->nodes[i].op)) {
            *node = i;
            return FB_OK;
        }
    }
    return fb_fail(FB_E_UNSUPPORTED,
                   "layer output '%.200s' is not in the float network; an earlier "
                   "step rewrote it",
                   m->tensors[tensor].name);
}

static fb_status measure_reference(corrector *c)
{
    const fb_model *m = c->job->model;
    fb_model *split = NULL;
    int32_t *watched = fb_calloc(c->n, sizeof *watched);
    fb_status status = FB_OK;
    if (!watched)
        return no_memory();
    FB_GO(fb_model_clone(c->job->reference, false, &split));
    for (uint32_t k = 0; k < c->n; k++) {
        size_t node = 0;
        int32_t out = m->nodes[c->nodes[k]].out[0];
        FB_GO(fb_moments_init(&c->wanted[k], channels_of(m, out)));
        FB_GO(find_producer(split, out, &node));
        watched[k] = out;
        if (c->what == FB_CORRECT_MOMENTS)
            FB_GO(fb_node_split_act(split, node, &watched[k]));
    }
    fb_watch_options o = fb_job_watch(c->job, c->phase);
    fb_source source = fb_samples_source(&c->samples);
    FB_GO(fb_watch_moments(split, &source, watched, c->n, &o, c->wanted));
fail:
    fb_model_close(&split);
    fb_free(watched);
    return status;
}

/* --- the correction -------------------------------------------------------------------------- */

/* Multiplies the weights of each output channel: scales where they are encoded by channel, values
 * where they are plain. */
static fb_status scale_channels(fb_model *m, const fb_node *n, const double *gain)
{
    fb_tensor *w = &m->tensors[n->in[1]];
    size_t oc = (size_t)w->dims[0];
    fb_encoding *e = &w->enc;
    int64_t n_elems;
    FB_ENSURE(fb_tensor_elems(w, 0, &n_elems));
    if (e->kind != FB_ENC_PLAIN && e->axis == 0 && !e->pow2) {
        for (uint32_t k = 0; k < e->n_scales; k++)
            e->scale[k] = (float)((double)e->scale[k] * gain[k / (e->n_scales / oc)]);
        for (uint32_t k = 0; k < e->n_patches; k++)
            e->patch[k] = fb_f16_to_f32(fb_f16_from_f64(
                (double)e->patch[k] * gain[e->patch_at[k] / ((uint64_t)n_elems / oc)]));
        return FB_OK;
    }
    if (e->kind == FB_ENC_PLAIN) {
        float *data = fb_arena_array(m->arena, (size_t)n_elems, sizeof *data);
        if (!data)
            return no_memory();
        FB_TRY(fb_tensor_decode(w, data));
        for (size_t i = 0; i < (size_t)n_elems; i++)
            data[i] = (float)((double)data[i] * gain[i / ((size_t)n_elems / oc)]);
        w->dtype = FB_F32;
        w->data = data;
        w->data_bytes = (size_t)n_elems * sizeof *data;
        return FB_OK;
    }
    return fb_fail(FB_E_UNSUPPORTED,
                   "layer '%.200s' has no free scale for each output channel to "
                   "correct; quantise with per=channel",
                   n->name);
}

/* A channel that hardly moves says nothing about its gain. */
static double gain_of(const fb_moments *wanted, const fb_moments *seen, uint32_t c)
{
    double a = sqrt(fb_moments_variance(wanted, c)), b = sqrt(fb_moments_variance(seen, c));
    double g = a > 0 && b > 1e-6 * a ? a / b : 1;
    return g < 0.5 ? 0.5 : g > 2 ? 2 : g;
}

/* Means behind the activation agree when the bias moves by their difference over the share of
 * values that the activation lets through; a second step sees what the first one missed. Rarely
 * active channels move carefully. */
static fb_status fit_means(corrector *c, uint32_t k, float *b)
{
    const fb_moments *wanted = &c->wanted[k];
    const fb_act *act = fb_node_act(&c->job->model->nodes[c->nodes[k]]);
    for (int step = 0; step < (act->clamp ? 2 : 1); step++) {
        fb_moments seen;
        FB_TRY(fb_moments_init(&seen, wanted->channels));
        seen.lo = act->clamp ? act->lo : seen.lo;
        seen.hi = act->clamp ? act->hi : seen.hi;
        fb_status status = fb_stage_measure(&c->stage, c->nodes[k], true, &seen);
        for (uint32_t i = 0; i < wanted->channels && status == FB_OK; i++) {
            double share = fmax(fb_moments_inside(&seen, i), 0.2);
            b[i] += (float)((fb_moments_mean(wanted, i) - fb_moments_mean(&seen, i)) / share);
        }
        fb_moments_free(&seen);
        FB_TRY(status);
    }
    return FB_OK;
}

/* Means and spreads before the activation agree. */
static fb_status fit_moments(corrector *c, uint32_t k, float *b, double *gain)
{
    const fb_moments *wanted = &c->wanted[k];
    fb_moments seen;
    FB_TRY(fb_moments_init(&seen, wanted->channels));
    fb_status status = fb_stage_measure(&c->stage, c->nodes[k], false, &seen);
    for (uint32_t i = 0; i < wanted->channels && status == FB_OK; i++) {
        gain[i] = gain_of(wanted, &seen, i);
        b[i] = (float)((double)b[i] * gain[i] + fb_moments_mean(wanted, i) -
                       fb_moments_mean(&seen, i) * gain[i]);
    }
    fb_moments_free(&seen);
    return status;
}

static fb_status fit_channels(corrector *c, uint32_t k, float *b, double *gain)
{
    return c->what == FB_CORRECT_MEAN ? fit_means(c, k, b) : fit_moments(c, k, b, gain);
}

static fb_status correct_layer(corrector *c, uint32_t k)
{
    fb_model *m = c->job->model;
    uint32_t node = c->nodes[k], channels = channels_of(m, m->nodes[node].out[0]);
    int32_t bias;
    FB_TRY(fb_bias_own(m, node, channels, &bias));
    double *gain = fb_calloc(channels, sizeof *gain);
    if (!gain)
        return no_memory();
    for (uint32_t i = 0; i < channels; i++)
        gain[i] = 1.017; /* of a dry run: any number that is nothing special */
    fb_status status = FB_OK;
    if (!c->job->dry_run)
        FB_GO(fit_channels(c, k, (float *)(uintptr_t)m->tensors[bias].data, gain));
    if (c->what == FB_CORRECT_MOMENTS)
        FB_GO(scale_channels(m, &m->nodes[node], gain));
    FB_GO(fb_accumulator_check(m, &m->nodes[node]));
    if (!c->job->dry_run && k + 1 < c->n)
        FB_GO(fb_stage_advance(&c->stage, node));
fail:
    fb_free(gain);
    return status;
}

fb_status fb_correct(fb_job *job, fb_correction what, uint64_t images, const char *phase)
{
    corrector c = {.job = job, .what = what, .phase = phase};
    fb_status status;
    FB_GO(find_layers(&c));
    if (!job->dry_run) {
        FB_GO(fb_samples_open(job->model, job->data, images, &c.samples));
        FB_GO(measure_reference(&c));
        c.stage = (fb_stage){
            .model = job->model, .options = fb_job_watch(job, phase), .samples = &c.samples};
        c.stage.options.progress = NULL; /* told layer by layer */
    }
    for (uint32_t k = 0; k < c.n; k++) {
        FB_GO(fb_job_report(job, phase, k, c.n));
        FB_GO(correct_layer(&c, k));
    }
fail:
    for (uint32_t k = 0; c.wanted && k < c.n; k++)
        fb_moments_free(&c.wanted[k]);
    fb_stage_free(&c.stage);
    fb_samples_close(&c.samples);
    fb_free(c.nodes);
    fb_free(c.wanted);
    return status;
}
