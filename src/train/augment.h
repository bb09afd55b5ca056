/* Random changes of training images, each a function of a seed alone. */
#ifndef FB_TRAIN_AUGMENT_H
#define FB_TRAIN_AUGMENT_H

#include "fewbit/status.h"

/* As text, joined by ',' ("none" or "": nothing):
 *
 *   crop=P     P zero pixels on every side, then a window of the old size somewhere in it
 *   resize=A   a window of a share A to 1 of the area, sides in a ratio of 3:4 to 4:3, stretched
 *              to the old size (bilinear); not together with crop
 *   flip       left and right change places, half of the time
 *   jitter=S   brightness, contrast and saturation times 1 - S to 1 + S (RGB images)
 */
typedef struct fb_augment {
    uint32_t crop; /* pixels, 0 = none; at most 1024 */
    float resize;  /* smallest share of the area, (0, 1); 0 = none */
    bool flip;
    float jitter; /* [0, 1); 0 = none */
} fb_augment;

fb_status fb_augment_parse(const char *text, fb_augment *a);

/* x [h][w][c] to y [h][w][c], which must not overlap. Pixels are 0 .. 255 where jitter is used
 * (then c must be 3). */
void fb_augment_apply(const fb_augment *a, uint64_t seed, size_t h, size_t w, size_t c,
                      const float *x, float *y);

#endif
