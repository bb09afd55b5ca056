/* Mixup (Zhang et al. 2018): a batch of blends of two samples each, which the loss takes for as
 * much of each label. */
#ifndef FB_TRAIN_MIXUP_H
#define FB_TRAIN_MIXUP_H

#include <stddef.h>
#include <stdint.h>

/* The share of the own sample, max(l, 1 - l) with l from Beta(a, a), a > 0: a function of (seed,
 * step). */
float fb_mixup_share(double a, uint64_t seed, uint64_t step);

/* x [n][elems]: samples 2k and 2k + 1 each become `share` of themselves and 1 - share of the other;
 * batches are shuffled, so this is as good as any pairing. A last one without a neighbour stays.
 * partner [n] gets the label of the other. */
void fb_mixup(float share, size_t n, size_t elems, float *x, const int32_t *labels,
              int32_t *partner);

#endif
