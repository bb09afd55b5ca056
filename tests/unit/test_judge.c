/* The judge: candidates that start from held activations, and those that miss a bar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/judge.h"
#include "unit/compress_net.h"

static const char *images;
static fb_data *data;
static fb_model *net;
static fb_judge judge;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    net = net_build(false);
    fb_job job = {.reference = net, .data = data, .n_threads = 2, .cpu = fb_cpu_usable()};
    net_ok(fb_judge_open(&job, 100, &judge));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_judge_close(&judge);
    fb_data_close(&data);
    fb_model_close(&net);
    return unlink(images);
}

/* A copy in which the first weight or bias that node `at` or a later one reads has changed. */
static fb_model *changed_from(size_t at)
{
    fb_model *m;
    net_ok(fb_model_clone(net, true, &m));
    for (size_t i = at; i < m->n_nodes; i++) {
        int32_t w = fb_node_weight(m, &m->nodes[i]);
        if (w < 0)
            continue;
        float *v = (float *)(uintptr_t)m->tensors[w].data;
        for (size_t k = 0; k < m->tensors[w].data_bytes / sizeof *v; k++)
            v[k] *= 1.5f;
        return m;
    }
    fb_model_close(&m);
    return NULL;
}

static double loss_of(const fb_model *m)
{
    fb_verdict v;
    net_ok(fb_judge_run(&judge, m, &v));
    assert_int_equal(v.images, NET_IMAGES);
    return v.loss;
}

static void held_or_not_the_verdict_is_the_same(void **state)
{
    (void)state;
    uint32_t tried = 0;
    for (uint32_t at = 0; at < net->n_nodes; at++) {
        fb_model *m = changed_from(at);
        if (!m)
            break;
        net_ok(fb_judge_hold(&judge, net, 0));
        double whole = loss_of(m);
        assert_true(whole > 1e-6);
        net_ok(fb_judge_hold(&judge, net, at));
        assert_true(fabs(loss_of(m) - whole) <= 1e-6 * whole);
        fb_model_close(&m);
        tried++;
    }
    assert_true(tried > 3);
}

/* What is held moves on with the model, and back. */
static void a_hold_follows_the_model(void **state)
{
    (void)state;
    fb_model *m = changed_from(2);
    net_ok(fb_judge_hold(&judge, net, 0));
    double whole = loss_of(m);
    net_ok(fb_judge_hold(&judge, m, 1));
    net_ok(fb_judge_hold(&judge, m, (uint32_t)m->n_nodes - 1));
    assert_true(fabs(loss_of(m) - whole) <= 1e-6 * whole);
    net_ok(fb_judge_hold(&judge, net, 1));
    assert_true(fabs(loss_of(m) - whole) <= 1e-6 * whole);
    assert_true(loss_of(net) < 1e-9);
    fb_model_close(&m);
}

/* What lies before the held node does not run again: a change there is not seen. */
static void the_prefix_does_not_run(void **state)
{
    (void)state;
    fb_model *m = changed_from(0);
    net_ok(fb_judge_hold(&judge, net, (uint32_t)net->n_nodes - 1));
    assert_true(loss_of(m) < 1e-9);
    net_ok(fb_judge_hold(&judge, net, 0));
    assert_true(loss_of(m) > 1e-6);
    fb_model_close(&m);
}

/* Activations encoded at the cut or before it: the network's input gets a twin behind a convert
 * node, and other codes than the held ones are not mistaken for them. */
static void other_codes_run_whole(void **state)
{
    (void)state;
    fb_model *coded;
    net_ok(net_compress(net, "int8", data, 1, false, &coded));
    net_ok(fb_judge_hold(&judge, net, 0));
    double whole = loss_of(coded);
    net_ok(fb_judge_hold(&judge, net, (uint32_t)net->n_nodes - 2));
    assert_true(loss_of(coded) == whole);
    fb_model_close(&coded);
}

static void who_misses_the_bar_is_stopped(void **state)
{
    (void)state;
    fb_model *m = changed_from(0);
    fb_verdict full, v;
    bool met;
    net_ok(fb_judge_hold(&judge, net, 0));
    net_ok(fb_judge_run(&judge, m, &full));
    const fb_bar exact = {full.loss * (1 + 1e-12), full.correct}, low = {full.loss / 100, 0};
    const fb_bar strict = {1e9, 1.5};
    net_ok(fb_judge_try(&judge, m, &exact, &v, &met));
    assert_true(met && v.images == NET_IMAGES && v.loss == full.loss);
    net_ok(fb_judge_try(&judge, m, &low, &v, &met));
    assert_true(!met && v.images < NET_IMAGES && v.loss > low.loss);
    net_ok(fb_judge_try(&judge, m, &strict, &v, &met)); /* more than all images right */
    assert_true(!met && v.images == 1);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_or_not_the_verdict_is_the_same),
        cmocka_unit_test(a_hold_follows_the_model),
        cmocka_unit_test(the_prefix_does_not_run),
        cmocka_unit_test(other_codes_run_whole),
        cmocka_unit_test(who_misses_the_bar_is_stopped),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
