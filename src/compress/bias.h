/* Biases of integer layers as signed codes in units of one scale for the tensor. With 16 bits the
 * rounding is at most 1/65534 of the largest bias, a hundred times less than that of 8-bit
 * activations; the integer kernels round once more, to units of their accumulator. */
#ifndef FB_COMPRESS_BIAS_H
#define FB_COMPRESS_BIAS_H

#include "model/model.h"

enum { FB_BIAS_BITS = 16 };

/* Encodes a constant; bits 8..16. */
fb_status fb_bias_encode(fb_model *m, int32_t tensor, unsigned bits);

/* Encodes the biases of all nodes marked in integer[n_nodes] that are plain floats and that no
 * other operator reads. */
fb_status fb_bias_encode_all(fb_model *m, const bool *integer, unsigned bits);

#endif
