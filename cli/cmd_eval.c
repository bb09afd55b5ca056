/* fewbit eval: accuracy of several models on the same images, side by side. */
#include "cli.h"
#include "out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void print(const arguments *args, const fb_eval_result *r, const uint64_t *bytes)
{
    table *t = table_new("lrrrrrr", "file|bytes|images|top-1 %|top-5 %|loss|agreement %");
    for (int i = 0; i < args->n_files; i++) {
        table_cell(t, "%s", args->files[i]);
        table_cell(t, "%s", show_count(bytes[i]));
        table_cell(t, "%s", show_count(r[i].images));
        table_cell(t, "%s", show_number(r[i].top1, 2));
        table_cell(t, "%s", show_number(r[i].top5, 2));
        table_cell(t, "%s", show_number(r[i].loss, 4));
        table_cell(t, "%s", show_number(r[i].agreement, 2));
    }
    table_print(t);
}

/* A line for a model in fixed point whose numbers did not all fit. */
static void print_overflows(const char *file, const fb_overflow_report *o)
{
    if (o->n_layers == 0)
        return;
    printf("%s: %s of %s sums left their accumulator, %s outputs saturated, in %u layers, most in ",
           printable(base_name(file)), show_count(o->total.sums), show_count(o->total.of),
           show_count(o->total.outputs), o->n_layers);
    for (uint32_t i = 0; i < o->n_worst; i++) {
        const fb_saturations *s = &o->worst[i].over;
        double percent = 100.0 / (double)s->of;
        printf("%s%s (%.2g%%, %.2g%%)", i ? ", " : "", printable(o->worst[i].name),
               (double)s->sums * percent, (double)s->outputs * percent);
    }
    putchar('\n');
}

static json_t *json_overflows(const fb_overflow_report *o)
{
    json_t *report = json_object(), *worst = json_array();
    if (o->total.of == 0) {
        json_decref(report);
        json_decref(worst);
        return json_null();
    }
    for (uint32_t i = 0; i < o->n_worst; i++) {
        const fb_saturations *s = &o->worst[i].over;
        json_t *layer = json_object();
        json_put(layer, "name", json_text(o->worst[i].name));
        json_put(layer, "sums", json_integer((json_int_t)s->sums));
        json_put(layer, "outputs", json_integer((json_int_t)s->outputs));
        json_put(layer, "of", json_integer((json_int_t)s->of));
        json_push(worst, layer);
    }
    json_put(report, "sums", json_integer((json_int_t)o->total.sums));
    json_put(report, "outputs", json_integer((json_int_t)o->total.outputs));
    json_put(report, "of", json_integer((json_int_t)o->total.of));
    json_put(report, "layers", json_integer(o->n_layers));
    json_put(report, "worst", worst);
    return report;
}

static int report(const arguments *args, const fb_eval_result *r, const uint64_t *bytes)
{
    if (want_tables(args)) {
        print(args, r, bytes);
        for (int i = 0; i < args->n_files; i++)
            print_overflows(args->files[i], &r[i].over);
    }
    if (!args->json)
        return EXIT_DONE;
    json_t *report = json_report("eval"), *models = json_array();
    for (int i = 0; i < args->n_files; i++) {
        json_t *m = json_object();
        json_put(m, "file", json_text(args->files[i]));
        json_put(m, "bytes", json_integer((json_int_t)bytes[i]));
        json_put(m, "images", json_integer((json_int_t)r[i].images));
        json_put(m, "top1", json_number(r[i].top1));
        json_put(m, "top5", json_number(r[i].top5));
        json_put(m, "loss", json_number(r[i].loss));
        json_put(m, "agreement", json_number(r[i].agreement));
        json_put(m, "overflows", json_overflows(&r[i].over));
        json_push(models, m);
    }
    json_put(report, "models", models);
    return json_emit(args, report);
}

static int evaluate(const arguments *args, fb_model **models, uint64_t *bytes, fb_eval_result *r)
{
    fb_prep prep;
    fb_data *data = NULL;
    progress p;
    progress_init(&p, args->quiet);
    int n = args->n_files, code = json_check(args);
    for (int i = 0; i < n && code == EXIT_DONE; i++) {
        code = open_model(args->files[i], &models[i]);
        if (code == EXIT_DONE)
            code = file_bytes(args->files[i], &bytes[i]);
    }
    if (code == EXIT_DONE)
        code = choose_prep(args, models, n, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, models[0], args->limit, &data);
    if (code == EXIT_DONE) {
        fb_measure_options o = measure_options(args, &p);
        fb_status status = fb_eval((const fb_model *const *)models, (uint32_t)n, data, &o, r);
        progress_clear(&p);
        code = status == FB_OK ? report(args, r, bytes) : fail_status(status, args->data);
    }
    fb_data_close(&data);
    return code;
}

static int run(const arguments *args)
{
    size_t n = (size_t)args->n_files;
    if (!args->data)
        return fail(EXIT_USAGE, "eval: name the images with --data");
    fb_model **models = calloc(n, sizeof *models);
    uint64_t *bytes = calloc(n, sizeof *bytes);
    fb_eval_result *results = calloc(n, sizeof *results);
    int code = models && bytes && results ? evaluate(args, models, bytes, results)
                                          : fail(EXIT_FAILED, "no memory");
    for (size_t i = 0; models && i < n; i++)
        fb_model_close(&models[i]);
    free(models);
    free(bytes);
    free(results);
    return code;
}

const command cmd_eval = {
    .name = "eval",
    .operands = "MODEL...",
    .min_files = 1,
    .max_files = 64,
    .summary = "measure accuracy of models on the same images, side by side",
    .example = "fewbit eval net.onnx net.fewbit --data val/\n",
    .notes =
        "Agreement is the share of images with the same top-1 as the first model, so list the\n"
        "float model first. Without labels only agreement is shown. Preprocessing comes from\n"
        "--prep, else from the first model file that carries one.\n",
    .options = {OPT_DATA, OPT_PREP, OPT_LIMIT, OPT_BATCH, OPT_THREADS, OPT_CPU, OPT_TABLES,
                OPT_JSON, OPT_QUIET, OPT_END},
    .threads = 0,
    .batch = 16,
    .run = run,
};
