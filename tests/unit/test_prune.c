/* Pruning: cuts, groups and histograms by hand, and the method as a whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "compress/prune.h"
#include "unit/compress_net.h"

static size_t zeros_of(const float *w, size_t n)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += w[i] == 0;
    return zeros;
}

static void test_cut(void **state)
{
    (void)state;
    const float from[8] = {0.5f, -0.25f, 0.25f, 3, -0.25f, 0.125f, -4, 0.5f};
    for (size_t count = 0; count <= 8; count++) {
        float w[8];
        const float *lists[2] = {from, from + 3};
        const size_t sizes[2] = {3, 5};
        memcpy(w, from, sizeof w);
        fb_prune_cut cut = fb_prune_cut_of(lists, sizes, 2, count);
        fb_prune_cut_apply(&cut, w, 3);
        fb_prune_cut_apply(&cut, w + 3, 5);
        assert_int_equal(zeros_of(w, 8), count);
        for (size_t i = 0; i < 8; i++) {
            for (size_t k = 0; k < 8; k++)
                assert_true(w[i] != 0 || w[k] == 0 || fabsf(from[i]) <= fabsf(from[k]));
        }
        if (count == 2) /* of three ties the first goes */
            assert_true(w[1] == 0 && w[2] != 0 && w[4] != 0);
    }
}

static void test_groups(void **state)
{
    (void)state;
    float w[12] = {1, -2, 3, -4, 5, 5, 0.5f, 0.5f, 0.5f, 0.5f, 9, 8}, score[12];
    const float want[12] = {0, 0, 3, -4, 5, 5, 0.5f, 0.5f, 0, 0, 9, 8};
    for (size_t i = 0; i < 12; i++)
        score[i] = fabsf(w[i]);
    fb_prune_nm(w, score, 12, 6, 2, 4); /* rows of 6: groups of 4 and 2 */
    assert_memory_equal(w, want, sizeof w);
}

/* METHODS D.8: 50 weights of 0.01 and 50 of 0.5: one threshold, between them, prunes 50%. */
static void test_histogram(void **state)
{
    (void)state;
    float w[100], out[100], edge[256];
    for (size_t i = 0; i < 100; i++)
        w[i] = i % 2 ? -0.5f : 0.01f;
    assert_int_equal(fb_prune_edges(w, 100, 256, edge), 1);
    assert_true(edge[0] > 0.01f && edge[0] < 0.5f);
    assert_int_equal(fb_prune_below(w, 100, edge[0], out), 50);
    for (size_t i = 0; i < 100; i++)
        assert_true(out[i] == (i % 2 ? -0.5f : 0));
    /* more zeros with each threshold, 1% at least, and never all */
    float many[1000], rest[1000];
    net_state = 3;
    for (size_t i = 0; i < 1000; i++)
        many[i] = net_random() * net_random();
    uint32_t n = fb_prune_edges(many, 1000, 256, edge);
    size_t last = 0;
    assert_true(n > 50);
    for (uint32_t k = 0; k < n; k++) {
        size_t zeros = fb_prune_below(many, 1000, edge[k], rest);
        assert_true(zeros >= last + 10 && zeros < 1000);
        last = zeros;
    }
    memset(many, 0, sizeof many);
    assert_int_equal(fb_prune_edges(many, 1000, 256, edge), 0);
}

/* Zeros among the weights of all layers, and how many weights there are. */
static size_t model_zeros(const fb_model *m, size_t *all)
{
    size_t zeros = 0;
    *all = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t w = fb_node_weight(m, &m->nodes[i]);
        int64_t n;
        if (w < 0)
            continue;
        assert_true(fb_tensor_elems(&m->tensors[w], 0, &n));
        float *values = malloc((size_t)n * sizeof *values);
        net_ok(fb_tensor_decode(&m->tensors[w], values));
        zeros += zeros_of(values, (size_t)n);
        *all += (size_t)n;
        free(values);
    }
    return zeros;
}

static fb_model *pruned(const fb_model *m, const char *method, fb_data *data)
{
    fb_model *out;
    net_ok(net_compress(m, method, data, 2, false, &out));
    return out;
}

static void test_magnitude(void **state)
{
    (void)state;
    fb_model *m = net_build(false);
    size_t all;
    fb_model *a = pruned(m, "prune:magnitude,share=0.75", NULL);
    size_t zeros = model_zeros(a, &all);
    assert_true(zeros > all * 74 / 100 && zeros < all * 76 / 100);
    assert_int_equal(net_encoding(a, "conv3.weight")->sparse, FB_SPARSE_BITMAP);
    fb_model_close(&a);
    a = pruned(m, "prune:magnitude,share=0.75,per=model,exclude=conv0", NULL);
    assert_int_equal(net_encoding(a, "conv0.weight")->sparse, FB_DENSE);
    fb_model_close(&a);
    a = pruned(m, "prune:nm,n=1,m=4,include=conv3", NULL);
    const fb_encoding *e = net_encoding(a, "conv3.weight");
    assert_int_equal(e->n_kept, 16 * 9 * 8 / 4);
    fb_model_close(&a);
    fb_model_close(&m);
}

/* The same number of zeros, by what the others can make up for. */
static void test_obs(void **state)
{
    (void)state;
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    fb_model *m = net_build(false), *one;
    fb_model *cut = pruned(m, "prune:magnitude,share=0.5", data);
    fb_model *refit = pruned(m, "prune:magnitude,share=0.5,comp=obs", data);
    fb_model *obc = pruned(m, "prune:obc,share=0.5", data);
    size_t all, zeros = model_zeros(cut, &all);
    assert_int_equal(model_zeros(refit, &all), zeros);
    size_t of_obc = model_zeros(obc, &all);
    assert_true(of_obc > zeros * 98 / 100 && of_obc < zeros * 102 / 100);
    double error = net_difference(m, cut, data);
    assert_true(net_difference(m, refit, data) < 0.8 * error);
    assert_true(net_difference(m, obc, data) < 0.8 * error);
    net_ok(net_compress(m, "prune:obc,share=0.5", data, 1, false, &one));
    assert_true(net_difference(obc, one, data) == 0); /* threads change nothing */
    fb_model_close(&one);
    fb_model_close(&cut);
    fb_model_close(&refit);
    fb_model_close(&obc);

    cut = pruned(m, "prune:nm,n=2,m=4,include=conv3", data);
    obc = pruned(m, "prune:obc,n=2,m=4,include=conv3", data);
    const fb_encoding *e = net_encoding(obc, "conv3.weight");
    assert_int_equal(e->n_kept, 16 * 9 * 8 / 2);
    assert_true(net_difference(m, obc, data) < net_difference(m, cut, data));
    fb_model_close(&cut);
    fb_model_close(&obc);
    fb_model_close(&m);
    fb_data_close(&data);
    assert_int_equal(unlink(path), 0);
}

/* The zeros survive what comes after, and the file tells it. */
static void test_zeros_stay(void **state)
{
    (void)state;
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    const char *const methods[] = {"prune:magnitude,share=0.8 + int8",
                                   "prune:magnitude,share=0.8 + w4:zero=yes",
                                   "prune:magnitude,share=0.8,comp=bias + w12"};
    fb_model *m = net_build(false);
    for (size_t k = 0; k < 3; k++) {
        size_t all;
        fb_model *a = pruned(m, methods[k], data);
        assert_true(model_zeros(a, &all) >= all * 79 / 100);
        if (k == 2)
            assert_true(net_encoding(a, "conv3.weight")->sparse != FB_DENSE);
        fb_model_close(&a);
    }
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(path);
}

static void test_tolerance(void **state)
{
    (void)state;
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    fb_model *m = net_build(false);
    size_t all;
    fb_model *tight = pruned(m, "prune:drop=100,loss=0.001,images=16", data);
    fb_model *wide = pruned(m, "prune:hist,drop=100,loss=0.1,images=16", data);
    fb_model *none = pruned(m, "prune:hist,drop=100,loss=0,images=16", data);
    size_t few = model_zeros(tight, &all), many = model_zeros(wide, &all);
    assert_true(few > 0 && few < many && many < all);
    assert_true(net_difference(m, tight, data) < net_difference(m, wide, data));
    assert_true(net_difference(m, tight, data) < 0.1);
    assert_int_equal(model_zeros(none, &all), 0);
    fb_model_close(&tight);
    fb_model_close(&wide);
    fb_model_close(&none);
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(path);
}

static void test_dry_run(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *dry, *real;
    uint64_t a, b;
    net_ok(net_compress(m, "prune:magnitude,share=0.6 + w4 + entropy:off", NULL, 1, true, &dry));
    net_ok(net_compress(m, "prune:magnitude,share=0.6 + w4 + entropy:off", NULL, 1, false, &real));
    net_ok(fb_model_file_bytes(dry, &a));
    net_ok(fb_model_file_bytes(real, &b));
    assert_int_equal(a, b);
    fb_model_close(&dry);
    fb_model_close(&real);
    assert_int_equal(net_compress(m, "prune", NULL, 1, true, &dry), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "depends on the data"));
    assert_int_equal(net_compress(m, "prune", NULL, 1, false, &dry), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "needs calibration data"));
    assert_int_equal(net_compress(m, "w4 + prune:magnitude", NULL, 1, false, &dry),
                     FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "encoded already"));
    assert_int_equal(net_compress(m, "prune:nm,n=4", NULL, 1, false, &dry), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "keeps everything"));
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_histogram),  cmocka_unit_test(test_magnitude),
        cmocka_unit_test(test_zeros_stay), cmocka_unit_test(test_tolerance),
        cmocka_unit_test(test_dry_run),    cmocka_unit_test(test_obs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
