/* Watching tensors while a model runs over calibration images, and what is gathered that way.
 * Memory is one run's workspace and the statistics, whatever the number of images. Images run one
 * by one, in order, so results do not depend on threads. */
#ifndef FB_CALIBRATE_WATCH_H
#define FB_CALIBRATE_WATCH_H

#include "calibrate/samples.h"
#include "calibrate/stats.h"

typedef struct fb_watch_options {
    uint32_t n_threads, cpu;
    fb_progress progress; /* may be NULL */
    void *progress_user;
    const char *what;   /* name of the phase, for progress */
    const bool *enough; /* may be NULL; true before a run: the rest is not wanted */
} fb_watch_options;

/* Told of watched tensor number k, right after the step that wrote it. */
typedef fb_status (*fb_watch_fn)(void *user, uint32_t k, const fb_view *view);

/* Runs the model over all samples of the source, from the first. Each of tensors [n] is a model
 * input or the first output of a layer; a tensor may stand there twice. A failure of `fn` ends it;
 * the sentence then names the tensor. FB_E_INTERRUPTED when progress asks to stop. */
fb_status fb_watch(const fb_model *model, const fb_source *source, const int32_t *tensors,
                   uint32_t n, const fb_watch_options *options, fb_watch_fn fn, void *user);

/* Range statistics of f32 tensors: stats [n], initialised. */
fb_status fb_watch_stats(const fb_model *model, const fb_source *source, const int32_t *tensors,
                         uint32_t n, const fb_watch_options *options, fb_stats *stats);

/* Moments by channel of f32 tensors: moments [n], initialised with each one's last dim. */
fb_status fb_watch_moments(const fb_model *model, const fb_source *source, const int32_t *tensors,
                           uint32_t n, const fb_watch_options *options, fb_moments *moments);

#endif
