/* The command line as tables: one row per option, one row per command. The parser, --help, the
 * completion and the test of the man pages all read these rows. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Options by what they mean; the same meaning in every command. 0 ends a command's list. */
typedef enum option_id {
    OPT_END = 0,
    OPT_OUTPUT,
    OPT_FORCE,
    OPT_METHOD,
    OPT_DATA,
    OPT_PREP,
    OPT_LABELS,
    OPT_LIMIT,
    OPT_SEED,
    OPT_DRY_RUN,
    OPT_MAX_DROP,
    OPT_MAX_SIZE,
    OPT_PICK,
    OPT_SENSITIVITY,
    OPT_BITS,
    OPT_STATE,
    OPT_EVAL,
    OPT_TO,
    OPT_TOP,
    OPT_BATCH,
    OPT_SECONDS,
    OPT_THRESHOLD,
    OPT_THREADS,
    OPT_CPU,
    OPT_TABLES,
    OPT_VAL,
    OPT_EPOCHS,
    OPT_OPTIMIZER,
    OPT_RATE,
    OPT_MOMENTUM,
    OPT_WEIGHT_DECAY,
    OPT_SCHEDULE,
    OPT_WARMUP,
    OPT_SMOOTHING,
    OPT_MIXUP,
    OPT_CLIP,
    OPT_EMA,
    OPT_DROPOUT,
    OPT_AUGMENT,
    OPT_TEACHER,
    OPT_DISTILL,
    OPT_TEMPERATURE,
    OPT_DISTILL_LAYERS,
    OPT_NORMS,
    OPT_CODES,
    OPT_FIXED_SCALES,
    OPT_INIT,
    OPT_LOG,
    OPT_TIME_LIMIT,
    OPT_KERNELS,
    OPT_METHODS,
    OPT_JSON,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_HELP,
    OPT_COUNT
} option_id;

typedef enum option_arg { ARG_NONE, ARG_NEEDED, ARG_MAY } option_arg;

typedef struct option_def {
    option_id id;
    char letter;      /* 0 = none */
    const char *name; /* long, without the dashes */
    option_arg arg;
    const char *value; /* what the argument is called in --help, "" if none */
    const char *help;
} option_def;

enum { MAX_WIDTHS = 15 };

/* What was given, checked and converted. Values not given hold the defaults of the table. */
typedef struct arguments {
    const struct command *command;
    char **files;
    int n_files;
    bool given[OPT_COUNT];
    const char *output, *method, *data, *prep, *labels, *eval, *to, *state, *json_file;
    const char *norms, *codes; /* NULL: not given */
    const char *val, *optimizer, *schedule, *augment, *teacher, *log;
    uint64_t limit, seed;
    uint32_t batch, threads, cpu, top, epochs, pick;
    uint32_t widths[MAX_WIDTHS], n_widths;
    double seconds, threshold;
    bool force, dry_run, sensitivity, kernels, methods, json, quiet, verbose, decode;
    double max_drop;    /* points */
    uint64_t max_bytes; /* 0: not given */
    double rate, momentum, weight_decay, warmup, smoothing, mixup, clip, ema, dropout;
    double distill, temperature, distill_layers, time_limit;
    bool init, fixed_scales;
} arguments;

typedef struct command {
    const char *name;
    const char *operands; /* as in "MODEL..." */
    int min_files, max_files;
    const char *summary; /* one line */
    const char *example; /* lines to type, each ending in '\n' */
    const char *notes;   /* paragraphs after the options, or "" */
    option_id options[OPT_COUNT];
    uint32_t threads;                  /* default of --threads */
    uint32_t batch;                    /* default of --batch */
    uint64_t limit;                    /* default of --limit */
    int (*run)(const arguments *args); /* returns an exit code */
} command;

extern const option_def option_table[OPT_COUNT]; /* by id; row 0 is empty */
extern const command *const command_table[];     /* NULL at the end */

const command *command_find(const char *name); /* NULL if there is none */
bool command_takes(const command *c, option_id id);

/* Reads argv[1...] of a subcommand. 0, or the exit code after one sentence on stderr. */
int arguments_parse(const command *c, int argc, char **argv, arguments *args);

#endif
