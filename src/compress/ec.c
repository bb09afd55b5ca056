/* ec and gptvq: codewords chosen and fitted against calibration data, layer after layer (METHODS
 * A.5, A.6, IV.2, IV.3). Each layer's bias moves by E[W xf] - E[w xq], so that the mean of its
 * response is the reference's. */
#include "compress/gather.h"
#include "compress/solve_words.h"

#include "base/status.h"

enum { OPT_IMAGES, OPT_DAMP, OPT_ASYMMETRY, OPT_INCLUDE, OPT_EXCLUDE, OPT_LAST };
enum { OPT_SWEEPS = OPT_LAST }; /* ec */
enum { OPT_ROUNDS = OPT_LAST }; /* gptvq */

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    bool columns; /* gptvq */
    fb_gather gather;
} work;

static bool is_wanted(const fb_model *m, size_t i, const fb_option *o)
{
    const fb_node *n = &m->nodes[i];
    int32_t w = fb_node_weight(m, n);
    if (w < 0 || n->op == FB_OP_CONV_TRANSPOSE || m->tensors[w].enc.kind != FB_ENC_PRODUCT ||
        (*o[OPT_INCLUDE].text && !fb_glob(o[OPT_INCLUDE].text, n->name)) ||
        fb_glob(o[OPT_EXCLUDE].text, n->name))
        return false;
    for (size_t k = 0; k < m->n_nodes; k++) { /* shared with another layer: keeps its codewords */
        if (k != i && fb_node_weight(m, &m->nodes[k]) == w)
            return false;
    }
    return true;
}

/* --- one layer ------------------------------------------------------------------------------- */

/* Words that the encoding can hold; then the indices that are best with those. */
static fb_status round_words(work *w, const fb_problem *p, fb_words *words, unsigned bits,
                             double *error)
{
    fb_ec_options again = {.sweeps = bits == 32 ? 0 : 1, .moves = FB_EC_CODES};
    double last[2];
    fb_words_round(words, bits);
    FB_TRY(fb_solve_ec(p, words, &again, w->gather.pool, last));
    *error = last[1];
    return FB_OK;
}

static fb_status solve(work *w, const fb_problem *p, fb_words *words, double *error)
{
    const fb_option *o = w->step->option;
    fb_ec_options sweeps = {.moves = FB_EC_ALL, .enough = 1e-4};
    if (w->columns)
        return fb_solve_gptvq(p, words, (uint32_t)o[OPT_ROUNDS].number, w->gather.pool, error);
    sweeps.sweeps = (uint32_t)o[OPT_SWEEPS].number;
    return fb_solve_ec(p, words, &sweeps, w->gather.pool, error);
}

/* value [ct][inner]: what the tensor then holds. */
static fb_status correct(work *w, const fb_problem *p, int32_t weight, float *value)
{
    fb_model *m = w->job->model;
    double error[2], rounded;
    fb_words words;
    FB_TRY(fb_words_open(&m->tensors[weight], &words));
    fb_status status;
    FB_GO(solve(w, p, &words, error));
    FB_GO(round_words(w, p, &words, m->tensors[weight].enc.word_bits, &rounded));
    if (rounded < error[0])
        FB_GO(fb_words_store(&words, m, weight));
    FB_GO(fb_tensor_decode(&m->tensors[weight], value));
fail:
    fb_words_free(&words);
    return status;
}

static fb_status correct_layer(work *w, uint32_t k)
{
    const fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[w->gather.layers[k].node];
    fb_problem p = {0};
    float *value = NULL;
    double *shift = NULL;
    fb_status status;
    FB_GO(fb_gather_problem(&w->gather, k, &p));
    fb_problem_damp(&p, w->step->option[OPT_DAMP].number);
    value = fb_alloc(p.ct * p.inner * sizeof *value);
    shift = fb_alloc(p.ct * sizeof *shift);
    if (!value || !shift) {
        status = fb_fail(FB_E_MEMORY, "no memory to correct the codewords of a layer");
        goto fail;
    }
    FB_GO(correct(w, &p, fb_node_weight(m, n), value));
    fb_problem_shift(&p, value, shift);
    FB_GO(fb_gather_move_bias(&w->gather, k, shift));
fail:
    fb_free(value);
    fb_free(shift);
    fb_problem_free(&p);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", n->name);
}

/* --- the pass -------------------------------------------------------------------------------- */

static fb_status run(fb_job *job, const fb_recipe_step *step, bool columns)
{
    work w = {.job = job, .step = step, .columns = columns};
    const fb_model *m = job->model;
    uint32_t found = 0;
    bool *wanted = fb_calloc(m->n_nodes + 1, sizeof *wanted);
    if (!wanted)
        return fb_fail(FB_E_MEMORY, "no memory to correct the layers");
    for (size_t i = 0; i < m->n_nodes; i++) {
        wanted[i] = is_wanted(m, i, step->option);
        found += wanted[i];
    }
    fb_status status;
    if (found == 0) {
        status = fb_fail(FB_E_ARG,
                         "no layer that '%s' names has weights made of codewords; it "
                         "follows a step that makes them, such as pq",
                         step->text);
        goto fail;
    }
    if (job->dry_run) {
        status = fb_gather_pretend(job, wanted);
        goto fail;
    }
    FB_GO(fb_gather_open(job, (uint64_t)step->option[OPT_IMAGES].number,
                         (float)step->option[OPT_ASYMMETRY].number, wanted, &w.gather));
    for (uint32_t k = 0; k < w.gather.n; k++) {
        FB_GO(fb_job_report(job, step->method->name, k, w.gather.n));
        FB_GO(correct_layer(&w, k));
        FB_GO(fb_gather_advance(&w.gather, k));
    }
fail:
    if (w.gather.job)
        fb_gather_close(&w.gather);
    fb_free(wanted);
    return status;
}

static fb_status apply_ec(fb_job *job, const fb_recipe_step *step)
{
    return run(job, step, false);
}

static fb_status apply_gptvq(fb_job *job, const fb_recipe_step *step)
{
    return run(job, step, true);
}

#define SHARED_OPTIONS                                                                             \
    {.key = "images",                                                                              \
     .kind = FB_OPTION_WHOLE,                                                                      \
     .least = 1,                                                                                   \
     .most = 1e6,                                                                                  \
     .preset = "256",                                                                              \
     .meaning = "calibration images to measure on, at most"},                                      \
        {.key = "damp",                                                                            \
         .kind = FB_OPTION_NUMBER,                                                                 \
         .least = 1e-6,                                                                            \
         .most = 10,                                                                               \
         .preset = "0.01",                                                                         \
         .meaning = "pull towards the float weights, as a share of the inputs' mean power"},       \
        {FB_GATHER_SHARE_OPTION},                                                                  \
        {.key = "include",                                                                         \
         .kind = FB_OPTION_TEXT,                                                                   \
         .preset = "",                                                                             \
         .meaning = "names of the layers to take; all when empty"},                                \
    {                                                                                              \
        .key = "exclude", .kind = FB_OPTION_TEXT, .preset = "",                                    \
        .meaning = "names of layers to leave as they are"                                          \
    }

const fb_method_def fb_method_ec = {
    .name = "ec",
    .summary = "corrects product codes against each layer's response: indices, words and scales",
    .needs_data = true,
    .n_options = 6,
    .options =
        {
            SHARED_OPTIONS,
            {.key = "sweeps",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1000,
             .preset = "5",
             .meaning = "over all codebooks of a layer, at most"},
        },
    .apply = apply_ec,
};

const fb_method_def fb_method_gptvq = {
    .name = "gptvq",
    .summary = "chooses product codes vector by vector, each error made up for by the rest",
    .needs_data = true,
    .n_options = 6,
    .options =
        {
            SHARED_OPTIONS,
            {.key = "rounds",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 100,
             .preset = "2",
             .meaning = "of choosing all codes and fitting all codewords"},
        },
    .apply = apply_gptvq,
};
