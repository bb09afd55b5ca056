/* What verify.c and verify_report.c share. */
#ifndef FB_MEASURE_VERIFY_H
#define FB_MEASURE_VERIFY_H

#include "fewbit/measure.h"

/* Adds the comparison of one tensor to its row. `want` is the reference, `got` the fast run on one
 * thread, `many` the same on several. Exact when the tensor holds integers that no float step
 * rounded (from_float). */
void fb_verify_compare(fb_verify_layer *row, const fb_view *want, const fb_view *got,
                       const fb_view *many, bool from_float);

/* Sums the rows; FB_E_MISMATCH with a sentence about the first that is wrong. */
fb_status fb_verify_conclude(fb_verify_report *report);

#endif
