/* Operators and their attributes. Plain data: no pointers, so that attributes copy and serialise by
 * the field tables of attr.c. */
#ifndef FB_MODEL_OP_H
#define FB_MODEL_OP_H

#include "fewbit/model.h"
#include "numeric/fixed.h"

typedef enum fb_op {
#define FB_OP(name, text, attr, min_in, max_in, n_out) FB_OP_##name,
#include "model/op.inc"
#undef FB_OP
    FB_OP_COUNT
} fb_op;

typedef enum fb_attr_kind {
    FB_ATTR_NONE,
    FB_ATTR_CONV,
    FB_ATTR_DENSE,
    FB_ATTR_UNARY,
    FB_ATTR_BINARY,
    FB_ATTR_POOL,
    FB_ATTR_REDUCE,
    FB_ATTR_ARG,
    FB_ATTR_AXIS,
    FB_ATTR_SLICE,
    FB_ATTR_SHAPE,
    FB_ATTR_PERM,
    FB_ATTR_PAD,
    FB_ATTR_RESIZE,
    FB_ATTR_LRN,
    FB_ATTR_SOFTMAX,
    FB_ATTR_COUNT
} fb_attr_kind;

typedef enum fb_unary {
    FB_UNARY_RELU,
    FB_UNARY_LEAKY_RELU, /* a = slope below 0 */
    FB_UNARY_CLIP,       /* [a, b] */
    FB_UNARY_SIGMOID,
    FB_UNARY_HARD_SIGMOID, /* clamp(a x + b, 0, 1) */
    FB_UNARY_HARD_SWISH,   /* x clamp(x / 6 + 1/2, 0, 1) */
    FB_UNARY_TANH,
    FB_UNARY_ELU,  /* a (e^x - 1) below 0 */
    FB_UNARY_SELU, /* a = alpha, b = gamma */
    FB_UNARY_SOFTPLUS,
    FB_UNARY_SOFTSIGN,
    FB_UNARY_EXP,
    FB_UNARY_LOG,
    FB_UNARY_SQRT,
    FB_UNARY_ABS,
    FB_UNARY_NEG,
    FB_UNARY_ERF,
    FB_UNARY_COUNT
} fb_unary;

typedef enum fb_binary {
    FB_BINARY_ADD,
    FB_BINARY_SUB,
    FB_BINARY_MUL,
    FB_BINARY_DIV,
    FB_BINARY_MAX,
    FB_BINARY_MIN,
    FB_BINARY_POW,
    FB_BINARY_COUNT
} fb_binary;

typedef enum fb_reduce { FB_REDUCE_MEAN, FB_REDUCE_SUM, FB_REDUCE_MAX, FB_REDUCE_COUNT } fb_reduce;

/* Activation fused behind a conv, dense or add: nothing, or clamp to [lo, hi] (ReLU = [0, inf]). */
typedef struct fb_act {
    int32_t clamp; /* 0 or 1 */
    float lo, hi;
} fb_act;

typedef struct fb_attr_conv {
    int32_t kh, kw, stride_h, stride_w, dil_h, dil_w;
    int32_t pad_t, pad_l, pad_b, pad_r;
    int32_t groups;
    int32_t out_pad_h, out_pad_w; /* transposed only */
    fb_act act;
    fb_fixed fixed; /* not for transposed */
} fb_attr_conv;

typedef struct fb_attr_dense {
    fb_act act;
    fb_fixed fixed;
} fb_attr_dense;

typedef struct fb_attr_unary {
    int32_t kind; /* fb_unary */
    float a, b;
} fb_attr_unary;

typedef struct fb_attr_binary {
    int32_t kind; /* fb_binary */
    fb_act act;
} fb_attr_binary;

typedef struct fb_attr_pool {
    int32_t kh, kw, stride_h, stride_w, dil_h, dil_w;
    int32_t pad_t, pad_l, pad_b, pad_r;
    int32_t ceil_mode;         /* 0 or 1 */
    int32_t count_include_pad; /* average: 0 or 1 */
    int32_t index_order; /* second output of max_pool: 0 ONNX row-major NCHW, 1 column-major */
} fb_attr_pool;

typedef struct fb_attr_reduce {
    int32_t kind;      /* fb_reduce */
    int32_t axes;      /* bit i = axis i is reduced */
    int32_t keep_dims; /* 0 or 1 */
} fb_attr_reduce;

typedef struct fb_attr_arg {
    int32_t axis, keep_dims, select_last;
} fb_attr_arg;

typedef struct fb_attr_axis {
    int32_t axis; /* 0 .. rank-1 */
} fb_attr_axis;

typedef struct fb_attr_slice {
    int64_t start[FB_MAX_RANK], count[FB_MAX_RANK], step[FB_MAX_RANK]; /* for every axis; count -k
                                                     is k times the batch; step may be negative */
} fb_attr_slice;

typedef struct fb_attr_shape {
    int32_t rank;
    int64_t dims[FB_MAX_RANK]; /* > 0, or -k for k times the batch */
} fb_attr_shape;

typedef struct fb_attr_perm {
    int32_t perm[FB_MAX_RANK]; /* out.dims[i] = in.dims[perm[i]] */
} fb_attr_perm;

typedef enum fb_pad_mode { FB_PAD_CONSTANT, FB_PAD_REFLECT, FB_PAD_EDGE } fb_pad_mode;
typedef struct fb_attr_pad {
    int32_t mode;
    int64_t before[FB_MAX_RANK], after[FB_MAX_RANK]; /* may be negative: crops (constant mode) */
    double value;
} fb_attr_pad;

typedef enum fb_resize_mode { FB_RESIZE_NEAREST, FB_RESIZE_LINEAR, FB_RESIZE_CUBIC } fb_resize_mode;
typedef enum fb_resize_coord {
    FB_COORD_HALF_PIXEL,
    FB_COORD_PYTORCH_HALF_PIXEL,
    FB_COORD_ALIGN_CORNERS,
    FB_COORD_ASYMMETRIC,
    FB_COORD_TF_CROP_AND_RESIZE,
    FB_COORD_TF_HALF_PIXEL_NN,
    FB_COORD_HALF_PIXEL_SYMMETRIC
} fb_resize_coord;
typedef enum fb_resize_round {
    FB_ROUND_PREFER_FLOOR,
    FB_ROUND_PREFER_CEIL,
    FB_ROUND_FLOOR,
    FB_ROUND_CEIL
} fb_resize_round;
typedef struct fb_attr_resize {
    int32_t mode, coord, rounding, exclude_outside;
    float cubic_a, extrapolation;
    int64_t size[FB_MAX_RANK]; /* output dims as in fb_attr_shape */
    float scale[FB_MAX_RANK];  /* output over input as the file gave it; 0 = size / input size */
    float roi_lo[FB_MAX_RANK], roi_hi[FB_MAX_RANK];
} fb_attr_resize;

typedef struct fb_attr_lrn {
    int32_t size;
    float alpha, beta, bias; /* y = x / (bias + alpha / size * sum x^2)^beta */
} fb_attr_lrn;

typedef struct fb_attr_softmax {
    int32_t axis_from, axis_to; /* normalises over axes [from, to), so opset < 13 flattening fits */
    int32_t log;                /* 0 or 1 */
} fb_attr_softmax;

typedef union fb_attr {
    fb_attr_conv conv;
    fb_attr_dense dense;
    fb_attr_unary unary;
    fb_attr_binary binary;
    fb_attr_pool pool;
    fb_attr_reduce reduce;
    fb_attr_arg arg;
    fb_attr_axis axis;
    fb_attr_slice slice;
    fb_attr_shape shape;
    fb_attr_perm perm;
    fb_attr_pad pad;
    fb_attr_resize resize;
    fb_attr_lrn lrn;
    fb_attr_softmax softmax;
} fb_attr;

typedef struct fb_op_def {
    const char *name;
    fb_attr_kind attr;
    uint32_t min_in, max_in, n_out;
} fb_op_def;

const fb_op_def *fb_op_get(fb_op op); /* NULL out of range */
bool fb_op_find(const char *name, fb_op *op);
const char *fb_unary_name(int32_t kind);  /* "relu", ...; NULL out of range */
const char *fb_binary_name(int32_t kind); /* "add", ... */

/* One field of an attribute struct, for the file format, `inspect` and validation. */
typedef enum fb_field_type { FB_FIELD_I32, FB_FIELD_I64, FB_FIELD_F32, FB_FIELD_F64 } fb_field_type;
typedef struct fb_field {
    const char *name;
    fb_field_type type;
    uint32_t offset, count; /* bytes into fb_attr; array length */
} fb_field;

/* The fields of an attribute kind in file order; *n of them. */
const fb_field *fb_attr_fields(fb_attr_kind kind, uint32_t *n);

#endif
