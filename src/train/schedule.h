/* The learning rate as a function of the step alone. */
#ifndef FB_TRAIN_SCHEDULE_H
#define FB_TRAIN_SCHEDULE_H

#include "fewbit/status.h"

/* With t the share of the steps that are done, from 0 towards 1:
 *
 *   constant   rate
 *   step       rate, a tenth from t = 1/2 on, a hundredth from t = 3/4 on
 *   cosine     rate (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017)
 *   one-cycle  by half cosines from rate / 25 up to rate at t = 0.3 and down to rate / 250000 at
 *              the last step (Smith 2018; the numbers that PyTorch presets)
 *
 * A warm-up of w > 0 steps multiplies the first ones by (step + 1) / w. */
typedef enum fb_schedule_kind {
    FB_SCHEDULE_CONSTANT,
    FB_SCHEDULE_STEP,
    FB_SCHEDULE_COSINE,
    FB_SCHEDULE_ONE_CYCLE
} fb_schedule_kind;

typedef struct fb_schedule {
    fb_schedule_kind kind;
    double rate;     /* the highest */
    uint64_t warmup; /* steps */
    uint64_t steps;  /* of the whole run, >= 1 */
} fb_schedule;

fb_status fb_schedule_parse(const char *text, fb_schedule_kind *kind);
double fb_schedule_rate(const fb_schedule *s, uint64_t step); /* step < steps */

#endif
