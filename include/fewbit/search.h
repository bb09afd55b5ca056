/* What each layer can bear: the ground that bit allocation stands on. Part of libfewbit-tools. */
#ifndef FEWBIT_SEARCH_H
#define FEWBIT_SEARCH_H

#include "fewbit/data.h"
#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One trial: the float network with one thing of one layer in few bits, all else untouched. */
typedef enum fb_sense_what {
    FB_SENSE_WEIGHTS = 0, /* its weights: symmetric, a scale for each output channel, least squared
                             error */
    FB_SENSE_INPUT = 1    /* its input: one scale, range by least squared error */
} fb_sense_what;

typedef struct fb_sense_row {
    uint32_t layer; /* of fb_model_layer */
    fb_sense_what what;
    uint32_t bits;
    double loss;    /* mean over images of KL(float network || trial), in nats */
    double correct; /* share of images whose best class is the label, or, without labels, the float
                       network's */
} fb_sense_row;

typedef struct fb_sensitivity {
    uint64_t images;
    bool labelled;
    double correct;     /* of the float network: 1 without labels */
    fb_sense_row *rows; /* by layer, then what, then bits as given */
    uint32_t n_rows;
    uint32_t n_found; /* rows that the state file had already */
} fb_sensitivity;

typedef struct fb_sensitivity_options {
    fb_data *data;          /* opened for fb_model_sample_shape of the model */
    uint64_t images;        /* at most so many are held and run; >= 1 */
    const uint32_t *widths; /* [n_widths] bits, each 2..16 */
    uint32_t n_widths;
    bool weights_only;  /* no rows for inputs */
    const char *state;  /* file that keeps finished rows and is read first; NULL = none. It must be
                           absent, or one of the same model, data and images */
    uint32_t n_threads; /* 0 = all cores */
    uint32_t cpu;       /* mask as in fb_plan_options */
    fb_progress progress;
    void *progress_user;
} fb_sensitivity_options;

/* Forward runs alone (METHODS M.10): (conv and dense layers with constant float weights) x widths x
 * {weights, input} trials of `images` images each; a layer that reads the network's own input, or
 * an input that an earlier layer was tried with, has no rows for it. Every row goes to the state
 * file at once, so that an interrupted call goes on where it stopped when it is made again.
 * FB_E_UNSUPPORTED when there is no such layer, FB_E_ARG for a state file that is something else.
 */
FB_API fb_status fb_sensitivity_run(const fb_model *model, const fb_sensitivity_options *options,
                                    fb_sensitivity *result);
FB_API void fb_sensitivity_free(fb_sensitivity *result);

/* 16 hex digits (and NUL) that name model, data and number of images: what a state file is for. */
FB_API fb_status fb_sensitivity_key(const fb_model *model, const fb_data *data, uint64_t images,
                                    char key[17]);

/* --- the smallest network that keeps its accuracy -------------------------------------------- */

/* One network that was made and judged. */
typedef struct fb_search_trial {
    const char *method; /* the text that makes it, with the same calibration images and seed */
    uint64_t bytes;     /* of its file */
    double loss;        /* mean over the judging images of KL(float network || it), in nats */
    double correct;     /* share of images whose best class is the label, or, without labels, the
                           float network's */
    double agree;       /* share of images whose best class is the float network's */
    bool front;         /* no other trial is smaller and closer to the float network */
} fb_search_trial;

typedef struct fb_search_options {
    fb_data *calibrate; /* images that ranges and codes are fitted to, */
    fb_data *judge;     /* and others, that widths are chosen by: for the model's sample shape */
    double max_drop;    /* points of accuracy; below 0: no bound, max_bytes is one then */
    uint64_t max_bytes; /* of the file; 0: no bound */
    const char *folder; /* an existing one for what is done, to go on from; NULL: nothing is kept */
    double time_limit; /* seconds until no further trial begins, but for a first new one; 0: none */
    uint64_t seed;
    uint32_t n_threads; /* 0 = all cores */
    uint32_t cpu;       /* mask as in fb_plan_options */
    fb_progress progress;
    void *progress_user;
} fb_search_options;

typedef struct fb_search_result {
    fb_model *best;          /* NULL: no trial kept the bounds */
    uint32_t best_trial;     /* its number */
    fb_search_trial *trials; /* [n_trials], in the order in which they were made */
    uint32_t n_trials;
    uint32_t n_found; /* trials that the folder had already */
    uint64_t images;  /* that judged */
    bool labelled;
    double correct; /* of the float network on them: 1 without labels */
    double ceiling; /* nats that max_drop is taken to be worth; 0 without it */
    bool finished;  /* false: the time was up */
} fb_search_result;

/* Widths of weights for each layer (METHODS M.10, IV.5), activations in 8 bits, codes by GPTQ:
 * the smallest file that loses at most max_drop, or, without that bound, the least loss within
 * max_bytes; with both, the smallest within max_drop, which must be within max_bytes, too.
 *
 * Each layer alone is tried in each width, as fb_sensitivity_run does; a price for each byte then
 * picks a width for every layer, and the price is moved, trial by trial, until the whole network,
 * made as the method text says and run by the kernels that ship, is just within the bounds. A drop
 * is judged by the divergence from the float network, which a few hundred images tell well; by
 * counted images only as far as chance does not explain them. What other images say of the result
 * is the caller's to measure.
 *
 * The networks on the front of bytes and loss are kept in the folder.
 *
 * FB_E_INTERRUPTED, FB_E_ARG for bounds or a folder that does not fit, FB_E_UNSUPPORTED for a model
 * without float weights. The same call goes on from `folder` and ends with the same model. */
FB_API fb_status fb_search(const fb_model *model, const fb_search_options *options,
                           fb_search_result *result);
/* The trials that a folder has, of whatever search; the rest of *result is empty. */
FB_API fb_status fb_search_read(const char *folder, fb_search_result *result);
/* The network of trial i of fb_search_read, which must be on the front. */
FB_API fb_status fb_search_pick(const char *folder, uint32_t i, fb_model **out);
FB_API void fb_search_free(fb_search_result *result);

#ifdef __cplusplus
}
#endif
#endif
