/* The loop over steps, epochs' ends, checkpoints, reports. */
#include "base/file.h"
#include "train/loss.h"
#include "train/mixup.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- phases ---------------------------------------------------------------------------------- */

uint64_t fb_trainer_phase(const fb_trainer *t, uint32_t phase)
{
    return (uint64_t)t->epochs * phase / t->n_phases * t->per_epoch;
}

/* The schedule runs anew in each phase. */
static double rate_at(const fb_trainer *t, uint64_t step)
{
    fb_schedule s = t->schedule;
    uint32_t phase = t->n_phases;
    while (phase > 1 && fb_trainer_phase(t, phase - 1) > step)
        phase--;
    uint64_t first = fb_trainer_phase(t, phase - 1);
    s.steps = fb_trainer_phase(t, phase) - first;
    return fb_schedule_rate(&s, step - first);
}

/* At the first step of a phase some weights freeze. */
static fb_status begin_phases(fb_trainer *t)
{
    while (t->has_plan && !t->plan.ternary && t->begun < t->n_phases &&
           fb_trainer_phase(t, t->begun) <= t->run.step) {
        FB_TRY(fb_tuning_share(t->tuning, t->begun));
        t->begun++;
    }
    return FB_OK;
}

/* ---- reports, log, state --------------------------------------------------------------------- */

static fb_train_report report_of(const fb_trainer *t)
{
    const fb_run_state *run = &t->run;
    uint64_t in_epoch = run->step % t->per_epoch;
    double spent = fb_trainer_now() - t->started, did = (double)(run->step - t->first_step);
    fb_train_report r = {.epoch = run->step / t->per_epoch,
                         .epochs = t->epochs,
                         .step = run->step,
                         .steps = t->steps,
                         .rank = t->ranks->own,
                         .val_loss = (double)NAN,
                         .val_top1 = (double)NAN};
    r.rate = run->step ? rate_at(t, run->step - 1) : 0;
    if (in_epoch) {
        r.loss = run->loss / (double)in_epoch;
        r.top1 = 100.0 * (double)run->correct / (double)(in_epoch * t->o->batch);
    }
    if (did > 0 && spent > 0) {
        r.images_per_second = did * t->o->batch / spent;
        r.seconds_left = (double)(r.steps - r.step) * spent / did;
    }
    return r;
}

fb_train_report fb_trainer_report(const fb_trainer *t)
{
    fb_train_report r = report_of(t);
    if (t->run.n_rows == 0)
        return r;
    const fb_train_row *row = &t->run.rows[t->run.n_rows - 1];
    r.epoch = row->epoch;
    r.step = row->step;
    r.rate = row->rate;
    r.loss = row->loss;
    r.top1 = row->top1;
    r.val_loss = row->val_loss;
    r.val_top1 = row->val_top1;
    r.epoch_end = true;
    return r;
}

fb_status fb_trainer_log(const fb_trainer *t)
{
    fb_file file;
    if (!t->o->log || t->ranks->own > 0)
        return FB_OK;
    FB_TRY(fb_file_create(t->o->log, &file));
    fputs("epoch,step,rate,loss,top1,val_loss,val_top1,seconds\n", file.stream);
    for (uint32_t i = 0; i < t->run.n_rows; i++) {
        const fb_train_row *r = &t->run.rows[i];
        char line[256];
        (void)snprintf(line, sizeof line, "%" PRIu64 ",%" PRIu64 ",%.6g,%.6f,%.3f,%.6f,%.3f,%.1f\n",
                       r->epoch, r->step, r->rate, r->loss, r->top1, r->val_loss, r->val_top1,
                       r->seconds);
        fputs(line, file.stream);
    }
    return fb_file_commit(&file);
}

/* All processes hold the same state, so one writes it. */
static fb_status save_state(fb_trainer *t)
{
    t->run.seconds = t->before + fb_trainer_now() - t->started;
    t->saved = fb_trainer_now();
    if (!t->o->state || t->ranks->own > 0)
        return FB_OK;
    const fb_run_parts parts = fb_trainer_parts(t);
    return fb_checkpoint_write(t->o->state, t->key, &t->run, &parts);
}

/* ---- a step, an epoch ------------------------------------------------------------------------ */

/* With mixup, the batch's samples and labels are blends of two. */
static void mix(fb_trainer *t, float *x, size_t n)
{
    const fb_train_options *o = t->o;
    t->own = 1;
    if (o->mixup > 0) {
        t->own = fb_mixup_share(o->mixup, o->seed, t->run.step);
        fb_mixup(t->own, t->batch, n / t->batch, x, t->labels, t->partners);
    }
}

/* Cross-entropy times `weight`, its gradient added to g. */
static double label_loss(fb_trainer *t, double weight, const float *logits, float *g,
                         uint64_t *correct)
{
    const fb_train_options *o = t->o;
    double own = (double)t->own, loss;
    loss = own * fb_loss_cross_entropy(t->batch, t->classes, logits, t->labels, o->smoothing,
                                       weight * own, g, correct);
    if (own < 1)
        loss += (1 - own) * fb_loss_cross_entropy(t->batch, t->classes, logits, t->partners,
                                                  o->smoothing, weight * (1 - own), g, NULL);
    return weight * loss;
}

/* From a share of the batch to all of it. */
static fb_status sum_losses(fb_trainer *t, double *loss, uint64_t correct)
{
    double sums[2] = {*loss, (double)correct};
    FB_TRY(fb_ranks_sum(t->ranks, sums, 2));
    *loss = sums[0] / t->ranks->n;
    t->run.correct += (uint64_t)sums[1];
    return FB_OK;
}

/* All in one message. */
static fb_status average_gradients(fb_trainer *t)
{
    float *at = t->gradients;
    if (!at)
        return FB_OK;
    for (uint32_t i = 0; i < fb_net_n_params(t->net); i++) {
        const fb_param *p = fb_net_param(t->net, i);
        if (!p->g)
            continue;
        memcpy(at, p->g, p->n * sizeof *at);
        at += p->n;
    }
    FB_TRY(fb_ranks_mean(t->ranks, t->gradients, (size_t)(at - t->gradients)));
    at = t->gradients;
    for (uint32_t i = 0; i < fb_net_n_params(t->net); i++) {
        fb_param *p = fb_net_param(t->net, i);
        if (!p->g)
            continue;
        memcpy(p->g, at, p->n * sizeof *at);
        at += p->n;
    }
    return FB_OK;
}

static fb_status step_once(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    size_t n_x, n_logits;
    float *x = fb_net_input(t->net, &n_x);
    fb_stream_next(t->stream, x, t->labels);
    mix(t, x, n_x);
    if (t->teacher)
        FB_TRY(fb_predictor_run(t->teacher, t->batch, x, t->answers));
    FB_TRY(begin_phases(t));
    if (t->tuning)
        FB_TRY(fb_tuning_forward(t->tuning));
    FB_TRY(fb_net_forward(t->net, FB_NET_TRAIN, t->run.step));
    const float *logits = fb_net_logits(t->net, &n_logits);
    float *g = fb_net_logits_gradient(t->net);
    double share = t->teacher ? o->distill : 0, loss;
    uint64_t correct = 0;
    memset(g, 0, n_logits * sizeof *g);
    loss = label_loss(t, 1 - share, logits, g, &correct);
    if (t->teacher)
        loss += share *
                fb_loss_distill(t->batch, t->classes, logits, t->answers, o->temperature, share, g);
    if (t->hints.teacher)
        FB_TRY(fb_hints_run(&t->hints, t->net, &loss));
    FB_TRY(sum_losses(t, &loss, correct));
    if (!isfinite(loss))
        return fb_fail(FB_E_FORMAT,
                       "the loss is no longer finite at step %" PRIu64 "; a lower rate may help",
                       t->run.step);
    FB_TRY(fb_net_backward(t->net));
    if (t->tuning)
        fb_tuning_backward(t->tuning);
    FB_TRY(average_gradients(t));
    fb_optim_step(&t->optim, (float)rate_at(t, t->run.step), t->run.step, NULL);
    if (t->average.n)
        fb_average_step(&t->average, t->net, t->run.step);
    t->run.loss += loss;
    t->run.step++;
    return FB_OK;
}

static fb_status note_run(const fb_trainer *t, fb_model *m)
{
    char text[FB_TRAINER_TEXT], print[24];
    FB_TRY(fb_trainer_text(t, text, sizeof text));
    FB_TRY(fb_model_set_prep(m, t->o->prep));
    FB_TRY(fb_model_set_note(m, t->tune ? "tune" : "train", text));
    (void)snprintf(print, sizeof print, "0x%.16s", fb_data_fingerprint(t->o->data));
    return fb_model_set_note(m, "data.fingerprint", print);
}

fb_status fb_trainer_model(const fb_trainer *t, fb_model **out)
{
    const float *const *values = (const float *const *)t->average.a;
    FB_TRY(t->tuning ? fb_tuning_model(t->tuning, values, out)
                     : fb_net_to_model(t->net, values, out));
    fb_status status = note_run(t, *out);
    if (status != FB_OK)
        fb_model_close(out);
    return status;
}

/* By rank 0; the others wait where they next need it. */
static fb_status evaluate(const fb_trainer *t, fb_train_row *row)
{
    fb_measure_options o;
    fb_eval_result r;
    fb_model *m;
    row->val_loss = row->val_top1 = (double)NAN;
    if (!t->o->val || t->ranks->own > 0)
        return FB_OK;
    fb_measure_options_default(&o);
    o.n_threads = t->o->n_threads;
    o.progress = t->o->progress;
    o.progress_user = t->o->progress_user;
    FB_TRY(fb_trainer_model(t, &m));
    fb_data_rewind(t->o->val);
    const fb_model *models[1] = {m};
    fb_status status = fb_eval(models, 1, t->o->val, &o, &r);
    fb_model_close(&m);
    if (status == FB_OK) {
        row->val_loss = r.loss;
        row->val_top1 = r.top1;
    }
    return status;
}

static fb_status end_epoch(fb_trainer *t)
{
    fb_train_row row = {.epoch = t->run.step / t->per_epoch, .step = t->run.step};
    row.rate = rate_at(t, t->run.step - 1);
    row.loss = t->run.loss / (double)t->per_epoch;
    row.top1 = 100.0 * (double)t->run.correct / (double)(t->per_epoch * t->o->batch);
    FB_TRY(evaluate(t, &row));
    row.seconds = t->before + fb_trainer_now() - t->started;
    t->run.rows[t->run.n_rows++] = row;
    t->run.loss = 0;
    t->run.correct = 0;
    FB_TRY(save_state(t));
    return fb_trainer_log(t);
}

/* No process leaves before the state is written: the end of one ends all. */
static fb_status stopped(fb_trainer *t)
{
    uint32_t none = 0;
    FB_TRY(save_state(t));
    FB_TRY(fb_ranks_any(t->ranks, &none));
    return fb_fail(FB_E_INTERRUPTED, "interrupted after %" PRIu64 " of %" PRIu64 " steps",
                   t->run.step, t->steps);
}

enum { STOP = 1, OUT_OF_TIME = 2 };

/* What any process wishes; rank 0 has the clock. */
static fb_status wishes(const fb_trainer *t, const fb_train_report *r, uint32_t *bits)
{
    const fb_train_options *o = t->o;
    bool late = o->time_limit > 0 && fb_trainer_now() - t->started >= o->time_limit;
    *bits = late && t->ranks->own == 0 ? OUT_OF_TIME : 0;
    if (o->watch && !o->watch(o->watch_user, r))
        *bits |= STOP;
    return fb_ranks_any(t->ranks, bits);
}

/* An epoch's last step is saved together with its row: a state between two epochs has it. */
fb_status fb_trainer_loop(fb_trainer *t, bool *finished)
{
    uint32_t bits;
    *finished = false;
    while (t->run.step < t->steps) {
        FB_TRY(step_once(t));
        bool end = t->run.step % t->per_epoch == 0;
        if (end)
            FB_TRY(end_epoch(t));
        else if (fb_trainer_now() - t->saved >= t->o->state_seconds)
            FB_TRY(save_state(t));
        const fb_train_report r = end ? fb_trainer_report(t) : report_of(t);
        FB_TRY(wishes(t, &r, &bits));
        if (bits & STOP)
            return stopped(t);
        if (bits & OUT_OF_TIME && t->run.step < t->steps)
            return save_state(t);
    }
    *finished = true;
    return FB_OK;
}
