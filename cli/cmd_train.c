/* fewbit train: weights for a network from labelled images. */
#include "training.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is trained, and on what ------------------------------------------------------------ */

static bool is_arch(const char *name)
{
    for (uint32_t i = 0; i < fb_n_archs(); i++) {
        if (strcmp(fb_arch_name(i), name) == 0)
            return true;
    }
    return false;
}

/* The number of classes is the data's, which need a shape to be opened: any number will do for
 * that. */
static int build_arch(const arguments *args, const char *name, fb_model **model)
{
    fb_prep prep;
    fb_data *data = NULL;
    fb_status status = fb_arch_create(name, 2, model);
    if (status != FB_OK)
        return fail_status(status, name);
    int code = choose_prep(args, model, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, *model, args->limit, &data);
    uint32_t classes = code == EXIT_DONE ? fb_data_n_classes(data) : 0;
    fb_data_close(&data);
    fb_model_close(model);
    if (code != EXIT_DONE)
        return code;
    status = fb_arch_create(name, classes, model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, args->data);
}

/* A named architecture; or an ONNX file with its batch norms left alone, or a .fewbit file. */
static int open_network(const arguments *args, fb_model **model)
{
    const char *name = args->files[0];
    *model = NULL;
    if (is_arch(name) && access(name, F_OK) != 0)
        return build_arch(args, name, model);
    if (access(name, F_OK) != 0) {
        fb_status status = fb_arch_create(name, 2, model);
        return fail(EXIT_FAILED, "'%s' is neither a file nor an architecture: %s", name,
                    status != FB_OK ? fb_error() : "");
    }
    if (is_fewbit(name))
        return open_model(name, model);
    const fb_onnx_options o = {.keep_names = true};
    fb_status status = fb_onnx_import(name, &o, model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, name);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int train(const arguments *args, const fb_model *model, fb_train_options *o, progress *p)
{
    fb_train_result result;
    fb_model *trained;
    fb_status status = fb_train(model, o, &result, &trained);
    progress_clear(p);
    int code = training_finish(args, status, &result, trained);
    fb_model_close(&trained);
    return code;
}

static int prepare_and_train(const arguments *args, fb_model *model, progress *p)
{
    fb_prep prep;
    fb_data *data = NULL, *val = NULL;
    fb_model *teacher = NULL;
    int code = choose_prep(args, &model, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, model, args->limit, &data);
    if (code == EXIT_DONE && args->val)
        code = open_data(args, args->val, &prep, model, 0, &val);
    if (code == EXIT_DONE && args->teacher)
        code = open_model(args->teacher, &teacher);
    if (code == EXIT_DONE)
        code = apply_labels(args, model);
    if (code == EXIT_DONE)
        code = training_labels(data, model);
    if (code == EXIT_DONE) {
        fb_train_options o;
        fb_train_options_default(&o);
        training_options(args, p, &o);
        o.init = args->init || (is_arch(args->files[0]) && access(args->files[0], F_OK) != 0);
        o.data = data;
        o.prep = &prep;
        o.val = val;
        o.teacher = teacher;
        code = train(args, model, &o, p);
    }
    fb_data_close(&data);
    fb_data_close(&val);
    fb_model_close(&teacher);
    return code;
}

static int check(arguments *args)
{
    if (!args->teacher && (args->given[OPT_DISTILL] || args->given[OPT_TEMPERATURE] ||
                           args->given[OPT_DISTILL_LAYERS]))
        return fail(EXIT_USAGE,
                    "train: --distill, --distill-layers and --temperature have no effect without "
                    "--teacher");
    return training_check(args);
}

static int run(const arguments *given)
{
    arguments args = *given;
    fb_model *model;
    progress p;
    progress_init(&p, args.quiet);
    char *state = training_state(&args);
    int code = check(&args);
    if (code == EXIT_DONE)
        code = open_network(&args, &model);
    if (code == EXIT_DONE) {
        code = prepare_and_train(&args, model, &p);
        fb_model_close(&model);
    }
    free(state);
    return code;
}

const command cmd_train = {
    .name = "train",
    .operands = "NETWORK",
    .min_files = 1,
    .max_files = 1,
    .summary = "train a network on labelled images",
    .example =
        "fewbit train resnet20 --data train/ --val test/ --augment crop=4,flip -o net.fewbit\n",
    .notes = "NETWORK is lenet5, resnet8, resnet20, vgg-small or mobilenet-tiny, which start from "
             "fresh\n"
             "weights, or an ONNX or .fewbit file, which start from their own (or fresh ones with\n"
             "--init). The run is kept in FILE.state every minute and after each epoch: after an\n"
             "interruption the same command goes on from there and ends with the same bytes.\n",
    .options = {OPT_OUTPUT,  OPT_FORCE,     OPT_DATA,     OPT_VAL,         OPT_PREP,
                OPT_LABELS,  OPT_LIMIT,     OPT_EPOCHS,   OPT_BATCH,       OPT_OPTIMIZER,
                OPT_RATE,    OPT_MOMENTUM,  OPT_SCHEDULE, OPT_WARMUP,      OPT_WEIGHT_DECAY,
                OPT_CLIP,    OPT_SMOOTHING, OPT_MIXUP,    OPT_DROPOUT,     OPT_EMA,
                OPT_AUGMENT, OPT_TEACHER,   OPT_DISTILL,  OPT_TEMPERATURE, OPT_DISTILL_LAYERS,
                OPT_INIT,    OPT_SEED,      OPT_STATE,    OPT_LOG,         OPT_TIME_LIMIT,
                OPT_THREADS, OPT_JSON,      OPT_QUIET,    OPT_END},
    .threads = 0,
    .batch = 128,
    .run = run,
};
