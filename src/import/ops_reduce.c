/* Reductions over axes. */
#include "import/import.h"

static fb_status read_axes(fb_imp *im, int64_t since, int32_t rank, int32_t *mask, bool *none)
{
    const int64_t *axes;
    size_t n;
    bool present;
    *mask = 0;
    FB_TRY(fb_imp_param_ints(im, "axes", 1, since, &axes, &n, &present));
    for (size_t i = 0; i < n; i++) {
        int32_t axis;
        FB_TRY(fb_imp_axis(im, "axes", axes[i], rank, &axis));
        *mask |= 1 << axis;
    }
    *none = n == 0;
    return FB_OK;
}

static fb_status reduce(fb_imp *im, fb_reduce kind, int64_t since)
{
    int32_t x = fb_imp_in(im, 0), y;
    int64_t keep, noop;
    bool none;
    fb_dtype back = 0;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    fb_dtype t = fb_imp_shape(im, x)->dtype;
    if (t == FB_F16 || t == FB_BF16 || t == FB_F64)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    int32_t rank = fb_imp_shape(im, x)->rank;
    fb_attr a = {.reduce = {.kind = (int32_t)kind}};
    FB_TRY(fb_imp_attr_int(im, "keepdims", 1, 0, 1, &keep));
    FB_TRY(fb_imp_attr_int(im, "noop_with_empty_axes", 0, 0, 1, &noop));
    FB_TRY(read_axes(im, since, rank, &a.reduce.axes, &none));
    if (none && noop)
        return fb_imp_set(im, 0, fb_imp_in(im, 0));
    if (none)
        a.reduce.axes = (1 << rank) - 1;
    a.reduce.keep_dims = (int32_t)keep;
    FB_TRY(fb_imp_emit(im, FB_OP_REDUCE, &a, 1, &x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_reduce_mean(fb_imp *im)
{
    return reduce(im, FB_REDUCE_MEAN, 18);
}

fb_status fb_imp_reduce_sum(fb_imp *im)
{
    return reduce(im, FB_REDUCE_SUM, 13);
}

fb_status fb_imp_reduce_max(fb_imp *im)
{
    return reduce(im, FB_REDUCE_MAX, 18);
}

fb_status fb_imp_arg_max(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), y;
    int64_t keep, last;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    fb_dtype t = fb_imp_shape(im, x)->dtype, back = 0;
    if (t == FB_F16 || t == FB_BF16 || t == FB_F64)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    FB_TRY(fb_imp_attr_axis(im, "axis", 0, fb_imp_shape(im, x)->rank, false, &a.arg.axis));
    FB_TRY(fb_imp_attr_int(im, "keepdims", 1, 0, 1, &keep));
    FB_TRY(fb_imp_attr_int(im, "select_last_index", 0, 0, 1, &last));
    a.arg.keep_dims = (int32_t)keep;
    a.arg.select_last = (int32_t)last;
    FB_TRY(fb_imp_emit(im, FB_OP_ARG_MAX, &a, 1, &x, &y));
    return fb_imp_set(im, 0, y);
}
