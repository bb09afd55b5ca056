/* fewbit train: weights for a network from labelled images. */
#include "cli.h"
#include "out.h"

#include "fewbit/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- progress -------------------------------------------------------------------------------- */

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* "45 s", "12 min", "3.5 h" */
static const char *show_seconds(double s, char text[24])
{
    if (s < 100)
        snprintf(text, 24, "%.0f s", s);
    else if (s < 6000)
        snprintf(text, 24, "%.0f min", s / 60);
    else
        snprintf(text, 24, "%.1f h", s / 3600);
    return text;
}

static void tell_epoch(progress *p, const fb_train_report *r)
{
    char left[24];
    progress_clear(p);
    fprintf(stderr, "epoch %llu/%llu: loss %.4f, top-1 %.2f%%", (unsigned long long)r->epoch,
            (unsigned long long)r->epochs, r->loss, r->top1);
    if (!isnan(r->val_top1))
        fprintf(stderr, ", validation loss %.4f, top-1 %.2f%%", r->val_loss, r->val_top1);
    if (r->epoch < r->epochs && r->images_per_second > 0)
        fprintf(stderr, ", %.0f images/s, %s left", r->images_per_second,
                show_seconds(r->seconds_left, left));
    fprintf(stderr, "\n");
}

static void draw_step(progress *p, const fb_train_report *r)
{
    char left[24];
    uint64_t now = (uint64_t)(seconds_now() * 1e9);
    if (now - p->drawn_ns < 200000000u)
        return;
    p->drawn_ns = now;
    p->bar = true;
    fprintf(stderr,
            "\r\033[Kepoch %llu/%llu, step %llu/%llu: loss %.4f, top-1 %.2f%%, rate %.3g, %.0f "
            "images/s, %s left",
            (unsigned long long)r->epoch + 1, (unsigned long long)r->epochs,
            (unsigned long long)r->step, (unsigned long long)r->steps, r->loss, r->top1, r->rate,
            r->images_per_second, show_seconds(r->seconds_left, left));
}

static bool watch(void *user, const fb_train_report *r)
{
    progress *p = user;
    if (!p->quiet && r->epoch_end)
        tell_epoch(p, r);
    else if (!p->quiet && p->tty)
        draw_step(p, r);
    if (!interrupted())
        return true;
    progress_clear(p);
    return false;
}

/* ---- what is trained, and on what ------------------------------------------------------------ */

static bool is_arch(const char *name)
{
    for (uint32_t i = 0; i < fb_n_archs(); i++) {
        if (strcmp(fb_arch_name(i), name) == 0)
            return true;
    }
    return false;
}

/* The number of classes is the data's, which need a shape to be opened: any number will do for
 * that. */
static int build_arch(const arguments *args, const char *name, fb_model **model)
{
    fb_prep prep;
    fb_data *data = NULL;
    fb_status status = fb_arch_create(name, 2, model);
    if (status != FB_OK)
        return fail_status(status, name);
    int code = choose_prep(args, model, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, *model, args->limit, &data);
    uint32_t classes = code == EXIT_DONE ? fb_data_n_classes(data) : 0;
    fb_data_close(&data);
    fb_model_close(model);
    if (code != EXIT_DONE)
        return code;
    status = fb_arch_create(name, classes, model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, args->data);
}

/* A named architecture; or an ONNX file with its batch norms left alone, or a .fewbit file. */
static int open_network(const arguments *args, fb_model **model)
{
    const char *name = args->files[0];
    *model = NULL;
    if (is_arch(name) && access(name, F_OK) != 0)
        return build_arch(args, name, model);
    if (access(name, F_OK) != 0) {
        fb_status status = fb_arch_create(name, 2, model);
        return fail(EXIT_FAILED, "'%s' is neither a file nor an architecture: %s", name,
                    status != FB_OK ? fb_error() : "");
    }
    if (is_fewbit(name))
        return open_model(name, model);
    const fb_onnx_options o = {.keep_names = true};
    fb_status status = fb_onnx_import(name, &o, model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, name);
}

static int name_classes(const fb_data *data, fb_model *model)
{
    uint32_t n = fb_data_n_classes(data);
    if (fb_model_n_labels(model) > 0 || n == 0 || n != model_classes(model) ||
        !fb_data_class(data, n - 1))
        return EXIT_DONE;
    const char **names = calloc(n, sizeof *names);
    if (!names)
        return fail(EXIT_FAILED, "no memory for %u labels", n);
    for (uint32_t i = 0; i < n; i++)
        names[i] = fb_data_class(data, i);
    fb_status status = fb_model_set_labels(model, names, n);
    free(names);
    return status == FB_OK ? EXIT_DONE : fail_status(status, NULL);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int report(const arguments *args, const fb_train_result *r)
{
    uint64_t bytes;
    const fb_train_report *last = &r->last;
    int code = file_bytes(args->output, &bytes);
    if (code != EXIT_DONE)
        return code;
    if (!args->quiet)
        fprintf(stderr, "%s %s: %s bytes, %llu of %llu epochs, %.0f s%s\n",
                r->finished ? "wrote" : "stopped by the time limit; wrote", args->output,
                show_count(bytes), (unsigned long long)last->epoch,
                (unsigned long long)args->epochs, r->seconds,
                r->finished ? "" : "; the same command goes on");
    if (!args->json)
        return EXIT_DONE;
    json_t *j = json_report("train");
    json_put(j, "input", json_text(args->files[0]));
    json_put(j, "output", json_text(args->output));
    json_put(j, "bytes", json_integer((json_int_t)bytes));
    json_put(j, "finished", json_boolean(r->finished));
    json_put(j, "resumed_at_step", json_integer((json_int_t)r->resumed));
    json_put(j, "epochs", json_integer((json_int_t)last->epoch));
    json_put(j, "steps", json_integer((json_int_t)last->step));
    json_put(j, "loss", json_number(last->loss));
    json_put(j, "top1", json_number(last->top1));
    json_put(j, "val_loss", json_number(last->val_loss));
    json_put(j, "val_top1", json_number(last->val_top1));
    json_put(j, "seconds", json_number(r->seconds));
    return json_emit(args, j);
}

static fb_train_options train_options(const arguments *a, progress *p)
{
    fb_train_options o;
    fb_train_options_default(&o);
    o.init = a->init || (is_arch(a->files[0]) && access(a->files[0], F_OK) != 0);
    o.epochs = a->epochs;
    o.batch = a->batch;
    o.optimizer = a->optimizer;
    o.rate = a->rate;
    o.momentum = a->momentum;
    o.weight_decay = a->weight_decay;
    o.schedule = a->schedule;
    o.warmup = a->warmup;
    o.smoothing = a->smoothing;
    o.clip = a->clip;
    o.ema = a->ema;
    o.dropout = a->dropout;
    o.augment = a->augment;
    o.distill = a->distill;
    o.temperature = a->temperature;
    o.seed = a->seed;
    o.n_threads = a->threads;
    o.state = a->state;
    o.log = a->log;
    o.time_limit = a->time_limit;
    o.progress = progress_show;
    o.progress_user = p;
    o.watch = watch;
    o.watch_user = p;
    return o;
}

static int train(const arguments *args, const fb_model *model, fb_train_options *o, progress *p)
{
    fb_train_result result;
    fb_model *trained;
    fb_status status = fb_train(model, o, &result, &trained);
    progress_clear(p);
    if (status == FB_OK)
        status = fb_model_save(trained, args->output);
    fb_model_close(&trained);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    if (result.finished)
        (void)remove(args->state);
    return report(args, &result);
}

static int prepare_and_train(const arguments *args, fb_model *model, progress *p)
{
    fb_prep prep;
    fb_data *data = NULL, *val = NULL;
    fb_model *teacher = NULL;
    int code = choose_prep(args, &model, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, model, args->limit, &data);
    if (code == EXIT_DONE && args->val)
        code = open_data(args, args->val, &prep, model, 0, &val);
    if (code == EXIT_DONE && args->teacher)
        code = open_model(args->teacher, &teacher);
    if (code == EXIT_DONE)
        code = apply_labels(args, model);
    if (code == EXIT_DONE)
        code = name_classes(data, model);
    if (code == EXIT_DONE) {
        fb_train_options o = train_options(args, p);
        o.data = data;
        o.prep = &prep;
        o.val = val;
        o.teacher = teacher;
        code = train(args, model, &o, p);
    }
    fb_data_close(&data);
    fb_data_close(&val);
    fb_model_close(&teacher);
    return code;
}

static int check(arguments *args)
{
    if (!args->data)
        return fail(EXIT_USAGE, "train: name the images with --data");
    if (!args->output)
        return fail(EXIT_USAGE, "train: say where to write with -o FILE");
    if (!args->teacher && (args->given[OPT_DISTILL] || args->given[OPT_TEMPERATURE]))
        return fail(EXIT_USAGE, "train: --distill and --temperature have no effect without "
                                "--teacher");
    if (args->given[OPT_MOMENTUM] && strcmp(args->optimizer, "adam") == 0)
        return fail(EXIT_USAGE, "train: --momentum has no effect with --optimizer adam");
    /* A run that stopped may have written its output. */
    args->force = args->force || access(args->state, F_OK) == 0;
    int code = check_output(args, args->teacher);
    return code == EXIT_DONE ? json_check(args) : code;
}

static int run(const arguments *given)
{
    arguments args = *given;
    char *state = NULL;
    fb_model *model;
    progress p;
    progress_init(&p, args.quiet);
    if (args.output && !args.state) {
        size_t n = strlen(args.output) + sizeof ".state";
        state = malloc(n);
        if (!state)
            return fail(EXIT_FAILED, "no memory");
        snprintf(state, n, "%s.state", args.output);
        args.state = state;
    }
    int code = check(&args);
    if (code == EXIT_DONE)
        code = open_network(&args, &model);
    if (code == EXIT_DONE) {
        code = prepare_and_train(&args, model, &p);
        fb_model_close(&model);
    }
    free(state);
    return code;
}

const command cmd_train = {
    .name = "train",
    .operands = "NETWORK",
    .min_files = 1,
    .max_files = 1,
    .summary = "train a network on labelled images",
    .example =
        "fewbit train resnet20 --data train/ --val test/ --augment crop=4,flip -o net.fewbit\n",
    .notes = "NETWORK is lenet5, resnet8, resnet20, vgg-small or mobilenet-tiny, which start from "
             "fresh\n"
             "weights, or an ONNX or .fewbit file, which start from their own (or fresh ones with\n"
             "--init). The run is kept in FILE.state every minute and after each epoch: after an\n"
             "interruption the same command goes on from there and ends with the same bytes.\n",
    .options = {OPT_OUTPUT,  OPT_FORCE,     OPT_DATA,        OPT_VAL,     OPT_PREP,
                OPT_LABELS,  OPT_LIMIT,     OPT_EPOCHS,      OPT_BATCH,   OPT_OPTIMIZER,
                OPT_RATE,    OPT_MOMENTUM,  OPT_SCHEDULE,    OPT_WARMUP,  OPT_WEIGHT_DECAY,
                OPT_CLIP,    OPT_SMOOTHING, OPT_DROPOUT,     OPT_EMA,     OPT_AUGMENT,
                OPT_TEACHER, OPT_DISTILL,   OPT_TEMPERATURE, OPT_INIT,    OPT_SEED,
                OPT_STATE,   OPT_LOG,       OPT_TIME_LIMIT,  OPT_THREADS, OPT_JSON,
                OPT_QUIET,   OPT_END},
    .threads = 0,
    .batch = 128,
    .run = run,
};
