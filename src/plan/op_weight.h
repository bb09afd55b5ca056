/* Weights as the f32 steps want them: a constant (plain where it lies, or decoded once) or an input
 * that is known only while running. */
#ifndef FB_PLAN_OP_WEIGHT_H
#define FB_PLAN_OP_WEIGHT_H

#include "plan/op_util.h"

typedef struct fb_operand {
    const float *data; /* NULL: take the tile's input */
} fb_operand;

/* Input i as plain f32. A plain f32 constant is used where it lies, so nothing is copied. */
fb_status fb_operand_plain(fb_prepare *p, uint32_t i, fb_operand *out);

static inline const float *fb_operand_at(const fb_operand *o, const fb_tile *t, uint32_t i)
{
    return o->data ? o->data : (const float *)t->in[i];
}

/* A constant input for packing: *data is valid until fb_weight_release. *data is NULL when the
 * input is not constant. */
typedef struct fb_weight {
    const float *data;
    float *decoded; /* owned, or NULL */
} fb_weight;
fb_status fb_weight_open(fb_prepare *p, uint32_t i, fb_weight *w);
void fb_weight_release(fb_weight *w);

#endif
