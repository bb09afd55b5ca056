/* The network as data: tensors, nodes, what travels along. The library's own view; users see it
 * through fewbit/model.h.
 *
 * Invariants, checked by fb_model_validate (every reader and rewriter ends with it):
 *  1. nodes are in execution order: each input is a model input, a constant or an output of an
 *     earlier node; each tensor has at most one producer.
 *  2. dims are > 0, or -k (k > 0) for k times the batch size; constants have no negative dims.
 *  3. shapes of node outputs are those that fb_shape_infer gives.
 *  4. a constant has a payload of exactly fb_tensor_payload_bytes; others have none.
 *  5. an activation whose encoding is not plain (affine or levels) holds f32 values (dtype F32)
 *     stored in that encoding, with one scale and one table for the tensor, without patches.
 *  6. model inputs are not constants; inputs and outputs come once each; there is an output, which
 *     may be an input or a constant. A node's first output is present.
 *  7. names, labels and notes are within the limits below; names of tensors that have one and keys
 * of notes are unique; preprocessing with a name has usable numbers.
 */
#ifndef FB_MODEL_MODEL_H
#define FB_MODEL_MODEL_H

#include "base/alloc.h"
#include "base/status.h"
#include "model/encoding.h"
#include "model/op.h"

enum {
    FB_LIMIT_NODES = 100000,
    FB_LIMIT_TENSORS = 400000,
    FB_LIMIT_NAME = 4096,
    FB_LIMIT_LABELS = 1000000,
    FB_LIMIT_NOTES = 1000,
    FB_LIMIT_NOTE = 1 << 20 /* bytes of a note's text */
};
#define FB_LIMIT_DIM   ((int64_t)1 << 31) /* largest dim */
#define FB_LIMIT_ELEMS ((int64_t)1 << 40) /* most elements of a tensor */

typedef struct fb_tensor {
    const char *name; /* unique, "" allowed for temporaries */
    fb_dtype dtype;   /* of the values; F32 for everything encoded */
    int32_t rank;     /* 0..FB_MAX_RANK; 0 is a scalar */
    int64_t dims[FB_MAX_RANK];
    bool is_const;
    bool source_nchw; /* a model input that the source file held as [n][c][h][w] and that we take
                         as [n][h][w][c] */
    fb_encoding enc;
    const void *data; /* constants: payload, 64-byte aligned */
    size_t data_bytes;
} fb_tensor;

typedef struct fb_node {
    fb_op op;
    const char *name;
    uint32_t n_in, n_out;
    int32_t *in, *out; /* tensor indices, -1 = absent */
    fb_attr attr;
} fb_node;

typedef struct fb_note {
    const char *key, *value;
} fb_note;

struct fb_model {
    fb_arena *arena; /* owns everything that the pointers below reach, except a mapped file */
    fb_tensor *tensors;
    size_t n_tensors, cap_tensors;
    fb_node *nodes;
    size_t n_nodes, cap_nodes;
    int32_t *inputs, *outputs;
    uint32_t n_inputs, n_outputs;
    fb_prep prep;
    const char **labels;
    uint32_t n_labels;
    fb_note *notes;
    size_t n_notes, cap_notes;
    bool entropy; /* weights are entropy-coded in the file where that saves bytes, and decoded at
                     load; else large ones are mapped */
    void *map;    /* mapping of the file, or NULL */
    size_t map_bytes;
    void (*unmap)(void *map, size_t bytes); /* frees `map` */
};

fb_status fb_model_create(fb_model **out);

/* A deep copy of the graph; payloads of constants are shared with `from`'s (which must then outlive
 * the copy) unless copy_data. */
fb_status fb_model_clone(const fb_model *from, bool copy_data, fb_model **out);

/* New tensor / node; *index receives its number. Pointers into m->tensors and m->nodes are invalid
 * afterwards. The name is copied. */
fb_status fb_model_add_tensor(fb_model *m, const char *name, fb_dtype dtype, int32_t rank,
                              const int64_t *dims, int32_t *index);
/* A plain constant; `data` (may be NULL: zeroed room) is copied into the arena. */
fb_status fb_model_add_const(fb_model *m, const char *name, fb_dtype dtype, int32_t rank,
                             const int64_t *dims, const void *data, int32_t *index);
fb_status fb_model_add_node(fb_model *m, fb_op op, const char *name, uint32_t n_in,
                            const int32_t *in, uint32_t n_out, const int32_t *out,
                            const fb_attr *attr, int32_t *index);
fb_status fb_model_set_io(fb_model *m, const int32_t *inputs, uint32_t n_inputs,
                          const int32_t *outputs, uint32_t n_outputs);

/* Replaces encoding and payload of a constant; all copied. Used by methods. */
fb_status fb_model_set_payload(fb_model *m, int32_t tensor, const fb_encoding *enc,
                               const void *data, size_t bytes);
/* Sets an activation's encoding (affine, one scale). */
fb_status fb_model_set_activation(fb_model *m, int32_t tensor, unsigned bits, bool is_signed,
                                  float scale, int32_t zero);
/* The same for any encoding that an activation may have; its lists are copied. */
fb_status fb_model_set_activation_encoding(fb_model *m, int32_t tensor, const fb_encoding *enc);

/* Drops nodes that no output needs and tensors that nothing uses; renumbers tensors; sorts nodes
 * into execution order. FB_E_FORMAT when there is a cycle. */
fb_status fb_model_compact(fb_model *m);

fb_status fb_model_validate(const fb_model *m);

/* Elements for a batch size (batch <= 0 is only for tensors without negative dims). False when a
 * limit is exceeded. */
bool fb_tensor_elems(const fb_tensor *t, int64_t batch, int64_t *n);
fb_status fb_tensor_payload_bytes(const fb_tensor *t, size_t *bytes); /* of a constant */
/* Whole constant to f32; `out` has its element count. Any dtype or encoding. */
fb_status fb_tensor_decode(const fb_tensor *t, float *out);
/* Last dim, and whether node input `in` is the weight of a conv or dense layer. */
static inline bool fb_op_has_weight(fb_op op)
{
    return op == FB_OP_CONV || op == FB_OP_CONV_TRANSPOSE || op == FB_OP_DENSE;
}
/* Tensor index of the node's weight if it is a constant, else -1. */
int32_t fb_node_weight(const fb_model *m, const fb_node *n);
/* producer[t] = node index or -1; n_uses[t] = node inputs and model outputs that read t. Arrays of
 * n_tensors, caller's. Either may be NULL. */
void fb_model_uses(const fb_model *m, int32_t *producer, uint32_t *n_uses);

#endif
