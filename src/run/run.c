/* The executor: walks the frozen plan. It allocates nothing, prints nothing, decides nothing. */
#include "fewbit/run.h"

#include "base/size.h"
#include "base/threads.h"
#include "plan/plan.h"
#include "plan/view.h"

#include <string.h>
#include <time.h>

struct fb_run {
    const fb_plan *plan;
    fb_pool *pool;
    char *arena;
    char *scratch;   /* plan->scratch_bytes for each worker */
    const void **in; /* pointers of the step at hand */
    void **out;
    int32_t at; /* step that ran last; n_steps after a whole run, -1 before the first */
    fb_tap tap;
    void *tap_user;
    uint64_t *times;
    /* Of steps that count saturations; NULL where the plan has none: */
    fb_saturations *over; /* [workers][n_steps], `of` unused */
    uint64_t *passes;     /* [n_steps] how often each step ran */
};

static void *slot_data(const fb_run *run, int32_t slot)
{
    if (slot < 0)
        return NULL;
    const fb_slot *s = &run->plan->slots[slot];
    if (s->place == FB_PLACE_CONST)
        return (void *)(uintptr_t)s->data; /* steps never write their inputs */
    return s->place == FB_PLACE_ARENA ? run->arena + s->offset : NULL;
}

static fb_status allocate_counters(fb_run *run)
{
    const fb_plan *plan = run->plan;
    bool any = false;
    for (size_t i = 0; i < plan->n_steps; i++)
        any = any || plan->steps[i].counts;
    if (!any)
        return FB_OK;
    run->over = fb_calloc(fb_pool_size(run->pool), plan->n_steps * sizeof *run->over);
    run->passes = fb_calloc(plan->n_steps, sizeof *run->passes);
    if (!run->over || !run->passes)
        return fb_fail(FB_E_MEMORY, "no memory for the counters of %zu steps", plan->n_steps);
    return FB_OK;
}

static fb_status allocate(fb_run *run)
{
    const fb_plan *plan = run->plan;
    size_t most_in = 1, most_out = 1, scratch;
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].n_in > most_in)
            most_in = plan->steps[i].n_in;
        if (plan->steps[i].n_out > most_out)
            most_out = plan->steps[i].n_out;
    }
    if (!fb_size_mul(plan->scratch_bytes, fb_pool_size(run->pool), &scratch))
        return fb_fail(FB_E_LIMIT, "scratch memory for %u threads is too large",
                       fb_pool_size(run->pool));
    run->arena = fb_calloc(1, plan->arena_bytes);
    run->scratch = fb_alloc(scratch);
    run->in = fb_calloc(most_in, sizeof *run->in);
    run->out = fb_calloc(most_out, sizeof *run->out);
    if (!run->arena || !run->scratch || !run->in || !run->out)
        return fb_fail(FB_E_MEMORY,
                       "no memory for a run (%zu bytes of activations, %zu of scratch)",
                       plan->arena_bytes, scratch);
    return allocate_counters(run);
}

fb_status fb_run_create(const fb_plan *plan, uint32_t n_threads, fb_run **out)
{
    *out = NULL;
    fb_run *run = fb_calloc(1, sizeof *run);
    if (!run)
        return fb_fail(FB_E_MEMORY, "no memory for a run");
    run->plan = plan;
    run->at = -1;
    fb_status status;
    FB_GO(fb_pool_create(n_threads, &run->pool));
    FB_GO(allocate(run));
    *out = run;
    return FB_OK;
fail:
    fb_run_destroy(&run);
    return status;
}

void fb_run_destroy(fb_run **run)
{
    fb_run *r = run ? *run : NULL;
    if (!r)
        return;
    fb_pool_destroy(r->pool);
    fb_free(r->arena);
    fb_free(r->scratch);
    fb_free(r->in);
    fb_free(r->out);
    fb_free(r->over);
    fb_free(r->passes);
    fb_free(r);
    *run = NULL;
}

void *fb_run_input(fb_run *run, uint32_t i, size_t *bytes)
{
    int32_t slot = fb_model_input(run->plan->model, i);
    if (bytes)
        *bytes = slot >= 0 ? run->plan->slots[slot].bytes : 0;
    return slot_data(run, slot);
}

const void *fb_run_output(const fb_run *run, uint32_t i, size_t *bytes)
{
    int32_t slot = fb_model_output(run->plan->model, i);
    if (bytes)
        *bytes = slot >= 0 ? run->plan->slots[slot].bytes : 0;
    return slot_data(run, slot);
}

fb_status fb_run_write(fb_run *run, uint32_t i, size_t from, size_t n, const float *x)
{
    fb_view v;
    void *data = fb_run_input(run, i, NULL);
    if (!data)
        return fb_fail(FB_E_ARG, "input %u does not exist", i);
    FB_TRY(fb_run_tensor(run, fb_model_input(run->plan->model, i), &v));
    if (from > v.n_elems || n > v.n_elems - from)
        return fb_fail(FB_E_ARG, "input %u has %zu elements, not %zu and %zu more", i, v.n_elems,
                       from, n);
    if (v.dtype != FB_F32 && v.dtype != FB_U8 && v.dtype != FB_S8 && v.dtype != FB_U16 &&
        v.dtype != FB_S16)
        return fb_fail(FB_E_ARG, "input %u holds %s, which floats cannot fill", i,
                       fb_dtype_name(v.dtype));
    fb_view_write(&v, data, from, n, x);
    return FB_OK;
}

typedef struct job {
    fb_run *run;
    const fb_step *step;
    size_t index; /* of the step */
} job;

static void run_tile(void *ctx, uint32_t i, uint32_t worker)
{
    const job *j = ctx;
    fb_run *run = j->run;
    fb_tile tile = {.step = j->step,
                    .in = run->in,
                    .out = run->out,
                    .scratch = run->scratch + (size_t)worker * run->plan->scratch_bytes,
                    .index = i};
    if (j->step->counts)
        tile.over = run->over + worker * run->plan->n_steps + j->index;
    j->step->run(&tile);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

fb_status fb_run_execute(fb_run *run)
{
    const fb_plan *plan = run->plan;
    for (size_t i = 0; i < plan->n_steps; i++) {
        const fb_step *step = &plan->steps[i];
        uint64_t start = run->times ? now_ns() : 0;
        if (step->run) {
            for (uint32_t k = 0; k < step->n_in; k++)
                run->in[k] = slot_data(run, step->in[k]);
            for (uint32_t k = 0; k < step->n_out; k++)
                run->out[k] = slot_data(run, step->out[k]);
            job j = {run, step, i};
            fb_pool_run(run->pool, step->n_tiles, run_tile, &j);
            if (run->passes)
                run->passes[i]++;
        }
        if (run->times)
            run->times[i] = now_ns() - start;
        run->at = (int32_t)i;
        if (run->tap)
            FB_TRY(run->tap(run->tap_user, run, (uint32_t)i));
    }
    run->at = (int32_t)plan->n_steps;
    return FB_OK;
}

fb_status fb_run_tensor(const fb_run *run, int32_t tensor, fb_view *view)
{
    const fb_plan *plan = run->plan;
    if (tensor < 0 || (size_t)tensor >= plan->model->n_tensors)
        return fb_fail(FB_E_ARG, "tensor %d of %zu does not exist", tensor, plan->model->n_tensors);
    const fb_slot *s = &plan->slots[tensor];
    bool alive =
        s->place == FB_PLACE_CONST ||
        (s->place == FB_PLACE_ARENA && s->first_step <= run->at && run->at <= s->last_step);
    if (!alive)
        return fb_fail(FB_E_ARG, "tensor '%s' is not in memory at this point of the run",
                       s->tensor->name);
    *view = (fb_view){.data = slot_data(run, tensor),
                      .bytes = s->bytes,
                      .dtype = s->shape.dtype,
                      .rank = (uint32_t)s->shape.rank,
                      .n_elems = s->elems,
                      .scale = 1};
    memcpy(view->dims, s->shape.dims, sizeof view->dims);
    if (s->enc->kind == FB_ENC_PLAIN || s->place == FB_PLACE_CONST)
        return FB_OK;
    view->scale = s->enc->scale[0];
    view->zero = s->enc->zero ? s->enc->zero[0] : 0;
    if (s->lay.packed) {
        view->packed_bits = s->lay.bits;
        view->row_elems = s->lay.row_elems;
        view->row_bytes = s->lay.row_bytes;
    }
    if (s->enc->kind == FB_ENC_LEVELS) {
        view->level = s->enc->level;
        view->n_levels = s->enc->n_levels;
    }
    return FB_OK;
}

void fb_run_set_tap(fb_run *run, fb_tap tap, void *user)
{
    run->tap = tap;
    run->tap_user = user;
}

void fb_run_set_times(fb_run *run, uint64_t *times)
{
    run->times = times;
}

fb_status fb_run_saturations(const fb_run *run, uint32_t step, fb_saturations *out)
{
    const fb_plan *plan = run->plan;
    *out = (fb_saturations){0};
    if (step >= plan->n_steps)
        return fb_fail(FB_E_ARG, "step %u of %zu does not exist", step, plan->n_steps);
    if (!plan->steps[step].counts)
        return FB_OK;
    for (uint32_t w = 0; w < fb_pool_size(run->pool); w++) {
        const fb_saturations *of = run->over + w * plan->n_steps + step;
        out->sums += of->sums;
        out->outputs += of->outputs;
    }
    out->of = run->passes[step] * plan->slots[plan->steps[step].out[0]].elems;
    return FB_OK;
}

void fb_run_reset_saturations(fb_run *run)
{
    size_t n = run->plan->n_steps;
    if (!run->over)
        return;
    memset(run->over, 0, fb_pool_size(run->pool) * n * sizeof *run->over);
    memset(run->passes, 0, n * sizeof *run->passes);
}
