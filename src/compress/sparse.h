/* Sparse storage (METHODS N.5): which weights of a finished model are kept sparse. */
#ifndef FB_COMPRESS_SPARSE_H
#define FB_COMPRESS_SPARSE_H

#include "model/sparse.h"

/* Stores each weight in the form with the fewest bytes in the file: dense, sparse, or (where the
 * model asks for it and codes have at most 8 bits) dense and left to the entropy coder, to which a
 * zero among many costs a fraction of a bit. */
fb_status fb_store_sparse(fb_model *m);

#endif
