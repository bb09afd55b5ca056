/* Where weights are clipped: METHODS C.5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "calibrate/range.h"
#include "compress/weights.h"

#include <math.h>

enum { N = 100000 };
static float normal[N];

/* N(0, 1), Box-Muller. */
static int fill(void **state)
{
    (void)state;
    uint64_t s = 88172645463325252u;
    double u[2];
    for (size_t i = 0; i < N; i += 2) {
        for (int k = 0; k < 2; k++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            u[k] = ((double)(s >> 11) + 0.5) / 9007199254740992.0;
        }
        double r = sqrt(-2 * log(u[0])), a = 6.28318530717958647692 * u[1];
        normal[i] = (float)(r * cos(a));
        normal[i + 1] = (float)(r * sin(a));
    }
    return 0;
}

static float largest(void)
{
    float most = 0;
    for (size_t i = 0; i < N; i++)
        most = fmaxf(most, fabsf(normal[i]));
    return most;
}

/* ACIQ's 2.56 is for 16 levels between two edges; 15 levels that stand on the boundary have theirs
 * half a step further in, 2.47. The largest of the sample is 4.96. */
static void four_bits_of_a_normal(void **state)
{
    (void)state;
    fb_weight_rule rule = {.bits = 4};
    float t = fb_weight_boundary(&rule, FB_WEIGHT_MSE, normal, N);
    assert_true(fabsf(t - 2.56f) < 0.15f);
    float edge = t * 7.5f / 7;
    assert_true(fabsf(edge - 2.64f) < 0.06f); /* slightly beyond 2.56 */
    assert_true(t < 0.7f * largest());
    float aciq = fb_weight_boundary(&rule, FB_WEIGHT_ACIQ, normal, N);
    assert_true(fabsf(aciq - 2.56f) < 0.03f);
}

/* Fewer bits clip more; no rule goes beyond the largest, and every rule but MINMAX clips. */
static void boundaries_shrink_with_bits(void **state)
{
    (void)state;
    const fb_weight_range ranges[] = {FB_WEIGHT_MSE, FB_WEIGHT_KL, FB_WEIGHT_ACIQ};
    for (size_t r = 0; r < 3; r++) {
        float before = largest();
        for (unsigned bits = 8; bits >= 2; bits--) {
            fb_weight_rule rule = {.bits = bits};
            float t = fb_weight_boundary(&rule, ranges[r], normal, N);
            if (getenv("TALK"))
                print_message("range %zu bits %u t %g\n", r, bits, (double)t);
            assert_true(t > 0 && t <= before);
            before = t;
        }
        assert_true(before < 0.6f * largest());
    }
    fb_weight_rule rule = {.bits = 4};
    assert_true(fb_weight_boundary(&rule, FB_WEIGHT_MINMAX, normal, N) == largest());
}

static void clipping_lowers_the_error(void **state)
{
    (void)state;
    double gain = 1;
    for (unsigned bits = 8; bits >= 3; bits--) {
        fb_weight_rule rule = {.bits = bits};
        float most = largest(), t = fb_weight_boundary(&rule, FB_WEIGHT_MSE, normal, N);
        double wide = fb_weight_error(&rule, normal, N, fb_weight_cover(&rule, -most, most));
        double clipped = fb_weight_error(&rule, normal, N, fb_weight_cover(&rule, -t, t));
        assert_true(clipped < wide);
        assert_true(wide / clipped > gain); /* and the more so, the fewer bits */
        gain = wide / clipped;
    }
    assert_true(gain > 2.5);
}

static void two_points_stay(void **state)
{
    (void)state;
    float w[64];
    for (int i = 0; i < 64; i++)
        w[i] = i % 3 ? 1 : -1;
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (int r = FB_WEIGHT_MINMAX; r <= FB_WEIGHT_KL; r++) {
            fb_weight_rule rule = {.bits = bits};
            float t = fb_weight_boundary(&rule, (fb_weight_range)r, w, 64);
            assert_true(t == 1);
            double error = fb_weight_error(&rule, w, 64, fb_weight_cover(&rule, -t, t));
            assert_true(error < 1e-12);
        }
    }
}

static void nothing_is_no_problem(void **state)
{
    (void)state;
    const float zeros[3] = {0}, one[1] = {-0.5f};
    for (int r = FB_WEIGHT_MINMAX; r <= FB_WEIGHT_ACIQ; r++) {
        fb_weight_rule rule = {.bits = 4, .range = (fb_weight_range)r};
        assert_true(fb_weight_boundary(&rule, rule.range, zeros, 3) == 0);
        assert_true(fb_weight_choose(&rule, zeros, 3).scale == 0);
        assert_true(fb_weight_boundary(&rule, rule.range, one, 1) == 0.5f);
    }
}

/* A histogram that the levels hold exactly loses nothing; every candidate without a hole at its
 * ends is finite; one with mass beyond an empty end is not. */
static void divergence(void **state)
{
    (void)state;
    uint64_t counts[2048];
    for (uint32_t k = 0; k < 2048; k++)
        counts[k] = 1 + k * k % 37;
    assert_true(fb_kl_cells(counts, 2048, 0, 2048, 2048, false) < 1e-12);
    for (uint32_t k = 0; k < 2048; k++)
        counts[k] = 5;
    assert_true(fabs(fb_kl_cells(counts, 2048, 0, 2048, 15, true)) < 1e-12);
    for (uint32_t i = 8; i <= 128; i++) {
        double kl = fb_kl_cells(counts, 2048, 1024 - 8 * i, 1024 + 8 * i, 15, true);
        assert_true(kl >= 0 && isfinite(kl));
        assert_true(i == 128 || kl > 0);
    }
    counts[1024 + 511] = 0;
    assert_true(fb_kl_cells(counts, 2048, 512, 1536, 15, true) < 0);
    for (uint32_t k = 0; k < 2048; k++) /* holes: the full range stays finite */
        counts[k] = k % 5 ? 0 : k;
    double full = fb_kl_cells(counts, 2048, 0, 2048, 15, true);
    assert_true(full >= 0 && isfinite(full));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_bits_of_a_normal),     cmocka_unit_test(boundaries_shrink_with_bits),
        cmocka_unit_test(clipping_lowers_the_error), cmocka_unit_test(two_points_stay),
        cmocka_unit_test(nothing_is_no_problem),     cmocka_unit_test(divergence),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
