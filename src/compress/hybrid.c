/* Hybrid precision (METHODS D.4): fixed point with weight bits, data bits and accumulator width of
 * each layer tuned on calibration images.
 *
 *   1. How much each tensor alone is harmed by each width: KL to the float network, all else float.
 *   2. Widths at a price for each bit (compress/allocate.h, harms taken to add up). mean= spends a
 *      budget; drop= looks for the highest price at which the whole network, run as it is, keeps
 *      its accuracy, then tries every tensor one step narrower, since harms do not quite add up.
 *   3. Accumulators: as narrow as the sums seen allow, then narrower while the accuracy stays. */
#include "compress/hybrid.h"

#include "base/status.h"
#include "model/fixed.h"

#include <math.h>
#include <string.h>

enum {
    OPT_DROP,
    OPT_MEAN,
    OPT_IMAGES,
    OPT_SENSE,
    OPT_LEAST,
    OPT_MOST,
    OPT_DATA,
    OPT_ACC,
    OPT_OVERFLOW,
    OPT_ROUND,
    OPT_PER,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

enum { PRICE_STEPS = 12, BUCKETS = 10000, FIRST_NARROWING = 4 };
static const unsigned all_widths[FB_TUNER_WIDTHS] = {16, 12, 10, 8, 7, 6, 5, 4, 3, 2};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to tune widths");
}

static fb_status set_up(fb_tuner *t)
{
    const fb_option *o = t->option;
    size_t n = 2 * (size_t)t->net.n_layers;
    for (uint32_t k = 0; k < FB_TUNER_WIDTHS; k++) {
        if (all_widths[k] >= o[OPT_LEAST].number && all_widths[k] <= o[OPT_MOST].number)
            t->widths[t->n_widths++] = all_widths[k];
    }
    if (t->n_widths == 0)
        return fb_fail(FB_E_ARG, "least=%s and most=%s leave no width to choose", o[OPT_LEAST].text,
                       o[OPT_MOST].text);
    t->items = fb_calloc(n, sizeof *t->items);
    t->list = fb_calloc(n, sizeof *t->list);
    t->pick = fb_calloc(n, sizeof *t->pick);
    t->acc = fb_calloc(t->net.n_layers, sizeof *t->acc);
    t->width = fb_calloc(t->net.n_layers, sizeof *t->width);
    if (!t->items || !t->list || !t->pick || !t->acc || !t->width)
        return no_memory();
    for (uint32_t k = 0; k < t->net.n_layers; k++)
        t->acc[k] = o[OPT_ACC].choice == 0 ? FB_ACC_DATA : (unsigned)o[OPT_ACC].choice - 1;
    fb_tuner_list(t);
    return FB_OK;
}

/* --- trials ---------------------------------------------------------------------------------- */

static void widths_of(const fb_tuner *t, const uint32_t *pick)
{
    for (uint32_t k = 0; k < t->net.n_layers; k++) {
        t->width[k].acc_bits = t->acc[k];
        for (uint32_t i = 0; i < t->n_items; i++) {
            const fb_tunable *x = &t->items[i];
            if (!x->is_data && x->layer == k)
                t->width[k].w_bits = t->widths[pick[i]];
            if (x->is_data && x->leader == fb_tuner_leader(t, k))
                t->width[k].d_bits = t->widths[pick[i]];
        }
    }
}

/* The network in these widths. */
static fb_status build(fb_tuner *t, const uint32_t *pick, fb_model **out)
{
    FB_TRY(fb_tuner_tell(t));
    widths_of(t, pick);
    FB_TRY(fb_model_clone(t->job->model, false, out));
    fb_status status = fb_fixed_assign(&t->net, &t->rule, t->width, *out);
    if (status != FB_OK)
        fb_model_close(out);
    return status;
}

static fb_status try_widths(fb_tuner *t, const uint32_t *pick, fb_verdict *verdict)
{
    fb_model *trial;
    FB_TRY(build(t, pick, &trial));
    fb_status status = fb_judge_run(&t->judge, trial, verdict);
    fb_model_close(&trial);
    return status;
}

/* --- the choice ------------------------------------------------------------------------------ */

/* Harms do not quite add up, so what the knapsack gives is run against the one width that fits the
 * budget everywhere; the better one is kept. */
static fb_status against_one_width(fb_tuner *t, uint32_t *pick)
{
    fb_verdict tuned, same;
    uint32_t k = 0;
    while (k < t->n_widths && t->widths[k] > t->option[OPT_MEAN].number)
        k++;
    for (uint32_t i = 0; i < t->n_items; i++) {
        pick[i] = t->items[i].elems > 0 ? k : 0;
        if (pick[i] >= t->items[i].n)
            return FB_OK;
    }
    FB_TRY(try_widths(t, t->pick, &tuned));
    FB_TRY(try_widths(t, pick, &same));
    if (same.loss < tuned.loss)
        memcpy(t->pick, pick, t->n_items * sizeof *pick);
    return FB_OK;
}

static fb_status spend_budget(fb_tuner *t, uint32_t *pick)
{
    uint64_t elems = 0;
    for (uint32_t i = 0; i < t->n_items; i++)
        elems += t->items[i].elems;
    double budget = (double)elems * t->option[OPT_MEAN].number;
    FB_TRY(fb_allocate(t->list, t->n_items, (uint64_t)budget, BUCKETS, t->pick));
    return against_one_width(t, pick);
}

/* `trial` receives the network, or NULL where it is not asked for. */
static fb_status try_bar(fb_tuner *t, const uint32_t *pick, fb_model **trial, bool *pass)
{
    const fb_bar bar = {t->ceiling, t->floor};
    fb_model *m;
    fb_verdict v;
    FB_TRY(build(t, pick, &m));
    fb_status status = fb_judge_try(&t->judge, m, &bar, &v, pass);
    if (trial && status == FB_OK)
        *trial = m;
    else
        fb_model_close(&m);
    return status;
}

static fb_status passes(fb_tuner *t, const uint32_t *pick, bool *pass)
{
    return try_bar(t, pick, NULL, pass);
}

/* Bisects the logarithm of the price of a bit, from next to nothing to more than any harm is worth.
 */
static fb_status find_price(fb_tuner *t, uint32_t *pick)
{
    double lo = -40, hi = 5;
    bool pass;
    memset(t->pick, 0, t->n_items * sizeof *t->pick);
    FB_TRY(passes(t, t->pick, &pass));
    if (!pass)
        return fb_fail(FB_E_UNSUPPORTED,
                       "even %u bits everywhere lose more than drop=%s allows on the calibration "
                       "images",
                       t->widths[0], t->option[OPT_DROP].text);
    for (int i = 0; i < PRICE_STEPS; i++) {
        double mid = (lo + hi) / 2;
        fb_allocate_at_price(t->list, t->n_items, exp(mid), pick);
        FB_TRY(passes(t, pick, &pass));
        if (pass)
            memcpy(t->pick, pick, t->n_items * sizeof *pick);
        lo = pass ? mid : lo;
        hi = pass ? hi : mid;
    }
    return FB_OK;
}

/* Each tensor one step narrower, the largest first, if the network stands it. */
static fb_status narrow_further(fb_tuner *t, uint32_t *pick)
{
    bool *tried = fb_calloc(t->n_items, sizeof *tried), pass;
    fb_status status = tried ? FB_OK : no_memory();
    for (uint32_t round = 0; round < t->n_items && status == FB_OK; round++) {
        uint32_t best = t->n_items;
        for (uint32_t i = 0; i < t->n_items; i++) {
            if (!tried[i] && (best == t->n_items || t->items[i].elems > t->items[best].elems))
                best = i;
        }
        tried[best] = true;
        if (t->pick[best] + 1 >= t->items[best].n)
            continue;
        memcpy(pick, t->pick, t->n_items * sizeof *pick);
        pick[best]++;
        status = passes(t, pick, &pass);
        if (status == FB_OK && pass)
            t->pick[best]++;
    }
    fb_free(tried);
    return status;
}

/* --- accumulators ---------------------------------------------------------------------------- */

static int32_t acc_of(const fb_node *n)
{
    const fb_fixed *law = fb_node_fixed(n);
    return law ? law->acc_bits : 0;
}

/* Widths that hold what was seen, and where the layers are once activations are encoded. */
static fb_status widest_accumulators(fb_tuner *t, uint32_t *node)
{
    fb_model *m;
    uint32_t k = 0;
    FB_TRY(build(t, t->pick, &m));
    for (uint32_t i = 0; i < m->n_nodes && k < t->net.n_layers; i++) {
        if (acc_of(&m->nodes[i]) == 0)
            continue;
        node[k] = i;
        t->acc[k++] = (unsigned)acc_of(&m->nodes[i]);
    }
    fb_model_close(&m);
    return FB_OK;
}

/* Layer k by `step` bits, if the network stands it; *base is then the narrower one. */
static fb_status narrow_by(fb_tuner *t, uint32_t k, unsigned step, fb_model **base, bool *pass)
{
    fb_model *trial;
    *pass = false;
    if (t->acc[k] < FB_ACC_LEAST + step)
        return FB_OK;
    t->acc[k] -= step;
    FB_TRY(try_bar(t, t->pick, &trial, pass));
    if (*pass) {
        fb_model *old = *base;
        *base = trial;
        trial = old;
    } else {
        t->acc[k] += step;
    }
    fb_model_close(&trial);
    return FB_OK;
}

/* Front to back, so that what lies before a layer has to be run once. */
static fb_status narrow_accumulators(fb_tuner *t)
{
    fb_model *base = NULL;
    uint32_t *node = fb_calloc(t->net.n_layers, sizeof *node);
    fb_status status = node ? FB_OK : no_memory();
    FB_GO(status);
    FB_GO(widest_accumulators(t, node));
    FB_GO(build(t, t->pick, &base));
    for (uint32_t k = 0; k < t->net.n_layers; k++) {
        unsigned step = FIRST_NARROWING;
        while (step > 0) {
            bool pass;
            FB_GO(fb_judge_hold(&t->judge, base, node[k]));
            FB_GO(narrow_by(t, k, step, &base, &pass));
            step = pass ? step : step / 2;
        }
    }
fail:
    fb_model_close(&base);
    fb_free(node);
    return status;
}

/* --- the step -------------------------------------------------------------------------------- */

static fb_status choose(fb_tuner *t)
{
    uint32_t *pick = fb_calloc(t->n_items, sizeof *pick);
    fb_status status = pick ? FB_OK : no_memory();
    if (status == FB_OK)
        status = fb_tuner_measure(t);
    if (status == FB_OK && t->option[OPT_MEAN].given) {
        status = spend_budget(t, pick);
    } else if (status == FB_OK) {
        status = find_price(t, pick);
        if (status == FB_OK)
            status = narrow_further(t, pick);
        if (status == FB_OK && t->option[OPT_ACC].choice == 0)
            status = narrow_accumulators(t);
    }
    fb_free(pick);
    return status;
}

static fb_status check(const fb_job *job, const fb_option *o)
{
    if (job->dry_run)
        return fb_fail(FB_E_ARG, "the widths, and so the size, depend on the images: there is no "
                                 "dry run");
    if (o[OPT_MEAN].given && o[OPT_DROP].given)
        return fb_fail(FB_E_ARG, "drop= and mean= exclude each other");
    return FB_OK;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    fb_tuner t = {.job = job,
                  .option = o,
                  .data = o[OPT_DATA].number,
                  .rule = {.overflow = (fb_overflow)o[OPT_OVERFLOW].choice,
                           .rounding = (fb_rounding)o[OPT_ROUND].choice,
                           .per_channel = o[OPT_PER].choice == 1,
                           .least_error = true,
                           .positive = true,
                           .fit_sums = true}};
    fb_verdict whole;
    fb_status status;
    FB_TRY(check(job, o));
    FB_TRY(fb_fixed_measure(job, o[OPT_INCLUDE].text, o[OPT_EXCLUDE].text, &t.net));
    FB_GO(set_up(&t));
    FB_GO(fb_judge_open(job, (uint64_t)o[OPT_IMAGES].number, &t.judge));
    FB_GO(fb_judge_open(job, (uint64_t)fmin(o[OPT_SENSE].number, o[OPT_IMAGES].number), &t.sense));
    FB_GO(fb_judge_reference(&t.judge, &whole));
    t.floor = whole.correct - o[OPT_DROP].number / 100 - 1e-9;
    t.ceiling = FB_NATS_A_POINT * o[OPT_DROP].number;
    t.total = (uint64_t)t.n_items * (t.n_widths + 1) + PRICE_STEPS + 2 * t.net.n_layers;
    FB_GO(choose(&t));
    widths_of(&t, t.pick);
    FB_GO(fb_fixed_assign(&t.net, &t.rule, t.width, job->model));
    job->model->entropy = true;
fail:
    fb_judge_close(&t.judge);
    fb_judge_close(&t.sense);
    fb_fixed_free(&t.net);
    fb_free(t.items);
    fb_free(t.list);
    fb_free(t.pick);
    fb_free(t.acc);
    fb_free(t.width);
    return status;
}

const fb_method_def fb_method_hybrid = {
    .name = "hybrid",
    .summary = "fixed point with weight, data and accumulator bits of each layer tuned to a drop",
    .needs_data = true,
    .n_options = 13,
    .options =
        {
            {.key = "drop",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 100,
             .preset = "1",
             .meaning = "points of accuracy that may be lost on the calibration images"},
            {.key = "mean",
             .kind = FB_OPTION_NUMBER,
             .least = 2,
             .most = 16,
             .meaning = "instead: least harm with so many bits a value on average"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "256",
             .meaning = "calibration images that judge, at most"},
            {.key = "sense",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images that tell the harm of one width alone, at most"},
            {.key = "least",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 16,
             .preset = "2",
             .meaning = "narrowest width"},
            {.key = "most",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 16,
             .preset = "16",
             .meaning = "widest width"},
            {.key = "data",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 1000,
             .preset = "1",
             .meaning = "what a bit of data costs, where one of the weights costs 1"},
            {.key = "acc",
             .kind = FB_OPTION_CHOICE,
             .choices = "tune|auto|data",
             .preset = "tune",
             .meaning = "accumulators: tuned (with drop=), as wide as cannot overflow, or as the "
                        "sums seen"},
            {.key = "overflow",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_OVERFLOW_NAMES,
             .preset = "saturate",
             .meaning = "as in fixed8"},
            {.key = "round",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_ROUNDING_NAMES,
             .preset = "half-up",
             .meaning = "as in fixed8"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "tensor|channel",
             .preset = "channel",
             .meaning = "a weight format for each layer, or for each output channel"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"},
        },
    .apply = apply,
};
