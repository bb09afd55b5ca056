/* A training step of a method text, as rules. */
#ifndef FB_TRAIN_SHARE_PLAN_H
#define FB_TRAIN_SHARE_PLAN_H

#include "compress/method.h"
#include "train/ternary.h"

typedef struct fb_share_plan {
    bool ternary;       /* twn, ttq; else slq, eslq, mlq, inq */
    fb_share_rule rule; /* not of ternary */
    fb_ternary_rule ternary_rule;
    float part;                    /* of ttq */
    uint32_t epochs;               /* behind each step of the rule; of ternary, all */
    bool by_channel;               /* scales of channels (fb_share_scales) */
    const char *include, *exclude; /* of the step, which they live as long as */
} fb_share_plan;

/* `step` is the `training` of a recipe. FB_E_ARG for options that do not go together. */
fb_status fb_share_plan_of(const fb_recipe_step *step, fb_share_plan *plan);
/* Whether a layer of this name is meant. */
bool fb_share_plan_wants(const fb_share_plan *plan, const char *layer);
/* Scales of a weight's channels as the plan wants them; 1 for all without by_channel. */
fb_status fb_share_plan_scales(const fb_share_plan *plan, const float *w, size_t n, size_t channels,
                               float *scale);

#endif
