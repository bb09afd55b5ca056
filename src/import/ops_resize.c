/* Resize of all opsets, and its forerunner Upsample. */
#include "import/import.h"

#include <math.h>
#include <string.h>

/* Sizes and scales for all axes; an axis that is not named keeps its size. */
typedef struct target {
    float scale[FB_MAX_RANK]; /* 0: from the sizes */
    int64_t size[FB_MAX_RANK];
} target;

static fb_status floats_of(fb_imp *im, int32_t v, const char *what, const float **p, size_t *n)
{
    int32_t f;
    int64_t elems;
    *p = NULL;
    *n = 0;
    if (v < 0)
        return FB_OK;
    if (fb_imp_is_const(im, v) && fb_imp_elems(fb_imp_shape(im, v), &elems) && elems == 0)
        return FB_OK;
    FB_TRY(fb_imp_const_f32(im, v, what, &f));
    *p = fb_imp_data(im, f);
    *n = fb_imp_at(im, f)->buf->bytes / sizeof **p;
    return FB_OK;
}

static fb_status from_scales(fb_imp *im, const fb_shape *x, const float *scales,
                             const int32_t *axes, size_t n, target *t)
{
    for (size_t i = 0; i < n; i++) {
        int32_t axis = axes[i];
        float s = scales[i];
        if (!isfinite(s) || s <= 0 || s > 65536)
            return fb_imp_bad(im, "scales[%zu]=%g must be positive", i, (double)s);
        if (fb_imp_dim(x->dims[axis]) < 0 && s != 1)
            return fb_imp_no(im, "scales[%zu]=%g changes the batch", i, (double)s);
        if (s != 1)
            t->size[axis] = (int64_t)floor((double)x->dims[axis] * (double)s);
        if (t->size[axis] < 1)
            return fb_imp_bad(im, "scales[%zu]=%g leaves nothing of %lld", i, (double)s,
                              (long long)x->dims[axis]);
        t->scale[axis] = s;
    }
    return FB_OK;
}

/* keep_aspect_ratio_policy: 0 stretch, 1 not larger, 2 not smaller */
static fb_status from_sizes(fb_imp *im, const fb_shape *x, const int64_t *sizes,
                            const int32_t *axes, size_t n, int policy, target *t)
{
    float common = 0;
    for (size_t i = 0; i < n; i++) {
        float s = (float)sizes[i] / (float)x->dims[axes[i]];
        if (sizes[i] < 1 || sizes[i] > FB_LIMIT_DIM * FB_BATCH_MARK)
            return fb_imp_bad(im, "sizes[%zu]=%lld must be > 0", i, (long long)sizes[i]);
        if (i == 0 || (policy == 1 ? s < common : s > common))
            common = s;
    }
    for (size_t i = 0; i < n; i++) {
        t->size[axes[i]] = sizes[i];
        t->scale[axes[i]] = 0;
        if (policy) {
            t->size[axes[i]] = (int64_t)floorf(common * (float)x->dims[axes[i]] + 0.5f);
            t->scale[axes[i]] = common;
        }
    }
    return FB_OK;
}

static fb_status emit_resize(fb_imp *im, const target *t, fb_attr *a)
{
    int32_t x = fb_imp_in(im, 0), y;
    fb_dtype back = 0, dt = fb_imp_shape(im, x)->dtype;
    if (dt == FB_F16 || dt == FB_BF16 || dt == FB_F64)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    for (int32_t i = 0; i < fb_imp_shape(im, x)->rank; i++) {
        a->resize.size[i] = fb_imp_dim(t->size[i]);
        a->resize.scale[i] = t->scale[i];
    }
    FB_TRY(fb_imp_emit(im, FB_OP_RESIZE, a, 1, &x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

static fb_status start(fb_imp *im, target *t, int32_t *rank)
{
    const fb_shape *x = fb_imp_shape(im, fb_imp_in(im, 0));
    *rank = x->rank;
    for (int32_t i = 0; i < x->rank; i++) {
        t->size[i] = x->dims[i];
        t->scale[i] = 1;
    }
    return FB_OK;
}

/* Resize-10 and Upsample: pixel i of the output is at i / scale of the input. */
static fb_status by_scales(fb_imp *im, const float *scales, size_t n)
{
    target t;
    int32_t rank, mode, axes[FB_MAX_RANK];
    FB_TRY(start(im, &t, &rank));
    if (n != (size_t)rank)
        return fb_imp_bad(im, "scales has %zu numbers, the input %d dims", n, (int)rank);
    FB_TRY(fb_imp_attr_choice(im, "mode", "nearest|linear|bilinear", 0, &mode));
    for (int32_t i = 0; i < rank; i++)
        axes[i] = i;
    FB_TRY(from_scales(im, fb_imp_shape(im, fb_imp_in(im, 0)), scales, axes, n, &t));
    fb_attr a = {.resize = {.mode = mode ? FB_RESIZE_LINEAR : FB_RESIZE_NEAREST,
                            .coord = FB_COORD_ASYMMETRIC,
                            .rounding = FB_ROUND_FLOOR,
                            .cubic_a = -0.75f}};
    return emit_resize(im, &t, &a);
}

fb_status fb_imp_upsample(fb_imp *im)
{
    const float *scales;
    size_t n;
    FB_TRY(fb_imp_want_inputs(im, 1, 2));
    if (im->cur->opset >= 9) {
        FB_TRY(fb_imp_want_inputs(im, 2, 2));
        FB_TRY(floats_of(im, fb_imp_in(im, 1), "scales", &scales, &n));
        return by_scales(im, scales, n);
    }
    FB_TRY(fb_imp_attr_floats(im, "scales", &scales, &n));
    if (n)
        return by_scales(im, scales, n);
    float hw[4] = {1, 1, 1, 1};
    FB_TRY(fb_imp_attr_float(im, "height_scale", 1, &hw[2]));
    FB_TRY(fb_imp_attr_float(im, "width_scale", 1, &hw[3]));
    return by_scales(im, hw, 4);
}

/* ---- opset 11 and later -------------------------------------------------------------------- */

static fb_status resize_attr(fb_imp *im, fb_attr_resize *a)
{
    int64_t exclude, antialias;
    FB_TRY(fb_imp_attr_choice(im, "mode", "nearest|linear|cubic", 0, &a->mode));
    FB_TRY(fb_imp_attr_choice(im, "coordinate_transformation_mode",
                              "half_pixel|pytorch_half_pixel|align_corners|asymmetric|"
                              "tf_crop_and_resize|tf_half_pixel_for_nn|half_pixel_symmetric",
                              0, &a->coord));
    FB_TRY(fb_imp_attr_choice(im, "nearest_mode", "round_prefer_floor|round_prefer_ceil|floor|ceil",
                              0, &a->rounding));
    FB_TRY(fb_imp_attr_int(im, "exclude_outside", 0, 0, 1, &exclude));
    FB_TRY(fb_imp_attr_int(im, "antialias", 0, 0, 1, &antialias));
    FB_TRY(fb_imp_attr_float(im, "cubic_coeff_a", -0.75f, &a->cubic_a));
    FB_TRY(fb_imp_attr_float(im, "extrapolation_value", 0, &a->extrapolation));
    if (antialias)
        return fb_imp_no(im, "antialias=1 is not supported");
    a->exclude_outside = (int32_t)exclude;
    return FB_OK;
}

static fb_status resize_axes(fb_imp *im, int32_t rank, int32_t *axes, size_t *n)
{
    const int64_t *list;
    FB_TRY(fb_imp_attr_ints(im, "axes", &list, n));
    if (*n > (size_t)rank)
        return fb_imp_bad(im, "axes has %zu numbers, the input %d dims", *n, (int)rank);
    for (size_t i = 0; i < *n; i++)
        FB_TRY(fb_imp_axis(im, "axes", list[i], rank, &axes[i]));
    for (int32_t i = 0; i < rank && *n == 0; i++)
        axes[i] = i;
    if (*n == 0)
        *n = (size_t)rank;
    return FB_OK;
}

static fb_status read_roi(fb_imp *im, const int32_t *axes, size_t n, fb_attr_resize *a)
{
    const float *roi;
    size_t n_roi;
    for (int32_t i = 0; i < FB_MAX_RANK; i++)
        a->roi_hi[i] = 1;
    if (a->coord != FB_COORD_TF_CROP_AND_RESIZE)
        return FB_OK;
    FB_TRY(floats_of(im, fb_imp_in(im, 1), "roi", &roi, &n_roi));
    if (n_roi != 2 * n)
        return fb_imp_bad(im, "roi has %zu numbers, must have %zu", n_roi, 2 * n);
    for (size_t i = 0; i < n; i++) {
        a->roi_lo[axes[i]] = roi[i];
        a->roi_hi[axes[i]] = roi[n + i];
    }
    return FB_OK;
}

fb_status fb_imp_resize(fb_imp *im)
{
    const float *scales;
    size_t n_scales, n;
    target t;
    int32_t rank, axes[FB_MAX_RANK];
    int policy;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 1, 4));
    FB_TRY(floats_of(im, fb_imp_in(im, im->cur->opset < 11 ? 1 : 2), "scales", &scales, &n_scales));
    if (im->cur->opset < 11)
        return by_scales(im, scales, n_scales);
    FB_TRY(start(im, &t, &rank));
    FB_TRY(resize_attr(im, &a.resize));
    FB_TRY(resize_axes(im, rank, axes, &n));
    FB_TRY(read_roi(im, axes, n, &a.resize));
    FB_TRY(fb_imp_attr_choice(im, "keep_aspect_ratio_policy", "stretch|not_larger|not_smaller", 0,
                              &policy));
    const fb_shape *x = fb_imp_shape(im, fb_imp_in(im, 0));
    if (n_scales) {
        if (n_scales != n)
            return fb_imp_bad(im, "scales has %zu numbers, must have %zu", n_scales, n);
        FB_TRY(from_scales(im, x, scales, axes, n, &t));
        /* A region of interest scales what is cut out. */
        for (size_t i = 0; i < n && a.resize.coord == FB_COORD_TF_CROP_AND_RESIZE; i++) {
            float part = a.resize.roi_hi[axes[i]] - a.resize.roi_lo[axes[i]];
            if (part != 1)
                t.size[axes[i]] = (int64_t)floorf((float)x->dims[axes[i]] * part * scales[i]);
        }
        return emit_resize(im, &t, &a);
    }
    if (fb_imp_in(im, 3) < 0)
        return fb_imp_bad(im, "has neither scales nor sizes");
    const int64_t *sizes;
    size_t n_sizes;
    FB_TRY(fb_imp_ints(im, fb_imp_in(im, 3), "sizes", &sizes, &n_sizes));
    if (n_sizes != n)
        return fb_imp_bad(im, "sizes has %zu numbers, must have %zu", n_sizes, n);
    FB_TRY(from_sizes(im, x, sizes, axes, n, policy, &t));
    return emit_resize(im, &t, &a);
}
