/* How good a candidate is, by the kernels that ship, on calibration images: for steps that try
 * several settings and keep one. The images that judge the result in the end are others. */
#ifndef FB_COMPRESS_JUDGE_H
#define FB_COMPRESS_JUDGE_H

#include "compress/method.h"
#include "compress/stage.h"

/* A few hundred images cannot tell half a point of accuracy, and a search over hundreds of trials
 * finds the ones that are lucky with them. The divergence from the float network is much finer: so
 * much of it may a point of accuracy cost. */
#define FB_NATS_A_POINT 0.03

typedef struct fb_verdict {
    uint64_t images;   /* heard; the figures below are of those */
    double correct;    /* share of images whose best class is their label; where the data has no
                          labels, whose best class is the reference's */
    double among_five; /* the same for the best five classes */
    double agree;      /* share of images whose best class is the reference's */
    double loss; /* mean over images of KL(reference's distribution || candidate's), in nats; of
                    the squared error relative to the reference's, where scores are no classes
                    (fewer than 2). It tells candidates apart long before `correct` does */
} fb_verdict;

typedef struct fb_judge {
    fb_watch_options options;
    fb_samples samples;
    bool labelled;
    size_t classes;
    float *wanted;  /* [images][classes] log-probabilities of the reference */
    fb_stage stage; /* of fb_judge_hold */
} fb_judge;

/* What a candidate has to reach. */
typedef struct fb_bar {
    double loss;    /* at most */
    double correct; /* at least */
} fb_bar;

/* Runs the reference over at most `images` calibration images, which are kept. Not for dry runs:
 * there is no data. After a failure the judge is closed. */
fb_status fb_judge_open(const fb_job *job, uint64_t images, fb_judge *judge);
fb_status fb_judge_reference(fb_judge *judge, fb_verdict *verdict); /* loss 0 */
/* `model` takes the same input and gives the same first output. */
fb_status fb_judge_run(fb_judge *judge, const fb_model *model, fb_verdict *verdict);
/* The same, but no further than until the bar is missed for certain, whatever the images that are
 * left would bring, or beyond doubt: from 16 images on, when the loss is above it by four standard
 * errors. Who meets it has been heard on all images. */
fb_status fb_judge_try(fb_judge *judge, const fb_model *model, const fb_bar *bar,
                       fb_verdict *verdict, bool *met);

/* Candidates to come compute what `model` does in all nodes before `node`, so that these need not
 * run again: what is alive there is kept for all images (at most 400 MiB; else of an earlier
 * place). That holds until the next call, and the model must last as long. From call to call it may
 * change, or be another one with the same tensors, from the held node on. Verdicts are the same,
 * but where the plan of a network that is cut chooses kernels that sum in another order. */
fb_status fb_judge_hold(fb_judge *judge, const fb_model *model, uint32_t node);
void fb_judge_close(fb_judge *judge);

#endif
