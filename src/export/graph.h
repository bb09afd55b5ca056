/* Building an ONNX graph from a model.
 *
 * The model is channels last, ONNX is channels first. Each tensor may exist in two forms, PLAIN
 * (the model's own order) and NCHW (the same values with the last axis moved behind the first). A
 * layer asks for its inputs in the form its ONNX operator wants and declares its output in that
 * form; a Transpose is written only where the wanted form does not exist yet.
 *
 * A tensor with an affine encoding is followed by QuantizeLinear and DequantizeLinear (QDQ); what
 * later layers read is the dequantised name.
 *
 * Memory comes from one arena. When it runs out, or a layer has no ONNX form, fbx_stop leaves the
 * building through a longjmp to onnx.c: the alternative is a status check behind each of the
 * several hundred names that a graph consists of.
 */
#ifndef FB_EXPORT_GRAPH_H
#define FB_EXPORT_GRAPH_H

#include "model/model.h"

#include "onnx.pb-c.h"

#include <setjmp.h>

typedef enum fbx_form { FBX_PLAIN = 0, FBX_NCHW = 1 } fbx_form;

typedef struct fbx_tensor {
    const char *name[2];  /* ONNX name of the (dequantised) values in each form, or NULL */
    const char *codes[2]; /* name of the quantised integers, or NULL */
    const char *maker;    /* name of the layer that makes it, for tensors without one */
} fbx_tensor;

typedef struct fbx_graph {
    const fb_model *m;
    fb_arena *arena;
    Onnx__GraphProto *proto;
    void *nodes, *inits; /* growable arrays of pointers behind proto->node, proto->initializer */
    size_t cap_nodes, cap_inits;
    fbx_tensor *tensors; /* [m->n_tensors] */
    uint32_t n_names;
    fb_status status;
    jmp_buf stop;
} fbx_graph;

_Noreturn void fbx_stop(fbx_graph *g, fb_status status);
void *fbx_alloc(fbx_graph *g, size_t n, size_t bytes); /* zeroed */
char *fbx_string(fbx_graph *g, const char *text);
/* A name that no other ONNX value has, starting with `stem`. */
char *fbx_unique(fbx_graph *g, const char *stem);

/* Nodes. `out` names the output; returns the node for its attributes. */
Onnx__NodeProto *fbx_node(fbx_graph *g, const char *op, const char *name, uint32_t n_in,
                          const char *const *in, const char *out);
void fbx_int(fbx_graph *g, Onnx__NodeProto *node, const char *key, int64_t value);
void fbx_float(fbx_graph *g, Onnx__NodeProto *node, const char *key, float value);
void fbx_text(fbx_graph *g, Onnx__NodeProto *node, const char *key, const char *value);
void fbx_ints(fbx_graph *g, Onnx__NodeProto *node, const char *key, uint32_t n,
              const int64_t *values);

/* Initializers; returns their name. */
const char *fbx_init(fbx_graph *g, const char *stem, fb_dtype dtype, int32_t rank,
                     const int64_t *dims, const void *data);
const char *fbx_init_i64(fbx_graph *g, const char *stem, uint32_t n, const int64_t *values);
const char *fbx_init_f32(fbx_graph *g, const char *stem, float value); /* a scalar */

/* Values of a model tensor in a form; constants of lower rank are padded to rank 4 for NCHW. */
const char *fbx_get(fbx_graph *g, int32_t tensor, fbx_form form);
/* NCHW if the tensor is of rank 4 and exists in that form only, else PLAIN. */
fbx_form fbx_form_of(const fbx_graph *g, int32_t tensor);
/* What names of the tensor start with. */
const char *fbx_stem(const fbx_graph *g, int32_t tensor);
/* Declares the values of a tensor: writes Q and DQ when it is encoded. */
void fbx_set(fbx_graph *g, int32_t tensor, fbx_form form, const char *name);
/* Q and DQ as `like` has them behind `name`; returns `name` itself when `like` is plain. */
const char *fbx_requantise(fbx_graph *g, int32_t like, const char *name, const char **codes);
/* DQ of integers that exist already, as `like` is encoded. */
const char *fbx_dequantise(fbx_graph *g, int32_t like, const char *codes);

/* Position in NCHW of a channels-last axis of rank 4. */
int64_t fbx_axis(fbx_form form, int32_t axis);

/* Weights of conv and dense layers, and their bias, in ONNX's order and quantised where they are.
 */
const char *fbx_weight(fbx_graph *g, const fb_node *n);
const char *fbx_bias(fbx_graph *g, const fb_node *n);
/* A convolution of codes with float results that sees each image as one pixel (the classifier of
 * many networks). It goes out as a Gemm: there engines keep to integers and give floats; behind a
 * Conv without a quantiser they compute in float. */
bool fbx_is_matrix(const fbx_graph *g, const fb_node *n);

/* One model node to ONNX; stops with FB_E_UNSUPPORTED when it has no form. */
void fbx_layer(fbx_graph *g, const fb_node *n);
void fbx_layer_move(fbx_graph *g, const fb_node *n); /* data movement and reductions */

/* Stops at a layer in fixed point whose arithmetic ONNX cannot say. */
void fbx_check_fixed(fbx_graph *g, const fb_node *n);

#endif
