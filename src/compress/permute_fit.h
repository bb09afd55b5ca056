/* Which channels of a weight should lie in one vector (PQF, Martinez 2021; METHODS V.2). What k
 * codewords cost on vectors with covariance S grows as det(S)^(1/d), so channels are grouped to
 * make
 *
 *     f = sum over the vectors' places of size * det(S of the place)^(1/size)
 *
 * small, or, where all places share one codebook, the same of the mean of S over the places. */
#ifndef FB_COMPRESS_PERMUTE_FIT_H
#define FB_COMPRESS_PERMUTE_FIT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct fb_permute_problem {
    size_t c, d;       /* channels, elements of a vector; the last one may be shorter */
    size_t n;          /* readers of the channels */
    const double *cov; /* [n][c][c] covariance of each reader's weights, scaled to how much it
                          counts */
    bool shared;       /* one codebook for all places */
} fb_permute_problem;

/* f with channel order[i] at place i. */
double fb_permute_cost(const fb_permute_problem *p, const size_t *order);

/* order [c] is where the search starts, a permutation, and receives the best one found: pairs of
 * channels change places while f falls, all pairs again and again, at most `sweeps` times. f never
 * rises. */
fb_status fb_permute_improve(const fb_permute_problem *p, unsigned sweeps, size_t *order);

/* A start: each place takes the free channel of the largest variance, then, one by one, the channel
 * that gives the smallest determinant with those it has. */
fb_status fb_permute_start(const fb_permute_problem *p, size_t *order);

#endif
