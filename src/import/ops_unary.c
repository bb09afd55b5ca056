/* Functions of one number. The model's unary operator takes f32; integers go through binary ones.
 */
#include "import/import.h"

#include <math.h>

static bool is_float(fb_dtype t)
{
    return t == FB_F32 || t == FB_F16 || t == FB_BF16 || t == FB_F64;
}

static fb_status float_unary(fb_imp *im, fb_unary kind, float a, float b)
{
    int32_t x, y;
    fb_dtype back;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    FB_TRY(fb_imp_unary(im, kind, a, b, x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_sigmoid(fb_imp *im)
{
    return float_unary(im, FB_UNARY_SIGMOID, 0, 0);
}

fb_status fb_imp_hard_swish(fb_imp *im)
{
    return float_unary(im, FB_UNARY_HARD_SWISH, 0, 0);
}

fb_status fb_imp_tanh(fb_imp *im)
{
    return float_unary(im, FB_UNARY_TANH, 0, 0);
}

fb_status fb_imp_softplus(fb_imp *im)
{
    return float_unary(im, FB_UNARY_SOFTPLUS, 0, 0);
}

fb_status fb_imp_softsign(fb_imp *im)
{
    return float_unary(im, FB_UNARY_SOFTSIGN, 0, 0);
}

fb_status fb_imp_exp(fb_imp *im)
{
    return float_unary(im, FB_UNARY_EXP, 0, 0);
}

fb_status fb_imp_log(fb_imp *im)
{
    return float_unary(im, FB_UNARY_LOG, 0, 0);
}

fb_status fb_imp_sqrt(fb_imp *im)
{
    return float_unary(im, FB_UNARY_SQRT, 0, 0);
}

fb_status fb_imp_erf(fb_imp *im)
{
    return float_unary(im, FB_UNARY_ERF, 0, 0);
}

fb_status fb_imp_leaky_relu(fb_imp *im)
{
    float alpha;
    FB_TRY(fb_imp_attr_float(im, "alpha", 0.01f, &alpha));
    return float_unary(im, FB_UNARY_LEAKY_RELU, alpha, 0);
}

fb_status fb_imp_hard_sigmoid(fb_imp *im)
{
    float alpha, beta;
    FB_TRY(fb_imp_attr_float(im, "alpha", 0.2f, &alpha));
    FB_TRY(fb_imp_attr_float(im, "beta", 0.5f, &beta));
    return float_unary(im, FB_UNARY_HARD_SIGMOID, alpha, beta);
}

fb_status fb_imp_elu(fb_imp *im)
{
    float alpha;
    FB_TRY(fb_imp_attr_float(im, "alpha", 1.0f, &alpha));
    return float_unary(im, FB_UNARY_ELU, alpha, 0);
}

fb_status fb_imp_selu(fb_imp *im)
{
    bool old = im->cur->opset < 6; /* rounder defaults then */
    float alpha, gamma;
    FB_TRY(fb_imp_attr_float(im, "alpha", old ? 1.6732f : 1.67326319217681884765625f, &alpha));
    FB_TRY(fb_imp_attr_float(im, "gamma", old ? 1.0507f : 1.05070102214813232421875f, &gamma));
    return float_unary(im, FB_UNARY_SELU, alpha, gamma);
}

fb_status fb_imp_reciprocal(fb_imp *im)
{
    int32_t x, one, y;
    fb_dtype back;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    FB_TRY(fb_imp_scalar_f32(im, 1, &one));
    FB_TRY(fb_imp_binary(im, FB_BINARY_DIV, one, x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

/* ---- rounding ------------------------------------------------------------------------------ */

/* Exporters round computed sizes; at run time the model has no such operator. */
static fb_status round_const(fb_imp *im, double (*fn)(double))
{
    int32_t x, y;
    fb_dtype back = 0;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    x = fb_imp_in(im, 0);
    if (!fb_imp_is_const(im, x))
        return fb_imp_no(im, "rounds values at run time; only constants can be rounded");
    if (!is_float(fb_imp_shape(im, x)->dtype))
        return fb_imp_no(im, "works on %s, which this operator does not",
                         fb_dtype_name(fb_imp_shape(im, x)->dtype));
    if (fb_imp_shape(im, x)->dtype != FB_F64) {
        FB_TRY(fb_imp_float(im, x, &x, &back));
        FB_TRY(fb_imp_const_f32(im, x, "input", &x));
    } else if (fb_imp_at(im, x)->alt) {
        return fb_imp_no(im, "input depends on the batch size; import with a fixed batch");
    }
    fb_shape s = *fb_imp_shape(im, x);
    int64_t n = 0;
    FB_TRY(fb_imp_add_const(im, "", s.dtype, s.rank, s.dims, &y));
    (void)fb_imp_elems(&s, &n);
    for (int64_t i = 0; i < n; i++) {
        if (s.dtype == FB_F64)
            ((double *)fb_imp_data(im, y))[i] = fn(((const double *)fb_imp_data(im, x))[i]);
        else
            ((float *)fb_imp_data(im, y))[i] =
                (float)fn((double)((const float *)fb_imp_data(im, x))[i]);
    }
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_floor(fb_imp *im)
{
    return round_const(im, floor);
}

fb_status fb_imp_ceil(fb_imp *im)
{
    return round_const(im, ceil);
}

/* ---- functions of integers too ------------------------------------------------------------- */

/* A zero of an integer type. */
static fb_status zero_of(fb_imp *im, fb_dtype t, int32_t *v)
{
    if (t == FB_BOOL)
        return fb_imp_no(im, "works on bool, which this operator does not");
    return fb_imp_add_const(im, "", t, 0, NULL, v);
}

static bool is_unsigned(fb_dtype t)
{
    return t == FB_U8 || t == FB_U16 || t == FB_U32 || t == FB_U64;
}

fb_status fb_imp_relu(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), zero, y;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    if (is_float(fb_imp_shape(im, x)->dtype))
        return float_unary(im, FB_UNARY_RELU, 0, 0);
    FB_TRY(zero_of(im, fb_imp_shape(im, x)->dtype, &zero));
    FB_TRY(fb_imp_binary(im, FB_BINARY_MAX, x, zero, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_neg(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), zero, y;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    if (is_float(fb_imp_shape(im, x)->dtype))
        return float_unary(im, FB_UNARY_NEG, 0, 0);
    FB_TRY(zero_of(im, fb_imp_shape(im, x)->dtype, &zero));
    FB_TRY(fb_imp_binary(im, FB_BINARY_SUB, zero, x, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_abs(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), zero, y;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    fb_dtype t = fb_imp_shape(im, x)->dtype;
    if (is_float(t))
        return float_unary(im, FB_UNARY_ABS, 0, 0);
    if (is_unsigned(t))
        return fb_imp_set(im, 0, x);
    FB_TRY(zero_of(im, t, &zero));
    FB_TRY(fb_imp_binary(im, FB_BINARY_SUB, zero, x, &y));
    FB_TRY(fb_imp_binary(im, FB_BINARY_MAX, x, y, &y));
    return fb_imp_set(im, 0, y);
}

/* ---- clip ---------------------------------------------------------------------------------- */

/* Bound i of x as a scalar of the type t, which may be known at run time only. */
static fb_status apply_bound(fb_imp *im, uint32_t i, fb_dtype t, fb_binary kind, int32_t *y)
{
    int32_t b = fb_imp_in(im, i);
    int64_t n = 0;
    if (b < 0)
        return FB_OK;
    if (!fb_imp_elems(fb_imp_shape(im, b), &n) || n != 1)
        return fb_imp_bad(im, "%s has %lld elements, must have 1", i == 1 ? "min" : "max",
                          (long long)n);
    FB_TRY(fb_imp_reshape(im, b, 0, NULL, &b));
    FB_TRY(fb_imp_cast(im, b, t, &b));
    return fb_imp_binary(im, kind, *y, b, y);
}

static fb_status float_clip(fb_imp *im, int32_t x, int32_t *y)
{
    double bound[2] = {-(double)INFINITY, (double)INFINITY};
    for (uint32_t i = 0; i < 2; i++) {
        float attr;
        if (im->cur->opset < 11) {
            FB_TRY(fb_imp_attr_float(im, i ? "max" : "min", (float)bound[i], &attr));
            bound[i] = (double)attr;
        } else if (fb_imp_in(im, i + 1) >= 0) {
            FB_TRY(fb_imp_scalar(im, fb_imp_in(im, i + 1), i ? "max" : "min", &bound[i]));
        }
    }
    float lo = (float)bound[0], hi = (float)bound[1];
    if (lo > hi) /* max has the last word */
        lo = hi;
    return fb_imp_unary(im, FB_UNARY_CLIP, lo, hi, x, y);
}

fb_status fb_imp_clip(fb_imp *im)
{
    int32_t x, y;
    fb_dtype back = 0;
    FB_TRY(fb_imp_want_inputs(im, 1, im->cur->opset < 11 ? 1 : 3));
    x = fb_imp_in(im, 0);
    bool real = is_float(fb_imp_shape(im, x)->dtype), fixed = true;
    for (uint32_t i = 1; i <= 2; i++)
        fixed = fixed && (fb_imp_in(im, i) < 0 || fb_imp_is_const(im, fb_imp_in(im, i)));
    if (real)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    if (real && fixed) {
        FB_TRY(float_clip(im, x, &y));
        return fb_imp_set_as(im, 0, y, back);
    }
    if (im->cur->opset < 11)
        return fb_imp_bad(im, "works on %s, which needs opset 12",
                          fb_dtype_name(fb_imp_shape(im, x)->dtype));
    y = x;
    FB_TRY(apply_bound(im, 1, fb_imp_shape(im, x)->dtype, FB_BINARY_MAX, &y));
    FB_TRY(apply_bound(im, 2, fb_imp_shape(im, x)->dtype, FB_BINARY_MIN, &y));
    return fb_imp_set_as(im, 0, y, back);
}

/* ---- prelu --------------------------------------------------------------------------------- */

fb_status fb_imp_prelu(fb_imp *im)
{
    int32_t x, slope, y;
    fb_dtype back, ignore;
    FB_TRY(fb_imp_want_inputs(im, 2, 2));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 1), &slope, &ignore));
    const fb_shape *s = fb_imp_shape(im, slope);
    int32_t rank = fb_imp_shape(im, x)->rank;
    if (im->cur->opset < 7 && s->rank == 1 && s->dims[0] > 1 && rank > 2) {
        int64_t dims[FB_MAX_RANK] = {s->dims[0], 1, 1, 1, 1, 1, 1, 1}; /* one a channel, then */
        FB_TRY(fb_imp_reshape(im, slope, rank - 1, dims, &slope));
    }
    FB_TRY(fb_imp_emit(im, FB_OP_PRELU, NULL, 2, (int32_t[]){x, slope}, &y));
    return fb_imp_set_as(im, 0, y, back);
}
