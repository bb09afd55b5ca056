/* Indices and codewords of a layer by k-means on its weights (METHODS A.4, V.1). */
#ifndef FB_COMPRESS_PRODUCT_FIT_H
#define FB_COMPRESS_PRODUCT_FIT_H

#include "compress/product_codes.h"

/* Chooses all of *c (made) for the weight w [ct][kernel][c]: per codebook k-means, residual stages
 * where it has more than one, and where it has scales for the channels (axis 0), scales and
 * codewords in turn until both fit. importance: of each channel of the layer's input [groups * c],
 * > 0: an error of its weights counts so much; NULL: all alike. FB_E_MEMORY. */
fb_status fb_product_fit(fb_product_codes *c, const float *w, const float *importance,
                         uint32_t groups, uint64_t seed, fb_pool *pool);

/* sum of importance * (w - value)^2. */
double fb_product_error(const fb_product_codes *c, const float *w, const float *importance,
                        uint32_t groups);

#endif
