/* Weights in few bits, activations in floats (METHODS M.1): w1 to w16. No data is needed; kernels
 * decode weights in registers. */
#include "base/alloc.h"
#include "base/status.h"
#include "compress/edges.h"
#include "compress/method.h"
#include "compress/weights.h"

enum {
    OPT_PER,
    OPT_GROUP,
    OPT_WEIGHTS,
    OPT_SCALE,
    OPT_ZERO,
    OPT_OUTLIERS,
    OPT_INCLUDE,
    OPT_EXCLUDE,
    OPT_EDGES
};

static fb_status encode(fb_model *m, int32_t weight, const fb_weight_rule *rule)
{
    fb_weight_codes codes;
    FB_TRY(fb_weight_codes_init(&codes, &m->tensors[weight], rule));
    fb_status status = fb_weight_codes_store(&codes, m, weight);
    fb_weight_codes_free(&codes);
    return status;
}

static fb_weight_rule rule_of(const fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    return (fb_weight_rule){.bits = step->bits,
                            .per_channel = o[OPT_PER].choice == 0 || o[OPT_GROUP].number > 0,
                            .group = (uint32_t)o[OPT_GROUP].number,
                            .range = (fb_weight_range)o[OPT_WEIGHTS].choice,
                            .pow2 = o[OPT_SCALE].choice == 1,
                            .zero = o[OPT_ZERO].choice == 1,
                            .outliers = o[OPT_OUTLIERS].number,
                            .restore = fb_weights_restore(job->model)};
}

static bool is_wanted(const fb_option *o, const fb_node *n)
{
    return (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
           !fb_glob(o[OPT_EXCLUDE].text, n->name);
}

/* Weights that an earlier step encoded keep their codes. */
static fb_status encode_all(fb_job *job, const fb_recipe_step *step, const bool *edge)
{
    fb_model *m = job->model;
    const fb_option *o = step->option;
    unsigned edges = (unsigned)o[OPT_EDGES].number;
    fb_weight_rule rule = rule_of(job, step);
    uint32_t found = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        if (weight < 0 || !is_wanted(o, n))
            continue;
        found++;
        FB_TRY(fb_job_report(job, "weights", i, m->n_nodes));
        if (m->tensors[weight].enc.kind != FB_ENC_PLAIN)
            continue;
        fb_weight_rule own = rule;
        own.bits = edge[i] && edges > rule.bits ? edges : rule.bits;
        if (fb_job_is_clipped(job, weight)) {
            own.range = FB_WEIGHT_MINMAX;
            own.restore = false;
        }
        FB_TRY(encode(m, weight, &own));
    }
    return found > 0 ? FB_OK
                     : fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant weights is "
                                                 "there to quantise");
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    if (o[OPT_GROUP].number > 0 && o[OPT_PER].choice == 1)
        return fb_fail(FB_E_ARG,
                       "per=tensor leaves no room for group=%u; groups lie within a "
                       "channel",
                       (unsigned)o[OPT_GROUP].number);
    bool *edge = fb_calloc(job->model->n_nodes + 1, sizeof *edge);
    if (!edge)
        return fb_fail(FB_E_MEMORY, "no memory to encode the layers");
    fb_status status = fb_edges_find(job->model, edge);
    if (status == FB_OK)
        status = encode_all(job, step, edge);
    fb_free(edge);
    return status;
}

const fb_method_def fb_method_weights = {
    .name = "w8",
    .stem = "w",
    .least_bits = 1,
    .most_bits = 16,
    .summary = "weights alone in 8 bits (w1 to w16: in so many), activations in floats",
    .needs_data = false,
    .n_options = 9,
    .options =
        {
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "channel|tensor",
             .preset = "channel",
             .meaning = "a scale for each output channel, or one"},
            {.key = "group",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 1 << 24,
             .preset = "0",
             .meaning = "a scale for each so many weights of a channel; 0 = one a channel"},
            {.key = "weights",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_WEIGHT_RANGES,
             .preset = "mse",
             .meaning = "how the range of the weights of a scale is chosen"},
            {.key = "scale",
             .kind = FB_OPTION_CHOICE,
             .choices = "free|pow2",
             .preset = "free",
             .meaning = "any scales, or powers of two (fixed point)"},
            {.key = "zero",
             .kind = FB_OPTION_CHOICE,
             .choices = "no|yes",
             .preset = "no",
             .meaning = "unsigned codes with a zero point (always with 1 bit)"},
            {.key = "outliers",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 0.5,
             .preset = "0",
             .meaning = "the share of weights, the largest, that stays aside as 16-bit floats"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"},
            {.key = "edges",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 16,
             .preset = "1",
             .meaning = "bits of the weights of the first and last layers, at least"},
        },
    .apply = apply,
};
