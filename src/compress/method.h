/* What a compression method is: a name, options, and a function that rewrites a model. To add one:
 * a file compress/<name>.c with an fb_method_def, and a line in methods.inc. */
#ifndef FB_COMPRESS_METHOD_H
#define FB_COMPRESS_METHOD_H

#include "calibrate/watch.h"
#include "fewbit/compress.h"
#include "model/model.h"

enum { FB_METHOD_MAX_OPTIONS = 16 };

typedef enum fb_option_kind {
    FB_OPTION_CHOICE, /* one of `choices` */
    FB_OPTION_NUMBER, /* in [least, most] */
    FB_OPTION_WHOLE,  /* an integer in [least, most] */
    FB_OPTION_TEXT
} fb_option_kind;

typedef struct fb_option_def {
    const char *key;
    fb_option_kind kind;
    const char *choices; /* "a|b|c" */
    double least, most;
    const char *preset; /* value when not given; NULL: depends, see meaning */
    const char *meaning;
} fb_option_def;

/* A parsed value; what was not given and has no preset has given = false, text "". */
typedef struct fb_option {
    bool given;
    const char *text;
    double number;  /* NUMBER, WHOLE */
    int32_t choice; /* CHOICE: index in `choices` */
} fb_option;

struct fb_method_def;

/* One step of a chain. `option` is in the order of the method's definitions. */
typedef struct fb_recipe_step {
    const struct fb_method_def *method;
    const char *text; /* the step as written, for sentences */
    unsigned bits;    /* of int<b> and w<b>; 0 else */
    fb_option option[FB_METHOD_MAX_OPTIONS];
} fb_recipe_step;

typedef struct fb_recipe {
    fb_arena *arena;
    fb_recipe_step *steps;
    uint32_t n_steps;
    bool needs_data;
    const char *text;               /* steps joined by " + " */
    const fb_recipe_step *training; /* the last step where it trains the network, else NULL; */
    const char *before; /* the text of those before it, or of all; "" where there is none */
} fb_recipe;

/* FB_E_ARG with a sentence that names step, option and allowed values. A step that trains must be
 * the last. */
fb_status fb_recipe_parse(const char *text, fb_recipe *recipe);
void fb_recipe_free(fb_recipe *recipe);

/* Work in progress. Methods rewrite `model`; they neither drop nor renumber tensors, so that a
 * tensor index means the same in `reference`. */
typedef struct fb_job {
    fb_model *model;
    fb_model *reference; /* the float network with the same tensors: what the input computed, and
                            what later steps measure their error against */
    fb_data *data;       /* NULL in a dry run */
    const fb_recipe *recipe;
    uint32_t step;   /* of the recipe, that is being applied */
    fb_arena *arena; /* of the job: what a step leaves to later ones */
    uint64_t seed;
    uint32_t n_threads, cpu;
    bool dry_run;
    fb_progress progress;
    void *progress_user;
    fb_layer_error_fn layer_error; /* NULL: nobody listens */
    void *layer_error_user;
    bool *clipped; /* [n_clipped] by tensor: weights whose range a clip chose, NULL without one */
    size_t n_clipped;
    const char *unknown_codes; /* in a dry run: the step whose codes depend on data, or NULL */
} fb_job;

/* Whether the file of the finished model will be entropy-coded: what this step's model says, unless
 * a later step says otherwise. */
bool fb_job_will_code(const fb_job *job);

/* Whether a quantising step takes the range of a weight as it is. */
static inline bool fb_job_is_clipped(const fb_job *job, int32_t tensor)
{
    return (size_t)tensor < job->n_clipped && job->clipped[tensor];
}

typedef struct fb_method_def {
    const char *name, *stem;        /* "int8"; "int": the name with another number is the same
                                       method. stem NULL: the name stands alone */
    unsigned least_bits, most_bits; /* with a stem */
    const char *summary;
    bool needs_data;                                       /* with the options as preset */
    bool (*wants_data)(const struct fb_recipe_step *step); /* with the step's; NULL: needs_data */
    uint32_t n_options;
    fb_option_def options[FB_METHOD_MAX_OPTIONS];
    bool trains; /* fewbit tune does it, behind the steps before it; it has no apply */
    fb_status (*apply)(fb_job *job, const fb_recipe_step *step);
} fb_method_def;

/* Those that train, for who does. */
extern const fb_method_def fb_method_slq, fb_method_eslq, fb_method_mlq, fb_method_inq,
    fb_method_twn, fb_method_ttq;

/* A step's value of the option `key`; NULL where its method has no such option. */
const fb_option *fb_step_option(const fb_recipe_step *step, const char *key);

uint32_t fb_method_count(void);
const fb_method_def *fb_method_get(uint32_t i);

fb_watch_options fb_job_watch(const fb_job *job, const char *what);
/* FB_E_INTERRUPTED when the caller wants to stop. */
fb_status fb_job_report(const fb_job *job, const char *what, uint64_t done, uint64_t total);
/* Tells who listens what the step at hand did to a layer. */
void fb_job_tell_error(const fb_job *job, const char *layer, double before, double after);
/* Replaces the reference by the model as it is now: for steps that rewrite the network without
 * changing what it computes. */
fb_status fb_job_renew_reference(fb_job *job);

/* True when `name` matches one of the patterns: '|' between them, '*' any text, '?' any character.
 * An empty list matches nothing. */
bool fb_glob(const char *patterns, const char *name);

#endif
