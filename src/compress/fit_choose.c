/* Levels out of a list: dynamic programming over neighbours among those that are chosen, since the
 * points between two of them ask for no other (METHODS N.3 on a list). */
#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>

/* Sums over the first i points. */
typedef struct sums {
    double w, s, q;
} sums;

typedef struct chooser {
    const fb_points *p;
    const double *candidate;
    uint32_t n, most;
    sums *sum;        /* [points + 1] */
    double *cost;     /* [most][n]: with the candidate b the last of j + 1 chosen so far: the least
                         error of the points below it */
    uint32_t *before; /* [most][n] the one chosen before it */
} chooser;

/* Squared error of the points [from, to) at a level. */
static double error_of(const chooser *c, uint32_t from, uint32_t to, double level)
{
    const sums *a = &c->sum[from], *b = &c->sum[to];
    return b->q - a->q - 2 * level * (b->s - a->s) + level * level * (b->w - a->w);
}

/* Number of points that are at most `bound`. */
static uint32_t points_up_to(const fb_points *p, double bound)
{
    uint32_t lo = 0, hi = p->n;
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (p->x[middle] <= bound)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* Of the points between the candidates a and b, when no other between them is chosen. */
static double error_between(const chooser *c, uint32_t a, uint32_t b)
{
    double x = c->candidate[a], y = c->candidate[b];
    uint32_t middle = points_up_to(c->p, x + (y - x) / 2);
    return error_of(c, points_up_to(c->p, x), middle, x) +
           error_of(c, middle, points_up_to(c->p, y), y);
}

static void fill(chooser *c, const bool *must)
{
    for (uint32_t j = 0; j < c->most; j++) {
        for (uint32_t b = 0; b < c->n; b++)
            c->cost[(size_t)j * c->n + b] = INFINITY;
    }
    for (uint32_t b = 0; b < c->n; b++) { /* the first one */
        c->cost[b] = error_of(c, 0, points_up_to(c->p, c->candidate[b]), c->candidate[b]);
        if (must[b])
            break;
    }
    for (uint32_t a = 0; a < c->n; a++) {
        for (uint32_t b = a + 1; b < c->n; b++) {
            double between = error_between(c, a, b);
            for (uint32_t j = 1; j < c->most; j++) {
                double e = c->cost[(size_t)(j - 1) * c->n + a] + between;
                if (e < c->cost[(size_t)j * c->n + b]) {
                    c->cost[(size_t)j * c->n + b] = e;
                    c->before[(size_t)j * c->n + b] = a;
                }
            }
            if (must[b])
                break;
        }
    }
}

static void trace(const chooser *c, const bool *must, bool *chosen)
{
    double least = INFINITY;
    uint32_t at = 0, count = 0;
    for (uint32_t j = 0; j < c->most; j++) {
        for (uint32_t b = c->n; b-- > 0;) { /* the last one */
            uint32_t from = points_up_to(c->p, c->candidate[b]);
            double e = c->cost[(size_t)j * c->n + b] + error_of(c, from, c->p->n, c->candidate[b]);
            if (e < least) {
                least = e;
                at = b;
                count = j;
            }
            if (must[b])
                break;
        }
    }
    for (uint32_t i = 0; i < c->n; i++)
        chosen[i] = false;
    chosen[at] = true;
    for (; count > 0; count--) {
        at = c->before[(size_t)count * c->n + at];
        chosen[at] = true;
    }
}

fb_status fb_fit_choose(const fb_points *p, const double *candidate, const bool *must, uint32_t n,
                        uint32_t most_chosen, bool *chosen)
{
    chooser c = {.p = p, .candidate = candidate, .n = n};
    fb_status status = FB_OK;
    FB_ENSURE(n >= 1 && most_chosen >= 1 && most_chosen <= FB_FIT_MOST_LEVELS);
    c.most = most_chosen < n ? most_chosen : n;
    c.sum = fb_calloc((size_t)p->n + 1, sizeof *c.sum);
    c.cost = fb_calloc((size_t)c.most * n, sizeof *c.cost);
    c.before = fb_calloc((size_t)c.most * n, sizeof *c.before);
    if (!c.sum || !c.cost || !c.before) {
        status = fb_fail(FB_E_MEMORY, "no memory to choose among %u levels", n);
        goto fail;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        const sums *s = &c.sum[i];
        double w = p->w[i], x = p->x[i];
        c.sum[i + 1] = (sums){s->w + w, s->s + w * x, s->q + w * x * x};
    }
    fill(&c, must);
    trace(&c, must, chosen);
fail:
    fb_free(c.sum);
    fb_free(c.cost);
    fb_free(c.before);
    return status;
}
