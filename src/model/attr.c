/* Field tables: the one place that knows how an attribute struct is laid out. The order of fields
 * is part of the file format; new fields go at the end of a kind. */
#include "model/op.h"

#include <string.h>

#define FIELD(kind, name, type, count)                                                             \
    {                                                                                              \
#name, FB_FIELD_##type, offsetof(fb_attr, kind.name), count                                \
    }
#define ACT(kind)                                                                                  \
    {"act.clamp", FB_FIELD_I32, offsetof(fb_attr, kind.act.clamp), 1},                             \
        {"act.lo", FB_FIELD_F32, offsetof(fb_attr, kind.act.lo), 1},                               \
    {                                                                                              \
        "act.hi", FB_FIELD_F32, offsetof(fb_attr, kind.act.hi), 1                                  \
    }
#define FIXED(kind)                                                                                \
    {"fixed.acc_bits", FB_FIELD_I32, offsetof(fb_attr, kind.fixed.acc_bits), 1},                   \
        {"fixed.overflow", FB_FIELD_I32, offsetof(fb_attr, kind.fixed.overflow), 1},               \
    {                                                                                              \
        "fixed.rounding", FB_FIELD_I32, offsetof(fb_attr, kind.fixed.rounding), 1                  \
    }
#define WINDOW(k)                                                                                  \
    FIELD(k, kh, I32, 1), FIELD(k, kw, I32, 1), FIELD(k, stride_h, I32, 1),                        \
        FIELD(k, stride_w, I32, 1), FIELD(k, dil_h, I32, 1), FIELD(k, dil_w, I32, 1),              \
        FIELD(k, pad_t, I32, 1), FIELD(k, pad_l, I32, 1), FIELD(k, pad_b, I32, 1),                 \
        FIELD(k, pad_r, I32, 1)

static const fb_field conv_fields[] = {WINDOW(conv),
                                       FIELD(conv, groups, I32, 1),
                                       FIELD(conv, out_pad_h, I32, 1),
                                       FIELD(conv, out_pad_w, I32, 1),
                                       ACT(conv),
                                       FIXED(conv)};
static const fb_field dense_fields[] = {ACT(dense), FIXED(dense)};
static const fb_field unary_fields[] = {FIELD(unary, kind, I32, 1), FIELD(unary, a, F32, 1),
                                        FIELD(unary, b, F32, 1)};
static const fb_field binary_fields[] = {FIELD(binary, kind, I32, 1), ACT(binary)};
static const fb_field pool_fields[] = {WINDOW(pool), FIELD(pool, ceil_mode, I32, 1),
                                       FIELD(pool, count_include_pad, I32, 1),
                                       FIELD(pool, index_order, I32, 1)};
static const fb_field reduce_fields[] = {FIELD(reduce, kind, I32, 1), FIELD(reduce, axes, I32, 1),
                                         FIELD(reduce, keep_dims, I32, 1)};
static const fb_field arg_fields[] = {FIELD(arg, axis, I32, 1), FIELD(arg, keep_dims, I32, 1),
                                      FIELD(arg, select_last, I32, 1)};
static const fb_field axis_fields[] = {FIELD(axis, axis, I32, 1)};
static const fb_field slice_fields[] = {FIELD(slice, start, I64, FB_MAX_RANK),
                                        FIELD(slice, count, I64, FB_MAX_RANK),
                                        FIELD(slice, step, I64, FB_MAX_RANK)};
static const fb_field shape_fields[] = {FIELD(shape, rank, I32, 1),
                                        FIELD(shape, dims, I64, FB_MAX_RANK)};
static const fb_field perm_fields[] = {FIELD(perm, perm, I32, FB_MAX_RANK)};
static const fb_field pad_fields[] = {
    FIELD(pad, mode, I32, 1), FIELD(pad, before, I64, FB_MAX_RANK),
    FIELD(pad, after, I64, FB_MAX_RANK), FIELD(pad, value, F64, 1)};
static const fb_field resize_fields[] = {FIELD(resize, mode, I32, 1),
                                         FIELD(resize, coord, I32, 1),
                                         FIELD(resize, rounding, I32, 1),
                                         FIELD(resize, exclude_outside, I32, 1),
                                         FIELD(resize, cubic_a, F32, 1),
                                         FIELD(resize, extrapolation, F32, 1),
                                         FIELD(resize, size, I64, FB_MAX_RANK),
                                         FIELD(resize, scale, F32, FB_MAX_RANK),
                                         FIELD(resize, roi_lo, F32, FB_MAX_RANK),
                                         FIELD(resize, roi_hi, F32, FB_MAX_RANK)};
static const fb_field lrn_fields[] = {FIELD(lrn, size, I32, 1), FIELD(lrn, alpha, F32, 1),
                                      FIELD(lrn, beta, F32, 1), FIELD(lrn, bias, F32, 1)};
static const fb_field softmax_fields[] = {FIELD(softmax, axis_from, I32, 1),
                                          FIELD(softmax, axis_to, I32, 1),
                                          FIELD(softmax, log, I32, 1)};

#define TABLE(t) t, (uint32_t)(sizeof(t) / sizeof((t)[0]))
static const struct {
    const fb_field *fields;
    uint32_t n;
} tables[FB_ATTR_COUNT] = {
    [FB_ATTR_NONE] = {NULL, 0},
    [FB_ATTR_CONV] = {TABLE(conv_fields)},
    [FB_ATTR_DENSE] = {TABLE(dense_fields)},
    [FB_ATTR_UNARY] = {TABLE(unary_fields)},
    [FB_ATTR_BINARY] = {TABLE(binary_fields)},
    [FB_ATTR_POOL] = {TABLE(pool_fields)},
    [FB_ATTR_REDUCE] = {TABLE(reduce_fields)},
    [FB_ATTR_ARG] = {TABLE(arg_fields)},
    [FB_ATTR_AXIS] = {TABLE(axis_fields)},
    [FB_ATTR_SLICE] = {TABLE(slice_fields)},
    [FB_ATTR_SHAPE] = {TABLE(shape_fields)},
    [FB_ATTR_PERM] = {TABLE(perm_fields)},
    [FB_ATTR_PAD] = {TABLE(pad_fields)},
    [FB_ATTR_RESIZE] = {TABLE(resize_fields)},
    [FB_ATTR_LRN] = {TABLE(lrn_fields)},
    [FB_ATTR_SOFTMAX] = {TABLE(softmax_fields)},
};

const fb_field *fb_attr_fields(fb_attr_kind kind, uint32_t *n)
{
    *n = tables[kind].n;
    return tables[kind].fields;
}

static const fb_op_def defs[FB_OP_COUNT] = {
#define FB_OP(name, text, attr, min_in, max_in, n_out)                                             \
    [FB_OP_##name] = {text, FB_ATTR_##attr, min_in, max_in, n_out},
#include "model/op.inc"
#undef FB_OP
};

const fb_op_def *fb_op_get(fb_op op)
{
    return (unsigned)op < FB_OP_COUNT ? &defs[op] : NULL;
}

bool fb_op_find(const char *name, fb_op *op)
{
    for (int i = 0; i < FB_OP_COUNT; i++) {
        if (strcmp(defs[i].name, name) == 0) {
            *op = (fb_op)i;
            return true;
        }
    }
    return false;
}

const char *fb_unary_name(int32_t kind)
{
    static const char *const names[FB_UNARY_COUNT] = {
        "relu", "leaky_relu", "clip", "sigmoid",  "hard_sigmoid", "hard_swish",
        "tanh", "elu",        "selu", "softplus", "softsign",     "exp",
        "log",  "sqrt",       "abs",  "neg",      "erf"};
    return (uint32_t)kind < FB_UNARY_COUNT ? names[kind] : NULL;
}

const char *fb_binary_name(int32_t kind)
{
    static const char *const names[FB_BINARY_COUNT] = {"add", "sub", "mul", "div",
                                                       "max", "min", "pow"};
    return (uint32_t)kind < FB_BINARY_COUNT ? names[kind] : NULL;
}
