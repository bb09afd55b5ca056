/* A run of fb_train or fb_tune while it lasts: train.c starts it, train_loop.c runs it. */
#ifndef FB_TRAIN_TRAINER_H
#define FB_TRAIN_TRAINER_H

#include "compress/method.h"
#include "fewbit/measure.h"
#include "fewbit/train.h"
#include "train/checkpoint.h"
#include "train/hints.h"
#include "train/schedule.h"
#include "train/stream.h"
#include "train/tuning.h"

enum { FB_TRAINER_TEXT = 16384 }; /* room for what fb_trainer_text writes */

typedef struct fb_trainer {
    const fb_train_options *o;
    const fb_ranks *ranks;  /* processes that train together */
    uint32_t batch;         /* of each of them: its share of o->batch */
    const fb_model *model;  /* that is trained */
    const fb_model *source; /* of fb_tune: before `compressed` */
    fb_optim_options optim_options;
    fb_schedule schedule;
    fb_augment augment;
    uint64_t per_epoch, steps, key;
    uint32_t epochs;
    fb_recipe recipe;     /* of tune->method */
    fb_model *compressed; /* by its steps before the one that trains; NULL without */
    fb_share_plan plan;   /* of the step that trains, where there is one */
    bool has_plan;
    uint32_t n_phases; /* runs of the schedule in turn; each begins a step of the plan */
    uint32_t begun;    /* phases */
    size_t classes;

    fb_train_set samples;
    const fb_tune_options *tune; /* NULL: a float network */
    fb_tuning *tuning;           /* with `tune`: owns the net */
    fb_net *net;
    fb_optim optim;
    fb_average average; /* n 0 without */
    fb_stream *stream;
    fb_predictor *teacher;
    int32_t *labels;   /* [batch] */
    int32_t *partners; /* [batch] labels of what each sample was blended with; NULL without */
    float own;         /* share of the sample itself in a blend */
    float *gradients;  /* all of them, for several processes; NULL: one */
    float *answers;    /* [batch][classes] of the teacher */
    fb_hints hints;    /* of its layers; teacher NULL without */

    fb_run_state run;
    uint64_t first_step;   /* of this call */
    double started, saved; /* clock */
    double before;         /* seconds of earlier calls */
} fb_trainer;

/* Seconds of a clock that only runs forward. */
double fb_trainer_now(void);
/* Everything that decides what a run computes, as text. */
fb_status fb_trainer_text(const fb_trainer *t, char *text, size_t cap);

/* First step of a phase; of n_phases, the end. */
uint64_t fb_trainer_phase(const fb_trainer *t, uint32_t phase);
/* What a state holds. */
fb_run_parts fb_trainer_parts(fb_trainer *t);

/* From the step where the run stands to its end, or until it is stopped. *finished false: by the
 * time limit. */
fb_status fb_trainer_loop(fb_trainer *t, bool *finished);
/* The network as it stands, with its notes; and the row of the last epoch. */
fb_status fb_trainer_model(const fb_trainer *t, fb_model **out);
fb_train_report fb_trainer_report(const fb_trainer *t);
fb_status fb_trainer_log(const fb_trainer *t);

#endif
