/* fb_train and fb_tune: options, and a run from its start to its end. */
#include "base/hash.h"
#include "model/product.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MEASURE_BATCHES = 50, /* that a model's own batch norms are measured over */
    TUNE_EPOCHS = 15      /* where neither options nor the method say */
};

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

void fb_tune_options_default(fb_tune_options *options)
{
    *options = (fb_tune_options){.norms = true, .learn_scales = true, .codes = "nearest"};
    fb_train_options_default(&options->train);
    options->train.schedule = "cosine";
    options->train.epochs = 0;
}

double fb_trainer_now(void)
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

static fb_status read_options(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    t->n_phases = t->has_plan && !t->plan.ternary ? t->plan.rule.n_steps : 1;
    t->epochs = o->epochs;
    if (t->tune && o->epochs == 0)
        t->epochs = t->has_plan ? t->plan.epochs * t->n_phases : TUNE_EPOCHS;
    if (!o->data || !o->prep || t->epochs < 1 || t->epochs > 1000000 || o->batch < 1)
        return fb_fail(FB_E_ARG,
                       "training needs data, 1 to 1000000 epochs and a batch of at least 1; got %u "
                       "epochs of batches of %u",
                       t->epochs, o->batch);
    FB_TRY(check_range("momentum", o->momentum, 0, 1, true));
    FB_TRY(check_range("weight decay", o->weight_decay, 0, 1, false));
    FB_TRY(check_range("label smoothing", o->smoothing, 0, 1, true));
    FB_TRY(check_range("mixup", o->mixup, 0, 100, false));
    FB_TRY(check_range("dropout", o->dropout, 0, 1, true));
    FB_TRY(check_range("ema", o->ema, 0, 1, true));
    FB_TRY(check_range("distill", o->distill, 0, 1, false));
    FB_TRY(check_range("the layers' weight", o->distill_layers, 0, 1e6, false));
    FB_TRY(check_range("temperature", o->temperature, 1e-3, 1e3, false));
    FB_TRY(check_range("rate", o->rate, 0, 1000, false));
    FB_TRY(check_range("clip", o->clip, 0, 1e9, false));
    FB_TRY(check_range("warm-up", o->warmup, 0, (double)t->epochs, false));
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
    double preset = t->optim_options.kind == FB_OPTIM_ADAM ? 0.001 : t->tune ? 0.01 : 0.1;
    if (t->tune && !t->tune->norms)
        preset /= 10;
    t->schedule.rate = o->rate > 0 ? o->rate : preset;
    t->steps = t->per_epoch * t->epochs;
    if (t->epochs < t->n_phases)
        return fb_fail(FB_E_ARG, "%u epochs cannot hold the %u steps of the method", t->epochs,
                       t->n_phases);
    t->schedule.warmup = (uint64_t)(o->warmup * (double)t->per_epoch);
    return FB_OK;
}

fb_status fb_trainer_text(const fb_trainer *t, char *text, size_t cap)
{
    const fb_train_options *o = t->o;
    static const char *const optims[] = {"sgd", "nesterov", "adam"};
    int n = snprintf(
        text, cap,
        "%u epochs, batch %u, %s rate %g momentum %g decay %g, %s warmup %g, smoothing "
        "%g, mixup %g, clip %g, ema %g, dropout %g, augment %s, seed %" PRIu64 "%s",
        t->epochs, o->batch, optims[t->optim_options.kind], t->schedule.rate, o->momentum,
        o->weight_decay, o->schedule, o->warmup, o->smoothing, o->mixup, o->clip, o->ema,
        o->dropout, o->augment[0] ? o->augment : "none", o->seed, o->init ? ", fresh weights" : "");
    if (n > 0 && (size_t)n < cap && o->teacher)
        n += snprintf(text + n, cap - (size_t)n, ", distill %g at %g, layers %g", o->distill,
                      o->temperature, o->distill_layers);
    if (n > 0 && (size_t)n < cap && t->tune)
        n += snprintf(text + n, cap - (size_t)n, ", method %s, codes %s%s%s",
                      t->tune->method ? t->recipe.text : "none", t->tune->codes,
                      t->tune->norms ? ", norms" : "",
                      t->tune->learn_scales ? "" : ", fixed scales");
    return n > 0 && (size_t)n < cap ? FB_OK : fb_fail(FB_E_ARG, "the options are too long");
}

static void hash_words(fb_hash *h, const fb_tensor *t)
{
    const fb_product p = fb_product_of(t);
    fb_hash_add(h, t->enc.word_scale, p.stages * sizeof *t->enc.word_scale);
    fb_hash_add(h, t->enc.word, p.stages * p.books * p.words * p.sub * sizeof *t->enc.word);
}

static void hash_model(fb_hash *h, const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *x = &m->tensors[i];
        fb_hash_add(h, x->dims, (size_t)x->rank * sizeof *x->dims);
        if (x->is_const)
            fb_hash_add(h, x->data, x->data_bytes);
        if (x->enc.kind != FB_ENC_PLAIN)
            fb_hash_add(h, x->enc.scale, x->enc.n_scales * sizeof *x->enc.scale);
        if (x->enc.kind == FB_ENC_LEVELS)
            fb_hash_add(h, x->enc.level,
                        (size_t)x->enc.n_tables * x->enc.n_levels * sizeof *x->enc.level);
        if (x->enc.kind == FB_ENC_PRODUCT)
            hash_words(h, x);
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        fb_hash_add(h, &n->op, sizeof n->op);
        fb_hash_add(h, n->in, n->n_in * sizeof *n->in);
        fb_hash_add(h, n->out, n->n_out * sizeof *n->out);
    }
}

/* What the state file must have been made for, and all processes started with. */
static fb_status make_key(fb_trainer *t)
{
    char text[FB_TRAINER_TEXT], prep[512];
    fb_hash h;
    FB_TRY(fb_trainer_text(t, text, sizeof text));
    FB_TRY(fb_prep_format(t->o->prep, prep, sizeof prep));
    fb_hash_init(&h);
    fb_hash_add(&h, text, strlen(text));
    fb_hash_add(&h, prep, strlen(prep));
    fb_hash_add(&h, fb_data_fingerprint(t->o->data), 16);
    hash_model(&h, t->model);
    if (t->o->teacher)
        hash_model(&h, t->o->teacher);
    if (t->tune && t->tune->reference)
        hash_model(&h, t->tune->reference);
    t->key = fb_hash_end(&h);
    return FB_OK;
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Every process has the same number of places in a batch, in the order of ranks. */
static fb_status share_batches(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    t->batch = o->batch / t->ranks->n;
    if (o->batch % t->ranks->n != 0)
        return fb_fail(FB_E_ARG, "a batch of %u cannot be shared equally by %u processes", o->batch,
                       t->ranks->n);
    if (t->ranks->n > 1 && o->mixup > 0 && t->batch % 2 != 0)
        return fb_fail(FB_E_ARG,
                       "mixup blends pairs: a batch of %u gives each of %u processes an odd number",
                       o->batch, t->ranks->n);
    return FB_OK;
}

/* Whether all processes stand where rank 0 does; `what` ends the sentence otherwise. */
static fb_status agree(const fb_trainer *t, uint64_t x, const char *what)
{
    uint32_t rank;
    FB_TRY(fb_ranks_differ(t->ranks, x, &rank));
    return rank == 0
               ? FB_OK
               : fb_fail(FB_E_ARG, "process %u of %u %s than process 0", rank, t->ranks->n, what);
}

/* One of the processes shows how far it is. */
static fb_progress progress_of(const fb_trainer *t)
{
    return t->ranks->own == 0 ? t->o->progress : NULL;
}

static fb_places places_of(const fb_trainer *t)
{
    return (fb_places){t->o->batch, t->ranks->own * t->batch, t->batch};
}

static fb_status check_input(const fb_trainer *t)
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

static fb_status make_teacher(fb_trainer *t)
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
    m.batch = t->batch;
    FB_TRY(fb_predictor_create(o->teacher, &m, &t->teacher));
    if (fb_predictor_classes(t->teacher) != t->classes)
        return fb_fail(FB_E_ARG, "the teacher has %u classes, the network %zu",
                       fb_predictor_classes(t->teacher), t->classes);
    t->answers = fb_calloc(t->batch, t->classes * sizeof *t->answers);
    return t->answers ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for the teacher's answers");
}

static fb_status create_net(fb_trainer *t, const fb_net_options *n)
{
    const fb_tune_options *u = t->tune;
    if (!u)
        return fb_net_create(t->model, n, &t->net);
    fb_tuning_options o = {.reference = u->reference || !t->compressed ? u->reference : t->source,
                           .norms = u->norms,
                           .learn = u->learn_scales,
                           .plan = t->has_plan ? &t->plan : NULL};
    if (strcmp(u->codes, "fixed") == 0)
        o.codes = FB_CODES_FIXED;
    else if (strcmp(u->codes, "nearest") != 0)
        return fb_fail(FB_E_ARG, "codes '%s'; expected nearest or fixed", u->codes);
    FB_TRY(fb_tuning_create(t->model, &o, n, &t->tuning));
    t->net = fb_tuning_net(t->tuning);
    return FB_OK;
}

static fb_status make_room(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    size_t learned = 0;
    for (uint32_t i = 0; t->ranks->n > 1 && i < fb_net_n_params(t->net); i++) {
        const fb_param *p = fb_net_param(t->net, i);
        learned += p->g ? p->n : 0;
    }
    t->labels = fb_calloc(t->batch, sizeof *t->labels);
    t->partners = o->mixup > 0 ? fb_calloc(t->batch, sizeof *t->partners) : NULL;
    t->gradients = learned ? fb_calloc(learned, sizeof *t->gradients) : NULL;
    bool all = t->labels && (t->partners || !(o->mixup > 0)) && (t->gradients || !learned);
    return all ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for labels and gradients");
}

static fb_status make_net(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    fb_net_options n = {.batch = t->batch,
                        .n_threads = o->n_threads,
                        .dropout = (float)o->dropout,
                        .seed = o->seed,
                        .ranks = t->ranks->n > 1 ? t->ranks : NULL};
    size_t logits;
    if (o->teacher && o->distill_layers > 0)
        FB_TRY(fb_hints_create(t->model, o->teacher, &n, o->distill_layers, &t->hints));
    n.taps = t->hints.student_taps;
    n.n_taps = t->hints.n;
    FB_TRY(create_net(t, &n));
    (void)fb_net_logits(t->net, &logits);
    t->classes = logits / t->batch;
    if (t->classes < 2 || logits % t->batch != 0 || t->samples.n_classes > t->classes)
        return fb_fail(FB_E_ARG, "the data has %u classes, the network %zu outputs",
                       t->samples.n_classes, t->classes);
    if (o->init)
        fb_net_init(t->net, o->seed);
    FB_TRY(fb_optim_create(t->net, &t->optim_options, &t->optim));
    return make_room(t);
}

/* Statistics of the model's own batch norms, over the batches that training would begin with. */
static fb_status measure_norms(fb_trainer *t)
{
    uint64_t n = t->per_epoch < MEASURE_BATCHES ? t->per_epoch : MEASURE_BATCHES;
    static const fb_augment none;
    size_t elems;
    if (t->o->init || !fb_net_has_norms(t->net))
        return FB_OK;
    FB_TRY(fb_stream_create(&t->samples, &none, places_of(t), t->o->seed, 0, &t->stream));
    fb_status status = FB_OK;
    if (t->tuning)
        status = fb_tuning_forward(t->tuning);
    for (uint64_t i = 0; status == FB_OK && i < n; i++) {
        fb_stream_next(t->stream, fb_net_input(t->net, &elems), t->labels);
        status = fb_net_forward(t->net, FB_NET_MEASURE, 0);
    }
    fb_stream_destroy(t->stream);
    t->stream = NULL;
    return status == FB_OK ? fb_net_adopt(t->net) : status;
}

fb_run_parts fb_trainer_parts(fb_trainer *t)
{
    fb_run_parts p = {.optim = &t->optim, .average = t->average.n ? &t->average : NULL};
    if (t->tuning)
        fb_tuning_state(t->tuning, &p.blobs, &p.n_blobs);
    return p;
}

static fb_status start(fb_trainer *t)
{
    const fb_train_options *o = t->o;
    bool found = false;
    FB_TRY(read_options(t));
    FB_TRY(check_input(t));
    FB_TRY(share_batches(t));
    FB_TRY(make_key(t));
    FB_TRY(agree(t, t->key, "was given another network, other data or other options"));
    t->run.max_rows = t->epochs;
    t->run.rows = fb_calloc(t->epochs, sizeof *t->run.rows);
    if (!t->run.rows)
        return fb_fail(FB_E_MEMORY, "no memory for %u epochs", t->epochs);
    FB_TRY(fb_train_set_read(o->data, o->prep, progress_of(t), o->progress_user, &t->samples));
    FB_TRY(make_net(t));
    FB_TRY(make_teacher(t));
    if (o->ema > 0)
        FB_TRY(fb_average_create(t->net, (float)o->ema, &t->average));
    const fb_run_parts parts = fb_trainer_parts(t);
    if (o->state)
        FB_TRY(fb_checkpoint_read(o->state, t->key, &t->run, &parts, &found));
    FB_TRY(agree(t, t->run.step, "found another state of the run"));
    for (t->begun = 0; found && t->begun < t->n_phases; t->begun++) {
        if (fb_trainer_phase(t, t->begun) >= t->run.step)
            break;
    }
    if (!found)
        FB_TRY(measure_norms(t));
    if (!found && o->ema > 0) { /* after the batch norms */
        fb_average_free(&t->average);
        FB_TRY(fb_average_create(t->net, (float)o->ema, &t->average));
    }
    t->first_step = t->run.step;
    t->before = t->run.seconds;
    t->started = t->saved = fb_trainer_now();
    return fb_stream_create(&t->samples, &t->augment, places_of(t), o->seed, t->run.step,
                            &t->stream);
}

static void finish(fb_trainer *t)
{
    fb_stream_destroy(t->stream);
    fb_predictor_destroy(&t->teacher);
    fb_average_free(&t->average);
    fb_optim_free(&t->optim);
    if (t->tuning)
        fb_tuning_destroy(&t->tuning);
    else
        fb_net_destroy(&t->net);
    fb_train_set_free(&t->samples);
    fb_free(t->labels);
    fb_free(t->partners);
    fb_free(t->gradients);
    fb_free(t->answers);
    fb_hints_free(&t->hints);
    fb_free(t->run.rows);
}

static fb_status run(fb_trainer *t, fb_train_result *result, fb_model **out)
{
    fb_status status;
    FB_GO(start(t));
    result->resumed = t->first_step;
    FB_GO(fb_trainer_loop(t, &result->finished));
    result->last = fb_trainer_report(t);
    result->seconds = t->before + fb_trainer_now() - t->started;
    FB_GO(fb_trainer_log(t));
    status = fb_trainer_model(t, out);
fail:
    finish(t);
    return status;
}

bool fb_train_has_mpi(void)
{
    return fb_ranks_built_in();
}

/* The steps of the method before the one that trains are done at once. */
static fb_status compress_first(fb_trainer *t)
{
    const fb_tune_options *u = t->tune;
    fb_compress_options o;
    if (!u->method)
        return FB_OK;
    FB_TRY(fb_recipe_parse(u->method, &t->recipe));
    if (t->recipe.training) {
        FB_TRY(fb_share_plan_of(t->recipe.training, &t->plan));
        t->has_plan = true;
    }
    if (!*t->recipe.before)
        return FB_OK;
    fb_compress_options_default(&o);
    o.method = t->recipe.before;
    o.data = u->calibration;
    o.seed = t->o->seed;
    o.n_threads = t->o->n_threads;
    o.progress = progress_of(t);
    o.progress_user = t->o->progress_user;
    FB_TRY(fb_compress(t->model, &o, &t->compressed));
    t->model = t->compressed;
    return FB_OK;
}

static fb_status together(fb_trainer *t, fb_train_result *result, fb_model **out)
{
    *out = NULL;
    *result = (fb_train_result){0};
    FB_TRY(fb_ranks_start(&t->ranks));
    fb_status status = t->tune ? compress_first(t) : FB_OK;
    if (status == FB_OK)
        status = run(t, result, out);
    if (status != FB_OK)
        fb_ranks_give_up();
    result->rank = t->ranks->own;
    return status;
}

fb_status fb_train(const fb_model *model, const fb_train_options *options, fb_train_result *result,
                   fb_model **out)
{
    fb_trainer t = {.o = options, .model = model};
    return together(&t, result, out);
}

fb_status fb_tune(const fb_model *model, const fb_tune_options *options, fb_train_result *result,
                  fb_model **out)
{
    fb_trainer t = {.o = &options->train, .tune = options, .model = model, .source = model};
    *out = NULL;
    *result = (fb_train_result){0};
    if (options->train.init)
        return fb_fail(FB_E_ARG, "tuning goes on from a network's weights: `init` has no place");
    fb_status status = together(&t, result, out);
    fb_model_close(&t.compressed);
    fb_recipe_free(&t.recipe);
    return status;
}
