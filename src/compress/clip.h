/* What the rules of `clip` share: the layers with their boundaries, and the codes to come. */
#ifndef FB_COMPRESS_CLIP_H
#define FB_COMPRESS_CLIP_H

#include "compress/method.h"
#include "compress/weights.h"

/* A weight tensor in blocks of one boundary each: output channels, or all of it. */
typedef struct fb_clip_layer {
    int32_t weight; /* tensor */
    float *w;       /* [n_blocks][n] decoded */
    size_t n_blocks, n;
    float *t, *most; /* [n_blocks] boundary, max|w| */
} fb_clip_layer;

typedef struct fb_clip {
    fb_job *job;
    fb_weight_rule rule;    /* of the quantising step that follows */
    fb_weight_rule measure; /* the same with a scale for each boundary: what candidates cost by */
    uint64_t images;        /* for fb_clip_by_accuracy */
    fb_clip_layer *layers;
    uint32_t n;
} fb_clip;

/* The layer's weights within its boundaries times `factor`; `out` has as many. */
void fb_clip_apply(const fb_clip_layer *layer, double factor, float *out);

/* Sets boundaries to k standard deviations, one k for all layers: that with the least sum of their
 * relative errors (METHODS C.2.3). */
void fb_clip_by_deviation(fb_clip *clip);

/* Starts from the boundaries as they are (least squared error) and multiplies those of each layer
 * by a factor: first one for all layers, then layer by layer, whatever loses least by fb_judge with
 * all weights in codes. */
fb_status fb_clip_by_accuracy(fb_clip *clip);

#endif
