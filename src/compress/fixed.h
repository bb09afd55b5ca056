/* Fixed-point formats for the layers of a network (METHODS D.3): Qm.f for weights, activations and
 * accumulators, the fraction bits chosen by what was seen in calibration.
 *
 * The data are run once (fb_fixed_measure); then formats for any widths are assigned to copies of
 * the network as often as wanted (fb_fixed_assign), which is how a tuner tries widths. */
#ifndef FB_COMPRESS_FIXED_H
#define FB_COMPRESS_FIXED_H

#include "compress/method.h"
#include "compress/region.h"

/* A layer that runs in fixed point. */
typedef struct fb_fixed_layer {
    uint32_t node;   /* of the measured model */
    uint64_t terms;  /* of one sum: products and bias */
    double most_sum; /* largest |sum| seen, before the activation function */
} fb_fixed_layer;

typedef struct fb_fixed_net {
    fb_region region;
    uint32_t n_layers;
    fb_fixed_layer *layers; /* in execution order */
    int32_t *tensors;       /* [region.n_encoded] */
    int32_t *asks;          /* [n_tensors] by whose width an encoded tensor goes: the leader of its
                               own group where a layer reads one of these, else of the group that
                               carriers make of it */
    fb_stats *stats;        /* of each */
    bool invented;          /* by a dry run: nothing is known of the data */
} fb_fixed_net;

/* Finds the layers (patterns as in fb_region_find) and runs the calibration data through the float
 * model once. After a failure *net is empty. */
fb_status fb_fixed_measure(const fb_job *job, const char *include, const char *exclude,
                           fb_fixed_net *net);
void fb_fixed_free(fb_fixed_net *net);

/* Accumulator widths besides 8..32: */
enum {
    FB_ACC_BOUND = 0, /* no sum of that many products can overflow; 32 where that needs more */
    FB_ACC_DATA = 1   /* the sums seen fit */
};

typedef struct fb_fixed_width {
    unsigned w_bits; /* 2..16 */
    unsigned d_bits; /* 2..16, of the input. A tensor that several layers read, or that shares its
                        encoding with others, takes the widest; one that none reads, the width of
                        what carriers make of it */
    unsigned acc_bits;
} fb_fixed_width;

typedef struct fb_fixed_rule {
    fb_overflow overflow;
    fb_rounding rounding;
    int32_t headroom; /* bits of range for data and sums beyond what was seen */
    bool per_channel; /* fraction bits of weights by output channel */
    bool least_error; /* fraction bits by least squared error, else nothing is clipped */
    bool positive;    /* codes of what cannot be negative have no sign bit */
    bool fit_sums;    /* weights lose fraction bits where the accumulator would not hold the sums
                         seen */
} fb_fixed_rule;

/* Rewrites `m`, a copy of the measured model: weights that are plain get codes, activations
 * encodings, layers their arithmetic. width [net->n_layers]. FB_E_ARG where a weight that was
 * encoded before is not in fixed point, or where widths that depend on data are wanted in a dry
 * run. */
fb_status fb_fixed_assign(const fb_fixed_net *net, const fb_fixed_rule *rule,
                          const fb_fixed_width *width, fb_model *m);

/* One width alone: the weights of a layer, or the activations that go by the width of `leader`'s
 * group, in `bits` bits as fb_fixed_assign would encode them, while the network's
 * arithmetic stays that of floats. Weights that were encoded before stay as they are. `m` as above.
 */
fb_status fb_fixed_assign_weight(const fb_fixed_net *net, const fb_fixed_rule *rule, uint32_t layer,
                                 unsigned bits, fb_model *m);
fb_status fb_fixed_assign_data(const fb_fixed_net *net, const fb_fixed_rule *rule, int32_t leader,
                               unsigned bits, fb_model *m);

/* Fraction bits of `bits` bits for values up to `most` in magnitude: bits - 1 - ceil(log2 most),
 * one more without a sign bit. */
static inline int32_t fb_fraction_for(double most, unsigned bits, bool is_signed)
{
    return (int32_t)bits - (is_signed ? 1 : 0) - fb_integer_bits(most);
}

#endif
