/* Calibration images as a model's input wants them, as often as they are asked for. */
#ifndef FB_CALIBRATE_SAMPLES_H
#define FB_CALIBRATE_SAMPLES_H

#include "fewbit/data.h"
#include "fewbit/run.h"

typedef struct fb_samples {
    fb_data *data; /* the caller's, opened for the model's fb_model_sample_shape */
    fb_sample_shape shape;
    size_t elems;    /* floats of a sample */
    bool planar;     /* the model wants [c][h][w] where samples are [h][w][c] */
    float *one;      /* a sample as it was read */
    float *kept;     /* [count] samples in memory, or NULL: they are read anew each time */
    int32_t *labels; /* [count] of the samples in memory, -1 where unknown; else NULL */
    uint64_t count, at;
} fb_samples;

/* keep = 0: all samples, each pass reads them anew. keep > 0: as many at most, spread evenly over
 * the data set, read once and held in memory (fewer where they would take more than 512 MiB). */
fb_status fb_samples_open(const fb_model *model, fb_data *data, uint64_t keep, fb_samples *s);
void fb_samples_close(fb_samples *s);

/* What feeds the runs of fb_watch: any number of inputs, from images or from an earlier run. */
typedef struct fb_source {
    void *user;
    uint64_t count; /* samples in all, for progress */
    void (*rewind)(void *user);
    /* Fills the inputs of a run with the next samples; *got counts them, 0 at the end. */
    fb_status (*fill)(void *user, fb_run *run, uint32_t *got);
} fb_source;

/* Samples as the only input of a model, as many for each run as it holds; where they run out in the
 * middle, the last one is repeated. The source reads `s`, which must outlive it. */
fb_source fb_samples_source(fb_samples *s);

#endif
