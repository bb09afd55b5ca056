/* A pool of workers that claim tiles from a counter. */
#ifndef FB_BASE_THREADS_H
#define FB_BASE_THREADS_H

#include "fewbit/fewbit.h"

typedef struct fb_pool fb_pool;

/* `n_threads` counts the caller: 1 starts no thread. 0 = the cores this process may use. */
fb_status fb_pool_create(uint32_t n_threads, fb_pool **out);
void fb_pool_destroy(fb_pool *pool); /* NULL is fine */
uint32_t fb_pool_size(const fb_pool *pool);

/* Runs fn(ctx, i, worker) for each i in [0, n), worker in [0, size); returns when all are done.
 * Tiles are claimed dynamically; workers and the caller spin briefly, then sleep, and no worker is
 * waited for that has no tile. One caller at a time; allocates
 * nothing. */
void fb_pool_run(fb_pool *pool, uint32_t n, void (*fn)(void *ctx, uint32_t i, uint32_t worker),
                 void *ctx);

#endif
