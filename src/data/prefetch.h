/* Samples made ahead by threads, in order, in a bounded ring. */
#ifndef FB_DATA_PREFETCH_H
#define FB_DATA_PREFETCH_H

#include "data/prepare.h"

typedef struct fb_data_prefetch fb_data_prefetch;

/* Makes sample i into x; called on several threads at once, each with its own scratch. */
typedef fb_status (*fb_data_make)(void *user, uint64_t i, fb_data_scratch *scratch, float *x);

/* Starts n_threads (at least one starts, or it fails) that make samples 0 ... count - 1, each of
 * n_elems floats. The ring holds at most as many samples as fit a fixed memory, and a few per
 * thread. */
fb_status fb_data_prefetch_create(uint64_t count, size_t n_elems, uint32_t n_threads,
                                  fb_data_make make, void *user, fb_data_prefetch **out);
/* Waits for samples in the making, no longer. NULL is fine. */
void fb_data_prefetch_destroy(fb_data_prefetch *prefetch);

/* The next sample into x. A sample that failed gives its status and sentence once, and the next
 * call goes on behind it; with `peek_failure`, it is left for the next call and *failed is set
 * instead. */
fb_status fb_data_prefetch_next(fb_data_prefetch *prefetch, bool peek_failure, bool *failed,
                                float *x);

/* Index of the sample that fb_data_prefetch_next gives next; count at the end. */
uint64_t fb_data_prefetch_at(const fb_data_prefetch *prefetch);
void fb_data_prefetch_rewind(fb_data_prefetch *prefetch);

#endif
