/* A network that learns: a float fb_model at one batch size, with parameters, gradients and the
 * statistics of batch norms.
 *
 * The model is copied and spelled out first (split.c): a clamp fused into a conv, dense or add
 * becomes a layer of its own. Then every node becomes a layer (layer.h), its weights, biases,
 * scales and shifts become parameters, and all other values live in one arena by liveness: an
 * activation until the last pass that reads it, a gradient from its first writer to its reader.
 *
 * scale_shift is a batch norm here: in training it normalises with the batch's own mean and
 * variance, keeps running ones, and learns gamma (scale) and beta (shift). A model file has only
 * their product with statistics that are gone; fb_net_measure finds those anew without changing
 * what the network computes. A softmax at the end is left out: outputs are the logits before it. */
#ifndef FB_TRAIN_NET_H
#define FB_TRAIN_NET_H

#include "model/model.h"
#include "model/shape.h"
#include "train/ranks.h"

typedef struct fb_net fb_net;

/* What is learned, or kept beside it. `w` is the value itself. */
typedef struct fb_param {
    const char *name; /* of the tensor, borrowed from the net's model */
    int32_t tensor;   /* in the net's model */
    size_t n;
    float *w, *g;        /* [n]; g is NULL for a statistic, which is saved but not learned */
    const float *q;      /* [n] what layers compute with in its place (quant.h); NULL: w itself */
    const uint8_t *mask; /* [n], 0 = frozen: stays as it is to the bit; NULL = all free. The
                            caller's */
    bool decay;          /* weight decay applies: weights yes, biases and batch norms no */
} fb_param;

static inline const float *fb_param_value(const fb_param *p)
{
    return p->q ? p->q : p->w;
}

typedef struct fb_net_options {
    uint32_t batch;      /* >= 1; with `ranks`, this process's share of it */
    uint32_t n_threads;  /* 0 = all cores */
    float dropout;       /* [0, 1): share of a dense layer's input that a training step zeroes */
    uint64_t seed;       /* of dropout */
    const int32_t *taps; /* [n_taps] tensors of the model given: their values are kept through a
                            step and take gradients of the caller's (fb_net_tap) */
    uint32_t n_taps;
    const bool *learn; /* [tensors of the model given] encoded activations whose scale is learned;
                          NULL: none */
    const fb_ranks *ranks; /* processes that share each batch, equally and in their order: batch
                              norms, scales of activations and dropout go by the whole batch. Must
                              outlive the net; NULL: there is one */
} fb_net_options;

/* FB_E_UNSUPPORTED, with node and operator, for what has no gradient here, for encoded or shared
 * weights, and for more than one input or output. The model is not needed afterwards. */
fb_status fb_net_create(const fb_model *model, const fb_net_options *options, fb_net **out);
void fb_net_destroy(fb_net **net); /* NULL is fine */

/* A parameter beside those of the layers, for a quantiser: n numbers, copied from `start`. Pointers
 * of fb_net_param stay valid. */
fb_status fb_net_add_param(fb_net *net, const char *name, size_t n, const float *start,
                           int32_t *index);

uint32_t fb_net_n_params(const fb_net *net);
fb_param *fb_net_param(fb_net *net, uint32_t i); /* order: by layer, then as the node reads them */

/* He's normal initialisation (2015, fan in) of all weights from the seed; biases 0, gamma 1,
 * beta 0, means 0, variances 1. The last layer's weights have gain 1 instead of 2. */
void fb_net_init(fb_net *net, uint64_t seed);

/* Buffers of one batch: the input, to be filled; logits and their gradient, [batch][classes]. */
float *fb_net_input(fb_net *net, size_t *n);
float *fb_net_logits(fb_net *net, size_t *n);
float *fb_net_logits_gradient(fb_net *net);

typedef enum fb_net_mode {
    FB_NET_EVAL,    /* running statistics, no dropout */
    FB_NET_TRAIN,   /* the batch's statistics, which enter the running ones; dropout */
    FB_NET_MEASURE, /* as the file says, while batch norms sum up what they see */
    FB_NET_TRIAL    /* as TRAIN, but running statistics stay: for tests of gradients */
} fb_net_mode;

/* `step` numbers the training steps: dropout is drawn from (seed, step, layer). */
fb_status fb_net_forward(fb_net *net, fb_net_mode mode, uint64_t step);
/* From fb_net_logits_gradient (and those of taps) to the gradient of every parameter; after a
 * forward pass in TRAIN or TRIAL mode. Overwrites parameters' gradients. With `ranks`, gradients
 * are those of this process's share; their mean over ranks is the gradient of the mean loss. */
fb_status fb_net_backward(fb_net *net);

/* After forward: value and, to be added to before backward, gradient of a tapped tensor; forward
 * zeroes the gradient. FB_E_ARG for a tensor that was not asked for. */
fb_status fb_net_tap(fb_net *net, uint32_t tap, const float **x, float **g, size_t *n);

/* Adopts a model's own batch norms: run MEASURE passes over some batches, then this. Gamma and beta
 * are set so that EVAL computes what the model did, with the statistics measured. */
fb_status fb_net_adopt(fb_net *net);
bool fb_net_has_norms(const fb_net *net);

/* Momentum of running statistics: new = (1 - m) old + m batch; 0.1. */
#define FB_NET_NORM_MOMENTUM 0.1f
#define FB_NET_NORM_EPSILON  1e-5f

/* The model with parameters as they are, or as `values` [n_params] has them (an average; NULL: its
 * own), batch norms folded into the layers before them and clamps fused. The result owns all its
 * memory; prep, labels and notes are those of the model given. */
fb_status fb_net_to_model(const fb_net *net, const float *const *values, fb_model **out);

uint64_t fb_net_arena_bytes(const fb_net *net); /* activations and gradients */

#endif
