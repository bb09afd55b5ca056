/* How good a candidate is, by the kernels that ship, on calibration images: for steps that try
 * several settings and keep one. The images that judge the result in the end are others. */
#ifndef FB_COMPRESS_JUDGE_H
#define FB_COMPRESS_JUDGE_H

#include "compress/method.h"

typedef struct fb_verdict {
    uint64_t images;
    double correct;    /* share of images whose best class is their label; where the data has no
                          labels, whose best class is the reference's */
    double among_five; /* the same for the best five classes */
    double loss; /* mean over images of KL(reference's distribution || candidate's), in nats; of
                    the squared error relative to the reference's, where scores are no classes
                    (fewer than 2). It tells candidates apart long before `correct` does */
} fb_verdict;

typedef struct fb_judge {
    fb_watch_options options;
    fb_samples samples;
    bool labelled;
    size_t classes;
    float *wanted; /* [images][classes] log-probabilities of the reference */
} fb_judge;

/* Runs the reference over at most `images` calibration images, which are kept. Not for dry runs:
 * there is no data. After a failure the judge is closed. */
fb_status fb_judge_open(const fb_job *job, uint64_t images, fb_judge *judge);
fb_status fb_judge_reference(fb_judge *judge, fb_verdict *verdict); /* loss 0 */
/* `model` takes the same input and gives the same first output. */
fb_status fb_judge_run(fb_judge *judge, const fb_model *model, fb_verdict *verdict);
void fb_judge_close(fb_judge *judge);

#endif
