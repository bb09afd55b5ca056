/* Optimal Brain Surgeon on random layer problems: the losses add up, rows are better than by
 * magnitude, and nothing depends on threads. METHODS M.8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "compress/linalg.h"
#include "compress/obs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state_of = 88172645463325252u;

static double number(void)
{
    state_of ^= state_of << 13;
    state_of ^= state_of >> 7;
    state_of ^= state_of << 17;
    return (double)(state_of >> 11) / 4503599627370496.0 - 1;
}

/* E[x xᵀ] of samples whose elements go together. */
static double *random_gram(size_t d)
{
    double *g = calloc(d * d, sizeof *g), *x = calloc(d, sizeof *x);
    for (size_t n = 0; n < 3 * d; n++) {
        double common = number();
        for (size_t i = 0; i < d; i++)
            x[i] = number() + (i % 3 ? common : 0) + (i ? 0.4 * x[i - 1] : 0);
        for (size_t i = 0; i < d; i++)
            for (size_t k = 0; k < d; k++)
                g[i * d + k] += x[i] * x[k] / (double)(3 * d);
    }
    free(x);
    return g;
}

static double loss_of(size_t d, const double *g, const double *w, const double *target)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        for (size_t k = 0; k < d; k++)
            sum += (w[i] - target[i]) * g[i * d + k] * (w[k] - target[k]);
    return sum;
}

/* The toy of METHODS M.8 with q = 0: H = 2 G = [[2, 1], [1, 2]]. Without the weight p the other
 * moves by w_p / 2, and the loss is 3/4 w_p². */
static void test_toy(void **state)
{
    (void)state;
    double g[4] = {1, 0.5, 0.5, 1}, inverse[4], w[2] = {0.45, 0.40}, work[8], loss[2];
    const fb_obs_rule rule = {.share = 0.5};
    uint32_t order[2];
    memcpy(inverse, g, sizeof g);
    assert_int_equal(fb_spd_inverse(2, inverse), FB_OK);
    assert_int_equal(fb_obs_row(2, inverse, &rule, 1, w, order, loss, work), 1);
    assert_int_equal(order[0], 1);
    assert_true(w[1] == 0 && fabs(w[0] - 0.65) < 1e-12);
    assert_true(fabs(loss[0] - 0.12) < 1e-12);
}

/* The losses of the steps add up to the loss, at every length. */
static void test_losses_add_up(void **state)
{
    (void)state;
    enum { D = 24 };
    const fb_obs_rule rule = {.share = 1};
    double *g = random_gram(D), *inverse = calloc(D * D, sizeof *inverse);
    double *work = calloc(fb_obs_work(D), sizeof *work), target[D], w[D], loss[D];
    uint32_t order[D];
    memcpy(inverse, g, D * D * sizeof *g);
    assert_int_equal(fb_spd_inverse(D, inverse), FB_OK);
    for (size_t i = 0; i < D; i++)
        target[i] = number();
    for (size_t steps = 0; steps <= D; steps++) {
        double sum = 0;
        memcpy(w, target, sizeof w);
        assert_int_equal(fb_obs_row(D, inverse, &rule, steps, w, order, loss, work), steps);
        for (size_t i = 0; i < steps; i++) {
            assert_true(w[order[i]] == 0);
            sum += loss[i];
        }
        assert_true(fabs(sum - loss_of(D, g, w, target)) < 1e-12 * (1 + sum));
    }
    free(g);
    free(inverse);
    free(work);
}

static fb_pool *pool_of(uint32_t threads)
{
    fb_pool *pool;
    assert_int_equal(fb_pool_create(threads, &pool), FB_OK);
    return pool;
}

static double total_loss(size_t rows, size_t d, const double *g, const double *w,
                         const double *target)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        sum += loss_of(d, g, w + r * d, target + r * d);
    return sum;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Better than the smallest magnitudes with the others as they were, and than those refitted. */
static void test_beats_magnitude(void **state)
{
    (void)state;
    enum { ROWS = 9, D = 36 };
    for (int round = 0; round < 5; round++) {
        double *g = random_gram(D), target[ROWS * D], w[ROWS * D], again[ROWS * D], cut[ROWS * D];
        double size[ROWS * D], cross[ROWS * D] = {0};
        const fb_obs_rule rule = {.share = 0.6};
        size_t zeros = 0;
        for (size_t i = 0; i < ROWS * D; i++) {
            target[i] = number() * number();
            size[i] = fabs(target[i]);
        }
        memcpy(w, target, sizeof w);
        memcpy(again, target, sizeof w);
        fb_pool *one = pool_of(1), *three = pool_of(3);
        assert_int_equal(fb_obs_prune(ROWS, D, g, &rule, one, w), FB_OK);
        assert_int_equal(fb_obs_prune(ROWS, D, g, &rule, three, again), FB_OK);
        assert_memory_equal(w, again, sizeof w);
        qsort(size, ROWS * D, sizeof *size, ascending);
        for (size_t i = 0; i < ROWS * D; i++) {
            zeros += w[i] == 0;
            cut[i] = fabs(target[i]) < size[194] ? 0 : target[i]; /* 0.6 * 324 */
        }
        assert_int_equal(zeros, 194);
        double obs = total_loss(ROWS, D, g, w, target), plain = total_loss(ROWS, D, g, cut, target);
        fb_gemm_f64(false, false, ROWS, D, D, 1, target, D, g, D, 0, cross, D);
        assert_int_equal(fb_obs_refit(ROWS, D, g, cross, one, cut), FB_OK);
        double refit = total_loss(ROWS, D, g, cut, target);
        assert_true(obs < refit && refit < plain);
        fb_pool_destroy(one);
        fb_pool_destroy(three);
        free(g);
    }
}

/* Every group of m keeps n at most, in the exact form and in the one for large problems. */
static void test_groups(void **state)
{
    (void)state;
    enum { ROWS = 5, D = 60, IC = 10, LARGE = 2000, MANY = 40 };
    const fb_obs_rule rule = {.keep = 2, .group = 4, .ic = IC};
    const size_t rows_of[2] = {ROWS, MANY}, d_of[2] = {D, LARGE};
    for (int k = 0; k < 2; k++) {
        size_t rows = rows_of[k], d = d_of[k];
        double *g = k ? calloc(d * d, sizeof *g) : random_gram(d), *w = calloc(rows * d, sizeof *w);
        for (size_t i = 0; k && i < d; i++) { /* neighbours go together */
            g[i * d + i] = 1.5;
            if (i)
                g[i * d + i - 1] = g[(i - 1) * d + i] = 0.5;
        }
        for (size_t i = 0; i < rows * d; i++)
            w[i] = number();
        fb_pool *pool = pool_of(2);
        assert_int_equal(fb_obs_prune(rows, d, g, &rule, pool, w), FB_OK);
        for (size_t r = 0; r < rows * d; r += IC) {
            for (size_t at = 0; at < IC; at += 4) {
                size_t kept = 0;
                for (size_t i = at; i < at + 4 && i < IC; i++)
                    kept += w[r + i] != 0;
                assert_int_equal(kept, 2);
            }
        }
        fb_pool_destroy(pool);
        free(g);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toy),
        cmocka_unit_test(test_losses_add_up),
        cmocka_unit_test(test_beats_magnitude),
        cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
