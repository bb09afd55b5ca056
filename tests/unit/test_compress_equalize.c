/* Equalisation changes nothing that can be observed; corrections bring means and variances home. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

/* Two dense layers with the weights of the worked example between them. */
static fb_model *pair_of_dense(fb_act act)
{
    const float w1[4] = {4, 2, -1, 0.5f}, b1[2] = {8, 2}, w2[4] = {1, 4, -0.5f, 2};
    fb_model *m;
    int32_t x, a, b, w, y, z;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "x", FB_F32, 2, sample_dims(-1, 2, 0, 0), &x));
    net_ok(fb_model_add_const(m, "w1", FB_F32, 2, sample_dims(2, 2, 0, 0), w1, &a));
    net_ok(fb_model_add_const(m, "b1", FB_F32, 1, sample_dims(2, 0, 0, 0), b1, &b));
    net_ok(fb_model_add_const(m, "w2", FB_F32, 2, sample_dims(2, 2, 0, 0), w2, &w));
    fb_attr attr = {.dense = {.act = act}};
    net_ok(sample_node(m, FB_OP_DENSE, "one", 3, (int32_t[]){x, a, b}, &attr, FB_F32, &y));
    attr.dense.act.clamp = 0;
    net_ok(sample_node(m, FB_OP_DENSE, "two", 2, (int32_t[]){y, w}, &attr, FB_F32, &z));
    net_ok(fb_model_set_io(m, &x, 1, &z, 1));
    return m;
}

/* METHODS M.5: r1 = (4, 1), r2 = (1, 4) -> s = (2, 1/2), both ranges (2, 2). */
static void the_worked_example(void **state)
{
    (void)state;
    fb_model *m = pair_of_dense((fb_act){1, 0, INFINITY}), *q;
    net_ok(net_compress(m, "equalize", NULL, 1, false, &q));
    const float *w1 = q->tensors[net_tensor(q, "w1")].data,
                *b1 = q->tensors[net_tensor(q, "b1")].data;
    const float *w2 = q->tensors[net_tensor(q, "w2")].data;
    const float want1[4] = {2, 1, -2, 1}, wantb[2] = {4, 4}, want2[4] = {2, 2, -1, 1};
    for (int i = 0; i < 4; i++)
        assert_true(w1[i] == want1[i] && w2[i] == want2[i]);
    assert_true(b1[0] == wantb[0] && b1[1] == wantb[1]);
    const float *old = m->tensors[net_tensor(m, "w1")].data;
    assert_true(old[0] == 4); /* the input is untouched */
    fb_model_close(&q);
    fb_model_close(&m);
}

static void relu6_is_left_alone(void **state)
{
    (void)state;
    fb_model *m = pair_of_dense((fb_act){1, 0, 6}), *q;
    net_ok(net_compress(m, "equalize", NULL, 1, false, &q));
    const float *w1 = q->tensors[net_tensor(q, "w1")].data;
    assert_true(w1[0] == 4 && w1[2] == -1);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void spoil(fb_model *m, const char *name)
{
    fb_tensor *t = &m->tensors[net_tensor(m, name)];
    float *w = (float *)(uintptr_t)t->data;
    size_t oc = (size_t)t->dims[0], per = t->data_bytes / sizeof *w / oc;
    for (size_t i = 0; i < oc * per; i++)
        w[i] *= i / per % 3 == 0 ? 8.0f : 0.25f;
}

static double spread(const fb_model *m, const char *name)
{
    const fb_tensor *t = &m->tensors[net_tensor(m, name)];
    const float *w = t->data;
    size_t oc = (size_t)t->dims[0], per = t->data_bytes / sizeof *w / oc;
    double lo = INFINITY, hi = 0;
    for (size_t c = 0; c < oc; c++) {
        double most = 0;
        for (size_t i = 0; i < per; i++)
            most = fmax(most, fabs((double)w[c * per + i]));
        lo = fmin(lo, most);
        hi = fmax(hi, most);
    }
    return hi / lo;
}

/* Through depthwise layers, pools, means and a flatten; what a sum reads stays. */
static void the_network_computes_the_same(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    spoil(m, "dw.weight");
    spoil(m, "conv3.weight");
    net_ok(net_compress(m, "equalize", NULL, 1, false, &q));
    assert_true(net_difference(m, q, data) < 1e-5);
    assert_true(spread(q, "dw.weight") < 0.5 * spread(m, "dw.weight"));
    assert_true(spread(q, "conv3.weight") < 0.5 * spread(m, "conv3.weight"));
    const fb_tensor *a = &m->tensors[net_tensor(m, "conv0.weight")];
    const fb_tensor *b = &q->tensors[net_tensor(q, "conv0.weight")];
    assert_memory_equal(a->data, b->data, a->data_bytes);
    fb_model_close(&q);
    net_ok(net_compress(m, "equalize + int8", data, 1, false, &q));
    assert_true(net_difference(m, q, data) < 0.03);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* Mean and spread of a network's outputs by class. */
static void output_moments(const fb_model *m, double *mean, double *deviation)
{
    uint32_t n;
    float *y = net_outputs(m, data, &n);
    for (uint32_t c = 0; c < n; c++) {
        mean[c] = deviation[c] = 0;
        for (uint32_t i = 0; i < NET_IMAGES; i++)
            mean[c] += (double)y[i * n + c] / NET_IMAGES;
        for (uint32_t i = 0; i < NET_IMAGES; i++) {
            double d = (double)y[i * n + c] - mean[c];
            deviation[c] += d * d / NET_IMAGES;
        }
        deviation[c] = sqrt(deviation[c]);
    }
    free(y);
}

/* The last layer writes the output, so its moments are those that the step set. */
static void corrections_reach_the_output(void **state)
{
    (void)state;
    const char *before[] = {"int3:weights=minmax", "w2:group=9", "int8"};
    fb_model *m = net_build(false), *q;
    double mean[3][5], deviation[3][5];
    output_moments(m, mean[0], deviation[0]);
    for (int k = 0; k < 3; k++) {
        const char *steps[] = {"bias-correct", "bn-stats"};
        for (int s = 0; s < 2; s++) {
            char method[64];
            net_ok(net_compress(m, before[k], data, 1, false, &q));
            output_moments(q, mean[1], deviation[1]);
            double plain = net_difference(m, q, data);
            fb_model_close(&q);
            (void)snprintf(method, sizeof method, "%s + %s", before[k], steps[s]);
            net_ok(net_compress(m, method, data, 1, false, &q));
            output_moments(q, mean[2], deviation[2]);
            assert_true(net_difference(m, q, data) < plain * 1.05);
            for (int c = 0; c < 5; c++) {
                /* half a unit of the accumulator may be left; it is large for int3 */
                if (getenv("NET_TALK"))
                    print_message("%s mean %g %g\n", method, mean[2][c], mean[0][c]);
                assert_true(fabs(mean[2][c] - mean[0][c]) < (k ? 2e-3 : 1e-2));
                if (s == 1)
                    assert_true(fabs(deviation[2][c] / deviation[0][c] - 1) < 5e-3);
            }
            fb_model_close(&q);
        }
    }
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(relu6_is_left_alone),
        cmocka_unit_test(the_network_computes_the_same),
        cmocka_unit_test(corrections_reach_the_output),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
