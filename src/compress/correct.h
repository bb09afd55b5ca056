/* Corrections of a layer's output by channel, measured with the kernels that ship: layer after
 * layer in execution order, so that each sees what the corrected layers before it give (METHODS
 * M.5, M.12).
 *
 * The reference network gives the wanted moments of each layer in one pass: behind the activation
 * for means, before it for means and variances. Then each layer runs likewise, its output left in
 * floats, from a cut just before it (compress/stage.h). Images are decoded once and held (an option
 * bounds how many). */
#ifndef FB_COMPRESS_CORRECT_H
#define FB_COMPRESS_CORRECT_H

#include "compress/method.h"

typedef enum fb_correction {
    FB_CORRECT_MEAN,   /* the bias alone: means behind the activation agree */
    FB_CORRECT_MOMENTS /* weights and bias: means and variances before it agree */
} fb_correction;

fb_status fb_correct(fb_job *job, fb_correction what, uint64_t images, const char *phase);

#endif
