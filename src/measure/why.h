/* Inside the diagnosis: what its looks share. Each look is one file that takes the state, runs
 * something and adds findings. */
#ifndef FB_MEASURE_WHY_H
#define FB_MEASURE_WHY_H

#include "base/alloc.h"
#include "base/status.h"
#include "fewbit/why.h"
#include "measure/feed.h"

enum { FB_WHY_TRIALS = 48 };

/* How labels are read: as they are, one up, one down, or through the map learned from the images
 * of the other half. */
typedef enum fb_reading {
    FB_READ_PLAIN,
    FB_READ_UP,
    FB_READ_DOWN,
    FB_READ_MAP,
    FB_READINGS
} fb_reading;

/* Answers of the network on the images of one preprocessing. */
typedef struct fb_trial {
    fb_prep prep;
    const char *text;  /* in the report's memory */
    const char *why;   /* it could not be run: the sentence; else NULL */
    uint64_t limit;    /* asked for */
    uint64_t n;        /* images */
    uint64_t hash;     /* of all that went in */
    uint32_t *top;     /* [n] best class; in the report's memory, as are the two below */
    float *sure;       /* [n] its probability */
    int32_t *label;    /* [n], -1 unknown */
    double power;      /* mean square of the input */
    double confidence; /* mean of sure */
} fb_trial;

typedef struct fb_why_state {
    const fb_model *model;
    const fb_why_options *options;
    fb_why_report *report;
    fb_arena *memory; /* report->memory */
    fb_sample_shape shape;
    fb_predictor *predictor;
    uint32_t classes;
    bool labelled;
    size_t cap_findings, cap_looks, cap_variants;
    fb_trial *trials; /* [FB_WHY_TRIALS] in the order in which they were run */
    uint32_t n_trials;
    const char *phase;     /* for progress, while images are answered */
    uint64_t done, total;  /* of the phase that progress shows */
    const fb_trial *given; /* all images with options->prep; NULL when there is none, or it fails */
    const fb_trial *best;  /* all images, with what the other looks go on with */
    fb_reading reading;    /* of labels, while preprocessings are compared */
    uint32_t n_tests;      /* variants tried, for Bonferroni */
} fb_why_state;

/* --- saying (why_say.c) ---------------------------------------------------------------------- */

/* Text in the report's memory; NULL when there is none left. */
const char *fb_why_text(fb_why_state *s, const char *format, ...) FB_PRINTF(2, 3);

/* Adds a finding; what and advice are in the report's memory, numbers are copied. */
typedef struct fb_why_say {
    const char *kind;
    bool hint;
    double points;
    const char *layer, *what, *advice;
    uint32_t n_numbers;
    fb_why_number numbers[8];
} fb_why_say;
fb_status fb_why_find(fb_why_state *s, const fb_why_say *say);
fb_status fb_why_look_at(fb_why_state *s, const char *at, const char *result);
static inline double fb_why_percent(uint64_t part, uint64_t all)
{
    return 100.0 * (double)part / (double)all;
}
/* Findings into the order of fb_why_report; counts hints. */
void fb_why_sort(fb_why_report *report);
/* "less than 1 in 1,000,000", for a probability; a static buffer of the thread. */
const char *fb_why_odds(double p);
/* FB_E_INTERRUPTED when the caller wants to stop. */
fb_status fb_why_progress(fb_why_state *s, const char *what, uint64_t done, uint64_t total);

/* --- chance (why_chance.c) ------------------------------------------------------------------- */

/* Probability of `heads` or more in n throws of a coin that shows heads with probability p. */
double fb_binomial_tail(uint64_t n, uint64_t heads, double p);

/* One-sided sign test: `won` images that only the second way gets right, `lost` that only the first
 * does; times `tests` alternatives, at most 1. */
double fb_sign_test(uint64_t won, uint64_t lost, uint32_t tests);

#define FB_WHY_SURE 0.01 /* above this nothing is told */

/* --- preprocessing (why_trial.c, why_variants.c, why_readings.c, why_prep.c) ---------------------
 */

/* Opens the data with prep for at most `limit` images; the set is the caller's. */
fb_status fb_why_open(const fb_why_state *s, const fb_prep *prep, uint64_t limit, fb_data **data);

/* Runs the network on at most `limit` images with prep. A preprocessing that does not fit leaves
 * trial->why; everything else that fails, fails. */
fb_status fb_why_try(fb_why_state *s, const fb_prep *prep, uint64_t limit, fb_trial *trial);

/* The preprocessings worth trying for the network's input, with the geometry of `base`; `unit`:
 * the data's own values lie within 0..1 instead of 0..255. Returns how many. */
enum { FB_WHY_NORMS_MOST = 12, FB_WHY_FRAMES_MOST = 4 };
uint32_t fb_why_norms(const fb_why_state *s, const fb_prep *base, bool unit,
                      fb_prep norms[FB_WHY_NORMS_MOST]);
/* The same values from other ways of cutting the picture. */
uint32_t fb_why_frames(const fb_why_state *s, const fb_prep *norm,
                       fb_prep frames[FB_WHY_FRAMES_MOST]);

/* right[n]: whether each image's best class is the label, so read. Returns how many are. */
uint64_t fb_why_read(const fb_why_state *s, const fb_trial *t, fb_reading reading, bool *right);

/* The same with the reading that makes most images right; plain where another is no better. */
uint64_t fb_why_read_best(const fb_why_state *s, const fb_trial *t, bool *right,
                          fb_reading *reading);

/* "0 is 3, 3 is 0, ...": labels that are answered with another class, and how many there are. */
fb_status fb_why_show_map(const fb_why_state *s, const fb_trial *t, char text[256],
                          uint32_t *moved);

/* Tries preprocessings, sets s->given and s->best, and tells when another one is better. */
fb_status fb_why_prep(fb_why_state *s);

/* --- labels (why_labels.c) -------------------------------------------------------------------- */

fb_status fb_why_labels(fb_why_state *s);

/* --- layers (why_watch.c, why_layers.c) ------------------------------------------------------- */

/* Called for every step that made an activation of rank 2 or more: its values for the images of
 * this batch, [n / channels][channels]. `node` is of the model's nodes. */
typedef struct fb_why_seen {
    const fb_run *run;
    uint32_t node;
    int32_t tensor;
    const float *x;
    size_t n;
    uint32_t channels;
    uint64_t first; /* number of the batch's first image */
    uint32_t images;
} fb_why_seen;
typedef fb_status (*fb_why_watcher)(void *user, const fb_why_seen *seen);

/* Runs `model` over at most `limit` images prepared as s->best's. */
fb_status fb_why_watch(fb_why_state *s, const fb_model *model, const char *phase, uint64_t limit,
                       fb_why_watcher watcher, void *user);

/* The answers of `model` to the images of s->best; `after`, which may be NULL, sees the predictor
 * then. The answers must be as many as the float network's. */
fb_status fb_why_answers(fb_why_state *s, const fb_model *model, const char *phase, fb_trial *trial,
                         fb_status (*after)(fb_why_state *s, const fb_predictor *p));

/* Dead channels and values that are not finite. */
fb_status fb_why_layers(fb_why_state *s);

/* --- options->small (why_small.c) ------------------------------------------------------------- */

fb_status fb_why_compressed(fb_why_state *s);

#endif
