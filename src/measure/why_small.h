/* Inside the diagnosis of a compressed network: layers that it shares with the float one, and
 * repairs, which are copies of it with something of the float network put back. */
#ifndef FB_MEASURE_WHY_SMALL_H
#define FB_MEASURE_WHY_SMALL_H

#include "measure/why.h"

#include "model/model.h"

typedef struct fb_why_small {
    fb_why_state *s;
    const fb_model *model; /* the compressed one */
    int32_t *twin;  /* [its nodes] node of the float model with the same name and operator whose
                       output has the same shape, or -1 */
    fb_trial trial; /* its answers, image by image as s->best */
    uint64_t agree; /* images with the float network's answer */
    double *high;   /* [its nodes] share of outputs at an end of the range of codes that no
                       activation function has set; 0 where there is none */
    double *added;  /* [its nodes] what fb_diff says that it adds, 0 where it says nothing */
} fb_why_small;

/* --- what is put back (why_repair.c) -----------------------------------------------------------
 */

/* Biases are part of it: a file whose biases were corrected for an encoding needs both back, one
 * whose biases were corrected for something else needs them to stay. */
enum { FB_REPAIR_WEIGHT = 1, FB_REPAIR_OUTPUT = 2, FB_REPAIR_BIAS = 4 };

/* Of one node of the compressed network, or of all (node -1). */
typedef struct fb_repair {
    unsigned what; /* of the bits above */
    int32_t node;
    bool done;          /* false: it could not be made or run; the rest is not set then */
    uint64_t agree;     /* images with the float network's answer afterwards */
    uint64_t won, lost; /* images that came to agree, or ceased to */
} fb_repair;

/* Makes the copy, runs it on all images, and compares with small->trial. */
fb_status fb_why_repair(fb_why_small *small, fb_repair *repair);

/* Tells what the loss hangs on: one layer, all weights or all activations. */
fb_status fb_why_blame(fb_why_small *small);

/* --- ranges (why_ranges.c) ---------------------------------------------------------------------
 */

/* Fills small->high. */
fb_status fb_why_saturation(fb_why_small *small);
/* Ranges that few calibration images cannot have found. */
fb_status fb_why_calibration(fb_why_small *small);

#endif
