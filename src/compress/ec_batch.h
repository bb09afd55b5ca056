/* Inside error correction: the vectors of a few codebooks, with all that they need of G and of the
 * gradient side by side. Moves act on this copy and reach the whole gradient when the batch is
 * closed, by one product of matrices. */
#ifndef FB_COMPRESS_EC_BATCH_H
#define FB_COMPRESS_EC_BATCH_H

#include "compress/ec_state.h"

typedef struct fb_ec_batch {
    fb_ec *e;
    size_t first, n_blocks; /* vectors set_block[first + i], i < n_blocks */
    size_t n;               /* columns: n_blocks * d, vector i from i * d on */
    uint32_t *column;       /* [n] of a channel, or FB_WORDS_NONE */
    double *h;              /* [groups][n][n] of G; 0 beyond the end of rows */
    double *g;              /* [ct][n] gradient, up to date */
    double *move;           /* [ct][n] what weights moved by since it was opened */
    double **room;          /* [workers] for a task */
    size_t from, to;        /* vectors at work: one codebook's, or, in a wide layer, all */
    double *hd;             /* [groups][to - from][n_stages][K][d] = G_bb word */
    double *q;              /* likewise [...][K]: word' G_bb word */
    double *pair; /* [groups][to - from][n_stages - 1][K][K] 2 word' G_bb word', or NULL */
    double *step; /* [ct][(to - from) * d] what a D-step moved */
    uint32_t *slot, *start; /* [ct * (to - from)], [K + 1]: who has which word */
} fb_ec_batch;

static inline const double *fb_ec_h(const fb_ec_batch *b, size_t group, size_t i, size_t j)
{
    return b->h + (group * b->n + i) * b->n + j;
}

static inline size_t fb_ec_block(const fb_ec_batch *b, size_t i)
{
    return b->e->set_block[b->first + i];
}

/* Indices of vectors [from, to) (ec_codes.c). */
void fb_ec_choose(fb_ec_batch *b);
/* Codewords of vectors [from, to), which are all of one codebook (ec_fit.c). */
fb_status fb_ec_fit(fb_ec_batch *b);

#endif
