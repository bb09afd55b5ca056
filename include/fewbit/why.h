/* Why a network answers badly: the usual disasters, each looked for with runs of the network itself
 * and told in one sentence with the numbers that support it. Part of libfewbit-tools.
 */
#ifndef FEWBIT_WHY_H
#define FEWBIT_WHY_H

#include "fewbit/measure.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fb_why_options {
    const char *data;           /* the images, as fb_data_open takes them */
    const fb_prep *prep;        /* how they are said to be prepared; NULL: nobody knows. It is
                                   fitted to the input (fb_prep_fit) already */
    uint64_t limit;             /* images, spread evenly over the data; 0 = all */
    uint32_t decoders;          /* threads that decode, as in fb_data_options */
    const fb_model *small;      /* the same network compressed, or NULL */
    fb_measure_options measure; /* seed is not used */
} fb_why_options;
FB_API void fb_why_options_default(fb_why_options *options); /* 200 images, batches of 4 */

typedef struct fb_why_number {
    const char *name; /* "top1", "p", ...: docs/man/fewbit-why.1.scd lists them */
    double value;
} fb_why_number;

/* Something that is wrong, or (hint) that may be. */
typedef struct fb_why_finding {
    const char *kind;  /* "prep", "labels-shifted", ...: fewbit-why(1) lists them */
    bool hint;         /* not proof of anything: the numbers allow other readings */
    double points;     /* percent of the images that it costs; NaN where that was not measured */
    const char *layer; /* the one that is meant, or NULL */
    const char *what;  /* one sentence */
    const char *advice;
    const fb_why_number *numbers;
    uint32_t n_numbers;
} fb_why_finding;

/* One kind of look: what came of it, or why it could not be taken. */
typedef struct fb_why_look {
    const char *at;
    const char *result;
} fb_why_look;

/* A preprocessing that was tried. Percentages of its `images`. */
typedef struct fb_why_variant {
    const char *prep; /* as fb_prep_parse reads it */
    uint64_t images;
    double top1;       /* NaN without labels */
    double confidence; /* mean of the largest probability */
} fb_why_variant;

/* A layer with weights, over all images. */
typedef struct fb_why_layer {
    const char *name, *op;
    uint32_t channels;
    uint32_t dead;     /* of them constant */
    uint32_t zero;     /* of those, always 0 */
    uint64_t params;   /* weights of the layer */
    uint64_t infinite; /* outputs that are not finite */
} fb_why_layer;

/* Names of layers may be borrowed from the models, which then must outlive the report. */
typedef struct fb_why_report {
    uint64_t images;
    bool labelled;
    const char *prep;         /* the one that everything else was looked at with */
    double top1;              /* percent with that; NaN without labels */
    double small_top1;        /* of the compressed network; NaN without it or without labels */
    double agreement;         /* percent of images with the same top-1; NaN without it */
    fb_why_finding *findings; /* what costs most first, then what was not measured, hints last */
    uint32_t n_findings, n_hints; /* n_hints of n_findings */
    fb_why_look *looks;
    uint32_t n_looks;
    fb_why_variant *variants; /* in the order in which they were tried */
    uint32_t n_variants;
    fb_why_layer *layers; /* in execution order */
    uint32_t n_layers;
    void *memory; /* holds everything that the pointers reach */
} fb_why_report;

/* Diagnoses `model`, a float network, and options->small beside it where there is one. Every
 * comparison of two accuracies is a sign test on the same images, multiplied by the number of
 * alternatives that were tried (Bonferroni); what has a probability above 0.01 by chance is not
 * told. Same arguments, same report. Fails as fb_data_open, fb_plan_create and fb_data_next do; a
 * preprocessing that does not fit the images is a finding, unless none fits. */
FB_API fb_status fb_why(const fb_model *model, const fb_why_options *options,
                        fb_why_report *report);

/* After fb_onnx_import has failed with FB_E_UNSUPPORTED on this thread: the findings that explain
 * it (layers exported in training mode); n_findings 0 when it is something else. */
FB_API fb_status fb_why_refused(fb_why_report *report);

FB_API void fb_why_report_free(fb_why_report *report);

#ifdef __cplusplus
}
#endif
#endif
