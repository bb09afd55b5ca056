/* A run of fb_train or fb_tune while it lasts: train.c starts it, train_loop.c runs it. */
#ifndef FB_TRAIN_TRAINER_H
#define FB_TRAIN_TRAINER_H

#include "fewbit/measure.h"
#include "fewbit/train.h"
#include "train/checkpoint.h"
#include "train/schedule.h"
#include "train/stream.h"
#include "train/tuning.h"

typedef struct fb_trainer {
    const fb_train_options *o;
    const fb_model *model;
    fb_optim_options optim_options;
    fb_schedule schedule;
    fb_augment augment;
    uint64_t per_epoch, key;
    size_t classes;

    fb_samples samples;
    const fb_tune_options *tune; /* NULL: a float network */
    fb_tuning *tuning;           /* with `tune`: owns the net */
    fb_net *net;
    fb_optim optim;
    fb_average average; /* n 0 without */
    fb_stream *stream;
    fb_predictor *teacher;
    int32_t *labels; /* [batch] */
    float *hints;    /* [batch][classes] of the teacher */

    fb_run_state run;
    uint64_t first_step;   /* of this call */
    double started, saved; /* clock */
    double before;         /* seconds of earlier calls */
} fb_trainer;

/* Seconds of a clock that only runs forward. */
double fb_trainer_now(void);
/* Everything that decides what a run computes, as text. */
fb_status fb_trainer_text(const fb_trainer *t, char *text, size_t cap);

/* From the step where the run stands to its end, or until it is stopped. *finished false: by the
 * time limit. */
fb_status fb_trainer_loop(fb_trainer *t, bool *finished);
/* The network as it stands, with its notes; and the row of the last epoch. */
fb_status fb_trainer_model(const fb_trainer *t, fb_model **out);
fb_train_report fb_trainer_report(const fb_trainer *t);
fb_status fb_trainer_log(const fb_trainer *t);

#endif
