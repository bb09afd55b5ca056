/* What layers answer to calibration images before their activation: means and covariances of the
 * output channels, over all images and all positions. One pass for any number of layers; memory is
 * m x m doubles a layer, however many inputs it has. */
#ifndef FB_COMPRESS_RESPONSE_H
#define FB_COMPRESS_RESPONSE_H

#include "compress/method.h"

typedef struct fb_response {
    size_t m;           /* output channels */
    uint64_t n;         /* samples: images x positions */
    double *mean;       /* [m] with the layer's bias */
    double *covariance; /* [m][m] */
    double *rows;       /* samples not yet added, while gathering */
    size_t held;
} fb_response;

/* Of the conv and dense `nodes` [n] of the job's model; responses [n] are the caller's to free with
 * fb_response_free, also after a failure. */
fb_status fb_response_gather(const fb_job *job, const uint32_t *nodes, uint32_t n,
                             fb_response *responses);
void fb_response_free(fb_response *response);

#endif
