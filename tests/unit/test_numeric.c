/* The law of integers against an independent one in exact arithmetic, exhaustively where the range
 * allows it. */
#include "numeric/requant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Ties to even without the library's rounding. */
static int64_t rne_exact(double v)
{
    double below = floor(v), rest = v - below;
    int64_t n = (int64_t)below;
    if (rest > 0.5 || (rest == 0.5 && n % 2 != 0))
        n++;
    return n;
}

static int32_t clamp64(int64_t v, int32_t lo, int32_t hi)
{
    return v < lo ? lo : v > hi ? hi : (int32_t)v;
}

static void test_ties(void **state)
{
    (void)state;
    for (int32_t k = -1000; k <= 1000; k++) {
        int32_t even = k % 2 == 0 ? k : k + 1;
        assert_int_equal(fb_rne((float)k + 0.5f), even);
        assert_int_equal(fb_rne((float)k), k);
        assert_int_equal(fb_requant(2 * k + 1, 0.5f, 0, -5000, 5000), even);
    }
}

/* Every 16-bit accumulator and a spread of others, several scales and zero points. */
static void test_requant(void **state)
{
    (void)state;
    static const float scales[] = {1.0f, 0.5f, 0.25f, 0.1f, 0.0123f, 1e-9f, 3.7f, 1e9f};
    static const int32_t zeros[] = {0, 1, 127, 128, 254, 255};
    static const int32_t far[] = {INT32_MIN, INT32_MIN + 1, INT32_MAX, INT32_MAX - 64,
                                  16777217,  -16777217,     33554435};
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
        for (size_t z = 0; z < sizeof zeros / sizeof zeros[0]; z++) {
            for (int32_t acc = -32768; acc < 32768 + 7; acc++) {
                int32_t a = acc < 32768 ? acc : far[acc - 32768];
                float product = (float)a * scales[s];
                double v = fabs((double)product) < 1e6 ? (double)product : product < 0 ? -1e6 : 1e6;
                int32_t want = clamp64(rne_exact(v) + zeros[z], 0, 255);
                assert_int_equal(fb_requant(a, scales[s], zeros[z], 0, 255), want);
            }
        }
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const float scales[] = {1.0f, 0.1f, 0.0078125f, 3.1e-5f, 1e-30f, 1e30f};
    for (unsigned bits = 1; bits <= 16; bits++) {
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            int32_t lo = fb_code_min(bits, is_signed), hi = fb_code_max(bits, is_signed);
            assert_int_equal(hi - lo, (1 << bits) - 1);
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
                int32_t zero = lo + (hi - lo) / 3;
                for (int32_t q = lo; q <= hi; q++) {
                    float v = fb_dequantize(q, scales[s], zero);
                    assert_int_equal(fb_quantize(v, scales[s], zero, lo, hi), q);
                }
            }
        }
    }
}

static void test_quantize_edges(void **state)
{
    (void)state;
    assert_int_equal(fb_quantize(NAN, 0.1f, 7, 0, 255), 0);
    assert_int_equal(fb_quantize(INFINITY, 0.1f, 7, 0, 255), 255);
    assert_int_equal(fb_quantize(-INFINITY, 0.1f, 7, -128, 127), -128);
    assert_int_equal(fb_quantize(1e38f, 1e-38f, 0, 0, 255), 255);
    assert_int_equal(fb_quantize(-0.0f, 0.1f, 7, 0, 255), 7);
    /* 0.3f / 0.1f is above 3, 0.3f * 10.0f is not: the law divides. */
    assert_int_equal(fb_quantize(2.5f * 0.1f, 0.1f, 0, 0, 255), fb_rne(2.5f * 0.1f / 0.1f));
}

/* Clamping codes equals clamping values and rounding afterwards. */
static void test_act(void **state)
{
    (void)state;
    static const float his[] = {6.0f, 1.0f, 0.05f, 100.0f, INFINITY};
    for (int32_t zero = 0; zero <= 255; zero += 5) {
        for (size_t h = 0; h < 5; h++) {
            float scale = 0.037f;
            int32_t lo = 0, hi = 255;
            fb_act_codes(0.0f, his[h], scale, zero, &lo, &hi);
            assert_true(lo <= hi && lo == zero);
            for (int32_t acc = -3000; acc < 3000; acc++) {
                float v = (float)acc * 0.11f, top = his[h] / scale;
                float clamped = v < 0.0f ? 0.0f : v > top ? top : v;
                assert_int_equal(fb_requant(acc, 0.11f, zero, lo, hi),
                                 fb_code_of(clamped, zero, 0, 255));
            }
        }
    }
}

static void test_bias(void **state)
{
    (void)state;
    assert_int_equal(fb_bias_code(1.0f, 0.5f, 0.25f, 1000), 8);
    assert_int_equal(fb_bias_code(0.3125f, 0.5f, 0.25f, 1000), 2); /* 2.5 */
    assert_int_equal(fb_bias_code(1e30f, 1e-10f, 1e-10f, 12345), 12345);
    assert_int_equal(fb_bias_code(-1e30f, 1e-10f, 1e-10f, 12345), -12345);
    assert_int_equal(fb_bias_code(NAN, 0.5f, 0.25f, 1000), -1000);
    assert_int_equal(fb_bias_code(3e9f, 1.0f, 1.0f, INT32_MAX), INT32_MAX);
}

/* All pairs of codes: within one code of the exact sum, and exact where the arithmetic is. */
static void test_add(void **state)
{
    (void)state;
    fb_add_law odd = fb_add_law_of(0.031f, 120, 0.017f, 3, 0.04f, 77);
    fb_add_law tidy = fb_add_law_of(0.5f, 128, 0.25f, 64, 0.5f, 10);
    for (int32_t a = 0; a < 256; a++) {
        for (int32_t b = 0; b < 256; b++) {
            double sum = ((double)0.031f * (a - 120) + (double)0.017f * (b - 3)) / (double)0.04f;
            int32_t got = fb_add_codes(a, b, &odd, 0, 255);
            assert_true(abs(got - clamp64(rne_exact(sum + 77), 0, 255)) <= 1);
            int64_t exact = rne_exact((a - 128) + (b - 64) / 2.0 + 10);
            assert_int_equal(fb_add_codes(a, b, &tidy, 0, 255), clamp64(exact, 0, 255));
        }
    }
}

static void test_mul(void **state)
{
    (void)state;
    float ratio = fb_mul_ratio(0.5f, 0.25f, 8.0f);
    for (int32_t a = 0; a < 256; a++) {
        for (int32_t b = 0; b < 256; b++) {
            int64_t exact = rne_exact((a - 100) * (b - 30) / 64.0 + 5);
            assert_int_equal(fb_mul_codes(a, 100, b, 30, ratio, 5, 0, 255), clamp64(exact, 0, 255));
        }
    }
}

/* The compiler must not fuse a product and a sum: (1 + 2^-12)^2 - 1 loses 2^-24 when rounded. */
static void test_no_contraction(void **state)
{
    (void)state;
    volatile float x = 1.0f + 0x1p-12f;
    float y = x * x - 1.0f;
    assert_true(y == 0x1p-11f);
    assert_true(fmaf(x, x, -1.0f) == 0x1p-11f + 0x1p-24f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_requant),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_quantize_edges),
        cmocka_unit_test(test_act),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_mul),
        cmocka_unit_test(test_no_contraction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
