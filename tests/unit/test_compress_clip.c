/* The step that clips, and what the quantising step behind it makes of that. (Boundaries
 * themselves: test_weight_range.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/weights.h"
#include "unit/compress_net.h"

static const char *images;
static fb_data *data;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_data_close(&data);
    return unlink(images);
}

/* Weights with a tail, as trained ones have. */
static fb_model *tailed(void)
{
    fb_model *m = net_build(false);
    const char *names[] = {"conv0.weight", "pw.weight", "conv3.weight", "fc.weight"};
    for (size_t k = 0; k < 4; k++) {
        fb_tensor *t = &m->tensors[net_tensor(m, names[k])];
        float *w = (float *)(uintptr_t)t->data;
        for (size_t i = 0; i < t->data_bytes / sizeof *w; i++)
            w[i] *= i % 31 == 7 ? 3.0f : 0.9f;
    }
    return m;
}

static float largest_of(const fb_model *m, const char *name)
{
    const fb_tensor *t = &m->tensors[net_tensor(m, name)];
    size_t n = 1;
    for (int32_t i = 0; i < t->rank; i++)
        n *= (size_t)t->dims[i];
    float *w = malloc(n * sizeof *w), most = 0;
    net_ok(fb_tensor_decode(t, w));
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(w[i]));
    free(w);
    return most;
}

/* The quantiser's grid ends at the boundary: its rule, its search and old scales do not matter. */
static void the_quantiser_takes_the_boundary(void **state)
{
    (void)state;
    fb_model *m = tailed(), *q, *other;
    const fb_tensor *t = &m->tensors[net_tensor(m, "conv3.weight")];
    fb_weight_rule rule = {.bits = 3};
    float wanted = fb_weight_boundary(&rule, FB_WEIGHT_MSE, t->data, t->data_bytes / 4);
    assert_true(wanted < 0.8f * largest_of(m, "conv3.weight"));
    net_ok(net_compress(m, "clip:mse + w3:per=tensor,weights=kl", NULL, 1, false, &q));
    assert_true(fabsf(net_encoding(q, "conv3.weight")->scale[0] * 3 / wanted - 1) < 1e-6f);
    net_ok(net_compress(m, "clip:mse + w3:per=tensor,weights=minmax", NULL, 1, false, &other));
    assert_true(net_encoding(q, "fc.weight")->scale[0] ==
                net_encoding(other, "fc.weight")->scale[0]);
    fb_model_close(&other);
    fb_model_close(&q);
    /* by channel where the quantiser has scales by channel, unless one for the layer is asked for
     */
    net_ok(net_compress(m, "clip + int3", data, 1, false, &q));
    net_ok(net_compress(m, "clip:per=layer + int3", data, 1, false, &other));
    const fb_encoding *a = net_encoding(q, "conv3.weight"),
                      *b = net_encoding(other, "conv3.weight");
    int differ = 0;
    for (uint32_t i = 0; i < a->n_scales; i++) {
        differ += a->scale[i] != b->scale[i];
        assert_true(b->scale[i] * 3 <= wanted * 1.05f);
    }
    assert_true(differ > 0);
    fb_model_close(&other);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* Every rule clips the tail; what is gained grows as bits fall. */
static void every_rule_helps(void **state)
{
    (void)state;
    const char *by[] = {"mse", "kl", "aciq", "std", "accuracy"};
    fb_model *m = tailed(), *q;
    double plain[2];
    for (int bits = 3; bits <= 4; bits++) {
        char method[80];
        (void)snprintf(method, sizeof method, "w%d:per=tensor,weights=minmax", bits);
        net_ok(net_compress(m, method, NULL, 1, false, &q));
        plain[bits - 3] = net_difference(m, q, data);
        fb_model_close(&q);
    }
    for (size_t k = 0; k < 5; k++) {
        for (int bits = 3; bits <= 4; bits++) {
            char method[80];
            (void)snprintf(method, sizeof method, "clip:%s,images=8 + w%d:per=tensor", by[k], bits);
            net_ok(net_compress(m, method, data, 1, false, &q));
            assert_true(largest_of(q, "conv3.weight") <= largest_of(m, "conv3.weight") * 1.001f);
            double got = net_difference(m, q, data);
            if (getenv("NET_TALK"))
                print_message("%s %g, plain %g\n", method, got, plain[bits - 3]);
            assert_true(got < plain[bits - 3]);
            fb_model_close(&q);
        }
    }
    fb_model_close(&m);
}

static void only_what_is_quantised(void **state)
{
    (void)state;
    fb_model *m = tailed(), *q;
    net_ok(net_compress(m, "clip:exclude=pw + w3:exclude=conv3", NULL, 1, false, &q));
    assert_true(largest_of(q, "conv3.weight") == largest_of(m, "conv3.weight"));
    assert_true(net_encoding(q, "conv3.weight")->kind == FB_ENC_PLAIN);
    fb_model_close(&q);
    const struct {
        const char *method, *says;
    } bad[] = {
        {"clip",
         "step 'clip': the boundary depends on the bits, and no step int2 to int8 or w1 to"},
        {"w4 + clip", "no step int2 to int8"},
        {"clip:include=x + w4", "no conv or dense layer is there to clip that step 'w4' will"},
        {"clip:by=max + w4", "is not one of mse|kl|aciq|std|accuracy"},
        {"clip:accuracy + w4", "needs calibration data"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        assert_int_not_equal(net_compress(m, bad[k].method, NULL, 1, false, &q), FB_OK);
        assert_non_null(strstr(fb_error(), bad[k].says));
    }
    assert_int_equal(net_compress(m, "clip:accuracy + w4", NULL, 1, true, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "a dry run reads none"));
    fb_model_close(&m);
}

static void same_bytes(void **state)
{
    (void)state;
    const char *methods[] = {"clip:accuracy,images=6 + int4", "clip:kl + int5",
                             "clip:aciq + w2:group=9 + bias-correct"};
    fb_model *m = tailed(), *q, *again;
    for (size_t k = 0; k < 3; k++) {
        const char *what;
        uint64_t bytes[2];
        net_ok(net_compress(m, methods[k], data, 1, false, &q));
        net_ok(net_compress(m, methods[k], data, 3, false, &again));
        assert_true(sample_same(q, again, &what));
        fb_model_close(&again);
        if (k > 0) {
            net_ok(net_compress(m, methods[k], NULL, 1, true, &again));
            net_ok(fb_model_file_bytes(q, &bytes[0]));
            net_ok(fb_model_file_bytes(again, &bytes[1]));
            assert_int_equal(bytes[0], bytes[1]);
            fb_model_close(&again);
        }
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quantiser_takes_the_boundary),
        cmocka_unit_test(every_rule_helps),
        cmocka_unit_test(only_what_is_quantised),
        cmocka_unit_test(same_bytes),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
