/* The proof that a layer's 32-bit accumulator cannot overflow: for each output channel,
 *
 *     255 sum |w code - zero| + |bias code|  <=  2^31 - 1
 */
#ifndef FB_COMPRESS_ACCUMULATOR_H
#define FB_COMPRESS_ACCUMULATOR_H

#include "compress/weights.h"

/* The input of a layer as codes. */
typedef struct fb_input_codes {
    float scale;
    int32_t zero; /* unsigned 8-bit codes */
} fb_input_codes;

/* Widens scales (by doubling) until the proof holds for each channel; gives channels without
 * weights a scale that represents their bias well. bias [oc] may be NULL. */
fb_status fb_accumulator_fit(fb_weight_codes *c, uint32_t oc, const float *bias, fb_input_codes x);

/* FB_E_LIMIT, with layer and channel, where the proof does not hold for a layer whose input and
 * weight are encoded; FB_OK for all others, and in fixed point, where overflow has a law. */
fb_status fb_accumulator_check(const fb_model *m, const fb_node *n);

#endif
