/* The knapsack against brute force (METHODS M.10, IV.5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/allocate.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static void worked_example(void **state)
{
    (void)state;
    /* two layers of 100 weights, 2, 4 or 8 bits each, 1200 bits in all: 8 and 4 it is */
    const fb_choice a[3] = {{10, 200}, {1, 400}, {0, 800}}, b[3] = {{2, 200}, {0.5, 400}, {0, 800}};
    const fb_item items[2] = {{a, 3}, {b, 3}};
    uint32_t pick[2];
    assert_int_equal(fb_allocate(items, 2, 1200, 10000, pick), FB_OK);
    assert_int_equal(pick[0], 2);
    assert_int_equal(pick[1], 1);
    assert_int_equal(fb_allocated_cost(items, 2, pick), 1200);
    assert_true(fb_allocated_harm(items, 2, pick) == 0.5);
    assert_int_equal(fb_allocate(items, 2, 399, 10000, pick), FB_E_LIMIT);
    assert_non_null(strstr(fb_error(), "399"));
    assert_int_equal(fb_allocate(items, 2, 400, 10000, pick), FB_OK);
    assert_true(pick[0] == 0 && pick[1] == 0);
}

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

enum { LAYERS = 8, WIDTHS = 3, WAYS = 6561 };

static void pick_of(uint32_t way, uint32_t *pick)
{
    for (int i = 0; i < LAYERS; i++, way /= WIDTHS)
        pick[i] = way % WIDTHS;
}

static void dynamic_programming_is_brute_force(void **state)
{
    (void)state;
    uint32_t seed = 7;
    for (int trial = 0; trial < 20; trial++) {
        fb_choice choices[LAYERS][WIDTHS];
        fb_item items[LAYERS];
        uint32_t pick[LAYERS], way[LAYERS];
        uint64_t most = 0;
        for (int i = 0; i < LAYERS; i++) {
            uint32_t n = 1 + draw(&seed) % 40;
            double harm = 1 + (double)(draw(&seed) % 1000);
            for (uint32_t k = 0; k < WIDTHS; k++)
                choices[i][k] = (fb_choice){harm / pow(4, 2 * k), (uint64_t)n * (2u << k)};
            items[i] = (fb_item){choices[i], WIDTHS};
            most += choices[i][WIDTHS - 1].cost;
        }
        /* a slice is a unit of cost, so that nothing is lost by rounding */
        uint64_t budget = most / 2;
        assert_int_equal(fb_allocate(items, LAYERS, budget, (uint32_t)budget, pick), FB_OK);
        double best = INFINITY;
        for (uint32_t w = 0; w < WAYS; w++) {
            pick_of(w, way);
            if (fb_allocated_cost(items, LAYERS, way) <= budget)
                best = fmin(best, fb_allocated_harm(items, LAYERS, way));
        }
        assert_true(fabs(fb_allocated_harm(items, LAYERS, pick) - best) < 1e-12 * best);

        /* the best price under the budget leaves at most one layer to choose otherwise */
        uint32_t hull[LAYERS];
        double lo = 0, hi = 1e6;
        for (int i = 0; i < 200; i++) {
            double mid = (lo + hi) / 2;
            fb_allocate_at_price(items, LAYERS, mid, hull);
            bool fits = fb_allocated_cost(items, LAYERS, hull) <= budget;
            lo = fits ? lo : mid;
            hi = fits ? mid : hi;
        }
        fb_allocate_at_price(items, LAYERS, hi, hull);
        double step = 0;
        for (int i = 0; i < LAYERS; i++) {
            for (uint32_t k = 0; k + 1 < WIDTHS; k++)
                step = fmax(step, choices[i][k].harm - choices[i][k + 1].harm);
        }
        assert_true(fb_allocated_cost(items, LAYERS, hull) <= budget);
        assert_true(fb_allocated_harm(items, LAYERS, hull) <= best + step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example),
        cmocka_unit_test(dynamic_programming_is_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
