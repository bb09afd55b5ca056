/* Nodes and tensors in fixed point (numeric/fixed.h). */
#ifndef FB_MODEL_FIXED_H
#define FB_MODEL_FIXED_H

#include "model/model.h"

/* The arithmetic of a conv or dense node; NULL for operators that have none. */
const fb_fixed *fb_node_fixed(const fb_node *n);
/* True when the node is computed in fixed point. */
bool fb_node_is_fixed(const fb_node *n);

/* True when every value is an integer of at most 16 bits times a power of two within 2^-60 .. 2^60,
 * one for the tensor or, for a constant, for each index of axis 0: affine without zero points, or
 * integer levels. */
bool fb_tensor_is_fixed(const fb_tensor *t);

/* FB_OK for a node that is not in fixed point, and for one whose widths, modes and encodings fit:
 * weight, input and output (unless plain f32) are fb_tensor_is_fixed, the bias is a constant. */
fb_status fb_fixed_check(const fb_model *m, const fb_node *n);

#endif
