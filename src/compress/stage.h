/* A model run in pieces, front to back, while later pieces are still being changed: the tensors
 * that are alive at a cut, for all calibration images. Running the next piece from there, a pass
 * over all layers costs two runs of the network, not one for each layer. */
#ifndef FB_COMPRESS_STAGE_H
#define FB_COMPRESS_STAGE_H

#include "compress/method.h"

/* Tensors of one cut. Their bytes as they lie in a run: codes stay codes. */
typedef struct fb_cut {
    uint32_t node; /* nodes before it have run */
    uint32_t n;
    int32_t *tensors; /* [n] model tensor indices */
    size_t *bytes;    /* [n] of one run */
    uint8_t **data;   /* [n][runs * bytes] */
} fb_cut;

typedef struct fb_stage {
    const fb_model *model; /* may change from fb_stage_... call to call, but not before the cut */
    fb_watch_options options;
    fb_samples *samples; /* what the model's input gets */
    size_t most_bytes;   /* that a cut may take; 0: 256 MiB */
    uint64_t runs;       /* known after the first cut */
    uint64_t at;         /* next run to feed */
    bool has_cut;        /* else pieces start at the model's input */
    fb_cut cut;
} fb_stage;

/* Moments of node's first output, which is left in floats and, unless with_act, without the
 * activation that was fused into the node. `seen` is initialised with its channels. */
fb_status fb_stage_measure(fb_stage *stage, uint32_t node, bool with_act, fb_moments *seen);

/* Tells `fn` of a tensor that node `node` could read (it need not be of the node's inputs), once a
 * run. Its elements are as they lie in the run: codes stay codes. */
fb_status fb_stage_watch(fb_stage *stage, uint32_t node, int32_t tensor, fb_watch_fn fn,
                         void *user);

/* Moves the cut behind `node`, where it does not lie there already, unless what is alive there
 * would take more than most_bytes: then it stays, and the next piece is longer. */
fb_status fb_stage_advance(fb_stage *stage, uint32_t node);

/* Tells `fn` of the first output of a variant of the model, once a run: a model with the same
 * tensors (and more behind them) that computes the same ones at the cut, which is the caller's to
 * see to. It runs from there; as a whole where there is no cut, where it stores a tensor of the cut
 * otherwise, or where it needs one that is not in it. */
fb_status fb_stage_run(fb_stage *stage, const fb_model *variant, fb_watch_fn fn, void *user);

void fb_stage_free(fb_stage *stage);

/* The activation fused into a conv, transposed conv or dense node. */
fb_act *fb_node_act(fb_node *n);
/* Splits a fused activation from its node: the node writes *before, and a clip behind it makes the
 * old output. Without an activation *before is the output. */
fb_status fb_node_split_act(fb_model *m, size_t node, int32_t *before);

#endif
