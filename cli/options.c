/* The option table and its parser. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTION(id, letter, name, arg, value, help) [id] = {id, letter, name, arg, value, help}
const option_def option_table[OPT_COUNT] = {
    OPTION(OPT_OUTPUT, 'o', "output", ARG_NEEDED, "FILE", "write the result to FILE"),
    OPTION(OPT_FORCE, 'f', "force", ARG_NONE, "", "replace an existing output file"),
    OPTION(OPT_METHOD, 'm', "method", ARG_NEEDED, "TEXT",
           "methods to apply, joined by '+' (see 'fewbit info --methods')"),
    OPTION(OPT_DATA, 0, "data", ARG_NEEDED, "SPEC",
           "images: a folder, a 'path label' list, IDX, CIFAR binary or x.npy[,y.npy]"),
    OPTION(OPT_PREP, 0, "prep", ARG_NEEDED, "TEXT",
           "preprocessing, NAME[,key=value...]: imagenet, tensorflow, caffe, cifar10, mnist, none"),
    OPTION(OPT_LABELS, 0, "labels", ARG_NEEDED, "FILE", "names of the classes, one a line"),
    OPTION(OPT_LIMIT, 0, "limit", ARG_NEEDED, "N",
           "at most N images, spread evenly over the data (0 = all)"),
    OPTION(OPT_SEED, 0, "seed", ARG_NEEDED, "N", "seed of everything random (default 0)"),
    OPTION(OPT_DRY_RUN, 0, "dry-run", ARG_NONE, "",
           "write nothing and read no image; tell the size the file would have"),
    OPTION(OPT_MAX_DROP, 0, "max-drop", ARG_NEEDED, "P",
           "search for the smallest file that loses at most P points of accuracy"),
    OPTION(OPT_MAX_SIZE, 0, "max-size", ARG_NEEDED, "BYTES",
           "search for the best file of at most BYTES (with K or M: thousands, millions)"),
    OPTION(OPT_PICK, 0, "pick", ARG_NEEDED, "N", "write network N of the front to --output"),
    OPTION(OPT_SENSITIVITY, 0, "sensitivity", ARG_NONE, "",
           "try each layer alone in few bits, on --data"),
    OPTION(OPT_BITS, 0, "bits", ARG_NEEDED, "LIST",
           "widths to try, joined by ',' (default 8,6,5,4,3,2)"),
    OPTION(OPT_STATE, 0, "state", ARG_NEEDED, "FILE",
           "keep what is done in FILE and go on from there"),
    OPTION(OPT_EVAL, 0, "eval", ARG_NEEDED, "SPEC",
           "measure both models on these images and note the accuracy in the file"),
    OPTION(OPT_TO, 0, "to", ARG_NEEDED, "FORMAT", "format to write: onnx (default)"),
    OPTION(OPT_TOP, 'k', "top", ARG_NEEDED, "K", "show the K best classes (default 5)"),
    OPTION(OPT_BATCH, 'b', "batch", ARG_NEEDED, "N", "images in one run"),
    OPTION(OPT_SECONDS, 0, "seconds", ARG_NEEDED, "S", "time each model for S seconds (default 2)"),
    OPTION(OPT_THRESHOLD, 0, "threshold", ARG_NEEDED, "DB",
           "a layer below DB decibels is wrong (default 20)"),
    OPTION(OPT_THREADS, 'j', "threads", ARG_NEEDED, "N", "threads (0 = all cores)"),
    OPTION(OPT_CPU, 0, "cpu", ARG_NEEDED, "LEVEL",
           "instruction sets to use: ref, avx2, vnni, vbmi, neon, all, or several joined by ','"),
    OPTION(OPT_TABLES, 0, "tables", ARG_NEEDED, "HOW",
           "layers with look-up tables: lookup (default), or decode, on their decoded weights"),
    OPTION(OPT_VAL, 0, "val", ARG_NEEDED, "SPEC", "measure on these images after each epoch"),
    OPTION(OPT_EPOCHS, 0, "epochs", ARG_NEEDED, "N",
           "passes over the data (default 15, or what the method wants)"),
    OPTION(OPT_OPTIMIZER, 0, "optimizer", ARG_NEEDED, "NAME", "sgd (default), nesterov or adam"),
    OPTION(OPT_RATE, 0, "rate", ARG_NEEDED, "R",
           "highest learning rate (default 0.1, tune 0.01; with adam 0.001)"),
    OPTION(OPT_MOMENTUM, 0, "momentum", ARG_NEEDED, "M", "of sgd and nesterov (default 0.9)"),
    OPTION(OPT_WEIGHT_DECAY, 0, "weight-decay", ARG_NEEDED, "D", "of weights (default 0.0005)"),
    OPTION(OPT_SCHEDULE, 0, "schedule", ARG_NEEDED, "NAME",
           "one-cycle (default of train), cosine (of tune), step or constant"),
    OPTION(OPT_WARMUP, 0, "warmup", ARG_NEEDED, "E", "raise the rate over E epochs (default 0)"),
    OPTION(OPT_SMOOTHING, 0, "smoothing", ARG_NEEDED, "S", "smooth labels by S (default 0)"),
    OPTION(OPT_MIXUP, 0, "mixup", ARG_NEEDED, "A",
           "blend samples by twos, in shares from Beta(A, A) (default 0: none)"),
    OPTION(OPT_CLIP, 0, "clip", ARG_NEEDED, "N",
           "scale gradients of a larger norm to N (default 0: none)"),
    OPTION(OPT_EMA, 0, "ema", ARG_NEEDED, "K",
           "write a running average of the weights that keeps K at each step (default 0: none)"),
    OPTION(OPT_DROPOUT, 0, "dropout", ARG_NEEDED, "P",
           "zero a share P of dense layers' inputs (default 0)"),
    OPTION(OPT_AUGMENT, 0, "augment", ARG_NEEDED, "LIST",
           "crop=P, resize=A, flip, jitter=S, joined by ',' (default none)"),
    OPTION(OPT_TEACHER, 0, "teacher", ARG_NEEDED, "MODEL",
           "learn from this network's answers, too"),
    OPTION(OPT_DISTILL, 0, "distill", ARG_NEEDED, "W",
           "share of the loss that is the teacher's (default 0.5)"),
    OPTION(OPT_TEMPERATURE, 0, "temperature", ARG_NEEDED, "T",
           "divide logits by T for the teacher (default 4)"),
    OPTION(OPT_DISTILL_LAYERS, 0, "distill-layers", ARG_NEEDED, "W",
           "W times the relative squared distance to the teacher's layers is added (default 0)"),
    OPTION(OPT_NORMS, 0, "norms", ARG_NEEDED, "WHEN",
           "batch norms behind layers while training: on, off (default: on from 32 batches an "
           "epoch)"),
    OPTION(OPT_CODES, 0, "codes", ARG_NEEDED, "HOW",
           "nearest (default): weights take the nearest code; fixed: codes stay"),
    OPTION(OPT_FIXED_SCALES, 0, "fixed-scales", ARG_NONE, "",
           "scales, levels and codewords do not learn"),
    OPTION(OPT_INIT, 0, "init", ARG_NONE, "", "draw fresh weights in place of the file's"),
    OPTION(OPT_LOG, 0, "log", ARG_NEEDED, "FILE", "write a CSV with a row for each epoch"),
    OPTION(OPT_TIME_LIMIT, 0, "time-limit", ARG_NEEDED, "S",
           "stop after S seconds; the same command goes on (default 0: none)"),
    OPTION(OPT_KERNELS, 0, "kernels", ARG_NONE, "", "list the kernels and which this CPU may use"),
    OPTION(OPT_METHODS, 0, "methods", ARG_NONE, "", "list the methods and their options"),
    OPTION(OPT_JSON, 0, "json", ARG_MAY, "FILE",
           "print JSON instead of tables, or write it to FILE beside them"),
    OPTION(OPT_QUIET, 'q', "quiet", ARG_NONE, "", "no progress and no summary"),
    OPTION(OPT_VERBOSE, 'v', "verbose", ARG_NONE, "", "say more"),
    OPTION(OPT_HELP, 'h', "help", ARG_NONE, "", "show this help"),
};
#undef OPTION

bool command_takes(const command *c, option_id id)
{
    if (id == OPT_HELP)
        return true;
    for (size_t i = 0; c->options[i] != OPT_END; i++) {
        if (c->options[i] == id)
            return true;
    }
    return false;
}

/* --- values ---------------------------------------------------------------------------------- */

static int bad_value(const arguments *a, option_id id, const char *text, const char *rule)
{
    return fail(EXIT_USAGE, "%s: --%s %s: must be %s", a->command->name, option_table[id].name,
                text, rule);
}

static int read_integer(const arguments *a, option_id id, const char *text, uint64_t least,
                        uint64_t most, uint64_t *out)
{
    char rule[80], *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    bool digits = *text >= '0' && *text <= '9';
    if (digits && *end == '\0' && errno == 0 && v >= least && v <= most) {
        *out = v;
        return EXIT_DONE;
    }
    snprintf(rule, sizeof rule, "an integer from %llu to %llu", (unsigned long long)least,
             (unsigned long long)most);
    return bad_value(a, id, text, rule);
}

static int read_small(const arguments *a, option_id id, const char *text, uint64_t least,
                      uint64_t most, uint32_t *out)
{
    uint64_t v = *out;
    int code = read_integer(a, id, text, least, most, &v);
    *out = (uint32_t)v;
    return code;
}

static int read_real(const arguments *a, option_id id, const char *text, double least, double most,
                     double *out)
{
    char rule[80], *end;
    double v = strtod(text, &end);
    if (end != text && *end == '\0' && v >= least && v <= most) {
        *out = v;
        return EXIT_DONE;
    }
    snprintf(rule, sizeof rule, "a number from %g to %g", least, most);
    return bad_value(a, id, text, rule);
}

/* "1.5" or "1.5%": points of accuracy. */
static int read_points(const arguments *a, option_id id, const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    bool fine = end != text && v >= 0 && v <= 100;
    if (!fine || (strcmp(end, "") != 0 && strcmp(end, "%") != 0))
        return bad_value(a, id, text, "points of accuracy from 0 to 100, as 1 or 1%");
    *out = v;
    return EXIT_DONE;
}

/* "250000", "250K" or "1.2M": bytes. */
static int read_size(const arguments *a, option_id id, const char *text, uint64_t *out)
{
    char *end;
    double v = strtod(text, &end), unit = 1;
    if (end != text && strchr("kKmM", *end) && *end) {
        unit = *end == 'k' || *end == 'K' ? 1e3 : 1e6;
        end++;
    }
    if (end == text || *end || !(v * unit >= 1 && v * unit <= 1e15))
        return bad_value(a, id, text, "bytes from 1 to 1e15, as 250000, 250K or 1.2M");
    *out = (uint64_t)(v * unit);
    return EXIT_DONE;
}

static int read_widths(arguments *a, const char *text)
{
    char rule[80];
    snprintf(rule, sizeof rule, "up to %d integers from 2 to 16 joined by ','", MAX_WIDTHS);
    a->n_widths = 0;
    for (const char *p = text;; p++) {
        char *end;
        unsigned long v = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : 0;
        if (v < 2 || v > 16 || a->n_widths == MAX_WIDTHS || (*end != ',' && *end != '\0'))
            return bad_value(a, OPT_BITS, text, rule);
        a->widths[a->n_widths++] = (uint32_t)v;
        p = end;
        if (!*p)
            return EXIT_DONE;
    }
}

static int take(arguments *a, option_id id, const char *text)
{
    a->given[id] = true;
    switch (id) {
    case OPT_OUTPUT:
        a->output = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a file name");
    case OPT_METHOD:
        a->method = text;
        return EXIT_DONE;
    case OPT_DATA:
        a->data = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a data set");
    case OPT_PREP:
        a->prep = text;
        return EXIT_DONE;
    case OPT_LABELS:
        a->labels = text;
        return EXIT_DONE;
    case OPT_BITS:
        return read_widths(a, text);
    case OPT_STATE:
        a->state = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a file name");
    case OPT_MAX_DROP:
        return read_points(a, id, text, &a->max_drop);
    case OPT_MAX_SIZE:
        return read_size(a, id, text, &a->max_bytes);
    case OPT_PICK:
        return read_small(a, id, text, 1, 1000000, &a->pick);
    case OPT_SENSITIVITY:
        a->sensitivity = true;
        return EXIT_DONE;
    case OPT_EVAL:
        a->eval = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a data set");
    case OPT_TO:
        a->to = text;
        return strcmp(text, "onnx") == 0 ? EXIT_DONE : bad_value(a, id, text, "onnx");
    case OPT_VAL:
        a->val = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a data set");
    case OPT_OPTIMIZER:
        a->optimizer = text;
        return EXIT_DONE;
    case OPT_SCHEDULE:
        a->schedule = text;
        return EXIT_DONE;
    case OPT_AUGMENT:
        a->augment = text;
        return EXIT_DONE;
    case OPT_TEACHER:
        a->teacher = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a model file");
    case OPT_LOG:
        a->log = text;
        return *text ? EXIT_DONE : bad_value(a, id, "''", "a file name");
    case OPT_NORMS:
        a->norms = text;
        return strcmp(text, "on") == 0 || strcmp(text, "off") == 0
                   ? EXIT_DONE
                   : bad_value(a, id, text, "on or off");
    case OPT_CODES:
        a->codes = text;
        return strcmp(text, "nearest") == 0 || strcmp(text, "fixed") == 0
                   ? EXIT_DONE
                   : bad_value(a, id, text, "nearest or fixed");
    case OPT_FIXED_SCALES:
        a->fixed_scales = true;
        return EXIT_DONE;
    case OPT_INIT:
        a->init = true;
        return EXIT_DONE;
    case OPT_EPOCHS:
        return read_small(a, id, text, 1, 1000000, &a->epochs);
    case OPT_RATE:
        return read_real(a, id, text, 1e-9, 1000, &a->rate);
    case OPT_MOMENTUM:
        return read_real(a, id, text, 0, 0.9999, &a->momentum);
    case OPT_WEIGHT_DECAY:
        return read_real(a, id, text, 0, 1, &a->weight_decay);
    case OPT_WARMUP:
        return read_real(a, id, text, 0, 1000000, &a->warmup);
    case OPT_SMOOTHING:
        return read_real(a, id, text, 0, 0.9999, &a->smoothing);
    case OPT_MIXUP:
        return read_real(a, id, text, 0, 100, &a->mixup);
    case OPT_CLIP:
        return read_real(a, id, text, 0, 1e9, &a->clip);
    case OPT_EMA:
        return read_real(a, id, text, 0, 0.999999, &a->ema);
    case OPT_DROPOUT:
        return read_real(a, id, text, 0, 0.9999, &a->dropout);
    case OPT_DISTILL:
        return read_real(a, id, text, 0, 1, &a->distill);
    case OPT_TEMPERATURE:
        return read_real(a, id, text, 0.001, 1000, &a->temperature);
    case OPT_DISTILL_LAYERS:
        return read_real(a, id, text, 0, 1e6, &a->distill_layers);
    case OPT_TIME_LIMIT:
        return read_real(a, id, text, 0, 1e9, &a->time_limit);
    case OPT_LIMIT:
        return read_integer(a, id, text, 0, UINT64_MAX, &a->limit);
    case OPT_SEED:
        return read_integer(a, id, text, 0, UINT64_MAX, &a->seed);
    case OPT_TOP:
        return read_small(a, id, text, 1, 1000, &a->top);
    case OPT_BATCH:
        return read_small(a, id, text, 1, 4096, &a->batch);
    case OPT_THREADS:
        return read_small(a, id, text, 0, 256, &a->threads);
    case OPT_SECONDS:
        return read_real(a, id, text, 0, 3600, &a->seconds);
    case OPT_THRESHOLD:
        return read_real(a, id, text, -1000, 1000, &a->threshold);
    case OPT_CPU:
        return fb_cpu_parse(text, &a->cpu) == FB_OK ? EXIT_DONE
                                                    : fail_status(FB_E_ARG, a->command->name);
    case OPT_TABLES:
        a->decode = strcmp(text, "decode") == 0;
        return a->decode || strcmp(text, "lookup") == 0
                   ? EXIT_DONE
                   : bad_value(a, id, text, "lookup or decode");
    case OPT_JSON:
        a->json = true;
        a->json_file = text;
        return EXIT_DONE;
    case OPT_FORCE:
        a->force = true;
        return EXIT_DONE;
    case OPT_DRY_RUN:
        a->dry_run = true;
        return EXIT_DONE;
    case OPT_KERNELS:
        a->kernels = true;
        return EXIT_DONE;
    case OPT_METHODS:
        a->methods = true;
        return EXIT_DONE;
    case OPT_QUIET:
        a->quiet = true;
        return EXIT_DONE;
    case OPT_VERBOSE:
        a->verbose = true;
        return EXIT_DONE;
    default:
        return EXIT_DONE;
    }
}

/* --- the line -------------------------------------------------------------------------------- */

enum { LONG_BASE = 1000 };

/* getopt gets every option of the table, so that one of another command can be told from one that
 * does not exist. */
static void build_getopt(struct option *longs, char *shorts)
{
    *shorts++ = ':';
    for (int id = 1; id < OPT_COUNT; id++) {
        const option_def *o = &option_table[id];
        int has = o->arg == ARG_NEEDED ? required_argument
                  : o->arg == ARG_MAY  ? optional_argument
                                       : no_argument;
        *longs++ = (struct option){o->name, has, NULL, LONG_BASE + id};
        if (!o->letter)
            continue;
        *shorts++ = o->letter;
        if (o->arg == ARG_NEEDED)
            *shorts++ = ':';
    }
    *longs = (struct option){NULL, 0, NULL, 0};
    *shorts = '\0';
}

static option_id id_of(int found)
{
    if (found >= LONG_BASE)
        return (option_id)(found - LONG_BASE);
    for (int id = 1; id < OPT_COUNT; id++) {
        if (option_table[id].letter == found)
            return (option_id)id;
    }
    return OPT_END;
}

/* What getopt choked on: a short option by its letter, a long one as it was typed. */
static int refuse(const arguments *a, int found, char **argv)
{
    const char *name = a->command->name;
    char letter[3] = {'-', (char)optopt, '\0'};
    bool is_long = optopt == 0 || optopt >= LONG_BASE;
    const char *typed = is_long ? argv[optind - 1] : letter;
    if (found == ':')
        return fail(EXIT_USAGE, "%s: option %s needs a value", name, typed);
    if (is_long && optopt >= LONG_BASE)
        return fail(EXIT_USAGE, "%s: option --%s takes no value", name,
                    option_table[optopt - LONG_BASE].name);
    return fail(EXIT_USAGE, "%s: unknown or ambiguous option %s; 'fewbit %s --help' lists them",
                name, typed, name);
}

static int check_together(const arguments *a)
{
    const char *name = a->command->name;
    if (a->n_files < a->command->min_files)
        return fail(EXIT_USAGE, "%s: expects %s; see 'fewbit %s --help'", name,
                    a->command->operands, name);
    if (a->n_files > a->command->max_files)
        return fail(EXIT_USAGE, "%s: unexpected operand '%s'; expects %s", name,
                    a->files[a->command->max_files],
                    *a->command->operands ? a->command->operands : "none");
    if (a->quiet && a->verbose)
        return fail(EXIT_USAGE, "%s: --quiet and --verbose exclude each other", name);
    if (a->given[OPT_LIMIT] && !a->data)
        return fail(EXIT_USAGE, "%s: --limit has no effect without --data", name);
    return EXIT_DONE;
}

int arguments_parse(const command *c, int argc, char **argv, arguments *args)
{
    struct option longs[OPT_COUNT + 1];
    char shorts[3 * OPT_COUNT + 2];
    *args = (arguments){.command = c,
                        .limit = c->limit,
                        .batch = c->batch,
                        .threads = c->threads,
                        .cpu = fb_cpu_usable(),
                        .top = 5,
                        .seconds = 2,
                        .threshold = 20,
                        .to = "onnx",
                        .optimizer = "sgd",
                        .augment = "none",
                        .momentum = 0.9,
                        .weight_decay = 5e-4,
                        .distill = 0.5,
                        .temperature = 4,
                        .widths = {8, 6, 5, 4, 3, 2},
                        .n_widths = 6};
    build_getopt(longs, shorts);
    opterr = 0;
    optind = 1;
    for (int found; (found = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (found == '?' || found == ':')
            return refuse(args, found, argv);
        option_id id = id_of(found);
        if (!command_takes(c, id))
            return fail(EXIT_USAGE, "%s: option --%s has no effect here", c->name,
                        option_table[id].name);
        int code = take(args, id, optarg);
        if (code != EXIT_DONE)
            return code;
    }
    args->files = argv + optind;
    args->n_files = argc - optind;
    return args->given[OPT_HELP] ? EXIT_DONE : check_together(args);
}
