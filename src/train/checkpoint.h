/* The state of a run in a file, written whole and atomically.
 *
 *   "FBTRAIN1"  u64 key  run (fixed size, below)  u32 rows, rows
 *   u32 parameters; each: u64 n, u32 arrays that follow (bits: value, first, second, average), the
 *   arrays as f32
 *   u64 blobs; each: u64 bytes, the bytes
 *   u64 checksum of all before it
 *
 * Little-endian; for the machine that trains, no exchange format. */
#ifndef FB_TRAIN_CHECKPOINT_H
#define FB_TRAIN_CHECKPOINT_H

#include "train/optim.h"

/* What an epoch left: a row of the log. */
typedef struct fb_train_row {
    uint64_t epoch, step;
    double rate, loss, top1, val_loss, val_top1, seconds;
} fb_train_row;

typedef struct fb_run_state {
    uint64_t step;      /* steps done */
    double loss;        /* sum over the epoch's batches so far */
    uint64_t correct;   /* images of them that were right */
    double seconds;     /* of all calls */
    fb_train_row *rows; /* [n_rows], room for the run's epochs */
    uint32_t n_rows, max_rows;
} fb_run_state;

/* Plain bytes of this machine, of a size that the run's options fix. */
typedef struct fb_blob {
    void *data;
    size_t bytes;
} fb_blob;

/* What a state holds beside the run's own numbers. */
typedef struct fb_run_parts {
    fb_optim *optim;
    fb_average *average; /* NULL without */
    const fb_blob *blobs;
    size_t n_blobs;
} fb_run_parts;

fb_status fb_checkpoint_write(const char *path, uint64_t key, const fb_run_state *run,
                              const fb_run_parts *parts);
/* *found false, and nothing changed, when there is no such file. FB_E_ARG when it belongs to
 * another run (key), FB_E_FORMAT when it is damaged; the net is then unusable. */
fb_status fb_checkpoint_read(const char *path, uint64_t key, fb_run_state *run,
                             const fb_run_parts *parts, bool *found);

#endif
