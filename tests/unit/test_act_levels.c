/* Levels for activations: the worked checks of METHODS E.7, and k-means against exhaustion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/act_grid.h"
#include "compress/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252u;

static double draw(void) /* in [0, 1) */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double nearest(const double *v, uint32_t n, double x)
{
    double best = v[0];
    for (uint32_t i = 1; i < n; i++)
        best = fabs(v[i] - x) < fabs(best - x) ? v[i] : best;
    return best;
}

static double error_of(const double *v, uint32_t n, const double *x, const double *w,
                       uint32_t count)
{
    double total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += w[i] * pow(x[i] - nearest(v, n, x[i]), 2);
    return total;
}

/* E.7: min -1, max 2, five levels. */
static void even_levels(void **state)
{
    (void)state;
    const double wanted[5] = {-1, -0.25, 0.5, 1.25, 2};
    double v[64];
    fb_fit_even(-1, 2, 5, v);
    for (int i = 0; i < 5; i++)
        assert_true(v[i] == wanted[i]);
    for (uint32_t n = 2; n <= 64; n++) {
        fb_fit_even(-1, 2, n, v);
        for (int i = 0; i <= 300; i++) {
            double x = -1 + 0.01 * i;
            assert_true(fabs(x - nearest(v, n, x)) <= 3.0 / (2 * (n - 1)) + 1e-12);
        }
    }
}

/* E.7: 50 zeros, 50 ones and a 1000, two levels. */
static void a_bound_helps(void **state)
{
    (void)state;
    double x[3] = {0, 1, 1000}, w[3] = {50, 50, 1}, v[2];
    const double y[3] = {0, 1, 1000}, counts[3] = {50, 50, 1};
    assert_int_equal(fb_levels_kmeans(x, w, 3, INFINITY, false, 2, v), FB_OK);
    assert_true(fabs(v[0] - 0.5) < 1e-12 && fabs(v[1] - 1000) < 1e-9);
    assert_true(fabs(error_of(v, 2, y, counts, 2) / 100 - 0.25) < 1e-12);
    assert_int_equal(fb_levels_kmeans(x, w, 3, 1, false, 2, v), FB_OK);
    assert_true(fabs(v[0]) < 1e-12 && fabs(v[1] - 1) < 1e-12);
    assert_true(error_of(v, 2, y, counts, 2) < 1e-20);
    /* with a level at 0 in any case the outlier costs all ones their level */
    memcpy(x, y, sizeof x);
    memcpy(w, counts, sizeof w);
    assert_int_equal(fb_levels_kmeans(x, w, 3, INFINITY, true, 2, v), FB_OK);
    assert_true(v[0] == 0 && fabs(v[1] - 1000) < 1e-6);
    assert_int_equal(fb_levels_kmeans(x, w, 3, 1, true, 2, v), FB_OK);
    assert_true(v[0] == 0 && fabs(v[1] - 1) < 1e-9);
}

/* Least error over all ways to cut n points into k runs, the run with a zero (if any) around 0. */
static double exhaust(const double *x, const double *w, uint32_t n, uint32_t k, bool zero)
{
    if (n == 0)
        return 0;
    if (k == 0)
        return INFINITY;
    double best = INFINITY;
    for (uint32_t from = 0; from < n; from++) {
        double sum = 0, weight = 0, e = 0;
        bool holds = false;
        for (uint32_t i = from; i < n; i++) {
            sum += w[i] * x[i];
            weight += w[i];
            holds = holds || x[i] == 0;
        }
        double mean = zero && holds ? 0 : weight > 0 ? sum / weight : 0;
        for (uint32_t i = from; i < n; i++)
            e += w[i] * (x[i] - mean) * (x[i] - mean);
        e += exhaust(x, w, from, k - 1, zero);
        best = e < best ? e : best;
    }
    return best;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void kmeans_is_exact(void **state)
{
    (void)state;
    for (int trial = 0; trial < 300; trial++) {
        uint32_t n = 3 + (uint32_t)(draw() * 8), k = 1 + (uint32_t)(draw() * 4);
        bool zero = trial % 2;
        double x[12], w[12], x0[12], w0[12], v[4];
        for (uint32_t i = 0; i < n; i++) {
            x[i] = draw() * 4 - (trial % 3 ? 1 : 0);
            w[i] = 1 + floor(draw() * 9);
        }
        x[0] = 0;
        qsort(x, n, sizeof *x, ascending);
        memcpy(x0, x, sizeof x);
        memcpy(w0, w, sizeof w);
        assert_int_equal(fb_levels_kmeans(x, w, n, INFINITY, zero, k, v), FB_OK);
        double best = exhaust(x0, w0, n, k, zero), got = error_of(v, k, x0, w0, n);
        assert_true(got <= best * (1 + 1e-9) + 1e-12);
        bool has_zero = false;
        for (uint32_t i = 0; i < k; i++) {
            has_zero = has_zero || v[i] == 0;
            assert_true(i == 0 || v[i] > v[i - 1]);
        }
        assert_true(has_zero || !zero);
    }
}

/* E.7 on what a ReLU leaves: more bits are better, k-means is no worse than even levels. */
static void errors_are_in_order(void **state)
{
    (void)state;
    enum { N = 20000 };
    float *data = malloc(N * sizeof *data);
    double *x = malloc((2 * FB_CELLS_SIDE + 1) * sizeof *x),
           *w = malloc((2 * FB_CELLS_SIDE + 1) * 8);
    double *x0 = malloc((2 * FB_CELLS_SIDE + 1) * 8), *w0 = malloc((2 * FB_CELLS_SIDE + 1) * 8);
    for (int i = 0; i < N; i++) {
        double g = sqrt(-2 * log(1 - draw())) * cos(6.283185307179586 * draw());
        data[i] = g > 0 ? (float)(g * g) : 0;
    }
    fb_cells cells;
    assert_int_equal(fb_cells_init(&cells), FB_OK);
    fb_cells_add(&cells, data, N);
    uint32_t n = fb_cells_list(&cells, x0, w0);
    double before = INFINITY;
    for (unsigned bits = 2; bits <= 6; bits++) {
        double v[64], even[64];
        memcpy(x, x0, n * sizeof *x);
        memcpy(w, w0, n * sizeof *w);
        assert_int_equal(fb_levels_kmeans(x, w, n, INFINITY, true, 1u << bits, v), FB_OK);
        fb_fit_even(0, x0[n - 1], 1u << bits, even);
        double k = error_of(v, 1u << bits, x0, w0, n), e = error_of(even, 1u << bits, x0, w0, n);
        assert_true(k <= e && k < before);
        before = k;
        fb_act_code code = {.bits = bits};
        fb_levels_snap(v, 1u << bits, 8, &code);
        double snapped[64];
        bool zero = false;
        for (uint32_t i = 0; i < code.n_levels; i++) {
            assert_true(i == 0 || code.level[i] > code.level[i - 1]);
            assert_true(code.level[i] >= 0 && code.level[i] <= 255);
            zero = zero || code.level[i] == (float)code.zero;
            snapped[i] = (double)code.scale * ((double)code.level[i] - code.zero);
        }
        assert_true(zero && error_of(snapped, 1u << bits, x0, w0, n) < 1.5 * k + N * 1e-4);
    }
    fb_cells_free(&cells);
    free(data);
    free(x);
    free(w);
    free(x0);
    free(w0);
}

static void levels_snap_where_there_is_room(void **state)
{
    (void)state;
    fb_act_code code = {.bits = 3};
    const double crowded[8] = {-1e-3, 0, 1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9};
    fb_levels_snap(crowded, 8, 3, &code);
    for (int i = 0; i < 8; i++)
        assert_true(code.level[i] == (float)i);
    assert_int_equal(code.zero, 1);
    const double positive[4] = {0, 1, 2, 85};
    fb_levels_snap(positive, 4, 8, &code);
    assert_true(code.zero == 0 && code.level[1] == 3 && code.level[3] == 255);
}

static void cells_keep_every_value(void **state)
{
    (void)state;
    const float x[9] = {0, -0.0f, 1, -1, 1.00001f, 1e-30f, 3e38f, -2.5f, 700};
    double v[2 * FB_CELLS_SIDE + 1], w[2 * FB_CELLS_SIDE + 1];
    fb_cells c;
    assert_int_equal(fb_cells_init(&c), FB_OK);
    fb_cells_add(&c, x, 9);
    fb_cells_merge(&c, &c);
    uint32_t n = fb_cells_list(&c, v, w);
    assert_int_equal(n, 7);
    assert_true(v[2] == 0 && w[2] == 4);
    assert_true(fabs(v[0] + 2.5) < 0.01 && w[0] == 2 && fabs(v[1] + 1) < 0.01);
    assert_true(v[3] > 0 && v[3] < 1e-8 && fabs(v[4] - 1) < 0.01 && w[4] == 4);
    assert_true(fabs(v[5] - 700) < 3 && v[6] > 1e6);
    fb_cells_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_levels),
        cmocka_unit_test(a_bound_helps),
        cmocka_unit_test(kmeans_is_exact),
        cmocka_unit_test(errors_are_in_order),
        cmocka_unit_test(levels_snap_where_there_is_room),
        cmocka_unit_test(cells_keep_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
