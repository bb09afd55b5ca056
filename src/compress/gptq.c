/* gptq and adaround: codes chosen anew against calibration data, layer after layer; scales and
 * levels stay an earlier step's (METHODS M.6, M.9, IV). Each layer's bias moves by
 * E[W xf] - E[w xq], so that the mean of its response is the reference's. */
#include "compress/layer_pass.h"
#include "compress/solve.h"

#include "base/status.h"

#include <string.h>

enum { OPT_POLISH = FB_PASS_N_OPTIONS, OPT_LAST };
enum { OPT_ORDER = OPT_LAST, OPT_SCALES }; /* gptq */
enum { OPT_ITERATIONS = OPT_LAST };        /* adaround */

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    bool adaround, keep_zeros;
    fb_pool *pool;
} work;

/* Floating-point operations that AdaRound may spend on a layer. */
static const double most_work = 4e11;

/* --- one layer ------------------------------------------------------------------------------- */

static uint32_t iterations_for(const work *w, const fb_problem *p)
{
    double flops = 0, most = w->step->option[OPT_ITERATIONS].number;
    for (uint32_t i = 0; i < p->n_parts; i++)
        flops += 2.0 * (double)p->parts[i].n_rows * (double)p->parts[i].d * (double)p->parts[i].d;
    double n = most_work / flops;
    return (uint32_t)(n < 50 ? 50 : n < most ? n : most);
}

static fb_status solve(work *w, const fb_problem *p, fb_reround *r, int32_t *code)
{
    const fb_option *o = w->step->option;
    uint32_t iterations = w->adaround ? iterations_for(w, p) : 0;
    for (uint32_t i = 0; i < p->n_parts; i++) {
        const fb_problem_part *s = &p->parts[i];
        fb_gptq_options g = {o[OPT_ORDER].choice == 1, o[OPT_SCALES].choice == 1};
        if (w->adaround)
            FB_TRY(fb_solve_adaround(s, r, iterations, w->pool, code));
        else
            FB_TRY(fb_solve_gptq(s, r, &g, w->pool, code));
        if (o[OPT_POLISH].choice == 0)
            FB_TRY(fb_solve_polish(s, r, 20, w->pool, code));
    }
    return FB_OK;
}

/* Channels that come out no better than the encoder's rounding keep that, with its scales. */
static void keep_better(fb_reround *r, const fb_tensor *t, const int32_t *code, const double *was,
                        const double *is)
{
    for (size_t row = 0; row < r->ct; row++) {
        size_t first, count;
        fb_reround_scales(r, row, &first, &count);
        if (is[row] < was[row])
            memcpy(r->code + row * r->inner, code + row * r->inner, r->inner * sizeof *code);
        else
            memcpy(r->scale + first, t->enc.scale + first, count * sizeof *r->scale);
    }
}

/* value [n]: of the codes as they are, then of those that were chosen. */
static fb_status choose_codes(work *w, const fb_problem *p, fb_reround *r, float *value)
{
    double *was = fb_calloc(r->ct, sizeof *was), *is = fb_calloc(r->ct, sizeof *is);
    int32_t *code = fb_alloc(r->n * sizeof *code);
    fb_status status = FB_OK;
    if (!was || !is || !code) {
        status = fb_fail(FB_E_MEMORY, "no memory to round a layer");
        goto fail;
    }
    memcpy(code, r->code, r->n * sizeof *code);
    FB_GO(fb_problem_error(p, value, true, w->pool, was, NULL));
    FB_GO(solve(w, p, r, code));
    fb_reround_decode(r, code, value);
    FB_GO(fb_problem_error(p, value, true, w->pool, is, NULL));
    keep_better(r, &r->tensor, code, was, is);
    fb_reround_decode(r, r->code, value);
fail:
    fb_free(was);
    fb_free(is);
    fb_free(code);
    return status;
}

static fb_status round_layer(void *user, int32_t weight, const fb_problem *p, fb_pool *pool,
                             float *value)
{
    work *w = user;
    fb_model *m = w->job->model;
    fb_reround r;
    w->pool = pool;
    FB_TRY(fb_reround_open(&m->tensors[weight], w->keep_zeros, &r));
    fb_status status = choose_codes(w, p, &r, value);
    if (status == FB_OK)
        status = fb_reround_store(&r, m, weight);
    fb_reround_close(&r);
    return status;
}

/* --- the step -------------------------------------------------------------------------------- */

/* A code for each weight, that is, no codewords. */
static bool has_codes(const fb_model *m, const fb_node *n)
{
    fb_enc_kind kind = m->tensors[fb_node_weight(m, n)].enc.kind;
    return kind == FB_ENC_AFFINE || kind == FB_ENC_LEVELS;
}

static fb_status run(fb_job *job, const fb_recipe_step *step, bool adaround)
{
    work w = {.job = job, .step = step, .adaround = adaround};
    const fb_model *m = job->model;
    uint32_t found = 0;
    for (uint32_t i = 0; i < job->step; i++)
        w.keep_zeros = w.keep_zeros || strcmp(job->recipe->steps[i].method->name, "prune") == 0;
    bool *wanted = fb_calloc(m->n_nodes + 1, sizeof *wanted);
    if (!wanted)
        return fb_fail(FB_E_MEMORY, "no memory to round the layers");
    for (size_t i = 0; i < m->n_nodes; i++) {
        wanted[i] = fb_pass_takes(m, i) && has_codes(m, &m->nodes[i]);
        found += wanted[i];
    }
    fb_status status;
    if (found == 0) {
        status = fb_fail(FB_E_ARG, "no layer's weights have codes yet; this step follows one that "
                                   "gives them, such as int4 (codewords, as of pq, are ec's)");
    } else if (job->dry_run) {
        job->unknown_codes = step->text;
        status = fb_gather_pretend(job, wanted);
    } else {
        status = fb_layer_pass(job, step, wanted, round_layer, &w);
    }
    fb_free(wanted);
    return status;
}

static fb_status apply_gptq(fb_job *job, const fb_recipe_step *step)
{
    return run(job, step, false);
}

static fb_status apply_adaround(fb_job *job, const fb_recipe_step *step)
{
    return run(job, step, true);
}

#define SHARED_OPTIONS                                                                             \
    FB_PASS_OPTIONS("0.05"),                                                                       \
    {                                                                                              \
        .key = "polish", .kind = FB_OPTION_CHOICE, .choices = "yes|no", .preset = "yes",           \
        .meaning = "afterwards move single codes while that lowers the error"                      \
    }

const fb_method_def fb_method_gptq = {
    .name = "gptq",
    .summary = "rounds encoded weights anew, column by column, each error made up for by the rest",
    .needs_data = true,
    .n_options = 6,
    .options =
        {
            SHARED_OPTIONS,
            {.key = "order",
             .kind = FB_OPTION_CHOICE,
             .choices = "natural|act",
             .preset = "act",
             .meaning = "act: columns with the strongest inputs first"},
            {.key = "scales",
             .kind = FB_OPTION_CHOICE,
             .choices = "keep|refit",
             .preset = "keep",
             .meaning = "refit: also try scales up to 19% smaller and larger"},
        },
    .apply = apply_gptq,
};

const fb_method_def fb_method_adaround = {
    .name = "adaround",
    .summary = "rounds encoded weights up or down by gradient descent on each layer's response",
    .needs_data = true,
    .n_options = 5,
    .options =
        {
            SHARED_OPTIONS,
            {.key = "iterations",
             .kind = FB_OPTION_WHOLE,
             .least = 50,
             .most = 100000,
             .preset = "2000",
             .meaning = "at most; large layers take fewer"},
        },
    .apply = apply_adaround,
};
