/* Inside a tuning: shared by tuning.c, which makes and runs it, and tuning_model.c. */
#ifndef FB_TRAIN_TUNING_SELF_H
#define FB_TRAIN_TUNING_SELF_H

#include "train/layer.h"
#include "train/spell.h"
#include "train/tuning.h"

#define FB_TUNING_LEAST_GAMMA 1e-4f

/* A conv or dense layer: parameters of the net, -1 = none. */
typedef struct tuned {
    int32_t weight, bias; /* parameters */
    int32_t gamma;        /* of a batch norm that was put in; then beta, mean and variance */
    uint32_t node;        /* of the model */
    fb_quant *quant;      /* NULL: plain */
    uint8_t *mask;        /* [n] of a plain weight that is sparse or comes to be shared, or NULL */
    fb_share *share;      /* of the tuning's; NULL: not shared */
} tuned;

struct fb_tuning {
    fb_model *model; /* the compressed one: dense, every layer with a plain bias */
    bool *sparse;    /* [tensors] that were stored sparse */
    bool any_sparse, pruned;
    fb_tuning_options options;
    fb_spelled spelled;
    fb_net *net;
    tuned *layers; /* [n_layers], in the order of spelled.layers */
    size_t n_layers;
    fb_share *shares; /* [n_shares] */
    size_t n_shares;
    fb_blob *blobs; /* [3 n_shares] */
};

#endif
