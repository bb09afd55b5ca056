/* What MatMul and QLinearMatMul share. */
#ifndef FB_IMPORT_OPS_DENSE_H
#define FB_IMPORT_OPS_DENSE_H

#include "import/import.h"

/* numpy.matmul of two f32 values: a dense layer where b is a constant matrix or vector. y gets
 * `enc` unless NULL. */
fb_status fb_imp_matmul_node(fb_imp *im, int32_t a, int32_t b, const fb_encoding *enc, int32_t *y);

#endif
