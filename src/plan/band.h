/* Layers in bands of rows, for activations that are packed or levels. Both decline operators and
 * operands that have no such form; convert steps around the whole layer then do the same work. */
#ifndef FB_PLAN_BAND_H
#define FB_PLAN_BAND_H

#include "plan/plan.h"

fb_status fb_prepare_band_codes(fb_prepare *p);  /* by the operator's form in ops_q.inc */
fb_status fb_prepare_band_floats(fb_prepare *p); /* by its form in ops_f32.inc */

#endif
