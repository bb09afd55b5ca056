/* Pruning: weights that become 0, without retraining (METHODS D.2, M.8, N.5). Later steps keep the
 * zeros; sparse.c stores them cheaply and the plan skips them where that is faster. */
#include "compress/prune.h"

#include "base/status.h"
#include "compress/correct.h"
#include "compress/judge.h"

#include <math.h>
#include <string.h>

enum {
    OPT_BY,
    OPT_DROP,
    OPT_LOSS,
    OPT_BINS,
    OPT_IMAGES,
    OPT_SHARE,
    OPT_PER,
    OPT_N,
    OPT_M,
    OPT_COMP,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

enum { COMP_NONE, COMP_BIAS, COMP_OBS };

/* ---- cuts ----------------------------------------------------------------------------------- */

static uint32_t magnitude(float w)
{
    uint32_t bits;
    memcpy(&bits, &w, sizeof bits);
    return bits & 0x7fffffffu; /* ordered as |w| is */
}

/* In which of the `n` bins the count-th element lies; *count becomes its place within. */
static uint32_t bin_of(const size_t *bins, uint32_t n, size_t *count)
{
    uint32_t b = 0;
    for (; b + 1 < n && bins[b] <= *count; b++)
        *count -= bins[b];
    return b;
}

static void fill_bins(const float *const *lists, const size_t *sizes, size_t n_lists, uint32_t top,
                      bool upper, size_t bins[65536])
{
    memset(bins, 0, 65536 * sizeof *bins);
    for (size_t k = 0; k < n_lists; k++) {
        for (size_t i = 0; i < sizes[k]; i++) {
            uint32_t v = magnitude(lists[k][i]);
            if (upper)
                bins[v >> 16]++;
            else if (v >> 16 == top)
                bins[v & 65535u]++;
        }
    }
}

fb_prune_cut fb_prune_cut_of(const float *const *lists, const size_t *sizes, size_t n_lists,
                             size_t count)
{
    static _Thread_local size_t bins[65536];
    size_t total = 0, place = count;
    for (size_t k = 0; k < n_lists; k++)
        total += sizes[k];
    if (count >= total)
        return (fb_prune_cut){INFINITY, 0};
    fill_bins(lists, sizes, n_lists, 0, true, bins);
    uint32_t top = bin_of(bins, 65536, &place);
    fill_bins(lists, sizes, n_lists, top, false, bins);
    uint32_t bits = top << 16 | bin_of(bins, 65536, &place);
    fb_prune_cut cut = {0, place};
    memcpy(&cut.below, &bits, sizeof cut.below);
    return cut;
}

void fb_prune_cut_apply(fb_prune_cut *cut, float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool tie = fabsf(w[i]) == cut->below && cut->ties > 0;
        cut->ties -= tie;
        if (fabsf(w[i]) < cut->below || tie)
            w[i] = 0;
    }
}

void fb_prune_nm(float *w, const float *score, size_t n, size_t ic, uint32_t keep, uint32_t group)
{
    for (size_t row = 0; row < n; row += ic) {
        for (size_t at = 0; at < ic; at += group) {
            size_t run = ic - at < group ? ic - at : group;
            const float *s = score + row + at;
            for (size_t i = 0; i < run; i++) {
                size_t better = 0;
                for (size_t k = 0; k < run; k++)
                    better += s[k] > s[i] || (s[k] == s[i] && k < i);
                if (better >= keep)
                    w[row + at + i] = 0;
            }
        }
    }
}

/* ---- by magnitude --------------------------------------------------------------------------- */

static size_t share_of(size_t n, double share)
{
    return (size_t)floor((double)n * share + 0.5);
}

static fb_status by_magnitude(fb_prune *p)
{
    const float **lists = fb_calloc(p->n_layers, sizeof *lists);
    size_t *sizes = fb_calloc(p->n_layers, sizeof *sizes), total = 0;
    bool memory = lists && sizes;
    for (uint32_t l = 0; memory && l < p->n_layers; l++) {
        lists[l] = p->layers[l].w;
        sizes[l] = p->layers[l].n;
        total += sizes[l];
    }
    fb_prune_cut cut = {0};
    if (memory && p->whole)
        cut = fb_prune_cut_of(lists, sizes, p->n_layers, share_of(total, p->share));
    for (uint32_t l = 0; memory && l < p->n_layers; l++) {
        if (!p->whole)
            cut = fb_prune_cut_of(lists + l, sizes + l, 1, share_of(sizes[l], p->share));
        fb_prune_cut_apply(&cut, p->layers[l].w, sizes[l]);
    }
    fb_free(lists);
    fb_free(sizes);
    return memory ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to prune");
}

static fb_status by_groups(fb_prune *p)
{
    for (uint32_t l = 0; l < p->n_layers; l++) {
        const fb_prune_layer *layer = &p->layers[l];
        float *score = fb_calloc(layer->n, sizeof *score);
        if (!score)
            return fb_fail(FB_E_MEMORY, "no memory to prune");
        for (size_t i = 0; i < layer->n; i++)
            score[i] = fabsf(layer->w[i]);
        fb_prune_nm(layer->w, score, layer->n, layer->ic, p->keep, p->group);
        fb_free(score);
    }
    return FB_OK;
}

/* ---- the method ----------------------------------------------------------------------------- */

static fb_status take_layer(fb_prune *p, uint32_t node, int32_t weight)
{
    fb_model *m = p->job->model;
    const fb_tensor t = m->tensors[weight];
    if (t.enc.kind != FB_ENC_PLAIN || t.dtype != FB_F32)
        return fb_fail(FB_E_UNSUPPORTED,
                       "the weights of layer '%.200s' are encoded already; prune comes before the "
                       "step that does it",
                       m->nodes[node].name);
    FB_TRY(fb_model_set_payload(m, weight, &t.enc, t.data, t.data_bytes)); /* a copy of our own */
    fb_prune_layer *l = &p->layers[p->n_layers++];
    *l = (fb_prune_layer){.node = node, .weight = weight, .n = t.data_bytes / sizeof(float)};
    l->ct = (size_t)t.dims[0];
    l->inner = l->n / l->ct;
    l->ic = (size_t)t.dims[t.rank - 1];
    l->w = (float *)(uintptr_t)m->tensors[weight].data;
    for (size_t i = 0; i < l->n; i++) {
        if (!isfinite(l->w[i]))
            return fb_fail(FB_E_FORMAT,
                           "weight '%.200s' has the value %g at %zu; weights must be "
                           "finite",
                           t.name, (double)l->w[i], i);
    }
    return FB_OK;
}

/* Weights that two layers share are taken once. */
static fb_status take_layers(fb_prune *p, const fb_option *o)
{
    fb_model *m = p->job->model;
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t weight = fb_node_weight(m, &m->nodes[i]);
        const char *name = m->nodes[i].name;
        bool wanted = weight >= 0 &&
                      (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, name)) &&
                      !fb_glob(o[OPT_EXCLUDE].text, name);
        for (uint32_t l = 0; l < p->n_layers; l++)
            wanted = wanted && p->layers[l].weight != weight;
        if (wanted)
            FB_TRY(take_layer(p, (uint32_t)i, weight));
    }
    if (p->n_layers == 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "no conv or dense layer with constant weights is there to prune");
    return FB_OK;
}

static fb_status check(const fb_prune *p, const fb_option *o)
{
    bool fits = p->by == FB_PRUNE_OBC || o[OPT_COMP].choice == COMP_OBS;
    if (p->keep && p->keep >= p->group)
        return fb_fail(FB_E_ARG, "n=%u of m=%u keeps everything; n must be less than m", p->keep,
                       p->group);
    if (p->by == FB_PRUNE_OBC && o[OPT_COMP].given)
        return fb_fail(FB_E_ARG, "comp=%s has no use with obc, which fits weights and biases",
                       o[OPT_COMP].text);
    if (p->job->dry_run && (p->by == FB_PRUNE_HIST || fits))
        return fb_fail(FB_E_ARG,
                       "what %s%s gives depends on the data, so the size cannot be told "
                       "without them",
                       fits ? "fitting weights " : "", fits ? "to their inputs" : o[OPT_BY].text);
    return FB_OK;
}

static fb_status choose(fb_prune *p)
{
    switch (p->by) {
    case FB_PRUNE_HIST:
        return fb_prune_by_hist(p);
    case FB_PRUNE_MAGNITUDE:
        return by_magnitude(p);
    case FB_PRUNE_NM:
        return by_groups(p);
    case FB_PRUNE_OBC:
        return fb_prune_by_problem(p);
    }
    return FB_OK;
}

/* Biases make up for means; taken back should the outputs be further from the reference's then. It
 * is the divergence that tells, as the search has picked zeros that the images' labels are lucky
 * with. */
static fb_status correct_within(fb_prune *p, fb_judge *judge)
{
    fb_job *job = p->job;
    fb_verdict pruned, corrected;
    fb_model *before = NULL;
    FB_TRY(fb_judge_run(judge, job->model, &pruned));
    FB_TRY(fb_model_clone(job->model, true, &before));
    fb_status status = fb_correct(job, FB_CORRECT_MEAN, p->images, "prune");
    if (status == FB_OK)
        status = fb_judge_run(judge, job->model, &corrected);
    if (status == FB_OK && corrected.loss > pruned.loss) {
        fb_model *worse = job->model;
        job->model = before;
        before = worse;
    }
    fb_model_close(&before);
    return status;
}

static fb_status correct_biases(fb_prune *p)
{
    fb_judge judge;
    if (p->by != FB_PRUNE_HIST)
        return fb_correct(p->job, FB_CORRECT_MEAN, p->images, "prune");
    FB_TRY(fb_judge_open(p->job, p->images, &judge));
    fb_status status = correct_within(p, &judge);
    fb_judge_close(&judge);
    return status;
}

static fb_status run(fb_prune *p, const fb_option *o)
{
    FB_TRY(check(p, o));
    FB_TRY(take_layers(p, o));
    FB_TRY(choose(p));
    if (o[OPT_COMP].choice == COMP_BIAS)
        return correct_biases(p);
    return o[OPT_COMP].choice == COMP_OBS ? fb_prune_by_problem(p) : FB_OK;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    fb_prune p = {.job = job,
                  .by = (fb_prune_by)o[OPT_BY].choice,
                  .drop = o[OPT_DROP].number / 100,
                  .loss = o[OPT_LOSS].number,
                  .bins = (uint32_t)o[OPT_BINS].number,
                  .images = (uint64_t)o[OPT_IMAGES].number,
                  .share = o[OPT_SHARE].number,
                  .whole = o[OPT_PER].choice == 1,
                  .layers = fb_calloc(job->model->n_nodes + 1, sizeof *p.layers)};
    if (p.by == FB_PRUNE_NM || (p.by == FB_PRUNE_OBC && (o[OPT_N].given || o[OPT_M].given))) {
        p.keep = (uint32_t)o[OPT_N].number;
        p.group = (uint32_t)o[OPT_M].number;
    }
    if (!p.layers)
        return fb_fail(FB_E_MEMORY, "no memory to prune");
    fb_status status = run(&p, o);
    fb_free(p.layers);
    return status;
}

static bool wants_data(const fb_recipe_step *step)
{
    int32_t by = step->option[OPT_BY].choice;
    return by == FB_PRUNE_HIST || by == FB_PRUNE_OBC || step->option[OPT_COMP].choice != COMP_NONE;
}

const fb_method_def fb_method_prune = {
    .name = "prune",
    .summary = "sets weights to 0 that matter least; files and sparse kernels gain from it",
    .needs_data = true,
    .wants_data = wants_data,
    .n_options = 12,
    .options =
        {
            {.key = "by",
             .kind = FB_OPTION_CHOICE,
             .choices = "hist|magnitude|nm|obc",
             .preset = "hist",
             .meaning = "the smallest within a tolerance, the smallest, those of each m, or what "
                        "others make up for best"},
            {.key = "drop",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 100,
             .preset = "1",
             .meaning = "hist: points of accuracy on the calibration images that may be lost"},
            {.key = "loss",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 100,
             .preset = "0.05",
             .meaning = "hist: KL to the network before, in nats, that may be added"},
            {.key = "bins",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 65536,
             .preset = "256",
             .meaning = "hist: bins of the histogram of magnitudes"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "128",
             .meaning = "calibration images to judge and measure on, at most"},
            {.key = "share",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 1,
             .preset = "0.5",
             .meaning = "magnitude, obc: share of the weights that become 0"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "layer|model",
             .preset = "layer",
             .meaning = "magnitude: the share of each layer, or of all together"},
            {.key = "n",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 255,
             .preset = "2",
             .meaning = "nm, obc: weights kept"},
            {.key = "m",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 256,
             .preset = "4",
             .meaning = "nm, obc: of so many neighbouring input channels"},
            {.key = "comp",
             .kind = FB_OPTION_CHOICE,
             .choices = "none|bias|obs",
             .preset = "none",
             .meaning =
                 "what makes up for the loss: nothing, biases, or all weights that are left"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that are left alone"},
        },
    .apply = apply,
};
