/* Weights as indices of levels: k-means (METHODS D.6), rules (E.2, B.5, T.3), ternary (T.4). Data
 * are needed for kmeans:weight=data alone. Activations stay as they are; a step int<b> behind keeps
 * the codes. */
#include "compress/gather.h"
#include "compress/level_codes.h"

#include "base/status.h"

static fb_status nothing_found(void)
{
    return fb_fail(FB_E_UNSUPPORTED,
                   "no conv or dense layer with constant weights is there to quantise");
}

static fb_status encode_all(fb_job *job, const fb_level_rule *rule, const char *include,
                            const char *exclude)
{
    fb_model *m = job->model;
    uint32_t found = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        bool wanted = (!*include || fb_glob(include, n->name)) && !fb_glob(exclude, n->name);
        if (weight < 0 || !wanted)
            continue;
        found++;
        FB_TRY(fb_job_report(job, "weights", i, m->n_nodes));
        if (m->tensors[weight].enc.kind == FB_ENC_PLAIN)
            FB_TRY(fb_level_encode(m, weight, rule, NULL));
    }
    return found == 0 ? nothing_found() : FB_OK;
}

#define INCLUDE_EXCLUDE                                                                            \
    {.key = "include",                                                                             \
     .kind = FB_OPTION_TEXT,                                                                       \
     .meaning = "only layers with these names; * and ? stand for any, | separates"},               \
    {                                                                                              \
        .key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"              \
    }

/* --- kmeans<b> ------------------------------------------------------------------------------- */

enum {
    K_PER,
    K_FIT,
    K_INIT,
    K_LEVELS,
    K_LEVEL_BITS,
    K_ZERO,
    K_SCALE,
    K_WEIGHT,
    K_IMAGES,
    K_INCLUDE,
    K_EXCLUDE
};

/* E[x²] of the input that each weight meets: what its squared error adds to that of the response,
 * errors of different weights being taken as independent. */
static void importance_of(const fb_problem *p, float *importance)
{
    for (uint32_t i = 0; i < p->n_parts; i++) {
        const fb_problem_part *s = &p->parts[i];
        double mean = 0;
        for (size_t j = 0; j < s->d; j++)
            mean += (s->gram[j * s->d + j] + s->mean_x[j] * s->mean_x[j]) / (double)s->d;
        for (size_t k = 0; k < s->n_rows * s->d; k++) {
            size_t j = k % s->d;
            double e = s->gram[j * s->d + j] + s->mean_x[j] * s->mean_x[j];
            /* inputs that were never seen to move still count a little */
            importance[(s->row + k / s->d) * p->inner + s->col + j] =
                mean > 0 ? (float)(e / mean + 1e-6) : 1;
        }
    }
}

static fb_status encode_by_data(fb_gather *g, uint32_t k, const fb_level_rule *rule)
{
    fb_model *m = g->job->model;
    fb_problem p;
    FB_TRY(fb_gather_problem(g, k, &p));
    float *importance = fb_calloc(p.ct * p.inner, sizeof *importance);
    fb_status status;
    if (importance) {
        importance_of(&p, importance);
        status =
            fb_level_encode(m, fb_node_weight(m, &m->nodes[g->layers[k].node]), rule, importance);
    } else {
        status = fb_fail(FB_E_MEMORY, "no memory for %zu weights", p.ct * p.inner);
    }
    fb_free(importance);
    fb_problem_free(&p);
    return status;
}

/* The same as encode_all, layer after layer on what those before really give. */
static fb_status encode_all_by_data(fb_job *job, const fb_level_rule *rule,
                                    const fb_recipe_step *step)
{
    fb_model *m = job->model;
    const char *include = step->option[K_INCLUDE].text, *exclude = step->option[K_EXCLUDE].text;
    bool *wanted = fb_calloc(m->n_nodes + 1, sizeof *wanted), any = false;
    fb_gather g;
    if (!wanted)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        wanted[i] = weight >= 0 && n->op != FB_OP_CONV_TRANSPOSE &&
                    m->tensors[weight].enc.kind == FB_ENC_PLAIN &&
                    (!*include || fb_glob(include, n->name)) && !fb_glob(exclude, n->name);
        any = any || wanted[i];
    }
    fb_status status =
        any ? fb_gather_open(job, (uint64_t)step->option[K_IMAGES].number, false, wanted, &g)
            : nothing_found();
    fb_free(wanted);
    if (status != FB_OK)
        return status;
    for (uint32_t k = 0; k < g.n; k++) {
        const fb_node *n = &m->nodes[g.layers[k].node];
        FB_GO(fb_job_report(job, "weights", k, g.n));
        if (m->tensors[fb_node_weight(m, n)].enc.kind ==
            FB_ENC_PLAIN) /* not shared with one before */
            FB_GO(encode_by_data(&g, k, rule));
        FB_GO(fb_gather_advance(&g, k));
    }
fail:
    fb_gather_close(&g);
    return status;
}

static fb_status kmeans(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    bool fixed = o[K_LEVELS].choice == 0, by_data = o[K_WEIGHT].choice == 1;
    if (o[K_INIT].given && o[K_FIT].choice == 0)
        return fb_fail(FB_E_ARG, "init= is for fit=lloyd; the exact fit needs no start");
    if (o[K_LEVEL_BITS].given && !fixed)
        return fb_fail(FB_E_ARG, "level-bits= is for levels=fixed");
    if (o[K_SCALE].choice == 1 && !fixed)
        return fb_fail(FB_E_ARG, "scale=pow2 is for levels=fixed");
    if (o[K_IMAGES].given && !by_data)
        return fb_fail(FB_E_ARG, "images= is for weight=data");
    if (by_data && job->dry_run)
        return fb_fail(FB_E_UNSUPPORTED, "weight=data may merge levels, depending on the data; a "
                                         "dry run needs weight=same");
    fb_level_rule rule = {.bits = step->bits,
                          .pow2 = o[K_SCALE].choice == 1,
                          .fit = o[K_FIT].choice == 0 ? FB_LEVELS_EXACT : FB_LEVELS_LLOYD,
                          .per = (fb_level_per)o[K_PER].choice,
                          .start = (fb_kmeans_start)o[K_INIT].choice,
                          .seed = job->seed,
                          .level_bits = fixed ? (unsigned)o[K_LEVEL_BITS].number : 0,
                          .zero = (fb_level_zero)o[K_ZERO].choice};
    if (by_data)
        return encode_all_by_data(job, &rule, step);
    return encode_all(job, &rule, o[K_INCLUDE].text, o[K_EXCLUDE].text);
}

static bool kmeans_wants_data(const fb_recipe_step *step)
{
    return step->option[K_WEIGHT].choice == 1;
}

const fb_method_def fb_method_kmeans = {
    .name = "kmeans4",
    .stem = "kmeans",
    .least_bits = 1,
    .most_bits = 8,
    .summary = "weights as 4-bit indices of levels that k-means chooses (kmeans1 to kmeans8)",
    .needs_data = false,
    .wants_data = kmeans_wants_data,
    .n_options = 11,
    .options =
        {
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "auto|channel|shared|tensor",
             .preset = "auto",
             .meaning = "channel: levels of its own for each output channel; shared: one table for "
                        "the layer, a scale for each; tensor: one table and scale; auto: channel "
                        "where that adds a quarter at most, else shared"},
            {.key = "fit",
             .kind = FB_OPTION_CHOICE,
             .choices = "exact|lloyd",
             .preset = "exact",
             .meaning = "the best levels, or Lloyd's local optimum"},
            {.key = "init",
             .kind = FB_OPTION_CHOICE,
             .choices = "linear|density|random",
             .preset = "linear",
             .meaning = "where fit=lloyd starts"},
            {.key = "levels",
             .kind = FB_OPTION_CHOICE,
             .choices = "fixed|float",
             .preset = "fixed",
             .meaning = "levels rounded to integers, as integer kernels want them, or not"},
            {.key = "level-bits",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 16,
             .preset = "8",
             .meaning = "bits of a fixed level; integer kernels take 8 and fewer"},
            {.key = "zero",
             .kind = FB_OPTION_CHOICE,
             .choices = "auto|yes|no",
             .preset = "auto",
             .meaning = "one level is exactly 0; auto: where many weights are"},
            {.key = "scale",
             .kind = FB_OPTION_CHOICE,
             .choices = "free|pow2",
             .preset = "free",
             .meaning =
                 "of levels=fixed: any, or powers of two, so that a step fixed<b> takes them"},
            {.key = "weight",
             .kind = FB_OPTION_CHOICE,
             .choices = "same|data",
             .preset = "same",
             .meaning = "data: errors count by the mean square of the input that a weight meets"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "128",
             .meaning = "of weight=data: images to measure on, at most"},
            INCLUDE_EXCLUDE,
        },
    .apply = kmeans,
};

/* --- levels<b> ------------------------------------------------------------------------------- */

enum { L_FIT, L_PER, L_LEVELS, L_LEVEL_BITS, L_INCLUDE, L_EXCLUDE };

static fb_status levels(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    fb_level_fit fit = (fb_level_fit)(FB_LEVELS_EVEN + (int)o[L_FIT].choice);
    bool fixed = o[L_LEVELS].choice == 0;
    if (fit != FB_LEVELS_EVEN && (o[L_LEVELS].given || o[L_LEVEL_BITS].given))
        return fb_fail(FB_E_ARG,
                       "levels= and level-bits= are for fit=even; those of %s are integers",
                       o[L_FIT].text);
    if (o[L_LEVEL_BITS].given && !fixed)
        return fb_fail(FB_E_ARG, "level-bits= is for levels=fixed");
    if (fit != FB_LEVELS_EVEN && (step->bits < 2 || step->bits > 5))
        return fb_fail(FB_E_ARG, "fit=%s takes 2 to 5 bits, not %u", o[L_FIT].text, step->bits);
    fb_level_rule rule = {.bits = step->bits,
                          .fit = fit,
                          .per = o[L_PER].choice == 0 ? FB_LEVELS_CHANNEL : FB_LEVELS_TENSOR,
                          .level_bits = fixed ? (unsigned)o[L_LEVEL_BITS].number : 0};
    return encode_all(job, &rule, o[L_INCLUDE].text, o[L_EXCLUDE].text);
}

const fb_method_def fb_method_levels = {
    .name = "levels4",
    .stem = "levels",
    .least_bits = 1,
    .most_bits = 8,
    .summary = "weights as 4-bit indices of levels that a rule gives (levels1 to levels8)",
    .needs_data = false,
    .n_options = 6,
    .options =
        {
            {.key = "fit",
             .kind = FB_OPTION_CHOICE,
             .choices = "even|pow2|apot",
             .preset = "even",
             .meaning = "even: from least to largest weight in equal steps; pow2: 0 and powers of "
                        "two; apot: sums of two of them"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "channel|tensor",
             .preset = "channel",
             .meaning = "for each output channel, or one for the layer"},
            {.key = "levels",
             .kind = FB_OPTION_CHOICE,
             .choices = "fixed|float",
             .preset = "fixed",
             .meaning = "of fit=even: rounded to integers, or not"},
            {.key = "level-bits",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 16,
             .preset = "8",
             .meaning = "bits of a fixed level; integer kernels take 8 and fewer"},
            INCLUDE_EXCLUDE,
        },
    .apply = levels,
};

/* --- ternary --------------------------------------------------------------------------------- */

enum { T_FIT, T_PER, T_INCLUDE, T_EXCLUDE };

static fb_status ternary(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    fb_level_rule rule = {.bits = 2,
                          .fit = o[T_FIT].choice == 0 ? FB_LEVELS_TERNARY : FB_LEVELS_TWN,
                          .per = o[T_PER].choice == 0 ? FB_LEVELS_CHANNEL : FB_LEVELS_TENSOR};
    return encode_all(job, &rule, o[T_INCLUDE].text, o[T_EXCLUDE].text);
}

const fb_method_def fb_method_ternary = {
    .name = "ternary",
    .summary = "weights as -a, 0, a, in 2 bits",
    .needs_data = false,
    .n_options = 4,
    .options =
        {
            {.key = "fit",
             .kind = FB_OPTION_CHOICE,
             .choices = "exact|twn",
             .preset = "exact",
             .meaning = "the least squared error, or the rule of ternary weight networks"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "channel|tensor",
             .preset = "channel",
             .meaning = "a scale for each output channel, or one"},
            INCLUDE_EXCLUDE,
        },
    .apply = ternary,
};
