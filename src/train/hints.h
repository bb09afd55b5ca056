/* What a teacher's layers answer, as targets for the layers of the same name (Romero et al. 2015):
 *
 *   W mean over layers of  mean (x - t)^2 / mean t^2
 *
 * where x is what the student's layer leaves, rounded if it is encoded, and t the teacher's. Layers
 * are conv, dense and binary nodes with a name that the teacher has for the same operator and
 * shape, the output of the network excepted. */
#ifndef FB_TRAIN_HINTS_H
#define FB_TRAIN_HINTS_H

#include "train/net.h"

typedef struct fb_hints {
    fb_net *teacher;                      /* in floats, as the student; NULL: no hints */
    int32_t *student_taps, *teacher_taps; /* [n] tensors of the models */
    uint32_t n;
    double weight;         /* W */
    double *power;         /* [n] room for mean t^2 */
    const fb_ranks *ranks; /* that share the batch, as of the student's net */
} fb_hints;

/* Finds the layers and makes the teacher's net. The student's net is to be made with student_taps.
 * FB_E_ARG when no layer fits. */
fb_status fb_hints_create(const fb_model *student, const fb_model *teacher,
                          const fb_net_options *options, double weight, fb_hints *h);
void fb_hints_free(fb_hints *h);

/* After the student's forward pass over the same input: runs the teacher, adds gradients to the
 * student's taps and W times the mean to *loss. */
fb_status fb_hints_run(const fb_hints *h, fb_net *student, double *loss);

#endif
