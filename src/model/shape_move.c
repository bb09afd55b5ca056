/* Shape rules of operators that move numbers without computing new ones, and of conversions. */
#include "model/shape_rules.h"

#include <math.h>

fb_status fb_shape_concat(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    char t0[192], ti[192];
    int32_t axis = node->attr.axis.axis;
    FB_TRY(fb_shape_want_axis(node, axis, in[0].rank));
    *out = in[0];
    for (uint32_t i = 1; i < node->n_in; i++) {
        bool fits = in[i].rank == in[0].rank;
        for (int32_t d = 0; fits && d < in[0].rank; d++)
            fits = d == axis || in[i].dims[d] == in[0].dims[d];
        if (!fits)
            return FB_RULE(node, "input %u is %s, which does not join %s along axis %d", i,
                           fb_shape_text(&in[i], ti), fb_shape_text(&in[0], t0), (int)axis);
        if (in[i].dtype != in[0].dtype)
            return FB_RULE(node, "input %u is %s, input 0 is %s, must be one type", i,
                           fb_dtype_name(in[i].dtype), fb_dtype_name(in[0].dtype));
        out->dims[axis] += in[i].dims[axis]; /* at most 1024 dims below 2^52 */
    }
    return FB_OK;
}

fb_status fb_shape_slice(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    const fb_attr_slice *a = &node->attr.slice;
    *out = in[0];
    FB_TRY(fb_shape_attr_dims(node, in[0].rank, a->count, batch, out->dims));
    for (int32_t i = 0; i < in[0].rank; i++) {
        int64_t last;
        if (a->step[i] == 0)
            return FB_RULE(node, "step of axis %d is 0", (int)i);
        bool fits = a->start[i] >= 0 && a->start[i] < in[0].dims[i] &&
                    fb_i64_mul(out->dims[i] - 1, a->step[i], &last) &&
                    fb_i64_add(last, a->start[i], &last) && last >= 0 && last < in[0].dims[i];
        if (!fits)
            return FB_RULE(
                node,
                "axis %d: %lld elements from %lld in steps of %lld leave the %lld of the "
                "input",
                (int)i, (long long)out->dims[i], (long long)a->start[i], (long long)a->step[i],
                (long long)in[0].dims[i]);
    }
    return FB_OK;
}

static bool is_integer(fb_dtype t)
{
    return t == FB_U8 || t == FB_S8 || t == FB_U16 || t == FB_S16 || t == FB_S32 || t == FB_S64 ||
           t == FB_U32 || t == FB_U64;
}

fb_status fb_shape_gather(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    int32_t axis = node->attr.axis.axis;
    FB_TRY(fb_shape_want_axis(node, axis, in[0].rank));
    if (!is_integer(in[1].dtype))
        return FB_RULE(node, "indices are %s, must be integers", fb_dtype_name(in[1].dtype));
    int32_t rank = in[0].rank - 1 + in[1].rank;
    if (rank > FB_MAX_RANK)
        return FB_RULE(node, "output would have %d dims, at most %d are possible", (int)rank,
                       FB_MAX_RANK);
    fb_shape r = {.dtype = in[0].dtype};
    for (int32_t i = 0; i < axis; i++)
        r.dims[r.rank++] = in[0].dims[i];
    for (int32_t i = 0; i < in[1].rank; i++)
        r.dims[r.rank++] = in[1].dims[i];
    for (int32_t i = axis + 1; i < in[0].rank; i++)
        r.dims[r.rank++] = in[0].dims[i];
    *out = r;
    return FB_OK;
}

/* False when the product does not fit. */
static bool product(const fb_shape *s, int64_t *n)
{
    *n = 1;
    for (int32_t i = 0; i < s->rank; i++) {
        if (!fb_i64_mul(*n, s->dims[i], n))
            return false;
    }
    return true;
}

static fb_status take_shape_attr(const fb_node *node, const fb_shape *in, int64_t batch,
                                 fb_shape *out)
{
    const fb_attr_shape *a = &node->attr.shape;
    if (a->rank < 0 || a->rank > FB_MAX_RANK)
        return FB_RULE(node, "rank=%d is not within 0..%d", (int)a->rank, FB_MAX_RANK);
    out->dtype = in[0].dtype;
    out->rank = a->rank;
    return fb_shape_attr_dims(node, a->rank, a->dims, batch, out->dims);
}

fb_status fb_shape_reshape(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    char ti[192], to[192];
    int64_t have, want;
    FB_TRY(take_shape_attr(node, in, batch, out));
    if (!product(&in[0], &have) || !product(out, &want) || have != want)
        return FB_RULE(node, "%s cannot become %s: the element counts differ",
                       fb_shape_text(&in[0], ti), fb_shape_text(out, to));
    return FB_OK;
}

fb_status fb_shape_expand(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    char ti[192], to[192];
    FB_TRY(take_shape_attr(node, in, batch, out));
    int32_t lead = out->rank - in[0].rank;
    bool fits = lead >= 0;
    for (int32_t i = 0; fits && i < in[0].rank; i++)
        fits = in[0].dims[i] == 1 || in[0].dims[i] == out->dims[lead + i];
    if (!fits)
        return FB_RULE(node, "%s does not broadcast to %s", fb_shape_text(&in[0], ti),
                       fb_shape_text(out, to));
    return FB_OK;
}

fb_status fb_shape_transpose(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const int32_t *perm = node->attr.perm.perm;
    uint32_t seen = 0;
    fb_shape r = {.dtype = in[0].dtype, .rank = in[0].rank};
    for (int32_t i = 0; i < r.rank; i++) {
        FB_TRY(fb_shape_want_axis(node, perm[i], r.rank));
        if (seen >> perm[i] & 1u)
            return FB_RULE(node, "axis %d occurs twice in the permutation", (int)perm[i]);
        seen |= 1u << perm[i];
        r.dims[i] = in[0].dims[perm[i]];
    }
    *out = r;
    return FB_OK;
}

/* Whether a pad value is one of the numbers of a type. */
static bool holds(fb_dtype t, double v)
{
    static const struct {
        fb_dtype t;
        double lo, hi;
    } ranges[] = {{FB_U8, 0, 255},
                  {FB_S8, -128, 127},
                  {FB_U16, 0, 65535},
                  {FB_S16, -32768, 32767},
                  {FB_S32, -2147483648.0, 2147483647.0},
                  {FB_U32, 0, 4294967295.0},
                  {FB_S64, -9223372036854775808.0, 9223372036854774784.0},
                  {FB_U64, 0, 18446744073709549568.0},
                  {FB_BOOL, 0, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].t == t)
            return v >= ranges[i].lo && v <= ranges[i].hi;
    }
    return !isnan(v);
}

fb_status fb_shape_pad(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    const fb_attr_pad *a = &node->attr.pad;
    if (a->mode < FB_PAD_CONSTANT || a->mode > FB_PAD_EDGE)
        return FB_RULE(node, "mode=%d is unknown", (int)a->mode);
    if (!holds(in[0].dtype, a->value))
        return FB_RULE(node, "value=%g is not a %s", a->value, fb_dtype_name(in[0].dtype));
    *out = in[0];
    for (int32_t i = 0; i < in[0].rank; i++) {
        int64_t before = a->before[i], after = a->after[i], dim = in[0].dims[i];
        if (before > FB_LIMIT_DIM || before < -FB_LIMIT_DIM || after > FB_LIMIT_DIM ||
            after < -FB_LIMIT_DIM)
            return FB_RULE(node, "padding %lld, %lld of axis %d exceeds 2^31", (long long)before,
                           (long long)after, (int)i);
        if (a->mode != FB_PAD_CONSTANT && (before < 0 || after < 0))
            return FB_RULE(node, "padding %lld, %lld of axis %d crops, which needs constant mode",
                           (long long)before, (long long)after, (int)i);
        if (a->mode == FB_PAD_REFLECT && (before >= dim || after >= dim))
            return FB_RULE(node,
                           "padding %lld, %lld of axis %d reflects more than its %lld elements",
                           (long long)before, (long long)after, (int)i, (long long)dim);
        if ((before < 0 ? before : 0) + (after < 0 ? after : 0) + dim < 1)
            return FB_RULE(node, "padding %lld, %lld of axis %d crops all of its %lld elements",
                           (long long)before, (long long)after, (int)i, (long long)dim);
        out->dims[i] = dim + before + after;
    }
    return FB_OK;
}

fb_status fb_shape_resize(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    const fb_attr_resize *a = &node->attr.resize;
    if (a->mode < FB_RESIZE_NEAREST || a->mode > FB_RESIZE_CUBIC)
        return FB_RULE(node, "mode=%d is unknown", (int)a->mode);
    if (a->coord < FB_COORD_HALF_PIXEL || a->coord > FB_COORD_HALF_PIXEL_SYMMETRIC)
        return FB_RULE(node, "coord=%d is unknown", (int)a->coord);
    if (a->rounding < FB_ROUND_PREFER_FLOOR || a->rounding > FB_ROUND_CEIL)
        return FB_RULE(node, "rounding=%d is unknown", (int)a->rounding);
    FB_TRY(fb_shape_want_flag(node, "exclude_outside", a->exclude_outside));
    if (!isfinite(a->cubic_a) || isnan(a->extrapolation))
        return FB_RULE(node, "cubic_a=%g and extrapolation=%g must be numbers", (double)a->cubic_a,
                       (double)a->extrapolation);
    if (in[0].dtype == FB_BOOL)
        return FB_RULE(node, "input is bool, must be numbers");
    *out = in[0];
    for (int32_t i = 0; i < in[0].rank; i++) {
        if (!isfinite(a->scale[i]) || a->scale[i] < 0)
            return FB_RULE(node, "scale of axis %d is %g, must be 0 or a positive number", (int)i,
                           (double)a->scale[i]);
        if (!isfinite(a->roi_lo[i]) || !isfinite(a->roi_hi[i]))
            return FB_RULE(node, "region of axis %d is %g to %g, must be finite", (int)i,
                           (double)a->roi_lo[i], (double)a->roi_hi[i]);
    }
    return fb_shape_attr_dims(node, in[0].rank, a->size, batch, out->dims);
}

/* The output's dtype is the one that the caller put there: the node does not hold it. */
static fb_status declared_dtype(const fb_node *node, const fb_shape *in, fb_shape *out)
{
    fb_dtype dtype = out->dtype;
    if (fb_dtype_bytes(dtype) == 0)
        return FB_RULE(node, "output has the unknown element type %d", (int)dtype);
    *out = in[0];
    out->dtype = dtype;
    return FB_OK;
}

fb_status fb_shape_cast(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    return declared_dtype(node, in, out);
}

fb_status fb_shape_convert(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    (void)batch;
    FB_TRY(fb_shape_want_f32(node, in));
    return fb_shape_same(in, out);
}

fb_status fb_shape_reinterpret(const fb_node *node, const fb_shape *in, int64_t batch,
                               fb_shape *out)
{
    (void)batch;
    fb_dtype to = out->dtype;
    FB_TRY(declared_dtype(node, in, out));
    /* That both sides are stored alike is checked where encodings are known: fb_model_validate. */
    if ((in[0].dtype != FB_F32 && !is_integer(in[0].dtype)) || (to != FB_F32 && !is_integer(to)))
        return FB_RULE(node, "from %s to %s: must be encoded f32 or integers",
                       fb_dtype_name(in[0].dtype), fb_dtype_name(to));
    return FB_OK;
}
