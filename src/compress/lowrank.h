/* The best approximation of a matrix W [m][n] by a product A B of rank r (METHODS C.2.2): by
 * squared error of W itself (truncated SVD), or of the responses y = W x to inputs that were seen.
 *
 * With G the moments of x, the second is the truncated SVD of W G^(1/2), multiplied back by
 * G^(-1/2): U_r S_r V_rᵀ G^(-1/2). Since S V = Uᵀ W G^(1/2), that is U_r U_rᵀ W, so G need be
 * neither known nor inverted: U holds the eigenvectors of W G Wᵀ, which is the covariance of the
 * responses, m x m however many inputs there are. */
#ifndef FB_COMPRESS_LOWRANK_H
#define FB_COMPRESS_LOWRANK_H

#include "fewbit/status.h"

#include <stddef.h>

enum { FB_LOWRANK_MOST = 8192 }; /* sides whose square matrix is decomposed */

/* Directions by falling weight: those of the output (W ~ U_r U_rᵀ W), or of the input where that
 * side is smaller and W's own error counts (W ~ W V_r V_rᵀ). */
typedef struct fb_lowrank {
    size_t m, n;
    bool of_output;
    size_t k;       /* m or n */
    double *basis;  /* [k][k] a unit vector in each row */
    double *energy; /* [k] >= 0: squared singular values, or variances of the responses seen; with
                       a prior these need not fall */
} fb_lowrank;

/* Whether the side that is decomposed is within FB_LOWRANK_MOST. */
bool fb_lowrank_fits(size_t m, size_t n, bool whitened);

/* `covariance` [m][m] of the responses, or NULL for W's own error; it is mixed with `prior` (0..1)
 * parts of what inputs without any structure would give, W Wᵀ, both at the same trace: few samples
 * say nothing about directions they do not reach. After a failure *l is empty. */
fb_status fb_lowrank_find(const float *w, size_t m, size_t n, const double *covariance,
                          double prior, fb_lowrank *l);
void fb_lowrank_free(fb_lowrank *l);

/* Share of the energy that rank r leaves out: the squared relative error. */
double fb_lowrank_loss(const fb_lowrank *l, size_t r);
/* Least r >= 1 that leaves out at most `loss`. */
size_t fb_lowrank_rank(const fb_lowrank *l, double loss);

/* A [m][r] and B [r][n]; column i of A and row i of B have the same length. */
fb_status fb_lowrank_split(const fb_lowrank *l, const float *w, size_t r, float *a, float *b);

/* Of directions of the output: what rank r takes from a response y [m], in place. */
fb_status fb_lowrank_rest(const fb_lowrank *l, size_t r, double *y);

#endif
