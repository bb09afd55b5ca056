/* Runs over calibration images with a tap on the tensors of interest. */
#include "calibrate/watch.h"

#include "base/alloc.h"
#include "base/status.h"

typedef struct watcher {
    const fb_model *model;
    const int32_t *tensors;
    int32_t *of_step; /* [steps] first watched tensor that the step writes, or -1 */
    int32_t *next;    /* [n] the next that is the same tensor, or -1 */
    uint32_t *inputs; /* [n_inputs] watched tensors that are model inputs */
    uint32_t n, n_inputs;
    fb_watch_fn fn;
    void *user;
} watcher;

static fb_status tell(const watcher *w, const fb_run *run, uint32_t k)
{
    fb_view view;
    FB_TRY(fb_run_tensor(run, w->tensors[k], &view));
    fb_status status = w->fn(w->user, k, &view);
    if (status == FB_OK)
        return FB_OK;
    fb_tensor_info info;
    if (fb_model_tensor(w->model, (uint32_t)w->tensors[k], &info) != FB_OK)
        return status;
    return fb_fail_in(status, "tensor '%.200s'", info.name);
}

static fb_status on_step(void *user, const fb_run *run, uint32_t step)
{
    const watcher *w = user;
    for (int32_t k = w->of_step[step]; k >= 0; k = w->next[k])
        FB_TRY(tell(w, run, (uint32_t)k));
    return FB_OK;
}

static bool is_input(const fb_model *model, int32_t tensor)
{
    for (uint32_t i = 0; i < fb_model_n_inputs(model); i++) {
        if (fb_model_input(model, i) == tensor)
            return true;
    }
    return false;
}

/* Which step writes which watched tensor. */
static fb_status find_steps(watcher *w, const fb_plan *plan)
{
    uint32_t n_steps = fb_plan_n_steps(plan), found = 0;
    size_t n_tensors = fb_model_n_tensors(w->model);
    int32_t *of_tensor = fb_alloc(n_tensors * sizeof *of_tensor);
    w->of_step = fb_alloc(n_steps * sizeof *w->of_step);
    w->next = fb_calloc(w->n, sizeof *w->next);
    w->inputs = fb_calloc(w->n, sizeof *w->inputs);
    fb_status status = FB_OK;
    if (!of_tensor || !w->of_step || !w->next || !w->inputs) {
        status = fb_fail(FB_E_MEMORY, "no memory to watch %u tensors", w->n);
        goto fail;
    }
    for (size_t t = 0; t < n_tensors; t++)
        of_tensor[t] = -1;
    for (uint32_t k = w->n; k-- > 0;) { /* from the end, so that a tensor's are told in order */
        w->next[k] = of_tensor[w->tensors[k]];
        of_tensor[w->tensors[k]] = (int32_t)k;
        if (is_input(w->model, w->tensors[k]))
            w->inputs[w->n_inputs++] = k;
    }
    for (uint32_t i = 0; i < n_steps; i++) {
        fb_step_info info;
        FB_GO(fb_plan_step(plan, i, &info));
        w->of_step[i] = info.out >= 0 ? of_tensor[info.out] : -1;
        for (int32_t k = w->of_step[i]; k >= 0; k = w->next[k])
            found++;
    }
    if (found + w->n_inputs != w->n)
        status = fb_fail(FB_E_INTERNAL, "%u of %u tensors to watch are not written by any step",
                         w->n - found - w->n_inputs, w->n);
fail:
    fb_free(of_tensor);
    return status;
}

static fb_status run_all(const watcher *w, fb_run *run, const fb_source *source,
                         const fb_watch_options *o)
{
    uint64_t done = 0;
    source->rewind(source->user);
    for (;;) {
        uint32_t got;
        if (o->progress && !o->progress(o->progress_user, o->what, done, source->count))
            return fb_fail(FB_E_INTERRUPTED, "stopped during '%s', after %llu of %llu images",
                           o->what, (unsigned long long)done, (unsigned long long)source->count);
        if (o->enough && *o->enough)
            return FB_OK;
        FB_TRY(source->fill(source->user, run, &got));
        if (got == 0)
            return FB_OK;
        FB_TRY(fb_run_execute(run));
        for (uint32_t i = 0; i < w->n_inputs; i++)
            FB_TRY(tell(w, run, w->inputs[i]));
        done += got;
    }
}

fb_status fb_watch(const fb_model *model, const fb_source *source, const int32_t *tensors,
                   uint32_t n, const fb_watch_options *options, fb_watch_fn fn, void *user)
{
    watcher w = {.model = model, .tensors = tensors, .n = n, .fn = fn, .user = user};
    fb_plan_options how;
    fb_plan *plan = NULL;
    fb_run *run = NULL;
    fb_status status;
    fb_plan_options_default(&how);
    how.cpu = options->cpu;
    FB_GO(fb_plan_create(model, &how, &plan));
    FB_GO(find_steps(&w, plan));
    FB_GO(fb_run_create(plan, options->n_threads, &run));
    fb_run_set_tap(run, on_step, &w);
    FB_GO(run_all(&w, run, source, options));
fail:
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    fb_free(w.of_step);
    fb_free(w.next);
    fb_free(w.inputs);
    return status;
}

static fb_status add_stats(void *user, uint32_t k, const fb_view *view)
{
    fb_stats *stats = user;
    FB_ENSURE(view->dtype == FB_F32);
    return fb_stats_add(&stats[k], view->data, view->n_elems);
}

fb_status fb_watch_stats(const fb_model *model, const fb_source *source, const int32_t *tensors,
                         uint32_t n, const fb_watch_options *options, fb_stats *stats)
{
    return fb_watch(model, source, tensors, n, options, add_stats, stats);
}

static fb_status add_moments(void *user, uint32_t k, const fb_view *view)
{
    fb_moments *moments = user;
    FB_ENSURE(view->dtype == FB_F32 && view->n_elems % moments[k].channels == 0);
    fb_moments_add(&moments[k], view->data, view->n_elems);
    return FB_OK;
}

fb_status fb_watch_moments(const fb_model *model, const fb_source *source, const int32_t *tensors,
                           uint32_t n, const fb_watch_options *options, fb_moments *moments)
{
    return fb_watch(model, source, tensors, n, options, add_moments, moments);
}
