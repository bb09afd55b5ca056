/* Dense linear algebra for the methods, over OpenBLAS and LAPACK.
 *
 * Matrices are row-major: a [m][n] with ld elements from row to row; square ones that have no ld
 * are [n][n] without gaps. Every dimension and ld is below 2^31, which callers see to
 * (fb_linalg_fits).
 *
 * OpenBLAS is held to one thread, so that a result does not depend on how many there are: who wants
 * more runs several calls at once (base/threads.h), which is safe. Results may differ in the last
 * bits from one kind of CPU to another.
 *
 * Routines that can fail return FB_E_MEMORY, or FB_E_ARG where the matrix is not what it must be;
 * their operands are then undefined. */
#ifndef FB_COMPRESS_LINALG_H
#define FB_COMPRESS_LINALG_H

#include "fewbit/fewbit.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether m x n is a matrix that these routines take (and whose elements a size_t can count). */
bool fb_linalg_fits(size_t m, size_t n);

/* c [m][n] = alpha op(a) op(b) + beta c, op(a) [m][k] = a or, with ta, its transpose. beta = 0 does
 * not read c. */
void fb_gemm_f32(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a,
                 size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);
void fb_gemm_f64(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a,
                 size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc);

/* Upper triangle of c [n][n] = alpha aᵀ a + beta c, a [k][n]. */
void fb_syrk_f64(size_t n, size_t k, double alpha, const double *a, size_t lda, double beta,
                 double *c, size_t ldc);
/* Copies the upper triangle of a [n][n] to the lower one. */
void fb_symmetrize_f64(size_t n, double *a, size_t lda);

/* For a symmetric, positive definite a (its upper triangle is read); FB_E_ARG when it is not
 * definite: add something to the diagonal. */
fb_status fb_cholesky(size_t n, double *a);         /* upper U, a = Uᵀ U; zeros below */
fb_status fb_spd_inverse(size_t n, double *a);      /* the whole inverse */
fb_status fb_inverse_cholesky(size_t n, double *a); /* upper U, a⁻¹ = Uᵀ U; zeros below */
/* Solves x a = b for each row of b [rows][n], in place; a becomes its Cholesky factor. */
fb_status fb_spd_solve(size_t n, double *a, size_t rows, double *b);

/* Eigenvalues of the symmetric a (its upper triangle is read), largest first; row i of a becomes
 * the unit vector of value[i]. */
fb_status fb_eigen_symmetric(size_t n, double *a, double *value);

/* a [m][n] = u diag(s) vt, s [k] largest first, u [m][k], vt [k][n], k = min(m, n). a is used up.
 */
fb_status fb_svd(size_t m, size_t n, double *a, double *u, double *s, double *vt);

#endif
