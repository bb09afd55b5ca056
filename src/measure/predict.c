/* Samples in, rows of scores out; and the best of a row. */
#include "measure/feed.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>

struct fb_predictor {
    fb_plan *plan;
    fb_run *run;
    fb_feed feed;
    int32_t output;
    uint32_t classes;
};

/* Scores of one sample: the output's elements shared out over the samples of a run. */
static fb_status count_classes(fb_predictor *p, const fb_model *model, uint32_t batch)
{
    fb_tensor_info t;
    FB_TRY(fb_model_tensor(model, (uint32_t)p->output, &t));
    uint64_t elems = 1;
    for (uint32_t i = 0; i < t.rank; i++)
        elems *= (uint64_t)(t.dims[i] < 0 ? -t.dims[i] * (int64_t)batch : t.dims[i]);
    if (elems == 0 || elems % p->feed.per_run != 0 || elems / p->feed.per_run > UINT32_MAX)
        return fb_fail(FB_E_UNSUPPORTED,
                       "output '%s' has %llu elements, which cannot be shared out over %u samples",
                       t.name, (unsigned long long)elems, p->feed.per_run);
    p->classes = (uint32_t)(elems / p->feed.per_run);
    return FB_OK;
}

static fb_status prepare(fb_predictor *p, const fb_model *model, const fb_measure_options *options)
{
    fb_sample_shape shape; /* refuses a model that images cannot feed before anything is built */
    FB_TRY(fb_model_sample_shape(model, &shape));
    if (fb_model_n_outputs(model) < 1)
        return fb_fail(FB_E_UNSUPPORTED, "the model has no output");
    fb_plan_options plan = {
        .batch = options->batch, .cpu = options->cpu, .tables = options->tables};
    FB_TRY(fb_plan_create(model, &plan, &p->plan));
    FB_TRY(fb_run_create(p->plan, options->n_threads, &p->run));
    FB_TRY(fb_feed_init(&p->feed, model, p->run));
    p->output = fb_model_output(model, 0);
    return count_classes(p, model, options->batch);
}

fb_status fb_predictor_create(const fb_model *model, const fb_measure_options *options,
                              fb_predictor **out)
{
    *out = NULL;
    fb_measure_options defaults;
    fb_measure_options_default(&defaults);
    fb_predictor *p = fb_calloc(1, sizeof *p);
    if (!p)
        return fb_fail(FB_E_MEMORY, "no memory for a predictor");
    fb_status status = prepare(p, model, options ? options : &defaults);
    if (status != FB_OK) {
        fb_predictor_destroy(&p);
        return status;
    }
    *out = p;
    return FB_OK;
}

void fb_predictor_destroy(fb_predictor **predictor)
{
    fb_predictor *p = predictor ? *predictor : NULL;
    if (!p)
        return;
    fb_run_destroy(&p->run);
    fb_plan_destroy(&p->plan);
    fb_free(p);
    *predictor = NULL;
}

uint32_t fb_predictor_classes(const fb_predictor *predictor)
{
    return predictor->classes;
}

fb_status fb_predictor_run(fb_predictor *p, uint32_t n, const float *x, float *scores)
{
    for (uint32_t done = 0; done < n;) {
        uint32_t now = n - done < p->feed.per_run ? n - done : p->feed.per_run;
        fb_view out;
        FB_TRY(fb_feed_fill(&p->feed, p->run, now, x + (size_t)done * p->feed.sample));
        FB_TRY(fb_run_execute(p->run));
        FB_TRY(fb_run_tensor(p->run, p->output, &out));
        fb_view_read(&out, 0, (size_t)now * p->classes, scores + (size_t)done * p->classes);
        done += now;
    }
    return FB_OK;
}

static double share_of(const fb_saturations *s)
{
    return s->of ? (double)(s->sums + s->outputs) / (double)s->of : 0;
}

/* Keeps the list sorted; equal shares stay in execution order. */
static void add_worst(fb_overflow_report *r, const char *name, const fb_saturations *over)
{
    uint32_t at = r->n_worst;
    while (at > 0 && share_of(over) > share_of(&r->worst[at - 1].over))
        at--;
    if (at == FB_OVERFLOW_WORST)
        return;
    if (r->n_worst < FB_OVERFLOW_WORST)
        r->n_worst++;
    for (uint32_t k = r->n_worst - 1; k > at; k--)
        r->worst[k] = r->worst[k - 1];
    r->worst[at].name = name;
    r->worst[at].over = *over;
}

void fb_predictor_overflows(const fb_predictor *p, fb_overflow_report *report)
{
    *report = (fb_overflow_report){0};
    for (uint32_t i = 0; i < fb_plan_n_steps(p->plan); i++) {
        fb_saturations s;
        fb_step_info info;
        if (fb_run_saturations(p->run, i, &s) != FB_OK || fb_plan_step(p->plan, i, &info) != FB_OK)
            continue;
        report->total.sums += s.sums;
        report->total.outputs += s.outputs;
        report->total.of += s.of;
        if (s.sums + s.outputs == 0)
            continue;
        report->n_layers++;
        add_worst(report, info.name, &s);
    }
}

bool fb_is_distribution(const float *scores, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!(scores[i] >= 0))
            return false;
        sum += (double)scores[i];
    }
    return fabs(sum - 1) < 1e-3;
}

double fb_log_sum_exp(const float *scores, uint32_t n)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        if ((double)scores[i] > most)
            most = (double)scores[i];
    }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)scores[i] - most);
    return most + log(sum);
}

/* NaN compares below everything, so that it never wins. */
static bool better(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

uint32_t fb_top(const float *scores, uint32_t n, uint32_t k, fb_guess *guesses)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = found;
        while (at > 0 && better(scores[i], guesses[at - 1].score))
            at--;
        if (at == k)
            continue;
        if (found < k)
            found++;
        for (uint32_t j = found - 1; j > at; j--)
            guesses[j] = guesses[j - 1];
        guesses[at] = (fb_guess){.label = i, .score = scores[i]};
    }
    bool distribution = fb_is_distribution(scores, n);
    double norm = distribution ? 0 : fb_log_sum_exp(scores, n);
    for (uint32_t i = 0; i < found; i++)
        guesses[i].probability =
            distribution ? guesses[i].score : (float)exp((double)guesses[i].score - norm);
    return found;
}
