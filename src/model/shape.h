/* Shape rules: the dims and dtype of a node's outputs from its inputs and attributes. They also
 * check every attribute, so that whoever holds a validated model may rely on the ranges of
 * model/op.h. What they cannot check, because it is data, is left to the kernels: indices of
 * gather. A pool window may lie wholly in the padding (with dilation, or at the right end). */
#ifndef FB_MODEL_SHAPE_H
#define FB_MODEL_SHAPE_H

#include "model/model.h"

typedef struct fb_shape {
    fb_dtype dtype;
    int32_t rank;
    int64_t dims[FB_MAX_RANK]; /* concrete, > 0 */
} fb_shape;

/* A batch size that no real dimension is a multiple of (fb_model_validate refuses one): shapes are
 * inferred for it, and dims that are multiples of it stand for multiples of the batch. With this
 * batch, FB_LIMIT_DIM and FB_LIMIT_ELEMS apply to the dims divided by it. */
#define FB_BATCH_MARK ((int64_t)1000003)

/* Concrete shape of a tensor for a batch; and the model's symbolic dims from a shape inferred with
 * FB_BATCH_MARK. */
void fb_shape_of(const fb_tensor *t, int64_t batch, fb_shape *shape);
void fb_shape_to_symbolic(const fb_shape *shape, int64_t dims[FB_MAX_RANK]);
/* A dim (> 0, or -k) for a batch. Cannot overflow for |dim| <= FB_LIMIT_DIM and batch < 2^32. */
static inline int64_t fb_dim_at(int64_t dim, int64_t batch)
{
    return dim < 0 ? -dim * batch : dim;
}

/* Output shapes of one node.
 *
 *   batch  1 .. 2^32-1, or FB_BATCH_MARK; only attributes with dims -k read it
 *   in     [node->n_in]; dtype 0 for an absent input. Not trusted: checked against the limits
 *   out    [node->n_out]; dims beyond the rank are 0. CAST and REINTERPRET read out[0].dtype, which
 *          must be the wanted element type (they have no attribute; the type that the output tensor
 *          declares decides); for all others it is output only
 *
 * Every broken rule is FB_E_FORMAT, a size beyond the limits FB_E_LIMIT, with a sentence that
 * starts with operator and node: "conv 'layer3.0': groups=3 does not divide input channels=64".
 * `out` is then undefined. Allocates nothing. */
fb_status fb_shape_infer_node(const fb_node *node, const fb_shape *in, int64_t batch,
                              fb_shape *out);

/* All tensors of a model for a batch size, shapes[n_tensors]: inputs and constants as declared, the
 * rest by the rules, in node order. Declared dims of node outputs are not looked at (so a rewriter
 * can renew them from here); fb_model_validate compares. Tensor indices and dims must be in range.
 */
fb_status fb_shape_infer(const fb_model *m, int64_t batch, fb_shape *shapes);

#endif
