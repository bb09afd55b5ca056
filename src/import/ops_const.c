/* Constants, sizes, casts, names for the same value. */
#include "import/import.h"

#include <string.h>

fb_status fb_imp_identity(fb_imp *im)
{
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    return fb_imp_set(im, 0, fb_imp_in(im, 0));
}

fb_status fb_imp_on_cast(fb_imp *im)
{
    int64_t to;
    int32_t y;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_attr_int(im, "to", 0, 0, INT32_MAX, &to));
    fb_dtype t = fb_imp_dtype(to);
    if (t == 0)
        return fb_imp_no(im, "to=%lld%s is not supported", (long long)to,
                         to == 8 ? " (strings)" : "");
    FB_TRY(fb_imp_cast(im, fb_imp_in(im, 0), t, &y));
    return fb_imp_set(im, 0, y);
}

static fb_status list_const(fb_imp *im, fb_dtype t, const void *data, size_t n, bool scalar)
{
    int64_t dims[1] = {(int64_t)n};
    int32_t v;
    FB_TRY(fb_imp_add_const(im, "", t, scalar ? 0 : 1, dims, &v));
    if (n)
        memcpy(fb_imp_data(im, v), data, n * fb_dtype_bytes(t));
    return fb_imp_set(im, 0, v);
}

fb_status fb_imp_constant(fb_imp *im)
{
    const Onnx__AttributeProto *a;
    FB_TRY(fb_imp_want_inputs(im, 0, 0));
    if ((a = fb_imp_attr(im, "value")) != NULL) {
        int32_t v;
        if (!a->t)
            return fb_imp_bad(im, "value holds no tensor");
        fb_status status = fb_imp_tensor(im, a->t, "", &v);
        if (status == FB_E_UNSUPPORTED)
            return fb_imp_no(im, "value has the ONNX element type %d%s", (int)a->t->data_type,
                             a->t->data_type == 8 ? " (strings)" : "");
        FB_TRY(status);
        return fb_imp_set(im, 0, v);
    }
    if ((a = fb_imp_attr(im, "value_float")) != NULL)
        return list_const(im, FB_F32, &a->f, 1, true);
    if ((a = fb_imp_attr(im, "value_int")) != NULL)
        return list_const(im, FB_S64, &a->i, 1, true);
    if ((a = fb_imp_attr(im, "value_floats")) != NULL)
        return list_const(im, FB_F32, a->floats, a->n_floats, false);
    if ((a = fb_imp_attr(im, "value_ints")) != NULL)
        return list_const(im, FB_S64, a->ints, a->n_ints, false);
    return fb_imp_no(im, "only numeric dense constants are supported");
}

fb_status fb_imp_constant_of_shape(fb_imp *im)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, "value");
    const int64_t *dims;
    size_t n;
    int32_t v;
    int64_t elems;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_ints(im, fb_imp_in(im, 0), "shape", &dims, &n));
    if (n > FB_MAX_RANK)
        return fb_imp_no(im, "shape has %zu dims; at most %d are possible", n, FB_MAX_RANK);
    if (a && a->t)
        FB_TRY(fb_imp_tensor(im, a->t, "", &v));
    else
        FB_TRY(fb_imp_add_const(im, "", FB_F32, 0, NULL, &v));
    if (!fb_imp_elems(fb_imp_shape(im, v), &elems) || elems != 1)
        return fb_imp_bad(im, "value must have 1 element");
    FB_TRY(fb_imp_reshape(im, v, 0, NULL, &v));
    fb_attr attr = {.shape = {.rank = (int32_t)n}};
    bool empty = false;
    for (size_t i = 0; i < n; i++) {
        if (dims[i] < 0 || dims[i] > FB_LIMIT_DIM)
            return fb_imp_bad(im, "shape[%zu]=%lld must be within 0..2^31", i, (long long)dims[i]);
        empty = empty || dims[i] == 0;
        attr.shape.dims[i] = fb_imp_dim(dims[i]);
    }
    if (empty)
        FB_TRY(fb_imp_add_const(im, "", fb_imp_shape(im, v)->dtype, (int32_t)n, dims, &v));
    else if (n > 0)
        FB_TRY(fb_imp_emit(im, FB_OP_EXPAND, &attr, 1, &v, &v));
    return fb_imp_set(im, 0, v);
}

/* A constant list of sizes; where one is a multiple of the batch, both readings. */
static fb_status sizes(fb_imp *im, const int64_t *dims, int32_t rank, const int64_t *list, size_t n,
                       int32_t *v)
{
    bool symbolic = false;
    FB_TRY(fb_imp_add_const(im, "", FB_S64, rank, dims, v));
    for (size_t i = 0; i < n; i++)
        symbolic = symbolic || fb_imp_dim(list[i]) < 0;
    if (n)
        memcpy(fb_imp_data(im, *v), list, n * sizeof *list);
    if (!symbolic)
        return FB_OK;
    fb_imp_buf *alt = fb_imp_buf_new(n * sizeof *list);
    if (!alt)
        return fb_imp_no_memory();
    for (size_t i = 0; i < n; i++)
        ((int64_t *)alt->data)[i] = fb_imp_dim(list[i]) < 0 ? 2 * list[i] : list[i];
    fb_imp_at(im, *v)->alt = alt;
    return FB_OK;
}

static int64_t clamp_axis(int64_t axis, int32_t rank)
{
    if (axis < 0)
        axis += rank;
    return axis < 0 ? 0 : axis > rank ? rank : axis;
}

fb_status fb_imp_on_shape(fb_imp *im)
{
    int64_t start, end;
    int32_t v;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    const fb_shape *s = fb_imp_shape(im, fb_imp_in(im, 0));
    FB_TRY(fb_imp_attr_int(im, "start", 0, INT32_MIN, INT32_MAX, &start));
    FB_TRY(fb_imp_attr_int(im, "end", s->rank, INT32_MIN, INT32_MAX, &end));
    start = clamp_axis(start, s->rank);
    end = clamp_axis(end, s->rank);
    int64_t n = end > start ? end - start : 0;
    FB_TRY(sizes(im, &n, 1, s->dims + start, (size_t)n, &v));
    return fb_imp_set(im, 0, v);
}

fb_status fb_imp_size(fb_imp *im)
{
    int64_t n = 1;
    int32_t v;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    const fb_shape *s = fb_imp_shape(im, fb_imp_in(im, 0));
    for (int32_t i = 0; i < s->rank; i++) {
        if (!fb_i64_mul(n, s->dims[i], &n) || n > INT64_MAX / 4)
            return fb_imp_bad(im, "input has more than 2^61 elements");
    }
    FB_TRY(sizes(im, NULL, 0, &n, 1, &v));
    return fb_imp_set(im, 0, v);
}
