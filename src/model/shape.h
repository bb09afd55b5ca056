/* Shape rules: the dims and dtype of a node's outputs from its inputs and attributes. */
#ifndef FB_MODEL_SHAPE_H
#define FB_MODEL_SHAPE_H

#include "model/model.h"

typedef struct fb_shape {
    fb_dtype dtype;
    int32_t rank;
    int64_t dims[FB_MAX_RANK]; /* concrete, > 0 */
} fb_shape;

/* A batch size that no real dimension is a multiple of: shapes are inferred for it and dims that are
 * multiples of it stand for multiples of the batch. */
#define FB_BATCH_MARK ((int64_t)1000003)

/* Concrete shape of a tensor for a batch; and the model's symbolic dims from a shape inferred with
 * FB_BATCH_MARK. */
void fb_shape_of(const fb_tensor *t, int64_t batch, fb_shape *shape);
void fb_shape_to_symbolic(const fb_shape *shape, int64_t dims[FB_MAX_RANK]);
/* A dim of an attribute (> 0, or -k) for a batch. */
static inline int64_t fb_dim_at(int64_t dim, int64_t batch)
{
    return dim < 0 ? -dim * batch : dim;
}

/* Output shapes of one node: in[n_in] (dtype 0 for an absent input), out[n_out]. Every broken rule
 * is FB_E_FORMAT with a sentence that starts with the node's name and operator. */
fb_status fb_shape_infer_node(const fb_node *node, const fb_shape *in, int64_t batch,
                              fb_shape *out);

/* All tensors of a model for a batch size, shapes[n_tensors]. */
fb_status fb_shape_infer(const fb_model *m, int64_t batch, fb_shape *shapes);

#endif
