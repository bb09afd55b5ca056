/* Candidates against the reference, image by image. */
#include "compress/judge.h"

#include "base/size.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

enum { FEW_IMAGES = 16 /* tell nothing of their spread */ };

static const size_t most_held = (size_t)400 << 20;

typedef struct court {
    const fb_judge *judge;
    const fb_bar *bar; /* may be NULL */
    float *scores;     /* where the reference's go; NULL while a candidate is judged */
    float *row;        /* [classes] */
    uint64_t image, correct, among_five, agree;
    double loss, squares; /* sums */
    bool enough;
} court;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to judge candidates");
}

static size_t best_of(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* Whether fewer than five scores are above that of `label`, or equal and before it. */
static bool is_among_five(const float *x, size_t n, size_t label)
{
    size_t above = 0;
    for (size_t i = 0; i < n; i++)
        above += x[i] > x[label] || (x[i] == x[label] && i < label);
    return above < 5;
}

/* Scores, logits or probabilities, as log-probabilities. One score stays as it is. */
static void normalise(const float *x, size_t n, float *out)
{
    double sum = 0, most = (double)x[best_of(x, n)], total = 0;
    bool distribution = n > 1;
    for (size_t i = 0; i < n; i++) {
        distribution = distribution && x[i] >= 0;
        total += (double)x[i];
        sum += exp((double)x[i] - most);
    }
    distribution = distribution && fabs(total - 1) < 1e-3;
    for (size_t i = 0; i < n; i++) {
        double v = (double)x[i];
        if (n > 1)
            v = distribution ? log(v > 1e-30 ? v : 1e-30) : v - most - log(sum);
        out[i] = (float)v;
    }
}

static double distance(const float *wanted, const float *got, size_t n)
{
    double loss = 0;
    if (n == 1) {
        double d = (double)got[0] - (double)wanted[0];
        return d * d / fmax((double)wanted[0] * (double)wanted[0], 1e-30);
    }
    for (size_t i = 0; i < n; i++)
        loss += exp((double)wanted[i]) * ((double)wanted[i] - (double)got[i]);
    return loss > 0 ? loss : 0;
}

/* Whether the bar cannot be met any more, or not by any likely chance. */
static bool is_lost(const court *c)
{
    double all = (double)c->judge->samples.count, n = (double)c->image, left = all - n;
    double mean = c->loss / n, spread = (c->squares / n - mean * mean) / n;
    if ((double)c->correct + left < c->bar->correct * all || c->loss > c->bar->loss * all)
        return true;
    return c->image >= FEW_IMAGES && left > 0 && mean - 4 * sqrt(fmax(spread, 0)) > c->bar->loss;
}

static fb_status hear_image(court *c, const float *scores)
{
    const fb_judge *j = c->judge;
    if (c->enough || c->image >= j->samples.count) /* repeated, to fill a batch of fixed size */
        return FB_OK;
    for (size_t i = 0; i < j->classes; i++) {
        if (!isfinite(scores[i]))
            return fb_fail(FB_E_FORMAT, "score %zu is %g; scores must be finite", i,
                           (double)scores[i]);
    }
    float *row = c->scores ? c->scores + c->image * j->classes : c->row;
    normalise(scores, j->classes, row);
    const float *wanted = (c->scores ? c->scores : j->wanted) + c->image * j->classes;
    size_t best = best_of(row, j->classes), best_wanted = best_of(wanted, j->classes);
    size_t label = j->labelled ? (size_t)j->samples.labels[c->image] : best_wanted;
    c->correct += best == label;
    c->agree += best == best_wanted;
    c->among_five += is_among_five(row, j->classes, label);
    double loss = distance(wanted, row, j->classes);
    c->loss += loss;
    c->squares += loss * loss;
    c->image++;
    c->enough = c->enough || (c->bar && is_lost(c));
    return FB_OK;
}

static fb_status hear(void *user, uint32_t k, const fb_view *view)
{
    court *c = user;
    (void)k;
    if (view->dtype != FB_F32)
        return fb_fail(FB_E_UNSUPPORTED, "candidates are judged by float scores, and these are %s",
                       fb_dtype_name(view->dtype));
    for (size_t at = 0; at + c->judge->classes <= view->n_elems; at += c->judge->classes)
        FB_TRY(hear_image(c, (const float *)view->data + at));
    return FB_OK;
}

static fb_status hold_court(court *c, fb_judge *j, const fb_model *model, fb_verdict *verdict)
{
    j->stage.samples = &j->samples; /* the judge may have moved */
    j->stage.options = j->options;
    j->stage.options.enough = &c->enough;
    FB_TRY(fb_stage_run(&j->stage, model, hear, c));
    double n = (double)(c->image ? c->image : 1);
    *verdict = (fb_verdict){.images = c->image,
                            .correct = (double)c->correct / n,
                            .among_five = (double)c->among_five / n,
                            .agree = (double)c->agree / n,
                            .loss = c->loss / n};
    return FB_OK;
}

fb_status fb_judge_open(const fb_job *job, uint64_t images, fb_judge *judge)
{
    const fb_model *m = job->reference;
    const fb_tensor *out = &m->tensors[m->outputs[0]];
    int64_t elems, batch = 1;
    fb_status status;
    *judge = (fb_judge){.options = fb_job_watch(job, "judge")};
    judge->options.progress = NULL; /* told by the step, candidate by candidate */
    FB_GO(fb_samples_open(m, job->data, images, &judge->samples));
    if (out->rank > 0 && out->dims[0] > 0)
        batch = out->dims[0];
    if (!fb_tensor_elems(out, 1, &elems) || elems / batch < 1 ||
        !(judge->wanted = fb_calloc((size_t)judge->samples.count, (size_t)(elems / batch) * 4))) {
        status = no_memory();
        goto fail;
    }
    judge->classes = (size_t)(elems / batch);
    judge->labelled = fb_data_labelled(job->data) && judge->classes > 1;
    for (uint64_t i = 0; i < judge->samples.count && judge->labelled; i++) {
        int32_t label = judge->samples.labels[i];
        if ((uint64_t)label >= judge->classes && label >= 0) {
            status = fb_fail(FB_E_ARG,
                             "label %d of the calibration data is not below %zu, the "
                             "network's classes",
                             (int)label, judge->classes);
            goto fail;
        }
        judge->labelled = label >= 0;
    }
    fb_verdict verdict;
    court c = {.judge = judge, .scores = judge->wanted};
    FB_GO(hold_court(&c, judge, m, &verdict));
    return FB_OK;
fail:
    fb_judge_close(judge);
    return status;
}

fb_status fb_judge_reference(fb_judge *judge, fb_verdict *verdict)
{
    uint64_t correct = 0, among_five = 0, n = judge->samples.count;
    for (uint64_t i = 0; i < n; i++) {
        const float *row = judge->wanted + i * judge->classes;
        size_t best = best_of(row, judge->classes);
        size_t label = judge->labelled ? (size_t)judge->samples.labels[i] : best;
        correct += best == label;
        among_five += is_among_five(row, judge->classes, label);
    }
    *verdict = (fb_verdict){.images = n,
                            .correct = (double)correct / (double)n,
                            .among_five = (double)among_five / (double)n,
                            .agree = 1};
    return FB_OK;
}

static fb_status judge_it(fb_judge *judge, const fb_model *model, const fb_bar *bar,
                          fb_verdict *verdict, bool *lost)
{
    court c = {.judge = judge, .bar = bar, .row = fb_calloc(judge->classes, sizeof(float))};
    if (!c.row)
        return no_memory();
    fb_status status = hold_court(&c, judge, model, verdict);
    *lost = c.enough;
    fb_free(c.row);
    return status;
}

fb_status fb_judge_run(fb_judge *judge, const fb_model *model, fb_verdict *verdict)
{
    bool lost;
    return judge_it(judge, model, NULL, verdict, &lost);
}

fb_status fb_judge_try(fb_judge *judge, const fb_model *model, const fb_bar *bar,
                       fb_verdict *verdict, bool *met)
{
    bool lost;
    *met = false;
    FB_TRY(judge_it(judge, model, bar, verdict, &lost));
    *met = !lost && verdict->loss <= bar->loss && verdict->correct >= bar->correct;
    return FB_OK;
}

fb_status fb_judge_hold(fb_judge *judge, const fb_model *model, uint32_t node)
{
    fb_stage *s = &judge->stage;
    if (s->has_cut && node < s->cut.node) {
        fb_stage_free(s);
        *s = (fb_stage){0};
    }
    s->model = model;
    s->most_bytes = most_held;
    s->samples = &judge->samples;
    s->options = judge->options;
    return node > 0 ? fb_stage_advance(s, node - 1) : FB_OK;
}

void fb_judge_close(fb_judge *judge)
{
    fb_stage_free(&judge->stage);
    fb_samples_close(&judge->samples);
    fb_free(judge->wanted);
    *judge = (fb_judge){0};
}
