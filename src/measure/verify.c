/* Fast kernels against the reference, layer by layer. The report and the comparison of one tensor
 * are in verify_report.c. */
#include "measure/verify.h"

#include "numeric/random.h"

#include "base/alloc.h"
#include "base/status.h"
#include "plan/plan.h"

#include <string.h>

enum { SEVERAL_THREADS = 4 };

/* The kinds of input. Quantised layers saturate on the large ones, which is where pair sums of
 * 8-bit products are at their limit. */
typedef enum pattern {
    RANDOM_A,
    RANDOM_B,
    ZEROS,
    ALL_HIGH,
    ALL_LOW,
    ALTERNATING,
    OUTSIZE, /* random, 16 times the usual range */
    N_PATTERNS
} pattern;

typedef struct verifier {
    const fb_model *model;
    const fb_measure_options *options;
    fb_verify_report *report;
    fb_plan *ref_plan;
    fb_run *ref;
    fb_run *one, *many;     /* the fast plan on one thread and on several */
    const char **kernel_of; /* [n_tensors], in the fast plan */
    uint32_t cpu;           /* level at hand; its rows start at first_row, one for each tensor */
    uint32_t first_row;
    uint32_t row; /* next row of this pass, from first_row */
    size_t cap_rows;
    uint64_t done, total;
} verifier;

/* --- inputs ---------------------------------------------------------------------------------- */

/* Range of a preprocessed pixel, or -1..1 when the model does not say. */
static void value_range(const fb_model *model, float *lo, float *hi)
{
    const fb_prep *p = fb_model_prep(model);
    *lo = -1;
    *hi = 1;
    if (!p->name[0] || !(p->scale > 0) || !(p->std[0] > 0))
        return;
    *lo = (0 - p->mean[0]) / p->std[0];
    *hi = (255 / p->scale - p->mean[0]) / p->std[0];
}

static float pattern_value(pattern kind, size_t i, float lo, float hi, uint64_t *seed)
{
    switch (kind) {
    case ZEROS:
        return 0;
    case ALL_HIGH:
        return hi;
    case ALL_LOW:
        return lo;
    case ALTERNATING:
        return i % 2 ? hi : lo;
    case OUTSIZE:
        return fb_random_float(seed, 16 * lo, 16 * hi);
    default:
        return fb_random_float(seed, lo, hi);
    }
}

/* Integer inputs get the same patterns over the codes of their type. */
static void fill_codes(const fb_view *view, void *to, pattern kind, uint64_t *seed)
{
    size_t bytes = view->bytes;
    uint8_t *out = to;
    for (size_t i = 0; i < bytes; i++) {
        float v = pattern_value(kind == OUTSIZE ? RANDOM_B : kind, i, 0, 256, seed);
        out[i] = (uint8_t)(v > 255 ? 255 : v);
    }
}

static fb_status fill_inputs(const verifier *v, fb_run *run, pattern kind)
{
    float lo, hi;
    uint64_t seed = v->options->seed * N_PATTERNS + kind;
    value_range(v->model, &lo, &hi);
    for (uint32_t k = 0; k < fb_model_n_inputs(v->model); k++) {
        fb_view view;
        FB_TRY(fb_run_tensor(run, fb_model_input(v->model, k), &view));
        if (view.dtype == FB_F32) {
            float *x = fb_run_input(run, k, NULL);
            for (size_t i = 0; i < view.n_elems; i++)
                x[i] = pattern_value(kind, i, lo, hi, &seed);
        } else if (fb_dtype_bytes(view.dtype) <= 2) {
            fill_codes(&view, fb_run_input(run, k, NULL), kind, &seed);
        }
    }
    return FB_OK;
}

/* --- the reference, step by step ------------------------------------------------------------- */

/* The row of this comparison: a new one in the first pass over a level, the same one later. */
static fb_status next_row(verifier *v, int32_t tensor, const fb_step *step, fb_verify_layer **row)
{
    fb_verify_report *r = v->report;
    uint32_t at = v->first_row + v->row++;
    if (at == r->n_layers) {
        void *items = r->layers;
        fb_tensor_info t;
        if (!fb_grow(&items, &v->cap_rows, (size_t)at + 1, sizeof *r->layers))
            return fb_fail(FB_E_MEMORY, "no memory for the report");
        r->layers = items;
        FB_TRY(fb_model_tensor(v->model, (uint32_t)tensor, &t));
        const char *kernel = v->kernel_of[tensor];
        r->layers[r->n_layers++] = (fb_verify_layer){.name = step->name,
                                                     .op = step->op,
                                                     .kernel = kernel ? kernel : step->kernel,
                                                     .tensor = t.name,
                                                     .cpu = v->cpu};
    }
    *row = &r->layers[at];
    return FB_OK;
}

/* Compares one tensor with the fast runs' and then puts the fast run's values in its place, so that
 * the next reference step starts from the same numbers. */
static fb_status settle(verifier *v, const fb_run *ref, int32_t tensor, const fb_step *step,
                        bool from_float)
{
    fb_view want, got, many;
    fb_verify_layer *row = NULL;
    if (fb_run_tensor(ref, tensor, &want) != FB_OK ||
        fb_run_tensor(v->one, tensor, &got) != FB_OK ||
        fb_run_tensor(v->many, tensor, &many) != FB_OK)
        return FB_OK; /* not materialised in one of the plans */
    FB_ENSURE(want.bytes == got.bytes && want.dtype == got.dtype);
    FB_TRY(next_row(v, tensor, step, &row));
    fb_verify_compare(row, &want, &got, &many, from_float);
    if (step->run)
        memcpy((void *)(uintptr_t)want.data, got.data, want.bytes);
    return FB_OK;
}

static fb_status after_step(void *user, const fb_run *ref, uint32_t i)
{
    verifier *v = user;
    const fb_step *step = &v->ref_plan->steps[i];
    int32_t n_tensors = (int32_t)fb_model_n_tensors(v->model);
    for (uint32_t k = 0; k < step->n_out; k++) {
        if (step->out[k] >= 0 && step->out[k] < n_tensors)
            FB_TRY(settle(v, ref, step->out[k], step, step->from_float));
    }
    return FB_OK;
}

static fb_status one_input(verifier *v, pattern kind)
{
    const fb_measure_options *o = v->options;
    if (o->progress && !o->progress(o->progress_user, "verifying", v->done++, v->total))
        return fb_fail(FB_E_INTERRUPTED, "interrupted before the verification was complete");
    FB_TRY(fill_inputs(v, v->one, kind));
    FB_TRY(fill_inputs(v, v->many, kind));
    FB_TRY(fill_inputs(v, v->ref, kind));
    FB_TRY(fb_run_execute(v->one));
    FB_TRY(fb_run_execute(v->many));
    v->row = 0;
    return fb_run_execute(v->ref);
}

/* --- levels ---------------------------------------------------------------------------------- */

static fb_status one_level(verifier *v, uint32_t cpu, uint32_t threads)
{
    fb_plan_options options = {.batch = v->options->batch, .cpu = cpu, .keep_all = true};
    fb_plan *plan = NULL;
    fb_status status;
    v->cpu = cpu;
    v->first_row = v->report->n_layers;
    memset(v->kernel_of, 0, fb_model_n_tensors(v->model) * sizeof *v->kernel_of);
    FB_GO(fb_plan_create(v->model, &options, &plan));
    for (size_t i = 0; i < plan->n_steps; i++) {
        const fb_step *s = &plan->steps[i];
        for (uint32_t k = 0; k < s->n_out; k++) {
            if (s->out[k] >= 0 && s->out[k] < (int32_t)fb_model_n_tensors(v->model))
                v->kernel_of[s->out[k]] = s->kernel;
        }
    }
    FB_GO(fb_run_create(plan, 1, &v->one));
    FB_GO(fb_run_create(plan, threads, &v->many));
    for (int kind = 0; kind < N_PATTERNS; kind++)
        FB_GO(one_input(v, (pattern)kind));
fail:
    fb_run_destroy(&v->one);
    fb_run_destroy(&v->many);
    fb_plan_destroy(&plan);
    return status;
}

/* Levels are cumulative, lowest bit first, as instruction sets build on each other. A machine with
 * none still proves that threads agree. */
static fb_status all_levels(verifier *v, uint32_t threads)
{
    uint32_t usable = v->options->cpu & fb_cpu_usable(), cpu = 0;
    v->total = (uint64_t)(usable ? __builtin_popcount(usable) : 1) * N_PATTERNS;
    if (usable == 0)
        return one_level(v, 0, threads);
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (!(usable & bit))
            continue;
        cpu |= bit;
        FB_TRY(one_level(v, cpu, threads));
    }
    return FB_OK;
}

static fb_status prepare(verifier *v, uint32_t threads)
{
    fb_plan_options options = {.batch = v->options->batch, .cpu = 0, .keep_all = true};
    v->kernel_of = fb_calloc((size_t)fb_model_n_tensors(v->model) + 1, sizeof *v->kernel_of);
    if (!v->kernel_of)
        return fb_fail(FB_E_MEMORY, "no memory to verify");
    FB_TRY(fb_plan_create(v->model, &options, &v->ref_plan));
    FB_TRY(fb_run_create(v->ref_plan, threads, &v->ref));
    fb_run_set_tap(v->ref, after_step, v);
    return FB_OK;
}

fb_status fb_verify(const fb_model *model, const fb_measure_options *options,
                    fb_verify_report *report)
{
    fb_measure_options defaults;
    fb_measure_options_default(&defaults);
    options = options ? options : &defaults;
    uint32_t threads = options->n_threads > 1 ? options->n_threads : SEVERAL_THREADS;
    *report =
        (fb_verify_report){.inputs = N_PATTERNS, .max_threads = threads, .bound = FB_VERIFY_BOUND};
    verifier v = {.model = model, .options = options, .report = report};
    fb_status status;
    FB_GO(prepare(&v, threads));
    FB_GO(all_levels(&v, threads));
    if (options->progress)
        (void)options->progress(options->progress_user, "verifying", v.total, v.total);
    status = fb_verify_conclude(report);
fail:
    fb_run_destroy(&v.ref);
    fb_plan_destroy(&v.ref_plan);
    fb_free(v.kernel_of);
    if (status != FB_OK && status != FB_E_MISMATCH)
        fb_verify_report_free(report);
    return status;
}

void fb_verify_report_free(fb_verify_report *report)
{
    fb_free(report->layers);
    *report = (fb_verify_report){0};
}
