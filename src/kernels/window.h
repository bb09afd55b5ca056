/* Geometry of everything that slides a window over an image [h][w][c]: convolutions and pools.
 *
 * Output pixel (oy, ox), tap (ky, kx) reads input row oy * stride_h - pad_t + ky * dil_h and the
 * column likewise; taps outside the image are padding. Right and bottom padding need no field: they
 * are whatever oh and ow make them. All counts are > 0 and below 2^31, pads >= 0, and every
 * coordinate that the formula gives fits int32 (the plan checks this).
 */
#ifndef FB_KERNELS_WINDOW_H
#define FB_KERNELS_WINDOW_H

#include <stdint.h>

typedef struct fbk_window {
    int32_t h, w, c;    /* input image; c = input channels */
    int32_t oh, ow, oc; /* output image; oc = c for pools */
    int32_t kh, kw, stride_h, stride_w, dil_h, dil_w, pad_t, pad_l;
    int32_t groups; /* divides c and oc; 1 for pools */
} fbk_window;

/* The taps [*first, *end) of one axis that lie inside [0, size) for a window that starts at `at`
 * (may be negative). *first == *end when there is none. */
static inline void fbk_taps_inside(int32_t at, int32_t size, int32_t taps, int32_t dil,
                                   int32_t *first, int32_t *end)
{
    int32_t lo = at >= 0 ? 0 : (-at + dil - 1) / dil;
    int32_t hi = at >= size ? 0 : (size - 1 - at) / dil + 1;
    if (hi > taps)
        hi = taps;
    if (lo > hi)
        lo = hi;
    *first = lo;
    *end = hi;
}

#endif
