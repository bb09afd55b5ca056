/* Layers that move or gather: shapes, slices, reductions, resizing, changes of encoding. */
#include "export/graph.h"

#include "model/shape.h"

#include <string.h>

static _Noreturn void no_form(fbx_graph *g, const fb_node *n, const char *why)
{
    fbx_stop(g, fb_fail(FB_E_UNSUPPORTED, "layer '%s' (%s) has no form in ONNX opset 13: %s",
                        n->name, fb_op_get(n->op)->name, why));
}

static const char *emit(fbx_graph *g, const fb_node *n, const char *op, uint32_t n_in,
                        const char *const *in, Onnx__NodeProto **node)
{
    char *out = fbx_unique(g, n->name);
    Onnx__NodeProto *made = fbx_node(g, op, n->name, n_in, in, out);
    if (node)
        *node = made;
    return out;
}

/* Dims for Reshape: a batch multiple becomes -1, which ONNX infers; there can be one. */
static const char *target_dims(fbx_graph *g, const fb_node *n, const fb_tensor *t)
{
    int64_t dims[FB_MAX_RANK];
    int inferred = 0;
    for (int32_t i = 0; i < t->rank; i++) {
        dims[i] = t->dims[i] < 0 ? -1 : t->dims[i];
        inferred += t->dims[i] < 0;
    }
    if (inferred > 1)
        no_form(g, n, "two of its dimensions depend on the batch");
    return fbx_init_i64(g, "shape", (uint32_t)t->rank, dims);
}

/* With one pixel, channels first and channels last are the same bytes. */
static bool one_pixel(const fb_tensor *t)
{
    return t->rank == 4 && t->dims[1] == 1 && t->dims[2] == 1;
}

static void reshape(fbx_graph *g, const fb_node *n)
{
    const fb_tensor *x = &g->m->tensors[n->in[0]], *y = &g->m->tensors[n->out[0]];
    fbx_form form = one_pixel(x) ? fbx_form_of(g, n->in[0]) : FBX_PLAIN;
    const char *in[2] = {fbx_get(g, n->in[0], form), target_dims(g, n, y)};
    fbx_set(g, n->out[0], FBX_PLAIN, emit(g, n, "Reshape", 2, in, NULL));
}

static void transpose(fbx_graph *g, const fb_node *n)
{
    const int32_t *p = n->attr.perm.perm;
    const fb_tensor *x = &g->m->tensors[n->in[0]];
    bool first = x->rank == 4 && p[0] == 0 && p[1] == 3 && p[2] == 1 && p[3] == 2;
    bool last = x->rank == 4 && p[0] == 0 && p[1] == 2 && p[2] == 3 && p[3] == 1;
    if (first) { /* what it makes is the channels-first form of what it reads */
        fbx_set(g, n->out[0], FBX_PLAIN, fbx_get(g, n->in[0], FBX_NCHW));
    } else if (last) {
        fbx_set(g, n->out[0], FBX_NCHW, fbx_get(g, n->in[0], FBX_PLAIN));
    } else {
        int64_t perm[FB_MAX_RANK];
        for (int32_t i = 0; i < x->rank; i++)
            perm[i] = p[i];
        Onnx__NodeProto *node;
        const char *in = fbx_get(g, n->in[0], FBX_PLAIN);
        const char *out = emit(g, n, "Transpose", 1, &in, &node);
        fbx_ints(g, node, "perm", (uint32_t)x->rank, perm);
        fbx_set(g, n->out[0], FBX_PLAIN, out);
    }
}

static void concat(fbx_graph *g, const fb_node *n)
{
    fbx_form form = FBX_NCHW;
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (fbx_form_of(g, n->in[k]) == FBX_PLAIN && !g->m->tensors[n->in[k]].is_const)
            form = FBX_PLAIN;
    }
    if (g->m->tensors[n->out[0]].rank != 4)
        form = FBX_PLAIN;
    const char **in = fbx_alloc(g, n->n_in, sizeof *in);
    for (uint32_t k = 0; k < n->n_in; k++)
        in[k] = fbx_get(g, n->in[k], form);
    Onnx__NodeProto *node;
    const char *out = emit(g, n, "Concat", n->n_in, in, &node);
    fbx_int(g, node, "axis", fbx_axis(form, n->attr.axis.axis));
    fbx_set(g, n->out[0], form, out);
}

static void slice(fbx_graph *g, const fb_node *n)
{
    const fb_attr_slice *a = &n->attr.slice;
    const fb_tensor *x = &g->m->tensors[n->in[0]];
    fbx_form form = fbx_form_of(g, n->in[0]);
    int64_t start[FB_MAX_RANK], end[FB_MAX_RANK], axis[FB_MAX_RANK], step[FB_MAX_RANK];
    uint32_t used = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        if (a->start[i] == 0 && a->step[i] == 1 && a->count[i] == x->dims[i])
            continue;
        if (a->count[i] < 0)
            no_form(g, n, "it cuts the batch");
        int64_t stop = a->start[i] + a->count[i] * a->step[i];
        start[used] = a->start[i];
        end[used] = stop < 0 ? INT64_MIN : stop;
        axis[used] = fbx_axis(form, i);
        step[used++] = a->step[i];
    }
    const char *in[5] = {fbx_get(g, n->in[0], form), fbx_init_i64(g, "starts", used, start),
                         fbx_init_i64(g, "ends", used, end), fbx_init_i64(g, "axes", used, axis),
                         fbx_init_i64(g, "steps", used, step)};
    fbx_set(g, n->out[0], form, emit(g, n, "Slice", 5, in, NULL));
}

static void gather(fbx_graph *g, const fb_node *n)
{
    Onnx__NodeProto *node;
    const char *in[2] = {fbx_get(g, n->in[0], FBX_PLAIN), fbx_get(g, n->in[1], FBX_PLAIN)};
    const char *out = emit(g, n, "Gather", 2, in, &node);
    fbx_int(g, node, "axis", n->attr.axis.axis);
    fbx_set(g, n->out[0], FBX_PLAIN, out);
}

static void expand(fbx_graph *g, const fb_node *n)
{
    const fb_attr_shape *a = &n->attr.shape;
    int64_t dims[FB_MAX_RANK];
    for (int32_t i = 0; i < a->rank; i++)
        dims[i] = a->dims[i] < 0 ? 1 : a->dims[i]; /* 1 keeps the input's own batch */
    const char *in[2] = {fbx_get(g, n->in[0], FBX_PLAIN),
                         fbx_init_i64(g, "shape", (uint32_t)a->rank, dims)};
    fbx_set(g, n->out[0], FBX_PLAIN, emit(g, n, "Expand", 2, in, NULL));
}

static void pad(fbx_graph *g, const fb_node *n)
{
    static const char *const modes[] = {"constant", "reflect", "edge"};
    const fb_attr_pad *a = &n->attr.pad;
    int32_t rank = g->m->tensors[n->in[0]].rank;
    fbx_form form = fbx_form_of(g, n->in[0]);
    int64_t pads[2 * FB_MAX_RANK];
    for (int32_t i = 0; i < rank; i++) {
        pads[fbx_axis(form, i)] = a->before[i];
        pads[rank + fbx_axis(form, i)] = a->after[i];
    }
    const char *in[3] = {fbx_get(g, n->in[0], form),
                         fbx_init_i64(g, "pads", 2 * (uint32_t)rank, pads),
                         fbx_init_f32(g, "value", (float)a->value)};
    Onnx__NodeProto *node;
    const char *out = emit(g, n, "Pad", 3, in, &node);
    fbx_text(g, node, "mode", modes[a->mode]);
    fbx_set(g, n->out[0], form, out);
}

/* A mean over the pixels of an image is a GlobalAveragePool, which engines run on codes. */
static bool is_global_average(const fb_tensor *x, const fb_attr_reduce *a)
{
    return x->rank == 4 && a->kind == FB_REDUCE_MEAN && a->axes == ((1 << 1) | (1 << 2));
}

static void reduce(fbx_graph *g, const fb_node *n)
{
    const fb_attr_reduce *a = &n->attr.reduce;
    const fb_tensor *x = &g->m->tensors[n->in[0]], *y = &g->m->tensors[n->out[0]];
    Onnx__NodeProto *node;
    if (is_global_average(x, a)) {
        const char *in[2] = {fbx_get(g, n->in[0], FBX_NCHW), NULL};
        const char *mean = emit(g, n, "GlobalAveragePool", 1, in, NULL), *codes;
        if (a->keep_dims) {
            fbx_set(g, n->out[0], FBX_NCHW, mean);
            return;
        }
        in[0] = fbx_requantise(g, n->out[0], mean, &codes);
        in[1] = target_dims(g, n, y);
        fbx_set(g, n->out[0], FBX_PLAIN, emit(g, n, "Reshape", 2, in, NULL));
        return;
    }
    int64_t axes[FB_MAX_RANK];
    uint32_t used = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        if (a->axes & (1 << i))
            axes[used++] = i;
    }
    const char *in[2] = {fbx_get(g, n->in[0], FBX_PLAIN), NULL}, *out;
    if (a->kind == FB_REDUCE_SUM) { /* since opset 13 its axes are an input */
        in[1] = fbx_init_i64(g, "axes", used, axes);
        out = emit(g, n, "ReduceSum", 2, in, &node);
    } else {
        out = emit(g, n, a->kind == FB_REDUCE_MAX ? "ReduceMax" : "ReduceMean", 1, in, &node);
        fbx_ints(g, node, "axes", used, axes);
    }
    fbx_int(g, node, "keepdims", a->keep_dims);
    fbx_set(g, n->out[0], FBX_PLAIN, out);
}

static void resize(fbx_graph *g, const fb_node *n)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coords[] = {"half_pixel",         "pytorch_half_pixel",
                                         "align_corners",      "asymmetric",
                                         "tf_crop_and_resize", "tf_half_pixel_for_nn"};
    static const char *const rounding[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                           "ceil"};
    const fb_attr_resize *a = &n->attr.resize;
    const fb_tensor *x = &g->m->tensors[n->in[0]];
    if (a->coord == FB_COORD_HALF_PIXEL_SYMMETRIC)
        no_form(g, n, "half_pixel_symmetric came with opset 19");
    fbx_form form = x->rank == 4 ? FBX_NCHW : FBX_PLAIN;
    float scale[FB_MAX_RANK], roi[2 * FB_MAX_RANK];
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t at = fbx_axis(form, i);
        scale[at] = a->scale[i] > 0
                        ? a->scale[i]
                        : (float)fb_dim_at(a->size[i], 1) / (float)fb_dim_at(x->dims[i], 1);
        roi[at] = a->roi_lo[i];
        roi[x->rank + at] = a->roi_hi[i];
    }
    int64_t rank = x->rank, twice = 2 * rank;
    bool wants_roi = a->coord == FB_COORD_TF_CROP_AND_RESIZE;
    const char *in[3] = {fbx_get(g, n->in[0], form),
                         wants_roi ? fbx_init(g, "roi", FB_F32, 1, &twice, roi) : NULL,
                         fbx_init(g, "scales", FB_F32, 1, &rank, scale)};
    Onnx__NodeProto *node;
    const char *out = emit(g, n, "Resize", 3, in, &node);
    fbx_text(g, node, "mode", modes[a->mode]);
    fbx_text(g, node, "coordinate_transformation_mode", coords[a->coord]);
    fbx_text(g, node, "nearest_mode", rounding[a->rounding]);
    if (a->mode == FB_RESIZE_CUBIC)
        fbx_float(g, node, "cubic_coeff_a", a->cubic_a);
    fbx_int(g, node, "exclude_outside", a->exclude_outside);
    if (wants_roi)
        fbx_float(g, node, "extrapolation_value", a->extrapolation);
    fbx_set(g, n->out[0], form, out);
}

static void cast(fbx_graph *g, const fb_node *n)
{
    fbx_form form = fbx_form_of(g, n->in[0]);
    Onnx__NodeProto *node;
    const char *in = fbx_get(g, n->in[0], form);
    const char *out = emit(g, n, "Cast", 1, &in, &node);
    fbx_int(g, node, "to", g->m->tensors[n->out[0]].dtype);
    fbx_set(g, n->out[0], form, out);
}

/* Values keep their name; an encoded output gets its own Q and DQ from fbx_set. */
static void convert(fbx_graph *g, const fb_node *n)
{
    fbx_form form = fbx_form_of(g, n->in[0]);
    fbx_set(g, n->out[0], form, fbx_get(g, n->in[0], form));
}

static void reinterpret(fbx_graph *g, const fb_node *n)
{
    int32_t x = n->in[0], y = n->out[0];
    fbx_form form = fbx_form_of(g, x);
    if (g->m->tensors[y].enc.kind != FB_ENC_PLAIN) { /* integers become values */
        const char *codes = fbx_get(g, x, form);
        g->tensors[y].codes[form] = codes;
        g->tensors[y].name[form] = fbx_dequantise(g, y, codes);
        return;
    }
    if (!g->tensors[x].codes[form])
        no_form(g, n, "its input has no integers to look at");
    g->tensors[y].name[form] = g->tensors[x].codes[form];
}

void fbx_layer_move(fbx_graph *g, const fb_node *n)
{
    switch (n->op) {
    case FB_OP_RESHAPE:
        reshape(g, n);
        break;
    case FB_OP_TRANSPOSE:
        transpose(g, n);
        break;
    case FB_OP_CONCAT:
        concat(g, n);
        break;
    case FB_OP_SLICE:
        slice(g, n);
        break;
    case FB_OP_GATHER:
        gather(g, n);
        break;
    case FB_OP_EXPAND:
        expand(g, n);
        break;
    case FB_OP_PAD:
        pad(g, n);
        break;
    case FB_OP_REDUCE:
        reduce(g, n);
        break;
    case FB_OP_RESIZE:
        resize(g, n);
        break;
    case FB_OP_CAST:
        cast(g, n);
        break;
    case FB_OP_CONVERT:
        convert(g, n);
        break;
    case FB_OP_REINTERPRET:
        reinterpret(g, n);
        break;
    default:
        no_form(g, n, "no rule is written for it");
    }
}
