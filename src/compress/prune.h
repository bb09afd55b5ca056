/* Inside the method `prune`: the layers whose weights it sets to 0, and its ways of choosing them.
 */
#ifndef FB_COMPRESS_PRUNE_H
#define FB_COMPRESS_PRUNE_H

#include "compress/method.h"

typedef enum fb_prune_by {
    FB_PRUNE_HIST,
    FB_PRUNE_MAGNITUDE,
    FB_PRUNE_NM,
    FB_PRUNE_OBC
} fb_prune_by;

typedef struct fb_prune_layer {
    uint32_t node;
    int32_t weight;
    size_t n, ct, inner, ic; /* [ct][inner] weights, n in all; the last axis has ic */
    float *w;                /* [n] the payload in the job's model, to be changed in place */
} fb_prune_layer;

typedef struct fb_prune {
    fb_job *job;
    fb_prune_by by;
    double drop, loss;    /* hist: share of images that may be lost; mean KL that may be added */
    uint32_t bins;        /* hist */
    uint64_t images;      /* to judge and to measure on */
    double share;         /* of the weights that become 0 */
    bool whole;           /* one threshold for all layers */
    uint32_t keep, group; /* keep so many of each `group` neighbouring input channels; 0 = free */
    fb_prune_layer *layers;
    uint32_t n_layers;
} fb_prune;

/* Weights of a list to be pruned exactly; ties go to the first. */
typedef struct fb_prune_cut {
    float below; /* all of smaller magnitude */
    size_t ties; /* and so many of this magnitude */
} fb_prune_cut;

/* The cut that takes the `count` smallest magnitudes of lists[n_lists], sizes[n_lists]. One pass
 * each over the upper and lower half of the bits: nothing is sorted. */
fb_prune_cut fb_prune_cut_of(const float *const *lists, const size_t *sizes, size_t n_lists,
                             size_t count);
/* Sets what the cut takes of w [n] to 0; cut->ties goes down. */
void fb_prune_cut_apply(fb_prune_cut *cut, float *w, size_t n);

/* In each run of `group` neighbours within the last axis (ic; the last run may be short), keeps the
 * `keep` of largest score and sets the others of w to 0. score [n], may be w's magnitudes. */
void fb_prune_nm(float *w, const float *score, size_t n, size_t ic, uint32_t keep, uint32_t group);

/* ---- by histogram, METHODS D.2 (prune_hist.c) ----------------------------------------------- */

/* The thresholds to try on weights [n]: upper edges of `bins` bins over [0, max|w|], each of which
 * prunes at least 1% more than the one before and none everything. edge [bins]. Returns how many.
 */
uint32_t fb_prune_edges(const float *w, size_t n, uint32_t bins, float *edge);
/* w = 0 where |w| < t, taken from `from`. Returns how many are 0. */
size_t fb_prune_below(const float *from, size_t n, float t, float *w);

fb_status fb_prune_by_hist(fb_prune *p);

/* ---- against the layer problem, METHODS M.8 (prune_obs.c) ----------------------------------- */

/* OBC: chooses zeros and fits the rest; else fits the weights that are not 0. Not for dry runs.
 * Transposed convolutions are left alone. */
fb_status fb_prune_by_problem(fb_prune *p);

#endif
