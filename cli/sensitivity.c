/* inspect --sensitivity: what each layer can bear, as a table and as JSON. */
#include "cli.h"
#include "out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { USUAL_IMAGES = 64 };

/* --- where finished trials are kept ---------------------------------------------------------- */

/* The user's cache folder, one file for each model, data and number of images; "" when there is no
 * such folder: then nothing is kept. */
static int default_state(const fb_model *model, const fb_data *data, uint64_t images, char *path,
                         size_t cap)
{
    char key[17];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    fb_status status = fb_sensitivity_key(model, data, images, key);
    if (status != FB_OK)
        return fail_status(status, NULL);
    path[0] = '\0';
    char folder[3072];
    int n = cache && *cache == '/' ? snprintf(folder, sizeof folder, "%s", cache)
            : home && *home        ? snprintf(folder, sizeof folder, "%s/.cache", home)
                                   : -1;
    if (n < 0 || (size_t)n + 64 > sizeof folder)
        return EXIT_DONE;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return EXIT_DONE;
    strcat(folder, "/fewbit");
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return EXIT_DONE;
    snprintf(path, cap, "%s/sensitivity-%s.txt", folder, key);
    return EXIT_DONE;
}

/* --- the report ------------------------------------------------------------------------------ */

static void print_table(const arguments *args, const fb_model *model, const fb_sensitivity *r,
                        fb_sense_what what)
{
    char align[4 + 2 * MAX_WIDTHS] = "llr", titles[32 + 24 * MAX_WIDTHS] = "layer|op|params";
    for (uint32_t b = 0; b < args->n_widths; b++) {
        strcat(align, "rr");
        snprintf(titles + strlen(titles), sizeof titles - strlen(titles), "|%u bits|drop",
                 args->widths[b]);
    }
    printf("\n%s: loss (1000 x KL, nats) and drop of accuracy (points) with one layer alone\n",
           what == FB_SENSE_WEIGHTS ? "weights" : "inputs");
    table *t = table_new(align, titles);
    for (uint32_t i = 0; i < r->n_rows; i += args->n_widths) {
        fb_layer_info layer;
        if (r->rows[i].what != what || fb_model_layer(model, r->rows[i].layer, &layer) != FB_OK)
            continue;
        table_cell(t, "%s", layer.name);
        table_cell(t, "%s", layer.op);
        table_cell(t, "%s", show_count(layer.params));
        for (uint32_t b = 0; b < args->n_widths; b++) {
            table_cell(t, "%s", show_number(1000 * r->rows[i + b].loss, 2));
            table_cell(t, "%s", show_number(100 * (r->correct - r->rows[i + b].correct), 2));
        }
    }
    table_print(t);
}

static void print(const arguments *args, const fb_model *model, const fb_sensitivity *r)
{
    printf("%s images, %s of the float network on them %.2f%%\n", show_count(r->images),
           r->labelled ? "top-1" : "(without labels) agreement", 100 * r->correct);
    print_table(args, model, r, FB_SENSE_WEIGHTS);
    print_table(args, model, r, FB_SENSE_INPUT);
}

static int emit(const arguments *args, const fb_model *model, const fb_sensitivity *r)
{
    json_t *report = json_report("sensitivity"), *rows = json_array();
    for (uint32_t i = 0; i < r->n_rows; i++) {
        const fb_sense_row *row = &r->rows[i];
        fb_layer_info layer;
        if (fb_model_layer(model, row->layer, &layer) != FB_OK)
            continue;
        json_t *item = json_object();
        json_put(item, "layer", json_text(layer.name));
        json_put(item, "what", json_text(row->what == FB_SENSE_WEIGHTS ? "weights" : "input"));
        json_put(item, "bits", json_integer(row->bits));
        json_put(item, "params", json_integer((json_int_t)layer.params));
        json_put(item, "macs", json_integer((json_int_t)layer.macs));
        json_put(item, "loss", json_number(row->loss));
        json_put(item, "drop", json_number(100 * (r->correct - row->correct)));
        json_push(rows, item);
    }
    json_put(report, "file", json_text(args->files[0]));
    json_put(report, "images", json_integer((json_int_t)r->images));
    json_put(report, "labelled", json_boolean(r->labelled));
    json_put(report, "float", json_number(100 * r->correct));
    json_put(report, "rows", rows);
    return json_emit(args, report);
}

/* --- the study ------------------------------------------------------------------------------- */

static int study(const arguments *args, const fb_model *model, fb_data *data, fb_sensitivity *r)
{
    char usual[4096];
    progress p;
    progress_init(&p, args->quiet);
    fb_sensitivity_options o = {.data = data,
                                .images = fb_data_count(data),
                                .widths = args->widths,
                                .n_widths = args->n_widths,
                                .state = args->state,
                                .n_threads = args->threads,
                                .cpu = args->cpu,
                                .progress = progress_show,
                                .progress_user = &p};
    if (!args->state) {
        int code = default_state(model, data, o.images, usual, sizeof usual);
        if (code != EXIT_DONE)
            return code;
        o.state = usual[0] ? usual : NULL;
    }
    fb_status status = fb_sensitivity_run(model, &o, r);
    progress_clear(&p);
    if (status == FB_E_INTERRUPTED && o.state && !args->quiet)
        fprintf(stderr, "finished trials are in '%s'; the same command goes on from there\n",
                o.state);
    return status == FB_OK ? EXIT_DONE : fail_status(status, args->files[0]);
}

int report_sensitivity(const arguments *args, fb_model *model)
{
    fb_prep prep;
    fb_data *data = NULL;
    fb_sensitivity r = {0};
    uint64_t limit = args->given[OPT_LIMIT] ? args->limit : USUAL_IMAGES;
    int code = choose_prep(args, &model, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, model, limit, &data);
    if (code == EXIT_DONE)
        code = study(args, model, data, &r);
    if (code == EXIT_DONE && want_tables(args))
        print(args, model, &r);
    if (code == EXIT_DONE && args->json)
        code = emit(args, model, &r);
    fb_sensitivity_free(&r);
    fb_data_close(&data);
    return code;
}
