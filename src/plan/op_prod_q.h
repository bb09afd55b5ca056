/* Convolution and dense layers by look-up in tables of products (kernels/prod_q.h). */
#ifndef FB_PLAN_OP_PROD_Q_H
#define FB_PLAN_OP_PROD_Q_H

#include "kernels/conv_q.h"
#include "plan/op_q.h"

/* Whether the layer with weight w, input codes x and `groups` groups is computed by look-up: the
 * weight has tables, the plan does not decode them, and the law holds: codes without sign,
 * codebooks that a group's channels share, codewords with sum |word| <= 128, multipliers of 15
 * bits. */
bool fb_prod_q_takes(const fb_prepare *p, const fb_slot *w, const fb_codes *x, uint32_t groups);

/* Prepares such a layer; shape and output are those of `layer`. */
fb_status fb_prepare_prod_q(fb_prepare *p, const fbk_conv_q *layer, const fb_codes *x,
                            const fb_codes *y);

#endif
