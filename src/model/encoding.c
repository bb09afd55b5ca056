/* The table of encodings, plain tensors, and what holds for tensors of any encoding. */
#include "model/encoding.h"

#include "base/size.h"
#include "model/encoding_defs.h"
#include "model/model.h"
#include "model/sparse.h"
#include "numeric/half.h"

#include <stdio.h>

static const fb_encoding_def *const encodings[FB_ENC_COUNT] = {
    [FB_ENC_PLAIN] = &fb_encoding_plain,
    [FB_ENC_AFFINE] = &fb_encoding_affine,
    [FB_ENC_LEVELS] = &fb_encoding_levels,
    [FB_ENC_PRODUCT] = &fb_encoding_product,
};

const fb_encoding_def *fb_encoding_get(fb_enc_kind kind)
{
    return (unsigned)kind < FB_ENC_COUNT ? encodings[kind] : NULL;
}

bool fb_tensor_elems(const fb_tensor *t, int64_t batch, int64_t *n)
{
    int64_t total = 1;
    for (int32_t i = 0; i < t->rank; i++) {
        int64_t d = t->dims[i];
        if (d < 0 && (batch <= 0 || !fb_i64_mul(d, -batch, &d)))
            return false;
        if (d > FB_LIMIT_DIM || !fb_i64_mul(total, d, &total) || total > FB_LIMIT_ELEMS)
            return false;
    }
    *n = total;
    return true;
}

fb_status fb_tensor_payload_bytes(const fb_tensor *t, size_t *bytes)
{
    int64_t n;
    const fb_encoding_def *def = fb_encoding_get(t->enc.kind);
    if (!def)
        return fb_fail(FB_E_FORMAT, "tensor '%.200s' has the unknown encoding %d", t->name,
                       (int)t->enc.kind);
    if (!fb_tensor_elems(t, 0, &n) || (uint64_t)n > SIZE_MAX)
        return fb_fail(
            FB_E_LIMIT,
            "tensor '%.200s' has dims that depend on the batch or more than 2^40 elements",
            t->name);
    fb_status status = t->enc.sparse ? fb_sparse_bytes(t, (size_t)n, bytes)
                                     : def->payload_bytes(t, (size_t)n, bytes);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "tensor '%.200s'", t->name);
}

fb_status fb_tensor_decode(const fb_tensor *t, float *out)
{
    int64_t n;
    const fb_encoding_def *def = fb_encoding_get(t->enc.kind);
    if (!t->is_const || !t->data)
        return fb_fail(FB_E_ARG, "tensor '%.200s' has no payload to decode", t->name);
    FB_ENSURE(def && fb_tensor_elems(t, 0, &n));
    if (t->enc.sparse == FB_DENSE) {
        def->decode(t, 0, (size_t)n, out);
        return FB_OK;
    }
    fb_tensor dense;
    void *owned;
    FB_TRY(fb_sparse_expand(t, &dense, &owned));
    def->decode(&dense, 0, (size_t)n, out);
    fb_free(owned);
    return FB_OK;
}

/* ---- plain: elements of the tensor's dtype, row-major --------------------------------------- */

static fb_status plain_bytes(const fb_tensor *t, size_t n_elems, size_t *bytes)
{
    if (!fb_size_mul(n_elems, fb_dtype_bytes(t->dtype), bytes))
        return fb_fail(FB_E_LIMIT, "%zu elements of %s do not fit into memory", n_elems,
                       fb_dtype_name(t->dtype));
    return FB_OK;
}

static fb_status plain_validate(const fb_tensor *t)
{
    if (fb_dtype_bytes(t->dtype) == 0)
        return fb_fail(FB_E_FORMAT, "element type %d is unknown", (int)t->dtype);
    if (t->enc.n_scales != 0 || t->enc.scale || t->enc.zero)
        return fb_fail(FB_E_FORMAT, "plain elements have %u scales, must have none",
                       t->enc.n_scales);
    return FB_OK;
}

#define WIDEN(type, expr)                                                                          \
    do {                                                                                           \
        const type *x = (const type *)t->data + first;                                             \
        for (size_t i = 0; i < n; i++)                                                             \
            out[i] = (expr);                                                                       \
    } while (0)

static void plain_decode(const fb_tensor *t, size_t first, size_t n, float *out)
{
    switch (t->dtype) {
    case FB_F32:
        WIDEN(float, x[i]);
        break;
    case FB_F16:
        WIDEN(uint16_t, fb_f16_to_f32(x[i]));
        break;
    case FB_BF16:
        WIDEN(uint16_t, fb_bf16_to_f32(x[i]));
        break;
    case FB_F64:
        WIDEN(double, (float)x[i]);
        break;
    case FB_BOOL:
        WIDEN(uint8_t, x[i] != 0 ? 1.0f : 0.0f);
        break;
    case FB_U8:
        WIDEN(uint8_t, (float)x[i]);
        break;
    case FB_S8:
        WIDEN(int8_t, (float)x[i]);
        break;
    case FB_U16:
        WIDEN(uint16_t, (float)x[i]);
        break;
    case FB_S16:
        WIDEN(int16_t, (float)x[i]);
        break;
    case FB_U32:
        WIDEN(uint32_t, (float)x[i]);
        break;
    case FB_S32:
        WIDEN(int32_t, (float)x[i]);
        break;
    case FB_U64:
        WIDEN(uint64_t, (float)x[i]);
        break;
    case FB_S64:
        WIDEN(int64_t, (float)x[i]);
        break;
    }
}

static void plain_describe(const fb_tensor *t, char *text, size_t cap)
{
    (void)snprintf(text, cap, "%s", fb_dtype_name(t->dtype));
}

const fb_encoding_def fb_encoding_plain = {"plain", plain_bytes, plain_validate, plain_decode,
                                           plain_describe};
