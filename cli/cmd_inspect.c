/* fewbit inspect: what is in a model, what can be compressed, and how large that would be. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <string.h>

/* --- tables ---------------------------------------------------------------------------------- */

static void print_io(const fb_model *model, const char *what, uint32_t n,
                     int32_t (*at)(const fb_model *, uint32_t))
{
    for (uint32_t i = 0; i < n; i++) {
        fb_tensor_info t;
        if (fb_model_tensor(model, (uint32_t)at(model, i), &t) == FB_OK)
            printf("%-8s %s  %s %s%s\n", what, printable(t.name), show_dims(t.rank, t.dims),
                   t.encoding, t.source_nchw ? " (channels first in the source)" : "");
    }
}

static void print_travellers(const fb_model *model)
{
    char prep[512];
    const fb_prep *p = fb_model_prep(model);
    if (p->name[0] && fb_prep_format(p, prep, sizeof prep) == FB_OK)
        printf("prep     %s\n", prep);
    uint32_t n = fb_model_n_labels(model);
    if (n > 0)
        printf("labels   %u: %s ... %s\n", n, printable(fb_model_label(model, 0)),
               printable(fb_model_label(model, n - 1)));
    for (uint32_t i = 0; i < fb_model_n_notes(model); i++) {
        const char *key, *value;
        fb_model_note_at(model, i, &key, &value);
        printf("note     %s = %s\n", printable(key), printable(value));
    }
}

static int print_layers(const fb_model *model)
{
    table *t = table_new("lllrrlr", "layer|op|output|MACs|params|weights|bytes");
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        int code = layer_look(model, i, &v);
        if (code != EXIT_DONE) {
            table_free(t);
            return code;
        }
        table_cell(t, "%s", v.layer.name);
        table_cell(t, "%s", v.layer.op);
        table_cell(t, "%s %s", v.shape, v.activation);
        table_cell(t, "%s", v.layer.macs ? show_count(v.layer.macs) : "");
        table_cell(t, "%s", v.layer.params ? show_count(v.layer.params) : "");
        table_cell(t, "%s%s%s", v.encoding, v.layer.arithmetic[0] ? ", " : "", v.layer.arithmetic);
        table_cell(t, "%s", v.weight_bytes ? show_count(v.weight_bytes) : "");
    }
    table_print(t);
    return EXIT_DONE;
}

/* What look-up tables would save, counted as paper A does, where layers have codebooks. */
static void print_look_ups(const fb_model *model)
{
    uint64_t macs = 0, ops = 0;
    bool any = false;
    table *t = table_new("lrrr", "layer with codebooks|MACs|ops by look-up|predicted");
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        if (layer_look(model, i, &v) != EXIT_DONE || v.layer.macs == 0)
            continue;
        macs += v.layer.macs;
        ops += v.layer.ops;
        if (v.layer.ops == v.layer.macs)
            continue;
        any = true;
        table_cell(t, "%s", v.layer.name);
        table_cell(t, "%s", show_count(v.layer.macs));
        table_cell(t, "%s", show_count(v.layer.ops));
        table_cell(t, "%sx", show_number((double)v.layer.macs / (double)v.layer.ops, 2));
    }
    if (!any) {
        table_free(t);
        return;
    }
    table_cell(t, "all layers");
    table_cell(t, "%s", show_count(macs));
    table_cell(t, "%s", show_count(ops));
    table_cell(t, "%sx", show_number((double)macs / (double)ops, 2));
    printf("\n");
    table_print(t);
}

static void print_totals(const fb_model *model, const model_totals *sum)
{
    uint64_t all = sum->weight_bytes + sum->other_bytes;
    printf("\n%u layers, %s MACs, %s parameters\n", fb_model_n_layers(model), show_count(sum->macs),
           show_count(sum->params));
    printf("compressible: %u layers with %s of %s bytes of constants (%.1f%%)\n",
           sum->n_compressible, show_count(sum->weight_bytes), show_count(all),
           all ? 100.0 * (double)sum->weight_bytes / (double)all : 0.0);
    uint64_t activations;
    if (fb_model_activation_bytes(model, &activations) == FB_OK)
        printf("activations of an image: %s bytes from layer to layer, each once\n",
               show_count(activations));
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        if (layer_look(model, i, &v) == EXIT_DONE && v.why_not)
            printf("not compressible: %s (%s): %s\n", printable(v.layer.name), v.layer.op,
                   v.why_not);
    }
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *json_layers(const fb_model *model)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        if (layer_look(model, i, &v) != EXIT_DONE)
            continue;
        json_t *item = json_object();
        json_put(item, "name", json_text(v.layer.name));
        json_put(item, "op", json_text(v.layer.op));
        json_put(item, "output", json_text(v.shape));
        json_put(item, "activation", json_text(v.activation));
        json_put(item, "macs", json_integer((json_int_t)v.layer.macs));
        json_put(item, "ops", json_integer((json_int_t)v.layer.ops));
        json_put(item, "params", json_integer((json_int_t)v.layer.params));
        json_put(item, "weights", v.encoding[0] ? json_text(v.encoding) : json_null());
        json_put(item, "arithmetic",
                 v.layer.arithmetic[0] ? json_text(v.layer.arithmetic) : json_null());
        json_put(item, "weight_bytes", json_integer((json_int_t)v.weight_bytes));
        json_put(item, "compressible", json_boolean(v.compressible));
        json_put(item, "reason", json_text(v.why_not));
        json_push(list, item);
    }
    return list;
}

static json_t *json_io(const fb_model *model, uint32_t n, int32_t (*at)(const fb_model *, uint32_t))
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        fb_tensor_info t;
        if (fb_model_tensor(model, (uint32_t)at(model, i), &t) != FB_OK)
            continue;
        json_t *item = json_object(), *dims = json_array();
        for (uint32_t k = 0; k < t.rank; k++)
            json_push(dims, json_integer(t.dims[k]));
        json_put(item, "name", json_text(t.name));
        json_put(item, "dims", dims);
        json_put(item, "encoding", json_text(t.encoding));
        json_push(list, item);
    }
    return list;
}

static json_t *json_model(const fb_model *model, const model_totals *sum)
{
    char prep[512] = "";
    json_t *m = json_object(), *labels = json_array(), *notes = json_object();
    const fb_prep *p = fb_model_prep(model);
    if (p->name[0] && fb_prep_format(p, prep, sizeof prep) != FB_OK)
        prep[0] = '\0';
    for (uint32_t i = 0; i < fb_model_n_labels(model); i++)
        json_push(labels, json_text(fb_model_label(model, i)));
    for (uint32_t i = 0; i < fb_model_n_notes(model); i++) {
        const char *key, *value;
        fb_model_note_at(model, i, &key, &value);
        json_put(notes, key, json_text(value));
    }
    json_put(m, "macs", json_integer((json_int_t)sum->macs));
    json_put(m, "params", json_integer((json_int_t)sum->params));
    json_put(m, "compressible_layers", json_integer(sum->n_compressible));
    json_put(m, "weight_bytes", json_integer((json_int_t)sum->weight_bytes));
    json_put(m, "other_bytes", json_integer((json_int_t)sum->other_bytes));
    uint64_t activations;
    json_put(m, "activation_bytes",
             fb_model_activation_bytes(model, &activations) == FB_OK
                 ? json_integer((json_int_t)activations)
                 : json_null());
    json_put(m, "prep", p->name[0] ? json_text(prep) : json_null());
    json_put(m, "labels", labels);
    json_put(m, "notes", notes);
    json_put(m, "inputs", json_io(model, fb_model_n_inputs(model), fb_model_input));
    json_put(m, "outputs", json_io(model, fb_model_n_outputs(model), fb_model_output));
    json_put(m, "layers", json_layers(model));
    return m;
}

/* --- the command ----------------------------------------------------------------------------- */

/* What the model would become; NULL stays NULL without --dry-run. */
typedef struct prediction {
    fb_model *after;
    uint64_t bytes;
} prediction;

static int predict(const arguments *args, fb_model *model, prediction *out)
{
    progress p;
    progress_init(&p, args->quiet);
    int code = squeeze(args, args->files[0], model, true, &p, NULL, &out->after);
    if (code != EXIT_DONE)
        return code;
    fb_status status = fb_model_file_bytes(out->after, &out->bytes);
    return status == FB_OK ? EXIT_DONE : fail_status(status, args->files[0]);
}

static int report(const arguments *args, const fb_model *model, const prediction *dry)
{
    uint64_t bytes;
    model_totals sum;
    const fb_model *shown = dry->after ? dry->after : model;
    int code = file_bytes(args->files[0], &bytes);
    if (code == EXIT_DONE)
        code = model_sum(shown, &sum);
    if (code == EXIT_DONE && want_tables(args)) {
        printf("file     %s, %s bytes\n", printable(args->files[0]), show_count(bytes));
        print_io(shown, "input", fb_model_n_inputs(shown), fb_model_input);
        print_io(shown, "output", fb_model_n_outputs(shown), fb_model_output);
        print_travellers(shown);
        putchar('\n');
        code = print_layers(shown);
        if (code == EXIT_DONE)
            print_look_ups(shown);
        print_totals(shown, &sum);
        if (dry->after)
            printf("predicted: %s bytes, %.1f%% of %s\n", show_count(dry->bytes),
                   bytes ? 100.0 * (double)dry->bytes / (double)bytes : 0.0, show_count(bytes));
    }
    if (code != EXIT_DONE || !args->json)
        return code;
    json_t *r = json_report("inspect");
    json_put(r, "file", json_text(args->files[0]));
    json_put(r, "bytes", json_integer((json_int_t)bytes));
    json_put(r, "predicted_bytes", dry->after ? json_integer((json_int_t)dry->bytes) : json_null());
    json_put(r, "model", json_model(shown, &sum));
    return json_emit(args, r);
}

/* Options that only some ways of looking take. */
static int check(const arguments *args)
{
    static const struct {
        option_id id;
        bool dry, sense;
    } some[] = {{OPT_METHOD, true, false}, {OPT_LABELS, true, false}, {OPT_SEED, true, false},
                {OPT_DATA, true, true},    {OPT_PREP, true, true},    {OPT_LIMIT, true, true},
                {OPT_CPU, true, true},     {OPT_THREADS, true, true}, {OPT_BITS, false, true},
                {OPT_STATE, false, true}};
    if (args->dry_run && args->sensitivity)
        return fail(EXIT_USAGE, "inspect: --dry-run and --sensitivity exclude each other");
    if (args->sensitivity && !args->data)
        return fail(EXIT_USAGE, "inspect: --sensitivity needs --data, the images to try on");
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        bool fine = (args->dry_run && some[i].dry) || (args->sensitivity && some[i].sense);
        if (args->given[some[i].id] && !fine)
            return fail(EXIT_USAGE, "inspect: --%s has no effect without %s",
                        option_table[some[i].id].name,
                        !some[i].sense ? "--dry-run"
                        : some[i].dry  ? "--dry-run or --sensitivity"
                                       : "--sensitivity");
    }
    return json_check(args);
}

static int run(const arguments *args)
{
    prediction dry = {0};
    fb_model *model = NULL;
    int code = check(args);
    if (code == EXIT_DONE)
        code = open_model(args->files[0], &model);
    if (code == EXIT_DONE && args->dry_run)
        code = predict(args, model, &dry);
    if (code == EXIT_DONE)
        code = args->sensitivity ? report_sensitivity(args, model) : report(args, model, &dry);
    fb_model_close(&dry.after);
    fb_model_close(&model);
    return code;
}

const command cmd_inspect = {
    .name = "inspect",
    .operands = "MODEL",
    .min_files = 1,
    .max_files = 1,
    .summary = "show layers, shapes, MACs, parameters, and what is compressible",
    .example = "fewbit inspect net.onnx\n"
               "fewbit inspect --dry-run --method int8 net.onnx\n"
               "fewbit inspect --sensitivity --data calib/ --prep imagenet net.onnx\n",
    .notes =
        "With --dry-run the model is shown as --method would leave it, with the size of the file\n"
        "to the byte, before any image is read. Preprocessing and class names lie in the file, so\n"
        "give it the --prep and --labels (or the --data with its class folders) of the real run.\n"
        "\n"
        "With --sensitivity each layer is tried alone in few bits, its weights and then its "
        "input,\n"
        "on the images of --data (64 unless --limit says otherwise), by forward runs alone. An\n"
        "interrupted run goes on where it stopped when the same command is given again.\n",
    .options = {OPT_DRY_RUN, OPT_METHOD, OPT_SENSITIVITY, OPT_BITS, OPT_STATE, OPT_DATA, OPT_PREP,
                OPT_LABELS, OPT_LIMIT, OPT_SEED, OPT_THREADS, OPT_CPU, OPT_JSON, OPT_QUIET,
                OPT_END},
    .threads = 0,
    .batch = 1,
    .limit = 512,
    .run = run,
};
