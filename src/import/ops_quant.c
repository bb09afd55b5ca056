/* Quantised operators. Codes travel as encoded tensors: QuantizeLinear is a convert into an affine
 * encoding, then the codes seen as plain integers; DequantizeLinear is the way back. A constant
 * that is dequantised becomes an encoded constant, so weights stay as small as they were. */
#include "import/ops_dense.h"
#include "import/ops_window.h"

#include <math.h>
#include <string.h>

/* scale and zero point of a Q/DQ as lists. */
typedef struct params {
    fb_encoding enc; /* lists in the arena */
    fb_dtype store;
} params;

static unsigned bits_of(fb_dtype t)
{
    return t == FB_U16 || t == FB_S16 ? 16 : 8;
}

static bool is_code(fb_dtype t)
{
    return t == FB_U8 || t == FB_S8 || t == FB_U16 || t == FB_S16;
}

static int32_t code_at(const fb_imp_value *c, size_t i)
{
    const void *d = c->buf->data;
    switch (c->shape.dtype) {
    case FB_U8:
        return ((const uint8_t *)d)[i];
    case FB_S8:
        return ((const int8_t *)d)[i];
    case FB_U16:
        return ((const uint16_t *)d)[i];
    case FB_S16:
        return ((const int16_t *)d)[i];
    default:
        return ((const int32_t *)d)[i];
    }
}

static fb_status read_zero(fb_imp *im, int32_t v, fb_dtype store, fb_encoding *e)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    int64_t n;
    if (!c->is_const)
        return fb_imp_no(im, "the zero point is computed at run time; it must be a constant");
    if (c->shape.dtype != store)
        return fb_imp_bad(im, "the zero point is %s, the codes are %s",
                          fb_dtype_name(c->shape.dtype), fb_dtype_name(store));
    if (!fb_imp_elems(&c->shape, &n) || n != (int64_t)e->n_scales)
        return fb_imp_bad(im, "%lld zero points for %u scales", (long long)n, e->n_scales);
    bool any = false;
    int32_t *zero = fb_arena_array(im->arena, e->n_scales, sizeof *zero);
    if (!zero)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < e->n_scales; i++) {
        zero[i] = code_at(c, i);
        any = any || zero[i] != 0;
    }
    e->zero = any ? zero : NULL;
    return FB_OK;
}

/* `axis` counts where there is more than one scale. */
static fb_status read_params(fb_imp *im, int32_t scale, int32_t zero, fb_dtype store,
                             const fb_shape *x, int64_t axis, params *p)
{
    int32_t f;
    FB_TRY(fb_imp_const_f32(im, scale, "the scale", &f));
    size_t n = fb_imp_at(im, f)->buf->bytes / sizeof(float);
    const float *s = fb_imp_data(im, f);
    *p = (params){.store = store};
    p->enc = (fb_encoding){.kind = FB_ENC_AFFINE,
                           .bits = (uint8_t)bits_of(store),
                           .is_signed = store == FB_S8 || store == FB_S16,
                           .axis = -1,
                           .n_scales = (uint32_t)n};
    if (n != 1) {
        int32_t at;
        FB_TRY(fb_imp_axis(im, "axis", axis, x->rank, &at));
        if (fb_imp_shape(im, f)->rank != 1 || (int64_t)n != x->dims[at])
            return fb_imp_bad(im, "%zu scales for the %lld of axis %d", n, (long long)x->dims[at],
                              (int)at);
        p->enc.axis = (int8_t)at;
    }
    p->enc.scale = fb_arena_array(im->arena, n, sizeof(float));
    if (!p->enc.scale)
        return fb_imp_no_memory();
    for (size_t i = 0; i < n; i++) {
        p->enc.scale[i] = s[i];
        if (!isfinite(s[i]) || s[i] <= 0)
            return fb_imp_bad(im, "scale[%zu]=%g must be positive", i, (double)s[i]);
    }
    return zero >= 0 ? read_zero(im, zero, store, &p->enc) : FB_OK;
}

/* Codes as plain integers -> encoded tensor. */
static fb_status encoded(fb_imp *im, int32_t raw, const fb_encoding *enc, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, raw);
    if (!c->is_const)
        return fb_imp_emit_as(im, FB_OP_REINTERPRET, NULL, 1, &raw, FB_F32, enc, out);
    fb_shape s = c->shape;
    s.dtype = FB_F32;
    FB_TRY(fb_imp_add_const_buf(im, c->name, &s, fb_imp_buf_ref(c->buf), out));
    fb_imp_at(im, *out)->pack_bits = c->pack_bits;
    return fb_imp_copy_encoding(im, enc, &fb_imp_at(im, *out)->enc);
}

static fb_status plain_codes(fb_imp *im, int32_t enc, fb_dtype store, int32_t *out)
{
    return fb_imp_emit_as(im, FB_OP_REINTERPRET, NULL, 1, &enc, store, NULL, out);
}

/* ---- one scale a channel, for activations --------------------------------------------------- */

/* A constant list that broadcasts along `axis` of x. */
static fb_status along(fb_imp *im, const fb_shape *x, int32_t axis, const float *list, int32_t *v)
{
    int64_t dims[FB_MAX_RANK];
    for (int32_t i = 0; i < x->rank; i++)
        dims[i] = i == axis ? x->dims[i] : 1;
    FB_TRY(fb_imp_add_const(im, "", FB_F32, x->rank, dims, v));
    memcpy(fb_imp_data(im, *v), list, fb_imp_at(im, *v)->buf->bytes);
    return FB_OK;
}

static fb_status zeros_along(fb_imp *im, const fb_shape *x, const fb_encoding *e, int32_t *v)
{
    float *list = fb_arena_array(im->arena, e->n_scales, sizeof *list);
    if (!list)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < e->n_scales; i++)
        list[i] = (float)e->zero[i];
    return along(im, x, e->axis, list, v);
}

/* x / scale, rounded by an encoding of 16 bits with scale 1, then zero point and range. */
static fb_status quantize_axis(fb_imp *im, int32_t x, const params *p, int32_t *out)
{
    float one = 1;
    fb_encoding unit = {.kind = FB_ENC_AFFINE,
                        .bits = 16,
                        .is_signed = true,
                        .axis = -1,
                        .n_scales = 1,
                        .scale = &one};
    int32_t k, lo, hi;
    if (p->enc.bits > 8)
        return fb_imp_no(im, "16-bit codes with one scale a channel");
    FB_TRY(along(im, fb_imp_shape(im, x), p->enc.axis, p->enc.scale, &k));
    FB_TRY(fb_imp_binary(im, FB_BINARY_DIV, x, k, out));
    FB_TRY(fb_imp_emit_as(im, FB_OP_CONVERT, NULL, 1, out, 0, &unit, out));
    FB_TRY(plain_codes(im, *out, FB_S16, out));
    FB_TRY(fb_imp_cast(im, *out, FB_F32, out));
    if (p->enc.zero) {
        FB_TRY(zeros_along(im, fb_imp_shape(im, x), &p->enc, &k));
        FB_TRY(fb_imp_binary(im, FB_BINARY_ADD, *out, k, out));
    }
    FB_TRY(fb_imp_scalar_f32(im, p->enc.is_signed ? -128 : 0, &lo));
    FB_TRY(fb_imp_scalar_f32(im, p->enc.is_signed ? 127 : 255, &hi));
    FB_TRY(fb_imp_binary(im, FB_BINARY_MAX, *out, lo, out));
    FB_TRY(fb_imp_binary(im, FB_BINARY_MIN, *out, hi, out));
    return fb_imp_cast(im, *out, p->store, out);
}

/* (x - zero) * scale in f32, which holds all codes exactly. */
static fb_status dequantize_plain(fb_imp *im, int32_t x, const fb_encoding *e, int32_t *out)
{
    int32_t k;
    fb_shape s = *fb_imp_shape(im, x);
    FB_TRY(fb_imp_cast(im, x, FB_F32, out));
    if (e->zero) {
        FB_TRY(zeros_along(im, &s, e, &k));
        FB_TRY(fb_imp_binary(im, FB_BINARY_SUB, *out, k, out));
    }
    FB_TRY(along(im, &s, e->axis, e->scale, &k));
    return fb_imp_binary(im, FB_BINARY_MUL, *out, k, out);
}

/* ---- Q and DQ ------------------------------------------------------------------------------ */

static fb_status refuse_blocks(fb_imp *im)
{
    int64_t block;
    FB_TRY(fb_imp_attr_int(im, "block_size", 0, 0, INT32_MAX, &block));
    return block ? fb_imp_no(im, "block_size=%lld is not supported", (long long)block) : FB_OK;
}

fb_status fb_imp_quantize_linear(fb_imp *im)
{
    int32_t x, y, zero = fb_imp_in(im, 2);
    int64_t axis, type;
    fb_dtype back;
    params p;
    FB_TRY(fb_imp_want_inputs(im, 2, 3));
    FB_TRY(refuse_blocks(im));
    FB_TRY(fb_imp_attr_int(im, "axis", 1, -FB_MAX_RANK, FB_MAX_RANK, &axis));
    FB_TRY(fb_imp_attr_int(im, "output_dtype", 2, 0, INT32_MAX, &type));
    fb_dtype store = zero >= 0 ? fb_imp_shape(im, zero)->dtype : fb_imp_dtype(type ? type : 2);
    if (!is_code(store) || (zero >= 0 && fb_imp_at(im, zero)->pack_bits))
        return fb_imp_no(im, "codes of this type; 8 and 16 bits are supported");
    x = fb_imp_in(im, 0);
    if (fb_imp_shape(im, x)->dtype == FB_S32)
        FB_TRY(fb_imp_cast(im, x, FB_F32, &x));
    FB_TRY(fb_imp_float(im, x, &x, &back));
    FB_TRY(read_params(im, fb_imp_in(im, 1), zero, store, fb_imp_shape(im, x), axis, &p));
    if (p.enc.axis >= 0) {
        FB_TRY(quantize_axis(im, x, &p, &y));
        return fb_imp_set(im, 0, y);
    }
    FB_TRY(fb_imp_emit_as(im, FB_OP_CONVERT, NULL, 1, &x, 0, &p.enc, &y));
    FB_TRY(plain_codes(im, y, store, &y));
    return fb_imp_set(im, 0, y);
}

/* s32: q * scale; a bias, whose units the integer kernels find again. */
static fb_status dequantize_s32(fb_imp *im, int32_t x, const fb_encoding *e)
{
    int32_t y;
    if (e->n_scales == 1) {
        FB_TRY(fb_imp_scalar_f32(im, e->scale[0], &y));
        FB_TRY(fb_imp_cast(im, x, FB_F32, &x));
        FB_TRY(fb_imp_binary(im, FB_BINARY_MUL, x, y, &y));
    } else {
        FB_TRY(dequantize_plain(im, x, e, &y));
    }
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_dequantize_linear(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), y;
    int64_t axis;
    params p;
    FB_TRY(fb_imp_want_inputs(im, 2, 3));
    FB_TRY(refuse_blocks(im));
    FB_TRY(fb_imp_attr_int(im, "axis", 1, -FB_MAX_RANK, FB_MAX_RANK, &axis));
    fb_dtype store = fb_imp_shape(im, x)->dtype;
    if (!is_code(store) && store != FB_S32)
        return fb_imp_no(im, "codes are %s; 8, 16 and 32 bits are supported", fb_dtype_name(store));
    if (fb_imp_at(im, x)->alt)
        return fb_imp_no(im, "depends on the batch size");
    FB_TRY(
        read_params(im, fb_imp_in(im, 1), fb_imp_in(im, 2), store, fb_imp_shape(im, x), axis, &p));
    if (store == FB_S32) {
        if (p.enc.zero)
            return fb_imp_no(im, "32-bit codes with a zero point");
        return dequantize_s32(im, x, &p.enc);
    }
    bool constant = fb_imp_is_const(im, x);
    if (!constant && p.enc.axis >= 0) {
        FB_TRY(dequantize_plain(im, x, &p.enc, &y));
        return fb_imp_set(im, 0, y);
    }
    FB_TRY(encoded(im, x, &p.enc, &y));
    if (!constant)
        FB_TRY(fb_imp_emit_as(im, FB_OP_CONVERT, NULL, 1, &y, 0, NULL, &y));
    return fb_imp_set(im, 0, y);
}

/* ---- operators on codes -------------------------------------------------------------------- */

/* Inputs i, i+1, i+2 = codes, scale, zero point, as an encoded tensor. */
static fb_status operand(fb_imp *im, uint32_t i, int64_t axis, int32_t *out)
{
    params p;
    int32_t x = fb_imp_in(im, i);
    fb_dtype store = fb_imp_shape(im, x)->dtype;
    if (store != FB_U8 && store != FB_S8)
        return fb_imp_bad(im, "input %u is %s, must be u8 or s8", i, fb_dtype_name(store));
    if (fb_imp_at(im, x)->alt)
        return fb_imp_no(im, "depends on the batch size");
    FB_TRY(read_params(im, fb_imp_in(im, i + 1), fb_imp_in(im, i + 2), store, fb_imp_shape(im, x),
                       axis, &p));
    if (p.enc.axis >= 0 && !fb_imp_is_const(im, x))
        return fb_imp_no(im, "input %u has one scale a channel, but is no constant", i);
    return encoded(im, x, &p.enc, out);
}

static fb_status result(fb_imp *im, uint32_t i, params *p)
{
    static const fb_shape any = {.dtype = FB_F32};
    int32_t zero = fb_imp_in(im, i + 1);
    fb_dtype store = fb_imp_shape(im, zero)->dtype;
    if (store != FB_U8 && store != FB_S8)
        return fb_imp_bad(im, "the result's zero point is %s, must be u8 or s8",
                          fb_dtype_name(store));
    return read_params(im, fb_imp_in(im, i), zero, store, &any, 0, p);
}

/* The s32 bias counts in units of x_scale * w_scale; as f32 it is what those units say. */
static fb_status bias_f32(fb_imp *im, int32_t b, int32_t x, int32_t w, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, b);
    const fb_encoding *ex = &fb_imp_at(im, x)->enc, *ew = &fb_imp_at(im, w)->enc;
    if (!c->is_const)
        return fb_imp_no(im, "the bias '%s' is computed at run time; it must be a constant",
                         c->name);
    if (c->shape.dtype != FB_S32 || c->shape.rank != 1 ||
        (ew->n_scales != 1 && (int64_t)ew->n_scales != c->shape.dims[0]))
        return fb_imp_bad(im, "the bias must be a list of s32");
    FB_TRY(fb_imp_add_const(im, c->name, FB_F32, 1, c->shape.dims, out));
    for (int64_t i = 0; i < c->shape.dims[0]; i++) {
        double unit = (double)ex->scale[0] * (double)ew->scale[ew->n_scales == 1 ? 0 : i];
        ((float *)fb_imp_data(im, *out))[i] = (float)(((const int32_t *)c->buf->data)[i] * unit);
    }
    return FB_OK;
}

fb_status fb_imp_qlinear_conv(fb_imp *im)
{
    int32_t in[3] = {-1, -1, -1}, y, bias = fb_imp_in(im, 8);
    params p;
    FB_TRY(fb_imp_want_inputs(im, 8, 9));
    FB_TRY(operand(im, 0, 0, &in[0]));
    FB_TRY(operand(im, 3, 0, &in[1]));
    FB_TRY(result(im, 6, &p));
    if (bias >= 0)
        FB_TRY(bias_f32(im, bias, in[0], in[1], &in[2]));
    FB_TRY(fb_imp_conv_node(im, in, &p.enc, &y));
    FB_TRY(plain_codes(im, y, p.store, &y));
    return fb_imp_set(im, 0, y);
}

fb_status fb_imp_qlinear_matmul(fb_imp *im)
{
    int32_t a, b, y;
    params p;
    FB_TRY(fb_imp_want_inputs(im, 8, 8));
    FB_TRY(operand(im, 0, -2, &a));
    FB_TRY(operand(im, 3, -1, &b));
    FB_TRY(result(im, 6, &p));
    FB_TRY(fb_imp_matmul_node(im, a, b, &p.enc, &y));
    FB_TRY(plain_codes(im, y, p.store, &y));
    return fb_imp_set(im, 0, y);
}
