/* Inside the importer. ONNX nodes become model nodes in a graph of our own first (constants on the
 * heap, each freed as soon as nothing needs it), the passes work on that graph, and lower.c writes
 * it into an fb_model at the end.
 *
 *   wire.c       bounds on the file before protobuf-c sees it
 *   import.c     the public calls and the order of the passes
 *   tensor.c     TensorProto -> constant
 *   walk.c       names, nodes in order, functions, the list of what is not supported
 *   node.c       attributes and parameters of the current ONNX node
 *   graph.c      values, nodes, emitting with shape inference
 *   fold.c       constants computed at import
 *   ops.inc      ONNX operator -> function; ops_*.c those functions
 *   layout.c     transposes pushed down and cancelled; layout_*.c one rule an operator
 *   fuse.c       batch norm, activations; fuse_quant.c Q/DQ pairs
 *   lower.c      graph -> fb_model
 *
 * Shapes here are concrete: the batch is FB_BATCH_MARK, so that a dim is a multiple of the batch if
 * it is a multiple of the mark. */
#ifndef FB_IMPORT_IMPORT_H
#define FB_IMPORT_IMPORT_H

#include "fewbit/onnx.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "model/model.h"
#include "model/shape.h"

#include "onnx.pb-c.h"

enum {
    FB_IMP_OPSET_MAX = 21,
    FB_IMP_DEPTH = 16,       /* of nested function calls */
    FB_IMP_VISITS = 1000000, /* ONNX nodes, functions unrolled */
    FB_IMP_MOST = 4096,      /* functions; inputs; outputs */
    FB_IMP_FOLD_ELEMS = 1 << 20
};

/* A payload that several constants may share. */
typedef struct fb_imp_buf {
    void *data;
    size_t bytes;
    uint32_t refs;
} fb_imp_buf;

typedef struct fb_imp_value {
    const char *name; /* "" for temporaries */
    fb_shape shape;   /* dtype 0: result of a node that could not be imported; constants may have
                         dims of 0, which no node may read */
    fb_encoding enc;
    uint8_t pack_bits; /* 4: q is stored in bytes here and packed to 4 bits at the end; else 0 */
    bool is_const, is_input, source_nchw;
    fb_imp_buf *buf;  /* constants: payload */
    fb_imp_buf *alt;  /* its value for a batch of 2 * FB_BATCH_MARK, where that differs, or NULL */
    int32_t producer; /* node, or -1 */
    uint32_t pending; /* reads by ONNX nodes still to come */
    uint32_t uses;    /* reads by our nodes, never counted down */
} fb_imp_value;

typedef struct fb_imp_node {
    fb_node n; /* in, out: value indices; arrays in the arena */
    bool dead;
} fb_imp_node;

/* Names visible to the nodes of a graph or of one function call. */
typedef struct fb_imp_entry {
    const char *name;
    int32_t value; /* -1 until bound */
    uint32_t reads;
    Onnx__TensorProto *init; /* initializer not read yet */
} fb_imp_entry;

typedef struct fb_imp_scope {
    fb_imp_entry *entries; /* open addressing */
    size_t cap, n;
    const char *prefix; /* put before names of values and nodes: "" in the graph itself */
} fb_imp_scope;

/* The ONNX node at hand. */
typedef struct fb_imp_call {
    const struct fb_imp_call *outer; /* call of the function that we are in, or NULL */
    fb_imp_scope *scope;
    const Onnx__NodeProto *node;
    const char *name, *op;
    int64_t opset;
    uint32_t n_in;
    const int32_t *in;
} fb_imp_call;

typedef struct fb_imp {
    fb_arena *arena; /* names, node arrays, scale lists: gone after the import */
    const fb_onnx_options *opt;
    const char *folder;
    Onnx__ModelProto *proto;
    fb_imp_value **values;
    size_t n_values, cap_values;
    fb_imp_node *nodes;
    size_t n_nodes, cap_nodes;
    int32_t *inputs, *outputs;
    uint32_t n_inputs, n_outputs;
    const fb_imp_call *cur;
    size_t n_visits;
    uint64_t fold_budget;
    char reason[512]; /* of the last fb_imp_no */
    size_t n_unsupported;
    char *ext_path; /* the external file that is mapped now */
    void *ext_map;
    size_t ext_bytes;
} fb_imp;

/* ---- sentences: "node 'x' (Op): ..." ------------------------------------------------------- */

fb_status fb_imp_bad(fb_imp *im, const char *format, ...) FB_PRINTF(2, 3); /* FB_E_FORMAT */
/* A valid node that we do not handle: FB_E_UNSUPPORTED, collected by the walk. */
fb_status fb_imp_no(fb_imp *im, const char *format, ...) FB_PRINTF(2, 3);
fb_status fb_imp_no_memory(void);

/* ---- wire.c -------------------------------------------------------------------------------- */

/* Refuses what protobuf-c would take badly: deep nesting (it recurses), messages without number,
 * singular messages given twice (it merges them in quadratic time). */
fb_status fb_imp_wire_check(const void *data, size_t bytes);

/* ---- graph.c ------------------------------------------------------------------------------- */

fb_imp *fb_imp_create(void);
void fb_imp_destroy(fb_imp *im);

fb_imp_buf *fb_imp_buf_new(size_t bytes);               /* zeroed; NULL: no memory */
fb_imp_buf *fb_imp_buf_adopt(void *data, size_t bytes); /* fb_alloc memory; freed on failure too */
fb_imp_buf *fb_imp_buf_ref(fb_imp_buf *b);
void fb_imp_buf_drop(fb_imp_buf **b);

static inline fb_imp_value *fb_imp_at(const fb_imp *im, int32_t v)
{
    return im->values[v];
}
static inline const fb_shape *fb_imp_shape(const fb_imp *im, int32_t v)
{
    return &im->values[v]->shape;
}
static inline bool fb_imp_is_const(const fb_imp *im, int32_t v)
{
    return v >= 0 && im->values[v]->is_const;
}
/* A dim as attributes hold it: -k for k times the batch. */
static inline int64_t fb_imp_dim(int64_t d)
{
    return d != 0 && d % FB_BATCH_MARK == 0 ? -(d / FB_BATCH_MARK) : d;
}

fb_status fb_imp_add_value(fb_imp *im, const char *name, const fb_shape *shape, int32_t *v);
/* A constant with a zeroed payload; dims may be 0. */
fb_status fb_imp_add_const(fb_imp *im, const char *name, fb_dtype dtype, int32_t rank,
                           const int64_t *dims, int32_t *v);
/* The same over a payload, whose reference it takes, also on failure. */
fb_status fb_imp_add_const_buf(fb_imp *im, const char *name, const fb_shape *shape, fb_imp_buf *buf,
                               int32_t *v);
fb_status fb_imp_scalar_f32(fb_imp *im, float x, int32_t *v);
/* Elements of a shape; false when they exceed FB_LIMIT_ELEMS. */
bool fb_imp_elems(const fb_shape *s, int64_t *n);
/* Bytes of one stored element of a constant. */
size_t fb_imp_elem_bytes(const fb_imp_value *c);
static inline void *fb_imp_data(const fb_imp *im, int32_t v)
{
    return im->values[v]->buf->data;
}

/* Adds a node without folding or inference. */
fb_status fb_imp_add_node(fb_imp *im, fb_op op, const char *name, const fb_attr *attr,
                          uint32_t n_in, const int32_t *in, uint32_t n_out, const int32_t *out);
/* One model node with one output: infers its shape, computes it now when all inputs are constants
 * (and the result is not huge). `attr` may be NULL. */
fb_status fb_imp_emit(fb_imp *im, fb_op op, const fb_attr *attr, uint32_t n_in, const int32_t *in,
                      int32_t *out);
/* With the output's dtype (cast, reinterpret) and encoding (NULL: plain). */
fb_status fb_imp_emit_as(fb_imp *im, fb_op op, const fb_attr *attr, uint32_t n_in,
                         const int32_t *in, fb_dtype dtype, const fb_encoding *enc, int32_t *out);
/* Both outputs of max_pool. */
fb_status fb_imp_emit_pool(fb_imp *im, const fb_attr *attr, int32_t x, int32_t *out,
                           int32_t *indices);

fb_status fb_imp_reshape(fb_imp *im, int32_t x, int32_t rank, const int64_t *dims, int32_t *out);
fb_status fb_imp_transpose(fb_imp *im, int32_t x, const int32_t *perm, int32_t *out);
fb_status fb_imp_binary(fb_imp *im, fb_binary kind, int32_t a, int32_t b, int32_t *out);
fb_status fb_imp_unary(fb_imp *im, fb_unary kind, float a, float b, int32_t x, int32_t *out);
fb_status fb_imp_cast(fb_imp *im, int32_t x, fb_dtype to, int32_t *out);
/* x with axis 1 last (channels last), and back; x itself below rank 3. */
fb_status fb_imp_to_nhwc(fb_imp *im, int32_t x, int32_t *out);
fb_status fb_imp_from_nhwc(fb_imp *im, int32_t x, int32_t *out);
/* Copies an encoding's lists into the arena. */
fb_status fb_imp_copy_encoding(fb_imp *im, const fb_encoding *from, fb_encoding *to);

/* ---- node.c: the current ONNX node --------------------------------------------------------- */

/* Value of input i, or -1 when it is absent. */
int32_t fb_imp_in(const fb_imp *im, uint32_t i);
fb_status fb_imp_want_inputs(fb_imp *im, uint32_t least, uint32_t most);
/* Binds output k; output names that the node does not have are fine. */
fb_status fb_imp_set(fb_imp *im, uint32_t k, int32_t v);
bool fb_imp_has_output(const fb_imp *im, uint32_t k);

const Onnx__AttributeProto *fb_imp_attr(const fb_imp *im, const char *name); /* NULL: absent */
fb_status fb_imp_attr_int(fb_imp *im, const char *name, int64_t absent, int64_t lo, int64_t hi,
                          int64_t *out);
fb_status fb_imp_attr_float(fb_imp *im, const char *name, float absent, float *out);
/* `choices` is "a|b|c"; *out the index, `absent` when there is no such attribute. */
fb_status fb_imp_attr_choice(fb_imp *im, const char *name, const char *choices, int absent,
                             int *out);
/* *n = 0 and *out NULL when absent; borrowed. */
fb_status fb_imp_attr_ints(fb_imp *im, const char *name, const int64_t **out, size_t *n);
fb_status fb_imp_attr_floats(fb_imp *im, const char *name, const float **out, size_t *n);
/* int32 triple of window attributes and the like: n entries or `absent` for all. */
fb_status fb_imp_attr_window(fb_imp *im, const char *name, size_t n, int32_t absent, int32_t lo,
                             int32_t *out);
/* axis attribute, negative counted from the end, within 0..rank-1 (or ..rank when to_end). */
fb_status fb_imp_attr_axis(fb_imp *im, const char *name, int64_t absent, int32_t rank, bool to_end,
                           int32_t *out);
fb_status fb_imp_axis(fb_imp *im, const char *name, int64_t axis, int32_t rank, int32_t *out);

/* Integers of a constant (scalar or list) in the arena; what depends on the batch must be a
 * multiple of it and reads as a multiple of FB_BATCH_MARK. */
fb_status fb_imp_ints(fb_imp *im, int32_t v, const char *what, const int64_t **out, size_t *n);
/* Parameter that is attribute `name` before opset `since` and input `i` from then on. *present is
 * false when it is absent. */
fb_status fb_imp_param_ints(fb_imp *im, const char *name, uint32_t i, int64_t since,
                            const int64_t **out, size_t *n, bool *present);
/* One number from a constant of any numeric dtype. */
fb_status fb_imp_scalar(fb_imp *im, int32_t v, const char *what, double *out);
/* Plain f32 payload of a constant (decoded into a new value if need be), for handlers that compute
 * with it. */
fb_status fb_imp_const_f32(fb_imp *im, int32_t v, const char *what, int32_t *out);
/* x as f32: casts f16, bf16, f64. *back is the dtype to return to, or 0. */
fb_status fb_imp_float(fb_imp *im, int32_t x, int32_t *out, fb_dtype *back);
fb_status fb_imp_set_as(fb_imp *im, uint32_t k, int32_t v, fb_dtype back);

/* ---- tensor.c ------------------------------------------------------------------------------ */

/* Takes the payload over from the message where it can. */
fb_status fb_imp_tensor(fb_imp *im, Onnx__TensorProto *t, const char *name, int32_t *v);
/* Supported element type or 0. */
fb_dtype fb_imp_dtype(int64_t onnx_type);
fb_dtype fb_imp_store_dtype(unsigned bits, bool is_signed);

/* ---- walk.c -------------------------------------------------------------------------------- */

fb_status fb_imp_walk(fb_imp *im);
const char *fb_imp_unsupported_text(void);
void fb_imp_unsupported_clear(void);

typedef fb_status (*fb_imp_fn)(fb_imp *im);
#define FB_ONNX(name, fn) fb_status fn(fb_imp *im);
#include "import/ops.inc"
#undef FB_ONNX

/* ---- fold.c -------------------------------------------------------------------------------- */

/* All inputs are constants: computes `node` and sets *folded, or leaves it to run time. `out` is
 * its inferred shape. */
fb_status fb_imp_fold(fb_imp *im, const fb_node *node, const fb_shape *out, bool *folded,
                      int32_t *v);
/* dst[i] (row-major over dims) = src[offset + sum index * stride], in elements. */
void fb_imp_strided(void *dst, const void *src, size_t elem_bytes, int32_t rank,
                    const int64_t *dims, const int64_t *stride, int64_t offset);
/* Constant with its axes permuted; keeps an encoding whose axis can follow. */
fb_status fb_imp_permute_const(fb_imp *im, int32_t v, const int32_t *perm, int32_t *out);
/* Constant decoded to f32. */
fb_status fb_imp_decode_const(fb_imp *im, int32_t v, int32_t *out);
/* ---- passes -------------------------------------------------------------------------------- */

fb_status fb_imp_layout(fb_imp *im);
fb_status fb_imp_fuse(fb_imp *im);
fb_status fb_imp_fuse_quant(fb_imp *im);
fb_status fb_imp_lower(fb_imp *im, fb_model **out);

/* uses[v] = reads of v by live nodes and outputs; nodes that no output needs are marked dead first.
 * fb_free it. */
fb_status fb_imp_live(fb_imp *im, uint32_t **uses);

#endif
