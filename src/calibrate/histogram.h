/* A histogram of floats that needs no range in advance: bins of one width on both sides of zero;
 * when a value lies outside, pairs of bins merge and the width doubles. Counts are integers, so the
 * result does not depend on the order within a batch. */
#ifndef FB_CALIBRATE_HISTOGRAM_H
#define FB_CALIBRATE_HISTOGRAM_H

#include "fewbit/status.h"

enum { FB_HIST_SIDE = 2048, FB_HIST_BINS = 2 * FB_HIST_SIDE };

/* bins[FB_HIST_SIDE + j] counts values in [j, j + 1) * width, j in [-FB_HIST_SIDE, FB_HIST_SIDE).
 * Exact zeros are counted apart: every affine encoding holds zero exactly, and after a ReLU they
 * would drown the rest. */
typedef struct fb_hist {
    uint64_t *bins;
    uint64_t n_zero;
    float width; /* 0 until a value other than zero was seen */
} fb_hist;

fb_status fb_hist_init(fb_hist *h);
void fb_hist_free(fb_hist *h);

/* Counts n finite values, none larger than `largest` in magnitude. */
void fb_hist_add(fb_hist *h, const float *x, size_t n, float largest);

uint64_t fb_hist_count(const fb_hist *h); /* all values, zeros included */

/* Counts by magnitude: out[FB_HIST_SIDE], out[j] for |x| in [j, j + 1) * width, zeros left out.
 * Returns the number of bins up to the last one in use. */
uint32_t fb_hist_fold(const fb_hist *h, uint64_t *out);

#endif
