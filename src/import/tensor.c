/* TensorProto -> constant. Payloads are taken over from the message where their form allows it. */
#include "import/import.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { UINT4 = 21, INT4 = 22 };

fb_dtype fb_imp_dtype(int64_t t)
{
    switch (t) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
    case 16:
        return (fb_dtype)t;
    default:
        return 0;
    }
}

fb_dtype fb_imp_store_dtype(unsigned bits, bool is_signed)
{
    if (bits > 8)
        return is_signed ? FB_S16 : FB_U16;
    return is_signed ? FB_S8 : FB_U8;
}

static fb_status tensor_shape(const Onnx__TensorProto *t, const char *name, fb_shape *s)
{
    int64_t n;
    if (t->n_dims > FB_MAX_RANK)
        return fb_fail(FB_E_UNSUPPORTED, "tensor '%s' has %zu dimensions; at most %d are possible",
                       name, t->n_dims, FB_MAX_RANK);
    s->rank = (int32_t)t->n_dims;
    for (size_t i = 0; i < t->n_dims; i++) {
        s->dims[i] = t->dims[i];
        if (t->dims[i] < 0 || t->dims[i] > FB_LIMIT_DIM)
            return fb_fail(FB_E_FORMAT, "tensor '%s': dims[%zu]=%lld must be within 0..2^31", name,
                           i, (long long)t->dims[i]);
    }
    if (!fb_imp_elems(s, &n))
        return fb_fail(FB_E_LIMIT, "tensor '%s' has more than 2^40 elements", name);
    return FB_OK;
}

/* ---- external data ------------------------------------------------------------------------- */

/* A path that stays within the model's folder: relative, without "..". */
static bool confined(const char *path)
{
    if (path[0] == '\0' || path[0] == '/' || strchr(path, '\\') || strchr(path, ':'))
        return false;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += n;
        p += *p == '/';
    }
    return true;
}

static fb_status number(const char *text, const char *name, const char *key, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || errno)
        return fb_fail(FB_E_FORMAT, "tensor '%s': external %s '%s' is no number", name, key,
                       text ? text : "");
    *out = v;
    return FB_OK;
}

static fb_status map_external(fb_imp *im, const char *location, const char *name)
{
    char *path = fb_arena_alloc(im->arena, strlen(im->folder) + strlen(location) + 2);
    if (!path)
        return fb_imp_no_memory();
    size_t n = strlen(im->folder);
    memcpy(path, im->folder, n);
    if (n && path[n - 1] != '/')
        path[n++] = '/';
    memcpy(path + n, location, strlen(location) + 1);
    if (im->ext_path && strcmp(im->ext_path, path) == 0)
        return FB_OK;
    fb_file_unmap(im->ext_map, im->ext_bytes);
    im->ext_map = NULL;
    im->ext_path = NULL;
    im->ext_bytes = 0;
    fb_status status = fb_file_map(path, &im->ext_map, &im->ext_bytes);
    if (status != FB_OK)
        return fb_fail_in(status, "tensor '%s' keeps its data in another file", name);
    im->ext_path = path;
    return FB_OK;
}

/* Copies the slice of the external file that holds the tensor. */
static fb_status external(fb_imp *im, const Onnx__TensorProto *t, const char *name, size_t bytes,
                          void **data)
{
    const char *location = NULL;
    uint64_t offset = 0, length = bytes;
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
        if (!key || !value)
            continue;
        if (strcmp(key, "location") == 0)
            location = value;
        else if (strcmp(key, "offset") == 0)
            FB_TRY(number(value, name, key, &offset));
        else if (strcmp(key, "length") == 0)
            FB_TRY(number(value, name, key, &length));
    }
    if (!location)
        return fb_fail(FB_E_FORMAT, "tensor '%s' has external data without a location", name);
    if (!confined(location))
        return fb_fail(FB_E_FORMAT,
                       "tensor '%s': external location '%s' must be a path inside the model's "
                       "folder",
                       name, location);
    if (!im->folder)
        return fb_fail(FB_E_ARG, "tensor '%s' needs the file '%s', but no folder was given", name,
                       location);
    if (length != bytes)
        return fb_fail(FB_E_FORMAT, "tensor '%s': external length=%llu, its dims need %zu bytes",
                       name, (unsigned long long)length, bytes);
    FB_TRY(map_external(im, location, name));
    if (offset > im->ext_bytes || bytes > im->ext_bytes - offset)
        return fb_fail(FB_E_FORMAT,
                       "tensor '%s': external offset=%llu and %zu bytes exceed the %zu bytes of "
                       "'%s'",
                       name, (unsigned long long)offset, bytes, im->ext_bytes, location);
    *data = fb_alloc(bytes);
    if (!*data)
        return fb_imp_no_memory();
    if (bytes)
        memcpy(*data, (const char *)im->ext_map + offset, bytes);
    return FB_OK;
}

/* ---- data inside the message --------------------------------------------------------------- */

/* Takes an array of the message; inside a function a copy, since the function may be called again.
 * NULL: no memory. */
static void *take(const fb_imp *im, void *field, size_t *n, size_t bytes)
{
    void *data, *none = NULL;
    memcpy(&data, field, sizeof data);
    if (im->cur && im->cur->outer) {
        void *copy = fb_alloc(bytes);
        if (copy)
            memcpy(copy, data, bytes);
        return copy;
    }
    memcpy(field, &none, sizeof none);
    *n = 0;
    return data;
}

static fb_status wrong_count(const char *name, size_t have, size_t want, const char *unit)
{
    return fb_fail(FB_E_FORMAT, "tensor '%s' has %zu %s of data, its dims need %zu", name, have,
                   unit, want);
}

/* int32_data holds the small types, one element a number. */
static fb_status narrow(const Onnx__TensorProto *t, const char *name, fb_dtype dtype, size_t n,
                        void **data)
{
    size_t each = fb_dtype_bytes(dtype);
    if (t->n_int32_data != n)
        return wrong_count(name, t->n_int32_data, n, "numbers");
    *data = fb_calloc(n, each);
    if (!*data)
        return fb_imp_no_memory();
    for (size_t i = 0; i < n; i++) {
        if (each == 1)
            ((uint8_t *)*data)[i] = (uint8_t)t->int32_data[i];
        else
            ((uint16_t *)*data)[i] = (uint16_t)t->int32_data[i];
    }
    return FB_OK;
}

static fb_status typed(const fb_imp *im, Onnx__TensorProto *t, const char *name, fb_dtype dtype,
                       size_t n, void **data)
{
    size_t have;
    switch (dtype) {
    case FB_F32:
        if ((have = t->n_float_data) == n && n)
            *data = take(im, &t->float_data, &t->n_float_data, n * fb_dtype_bytes(dtype));
        break;
    case FB_S32:
        if ((have = t->n_int32_data) == n && n)
            *data = take(im, &t->int32_data, &t->n_int32_data, n * fb_dtype_bytes(dtype));
        break;
    case FB_S64:
        if ((have = t->n_int64_data) == n && n)
            *data = take(im, &t->int64_data, &t->n_int64_data, n * fb_dtype_bytes(dtype));
        break;
    case FB_F64:
        if ((have = t->n_double_data) == n && n)
            *data = take(im, &t->double_data, &t->n_double_data, n * fb_dtype_bytes(dtype));
        break;
    case FB_U64:
        if ((have = t->n_uint64_data) == n && n)
            *data = take(im, &t->uint64_data, &t->n_uint64_data, n * fb_dtype_bytes(dtype));
        break;
    case FB_U32:
        have = t->n_uint64_data;
        if (have == n && n) {
            *data = fb_calloc(n, 4);
            for (size_t i = 0; *data && i < n; i++)
                ((uint32_t *)*data)[i] = (uint32_t)t->uint64_data[i];
        }
        break;
    default:
        return narrow(t, name, dtype, n, data);
    }
    if (have != n)
        return wrong_count(name, have, n, "numbers");
    if (!*data)
        *data = n ? NULL : fb_alloc(0);
    return *data ? FB_OK : fb_imp_no_memory();
}

static fb_status payload(fb_imp *im, Onnx__TensorProto *t, const char *name, fb_dtype dtype,
                         size_t n, void **data)
{
    size_t bytes;
    if (!fb_size_mul(n, fb_dtype_bytes(dtype), &bytes))
        return fb_fail(FB_E_LIMIT, "tensor '%s' is too large", name);
    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return external(im, t, name, bytes, data);
    if (!t->has_raw_data)
        return typed(im, t, name, dtype, n, data);
    if (t->raw_data.len != bytes)
        return wrong_count(name, t->raw_data.len, bytes, "bytes");
    if (bytes == 0)
        return (*data = fb_alloc(0)) ? FB_OK : fb_imp_no_memory();
    *data = take(im, &t->raw_data.data, &t->raw_data.len, bytes);
    return *data ? FB_OK : fb_imp_no_memory();
}

/* ---- 4 bits -------------------------------------------------------------------------------- */

/* Two elements a byte, low half first: one byte each here, packed again at the end. */
static fb_status four_bits(fb_imp *im, Onnx__TensorProto *t, const char *name, bool is_signed,
                           const fb_shape *s, size_t n, int32_t *v)
{
    void *packed = NULL;
    if (!t->has_raw_data && t->n_int32_data == n / 2 + n % 2)
        FB_TRY(narrow(t, name, FB_U8, n / 2 + n % 2, &packed));
    else
        FB_TRY(payload(im, t, name, FB_U8, n / 2 + n % 2, &packed));
    fb_imp_buf *buf = fb_imp_buf_new(n);
    for (size_t i = 0; buf && i < n; i++)
        ((int8_t *)buf->data)[i] = (int8_t)fb_packed_get(packed, i, 4, is_signed);
    fb_free(packed);
    FB_TRY(fb_imp_add_const_buf(im, name, s, buf, v));
    fb_imp_at(im, *v)->pack_bits = 4;
    return FB_OK;
}

fb_status fb_imp_tensor(fb_imp *im, Onnx__TensorProto *t, const char *name, int32_t *v)
{
    fb_shape s = {0};
    int64_t n = 0;
    FB_TRY(tensor_shape(t, name, &s));
    (void)fb_imp_elems(&s, &n);
    if (t->segment)
        return fb_fail(FB_E_UNSUPPORTED, "tensor '%s' is stored in segments", name);
    if (t->data_type == UINT4 || t->data_type == INT4) {
        s.dtype = t->data_type == INT4 ? FB_S8 : FB_U8;
        return four_bits(im, t, name, t->data_type == INT4, &s, (size_t)n, v);
    }
    s.dtype = fb_imp_dtype(t->data_type);
    if (s.dtype == 0)
        return fb_fail(FB_E_UNSUPPORTED, "tensor '%s' has the ONNX element type %d%s", name,
                       (int)t->data_type, t->data_type == 8 ? " (strings)" : "");
    void *data = NULL;
    FB_TRY(payload(im, t, name, s.dtype, (size_t)n, &data));
    if (s.dtype == FB_BOOL) {
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)data)[i] = ((uint8_t *)data)[i] != 0;
    }
    return fb_imp_add_const_buf(im, name, &s,
                                fb_imp_buf_adopt(data, (size_t)n * fb_dtype_bytes(s.dtype)), v);
}
