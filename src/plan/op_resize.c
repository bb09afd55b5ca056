/* Resize: tables of taps per axis, after ONNX Resize (opsets 10 to 18, without antialiasing). */
#include "kernels/any.h"
#include "plan/op_util.h"

#include <string.h>

typedef struct resize_params {
    fbk_resize r;  /* linear, cubic */
    fbk_take take; /* nearest */
    fb_dtype type;
    size_t points, grain;
    fbk_resize_any_fn *any;
    fbk_resize_f32_fn *f32;
    fbk_take_any_fn *move;
} resize_params;

static void run_resize(const fb_tile *t)
{
    const resize_params *q = t->step->params;
    size_t from, to;
    fb_tile_range(q->points, q->grain, t->index, &from, &to);
    if (q->move)
        q->move(&q->take, t->in[0], t->out[0], from, to - from);
    else if (q->f32)
        q->f32(&q->r, t->in[0], t->out[0], from, to - from);
    else
        q->any(&q->r, q->type, t->in[0], t->out[0], from, to - from);
}

/* The output's length as ONNX's reference takes it: scale times the input, whole or not; rounding
 * of the scale itself must not move corners, though. */
static double exact_length(double scale, int64_t in, int64_t out)
{
    double m = scale * (double)in;
    return fabs(m - (double)out) < 1e-4 * (double)out ? (double)out : m;
}

/* Coordinate in the input, of `in` elements, of output index i of `out`. */
static double source_coordinate(const fb_attr_resize *a, int32_t axis, double scale, int64_t in,
                                int64_t out, int64_t i)
{
    double x = (double)i, n = (double)in, m = exact_length(scale, in, out);
    double lo = (double)a->roi_lo[axis], hi = (double)a->roi_hi[axis];
    switch (a->coord) {
    case FB_COORD_PYTORCH_HALF_PIXEL:
        return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case FB_COORD_ALIGN_CORNERS:
        return m != 1 ? x * (n - 1) / (m - 1) : 0;
    case FB_COORD_ASYMMETRIC:
        return x / scale;
    case FB_COORD_TF_CROP_AND_RESIZE:
        return m != 1 ? lo * (n - 1) + x * (hi - lo) * (n - 1) / (m - 1)
                      : 0.5 * (lo + hi) * (n - 1);
    case FB_COORD_TF_HALF_PIXEL_NN:
        return (x + 0.5) / scale;
    case FB_COORD_HALF_PIXEL_SYMMETRIC: {
        double adjustment = (double)out / (scale * n); /* whole size over the exact one */
        return n / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    default:
        return (x + 0.5) / scale - 0.5;
    }
}

static int64_t nearest_index(int32_t rounding, double x)
{
    switch (rounding) {
    case FB_ROUND_PREFER_CEIL:
        return (int64_t)floor(x + 0.5);
    case FB_ROUND_FLOOR:
        return (int64_t)floor(x);
    case FB_ROUND_CEIL:
        return (int64_t)ceil(x);
    default: /* prefer floor */
        return (int64_t)ceil(x - 0.5);
    }
}

static int64_t clamp_index(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Weights of the taps floor(x) - taps / 2 + 1 ... for the fraction r = x - floor(x). */
static void tap_weights(const fb_attr_resize *a, double r, double w[4])
{
    if (a->mode == FB_RESIZE_LINEAR) {
        w[0] = 1 - r;
        w[1] = r;
        return;
    }
    double c = (double)a->cubic_a, s = 1 - r; /* Keys's cubic convolution */
    w[0] = ((c * (r + 1) - 5 * c) * (r + 1) + 8 * c) * (r + 1) - 4 * c;
    w[1] = ((c + 2) * r - (c + 3)) * r * r + 1;
    w[2] = ((c + 2) * s - (c + 3)) * s * s + 1;
    w[3] = ((c * (s + 1) - 5 * c) * (s + 1) + 8 * c) * (s + 1) - 4 * c;
}

static bool outside_crop(const fb_attr_resize *a, double x, int64_t in)
{
    return a->coord == FB_COORD_TF_CROP_AND_RESIZE && (x < 0 || x > (double)(in - 1));
}

/* Tables of one axis of a linear or cubic resize. */
static fb_status make_taps(fb_prepare *p, int32_t axis, double scale, int64_t in, int64_t out,
                           fbk_resize_axis *ax)
{
    const fb_attr_resize *a = &p->node->attr.resize;
    int32_t taps = a->mode == FB_RESIZE_LINEAR ? 2 : 4, *idx;
    float *wt;
    FB_PLAN_ALLOC(p, idx, (size_t)out * (size_t)taps);
    FB_PLAN_ALLOC(p, wt, (size_t)out * (size_t)taps);
    for (int64_t i = 0; i < out; i++) {
        double x = source_coordinate(a, axis, scale, in, out, i), w[4], sum = 0;
        int64_t first = (int64_t)floor(x) - taps / 2 + 1;
        bool crop = outside_crop(a, x, in);
        tap_weights(a, x - floor(x), w);
        for (int32_t k = 0; k < taps; k++) {
            if (a->exclude_outside && (first + k < 0 || first + k >= in))
                w[k] = 0;
            sum += w[k];
        }
        for (int32_t k = 0; k < taps; k++) {
            idx[i * taps + k] = crop ? -1 : (int32_t)clamp_index(first + k, in);
            wt[i * taps + k] = (float)(a->exclude_outside && sum != 0 ? w[k] / sum : w[k]);
        }
    }
    ax->taps = taps;
    ax->idx = idx;
    ax->wt = wt;
    return FB_OK;
}

static fb_status make_map(fb_prepare *p, int32_t axis, double scale, int64_t in, int64_t out,
                          const int32_t **result)
{
    const fb_attr_resize *a = &p->node->attr.resize;
    int32_t *map;
    FB_PLAN_ALLOC(p, map, (size_t)out);
    for (int64_t i = 0; i < out; i++) {
        double x = source_coordinate(a, axis, scale, in, out, i);
        map[i] =
            outside_crop(a, x, in) ? -1 : (int32_t)clamp_index(nearest_index(a->rounding, x), in);
    }
    *result = map;
    return FB_OK;
}

/* Whether an axis is copied as it is: same size, and every coordinate maps to itself. */
static bool is_identity(const fb_attr_resize *a, int32_t axis, double scale, int64_t in,
                        int64_t out)
{
    if (in != out)
        return false;
    for (int64_t i = 0; i < out; i++) {
        if (a->coord == FB_COORD_TF_HALF_PIXEL_NN && a->mode == FB_RESIZE_NEAREST && scale == 1)
            return a->rounding == FB_ROUND_FLOOR || a->rounding == FB_ROUND_PREFER_FLOOR;
        if (source_coordinate(a, axis, scale, in, out, i) != (double)i)
            return false;
    }
    return true;
}

static fb_status prepare_axes(fb_prepare *p, resize_params *q)
{
    const fb_attr_resize *a = &p->node->attr.resize;
    const fb_shape *in = &p->in[0]->shape, *out = &p->out[0]->shape;
    ptrdiff_t stride[FB_MAX_RANK];
    fb_strides(in, stride);
    for (int32_t k = 0; k < in->rank; k++) {
        int64_t n = in->dims[k], m = out->dims[k];
        double scale = a->scale[k] > 0 ? (double)a->scale[k] : (double)m / (double)n;
        if (n > INT32_MAX || m > INT32_MAX)
            return fb_fail(FB_E_LIMIT, "an axis of %lld is too long to resize", (long long)n);
        q->take.dims[k] = q->r.axis[k].out = (size_t)m;
        q->take.stride[k] = q->r.axis[k].stride = stride[k];
        q->r.axis[k].taps = 1;
        if (is_identity(a, k, scale, n, m))
            continue;
        if (a->mode == FB_RESIZE_NEAREST)
            FB_TRY(make_map(p, k, scale, n, m, &q->take.map[k]));
        else
            FB_TRY(make_taps(p, k, scale, n, m, &q->r.axis[k]));
    }
    return FB_OK;
}

fb_status fb_prepare_resize(fb_prepare *p)
{
    const fb_attr_resize *a = &p->node->attr.resize;
    const fb_shape *in = &p->in[0]->shape, *out = &p->out[0]->shape;
    resize_params *q;
    FB_ENSURE(in->rank == out->rank && in->rank >= 1 && in->dtype == out->dtype);
    FB_PLAN_ALLOC(p, q, 1);
    FB_TRY(prepare_axes(p, q));
    q->type = in->dtype;
    p->step->run = run_resize;
    p->step->params = q;
    if (a->mode == FB_RESIZE_NEAREST) {
        size_t last = (size_t)out->dims[out->rank - 1];
        q->take.rank = in->rank;
        q->take.elem_bytes = fb_dtype_bytes(in->dtype);
        fbk_put_f64(in->dtype, q->take.fill, 0, (double)a->extrapolation);
        q->points = p->out[0]->elems / last;
        q->grain = fb_row_grain(last);
        q->move = fbk_take_any_pick(p->plan->cpu, &p->step->kernel);
    } else {
        q->r.rank = in->rank;
        q->r.block = 1;
        q->r.extrapolation = a->extrapolation;
        while (q->r.rank > 1 && !q->r.axis[q->r.rank - 1].idx)
            q->r.block *= q->r.axis[--q->r.rank].out;
        q->points = p->out[0]->elems / q->r.block;
        q->grain = fb_row_grain(q->r.block * 4);
        if (in->dtype == FB_F32)
            q->f32 = fbk_resize_f32_pick(p->plan->cpu, &p->step->kernel);
        else
            q->any = fbk_resize_any_pick(p->plan->cpu, &p->step->kernel);
    }
    p->step->n_tiles = fb_tiles(q->points, q->grain);
    return FB_OK;
}
