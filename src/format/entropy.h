/* Weights at rest: which payloads are entropy-coded, with which tables, and back. Section CODE.
 *
 * A payload may be coded where the model says so (fb_model.entropy), it has codes of at most 8
 * bits and two axes or more: weights, whose codes depend on nothing but the network. (Biases and
 * the scales of activations depend on calibration data. Were they coded, nobody could tell the size
 * of a file before the data are read.) It is coded where that saves bytes. Coded payloads are
 * decoded at load into memory of the model, others of FB_FORMAT_LARGE bytes are read where they
 * lie.
 */
#ifndef FB_FORMAT_ENTROPY_H
#define FB_FORMAT_ENTROPY_H

#include "format/bytes.h"
#include "model/model.h"

typedef struct fb_entropy {
    uint8_t *coded; /* [n_tensors] 1: the payload is in section CODE */
    fb_out section; /* its content; empty when nothing is coded */
} fb_entropy;

/* Chooses and encodes; the same bytes every time. 100 MB/s and more. After a failure *e is empty.
 */
fb_status fb_entropy_encode(const fb_model *m, fb_entropy *e);
void fb_entropy_free(fb_entropy *e);

/* Fills the payloads of tensors that are marked, whose encodings are known; 300 MB/s and more. */
fb_status fb_entropy_decode(fb_in *in, fb_model *m, const uint8_t *coded);

#endif
