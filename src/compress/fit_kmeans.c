/* Exact k-means on a line (METHODS N.3, IV.6): the best clusters are runs of neighbours, so the
 * best c clusters of the first i points end with a run whose start does not go back as i grows.
 * Levels that are fixed cut the line into gaps that know nothing of each other but how many levels
 * each of them gets. */
#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>
#include <string.h>

/* Sums over the first i points of a gap, around the mean of all (so that squares do not cancel). */
typedef struct sums {
    double w, s, q;
} sums;

/* The points [first, first + n) between two fixed levels, the ends of which fall to these; either
 * may be missing. The least error of the first i of them in c clusters, some of which may be empty,
 * behind those that fall to the lower level. */
typedef struct gap {
    const fb_points *p;
    uint32_t first, n, k;         /* k: most clusters */
    const double *lower, *higher; /* NULL: none */
    double mean;
    sums *sum;       /* [n + 1] */
    double *cost;    /* [k + 1][n + 1] */
    uint32_t *start; /* [k + 1][n + 1] of the last cluster */
    double *least;   /* [k + 1] of all points */
    uint32_t *end;   /* [k + 1] where the points that fall to the higher level begin */
} gap;

static double error_of(const gap *t, uint32_t from, uint32_t to)
{
    double w = t->sum[to].w - t->sum[from].w, s = t->sum[to].s - t->sum[from].s;
    double e = w > 0 ? t->sum[to].q - t->sum[from].q - s * s / w : 0;
    return e > 0 ? e : 0;
}

/* Row c for i in [lo, hi], whose starts lie in [from, to]. */
static void fill(gap *t, uint32_t c, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
    const double *before = t->cost + (size_t)(c - 1) * (t->n + 1);
    uint32_t i = lo + (hi - lo) / 2, best = from;
    double least = INFINITY;
    for (uint32_t k = from; k <= to && k <= i; k++) {
        double e = before[k] + error_of(t, k, i);
        if (e < least) {
            least = e;
            best = k;
        }
    }
    t->cost[(size_t)c * (t->n + 1) + i] = least;
    t->start[(size_t)c * (t->n + 1) + i] = best;
    if (i > lo)
        fill(t, c, lo, i - 1, from, best);
    if (i < hi)
        fill(t, c, i + 1, hi, best, to);
}

static double error_at(const gap *t, uint32_t i, double level)
{
    double d = t->p->x[t->first + i] - level;
    return t->p->w[t->first + i] * d * d;
}

/* With each number of clusters, the best share of the higher level. */
static void close_gap(gap *t)
{
    for (uint32_t c = 0; c <= t->k; c++) {
        const double *cost = t->cost + (size_t)c * (t->n + 1);
        double higher = 0;
        t->least[c] = cost[t->n];
        t->end[c] = t->n;
        for (uint32_t i = t->n; t->higher && i-- > 0;) {
            higher += error_at(t, i, *t->higher);
            if (cost[i] + higher < t->least[c]) {
                t->least[c] = cost[i] + higher;
                t->end[c] = i;
            }
        }
    }
}

static void sum_up(gap *t)
{
    const double *x = t->p->x + t->first, *w = t->p->w + t->first;
    double sum = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        t->mean += w[i] * x[i];
        sum += w[i];
    }
    t->mean = sum > 0 ? t->mean / sum : 0;
    for (uint32_t i = 0; i < t->n; i++) {
        double d = x[i] - t->mean;
        const sums *s = &t->sum[i];
        t->sum[i + 1] = (sums){s->w + w[i], s->s + w[i] * d, s->q + w[i] * d * d};
    }
}

/* first, n, k and the fixed levels are set. */
static fb_status gap_solve(gap *t)
{
    size_t row = (size_t)t->n + 1;
    t->sum = fb_calloc(row, sizeof *t->sum);
    t->cost = fb_calloc(row * (t->k + 1), sizeof *t->cost);
    t->start = fb_calloc(row * (t->k + 1), sizeof *t->start);
    t->least = fb_calloc((size_t)t->k + 1, sizeof *t->least);
    t->end = fb_calloc((size_t)t->k + 1, sizeof *t->end);
    if (!t->sum || !t->cost || !t->start || !t->least || !t->end)
        return fb_fail(FB_E_MEMORY, "no memory to place %u levels", t->k);
    sum_up(t);
    for (uint32_t i = 0; i < t->n; i++)
        t->cost[i + 1] = t->lower ? t->cost[i] + error_at(t, i, *t->lower) : INFINITY;
    for (uint32_t c = 1; c <= t->k; c++)
        fill(t, c, 0, t->n, 0, t->n);
    close_gap(t);
    return FB_OK;
}

static void gap_free(gap *t)
{
    fb_free(t->sum);
    fb_free(t->cost);
    fb_free(t->start);
    fb_free(t->least);
    fb_free(t->end);
}

/* Appends the means of the best c clusters. */
static void add_means(const gap *t, uint32_t c, double *level, uint32_t *found)
{
    for (uint32_t i = t->end[c]; c > 0; c--) {
        uint32_t from = t->start[(size_t)c * (t->n + 1) + i];
        double w = t->sum[i].w - t->sum[from].w;
        if (w > 0)
            level[(*found)++] = t->mean + (t->sum[i].s - t->sum[from].s) / w;
        i = from;
    }
}

/* Sorts and drops what comes twice. */
static void tidy(double *level, uint32_t *found)
{
    for (uint32_t i = 1; i < *found; i++) {
        double v = level[i];
        uint32_t k = i;
        for (; k > 0 && level[k - 1] > v; k--)
            level[k] = level[k - 1];
        level[k] = v;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < *found; i++) {
        if (n == 0 || level[i] > level[n - 1])
            level[n++] = level[i];
    }
    *found = n;
}

/* How many of k levels each gap gets: best[c] is the least error of the gaps so far with c. */
static void share_out(const gap *gaps, uint32_t n_gaps, uint32_t k, double *best, uint32_t *choice)
{
    for (uint32_t c = 0; c <= k; c++)
        best[c] = 0;
    for (uint32_t g = 0; g < n_gaps; g++) {
        for (uint32_t c = k + 1; c-- > 0;) { /* downwards: best[c - a] is still without gap g */
            double least = INFINITY;
            uint32_t at = 0;
            for (uint32_t a = 0; a <= c && a <= gaps[g].k; a++) {
                if (best[c - a] + gaps[g].least[a] < least) {
                    least = best[c - a] + gaps[g].least[a];
                    at = a;
                }
            }
            best[c] = least;
            choice[(size_t)g * (k + 1) + c] = at;
        }
    }
}

static fb_status open_gaps(const fb_points *p, const double *fixed, uint32_t n_fixed, uint32_t k,
                           gap *gaps)
{
    uint32_t at = 0;
    for (uint32_t g = 0; g <= n_fixed; g++) {
        gap *t = &gaps[g];
        t->p = p;
        t->first = at;
        t->lower = g > 0 ? &fixed[g - 1] : NULL;
        t->higher = g < n_fixed ? &fixed[g] : NULL;
        while (at < p->n && (g == n_fixed || p->x[at] <= fixed[g]))
            at++;
        t->n = at - t->first;
        t->k = k < t->n ? k : t->n;
        FB_TRY(gap_solve(t));
    }
    return FB_OK;
}

fb_status fb_kmeans_beside(const fb_points *p, const double *fixed, uint32_t n_fixed, uint32_t k,
                           double *level, uint32_t *found)
{
    FB_ENSURE(k + n_fixed >= 1 && k + n_fixed <= FB_FIT_MOST_LEVELS && p->n > 0);
    *found = 0;
    gap *gaps = fb_calloc((size_t)n_fixed + 1, sizeof *gaps);
    double *best = fb_calloc((size_t)k + 1, sizeof *best);
    uint32_t *choice = fb_calloc((size_t)(n_fixed + 1) * (k + 1), sizeof *choice), left = k;
    fb_status status;
    if (!gaps || !best || !choice) {
        status = fb_fail(FB_E_MEMORY, "no memory to place %u levels", k);
        goto fail;
    }
    FB_GO(open_gaps(p, fixed, n_fixed, k, gaps));
    share_out(gaps, n_fixed + 1, k, best, choice);
    for (uint32_t g = n_fixed + 1; g-- > 0;) {
        uint32_t a = choice[(size_t)g * (k + 1) + left];
        add_means(&gaps[g], a, level, found);
        left -= a;
    }
    tidy(level, found);
fail:
    for (uint32_t g = 0; gaps && g <= n_fixed; g++)
        gap_free(&gaps[g]);
    fb_free(gaps);
    fb_free(best);
    fb_free(choice);
    return status;
}

fb_status fb_kmeans_exact(const fb_points *p, uint32_t k, bool with_zero, double *level,
                          uint32_t *found)
{
    const double zero = 0;
    FB_ENSURE(k >= 1);
    if (!with_zero)
        return fb_kmeans_beside(p, NULL, 0, k, level, found);
    FB_TRY(fb_kmeans_beside(p, &zero, 1, k - 1, level, found));
    level[(*found)++] = 0;
    tidy(level, found);
    return FB_OK;
}
