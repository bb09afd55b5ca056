/* A pass over encoded layers, one after the other: what gptq, adaround, ec and gptvq have in
 * common. For each layer the problem is gathered and damped, the method chooses its weights anew,
 * the bias moves by E[W xf] - E[w xq], so that the mean of the response is the target's, and both
 * networks go on to the next layer. */
#ifndef FB_COMPRESS_LAYER_PASS_H
#define FB_COMPRESS_LAYER_PASS_H

#include "compress/gather.h"

/* The options that such a method begins with, in this order; `damping` is the preset of damp. */
enum { FB_PASS_IMAGES, FB_PASS_DAMP, FB_PASS_ASYMMETRY, FB_PASS_N_OPTIONS };
/* clang-format off */
#define FB_PASS_OPTIONS(damping)                                                                   \
    {.key = "images", .kind = FB_OPTION_WHOLE, .least = 1, .most = 1e6, .preset = "256",           \
     .meaning = "calibration images to measure on, at most"},                                      \
    {.key = "damp", .kind = FB_OPTION_NUMBER, .least = 1e-6, .most = 10, .preset = damping,        \
     .meaning = "pull towards the float weights, as a share of the inputs' mean power"},           \
    {.key = "asymmetry", .kind = FB_OPTION_NUMBER, .least = 0, .most = 1, .preset = "0.25",        \
     .meaning = "the share of the error that the inputs bring to make up for"}
/* clang-format on */

/* Chooses the weights of one layer and stores them in the job's model: p is its problem, damped;
 * value [ct][inner] holds what the tensor `weight` decodes to and then what it decodes to now. */
typedef fb_status (*fb_choose_weights)(void *user, int32_t weight, const fb_problem *p,
                                       fb_pool *pool, float *value);

/* Layers whose weight no other layer shares, and which are not transposed, can be in a pass. */
bool fb_pass_takes(const fb_model *m, size_t node);

/* wanted [n_nodes]: as for fb_gather_open, one at least. Response errors before and after go to
 * fb_job_tell_error. Not for dry runs: fb_gather_pretend. */
fb_status fb_layer_pass(fb_job *job, const fb_recipe_step *step, const bool *wanted,
                        fb_choose_weights choose, void *user);

#endif
