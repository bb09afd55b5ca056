/* Levels for numbers on a line: the worked checks of METHODS, exact against every partition and
 * against Lloyd. */
#include "compress/fit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform());
}

static void ok(fb_status s)
{
    if (s != FB_OK)
        fail_msg("%s", fb_error());
}

static double fit_error(const fb_points *p, uint32_t k, bool zero)
{
    double level[FB_FIT_MOST_LEVELS];
    uint32_t found;
    ok(fb_kmeans_exact(p, k, zero, level, &found));
    assert_true(found >= 1 && found <= k);
    bool has_zero = false;
    for (uint32_t i = 0; i < found; i++) {
        assert_true(i == 0 || level[i] > level[i - 1]);
        has_zero |= level[i] == 0;
    }
    assert_true(has_zero || !zero);
    return fb_points_error(p, level, found);
}

/* METHODS E.7 */
static void test_even(void **state)
{
    (void)state;
    const double want[5] = {-1, -0.25, 0.5, 1.25, 2};
    double level[5];
    fb_fit_even(-1, 2, 5, level);
    for (int i = 0; i < 5; i++)
        assert_true(level[i] == want[i]);
    for (int i = 0; i <= 300; i++) {
        fb_points one = {.x = &(double){-1 + 0.01 * i}, .w = &(double){1}, .n = 1};
        assert_true(sqrt(fb_points_error(&one, level, 5)) <= 3.0 / 8 + 1e-12);
    }
}

/* METHODS E.7: {0 x 50, 1 x 50, 1000}: two levels are (0.5, 1000), bounded at 1 they are (0, 1). */
static void test_outlier(void **state)
{
    (void)state;
    float x[101];
    for (int bound = 0; bound < 2; bound++) {
        double level[2];
        uint32_t found;
        fb_points p;
        for (int i = 0; i < 101; i++)
            x[i] = i < 50 ? 0 : i < 100 ? 1 : bound ? 1 : 1000;
        ok(fb_points_init(&p, x, NULL, 101));
        assert_int_equal(p.n, bound ? 2 : 3);
        ok(fb_kmeans_exact(&p, 2, false, level, &found));
        assert_int_equal(found, 2);
        assert_true(level[0] == (bound ? 0 : 0.5) && level[1] == (bound ? 1 : 1000));
        double error = fb_points_error(&p, level, 2);
        assert_true(fabs(error / 100 - (bound ? 0 : 0.25)) < 1e-12);
        fb_points_free(&p);
    }
}

/* All ways to cut n ascending points into k runs, one of which may be held at 0. */
static double brute(const fb_points *p, uint32_t from, uint32_t k, bool zero)
{
    if (from == p->n)
        return 0;
    if (k == 0)
        return INFINITY;
    double least = INFINITY;
    for (uint32_t to = from + 1; to <= p->n; to++) {
        double w = 0, s = 0, e = 0, at_zero = 0;
        for (uint32_t i = from; i < to; i++) {
            w += p->w[i];
            s += p->w[i] * p->x[i];
            at_zero += p->w[i] * p->x[i] * p->x[i];
        }
        for (uint32_t i = from; i < to; i++)
            e += p->w[i] * (p->x[i] - s / w) * (p->x[i] - s / w);
        if (k > (zero ? 1 : 0))
            least = fmin(least, e + brute(p, to, k - 1, zero));
        if (zero)
            least = fmin(least, at_zero + brute(p, to, k - 1, false));
    }
    return least;
}

static void test_exact_is_exact(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        float x[10], w[10];
        size_t n = 1 + (size_t)(uniform() * 10);
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(round % 3 ? normal() + 100 * (round % 5 == 0) : floor(uniform() * 5));
            w[i] = (float)(round % 2 ? 1 : 0.01 + uniform());
        }
        fb_points p;
        ok(fb_points_init(&p, x, w, n));
        for (uint32_t k = 1; k <= 5; k++) {
            for (int zero = 0; zero < 2; zero++) {
                double want = brute(&p, 0, k, zero), is = fit_error(&p, k, zero);
                assert_true(fabs(is - want) <= 1e-9 * (1 + want));
            }
        }
        fb_points_free(&p);
    }
}

/* As brute, with runs that go to fixed levels at no cluster's price. */
static double brute_beside(const fb_points *p, uint32_t from, uint32_t k, const double *fixed,
                           uint32_t n_fixed)
{
    double least = from == p->n ? 0 : INFINITY;
    for (uint32_t to = from + 1; to <= p->n; to++) {
        double w = 0, s = 0, e = 0;
        for (uint32_t i = from; i < to; i++) {
            w += p->w[i];
            s += p->w[i] * p->x[i];
        }
        for (uint32_t i = from; i < to; i++)
            e += p->w[i] * (p->x[i] - s / w) * (p->x[i] - s / w);
        if (k > 0)
            least = fmin(least, e + brute_beside(p, to, k - 1, fixed, n_fixed));
        for (uint32_t f = 0; f < n_fixed; f++) {
            fb_points run = {.x = p->x + from, .w = p->w + from, .n = to - from};
            double at = fb_points_error(&run, &fixed[f], 1);
            least = fmin(least, at + brute_beside(p, to, k, fixed, n_fixed));
        }
    }
    return least;
}

static void test_beside(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        float x[6], w[6];
        double fixed[3], level[8];
        uint32_t n_fixed = (uint32_t)round % 4, found;
        size_t n = 1 + (size_t)(uniform() * 6);
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(round % 3 ? normal() : floor(uniform() * 5) - 2);
            w[i] = (float)(0.01 + uniform());
        }
        for (uint32_t i = 0; i < n_fixed; i++)
            fixed[i] = (double)i - (round % 2 ? 1 : 1.7 * uniform());
        for (uint32_t i = 1; i < n_fixed; i++)
            fixed[i] = fmax(fixed[i], fixed[i - 1] + 0.01);
        fb_points p;
        ok(fb_points_init(&p, x, w, n));
        for (uint32_t k = n_fixed ? 0 : 1; k <= 3; k++) {
            ok(fb_kmeans_beside(&p, fixed, n_fixed, k, level, &found));
            assert_true(found <= k);
            for (uint32_t i = 0; i < n_fixed; i++) { /* all, by size */
                uint32_t at = found++;
                for (; at > 0 && level[at - 1] > fixed[i]; at--)
                    level[at] = level[at - 1];
                level[at] = fixed[i];
            }
            double want = brute_beside(&p, 0, k, fixed, n_fixed);
            assert_true(fabs(fb_points_error(&p, level, found) - want) <= 1e-9 * (1 + want));
        }
        fb_points_free(&p);
    }
}

/* Against every choice of at most `most` out of 8 candidates that has those that must be. */
static void test_choose(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        enum { C = 8 };
        float x[30];
        double candidate[C];
        bool must[C] = {false}, chosen[C];
        uint32_t most = 1 + (uint32_t)round % 5, n_must = 0;
        for (int i = 0; i < 30; i++)
            x[i] = (float)(round % 3 ? normal() : floor(uniform() * 5) - 2);
        for (int i = 0; i < C; i++) {
            candidate[i] = (i - 3.5) * 0.7 + 0.5 * uniform();
            must[i] = uniform() < 0.3 && n_must < most;
            n_must += must[i];
        }
        fb_points p;
        ok(fb_points_init(&p, x, NULL, 30));
        ok(fb_fit_choose(&p, candidate, must, C, most, chosen));
        double least = INFINITY, is = NAN;
        for (unsigned set = 1; set < 1u << C; set++) {
            double level[C];
            uint32_t n = 0;
            bool all = true, same = true;
            for (unsigned i = 0; i < C; i++) {
                bool in = set >> i & 1;
                all = all && (in || !must[i]);
                same = same && in == chosen[i];
                level[n] = candidate[i];
                n += in;
            }
            if (!all || n > most)
                continue;
            double e = fb_points_error(&p, level, n);
            least = fmin(least, e);
            is = same ? e : is;
        }
        assert_true(is <= least * (1 + 1e-9));
        fb_points_free(&p);
    }
}

/* Exact <= Lloyd from any start; more levels do not hurt; k-means <= evenly spaced. */
static void test_against_lloyd(void **state)
{
    (void)state;
    static float x[3000], w[3000];
    bool strictly = false;
    for (int round = 0; round < 12; round++) {
        for (size_t i = 0; i < 3000; i++) {
            double v = normal();
            x[i] = (float)(round % 3 == 0 ? v : round % 3 == 1 ? v * v * v : fmax(v, 0));
            w[i] = (float)uniform();
        }
        fb_points p;
        ok(fb_points_init(&p, x, round % 2 ? w : NULL, 3000));
        assert_true(p.within == 0);
        double last = INFINITY;
        for (uint32_t k = 2; k <= 64; k *= 2) {
            double exact = fit_error(&p, k, false), zero = fit_error(&p, k, true), level[64];
            uint32_t found;
            assert_true(exact <= last && exact <= zero * (1 + 1e-12));
            last = exact;
            for (int start = 0; start <= FB_KMEANS_RANDOM; start++) {
                for (int pinned = 0; pinned < 2; pinned++) {
                    ok(fb_kmeans_lloyd(&p, k, pinned, (fb_kmeans_start)start, 7, level, &found));
                    assert_true(found <= k);
                    double lloyd = fb_points_error(&p, level, found);
                    assert_true((pinned ? zero : exact) <= lloyd * (1 + 1e-9));
                    strictly |= exact < 0.9 * lloyd;
                }
            }
            fb_fit_even(p.x[0], p.x[p.n - 1], k, level);
            assert_true(exact <= fb_points_error(&p, level, k));
        }
        fb_points_free(&p);
    }
    assert_true(strictly); /* Lloyd does get stuck */
}

/* Many numbers go into bins; the cost stays within the bound, which is small. */
static void test_bins(void **state)
{
    (void)state;
    enum { N = 40000, K = 16 };
    static float x[N];
    double level[K], sum = 0, direct = 0;
    uint32_t found;
    fb_points p;
    for (size_t i = 0; i < N; i++)
        x[i] = (float)normal();
    ok(fb_points_init(&p, x, NULL, N));
    assert_true(p.n <= FB_FIT_POINTS && p.within > 0);
    for (uint32_t i = 0; i < p.n; i++)
        sum += p.w[i];
    assert_true(sum == N);
    double h = (p.x[p.n - 1] - p.x[0]) / FB_FIT_POINTS;
    assert_true(sqrt(p.within) <= h / 2 * sqrt(N) * 1.01);
    ok(fb_kmeans_exact(&p, K, false, level, &found));
    for (size_t i = 0; i < N; i++) {
        fb_points one = {.x = &(double){(double)x[i]}, .w = &(double){1}, .n = 1};
        direct += fb_points_error(&one, level, found);
    }
    double cost = fb_points_error(&p, level, found);
    assert_true(sqrt(direct) <= sqrt(cost) + sqrt(p.within));
    assert_true(direct < 1.001 * (cost + p.within));
    /* known: 16 levels for a normal distribution, mean squared error 0.009497 (Max 1960) */
    assert_true(fabs(direct / N - 0.009497) < 0.0004);
    fb_points_free(&p);
}

static void expect(uint32_t n, const double *level, uint32_t n_want, const double *want)
{
    assert_int_equal(n, 2 * n_want + 1);
    assert_true(level[n_want] == 0);
    for (uint32_t i = 0; i < n_want; i++)
        assert_true(level[n_want + 1 + i] == want[i] && level[n_want - 1 - i] == -want[i]);
}

/* METHODS T.3: in sixteenths .0625 .125 .1875 .25 .375 .5 .625; B.5, B.8: for max|w| = 0.9 the
 * largest power of two is 1. */
static void test_tables(void **state)
{
    (void)state;
    double level[32];
    uint32_t n = fb_fit_apot(4, level);
    expect(n, level, 7, (const double[]){1, 2, 3, 4, 6, 8, 10});
    n = fb_fit_apot(3, level);
    expect(n, level, 3, (const double[]){1, 2, 4});
    n = fb_fit_apot(2, level);
    expect(n, level, 1, (const double[]){1});
    n = fb_fit_apot(5, level);
    expect(n, level, 15, (const double[]){1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48});
    n = fb_fit_pow2(5, level);
    assert_int_equal(n, 17);
    expect(n, level, 8, (const double[]){1, 2, 4, 8, 16, 32, 64, 128});
    assert_int_equal(fb_fit_pow2(2, level), 3);
    assert_int_equal(fb_fit_pow2_top(0.9), 0);
    assert_int_equal(fb_fit_pow2_top(0.75), 0);
    assert_int_equal(fb_fit_pow2_top(0.749), -1);
    assert_int_equal(fb_fit_pow2_top(1.5), 1);
}

/* METHODS T.4 */
static void test_ternary(void **state)
{
    (void)state;
    const float w[5] = {1, -0.9f, 0.2f, -0.1f, 0.05f};
    double threshold, a = fb_fit_twn(w, 5, &threshold);
    assert_true(fabs(threshold - 0.315) < 1e-7 && fabs(a - 0.95) < 1e-7);
    ok(fb_fit_ternary(w, 5, &a, &threshold));
    assert_true(fabs(a - 0.95) < 1e-7 && threshold > 0.2 && threshold < 0.9);
    /* the exact one is at least as good, and no other number of values kept is better */
    for (int round = 0; round < 100; round++) {
        float x[40];
        double error[2] = {0, 0}, best = INFINITY, pair[2][2];
        for (int i = 0; i < 40; i++)
            x[i] = (float)(round % 2 ? normal() : pow(normal(), 3));
        pair[0][0] = fb_fit_twn(x, 40, &pair[0][1]);
        ok(fb_fit_ternary(x, 40, &pair[1][0], &pair[1][1]));
        for (int which = 0; which < 2; which++) {
            for (int i = 0; i < 40; i++) {
                double v = fabs((double)x[i]), d = v - (v > pair[which][1] ? pair[which][0] : 0);
                error[which] += d * d;
            }
        }
        for (int cut = 0; cut < 40; cut++) {
            double t = fabs((double)x[cut]), s = 0, q = 0, c = 0;
            for (int i = 0; i < 40; i++) {
                double v = fabs((double)x[i]);
                s += v >= t ? v : 0;
                c += v >= t;
                q += v * v;
            }
            best = fmin(best, q - s * s / c);
        }
        assert_true(error[1] <= error[0] + 1e-9 && fabs(error[1] - best) < 1e-9 * (1 + best));
    }
    const float none[3] = {0, 0, 0};
    ok(fb_fit_ternary(none, 3, &a, &threshold));
    assert_true(a == 0 && fb_fit_twn(none, 3, &threshold) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),           cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_exact_is_exact), cmocka_unit_test(test_against_lloyd),
        cmocka_unit_test(test_bins),           cmocka_unit_test(test_tables),
        cmocka_unit_test(test_ternary),        cmocka_unit_test(test_beside),
        cmocka_unit_test(test_choose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
