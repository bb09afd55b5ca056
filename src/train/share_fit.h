/* Inside share.c: where the levels of a layer lie. */
#ifndef FB_TRAIN_SHARE_FIT_H
#define FB_TRAIN_SHARE_FIT_H

#include "train/share.h"

/* Levels by size. Between neighbours lies a boundary; a number on it belongs to the level that is
 * farther from 0. */
typedef struct fb_share_cells {
    uint32_t n;
    double upper[FB_SHARE_LEVELS]; /* [n - 1] */
    uint8_t place[FB_SHARE_LEVELS];
} fb_share_cells;

/* n >= 1 levels. */
void fb_share_cells_of(const fb_share_table *t, fb_share_cells *c);

/* The place of the level that is nearest to x. */
static inline uint8_t fb_share_nearest(const fb_share_cells *c, float x)
{
    uint32_t lo = 0, hi = c->n - 1;
    while (lo < hi) {
        uint32_t middle = (lo + hi) / 2;
        double upper = c->upper[middle];
        if ((double)x > upper || ((double)x == upper && x >= 0))
            lo = middle + 1;
        else
            hi = middle;
    }
    return c->place[lo];
}

/* Whether so many zeros of n weights are a pruned layer's. */
bool fb_share_holds(size_t zeros, size_t n, const fb_share_rule *rule);
/* Without levels, but for 0 where it is one. */
fb_share_table fb_share_first_table(const fb_share_rule *rule, bool holds_zeros);

/* Moves the free levels of a layer to where its free weights x [n], n >= 1, want them, in units of
 * their scales. */
fb_status fb_share_place(fb_share_table *t, const fb_share_rule *rule, bool first, const float *x,
                         size_t n);

/* METHODS B.2: 0 (with_zero), then +-2^floor(log2 most) / 2^j, j = 0, 1, ...: n in this order. */
void fb_share_first_levels(double most, uint32_t n, bool with_zero, double *level);
/* METHODS B.2: 2^e where |c| < 1.5 2^e, else 2^(e + 1), e = floor(log2 |c|); with its sign. 0 is 0.
 */
double fb_share_power(double c);

#endif
