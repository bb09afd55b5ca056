/* Accuracy of several models over one pass through the data. */
#include "measure/feed.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

enum { TOP = 5 };

/* What one model has earned so far. */
typedef struct tally {
    fb_predictor *predictor;
    uint32_t classes;
    float *scores; /* [batch][classes] */
    uint64_t top1, top5, agree;
    double loss;
} tally;

/* Everything of one call, so that there is one place that frees it. */
typedef struct evaluation {
    tally *tallies;
    uint32_t n, batch;
    float *x;        /* [batch][sample] */
    int32_t *labels; /* [batch] */
    uint32_t *first; /* [batch], top-1 of the first model */
    uint64_t images;
    bool labelled;
} evaluation;

static void release(evaluation *e)
{
    for (uint32_t m = 0; e->tallies && m < e->n; m++) {
        fb_predictor_destroy(&e->tallies[m].predictor);
        fb_free(e->tallies[m].scores);
    }
    fb_free(e->tallies);
    fb_free(e->x);
    fb_free(e->labels);
    fb_free(e->first);
}

static fb_status same_samples(const fb_model *model, uint32_t m, const fb_sample_shape *first)
{
    fb_sample_shape shape;
    FB_TRY(fb_model_sample_shape(model, &shape));
    if (shape.height != first->height || shape.width != first->width ||
        shape.channels != first->channels)
        return fb_fail(FB_E_ARG,
                       "model %u takes samples of %ux%ux%u, but the first model of "
                       "%ux%ux%u, so that one data set cannot serve both",
                       m + 1, shape.height, shape.width, shape.channels, first->height,
                       first->width, first->channels);
    return FB_OK;
}

static fb_status prepare(evaluation *e, const fb_model *const *models, const fb_data *data,
                         const fb_measure_options *options)
{
    fb_sample_shape shape;
    FB_TRY(fb_model_sample_shape(models[0], &shape));
    FB_TRY(fb_data_fits(data, &shape));
    size_t sample = (size_t)shape.height * shape.width * shape.channels;
    e->tallies = fb_calloc(e->n, sizeof *e->tallies);
    e->x = fb_calloc(e->batch, sample * sizeof *e->x);
    e->labels = fb_calloc(e->batch, sizeof *e->labels);
    e->first = fb_calloc(e->batch, sizeof *e->first);
    if (!e->tallies || !e->x || !e->labels || !e->first)
        return fb_fail(FB_E_MEMORY, "no memory for batches of %u images", e->batch);
    for (uint32_t m = 0; m < e->n; m++) {
        tally *t = &e->tallies[m];
        FB_TRY(same_samples(models[m], m, &shape));
        FB_TRY(fb_predictor_create(models[m], options, &t->predictor));
        t->classes = fb_predictor_classes(t->predictor);
        t->scores = fb_calloc(e->batch, t->classes * sizeof *t->scores);
        if (!t->scores)
            return fb_fail(FB_E_MEMORY, "no memory for the scores of %u images", e->batch);
    }
    return FB_OK;
}

static double cross_entropy(const float *scores, uint32_t classes, int32_t label)
{
    double p = (double)scores[label];
    if (!fb_is_distribution(scores, classes))
        return fb_log_sum_exp(scores, classes) - p;
    return -log(p > 1e-38 ? p : 1e-38); /* a probability of zero is finite in 32 bits */
}

/* Adds image i of the batch to the tally of model m. */
static fb_status count(evaluation *e, uint32_t m, uint32_t i)
{
    tally *t = &e->tallies[m];
    const float *scores = t->scores + (size_t)i * t->classes;
    fb_guess top[TOP];
    uint32_t n = fb_top(scores, t->classes, TOP, top);
    if (m == 0)
        e->first[i] = top[0].label;
    t->agree += top[0].label == e->first[i];
    int32_t label = e->labels[i];
    if (label < 0)
        e->labelled = false;
    if (!e->labelled)
        return FB_OK;
    if ((uint32_t)label >= t->classes)
        return fb_fail(FB_E_ARG, "label %d in the data is out of range: model %u has %u classes",
                       label, m + 1, t->classes);
    t->top1 += top[0].label == (uint32_t)label;
    for (uint32_t k = 0; k < n; k++)
        t->top5 += top[k].label == (uint32_t)label;
    t->loss += cross_entropy(scores, t->classes, label);
    return FB_OK;
}

static fb_status run_all(evaluation *e, fb_data *data, const fb_measure_options *options)
{
    uint64_t total = fb_data_count(data);
    for (;;) {
        uint32_t got;
        if (options->progress &&
            !options->progress(options->progress_user, "evaluating", e->images, total))
            return fb_fail(FB_E_INTERRUPTED, "interrupted after %llu of %llu images",
                           (unsigned long long)e->images, (unsigned long long)total);
        FB_TRY(fb_data_next(data, e->batch, e->x, e->labels, &got));
        if (got == 0)
            return FB_OK;
        for (uint32_t m = 0; m < e->n; m++) {
            FB_TRY(fb_predictor_run(e->tallies[m].predictor, got, e->x, e->tallies[m].scores));
            for (uint32_t i = 0; i < got; i++)
                FB_TRY(count(e, m, i));
        }
        e->images += got;
    }
}

static fb_eval_result result_of(const evaluation *e, const tally *t)
{
    double percent = 100.0 / (double)e->images;
    fb_eval_result r = {.images = e->images, .agreement = (double)t->agree * percent};
    r.top1 = e->labelled ? (double)t->top1 * percent : (double)NAN;
    r.top5 = e->labelled ? (double)t->top5 * percent : (double)NAN;
    r.loss = e->labelled ? t->loss / (double)e->images : (double)NAN;
    fb_predictor_overflows(t->predictor, &r.over);
    return r;
}

fb_status fb_eval(const fb_model *const *models, uint32_t n, fb_data *data,
                  const fb_measure_options *options, fb_eval_result *results)
{
    fb_measure_options defaults;
    fb_measure_options_default(&defaults);
    options = options ? options : &defaults;
    if (n < 1 || options->batch < 1)
        return fb_fail(FB_E_ARG, "nothing to evaluate: %u models, batches of %u", n,
                       options->batch);
    evaluation e = {.n = n, .batch = options->batch, .labelled = fb_data_labelled(data)};
    fb_status status;
    FB_GO(prepare(&e, models, data, options));
    FB_GO(run_all(&e, data, options));
    if (e.images == 0) {
        status = fb_fail(FB_E_ARG, "the data set has no images");
        goto fail;
    }
    for (uint32_t m = 0; m < n; m++)
        results[m] = result_of(&e, &e.tallies[m]);
fail:
    release(&e);
    return status;
}
