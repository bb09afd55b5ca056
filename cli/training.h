/* What `train` and `tune` share. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli.h"

#include "fewbit/train.h"

/* Fills in what the command line says; `progress` is told. */
void training_options(const arguments *args, progress *p, fb_train_options *options);
/* Refuses a line without data or output, and what check_output refuses. */
int training_check(arguments *args);
/* Sets args->state to OUTPUT.state if none was given; the result is to be freed. */
char *training_state(arguments *args);
/* Names of classes from the folders of the data. */
int training_labels(const fb_data *data, fb_model *model);
/* Writes what came out, tells about it, removes the state of a finished run. */
int training_finish(const arguments *args, fb_status status, const fb_train_result *result,
                    fb_model *trained);

#endif
