/* Operations of a layer as Q-CNN (Wu et al. 2016) counts them: METHODS A.3. */
#ifndef FB_MODEL_COST_H
#define FB_MODEL_COST_H

#include <stdint.h>

/* A convolution; a fully connected layer has one pixel and one kernel position. */
typedef struct fb_cost_shape {
    uint64_t in_pixels, out_pixels; /* h * w of one image */
    uint64_t kernel;                /* positions: kh * kw */
    uint64_t ic, oc, groups;
} fb_cost_shape;

/* Multiply-adds of the dense layer. */
uint64_t fb_cost_dense(const fb_cost_shape *s);

/* With products of `words` codewords for `sub` channels in `stages` stages: multiply-adds of each
 * input pixel with all codewords (the tables), plus an addition for each index that an output pixel
 * looks up. */
uint64_t fb_cost_product(const fb_cost_shape *s, uint64_t sub, uint64_t words, uint64_t stages);

#endif
