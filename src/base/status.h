/* Failures inside the library: one status, one sentence with subject, value and rule. */
#ifndef FB_BASE_STATUS_H
#define FB_BASE_STATUS_H

#include "fewbit/fewbit.h"

#if defined(__GNUC__)
#define FB_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define FB_PRINTF(f, a)
#endif

/* Records the sentence for this thread and returns `status`. Truncated at 1023 bytes; control
 * characters of the formatted text are replaced, so names from hostile files cannot drive a
 * terminal. */
fb_status fb_fail(fb_status status, const char *format, ...) FB_PRINTF(2, 3);

/* Puts "context: " before the sentence already recorded and returns `status`. */
fb_status fb_fail_in(fb_status status, const char *format, ...) FB_PRINTF(2, 3);

/* Forgets the sentence. */
void fb_error_clear(void);

#define FB_TRY(call)                                                                               \
    do {                                                                                           \
        fb_status try_status_ = (call);                                                            \
        if (try_status_ != FB_OK)                                                                  \
            return try_status_;                                                                    \
    } while (0)

/* For functions with one cleanup: sets `status` and jumps to `fail`. */
#define FB_GO(call)                                                                                \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != FB_OK)                                                                       \
            goto fail;                                                                             \
    } while (0)

/* A law of ours, not a mistake of the user's. */
#define FB_ENSURE(cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return fb_fail(FB_E_INTERNAL, "internal error: %s does not hold (%s:%d)", #cond,       \
                           __FILE__, __LINE__);                                                    \
    } while (0)

#endif
