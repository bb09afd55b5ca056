/* Normalisations and Dropout. */
#include "import/import.h"

#include <math.h>
#include <string.h>

/* ---- batch norm ---------------------------------------------------------------------------- */

static fb_status refuse_training(fb_imp *im)
{
    int64_t training, spatial, is_test;
    FB_TRY(fb_imp_attr_int(im, "training_mode", 0, 0, 1, &training));
    FB_TRY(fb_imp_attr_int(im, "spatial", 1, 0, 1, &spatial));
    FB_TRY(fb_imp_attr_int(im, "is_test", 1, 0, 1, &is_test));
    bool extra = false;
    for (uint32_t k = 1; k < 5; k++)
        extra = extra || fb_imp_has_output(im, k);
    if (training || extra || (!is_test && im->cur->opset < 7))
        return fb_imp_no(im, "training mode; call model.eval() before the export");
    if (!spatial)
        return fb_imp_no(im, "spatial=0 is not supported");
    return FB_OK;
}

/* scale, B, mean, var to one factor and one summand a channel. */
static fb_status scale_and_shift(fb_imp *im, int64_t channels, float epsilon, int32_t *scale,
                                 int32_t *shift)
{
    static const char *const names[4] = {"scale", "B", "mean", "var"};
    const float *p[4];
    for (uint32_t i = 0; i < 4; i++) {
        int32_t v;
        FB_TRY(fb_imp_const_f32(im, fb_imp_in(im, i + 1), names[i], &v));
        const fb_shape *s = fb_imp_shape(im, v);
        if (s->rank != 1 || s->dims[0] != channels)
            return fb_imp_bad(im, "%s must have one number for each of %lld channels", names[i],
                              (long long)channels);
        p[i] = fb_imp_data(im, v);
    }
    FB_TRY(fb_imp_add_const(im, "", FB_F32, 1, &channels, scale));
    FB_TRY(fb_imp_add_const(im, "", FB_F32, 1, &channels, shift));
    float *a = fb_imp_data(im, *scale), *b = fb_imp_data(im, *shift);
    for (int64_t c = 0; c < channels; c++) {
        double k = (double)p[0][c] / sqrt((double)p[3][c] + (double)epsilon);
        a[c] = (float)k;
        b[c] = (float)((double)p[1][c] - (double)p[2][c] * k);
        if (!isfinite(a[c]) || !isfinite(b[c]))
            return fb_imp_bad(im, "channel %lld has no finite scale (variance %g)", (long long)c,
                              (double)p[3][c]);
    }
    return FB_OK;
}

fb_status fb_imp_batch_norm(fb_imp *im)
{
    int32_t x, scale, shift, y;
    float epsilon;
    fb_dtype back;
    FB_TRY(fb_imp_want_inputs(im, 5, 5));
    FB_TRY(refuse_training(im));
    FB_TRY(fb_imp_attr_float(im, "epsilon", 1e-5f, &epsilon));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    const fb_shape *s = fb_imp_shape(im, x);
    if (s->rank < 2)
        return fb_imp_bad(im, "input has %d dims, must have at least 2", (int)s->rank);
    FB_TRY(scale_and_shift(im, s->dims[1], epsilon, &scale, &shift));
    FB_TRY(fb_imp_to_nhwc(im, x, &x));
    FB_TRY(fb_imp_emit(im, FB_OP_SCALE_SHIFT, NULL, 3, (int32_t[]){x, scale, shift}, &y));
    FB_TRY(fb_imp_from_nhwc(im, y, &y));
    return fb_imp_set_as(im, 0, y, back);
}

/* ---- LRN, softmax -------------------------------------------------------------------------- */

fb_status fb_imp_lrn(fb_imp *im)
{
    int32_t x, y;
    int64_t size;
    fb_attr a = {0};
    fb_dtype back;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    FB_TRY(fb_imp_attr_int(im, "size", 0, 1, INT32_MAX, &size));
    FB_TRY(fb_imp_attr_float(im, "alpha", 0.0001f, &a.lrn.alpha));
    FB_TRY(fb_imp_attr_float(im, "beta", 0.75f, &a.lrn.beta));
    FB_TRY(fb_imp_attr_float(im, "bias", 1.0f, &a.lrn.bias));
    if (size == 0)
        return fb_imp_bad(im, "size is missing");
    if (fb_imp_shape(im, x)->rank < 2)
        return fb_imp_bad(im, "input must have at least 2 dims");
    a.lrn.size = (int32_t)size;
    FB_TRY(fb_imp_to_nhwc(im, x, &x));
    FB_TRY(fb_imp_emit(im, FB_OP_LRN, &a, 1, &x, &y));
    FB_TRY(fb_imp_from_nhwc(im, y, &y));
    return fb_imp_set_as(im, 0, y, back);
}

static fb_status softmax(fb_imp *im, int32_t log)
{
    int32_t x, y, axis;
    fb_attr a = {.softmax = {.log = log}};
    fb_dtype back;
    bool flat = im->cur->opset < 13; /* all axes from `axis` on, as if flattened */
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    int32_t rank = fb_imp_shape(im, x)->rank;
    FB_TRY(fb_imp_attr_axis(im, "axis", flat ? (rank > 1 ? 1 : 0) : -1, rank, false, &axis));
    a.softmax.axis_from = axis;
    a.softmax.axis_to = flat ? rank : axis + 1;
    FB_TRY(fb_imp_emit(im, FB_OP_SOFTMAX, &a, 1, &x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_softmax(fb_imp *im)
{
    return softmax(im, 0);
}

fb_status fb_imp_log_softmax(fb_imp *im)
{
    return softmax(im, 1);
}

/* ---- dropout ------------------------------------------------------------------------------- */

/* Inference: the input itself, and a mask that keeps everything. */
fb_status fb_imp_dropout(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), mask;
    double training = 0;
    int64_t is_test;
    FB_TRY(fb_imp_want_inputs(im, 1, 3));
    FB_TRY(fb_imp_attr_int(im, "is_test", 1, 0, 1, &is_test));
    if (im->cur->opset >= 12 && fb_imp_in(im, 2) >= 0)
        FB_TRY(fb_imp_scalar(im, fb_imp_in(im, 2), "training_mode", &training));
    if (training != 0 || (!is_test && im->cur->opset < 7))
        return fb_imp_no(im, "training mode; call model.eval() before the export");
    FB_TRY(fb_imp_set(im, 0, x));
    if (!fb_imp_has_output(im, 1))
        return FB_OK;
    fb_dtype t = im->cur->opset < 10 ? fb_imp_shape(im, x)->dtype : FB_BOOL;
    int64_t one = 1;
    FB_TRY(fb_imp_add_const(im, "", FB_BOOL, 0, NULL, &mask));
    memcpy(fb_imp_data(im, mask), &one, 1);
    FB_TRY(fb_imp_cast(im, mask, t, &mask));
    fb_attr a = {.shape = {.rank = fb_imp_shape(im, x)->rank}};
    for (int32_t i = 0; i < a.shape.rank; i++)
        a.shape.dims[i] = fb_imp_dim(fb_imp_shape(im, x)->dims[i]);
    FB_TRY(fb_imp_emit(im, FB_OP_EXPAND, &a, 1, &mask, &mask));
    return fb_imp_set(im, 1, mask);
}
