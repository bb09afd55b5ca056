/* Applies a recipe to a copy of a model and writes down where the result comes from. */
#include "fewbit/compress.h"

#include "base/status.h"
#include "compress/bias.h"
#include "compress/method.h"
#include "compress/product_order.h"
#include "compress/sparse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void fb_compress_options_default(fb_compress_options *options)
{
    *options = (fb_compress_options){.method = "int8", .cpu = fb_cpu_usable()};
}

fb_watch_options fb_job_watch(const fb_job *job, const char *what)
{
    return (fb_watch_options){.n_threads = job->n_threads,
                              .cpu = job->cpu,
                              .progress = job->progress,
                              .progress_user = job->progress_user,
                              .what = what};
}

fb_status fb_job_report(const fb_job *job, const char *what, uint64_t done, uint64_t total)
{
    if (job->progress && !job->progress(job->progress_user, what, done, total))
        return fb_fail(FB_E_INTERRUPTED, "stopped during '%s', after %" PRIu64 " of %" PRIu64, what,
                       done, total);
    return FB_OK;
}

void fb_job_tell_error(const fb_job *job, const char *layer, double before, double after)
{
    const fb_layer_error e = {job->recipe->steps[job->step].text, layer, before, after};
    if (job->layer_error)
        job->layer_error(job->layer_error_user, &e);
}

fb_status fb_job_renew_reference(fb_job *job)
{
    fb_model *copy;
    FB_TRY(fb_model_clone(job->model, false, &copy));
    fb_model_close(&job->reference);
    job->reference = copy;
    return FB_OK;
}

/* A model that was compressed before keeps the earlier steps in front. */
static fb_status note_method(fb_model *m, const fb_recipe *r)
{
    const char *before = fb_model_note(m, "method");
    if (!before || !*before)
        return fb_model_set_note(m, "method", r->text);
    size_t n = strlen(before) + strlen(r->text) + 4;
    char *text = fb_arena_alloc(m->arena, n);
    if (!text)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    (void)snprintf(text, n, "%s + %s", before, r->text);
    return fb_model_set_note(m, "method", text);
}

/* Fixed widths: a dry run's file has the size of the real one. */
static fb_status write_notes(const fb_job *job, const fb_recipe *r)
{
    char text[32];
    FB_TRY(note_method(job->model, r));
    (void)snprintf(text, sizeof text, "%" PRIu64, job->seed);
    FB_TRY(fb_model_set_note(job->model, "seed", text));
    if (!r->needs_data)
        return FB_OK;
    /* The file shares prefixes between texts: "0x" shares none with a key, so that the size is the
     * same for any fingerprint. */
    const char *print = job->dry_run ? "0000000000000000" : fb_data_fingerprint(job->data);
    (void)snprintf(text, sizeof text, "0x%.16s", print);
    FB_TRY(fb_model_set_note(job->model, "data.fingerprint", text));
    (void)snprintf(text, sizeof text, "%010" PRIu64, job->dry_run ? 0 : fb_data_count(job->data));
    return fb_model_set_note(job->model, "data.images", text);
}

static fb_status run_steps(fb_job *job, const fb_recipe *r)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        const fb_recipe_step *step = &r->steps[i];
        job->step = i;
        fb_status status = step->method->apply(job, step);
        if (status != FB_OK)
            return fb_fail_in(status, "step '%s'", step->text);
    }
    return FB_OK;
}

/* Only what was pruned on purpose: the size of other files shall not depend on how many weights
 * happen to be rounded to 0. */
static bool wants_sparse(const fb_model *model, const fb_recipe *r)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        if (strcmp(r->steps[i].method->name, "prune") == 0)
            return true;
    }
    for (size_t i = 0; i < model->n_tensors; i++) {
        if (model->tensors[i].enc.sparse)
            return true;
    }
    return false;
}

bool fb_job_will_code(const fb_job *job)
{
    bool coded = job->model->entropy;
    for (uint32_t i = job->step; i < job->recipe->n_steps; i++) {
        const fb_recipe_step *s = &job->recipe->steps[i];
        const fb_option *o =
            strcmp(s->method->name, "entropy") == 0 ? &s->option[0] : fb_step_option(s, "entropy");
        if (o)
            coded = o->choice == 0;
    }
    return coded;
}

/* What a dry run cannot tell it must not tell. */
static fb_status check_size_is_known(const fb_job *job)
{
    if (!job->unknown_codes || !job->model->entropy)
        return FB_OK;
    return fb_fail(FB_E_ARG,
                   "step '%s': the codes depend on the calibration data, and so does the size of "
                   "an entropy-coded file; a dry run needs entropy=off",
                   job->unknown_codes);
}

fb_status fb_compress(const fb_model *model, const fb_compress_options *options, fb_model **out)
{
    fb_recipe recipe;
    *out = NULL;
    if (!options->method)
        return fb_fail(FB_E_ARG, "no method is given");
    FB_TRY(fb_recipe_parse(options->method, &recipe));
    fb_job job = {.data = options->data,
                  .recipe = &recipe,
                  .arena = recipe.arena,
                  .seed = options->seed,
                  .n_threads = options->n_threads,
                  .cpu = options->cpu,
                  .dry_run = options->dry_run,
                  .progress = options->progress,
                  .progress_user = options->progress_user,
                  .layer_error = options->layer_error,
                  .layer_error_user = options->layer_error_user};
    fb_status status;
    if (recipe.training) {
        status = fb_fail(FB_E_ARG,
                         "step '%s' trains the network: 'fewbit tune' takes it, with labelled "
                         "images",
                         recipe.training->text);
        goto fail;
    }
    if (recipe.needs_data && !options->dry_run && !options->data) {
        status =
            fb_fail(FB_E_ARG, "method '%s' needs calibration data, and none is given", recipe.text);
        goto fail;
    }
    /* Work on shared payloads; only what is left in the end is copied. */
    FB_GO(fb_model_clone(model, false, &job.model));
    FB_GO(fb_model_densify(job.model));
    FB_GO(fb_job_renew_reference(&job));
    FB_GO(run_steps(&job, &recipe));
    FB_GO(check_size_is_known(&job));
    FB_GO(fb_bias_encode_integer(job.model));
    FB_GO(write_notes(&job, &recipe));
    FB_GO(fb_model_compact(job.model));
    FB_GO(fb_products_order(job.model));
    if (wants_sparse(model, &recipe))
        FB_GO(fb_store_sparse(job.model));
    FB_GO(fb_model_validate(job.model));
    FB_GO(fb_model_clone(job.model, true, out));
fail:
    fb_model_close(&job.reference);
    fb_model_close(&job.model);
    fb_recipe_free(&recipe);
    return status;
}
