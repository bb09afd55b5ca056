/* The diagnosis: one look after the other, each with what the ones before have settled. */
#include "measure/why.h"

#include "fewbit/onnx.h"

#include <math.h>
#include <string.h>

void fb_why_options_default(fb_why_options *options)
{
    *options = (fb_why_options){.limit = 200};
    fb_measure_options_default(&options->measure);
    options->measure.batch = 4;
}

static fb_status start(fb_why_state *s)
{
    FB_TRY(fb_model_sample_shape(s->model, &s->shape));
    s->report->memory = s->memory = fb_arena_create();
    if (!s->memory)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    s->trials = fb_arena_array(s->memory, FB_WHY_TRIALS, sizeof *s->trials);
    if (!s->trials)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    return FB_OK;
}

/* The predictor lives only while preprocessings are tried: later looks have plans of their own. */
static fb_status try_preps(fb_why_state *s)
{
    fb_status status = fb_predictor_create(s->model, &s->options->measure, &s->predictor);
    if (status == FB_OK) {
        s->classes = fb_predictor_classes(s->predictor);
        s->phase = "trying preprocessings";
        status = fb_why_prep(s);
    }
    fb_predictor_destroy(&s->predictor);
    return status;
}

static void fill_head(fb_why_state *s)
{
    fb_why_report *r = s->report;
    const fb_trial *t = s->best;
    r->images = t->n;
    r->labelled = s->labelled;
    r->prep = t->text;
    r->top1 = s->labelled ? 100.0 * (double)fb_why_read(s, t, FB_READ_PLAIN, NULL) / (double)t->n
                          : (double)NAN;
}

fb_status fb_why(const fb_model *model, const fb_why_options *options, fb_why_report *report)
{
    fb_why_state s = {.model = model, .options = options, .report = report, .n_tests = 1};
    fb_status status;
    *report = (fb_why_report){.small_top1 = (double)NAN, .agreement = (double)NAN};
    if (!options || !options->data || options->measure.batch < 1)
        return fb_fail(FB_E_ARG, "fb_why needs data and a batch of at least 1");
    FB_GO(start(&s));
    FB_GO(try_preps(&s));
    fill_head(&s);
    FB_GO(fb_why_labels(&s));
    FB_GO(fb_why_layers(&s));
    if (options->small)
        FB_GO(fb_why_compressed(&s));
    fb_why_sort(report);
    return FB_OK;
fail:
    fb_why_report_free(report);
    return status;
}

/* --- what the importer refuses ---------------------------------------------------------------- */

/* "node: operator: training mode..." lines of the importer; the first and how many. */
static uint32_t count_training(const char *lines, const char **first, size_t *n)
{
    uint32_t count = 0;
    for (const char *at = lines, *end; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, "\n");
        const char *hit = strstr(at, "training mode");
        if (!hit || hit > end)
            continue;
        if (count++ == 0) {
            *first = at;
            *n = (size_t)(end - at);
        }
    }
    return count;
}

fb_status fb_why_refused(fb_why_report *report)
{
    fb_why_state s = {.report = report};
    const char *first = "";
    size_t n = 0;
    fb_status status;
    *report =
        (fb_why_report){.top1 = (double)NAN, .small_top1 = (double)NAN, .agreement = (double)NAN};
    uint32_t count = count_training(fb_onnx_unsupported(), &first, &n);
    if (count == 0)
        return FB_OK;
    report->memory = s.memory = fb_arena_create();
    if (!s.memory)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    fb_why_say say = {
        .kind = "training-mode",
        .points = (double)NAN,
        .what = fb_why_text(&s,
                            "the file was exported in training mode: %u of its layers would use "
                            "the statistics of each batch or drop values at random (%.*s)",
                            count, n > 200 ? 200 : (int)n, first),
        .advice = "call model.eval() before the export",
        .n_numbers = 1,
        .numbers = {{"layers", count}}};
    FB_GO(fb_why_find(&s, &say));
    return FB_OK;
fail:
    fb_why_report_free(report);
    return status;
}

void fb_why_report_free(fb_why_report *report)
{
    fb_free(report->findings);
    fb_free(report->looks);
    fb_arena_destroy(report->memory);
    *report = (fb_why_report){0};
}
