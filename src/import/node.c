/* Attributes, inputs and parameters of the ONNX node at hand. */
#include "import/import.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static fb_status sentence(fb_imp *im, fb_status status, const char *format, va_list args)
{
    vsnprintf(im->reason, sizeof im->reason, format, args);
    if (!im->cur)
        return fb_fail(status, "%s", im->reason);
    return fb_fail(status, "node '%s' (%s): %s", im->cur->name, im->cur->op, im->reason);
}

fb_status fb_imp_bad(fb_imp *im, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fb_status status = sentence(im, FB_E_FORMAT, format, args);
    va_end(args);
    return status;
}

fb_status fb_imp_no(fb_imp *im, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fb_status status = sentence(im, FB_E_UNSUPPORTED, format, args);
    va_end(args);
    return status;
}

int32_t fb_imp_in(const fb_imp *im, uint32_t i)
{
    return i < im->cur->n_in ? im->cur->in[i] : -1;
}

fb_status fb_imp_want_inputs(fb_imp *im, uint32_t least, uint32_t most)
{
    uint32_t n = im->cur->n_in;
    while (n > 0 && im->cur->in[n - 1] < 0)
        n--;
    if (n < least || n > most)
        return fb_imp_bad(im, "%u inputs, must be %u to %u", n, least, most);
    for (uint32_t i = 0; i < least; i++) {
        if (im->cur->in[i] < 0)
            return fb_imp_bad(im, "input %u is absent", i);
    }
    return FB_OK;
}

/* ---- attributes ---------------------------------------------------------------------------- */

static const Onnx__AttributeProto *find(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (node->attribute[i]->name && strcmp(node->attribute[i]->name, name) == 0)
            return node->attribute[i];
    }
    return NULL;
}

const Onnx__AttributeProto *fb_imp_attr(const fb_imp *im, const char *name)
{
    const fb_imp_call *call = im->cur;
    const Onnx__AttributeProto *a = find(call->node, name);
    /* Inside a function an attribute may stand for one of the call. */
    while (a && a->ref_attr_name && a->ref_attr_name[0]) {
        call = call->outer;
        if (!call)
            return NULL;
        a = find(call->node, a->ref_attr_name);
    }
    return a;
}

static fb_status want_type(fb_imp *im, const Onnx__AttributeProto *a, const char *name,
                           Onnx__AttributeProto__AttributeType type)
{
    if (a->has_type && a->type != type &&
        a->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return fb_imp_bad(im, "attribute %s has the wrong type", name);
    return FB_OK;
}

fb_status fb_imp_attr_int(fb_imp *im, const char *name, int64_t absent, int64_t lo, int64_t hi,
                          int64_t *out)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, name);
    *out = absent;
    if (!a)
        return FB_OK;
    FB_TRY(want_type(im, a, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT));
    *out = a->i;
    if (*out < lo || *out > hi)
        return fb_imp_bad(im, "%s=%lld must be within %lld..%lld", name, (long long)*out,
                          (long long)lo, (long long)hi);
    return FB_OK;
}

fb_status fb_imp_attr_float(fb_imp *im, const char *name, float absent, float *out)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, name);
    *out = absent;
    if (!a)
        return FB_OK;
    FB_TRY(want_type(im, a, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT));
    *out = a->f;
    if (isnan(*out))
        return fb_imp_bad(im, "%s is not a number", name);
    return FB_OK;
}

fb_status fb_imp_attr_choice(fb_imp *im, const char *name, const char *choices, int absent,
                             int *out)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, name);
    *out = absent;
    if (!a)
        return FB_OK;
    FB_TRY(want_type(im, a, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING));
    int index = 0;
    for (const char *p = choices; *p; index++) {
        size_t n = strcspn(p, "|");
        if (a->s.len == n && memcmp(a->s.data, p, n) == 0) {
            *out = index;
            return FB_OK;
        }
        p += n;
        p += *p == '|';
    }
    return fb_imp_no(im, "%s='%.*s' is none of %s", name, (int)(a->s.len < 64 ? a->s.len : 64),
                     a->s.data ? (const char *)a->s.data : "", choices);
}

fb_status fb_imp_attr_ints(fb_imp *im, const char *name, const int64_t **out, size_t *n)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, name);
    *out = NULL;
    *n = 0;
    if (!a)
        return FB_OK;
    FB_TRY(want_type(im, a, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS));
    *out = a->ints;
    *n = a->n_ints;
    return FB_OK;
}

fb_status fb_imp_attr_floats(fb_imp *im, const char *name, const float **out, size_t *n)
{
    const Onnx__AttributeProto *a = fb_imp_attr(im, name);
    *out = NULL;
    *n = 0;
    if (!a)
        return FB_OK;
    FB_TRY(want_type(im, a, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS));
    *out = a->floats;
    *n = a->n_floats;
    return FB_OK;
}

fb_status fb_imp_attr_window(fb_imp *im, const char *name, size_t n, int32_t absent, int32_t lo,
                             int32_t *out)
{
    const int64_t *v;
    size_t have;
    FB_TRY(fb_imp_attr_ints(im, name, &v, &have));
    for (size_t i = 0; i < n; i++)
        out[i] = absent;
    if (have == 0)
        return FB_OK;
    if (have != n)
        return fb_imp_bad(im, "%s has %zu numbers, must have %zu", name, have, n);
    for (size_t i = 0; i < n; i++) {
        if (v[i] < lo || v[i] > 1 << 24)
            return fb_imp_bad(im, "%s[%zu]=%lld must be within %d..%d", name, i, (long long)v[i],
                              (int)lo, 1 << 24);
        out[i] = (int32_t)v[i];
    }
    return FB_OK;
}

fb_status fb_imp_axis(fb_imp *im, const char *name, int64_t axis, int32_t rank, int32_t *out)
{
    if (axis < -rank || axis >= rank)
        return fb_imp_bad(im, "%s=%lld must be within %d..%d", name, (long long)axis, -(int)rank,
                          (int)rank - 1);
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return FB_OK;
}

fb_status fb_imp_attr_axis(fb_imp *im, const char *name, int64_t absent, int32_t rank, bool to_end,
                           int32_t *out)
{
    int64_t axis;
    FB_TRY(fb_imp_attr_int(im, name, absent, INT64_MIN, INT64_MAX, &axis));
    if (to_end && axis == rank) {
        *out = rank;
        return FB_OK;
    }
    return fb_imp_axis(im, name, axis, rank, out);
}

/* ---- constants as parameters --------------------------------------------------------------- */

static bool int_at(const fb_imp_value *c, const fb_imp_buf *b, size_t i, int64_t *out)
{
    switch (c->shape.dtype) {
    case FB_S64:
        *out = ((const int64_t *)b->data)[i];
        return true;
    case FB_S32:
        *out = ((const int32_t *)b->data)[i];
        return true;
    case FB_U8:
    case FB_BOOL:
        *out = ((const uint8_t *)b->data)[i];
        return true;
    case FB_S8:
        *out = ((const int8_t *)b->data)[i];
        return true;
    default:
        return false;
    }
}

fb_status fb_imp_ints(fb_imp *im, int32_t v, const char *what, const int64_t **out, size_t *n)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    int64_t elems = 0;
    *out = NULL;
    *n = 0;
    if (!c->is_const)
        return fb_imp_no(im, "%s is computed at run time ('%s'), must be a constant", what,
                         c->name);
    if (c->shape.rank > 1 || !fb_imp_elems(&c->shape, &elems))
        return fb_imp_bad(im, "%s has %d dimensions, must be a list", what, (int)c->shape.rank);
    int64_t *list = fb_arena_array(im->arena, (size_t)elems + 1, sizeof *list);
    if (!list)
        return fb_imp_no_memory();
    for (size_t i = 0; i < (size_t)elems; i++) {
        int64_t second;
        if (!int_at(c, c->buf, i, &list[i]))
            return fb_imp_bad(im, "%s is %s, must be integers", what,
                              fb_dtype_name(c->shape.dtype));
        if (!c->alt)
            continue;
        (void)int_at(c, c->alt, i, &second);
        bool multiple = list[i] % FB_BATCH_MARK == 0 && second / 2 == list[i] && second % 2 == 0;
        if (second != list[i] && !multiple)
            return fb_imp_no(im,
                             "%s[%zu] depends on the batch size, but is no multiple of it; "
                             "import with a fixed batch",
                             what, i);
    }
    *out = list;
    *n = (size_t)elems;
    return FB_OK;
}

fb_status fb_imp_param_ints(fb_imp *im, const char *name, uint32_t i, int64_t since,
                            const int64_t **out, size_t *n, bool *present)
{
    *out = NULL;
    *n = 0;
    if (im->cur->opset < since) {
        *present = fb_imp_attr(im, name) != NULL;
        return fb_imp_attr_ints(im, name, out, n);
    }
    *present = fb_imp_in(im, i) >= 0;
    return *present ? fb_imp_ints(im, fb_imp_in(im, i), name, out, n) : FB_OK;
}

fb_status fb_imp_scalar(fb_imp *im, int32_t v, const char *what, double *out)
{
    int64_t n = 0, i64;
    int32_t f;
    const fb_imp_value *c = fb_imp_at(im, v);
    if (!c->is_const)
        return fb_imp_no(im, "%s is computed at run time ('%s'), must be a constant", what,
                         c->name);
    if (!fb_imp_elems(&c->shape, &n) || n != 1)
        return fb_imp_bad(im, "%s has %lld elements, must have 1", what, (long long)n);
    if (c->alt)
        return fb_imp_no(im, "%s depends on the batch size; import with a fixed batch", what);
    if (c->enc.kind == FB_ENC_PLAIN && int_at(c, c->buf, 0, &i64)) {
        *out = (double)i64;
        return FB_OK;
    }
    if (c->shape.dtype == FB_F64) {
        *out = *(const double *)c->buf->data;
        return FB_OK;
    }
    FB_TRY(fb_imp_const_f32(im, v, what, &f));
    *out = (double)*(const float *)fb_imp_data(im, f);
    return FB_OK;
}

fb_status fb_imp_const_f32(fb_imp *im, int32_t v, const char *what, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    if (!c->is_const)
        return fb_imp_no(im, "%s is computed at run time ('%s'), must be a constant", what,
                         c->name);
    if (c->alt)
        return fb_imp_no(im, "%s depends on the batch size; import with a fixed batch", what);
    *out = v;
    if (c->enc.kind == FB_ENC_PLAIN && c->shape.dtype == FB_F32)
        return FB_OK;
    return fb_imp_decode_const(im, v, out);
}

/* ---- half and double floats ---------------------------------------------------------------- */

fb_status fb_imp_float(fb_imp *im, int32_t x, int32_t *out, fb_dtype *back)
{
    fb_dtype t = fb_imp_shape(im, x)->dtype;
    *back = 0;
    *out = x;
    if (t == FB_F32)
        return FB_OK;
    if (t != FB_F16 && t != FB_BF16 && t != FB_F64)
        return fb_imp_no(im, "works on %s, which this operator does not", fb_dtype_name(t));
    *back = t;
    return fb_imp_cast(im, x, FB_F32, out);
}

fb_status fb_imp_set_as(fb_imp *im, uint32_t k, int32_t v, fb_dtype back)
{
    if (back)
        FB_TRY(fb_imp_cast(im, v, back, &v));
    return fb_imp_set(im, k, v);
}
