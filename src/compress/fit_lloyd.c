/* Lloyd's iteration on a line, from three starts (METHODS D.6). */
#include "compress/fit.h"

#include "numeric/random.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 100 };

/* The point at which the share (i + 1/2) / k of all weight is reached. */
static double quantile(const fb_points *p, double total, uint32_t i, uint32_t k)
{
    double sum = 0, want = total * (i + 0.5) / k;
    for (uint32_t at = 0; at < p->n; at++) {
        sum += p->w[at];
        if (sum >= want)
            return p->x[at];
    }
    return p->x[p->n - 1];
}

static void start_levels(const fb_points *p, uint32_t k, fb_kmeans_start start, uint64_t seed,
                         double *level)
{
    double total = 0, lo = p->x[0], hi = p->x[p->n - 1];
    for (uint32_t i = 0; i < p->n; i++)
        total += p->w[i];
    for (uint32_t i = 0; i < k; i++) {
        if (start == FB_KMEANS_LINEAR)
            level[i] = lo + (hi - lo) * (i + 0.5) / k;
        else if (start == FB_KMEANS_DENSITY)
            level[i] = quantile(p, total, i, k);
        else
            level[i] = p->x[fb_random_next(&seed) % p->n];
    }
}

static void sort_levels(double *level, uint32_t *k)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < *k; i++) { /* insertion, without what is there already */
        double v = level[i];
        uint32_t at = n;
        while (at > 0 && level[at - 1] >= v)
            at--;
        if (at < n && level[at] == v)
            continue;
        memmove(level + at + 1, level + at, (n - at) * sizeof *level);
        level[at] = v;
        n++;
    }
    *k = n;
}

/* The level nearest to 0 becomes 0; returns its number. */
static uint32_t pin_zero(double *level, uint32_t k)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < k; i++)
        at = fabs(level[i]) < fabs(level[at]) ? i : at;
    level[at] = 0;
    return at;
}

/* Levels move to the means of the points nearest to them; without any they stay. Returns whether
 * one moved. */
static bool move(const fb_points *p, uint32_t k, const bool *fixed, double *level)
{
    bool moved = false;
    uint32_t i = 0;
    double upper; /* of the cell, before the levels on both sides move */
    for (uint32_t c = 0; c < k; c++) {
        double w = 0, s = 0;
        upper = c + 1 < k ? level[c] + (level[c + 1] - level[c]) / 2 : INFINITY;
        for (; i < p->n && p->x[i] < upper; i++) {
            w += p->w[i];
            s += p->w[i] * p->x[i];
        }
        if (w > 0 && !fixed[c] && s / w != level[c]) {
            level[c] = s / w;
            moved = true;
        }
    }
    return moved;
}

void fb_kmeans_refine(const fb_points *p, uint32_t k, const bool *fixed, uint32_t rounds,
                      double *level)
{
    for (uint32_t round = 0; round < rounds && move(p, k, fixed, level); round++)
        ;
}

fb_status fb_kmeans_lloyd(const fb_points *p, uint32_t k, bool with_zero, fb_kmeans_start start,
                          uint64_t seed, double *level, uint32_t *found)
{
    FB_ENSURE(k >= 1 && k <= FB_FIT_MOST_LEVELS && p->n > 0);
    start_levels(p, k, start, seed, level);
    sort_levels(level, &k);
    bool fixed[FB_FIT_MOST_LEVELS] = {false};
    if (with_zero)
        fixed[pin_zero(level, k)] = true;
    fb_kmeans_refine(p, k, fixed, ROUNDS, level);
    *found = k;
    return FB_OK;
}
