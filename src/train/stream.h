/* Training samples: a whole set in memory, and batches of it in random order, made ahead on a
 * thread beside the network. */
#ifndef FB_TRAIN_STREAM_H
#define FB_TRAIN_STREAM_H

#include "fewbit/data.h"
#include "train/augment.h"

/* A labelled data set, read once. Where every value of a sample is a pixel 0 .. 255 that the
 * preprocessing made a float of, the pixels are kept, a byte each; else the floats. */
typedef struct fb_train_set {
    uint64_t n;
    size_t h, w, c; /* of one; flat inputs are 1 x 1 x c */
    bool flat;
    uint8_t *pixels;     /* [n][h][w][c], or NULL: */
    float *values;       /* [n][h][w][c] */
    float table[4][256]; /* value of a pixel by channel (0 for channels above the fourth) */
    int32_t *labels;     /* [n] */
    uint32_t n_classes;  /* largest label + 1 */
} fb_train_set;

/* FB_E_ARG when a sample has no label. `progress` may be NULL. */
fb_status fb_train_set_read(fb_data *data, const fb_prep *prep, fb_progress progress, void *user,
                            fb_train_set *out);
void fb_train_set_free(fb_train_set *s);

/* Batches for ever: step k is samples k * batch ... of the epoch's order, epochs without their
 * incomplete last batch. What a batch holds is a function of (seed, step) and the set. */
typedef struct fb_stream fb_stream;

/* Which places of each batch of `size` are made: `count` from `first` on. */
typedef struct fb_places {
    uint32_t size, first, count;
} fb_places;

fb_status fb_stream_create(const fb_train_set *samples, const fb_augment *augment, fb_places places,
                           uint64_t seed, uint64_t first_step, fb_stream **out);
void fb_stream_destroy(fb_stream *s); /* NULL is fine */
/* Its places of the next batch: x [count][h][w][c], labels [count]. */
void fb_stream_next(fb_stream *s, float *x, int32_t *labels);

#endif
