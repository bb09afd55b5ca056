/* What `train` and `tune` share: options, progress, the last report. */
#include "training.h"

#include "out.h"

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
    bool talk = !p->quiet && r->rank == 0;
    if (talk && r->epoch_end)
        tell_epoch(p, r);
    else if (talk && p->tty)
        draw_step(p, r);
    if (!interrupted())
        return true;
    progress_clear(p);
    return false;
}

/* ---- options and data ------------------------------------------------------------------------ */

int training_labels(const fb_data *data, fb_model *model)
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

void training_options(const arguments *a, progress *p, fb_train_options *to)
{
    fb_train_options o = *to;
    o.epochs = a->epochs ? a->epochs : to->epochs;
    o.batch = a->batch;
    o.optimizer = a->optimizer;
    o.rate = a->rate;
    o.momentum = a->momentum;
    o.weight_decay = a->weight_decay;
    o.schedule = a->schedule ? a->schedule : to->schedule;
    o.warmup = a->warmup;
    o.smoothing = a->smoothing;
    o.mixup = a->mixup;
    o.clip = a->clip;
    o.ema = a->ema;
    o.dropout = a->dropout;
    o.augment = a->augment;
    o.distill = a->distill;
    o.temperature = a->temperature;
    o.distill_layers = a->distill_layers;
    o.seed = a->seed;
    o.n_threads = a->threads;
    o.state = a->state;
    o.log = a->log;
    o.time_limit = a->time_limit;
    o.progress = progress_show;
    o.progress_user = p;
    o.watch = watch;
    o.watch_user = p;
    *to = o;
}

int training_check(arguments *args)
{
    const char *name = args->command->name;
    if (!args->data)
        return fail(EXIT_USAGE, "%s: name the images with --data", name);
    if (!args->output)
        return fail(EXIT_USAGE, "%s: say where to write with -o FILE", name);
    if (args->given[OPT_MOMENTUM] && strcmp(args->optimizer, "adam") == 0)
        return fail(EXIT_USAGE, "%s: --momentum has no effect with --optimizer adam", name);
    /* A run that stopped may have written its output. */
    args->force = args->force || access(args->state, F_OK) == 0;
    int code = check_output(args, args->teacher);
    return code == EXIT_DONE ? json_check(args) : code;
}

char *training_state(arguments *args)
{
    if (!args->output || args->state)
        return NULL;
    size_t n = strlen(args->output) + sizeof ".state";
    char *state = malloc(n);
    if (state)
        snprintf(state, n, "%s.state", args->output);
    args->state = state ? state : "";
    return state;
}

/* ---- the end --------------------------------------------------------------------------------- */

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
                (unsigned long long)last->epochs, r->seconds,
                r->finished ? "" : "; the same command goes on");
    if (!args->json)
        return EXIT_DONE;
    json_t *j = json_report(args->command->name);
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

int training_finish(const arguments *args, fb_status status, const fb_train_result *result,
                    fb_model *trained)
{
    if (result->rank > 0 && (status == FB_OK || status == FB_E_INTERRUPTED)) /* rank 0 tells */
        return status == FB_OK ? EXIT_DONE : EXIT_INTERRUPTED;
    if (status == FB_OK)
        status = fb_model_save(trained, args->output);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    if (result->finished)
        (void)remove(args->state);
    return report(args, result);
}
