/* The grid of weight scales: places and floats belong together, exactly. */
#include "numeric/grid.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after its needs */
#include <cmocka.h>

static void every_place_is_found_again(void **state)
{
    (void)state;
    float before = 0;
    for (int32_t k = FB_GRID_LEAST; k <= FB_GRID_MOST; k++) {
        float s = fb_grid_scale(k);
        int32_t found;
        assert_true(isnormal(s) && s > before);
        assert_true(fb_grid_find(s, &found) && found == k);
        assert_int_equal(fb_grid_up(s), k);
        /* half an ulp around the true value: 2^(k/16) */
        assert_true(fabs((double)s / exp2(k / 16.0) - 1) < 0x1p-24);
        before = s;
    }
}

static void neighbours_round_up(void **state)
{
    (void)state;
    for (int32_t k = FB_GRID_LEAST; k < FB_GRID_MOST; k++) {
        float s = fb_grid_scale(k);
        int32_t found;
        assert_int_equal(fb_grid_up(nextafterf(s, INFINITY)), k + 1);
        assert_int_equal(fb_grid_up(nextafterf(s, 0)), k);
        assert_false(fb_grid_find(nextafterf(s, INFINITY), &found));
    }
}

static void powers_of_two_are_on_it(void **state)
{
    (void)state;
    for (int e = -126; e <= 127; e++) {
        int32_t k;
        assert_true(fb_grid_find(ldexpf(1, e), &k));
        assert_int_equal(k, 16 * e);
    }
}

static void limits(void **state)
{
    (void)state;
    int32_t k;
    assert_true(fb_grid_scale(FB_GRID_LEAST - 1) == fb_grid_scale(FB_GRID_LEAST));
    assert_true(fb_grid_scale(FB_GRID_MOST + 1) == fb_grid_scale(FB_GRID_MOST));
    assert_int_equal(fb_grid_up(0x1p-149f), FB_GRID_LEAST);
    assert_int_equal(fb_grid_up(3.4e38f), FB_GRID_MOST);
    assert_false(fb_grid_find(0x1p-149f, &k));
    assert_false(fb_grid_find(0, &k));
    assert_false(fb_grid_find(-1, &k));
    assert_false(fb_grid_find(INFINITY, &k));
    assert_false(fb_grid_find(NAN, &k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_place_is_found_again),
        cmocka_unit_test(neighbours_round_up),
        cmocka_unit_test(powers_of_two_are_on_it),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
