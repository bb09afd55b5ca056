/* A compressed model as a net that learns, and back: quantisers behind its encoded weights, convert
 * layers behind its encoded activations, batch norms behind its layers if wanted.
 *
 * The model may hold any encodings that quant.h takes; what is plain learns as it is. Batch norms
 * are put in as the identity and adopt what they measure (fb_net_adopt), so they change nothing at
 * first; in the end they go into the scales of the weights and into the biases, not into the codes:
 * shared levels and codewords stay shared. */
#ifndef FB_TRAIN_TUNING_H
#define FB_TRAIN_TUNING_H

#include "train/checkpoint.h"
#include "train/net.h"
#include "train/quant.h"
#include "train/share_plan.h"

typedef struct fb_tuning_options {
    const fb_model *reference; /* the float network: weights of the same names and sizes give the
                                  masters their places within their cells; NULL = none */
    bool norms;                /* batch norms behind conv and dense layers, but the last */
    bool learn;                /* scales, levels, codewords, scales of activations */
    fb_quant_codes codes;
    const fb_share_plan *plan; /* what plain weights are to become; NULL: they stay plain */
} fb_tuning_options;

typedef struct fb_tuning fb_tuning;

/* The net is made by `net_options` (whose `learn` is not looked at) and belongs to the tuning.
 * FB_E_UNSUPPORTED for what cannot be trained or tuned; FB_E_ARG where codes or scales are to stay
 * and nothing is encoded. */
fb_status fb_tuning_create(const fb_model *model, const fb_tuning_options *options,
                           const fb_net_options *net_options, fb_tuning **out);
void fb_tuning_destroy(fb_tuning **t); /* NULL is fine */
fb_net *fb_tuning_net(const fb_tuning *t);

/* Begins step 0, 1, ... of the plan's rule: some of the free weights freeze. */
fb_status fb_tuning_share(fb_tuning *t, uint32_t step);

/* State beside the net's parameters, for checkpoints: *blobs [*n] of the tuning's own. */
void fb_tuning_state(fb_tuning *t, const fb_blob **blobs, size_t *n);

/* Around a pass over the net. */
fb_status fb_tuning_forward(fb_tuning *t);
void fb_tuning_backward(fb_tuning *t);

/* The compressed model with what was learned, or with `values` [parameters of the net] in its place
 * (an average; NULL: the net's own). It owns all its memory; biases of integer layers are encoded,
 * sparse weights stored sparse; weights of which some are
 * still free are plain. */
fb_status fb_tuning_model(const fb_tuning *t, const float *const *values, fb_model **out);

#endif
