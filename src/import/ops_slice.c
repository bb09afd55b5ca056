/* Parts and joins: Concat, Split, Slice, Gather, Pad. */
#include "import/import.h"

#include <string.h>

/* ---- concat -------------------------------------------------------------------------------- */

static bool is_empty(const fb_imp *im, int32_t v)
{
    const fb_shape *s = fb_imp_shape(im, v);
    for (int32_t i = 0; i < s->rank; i++) {
        if (s->dims[i] == 0)
            return true;
    }
    return false;
}

fb_status fb_imp_concat(fb_imp *im)
{
    enum { MOST = 1024 };
    fb_attr a = {0};
    uint32_t n = 0;
    FB_TRY(fb_imp_want_inputs(im, 1, UINT32_MAX));
    int32_t *in = fb_arena_array(im->arena, im->cur->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < im->cur->n_in; i++) {
        int32_t v = fb_imp_in(im, i);
        if (v < 0)
            return fb_imp_bad(im, "input %u is absent", i);
        if (!is_empty(im, v))
            in[n++] = v;
    }
    if (n == 0)
        return fb_imp_set(im, 0, fb_imp_in(im, 0));
    int32_t rank = fb_imp_shape(im, in[0])->rank;
    FB_TRY(fb_imp_attr_axis(im, "axis", im->cur->opset < 4 ? 1 : 0, rank, false, &a.axis.axis));
    /* More than a node may hold: first the pieces, then the pieces of pieces. */
    while (n > 1) {
        uint32_t groups = 0;
        for (uint32_t i = 0; i < n; i += MOST) {
            uint32_t k = n - i < MOST ? n - i : MOST;
            if (k == 1)
                in[groups++] = in[i];
            else
                FB_TRY(fb_imp_emit(im, FB_OP_CONCAT, &a, k, in + i, &in[groups++]));
        }
        n = groups;
    }
    return fb_imp_set(im, 0, in[0]);
}

/* ---- slices -------------------------------------------------------------------------------- */

static void whole(const fb_shape *s, fb_attr_slice *a)
{
    for (int32_t i = 0; i < s->rank; i++) {
        a->start[i] = 0;
        a->count[i] = fb_imp_dim(s->dims[i]);
        a->step[i] = 1;
    }
}

/* Emits a slice unless it takes everything. */
static fb_status emit_slice(fb_imp *im, int32_t x, const fb_attr_slice *slice, int32_t *y)
{
    const fb_shape *s = fb_imp_shape(im, x);
    bool all = true;
    for (int32_t i = 0; i < s->rank; i++)
        all = all && slice->start[i] == 0 && slice->step[i] == 1 &&
              slice->count[i] == fb_imp_dim(s->dims[i]);
    *y = x;
    if (all)
        return FB_OK;
    fb_attr a = {.slice = *slice};
    return fb_imp_emit(im, FB_OP_SLICE, &a, 1, &x, y);
}

/* One axis of a Slice, as the specification clamps it. */
static fb_status slice_axis(fb_imp *im, int64_t dim, int64_t start, int64_t end, int64_t step,
                            int64_t *first, int64_t *count)
{
    if (step == 0)
        return fb_imp_bad(im, "steps hold a 0");
    if (start < 0)
        start = start < -dim ? -1 : start + dim;
    if (end < 0)
        end = end < -dim ? -1 : end + dim;
    if (step > 0) {
        start = start < 0 ? 0 : start > dim ? dim : start;
        end = end < 0 ? 0 : end > dim ? dim : end;
    } else {
        start = start > dim - 1 ? dim - 1 : start < -1 ? -1 : start;
        end = end > dim - 1 ? dim - 1 : end < -1 ? -1 : end;
    }
    int64_t span = step > 0 ? end - start : start - end;
    uint64_t stride = step > 0 ? (uint64_t)step : (uint64_t)0 - (uint64_t)step;
    if (span <= 0) {
        *first = *count = 0;
        return FB_OK;
    }
    *first = start;
    *count = (int64_t)(((uint64_t)span - 1) / stride) + 1;
    if (*count == 1)
        return FB_OK;
    int64_t batch = fb_imp_dim(dim), n = fb_imp_dim(*count);
    if (batch < 0 && n > 0)
        return fb_imp_no(im, "takes a part of the batch; import with a fixed batch");
    return FB_OK;
}

/* A slice that takes nothing is an empty constant, which only Concat may read. */
static fb_status empty_slice(fb_imp *im, int32_t x, int32_t axis, int32_t *y)
{
    fb_shape s = *fb_imp_shape(im, x);
    s.dims[axis] = 0;
    return fb_imp_add_const_buf(im, "", &s, fb_imp_buf_new(0), y);
}

fb_status fb_imp_slice(fb_imp *im)
{
    const int64_t *start, *end, *axes, *step;
    size_t n, n_end, n_axes, n_step;
    bool present, have_axes, have_step = false;
    int32_t x = fb_imp_in(im, 0), y;
    FB_TRY(fb_imp_want_inputs(im, 1, 5));
    FB_TRY(fb_imp_param_ints(im, "starts", 1, 10, &start, &n, &present));
    FB_TRY(fb_imp_param_ints(im, "ends", 2, 10, &end, &n_end, &present));
    FB_TRY(fb_imp_param_ints(im, "axes", 3, 10, &axes, &n_axes, &have_axes));
    n_step = 0;
    step = NULL;
    if (im->cur->opset >= 10)
        FB_TRY(fb_imp_param_ints(im, "steps", 4, 10, &step, &n_step, &have_step));
    const fb_shape *s = fb_imp_shape(im, x);
    if (n_end != n || (have_axes && n_axes != n) || (have_step && n_step != n))
        return fb_imp_bad(im, "starts, ends, axes and steps must have the same length");
    if (n > (size_t)s->rank)
        return fb_imp_bad(im, "starts has %zu numbers, the input %d dims", n, (int)s->rank);
    fb_attr_slice a = {{0}, {0}, {0}};
    uint32_t seen = 0;
    whole(s, &a);
    for (size_t i = 0; i < n; i++) {
        int32_t axis;
        int64_t count;
        FB_TRY(fb_imp_axis(im, "axes", have_axes ? axes[i] : (int64_t)i, s->rank, &axis));
        if (seen >> axis & 1u)
            return fb_imp_bad(im, "axes name axis %d twice", (int)axis);
        seen |= 1u << axis;
        a.step[axis] = have_step ? step[i] : 1;
        FB_TRY(
            slice_axis(im, s->dims[axis], start[i], end[i], a.step[axis], &a.start[axis], &count));
        if (count == 0) {
            FB_TRY(empty_slice(im, x, axis, &y));
            return fb_imp_set(im, 0, y);
        }
        if (count == 1)
            a.step[axis] = 1;
        a.count[axis] = fb_imp_dim(count);
    }
    FB_TRY(emit_slice(im, x, &a, &y));
    return fb_imp_set(im, 0, y);
}

/* ---- split --------------------------------------------------------------------------------- */

/* Sizes when the node does not give them: even pieces, the last one may be smaller. */
static fb_status even_pieces(fb_imp *im, int64_t dim, size_t n, int64_t *sizes)
{
    int64_t piece = (dim + (int64_t)n - 1) / (int64_t)n;
    if (dim % (int64_t)n != 0 && im->cur->opset < 18)
        return fb_imp_bad(im, "a dim of %lld does not split into %zu equal parts", (long long)dim,
                          n);
    for (size_t i = 0; i < n; i++) {
        sizes[i] = dim < piece ? dim : piece;
        dim -= sizes[i];
    }
    return FB_OK;
}

fb_status fb_imp_split(fb_imp *im)
{
    const int64_t *given;
    size_t n_given, n = im->cur->node->n_output;
    bool present;
    int32_t x = fb_imp_in(im, 0), axis;
    int64_t at = 0;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    const fb_shape *s = fb_imp_shape(im, x);
    FB_TRY(fb_imp_attr_axis(im, "axis", 0, s->rank, false, &axis));
    FB_TRY(fb_imp_param_ints(im, "split", 1, 13, &given, &n_given, &present));
    int64_t *sizes = fb_arena_array(im->arena, n, sizeof *sizes);
    if (!sizes)
        return fb_imp_no_memory();
    if (present && n_given != n)
        return fb_imp_bad(im, "split has %zu numbers for %zu outputs", n_given, n);
    if (present && n)
        memcpy(sizes, given, n * sizeof *sizes);
    else if (n)
        FB_TRY(even_pieces(im, s->dims[axis], n, sizes));
    for (size_t k = 0; k < n; k++) {
        fb_attr_slice a = {{0}, {0}, {0}};
        int32_t y;
        if (sizes[k] < 0 || sizes[k] > s->dims[axis] - at)
            return fb_imp_bad(im, "split[%zu]=%lld leaves the %lld of axis %d", k,
                              (long long)sizes[k], (long long)s->dims[axis], (int)axis);
        if (sizes[k] == 0) {
            FB_TRY(empty_slice(im, x, axis, &y));
        } else {
            if (fb_imp_dim(s->dims[axis]) < 0 && fb_imp_dim(sizes[k]) > 0)
                return fb_imp_no(im, "takes a part of the batch; import with a fixed batch");
            whole(s, &a);
            a.start[axis] = at;
            a.count[axis] = fb_imp_dim(sizes[k]);
            FB_TRY(emit_slice(im, x, &a, &y));
        }
        FB_TRY(fb_imp_set(im, (uint32_t)k, y));
        at += sizes[k];
    }
    return at == s->dims[axis] ? FB_OK
                               : fb_imp_bad(im, "split adds up to %lld of %lld", (long long)at,
                                            (long long)s->dims[axis]);
}

/* ---- gather -------------------------------------------------------------------------------- */

/* Constant indices start, start + step, ... of one axis are a slice, which any layout can take. */
static fb_status gather_slice(fb_imp *im, int32_t x, int32_t axis, const int64_t *index, size_t n,
                              bool scalar, int32_t *y)
{
    fb_attr_slice a = {{0}, {0}, {0}};
    fb_shape s = *fb_imp_shape(im, x);
    whole(&s, &a);
    a.start[axis] = index[0];
    a.count[axis] = (int64_t)n;
    a.step[axis] = n > 1 ? index[1] - index[0] : 1;
    FB_TRY(emit_slice(im, x, &a, y));
    if (!scalar)
        return FB_OK;
    for (int32_t i = axis; i + 1 < s.rank; i++)
        s.dims[i] = s.dims[i + 1];
    return fb_imp_reshape(im, *y, s.rank - 1, s.dims, y);
}

/* Indices counted from the front, as a new constant. */
static fb_status from_front(fb_imp *im, int32_t v, int64_t dim, int32_t *out)
{
    int32_t wide;
    FB_TRY(fb_imp_cast(im, v, FB_S64, &wide));
    const fb_shape *s = fb_imp_shape(im, wide);
    FB_TRY(fb_imp_add_const(im, fb_imp_at(im, v)->name, FB_S64, s->rank, s->dims, out));
    const int64_t *src = fb_imp_data(im, wide);
    int64_t *dst = fb_imp_data(im, *out);
    for (size_t i = 0; i < fb_imp_at(im, *out)->buf->bytes / sizeof *dst; i++) {
        if (src[i] < -dim || src[i] >= dim)
            return fb_imp_bad(im, "indices[%zu]=%lld must be within %lld..%lld", i,
                              (long long)src[i], (long long)-dim, (long long)dim - 1);
        dst[i] = src[i] < 0 ? src[i] + dim : src[i];
    }
    return FB_OK;
}

fb_status fb_imp_gather(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), index = fb_imp_in(im, 1), y;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    const fb_shape *s = fb_imp_shape(im, x);
    FB_TRY(fb_imp_attr_axis(im, "axis", 0, s->rank, false, &a.axis.axis));
    int64_t dim = s->dims[a.axis.axis];
    if (fb_imp_is_const(im, index)) {
        if (fb_imp_at(im, index)->alt)
            return fb_imp_no(im, "indices depend on the batch size");
        FB_TRY(from_front(im, index, dim, &index));
        const int64_t *list = fb_imp_data(im, index);
        size_t n = fb_imp_at(im, index)->buf->bytes / sizeof *list;
        bool even = n > 0 && fb_imp_shape(im, index)->rank <= 1;
        for (size_t i = 2; i < n && even; i++)
            even = list[i] - list[i - 1] == list[1] - list[0];
        if (n > 1 && list[1] == list[0])
            even = false;
        if (even && (fb_imp_dim(dim) > 0)) {
            FB_TRY(
                gather_slice(im, x, a.axis.axis, list, n, fb_imp_shape(im, index)->rank == 0, &y));
            return fb_imp_set(im, 0, y);
        }
    }
    FB_TRY(fb_imp_emit(im, FB_OP_GATHER, &a, 2, (int32_t[]){x, index}, &y));
    return fb_imp_set(im, 0, y);
}

/* ---- pad ----------------------------------------------------------------------------------- */

static fb_status pad_axes(fb_imp *im, int32_t rank, int32_t *axes, size_t *n)
{
    *n = (size_t)rank;
    for (int32_t i = 0; i < rank; i++)
        axes[i] = i;
    if (im->cur->opset < 18 || fb_imp_in(im, 3) < 0)
        return FB_OK;
    const int64_t *list;
    FB_TRY(fb_imp_ints(im, fb_imp_in(im, 3), "axes", &list, n));
    if (*n > (size_t)rank)
        return fb_imp_bad(im, "axes has %zu numbers, the input %d dims", *n, (int)rank);
    for (size_t i = 0; i < *n; i++)
        FB_TRY(fb_imp_axis(im, "axes", list[i], rank, &axes[i]));
    return FB_OK;
}

static fb_status pad_value(fb_imp *im, double *value)
{
    float v = 0;
    *value = 0;
    if (im->cur->opset >= 11)
        return fb_imp_in(im, 2) >= 0 ? fb_imp_scalar(im, fb_imp_in(im, 2), "constant_value", value)
                                     : FB_OK;
    FB_TRY(fb_imp_attr_float(im, "value", 0, &v));
    *value = (double)v;
    return FB_OK;
}

fb_status fb_imp_pad(fb_imp *im)
{
    const int64_t *pads;
    size_t n, n_axes;
    bool present, crops = false;
    int32_t x = fb_imp_in(im, 0), axes[FB_MAX_RANK], y;
    fb_dtype back = 0;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 1, 4));
    FB_TRY(fb_imp_attr_choice(im, "mode", "constant|reflect|edge", 0, &a.pad.mode));
    FB_TRY(fb_imp_param_ints(im, im->cur->opset < 2 ? "paddings" : "pads", 1, 11, &pads, &n,
                             &present));
    int32_t rank = fb_imp_shape(im, x)->rank;
    FB_TRY(pad_axes(im, rank, axes, &n_axes));
    if (n != 2 * n_axes)
        return fb_imp_bad(im, "pads has %zu numbers, must have %zu", n, 2 * n_axes);
    for (size_t i = 0; i < n_axes; i++) {
        a.pad.before[axes[i]] = pads[i];
        a.pad.after[axes[i]] = pads[n_axes + i];
        crops = crops || pads[i] < 0 || pads[n_axes + i] < 0;
    }
    if (crops && a.pad.mode != FB_PAD_CONSTANT)
        return fb_imp_no(im, "negative pads with a mode other than constant");
    if (a.pad.mode == FB_PAD_CONSTANT)
        FB_TRY(pad_value(im, &a.pad.value));
    fb_dtype t = fb_imp_shape(im, x)->dtype;
    if (t == FB_F16 || t == FB_BF16 || t == FB_F64)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    FB_TRY(fb_imp_emit(im, FB_OP_PAD, &a, 1, &x, &y));
    return fb_imp_set_as(im, 0, y, back);
}
