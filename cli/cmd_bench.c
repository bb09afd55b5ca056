/* fewbit bench: latency and memory, interleaved, with a profile by layer. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>

static void print_summary(const arguments *args, const fb_bench_result *r)
{
    table *t = table_new("lrrrrrrrr", "file|threads|batch|median|min|p10|p90|peak memory|speed-up");
    for (int i = 0; i < args->n_files; i++) {
        table_cell(t, "%s", args->files[i]);
        table_cell(t, "%u", r[i].threads);
        table_cell(t, "%u", r[i].batch);
        table_cell(t, "%s", show_time(r[i].median_ns));
        table_cell(t, "%s", show_time(r[i].min_ns));
        table_cell(t, "%s", show_time(r[i].p10_ns));
        table_cell(t, "%s", show_time(r[i].p90_ns));
        table_cell(t, "%s", show_bytes(r[i].peak_bytes));
        table_cell(t, "%.2fx", (double)r[0].median_ns / (double)(r[i].median_ns + !r[i].median_ns));
    }
    table_print(t);
}

/* Whether some layer has codebooks, and so another count of operations than of MACs. */
static bool has_look_ups(const fb_bench_result *r)
{
    for (uint32_t i = 0; i < r->n_layers; i++) {
        if (r->layers[i].ops > 0 && r->layers[i].ops != r->layers[i].macs)
            return true;
    }
    return false;
}

/* Whether layers were compared with those of another model, or with decoded weights. */
static bool has_base(const fb_bench_result *r)
{
    for (uint32_t i = 0; i < r->n_layers; i++) {
        if (r->layers[i].base_ns > 0)
            return true;
    }
    return false;
}

/* A ratio in two digits with an x behind it; empty where there is nothing to compare. */
static void ratio_cell(table *t, bool known, uint64_t slow, uint64_t fast)
{
    known = known && fast > 0;
    table_cell(t, "%s%s", known ? show_number((double)slow / (double)fast, 2) : "",
               known ? "x" : "");
}

static void print_layer_rows(const fb_bench_result *r, bool look_ups, bool base)
{
    char heads[120], align[12];
    snprintf(heads, sizeof heads, "layer|op|kernel|median|%%|GMAC/s%s%s",
             look_ups ? "|ops|predicted" : "", base ? "|measured" : "");
    snprintf(align, sizeof align, "lllrrr%s%s", look_ups ? "rr" : "", base ? "r" : "");
    table *t = table_new(align, heads);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n_layers; i++)
        sum += r->layers[i].median_ns;
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_bench_layer *l = &r->layers[i];
        bool shorter = l->ops > 0 && l->ops != l->macs;
        table_cell(t, "%s", l->name);
        table_cell(t, "%s", l->op);
        table_cell(t, "%s", l->kernel);
        table_cell(t, "%s", show_time(l->median_ns));
        table_cell(t, "%.1f", sum ? 100.0 * (double)l->median_ns / (double)sum : 0.0);
        table_cell(t, "%s",
                   l->macs && l->median_ns ? show_number((double)l->macs / (double)l->median_ns, 2)
                                           : "");
        if (look_ups) {
            table_cell(t, "%s", shorter ? show_count(l->ops) : "");
            ratio_cell(t, shorter, l->macs, l->ops);
        }
        if (base)
            ratio_cell(t, l->base_ns > 0, l->base_ns, l->min_ns);
    }
    table_print(t);
}

/* of: the result's place among the files. */
static void print_layers(const arguments *args, const fb_bench_result *r, int of)
{
    printf("\n%s: weights %s, packed %s, activations and scratch %s\n", printable(args->files[of]),
           show_bytes(r->weight_bytes), show_bytes(r->packed_bytes),
           show_bytes(r->workspace_bytes));
    printf("activations of an image, each once: %s; held at the same time, for a batch of %u: %s\n",
           show_bytes(r->activation_bytes), r->batch, show_bytes(r->tensor_bytes));
    bool look_ups = has_look_ups(r), base = has_base(r);
    if (look_ups)
        printf("predicted: multiply-adds to operations by look-up\n");
    if (base && of == 0)
        printf("measured: speed-up against the same layer on its decoded weights\n");
    else if (base)
        printf("measured: speed-up against the layer of that name in %s\n",
               printable(args->files[0]));
    print_layer_rows(r, look_ups, base);
}

static json_t *json_result(const char *file, const fb_bench_result *r)
{
    json_t *m = json_object(), *layers = json_array();
    json_put(m, "file", json_text(file));
    json_put(m, "threads", json_integer(r->threads));
    json_put(m, "batch", json_integer(r->batch));
    json_put(m, "samples", json_integer((json_int_t)r->samples));
    json_put(m, "median_ns", json_integer((json_int_t)r->median_ns));
    json_put(m, "min_ns", json_integer((json_int_t)r->min_ns));
    json_put(m, "p10_ns", json_integer((json_int_t)r->p10_ns));
    json_put(m, "p90_ns", json_integer((json_int_t)r->p90_ns));
    json_put(m, "peak_bytes", json_integer((json_int_t)r->peak_bytes));
    json_put(m, "weight_bytes", json_integer((json_int_t)r->weight_bytes));
    json_put(m, "packed_bytes", json_integer((json_int_t)r->packed_bytes));
    json_put(m, "workspace_bytes", json_integer((json_int_t)r->workspace_bytes));
    json_put(m, "tensor_bytes", json_integer((json_int_t)r->tensor_bytes));
    json_put(m, "activation_bytes", json_integer((json_int_t)r->activation_bytes));
    for (uint32_t i = 0; i < r->n_layers; i++) {
        const fb_bench_layer *l = &r->layers[i];
        json_t *item = json_object();
        json_put(item, "name", json_text(l->name));
        json_put(item, "op", json_text(l->op));
        json_put(item, "kernel", json_text(l->kernel));
        json_put(item, "median_ns", json_integer((json_int_t)l->median_ns));
        json_put(item, "min_ns", json_integer((json_int_t)l->min_ns));
        json_put(item, "base_ns", l->base_ns ? json_integer((json_int_t)l->base_ns) : json_null());
        json_put(item, "macs", json_integer((json_int_t)l->macs));
        json_put(item, "ops", json_integer((json_int_t)l->ops));
        json_push(layers, item);
    }
    json_put(m, "layers", layers);
    return m;
}

static int report(const arguments *args, const fb_bench_result *r)
{
    if (want_tables(args)) {
        print_summary(args, r);
        for (int i = 0; i < args->n_files && !args->quiet; i++)
            print_layers(args, &r[i], i);
    }
    if (!args->json)
        return EXIT_DONE;
    json_t *report = json_report("bench"), *models = json_array();
    for (int i = 0; i < args->n_files; i++)
        json_push(models, json_result(args->files[i], &r[i]));
    json_put(report, "models", models);
    return json_emit(args, report);
}

static int measure(const arguments *args, fb_model **models, fb_bench_result *results)
{
    progress p;
    progress_init(&p, args->quiet);
    int n = args->n_files, code = json_check(args);
    for (int i = 0; i < n && code == EXIT_DONE; i++)
        code = open_model(args->files[i], &models[i]);
    if (code != EXIT_DONE)
        return code;
    fb_measure_options o = measure_options(args, &p);
    fb_status status =
        fb_bench((const fb_model *const *)models, (uint32_t)n, args->seconds, &o, results);
    progress_clear(&p);
    if (status != FB_OK)
        return fail_status(status, n == 1 ? args->files[0] : NULL);
    code = report(args, results);
    for (int i = 0; i < n; i++)
        fb_bench_result_free(&results[i]);
    return code;
}

static int run(const arguments *args)
{
    size_t n = (size_t)args->n_files;
    fb_model **models = calloc(n, sizeof *models);
    fb_bench_result *results = calloc(n, sizeof *results);
    int code = models && results ? measure(args, models, results) : fail(EXIT_FAILED, "no memory");
    for (size_t i = 0; models && i < n; i++)
        fb_model_close(&models[i]);
    free(models);
    free(results);
    return code;
}

const command cmd_bench = {
    .name = "bench",
    .operands = "MODEL...",
    .min_files = 1,
    .max_files = 64,
    .summary = "time models against each other, layer by layer, with peak memory",
    .example = "fewbit bench net.onnx net.fewbit\n",
    .notes =
        "The models take turns in every round, after a warm-up. Median, minimum and the 10th and\n"
        "90th percentile are of one run of the batch. Peak memory is the constants as the model\n"
        "holds them, the weights packed for the kernels, and activations with scratch. Layers of\n"
        "further models tell their speed-up against those of the first; of a single model with\n"
        "look-up tables, against decoded weights. With\n"
        "--quiet only the summary is printed. Inputs are made up from --seed.\n",
    .options = {OPT_SECONDS, OPT_BATCH, OPT_SEED, OPT_THREADS, OPT_CPU, OPT_TABLES, OPT_JSON,
                OPT_QUIET, OPT_END},
    .threads = 1,
    .batch = 1,
    .run = run,
};
