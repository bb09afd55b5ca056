/* Channels that change places: the network stays the same, and those that vary together meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/permute_fit.h"
#include "unit/compress_net.h"

enum { C = 16, D = 4, ROWS = 400 };

/* Channels (i, i + 4, i + 8, i + 12) are nearly one. */
static void make_covariance(double *cov)
{
    memset(cov, 0, C * C * sizeof *cov);
    for (int r = 0; r < ROWS; r++) {
        double x[C], common[C / D];
        for (int k = 0; k < C / D; k++)
            common[k] = (double)net_random();
        for (int i = 0; i < C; i++)
            x[i] = common[i % (C / D)] + 0.05 * (double)net_random();
        for (int i = 0; i < C * C; i++)
            cov[i] += x[i / C] * x[i % C] / ROWS;
    }
}

static bool is_permutation(const size_t *order, size_t n)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < n; i++)
        seen |= (uint64_t)1 << order[i];
    return seen == ((uint64_t)1 << n) - 1;
}

static void planted_groups_are_found(void **state)
{
    double cov[C * C];
    size_t order[C], greedy[C];
    (void)state;
    net_state = 99;
    make_covariance(cov);
    fb_permute_problem p = {.c = C, .d = D, .n = 1, .cov = cov};
    for (size_t i = 0; i < C; i++)
        order[i] = i;
    double before = fb_permute_cost(&p, order);
    for (unsigned k = 0; k < 20; k++) { /* never rises */
        double last = fb_permute_cost(&p, order);
        net_ok(fb_permute_improve(&p, 1, order));
        assert_true(fb_permute_cost(&p, order) <= last);
    }
    net_ok(fb_permute_start(&p, greedy));
    net_ok(fb_permute_improve(&p, 20, greedy));
    assert_true(is_permutation(order, C) && is_permutation(greedy, C));
    double found = fmin(fb_permute_cost(&p, order), fb_permute_cost(&p, greedy));
    assert_true(found < 0.4 * before);
    const size_t *best = fb_permute_cost(&p, order) <= found ? order : greedy;
    for (size_t i = 0; i < C; i++)
        assert_int_equal(best[i] % (C / D), best[i / D * D] % (C / D));
}

/* d = 2, determinants by hand: channels 0 and 2, 1 and 3 belong together. */
static void the_small_case(void **state)
{
    const double cov[16] = {2, 0, 1, 0, 0, 2, 0, 1, 1, 0, 2, 0, 0, 1, 0, 2};
    fb_permute_problem p = {.c = 4, .d = 2, .n = 1, .cov = cov};
    size_t order[4] = {0, 1, 2, 3};
    (void)state;
    assert_true(fabs(fb_permute_cost(&p, order) - 4 * 2) < 1e-12);
    net_ok(fb_permute_improve(&p, 5, order));
    assert_true(fabs(fb_permute_cost(&p, order) - 4 * sqrt(3)) < 1e-12);
    assert_true((order[0] + order[1]) % 2 == 0);
    /* one codebook for both places: the mean covariance is diagonal, no order changes that */
    p.shared = true;
    assert_true(fabs(fb_permute_cost(&p, order) - 2 * 2 * sqrt(3)) < 1e-12);
    net_ok(fb_permute_improve(&p, 5, order));
    assert_true(fb_permute_cost(&p, order) <= 2 * 2 * sqrt(3));
    assert_true(is_permutation(order, 4));
}

static bool differs(const fb_model *a, const fb_model *b, const char *name)
{
    const fb_tensor *x = &a->tensors[net_tensor(a, name)], *y = &b->tensors[net_tensor(b, name)];
    return memcmp(x->data, y->data, x->data_bytes) != 0;
}

/* Through a sum, a depthwise layer, a pool and a flatten. */
static void the_network_computes_the_same(void **state)
{
    const char *images = net_write_images();
    fb_data *data = net_data(images);
    fb_model *m = net_build(false), *q;
    const char *texts[] = {"permute:d=4", "permute:d=3,books=layer", "permute:d=4,exclude=fc"};
    (void)state;
    for (int k = 0; k < 3; k++) {
        net_ok(net_compress(m, texts[k], NULL, 1, false, &q));
        assert_true(net_difference(m, q, data) < 1e-5);
        assert_true(differs(m, q, "conv0.weight") && differs(m, q, "conv0.bias"));
        assert_true(differs(m, q, "dw.weight") && differs(m, q, "conv3.weight"));
        assert_true(differs(m, q, "fc.weight") == (k < 2));
        assert_true(!differs(m, q, "fc.bias"));
        fb_model_close(&q);
    }
    net_ok(net_compress(m, "permute:d=4 + int8", data, 1, false, &q));
    assert_true(net_difference(m, q, data) < 0.03);
    fb_model_close(&q);
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_groups_are_found),
        cmocka_unit_test(the_small_case),
        cmocka_unit_test(the_network_computes_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
