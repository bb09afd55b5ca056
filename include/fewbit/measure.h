/* Measuring: predictions, accuracy, time, error by layer, and proof that kernels agree. Part of
 * libfewbit-tools. Nothing here prints; every list is in execution order.
 */
#ifndef FEWBIT_MEASURE_H
#define FEWBIT_MEASURE_H

#include "fewbit/data.h"
#include "fewbit/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fb_measure_options {
    uint32_t n_threads; /* 0 = all cores */
    uint32_t cpu;       /* mask as in fb_plan_options */
    fb_tables tables;   /* as there; verify always looks up */
    uint32_t batch;     /* images a run; >= 1. A model whose input has a fixed first dim keeps it */
    uint64_t seed;      /* of made-up inputs (bench, verify) */
    fb_progress progress;
    void *progress_user;
} fb_measure_options;
FB_API void fb_measure_options_default(fb_measure_options *options);

/* Shape of one sample for data of this model; FB_E_UNSUPPORTED when it has not exactly one f32
 * input. A rank-4 input is an image: [n][h][w][c], or [n][c][h][w] where c is 1 to 4 (samples are
 * given as [h][w][c] all the same, the predictor turns them). Any other input is one row of
 * height = width = 1 and channels = elements. */
FB_API fb_status fb_model_sample_shape(const fb_model *model, fb_sample_shape *shape);

/* --- predictions --------------------------------------------------------------------------- */

/* A plan and a run behind one call: samples in, one row of scores for each out. The scores are the
 * first output, flattened, decoded to float where it is encoded. `model` must outlive it. */
typedef struct fb_predictor fb_predictor;
FB_API fb_status fb_predictor_create(const fb_model *model, const fb_measure_options *options,
                                     fb_predictor **out);
FB_API void fb_predictor_destroy(fb_predictor **predictor);          /* NULL is fine */
FB_API uint32_t fb_predictor_classes(const fb_predictor *predictor); /* scores of one sample */
/* x [n][sample elements], scores [n][classes]; any n. */
FB_API fb_status fb_predictor_run(fb_predictor *predictor, uint32_t n, const float *x,
                                  float *scores);

/* What did not fit in layers in fixed point (fb_run_saturations). */
enum { FB_OVERFLOW_WORST = 4 };
typedef struct fb_overflow_report {
    fb_saturations total; /* of all layers in fixed point; of == 0 when there is none */
    uint32_t n_layers;    /* layers where something did not fit */
    uint32_t n_worst;     /* the FB_OVERFLOW_WORST of them with the largest share, worst first: */
    struct {
        const char *name; /* borrowed from the model */
        fb_saturations over;
    } worst[FB_OVERFLOW_WORST];
} fb_overflow_report;
/* Of all runs of the predictor so far. */
FB_API void fb_predictor_overflows(const fb_predictor *predictor, fb_overflow_report *report);

/* One guess. `probability` is the score itself when the row already is a distribution (not
 * negative, sum 1 within 1e-3), else its softmax. */
typedef struct fb_guess {
    uint32_t label;
    float score, probability;
} fb_guess;
/* The k best of a row, best first, equal scores by lower label, NaN last. Returns how many: the
 * smaller of k and n. */
FB_API uint32_t fb_top(const float *scores, uint32_t n, uint32_t k, fb_guess *guesses);

/* --- accuracy ------------------------------------------------------------------------------ */

/* Accuracy of `n` models on the same images, decoded once. Percentages are of the images seen;
 * agreement is the share of images on which top-1 equals that of the first model. Loss is the mean
 * cross-entropy of softmax(output), or of the output itself where it already is a distribution.
 * Without labels (or with one missing) top1, top5 and loss are NaN. With fewer than 5 classes top5
 * counts all of them. */
typedef struct fb_eval_result {
    uint64_t images;
    double top1, top5, loss, agreement;
    fb_overflow_report over; /* all images */
} fb_eval_result;
FB_API fb_status fb_eval(const fb_model *const *models, uint32_t n, fb_data *data,
                         const fb_measure_options *options, fb_eval_result *results);

/* --- time and memory ------------------------------------------------------------------------ */

typedef struct fb_bench_layer {
    const char *name, *op, *kernel; /* borrowed from the model and the library */
    uint64_t median_ns, min_ns;
    uint64_t
        base_ns;   /* min_ns of the layer of the same name and operator in the first model; of the
                      only   model, if it has look-up tables, on decoded weights; 0: there is none */
    uint64_t macs; /* of the whole batch */
    uint64_t ops;  /* of the whole batch: fb_layer_info.ops; 0 for steps that are no layer */
} fb_bench_layer;

/* Times are of one run of the whole batch. */
typedef struct fb_bench_result {
    uint32_t threads, batch; /* as they were used */
    uint64_t samples;        /* timings taken */
    uint64_t median_ns, min_ns;
    uint64_t p10_ns, p90_ns; /* spread: 80% of the timings lie between */
    /* Memory that one run holds: */
    uint64_t weight_bytes;     /*   constants as the model holds them (mapped or allocated) */
    uint64_t packed_bytes;     /*   weights as packed for the kernels */
    uint64_t workspace_bytes;  /*   activations, and scratch of every thread */
    uint64_t peak_bytes;       /*   the sum of the three */
    uint64_t tensor_bytes;     /* of workspace_bytes, the activations alone: of the whole batch, in
                                  shared memory where their lives do not overlap */
    uint64_t activation_bytes; /* fb_model_activation_bytes: of one image, each tensor once */
    fb_bench_layer *layers;    /* one for each step of the plan; fb_bench_result_free */
    uint32_t n_layers;
} fb_bench_result;

/* Latency of `n` models, one after the other in every round so that a change of clock or load meets
 * all of them: warm-up, then rounds until each model has run for about `seconds` (at least 5
 * rounds). A timing covers enough runs to last a millisecond. Layers are timed in runs of their
 * own, in which the models take turns, too. Inputs are made up from options->seed. */
FB_API fb_status fb_bench(const fb_model *const *models, uint32_t n, double seconds,
                          const fb_measure_options *options, fb_bench_result *results);
FB_API void fb_bench_result_free(fb_bench_result *result);

/* --- error by layer ------------------------------------------------------------------------- */

/* The first output of a layer that two models share by name and operator. With x the first model's
 * values and y the second's: sqnr_db        10 log10(sum x^2 / sum (x - y)^2); +inf when equal
 *   aligned_db     the same after the best gain for each channel of y: what is lost for good. It is
 *                  the fair figure where a method rescaled channels (equalize)
 *   relative       sqrt(sum (x - y)^2 / sum x^2)
 *   worst          largest |x - y|
 *   added          relative error (after the best gains) that the layer adds to that of its worst
 *                  input: sqrt(max(0, out^2 - in^2)); inputs that were not compared count as exact
 */
typedef struct fb_diff_layer {
    const char *name, *op, *tensor; /* borrowed from the second model; tensor may be "" */
    const char *encoding;           /* of the second model's tensor; owned by the report */
    uint64_t elems;
    double sqnr_db, aligned_db, relative, worst, added;
} fb_diff_layer;

typedef struct fb_diff_report {
    uint64_t images;
    fb_diff_layer *layers;
    uint32_t n_layers;
    uint32_t n_unmatched; /* layers of the second model that the first does not have */
    int32_t first_wrong;  /* first layer whose aligned_db is under threshold_db, -1 if none */
    int32_t most_added;   /* layer with the largest `added`, -1 if there are no layers */
    double threshold_db;
    double agreement; /* percent of images with the same top-1 */
} fb_diff_report;

/* Runs both models over the data, one batch at a time (both runs keep every tensor of one batch;
 * nothing else grows with the data). 20 dB, a tenth of the signal, is a sensible threshold. */
FB_API fb_status fb_diff(const fb_model *a, const fb_model *b, fb_data *data, double threshold_db,
                         const fb_measure_options *options, fb_diff_report *report);
FB_API void fb_diff_report_free(fb_diff_report *report);

/* --- fast kernels against the reference ----------------------------------------------------- */

/* A layer at one CPU level, over all inputs and thread counts. */
typedef struct fb_verify_layer {
    const char *name, *op, *kernel, *tensor; /* borrowed from the model and the library */
    uint32_t cpu;                            /* mask */
    bool exact;     /* must be equal to the bit; else within the float bound */
    uint64_t elems; /* compared */
    uint64_t wrong; /* of them out of bounds */
    double worst;   /* largest |fast - reference| / largest |reference| of the tensor in that run;
                       for exact tensors in steps of the stored integers */
    uint64_t at;    /* the first wrong element, */
    double expected, got; /* its value in the reference and in the fast run */
} fb_verify_layer;

typedef struct fb_verify_report {
    uint32_t inputs;      /* made-up inputs tried: random, extreme, constant */
    uint32_t max_threads; /* the larger of the thread counts tried */
    uint64_t elems, wrong;
    double bound; /* on `worst` of float tensors */
    fb_verify_layer *layers;
    uint32_t n_layers;
} fb_verify_report;

/* Runs reference kernels and the kernels of every usable CPU level (within options->cpu) on the
 * same inputs, layer by layer: each reference step reads what the fast run wrote, so that
 * differences do not add up. Tensors computed in integers must be equal to the bit, and so must
 * everything between one thread and several. Tensors computed in float may differ by
 * FB_VERIFY_BOUND of the tensor's largest value, since the order of a sum is not fixed; a float
 * result that is then rounded to an integer code may differ by one code. FB_E_MISMATCH when
 * something differs; the report is filled then, too. */
#define FB_VERIFY_BOUND 1e-4
FB_API fb_status fb_verify(const fb_model *model, const fb_measure_options *options,
                           fb_verify_report *report);
FB_API void fb_verify_report_free(fb_verify_report *report);

#ifdef __cplusplus
}
#endif
#endif
