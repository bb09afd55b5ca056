/* Pruning by the Optimal Brain Surgeon on a layer problem (METHODS M.8, OBC, Frantar 2022): which
 * weights cost least, counting what the others can make up for, and the others then. The loss of a
 * row is J(w) = (w - target) G (w - target)ᵀ, G symmetric, positive definite. */
#ifndef FB_COMPRESS_OBS_H
#define FB_COMPRESS_OBS_H

#include "base/threads.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is to be pruned: a share of all weights, or, with a group, all but `keep` of each `group`
 * neighbours in rows of ic (the last group of each may be short). */
typedef struct fb_obs_rule {
    double share;
    uint32_t keep, group;
    size_t ic;
} fb_obs_rule;

/* Doubles of work that fb_obs_row needs. */
size_t fb_obs_work(size_t d);

/* Eliminates weights of one row w [d] one by one, each time that of least loss, and moves the
 * others to their best values: inverse [d][d] = G⁻¹. order [d] and loss [d] receive each weight
 * eliminated and by how much J grows with it. Stops after `steps` or when the rule's groups have no
 * more to give; returns how many. O(d³ / 3). */
size_t fb_obs_row(size_t d, const double *inverse, const fb_obs_rule *rule, size_t steps, double *w,
                  uint32_t *order, double *loss, double *work);

/* Turns target [n_rows][d] into rows with the rule's zeros and a small J; gram [d][d] = G. Where
 * that takes at most 1e11 multiply-adds the zeros are found row by row as above, with a common
 * limit of loss for all rows, and the others refitted. Larger problems go column by column
 * (SparseGPT, Frantar 2023): in blocks of 128 columns the zeros are those of least w² / U_jj², G⁻¹
 * = Uᵀ U, and the columns behind make up for them. */
fb_status fb_obs_prune(size_t n_rows, size_t d, const double *gram, const fb_obs_rule *rule,
                       fb_pool *pool, double *target);

/* For each row of w [n_rows][d]: the values of least J for those that are not 0, the others stay 0.
 * cross [n_rows][d] = target G. */
fb_status fb_obs_refit(size_t n_rows, size_t d, const double *gram, const double *cross,
                       fb_pool *pool, double *w);

#endif
