/* The grid of weight scales: 2^(k/16) as a float, k = 16 e + j. Neighbours lie 4.4% apart, so
 * snapping costs 2.2% of resolution on average and a scale in a file costs a byte or less. The
 * float is a table entry times a power of two, exact: the same on any machine. Powers of two are on
 * the grid. */
#ifndef FB_NUMERIC_GRID_H
#define FB_NUMERIC_GRID_H

#include <stdbool.h>
#include <stdint.h>

enum { FB_GRID_LEAST = -126 * 16, FB_GRID_MOST = 127 * 16 + 15 }; /* normal floats */

/* The scale of k, which is brought within the limits. */
float fb_grid_scale(int32_t k);
/* The least k whose scale is at least `scale` (finite, > 0). */
int32_t fb_grid_up(float scale);
/* Whether `scale` is on the grid; then *k is its place. */
bool fb_grid_find(float scale, int32_t *k);

#endif
