/* Shape arithmetic: s64 and s32 constants through the operators that exporters build shapes with.
 */
#include "import/import.h"

#include <string.h>

static bool is_int(fb_dtype t)
{
    return t == FB_S64 || t == FB_S32;
}

/* The payload for a batch of one mark, or of two. */
static const void *payload(const fb_imp *im, int32_t v, bool alt)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    return (alt && c->alt ? c->alt : c->buf)->data;
}

static int64_t get(fb_dtype t, const void *data, size_t i)
{
    return t == FB_S64 ? ((const int64_t *)data)[i] : ((const int32_t *)data)[i];
}

static bool put(fb_dtype t, void *data, size_t i, int64_t value)
{
    if (t == FB_S64) {
        ((int64_t *)data)[i] = value;
        return true;
    }
    ((int32_t *)data)[i] = (int32_t)value;
    return value == (int32_t)value;
}

static bool combine(int32_t kind, int64_t a, int64_t b, int64_t *r)
{
    switch (kind) {
    case FB_BINARY_ADD:
        return fb_i64_add(a, b, r);
    case FB_BINARY_SUB:
        return !__builtin_sub_overflow(a, b, r);
    case FB_BINARY_MUL:
        return fb_i64_mul(a, b, r);
    case FB_BINARY_DIV:
        if (b == 0 || (a == INT64_MIN && b == -1))
            return false;
        *r = a / b;
        return true;
    case FB_BINARY_MAX:
        *r = a > b ? a : b;
        return true;
    case FB_BINARY_MIN:
        *r = a < b ? a : b;
        return true;
    default:
        return false;
    }
}

/* Lists and scalars of equal length, or one of them with a single element. */
static bool binary(const fb_imp *im, const fb_node *n, bool alt, const fb_shape *out, void *dst)
{
    int64_t n_out, len[2];
    if (out->rank > 1 || !fb_imp_elems(out, &n_out))
        return false;
    for (int i = 0; i < 2; i++) {
        const fb_shape *s = fb_imp_shape(im, n->in[i]);
        if (s->dtype != out->dtype || !fb_imp_elems(s, &len[i]) || (len[i] != 1 && len[i] != n_out))
            return false;
    }
    for (size_t i = 0; i < (size_t)n_out; i++) {
        int64_t a = get(out->dtype, payload(im, n->in[0], alt), len[0] == 1 ? 0 : i);
        int64_t b = get(out->dtype, payload(im, n->in[1], alt), len[1] == 1 ? 0 : i), r;
        if (!combine(n->attr.binary.kind, a, b, &r) || !put(out->dtype, dst, i, r))
            return false;
    }
    return true;
}

static bool concat(const fb_imp *im, const fb_node *n, bool alt, const fb_shape *out, char *dst)
{
    size_t size = fb_dtype_bytes(out->dtype), at = 0;
    if (out->rank != 1)
        return false;
    for (uint32_t i = 0; i < n->n_in; i++) {
        const fb_shape *s = fb_imp_shape(im, n->in[i]);
        memcpy(dst + at, payload(im, n->in[i], alt), (size_t)s->dims[0] * size);
        at += (size_t)s->dims[0] * size;
    }
    return true;
}

static bool slice(const fb_imp *im, const fb_node *n, bool alt, const fb_shape *out, char *dst)
{
    const fb_attr_slice *a = &n->attr.slice;
    size_t size = fb_dtype_bytes(out->dtype);
    if (out->rank != 1)
        return false;
    const char *src = payload(im, n->in[0], alt);
    for (int64_t i = 0; i < out->dims[0]; i++)
        memcpy(dst + (size_t)i * size, src + (size_t)(a->start[0] + i * a->step[0]) * size, size);
    return true;
}

static bool gather(const fb_imp *im, const fb_node *n, bool alt, const fb_shape *out, char *dst)
{
    const fb_shape *x = fb_imp_shape(im, n->in[0]), *index = fb_imp_shape(im, n->in[1]);
    size_t size = fb_dtype_bytes(out->dtype);
    int64_t count;
    if (x->rank != 1 || !is_int(index->dtype) || !fb_imp_elems(index, &count))
        return false;
    const char *src = payload(im, n->in[0], alt);
    for (size_t i = 0; i < (size_t)count; i++) {
        int64_t k = get(index->dtype, payload(im, n->in[1], alt), i);
        k = k < 0 ? k + x->dims[0] : k;
        if (k < 0 || k >= x->dims[0])
            return false;
        memcpy(dst + i * size, src + (size_t)k * size, size);
    }
    return true;
}

static bool cast(const fb_imp *im, const fb_node *n, bool alt, const fb_shape *out, void *dst)
{
    int64_t count;
    fb_dtype from = fb_imp_shape(im, n->in[0])->dtype;
    if (!is_int(from) || !fb_imp_elems(out, &count))
        return false;
    for (size_t i = 0; i < (size_t)count; i++) {
        if (!put(out->dtype, dst, i, get(from, payload(im, n->in[0], alt), i)))
            return false;
    }
    return true;
}

static bool same_bytes(const fb_imp *im, const fb_node *n, bool alt, void *dst, size_t bytes)
{
    memcpy(dst, payload(im, n->in[0], alt), bytes);
    return true;
}

fb_status fb_imp_fold_int(fb_imp *im, const fb_node *node, bool alt, const fb_shape *out, void *dst,
                          bool *done)
{
    *done = false;
    if (!is_int(out->dtype))
        return FB_OK;
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] < 0 || !is_int(fb_imp_shape(im, node->in[i])->dtype))
            return FB_OK;
    }
    int64_t n;
    if (!fb_imp_elems(out, &n))
        return FB_OK;
    switch (node->op) {
    case FB_OP_BINARY:
        *done = binary(im, node, alt, out, dst);
        break;
    case FB_OP_CONCAT:
        *done = concat(im, node, alt, out, dst);
        break;
    case FB_OP_SLICE:
        *done = slice(im, node, alt, out, dst);
        break;
    case FB_OP_GATHER:
        *done = gather(im, node, alt, out, dst);
        break;
    case FB_OP_CAST:
        *done = cast(im, node, alt, out, dst);
        break;
    case FB_OP_RESHAPE:
        *done = same_bytes(im, node, alt, dst, (size_t)n * fb_dtype_bytes(out->dtype));
        break;
    default:
        break;
    }
    return FB_OK;
}
