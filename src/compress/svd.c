/* Low rank (METHODS C.2.2): a layer with m outputs and n inputs becomes two, of r (m + n) weights
 * instead of m n. What is kept is the response (whiten=yes, lowrank.h) or the weights themselves.
 *
 * With data, what the first r directions leave out of the mean response goes into the bias. A conv
 * of k x k taps has two forms: r channels of k x k taps, then 1 x 1; or, without data, k x 1 then
 * 1 x k taps. (For the latter the best fit to responses has no closed form.) */
#include "compress/factor.h"
#include "compress/lowrank.h"
#include "compress/method.h"
#include "compress/response.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    OPT_RANK,
    OPT_ENERGY,
    OPT_RATIO,
    OPT_ERROR,
    OPT_WHITEN,
    OPT_KINDS,
    OPT_GAIN,
    OPT_INCLUDE,
    OPT_EXCLUDE,
    N_OPTIONS
};

enum { KINDS_DENSE, KINDS_1X1, KINDS_ALL };

/* A layer that may be factored, and then the better of its forms. */
typedef struct candidate {
    size_t node;
    char kept[96]; /* why it stays; "" when it does not */
    fb_factor_form form;
    size_t rank;
    double loss;       /* of the response or of the weights: squared, relative */
    double macs;       /* of both factors */
    float *a, *b;      /* factors */
    float *bias;       /* or NULL */
    uint32_t measured; /* index of its response */
} candidate;

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    candidate *candidates;
    uint32_t n, n_measured;
    uint32_t *measured; /* [n_measured] nodes */
    fb_response *responses;
} work;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the factors of the layers");
}

static bool whitens(const fb_recipe_step *step)
{
    return step->option[OPT_WHITEN].choice == 0;
}

/* --- which layers ---------------------------------------------------------------------------- */

static bool is_wanted(const work *w, const fb_node *n)
{
    const fb_option *o = w->step->option;
    bool named = (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
                 !fb_glob(o[OPT_EXCLUDE].text, n->name);
    if (!named || fb_node_weight(w->job->model, n) < 0)
        return false;
    bool one = n->attr.conv.kh == 1 && n->attr.conv.kw == 1;
    return n->op == FB_OP_DENSE ||
           (n->op == FB_OP_CONV &&
            (o[OPT_KINDS].choice == KINDS_ALL || (o[OPT_KINDS].choice == KINDS_1X1 && one)));
}

static bool is_float(const fb_model *m, int32_t t)
{
    return t >= 0 && m->tensors[t].dtype == FB_F32 && m->tensors[t].enc.kind == FB_ENC_PLAIN;
}

static void keep(candidate *c, const char *why)
{
    (void)snprintf(c->kept, sizeof c->kept, "%s", why);
}

static bool has_own_bias(const fb_model *m, const fb_node *n)
{
    return n->n_in < 3 || n->in[2] < 0 || m->tensors[n->in[2]].is_const;
}

/* The largest rank with which the layer has fewer weights and multiplications, and `gain` times
 * fewer weights. */
static size_t most_rank(const work *w, const fb_factor_shape *s)
{
    double gain = w->step->option[OPT_GAIN].number;
    double asked = floor((double)s->params / (gain * (double)s->rank_params));
    size_t most = fb_factor_most(s);
    return asked < (double)most ? (size_t)asked : most;
}

/* Reasons that neither the rank nor the data changes. */
static void refuse(const work *w, candidate *c, const uint32_t *n_uses)
{
    const fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[c->node];
    fb_factor_shape s = fb_factor_shape_of(m, n, FB_FACTOR_CHANNEL);
    if (!is_float(m, n->in[1]) || !is_float(m, n->in[0]) || !is_float(m, n->out[0]))
        keep(c, "it is not in plain floats");
    else if (n_uses[n->in[1]] > 1)
        keep(c, "several layers share its weights");
    else if (n->op == FB_OP_CONV && n->attr.conv.groups != 1)
        keep(c, "its channels are grouped");
    else if (!fb_lowrank_fits(s.m, s.n, whitens(w->step)))
        keep(c, "it is too large to decompose");
    else if (whitens(w->step) && !has_own_bias(m, n))
        keep(c, "its bias is not constant");
    else if (most_rank(w, &s) == 0)
        keep(c, "not even rank 1 pays");
}

/* A rank that the options fix, whatever the weights are; 0: it depends on them. */
static double fixed_rank(const work *w, const fb_factor_shape *s)
{
    const fb_option *o = w->step->option;
    if (o[OPT_RANK].given)
        return o[OPT_RANK].number;
    if (o[OPT_RATIO].given)
        return fmax(1, floor((double)s->params / (o[OPT_RATIO].number * (double)s->rank_params)));
    return 0;
}

static void keep_rank(candidate *c, double rank, size_t most)
{
    (void)snprintf(c->kept, sizeof c->kept, "rank %.0f is more than %zu, which pays", rank, most);
}

static fb_status find_candidates(work *w)
{
    const fb_model *m = w->job->model;
    uint32_t *n_uses = fb_calloc(m->n_tensors + 1, sizeof *n_uses);
    w->candidates = fb_calloc(m->n_nodes + 1, sizeof *w->candidates);
    w->measured = fb_calloc(m->n_nodes + 1, sizeof *w->measured);
    w->responses = fb_calloc(m->n_nodes + 1, sizeof *w->responses);
    if (!n_uses || !w->candidates || !w->measured || !w->responses) {
        fb_free(n_uses);
        return no_memory();
    }
    fb_model_uses(m, NULL, n_uses);
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (!is_wanted(w, &m->nodes[i]))
            continue;
        candidate *c = &w->candidates[w->n++];
        fb_factor_shape s = fb_factor_shape_of(m, &m->nodes[i], FB_FACTOR_CHANNEL);
        double rank = fixed_rank(w, &s);
        c->node = i;
        refuse(w, c, n_uses);
        if (!c->kept[0] && rank > (double)most_rank(w, &s))
            keep_rank(c, rank, most_rank(w, &s));
        if (!c->kept[0] && whitens(w->step)) {
            c->measured = w->n_measured;
            w->measured[w->n_measured++] = (uint32_t)i;
        }
    }
    fb_free(n_uses);
    return FB_OK;
}

/* --- one layer ------------------------------------------------------------------------------- */

static double allowed_loss(const fb_option *o)
{
    return o[OPT_ERROR].given ? o[OPT_ERROR].number * o[OPT_ERROR].number
                              : 1 - o[OPT_ENERGY].number;
}

/* How much the samples do not tell: as if W had been seen as often as it has outputs. */
static double prior_of(const fb_response *r)
{
    return (double)r->m / (double)(r->m + r->n);
}

/* The bias, plus what is left out of the mean response without it. */
static fb_status correct_bias(const fb_model *m, const fb_node *n, const fb_response *r,
                              const fb_lowrank *l, candidate *c)
{
    double *rest = fb_calloc(r->m, sizeof *rest);
    c->bias = fb_calloc(r->m, sizeof *c->bias);
    fb_status status = FB_OK;
    if (!rest || !c->bias) {
        status = no_memory();
        goto fail;
    }
    if (n->n_in > 2 && n->in[2] >= 0)
        FB_GO(fb_tensor_decode(&m->tensors[n->in[2]], c->bias));
    for (size_t i = 0; i < r->m; i++)
        rest[i] = r->mean[i] - (double)c->bias[i];
    FB_GO(fb_lowrank_rest(l, c->rank, rest));
    for (size_t i = 0; i < r->m; i++)
        c->bias[i] = (float)((double)c->bias[i] + rest[i]);
fail:
    fb_free(rest);
    return status;
}

/* Whether a form with this outcome is better than what the candidate holds: the cheaper one where
 * the error is given, the one with less error where the cost is. */
static bool is_better(const work *w, const candidate *c, double loss, double macs)
{
    const fb_option *o = w->step->option;
    return !c->a || (o[OPT_RANK].given || o[OPT_RATIO].given ? loss < c->loss : macs < c->macs);
}

static fb_status try_form(work *w, candidate *c, fb_factor_form form, const float *matrix)
{
    const fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[c->node];
    const fb_response *r = whitens(w->step) ? &w->responses[c->measured] : NULL;
    fb_factor_shape s = fb_factor_shape_of(m, n, form);
    fb_lowrank l;
    float *a = NULL, *b = NULL;
    FB_TRY(fb_lowrank_find(matrix, s.m, s.n, r ? r->covariance : NULL, r ? prior_of(r) : 0, &l));
    fb_status status = FB_OK;
    double fixed = fixed_rank(w, &s);
    size_t most = most_rank(w, &s);
    size_t rank = fixed > 0 ? (size_t)fixed : fb_lowrank_rank(&l, allowed_loss(w->step->option));
    double loss = fb_lowrank_loss(&l, rank), macs = (double)rank * s.rank_macs;
    if (rank > most && !c->a)
        keep_rank(c, (double)rank, most);
    if (rank > most || !is_better(w, c, loss, macs))
        goto fail;
    a = fb_calloc(s.m * rank, sizeof *a);
    b = fb_calloc(s.n * rank, sizeof *b);
    if (!a || !b) {
        status = no_memory();
        goto fail;
    }
    FB_GO(fb_lowrank_split(&l, matrix, rank, a, b));
    fb_free(c->a);
    fb_free(c->b);
    c->a = a;
    c->b = b;
    a = b = NULL;
    c->form = form;
    c->rank = rank;
    c->loss = loss;
    c->macs = macs;
    c->kept[0] = '\0';
    if (r)
        FB_GO(correct_bias(m, n, r, &l, c));
fail:
    fb_free(a);
    fb_free(b);
    fb_lowrank_free(&l);
    return status;
}

static bool spatial_fits(const work *w, const fb_node *n)
{
    fb_factor_shape s = fb_factor_shape_of(w->job->model, n, FB_FACTOR_SPATIAL);
    return most_rank(w, &s) > 0 && fb_lowrank_fits(s.m, s.n, false);
}

static fb_status factor(work *w, candidate *c)
{
    const fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[c->node];
    const fb_tensor *t = &m->tensors[n->in[1]];
    bool taps = n->op == FB_OP_CONV && n->attr.conv.kh > 1 && n->attr.conv.kw > 1;
    const float *matrix = t->data;
    float *turned = NULL;
    fb_status status = FB_OK;
    fb_factor_form form = n->op == FB_OP_DENSE ? FB_FACTOR_DENSE : FB_FACTOR_CHANNEL;
    for (size_t i = 0; i < t->data_bytes / sizeof *matrix; i++) {
        if (!isfinite(matrix[i])) {
            status = fb_fail(FB_E_FORMAT,
                             "weight '%.200s' has the value %g at %zu; weights must be "
                             "finite",
                             t->name, (double)matrix[i], i);
            goto fail;
        }
    }
    FB_GO(try_form(w, c, form, matrix));
    if (taps && !whitens(w->step) && spatial_fits(w, n)) {
        turned = fb_alloc(t->data_bytes);
        if (!turned) {
            status = no_memory();
            goto fail;
        }
        fb_factor_spatial(t, matrix, turned);
        FB_GO(try_form(w, c, FB_FACTOR_SPATIAL, turned));
    }
fail:
    fb_free(turned);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", n->name);
}

/* --- the method ------------------------------------------------------------------------------ */

static fb_status rewrite(work *w)
{
    fb_model *m = w->job->model;
    uint32_t done = 0;
    for (uint32_t k = 0; k < w->n; k++) { /* nodes move by one for each layer before */
        const candidate *c = &w->candidates[k];
        if (!c->a)
            continue;
        FB_TRY(fb_factor_apply(m, c->node + done, c->form, c->rank, c->a, c->b, c->bias));
        done++;
    }
    return FB_OK;
}

static fb_status refuse_all(const work *w)
{
    const fb_model *m = w->job->model;
    if (w->n == 0)
        return fb_fail(FB_E_UNSUPPORTED, "no layer with constant weights is of the kinds and names "
                                         "that the step takes");
    for (uint32_t k = 0; k < w->n; k++) {
        if (!w->candidates[k].kept[0])
            return FB_OK;
    }
    const candidate *c = &w->candidates[0];
    return fb_fail(FB_E_UNSUPPORTED, "no layer gains from a lower rank; '%.200s' stays because %s",
                   m->nodes[c->node].name, c->kept);
}

static fb_status check_options(const fb_recipe_step *step, bool dry_run)
{
    int given = 0;
    for (int i = OPT_RANK; i <= OPT_ERROR; i++)
        given += step->option[i].given;
    if (given > 1)
        return fb_fail(FB_E_ARG, "rank, energy, ratio and error each choose the ranks; give one");
    if (dry_run && whitens(step))
        return fb_fail(FB_E_ARG, "with whiten=yes the file's size depends on the images, and a dry "
                                 "run reads none; whiten=no does without");
    return FB_OK;
}

/* One line for the file: what was factored, and what was not and why. */
static fb_status note(work *w)
{
    fb_model *m = w->job->model;
    const char *before = fb_model_note(m, "svd");
    size_t cap = (before ? strlen(before) : 0) + 8, n = 0;
    for (uint32_t k = 0; k < w->n; k++)
        cap += strlen(m->nodes[w->candidates[k].node].name) + sizeof w->candidates[k].kept + 64;
    char *text = fb_calloc(cap, 1);
    if (!text)
        return no_memory();
    if (before)
        n = (size_t)snprintf(text, cap, "%s; ", before);
    for (uint32_t k = 0; k < w->n; k++) {
        const candidate *c = &w->candidates[k];
        const char *name = m->nodes[c->node].name, *comma = k ? ", " : "";
        if (c->a)
            n += (size_t)snprintf(text + n, cap - n, "%s%s rank %zu%s", comma, name, c->rank,
                                  c->form == FB_FACTOR_SPATIAL ? " spatial" : "");
        else
            n += (size_t)snprintf(text + n, cap - n, "%s%s stays: %s", comma, name, c->kept);
    }
    fb_status status = fb_model_set_note(m, "svd", text);
    fb_free(text);
    return status;
}

static void work_free(work *w)
{
    for (uint32_t k = 0; w->candidates && k < w->n; k++) {
        fb_free(w->candidates[k].a);
        fb_free(w->candidates[k].b);
        fb_free(w->candidates[k].bias);
    }
    for (uint32_t k = 0; w->responses && k < w->n_measured; k++)
        fb_response_free(&w->responses[k]);
    fb_free(w->candidates);
    fb_free(w->measured);
    fb_free(w->responses);
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    work w = {.job = job, .step = step};
    fb_status status;
    FB_TRY(check_options(step, job->dry_run));
    FB_GO(find_candidates(&w));
    FB_GO(refuse_all(&w));
    if (whitens(step))
        FB_GO(fb_response_gather(job, w.measured, w.n_measured, w.responses));
    for (uint32_t k = 0; k < w.n; k++) {
        FB_GO(fb_job_report(job, "svd", k, w.n));
        if (!w.candidates[k].kept[0])
            FB_GO(factor(&w, &w.candidates[k]));
    }
    FB_GO(refuse_all(&w));
    FB_GO(note(&w));
    FB_GO(rewrite(&w));
    FB_GO(fb_job_renew_reference(job));
fail:
    work_free(&w);
    return status;
}

const fb_method_def fb_method_svd = {
    .name = "svd",
    .summary = "layers of low rank: each becomes two smaller ones",
    .needs_data = true,
    .wants_data = whitens,
    .n_options = N_OPTIONS,
    .options =
        {
            {.key = "rank",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1 << 20,
             .meaning = "the rank of every layer where that is smaller than the layer"},
            {.key = "energy",
             .kind = FB_OPTION_NUMBER,
             .least = 0.01,
             .most = 1,
             .preset = "0.97",
             .meaning = "instead: the least rank that keeps this share of the response (with "
                        "whiten=no, of the squared weights)"},
            {.key = "ratio",
             .kind = FB_OPTION_NUMBER,
             .least = 1,
             .most = 1e6,
             .meaning = "instead: each layer has so many times fewer weights"},
            {.key = "error",
             .kind = FB_OPTION_NUMBER,
             .least = 0,
             .most = 1,
             .meaning = "instead: the least rank whose response is off by this share of its norm; "
                        "energy = 1 - error^2"},
            {.key = "whiten",
             .kind = FB_OPTION_CHOICE,
             .choices = "yes|no",
             .preset = "yes",
             .meaning = "yes: the best fit to responses to the data; no: to the weights, no data "
                        "needed"},
            {.key = "kinds",
             .kind = FB_OPTION_CHOICE,
             .choices = "dense|1x1|all",
             .preset = "dense",
             .meaning = "dense layers; 1 x 1 convolutions as well; all convolutions"},
            {.key = "gain",
             .kind = FB_OPTION_NUMBER,
             .least = 1,
             .most = 1e6,
             .preset = "1",
             .meaning = "a layer stays as it is unless it gets so many times fewer weights"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay as they are"},
        },
    .apply = apply,
};
