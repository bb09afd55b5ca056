/* fewbit verify: checksums, then fast kernels against the reference. */
#include "cli.h"
#include "out.h"

#include <stdio.h>

static const char *level_name(uint32_t cpu)
{
    const char *name = fb_cpu_name(0);
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (cpu & bit)
            name = fb_cpu_name(bit); /* levels are cumulative: the highest names them */
    }
    return name;
}

static void print_layers(const fb_verify_report *r, bool all)
{
    table *t =
        table_new("llllrrrrr", "level|layer|op|kernel|rule|values|worst|wrong|got / reference");
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_verify_layer *l = &r->layers[i];
        if (!all && l->wrong == 0)
            continue;
        table_cell(t, "%s", level_name(l->cpu));
        table_cell(t, "%s", l->name);
        table_cell(t, "%s", l->op);
        table_cell(t, "%s", l->kernel);
        table_cell(t, "%s", l->exact ? "equal" : "float");
        table_cell(t, "%s", show_count(l->elems));
        table_cell(t, "%.2g", l->worst);
        table_cell(t, "%s", show_count(l->wrong));
        if (l->wrong)
            table_cell(t, "%.9g / %.9g", l->got, l->expected);
        else
            table_cell(t, "%s", "");
    }
    table_print(t);
}

static void print(const arguments *args, const fb_verify_report *r)
{
    uint32_t exact = 0;
    double worst = 0;
    for (uint32_t i = 0; i < r->n_layers; i++) {
        exact += r->layers[i].exact;
        if (!r->layers[i].exact && r->layers[i].worst > worst)
            worst = r->layers[i].worst;
    }
    if (args->verbose || r->wrong)
        print_layers(r, args->verbose);
    printf("%s: %s%u inputs, 1 and %u threads: %u integer tensors %s, %u float tensors "
           "within %.2g of the reference (bound %g); %s values, %s wrong\n",
           printable(args->files[0]), is_fewbit(args->files[0]) ? "checksums hold; " : "",
           r->inputs, r->max_threads, exact, r->wrong ? "compared" : "equal to the bit",
           r->n_layers - exact, worst, r->bound, show_count(r->elems), show_count(r->wrong));
}

static int emit(const arguments *args, const fb_verify_report *r)
{
    json_t *report = json_report("verify"), *layers = json_array();
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_verify_layer *l = &r->layers[i];
        json_t *item = json_object();
        json_put(item, "level", json_text(level_name(l->cpu)));
        json_put(item, "name", json_text(l->name));
        json_put(item, "op", json_text(l->op));
        json_put(item, "kernel", json_text(l->kernel));
        json_put(item, "tensor", json_text(l->tensor));
        json_put(item, "exact", json_boolean(l->exact));
        json_put(item, "elems", json_integer((json_int_t)l->elems));
        json_put(item, "wrong", json_integer((json_int_t)l->wrong));
        json_put(item, "worst", json_number(l->worst));
        json_push(layers, item);
    }
    json_put(report, "file", json_text(args->files[0]));
    json_put(report, "ok", json_boolean(r->wrong == 0));
    json_put(report, "inputs", json_integer(r->inputs));
    json_put(report, "max_threads", json_integer(r->max_threads));
    json_put(report, "elems", json_integer((json_int_t)r->elems));
    json_put(report, "wrong", json_integer((json_int_t)r->wrong));
    json_put(report, "bound", json_number(r->bound));
    json_put(report, "layers", layers);
    return json_emit(args, report);
}

static int run(const arguments *args)
{
    fb_model *model = NULL;
    fb_verify_report report;
    progress p;
    progress_init(&p, args->quiet);
    int code = json_check(args);
    if (code == EXIT_DONE)
        code = open_model(args->files[0], &model);
    if (code == EXIT_DONE) {
        fb_measure_options o = measure_options(args, &p);
        fb_status status = fb_verify(model, &o, &report);
        progress_clear(&p);
        if (status != FB_OK)
            code = fail_status(status, args->files[0]);
        if (status == FB_OK || status == FB_E_MISMATCH) {
            if (want_tables(args))
                print(args, &report);
            int written = args->json ? emit(args, &report) : EXIT_DONE;
            code = code == EXIT_DONE ? written : code;
        }
        fb_verify_report_free(&report);
    }
    fb_model_close(&model);
    return code;
}

const command cmd_verify = {
    .name = "verify",
    .operands = "MODEL",
    .min_files = 1,
    .max_files = 1,
    .summary = "check a file's checksums, and the fast kernels against the reference",
    .example = "fewbit verify net.fewbit\n",
    .notes =
        "Integer layers must be equal to the bit at every CPU level and thread count, float\n"
        "layers within 1e-4 of the largest value. A difference ends with exit code 5, a damaged\n"
        "file with 1. --verbose lists every layer.\n",
    .options = {OPT_BATCH, OPT_SEED, OPT_THREADS, OPT_CPU, OPT_JSON, OPT_QUIET, OPT_VERBOSE,
                OPT_END},
    .threads = 0,
    .batch = 1,
    .run = run,
};
