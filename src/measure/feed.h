/* Between samples and a run: how the floats of a data set become a model's input, and how an output
 * becomes floats again. */
#ifndef FB_MEASURE_FEED_H
#define FB_MEASURE_FEED_H

#include "fewbit/measure.h"

typedef struct fb_feed {
    fb_sample_shape shape;
    size_t sample;    /* floats of one sample */
    bool planar;      /* the model wants [c][h][w] where samples are [h][w][c] */
    uint32_t per_run; /* samples that one run takes */
} fb_feed;

/* For a run that exists already (its batch decides per_run). */
fb_status fb_feed_init(fb_feed *feed, const fb_model *model, const fb_run *run);

/* Fills the run's input with n <= per_run samples, the rest with zeros; encodes where the input is
 * encoded. */
fb_status fb_feed_fill(const fb_feed *feed, fb_run *run, uint32_t n, const float *x);

/* Whether a row of scores already is probabilities; log of the sum of their exponentials. */
bool fb_is_distribution(const float *scores, uint32_t n);
double fb_log_sum_exp(const float *scores, uint32_t n);

#endif
