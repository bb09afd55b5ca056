/* Weights at rest: which payloads are entropy-coded, in which form (form.h), with which tables, and
 * back. Section CODE.
 *
 * A payload may be coded where the model says so (fb_model.entropy), it has codes or numbers of at
 * most 8 bits and two axes or more. (Biases and the scales of activations depend on calibration
 * data, and so would the size of the file.) It is coded where that saves bytes. Coded payloads are
 * decoded at load into memory of the model, others of FB_FORMAT_LARGE bytes are read where they
 * lie.
 */
#ifndef FB_FORMAT_ENTROPY_H
#define FB_FORMAT_ENTROPY_H

#include "format/bytes.h"
#include "model/model.h"

typedef struct fb_entropy {
    uint8_t *coded; /* [n_tensors] FB_CODED_...: the payload is in section CODE; or 0 */
    fb_out section; /* its content; empty when nothing is coded */
} fb_entropy;

/* Chooses and encodes; the same bytes every time. After a failure *e is empty. */
fb_status fb_entropy_encode(const fb_model *m, fb_entropy *e);
void fb_entropy_free(fb_entropy *e);

/* Fills the payloads of tensors that are marked, whose encodings are known, and completes the
 * codewords of products; in as many threads as there are cores where there is much to do. */
fb_status fb_entropy_decode(fb_in *in, fb_model *m, const uint8_t *coded);

#endif
