/* fewbit tune: what a compressed network has left to learn. */
#include "training.h"

#include <stdlib.h>
#include <string.h>

enum {
    CALIBRATE = 256,  /* of the training images, for --method */
    MANY_BATCHES = 32 /* an epoch, from which on batch norms have enough to measure */
};

/* ---- the network ------------------------------------------------------------------------------
 */

/* The network of --teacher; without it, the one that --method compressed. *own: it is to be closed.
 */
static int find_teacher(const arguments *args, fb_model *net, fb_model **teacher, bool *own)
{
    *own = false;
    *teacher = NULL;
    if (args->teacher && strcmp(args->teacher, "none") == 0)
        return EXIT_DONE;
    if (!args->teacher) {
        *teacher = args->method ? net : NULL;
        return EXIT_DONE;
    }
    int code = open_model(args->teacher, teacher);
    *own = code == EXIT_DONE;
    return code;
}

/* ---- the run ----------------------------------------------------------------------------------
 */

static bool wants_norms(const arguments *args, const fb_data *data)
{
    if (args->norms)
        return strcmp(args->norms, "on") == 0;
    return fb_data_count(data) / args->batch >= MANY_BATCHES;
}

static int tune(const arguments *args, const fb_model *model, fb_tune_options *o, progress *p)
{
    fb_train_result result;
    fb_model *tuned;
    fb_status status = fb_tune(model, o, &result, &tuned);
    progress_clear(p);
    int code = training_finish(args, status, &result, tuned);
    fb_model_close(&tuned);
    return code;
}

static int prepare_and_tune(const arguments *args, fb_model *net, progress *p)
{
    fb_prep prep;
    fb_data *data = NULL, *val = NULL, *few = NULL;
    fb_model *teacher = NULL;
    bool own = false;
    uint64_t limit = args->limit == 0 || args->limit > CALIBRATE ? CALIBRATE : args->limit;
    int code = choose_prep(args, &net, 1, &prep);
    if (code == EXIT_DONE)
        code = open_data(args, args->data, &prep, net, args->limit, &data);
    if (code == EXIT_DONE && args->val)
        code = open_data(args, args->val, &prep, net, 0, &val);
    if (code == EXIT_DONE && args->method)
        code = open_data(args, args->data, &prep, net, limit, &few);
    if (code == EXIT_DONE)
        code = find_teacher(args, net, &teacher, &own);
    if (code == EXIT_DONE)
        code = apply_labels(args, net);
    if (code == EXIT_DONE)
        code = training_labels(data, net);
    if (code == EXIT_DONE) {
        fb_tune_options o;
        fb_tune_options_default(&o);
        training_options(args, p, &o.train);
        o.train.data = data;
        o.train.prep = &prep;
        o.train.val = val;
        o.train.teacher = teacher;
        o.method = args->method;
        o.calibration = few;
        o.reference = args->method ? NULL : teacher;
        o.norms = wants_norms(args, data);
        o.learn_scales = !args->fixed_scales;
        o.codes = args->codes ? args->codes : o.codes;
        code = tune(args, net, &o, p);
    }
    fb_data_close(&data);
    fb_data_close(&val);
    fb_data_close(&few);
    if (own)
        fb_model_close(&teacher);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------
 */

static int check(arguments *args)
{
    bool teacher = args->teacher ? strcmp(args->teacher, "none") != 0 : args->method != NULL;
    if (!teacher && (args->given[OPT_DISTILL] || args->given[OPT_TEMPERATURE] ||
                     args->given[OPT_DISTILL_LAYERS]))
        return fail(EXIT_USAGE,
                    "tune: --distill, --distill-layers and --temperature have no effect without a "
                    "teacher");
    return training_check(args);
}

static int run(const arguments *given)
{
    arguments args = *given;
    fb_model *net = NULL;
    progress p;
    progress_init(&p, args.quiet);
    char *state = training_state(&args);
    int code = check(&args);
    if (code == EXIT_DONE)
        code = open_model(args.files[0], &net);
    if (code == EXIT_DONE)
        code = prepare_and_tune(&args, net, &p);
    fb_model_close(&net);
    free(state);
    return code;
}

const command cmd_tune = {
    .name = "tune",
    .operands = "NETWORK",
    .min_files = 1,
    .max_files = 1,
    .summary = "train a compressed network as its encodings are",
    .example = "fewbit tune net.onnx --method int4 --data train/ --val test/ -o net.fewbit\n"
               "fewbit tune small.fewbit --teacher net.onnx --data train/ -o better.fewbit\n",
    .notes =
        "NETWORK is a compressed .fewbit file, whose encodings stay as they are; or, with\n"
        "--method, a float network that is compressed first, with up to 256 of the training\n"
        "images, and is then the teacher, too (--teacher none: only the labels teach). The run\n"
        "is kept in FILE.state: after an interruption the same command goes on from there and\n"
        "ends with the same bytes.\n",
    .options =
        {OPT_OUTPUT,       OPT_FORCE,      OPT_METHOD,       OPT_DATA,        OPT_VAL,
         OPT_PREP,         OPT_LABELS,     OPT_LIMIT,        OPT_EPOCHS,      OPT_BATCH,
         OPT_OPTIMIZER,    OPT_RATE,       OPT_MOMENTUM,     OPT_SCHEDULE,    OPT_WARMUP,
         OPT_WEIGHT_DECAY, OPT_CLIP,       OPT_SMOOTHING,    OPT_MIXUP,       OPT_EMA,
         OPT_AUGMENT,      OPT_TEACHER,    OPT_DISTILL,      OPT_TEMPERATURE, OPT_DISTILL_LAYERS,
         OPT_NORMS,        OPT_CODES,      OPT_FIXED_SCALES, OPT_SEED,        OPT_STATE,
         OPT_LOG,          OPT_TIME_LIMIT, OPT_THREADS,      OPT_JSON,        OPT_QUIET,
         OPT_END},
    .threads = 0,
    .batch = 128,
    .run = run,
};
