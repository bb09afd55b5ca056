/* Inside the shape rules: what shape.c, shape_layer.c and shape_move.c share. */
#ifndef FB_MODEL_SHAPE_RULES_H
#define FB_MODEL_SHAPE_RULES_H

#include "base/size.h"
#include "base/status.h"
#include "model/shape.h"

/* A rule may count on: n_in within the operator's bounds, the required inputs present, all inputs
 * within the limits. It fills dtype, rank and dims of out[0] (and out[1] where there is one); what
 * it wrote is checked against the limits afterwards. */
typedef fb_status fb_shape_rule(const fb_node *node, const fb_shape *in, int64_t batch,
                                fb_shape *out);

fb_shape_rule fb_shape_conv, fb_shape_conv_transpose, fb_shape_dense, fb_shape_matmul,
    fb_shape_scale_shift, fb_shape_unary, fb_shape_prelu, fb_shape_binary, fb_shape_max_pool,
    fb_shape_avg_pool, fb_shape_reduce, fb_shape_arg_max, fb_shape_lrn, fb_shape_softmax;
fb_shape_rule fb_shape_concat, fb_shape_slice, fb_shape_gather, fb_shape_reshape,
    fb_shape_transpose, fb_shape_expand, fb_shape_pad, fb_shape_resize, fb_shape_cast,
    fb_shape_convert, fb_shape_reinterpret;

/* The sentence of a broken rule: "conv 'name': " and then the text. */
#define FB_RULE(node, ...) fb_shape_broken((node), fb_fail(FB_E_FORMAT, __VA_ARGS__))
fb_status fb_shape_broken(const fb_node *node, fb_status status);

/* "input 1 is s64, must be f32" */
fb_status fb_shape_want_f32(const fb_node *node, const fb_shape *in);
fb_status fb_shape_want_rank(const fb_node *node, uint32_t i, const fb_shape *in, int32_t rank);
/* An attribute that must be 0 or 1. */
fb_status fb_shape_want_flag(const fb_node *node, const char *name, int32_t value);
fb_status fb_shape_want_act(const fb_node *node, const fb_act *act);
fb_status fb_shape_want_axis(const fb_node *node, int32_t axis, int32_t rank);
/* Attribute dims (> 0 or -k) for a batch. */
fb_status fb_shape_attr_dims(const fb_node *node, int32_t rank, const int64_t *dims, int64_t batch,
                             int64_t *out);

/* out = in with all its fields */
static inline fb_status fb_shape_same(const fb_shape *in, fb_shape *out)
{
    *out = *in;
    return FB_OK;
}

/* NumPy broadcasting of two shapes; false when some pair of dims differs and neither is 1. The
 * dtype is a's. */
bool fb_shape_broadcast(const fb_shape *a, const fb_shape *b, fb_shape *out);
/* "[2,3,4]" */
const char *fb_shape_text(const fb_shape *s, char text[192]);

#endif
