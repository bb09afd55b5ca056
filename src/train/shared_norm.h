/* Batch normalisation of a batch that several processes share: mean and variance are those of the
 * whole batch, as if one process had it. Written out in C; over one process equal to oneDNN's
 * within rounding. Formulas: op_norm.c. */
#ifndef FB_TRAIN_SHARED_NORM_H
#define FB_TRAIN_SHARED_NORM_H

#include "train/ranks.h"

typedef struct fb_shared_norm {
    size_t rows, c;         /* of this process: x, y, dx and dy are [rows][c] */
    const float *gamma;     /* [c] */
    const float *beta;      /* [c] */
    const float *guess;     /* [c] of the means, the same in all processes: the running ones */
    bool relu;              /* y = max(0, y) */
    float *mean, *variance; /* [c] of the whole batch: forward sets them */
    float *scale, *shift;   /* [c] room: y = scale x + shift, from forward to backward */
    double *sums;           /* [2][c] room */
    const fb_ranks *ranks;
} fb_shared_norm;

fb_status fb_shared_norm_forward(const fb_shared_norm *n, const float *x, float *y);

/* dx (NULL: not wanted) from dy; dgamma and dbeta [c] are this process's part of the sums. All are
 * linear in dy, so whatever factor the caller's dy has, they have. */
fb_status fb_shared_norm_backward(const fb_shared_norm *n, const float *x, const float *dy,
                                  float *dx, float *dgamma, float *dbeta);

#endif
