/* Status codes, the failure sentence and the progress callback: what every header shares. */
#ifndef FEWBIT_STATUS_H
#define FEWBIT_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FB_VERSION "0.1.0"

#if defined(__GNUC__)
#define FB_API __attribute__((visibility("default")))
#else
#define FB_API
#endif

/* Pinned numbers: 0 is success, failures are negative and never renumbered. */
typedef enum fb_status {
    FB_OK = 0,
    FB_E_ARG = -1,         /* an argument breaks a rule stated in the header */
    FB_E_MEMORY = -2,      /* an allocation failed */
    FB_E_IO = -3,          /* the operating system refused a read or a write */
    FB_E_FORMAT = -4,      /* a file is damaged or is not what it should be */
    FB_E_UNSUPPORTED = -5, /* a valid model or option that fewbit does not handle */
    FB_E_LIMIT = -6,       /* a size or count exceeds a documented limit */
    FB_E_MISMATCH = -7,    /* a verification found a difference */
    FB_E_INTERRUPTED = -8, /* the caller's progress callback asked to stop */
    FB_E_INTERNAL = -99    /* our own law was broken: a bug to report */
} fb_status;

/* Lower-case name of a status ("ok", "format", ...), never NULL. */
FB_API const char *fb_status_name(fb_status status);

/* The sentence left by the last failure on this thread; "" when there was none. Valid until the
 * next fewbit call on this thread. */
FB_API const char *fb_error(void);

/* Version of the library that is running, as in FB_VERSION. */
FB_API const char *fb_version(void);

/* Told of long work. `done` of `total` units; `what` names the phase. Return false to stop: the
 * work then ends with FB_E_INTERRUPTED. Called from the thread that started the work. */
typedef bool (*fb_progress)(void *user, const char *what, uint64_t done, uint64_t total);

#ifdef __cplusplus
}
#endif

#endif
