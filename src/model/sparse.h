/* Constants of which only the elements that are not 0 are kept (encoding.h, METHODS N.5). Where
 * they are comes first in the payload, then their codes (or floats), packed.
 *
 * A sparse tensor says the same as its dense form, of which it is a more compact way to lie in file
 * and memory: whatever works on codes takes the dense form (fb_sparse_expand). */
#ifndef FB_MODEL_SPARSE_H
#define FB_MODEL_SPARSE_H

#include "model/model.h"

/* "bitmap", "runs4", "runs8". */
const char *fb_sparse_name(fb_sparse form);

/* Bytes of the payload of n elements. FB_E_FORMAT when n_kept and the form do not go with n. The
 * bytes bound n: at most 256 elements for each. */
fb_status fb_sparse_bytes(const fb_tensor *t, size_t n, size_t *bytes);

/* Checks form and payload, whose size is right, of a tensor whose other parameters are valid:
 * n_kept entries cover all elements but the last zeros. Sentences do not name the tensor. */
fb_status fb_sparse_validate(const fb_tensor *t);

/* The dense form of a valid sparse tensor: *dense is *t with a payload of its own, which ends with
 * fb_free(*owned), and 64-byte aligned. FB_E_MEMORY. */
fb_status fb_sparse_expand(const fb_tensor *t, fb_tensor *dense, void **owned);

/* The form in which a dense constant of 2 axes or more has the fewest bytes, FB_DENSE where that is
 * as it is; *bytes and *zeros, the elements that are 0 (floats: +0), where not NULL. */
fb_sparse fb_sparse_choose(const fb_tensor *t, size_t *bytes, size_t *zeros);

/* Rewrites a dense constant of the model in a form, or a sparse one as dense (FB_DENSE). */
fb_status fb_sparse_store(fb_model *m, int32_t tensor, fb_sparse form);

/* All sparse constants of the model as dense ones. */
fb_status fb_model_densify(fb_model *m);

#endif
