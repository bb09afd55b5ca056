/* ec and gptvq: codewords chosen and fitted against calibration data, layer after layer (METHODS
 * A.5, A.6, IV.2, IV.3). Each layer's bias moves by E[W xf] - E[w xq], so that the mean of its
 * response is the reference's. */
#include "compress/layer_pass.h"
#include "compress/solve_words.h"

#include "base/status.h"

enum { OPT_INCLUDE = FB_PASS_N_OPTIONS, OPT_EXCLUDE, OPT_LAST };
enum { OPT_SWEEPS = OPT_LAST }; /* ec */
enum { OPT_ROUNDS = OPT_LAST }; /* gptvq */

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    bool columns; /* gptvq */
    fb_pool *pool;
} work;

static bool is_wanted(const fb_model *m, size_t i, const fb_option *o)
{
    const fb_node *n = &m->nodes[i];
    return fb_pass_takes(m, i) && m->tensors[fb_node_weight(m, n)].enc.kind == FB_ENC_PRODUCT &&
           (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
           !fb_glob(o[OPT_EXCLUDE].text, n->name);
}

/* --- one layer ------------------------------------------------------------------------------- */

/* Words that the encoding can hold; then the indices that are best with those. */
static fb_status round_words(work *w, const fb_problem *p, fb_words *words, unsigned bits,
                             double *error)
{
    fb_ec_options again = {.sweeps = bits == 32 ? 0 : 1, .moves = FB_EC_CODES};
    double last[2];
    fb_words_round(words, bits);
    FB_TRY(fb_solve_ec(p, words, &again, w->pool, last));
    *error = last[1];
    return FB_OK;
}

static fb_status solve(work *w, const fb_problem *p, fb_words *words, double *error)
{
    const fb_option *o = w->step->option;
    fb_ec_options sweeps = {.moves = FB_EC_ALL, .enough = 1e-4};
    if (w->columns)
        return fb_solve_gptvq(p, words, (uint32_t)o[OPT_ROUNDS].number, w->pool, error);
    sweeps.sweeps = (uint32_t)o[OPT_SWEEPS].number;
    return fb_solve_ec(p, words, &sweeps, w->pool, error);
}

static fb_status correct(void *user, int32_t weight, const fb_problem *p, fb_pool *pool,
                         float *value)
{
    work *w = user;
    fb_model *m = w->job->model;
    double error[2], rounded;
    fb_words words;
    w->pool = pool;
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

/* --- the step -------------------------------------------------------------------------------- */

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
    } else if (job->dry_run) {
        job->unknown_codes = step->text;
        status = fb_gather_pretend(job, wanted);
    } else {
        status = fb_layer_pass(job, step, wanted, correct, &w);
    }
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
    FB_PASS_OPTIONS("0.01"),                                                                       \
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
