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

#ifdef __cplusplus
}
#endif
#endif
