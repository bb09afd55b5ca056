/* Every activation of a network, batch by batch, as floats. */
#include "measure/why.h"

#include "base/size.h"
#include "model/model.h"

typedef struct watch {
    fb_why_state *s;
    const fb_model *model;
    fb_plan *plan;
    fb_run *run;
    fb_feed feed;
    fb_data *data;
    int32_t *producer; /* [n_tensors] node */
    float *x, *rows;   /* samples of a batch; values of one tensor */
    size_t room;       /* floats in rows */
    fb_why_watcher watcher;
    void *user;
    uint64_t first;
    uint32_t got;
} watch;

static void release(watch *w)
{
    fb_data_close(&w->data);
    fb_run_destroy(&w->run);
    fb_plan_destroy(&w->plan);
    fb_free(w->producer);
    fb_free(w->x);
    fb_free(w->rows);
}

static bool is_watched(const fb_tensor *t)
{
    return !t->is_const && t->rank >= 2 && t->dtype == FB_F32;
}

/* Room for the largest tensor that is watched. */
static fb_status make_rows(watch *w, uint32_t batch)
{
    for (size_t i = 0; i < w->model->n_tensors; i++) {
        int64_t n;
        if (is_watched(&w->model->tensors[i]) &&
            fb_tensor_elems(&w->model->tensors[i], batch, &n) && (size_t)n > w->room)
            w->room = (size_t)n;
    }
    w->rows = fb_calloc(w->room, sizeof *w->rows);
    w->x = fb_calloc(w->feed.per_run, w->feed.sample * sizeof *w->x);
    w->producer = fb_calloc(w->model->n_tensors + 1, sizeof *w->producer);
    if (!w->rows || !w->x || !w->producer)
        return fb_fail(FB_E_MEMORY, "no memory to look at the layers of a batch");
    fb_model_uses(w->model, w->producer, NULL);
    return FB_OK;
}

static fb_status see(void *user, const fb_run *run, uint32_t step)
{
    watch *w = user;
    fb_step_info info;
    fb_view view;
    FB_TRY(fb_plan_step(w->plan, step, &info));
    if (info.out < 0 || w->producer[info.out] < 0 || !is_watched(&w->model->tensors[info.out]))
        return FB_OK;
    if (fb_run_tensor(run, info.out, &view) != FB_OK || view.n_elems % w->feed.per_run != 0 ||
        view.n_elems > w->room)
        return FB_OK; /* a fusion removed it, or it does not belong to images one by one */
    size_t n = view.n_elems / w->feed.per_run * w->got;
    fb_view_read(&view, 0, n, w->rows);
    fb_why_seen seen = {.run = run,
                        .node = (uint32_t)w->producer[info.out],
                        .tensor = info.out,
                        .x = w->rows,
                        .n = n,
                        .channels = (uint32_t)view.dims[view.rank - 1],
                        .first = w->first,
                        .images = w->got};
    return w->watcher(w->user, &seen);
}

static fb_status prepare(watch *w, uint64_t limit)
{
    const fb_measure_options *o = &w->s->options->measure;
    fb_plan_options plan = {.batch = o->batch, .cpu = o->cpu, .tables = o->tables};
    FB_TRY(fb_plan_create(w->model, &plan, &w->plan));
    FB_TRY(fb_run_create(w->plan, o->n_threads, &w->run));
    FB_TRY(fb_feed_init(&w->feed, w->model, w->run));
    FB_TRY(make_rows(w, o->batch));
    fb_run_set_tap(w->run, see, w);
    FB_TRY(fb_why_open(w->s, &w->s->best->prep, limit, &w->data));
    return fb_data_fits(w->data, &w->feed.shape);
}

static fb_status run_all(watch *w, const char *phase)
{
    for (;;) {
        FB_TRY(fb_why_progress(w->s, phase, w->first, fb_data_count(w->data)));
        FB_TRY(fb_data_next(w->data, w->feed.per_run, w->x, NULL, &w->got));
        if (w->got == 0)
            return FB_OK;
        FB_TRY(fb_feed_fill(&w->feed, w->run, w->got, w->x));
        FB_TRY(fb_run_execute(w->run));
        w->first += w->got;
    }
}

fb_status fb_why_watch(fb_why_state *s, const fb_model *model, const char *phase, uint64_t limit,
                       fb_why_watcher watcher, void *user)
{
    watch w = {.s = s, .model = model, .watcher = watcher, .user = user};
    fb_status status = prepare(&w, limit);
    if (status == FB_OK)
        status = run_all(&w, phase);
    release(&w);
    return status;
}
