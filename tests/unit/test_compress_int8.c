/* The int8 method: what is encoded, how, and what never depends on threads, data or luck. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/accumulator.h"
#include "compress/bias.h"
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

static bool same_codes(const fb_encoding *a, const fb_encoding *b)
{
    return a->kind == FB_ENC_AFFINE && b->kind == FB_ENC_AFFINE && a->scale[0] == b->scale[0] &&
           a->zero[0] == b->zero[0];
}

static void the_integer_region(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *q;
    net_ok(net_compress(m, "int8", data, 1, false, &q));
    /* input and output stay floats; the input is encoded by a convert node */
    assert_int_equal(q->tensors[q->inputs[0]].enc.kind, FB_ENC_PLAIN);
    assert_int_equal(q->tensors[q->outputs[0]].enc.kind, FB_ENC_PLAIN);
    assert_int_equal(q->nodes[0].op, FB_OP_CONVERT);
    assert_int_equal(net_encoding(q, "image.codes")->kind, FB_ENC_AFFINE);
    /* what a softmax reads is left in floats by the last integer layer */
    assert_int_equal(net_encoding(q, "fc_out")->kind, FB_ENC_PLAIN);
    const char *encoded[] = {"conv0_out", "pool_out", "dw_out",      "pw_out",
                             "add_out",   "mean_out", "flatten_out", "conv3_out"};
    for (int i = 0; i < 8; i++) {
        const fb_encoding *e = net_encoding(q, encoded[i]);
        assert_true(e->kind == FB_ENC_AFFINE && e->bits == 8 && !e->is_signed && e->axis == -1);
    }
    /* moves share, a ReLU's output starts at 0 */
    assert_true(same_codes(net_encoding(q, "conv0_out"), net_encoding(q, "pool_out")));
    assert_true(same_codes(net_encoding(q, "mean_out"), net_encoding(q, "flatten_out")));
    assert_int_equal(net_encoding(q, "conv0_out")->zero[0], 0);
    assert_true(net_encoding(q, "pw_out")->zero[0] > 0);
    const char *weights[] = {"conv0.weight", "dw.weight", "fc.weight"};
    const uint32_t channels[] = {8, 8, 5};
    for (int i = 0; i < 3; i++) {
        const fb_encoding *e = net_encoding(q, weights[i]);
        assert_true(e->kind == FB_ENC_AFFINE && e->bits == 8 && e->is_signed && e->axis == 0);
        assert_true(e->n_scales == channels[i] && !e->zero);
    }
    assert_int_equal(net_encoding(q, "conv0.bias")->bits, FB_BIAS_BITS);
    assert_string_equal(fb_model_note(q, "method"), "int8");
    assert_string_equal(fb_model_note(q, "data.images"), "0000000024");
    assert_true(net_difference(m, q, data) < 0.02);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void the_edges_get_more_bits(void **state)
{
    (void)state;
    const char *method[] = {"int4:edges=8", "w4:edges=8", "int4"};
    const char *weights[] = {"conv0.weight", "dw.weight", "pw.weight", "conv3.weight", "fc.weight"};
    for (int k = 0; k < 3; k++) {
        fb_model *m = net_build(true), *q;
        net_ok(net_compress(m, method[k], data, 1, false, &q));
        for (int i = 0; i < 5; i++) {
            unsigned wanted = k < 2 && (i == 0 || i == 4) ? 8 : 4;
            assert_int_equal(net_encoding(q, weights[i])->bits, wanted);
        }
        fb_model_close(&q);
        fb_model_close(&m);
    }
}

static void excluded_layers_stay_float(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    net_ok(net_compress(m, "int8:exclude=conv0|fc", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "conv0.weight")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "fc.weight")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "conv0_out")->kind, FB_ENC_AFFINE); /* dw reads it */
    assert_int_equal(net_encoding(q, "conv3_out")->kind, FB_ENC_PLAIN);  /* only fc would */
    assert_int_equal(net_tensor(q, "image.codes"), -1);
    assert_true(net_difference(m, q, data) < 0.02);
    fb_model_close(&q);
    net_ok(net_compress(m, "int4:include=p*,weights=minmax,per=tensor", data, 1, false, &q));
    const fb_encoding *e = net_encoding(q, "pw.weight");
    assert_true(e->bits == 4 && e->n_scales == 1 && e->axis == -1);
    assert_int_equal(net_encoding(q, "dw.weight")->kind, FB_ENC_PLAIN);
    fb_model_close(&q);
    assert_int_equal(net_compress(m, "int8:include=nothing", data, 1, false, &q), FB_E_UNSUPPORTED);
    assert_null(q);
    fb_model_close(&m);
}

/* Two branches into a concat share its scale; a branch that others read as well does not. */
static void concat_shares_what_only_it_reads(void **state)
{
    (void)state;
    const fb_act relu = {1, 0, INFINITY};
    fb_model *m, *q;
    int32_t x, a, b, c, y, z;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 12, 12, 3), &x));
    a = net_conv(m, "a", x, 4, 1, 1, relu);
    b = net_conv(m, "b", x, 4, 3, 1, relu);
    c = net_conv(m, "c", b, 4, 1, 1, relu);
    fb_attr attr = {.axis = {3}};
    net_ok(sample_node(m, FB_OP_CONCAT, "cat", 3, (int32_t[]){a, b, c}, &attr, FB_F32, &y));
    z = net_conv(m, "d", y, 4, 1, 1, relu);
    net_ok(fb_model_set_io(m, &x, 1, &z, 1));
    net_ok(net_compress(m, "int8", data, 1, false, &q));
    assert_true(same_codes(net_encoding(q, "a_out"), net_encoding(q, "cat_out")));
    assert_true(same_codes(net_encoding(q, "c_out"), net_encoding(q, "cat_out")));
    assert_false(same_codes(net_encoding(q, "b_out"), net_encoding(q, "cat_out")));
    assert_true(net_difference(m, q, data) < 0.02);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* An output that integer layers read as well: floats for the user, a twin in codes for them. */
static void outputs_inside_stay_float(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    int32_t outs[2] = {m->outputs[0], net_tensor(m, "add_out")};
    net_ok(fb_model_set_io(m, m->inputs, 1, outs, 2));
    net_ok(net_compress(m, "int8", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "add_out")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "add_out.codes")->kind, FB_ENC_AFFINE);
    assert_true(net_difference(m, q, data) < 0.02);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void every_rule_gives_a_working_net(void **state)
{
    (void)state;
    const char *methods[] = {"int8:act=minmax",
                             "int8:act=ema",
                             "int8:act=percentile",
                             "int8:act=mse",
                             "int8:act=kl",
                             "int8:act=aciq",
                             "int8:weights=minmax",
                             "int8:per=tensor",
                             "int6",
                             "w8",
                             "w6:group=5",
                             "w8:scale=pow2",
                             "w8:zero=yes",
                             "w12:per=tensor"};
    fb_model *m = net_build(false), *q;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        net_ok(net_compress(m, methods[i], data, 2, false, &q));
        /* some rules clip much of what so few and such noisy images hold */
        assert_true(net_difference(m, q, data) < (strstr(methods[i], "act") ? 0.2 : 0.08));
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

static void file_bytes(const fb_model *m, void **bytes, size_t *n)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/fewbit_compress_%d.fewbit", (int)getpid());
    net_ok(fb_model_save(m, path));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *bytes = malloc(1 << 20);
    *n = fread(*bytes, 1, 1 << 20, f);
    (void)fclose(f);
    (void)unlink(path);
}

static void same_bytes_for_any_threads_same_size_when_dry(void **state)
{
    (void)state;
    const char *methods[] = {"int8", "equalize + int8:act=kl + bias-correct:images=5",
                             "int4 + bn-stats", "w3:group=7 + bias-correct"};
    fb_model *m = net_build(true), *q;
    for (int i = 0; i < 4; i++) {
        void *bytes[3];
        size_t n[3];
        for (uint32_t threads = 1; threads <= 3; threads++) {
            net_ok(net_compress(m, methods[i], data, threads, false, &q));
            file_bytes(q, &bytes[threads - 1], &n[threads - 1]);
            fb_model_close(&q);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        assert_memory_equal(bytes[0], bytes[2], n[0]);
        net_ok(net_compress(m, methods[i], NULL, 1, true, &q));
        uint64_t dry;
        net_ok(fb_model_file_bytes(q, &dry));
        if (getenv("NET_TALK"))
            print_message("%s dry %d real %d\n", methods[i], (int)dry, (int)n[0]);
        assert_int_equal(dry, n[0]);
        fb_model_close(&q);
        for (int k = 0; k < 3; k++)
            free(bytes[k]);
    }
    fb_model_close(&m);
}

static void data_is_asked_for(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    assert_int_equal(net_compress(m, "int8", NULL, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "needs calibration data"));
    assert_int_equal(net_compress(m, "bias-correct", data, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "step 'bias-correct': no layer is quantised yet"));
    assert_int_equal(net_compress(m, "int8 + int8", data, 1, false, &q), FB_E_ARG);
    assert_null(q);
    fb_model_close(&m);
}

typedef struct stopper {
    int calls, stop_at;
} stopper;

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    stopper *s = user;
    assert_non_null(what);
    assert_true(done <= total);
    return ++s->calls != s->stop_at;
}

static void work_can_be_stopped_anywhere(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    fb_compress_options o;
    fb_compress_options_default(&o);
    o.method = "equalize + int8 + bias-correct:images=4";
    o.data = data;
    o.n_threads = 1;
    o.progress = stop;
    stopper s = {0, -1};
    o.progress_user = &s;
    net_ok(fb_compress(m, &o, &q));
    fb_model_close(&q);
    int calls = s.calls;
    assert_true(calls > 10);
    for (int at = 1; at <= calls; at++) {
        s = (stopper){0, at};
        assert_int_equal(fb_compress(m, &o, &q), FB_E_INTERRUPTED);
        assert_null(q);
    }
    fb_model_close(&m);
}

static void no_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    fb_data_rewind(data);
    for (size_t n = 1; n < 100000; n = n < 60 ? n + 1 : n + n / 23) {
        fb_data *own = net_data(images);
        fb_alloc_fail_from(n);
        fb_status status =
            net_compress(m, "equalize + int8 + bias-correct:images=2", own, 1, false, &q);
        fb_alloc_fail_from(0);
        fb_data_close(&own);
        if (status == FB_OK)
            break;
        assert_int_equal(status, FB_E_MEMORY);
        assert_null(q);
    }
    assert_non_null(q);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* A channel with tiny weights and a large bias, one without weights, one with 2^31 in sight. */
static void accumulators_stay_within_32_bits(void **state)
{
    (void)state;
    enum { K = 200000 };
    float *w = calloc(3 * K, sizeof *w);
    float bias[3] = {1000, 3.25f, 0};
    for (size_t i = 0; i < K; i++) {
        w[i] = 1e-12f;
        w[2 * K + i] = 1;
    }
    fb_model *m;
    int32_t t;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, sample_dims(3, K, 0, 0), w, &t));
    fb_weight_rule rule = {.bits = 8, .per_channel = true};
    fb_weight_codes c;
    fb_input_codes x = {0.02f, 0};
    net_ok(fb_weight_codes_init(&c, &m->tensors[t], &rule));
    net_ok(fb_accumulator_fit(&c, 3, bias, x));
    for (size_t i = 0; i < 3; i++) {
        int64_t q = llabs((long long)fb_weight_code(&rule, w[i * K], c.scale[i], 0));
        double sum =
            255.0 * (double)q * K + (double)bias[i] / ((double)x.scale * (double)c.scale[i]);
        assert_true(sum <= 2147483647.0);
    }
    double unit = (double)x.scale * (double)c.scale[1];
    assert_true(fabs(rint(3.25 / unit) * unit - 3.25) < 1e-4);
    assert_true(fb_weight_code(&rule, 1, c.scale[2], 0) >= 20); /* as many codes as there is room */
    fb_weight_codes_free(&c);
    fb_model_close(&m);
    free(w);
}

/* M.1: at most half a step off, in every width and grouping. */
static void weights_are_off_by_half_a_step(void **state)
{
    (void)state;
    fb_model *m;
    net_state = 5;
    net_ok(fb_model_create(&m));
    int32_t t = net_weight(m, "w", 6, 3, 5, 1);
    float decoded[6 * 45];
    for (unsigned bits = 1; bits <= 16; bits++) {
        for (int form = 0; form < 6; form++) {
            fb_weight_rule rule = {.bits = bits,
                                   .per_channel = form > 0,
                                   .group = form == 2   ? 7
                                            : form == 3 ? 64
                                                        : 0,
                                   .pow2 = form == 4,
                                   .zero = form == 5};
            fb_model *copy;
            fb_weight_codes c;
            net_ok(fb_model_clone(m, false, &copy));
            net_ok(fb_weight_codes_init(&c, &m->tensors[t], &rule));
            net_ok(fb_weight_codes_store(&c, copy, t));
            net_ok(fb_encoding_get(FB_ENC_AFFINE)->validate(&copy->tensors[t]));
            net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
            assert_int_equal(copy->tensors[t].enc.n_scales, form == 0 ? 1 : form == 2 ? 6 * 7 : 6);
            for (size_t i = 0; i < 6 * 45 && bits > 1; i++) {
                float s = c.scale[fb_affine_scale_index(&copy->tensors[t], i)];
                float most = (form == 5 ? 1.001f : 0.501f) * s; /* the zero point rounds too */
                assert_true(fabsf(decoded[i] - c.w[i]) <= most);
            }
            fb_weight_codes_free(&c);
            fb_model_close(&copy);
        }
    }
    fb_model_close(&m);
}

/* Weights that were 8-bit integers once come back exactly, whatever their scales. */
static void old_codes_are_found_again(void **state)
{
    (void)state;
    enum { OC = 5, K = 40 };
    fb_model *m;
    int32_t t;
    float w[OC * K], decoded[OC * K];
    net_state = 88172645463325252u;
    for (int i = 0; i < OC * K; i++) {
        float scale = 0.0123f * (float)(i / K + 1) / 3;
        w[i] = scale * (i % K == 7 ? -127.0f : rintf(127 * net_random()));
    }
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, sample_dims(OC, K, 0, 0), w, &t));
    for (int mse = 0; mse < 2; mse++) {
        fb_weight_rule rule = {.bits = 8,
                               .per_channel = true,
                               .range = mse ? FB_WEIGHT_MSE : FB_WEIGHT_MINMAX,
                               .restore = true};
        fb_model *copy;
        fb_weight_codes c;
        net_ok(fb_model_clone(m, false, &copy));
        net_ok(fb_weight_codes_init(&c, &m->tensors[t], &rule));
        net_ok(fb_weight_codes_store(&c, copy, t));
        net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
        for (int i = 0; i < OC * K; i++)
            assert_true(fabsf(decoded[i] - w[i]) <= 1e-6f * fabsf(w[i]));
        fb_weight_codes_free(&c);
        fb_model_close(&copy);
    }
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_integer_region),
        cmocka_unit_test(the_edges_get_more_bits),
        cmocka_unit_test(excluded_layers_stay_float),
        cmocka_unit_test(concat_shares_what_only_it_reads),
        cmocka_unit_test(outputs_inside_stay_float),
        cmocka_unit_test(every_rule_gives_a_working_net),
        cmocka_unit_test(same_bytes_for_any_threads_same_size_when_dry),
        cmocka_unit_test(data_is_asked_for),
        cmocka_unit_test(work_can_be_stopped_anywhere),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
        cmocka_unit_test(accumulators_stay_within_32_bits),
        cmocka_unit_test(weights_are_off_by_half_a_step),
        cmocka_unit_test(old_codes_are_found_again),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
