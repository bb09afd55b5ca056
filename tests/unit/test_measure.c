/* Measuring: predictions, accuracy, time, error by layer, verification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "measure/verify.h"
#include "unit/compress_net.h"

#include <math.h>

static const char *images;
static fb_data *data;
static fb_model *net, *small;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    net = net_build(false);
    net_ok(net_compress(net, "int8", data, 1, false, &small));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_model_close(&small);
    fb_model_close(&net);
    fb_data_close(&data);
    return unlink(images);
}

static fb_measure_options quick(void)
{
    fb_measure_options o;
    fb_measure_options_default(&o);
    o.n_threads = 1;
    return o;
}

static bool never(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    ++*(int *)user;
    return false;
}

static void shapes_of_samples(void **state)
{
    (void)state;
    fb_sample_shape s;
    net_ok(fb_model_sample_shape(net, &s));
    assert_true(s.height == 12 && s.width == 12 && s.channels == 3 && !s.source_nchw);
    /* channels first: rank 4 with few channels in dim 1 */
    fb_model *m;
    int32_t x, y;
    fb_attr attr = {.unary = {.kind = FB_UNARY_RELU}};
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "x", FB_F32, 4, sample_dims(-1, 3, 8, 9), &x));
    net_ok(sample_node(m, FB_OP_UNARY, "relu", 1, &x, &attr, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_sample_shape(m, &s));
    assert_true(s.height == 8 && s.width == 9 && s.channels == 3 && s.source_nchw);
    /* and the predictor turns samples round */
    fb_predictor *p;
    fb_measure_options o = quick();
    net_ok(fb_predictor_create(m, &o, &p));
    assert_int_equal(fb_predictor_classes(p), 216);
    float in[216], out[216];
    for (int i = 0; i < 216; i++)
        in[i] = (float)i;
    net_ok(fb_predictor_run(p, 1, in, out));
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 72; i++)
            assert_true(out[c * 72 + i] == (float)(i * 3 + c));
    }
    fb_predictor_destroy(&p);
    fb_model_close(&m);
}

static void batches_change_nothing_much(void **state)
{
    (void)state;
    float x[7 * NET_ELEMS], one[7 * 5], many[7 * 5];
    uint32_t got;
    fb_data_rewind(data);
    net_ok(fb_data_next(data, 7, x, NULL, &got));
    const fb_model *models[2] = {net, small};
    for (int k = 0; k < 2; k++) {
        fb_predictor *p;
        fb_measure_options o = quick();
        net_ok(fb_predictor_create(models[k], &o, &p));
        net_ok(fb_predictor_run(p, got, x, one));
        fb_predictor_destroy(&p);
        o.batch = 3;
        net_ok(fb_predictor_create(models[k], &o, &p));
        net_ok(fb_predictor_run(p, got, x, many));
        fb_predictor_destroy(&p);
        for (int i = 0; i < 35; i++) /* a float layer may sum in another order */
            assert_true(fabsf(one[i] - many[i]) <= 1e-5f * (1 + fabsf(one[i])));
    }
}

static void the_best_of_a_row(void **state)
{
    (void)state;
    const float logits[6] = {1, 3, NAN, 3, -2, 0};
    fb_guess g[6];
    assert_int_equal(fb_top(logits, 6, 3, g), 3);
    assert_true(g[0].label == 1 && g[1].label == 3 && g[2].label == 0);
    assert_int_equal(fb_top(logits, 6, 6, g), 6);
    assert_int_equal(g[5].label, 2);
    const float softmax[3] = {0.25f, 0.5f, 0.25f}, scores[3] = {0, 1, 0};
    assert_int_equal(fb_top(softmax, 3, 5, g), 3);
    assert_true(g[0].label == 1 && g[0].probability == 0.5f && g[1].label == 0);
    const float two[2] = {1, 1};
    fb_top(two, 2, 1, g);
    assert_true(fabsf(g[0].probability - 0.5f) < 1e-6f);
    fb_top(scores, 3, 1, g); /* sums to 1: is a distribution */
    assert_true(g[0].probability == 1);
}

static void accuracy(void **state)
{
    (void)state;
    const fb_model *models[2] = {net, small};
    fb_eval_result r[2];
    fb_measure_options o = quick();
    o.batch = 5;
    fb_data_rewind(data);
    net_ok(fb_eval(models, 2, data, &o, r));
    assert_int_equal(r[0].images, NET_IMAGES);
    assert_true(r[0].agreement == 100 && r[1].agreement > 80);
    assert_true(isnan(r[0].top1) && isnan(r[0].top5) && isnan(r[0].loss));
    int calls = 0;
    o.progress = never;
    o.progress_user = &calls;
    fb_data_rewind(data);
    assert_int_equal(fb_eval(models, 2, data, &o, r), FB_E_INTERRUPTED);
    assert_int_equal(calls, 1);
}

/* Labels that are the network's own answers, but for the first image. */
static void accuracy_with_labels(void **state)
{
    (void)state;
    char list[160], labels[80];
    uint32_t classes;
    (void)snprintf(labels, sizeof labels, "%s.y.npy", images);
    (void)snprintf(list, sizeof list, "%s,%s", images, labels);
    float *y = net_outputs(net, data, &classes);
    char header[129];
    (void)snprintf(header, sizeof header, "%-117s\n",
                   "{'descr': '|u1', 'fortran_order': False, 'shape': (24,), }");
    FILE *f = fopen(labels, "wb");
    assert_non_null(f);
    (void)fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
    (void)fwrite(header, 1, 118, f);
    double loss = 0;
    for (int i = 0; i < NET_IMAGES; i++) {
        fb_guess g[2];
        fb_top(y + i * 5, 5, 2, g);
        const fb_guess *truth = &g[i == 0];
        loss -= log((double)truth->probability) / NET_IMAGES;
        (void)fputc((int)truth->label, f);
    }
    assert_int_equal(fclose(f), 0);
    free(y);
    fb_data *d;
    fb_data_options o = {.shape = {12, 12, 3, false}};
    fb_measure_options mo = quick();
    fb_eval_result r;
    const fb_model *m = net;
    net_ok(fb_prep_parse("none", &o.prep));
    net_ok(fb_data_open(list, &o, &d));
    net_ok(fb_eval(&m, 1, d, &mo, &r));
    assert_true(fabs(r.top1 - 100.0 * 23 / 24) < 1e-9 && r.top5 == 100);
    assert_true(fabs(r.loss - loss) < 1e-5);
    fb_data_close(&d);
    assert_int_equal(unlink(labels), 0);
}

static void time_and_memory(void **state)
{
    (void)state;
    const fb_model *models[2] = {net, small};
    fb_bench_result r[2];
    fb_measure_options o = quick();
    o.batch = 2;
    net_ok(fb_bench(models, 2, 0, &o, r));
    for (int i = 0; i < 2; i++) {
        uint64_t macs = 0;
        assert_true(r[i].samples == 5 && r[i].threads == 1 && r[i].batch == 2);
        assert_true(r[i].min_ns > 0 && r[i].min_ns <= r[i].p10_ns);
        assert_true(r[i].p10_ns <= r[i].median_ns && r[i].median_ns <= r[i].p90_ns);
        assert_true(r[i].weight_bytes > 0 && r[i].workspace_bytes > 0);
        assert_true(r[i].tensor_bytes > 0 && r[i].tensor_bytes <= r[i].workspace_bytes);
        assert_true(r[i].activation_bytes > 0);
        assert_true(r[i].peak_bytes ==
                    r[i].weight_bytes + r[i].packed_bytes + r[i].workspace_bytes);
        assert_true(r[i].n_layers > 5);
        for (uint32_t k = 0; k < r[i].n_layers; k++)
            macs += r[i].layers[k].macs;
        assert_true(macs > 0);
    }
    assert_true(r[1].weight_bytes < r[0].weight_bytes / 2);
    for (int i = 0; i < 2; i++)
        fb_bench_result_free(&r[i]);
    int calls = 0;
    o.progress = never;
    o.progress_user = &calls;
    assert_int_equal(fb_bench(models, 2, 0, &o, r), FB_E_INTERRUPTED);
    assert_null(r[0].layers);
}

static void error_by_layer(void **state)
{
    (void)state;
    fb_diff_report r;
    fb_measure_options o = quick();
    fb_data_rewind(data);
    net_ok(fb_diff(net, net, data, 20, &o, &r));
    assert_true(r.images == NET_IMAGES && r.agreement == 100 && r.first_wrong == -1);
    assert_int_equal(r.n_layers, fb_model_n_layers(net));
    for (uint32_t i = 0; i < r.n_layers; i++)
        assert_true(isinf(r.layers[i].sqnr_db) && r.layers[i].worst == 0);
    fb_diff_report_free(&r);
    o.batch = 5;
    fb_data_rewind(data);
    net_ok(fb_diff(net, small, data, 20, &o, &r));
    assert_true(r.first_wrong == -1 && r.n_layers >= 8);
    for (uint32_t i = 0; i < r.n_layers; i++) {
        const fb_diff_layer *l = &r.layers[i];
        assert_true(l->sqnr_db > 20 && l->sqnr_db < 80);
        assert_true(l->aligned_db >= l->sqnr_db);
        assert_true(fabs(l->relative - pow(10, -l->sqnr_db / 20)) < 1e-6);
        assert_true(l->elems > 0 && l->added >= 0 && l->added <= l->relative + 1e-9);
    }
    fb_diff_report_free(&r);
    fb_data_rewind(data);
    net_ok(fb_diff(net, small, data, 500, &o, &r));
    assert_int_equal(r.first_wrong, 0);
    fb_diff_report_free(&r);
}

/* Equalising rescales channels: plain SQNR is bad where nothing was lost, aligned is not. */
static void rescaled_channels_are_not_blamed(void **state)
{
    (void)state;
    fb_model *m;
    fb_diff_report r;
    fb_measure_options o = quick();
    net_ok(net_compress(net, "equalize", data, 1, false, &m));
    fb_data_rewind(data);
    net_ok(fb_diff(net, m, data, 20, &o, &r));
    double lowest = INFINITY;
    for (uint32_t i = 0; i < r.n_layers; i++) {
        lowest = fmin(lowest, r.layers[i].sqnr_db);
        assert_true(r.layers[i].aligned_db > 80);
    }
    assert_true(lowest < 40);
    assert_int_equal(r.first_wrong, -1);
    fb_diff_report_free(&r);
    fb_model_close(&m);
}

static void fast_equals_reference(void **state)
{
    (void)state;
    const fb_model *models[2] = {net, small};
    for (int k = 0; k < 2; k++) {
        fb_verify_report r;
        fb_measure_options o = quick();
        o.batch = 2;
        uint32_t exact = 0;
        net_ok(fb_verify(models[k], &o, &r));
        assert_true(r.wrong == 0 && r.elems > 0 && r.n_layers >= fb_model_n_layers(models[k]));
        for (uint32_t i = 0; i < r.n_layers; i++)
            exact += r.layers[i].exact;
        assert_true(k == 0 ? exact == 0 : exact >= 6);
        fb_verify_report_free(&r);
    }
    fb_verify_report r;
    fb_measure_options o = quick();
    int calls = 0;
    o.progress = never;
    o.progress_user = &calls;
    assert_int_equal(fb_verify(net, &o, &r), FB_E_INTERRUPTED);
    assert_null(r.layers);
}

static fb_view view_of(const void *at, fb_dtype dtype, size_t n)
{
    return (fb_view){.data = at,
                     .bytes = n * fb_dtype_bytes(dtype),
                     .dtype = dtype,
                     .rank = 1,
                     .n_elems = n,
                     .scale = 1};
}

static void differences_are_found(void **state)
{
    (void)state;
    uint8_t a[3] = {1, 2, 3}, b[3] = {1, 3, 3};
    fb_verify_layer row = {.name = "l", .op = "conv", .kernel = "k", .tensor = "t"};
    fb_view va = view_of(a, FB_U8, 3), vb = view_of(b, FB_U8, 3);
    fb_verify_compare(&row, &va, &va, &va, false);
    assert_true(row.exact && row.wrong == 0 && row.elems == 3);
    fb_verify_compare(&row, &va, &vb, &vb, true); /* one code, out of a float step */
    assert_int_equal(row.wrong, 0);
    fb_verify_compare(&row, &va, &vb, &vb, false);
    assert_true(row.wrong == 1 && row.at == 1 && row.expected == 2 && row.got == 3);
    fb_verify_compare(&row, &va, &va, &vb, false); /* one thread against several */
    assert_int_equal(row.wrong, 2);
    fb_verify_report r = {.layers = &row, .n_layers = 1};
    assert_int_equal(fb_verify_conclude(&r), FB_E_MISMATCH);
    assert_non_null(strstr(fb_error(), "layer 'l'"));
    float x[3] = {100, 1, NAN}, y[3] = {100.005f, 1, NAN}, z[3] = {100.5f, 1, NAN};
    fb_view vx = view_of(x, FB_F32, 3), vy = view_of(y, FB_F32, 3), vz = view_of(z, FB_F32, 3);
    fb_verify_layer f = {0};
    fb_verify_compare(&f, &vx, &vy, &vy, false);
    assert_true(!f.exact && f.wrong == 0 && f.worst > 1e-5);
    fb_verify_compare(&f, &vx, &vz, &vz, false);
    assert_int_equal(f.wrong, 1);
    int64_t big = ((int64_t)1 << 40) + 1, bigger = big + 1; /* differ below a float's 24 bits */
    fb_view v1 = view_of(&big, FB_S64, 1), v2 = view_of(&bigger, FB_S64, 1);
    fb_verify_layer l = {0};
    fb_verify_compare(&l, &v1, &v2, &v2, false);
    assert_int_equal(l.wrong, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_samples),     cmocka_unit_test(batches_change_nothing_much),
        cmocka_unit_test(the_best_of_a_row),     cmocka_unit_test(accuracy),
        cmocka_unit_test(accuracy_with_labels),  cmocka_unit_test(time_and_memory),
        cmocka_unit_test(error_by_layer),        cmocka_unit_test(rescaled_channels_are_not_blamed),
        cmocka_unit_test(fast_equals_reference), cmocka_unit_test(differences_are_found),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
