/* fewbit why: what is wrong with a network, its data or its compressed file. */
#include "cli.h"
#include "out.h"

#include "fewbit/why.h"

#include <math.h>
#include <stdio.h>

static void print_findings(const fb_why_report *r)
{
    for (uint32_t i = 0; i < r->n_findings; i++) {
        const fb_why_finding *f = &r->findings[i];
        if (f->hint)
            printf("hint: ");
        else
            printf("%u. ", i + 1);
        printf("%s.\n   -> %s\n", printable(f->what), printable(f->advice));
    }
    if (r->n_findings == r->n_hints)
        printf("nothing wrong was found\n");
}

static void print_head(const fb_why_report *r)
{
    if (r->images == 0)
        return;
    printf("%s images with %s", show_count(r->images), r->prep);
    if (r->labelled)
        printf(": top-1 %s%%", show_number(r->top1, 1));
    if (!isnan(r->small_top1))
        printf(", compressed %s%%", show_number(r->small_top1, 1));
    if (!isnan(r->agreement))
        printf(", same answer on %s%%", show_number(r->agreement, 1));
    printf("\n\n");
}

static void print_tables(const fb_why_report *r)
{
    table *t = table_new("lrrr", "preprocessing|images|top-1 %|sure %");
    for (uint32_t i = 0; i < r->n_variants; i++) {
        const fb_why_variant *v = &r->variants[i];
        table_cell(t, "%s", v->prep);
        table_cell(t, "%s", show_count(v->images));
        table_cell(t, "%s", show_number(v->top1, 1));
        table_cell(t, "%s", show_number(v->confidence, 1));
    }
    putchar('\n');
    table_print(t);
    t = table_new("llrrrr", "layer|op|channels|constant|always 0|weights");
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_why_layer *l = &r->layers[i];
        table_cell(t, "%s", l->name);
        table_cell(t, "%s", l->op);
        table_cell(t, "%u", l->channels);
        table_cell(t, "%u", l->dead);
        table_cell(t, "%u", l->zero);
        table_cell(t, "%s", show_count(l->params));
    }
    putchar('\n');
    table_print(t);
}

static void print(const arguments *args, const fb_why_report *r)
{
    print_head(r);
    print_findings(r);
    if (r->n_looks)
        printf("\nlooked at:\n");
    for (uint32_t i = 0; i < r->n_looks; i++)
        printf("  %-14s %s\n", r->looks[i].at, printable(r->looks[i].result));
    if (args->verbose && r->images)
        print_tables(r);
}

static json_t *json_finding(const fb_why_finding *f)
{
    json_t *item = json_object(), *numbers = json_object();
    for (uint32_t i = 0; i < f->n_numbers; i++)
        json_put(numbers, f->numbers[i].name, json_number(f->numbers[i].value));
    json_put(item, "kind", json_text(f->kind));
    json_put(item, "hint", json_boolean(f->hint));
    json_put(item, "points", json_number(f->points));
    json_put(item, "layer", json_text(f->layer));
    json_put(item, "what", json_text(f->what));
    json_put(item, "advice", json_text(f->advice));
    json_put(item, "numbers", numbers);
    return item;
}

static json_t *json_variants(const fb_why_report *r)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->n_variants; i++) {
        const fb_why_variant *v = &r->variants[i];
        json_t *item = json_object();
        json_put(item, "prep", json_text(v->prep));
        json_put(item, "images", json_integer((json_int_t)v->images));
        json_put(item, "top1", json_number(v->top1));
        json_put(item, "confidence", json_number(v->confidence));
        json_push(list, item);
    }
    return list;
}

static json_t *json_layers(const fb_why_report *r)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_why_layer *l = &r->layers[i];
        json_t *item = json_object();
        json_put(item, "name", json_text(l->name));
        json_put(item, "op", json_text(l->op));
        json_put(item, "channels", json_integer(l->channels));
        json_put(item, "dead", json_integer(l->dead));
        json_put(item, "zero", json_integer(l->zero));
        json_put(item, "params", json_integer((json_int_t)l->params));
        json_put(item, "infinite", json_integer((json_int_t)l->infinite));
        json_push(list, item);
    }
    return list;
}

static int emit(const arguments *args, const fb_why_report *r)
{
    json_t *report = json_report("why"), *findings = json_array(), *looks = json_array();
    for (uint32_t i = 0; i < r->n_findings; i++)
        json_push(findings, json_finding(&r->findings[i]));
    for (uint32_t i = 0; i < r->n_looks; i++) {
        json_t *item = json_object();
        json_put(item, "at", json_text(r->looks[i].at));
        json_put(item, "result", json_text(r->looks[i].result));
        json_push(looks, item);
    }
    json_put(report, "model", json_text(args->files[0]));
    json_put(report, "compressed", json_text(args->n_files > 1 ? args->files[1] : NULL));
    json_put(report, "images", json_integer((json_int_t)r->images));
    json_put(report, "prep", json_text(r->prep));
    json_put(report, "top1", json_number(r->top1));
    json_put(report, "compressed_top1", json_number(r->small_top1));
    json_put(report, "agreement", json_number(r->agreement));
    json_put(report, "findings", findings);
    json_put(report, "looks", looks);
    json_put(report, "variants", json_variants(r));
    json_put(report, "layers", json_layers(r));
    return json_emit(args, report);
}

static int show(const arguments *args, const fb_why_report *r)
{
    int code = EXIT_DONE;
    if (want_tables(args))
        print(args, r);
    if (args->json)
        code = emit(args, r);
    if (code == EXIT_DONE && r->n_findings > r->n_hints)
        code = EXIT_FOUND;
    return code;
}

/* The importer may refuse the model for one of the reasons that are looked for here. */
static int open_or_tell(const arguments *args, fb_model **model)
{
    fb_why_report report;
    fb_status status = fb_open_any(args->files[0], model);
    if (status != FB_E_UNSUPPORTED)
        return status == FB_OK ? EXIT_DONE : open_model(args->files[0], model);
    int code = EXIT_DONE;
    if (fb_why_refused(&report) == FB_OK && report.n_findings > 0)
        code = show(args, &report);
    fb_why_report_free(&report);
    return code == EXIT_DONE ? open_model(args->files[0], model) : code;
}

/* The preprocessing that the user or a file names; *known false when nobody does. */
static int known_prep(const arguments *args, fb_model *const *models, int n, fb_prep *prep,
                      bool *known)
{
    *known = args->prep != NULL;
    for (int i = 0; i < n; i++)
        *known = *known || fb_model_prep(models[i])->name[0];
    return *known ? choose_prep(args, models, n, prep) : EXIT_DONE;
}

static int diagnose(const arguments *args, fb_model **models)
{
    fb_prep prep;
    bool known = false;
    fb_why_report report;
    fb_why_options o;
    progress p;
    progress_init(&p, args->quiet);
    int code = json_check(args);
    if (code == EXIT_DONE)
        code = open_or_tell(args, &models[0]);
    if (code == EXIT_DONE && args->n_files > 1)
        code = open_model(args->files[1], &models[1]);
    if (code == EXIT_DONE)
        code = known_prep(args, models, args->n_files, &prep, &known);
    if (code != EXIT_DONE)
        return code;
    fb_why_options_default(&o);
    o.data = args->data;
    o.prep = known ? &prep : NULL;
    o.limit = args->limit;
    o.decoders = args->threads;
    o.small = models[1];
    o.measure = measure_options(args, &p);
    fb_status status = fb_why(models[0], &o, &report);
    progress_clear(&p);
    if (status != FB_OK)
        return fail_status(status, args->data);
    code = show(args, &report);
    fb_why_report_free(&report);
    return code;
}

static int run(const arguments *args)
{
    fb_model *models[2] = {NULL, NULL};
    if (!args->data)
        return fail(EXIT_USAGE, "why: name the images with --data");
    int code = diagnose(args, models);
    fb_model_close(&models[0]);
    fb_model_close(&models[1]);
    return code;
}

const command cmd_why = {
    .name = "why",
    .operands = "MODEL [COMPRESSED]",
    .min_files = 1,
    .max_files = 2,
    .summary = "say what is wrong: preprocessing, labels, dead channels, a layer that loses it all",
    .example = "fewbit why net.onnx --data val/ --prep imagenet\n"
               "fewbit why net.onnx net.fewbit --data val/\n",
    .notes =
        "One sentence for each thing that is wrong, with the numbers that show it and what to do,\n"
        "what costs most first; a hint is no proof. Without --prep, and when no file carries one,\n"
        "labelled images tell which fits. Exit code 6 means that something was found.\n",
    .options = {OPT_DATA, OPT_PREP, OPT_LIMIT, OPT_BATCH, OPT_THREADS, OPT_CPU, OPT_TABLES,
                OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_END},
    .threads = 0,
    .batch = 4,
    .limit = 200,
    .run = run,
};
