/* Encodings: packed integers, which scale belongs to which element, decoding of every type, texts,
 * and what validation refuses. */
#include "base/hash.h"
#include "base/status.h"
#include "model/model.h"
#include "numeric/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_packed_layout(void **state)
{
    (void)state;
    /* least significant bit first, no padding: 3-bit 1, 2, 7, 4 is 100 111 010 001 read downwards
     */
    uint8_t data[2] = {0, 0};
    const int32_t q[4] = {1, 2, 7, 4};
    for (size_t i = 0; i < 4; i++)
        fb_packed_put(data, i, 3, q[i]);
    assert_int_equal(data[0], 0xd1);
    assert_int_equal(data[1], 0x09);
    assert_int_equal(fb_packed_get(data, 2, 3, false), 7);
    assert_int_equal(fb_packed_get(data, 2, 3, true), -1);
    assert_int_equal(fb_packed_get(data, 3, 3, true), -4);
}

static void test_packed_round_trip(void **state)
{
    (void)state;
    enum { COUNT = 37 };
    for (unsigned bits = 1; bits <= 16; bits++) {
        for (int is_signed = 0; is_signed <= 1; is_signed++) {
            size_t bytes;
            assert_true(fb_packed_bytes(COUNT, bits, &bytes));
            assert_int_equal(bytes, (COUNT * bits + 7) / 8);
            uint8_t *data = calloc(bytes, 1); /* exactly so many: sanitizers see a touch beyond */
            int32_t lo = is_signed ? -(1 << (bits - 1)) : 0, want[COUNT];
            for (int i = 0; i < COUNT; i++) {
                want[i] = lo + (int32_t)((unsigned)i * 2654435761u % (1u << bits));
                fb_packed_put(data, (size_t)i, bits, want[i]);
            }
            for (int i = 0; i < COUNT; i++)
                assert_int_equal(fb_packed_get(data, (size_t)i, bits, is_signed), want[i]);
            free(data);
        }
    }
    /* 8 and 16 bits are plain arrays */
    int8_t a[3] = {-128, 5, 127};
    int16_t b[3] = {-32768, 5, 32767};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fb_packed_get((uint8_t *)a, i, 8, true), a[i]);
        assert_int_equal(fb_packed_get((uint8_t *)b, i, 16, true), b[i]);
    }
    size_t bytes;
    assert_false(fb_packed_bytes(SIZE_MAX, 16, &bytes));
    assert_true(fb_packed_bytes(SIZE_MAX, 7, &bytes));
    assert_true(fb_packed_bytes(0, 7, &bytes) && bytes == 0);
}

static fb_tensor affine(const int64_t *dims, int32_t rank, int8_t axis, uint32_t group,
                        uint32_t n_scales, float *scale)
{
    fb_tensor t = {.name = "t", .dtype = FB_F32, .rank = rank, .is_const = true};
    memcpy(t.dims, dims, (size_t)rank * sizeof dims[0]);
    t.enc = (fb_encoding){.kind = FB_ENC_AFFINE,
                          .bits = 8,
                          .is_signed = true,
                          .axis = axis,
                          .group = group,
                          .n_scales = n_scales,
                          .scale = scale};
    return t;
}

/* The definition in encoding.h, spelled out: elements of one index of the axis, in order. */
static uint32_t scale_by_counting(const fb_tensor *t, const int64_t dims[3], size_t element)
{
    size_t seen[16] = {0};
    size_t each = (size_t)(dims[0] * dims[1] * dims[2] / dims[t->enc.axis]);
    size_t groups = t->enc.group ? (each + t->enc.group - 1) / t->enc.group : 1;
    for (size_t i = 0;; i++) {
        size_t index[3] = {i / (size_t)(dims[1] * dims[2]), i / (size_t)dims[2] % (size_t)dims[1],
                           i % (size_t)dims[2]};
        size_t along = index[t->enc.axis], within = seen[along]++;
        if (i == element)
            return (uint32_t)(along * groups + (t->enc.group ? within / t->enc.group : 0));
    }
}

static void test_scale_index_and_decode(void **state)
{
    (void)state;
    const int64_t dims[3] = {3, 4, 5};
    float scale[64], out[60], part[60];
    int32_t zero[64];
    int8_t q[60];
    for (int i = 0; i < 64; i++) {
        scale[i] = 0.5f + (float)i;
        zero[i] = i - 30;
    }
    for (int i = 0; i < 60; i++)
        q[i] = (int8_t)(i * 4 - 120);
    for (int8_t axis = 0; axis < 3; axis++) {
        for (uint32_t group = 0; group < 24; group++) {
            fb_tensor t = affine(dims, 3, axis, group, 0, scale);
            uint64_t n;
            assert_true(fb_affine_scale_count(&t, &n));
            uint32_t each = 60 / (uint32_t)dims[axis];
            uint32_t groups = group ? (each + group - 1) / group : 1;
            assert_int_equal(n, (uint64_t)dims[axis] * groups);
            t.enc.n_scales = (uint32_t)n;
            t.enc.zero = zero;
            t.data = q;
            t.data_bytes = 60;
            assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
            assert_int_equal(fb_tensor_decode(&t, out), FB_OK);
            for (size_t i = 0; i < 60; i++) {
                uint32_t s = scale_by_counting(&t, dims, i);
                assert_int_equal(fb_affine_scale_index(&t, i), s);
                assert_true(out[i] == scale[s] * (float)(q[i] - zero[s]));
            }
            /* any part decodes like the whole */
            fb_encoding_get(FB_ENC_AFFINE)->decode(&t, 13, 29, part);
            assert_memory_equal(part, out + 13, 29 * sizeof out[0]);
        }
    }
}

static void test_decode_bits(void **state)
{
    (void)state;
    float scale = 0.25f, out[5];
    int32_t zero = 8;
    uint8_t data[4] = {0};
    const int64_t dims[1] = {5};
    fb_tensor t = affine(dims, 1, -1, 0, 1, &scale);
    t.enc.bits = 5;
    t.enc.is_signed = false;
    t.enc.zero = &zero;
    t.data = data;
    for (size_t i = 0; i < 5; i++)
        fb_packed_put(data, i, 5, (int32_t)(i * 7));
    size_t bytes;
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_OK);
    assert_int_equal(bytes, 4);
    assert_int_equal(fb_tensor_decode(&t, out), FB_OK);
    for (int i = 0; i < 5; i++)
        assert_true(out[i] == 0.25f * (float)(i * 7 - 8));
}

static void decode_plain(fb_dtype dtype, const void *data, const float *want, int64_t n)
{
    float out[8];
    fb_tensor t = {.name = "t",
                   .dtype = dtype,
                   .rank = 1,
                   .dims = {n},
                   .is_const = true,
                   .data = data,
                   .enc = {.axis = -1}};
    size_t bytes;
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_OK);
    assert_int_equal(bytes, (size_t)n * fb_dtype_bytes(dtype));
    assert_int_equal(fb_encoding_get(FB_ENC_PLAIN)->validate(&t), FB_OK);
    assert_int_equal(fb_tensor_decode(&t, out), FB_OK);
    assert_memory_equal(out, want, (size_t)n * sizeof out[0]);
}

static void test_decode_plain(void **state)
{
    (void)state;
    const float want[3] = {1, 0, 100};
    decode_plain(FB_F32, want, want, 3);
    decode_plain(FB_F64, (double[]){1, 0, 100}, want, 3);
    decode_plain(FB_U8, (uint8_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_S8, (int8_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_U16, (uint16_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_S16, (int16_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_U32, (uint32_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_S32, (int32_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_U64, (uint64_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_S64, (int64_t[]){1, 0, 100}, want, 3);
    decode_plain(FB_BOOL, (uint8_t[]){1, 0, 2}, (float[]){1, 0, 1}, 3);
    decode_plain(FB_S8, (int8_t[]){-1, -128}, (float[]){-1, -128}, 2);
    decode_plain(FB_U32, (uint32_t[]){UINT32_MAX}, (float[]){0x1p32f}, 1);
    decode_plain(FB_F16, (uint16_t[]){0x3c00, 0, 0x5640}, want, 3);
    decode_plain(FB_BF16, (uint16_t[]){0x3f80, 0, 0x42c8}, want, 3);
}

static void test_half(void **state)
{
    (void)state;
    assert_true(fb_f16_to_f32(0x7bff) == 65504.0f); /* the largest */
    assert_true(fb_f16_to_f32(0x0001) == 0x1p-24f); /* the smallest */
    assert_true(fb_f16_to_f32(0x03ff) == 0x3ffp-24f);
    assert_true(fb_f16_to_f32(0x0400) == 0x1p-14f);
    assert_true(fb_f16_to_f32(0xbc00) == -1.0f);
    assert_true(fb_f16_to_f32(0x3555) == 0x1.554p-2f);
    assert_true(signbit(fb_f16_to_f32(0x8000)) && fb_f16_to_f32(0x8000) == 0);
    assert_true(fb_f16_to_f32(0xfc00) == -INFINITY);
    assert_true(isnan(fb_f16_to_f32(0x7e00)));
    assert_true(fb_bf16_to_f32(0xff80) == -INFINITY);
    /* strictly increasing over all positive finite values */
    for (uint16_t h = 1; h < 0x7c00; h++)
        assert_true(fb_f16_to_f32(h) > fb_f16_to_f32((uint16_t)(h - 1)));
}

static void test_describe(void **state)
{
    (void)state;
    char text[64];
    float scale = 1;
    const int64_t dims[2] = {4, 4};
    fb_tensor t = affine(dims, 2, -1, 0, 1, &scale);
    t.enc.is_signed = false;
    fb_encoding_get(FB_ENC_AFFINE)->describe(&t, text, sizeof text);
    assert_string_equal(text, "affine8u");
    t.enc.is_signed = true;
    t.enc.axis = 0;
    t.enc.bits = 4;
    fb_encoding_get(FB_ENC_AFFINE)->describe(&t, text, sizeof text);
    assert_string_equal(text, "affine4 per-channel");
    t.enc.group = 64;
    t.enc.pow2 = true;
    fb_encoding_get(FB_ENC_AFFINE)->describe(&t, text, sizeof text);
    assert_string_equal(text, "affine4 per-group-64 pow2");
    t.dtype = FB_S64;
    fb_encoding_get(FB_ENC_PLAIN)->describe(&t, text, sizeof text);
    assert_string_equal(text, "s64");
    fb_encoding_get(FB_ENC_AFFINE)->describe(&t, text, 7); /* cut, not overrun */
    assert_string_equal(text, "affine");
    assert_null(fb_encoding_get(FB_ENC_COUNT));
    assert_null(fb_encoding_get((fb_enc_kind)-1));
}

static void refused(const fb_tensor *t, const char *says)
{
    assert_int_equal(fb_encoding_get(t->enc.kind)->validate(t), FB_E_FORMAT);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
}

static void test_validate(void **state)
{
    (void)state;
    const int64_t dims[2] = {2, 6};
    float scale[8] = {1, 2, 4, 8, 1, 2, 4, 8};
    int32_t zero[8] = {0};
    const fb_tensor good = affine(dims, 2, 0, 0, 2, scale);
    fb_tensor t = good;
    assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
    t.dtype = FB_S8;
    refused(&t, "affine values are s8");
    t = good;
    t.enc.bits = 0;
    refused(&t, "with 0 bits");
    t.enc.bits = 17;
    refused(&t, "with 17 bits");
    t = good;
    t.enc.axis = 2;
    refused(&t, "axis 2");
    t.enc.axis = -2;
    refused(&t, "axis -2");
    t = good;
    t.enc.n_scales = 3;
    refused(&t, "3 scales, must be 2");
    t.enc.group = 3;
    refused(&t, "3 scales, must be 4");
    t.enc.n_scales = 4;
    assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
    t.enc.axis = -1;
    refused(&t, "groups of 3 need an axis");
    t = good;
    t.is_const = false;
    refused(&t, "must have one scale");
    t = good;
    t.enc.scale = NULL;
    refused(&t, "is missing");
    const float bad[] = {0, -1, INFINITY, NAN};
    for (size_t i = 0; i < 4; i++) {
        float lists[2] = {1, bad[i]};
        t = good;
        t.enc.scale = lists;
        refused(&t, "scale 1 is");
    }
    t = good;
    t.enc.pow2 = true;
    assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
    scale[1] = 3;
    refused(&t, "power of two");
    scale[1] = 0x1p-140f; /* subnormal, still a power of two */
    assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
    t = good;
    t.enc.zero = zero;
    zero[1] = 128;
    refused(&t, "zero point 1 is 128, must be within -128..127");
    t.enc.is_signed = false;
    assert_int_equal(fb_encoding_get(FB_ENC_AFFINE)->validate(&t), FB_OK);
    zero[0] = -1;
    refused(&t, "must be within 0..255");
    fb_tensor plain = {.name = "p", .dtype = FB_F32, .enc = {.axis = -1, .n_scales = 1}};
    refused(&plain, "plain elements have 1 scales");
    plain.enc.n_scales = 0;
    plain.dtype = (fb_dtype)8;
    refused(&plain, "element type 8");
}

static void test_limits(void **state)
{
    (void)state;
    size_t bytes;
    int64_t n;
    fb_tensor t = {.name = "t",
                   .dtype = FB_F64,
                   .rank = 2,
                   .dims = {1 << 20, 1 << 20},
                   .is_const = true,
                   .enc = {.axis = -1}};
    assert_true(fb_tensor_elems(&t, 0, &n) && n == (int64_t)1 << 40);
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_OK);
    assert_int_equal(bytes, (size_t)8 << 40);
    t.dims[1] += 1;
    assert_false(fb_tensor_elems(&t, 0, &n));
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_E_LIMIT);
    t.dims[1] = -3;
    assert_false(fb_tensor_elems(&t, 0, &n));
    assert_true(fb_tensor_elems(&t, 2, &n) && n == (int64_t)6 << 20);
    t.dims[1] = INT64_MIN;
    assert_false(fb_tensor_elems(&t, 2, &n));
    t.enc.kind = FB_ENC_COUNT;
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_E_FORMAT);
    t.is_const = false;
    assert_int_equal(fb_tensor_decode(&t, NULL), FB_E_ARG);
}

/* Vectors of the XXH64 specification's own tool. */
static void test_hash(void **state)
{
    (void)state;
    assert_true(fb_hash64("", 0) == UINT64_C(0xef46db3751d8e999));
    assert_true(fb_hash64("abc", 3) == UINT64_C(0x44bc2cf5ad770999));
    const char *text = "Nobody inspects the spammish repetition";
    assert_true(fb_hash64(text, strlen(text)) == UINT64_C(0xfbcea83c8a378bf1));
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof data; n++) { /* in pieces as at once */
        fb_hash h;
        fb_hash_init(&h);
        for (size_t at = 0, step = 1; at < n; at += step, step = step * 3 % 71) {
            step = step < n - at ? step : n - at;
            fb_hash_add(&h, data + at, step);
        }
        assert_true(fb_hash_end(&h) == fb_hash64(data, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_layout),
        cmocka_unit_test(test_packed_round_trip),
        cmocka_unit_test(test_scale_index_and_decode),
        cmocka_unit_test(test_decode_bits),
        cmocka_unit_test(test_decode_plain),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_validate),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
