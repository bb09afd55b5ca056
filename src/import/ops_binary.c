/* Functions of two tensors, and of many as chains. */
#include "import/import.h"

/* f64 is computed as such; the short floats go by way of f32. */
static bool is_small_float(fb_dtype t)
{
    return t == FB_F16 || t == FB_BF16;
}

/* Opset 6 aligned b with axis `axis` of a, if broadcast=1. */
static fb_status old_broadcast(fb_imp *im, int32_t a, int32_t b, int32_t *out)
{
    int64_t broadcast, axis;
    const fb_shape *sa = fb_imp_shape(im, a), *sb = fb_imp_shape(im, b);
    *out = b;
    if (im->cur->opset >= 7)
        return FB_OK;
    FB_TRY(fb_imp_attr_int(im, "broadcast", 0, 0, 1, &broadcast));
    FB_TRY(fb_imp_attr_int(im, "axis", sa->rank - sb->rank, -FB_MAX_RANK, FB_MAX_RANK, &axis));
    if (axis < 0)
        axis += sa->rank;
    if (!broadcast || sb->rank == 0 || axis + sb->rank >= sa->rank)
        return FB_OK;
    int64_t dims[FB_MAX_RANK];
    int32_t rank = 0;
    for (int32_t i = 0; i < sb->rank; i++)
        dims[rank++] = sb->dims[i];
    for (int64_t i = axis + sb->rank; i < sa->rank; i++)
        dims[rank++] = 1;
    return fb_imp_reshape(im, b, rank, dims, out);
}

static fb_status two(fb_imp *im, fb_binary kind, int32_t a, int32_t b, int32_t *y)
{
    fb_dtype back = 0, ignore;
    if (fb_imp_shape(im, a)->dtype != fb_imp_shape(im, b)->dtype)
        return fb_imp_bad(im, "inputs are %s and %s, must be of one type",
                          fb_dtype_name(fb_imp_shape(im, a)->dtype),
                          fb_dtype_name(fb_imp_shape(im, b)->dtype));
    if (is_small_float(fb_imp_shape(im, a)->dtype)) {
        FB_TRY(fb_imp_float(im, a, &a, &back));
        FB_TRY(fb_imp_float(im, b, &b, &ignore));
    }
    FB_TRY(fb_imp_binary(im, kind, a, b, y));
    return back ? fb_imp_cast(im, *y, back, y) : FB_OK;
}

static fb_status binary(fb_imp *im, fb_binary kind)
{
    int32_t a = fb_imp_in(im, 0), b, y;
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    FB_TRY(old_broadcast(im, a, fb_imp_in(im, 1), &b));
    FB_TRY(two(im, kind, a, b, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_add(fb_imp *im)
{
    return binary(im, FB_BINARY_ADD);
}

fb_status fb_imp_sub(fb_imp *im)
{
    return binary(im, FB_BINARY_SUB);
}

fb_status fb_imp_mul(fb_imp *im)
{
    return binary(im, FB_BINARY_MUL);
}

fb_status fb_imp_div(fb_imp *im)
{
    return binary(im, FB_BINARY_DIV);
}

/* The exponent may have another type; the result has the base's. Computed in f32. */
fb_status fb_imp_pow(fb_imp *im)
{
    int32_t a = fb_imp_in(im, 0), b, y;
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    FB_TRY(old_broadcast(im, a, fb_imp_in(im, 1), &b));
    fb_dtype t = fb_imp_shape(im, a)->dtype;
    FB_TRY(fb_imp_cast(im, a, FB_F32, &a));
    FB_TRY(fb_imp_cast(im, b, FB_F32, &b));
    FB_TRY(fb_imp_binary(im, FB_BINARY_POW, a, b, &y));
    return fb_imp_set_as(im, 0, y, t == FB_F32 ? 0 : t);
}

static fb_status chain(fb_imp *im, fb_binary kind, int32_t *y)
{
    if (im->cur->n_in < 1)
        return fb_imp_bad(im, "has no input");
    FB_TRY(fb_imp_want_inputs(im, im->cur->n_in, im->cur->n_in));
    *y = fb_imp_in(im, 0);
    for (uint32_t i = 1; i < im->cur->n_in; i++)
        FB_TRY(two(im, kind, *y, fb_imp_in(im, i), y));
    return FB_OK;
}

static fb_status chained(fb_imp *im, fb_binary kind)
{
    int32_t y;
    FB_TRY(chain(im, kind, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_max(fb_imp *im)
{
    return chained(im, FB_BINARY_MAX);
}

fb_status fb_imp_min(fb_imp *im)
{
    return chained(im, FB_BINARY_MIN);
}

fb_status fb_imp_sum(fb_imp *im)
{
    return chained(im, FB_BINARY_ADD);
}

fb_status fb_imp_mean(fb_imp *im)
{
    int32_t y, n;
    fb_dtype back;
    FB_TRY(chain(im, FB_BINARY_ADD, &y));
    FB_TRY(fb_imp_float(im, y, &y, &back));
    FB_TRY(fb_imp_scalar_f32(im, (float)im->cur->n_in, &n));
    FB_TRY(fb_imp_binary(im, FB_BINARY_DIV, y, n, &y));
    return fb_imp_set_as(im, 0, y, back);
}
