/* Layer problems one after the other, in execution order, each from what the compressed layers
 * before it really give (METHODS IV.1). Two stages run in step, the model as it is being compressed
 * and the reference, so that a pass over all layers costs about two runs of each network. For each
 * run receptive fields are taken at random positions, the same in both networks: about 4 for each
 * weight of a channel and no fewer than 4,096 over all images, where the layer has as many.
 *
 * Memory: the images (at most 512 MiB), the cuts of both stages (at most 256 MiB each, while one
 * moves on twice that), and for the layer at hand its samples (4 bytes for each input tap and
 * sample) and its problem. */
#ifndef FB_COMPRESS_GATHER_H
#define FB_COMPRESS_GATHER_H

#include "compress/problem.h"
#include "compress/stage.h"

typedef struct fb_gather_layer {
    uint32_t node, origin; /* in the model, in the reference */
} fb_gather_layer;

typedef struct fb_gather {
    fb_job *job;
    float share; /* of fb_gather_open */
    fb_samples samples;
    fb_stage model, reference;
    fb_pool *pool; /* of the job's threads, for solvers too */
    uint32_t n;
    fb_gather_layer *layers; /* [n] in order */
} fb_gather;

/* wanted [n_nodes]: conv and dense layers with constant weights, not transposed, that the reference
 * has with the same shape; FB_E_UNSUPPORTED names one that it has not. share, 0..1: how much of the
 * error that the inputs bring a layer is to make up for. The target is W (share xf + (1 - share)
 * xq), so that with 0 the reference does not run. All of it is best for the images that were
 * measured; where they are few against the weights of a channel, a part carries over better to
 * others (docs/methods/layer-problem.md). Not for dry runs. After a failure it is closed.
 */
fb_status fb_gather_open(fb_job *job, uint64_t images, float share, const bool *wanted,
                         fb_gather *g);
void fb_gather_close(fb_gather *g);

/* The problem of layer k, centred. Layers come in order; those before it are final. */
fb_status fb_gather_problem(fb_gather *g, uint32_t k, fb_problem *p);
/* Response error of weights w [ct][inner], relative to the response, without the damping; 0 where
 * nobody listens for it (fb_job_tell_error). */
fb_status fb_gather_error(const fb_gather *g, const fb_problem *p, const float *w,
                          double *relative);
/* Layer k is final: both stages move on to the next one. */
fb_status fb_gather_advance(fb_gather *g, uint32_t k);

/* The bias of layer k becomes the reference's, moved by shift [channels]. */
fb_status fb_gather_move_bias(fb_gather *g, uint32_t k, const double *shift);
/* Bias tensors as a real run leaves them, for a dry run. */
fb_status fb_gather_pretend(fb_job *job, const bool *wanted);

#endif
