/* The wrappers against sums written out. */
#include "base/alloc.h"
#include "base/status.h"
#include "compress/linalg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 37, M = 23 };

static double noise(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

static void fill(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = noise();
}

/* c = aᵀ b, the plain way; a [k][m], b [k][n]. */
static void times(const double *a, const double *b, size_t m, size_t n, size_t k, double *c)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += a[l * m + i] * b[l * n + j];
            c[i * n + j] = sum;
        }
    }
}

static double farthest(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* A positive definite matrix, from 3 N samples. */
static void make_spd(double *a)
{
    double x[3 * N * N];
    fill(x, 3 * N * N);
    times(x, x, N, N, 3 * N, a);
}

static void identity(double *a)
{
    memset(a, 0, N * N * sizeof *a);
    for (size_t i = 0; i < N; i++)
        a[i * N + i] = 1;
}

static void test_products(void **state)
{
    double a[M * N], b[M * N], c[N * N], want[N * N];
    float af[M * N], bf[M * N], cf[N * N];
    (void)state;
    fill(a, M * N);
    fill(b, M * N);
    times(a, b, N, N, M, want);
    fb_gemm_f64(true, false, N, N, M, 1, a, N, b, N, 0, c, N);
    assert_true(farthest(c, want, N * N) < 1e-13);
    for (size_t i = 0; i < M * N; i++) {
        af[i] = (float)a[i];
        bf[i] = (float)b[i];
    }
    fb_gemm_f32(true, false, N, N, M, 1, af, N, bf, N, 0, cf, N);
    for (size_t i = 0; i < N * N; i++)
        assert_true(fabs((double)cf[i] - want[i]) < 1e-4);
    /* b transposed, and alpha */
    fb_gemm_f64(false, true, M, M, N, 2, a, N, b, N, 0, c, M);
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < M; j++) {
            double sum = 0;
            for (size_t l = 0; l < N; l++)
                sum += a[i * N + l] * b[j * N + l];
            assert_true(fabs(c[i * M + j] - 2 * sum) < 1e-12);
        }
    }
    times(a, a, N, N, M, want);
    memcpy(c, want, sizeof c);
    fb_syrk_f64(N, M, 0.5, a, N, 0.5, c, N);
    fb_symmetrize_f64(N, c, N);
    assert_true(farthest(c, want, N * N) < 1e-13);
}

static void test_definite(void **state)
{
    double a[N * N], f[N * N], back[N * N], unit[N * N], b[M * N], x[M * N];
    (void)state;
    make_spd(a);
    identity(unit);

    memcpy(f, a, sizeof f);
    assert_int_equal(fb_cholesky(N, f), FB_OK);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < i; j++)
            assert_true(f[i * N + j] == 0);
    }
    times(f, f, N, N, N, back);
    assert_true(farthest(back, a, N * N) < 1e-11);

    memcpy(f, a, sizeof f);
    assert_int_equal(fb_spd_inverse(N, f), FB_OK);
    times(f, a, N, N, N, back);
    assert_true(farthest(back, unit, N * N) < 1e-10);

    double inverse[N * N];
    memcpy(inverse, f, sizeof f);
    memcpy(f, a, sizeof f);
    assert_int_equal(fb_inverse_cholesky(N, f), FB_OK);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < i; j++)
            assert_true(f[i * N + j] == 0);
    }
    times(f, f, N, N, N, back);
    assert_true(farthest(back, inverse, N * N) < 1e-11);

    fill(b, M * N);
    memcpy(x, b, sizeof x);
    memcpy(f, a, sizeof f);
    assert_int_equal(fb_spd_solve(N, f, M, x), FB_OK);
    fb_gemm_f64(false, false, M, N, N, 1, x, N, a, N, 0, back, N);
    assert_true(farthest(back, b, M * N) < 1e-10);
}

static void test_not_definite(void **state)
{
    double a[4] = {1, 2, 2, 1}, b[2] = {1, 1};
    (void)state;
    assert_int_equal(fb_cholesky(2, (double[]){1, 2, 2, 1}), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "not positive definite"));
    assert_int_equal(fb_inverse_cholesky(2, (double[]){1, 2, 2, 1}), FB_E_ARG);
    assert_int_equal(fb_spd_inverse(2, (double[]){1, 2, 2, 1}), FB_E_ARG);
    assert_int_equal(fb_spd_solve(2, a, 1, b), FB_E_ARG);
}

static void test_eigen(void **state)
{
    double a[N * N], v[N * N], value[N], av[N * N];
    (void)state;
    make_spd(a);
    memcpy(v, a, sizeof v);
    assert_int_equal(fb_eigen_symmetric(N, v, value), FB_OK);
    fb_gemm_f64(false, false, N, N, N, 1, v, N, a, N, 0, av, N);
    for (size_t i = 0; i < N; i++) {
        assert_true(i == 0 || value[i] <= value[i - 1]);
        for (size_t j = 0; j < N; j++)
            assert_true(fabs(av[i * N + j] - value[i] * v[i * N + j]) < 1e-10);
    }
}

static void check_svd(size_t m, size_t n)
{
    double a[M * N], used[M * N], u[M * N], s[N], vt[M * N], back[M * N];
    size_t k = m < n ? m : n;
    fill(a, m * n);
    memcpy(used, a, sizeof used);
    assert_int_equal(fb_svd(m, n, used, u, s, vt), FB_OK);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += u[i * k + l] * s[l] * vt[l * n + j];
            back[i * n + j] = sum;
        }
    }
    assert_true(farthest(back, a, m * n) < 1e-12);
    for (size_t l = 0; l < k; l++)
        assert_true(s[l] >= 0 && (l == 0 || s[l] <= s[l - 1]));
}

static void test_svd(void **state)
{
    (void)state;
    check_svd(M, N);
    check_svd(N, M);
    check_svd(1, N);
    check_svd(M, 1);
}

static void test_sizes(void **state)
{
    (void)state;
    assert_true(fb_linalg_fits(25088, 4096));
    assert_false(fb_linalg_fits((size_t)1 << 31, 1));
    assert_false(fb_linalg_fits(1, (size_t)1 << 31));
    assert_int_equal(fb_cholesky(0, NULL), FB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),     cmocka_unit_test(test_definite),
        cmocka_unit_test(test_not_definite), cmocka_unit_test(test_eigen),
        cmocka_unit_test(test_svd),          cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
