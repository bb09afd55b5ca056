/* The order of codewords within a codebook, which means nothing to the network. */
#ifndef FB_COMPRESS_PRODUCT_ORDER_H
#define FB_COMPRESS_PRODUCT_ORDER_H

#include "model/model.h"

/* Orders the codewords of each codebook of all products by use, the most used first, so that the
 * numbers of all codebooks of a layer have one distribution, which an entropy coder tells with a
 * few bytes (docs/ENTROPY.md). No value changes. */
fb_status fb_products_order(fb_model *m);

#endif
