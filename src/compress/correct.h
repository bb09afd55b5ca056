/* Corrections of a layer's output by channel, measured with the kernels that ship: layer after
 * layer in execution order, so that each sees what the corrected layers before it give (METHODS
 * M.5, M.12).
 *
 * For each layer, the model up to it runs over calibration images with the layer's own activation
 * taken off and its output left in floats; the reference network gave the same moments in one pass.
 * Images are decoded once and held (an option bounds how many). */
#ifndef FB_COMPRESS_CORRECT_H
#define FB_COMPRESS_CORRECT_H

#include "compress/method.h"

typedef enum fb_correction {
    FB_CORRECT_MEAN,   /* the bias alone: means agree */
    FB_CORRECT_MOMENTS /* weights and bias: means and variances agree */
} fb_correction;

fb_status fb_correct(fb_job *job, fb_correction what, uint64_t images, const char *phase);

#endif
