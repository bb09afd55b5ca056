/* Inside the encodings: the definitions that the table of encoding.c lists. */
#ifndef FB_MODEL_ENCODING_DEFS_H
#define FB_MODEL_ENCODING_DEFS_H

#include "model/encoding.h"

extern const fb_encoding_def fb_encoding_plain, fb_encoding_affine;

#endif
