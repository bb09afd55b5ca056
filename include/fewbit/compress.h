/* Compression: methods named in text, applied to a model. Part of libfewbit-tools. */
#ifndef FEWBIT_COMPRESS_H
#define FEWBIT_COMPRESS_H

#include "fewbit/data.h"
#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A method text is a chain of steps joined by '+', each NAME[:option,option=value...], as in
 * "equalize + int8:act=mse + bias-correct". fb_method_at lists the names, their options and what
 * they do. */
typedef struct fb_method_info {
    const char *name;
    const char *summary; /* one line */
    const char *options; /* one line per option "key=default  meaning", "" if none */
    bool needs_data;
} fb_method_info;
FB_API uint32_t fb_n_methods(void);
FB_API fb_status fb_method_at(uint32_t i, fb_method_info *info);

typedef struct fb_compress_options {
    const char *method;   /* text as above */
    fb_data *data;        /* calibration images; NULL where no step needs them */
    uint64_t seed;
    uint32_t n_threads;   /* 0 = all cores */
    uint32_t cpu;         /* mask as in fb_plan_options */
    bool dry_run;         /* no data is read: statistics are made up, so that the result has the
                             right size (fb_model_file_bytes) and nothing else */
    fb_progress progress; /* may be NULL */
    void *progress_user;
} fb_compress_options;

FB_API void fb_compress_options_default(fb_compress_options *options);

/* Applies the method to a copy of `model`; the result owns all its memory. Same inputs and same
 * options give the same bytes, for any number of threads. Leaves the notes "method", "seed",
 * "data.fingerprint" and "data.images". */
FB_API fb_status fb_compress(const fb_model *model, const fb_compress_options *options,
                             fb_model **out);

#ifdef __cplusplus
}
#endif
#endif
