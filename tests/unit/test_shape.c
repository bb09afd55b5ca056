/* Shape rules: one table of nodes with what must come out, or with a word of the sentence that must
 * refuse them. Expected dims are those of the ONNX operators, worked out by hand. */
#include "base/status.h"
#include "model/shape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N FB_BATCH_MARK

typedef struct expect {
    const char *what;
    fb_op op;
    fb_attr attr;
    uint32_t n_in;
    fb_shape in[4];
    fb_shape out;      /* dtype 0: must be refused */
    const char *says;  /* refused: part of the sentence */
    fb_dtype declared; /* cast, reinterpret */
    int64_t batch;     /* 0: FB_BATCH_MARK */
} expect;

/* clang-format off: it would put each brace on a line of its own */
#define F1(a)                                                                                      \
    {                                                                                              \
        FB_F32, 1,                                                                                 \
        {                                                                                          \
            a                                                                                      \
        }                                                                                          \
    }
#define F2(a, b)                                                                                   \
    {                                                                                              \
        FB_F32, 2,                                                                                 \
        {                                                                                          \
            a, b                                                                                   \
        }                                                                                          \
    }
#define F3(a, b, c)                                                                                \
    {                                                                                              \
        FB_F32, 3,                                                                                 \
        {                                                                                          \
            a, b, c                                                                                \
        }                                                                                          \
    }
#define F4(a, b, c, d)                                                                             \
    {                                                                                              \
        FB_F32, 4,                                                                                 \
        {                                                                                          \
            a, b, c, d                                                                             \
        }                                                                                          \
    }
#define T(type, rank, ...)                                                                         \
    {                                                                                              \
        FB_##type, rank,                                                                           \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define SCALAR                                                                                     \
    {                                                                                              \
        FB_F32, 0,                                                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define STEP1 .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1
#define CONV(...)                                                                                  \
    {                                                                                              \
        .conv = { STEP1, .groups = 1, __VA_ARGS__ }                                                \
    }
#define POOL(...)                                                                                  \
    {                                                                                              \
        .pool = { STEP1, __VA_ARGS__ }                                                             \
    }
#define K3   .kh = 3, .kw = 3
#define PAD1 .pad_t = 1, .pad_l = 1, .pad_b = 1, .pad_r = 1
#define RESIZE(...)                                                                                \
    {                                                                                              \
        .resize = {.size = {__VA_ARGS__} }                                                         \
    }
/* clang-format on */

/* Rows leave out what they do not need and replace defaults of CONV and POOL. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
static const expect table[] = {
#include "shape_table.inc"
};

static void test_table(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const expect *e = &table[i];
        fb_node node = {
            .op = e->op, .name = "the node", .n_in = e->n_in, .n_out = 1, .attr = e->attr};
        fb_shape out = {.dtype = e->declared};
        fb_status s = fb_shape_infer_node(&node, e->in, e->batch ? e->batch : N, &out);
        bool good;
        if (e->out.dtype == 0)
            good = s != FB_OK && strstr(fb_error(), e->says) != NULL;
        else
            good = s == FB_OK && out.dtype == e->out.dtype && out.rank == e->out.rank &&
                   memcmp(out.dims, e->out.dims, sizeof out.dims) == 0;
        if (!good) {
            print_error("%s: %s\n", e->what, s == FB_OK ? "other dims" : fb_error());
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* Every operator occurs in the table, once as good and (all but cast's kin) once as refused. */
static void test_table_is_complete(void **state)
{
    (void)state;
    for (int op = 0; op < FB_OP_COUNT; op++) {
        int good = 0, bad = 0;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
            good += table[i].op == (fb_op)op && table[i].out.dtype != 0;
            bad += table[i].op == (fb_op)op && table[i].out.dtype == 0;
        }
        if (good == 0 || bad == 0)
            fail_msg("%s has %d good and %d refused rows", fb_op_get((fb_op)op)->name, good, bad);
    }
}

static void test_sentence_names_the_node(void **state)
{
    (void)state;
    fb_node node = {
        .op = FB_OP_CONV, .name = "layer3.0", .n_in = 2, .n_out = 1, .attr = CONV(K3, .groups = 3)};
    fb_shape in[2] = {F4(N, 8, 9, 64), F4(9, 3, 3, 21)}, out;
    assert_int_equal(fb_shape_infer_node(&node, in, N, &out), FB_E_FORMAT);
    assert_string_equal(fb_error(), "conv 'layer3.0': groups=3 does not divide input channels=64");
}

static void test_second_output_of_max_pool(void **state)
{
    (void)state;
    fb_node node = {
        .op = FB_OP_MAX_POOL, .name = "p", .n_in = 1, .n_out = 2, .attr = POOL(.kh = 2, .kw = 2)};
    fb_shape in[1] = {F4(N, 4, 4, 3)}, out[2];
    assert_int_equal(fb_shape_infer_node(&node, in, N, out), FB_OK);
    assert_int_equal(out[0].dtype, FB_F32);
    assert_int_equal(out[1].dtype, FB_S64);
    assert_memory_equal(out[0].dims, out[1].dims, sizeof out[0].dims);
    node.n_out = 3;
    assert_int_equal(fb_shape_infer_node(&node, in, N, out), FB_E_FORMAT);
}

static void test_symbolic(void **state)
{
    (void)state;
    fb_tensor t = {.name = "t", .dtype = FB_F32, .rank = 3, .dims = {-2, 5, -1}};
    fb_shape s;
    int64_t dims[FB_MAX_RANK];
    fb_shape_of(&t, 7, &s);
    assert_int_equal(s.dims[0], 14);
    assert_int_equal(s.dims[1], 5);
    assert_int_equal(s.dims[2], 7);
    fb_shape_of(&t, FB_BATCH_MARK, &s);
    fb_shape_to_symbolic(&s, dims);
    assert_memory_equal(dims, t.dims, sizeof dims);
    /* the largest dim and batch do not overflow */
    assert_true(fb_dim_at(-FB_LIMIT_DIM, UINT32_MAX) > 0);
}

/* No attribute value, however wild, may do anything but succeed or fail: random bits in every
 * field, for sanitizers. */
static void test_random_attributes(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    int good = 0;
    for (int i = 0; i < 400000; i++) {
        const expect *e = &table[(size_t)i % (sizeof table / sizeof table[0])];
        fb_node node = {.op = e->op, .name = "x", .n_in = e->n_in, .n_out = 1, .attr = e->attr};
        fb_shape out = {.dtype = e->declared};
        unsigned char *bytes = (unsigned char *)&node.attr;
        for (int k = 0; k < 3; k++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            size_t at = (seed >> 8) % (k == 0 ? sizeof node.attr : 64);
            bytes[at] = (unsigned char)seed;
        }
        good += fb_shape_infer_node(&node, e->in, N, &out) == FB_OK;
    }
    assert_true(good > 1000 && good < 399000);
}

#pragma GCC diagnostic pop

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_is_complete),
        cmocka_unit_test(test_sentence_names_the_node),
        cmocka_unit_test(test_second_output_of_max_pool),
        cmocka_unit_test(test_symbolic),
        cmocka_unit_test(test_random_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
