/* compress --max-drop, --max-size: the search, and what other images say of its result. */
#include "cli.h"
#include "out.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Images of --data for each of calibrating, choosing and judging, where --limit does not say. */
enum { USUAL_PART = 512 };
/* Bytes of a file for the notes that measuring adds. */
enum { NOTES_ROOM = 256 };

/* --- where the search keeps what it did ------------------------------------------------------- */

static int make_folder(const arguments *args, search_outcome *o)
{
    int n = args->state ? snprintf(o->folder, sizeof o->folder, "%s", args->state)
                        : snprintf(o->folder, sizeof o->folder, "%s.search", args->output);
    if (n < 0 || (size_t)n >= sizeof o->folder)
        return fail(EXIT_USAGE, "the name of the search's folder is too long");
    if (mkdir(o->folder, 0777) != 0 && errno != EEXIST)
        return fail(EXIT_FAILED, "cannot make the folder '%s': %s", o->folder, strerror(errno));
    return EXIT_DONE;
}

/* --- judging ---------------------------------------------------------------------------------- */

/* Points lost, and how sure that is: the images on which the two networks differ are the ones that
 * can have been lost or won. */
static void weigh(search_outcome *o)
{
    const fb_eval_result *a = &o->eval[0], *b = &o->eval[1];
    double n = (double)b->images, changed = 1 - b->agreement / 100;
    o->drop = isnan(a->top1) ? 100 - b->agreement : a->top1 - b->top1;
    double mean = o->drop / 100;
    o->margin = 196 * sqrt(fmax(changed - mean * mean, 0) / n);
}

static int judge(const arguments *args, const fb_prep *prep, fb_model *before, uint64_t limit,
                 progress *p, search_outcome *o)
{
    fb_data *data = NULL;
    const fb_model *models[2] = {before, o->found.best};
    int code = args->eval ? open_data(args, args->eval, prep, before, 0, &data)
                          : open_part(args, args->data, prep, before, limit, 2, 3, &data);
    if (code == EXIT_DONE) {
        fb_measure_options m = measure_options(args, p);
        fb_status status = fb_eval(models, 2, data, &m, o->eval);
        progress_clear(p);
        if (status == FB_OK)
            status = note_accuracy(o->found.best, o->eval, fb_data_fingerprint(data));
        code =
            status == FB_OK ? EXIT_DONE : fail_status(status, args->eval ? args->eval : args->data);
    }
    if (code == EXIT_DONE)
        weigh(o);
    fb_data_close(&data);
    return code;
}

/* --- the search ------------------------------------------------------------------------------ */

/* The least bytes of the trials that keep the divergence (all where `ceiling` is infinite). */
static uint64_t least_bytes(const fb_search_result *r, double ceiling)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < r->n_trials; i++) {
        if (r->trials[i].loss <= ceiling && r->trials[i].bytes < least)
            least = r->trials[i].bytes;
    }
    return least;
}

static int nothing_found(const arguments *args, const search_outcome *o)
{
    const fb_search_result *r = &o->found;
    const fb_search_trial *widest = &r->trials[0];
    if (!args->given[OPT_MAX_DROP])
        return fail(EXIT_BUDGET, "no network of at most %s bytes was found; the smallest has %s",
                    show_count(args->max_bytes), show_count(least_bytes(r, INFINITY)));
    if (widest->loss > r->ceiling)
        return fail(EXIT_BUDGET,
                    "no network of at most %g points lost was found; all weights in 8 bits lose "
                    "%.3g nats of KL divergence, where %.3g are allowed",
                    args->max_drop, widest->loss, r->ceiling);
    if (args->max_bytes)
        return fail(EXIT_BUDGET,
                    "no network of at most %g points lost and %s bytes was found; the smallest "
                    "that keeps the divergence has %s",
                    args->max_drop, show_count(args->max_bytes),
                    show_count(least_bytes(r, r->ceiling)));
    return fail(EXIT_BUDGET,
                "no network of at most %g points lost was found; all weights in 8 bits have %s%% "
                "right, the float network %s%%",
                args->max_drop, show_number(100 * widest->correct, 2),
                show_number(100 * r->correct, 2));
}

static int run_search(const arguments *args, fb_model *before, fb_data *calibrate, fb_data *choose,
                      progress *p, search_outcome *o)
{
    uint64_t bytes =
        args->max_bytes > 2 * NOTES_ROOM ? args->max_bytes - NOTES_ROOM : args->max_bytes;
    fb_search_options options = {.calibrate = calibrate,
                                 .judge = choose,
                                 .max_drop = args->given[OPT_MAX_DROP] ? args->max_drop : -1,
                                 .max_bytes = bytes,
                                 .folder = o->folder,
                                 .time_limit = args->time_limit,
                                 .seed = args->seed,
                                 .n_threads = args->threads,
                                 .cpu = args->cpu,
                                 .progress = progress_show,
                                 .progress_user = p};
    fb_status status = fb_search(before, &options, &o->found);
    progress_clear(p);
    if (status == FB_E_INTERRUPTED && !args->quiet)
        fprintf(stderr, "what is done is in '%s'; the same command goes on from there\n",
                o->folder);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    return o->found.best ? EXIT_DONE : nothing_found(args, o);
}

int search_model(const arguments *args, fb_model *before, progress *p, search_outcome *o)
{
    fb_prep prep;
    fb_data *calibrate = NULL, *choose = NULL;
    uint32_t parts = args->eval ? 2 : 3;
    uint64_t limit = args->given[OPT_LIMIT] ? args->limit : (uint64_t)parts * USUAL_PART;
    int code = make_folder(args, o);
    if (code == EXIT_DONE)
        code = prepare_model(args, before, &prep, limit, parts, &calibrate);
    if (code == EXIT_DONE)
        code = open_part(args, args->data, &prep, before, limit, 1, parts, &choose);
    if (code == EXIT_DONE)
        code = run_search(args, before, calibrate, choose, p, o);
    if (code == EXIT_DONE)
        code = judge(args, &prep, before, limit, p, o);
    fb_data_close(&choose);
    fb_data_close(&calibrate);
    return code;
}

/* --- the report ------------------------------------------------------------------------------ */

static const char *kind_of(const fb_search_result *r)
{
    return r->labelled ? "top-1" : "agreement";
}

void print_search(const arguments *args, const search_outcome *o)
{
    const fb_search_result *r = &o->found;
    fprintf(stderr, "%u networks tried%s; %s images chose (float network: %s %s%%)\n", r->n_trials,
            r->finished ? "" : " until the time was up", show_count(r->images), kind_of(r),
            show_number(100 * r->correct, 2));
    for (uint32_t i = 0; i < r->n_trials; i++) {
        const fb_search_trial *t = &r->trials[i];
        if (args->verbose)
            fprintf(stderr, "  %c%12s bytes, KL %.4f, %s %s%%: %s\n", t->front ? '*' : ' ',
                    show_count(t->bytes), t->loss, kind_of(r), show_number(100 * t->correct, 2),
                    printable(t->method));
    }
    fprintf(stderr, "%s images that the search did not see: ", show_count(o->eval[1].images));
    if (isnan(o->eval[0].top1))
        fprintf(stderr, "agreement with the float network %s%%",
                show_number(o->eval[1].agreement, 2));
    else
        fprintf(stderr, "top-1 %s -> %s%%", show_number(o->eval[0].top1, 2),
                show_number(o->eval[1].top1, 2));
    fprintf(stderr, "; lost %+.2f points, %+.2f to %+.2f at 95%% confidence\n", o->drop,
            o->drop - o->margin, o->drop + o->margin);
}

json_t *trial_json(const fb_search_trial *t)
{
    json_t *item = json_object();
    json_put(item, "method", json_text(t->method));
    json_put(item, "bytes", json_integer((json_int_t)t->bytes));
    json_put(item, "loss", json_number(t->loss));
    json_put(item, "correct", json_number(100 * t->correct));
    json_put(item, "agreement", json_number(100 * t->agree));
    return item;
}

void put_search(json_t *report, const search_outcome *o)
{
    const fb_search_result *r = &o->found;
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->n_trials; i++) {
        const fb_search_trial *t = &r->trials[i];
        json_t *item = trial_json(t);
        json_put(item, "front", json_boolean(t->front));
        json_put(item, "best", json_boolean(i == r->best_trial));
        json_push(list, item);
    }
    json_put(report, "trials", list);
    json_put(report, "finished", json_boolean(r->finished));
    json_put(report, "search_images", json_integer((json_int_t)r->images));
    json_put(report, "drop", json_number(o->drop));
    json_put(report, "drop_margin", json_number(o->margin));
}
