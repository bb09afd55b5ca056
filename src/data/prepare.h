/* From a decoded image or an array's sample to the network's input. */
#ifndef FB_DATA_PREPARE_H
#define FB_DATA_PREPARE_H

#include "data/image.h"
#include "fewbit/data.h"

/* Most elements of one sample. */
#define FB_DATA_MAX_ELEMS ((uint64_t)1 << 28)

/* A preprocessing and an input shape, checked against each other; threads share it. */
typedef struct fb_data_prepare {
    fb_prep prep; /* name "" has become the identity */
    fb_sample_shape shape;
    size_t n_elems;      /* of a sample */
    bool flat;           /* the input is not an image */
    float value[4][256]; /* of a pixel, by output channel */
} fb_data_prepare;

/* What one thread reuses from sample to sample. */
typedef struct fb_data_scratch {
    fb_data_buffer file, pixels, canvas, path;
    fb_data_resizer resizer;
} fb_data_scratch;

void fb_data_scratch_free(fb_data_scratch *scratch);
/* Gives back what an unusually large image took. */
void fb_data_scratch_trim(fb_data_scratch *scratch);

/* "3x32x32" of dims; always terminated. */
#define FB_DATA_DIMS_CHARS 200
const char *fb_data_dims_text(const uint64_t *dims, uint32_t rank, char text[FB_DATA_DIMS_CHARS]);

/* "32x32x3 (height x width x channels)", or "490 values" of an input that is not an image. */
const char *fb_data_shape_text(const fb_sample_shape *shape, char text[FB_DATA_DIMS_CHARS]);

fb_status fb_data_prepare_init(fb_data_prepare *prepare, const fb_prep *prep,
                               const fb_sample_shape *shape);

/* Whether images of height x width x channels end up in the network's shape; height 0 means that
 * sizes are not known yet. `geometry`: resize and crop apply. */
fb_status fb_data_prepare_check(const fb_data_prepare *prepare, uint32_t height, uint32_t width,
                                uint32_t channels, bool geometry);

/* Resize, crop, channel order and normalisation of an image of 1 or 3 channels into x [n_elems]. An
 * input that is not an image is filled in the network's source order. */
fb_status fb_data_prepare_image(const fb_data_prepare *prepare, const fb_data_image *image,
                                bool geometry, fb_data_scratch *scratch, float *x);

/* v becomes (v / scale - mean) / std of output channel c; channels beyond the fourth have the
 * first one's, which is everyone's there (fb_data_array_fit makes sure). */
static inline float fb_data_prepare_value(const fb_prep *prep, float v, uint32_t c)
{
    uint32_t k = c < 4 ? c : 0;
    return (v / prep->scale - prep->mean[k]) / prep->std[k];
}

#endif
