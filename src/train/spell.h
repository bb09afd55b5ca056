/* The float graph of a compressed model, spelled out for training. */
#ifndef FB_TRAIN_SPELL_H
#define FB_TRAIN_SPELL_H

#include "model/model.h"

/* A conv or dense layer. Tensors of the compressed model, which keep their numbers in the spelled
 * one; gamma -1: no batch norm was put behind it. */
typedef struct fb_spelled_layer {
    uint32_t node; /* of the compressed model */
    int32_t weight, bias, gamma;
} fb_spelled_layer;

typedef struct fb_spelled {
    fb_model *model;
    fb_spelled_layer *layers; /* [n_layers], in the model's arena */
    size_t n_layers;
    bool *learn; /* [tensors of model] encoded activations whose scale may be learned */
} fb_spelled;

/* `model` must be dense, and every conv and dense layer must have a plain bias of its own. Encoded
 * constants are decoded; each encoded activation is made by a plain layer and a `convert` behind
 * it, unless the maker only moves codes of the same encoding (fb_spelled_moves); clamps are layers
 * of their own; with `norms`, each conv and dense layer but the one that makes the output has a
 * scale_shift of 1 and 0 behind it. After a failure *out is empty. */
fb_status fb_spell(const fb_model *model, bool norms, fb_spelled *out);
void fb_spelled_free(fb_spelled *s);

/* Whether a node hands codes on as they are: its output has the encoding of its input. */
bool fb_spelled_moves(const fb_model *m, const fb_node *n);

#endif
