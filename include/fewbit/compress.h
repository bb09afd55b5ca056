/* Compression: methods named in text, applied to a model. Part of libfewbit-tools. */
#ifndef FEWBIT_COMPRESS_H
#define FEWBIT_COMPRESS_H

#include "fewbit/data.h"
#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A method text is a chain of steps joined by '+' or by line ends, each NAME[:key=value,...], as in
 * "equalize + int8:act=mse + bias-correct"; '#' starts a comment that ends with its line. A name
 * that ends in a number stands for others too: int8 for int2 to int8, w8 for w1 to w16.
 * fb_method_at lists the names, their options and what they do; the list of options is valid until
 * the next call on this thread. */
typedef struct fb_method_info {
    const char *name;
    const char *summary; /* one line */
    const char *options; /* one line per option "key=default  meaning", "" if none */
    bool needs_data;     /* with its options as they are preset */
    bool trains;         /* not for fb_compress: needs `fewbit tune` */
} fb_method_info;
FB_API uint32_t fb_n_methods(void);
FB_API fb_status fb_method_at(uint32_t i, fb_method_info *info);

/* What a step that works against the responses of layers (gptq, adaround, prune:obc, ...) did to
 * one layer y = W x: E|W xf - w xq|^2 / E|W xf|^2 with the weights w as the step found and as it
 * left them; xf and W are the float network's, xq what the layers before really give. Means, which
 * the bias takes up, are taken out of both; the samples are those that the step looked at. */
typedef struct fb_layer_error {
    const char *step, *layer; /* valid during the call */
    double before, after;
} fb_layer_error;
typedef void (*fb_layer_error_fn)(void *user, const fb_layer_error *error);

typedef struct fb_compress_options {
    const char *method; /* text as above */
    fb_data *data;      /* calibration images, opened for fb_model_sample_shape of the model; NULL
                           where no step needs them. Labels are not looked at */
    uint64_t seed;
    uint32_t n_threads;   /* 0 = all cores */
    uint32_t cpu;         /* mask as in fb_plan_options */
    bool dry_run;         /* no data is read: statistics are made up, so that the result has the
                             right size (fb_model_file_bytes, to the byte) and nothing else */
    fb_progress progress; /* may be NULL */
    void *progress_user;
    fb_layer_error_fn layer_error; /* NULL: not measured. Called from the thread that called
                                      fb_compress, layer after layer */
    void *layer_error_user;
} fb_compress_options;

FB_API void fb_compress_options_default(fb_compress_options *options);

/* Applies the method to a copy of `model`; the result owns all its memory. Same inputs and same
 * options give the same bytes, for any number of threads. Leaves the notes "method" and "seed" and,
 * where a step needs data, "data.fingerprint" and "data.images".
 *
 * FB_E_ARG for a method text that is wrong, with the step, the option and what is allowed;
 * FB_E_UNSUPPORTED where a step finds nothing to work on; FB_E_LIMIT where 32-bit sums cannot be
 * proved to hold a layer; FB_E_FORMAT for weights or activations that are not finite;
 * FB_E_INTERRUPTED. *out is then NULL.
 *
 * Memory: the result, one run's workspace, 33 KiB of statistics for each encoded activation, and
 * for bias-correct and bn-stats their images (at most 512 MiB). */
FB_API fb_status fb_compress(const fb_model *model, const fb_compress_options *options,
                             fb_model **out);

#ifdef __cplusplus
}
#endif
#endif
