/* Inside error correction (solve_words.h): the layer's gradient, and the passes that move
 * codewords. */
#ifndef FB_COMPRESS_EC_STATE_H
#define FB_COMPRESS_EC_STATE_H

#include "compress/solve_words.h"

enum {
    FB_EC_ROWS = 32,    /* channels of a task */
    FB_EC_NARROW = 1024 /* most columns of a codebook that is solved by itself */
};

typedef struct fb_ec {
    const fb_problem *p;
    fb_words *w;
    const fb_ec_options *o;
    fb_pool *pool;
    size_t groups, group_rows, n_cuts; /* parts of a group: cuts of its columns */
    uint32_t *cut_of;                  /* [inner] */
    size_t n_sets;                     /* vectors with one codebook */
    size_t *set_first, *set_block;     /* [n_sets + 1], [n_blocks] sorted by codebook */
    bool wide;                         /* some set has more columns than FB_EC_NARROW */
    float *g;                          /* [ct][inner] gradient G w - p, half of J's */
    double constant;                   /* of J */
} fb_ec;

static inline const fb_problem_part *fb_ec_part(const fb_ec *e, size_t group, size_t cut)
{
    return &e->p->parts[group * e->n_cuts + cut];
}

/* Tasks of FB_EC_ROWS channels, none of them in two groups. */
static inline size_t fb_ec_tasks(const fb_ec *e)
{
    return e->groups * ((e->group_rows + FB_EC_ROWS - 1) / FB_EC_ROWS);
}
static inline size_t fb_ec_task(const fb_ec *e, size_t index, size_t *group, size_t *row)
{
    size_t each = (e->group_rows + FB_EC_ROWS - 1) / FB_EC_ROWS, first = index % each * FB_EC_ROWS;
    *group = index / each;
    *row = *group * e->group_rows + first;
    return e->group_rows - first < FB_EC_ROWS ? e->group_rows - first : FB_EC_ROWS;
}

static inline void fb_ec_watch(const fb_ec *e)
{
    if (e->o->watch)
        e->o->watch(e->o->user);
}

/* fn for 0 .. n - 1, each of about so many multiply-adds; on the pool where that is worth waking
 * it. */
void fb_ec_run(const fb_ec *e, size_t n, size_t each,
               void (*fn)(void *ctx, uint32_t i, uint32_t worker), void *ctx);

/* One room [size] of doubles for each worker; NULL: no memory. */
double **fb_ec_rooms(const fb_ec *e, size_t size);
void fb_ec_free_rooms(const fb_ec *e, double **room);

/* The gradient computed anew, and J; where scales may move, they first go to their optimum. */
fb_status fb_ec_refresh(fb_ec *e, double *j);
/* One pass over all codebooks: B-steps and, unless the layer is wide, D-steps (ec_batch.c). */
fb_status fb_ec_pass(fb_ec *e);
/* All codewords at once, by conjugate gradients (ec_descend.c). */
fb_status fb_ec_descend(fb_ec *e);

#endif
