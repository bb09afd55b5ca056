/* Steps down the gradient. */
#ifndef FB_TRAIN_OPTIM_H
#define FB_TRAIN_OPTIM_H

#include "train/net.h"

/* With g the gradient (after clipping), r the rate, d the decay where the parameter has it:
 *
 *   sgd       v = momentum v + g + d w, w -= r v
 *   nesterov  v as before, w -= r (g + d w + momentum v)
 *   adam      m, v = running means of g and g^2 (0.9, 0.999; Kingma and Ba 2015), corrected for
 *             their start; w -= r (m / (sqrt v + 1e-8) + d w): decay apart from the gradient's
 *             scale (Loshchilov and Hutter 2019)
 *
 * Frozen elements (mask 0) keep value, momentum and decay out of it: they stay to the bit. */
typedef enum fb_optim_kind { FB_OPTIM_SGD, FB_OPTIM_NESTEROV, FB_OPTIM_ADAM } fb_optim_kind;

typedef struct fb_optim_options {
    fb_optim_kind kind;
    float momentum; /* [0, 1), sgd and nesterov */
    float decay;    /* >= 0 */
    float clip;     /* largest norm of the whole gradient, larger ones are scaled to it; 0 = none */
} fb_optim_options;

typedef struct fb_optim {
    fb_optim_options options;
    fb_net *net;
    uint32_t n;              /* parameters of the net */
    float **first, **second; /* [n][elements]: momentum, and adam's second mean (else NULL) */
} fb_optim;

/* "sgd", "nesterov", "adam". */
fb_status fb_optim_parse(const char *text, fb_optim_kind *kind);
fb_status fb_optim_create(fb_net *net, const fb_optim_options *options, fb_optim *o);
void fb_optim_free(fb_optim *o);
/* One step with the gradients that the net holds; `step` counts from 0. *norm, if not NULL, gets
 * the gradient's norm before clipping. */
void fb_optim_step(fb_optim *o, float rate, uint64_t step, double *norm);

/* Running averages of all parameters and statistics: a = keep a + (1 - keep) w, where keep is
 * `decay`, but at most (1 + step) / (10 + step), so that the start is forgotten. */
typedef struct fb_average {
    uint32_t n;
    float decay;
    float **a; /* [n][elements] */
} fb_average;
fb_status fb_average_create(fb_net *net, float decay, fb_average *avg); /* starts as the net */
void fb_average_free(fb_average *avg);
void fb_average_step(fb_average *avg, fb_net *net, uint64_t step);

#endif
