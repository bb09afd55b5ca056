/* Latency and memory of several models in one interleaved run. */
#include "measure/feed.h"
#include "numeric/random.h"

#include "base/alloc.h"
#include "base/status.h"
#include "model/model.h"
#include "plan/plan.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MIN_ROUNDS = 5, MAX_ROUNDS = 2000, LAYER_RUNS = 25, SAMPLE_NS = 1000000, WARM_RUNS = 3 };

/* One model under the clock. */
typedef struct lane {
    const fb_model *model;
    fb_plan *plan;
    fb_run *run;
    bool layers_only;    /* timed by layer, but not as a whole */
    uint64_t per_sample; /* runs that one timing covers */
    uint64_t *samples;   /* [rounds] */
    uint64_t *steps;     /* [n_steps][LAYER_RUNS] */
    uint64_t *times;     /* [n_steps], of the last run */
} lane;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t threads_of(uint32_t asked)
{
    cpu_set_t set;
    if (asked > 0)
        return asked;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (uint32_t)n : 1;
}

static void release(lane *lanes, uint32_t n)
{
    for (uint32_t m = 0; lanes && m < n; m++) {
        fb_run_destroy(&lanes[m].run);
        fb_plan_destroy(&lanes[m].plan);
        fb_free(lanes[m].samples);
        fb_free(lanes[m].steps);
        fb_free(lanes[m].times);
    }
    fb_free(lanes);
}

/* Random values in every float input, random codes in encoded ones; other inputs stay zero. */
static fb_status fill_inputs(lane *l, uint64_t seed)
{
    for (uint32_t i = 0; i < fb_model_n_inputs(l->model); i++) {
        fb_view view;
        FB_TRY(fb_run_tensor(l->run, fb_model_input(l->model, i), &view));
        if (view.dtype == FB_F32) {
            fb_random_fill(&seed, -1, 1, view.n_elems, fb_run_input(l->run, i, NULL));
        } else if (view.dtype == FB_U8 || view.dtype == FB_S8 || view.dtype == FB_U16 ||
                   view.dtype == FB_S16) {
            uint8_t *codes = fb_run_input(l->run, i, NULL);
            for (size_t k = 0; k < view.bytes; k++)
                codes[k] = (uint8_t)fb_random_next(&seed);
        }
    }
    return FB_OK;
}

static fb_status open_lane(lane *l, const fb_model *model, const fb_measure_options *options)
{
    fb_plan_options plan = {
        .batch = options->batch, .cpu = options->cpu, .tables = options->tables};
    l->model = model;
    FB_TRY(fb_plan_create(model, &plan, &l->plan));
    FB_TRY(fb_run_create(l->plan, options->n_threads, &l->run));
    FB_TRY(fill_inputs(l, options->seed));
    size_t n = fb_plan_n_steps(l->plan);
    l->samples = fb_calloc(MAX_ROUNDS, sizeof *l->samples);
    l->steps = fb_calloc(n * LAYER_RUNS + 1, sizeof *l->steps);
    l->times = fb_calloc(n + 1, sizeof *l->times);
    if (!l->samples || !l->steps || !l->times)
        return fb_fail(FB_E_MEMORY, "no memory for timings");
    return FB_OK;
}

static fb_status time_runs(lane *l, uint64_t runs, uint64_t *ns)
{
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < runs; i++)
        FB_TRY(fb_run_execute(l->run));
    *ns = (now_ns() - start) / runs;
    return FB_OK;
}

/* Warms caches, clock and page tables, and finds how many runs last a millisecond. */
static fb_status warm_up(lane *l, uint64_t *ns)
{
    FB_TRY(time_runs(l, 1, ns));
    FB_TRY(time_runs(l, WARM_RUNS, ns));
    l->per_sample = *ns >= SAMPLE_NS ? 1 : SAMPLE_NS / (*ns + 1) + 1;
    return FB_OK;
}

static bool go_on(const fb_measure_options *options, uint64_t done, uint64_t total)
{
    return !options->progress || options->progress(options->progress_user, "timing", done, total);
}

static fb_status time_layers(lane *lanes, uint32_t n)
{
    for (uint32_t r = 0; r < LAYER_RUNS; r++) {
        for (uint32_t m = 0; m < n; m++) {
            lane *l = &lanes[m];
            uint32_t steps = fb_plan_n_steps(l->plan);
            fb_run_set_times(l->run, l->times);
            FB_TRY(fb_run_execute(l->run));
            fb_run_set_times(l->run, NULL);
            for (uint32_t i = 0; i < steps; i++)
                l->steps[(size_t)i * LAYER_RUNS + r] = l->times[i];
        }
    }
    return FB_OK;
}

static fb_status time_all(lane *lanes, uint32_t n, double seconds,
                          const fb_measure_options *options, uint64_t *rounds)
{
    uint64_t round_ns = 0;
    for (uint32_t m = 0; m < n; m++) {
        uint64_t ns;
        FB_TRY(warm_up(&lanes[m], &ns));
        round_ns += lanes[m].layers_only ? 0 : ns * lanes[m].per_sample;
    }
    uint32_t whole = 0;
    for (uint32_t m = 0; m < n; m++)
        whole += !lanes[m].layers_only;
    double want = seconds * whole * 1e9 / (double)(round_ns + 1);
    *rounds = want < MIN_ROUNDS ? MIN_ROUNDS : want > MAX_ROUNDS ? MAX_ROUNDS : (uint64_t)want;
    for (uint64_t r = 0; r < *rounds; r++) {
        if (!go_on(options, r, *rounds))
            return fb_fail(FB_E_INTERRUPTED, "interrupted after %llu of %llu rounds",
                           (unsigned long long)r, (unsigned long long)*rounds);
        for (uint32_t m = 0; m < n; m++)
            if (!lanes[m].layers_only)
                FB_TRY(time_runs(&lanes[m], lanes[m].per_sample, &lanes[m].samples[r]));
    }
    (void)go_on(options, *rounds, *rounds);
    return time_layers(lanes, n);
}

static int smaller_first(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint64_t quantile(const uint64_t *sorted, uint64_t n, double q)
{
    return sorted[(uint64_t)(q * (double)(n - 1) + 0.5)];
}

static uint64_t weight_bytes(const fb_model *model)
{
    uint64_t sum = 0;
    fb_tensor_info t;
    for (uint32_t i = 0; i < fb_model_n_tensors(model); i++) {
        if (fb_model_tensor(model, i, &t) == FB_OK && t.is_const)
            sum += t.stored_bytes;
    }
    return sum;
}

/* Of the layer that writes a tensor. */
static uint64_t ops_of(const fb_model *model, int32_t tensor)
{
    fb_layer_info layer;
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        if (fb_model_layer(model, i, &layer) == FB_OK && layer.n_out > 0 && layer.out[0] == tensor)
            return layer.ops;
    }
    return 0;
}

/* The step's LAYER_RUNS times, least first. */
static const uint64_t *step_times(lane *l, uint32_t step)
{
    uint64_t *times = l->steps + (size_t)step * LAYER_RUNS;
    qsort(times, LAYER_RUNS, sizeof *times, smaller_first);
    return times;
}

/* Least time of the step of the same name and operator, 0 when there is none. */
static uint64_t same_step(lane *base, const fb_step_info *step)
{
    fb_step_info other;
    for (uint32_t i = 0; base && i < fb_plan_n_steps(base->plan); i++)
        if (fb_plan_step(base->plan, i, &other) == FB_OK && strcmp(other.name, step->name) == 0 &&
            strcmp(other.op, step->op) == 0)
            return step_times(base, i)[0];
    return 0;
}

/* base: what layers are compared with, or NULL. */
static fb_status report_layers(lane *l, lane *base, fb_bench_result *out)
{
    out->n_layers = fb_plan_n_steps(l->plan);
    out->layers = fb_calloc((size_t)out->n_layers + 1, sizeof *out->layers);
    if (!out->layers)
        return fb_fail(FB_E_MEMORY, "no memory for timings");
    for (uint32_t i = 0; i < out->n_layers; i++) {
        fb_step_info step;
        FB_TRY(fb_plan_step(l->plan, i, &step));
        const uint64_t *times = step_times(l, i);
        out->layers[i] =
            (fb_bench_layer){.name = step.name,
                             .op = step.op,
                             .kernel = step.kernel,
                             .median_ns = quantile(times, LAYER_RUNS, 0.5),
                             .min_ns = times[0],
                             .base_ns = same_step(base, &step),
                             .macs = step.macs,
                             .ops = step.macs ? out->batch * ops_of(l->model, step.out) : 0};
    }
    return FB_OK;
}

static fb_status report(lane *l, lane *base, uint64_t rounds, const fb_measure_options *options,
                        fb_bench_result *out)
{
    qsort(l->samples, rounds, sizeof *l->samples, smaller_first);
    *out = (fb_bench_result){.threads = threads_of(options->n_threads),
                             .batch = options->batch,
                             .samples = rounds,
                             .min_ns = l->samples[0],
                             .median_ns = quantile(l->samples, rounds, 0.5),
                             .p10_ns = quantile(l->samples, rounds, 0.1),
                             .p90_ns = quantile(l->samples, rounds, 0.9),
                             .weight_bytes = weight_bytes(l->model),
                             .packed_bytes = fb_plan_packed_bytes(l->plan)};
    out->workspace_bytes =
        fb_plan_workspace_bytes(l->plan) + (uint64_t)out->threads * l->plan->scratch_bytes;
    out->peak_bytes = out->weight_bytes + out->packed_bytes + out->workspace_bytes;
    out->tensor_bytes = fb_plan_workspace_bytes(l->plan);
    FB_TRY(fb_model_activation_bytes(l->model, &out->activation_bytes));
    return report_layers(l, base, out);
}

static bool has_tables(const fb_model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        const fb_encoding *e = &model->tensors[i].enc;
        if (e->kind == FB_ENC_PRODUCT && e->table_bits)
            return true;
    }
    return false;
}

/* Lanes of the models and, behind them, of a single model with look-up tables on its decoded
 * weights: what its layers are compared with. */
static fb_status open_lanes(lane *lanes, const fb_model *const *models, uint32_t n,
                            const fb_measure_options *options, uint32_t *n_lanes)
{
    fb_measure_options decoded = *options;
    decoded.tables = FB_TABLES_DECODE;
    for (*n_lanes = 0; *n_lanes < n; ++*n_lanes)
        FB_TRY(open_lane(&lanes[*n_lanes], models[*n_lanes], options));
    if (n > 1 || options->tables == FB_TABLES_DECODE || !has_tables(models[0]))
        return FB_OK;
    lanes[n].layers_only = true;
    ++*n_lanes;
    return open_lane(&lanes[n], models[0], &decoded);
}

fb_status fb_bench(const fb_model *const *models, uint32_t n, double seconds,
                   const fb_measure_options *options, fb_bench_result *results)
{
    fb_measure_options defaults;
    fb_measure_options_default(&defaults);
    options = options ? options : &defaults;
    for (uint32_t m = 0; m < n; m++)
        results[m] = (fb_bench_result){0};
    if (n < 1 || options->batch < 1)
        return fb_fail(FB_E_ARG, "nothing to time: %u models, batches of %u", n, options->batch);
    lane *lanes = fb_calloc((size_t)n + 1, sizeof *lanes);
    if (!lanes)
        return fb_fail(FB_E_MEMORY, "no memory for timings");
    fb_status status;
    uint64_t rounds;
    uint32_t n_lanes = 0;
    FB_GO(open_lanes(lanes, models, n, options, &n_lanes));
    FB_GO(time_all(lanes, n_lanes, seconds, options, &rounds));
    for (uint32_t m = 0; m < n; m++) {
        lane *base = m > 0 ? &lanes[0] : n_lanes > n ? &lanes[n] : NULL;
        FB_GO(report(&lanes[m], base, rounds, options, &results[m]));
    }
fail:
    for (uint32_t m = 0; status != FB_OK && m < n; m++)
        fb_bench_result_free(&results[m]);
    release(lanes, n + 1);
    return status;
}

void fb_bench_result_free(fb_bench_result *result)
{
    fb_free(result->layers);
    *result = (fb_bench_result){0};
}
