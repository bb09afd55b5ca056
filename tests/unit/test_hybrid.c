/* Hybrid precision: widths differ by what layers can bear, keep to a budget, and stay within a
 * drop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/judge.h"
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

static double mean_weight_bits(const fb_model *m)
{
    double bits = 0, elems = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t w = fb_node_weight(m, &m->nodes[i]);
        int64_t n;
        if (w < 0 || !fb_tensor_elems(&m->tensors[w], 0, &n))
            continue;
        assert_int_equal(m->tensors[w].enc.kind, FB_ENC_AFFINE);
        assert_true(m->tensors[w].enc.pow2);
        bits += (double)n * m->tensors[w].enc.bits;
        elems += (double)n;
    }
    return bits / elems;
}

static fb_verdict judge(const fb_model *reference, const fb_model *m)
{
    fb_job job = {.reference = (fb_model *)(uintptr_t)reference,
                  .data = data,
                  .n_threads = 1,
                  .cpu = fb_cpu_usable()};
    fb_judge j;
    fb_verdict v;
    net_ok(fb_judge_open(&job, NET_IMAGES, &j));
    net_ok(fb_judge_run(&j, m, &v));
    fb_judge_close(&j);
    return v;
}

static void a_budget_is_kept_and_well_spent(void **state)
{
    (void)state;
    fb_model *net = net_build(false), *hybrid, *same;
    net_ok(net_compress(net, "hybrid:mean=5,data=0,most=8,acc=auto", data, 2, false, &hybrid));
    net_ok(net_compress(net, "fixed5:d=8,fit=mse,per=channel,positive=unsigned", data, 2, false,
                        &same));
    assert_true(mean_weight_bits(hybrid) <= 5);
    assert_true(mean_weight_bits(same) == 5);
    /* the same bits, spent where they matter */
    assert_true(judge(net, hybrid).loss <= judge(net, same).loss);
    fb_model_close(&hybrid);
    fb_model_close(&same);
    fb_model_close(&net);
}

static void a_drop_is_kept(void **state)
{
    (void)state;
    fb_model *net = net_build(false), *one, *two;
    net_ok(net_compress(net, "hybrid:drop=5", data, 2, false, &two));
    fb_verdict v = judge(net, two);
    assert_true(v.correct >= 0.95 - 1e-9 && v.loss <= 0.15);
    assert_true(mean_weight_bits(two) < 8);
    net_ok(net_compress(net, "hybrid:drop=5", data, 1, false, &one));
    assert_true(judge(net, one).loss == v.loss); /* threads change nothing */
    fb_model_close(&one);
    net_ok(net_compress(net, "hybrid:drop=0.5", data, 2, false, &one));
    assert_true(judge(net, one).loss <= 0.015);
    assert_true(mean_weight_bits(one) >= mean_weight_bits(two));
    fb_model_close(&one);
    fb_model_close(&two);
    fb_model_close(&net);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    fb_model *net = net_build(false), *out;
    assert_int_equal(net_compress(net, "hybrid", NULL, 1, true, &out), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "dry run"));
    assert_int_equal(net_compress(net, "hybrid:drop=1,mean=4", data, 1, false, &out), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "exclude each other"));
    assert_int_equal(net_compress(net, "hybrid:least=9,most=9", data, 1, false, &out), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "no width"));
    assert_int_equal(net_compress(net, "hybrid:mean=2,least=4", data, 1, false, &out), FB_E_LIMIT);
    assert_int_equal(net_compress(net, "hybrid:drop=0,most=2", data, 1, false, &out),
                     FB_E_UNSUPPORTED);
    fb_model_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_kept_and_well_spent),
        cmocka_unit_test(a_drop_is_kept),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
