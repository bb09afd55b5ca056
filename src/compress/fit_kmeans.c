/* Exact k-means on a line (METHODS N.3, IV.6): the best clusters are runs of neighbours, so the
 * best c clusters of the first i points end with a run whose start does not go back as i grows. */
#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>
#include <string.h>

/* Sums over the first i points, around the mean of all (so that squares do not cancel). */
typedef struct sums {
    double w, s, q;
} sums;

/* The least error of the first i points in c clusters, some of which may be empty. */
typedef struct table {
    uint32_t n, k;
    double mean;
    sums *sum;       /* [n + 1] */
    double *cost;    /* [k + 1][n + 1] */
    uint32_t *start; /* [k + 1][n + 1] of the last cluster */
} table;

static double error_of(const table *t, uint32_t from, uint32_t to)
{
    double w = t->sum[to].w - t->sum[from].w, s = t->sum[to].s - t->sum[from].s;
    double e = w > 0 ? t->sum[to].q - t->sum[from].q - s * s / w : 0;
    return e > 0 ? e : 0;
}

/* Row c for i in [lo, hi], whose starts lie in [from, to]. */
static void fill(table *t, uint32_t c, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
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

static void table_free(table *t)
{
    fb_free(t->sum);
    fb_free(t->cost);
    fb_free(t->start);
}

/* backwards: of the points -x, the last one first. */
static fb_status table_make(const fb_points *p, uint32_t k, bool backwards, table *t)
{
    size_t row = (size_t)p->n + 1;
    double w = 0;
    *t = (table){.n = p->n, .k = k};
    t->sum = fb_calloc(row, sizeof *t->sum);
    t->cost = fb_calloc(row * (k + 1), sizeof *t->cost);
    t->start = fb_calloc(row * (k + 1), sizeof *t->start);
    if (!t->sum || !t->cost || !t->start) {
        table_free(t);
        return fb_fail(FB_E_MEMORY, "no memory to place %u levels", k);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        t->mean += p->w[i] * p->x[i];
        w += p->w[i];
    }
    t->mean /= backwards ? -w : w;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t at = backwards ? p->n - 1 - i : i;
        double x = (backwards ? -p->x[at] : p->x[at]) - t->mean;
        const sums *s = &t->sum[i];
        t->sum[i + 1] = (sums){s->w + p->w[at], s->s + p->w[at] * x, s->q + p->w[at] * x * x};
    }
    for (uint32_t i = 1; i <= t->n; i++)
        t->cost[i] = INFINITY; /* no cluster, but points */
    for (uint32_t c = 1; c <= k; c++)
        fill(t, c, 0, t->n, 0, t->n);
    return FB_OK;
}

/* Appends the means of the c clusters of the first i points, times `sign`. */
static void add_means(const table *t, uint32_t c, uint32_t i, double sign, double *level,
                      uint32_t *found)
{
    for (; c > 0; c--) {
        uint32_t from = t->start[(size_t)c * (t->n + 1) + i];
        double w = t->sum[i].w - t->sum[from].w;
        if (w > 0)
            level[(*found)++] = sign * (t->mean + (t->sum[i].s - t->sum[from].s) / w);
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

/* The points [a, b) go to 0, those before to `below` clusters, those behind to the others: for each
 * b, the best a is known from those before it. */
static fb_status with_zero(const fb_points *p, uint32_t k, double *level, uint32_t *found)
{
    table up, down;
    FB_TRY(table_make(p, k - 1, false, &up));
    fb_status status = table_make(p, k - 1, true, &down);
    if (status != FB_OK) {
        table_free(&up);
        return status;
    }
    double least = INFINITY;
    uint32_t below = 0, first = 0, end = 0;
    for (uint32_t c = 0; c < k; c++) {
        const double *before = up.cost + (size_t)c * (p->n + 1);
        const double *behind = down.cost + (size_t)(k - 1 - c) * (p->n + 1);
        double best = INFINITY, zero = 0; /* zero: error of the first b points at 0 */
        uint32_t a = 0;
        for (uint32_t b = 0; b <= p->n; b++) {
            if (before[b] - zero < best) {
                best = before[b] - zero;
                a = b;
            }
            if (best + zero + behind[p->n - b] < least) {
                least = best + zero + behind[p->n - b];
                below = c;
                first = a;
                end = b;
            }
            zero += b < p->n ? p->w[b] * p->x[b] * p->x[b] : 0;
        }
    }
    level[(*found)++] = 0;
    add_means(&up, below, first, 1, level, found);
    add_means(&down, k - 1 - below, p->n - end, -1, level, found);
    table_free(&up);
    table_free(&down);
    return FB_OK;
}

fb_status fb_kmeans_exact(const fb_points *p, uint32_t k, bool zero, double *level, uint32_t *found)
{
    table t;
    FB_ENSURE(k >= 1 && k <= FB_FIT_MOST_LEVELS && p->n > 0);
    *found = 0;
    if (zero) {
        FB_TRY(with_zero(p, k, level, found));
    } else {
        FB_TRY(table_make(p, k, false, &t));
        add_means(&t, k, p->n, 1, level, found);
        table_free(&t);
    }
    tidy(level, found);
    return FB_OK;
}
