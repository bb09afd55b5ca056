/* Weights in few bits, activations in floats (METHODS M.1): w1 to w16. No data is needed; kernels
 * decode weights in registers. */
#include "base/status.h"
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
    OPT_EXCLUDE
};

static fb_status encode(fb_model *m, int32_t weight, const fb_weight_rule *rule)
{
    fb_weight_codes codes;
    FB_TRY(fb_weight_codes_init(&codes, &m->tensors[weight], rule));
    fb_status status = fb_weight_codes_store(&codes, m, weight);
    fb_weight_codes_free(&codes);
    return status;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    fb_model *m = job->model;
    const fb_option *o = step->option;
    fb_weight_rule rule = {.bits = step->bits,
                           .per_channel = o[OPT_PER].choice == 0 || o[OPT_GROUP].number > 0,
                           .group = (uint32_t)o[OPT_GROUP].number,
                           .range = (fb_weight_range)o[OPT_WEIGHTS].choice,
                           .pow2 = o[OPT_SCALE].choice == 1,
                           .zero = o[OPT_ZERO].choice == 1,
                           .outliers = o[OPT_OUTLIERS].number,
                           .restore = fb_weights_restore(m)};
    if (o[OPT_GROUP].number > 0 && o[OPT_PER].choice == 1)
        return fb_fail(FB_E_ARG,
                       "per=tensor leaves no room for group=%u; groups lie within a "
                       "channel",
                       rule.group);
    fb_weight_rule as_it_is = rule;
    as_it_is.range = FB_WEIGHT_MINMAX;
    as_it_is.restore = false;
    uint32_t found = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        bool wanted = (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
                      !fb_glob(o[OPT_EXCLUDE].text, n->name);
        if (weight < 0 || !wanted)
            continue;
        found++;
        FB_TRY(fb_job_report(job, "weights", i, m->n_nodes));
        if (m->tensors[weight].enc.kind != FB_ENC_PLAIN)
            continue;
        bool clipped = fb_job_is_clipped(job, weight);
        FB_TRY(encode(m, weight, clipped ? &as_it_is : &rule));
    }
    if (found == 0)
        return fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant weights is there to "
                                         "quantise");
    return FB_OK;
}

const fb_method_def fb_method_weights = {
    .name = "w8",
    .stem = "w",
    .least_bits = 1,
    .most_bits = 16,
    .summary = "weights alone in 8 bits (w1 to w16: in so many), activations in floats",
    .needs_data = false,
    .n_options = 8,
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
        },
    .apply = apply,
};
