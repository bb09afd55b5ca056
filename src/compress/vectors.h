/* Few vectors for many: k-means in any number of dimensions, and sums of codewords from several
 * codebooks (METHODS A.4, V.1). The same result for any number of threads.
 *
 * The error of a vector v for a codeword w is sum_j h_j (v_j - w_j)^2 with importances h, its own,
 * or 1 for all. */
#ifndef FB_COMPRESS_VECTORS_H
#define FB_COMPRESS_VECTORS_H

#include "base/threads.h"

enum {
    FB_VECTORS_WORDS = 1024 /* codewords at most: those of two stages of 32, as sums */
};

typedef struct fb_vectors {
    size_t n, d;    /* d: 1..64 */
    const float *v; /* [n][d] */
    const float *h; /* [n][d] >= 0; NULL: all 1 */
} fb_vectors;

/* index[i] = the codeword [k][d] of least error for vector i, the first of equals; error [n] gets
 * it, unless NULL; *total the sum. The pool shares out the vectors; NULL: this thread alone.
 * FB_E_MEMORY. */
fb_status fb_vectors_assign(const fb_vectors *x, const float *word, size_t k, fb_pool *pool,
                            uint16_t *index, float *error, double *total);

/* Each codeword becomes the weighted mean of the vectors that have it; one that no vector has stays
 * as it is. uses [k]: how many have it. FB_E_MEMORY. */
fb_status fb_vectors_update(const fb_vectors *x, const uint16_t *index, size_t k, fb_pool *pool,
                            float *word, uint32_t *uses);

/* k of the vectors as first codewords: each drawn with a probability that grows with its error to
 * those before it, the best of three draws (greedy k-means++, Arthur and Vassilvitskii 2007).
 * Among at most 16384 vectors, or 64 for each codeword. FB_E_MEMORY. */
fb_status fb_vectors_seed(const fb_vectors *x, size_t k, uint64_t seed, float *word);

typedef struct fb_stages {
    size_t k, n;        /* codewords of a stage, <= 256; stages, 1..4 */
    float *word[4];     /* of each stage [k][d] */
    uint16_t *index[4]; /* of each stage [vectors] */
} fb_stages;

/* Codebooks whose sums stand for the vectors. fresh: stage after stage, each by k-means of what
 * those before it left, from new codewords; else from *s as it is. Then sweeps over the stages, as
 * long as they lower the error by a thousandth, at most `sweeps`: codewords are assigned, in pairs
 * of stages where k is 32 or less, and become the means of what the other stages leave. A codeword
 * without vectors takes the place of the one that is worst served. *total: the error.
 * FB_E_MEMORY. */
fb_status fb_stages_fit(const fb_vectors *x, fb_stages *s, bool fresh, uint32_t sweeps,
                        uint64_t seed, fb_pool *pool, double *total);

#endif
