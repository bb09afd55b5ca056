/* Measuring: accuracy, time, error by layer, and proof that kernels agree. Part of
 * libfewbit-tools. */
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
    uint32_t batch;     /* images a run; >= 1 */
    fb_progress progress;
    void *progress_user;
} fb_measure_options;
FB_API void fb_measure_options_default(fb_measure_options *options);

/* Accuracy of `n` models on the same images, decoded once. Percentages are of the images seen;
 * agreement is the share of images on which top-1 equals that of the first model. Loss is the mean
 * cross-entropy of softmax(output). Without labels top1, top5 and loss are NaN. */
typedef struct fb_eval_result {
    uint64_t images;
    double top1, top5, loss, agreement;
} fb_eval_result;
FB_API fb_status fb_eval(const fb_model *const *models, uint32_t n, fb_data *data,
                         const fb_measure_options *options, fb_eval_result *results);

/* Shape of one sample for data of this model; FB_E_UNSUPPORTED when it has not exactly one f32
 * input. */
FB_API fb_status fb_model_sample_shape(const fb_model *model, fb_sample_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
