/* fewbit compress: a network in, a small file out. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- measured accuracy ----------------------------------------------------------------------- */

static int measure(const arguments *args, fb_model *before, fb_model *after, progress *p,
                   fb_eval_result *results)
{
    fb_prep prep;
    fb_data *data = NULL;
    const fb_model *models[2] = {before, after};
    int code = choose_prep(args, &before, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->eval, &prep, before, 0, &data);
    if (code == EXIT_DONE) {
        fb_measure_options o = measure_options(args, p);
        fb_status status = fb_eval(models, 2, data, &o, results);
        progress_clear(p);
        if (status == FB_OK)
            status = note_accuracy(after, results, fb_data_fingerprint(data));
        if (status != FB_OK)
            code = fail_status(status, args->eval);
    }
    fb_data_close(&data);
    return code;
}

/* --- what steps did to layers ---------------------------------------------------------------- */

static void keep_error(void *user, const fb_layer_error *e)
{
    json_t *item = json_object();
    json_put(item, "step", json_text(e->step));
    json_put(item, "layer", json_text(e->layer));
    json_put(item, "before", json_number(e->before));
    json_put(item, "after", json_number(e->after));
    json_push(user, item);
}

static void print_errors(const json_t *errors)
{
    size_t i;
    json_t *e;
    if (json_array_size(errors) > 0)
        fprintf(stderr, "  response error, share of the response   before     after\n");
    json_array_foreach(errors, i, e)
    {
        fprintf(stderr, "  %-38s %9.3g %9.3g  %s\n",
                printable(json_string_value(json_object_get(e, "layer"))),
                json_number_value(json_object_get(e, "before")),
                json_number_value(json_object_get(e, "after")),
                printable(json_string_value(json_object_get(e, "step"))));
    }
}

/* --- the summary ----------------------------------------------------------------------------- */

typedef struct outcome {
    uint64_t bytes_in, bytes_out;
    double seconds;
    fb_eval_result eval[2]; /* images 0 if nothing was measured */
    const fb_model *before, *after;
    json_t *errors;               /* of layers */
    const search_outcome *search; /* NULL: the method was given */
} outcome;

/* Layers with weights that stayed plain floats, with the reason as far as the result shows it. */
static int list_float_layers(const fb_model *model, json_t *list, bool print)
{
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        int code = layer_look(model, i, &v);
        if (code != EXIT_DONE)
            return code;
        bool plain = v.compressible && strcmp(v.encoding, "f32") == 0;
        if (!plain && !(v.why_not && v.layer.params > 0))
            continue;
        const char *why = plain ? "the method leaves it" : v.why_not;
        if (print)
            fprintf(stderr, "  in float: %s (%s): %s\n", printable(v.layer.name), v.layer.op, why);
        json_t *item = json_object();
        json_put(item, "name", json_text(v.layer.name));
        json_put(item, "op", json_text(v.layer.op));
        json_put(item, "reason", json_text(why));
        json_push(list, item);
    }
    return EXIT_DONE;
}

static void say(const arguments *args, const outcome *o)
{
    const char *verb = args->dry_run ? "would write" : "wrote";
    double percent = o->bytes_in ? 100.0 * (double)o->bytes_out / (double)o->bytes_in : 0;
    const char *method = fb_model_note(o->after, "method");
    fprintf(stderr, "%s %s by %s: %s -> %s bytes (%.1f%%), %.1f s\n", verb,
            args->output ? args->output : "a file", method ? printable(method) : "nothing",
            show_count(o->bytes_in), show_count(o->bytes_out), percent, o->seconds);
    if (o->search)
        print_search(args, o->search);
    else if (o->eval[0].images > 0)
        fprintf(stderr, "top-1 %s -> %s of %s images, agreement %s%%\n",
                show_number(o->eval[0].top1, 2), show_number(o->eval[1].top1, 2),
                show_count(o->eval[0].images), show_number(o->eval[1].agreement, 2));
    if (args->verbose)
        print_errors(o->errors);
    for (uint32_t i = 0; args->verbose && i < fb_model_n_notes(o->after); i++) {
        const char *key, *value;
        fb_model_note_at(o->after, i, &key, &value);
        fprintf(stderr, "  note %s = %s\n", printable(key), printable(value));
    }
}

static int report(const arguments *args, const outcome *o)
{
    json_t *list = json_array(), *r = json_report("compress");
    if (!args->quiet)
        say(args, o);
    int code = list_float_layers(o->after, list, !args->quiet);
    json_put(r, "input", json_text(args->files[0]));
    json_put(r, "output", json_text(args->output));
    json_put(r, "dry_run", json_boolean(args->dry_run));
    json_put(r, "bytes_in", json_integer((json_int_t)o->bytes_in));
    json_put(r, "bytes", json_integer((json_int_t)o->bytes_out));
    json_put(r, "seconds", json_number(o->seconds));
    json_put(r, "float_layers", list);
    json_put(r, "layer_errors", json_incref(o->errors));
    if (o->eval[0].images > 0) {
        json_put(r, "images", json_integer((json_int_t)o->eval[0].images));
        json_put(r, "float_top1", json_number(o->eval[0].top1));
        json_put(r, "top1", json_number(o->eval[1].top1));
        json_put(r, "agreement", json_number(o->eval[1].agreement));
    }
    if (o->search)
        put_search(r, o->search);
    if (code != EXIT_DONE || !args->json) {
        json_decref(r);
        return code;
    }
    return json_emit(args, r);
}

/* --- the command ----------------------------------------------------------------------------- */

static bool is_search(const arguments *args)
{
    return args->given[OPT_MAX_DROP] || args->given[OPT_MAX_SIZE];
}

static int check_search(const arguments *args)
{
    static const option_id idle[] = {OPT_STATE, OPT_TIME_LIMIT};
    if (!is_search(args)) {
        for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
            if (args->given[idle[i]])
                return fail(EXIT_USAGE,
                            "compress: --%s has no effect without --max-drop or --max-size",
                            option_table[idle[i]].name);
        }
        return EXIT_DONE;
    }
    if (args->method || args->dry_run)
        return fail(EXIT_USAGE,
                    "compress: --%s and --%s exclude each other: a search finds the "
                    "method, by images",
                    args->method ? "method" : "dry-run",
                    args->given[OPT_MAX_DROP] ? "max-drop" : "max-size");
    if (!args->data)
        return fail(EXIT_USAGE, "compress: a search needs --data, images to choose by");
    return EXIT_DONE;
}

static int check(const arguments *args)
{
    if (args->dry_run && args->eval)
        return fail(EXIT_USAGE, "compress: --eval has no effect with --dry-run");
    if (args->given[OPT_BATCH] && !args->eval && !is_search(args))
        return fail(EXIT_USAGE, "compress: --batch has no effect without --eval");
    if (args->given[OPT_FORCE] && !args->output && !args->json_file)
        return fail(EXIT_USAGE, "compress: --force has no effect without --output");
    if (!args->output && !args->dry_run)
        return fail(EXIT_USAGE, "compress: say where to write with -o FILE");
    int code = check_search(args);
    if (code == EXIT_DONE && args->output)
        code = check_output(args, args->data);
    return code == EXIT_DONE ? json_check(args) : code;
}

/* The result of the method that was given, or that a search found. */
static int make(const arguments *args, fb_model *before, progress *p, search_outcome *found,
                outcome *o, fb_model **after)
{
    const listener errors = {keep_error, o->errors};
    if (!is_search(args)) {
        int code = squeeze(args, args->files[0], before, args->dry_run, p,
                           args->verbose || args->json ? &errors : NULL, after);
        return code == EXIT_DONE && args->eval ? measure(args, before, *after, p, o->eval) : code;
    }
    int code = search_model(args, before, p, found);
    *after = found->found.best;
    found->found.best = NULL;
    memcpy(o->eval, found->eval, sizeof o->eval);
    o->search = found;
    return code;
}

/* What was asked for and measured on images of their own. */
static int keep_budget(const arguments *args, const outcome *o)
{
    if (o->search && args->max_bytes && o->bytes_out > args->max_bytes)
        return fail(EXIT_BUDGET, "'%s' was written, but has %s bytes, more than --max-size %s",
                    args->output, show_count(o->bytes_out), show_count(args->max_bytes));
    if (!o->search || !args->given[OPT_MAX_DROP] || o->search->drop <= args->max_drop)
        return EXIT_DONE;
    return fail(EXIT_BUDGET,
                "'%s' was written, but loses %.2f points on %s images that the search did not see, "
                "more than --max-drop %g",
                args->output, o->search->drop, show_count(o->eval[1].images), args->max_drop);
}

static int write_model(const arguments *args, outcome *o)
{
    int code = file_bytes(args->files[0], &o->bytes_in);
    if (code == EXIT_DONE && interrupted())
        code = fail(EXIT_INTERRUPTED, "interrupted; nothing was written");
    if (code != EXIT_DONE)
        return code;
    fb_status status = fb_model_file_bytes(o->after, &o->bytes_out);
    if (status == FB_OK && !args->dry_run)
        status = fb_model_save(o->after, args->output);
    code = status == FB_OK ? report(args, o) : fail_status(status, args->output);
    return code == EXIT_DONE ? keep_budget(args, o) : code;
}

static int compress_model(const arguments *args, fb_model *before, progress *p)
{
    static search_outcome found;
    outcome o = {.before = before, .errors = json_array()};
    fb_model *after = NULL;
    double start = seconds_now();
    int code = make(args, before, p, &found, &o, &after);
    o.after = after;
    o.seconds = seconds_now() - start;
    if (code == EXIT_DONE && is_search(args) && !fb_model_note(after, "source"))
        (void)fb_model_set_note(after, "source", base_name(args->files[0]));
    if (code == EXIT_DONE)
        code = write_model(args, &o);
    fb_search_free(&found.found);
    fb_model_close(&after);
    json_decref(o.errors);
    return code;
}

static int run(const arguments *args)
{
    progress p;
    fb_model *before;
    progress_init(&p, args->quiet);
    int code = check(args);
    if (code != EXIT_DONE)
        return code;
    code = open_model(args->files[0], &before);
    if (code == EXIT_DONE)
        code = compress_model(args, before, &p);
    fb_model_close(&before);
    return code;
}

const command cmd_compress = {
    .name = "compress",
    .operands = "MODEL",
    .min_files = 1,
    .max_files = 1,
    .summary = "write a network in few bits",
    .example =
        "fewbit compress net.onnx --data imgs/ --prep imagenet --method int8 -o net.fewbit\n"
        "fewbit compress net.onnx --data imgs/ --prep imagenet --max-drop 1% -o net.fewbit\n",
    .notes =
        "MODEL is an ONNX or a .fewbit file. The images calibrate the number ranges; a few\n"
        "hundred do. Preprocessing, labels and provenance travel inside the file that is\n"
        "written. Labels come from --labels, else from the model, else from class folders of\n"
        "--data. FILE is never written half: after a failure, what was there is still there.\n"
        "\n"
        "--max-drop and --max-size look for the widths of all layers: a third of the images\n"
        "calibrates, a third chooses, and a third, or --eval, tells what the result loses. The\n"
        "search is kept in FILE.search: the same command goes on from there.\n",
    .options = {OPT_OUTPUT, OPT_FORCE,   OPT_METHOD,  OPT_DATA,     OPT_PREP,     OPT_LABELS,
                OPT_LIMIT,  OPT_SEED,    OPT_DRY_RUN, OPT_MAX_DROP, OPT_MAX_SIZE, OPT_TIME_LIMIT,
                OPT_STATE,  OPT_EVAL,    OPT_BATCH,   OPT_THREADS,  OPT_CPU,      OPT_JSON,
                OPT_QUIET,  OPT_VERBOSE, OPT_END},
    .threads = 0,
    .batch = 8,
    .limit = 512,
    .run = run,
};
