/* Ternary weights that are not frozen but learned as a whole: TWN (Li 2016) and TTQ (Zhu 2017);
 * METHODS T.4. The net computes with scale x (-negative, 0, positive) by the size of w / scale; the
 * optimizer moves w. Weights are [channels][n / channels], scale [channels] > 0 (NULL: all 1). */
#ifndef FB_TRAIN_TERNARY_H
#define FB_TRAIN_TERNARY_H

#include "train/share.h"

typedef enum fb_ternary_rule {
    FB_TERNARY_TWN,   /* threshold 0.7 mean |x| */
    FB_TERNARY_EXACT, /* threshold and level of the least squared error; sorts a copy */
    FB_TERNARY_TTQ    /* threshold: a part of max |x| */
} fb_ternary_rule;

typedef struct fb_ternary {
    float threshold;          /* |x| above it is not 0 */
    float positive, negative; /* >= 0: the values are -negative, 0, positive */
} fb_ternary;

/* Threshold of x = w / scale and the levels that suit it: means of the magnitudes above it, for TTQ
 * of each sign on its own (what learning starts from; without any of a sign, the mean of the
 * other). part: of TTQ, 0.05 in the paper. Weights of 0 give levels of 0. FB_E_MEMORY for EXACT
 * alone. */
fb_status fb_ternary_fit(const float *w, const float *scale, size_t n, size_t channels,
                         fb_ternary_rule rule, float part, fb_ternary *t);
/* The threshold alone, where the levels are learned: TWN or TTQ. */
float fb_ternary_threshold(const float *w, const float *scale, size_t n, size_t channels,
                           fb_ternary_rule rule, float part);

/* code [n]: -1, 0, 1; value [n] = scale x level, what the net computes with. */
void fb_ternary_forward(const fb_ternary *t, const float *w, const float *scale, size_t n,
                        size_t channels, int8_t *code, float *value);

/* From g [n], the gradient of `value`, to those of the levels: sums of scale g over the weights of
 * each, that of `negative` with its sign. */
void fb_ternary_levels_gradient(const int8_t *code, const float *scale, size_t n, size_t channels,
                                const float *g, double *positive, double *negative);
/* To that of w: TTQ scales it by the level that a weight has, 1 for 0 (straight through, in units
 * of the level). g and gw may be the same. TWN passes g on as it is. */
void fb_ternary_gradient(const fb_ternary *t, const int8_t *code, size_t n, const float *g,
                         float *gw);

/* The finished share: levels of *t in s->table, codes, weights set to their values, none free. */
void fb_ternary_finish(const fb_ternary *t, fb_share *s);

#endif
