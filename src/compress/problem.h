/* The layer problem (METHODS IV.1): one conv or dense layer seen as a least-squares problem in its
 * weights. What GPTQ, AdaRound, OBC pruning and whitened decompositions all minimise is, for each
 * output channel r,
 *
 *     J_r(w') = E[(w' xq - w_r xf)²] = w' G w'ᵀ - 2 w' p_r + e_r
 *
 * xq being the layer's input in the model as it is now (what the layers before it, compressed
 * already, really give), xf the same in the reference network, w_r the reference's weights. Of xf
 * only y = W xf enters, so C = E[xq xfᵀ] (d x d) is never formed: p_r = C w_r is gathered directly,
 * which is as exact and, with fewer output channels than weights a channel, several times cheaper.
 *
 * A problem has parts, which do not touch each other: a group of a grouped convolution (depthwise:
 * one for each channel), or, where a channel has more than FB_PROBLEM_WHOLE weights, blocks of at
 * about FB_PROBLEM_BLOCK columns. Such blocks leave out what errors in different blocks have to do
 * with each other (block-diagonal G): a 25,088-input layer takes 0.4 GB instead of 5.
 *
 * Weights are in the order of the tensor, [oc][kh][kw][ic / groups], one sample is one receptive
 * field in that order, taps in the padding being zeros. All moments are doubles, of samples in
 * floats. */
#ifndef FB_COMPRESS_PROBLEM_H
#define FB_COMPRESS_PROBLEM_H

#include "base/threads.h"

#include <stdbool.h>
#include <stddef.h>

enum { FB_PROBLEM_WHOLE = 4608, FB_PROBLEM_BLOCK = 2048 };

typedef struct fb_problem_part {
    size_t row, n_rows; /* output channels */
    size_t col, d;      /* weights of each of them */
    size_t n_samples;
    double *gram;   /* [d][d] G = E[xq xqᵀ], symmetric */
    double *cross;  /* [n_rows][d] p = E[y xqᵀ] */
    double *power;  /* [n_rows] e = E[y²] */
    double *mean_x; /* [d] E[xq] */
    double *mean_y; /* [n_rows] E[y] */
    double damp;    /* lambda that fb_problem_damp has put in */
} fb_problem_part;

typedef struct fb_problem {
    size_t ct, inner; /* the weight is [ct][inner] */
    float *w;         /* [ct][inner] of the reference; owned */
    uint32_t n_parts;
    fb_problem_part *parts;
} fb_problem;

/* Where blocks may be cut: a channel's columns are runs of `run` (a divisor of inner), each of
 * which may be cut behind every `piece` columns. 0, 0: anywhere. */
typedef struct fb_pieces {
    size_t run, piece;
} fb_pieces;

/* Parts and their memory, all zero. `groups` divides ct; a group's rows are side by side. w is
 * copied. */
fb_status fb_problem_init(size_t ct, size_t inner, size_t groups, fb_pieces pieces, const float *w,
                          fb_problem *p);
void fb_problem_free(fb_problem *p);

/* The moments of n samples: x [n][d] and y [n][n_rows] of part i in x[i] and y[i]. Sums are formed
 * in tiles, each by one thread, so they do not depend on how many threads the pool has. */
fb_status fb_problem_measure(fb_problem *p, size_t n, const float *const *x, const float *const *y,
                             fb_pool *pool);

/* Takes the means out of all second moments: J is then the variance of the error, which is what is
 * left where the bias is moved by fb_problem_shift. */
void fb_problem_centre(fb_problem *p);

/* Adds lambda |w' - w_r|² to J_r, lambda = share * mean of G's diagonal in each part: damping that
 * draws weights to the reference's, not to 0. Inputs that were always 0 (their diagonal is 0) are
 * thereby kept apart from all others. */
void fb_problem_damp(fb_problem *p, double share);

/* J of weights w [ct][inner] by channel, error [ct], without the damping term (or with it). The sum
 * over channels is returned in *total where it is not NULL. */
fb_status fb_problem_error(const fb_problem *p, const float *w, bool damped, fb_pool *pool,
                           double *error, double *total);
/* E[|y|²] summed over channels, what errors are relative to. */
double fb_problem_power(const fb_problem *p);

/* E[W xf] - E[w xq] by channel: what the bias has to move by. shift [ct]. */
void fb_problem_shift(const fb_problem *p, const float *w, double *shift);

/* The weights that minimise J: target [n_rows][d] = p G⁻¹, given inverse = U, G⁻¹ = Uᵀ U
 * (fb_inverse_cholesky of `gram`, damped). METHODS IV.1's W Cᵀ (G + lambda I)⁻¹, but for the
 * damping, see above. */
fb_status fb_problem_target(const fb_problem_part *part, const double *inverse, double *target);

#endif
