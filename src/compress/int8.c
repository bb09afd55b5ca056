/* Integers throughout (METHODS M.1-M.3): 8-bit activations with ranges from calibration, weights of
 * 8 bits or fewer, each region of the network that can on integer kernels. Biases get 14 bits; the
 * plan rounds them to units of the accumulator, rne(bias / (x_scale * w_scale)), which is what an
 * int32 bias of a QDQ model holds. */
#include "calibrate/range.h"
#include "compress/accumulator.h"
#include "compress/correct.h"
#include "compress/method.h"
#include "compress/region.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum {
    OPT_ACT,
    OPT_PERCENTILE,
    OPT_WEIGHTS,
    OPT_PER,
    OPT_BIAS,
    OPT_IMAGES,
    OPT_ENTROPY,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    fb_region region;
    int32_t *tensors;      /* encoded ones, [region.n_encoded] */
    fb_stats *stats;       /* of each */
    fb_input_codes *codes; /* [n_tensors] of the model as it came */
    bool restore;          /* of fb_weight_rule */
} work;

/* --- activations ----------------------------------------------------------------------------- */

static fb_status gather_stats(work *w)
{
    const fb_model *m = w->job->model;
    uint32_t n = 0;
    for (size_t t = 0; t < m->n_tensors; t++) {
        if (w->region.encoded[t])
            w->tensors[n++] = (int32_t)t;
    }
    for (uint32_t k = 0; k < n; k++) {
        FB_TRY(fb_stats_init(&w->stats[k]));
        if (w->job->dry_run)
            FB_TRY(fb_stats_invent(&w->stats[k], k, w->region.positive[w->tensors[k]]));
    }
    if (w->job->dry_run)
        return FB_OK;
    fb_samples samples;
    FB_TRY(fb_samples_open(m, w->job->data, 0, &samples));
    fb_source source = fb_samples_source(&samples);
    fb_watch_options o = fb_job_watch(w->job, "calibrate");
    fb_status status = fb_watch_stats(m, &source, w->tensors, n, &o, w->stats);
    fb_samples_close(&samples);
    return status;
}

/* A range for each tensor; then, where tensors share, their union. */
static fb_status choose_codes(work *w)
{
    const fb_option *o = w->step->option;
    size_t n_tensors = w->job->model->n_tensors;
    fb_range *range = fb_calloc(n_tensors, sizeof *range); /* by leader */
    if (!range)
        return fb_fail(FB_E_MEMORY, "no memory for the ranges");
    for (uint32_t k = 0; k < w->region.n_encoded; k++) {
        fb_range r = fb_range_choose((fb_range_rule)o[OPT_ACT].choice, &w->stats[k], 8,
                                     o[OPT_PERCENTILE].number);
        fb_range *of = &range[w->region.leader[w->tensors[k]]];
        of->lo = r.lo < of->lo ? r.lo : of->lo;
        of->hi = r.hi > of->hi ? r.hi : of->hi;
    }
    for (uint32_t k = 0; k < w->region.n_encoded; k++) {
        int32_t t = w->tensors[k];
        fb_range_codes(range[w->region.leader[t]], 8, &w->codes[t].scale, &w->codes[t].zero);
    }
    fb_free(range);
    return FB_OK;
}

/* --- weights --------------------------------------------------------------------------------- */

/* Biases may be absent, or not constant (then the accumulator's proof is left to the kernel's
 * limit). */
static fb_status read_bias(const fb_model *m, const fb_node *n, size_t oc, float **bias)
{
    const fb_tensor *b = n->n_in > 2 && n->in[2] >= 0 ? &m->tensors[n->in[2]] : NULL;
    *bias = fb_calloc(oc, sizeof **bias);
    if (!*bias)
        return fb_fail(FB_E_MEMORY, "no memory for the bias of layer '%.200s'", n->name);
    return b && b->is_const ? fb_tensor_decode(b, *bias) : FB_OK;
}

static fb_status encode_weight(const work *w, const fb_node *n)
{
    fb_model *m = w->job->model;
    int32_t weight = fb_node_weight(m, n);
    const fb_option *o = w->step->option;
    fb_weight_rule rule = {.bits = w->step->bits,
                           .per_channel = o[OPT_PER].choice == 0,
                           .range = fb_job_is_clipped(w->job, weight)
                                        ? FB_WEIGHT_MINMAX
                                        : (fb_weight_range)o[OPT_WEIGHTS].choice,
                           .restore = w->restore && !fb_job_is_clipped(w->job, weight)};
    uint32_t oc = (uint32_t)m->tensors[weight].dims[0];
    fb_weight_codes codes = {0};
    float *bias = NULL;
    fb_status status;
    FB_GO(fb_weight_codes_init(&codes, &m->tensors[weight], &rule));
    FB_GO(read_bias(m, n, oc, &bias));
    FB_GO(fb_accumulator_fit(&codes, oc, bias, w->codes[n->in[0]]));
    FB_GO(fb_weight_codes_store(&codes, m, weight));
fail:
    fb_free(bias);
    fb_weight_codes_free(&codes);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", n->name);
}

/* Weights that are encoded already (an earlier step, a shared weight) keep their codes. */
static fb_status encode_weights(const work *w)
{
    fb_model *m = w->job->model;
    uint32_t done = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (!w->region.integer[i])
            continue;
        FB_TRY(fb_job_report(w->job, "weights", done++, w->region.n_integer));
        if (m->tensors[fb_node_weight(m, n)].enc.kind == FB_ENC_PLAIN)
            FB_TRY(encode_weight(w, n));
    }
    return FB_OK;
}

/* --- the step -------------------------------------------------------------------------------- */

static fb_status encode_activations(const work *w)
{
    fb_code_choice *choice = fb_calloc(w->job->model->n_tensors, sizeof *choice);
    if (!choice)
        return fb_fail(FB_E_MEMORY, "no memory for the activations");
    for (uint32_t k = 0; k < w->region.n_encoded; k++) {
        const fb_input_codes *c = &w->codes[w->tensors[k]];
        choice[w->tensors[k]] = (fb_code_choice){.bits = 8, .scale = c->scale, .zero = c->zero};
    }
    fb_status status = fb_region_encode(w->job->model, &w->region, choice);
    fb_free(choice);
    return status;
}

static fb_status refuse(const fb_model *m, const fb_region *r)
{
    if (r->n_integer == 0)
        return fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant weights is there to "
                                         "quantise");
    for (size_t t = 0; t < m->n_tensors; t++) {
        if (r->encoded[t] && m->tensors[t].enc.kind != FB_ENC_PLAIN)
            return fb_fail(FB_E_ARG,
                           "tensor '%.200s' is encoded already; int8 starts from float "
                           "activations",
                           m->tensors[t].name);
    }
    return FB_OK;
}

static fb_status check_accumulators(const fb_model *m)
{
    for (size_t i = 0; i < m->n_nodes; i++)
        FB_TRY(fb_accumulator_check(m, &m->nodes[i]));
    return FB_OK;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    work w = {.job = job, .step = step, .restore = fb_weights_restore(job->model)};
    fb_status status;
    FB_TRY(fb_region_find(job->model, step->option[OPT_INCLUDE].text,
                          step->option[OPT_EXCLUDE].text, &w.region));
    uint32_t n = w.region.n_encoded;
    FB_GO(refuse(job->model, &w.region));
    w.tensors = fb_calloc(n, sizeof *w.tensors);
    w.stats = fb_calloc(n, sizeof *w.stats);
    w.codes = fb_calloc(job->model->n_tensors, sizeof *w.codes);
    if (!w.tensors || !w.stats || !w.codes) {
        status = fb_fail(FB_E_MEMORY, "no memory for the statistics of %u tensors", n);
        goto fail;
    }
    FB_GO(gather_stats(&w));
    FB_GO(choose_codes(&w));
    FB_GO(encode_weights(&w));
    FB_GO(encode_activations(&w));
    FB_GO(check_accumulators(job->model));
    job->model->entropy = step->option[OPT_ENTROPY].choice == 0;
    if (step->option[OPT_BIAS].choice == 0)
        FB_GO(fb_correct(job, FB_CORRECT_MEAN, (uint64_t)step->option[OPT_IMAGES].number,
                         "bias-correct"));
fail:
    for (uint32_t k = 0; w.stats && k < n; k++)
        fb_stats_free(&w.stats[k]);
    fb_free(w.tensors);
    fb_free(w.stats);
    fb_free(w.codes);
    fb_region_free(&w.region);
    return status;
}

const fb_method_def fb_method_int8 = {
    .name = "int8",
    .stem = "int",
    .least_bits = 2,
    .most_bits = 8,
    .summary = "weights of 8 bits (int2 to int7: fewer) and 8-bit activations on integer kernels",
    .needs_data = true,
    .n_options = 9,
    .options =
        {
            {.key = "act",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_RANGE_NAMES,
             .preset = "mse",
             .meaning = "how the range of an activation is chosen"},
            {.key = "percentile",
             .kind = FB_OPTION_NUMBER,
             .least = 50.001,
             .most = 100,
             .preset = "99.99",
             .meaning = "for act=percentile"},
            {.key = "weights",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_WEIGHT_RANGES,
             .preset = "mse",
             .meaning = "how the range of the weights of a scale is chosen"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "channel|tensor",
             .preset = "channel",
             .meaning = "a weight scale for each output channel, or one"},
            {.key = "bias",
             .kind = FB_OPTION_CHOICE,
             .choices = "correct|keep",
             .preset = "correct",
             .meaning = "correct: what the step bias-correct does, at once"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images for bias=correct, at most"},
            {.key = "entropy",
             .kind = FB_OPTION_CHOICE,
             .choices = "on|off",
             .preset = "on",
             .meaning =
                 "weights entropy-coded in the file; off: larger, but mapped instead of decoded"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"},
        },
    .apply = apply,
};
