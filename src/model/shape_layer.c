/* Shape rules of operators that compute. */
#include "model/shape_rules.h"

#include <math.h>

/* ---- windows: conv and pools -------------------------------------------------------------- */

/* The fields that conv and pool attributes have in common, one direction. */
typedef struct window {
    char axis; /* 'h' or 'w', for sentences */
    int64_t k, stride, dil, pad_lo, pad_hi;
} window;

static fb_status check_window(const fb_node *node, const window *w)
{
    if (w->k < 1)
        return FB_RULE(node, "k%c=%lld must be at least 1", w->axis, (long long)w->k);
    if (w->stride < 1)
        return FB_RULE(node, "stride_%c=%lld must be at least 1", w->axis, (long long)w->stride);
    if (w->dil < 1)
        return FB_RULE(node, "dil_%c=%lld must be at least 1", w->axis, (long long)w->dil);
    if (w->pad_lo < 0 || w->pad_hi < 0)
        return FB_RULE(node, "padding %lld, %lld along %c must not be negative",
                       (long long)w->pad_lo, (long long)w->pad_hi, w->axis);
    return FB_OK;
}

/* Input positions that one window spans. Fields are int32, so nothing here overflows. */
static int64_t extent(const window *w)
{
    return w->dil * (w->k - 1) + 1;
}

static fb_status slide(const fb_node *node, const window *w, int64_t size, bool ceil_mode,
                       int64_t *out)
{
    FB_TRY(check_window(node, w));
    int64_t room = size + w->pad_lo + w->pad_hi - extent(w);
    if (ceil_mode && room > -w->stride) {
        *out = (room + w->stride - 1) / w->stride + 1;
        /* The last window must start inside the input or its left padding. */
        if ((*out - 1) * w->stride >= size + w->pad_lo)
            *out -= 1;
    } else if (room >= 0) {
        *out = room / w->stride + 1;
    } else {
        *out = 0;
    }
    if (*out < 1)
        return FB_RULE(node, "window of %lld does not fit into %c=%lld with padding %lld, %lld",
                       (long long)extent(w), w->axis, (long long)size, (long long)w->pad_lo,
                       (long long)w->pad_hi);
    return FB_OK;
}

static window conv_h(const fb_attr_conv *a)
{
    return (window){'h', a->kh, a->stride_h, a->dil_h, a->pad_t, a->pad_b};
}

static window conv_w(const fb_attr_conv *a)
{
    return (window){'w', a->kw, a->stride_w, a->dil_w, a->pad_l, a->pad_r};
}

static fb_status check_bias(const fb_node *node, const fb_shape *in, int64_t n)
{
    if (node->n_in < 3 || in[2].dtype == 0)
        return FB_OK;
    char text[192];
    if (in[2].rank != 1 || in[2].dims[0] != n)
        return FB_RULE(node, "bias is %s, must be [%lld]", fb_shape_text(&in[2], text),
                       (long long)n);
    return FB_OK;
}

/* Everything that conv and its transpose check alike; out[0] gets n and oc. */
static fb_status conv_common(const fb_node *node, const fb_shape *in, fb_shape *out)
{
    const fb_attr_conv *a = &node->attr.conv;
    const fb_shape *x = &in[0], *w = &in[1];
    FB_TRY(fb_shape_want_f32(node, in));
    FB_TRY(fb_shape_want_rank(node, 0, in, 4));
    FB_TRY(fb_shape_want_rank(node, 1, in, 4));
    FB_TRY(fb_shape_want_act(node, &a->act));
    if (w->dims[1] != a->kh || w->dims[2] != a->kw)
        return FB_RULE(node, "weight is %lldx%lld, but the attributes say %dx%d",
                       (long long)w->dims[1], (long long)w->dims[2], (int)a->kh, (int)a->kw);
    if (a->groups < 1)
        return FB_RULE(node, "groups=%d must be at least 1", (int)a->groups);
    if (x->dims[3] % a->groups != 0)
        return FB_RULE(node, "groups=%d does not divide input channels=%lld", (int)a->groups,
                       (long long)x->dims[3]);
    if (w->dims[0] % a->groups != 0)
        return FB_RULE(node, "groups=%d does not divide output channels=%lld", (int)a->groups,
                       (long long)w->dims[0]);
    if (w->dims[3] != x->dims[3] / a->groups)
        return FB_RULE(node, "weight has %lld input channels per group, the input has %lld",
                       (long long)w->dims[3], (long long)(x->dims[3] / a->groups));
    FB_TRY(check_bias(node, in, w->dims[0]));
    out->dtype = FB_F32;
    out->rank = 4;
    out->dims[0] = x->dims[0];
    out->dims[3] = w->dims[0];
    return FB_OK;
}

fb_status fb_shape_conv(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_conv *a = &node->attr.conv;
    FB_TRY(conv_common(node, in, out));
    if (a->out_pad_h != 0 || a->out_pad_w != 0)
        return FB_RULE(node, "out_pad=%d,%d is only for conv_transpose", (int)a->out_pad_h,
                       (int)a->out_pad_w);
    window h = conv_h(a), w = conv_w(a);
    FB_TRY(slide(node, &h, in[0].dims[1], false, &out->dims[1]));
    return slide(node, &w, in[0].dims[2], false, &out->dims[2]);
}

/* (size - 1) * stride + extent - pads + out_pad */
static fb_status slide_back(const fb_node *node, const window *w, int64_t size, int32_t out_pad,
                            int64_t *out)
{
    FB_TRY(check_window(node, w));
    if (out_pad < 0)
        return FB_RULE(node, "out_pad_%c=%d must not be negative", w->axis, (int)out_pad);
    int64_t full;
    if (!fb_i64_mul(size - 1, w->stride, &full) || !fb_i64_add(full, extent(w) + out_pad, &full))
        return FB_RULE(node, "output %c of input %lld with stride %lld exceeds 2^63", w->axis,
                       (long long)size, (long long)w->stride);
    *out = full - w->pad_lo - w->pad_hi;
    if (*out < 1)
        return FB_RULE(node, "padding %lld, %lld leaves nothing of %c=%lld", (long long)w->pad_lo,
                       (long long)w->pad_hi, w->axis, (long long)full);
    return FB_OK;
}

fb_status fb_shape_conv_transpose(const fb_node *node, const fb_shape *in, int64_t batch,
                                  fb_shape *out)
{
    (void)batch;
    const fb_attr_conv *a = &node->attr.conv;
    FB_TRY(conv_common(node, in, out));
    window h = conv_h(a), w = conv_w(a);
    FB_TRY(slide_back(node, &h, in[0].dims[1], a->out_pad_h, &out->dims[1]));
    return slide_back(node, &w, in[0].dims[2], a->out_pad_w, &out->dims[2]);
}

static fb_status pool(const fb_node *node, const fb_shape *in, fb_shape *out)
{
    const fb_attr_pool *a = &node->attr.pool;
    FB_TRY(fb_shape_want_rank(node, 0, in, 4));
    FB_TRY(fb_shape_want_flag(node, "ceil_mode", a->ceil_mode));
    FB_TRY(fb_shape_want_flag(node, "count_include_pad", a->count_include_pad));
    FB_TRY(fb_shape_want_flag(node, "index_order", a->index_order));
    window w[2] = {{'h', a->kh, a->stride_h, a->dil_h, a->pad_t, a->pad_b},
                   {'w', a->kw, a->stride_w, a->dil_w, a->pad_l, a->pad_r}};
    *out = in[0];
    for (int i = 0; i < 2; i++) {
        FB_TRY(check_window(node, &w[i]));
        if (w[i].pad_lo >= extent(&w[i]) || w[i].pad_hi >= extent(&w[i]))
            return FB_RULE(node,
                           "padding %lld, %lld along %c must be smaller than the window, %lld",
                           (long long)w[i].pad_lo, (long long)w[i].pad_hi, w[i].axis,
                           (long long)extent(&w[i]));
        FB_TRY(slide(node, &w[i], in[0].dims[1 + i], a->ceil_mode != 0, &out->dims[1 + i]));
    }
    return FB_OK;
}

fb_status fb_shape_max_pool(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    if (in[0].dtype != FB_F32 && in[0].dtype != FB_U8 && in[0].dtype != FB_S8)
        return FB_RULE(node, "input is %s, must be f32, u8 or s8", fb_dtype_name(in[0].dtype));
    FB_TRY(pool(node, in, &out[0]));
    if (node->n_out > 1) {
        out[1] = out[0];
        out[1].dtype = FB_S64;
    }
    return FB_OK;
}

fb_status fb_shape_avg_pool(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    FB_TRY(fb_shape_want_f32(node, in));
    return pool(node, in, out);
}

/* ---- matrices ----------------------------------------------------------------------------- */

fb_status fb_shape_dense(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_shape *x = &in[0], *w = &in[1];
    FB_TRY(fb_shape_want_f32(node, in));
    FB_TRY(fb_shape_want_rank(node, 1, in, 2));
    FB_TRY(fb_shape_want_act(node, &node->attr.dense.act));
    if (x->rank < 1)
        return FB_RULE(node, "input is a scalar, must have at least 1 dim");
    if (x->dims[x->rank - 1] != w->dims[1])
        return FB_RULE(node, "input has %lld features, the weight takes %lld",
                       (long long)x->dims[x->rank - 1], (long long)w->dims[1]);
    FB_TRY(check_bias(node, in, w->dims[0]));
    *out = *x;
    out->dims[x->rank - 1] = w->dims[0];
    return FB_OK;
}

fb_status fb_shape_matmul(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    char ta[192], tb[192];
    fb_shape a = in[0], b = in[1];
    FB_TRY(fb_shape_want_f32(node, in));
    if (a.rank < 2 || b.rank < 2)
        return FB_RULE(node, "inputs have %d and %d dims, must have at least 2", (int)a.rank,
                       (int)b.rank);
    int64_t m = a.dims[a.rank - 2], k = a.dims[a.rank - 1];
    int64_t kb = b.dims[b.rank - 2], n = b.dims[b.rank - 1];
    /* The two matrix axes out of the way, the rest broadcasts. */
    a.rank -= 2;
    b.rank -= 2;
    if (k != kb || !fb_shape_broadcast(&a, &b, out))
        return FB_RULE(node, "matrices %s and %s do not multiply", fb_shape_text(&in[0], ta),
                       fb_shape_text(&in[1], tb));
    out->dims[out->rank] = m;
    out->dims[out->rank + 1] = n;
    out->rank += 2;
    return FB_OK;
}

/* ---- element by element ------------------------------------------------------------------- */

fb_status fb_shape_scale_shift(const fb_node *node, const fb_shape *in, int64_t batch,
                               fb_shape *out)
{
    (void)batch;
    char text[192];
    FB_TRY(fb_shape_want_f32(node, in));
    if (in[0].rank < 1)
        return FB_RULE(node, "input is a scalar, must have at least 1 dim");
    int64_t c = in[0].dims[in[0].rank - 1];
    for (uint32_t i = 1; i <= 2; i++) {
        if (in[i].rank != 1 || in[i].dims[0] != c)
            return FB_RULE(node, "input %u is %s, must be [%lld]", i, fb_shape_text(&in[i], text),
                           (long long)c);
    }
    return fb_shape_same(in, out);
}

fb_status fb_shape_unary(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_unary *a = &node->attr.unary;
    if (!fb_unary_name(a->kind))
        return FB_RULE(node, "kind=%d is unknown", (int)a->kind);
    if (isnan(a->a) || isnan(a->b))
        return FB_RULE(node, "%s has a parameter that is not a number", fb_unary_name(a->kind));
    FB_TRY(fb_shape_want_f32(node, in));
    return fb_shape_same(in, out);
}

fb_status fb_shape_prelu(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    char tx[192], ts[192];
    FB_TRY(fb_shape_want_f32(node, in));
    bool fits = fb_shape_broadcast(&in[0], &in[1], out) && out->rank == in[0].rank;
    for (int32_t i = 0; fits && i < out->rank; i++)
        fits = out->dims[i] == in[0].dims[i];
    if (!fits)
        return FB_RULE(node, "slope %s does not broadcast to the input %s",
                       fb_shape_text(&in[1], ts), fb_shape_text(&in[0], tx));
    return FB_OK;
}

fb_status fb_shape_binary(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    char ta[192], tb[192];
    const fb_attr_binary *a = &node->attr.binary;
    if (!fb_binary_name(a->kind))
        return FB_RULE(node, "kind=%d is unknown", (int)a->kind);
    if (in[0].dtype != in[1].dtype || in[0].dtype == FB_BOOL)
        return FB_RULE(node, "inputs are %s and %s, must be numbers of one type",
                       fb_dtype_name(in[0].dtype), fb_dtype_name(in[1].dtype));
    FB_TRY(fb_shape_want_act(node, &a->act));
    if (a->act.clamp && in[0].dtype != FB_F32)
        return FB_RULE(node, "an activation on %s, must be f32", fb_dtype_name(in[0].dtype));
    if (!fb_shape_broadcast(&in[0], &in[1], out))
        return FB_RULE(node, "inputs %s and %s do not broadcast", fb_shape_text(&in[0], ta),
                       fb_shape_text(&in[1], tb));
    return FB_OK;
}

/* ---- along axes --------------------------------------------------------------------------- */

/* Removes the axes of a bit mask, or sets them to 1. */
static void drop_axes(const fb_shape *x, uint32_t axes, bool keep, fb_shape *out)
{
    fb_shape r = {.dtype = x->dtype};
    for (int32_t i = 0; i < x->rank; i++) {
        bool dropped = (axes >> i) & 1u;
        if (!dropped || keep)
            r.dims[r.rank++] = dropped ? 1 : x->dims[i];
    }
    *out = r;
}

fb_status fb_shape_reduce(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_reduce *a = &node->attr.reduce;
    if (a->kind < 0 || a->kind >= FB_REDUCE_COUNT)
        return FB_RULE(node, "kind=%d is unknown", (int)a->kind);
    FB_TRY(fb_shape_want_flag(node, "keep_dims", a->keep_dims));
    if (a->axes < 0 || a->axes >> in[0].rank != 0)
        return FB_RULE(node, "axes=0x%x names an axis beyond the %d dims of the input",
                       (unsigned)a->axes, (int)in[0].rank);
    if (in[0].dtype == FB_BOOL)
        return FB_RULE(node, "input is bool, must be numbers");
    drop_axes(&in[0], (uint32_t)a->axes, a->keep_dims != 0, out);
    return FB_OK;
}

fb_status fb_shape_arg_max(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_arg *a = &node->attr.arg;
    FB_TRY(fb_shape_want_axis(node, a->axis, in[0].rank));
    FB_TRY(fb_shape_want_flag(node, "keep_dims", a->keep_dims));
    FB_TRY(fb_shape_want_flag(node, "select_last", a->select_last));
    drop_axes(&in[0], 1u << a->axis, a->keep_dims != 0, out);
    out->dtype = FB_S64;
    return FB_OK;
}

fb_status fb_shape_lrn(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_lrn *a = &node->attr.lrn;
    FB_TRY(fb_shape_want_f32(node, in));
    if (in[0].rank < 1)
        return FB_RULE(node, "input is a scalar, must have at least 1 dim");
    if (a->size < 1)
        return FB_RULE(node, "size=%d must be at least 1", (int)a->size);
    if (!isfinite(a->alpha) || !isfinite(a->beta) || !isfinite(a->bias))
        return FB_RULE(node, "alpha=%g, beta=%g, bias=%g must be finite", (double)a->alpha,
                       (double)a->beta, (double)a->bias);
    return fb_shape_same(in, out);
}

fb_status fb_shape_softmax(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_softmax *a = &node->attr.softmax;
    FB_TRY(fb_shape_want_f32(node, in));
    FB_TRY(fb_shape_want_flag(node, "log", a->log));
    if (a->axis_from < 0 || a->axis_from >= a->axis_to || a->axis_to > in[0].rank)
        return FB_RULE(node, "axes %d to %d are no range within the %d dims of the input",
                       (int)a->axis_from, (int)a->axis_to, (int)in[0].rank);
    return fb_shape_same(in, out);
}
