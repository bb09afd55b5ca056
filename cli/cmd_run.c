/* fewbit run: classify images. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>

/* One model ready to classify, and the report that grows image by image. */
typedef struct classifier {
    const arguments *args;
    fb_model *model;
    fb_predictor *predictor;
    fb_prep prep;
    float *x, *scores;
    fb_guess *top;
    table *table;
    json_t *images;
} classifier;

static int prepare(classifier *c)
{
    const arguments *args = c->args;
    progress p;
    progress_init(&p, true);
    int code = open_model(args->files[0], &c->model);
    if (code == EXIT_DONE)
        code = apply_labels(args, c->model);
    if (code == EXIT_DONE)
        code = choose_prep(args, &c->model, 1, &c->prep);
    if (code != EXIT_DONE)
        return code;
    fb_measure_options o = measure_options(args, &p);
    o.batch = 1;
    fb_sample_shape shape;
    fb_status status = fb_model_sample_shape(c->model, &shape);
    if (status == FB_OK)
        status = fb_predictor_create(c->model, &o, &c->predictor);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    c->x = calloc((size_t)shape.height * shape.width, shape.channels * sizeof *c->x);
    c->scores = calloc((size_t)fb_predictor_classes(c->predictor) + 1, sizeof *c->scores);
    c->top = calloc(args->top, sizeof *c->top);
    return c->x && c->scores && c->top ? EXIT_DONE : fail(EXIT_FAILED, "no memory");
}

static void add_result(classifier *c, const char *name, uint32_t n)
{
    json_t *image = json_object(), *top = json_array();
    for (uint32_t i = 0; i < n; i++) {
        const fb_guess *g = &c->top[i];
        const char *label = fb_model_label(c->model, g->label);
        table_cell(c->table, "%s", i == 0 ? name : "");
        table_cell(c->table, "%.2f", 100.0 * (double)g->probability);
        table_cell(c->table, "%u", g->label);
        table_cell(c->table, "%s", label ? label : "");
        json_t *guess = json_object();
        json_put(guess, "label", json_integer(g->label));
        json_put(guess, "name", json_text(label));
        json_put(guess, "probability", json_number((double)g->probability));
        json_put(guess, "score", json_number((double)g->score));
        json_push(top, guess);
    }
    json_put(image, "image", json_text(name));
    json_put(image, "top", top);
    json_push(c->images, image);
}

/* Every image that one operand names: usually one, but a folder or a list does, too. */
static int classify(classifier *c, const char *spec)
{
    fb_data *data;
    int code = open_data(c->args, spec, &c->prep, c->model, 0, &data);
    for (uint64_t i = 0; code == EXIT_DONE; i++) {
        uint32_t got;
        if (interrupted()) {
            code = fail(EXIT_INTERRUPTED, "interrupted");
            break;
        }
        fb_status status = fb_data_next(data, 1, c->x, NULL, &got);
        if (status == FB_OK && got == 0)
            break;
        if (status == FB_OK)
            status = fb_predictor_run(c->predictor, 1, c->x, c->scores);
        if (status != FB_OK) {
            code = fail_status(status, spec);
            break;
        }
        const char *name = fb_data_count(data) > 1 ? fb_data_name(data, i) : spec;
        char number[32];
        snprintf(number, sizeof number, "%llu", (unsigned long long)i);
        add_result(c, name ? name : number,
                   fb_top(c->scores, fb_predictor_classes(c->predictor), c->args->top, c->top));
    }
    fb_data_close(&data);
    return code;
}

static int emit(classifier *c)
{
    if (want_tables(c->args)) {
        table_print(c->table);
        c->table = NULL;
    }
    if (!c->args->json)
        return EXIT_DONE;
    json_t *report = json_report("run");
    json_put(report, "file", json_text(c->args->files[0]));
    json_put(report, "images", json_incref(c->images));
    return json_emit(c->args, report);
}

static int run(const arguments *args)
{
    classifier c = {.args = args, .images = json_array()};
    c.table = table_new("lrrl", "image|%|class|name");
    int code = json_check(args);
    if (code == EXIT_DONE)
        code = prepare(&c);
    for (int i = 1; i < args->n_files && code == EXIT_DONE; i++)
        code = classify(&c, args->files[i]);
    if (code == EXIT_DONE)
        code = emit(&c);
    table_free(c.table);
    json_decref(c.images);
    fb_predictor_destroy(&c.predictor);
    fb_model_close(&c.model);
    free(c.x);
    free(c.scores);
    free(c.top);
    return code;
}

const command cmd_run = {
    .name = "run",
    .operands = "MODEL IMAGE...",
    .min_files = 2,
    .max_files = 1000000,
    .summary = "classify images",
    .example = "fewbit run net.fewbit cat.jpg dog.png\n",
    .notes = "IMAGE is a JPEG or PNG file, or anything that --data takes elsewhere. Nothing is\n"
             "printed unless every image could be read.\n",
    .options = {OPT_TOP, OPT_LABELS, OPT_PREP, OPT_THREADS, OPT_CPU, OPT_TABLES, OPT_JSON, OPT_END},
    .threads = 0,
    .batch = 1,
    .run = run,
};
