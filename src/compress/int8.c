/* Integers throughout (METHODS M.1-M.3): weights of 8 bits or fewer, activations likewise with
 * ranges from calibration, each region of the network that can on integer kernels. Biases get 14
 * bits; the plan rounds them to units of the accumulator, rne(bias / (x_scale * w_scale)), which is
 * what an int32 bias of a QDQ model holds. */
#include "calibrate/range.h"
#include "compress/activations.h"
#include "compress/correct.h"
#include "compress/edges.h"
#include "compress/method.h"

#include "base/alloc.h"
#include "base/status.h"

enum {
    OPT_ACT,
    OPT_PERCENTILE,
    OPT_WEIGHTS,
    OPT_PER,
    OPT_BIAS,
    OPT_IMAGES,
    OPT_ENTROPY,
    OPT_INCLUDE,
    OPT_EXCLUDE,
    OPT_ABITS,
    OPT_FIRST,
    OPT_LAST,
    OPT_EDGES
};

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    fb_activations acts;
    fb_act_code *codes; /* [acts.n_groups] */
    bool restore;       /* of fb_weight_rule */
    bool *edge;         /* [n_nodes] first and last layers */
} work;

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

static fb_status encode_weight(const work *w, size_t i)
{
    fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[i];
    int32_t weight = fb_node_weight(m, n);
    const fb_option *o = w->step->option;
    unsigned bits = w->step->bits, edges = (unsigned)o[OPT_EDGES].number;
    fb_weight_rule rule = {.bits = w->edge[i] && edges > bits ? edges : bits,
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
    FB_GO(fb_accumulator_fit(&codes, oc, bias, fb_act_input(&w->acts, w->codes, n->in[0])));
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
        if (!w->acts.region.integer[i])
            continue;
        FB_TRY(fb_job_report(w->job, "weights", done++, w->acts.region.n_integer));
        if (m->tensors[fb_node_weight(m, n)].enc.kind == FB_ENC_PLAIN)
            FB_TRY(encode_weight(w, i));
    }
    return FB_OK;
}

/* --- the step -------------------------------------------------------------------------------- */

static fb_status choose_codes(work *w)
{
    const fb_option *o = w->step->option;
    w->codes = fb_calloc(w->acts.n_groups + 1, sizeof *w->codes);
    if (!w->codes)
        return fb_fail(FB_E_MEMORY, "no memory for the codes of activations");
    for (uint32_t g = 0; g < w->acts.n_groups; g++) {
        unsigned bits = fb_act_bits(&w->acts.groups[g], (unsigned)o[OPT_ABITS].number,
                                    (unsigned)o[OPT_FIRST].number, (unsigned)o[OPT_LAST].number);
        fb_act_affine(&w->acts, g, (fb_range_rule)o[OPT_ACT].choice, o[OPT_PERCENTILE].number, bits,
                      &w->codes[g]);
    }
    return FB_OK;
}

/* Steps before may have encoded some activations and some weights, which stay; but not all. */
static fb_status refuse(const work *w)
{
    const fb_model *m = w->job->model;
    bool plain = false;
    for (size_t i = 0; i < m->n_nodes; i++)
        plain = plain || (w->acts.region.integer[i] &&
                          m->tensors[fb_node_weight(m, &m->nodes[i])].enc.kind == FB_ENC_PLAIN);
    if (w->acts.n == 0 && !plain)
        return fb_fail(FB_E_ARG, "weights and activations of all layers are encoded already");
    if (w->acts.n == 0 && w->step->option[OPT_ABITS].given)
        return fb_fail(FB_E_ARG,
                       "abits=%s has nothing to encode: an earlier step gave all activations their "
                       "codes",
                       w->step->option[OPT_ABITS].text);
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
    const fb_option *o = step->option;
    work w = {.job = job, .step = step, .restore = fb_weights_restore(job->model)};
    fb_status status;
    FB_TRY(fb_activations_open(job, o[OPT_INCLUDE].text, o[OPT_EXCLUDE].text, FB_REGION_INTEGER,
                               false, &w.acts));
    FB_GO(refuse(&w));
    w.edge = fb_calloc(job->model->n_nodes + 1, sizeof *w.edge);
    if (!w.edge) {
        status = fb_fail(FB_E_MEMORY, "no memory to encode the layers");
        goto fail;
    }
    FB_GO(fb_edges_find(job->model, w.edge));
    FB_GO(choose_codes(&w));
    FB_GO(encode_weights(&w));
    FB_GO(fb_activations_write(&w.acts, job->model, w.codes, -1));
    FB_GO(check_accumulators(job->model));
    job->model->entropy = o[OPT_ENTROPY].choice == 0;
    if (o[OPT_BIAS].choice == 0)
        FB_GO(fb_correct(job, FB_CORRECT_MEAN, (uint64_t)o[OPT_IMAGES].number, "bias-correct"));
fail:
    fb_free(w.edge);
    fb_free(w.codes);
    fb_activations_close(&w.acts);
    return status;
}

const fb_method_def fb_method_int8 = {
    .name = "int8",
    .stem = "int",
    .least_bits = 2,
    .most_bits = 8,
    .summary = "weights of 8 bits (int2 to int7: fewer) and 8-bit activations on integer kernels",
    .needs_data = true,
    .n_options = 13,
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
            {.key = "abits",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 8,
             .preset = "8",
             .meaning = "bits of activations"},
            {.key = "first",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 8,
             .preset = "8",
             .meaning = "bits of the network's input, at least"},
            {.key = "last",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 8,
             .preset = "8",
             .meaning = "bits of what the last layers read, at least"},
            {.key = "edges",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 8,
             .preset = "2",
             .meaning = "bits of the weights of the first and last layers, at least"},
        },
    .apply = apply,
};
