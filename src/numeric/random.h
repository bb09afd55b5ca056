/* Random numbers: a small generator of our own, so that a seed means the same everywhere. */
#ifndef FB_NUMERIC_RANDOM_H
#define FB_NUMERIC_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t fb_random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* As if `n` numbers had been drawn. */
static inline void fb_random_skip(uint64_t *state, uint64_t n)
{
    *state += n * 0x9e3779b97f4a7c15u;
}

/* Uniform in [lo, hi). */
static inline float fb_random_float(uint64_t *state, float lo, float hi)
{
    float unit = (float)(fb_random_next(state) >> 40) * 0x1p-24f;
    return lo + (hi - lo) * unit;
}

static inline void fb_random_fill(uint64_t *state, float lo, float hi, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = fb_random_float(state, lo, hi);
}

#endif
