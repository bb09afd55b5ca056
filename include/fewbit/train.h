/* Training: named architectures, a network's weights from labelled images, and what a compressed
 * network has left to learn. Part of libfewbit-tools where it was built with oneDNN (FB_TRAIN). */
#ifndef FEWBIT_TRAIN_H
#define FEWBIT_TRAIN_H

#include "fewbit/data.h"
#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Small networks by name, their weights zero until fb_train draws them:
 *
 *   lenet5          28x28x1: 2 conv, 3 dense layers (LeCun et al. 1998, with ReLU and max pools)
 *   resnet8         32x32x3: one, and
 *   resnet20        three residual blocks at each of 16, 32 and 64 channels (He et al. 2015), with
 *                   1x1 convolutions where the shape changes
 *   vgg-small       32x32x3: 6 conv layers of 32, 64 and 128 channels, 3 dense ones
 *   mobilenet-tiny  32x32x3: 8 depthwise-separable blocks, 16 to 256 channels, ReLU6
 */
FB_API uint32_t fb_n_archs(void);
FB_API const char *fb_arch_name(uint32_t i); /* NULL out of range */
/* FB_E_ARG for another name, or for fewer than 2 or more than 100000 classes. The model's
 * preprocessing is `mnist` for lenet5 and `cifar10` for the others. */
FB_API fb_status fb_arch_create(const char *name, uint32_t classes, fb_model **out);

/* How a run stands, after a step. */
typedef struct fb_train_report {
    uint64_t epoch, epochs;   /* epochs done; asked for */
    uint64_t step, steps;     /* steps done; of the whole run */
    double loss, top1;        /* mean loss and accuracy (percent) of the epoch's training batches so
                                 far, as the network saw them; of the last one at an epoch's end */
    double rate;              /* learning rate of the last step */
    double images_per_second; /* since this call started */
    double seconds_left;      /* at that speed, without the evaluations */
    uint32_t rank;            /* of this process among those that train together, 0 alone */
    bool epoch_end;           /* then, with validation data: */
    double val_loss, val_top1; /* of the model that would be written now, run by the kernels that
                                  ship; NaN without */
} fb_train_report;

/* Told after every step and after every epoch's evaluation; false ends the run with
 * FB_E_INTERRUPTED, its state saved. Where processes train together, each is told, any can end the
 * run of all, and only rank 0's report has validation data. */
typedef bool (*fb_train_watch)(void *user, const fb_train_report *report);

typedef struct fb_train_options {
    fb_data *data; /* labelled, opened for fb_model_sample_shape of the model; held in memory: a
                      byte a pixel value, four a float */
    const fb_prep *prep;   /* that `data` was opened with */
    fb_data *val;          /* evaluated after each epoch; NULL = none */
    bool init;             /* draw fresh weights from the seed; else the model's own */
    uint32_t epochs;       /* >= 1 */
    uint32_t batch;        /* 1 to the number of images; an epoch's incomplete batch is left out */
    const char *optimizer; /* "sgd", "nesterov", "adam" */
    double rate;           /* > 0; 0 = 0.1 for sgd and nesterov, 0.001 for adam; fb_tune: 0.01 and
                              0.001, a tenth of that without norms */
    double momentum;       /* [0, 1); of sgd and nesterov */
    double weight_decay;   /* [0, 1]; of weights, not of biases and batch norms */
    const char *schedule;  /* "constant", "step", "cosine", "one-cycle" */
    double warmup;         /* epochs, >= 0 */
    double smoothing;      /* of labels, [0, 1) */
    double mixup;   /* a >= 0: samples are blends of two, by shares from Beta(a, a); 0 = none */
    double clip;    /* largest norm of a gradient; 0 = none */
    double ema;     /* [0, 1); running average of the weights, which is then what is written
                       and evaluated; 0 = none */
    double dropout; /* [0, 1); before dense layers */
    const char *augment;     /* "crop=P", "resize=A", "flip", "jitter=S", joined by ','; "none" */
    const fb_model *teacher; /* float network of the same input and classes, or NULL; */
    double distill;          /*   [0, 1]: the loss is (1 - distill) cross-entropy + distill T^2
                                  KL(teacher / T || network / T), */
    double temperature;      /*   T > 0 */
    double distill_layers;   /* >= 0: so many times the mean, over layers that the teacher has by
                                name, of |x - t|^2 / |t|^2 is added; 0 = none */
    uint64_t seed;           /* of weights, order, augmentation and dropout */
    uint32_t n_threads;      /* 0 = all cores */
    const char *state;       /* checkpoints; NULL = none. If it exists, the run goes on from there:
                                it must be of the same model, data and options */
    double state_seconds;    /* between checkpoints within an epoch; 0 = after every step */
    const char *log;         /* CSV, a row for each epoch; NULL = none */
    double time_limit;    /* seconds of this call, then it stops with its state saved; 0 = none */
    fb_progress progress; /* of reading the data; may be NULL */
    void *progress_user;
    fb_train_watch watch; /* may be NULL */
    void *watch_user;
} fb_train_options;

typedef struct fb_train_result {
    fb_train_report last; /* of the last epoch that ended; epoch 0 when none did */
    bool finished;        /* false: the time limit came first */
    uint64_t resumed;     /* step that the call went on from, 0 = a new run */
    double seconds;       /* of all calls that made the run */
    uint32_t rank;        /* of this process among those that train together, 0 alone; also set
                             on failure */
} fb_train_result;

/* Whether processes can train together: built with MPI. */
FB_API bool fb_train_has_mpi(void);

/* 15 epochs of 128, sgd with momentum 0.9, decay 5e-4, one-cycle, no augmentation, a checkpoint a
 * minute, distill 0.5 at T = 4 once there is a teacher. */
FB_API void fb_train_options_default(fb_train_options *options);

/* Trains and writes the network as it then is into *out: batch norms folded into the layers before
 * them, preprocessing, labels and notes those of `model`, and the notes "train" (how) and
 * "data.fingerprint". The same inputs, options, seed and number of threads give the same bytes,
 * also over interruptions; the time limit, checkpoints, log and callbacks change nothing.
 *
 * A model's own batch norms (scale_shift layers, as an import with keep_names leaves them) are
 * measured anew over the first batches before training goes on from its weights.
 *
 * Processes that mpirun started train together if each calls this with the same arguments: each
 * takes an equal share of every batch, and all end with the same network, that of one process
 * within rounding. Rank 0 alone evaluates, and writes state and log. An error of one process is no
 * other's: it must end, with an exit code other than 0, which makes mpirun end the others, too.
 *
 * FB_E_UNSUPPORTED for layers without gradient and encoded weights; FB_E_ARG for options out of
 * range, labels beyond the classes, data or a state file that do not fit; FB_E_FORMAT when the
 * state is damaged or the loss is no longer finite; FB_E_INTERRUPTED. *out is then NULL; the state
 * file, where there is one, holds the last checkpoint. */
FB_API fb_status fb_train(const fb_model *model, const fb_train_options *options,
                          fb_train_result *result, fb_model **out);

typedef struct fb_tune_options {
    fb_train_options train; /* `init` must be false; epochs 0: those that `method` wants, else 15 */
    const char *method;   /* text as in fb_compress: the network is compressed first; the last step
                             may be one that trains (slq, eslq, mlq, inq, twn, ttq); NULL = none */
    fb_data *calibration; /* for steps of `method` that need data; may be NULL */
    const fb_model *reference; /* the float network that was compressed: weights of the same name
                                  and size start where it has them, within the cells of their codes;
                                  NULL: the network before `method`; without one, the middle */
    bool norms;                /* batch norms behind layers while training: for many images */
    bool learn_scales;         /* scales, levels, codewords and activations' scales learn, too */
    const char
        *codes; /* "nearest": each weight takes the code nearest to its master; "fixed": codes
                   stay and only what they stand for learns. Codewords' numbers always stay */
} fb_tune_options;

/* As fb_train's, but the schedule is cosine; norms, scales learn. */
FB_API void fb_tune_options_default(fb_tune_options *options);

/* Trains a compressed network as its encodings are and writes it in the same encodings into *out;
 * a float network likewise, as a control. Where a step of `method` trains, plain weights come to
 * share values on the way, a share of them at the beginning of each of its phases; the schedule
 * runs anew in each. Between steps weights live as floats; layers compute with what their codes
 * stand for, and activations are rounded as the kernels that ship round them (docs/TRAINING.md).
 * Otherwise as fb_train, the note being "tune". FB_E_UNSUPPORTED also for weights with elements
 * kept aside and those that run by look-up tables. */
FB_API fb_status fb_tune(const fb_model *model, const fb_tune_options *options,
                         fb_train_result *result, fb_model **out);

#ifdef __cplusplus
}
#endif
#endif
