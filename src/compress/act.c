/* Activations alone in few bits (METHODS E): act1 to act16. Weights stay as they are; layers whose
 * weights integer kernels take run on the codes, the others decode them. */
#include "base/status.h"
#include "compress/act_search.h"
#include "compress/method.h"

#include <math.h>

enum {
    OPT_GRID,
    OPT_RANGE,
    OPT_PERCENTILE,
    OPT_LEVELS,
    OPT_LEVEL_BITS,
    OPT_BOUND,
    OPT_BITS,
    OPT_DROP,
    OPT_METRIC,
    OPT_IMAGES,
    OPT_JUDGE,
    OPT_FIRST,
    OPT_LAST,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

enum { BOUND_NONE, BOUND_AUTO, BOUND_PERCENTILE };

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    fb_activations acts;
    fb_act_rule rule;
    unsigned *bits;     /* [n_groups] */
    double *bound;      /* [n_groups] */
    fb_act_code *codes; /* [n_groups] */
} work;

/* --- what cannot be -------------------------------------------------------------------------- */

static fb_status check_levels(const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    double levels = o[OPT_LEVELS].number;
    if (levels == 0)
        return FB_OK;
    if (o[OPT_GRID].choice != FB_ACT_EVEN)
        return fb_fail(FB_E_ARG, "levels=%g is for grid=even alone", levels);
    if (o[OPT_BITS].choice == 1)
        return fb_fail(FB_E_ARG, "bits=auto chooses the levels; leave out levels=%g", levels);
    if (levels > ldexp(1, (int)step->bits) || levels <= ldexp(1, (int)step->bits - 1))
        return fb_fail(FB_E_ARG, "levels=%g do not take %u bits; more than %g and at most %g do",
                       levels, step->bits, ldexp(1, (int)step->bits - 1),
                       ldexp(1, (int)step->bits));
    return FB_OK;
}

static fb_status check_options(const fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    bool kmeans = o[OPT_GRID].choice == FB_ACT_KMEANS;
    FB_TRY(check_levels(step));
    if (o[OPT_GRID].choice == FB_ACT_AFFINE && step->bits < 2)
        return fb_fail(FB_E_ARG, "grid=affine takes 2 to 16 bits; act1 needs another grid");
    if (kmeans && step->bits > 8)
        return fb_fail(FB_E_ARG, "grid=kmeans takes at most 8 bits, not %u", step->bits);
    if (kmeans && o[OPT_LEVEL_BITS].number > 0 && o[OPT_LEVEL_BITS].number < step->bits)
        return fb_fail(FB_E_ARG, "level-bits=%g cannot tell the levels of %u bits apart",
                       o[OPT_LEVEL_BITS].number, step->bits);
    if (!kmeans && (o[OPT_BOUND].given || o[OPT_LEVEL_BITS].given))
        return fb_fail(FB_E_ARG, "%s= is for grid=kmeans alone",
                       o[OPT_BOUND].given ? "bound" : "level-bits");
    if (job->dry_run && o[OPT_BITS].choice == 1)
        return fb_fail(FB_E_UNSUPPORTED, "bits=auto finds the widths from data, so the size is not "
                                         "known before; a dry run needs bits=same");
    return FB_OK;
}

/* --- the step -------------------------------------------------------------------------------- */

static fb_status start(work *w)
{
    const fb_option *o = w->step->option;
    uint32_t n = w->acts.n_groups;
    w->bits = fb_calloc(n + 1, sizeof *w->bits);
    w->bound = fb_calloc(n + 1, sizeof *w->bound);
    w->codes = fb_calloc(n + 1, sizeof *w->codes);
    if (!w->bits || !w->bound || !w->codes)
        return fb_fail(FB_E_MEMORY, "no memory for the codes of activations");
    w->rule = (fb_act_rule){.grid = (fb_act_grid)o[OPT_GRID].choice,
                            .range = (fb_range_rule)o[OPT_RANGE].choice,
                            .percentile = o[OPT_PERCENTILE].number,
                            .n_levels = (uint32_t)o[OPT_LEVELS].number,
                            .level_bits = (unsigned)o[OPT_LEVEL_BITS].number};
    if (w->rule.grid == FB_ACT_UNIT)
        w->rule.exponent = fb_act_unit_exponent(&w->acts, w->step->bits);
    for (uint32_t g = 0; g < n; g++) {
        w->bits[g] = fb_act_bits(&w->acts.groups[g], w->step->bits, (unsigned)o[OPT_FIRST].number,
                                 (unsigned)o[OPT_LAST].number);
        bool none = o[OPT_BOUND].choice == BOUND_NONE || w->job->dry_run;
        w->bound[g] = none ? 1 : fb_act_percentile_bound(&w->acts, g, o[OPT_PERCENTILE].number);
    }
    return FB_OK;
}

static fb_status search(work *w)
{
    const fb_option *o = w->step->option;
    bool bits = o[OPT_BITS].choice == 1, bound = o[OPT_BOUND].choice == BOUND_AUTO;
    if (w->job->dry_run || (!bits && !bound))
        return FB_OK;
    fb_act_trials trials;
    fb_status status;
    FB_TRY(fb_act_trials_open(&w->acts, &w->rule, (uint64_t)o[OPT_IMAGES].number,
                              bits ? (uint64_t)o[OPT_JUDGE].number : 0, &trials));
    trials.first = (unsigned)o[OPT_FIRST].number;
    trials.last = (unsigned)o[OPT_LAST].number;
    if (bits)
        FB_GO(fb_act_search_bits(&trials, o[OPT_DROP].number, o[OPT_METRIC].choice == 1, w->bound,
                                 w->bits));
    if (bound)
        FB_GO(fb_act_search_bound(&trials, w->bits, w->bound));
fail:
    fb_act_trials_close(&trials);
    return status;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    work w = {.job = job, .step = step};
    fb_status status;
    FB_TRY(check_options(job, step));
    FB_TRY(fb_activations_open(job, o[OPT_INCLUDE].text, o[OPT_EXCLUDE].text, FB_REGION_ALL,
                               o[OPT_GRID].choice == FB_ACT_KMEANS, &w.acts));
    if (w.acts.n == 0) {
        status = fb_fail(FB_E_ARG,
                         "the activations are encoded already; write %s before the step that "
                         "encodes them, or give that step abits=%u",
                         step->text, step->bits);
        goto fail;
    }
    FB_GO(start(&w));
    FB_GO(search(&w));
    for (uint32_t g = 0; g < w.acts.n_groups; g++)
        FB_GO(fb_act_choose(&w.acts, g, &w.rule, w.bits[g], w.bound[g], &w.codes[g]));
    FB_GO(fb_activations_write(&w.acts, job->model, w.codes, -1));
    for (size_t i = 0; i < job->model->n_nodes; i++)
        FB_GO(fb_accumulator_check(job->model, &job->model->nodes[i]));
fail:
    fb_free(w.bits);
    fb_free(w.bound);
    fb_free(w.codes);
    fb_activations_close(&w.acts);
    return status;
}

const fb_method_def fb_method_act = {
    .name = "act8",
    .stem = "act",
    .least_bits = 1,
    .most_bits = 16,
    .summary = "activations alone in 8 bits (act1 to act16: in so many), weights as they are",
    .needs_data = true,
    .n_options = 15,
    .options =
        {
            {.key = "grid",
             .kind = FB_OPTION_CHOICE,
             .choices = "affine|unit|even|kmeans",
             .preset = "affine",
             .meaning =
                 "affine: a step for each tensor; unit: one power-of-two step for all; even: "
                 "levels from minimum to maximum; kmeans: levels of least squared error"},
            {.key = "range",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_RANGE_NAMES,
             .preset = "mse",
             .meaning = "how the range is chosen with grid=affine"},
            {.key = "percentile",
             .kind = FB_OPTION_NUMBER,
             .least = 50.001,
             .most = 100,
             .preset = "99.9",
             .meaning = "for range=percentile, bound=percentile and the start of bound=auto"},
            {.key = "levels",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 65536,
             .preset = "0",
             .meaning = "with grid=even: so many levels; 0 = all that the bits can tell apart"},
            {.key = "level-bits",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 8,
             .preset = "8",
             .meaning = "with grid=kmeans: levels are integers of so many bits, which integer "
                        "kernels take; 0 = floats"},
            {.key = "bound",
             .kind = FB_OPTION_CHOICE,
             .choices = "none|auto|percentile",
             .preset = "none",
             .meaning = "with grid=kmeans: clip before levels are fitted; auto: where the network "
                        "loses the least"},
            {.key = "bits",
             .kind = FB_OPTION_CHOICE,
             .choices = "same|auto",
             .preset = "same",
             .meaning = "auto: each tensor gets as few bits, at most those of the name, as drop= "
                        "allows"},
            {.key = "drop",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 100,
             .preset = "2",
             .meaning = "for bits=auto: points of accuracy on calibration images that may be lost"},
            {.key = "metric",
             .kind = FB_OPTION_CHOICE,
             .choices = "top1|top5",
             .preset = "top1",
             .meaning = "which accuracy"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images that tell the harm of a trial of bits=auto and "
                        "bound=auto, at most"},
            {.key = "judge",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "256",
             .meaning = "calibration images on which drop= is held, at most"},
            {.key = "first",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 16,
             .preset = "8",
             .meaning = "bits of the network's input, at least"},
            {.key = "last",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 16,
             .preset = "8",
             .meaning = "bits of what the last layers read, at least"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning =
                 "only inputs of layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that read floats"},
        },
    .apply = apply,
};
