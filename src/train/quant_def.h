/* Inside a quantiser: what an encoding has to bring along. One file quant_<encoding>.c each. */
#ifndef FB_TRAIN_QUANT_DEF_H
#define FB_TRAIN_QUANT_DEF_H

#include "train/layer.h"
#include "train/quant.h"

typedef struct fb_quant_def {
    /* Makes `self` and own parameters; sets the master `w`, which holds what `as` decodes to, by
     * q->start. */
    fb_status (*create)(fb_quant *q, float *w);
    fb_status (*forward)(fb_quant *q);
    void (*backward)(fb_quant *q);
    fb_status (*store)(const fb_quant *q, const float *const *values, const float *factor,
                       fb_model *m, int32_t tensor);
    void (*destroy)(fb_quant *q); /* may be NULL */
} fb_quant_def;

enum { FB_QUANT_SCALE, FB_QUANT_TABLE, FB_QUANT_OWN };

struct fb_quant {
    const fb_quant_def *def;
    fb_net *net;
    const fb_tensor *as;
    const float *start; /* while it is created */
    fb_quant_options options;
    int32_t param;             /* of the net */
    int32_t own[FB_QUANT_OWN]; /* parameters, -1 = none */
    size_t n, channels, inner; /* weights; [channels][inner] */
    float *value;              /* [n] q */
    uint8_t *mask;             /* [n] of the master, or NULL */
    uint8_t *table_mask;       /* of FB_QUANT_TABLE, or NULL */
    void *self;
};

static inline fb_param *fb_quant_master(const fb_quant *q)
{
    return &q->net->params[q->param];
}

/* Own parameter k, NULL without one; and its numbers as `values` have them. */
static inline fb_param *fb_quant_own(const fb_quant *q, int k)
{
    return q->own[k] >= 0 ? &q->net->params[q->own[k]] : NULL;
}
static inline const float *fb_quant_numbers(const fb_quant *q, const float *const *values,
                                            int32_t param)
{
    return values ? values[param] : q->net->params[param].w;
}

/* Adds own parameter k; not learned: its gradient stays 0, so it stays. */
fb_status fb_quant_add(fb_quant *q, int k, const char *name, size_t n, const float *start);
/* Room of the net's, zeroed; NULL with no memory. */
void *fb_quant_room(const fb_quant *q, size_t n, size_t size);

/* Scales learn in units of what they were first, so that an optimizer whose steps have a size of
 * their own (adam) fits them, however small they are; the gradient is divided by that unit, so that
 * others take the steps that they would take on the scale itself. A scale does not fall below a
 * thousandth of what it was. */
static inline float fb_quant_scale(float r, float first)
{
    return first * (r > 1e-3f ? r : 1e-3f);
}
fb_status fb_quant_add_scales(fb_quant *q, size_t n);

/* A scale as a file is to hold it: as it was, or in few bytes (fb_share_stored_scale). */
static inline float fb_quant_stored(float s, float first)
{
    return s == first ? s : fb_share_stored_scale(s);
}

/* w within the cell of code value v (in units of s), as near to `start` as it goes. */
static inline float fb_quant_within(float start, float s, float v, float half)
{
    float d = start / s - v;
    d = d > half ? half : d < -half ? -half : d;
    return s * (v + d);
}

extern const fb_quant_def fb_quant_affine_def, fb_quant_levels_def, fb_quant_product_def,
    fb_quant_ternary_def;

#endif
