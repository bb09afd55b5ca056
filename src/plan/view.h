#ifndef FB_PLAN_VIEW_H
#define FB_PLAN_VIEW_H

#include "fewbit/run.h"

/* The inverse of fb_view_read, into `data`, which is what the view shows: elements
 * [from, from + n). The view holds f32, u8, s8, u16 or s16. */
void fb_view_write(const fb_view *view, void *data, size_t from, size_t n, const float *x);

#endif
