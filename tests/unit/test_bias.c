/* Encoded biases: all plans read them as the floats that they stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/bias.h"
#include "unit/compress_net.h"

static const char *const names[] = {"conv0.bias", "dw.bias", "pw.bias", "conv3.bias", "fc.bias"};
enum { N_NAMES = sizeof names / sizeof names[0] };

static void encode_all(fb_model *m, unsigned bits)
{
    for (int i = 0; i < N_NAMES; i++)
        net_ok(fb_bias_encode(m, net_tensor(m, names[i]), bits, false));
    net_ok(fb_model_validate(m));
}

/* The same network with those biases as plain floats. */
static fb_model *with_plain_biases(const fb_model *m)
{
    fb_model *copy;
    const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    net_ok(fb_model_clone(m, true, &copy));
    for (int i = 0; i < N_NAMES; i++) {
        int32_t t = net_tensor(copy, names[i]);
        float b[64];
        assert_int_equal(copy->tensors[t].enc.kind, FB_ENC_AFFINE);
        net_ok(fb_tensor_decode(&copy->tensors[t], b));
        net_ok(
            fb_model_set_payload(copy, t, &plain, b, (size_t)copy->tensors[t].dims[0] * sizeof *b));
    }
    return copy;
}

static void same_outputs(const fb_model *m, fb_data *data)
{
    fb_model *plain = with_plain_biases(m);
    assert_true(net_difference(m, plain, data) == 0);
    fb_model_close(&plain);
}

static void every_form_of_a_layer(void **state)
{
    (void)state;
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    fb_model *m = net_build(false), *q;
    net_ok(net_compress(m, "w8", NULL, 1, false, &q));
    encode_all(q, 12);
    same_outputs(q, data);
    fb_model_close(&q);
    net_ok(net_compress(m, "int8", data, 1, false, &q));
    same_outputs(q, data); /* encoded by the method */
    fb_model_close(&q);
    encode_all(m, 9);
    same_outputs(m, data);
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(path);
}

static void codes_and_their_rounding(void **state)
{
    (void)state;
    const unsigned widths[] = {8, 11, 14, 16};
    for (size_t k = 0; k < sizeof widths / sizeof widths[0]; k++) {
        fb_model *m = net_build(false);
        int32_t t = net_tensor(m, "conv3.bias");
        float before[16], after[16], most = 0;
        net_ok(fb_tensor_decode(&m->tensors[t], before));
        for (int i = 0; i < 16; i++)
            most = fabsf(before[i]) > most ? fabsf(before[i]) : most;
        net_ok(fb_bias_encode(m, t, widths[k], false));
        assert_int_equal(m->tensors[t].data_bytes, 2 * widths[k]);
        net_ok(fb_tensor_decode(&m->tensors[t], after));
        float step = most / (float)((1 << (widths[k] - 1)) - 1);
        for (int i = 0; i < 16; i++)
            assert_true(fabsf(before[i] - after[i]) <= 0.5001f * step);
        fb_model_close(&m);
    }
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    fb_model *m = net_build(false);
    int32_t t = net_tensor(m, "fc.bias");
    float b[5];
    memset((void *)(uintptr_t)m->tensors[t].data, 0, m->tensors[t].data_bytes);
    net_ok(fb_bias_encode(m, t, FB_BIAS_BITS, false));
    net_ok(fb_model_validate(m));
    net_ok(fb_tensor_decode(&m->tensors[t], b));
    for (int i = 0; i < 5; i++)
        assert_true(b[i] == 0);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_layer),
        cmocka_unit_test(codes_and_their_rounding),
        cmocka_unit_test(zeros_stay_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
