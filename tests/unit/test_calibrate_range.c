/* Histogram, statistics and range choosers, with the worked checks of METHODS M.1 to M.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "calibrate/range.h"

#include <math.h>
#include <string.h>

enum { N = 20000 };

static uint64_t rng_state = 88172645463325252u;
static double uniform(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (double)(rng_state >> 11) / 9007199254740992.0;
}

static double gauss(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

static double laplace(void)
{
    double u = uniform() - 0.5;
    return (u < 0 ? 1 : -1) * log(1 - 2 * fabs(u));
}

static void fill(float *x, double (*draw)(void), float scale)
{
    rng_state = 88172645463325252u;
    for (size_t i = 0; i < N; i++)
        x[i] = scale * (float)draw();
}

static void gather(fb_stats *s, const float *x, size_t n, size_t batch)
{
    assert_int_equal(fb_stats_init(s), FB_OK);
    for (size_t i = 0; i < n; i += batch)
        assert_int_equal(fb_stats_add(s, x + i, n - i < batch ? n - i : batch), FB_OK);
}

static void histogram_doubles_its_range(void **state)
{
    (void)state;
    float x[] = {0.5f, -0.25f, 0, 1, -1, 100, -300, 0, 0.75f};
    fb_stats s;
    gather(&s, x, 9, 1);
    assert_int_equal(fb_hist_count(&s.hist), 9);
    assert_int_equal(s.hist.n_zero, 2);
    assert_true(s.hist.width * FB_HIST_SIDE >= 300);
    assert_true(s.hist.width * FB_HIST_SIDE < 600);
    uint64_t below = 0, above = 0;
    for (int j = 0; j < FB_HIST_SIDE; j++) {
        below += s.hist.bins[j];
        above += s.hist.bins[FB_HIST_SIDE + j];
    }
    assert_int_equal(below, 3);
    assert_int_equal(above, 4);
    assert_true(s.min == -300 && s.max == 100);
    fb_stats_free(&s);
}

/* Merging loses resolution, never counts: the same bins as if the range had been known. */
static void histogram_order_does_not_matter(void **state)
{
    (void)state;
    float *x = malloc(N * sizeof *x);
    fill(x, laplace, 1);
    x[N - 1] = 64;
    fb_hist a, b;
    assert_int_equal(fb_hist_init(&a), FB_OK);
    assert_int_equal(fb_hist_init(&b), FB_OK);
    fb_hist_add(&a, x + N - 1, 1, 64);
    fb_hist_add(&a, x, N - 1, 64);
    float first = 0.0625f; /* sets a width that divides the last one */
    fb_hist_add(&b, &first, 1, first);
    fb_hist_add(&b, x, N - 1, 32);
    fb_hist_add(&b, x + N - 1, 1, 64);
    assert_true(a.width == b.width);
    a.bins[FB_HIST_SIDE + (int)(first / a.width) - 1]++; /* it was its range's end */
    assert_memory_equal(a.bins, b.bins, FB_HIST_BINS * sizeof *a.bins);
    fb_hist_free(&a);
    fb_hist_free(&b);
    free(x);
}

static void not_finite_is_refused(void **state)
{
    (void)state;
    fb_stats s;
    assert_int_equal(fb_stats_init(&s), FB_OK);
    float bad[3] = {1, NAN, 2}, worse[1] = {INFINITY};
    assert_int_equal(fb_stats_add(&s, bad, 3), FB_E_FORMAT);
    assert_int_equal(fb_stats_add(&s, worse, 1), FB_E_FORMAT);
    assert_int_equal(s.n, 0);
    fb_stats_free(&s);
}

static void ema_follows_the_formula(void **state)
{
    (void)state;
    float x[] = {-1, 2, -3, 4, 0, 1};
    fb_stats s;
    gather(&s, x, 6, 2);
    float lo = 0.9f * (0.9f * -1 + 0.1f * -3) + 0.1f * 0, hi = 0.9f * (0.9f * 2 + 0.1f * 4) + 0.1f;
    fb_range r = fb_range_ema(&s);
    assert_true(fabsf(r.lo - lo) < 1e-6f && fabsf(r.hi - hi) < 1e-6f);
    fb_stats_free(&s);
}

static void codes_hold_zero_exactly(void **state)
{
    (void)state;
    const fb_range ranges[] = {{-1, 1}, {0, 6}, {-0.1f, 7.3f}, {-5, 0}, {0, 0}, {-1e-30f, 1e-30f}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        float scale;
        int32_t zero;
        fb_range_codes(ranges[i], 8, &scale, &zero);
        assert_true(scale > 0 && isfinite(1 / scale));
        assert_in_range(zero, 0, 255);
        /* rounding error of at most half a step within the range (less the zero point's rounding)
         */
        for (int k = 0; k <= 100; k++) {
            float x = ranges[i].lo + (ranges[i].hi - ranges[i].lo) * (float)k / 100;
            float q = rintf(x / scale) + (float)zero;
            q = q < 0 ? 0 : q > 255 ? 255 : q;
            assert_true(fabsf((q - (float)zero) * scale - x) <= scale * 1.001f);
        }
        if (ranges[i].lo == 0)
            assert_int_equal(zero, 0);
    }
}

static void percentile_leaves_out_the_tail(void **state)
{
    (void)state;
    float *x = malloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i + 1) / N;
    fb_stats s;
    gather(&s, x, N, 1000);
    fb_range r = fb_range_percentile(&s, 99);
    assert_true(fabsf(r.hi - 0.99f) < 2.0f / FB_HIST_SIDE);
    assert_true(r.lo == 0);
    r = fb_range_percentile(&s, 100);
    assert_true(r.hi == 1);
    fb_stats_free(&s);
    free(x);
}

static double mse_of(const float *x, fb_range r, unsigned bits)
{
    float scale;
    int32_t zero;
    double total = 0;
    fb_range_codes(r, bits, &scale, &zero);
    double top = (double)((1 << bits) - 1);
    for (int i = 0; i < N; i++) {
        double q = rint((double)x[i] / (double)scale) + zero;
        q = q < 0 ? 0 : q > top ? top : q;
        double e = (q - zero) * (double)scale - (double)x[i];
        total += e * e;
    }
    return total;
}

static void mse_is_no_worse_than_minmax(void **state)
{
    (void)state;
    double (*const draws[])(void) = {uniform, gauss, laplace};
    float *x = malloc(N * sizeof *x);
    for (int d = 0; d < 3; d++) {
        for (unsigned bits = 2; bits <= 8; bits += 2) {
            fb_stats s;
            fill(x, draws[d], 1);
            gather(&s, x, N, N);
            double all = mse_of(x, fb_range_minmax(&s), bits);
            double best = mse_of(x, fb_range_mse(&s, bits), bits);
            assert_true(best <= all * 1.001);
            if (bits == 4 && d == 2) /* a long tail at few bits must be clipped */
                assert_true(best < all * 0.5);
            fb_stats_free(&s);
        }
    }
    free(x);
}

/* M.2: uniform counts with B = 128 * 2^j lose nothing; each candidate is finite and >= 0. */
static void kl_of_uniform_is_zero(void **state)
{
    (void)state;
    uint64_t counts[2048];
    for (int i = 0; i < 2048; i++)
        counts[i] = 10;
    for (uint32_t n = 128; n <= 2048; n *= 2)
        assert_true(fabs(fb_kl_of(counts, n, n, 128)) < 1e-12);
    for (int i = 0; i < 2048; i++)
        counts[i] = (uint64_t)(10000 * exp(-i / 200.0)) + 1;
    for (uint32_t i = 128; i <= 2048; i++) {
        double kl = fb_kl_of(counts, 2048, i, 128);
        assert_true(kl >= 0 && isfinite(kl));
    }
    counts[999] = 0;
    assert_true(fb_kl_of(counts, 2048, 1000, 128) < 0); /* infinite: skipped */
}

static void kl_threshold_scales_with_the_data(void **state)
{
    (void)state;
    float *x = malloc(N * sizeof *x);
    fb_range r[2];
    for (int i = 0; i < 2; i++) {
        fb_stats s;
        fill(x, laplace, i ? 2.0f : 1.0f);
        gather(&s, x, N, 500);
        r[i] = fb_range_kl(&s, 8);
        assert_true(r[i].hi <= s.max && r[i].lo >= s.min);
        fb_stats_free(&s);
    }
    assert_true(r[1].hi == 2 * r[0].hi && r[1].lo == 2 * r[0].lo);
    free(x);
}

/* M.3: the optima as re-derived there. */
static void aciq_has_the_published_optima(void **state)
{
    (void)state;
    const double l[8] = {1.86, 2.83, 3.90, 5.03, 6.21, 7.41, 8.65, 9.90};
    const double g[8] = {1.24, 1.71, 2.15, 2.56, 2.94, 3.29, 3.62, 3.92};
    for (unsigned m = 1; m <= 8; m++) {
        assert_true(fabs(fb_aciq_laplace(m) - l[m - 1]) < 0.015);
        assert_true(fabs(fb_aciq_gauss(m) - g[m - 1]) < 0.015);
    }
}

static void aciq_tells_laplace_from_gauss(void **state)
{
    (void)state;
    float *x = malloc(N * sizeof *x);
    fb_stats s;
    fill(x, laplace, 1); /* b = 1 */
    gather(&s, x, N, N);
    fb_range r = fb_range_aciq(&s, 4);
    assert_true(fabs((double)r.hi - 5.03) < 0.15 && fabs((double)r.lo + 5.03) < 0.15);
    fb_stats_free(&s);
    fill(x, gauss, 1);
    gather(&s, x, N, N);
    r = fb_range_aciq(&s, 4);
    assert_true(fabs((double)r.hi - 2.56) < 0.08 && fabs((double)r.lo + 2.56) < 0.08);
    fb_stats_free(&s);
    fill(x, laplace, 1); /* rectified: half the range, one bit more */
    for (int i = 0; i < N; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
    gather(&s, x, N, N);
    r = fb_range_aciq(&s, 4);
    assert_true(r.lo == 0 && fabs((double)r.hi - 6.21) < 0.2);
    fb_stats_free(&s);
    free(x);
}

static void moments_by_channel(void **state)
{
    (void)state;
    const float x[] = {1, 10, 3, 10, 5, 40};
    fb_moments m;
    assert_int_equal(fb_moments_init(&m, 2), FB_OK);
    fb_moments_add(&m, x, 4);
    fb_moments_add(&m, x + 4, 2);
    assert_true(fb_moments_mean(&m, 0) == 3 && fb_moments_mean(&m, 1) == 20);
    assert_true(fabs(fb_moments_variance(&m, 0) - 8.0 / 3) < 1e-12);
    assert_true(fabs(fb_moments_variance(&m, 1) - 200) < 1e-9);
    fb_moments_free(&m);
}

static void nothing_seen_is_an_empty_range(void **state)
{
    (void)state;
    const float zeros[4] = {0};
    fb_stats s;
    gather(&s, zeros, 4, 4);
    for (int rule = FB_RANGE_MINMAX; rule <= FB_RANGE_ACIQ; rule++) {
        fb_range r = fb_range_choose((fb_range_rule)rule, &s, 8, 99.9);
        assert_true(r.lo == 0 && r.hi == 0);
    }
    fb_stats_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_doubles_its_range),
        cmocka_unit_test(histogram_order_does_not_matter),
        cmocka_unit_test(not_finite_is_refused),
        cmocka_unit_test(ema_follows_the_formula),
        cmocka_unit_test(codes_hold_zero_exactly),
        cmocka_unit_test(percentile_leaves_out_the_tail),
        cmocka_unit_test(mse_is_no_worse_than_minmax),
        cmocka_unit_test(kl_of_uniform_is_zero),
        cmocka_unit_test(kl_threshold_scales_with_the_data),
        cmocka_unit_test(aciq_has_the_published_optima),
        cmocka_unit_test(aciq_tells_laplace_from_gauss),
        cmocka_unit_test(moments_by_channel),
        cmocka_unit_test(nothing_seen_is_an_empty_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
