/* Layers that compute: convolutions, dense layers, elementwise functions, pools, normalisation. */
#include "export/graph.h"

#include "numeric/requant.h"

#include <math.h>
#include <stdio.h>

static _Noreturn void no_form(fbx_graph *g, const fb_node *n, const char *why)
{
    fbx_stop(g, fb_fail(FB_E_UNSUPPORTED, "layer '%s' (%s) has no form in ONNX opset 13: %s",
                        n->name, fb_op_get(n->op)->name, why));
}

static const char *clamp(fbx_graph *g, const fb_node *n, const char *name, const fb_act *act)
{
    char *out = fbx_unique(g, n->name);
    if (act->lo == 0 && isinf(act->hi)) {
        fbx_node(g, "Relu", n->name, 1, &name, out);
    } else {
        const char *in[3] = {name, fbx_init_f32(g, "min", act->lo),
                             isinf(act->hi) ? NULL : fbx_init_f32(g, "max", act->hi)};
        fbx_node(g, "Clip", n->name, in[2] ? 3 : 2, in, out);
    }
    return out;
}

/* Whether the clamp ends where the codes end anyway, so that it never changes one. */
static bool clamps_nothing(const fb_encoding *e, const fb_act *act)
{
    int32_t lo = fb_code_min(e->bits, e->is_signed), hi = fb_code_max(e->bits, e->is_signed);
    int32_t zero = e->zero ? e->zero[0] : 0;
    return fb_quantize(act->lo, e->scale[0], zero, lo, hi) == lo &&
           fb_quantize(act->hi, e->scale[0], zero, lo, hi) == hi;
}

/* A node whose output is the layer's: applies the fused clamp and declares the output. On codes
 * the clamp stands behind the quantiser (rounding is monotone, so it may): engines recognise an
 * integer layer by a quantiser that follows at once, and some would not see through the clamp. */
static void finish(fbx_graph *g, const fb_node *n, fbx_form form, const char *name,
                   const fb_act *act)
{
    const fb_encoding *e = &g->m->tensors[n->out[0]].enc;
    bool codes = e->kind == FB_ENC_AFFINE;
    if (act && act->clamp && !(codes && clamps_nothing(e, act))) {
        const char *unused;
        if (codes)
            name = fbx_requantise(g, n->out[0], name, &unused);
        name = clamp(g, n, name, act);
    }
    fbx_set(g, n->out[0], form, name);
}

static Onnx__NodeProto *begin(fbx_graph *g, const fb_node *n, const char *op, uint32_t n_in,
                              const char *const *in, const char **out)
{
    char *name = fbx_unique(g, n->name);
    *out = name;
    return fbx_node(g, op, n->name, n_in, in, name);
}

/* A convolution that is one product of a matrix with each image, as a Gemm. */
static void matrix(fbx_graph *g, const fb_node *n)
{
    const fb_tensor *x = &g->m->tensors[n->in[0]], *y = &g->m->tensors[n->out[0]];
    int64_t flat[2] = {x->dims[0] < 0 ? -1 : x->dims[0], x->dims[3]};
    int64_t image[4] = {flat[0], y->dims[3], 1, 1};
    const char *in[3] = {fbx_get(g, n->in[0], fbx_form_of(g, n->in[0])),
                         fbx_init_i64(g, "shape", 2, flat), NULL};
    const char *out, *unused;
    begin(g, n, "Reshape", 2, in, &out);
    in[0] = fbx_requantise(g, n->in[0], out, &unused);
    in[1] = fbx_weight(g, n);
    in[2] = fbx_bias(g, n);
    fbx_int(g, begin(g, n, "Gemm", in[2] ? 3 : 2, in, &out), "transB", 1);
    in[0] = out;
    in[1] = fbx_init_i64(g, "shape", 4, image);
    begin(g, n, "Reshape", 2, in, &out);
    finish(g, n, FBX_NCHW, out, &n->attr.conv.act);
}

static void conv(fbx_graph *g, const fb_node *n)
{
    if (fbx_is_matrix(g, n)) {
        matrix(g, n);
        return;
    }
    const fb_attr_conv *a = &n->attr.conv;
    bool transposed = n->op == FB_OP_CONV_TRANSPOSE;
    const char *in[3] = {fbx_get(g, n->in[0], FBX_NCHW), fbx_weight(g, n), fbx_bias(g, n)};
    const char *out;
    Onnx__NodeProto *node =
        begin(g, n, transposed ? "ConvTranspose" : "Conv", in[2] ? 3 : 2, in, &out);
    fbx_ints(g, node, "kernel_shape", 2, (int64_t[]){a->kh, a->kw});
    fbx_ints(g, node, "strides", 2, (int64_t[]){a->stride_h, a->stride_w});
    fbx_ints(g, node, "pads", 4, (int64_t[]){a->pad_t, a->pad_l, a->pad_b, a->pad_r});
    fbx_ints(g, node, "dilations", 2, (int64_t[]){a->dil_h, a->dil_w});
    fbx_int(g, node, "group", a->groups);
    if (transposed)
        fbx_ints(g, node, "output_padding", 2, (int64_t[]){a->out_pad_h, a->out_pad_w});
    finish(g, n, FBX_NCHW, out, &a->act);
}

static void dense(fbx_graph *g, const fb_node *n)
{
    const char *out, *in[3] = {fbx_get(g, n->in[0], FBX_PLAIN), fbx_weight(g, n), fbx_bias(g, n)};
    if (g->m->tensors[n->in[0]].rank == 2) {
        Onnx__NodeProto *node = begin(g, n, "Gemm", in[2] ? 3 : 2, in, &out);
        fbx_int(g, node, "transB", 1);
    } else {
        const char *flipped = fbx_unique(g, n->name);
        fbx_ints(g, fbx_node(g, "Transpose", n->name, 1, &in[1], flipped), "perm", 2,
                 (int64_t[]){1, 0});
        const char *factors[2] = {in[0], flipped};
        begin(g, n, "MatMul", 2, factors, &out);
        if (in[2]) {
            const char *sum[2] = {out, in[2]};
            begin(g, n, "Add", 2, sum, &out);
        }
    }
    finish(g, n, FBX_PLAIN, out, &n->attr.dense.act);
}

static void scale_shift(fbx_graph *g, const fb_node *n)
{
    fbx_form form = fbx_form_of(g, n->in[0]);
    const char *out, *in[2] = {fbx_get(g, n->in[0], form), fbx_get(g, n->in[1], form)};
    begin(g, n, "Mul", 2, in, &out);
    in[0] = out;
    in[1] = fbx_get(g, n->in[2], form);
    begin(g, n, "Add", 2, in, &out);
    fbx_set(g, n->out[0], form, out);
}

static void unary(fbx_graph *g, const fb_node *n)
{
    static const char *const ops[FB_UNARY_COUNT] = {[FB_UNARY_RELU] = "Relu",
                                                    [FB_UNARY_LEAKY_RELU] = "LeakyRelu",
                                                    [FB_UNARY_CLIP] = "Clip",
                                                    [FB_UNARY_SIGMOID] = "Sigmoid",
                                                    [FB_UNARY_TANH] = "Tanh",
                                                    [FB_UNARY_HARD_SIGMOID] = "HardSigmoid",
                                                    [FB_UNARY_ELU] = "Elu",
                                                    [FB_UNARY_HARD_SWISH] = "HardSigmoid",
                                                    [FB_UNARY_SELU] = "Selu",
                                                    [FB_UNARY_SOFTPLUS] = "Softplus",
                                                    [FB_UNARY_SOFTSIGN] = "Softsign",
                                                    [FB_UNARY_EXP] = "Exp",
                                                    [FB_UNARY_LOG] = "Log",
                                                    [FB_UNARY_SQRT] = "Sqrt",
                                                    [FB_UNARY_ABS] = "Abs",
                                                    [FB_UNARY_NEG] = "Neg",
                                                    [FB_UNARY_ERF] = "Erf"};
    const fb_attr_unary *a = &n->attr.unary;
    fbx_form form = fbx_form_of(g, n->in[0]);
    const char *x = fbx_get(g, n->in[0], form), *out, *in[3] = {x, NULL, NULL};
    if (a->kind == FB_UNARY_CLIP) {
        in[1] = isinf(a->a) ? NULL : fbx_init_f32(g, "min", a->a);
        in[2] = isinf(a->b) ? NULL : fbx_init_f32(g, "max", a->b);
    }
    Onnx__NodeProto *node = begin(g, n, ops[a->kind], in[2] ? 3 : in[1] ? 2 : 1, in, &out);
    switch (a->kind) {
    case FB_UNARY_LEAKY_RELU:
    case FB_UNARY_ELU:
        fbx_float(g, node, "alpha", a->a);
        break;
    case FB_UNARY_HARD_SIGMOID:
        fbx_float(g, node, "alpha", a->a);
        fbx_float(g, node, "beta", a->b);
        break;
    case FB_UNARY_SELU:
        fbx_float(g, node, "alpha", a->a);
        fbx_float(g, node, "gamma", a->b);
        break;
    case FB_UNARY_HARD_SWISH: { /* HardSwish itself came with opset 14 */
        fbx_float(g, node, "alpha", 1.0f / 6);
        fbx_float(g, node, "beta", 0.5f);
        const char *factors[2] = {x, out};
        begin(g, n, "Mul", 2, factors, &out);
        break;
    }
    default:
        break;
    }
    fbx_set(g, n->out[0], form, out);
}

/* Channels first only if every operand of rank 4 is, and no activation of lower rank broadcasts
 * against it. */
static fbx_form common_form(const fbx_graph *g, const fb_node *n)
{
    fbx_form form = FBX_PLAIN;
    for (uint32_t k = 0; k < n->n_in; k++) {
        const fb_tensor *t = &g->m->tensors[n->in[k]];
        if (t->is_const)
            continue;
        if (t->rank != 4)
            return FBX_PLAIN;
        if (fbx_form_of(g, n->in[k]) == FBX_NCHW)
            form = FBX_NCHW;
    }
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (g->m->tensors[n->in[k]].rank > 4)
            return FBX_PLAIN;
    }
    return form;
}

static void binary(fbx_graph *g, const fb_node *n)
{
    static const char *const ops[FB_BINARY_COUNT] = {"Add", "Sub", "Mul", "Div",
                                                     "Max", "Min", "Pow"};
    fbx_form form = common_form(g, n);
    const char *out, *in[2] = {fbx_get(g, n->in[0], form), fbx_get(g, n->in[1], form)};
    begin(g, n, ops[n->attr.binary.kind], 2, in, &out);
    finish(g, n, form, out, &n->attr.binary.act);
}

static void two_inputs(fbx_graph *g, const fb_node *n, const char *op, fbx_form form)
{
    const char *out, *in[2] = {fbx_get(g, n->in[0], form), fbx_get(g, n->in[1], form)};
    begin(g, n, op, 2, in, &out);
    fbx_set(g, n->out[0], form, out);
}

static void pool(fbx_graph *g, const fb_node *n)
{
    const fb_attr_pool *a = &n->attr.pool;
    bool max = n->op == FB_OP_MAX_POOL;
    const char *out, *in = fbx_get(g, n->in[0], FBX_NCHW);
    Onnx__NodeProto *node = begin(g, n, max ? "MaxPool" : "AveragePool", 1, &in, &out);
    fbx_ints(g, node, "kernel_shape", 2, (int64_t[]){a->kh, a->kw});
    fbx_ints(g, node, "strides", 2, (int64_t[]){a->stride_h, a->stride_w});
    fbx_ints(g, node, "pads", 4, (int64_t[]){a->pad_t, a->pad_l, a->pad_b, a->pad_r});
    fbx_int(g, node, "ceil_mode", a->ceil_mode);
    if (max) {
        fbx_ints(g, node, "dilations", 2, (int64_t[]){a->dil_h, a->dil_w});
        fbx_int(g, node, "storage_order", a->index_order);
    } else {
        fbx_int(g, node, "count_include_pad", a->count_include_pad);
        if (a->dil_h != 1 || a->dil_w != 1)
            no_form(g, n, "AveragePool has no dilation before opset 19");
    }
    if (n->n_out > 1 && n->out[1] >= 0) {
        char **outputs = fbx_alloc(g, 2, sizeof *outputs);
        outputs[0] = node->output[0];
        outputs[1] = fbx_unique(g, n->name);
        node->output = outputs;
        node->n_output = 2;
        fbx_set(g, n->out[1], FBX_NCHW, outputs[1]);
    }
    fbx_set(g, n->out[0], FBX_NCHW, out);
}

static void lrn(fbx_graph *g, const fb_node *n)
{
    const fb_attr_lrn *a = &n->attr.lrn;
    if (g->m->tensors[n->in[0]].rank != 4)
        no_form(g, n, "LRN wants images");
    const char *out, *in = fbx_get(g, n->in[0], FBX_NCHW);
    Onnx__NodeProto *node = begin(g, n, "LRN", 1, &in, &out);
    fbx_int(g, node, "size", a->size);
    fbx_float(g, node, "alpha", a->alpha);
    fbx_float(g, node, "beta", a->beta);
    fbx_float(g, node, "bias", a->bias);
    fbx_set(g, n->out[0], FBX_NCHW, out);
}

static void softmax(fbx_graph *g, const fb_node *n)
{
    const fb_attr_softmax *a = &n->attr.softmax;
    const char *op = a->log ? "LogSoftmax" : "Softmax", *out;
    fbx_form form = fbx_form_of(g, n->in[0]);
    int32_t rank = g->m->tensors[n->in[0]].rank;
    if (a->axis_to - a->axis_from == 1) {
        const char *in = fbx_get(g, n->in[0], form);
        fbx_int(g, begin(g, n, op, 1, &in, &out), "axis", fbx_axis(form, a->axis_from));
        fbx_set(g, n->out[0], form, out);
        return;
    }
    /* Several trailing axes: flatten them, normalise, restore the shape. */
    if (a->axis_to != rank)
        no_form(g, n, "it normalises over inner axes");
    const char *in[2] = {fbx_get(g, n->in[0], FBX_PLAIN), NULL};
    const char *shape, *x = in[0];
    begin(g, n, "Shape", 1, &x, &shape);
    fbx_int(g, begin(g, n, "Flatten", 1, &x, &out), "axis", a->axis_from);
    in[0] = out;
    fbx_int(g, begin(g, n, op, 1, in, &out), "axis", 1);
    in[0] = out;
    in[1] = shape;
    begin(g, n, "Reshape", 2, in, &out);
    fbx_set(g, n->out[0], FBX_PLAIN, out);
}

static void arg_max(fbx_graph *g, const fb_node *n)
{
    const char *out, *in = fbx_get(g, n->in[0], FBX_PLAIN);
    Onnx__NodeProto *node = begin(g, n, "ArgMax", 1, &in, &out);
    fbx_int(g, node, "axis", n->attr.arg.axis);
    fbx_int(g, node, "keepdims", n->attr.arg.keep_dims);
    fbx_int(g, node, "select_last_index", n->attr.arg.select_last);
    fbx_set(g, n->out[0], FBX_PLAIN, out);
}

void fbx_layer(fbx_graph *g, const fb_node *n)
{
    fbx_check_fixed(g, n);
    switch (n->op) {
    case FB_OP_CONV:
    case FB_OP_CONV_TRANSPOSE:
        conv(g, n);
        break;
    case FB_OP_DENSE:
        dense(g, n);
        break;
    case FB_OP_MATMUL:
        two_inputs(g, n, "MatMul", FBX_PLAIN);
        break;
    case FB_OP_SCALE_SHIFT:
        scale_shift(g, n);
        break;
    case FB_OP_UNARY:
        unary(g, n);
        break;
    case FB_OP_PRELU:
        two_inputs(g, n, "PRelu", common_form(g, n));
        break;
    case FB_OP_BINARY:
        binary(g, n);
        break;
    case FB_OP_MAX_POOL:
    case FB_OP_AVG_POOL:
        pool(g, n);
        break;
    case FB_OP_LRN:
        lrn(g, n);
        break;
    case FB_OP_SOFTMAX:
        softmax(g, n);
        break;
    case FB_OP_ARG_MAX:
        arg_max(g, n);
        break;
    default:
        fbx_layer_move(g, n);
    }
}
