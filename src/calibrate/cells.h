/* A histogram whose bins are as wide as their values are large: by the leading 16 bits of a float
 * (sign, exponent, 7 bits of mantissa), so 128 bins for each octave, whatever the range. What
 * places levels by density reads it: fine near zero, where most values are, and the largest values
 * are never lost. Counts are integers, so the order of values does not matter. */
#ifndef FB_CALIBRATE_CELLS_H
#define FB_CALIBRATE_CELLS_H

#include "fewbit/status.h"

enum {
    FB_CELLS_FIRST = 0x3180, /* the bits of 2^-28: smaller magnitudes count as that */
    FB_CELLS_SIDE = 48 * 128 /* up to 2^20: larger ones count as the last bin */
};

typedef struct fb_cells {
    uint64_t *count; /* [2 * FB_CELLS_SIDE]: magnitudes of positive values, then of negative ones */
    uint64_t n_zero;
} fb_cells;

fb_status fb_cells_init(fb_cells *c);
void fb_cells_free(fb_cells *c);
void fb_cells_add(fb_cells *c, const float *x, size_t n); /* finite values */
void fb_cells_merge(fb_cells *c, const fb_cells *other);

/* The values that occurred, ascending, with their counts; a bin stands for its middle, zero for
 * itself. value, weight: [2 * FB_CELLS_SIDE + 1]. Returns how many; zero is always one of them. */
uint32_t fb_cells_list(const fb_cells *c, double *value, double *weight);

#endif
