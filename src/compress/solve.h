/* Rounding against a layer problem: codes of one part of a layer, channels independent of each
 * other and shared out to threads. All minimise J with the damping of the part. `r` says which
 * values there are; code [ct][inner] of the whole weight is read where that is the start and
 * written. Elements that are fixed keep their code. */
#ifndef FB_COMPRESS_SOLVE_H
#define FB_COMPRESS_SOLVE_H

#include "compress/problem.h"
#include "compress/reround.h"

typedef struct fb_gptq_options {
    bool by_diagonal; /* columns with the largest diagonal of G first; else in order */
    bool refit;       /* channels with scales on the grid of scales try their neighbours */
} fb_gptq_options;

/* GPTQ (Frantar 2022; METHODS M.9, IV.3): columns one after the other, each rounded to nearest; its
 * error is spread over the columns that are left, by U, G⁻¹ = Uᵀ U. Starts from the part's target.
 * With refit r->scale changes. d² doubles of memory beside the part. */
fb_status fb_solve_gptq(const fb_problem_part *part, fb_reround *r, const fb_gptq_options *options,
                        fb_pool *pool, int32_t *code);

/* Coordinate descent: each code moves to where J is least while all others stay, until none moves
 * or `sweeps` have passed. J never rises. */
fb_status fb_solve_polish(const fb_problem_part *part, const fb_reround *r, uint32_t sweeps,
                          fb_pool *pool, int32_t *code);

/* AdaRound (Nagel 2020) in moment form (METHODS M.6, IV.4): up or down from the target, decided by
 * Adam on a soft rounding. */
fb_status fb_solve_adaround(const fb_problem_part *part, const fb_reround *r, uint32_t iterations,
                            fb_pool *pool, int32_t *code);

/* n channels of d weights, rounded softly: low + h(v) step. All arrays but gram are [n][d]. */
typedef struct fb_soft {
    size_t n, d;
    const float *gram; /* [d][d] */
    const double *target;
    double unit;            /* that J is counted in */
    float *low, *step;      /* step 0: stays at low */
    float *v;               /* what is sought */
    float *h, *slope, *off; /* scratch */
    float *grad;            /* in v */
} fb_soft;

/* grad of (w - target) G (w - target)ᵀ / unit + 2 sum (1 - |2 h - 1|^beta), the sum over weights
 * with a step; beta 0: without it. */
void fb_adaround_gradient(fb_soft *soft, double beta);

/* The soft rounding of AdaRound: h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1), its derivative, and the v
 * of a fraction. */
double fb_adaround_h(double v, double *slope);
double fb_adaround_v(double fraction);

#endif
