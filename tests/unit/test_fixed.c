/* The law of fixed point: the worked checks of METHODS D.8, and every mode on values that tell them
 * apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "numeric/fixed.h"

/* Q3.4: 1.3125 * -0.5 = 21 * -8 = -168 with 8 fraction bits; exactly -10.5 with 4. */
static void a_product_of_q34(void **state)
{
    (void)state;
    assert_int_equal(21 * -8, -168);
    assert_int_equal(fb_shift(-168, 4, FB_ROUND_HALF_UP), -10);
    assert_int_equal(fb_shift(-168, 4, FB_ROUND_HALF_AWAY), -11);
    assert_int_equal(fb_shift(-168, 4, FB_ROUND_HALF_EVEN), -10);
    assert_int_equal(fb_shift(-168, 4, FB_ROUND_DOWN), -11);
    assert_true(-10 / 16.0 == -0.625 && 1.3125 * -0.5 == -0.65625);
}

static void rounding(void **state)
{
    (void)state;
    /* v, n, half-up, half-even, half-away, floor */
    static const int64_t t[][6] = {
        {5, 1, 3, 2, 3, 2},         {7, 1, 4, 4, 4, 3},           {-5, 1, -2, -2, -3, -3},
        {-7, 1, -3, -4, -4, -4},    {6, 2, 2, 2, 2, 1},           {-6, 2, -1, -2, -2, -2},
        {9, 2, 2, 2, 2, 2},         {-9, 2, -2, -2, -2, -3},      {0, 9, 0, 0, 0, 0},
        {3, 0, 3, 3, 3, 3},         {-3, -2, -12, -12, -12, -12}, {1, 40, 0, 0, 0, 0},
        {-1, 40, 0, 0, 0, -1},      {-1, 1000, 0, 0, 0, -1},      {INT32_MIN, 32, 0, 0, -1, -1},
        {INT32_MAX, 31, 1, 1, 1, 0}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        for (int mode = 0; mode < FB_ROUND_COUNT; mode++)
            assert_int_equal(fb_shift(t[i][0], (int32_t)t[i][1], (fb_rounding)mode),
                             t[i][2 + mode]);
    }
    /* Beyond any code, but no overflow. */
    assert_true(fb_shift(INT32_MIN, -1000, FB_ROUND_DOWN) == INT32_MIN * (INT64_C(1) << 31));
}

/* METHODS D.8: 8-bit weights and data, 9 * 512 products. */
static void accumulator_bound(void **state)
{
    (void)state;
    assert_int_equal(fb_acc_bound(8, 8, true, 9 * 512), 28);
    assert_int_equal(fb_acc_bound(8, 8, false, 9 * 512), 29);
    assert_int_equal(fb_acc_bound(16, 16, true, 1), 31);
    /* and it holds: the worst sum of 4096 products, the bound of 4097, one bit more */
    assert_true(fb_acc_holds((int64_t)4608 * 128 * 127, 28));
    assert_true(fb_acc_holds(INT64_C(-4096) * 128 * 127, fb_acc_bound(8, 8, true, 4096)));
    assert_false(fb_acc_holds(INT64_C(-4608) * 128 * 127, 27));
}

static void accumulators(void **state)
{
    (void)state;
    const fb_fixed saturate = {8, FB_OVERFLOW_END, 0}, wrap = {8, FB_OVERFLOW_WRAP, 0};
    assert_int_equal(fb_acc_of(127, &saturate), 127);
    assert_int_equal(fb_acc_of(128, &saturate), 127);
    assert_int_equal(fb_acc_of(-129, &saturate), -128);
    assert_int_equal(fb_acc_of(128, &wrap), -128);
    assert_int_equal(fb_acc_of(-129, &wrap), 127);
    assert_int_equal(fb_acc_of(1000, &wrap), 1000 - 4 * 256);
    assert_int_equal(fb_acc_of(-1000, &wrap), -1000 + 4 * 256);
    assert_int_equal(fb_acc_wrap(INT64_C(0x180000000), 32), INT32_MIN);
    assert_int_equal(fb_acc_max(32), INT32_MAX);
    assert_int_equal(fb_acc_min(32), INT32_MIN);
    /* Saturating product by product depends on the order: 100 + 100 - 100 is 27 or 100. */
    assert_int_equal(fb_acc_saturate(fb_acc_saturate(100 + 100, 8) - 100, 8), 27);
    assert_int_equal(fb_acc_saturate(fb_acc_saturate(100 - 100, 8) + 100, 8), 100);
}

static void formats(void **state)
{
    (void)state;
    int32_t f = 0;
    assert_true(fb_fraction_bits(0.03125f, &f) && f == 5);
    assert_true(fb_fraction_bits(8, &f) && f == -3);
    assert_false(fb_fraction_bits(0.03f, &f));
    assert_false(fb_fraction_bits(-1, &f));
    assert_int_equal(fb_integer_bits(1), 0);
    assert_int_equal(fb_integer_bits(1.001), 1);
    assert_int_equal(fb_integer_bits(6), 3);
    assert_int_equal(fb_integer_bits(0.24), -2);
    assert_int_equal(fb_integer_bits(0), 0);
}

/* A bias with fb fraction bits in an accumulator with fa: a shift, rounded where fa < fb. */
static void biases(void **state)
{
    (void)state;
    assert_int_equal(fb_fixed_value(-13 / 16.0, 9, FB_ROUND_HALF_UP), -13 * 32);
    for (int mode = 0; mode < FB_ROUND_COUNT; mode++) {
        for (int32_t b = -40; b <= 40; b++)
            assert_int_equal(fb_fixed_value(b / 16.0, 2, (fb_rounding)mode),
                             fb_shift(b, 2, (fb_rounding)mode));
    }
    assert_int_equal(fb_fixed_value(1e30, 4, FB_ROUND_DOWN), INT32_MAX);
    assert_int_equal(fb_fixed_value(-1e30, 4, FB_ROUND_DOWN), INT32_MIN);
    assert_int_equal(fb_fixed_value((double)NAN, 4, FB_ROUND_DOWN), INT32_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_of_q34),  cmocka_unit_test(rounding),
        cmocka_unit_test(accumulator_bound), cmocka_unit_test(accumulators),
        cmocka_unit_test(formats),           cmocka_unit_test(biases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
