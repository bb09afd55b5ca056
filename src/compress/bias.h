/* Biases of integer layers as signed codes in units of one scale for the tensor. With 14 bits the
 * rounding is at most 1/16382 of the largest bias. (Measured: 16, 14 and 12 bits differ by nothing
 * that 1,000 images show, on keyword spotting, MobileNet and the glyphs networks; 14 leaves room
 * for networks whose largest bias is a hundred times the others.) The integer kernels round once
 * more, to units of their accumulator. */
#ifndef FB_COMPRESS_BIAS_H
#define FB_COMPRESS_BIAS_H

#include "model/model.h"

enum { FB_BIAS_BITS = 14, FB_BIAS_FIXED_BITS = 16 };

/* Encodes a constant; bits 8..16. pow2: the scale is a power of two, as fixed point wants it. */
fb_status fb_bias_encode(fb_model *m, int32_t tensor, unsigned bits, bool pow2);

/* Encodes the biases of all layers that run on integers, those that are plain floats and that no
 * other operator reads; in FB_BIAS_FIXED_BITS and a power of two where the layer is in fixed point.
 * The last step, as corrections want biases in floats. */
fb_status fb_bias_encode_integer(fb_model *m);

/* Gives a conv, transposed conv or dense node a bias [channels] of floats that nothing else reads,
 * with the values of the one it has, or zeros; *bias is its tensor. */
fb_status fb_bias_own(fb_model *m, uint32_t node, uint32_t channels, int32_t *bias);

#endif
