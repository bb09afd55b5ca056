/* What conv and pools share. */
#ifndef FB_IMPORT_OPS_WINDOW_H
#define FB_IMPORT_OPS_WINDOW_H

#include "import/import.h"

/* Geometry of a window over h and w; a 1-D one has h = 1. */
typedef struct fb_imp_win {
    int32_t k[2], stride[2], dil[2], begin[2], end[2];
    int auto_pad; /* 0 as given, 1 same upper, 2 same lower, 3 valid */
} fb_imp_win;

/* Reads kernel_shape, strides, dilations, pads, auto_pad of n axes. `in` are the input sizes, for
 * auto_pad (NULL: left to the caller); `k_default` the kernel where the attribute may be absent. */
fb_status fb_imp_window(fb_imp *im, uint32_t n, const int64_t *in, const int64_t *k_default,
                        fb_imp_win *w);
fb_status fb_imp_window_rank(fb_imp *im, int32_t x, uint32_t *n_spatial);
fb_status fb_imp_window_enter(fb_imp *im, int32_t x, int32_t *out);
fb_status fb_imp_window_leave(fb_imp *im, int32_t x, uint32_t n_spatial, int32_t *out);

/* x, w, bias (or -1) to y; y gets `enc` unless NULL. */
fb_status fb_imp_conv_node(fb_imp *im, const int32_t in[3], const fb_encoding *enc, int32_t *y);

#endif
