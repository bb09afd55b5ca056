/* Quantisers: weights that learn while layers compute with what their encoding leaves of them.
 *
 * A quantiser stands between a parameter w (the master, in floats) and the layer. Before a step it
 * writes q, the values that the encoded tensor decodes to; after it, it turns dL/dq into dL/dw,
 * straight through the rounding (Bengio et al. 2013), and into gradients of its own parameters:
 *
 *   affine   q = s_j (c - z_j), c = clamp(rne(w / s_j) + z_j); s_j learned as LSQ does it: sum dq
 *            (c - z - w / s) inside, dq (c - z) where clamped, over sqrt(n_j Q), n_j weights of the
 *            scale, Q its largest code. dw = dq, 0 where clamped (METHODS T.1)
 *   levels   q = s_j t[c], c the nearest level of w / s_j, or as the file has it (`codes` fixed).
 *            Levels and scales learn: dt = sum s dq, ds = sum t dq, over the root of their number
 *   product  q = s_j (the sum of the stages' words); codes stay, words and scales learn likewise;
 *            words of 8 or 16 bits are rounded to them before use
 *   ternary  of a plain weight: q = s_j (-n, 0 or p) by the size of w / s_j. TWN: p = n is the mean
 *            of what is not 0, anew at each step, and dw = dq. TTQ: p and n learn, dw is dq times
 *            the level, or times 1 at 0 (METHODS T.4)
 *
 * What is 0 and sparse stays 0, and so do levels that are 0. The same arithmetic writes the encoded
 * tensor in the end: accuracy is measured on what was trained. */
#ifndef FB_TRAIN_QUANT_H
#define FB_TRAIN_QUANT_H

#include "train/net.h"
#include "train/share_plan.h"

typedef enum fb_quant_codes {
    FB_CODES_NEAREST, /* follow the master; product: fixed all the same */
    FB_CODES_FIXED
} fb_quant_codes;

typedef struct fb_quant_options {
    fb_quant_codes codes;
    bool learn;      /* scales, levels and words; else masters alone */
    bool norm;       /* a batch norm follows, which has the channels' gains: scales of levels and
                        products stay */
    bool keep_zeros; /* what decodes to 0 stays 0 */
    const fb_share_plan *ternary; /* of plain weights that are ternary; else NULL */
} fb_quant_options;

typedef struct fb_quant fb_quant;

/* Stands behind parameter `param` of the net, whose tensor `as` is encoded (affine, levels or
 * product; not plain; dense) and decodes to what w starts from. w is set: `start` [n], the weight
 * before it was encoded, moved to the nearest value that has the code of `as`; NULL: what `as`
 * decodes to. FB_E_UNSUPPORTED for patches. `as` must outlive the quantiser; the net owns nothing
 * of it. */
fb_status fb_quant_create(fb_net *net, int32_t param, const fb_tensor *as, const float *start,
                          const fb_quant_options *options, fb_quant **out);
void fb_quant_destroy(fb_quant *q); /* NULL is fine */

/* Before a pass: q from w. After a backward pass: gradients from that of q. */
fb_status fb_quant_forward(fb_quant *q);
void fb_quant_backward(fb_quant *q);

/* Encodes into `tensor` of m. values [parameters of the net]: averages in place of the net's own,
 * or NULL. factor [output channels] > 0, or NULL: multiplies each channel's scale, as a folded
 * batch norm wants it. */
fb_status fb_quant_store(const fb_quant *q, const float *const *values, const float *factor,
                         fb_model *m, int32_t tensor);

#endif
