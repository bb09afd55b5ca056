/* Processes that train one network together: each sees its share of every batch, and what depends
 * on the whole batch is summed over them.
 *
 * Sums run in the order of ranks and are made once, so every process has the same bits, whatever
 * the transport. All processes must ask for the same sums in the same order; a process that fails
 * leaves the others waiting, so it is to end, with an exit code that its starter (mpirun) sees. */
#ifndef FB_TRAIN_RANKS_H
#define FB_TRAIN_RANKS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fb_ranks fb_ranks;
struct fb_ranks {
    uint32_t n, own; /* processes; which of them this is. With n = 1 nothing below is called */
    /* `from` and `to` are [n][bytes]: block k of `to` is what rank k has as block `own`. */
    void (*exchange)(const fb_ranks *r, const void *from, void *to, size_t bytes);
    /* Block k of `to` [n][bytes] is what rank k has as `from` [bytes]. */
    void (*gather)(const fb_ranks *r, const void *from, void *to, size_t bytes);
    void *user; /* the transport's */
};

/* The processes that this one was started with; 1 unless by mpirun or srun. The first call sets up
 * MPI, which ends with the program. FB_E_UNSUPPORTED in a build without MPI that was started as one
 * of several: they would write over each other's files. */
fb_status fb_ranks_start(const fb_ranks **out);
/* This process cannot go on: it will not wait for the others at its end, which its exit code ends,
 * too. */
void fb_ranks_give_up(void);
bool fb_ranks_built_in(void);
/* As many as mpirun or srun say that they started; 0 where they say nothing. */
uint32_t fb_ranks_told(void);

/* x [n] becomes the sum over ranks, or their mean (summed in double). FB_E_MEMORY. */
fb_status fb_ranks_sum(const fb_ranks *r, double *x, size_t n);
fb_status fb_ranks_mean(const fb_ranks *r, float *x, size_t n);
/* Bits that any rank has set. Returns when every rank has come here. */
fb_status fb_ranks_any(const fb_ranks *r, uint32_t *bits);
/* Which rank, if any, has another number than rank 0; 0: none. */
fb_status fb_ranks_differ(const fb_ranks *r, uint64_t x, uint32_t *rank);

#endif
