/* Conv and ConvTranspose, 1-D and 2-D, and the window geometry that pools share. */
#include "import/ops_window.h"

#include <string.h>

/* ---- windows ------------------------------------------------------------------------------- */

/* Spatial dims of x (rank 3 or 4) as two, h = 1 for 1-D; anything else is refused. */
fb_status fb_imp_window_rank(fb_imp *im, int32_t x, uint32_t *n_spatial)
{
    int32_t rank = fb_imp_shape(im, x)->rank;
    if (rank == 5)
        return fb_imp_no(im, "3-D (input of 5 dims); only 1-D and 2-D are supported");
    if (rank != 3 && rank != 4)
        return fb_imp_bad(im, "input has %d dims, must have 3 or 4", (int)rank);
    *n_spatial = (uint32_t)rank - 2;
    return FB_OK;
}

/* [n][c][l] -> [n][c][1][l], then channels last. */
fb_status fb_imp_window_enter(fb_imp *im, int32_t x, int32_t *out)
{
    const fb_shape *s = fb_imp_shape(im, x);
    if (s->rank == 3) {
        int64_t dims[4] = {s->dims[0], s->dims[1], 1, s->dims[2]};
        FB_TRY(fb_imp_reshape(im, x, 4, dims, &x));
    }
    return fb_imp_to_nhwc(im, x, out);
}

fb_status fb_imp_window_leave(fb_imp *im, int32_t x, uint32_t n_spatial, int32_t *out)
{
    FB_TRY(fb_imp_from_nhwc(im, x, &x));
    *out = x;
    if (n_spatial == 2)
        return FB_OK;
    const fb_shape *s = fb_imp_shape(im, x);
    int64_t dims[3] = {s->dims[0], s->dims[1], s->dims[3]};
    return fb_imp_reshape(im, x, 3, dims, out);
}

/* pads for one axis so that out = ceil(in / stride). */
static fb_status same_pads(fb_imp *im, int64_t in, int64_t k, int64_t stride, int64_t dil,
                           bool lower, int32_t *begin, int32_t *end)
{
    int64_t out = (in + stride - 1) / stride;
    int64_t total = (out - 1) * stride + (k - 1) * dil + 1 - in;
    if (total < 0)
        total = 0;
    if (total > INT32_MAX)
        return fb_imp_bad(im, "padding %lld exceeds 2^31", (long long)total);
    *begin = (int32_t)(lower ? total - total / 2 : total / 2);
    *end = (int32_t)total - *begin;
    return FB_OK;
}

fb_status fb_imp_window(fb_imp *im, uint32_t n, const int64_t *in, const int64_t *k_default,
                        fb_imp_win *w)
{
    int32_t pads[4] = {0}, k[2] = {0};
    uint32_t at = 2 - n; /* 1-D uses the second axis */
    *w = (fb_imp_win){.k = {1, 1}, .stride = {1, 1}, .dil = {1, 1}};
    FB_TRY(fb_imp_attr_window(im, "kernel_shape", n, 0, 1, k));
    FB_TRY(fb_imp_attr_window(im, "strides", n, 1, 1, w->stride + at));
    FB_TRY(fb_imp_attr_window(im, "dilations", n, 1, 1, w->dil + at));
    FB_TRY(fb_imp_attr_window(im, "pads", (size_t)2 * n, 0, 0, pads));
    FB_TRY(
        fb_imp_attr_choice(im, "auto_pad", "NOTSET|SAME_UPPER|SAME_LOWER|VALID", 0, &w->auto_pad));
    for (uint32_t i = 0; i < n; i++) {
        if (k[i] == 0 && !k_default)
            return fb_imp_bad(im, "kernel_shape is missing");
        if (k[i] != 0 && k_default && k[i] != k_default[i])
            return fb_imp_bad(im, "kernel_shape[%u]=%d, but the weight has %lld", i, (int)k[i],
                              (long long)k_default[i]);
        int64_t size = k[i] ? k[i] : k_default[i];
        if (size > INT32_MAX)
            return fb_imp_bad(im, "kernel of %lld exceeds 2^31", (long long)size);
        w->k[at + i] = (int32_t)size;
        w->begin[at + i] = w->auto_pad ? 0 : pads[i];
        w->end[at + i] = w->auto_pad ? 0 : pads[n + i];
        if (in && (w->auto_pad == 1 || w->auto_pad == 2))
            FB_TRY(same_pads(im, in[i], size, w->stride[at + i], w->dil[at + i], w->auto_pad == 2,
                             &w->begin[at + i], &w->end[at + i]));
    }
    return FB_OK;
}

static void to_conv_attr(const fb_imp_win *w, fb_attr_conv *a)
{
    a->kh = w->k[0];
    a->kw = w->k[1];
    a->stride_h = w->stride[0];
    a->stride_w = w->stride[1];
    a->dil_h = w->dil[0];
    a->dil_w = w->dil[1];
    a->pad_t = w->begin[0];
    a->pad_l = w->begin[1];
    a->pad_b = w->end[0];
    a->pad_r = w->end[1];
}

/* ---- weights ------------------------------------------------------------------------------- */

/* The constant seen with other dims; shares the payload. */
static fb_status view(fb_imp *im, int32_t v, int32_t rank, const int64_t *dims, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    fb_shape s = {.dtype = c->shape.dtype, .rank = rank};
    memcpy(s.dims, dims, (size_t)rank * sizeof *dims);
    FB_TRY(fb_imp_add_const_buf(im, "", &s, fb_imp_buf_ref(c->buf), out));
    fb_imp_at(im, *out)->enc = c->enc;
    fb_imp_at(im, *out)->pack_bits = c->pack_bits;
    fb_imp_at(im, *out)->name = c->name;
    return FB_OK;
}

/* w [oc][ic][(kh)][kw] -> [oc][kh][kw][ic] */
static fb_status conv_weight(fb_imp *im, int32_t w, uint32_t n, int32_t *out)
{
    static const int32_t perm[4] = {0, 2, 3, 1};
    const fb_shape *s = fb_imp_shape(im, w);
    int64_t dims[4] = {s->dims[0], s->dims[1], n == 1 ? 1 : s->dims[2], s->dims[s->rank - 1]};
    if (n == 1)
        FB_TRY(view(im, w, 4, dims, &w));
    return fb_imp_permute_const(im, w, perm, out);
}

/* w [ic][oc / groups][(kh)][kw] -> [oc][kh][kw][ic / groups] */
static fb_status conv_transpose_weight(fb_imp *im, int32_t w, uint32_t n, int64_t groups,
                                       int32_t *out)
{
    static const int32_t one[4] = {1, 2, 3, 0}, many[5] = {0, 2, 3, 4, 1};
    if (groups > 1 && fb_imp_at(im, w)->enc.axis >= 0)
        FB_TRY(fb_imp_decode_const(im, w, &w));
    const fb_shape *s = fb_imp_shape(im, w);
    int64_t ic = s->dims[0], oc = s->dims[1], kh = n == 1 ? 1 : s->dims[2];
    int64_t kw = s->dims[s->rank - 1];
    if (groups == 1) {
        if (n == 1)
            FB_TRY(view(im, w, 4, (int64_t[]){ic, oc, kh, kw}, &w));
        return fb_imp_permute_const(im, w, one, out);
    }
    FB_TRY(view(im, w, 5, (int64_t[]){groups, ic / groups, oc, kh, kw}, &w));
    FB_TRY(fb_imp_permute_const(im, w, many, &w));
    return view(im, w, 4, (int64_t[]){groups * oc, kh, kw, ic / groups}, out);
}

/* Adds a bias that is not a constant: [c] to [n][c][...]. */
static fb_status add_bias(fb_imp *im, int32_t y, int32_t b, int32_t *out)
{
    int64_t dims[4] = {1, fb_imp_shape(im, b)->dims[0], 1, 1};
    if (fb_imp_shape(im, b)->rank != 1)
        return fb_imp_bad(im, "bias has %d dims, must have 1", (int)fb_imp_shape(im, b)->rank);
    FB_TRY(fb_imp_reshape(im, b, fb_imp_shape(im, y)->rank, dims, &b));
    return fb_imp_binary(im, FB_BINARY_ADD, y, b, out);
}

/* x, the permuted weight and the bias (or -1) to y, around the channels-last node. */
static fb_status emit_conv(fb_imp *im, fb_op op, const fb_attr *a, uint32_t n, const int32_t *in,
                           const fb_encoding *enc, int32_t *y)
{
    int32_t x, b = in[2];
    bool late_bias = b >= 0 && !fb_imp_is_const(im, b);
    FB_TRY(fb_imp_window_enter(im, in[0], &x));
    if (b >= 0 && fb_imp_at(im, b)->alt)
        return fb_imp_no(im, "the bias depends on the batch size");
    uint32_t n_in = b >= 0 && !late_bias ? 3 : 2;
    FB_TRY(fb_imp_emit_as(im, op, a, n_in, (int32_t[]){x, in[1], b}, 0, enc, y));
    FB_TRY(fb_imp_window_leave(im, *y, n, y));
    return late_bias ? add_bias(im, *y, b, y) : FB_OK;
}

static fb_status check_weight(fb_imp *im, int32_t w, uint32_t n)
{
    const fb_imp_value *c = fb_imp_at(im, w);
    if (!c->is_const)
        return fb_imp_no(im, "the weight '%s' is computed at run time; it must be a constant",
                         c->name);
    if (c->shape.rank != (int32_t)n + 2)
        return fb_imp_bad(im, "weight has %d dims, must have %u like the input", (int)c->shape.rank,
                          n + 2);
    for (int32_t i = 0; i < c->shape.rank; i++) {
        if (c->shape.dims[i] == 0)
            return fb_imp_bad(im, "the weight '%s' is empty", c->name);
    }
    return FB_OK;
}

fb_status fb_imp_conv_node(fb_imp *im, const int32_t in[3], const fb_encoding *enc, int32_t *y)
{
    uint32_t n;
    int64_t groups;
    fb_imp_win win;
    int32_t w;
    FB_TRY(fb_imp_window_rank(im, in[0], &n));
    FB_TRY(check_weight(im, in[1], n));
    FB_TRY(fb_imp_attr_int(im, "group", 1, 1, INT32_MAX, &groups));
    FB_TRY(fb_imp_window(im, n, fb_imp_shape(im, in[0])->dims + 2,
                         fb_imp_shape(im, in[1])->dims + 2, &win));
    fb_attr a = {.conv = {.groups = (int32_t)groups}};
    to_conv_attr(&win, &a.conv);
    FB_TRY(conv_weight(im, in[1], n, &w));
    return emit_conv(im, FB_OP_CONV, &a, n, (int32_t[]){in[0], w, in[2]}, enc, y);
}

fb_status fb_imp_conv(fb_imp *im)
{
    int32_t in[3], y;
    fb_dtype back, ignore;
    FB_TRY(fb_imp_want_inputs(im, 2, 3));
    in[2] = fb_imp_in(im, 2);
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &in[0], &back));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 1), &in[1], &ignore));
    if (in[2] >= 0)
        FB_TRY(fb_imp_float(im, in[2], &in[2], &ignore));
    FB_TRY(fb_imp_conv_node(im, in, NULL, &y));
    return fb_imp_set_as(im, 0, y, back);
}

/* ---- transposed ---------------------------------------------------------------------------- */

/* Padding of one axis from output_shape or auto_pad, as the specification splits it. */
static fb_status back_pads(fb_imp *im, int64_t in, int64_t target, uint32_t i, fb_imp_win *w,
                           int32_t *out_pad)
{
    int64_t full = (in - 1) * w->stride[i] + *out_pad + (int64_t)(w->k[i] - 1) * w->dil[i] + 1;
    int64_t total = full - target;
    if (total > INT32_MAX || total < -INT32_MAX / 2)
        return fb_imp_bad(im, "output size %lld is out of reach", (long long)target);
    if (total < 0) { /* larger than the full output: zeros at the end */
        *out_pad += (int32_t)-total;
        total = 0;
    }
    w->begin[i] = (int32_t)(w->auto_pad == 1 ? total / 2 : total - total / 2);
    w->end[i] = (int32_t)total - w->begin[i];
    return FB_OK;
}

static fb_status transpose_geometry(fb_imp *im, uint32_t n, const int64_t *in, const int64_t *k,
                                    fb_attr_conv *a)
{
    fb_imp_win w;
    int32_t pad[2] = {0, 0};
    FB_TRY(fb_imp_window(im, n, NULL, k, &w));
    FB_TRY(fb_imp_attr_window(im, "output_padding", n, 0, 0, pad + 2 - n));
    const int64_t *shape;
    size_t n_shape;
    FB_TRY(fb_imp_attr_ints(im, "output_shape", &shape, &n_shape));
    if (n_shape == (size_t)n + 2) /* older exporters give all dims */
        shape += 2;
    else if (n_shape != 0 && n_shape != n)
        return fb_imp_bad(im, "output_shape has %zu numbers, must have %u", n_shape, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = 2 - n + i;
        bool same = w.auto_pad == 1 || w.auto_pad == 2;
        if (!n_shape && !same)
            continue;
        int64_t target = n_shape ? shape[i] : in[i] * w.stride[at];
        if (target < 1 || target > FB_LIMIT_DIM)
            return fb_imp_bad(im, "output_shape[%u]=%lld must be within 1..2^31", i,
                              (long long)target);
        FB_TRY(back_pads(im, in[i], target, at, &w, &pad[at]));
    }
    to_conv_attr(&w, a);
    a->out_pad_h = pad[0];
    a->out_pad_w = pad[1];
    return FB_OK;
}

fb_status fb_imp_conv_transpose(fb_imp *im)
{
    int32_t in[3], y;
    uint32_t n;
    int64_t groups;
    fb_dtype back, ignore;
    FB_TRY(fb_imp_want_inputs(im, 2, 3));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &in[0], &back));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 1), &in[1], &ignore));
    in[2] = fb_imp_in(im, 2);
    FB_TRY(fb_imp_window_rank(im, in[0], &n));
    FB_TRY(check_weight(im, in[1], n));
    FB_TRY(fb_imp_attr_int(im, "group", 1, 1, INT32_MAX, &groups));
    const fb_shape *x = fb_imp_shape(im, in[0]), *w = fb_imp_shape(im, in[1]);
    if (w->dims[0] != x->dims[1] || w->dims[0] % groups != 0)
        return fb_imp_bad(im, "weight has %lld input channels, the input %lld, group=%lld",
                          (long long)w->dims[0], (long long)x->dims[1], (long long)groups);
    fb_attr a = {.conv = {.groups = (int32_t)groups}};
    FB_TRY(transpose_geometry(im, n, x->dims + 2, w->dims + 2, &a.conv));
    FB_TRY(conv_transpose_weight(im, in[1], n, groups, &in[1]));
    FB_TRY(emit_conv(im, FB_OP_CONV_TRANSPOSE, &a, n, in, NULL, &y));
    return fb_imp_set_as(im, 0, y, back);
}
