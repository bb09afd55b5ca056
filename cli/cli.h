/* What the subcommands share: failing, talking, opening what the user named. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "options.h"

#include "fewbit/compress.h"
#include "fewbit/data.h"
#include "fewbit/fewbit.h"
#include "fewbit/measure.h"
#include "fewbit/onnx.h"
#include "fewbit/search.h"

#include <jansson.h>

#if defined(__GNUC__)
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CLI_PRINTF(f, a)
#endif

/* Exit codes, documented in fewbit(1). */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_BUDGET = 3,
    EXIT_UNSUPPORTED = 4,
    EXIT_MISMATCH = 5,
    EXIT_FOUND = 6, /* why found something wrong */
    EXIT_INTERRUPTED = 130
};

/* --- failing (fail.c) ------------------------------------------------------------------------ */

/* "fewbit: sentence" on stderr; returns `code`. */
int fail(int code, const char *format, ...) CLI_PRINTF(2, 3);
/* The library's last sentence, after "subject: " unless it names the subject itself; returns the
 * exit code that belongs to the status. Unsupported ONNX nodes follow one a line. */
int fail_status(fb_status status, const char *subject);
int exit_code(fb_status status);

/* --- progress and interruption (progress.c) -------------------------------------------------- */

typedef struct progress {
    bool quiet, tty;
    uint64_t start_ns, drawn_ns;
    int percent;   /* last line or bar */
    char what[48]; /* phase at hand */
    bool bar;      /* a bar is on the screen */
} progress;

/* The first SIGINT or SIGTERM stops at the next progress call, the second kills. */
void interrupt_setup(void);
bool interrupted(void);
void progress_init(progress *p, bool quiet);
bool progress_show(void *user, const char *what, uint64_t done,
                   uint64_t total); /* an fb_progress */
void progress_clear(progress *p);   /* wipes the bar, before other talk */

/* --- opening (open.c) ------------------------------------------------------------------------ */

/* All return 0 or an exit code after a sentence. */
int open_model(const char *path, fb_model **model);
bool is_fewbit(const char *path); /* by its first bytes */
/* --prep, else the first model that has one, fitted to the models' input; "" only for inputs that
 * are no images. `n` models that the same data will feed. */
int choose_prep(const arguments *args, fb_model *const *models, int n, fb_prep *prep);
int open_data(const arguments *args, const char *spec, const fb_prep *prep, const fb_model *model,
              uint64_t limit, fb_data **data);
/* The same, and of these images those number part, part + parts, ... */
int open_part(const arguments *args, const char *spec, const fb_prep *prep, const fb_model *model,
              uint64_t limit, uint32_t part, uint32_t parts, fb_data **data);
int read_labels(const char *path, char ***labels, uint32_t *n);
void free_labels(char **labels, uint32_t n);
/* Sets the model's labels from --labels; nothing without it. Their number must be the model's
 * number of classes. */
int apply_labels(const arguments *args, fb_model *model);
uint32_t model_classes(const fb_model *model); /* elements of the first output for one image */
int file_bytes(const char *path, uint64_t *bytes);
/* Name without folders. */
const char *base_name(const char *path);
/* Refuses an output that is one of the inputs (`also` may be NULL), that exists without --force, or
 * whose folder cannot be written. */
int check_output(const arguments *args, const char *also);
/* Options shared by everything that measures. */
fb_measure_options measure_options(const arguments *args, progress *p);

/* --- compressing (squeeze.c) ----------------------------------------------------------------- */

typedef struct listener { /* to what steps do to layers */
    fb_layer_error_fn call;
    void *user;
} listener;
/* Preprocessing and labels into the model; and, if one was named, the first of so many parts of the
 * data set. *prep is set where one is known. */
int prepare_model(const arguments *args, fb_model *model, fb_prep *prep, uint64_t limit,
                  uint32_t parts, fb_data **data);
/* The model, the data and the options of `compress` and of `inspect --dry-run` through one door, so
 * that the prediction and the file agree to the byte. `before` gets its prep and labels, too.
 * errors may be NULL. */
int squeeze(const arguments *args, const char *path, fb_model *before, bool dry_run, progress *p,
            const listener *errors, fb_model **after);

/* --- searching (search.c) -------------------------------------------------------------------- */

/* What --max-drop and --max-size led to. */
typedef struct search_outcome {
    fb_search_result found; /* best is the caller's to take */
    fb_eval_result eval[2]; /* the float network and the best one on images that the search did not
                               see; top1 is NaN without labels */
    double drop, margin;    /* points lost there, and the half width of their 95% interval */
    char folder[4096];
} search_outcome;

/* Searches, judges the best network on images kept aside (--eval, else a third of --data), and
 * notes what they said in the file. EXIT_BUDGET after a sentence where nothing kept the bounds. */
int search_model(const arguments *args, fb_model *before, progress *p, search_outcome *out);
void print_search(const arguments *args, const search_outcome *o);
void put_search(json_t *report, const search_outcome *o);
json_t *trial_json(const fb_search_trial *t);

/* --- notes (notes.c) ------------------------------------------------------------------------- */

/* Notes in `model` what fb_eval said of r[0], the float network, and r[1], it. */
fb_status note_accuracy(fb_model *model, const fb_eval_result *r, const char *fingerprint);

/* --- sensitivity (sensitivity.c) -------------------------------------------------------------- */

/* `inspect --sensitivity`: runs or continues the trials and reports them. */
int report_sensitivity(const arguments *args, fb_model *model);

/* --- layers (layers.c) ----------------------------------------------------------------------- */

/* A layer as inspect and compress speak of it. */
typedef struct layer_view {
    fb_layer_info layer;
    char shape[96];        /* of its first output */
    char encoding[64];     /* of its weights, "" without */
    char activation[64];   /* encoding of its first output */
    uint64_t weight_bytes; /* stored */
    bool compressible;     /* a conv or dense layer with constant weights */
    const char *why_not;   /* it has parameters that no method encodes: why; else NULL */
} layer_view;
int layer_look(const fb_model *model, uint32_t i, layer_view *view);
/* Sums over layers and constants; bytes as stored. */
typedef struct model_totals {
    uint64_t macs, params, weight_bytes, other_bytes;
    uint32_t n_compressible;
} model_totals;
int model_sum(const fb_model *model, model_totals *totals);

#endif
