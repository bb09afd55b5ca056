/* Row-major calls: LAPACK's own order is column-major, so it is given the transposes, which are the
 * same bytes; nothing is copied. */
#include "compress/linalg.h"

#include "base/alloc.h"
#include "base/status.h"

#include <cblas.h>
#include <lapacke.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

static void pin(void)
{
    openblas_set_num_threads(1);
}

static void one_thread(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, pin);
}

bool fb_linalg_fits(size_t m, size_t n)
{
    return m <= INT32_MAX && n <= INT32_MAX && (n == 0 || m <= SIZE_MAX / sizeof(double) / n);
}

static enum CBLAS_TRANSPOSE op(bool transposed)
{
    return transposed ? CblasTrans : CblasNoTrans;
}

void fb_gemm_f32(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a,
                 size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    one_thread();
    cblas_sgemm(CblasRowMajor, op(ta), op(tb), (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                (int)ldb, beta, c, (int)ldc);
}

void fb_gemm_f64(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a,
                 size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
    one_thread();
    cblas_dgemm(CblasRowMajor, op(ta), op(tb), (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                (int)ldb, beta, c, (int)ldc);
}

void fb_syrk_f64(size_t n, size_t k, double alpha, const double *a, size_t lda, double beta,
                 double *c, size_t ldc)
{
    one_thread();
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)k, alpha, a, (int)lda, beta, c,
                (int)ldc);
}

void fb_symmetrize_f64(size_t n, double *a, size_t lda)
{
    const size_t tile = 32; /* both sides of the diagonal stay in cache */
    for (size_t i0 = 0; i0 < n; i0 += tile) {
        for (size_t j0 = 0; j0 <= i0; j0 += tile) {
            for (size_t i = i0; i < n && i < i0 + tile; i++) {
                for (size_t j = j0; j < i && j < j0 + tile; j++)
                    a[i * lda + j] = a[j * lda + i];
            }
        }
    }
}

/* --- symmetric, positive definite ------------------------------------------------------------ */

/* info > 0 of potrf and its kin: the leading block of that order. */
static fb_status not_definite(lapack_int info, size_t n)
{
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return fb_fail(FB_E_MEMORY, "no memory for a matrix of order %zu", n);
    FB_ENSURE(info > 0);
    return fb_fail(FB_E_ARG,
                   "a matrix of order %zu is not positive definite at row %d; it needs more "
                   "samples, or more damping",
                   n, (int)info);
}

static void clear_lower(size_t n, double *a)
{
    for (size_t i = 1; i < n; i++)
        memset(a + i * n, 0, i * sizeof *a);
}

fb_status fb_cholesky(size_t n, double *a)
{
    one_thread();
    lapack_int info =
        LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', (lapack_int)n, a, (lapack_int)(n ? n : 1));
    if (info != 0)
        return not_definite(info, n);
    clear_lower(n, a);
    return FB_OK;
}

fb_status fb_spd_inverse(size_t n, double *a)
{
    FB_TRY(fb_cholesky(n, a));
    lapack_int info =
        LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', (lapack_int)n, a, (lapack_int)(n ? n : 1));
    if (info != 0)
        return not_definite(info, n);
    fb_symmetrize_f64(n, a, n);
    return FB_OK;
}

/* Turns the matrix by half a turn: element (i, j) goes to (n-1-i, n-1-j). */
static void turn(size_t n, double *a)
{
    for (size_t i = 0, j = n * n; i + 1 < j; i++) {
        double t = a[--j];
        a[j] = a[i];
        a[i] = t;
    }
}

/* With J the order reversed, J a J = L Lᵀ gives a = R Rᵀ, R = J L J upper, and so U = R⁻¹: one
 * factorisation and one triangular inverse; the inverse itself is never formed. */
fb_status fb_inverse_cholesky(size_t n, double *a)
{
    lapack_int order = (lapack_int)n, ld = (lapack_int)(n ? n : 1);
    one_thread();
    turn(n, a); /* the triangle that counted lies below now */
    lapack_int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', order, a, ld);
    if (info == 0)
        info = LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'U', 'N', order, a, ld);
    if (info != 0)
        return not_definite(info, n);
    turn(n, a);
    clear_lower(n, a);
    return FB_OK;
}

fb_status fb_spd_solve(size_t n, double *a, size_t rows, double *b)
{
    lapack_int ld = (lapack_int)(n ? n : 1);
    one_thread();
    lapack_int info =
        LAPACKE_dposv_work(LAPACK_COL_MAJOR, 'L', (lapack_int)n, (lapack_int)rows, a, ld, b, ld);
    return info == 0 ? FB_OK : not_definite(info, n);
}

/* --- decompositions -------------------------------------------------------------------------- */

static fb_status no_result(lapack_int info, const char *what, size_t m, size_t n)
{
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return fb_fail(FB_E_MEMORY, "no memory for the %s of a %zu x %zu matrix", what, m, n);
    if (info < 0)
        return fb_fail(FB_E_ARG, "a %zu x %zu matrix has values that are not finite", m, n);
    return fb_fail(FB_E_ARG, "the %s of a %zu x %zu matrix does not converge", what, m, n);
}

static void swap_rows(size_t n, double *x, double *y)
{
    for (size_t i = 0; i < n; i++) {
        double t = x[i];
        x[i] = y[i];
        y[i] = t;
    }
}

fb_status fb_eigen_symmetric(size_t n, double *a, double *value)
{
    one_thread();
    lapack_int info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'L', (lapack_int)n, a,
                                     (lapack_int)(n ? n : 1), value);
    if (info != 0)
        return no_result(info, "eigenvalues", n, n);
    for (size_t i = 0, j = n; i + 1 < j; i++) { /* smallest first until now */
        j--;
        swap_rows(1, value + i, value + j);
        swap_rows(n, a + i * n, a + j * n);
    }
    return FB_OK;
}

fb_status fb_svd(size_t m, size_t n, double *a, double *u, double *s, double *vt)
{
    size_t k = m < n ? m : n;
    if (k == 0)
        return FB_OK;
    one_thread();
    /* The transpose aᵀ = v s uᵀ: LAPACK's left vectors are our right ones. */
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', (lapack_int)n, (lapack_int)m, a,
                                     (lapack_int)n, s, vt, (lapack_int)n, u, (lapack_int)k);
    return info == 0 ? FB_OK : no_result(info, "singular values", m, n);
}
