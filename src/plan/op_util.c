#include "plan/op_util.h"

#include <string.h>

static bool mergeable(const fbk_walk *w, int32_t k)
{
    for (int o = 0; o < FBK_WALK_OPERANDS; o++) {
        if (w->stride[o][k] != w->stride[o][k + 1] * (ptrdiff_t)w->dims[k + 1])
            return false;
    }
    return true;
}

static void drop_axis(fbk_walk *w, int32_t k)
{
    for (int32_t i = k; i + 1 < w->rank; i++) {
        w->dims[i] = w->dims[i + 1];
        for (int o = 0; o < FBK_WALK_OPERANDS; o++)
            w->stride[o][i] = w->stride[o][i + 1];
    }
    w->rank--;
}

void fb_walk_simplify(fbk_walk *w)
{
    for (int32_t k = w->rank - 1; k >= 0; k--) {
        if (w->dims[k] == 1)
            drop_axis(w, k);
    }
    for (int32_t k = w->rank - 2; k >= 0; k--) {
        if (!mergeable(w, k))
            continue;
        w->dims[k + 1] *= w->dims[k];
        drop_axis(w, k);
    }
    if (w->rank == 0) {
        w->rank = 1;
        w->dims[0] = 1;
        for (int o = 0; o < FBK_WALK_OPERANDS; o++)
            w->stride[o][0] = 0;
    }
}

/* Whether the largest coordinate of an axis, and the padded size, stay within 32 bits. */
static bool axis_fits(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t dil, int64_t pad0,
                      int64_t pad1)
{
    const int64_t limit = INT32_MAX / 2;
    return in <= limit && out <= limit && pad0 <= limit && pad1 <= limit &&
           in + pad0 + pad1 <= limit && out * stride <= limit && k * dil <= limit;
}

fb_status fb_window_make(const fb_window_attr *a, const fb_slot *in, const fb_slot *out,
                         int32_t groups, fbk_window *g)
{
    const int64_t *i = in->shape.dims, *o = out->shape.dims;
    FB_ENSURE(in->shape.rank == 4 && out->shape.rank == 4);
    FB_ENSURE(a->stride_h > 0 && a->stride_w > 0 && a->dil_h > 0 && a->dil_w > 0);
    if (!axis_fits(i[1], o[1], a->kh, a->stride_h, a->dil_h, a->pad_t, a->pad_b) ||
        !axis_fits(i[2], o[2], a->kw, a->stride_w, a->dil_w, a->pad_l, a->pad_r) ||
        i[3] > INT32_MAX || o[3] > INT32_MAX)
        return fb_fail(FB_E_LIMIT, "a window of %d x %d over an image of %lld x %lld is too large",
                       a->kh, a->kw, (long long)i[1], (long long)i[2]);
    *g = (fbk_window){.h = (int32_t)i[1],
                      .w = (int32_t)i[2],
                      .c = (int32_t)i[3],
                      .oh = (int32_t)o[1],
                      .ow = (int32_t)o[2],
                      .oc = (int32_t)o[3],
                      .kh = a->kh,
                      .kw = a->kw,
                      .stride_h = a->stride_h,
                      .stride_w = a->stride_w,
                      .dil_h = a->dil_h,
                      .dil_w = a->dil_w,
                      .pad_t = a->pad_t,
                      .pad_l = a->pad_l,
                      .groups = groups};
    return FB_OK;
}

fb_status fb_need_f32(const fb_prepare *p, const fb_slot *const *slots, uint32_t n)
{
    (void)p;
    for (uint32_t i = 0; i < n; i++) {
        if (slots[i] && slots[i]->shape.dtype != FB_F32)
            return fb_fail(FB_E_UNSUPPORTED, "elements of type %s are not supported here, only f32",
                           fb_dtype_name(slots[i]->shape.dtype));
    }
    return FB_OK;
}
