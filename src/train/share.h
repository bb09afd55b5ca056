/* Weights that come to share a few values while the network learns (paper B; METHODS B.2, B.3,
 * B.5). Training is cut into steps. At the start of each, the weights that are still free are
 * clustered, some clusters are frozen: their weights take the cluster's value and keep it, and the
 * free ones learn on and make up for it. After the last step none is free.
 *
 * Pure functions over arrays: they know neither net nor model. The same arrays give the same bytes.
 * METHODS speaks of clusters and centroids; a cluster is the free weights that are nearest to a
 * level, its centroid the level. */
#ifndef FB_TRAIN_SHARE_H
#define FB_TRAIN_SHARE_H

#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FB_SHARE_LEVELS = 256, /* most levels of a layer */
    FB_SHARE_STEPS = 32,
    FB_SHARE_TOP = 127, /* the largest integer level */
    FB_SHARE_ROUNDS = 10
};

typedef enum fb_share_state {
    FB_SHARE_NONE, /* no level in this place */
    FB_SHARE_FREE, /* moves with the next step */
    FB_SHARE_FROZEN
} fb_share_state;

/* Levels in units of the channel's scale. Codes are places in this table: a frozen level keeps its
 * place and its bits. Plain data; with mask and code it is all that a checkpoint needs. */
typedef struct fb_share_table {
    uint32_t n; /* places in use */
    bool zero;  /* place 0 is the level 0, which does not move */
    float value[FB_SHARE_LEVELS];
    uint8_t state[FB_SHARE_LEVELS]; /* fb_share_state */
    double unit;     /* a power of two: values are integers within +-127 times it; 0: they are not,
                        or none was chosen yet */
    uint64_t n_held; /* weights that were 0 before the first step and stay so */
} fb_share_table;

/* A layer's weights. The arrays are the caller's. A frozen weight is scale x value, one product of
 * floats. */
typedef struct fb_share {
    const char *name;     /* for sentences */
    size_t n, channels;   /* weights are [channels][n / channels] */
    float *w;             /* [n]; those that freeze are set */
    const float *scale;   /* [channels] > 0; the same in all steps */
    uint8_t *mask;        /* [n], 1 = free, 0 = frozen: what the optimizer is given */
    uint8_t *code;        /* [n], of frozen weights */
    fb_share_table table; /* set by the first step */
} fb_share;

/* What a level may be. */
typedef enum fb_share_values {
    FB_SHARE_FLOATS,
    FB_SHARE_INTEGERS, /* -127..127 times a unit of the layer: what integer kernels take */
    FB_SHARE_POWERS,   /* 0 and +-powers of two, at most 15 octaves (ESLQ) */
    FB_SHARE_TOPMOST   /* 0 and the (n_levels - 1) / 2 powers of two, and their negatives, up to
                          2^floor(log2(4 max|w| / 3)); they never move (INQ, METHODS B.5) */
} fb_share_values;

typedef enum fb_share_fit {
    FB_SHARE_EXACT, /* the levels of the least squared error, given those that are frozen */
    FB_SHARE_LLOYD /* ten rounds from powers of two, then from where the levels are, rounded to what
                      they may be (METHODS B.2) */
} fb_share_fit;

/* What freezes first, and what a share is a share of. */
typedef enum fb_share_order {
    FB_SHARE_BY_LOSS,        /* in each layer, clusters of the largest squared error (SLQ) */
    FB_SHARE_BY_MAGNITUDE,   /* in each layer, clusters of the largest |level| (SLQ's code) */
    FB_SHARE_BY_WEIGHT,      /* in each layer, the largest |weights| (INQ) */
    FB_SHARE_BY_LAYER,       /* in the network, layers of the largest error / sum of squares, until
                                the share of all weights is frozen (MLQ) */
    FB_SHARE_BY_NET_CLUSTERS /* as before, but (layer, cluster) pairs */
} fb_share_order;

typedef struct fb_share_rule {
    fb_share_values values;
    fb_share_fit fit; /* not of TOPMOST */
    fb_share_order order;
    uint32_t n_levels;            /* 2..256 of a layer, at most; TOPMOST: odd, at most 17 */
    bool with_zero;               /* one of them is 0; POWERS and TOPMOST always */
    uint32_t n_steps;             /* 1..32 */
    double share[FB_SHARE_STEPS]; /* frozen after each step; ascending, the last is 1 */
} fb_share_rule;

/* Begins step 0 .. n_steps - 1, which must come in this order, for all layers that are to share.
 * The first step sets masks and tables; where at least one in n_levels of a layer's weights is 0,
 * as after pruning, these are held at 0 for good. A weight that is free and nearest to a frozen
 * level freezes there, at any step; other free weights go by the order of the rule. All free
 * weights count as what they are nearest to: a level halfway is the larger one. Clusters without
 * weights never freeze. A layer of zeros has one level and is done at once.
 *
 * FB_E_LIMIT when a free weight is not finite, FB_E_MEMORY; the layers are then undefined. Sorts
 * the free weights of a layer: seconds for 10 million. */
fb_status fb_share_step(fb_share *layers, size_t n_layers, const fb_share_rule *rule,
                        uint32_t step);

size_t fb_share_n_free(const fb_share *s);

/* Scales for the channels of a weight w [channels][n / channels], all finite: the root mean square
 * of each; of a channel of zeros, that of the layer, or 1. Where the rule (NULL: none) fits its
 * levels to the weights, levels and scales are then fitted in turns, three times: a scale is the
 * one of the least squared error for the levels that its weights are nearest to. They are such as
 * fb_share_store keeps to the bit. FB_E_MEMORY. */
fb_status fb_share_scales(const float *w, size_t n, size_t channels, const fb_share_rule *rule,
                          float *scale);

/* Replaces a constant [channels][...] of the model, of as many elements, by the levels and codes of
 * a share of which nothing is free: those levels that some weight has, in the fewest bits, as
 * integers of at most 16 bits where they are integers times one unit; one table and a scale for
 * each channel, or one if all are the same. channel_scale [channels] > 0 are final: those of the
 * share times what batch norms multiply by. They are stored as fb_share_stored_scale gives them: on
 * the grid as they are, others rounded to 11 bits (2^-11 of their value at most), which a file
 * holds in two to three bytes. FB_E_LIMIT when a scale is too small or too large for that. */
fb_status fb_share_store(const fb_share *s, const float *channel_scale, fb_model *m,
                         int32_t tensor);
float fb_share_stored_scale(float scale);

#endif
