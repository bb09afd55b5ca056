/* Calibration images as a model's input wants them, as often as they are asked for. */
#ifndef FB_CALIBRATE_SAMPLES_H
#define FB_CALIBRATE_SAMPLES_H

#include "fewbit/data.h"
#include "fewbit/run.h"

typedef struct fb_samples {
    fb_data *data; /* the caller's, opened for the model's fb_model_sample_shape */
    fb_sample_shape shape;
    size_t elems; /* floats of a sample */
    bool planar;  /* the model wants [c][h][w] where samples are [h][w][c] */
    float *one;   /* a sample as it was read */
    float *kept;  /* [count] samples in memory, or NULL: they are read anew each time */
    uint64_t count, at;
} fb_samples;

/* keep = 0: all samples, each pass reads them anew. keep > 0: as many at most, spread evenly over
 * the data set, read once and held in memory (fewer where they would take more than 512 MiB). */
fb_status fb_samples_open(const fb_model *model, fb_data *data, uint64_t keep, fb_samples *s);
void fb_samples_close(fb_samples *s);

/* Back to the first sample. */
void fb_samples_rewind(fb_samples *s);

/* Fills `input`, of n_elems floats, with the next samples, as many as it holds; where they run out
 * in the middle, the last one is repeated. *got counts new samples, 0 at the end. */
fb_status fb_samples_fill(fb_samples *s, float *input, size_t n_elems, uint32_t *got);

#endif
