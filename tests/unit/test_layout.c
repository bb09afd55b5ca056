/* How activations lie in memory, and what they weigh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/layout.h"
#include "model/model.h"

static fb_encoding affine(unsigned bits)
{
    return (fb_encoding){.kind = FB_ENC_AFFINE, .bits = (uint8_t)bits, .axis = -1, .n_scales = 1};
}

static fb_layout layout(const fb_encoding *e, int32_t rank, const int64_t *dims)
{
    fb_layout l;
    assert_true(fb_layout_of(e, FB_F32, rank, dims, &l));
    return l;
}

static void rows_start_at_bytes(void **state)
{
    (void)state;
    static const int64_t image[4] = {2, 13, 7, 5}, row[2] = {3, 9}, line[1] = {11};
    fb_encoding plain = {.kind = FB_ENC_PLAIN}, e5 = affine(5), e8 = affine(8), e12 = affine(12);
    fb_encoding e4 = affine(4), e16 = affine(16), e1 = affine(1);
    fb_encoding levels = {.kind = FB_ENC_LEVELS, .bits = 3, .is_signed = true};
    fb_layout l = layout(&e5, 4, image); /* 35 codes of 5 bits are 175 bits, 22 bytes */
    assert_true(l.packed && l.rows == 26 && l.row_elems == 35 && l.row_bytes == 22);
    assert_true(l.bytes == 572 && l.elems == 910 && l.dtype == FB_U8 && l.bits == 5);
    l = layout(&e12, 4, image); /* 420 bits, 53 bytes */
    assert_true(l.packed && l.bytes == 26 * 53 && l.dtype == FB_U16);
    l = layout(&e8, 4, image);
    assert_true(!l.packed && l.bytes == 910 && l.row_bytes == 35);
    assert_true(layout(&e16, 4, image).bytes == 1820);
    assert_true(layout(&plain, 4, image).bytes == 3640);
    l = layout(&e4, 2, row); /* in rank 2 a row is a sample */
    assert_true(l.rows == 3 && l.row_bytes == 5 && l.bytes == 15);
    assert_true(layout(&e1, 1, line).bytes == 2);
    assert_true(layout(&e1, 0, NULL).bytes == 1);
    l = layout(&levels, 2, row); /* indices have no sign */
    assert_true(l.packed && l.bits == 3 && l.dtype == FB_U8 && l.bytes == 3 * 4);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    const int64_t many[3] = {INT64_MAX / 8, 4, 16};
    fb_encoding e = affine(4);
    fb_layout l;
    assert_false(fb_layout_of(&e, FB_F32, 3, many, &l));
}

static void encodings_compare(void **state)
{
    (void)state;
    float one = 1, two = 2, up[2] = {0, 1}, more[2] = {0, 2};
    int32_t zero = 0;
    fb_encoding a = affine(4), b = affine(4), c = {.kind = FB_ENC_PLAIN};
    a.scale = b.scale = &one;
    b.zero = &zero; /* stands for the same as none */
    assert_true(fb_encoding_equal(&a, &b) && !fb_encoding_equal(&a, &c));
    b.scale = &two;
    assert_false(fb_encoding_equal(&a, &b));
    fb_encoding p = {.kind = FB_ENC_LEVELS, .bits = 1, .n_scales = 1, .n_tables = 1, .n_levels = 2};
    p.scale = &one;
    p.level = up;
    fb_encoding q = p;
    assert_true(fb_encoding_equal(&p, &q));
    q.level = more;
    assert_false(fb_encoding_equal(&p, &q));
}

static int32_t tensor(fb_model *m, int32_t rank, const int64_t *dims, unsigned bits)
{
    int32_t t;
    assert_int_equal(fb_model_add_tensor(m, "", FB_F32, rank, dims, &t), FB_OK);
    if (bits)
        assert_int_equal(fb_model_set_activation(m, t, bits, false, 0.1f, 0), FB_OK);
    return t;
}

static void node(fb_model *m, fb_op op, int32_t in, int32_t out, fb_attr attr)
{
    int32_t outs[1] = {out};
    assert_int_equal(fb_model_add_node(m, op, "n", 1, &in, 1, outs, &attr, NULL), FB_OK);
}

/* x -> convert -> relu -> reshape -> relu -> relu */
static void each_activation_counts_once(void **state)
{
    (void)state;
    static const int64_t image[4] = {-1, 13, 7, 5}, flat[2] = {-1, 455};
    fb_attr none = {.shape = {0}}, relu = {.unary = {FB_UNARY_RELU, 0, 0}};
    fb_attr shape = {.shape = {2, {-1, 455}}};
    fb_model *m;
    uint64_t bytes;
    assert_int_equal(fb_model_create(&m), FB_OK);
    int32_t x = tensor(m, 4, image, 0), a = tensor(m, 4, image, 8), b = tensor(m, 4, image, 5);
    int32_t c = tensor(m, 2, flat, 5), d = tensor(m, 2, flat, 3), y = tensor(m, 2, flat, 0);
    node(m, FB_OP_CONVERT, x, a, none);
    node(m, FB_OP_UNARY, a, b, relu);
    node(m, FB_OP_RESHAPE, b, c, shape);
    node(m, FB_OP_UNARY, c, d, relu);
    node(m, FB_OP_UNARY, d, y, relu);
    assert_int_equal(fb_model_set_io(m, &x, 1, &y, 1), FB_OK);
    assert_int_equal(fb_model_activation_bytes(m, &bytes), FB_OK);
    assert_int_equal(bytes, 455 * (5 + 3) / 8);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_start_at_bytes),
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(encodings_compare),
        cmocka_unit_test(each_activation_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
