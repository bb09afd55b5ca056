/* Inside level_codes.c: how a weight tensor gets its tables and scales. */
#ifndef FB_COMPRESS_LEVEL_TABLE_H
#define FB_COMPRESS_LEVEL_TABLE_H

#include "compress/level_codes.h"

typedef struct fb_level_work {
    const fb_level_rule *rule;
    float *w;                /* [n] = [channels][inner]; one channel without scales along an axis */
    const float *importance; /* [n], or NULL */
    size_t n, channels, inner;
    bool along, shared, with_zero; /* along: scales along axis 0 */
    /* what a fit finds: */
    float *scale; /* [channels] */
    float *level; /* [n_tables][n_levels] */
    size_t n_tables;
    uint32_t n_levels;
    unsigned level_bits;
    float *threshold; /* [channels]: magnitudes above are not 0; NULL: nearest */
} fb_level_work;

static inline const float *fb_level_table_of(const fb_level_work *k, size_t channel)
{
    return k->level + (k->n_tables > 1 ? channel * k->n_levels : 0);
}

/* A table for the tensor or for each channel: k-means or even. */
fb_status fb_level_fit_tables(fb_level_work *k);
/* One table, a scale for each channel: k-means on weights in units of their channel's scale, and
 * scales that suit the table, in turns. */
fb_status fb_level_fit_shared(fb_level_work *k);
/* A given table of integers, a scale of least error for the tensor or each channel. */
fb_status fb_level_fit_scales(fb_level_work *k);

/* Scales of channels without weights, 0 until now, become the largest of the others (2^-10 of it
 * where no level is 0), and none is less than 2^-14 of it: the bias of an integer layer is counted
 * in units of the scale. */
void fb_level_lift_scales(fb_level_work *k);
/* Squared error of the weights [from, from + n), each at its nearest of scale x the table's levels,
 * times its importance. The table is the first, which serves all channels. */
double fb_level_error(const fb_level_work *k, size_t from, size_t n, float scale);
/* The scale 2^(step i / 16) about `scale` (> 0) of the least such error for a channel, found by
 * going downhill; step 16 where scales are powers of two, else 1. */
float fb_level_scale_near(const fb_level_work *k, size_t channel, float scale);
/* Levels times `factor` as ascending different integers within +-(2^(level_bits - 1) - 1). */
uint32_t fb_level_round(const double *level, uint32_t n, double factor, unsigned level_bits,
                        float *out);

#endif
