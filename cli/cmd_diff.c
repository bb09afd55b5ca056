/* fewbit diff: how far two models are apart, layer by layer. */
#include "cli.h"
#include "out.h"

#include <stdio.h>

static void print_verdict(const fb_diff_report *r)
{
    printf("\n%s images, same top-1 on %.2f%%", show_count(r->images), r->agreement);
    if (r->n_unmatched)
        printf(", %u layers without a counterpart", r->n_unmatched);
    putchar('\n');
    if (r->first_wrong >= 0) {
        const fb_diff_layer *l = &r->layers[r->first_wrong];
        printf("first wrong: %s (%s), %s dB where %g are wanted\n", printable(l->name), l->op,
               show_number(l->aligned_db, 1), r->threshold_db);
    } else {
        printf("no layer is below %g dB\n", r->threshold_db);
    }
    if (r->most_added >= 0) {
        const fb_diff_layer *l = &r->layers[r->most_added];
        printf("most is added by: %s (%s), %s%% of its signal\n", printable(l->name), l->op,
               show_number(100 * l->added, 2));
    }
}

static void print(const fb_diff_report *r)
{
    table *t = table_new("lllrrrrrl", "layer|op|encoding|SQNR dB|aligned dB|error %|added %|"
                                      "worst|");
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_diff_layer *l = &r->layers[i];
        table_cell(t, "%s", l->name);
        table_cell(t, "%s", l->op);
        table_cell(t, "%s", l->encoding);
        table_cell(t, "%s", show_number(l->sqnr_db, 1));
        table_cell(t, "%s", show_number(l->aligned_db, 1));
        table_cell(t, "%s", show_number(100 * l->relative, 2));
        table_cell(t, "%s", show_number(100 * l->added, 2));
        table_cell(t, "%.3g", l->worst);
        table_cell(t, "%s", (int32_t)i == r->first_wrong ? "<- first wrong" : "");
    }
    table_print(t);
    print_verdict(r);
}

static json_t *layer_name(const fb_diff_report *r, int32_t at)
{
    return at >= 0 ? json_text(r->layers[at].name) : json_null();
}

static int emit(const arguments *args, const fb_diff_report *r)
{
    json_t *report = json_report("diff"), *layers = json_array();
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_diff_layer *l = &r->layers[i];
        json_t *item = json_object();
        json_put(item, "name", json_text(l->name));
        json_put(item, "op", json_text(l->op));
        json_put(item, "tensor", json_text(l->tensor));
        json_put(item, "encoding", json_text(l->encoding));
        json_put(item, "elems", json_integer((json_int_t)l->elems));
        json_put(item, "sqnr_db", json_number(l->sqnr_db));
        json_put(item, "aligned_db", json_number(l->aligned_db));
        json_put(item, "added", json_number(l->added));
        json_put(item, "relative", json_number(l->relative));
        json_put(item, "worst", json_number(l->worst));
        json_push(layers, item);
    }
    json_put(report, "a", json_text(args->files[0]));
    json_put(report, "b", json_text(args->files[1]));
    json_put(report, "images", json_integer((json_int_t)r->images));
    json_put(report, "agreement", json_number(r->agreement));
    json_put(report, "threshold_db", json_number(r->threshold_db));
    json_put(report, "first_wrong", layer_name(r, r->first_wrong));
    json_put(report, "most_added", layer_name(r, r->most_added));
    json_put(report, "unmatched", json_integer(r->n_unmatched));
    json_put(report, "layers", layers);
    return json_emit(args, report);
}

static int compare(const arguments *args, fb_model **models)
{
    fb_prep prep;
    fb_data *data = NULL;
    fb_diff_report report;
    progress p;
    progress_init(&p, args->quiet);
    int code = json_check(args);
    for (int i = 0; i < 2 && code == EXIT_DONE; i++)
        code = open_model(args->files[i], &models[i]);
    if (code == EXIT_DONE)
        code = choose_prep(args, models, 2, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, models[0], args->limit, &data);
    if (code == EXIT_DONE) {
        fb_measure_options o = measure_options(args, &p);
        fb_status status = fb_diff(models[0], models[1], data, args->threshold, &o, &report);
        progress_clear(&p);
        if (status != FB_OK)
            code = fail_status(status, args->data);
        if (status == FB_OK && want_tables(args))
            print(&report);
        if (status == FB_OK && args->json)
            code = emit(args, &report);
        fb_diff_report_free(&report);
    }
    fb_data_close(&data);
    return code;
}

static int run(const arguments *args)
{
    fb_model *models[2] = {NULL, NULL};
    if (!args->data)
        return fail(EXIT_USAGE, "diff: name the images with --data");
    int code = compare(args, models);
    fb_model_close(&models[0]);
    fb_model_close(&models[1]);
    return code;
}

const command cmd_diff = {
    .name = "diff",
    .operands = "MODEL MODEL",
    .min_files = 2,
    .max_files = 2,
    .summary = "show the error of every layer between two models, and where it starts",
    .example = "fewbit diff net.onnx net.fewbit --data val/\n",
    .notes =
        "Layers match by name. SQNR is the signal over the error; aligned is the same after the\n"
        "best gain for each channel, which is fair to methods that rescale channels; added is\n"
        "the error that a layer adds to that of its worst input.\n",
    .options = {OPT_DATA, OPT_PREP, OPT_LIMIT, OPT_THRESHOLD, OPT_BATCH, OPT_THREADS, OPT_CPU,
                OPT_TABLES, OPT_JSON, OPT_QUIET, OPT_END},
    .threads = 0,
    .batch = 1,
    .limit = 64,
    .run = run,
};
