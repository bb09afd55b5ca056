/* fb_train: options, the loop over steps, epochs' ends, checkpoints. */
#include "fewbit/train.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "fewbit/measure.h"
#include "train/checkpoint.h"
#include "train/loss.h"
#include "train/schedule.h"
#include "train/stream.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MEASURE_BATCHES = 50 }; /* that a model's own batch norms are measured over */

typedef struct trainer {
    const fb_train_options *o;
    const fb_model *model;
    fb_optim_options optim_options;
    fb_schedule schedule;
    fb_augment augment;
    uint64_t per_epoch, key;
    size_t classes;

    fb_samples samples;
    fb_net *net;
    fb_optim optim;
    fb_average average; /* n 0 without */
    fb_stream *stream;
    fb_predictor *teacher;
    int32_t *labels; /* [batch] */
    float *hints;    /* [batch][classes] of the teacher */

    fb_run_state run;
    uint64_t first_step;   /* of this call */
    double started, saved; /* clock */
    double before;         /* seconds of earlier calls */
} trainer;

void fb_train_options_default(fb_train_options *options)
{
    *options = (fb_train_options){.epochs = 15,
                                  .batch = 128,
                                  .optimizer = "sgd",
                                  .momentum = 0.9,
                                  .weight_decay = 5e-4,
                                  .schedule = "one-cycle",
                                  .augment = "none",
                                  .distill = 0.5,
                                  .temperature = 4,
                                  .state_seconds = 60};
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- options --------------------------------------------------------------------------------- */

static fb_status check_range(const char *name, double v, double lo, double hi, bool open)
{
    if (v >= lo && (open ? v < hi : v <= hi))
        return FB_OK;
    return fb_fail(FB_E_ARG, "%s %g must be in [%g, %g%c", name, v, lo, hi, open ? ')' : ']');
}

static fb_status read_options(trainer *t)
{
    const fb_train_options *o = t->o;
    if (!o->data || !o->prep || o->epochs < 1 || o->epochs > 1000000 || o->batch < 1)
        return fb_fail(FB_E_ARG,
                       "training needs data, 1 to 1000000 epochs and a batch of at least 1; got %u "
                       "epochs of batches of %u",
                       o->epochs, o->batch);
    FB_TRY(check_range("momentum", o->momentum, 0, 1, true));
    FB_TRY(check_range("weight decay", o->weight_decay, 0, 1, false));
    FB_TRY(check_range("label smoothing", o->smoothing, 0, 1, true));
    FB_TRY(check_range("dropout", o->dropout, 0, 1, true));
    FB_TRY(check_range("ema", o->ema, 0, 1, true));
    FB_TRY(check_range("distill", o->distill, 0, 1, false));
    FB_TRY(check_range("temperature", o->temperature, 1e-3, 1e3, false));
    FB_TRY(check_range("rate", o->rate, 0, 1000, false));
    FB_TRY(check_range("clip", o->clip, 0, 1e9, false));
    FB_TRY(check_range("warm-up", o->warmup, 0, (double)o->epochs, false));
    FB_TRY(fb_augment_parse(o->augment, &t->augment));
    FB_TRY(fb_schedule_parse(o->schedule, &t->schedule.kind));
    FB_TRY(fb_optim_parse(o->optimizer, &t->optim_options.kind));
    t->optim_options.momentum = (float)o->momentum;
    t->optim_options.decay = (float)o->weight_decay;
    t->optim_options.clip = (float)o->clip;
    t->per_epoch = fb_data_count(o->data) / o->batch;
    if (t->per_epoch == 0)
        return fb_fail(FB_E_ARG, "%" PRIu64 " images do not fill one batch of %u",
                       fb_data_count(o->data), o->batch);
    double preset = t->optim_options.kind == FB_OPTIM_ADAM ? 0.001 : 0.1;
    t->schedule.rate = o->rate > 0 ? o->rate : preset;
    t->schedule.steps = t->per_epoch * o->epochs;
    t->schedule.warmup = (uint64_t)(o->warmup * (double)t->per_epoch);
    return FB_OK;
}

/* Everything that decides what a run computes, as text. */
static fb_status options_text(const trainer *t, char *text, size_t cap)
{
    const fb_train_options *o = t->o;
    static const char *const optims[] = {"sgd", "nesterov", "adam"};
    int n =
        snprintf(text, cap,
                 "%u epochs, batch %u, %s rate %g momentum %g decay %g, %s warmup %g, smoothing "
                 "%g, clip %g, ema %g, dropout %g, augment %s, seed %" PRIu64 "%s",
                 o->epochs, o->batch, optims[t->optim_options.kind], t->schedule.rate, o->momentum,
                 o->weight_decay, o->schedule, o->warmup, o->smoothing, o->clip, o->ema, o->dropout,
                 o->augment[0] ? o->augment : "none", o->seed, o->init ? ", fresh weights" : "");
    if (n > 0 && (size_t)n < cap && o->teacher)
        n += snprintf(text + n, cap - (size_t)n, ", distill %g at %g", o->distill, o->temperature);
    return n > 0 && (size_t)n < cap ? FB_OK : fb_fail(FB_E_ARG, "the options are too long");
}

static void hash_model(fb_hash *h, const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *x = &m->tensors[i];
        fb_hash_add(h, x->dims, (size_t)x->rank * sizeof *x->dims);
        if (x->is_const)
            fb_hash_add(h, x->data, x->data_bytes);
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        fb_hash_add(h, &n->op, sizeof n->op);
        fb_hash_add(h, n->in, n->n_in * sizeof *n->in);
        fb_hash_add(h, n->out, n->n_out * sizeof *n->out);
    }
}

/* What the state file must have been made for. */
static fb_status make_key(trainer *t)
{
    char text[1024], prep[512];
    fb_hash h;
    FB_TRY(options_text(t, text, sizeof text));
    FB_TRY(fb_prep_format(t->o->prep, prep, sizeof prep));
    fb_hash_init(&h);
    fb_hash_add(&h, text, strlen(text));
    fb_hash_add(&h, prep, strlen(prep));
    fb_hash_add(&h, fb_data_fingerprint(t->o->data), 16);
    hash_model(&h, t->model);
    if (t->o->teacher)
        hash_model(&h, t->o->teacher);
    t->key = fb_hash_end(&h);
    return FB_OK;
}

/* ---- starting -------------------------------------------------------------------------------- */

static fb_status check_input(const trainer *t)
{
    fb_sample_shape shape;
    FB_TRY(fb_model_sample_shape(t->model, &shape));
    FB_TRY(fb_data_fits(t->o->data, &shape));
    const fb_tensor *in = &t->model->tensors[t->model->inputs[0]];
    if (in->rank == 4 && (in->dims[1] != (int64_t)shape.height || in->dims[3] != shape.channels))
        return fb_fail(FB_E_UNSUPPORTED,
                       "input '%s' is channels first; training wants [n][h][w][c]", in->name);
    if (in->rank < 1 || in->dims[0] != -1)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' has no batch dimension to train with",
                       in->name);
    return FB_OK;
}

static fb_status make_teacher(trainer *t)
{
    const fb_train_options *o = t->o;
    fb_measure_options m;
    if (!o->teacher)
        return FB_OK;
    fb_sample_shape shape;
    FB_TRY(fb_model_sample_shape(o->teacher, &shape));
    FB_TRY(fb_data_fits(o->data, &shape));
    fb_measure_options_default(&m);
    m.n_threads = o->n_threads;
    m.batch = o->batch;
    FB_TRY(fb_predictor_create(o->teacher, &m, &t->teacher));
    if (fb_predictor_classes(t->teacher) != t->classes)
        return fb_fail(FB_E_ARG, "the teacher has %u classes, the network %zu",
                       fb_predictor_classes(t->teacher), t->classes);
    t->hints = fb_calloc(o->batch, t->classes * sizeof *t->hints);
    return t->hints ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for the teacher's answers");
}

static fb_status make_net(trainer *t)
{
    const fb_train_options *o = t->o;
    const fb_net_options n = {.batch = o->batch,
                              .n_threads = o->n_threads,
                              .dropout = (float)o->dropout,
                              .seed = o->seed};
    size_t logits;
    FB_TRY(fb_net_create(t->model, &n, &t->net));
    (void)fb_net_logits(t->net, &logits);
    t->classes = logits / o->batch;
    if (t->classes < 2 || logits % o->batch != 0 || t->samples.n_classes > t->classes)
        return fb_fail(FB_E_ARG, "the data has %u classes, the network %zu outputs",
                       t->samples.n_classes, t->classes);
    if (o->init)
        fb_net_init(t->net, o->seed);
    FB_TRY(fb_optim_create(t->net, &t->optim_options, &t->optim));
    t->labels = fb_calloc(o->batch, sizeof *t->labels);
    return t->labels ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for labels");
}

/* Statistics of the model's own batch norms, over the batches that training would begin with. */
static fb_status measure_norms(trainer *t)
{
    uint64_t n = t->per_epoch < MEASURE_BATCHES ? t->per_epoch : MEASURE_BATCHES;
    static const fb_augment none;
    size_t elems;
    if (t->o->init || !fb_net_has_norms(t->net))
        return FB_OK;
    FB_TRY(fb_stream_create(&t->samples, &none, t->o->batch, t->o->seed, 0, &t->stream));
    fb_status status = FB_OK;
    for (uint64_t i = 0; status == FB_OK && i < n; i++) {
        fb_stream_next(t->stream, fb_net_input(t->net, &elems), t->labels);
        status = fb_net_forward(t->net, FB_NET_MEASURE, 0);
    }
    fb_stream_destroy(t->stream);
    t->stream = NULL;
    return status == FB_OK ? fb_net_adopt(t->net) : status;
}

static fb_status start(trainer *t)
{
    const fb_train_options *o = t->o;
    bool found = false;
    FB_TRY(read_options(t));
    FB_TRY(check_input(t));
    FB_TRY(make_key(t));
    t->run.max_rows = o->epochs;
    t->run.rows = fb_calloc(o->epochs, sizeof *t->run.rows);
    if (!t->run.rows)
        return fb_fail(FB_E_MEMORY, "no memory for %u epochs", o->epochs);
    FB_TRY(fb_samples_read(o->data, o->prep, o->progress, o->progress_user, &t->samples));
    FB_TRY(make_net(t));
    FB_TRY(make_teacher(t));
    if (o->ema > 0)
        FB_TRY(fb_average_create(t->net, (float)o->ema, &t->average));
    if (o->state)
        FB_TRY(fb_checkpoint_read(o->state, t->key, &t->run, &t->optim,
                                  o->ema > 0 ? &t->average : NULL, &found));
    if (!found)
        FB_TRY(measure_norms(t));
    if (!found && o->ema > 0) { /* after the batch norms */
        fb_average_free(&t->average);
        FB_TRY(fb_average_create(t->net, (float)o->ema, &t->average));
    }
    t->first_step = t->run.step;
    t->before = t->run.seconds;
    t->started = t->saved = now();
    return fb_stream_create(&t->samples, &t->augment, o->batch, o->seed, t->run.step, &t->stream);
}

static void finish(trainer *t)
{
    fb_stream_destroy(t->stream);
    fb_predictor_destroy(&t->teacher);
    fb_average_free(&t->average);
    fb_optim_free(&t->optim);
    fb_net_destroy(&t->net);
    fb_samples_free(&t->samples);
    fb_free(t->labels);
    fb_free(t->hints);
    fb_free(t->run.rows);
}

/* ---- reports, log, state --------------------------------------------------------------------- */

static fb_train_report report_of(const trainer *t)
{
    const fb_run_state *run = &t->run;
    uint64_t in_epoch = run->step % t->per_epoch;
    double spent = now() - t->started, did = (double)(run->step - t->first_step);
    fb_train_report r = {.epoch = run->step / t->per_epoch,
                         .epochs = t->o->epochs,
                         .step = run->step,
                         .steps = t->schedule.steps,
                         .val_loss = (double)NAN,
                         .val_top1 = (double)NAN};
    r.rate = run->step ? fb_schedule_rate(&t->schedule, run->step - 1) : 0;
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

static fb_train_report epoch_report(const trainer *t)
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

static fb_status write_log(const trainer *t)
{
    fb_file file;
    if (!t->o->log)
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

static fb_status save_state(trainer *t)
{
    t->run.seconds = t->before + now() - t->started;
    t->saved = now();
    if (!t->o->state)
        return FB_OK;
    return fb_checkpoint_write(t->o->state, t->key, &t->run, &t->optim,
                               t->average.n ? &t->average : NULL);
}

/* ---- a step, an epoch ------------------------------------------------------------------------ */

static fb_status step_once(trainer *t)
{
    const fb_train_options *o = t->o;
    size_t n_x, n_logits;
    float *x = fb_net_input(t->net, &n_x);
    fb_stream_next(t->stream, x, t->labels);
    if (t->teacher)
        FB_TRY(fb_predictor_run(t->teacher, o->batch, x, t->hints));
    FB_TRY(fb_net_forward(t->net, FB_NET_TRAIN, t->run.step));
    const float *logits = fb_net_logits(t->net, &n_logits);
    float *g = fb_net_logits_gradient(t->net);
    double share = t->teacher ? o->distill : 0, loss;
    memset(g, 0, n_logits * sizeof *g);
    loss = (1 - share) * fb_loss_cross_entropy(o->batch, t->classes, logits, t->labels,
                                               o->smoothing, 1 - share, g, &t->run.correct);
    if (t->teacher)
        loss += share *
                fb_loss_distill(o->batch, t->classes, logits, t->hints, o->temperature, share, g);
    if (!isfinite(loss))
        return fb_fail(FB_E_FORMAT,
                       "the loss is no longer finite at step %" PRIu64 "; a lower rate may help",
                       t->run.step);
    FB_TRY(fb_net_backward(t->net));
    fb_optim_step(&t->optim, (float)fb_schedule_rate(&t->schedule, t->run.step), t->run.step, NULL);
    if (t->average.n)
        fb_average_step(&t->average, t->net, t->run.step);
    t->run.loss += loss;
    t->run.step++;
    return FB_OK;
}

static fb_status note_run(const trainer *t, fb_model *m)
{
    char text[1024], print[24];
    FB_TRY(options_text(t, text, sizeof text));
    FB_TRY(fb_model_set_prep(m, t->o->prep));
    FB_TRY(fb_model_set_note(m, "train", text));
    (void)snprintf(print, sizeof print, "0x%.16s", fb_data_fingerprint(t->o->data));
    return fb_model_set_note(m, "data.fingerprint", print);
}

static fb_status current_model(const trainer *t, fb_model **out)
{
    FB_TRY(fb_net_to_model(t->net, (const float *const *)t->average.a, out));
    fb_status status = note_run(t, *out);
    if (status != FB_OK)
        fb_model_close(out);
    return status;
}

static fb_status evaluate(const trainer *t, fb_train_row *row)
{
    fb_measure_options o;
    fb_eval_result r;
    fb_model *m;
    row->val_loss = row->val_top1 = (double)NAN;
    if (!t->o->val)
        return FB_OK;
    fb_measure_options_default(&o);
    o.n_threads = t->o->n_threads;
    o.progress = t->o->progress;
    o.progress_user = t->o->progress_user;
    FB_TRY(current_model(t, &m));
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

static fb_status end_epoch(trainer *t)
{
    fb_train_row row = {.epoch = t->run.step / t->per_epoch, .step = t->run.step};
    row.rate = fb_schedule_rate(&t->schedule, t->run.step - 1);
    row.loss = t->run.loss / (double)t->per_epoch;
    row.top1 = 100.0 * (double)t->run.correct / (double)(t->per_epoch * t->o->batch);
    FB_TRY(evaluate(t, &row));
    row.seconds = t->before + now() - t->started;
    t->run.rows[t->run.n_rows++] = row;
    t->run.loss = 0;
    t->run.correct = 0;
    FB_TRY(save_state(t));
    return write_log(t);
}

static fb_status stopped(trainer *t)
{
    FB_TRY(save_state(t));
    return fb_fail(FB_E_INTERRUPTED, "interrupted after %" PRIu64 " of %" PRIu64 " steps",
                   t->run.step, t->schedule.steps);
}

/* An epoch's last step is saved together with its row: a state between two epochs has it. */
static fb_status loop(trainer *t, bool *finished)
{
    const fb_train_options *o = t->o;
    *finished = false;
    while (t->run.step < t->schedule.steps) {
        FB_TRY(step_once(t));
        bool end = t->run.step % t->per_epoch == 0;
        if (end)
            FB_TRY(end_epoch(t));
        else if (now() - t->saved >= o->state_seconds)
            FB_TRY(save_state(t));
        const fb_train_report r = end ? epoch_report(t) : report_of(t);
        if (o->watch && !o->watch(o->watch_user, &r))
            return stopped(t);
        if (o->time_limit > 0 && now() - t->started >= o->time_limit &&
            t->run.step < t->schedule.steps)
            return save_state(t);
    }
    *finished = true;
    return FB_OK;
}

fb_status fb_train(const fb_model *model, const fb_train_options *options, fb_train_result *result,
                   fb_model **out)
{
    trainer t = {.o = options, .model = model};
    fb_status status;
    *out = NULL;
    *result = (fb_train_result){0};
    FB_GO(start(&t));
    result->resumed = t.first_step;
    FB_GO(loop(&t, &result->finished));
    result->last = epoch_report(&t);
    result->seconds = t.before + now() - t.started;
    FB_GO(write_log(&t));
    status = current_model(&t, out);
fail:
    finish(&t);
    return status;
}
