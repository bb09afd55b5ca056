/* Grouping of channels by determinants. */
#include "compress/permute_fit.h"

#include <math.h>

enum { MOST = 64 }; /* elements of a vector */

/* size * det(s)^(1/size) of the size x size matrix at s, by elimination; rounding may leave a
 * singular one slightly indefinite: a floor keeps pivots positive. */
static double volume(double *s, size_t size)
{
    double log_det = 0, trace = 0;
    for (size_t i = 0; i < size; i++)
        trace += s[i * MOST + i];
    double least = 1e-9 * trace / (double)size;
    if (!(trace > 0))
        return 0;
    for (size_t k = 0; k < size; k++) {
        double pivot = fmax(s[k * MOST + k], least);
        log_det += log(pivot);
        for (size_t i = k + 1; i < size; i++) {
            double f = s[i * MOST + k] / pivot;
            for (size_t j = k + 1; j <= i; j++)
                s[i * MOST + j] -= f * s[j * MOST + k];
        }
    }
    return (double)size * exp(log_det / (double)size);
}

/* What the place of vector m costs to one reader. */
static double place_cost(const fb_permute_problem *p, size_t reader, const size_t *order, size_t m)
{
    const double *cov = p->cov + reader * p->c * p->c;
    const size_t *at = order + m * p->d;
    size_t size = p->c - m * p->d < p->d ? p->c - m * p->d : p->d;
    double s[MOST * MOST];
    for (size_t i = 0; i < size; i++) {
        for (size_t j = 0; j <= i; j++)
            s[i * MOST + j] = cov[at[i] * p->c + at[j]];
    }
    return volume(s, size);
}

static size_t places(const fb_permute_problem *p)
{
    return (p->c + p->d - 1) / p->d;
}

/* All places of one reader with one codebook. */
static double shared_cost(const fb_permute_problem *p, size_t reader, const size_t *order)
{
    const double *cov = p->cov + reader * p->c * p->c;
    double s[MOST * MOST] = {0}, m = (double)places(p);
    for (size_t first = 0; first < p->c; first += p->d) {
        for (size_t i = 0; i < p->d && first + i < p->c; i++) {
            for (size_t j = 0; j <= i; j++)
                s[i * MOST + j] += cov[order[first + i] * p->c + order[first + j]] / m;
        }
    }
    return m * volume(s, p->d < p->c ? p->d : p->c);
}

static double pair_cost(const fb_permute_problem *p, const size_t *order, size_t m, size_t n)
{
    double sum = 0;
    for (size_t r = 0; r < p->n; r++)
        sum += p->shared ? shared_cost(p, r, order)
                         : place_cost(p, r, order, m) + place_cost(p, r, order, n);
    return sum;
}

double fb_permute_cost(const fb_permute_problem *p, const size_t *order)
{
    double sum = 0;
    for (size_t r = 0; r < p->n; r++) {
        if (p->shared)
            sum += shared_cost(p, r, order);
        for (size_t m = 0; !p->shared && m < places(p); m++)
            sum += place_cost(p, r, order, m);
    }
    return sum;
}

static void swap(size_t *order, size_t a, size_t b)
{
    size_t t = order[a];
    order[a] = order[b];
    order[b] = t;
}

/* Tries all pairs that matter; returns how many changed places. */
static size_t sweep(const fb_permute_problem *p, size_t *order)
{
    size_t moved = 0;
    for (size_t a = 0; a < p->c; a++) {
        double now = 0;
        size_t at = SIZE_MAX; /* now = what its place and a's cost */
        for (size_t b = a + 1; b < p->c; b++) {
            /* the same place; or, in a common codebook, the same element */
            if (p->shared ? a % p->d == b % p->d : a / p->d == b / p->d)
                continue;
            if (b / p->d != at) {
                at = b / p->d;
                now = pair_cost(p, order, a / p->d, at);
            }
            swap(order, a, b);
            double then = pair_cost(p, order, a / p->d, at);
            if (then < now - 1e-12 * now) {
                now = then;
                moved++;
            } else {
                swap(order, a, b);
            }
        }
    }
    return moved;
}

static fb_status check(const fb_permute_problem *p)
{
    FB_ENSURE(p->c > 0 && p->d > 0 && p->d <= MOST);
    return FB_OK;
}

fb_status fb_permute_improve(const fb_permute_problem *p, unsigned sweeps, size_t *order)
{
    FB_TRY(check(p));
    for (unsigned k = 0; k < sweeps && sweep(p, order) > 0; k++)
        ;
    return FB_OK;
}

/* The channel from `at` on that makes the vector which starts at `first` cheapest, to `at`. */
static void take_best(const fb_permute_problem *p, size_t *order, size_t first, size_t at)
{
    size_t best = at, m = first / p->d;
    double least = INFINITY;
    for (size_t i = at; i < p->c; i++) {
        double cost = 0;
        swap(order, at, i);
        for (size_t r = 0; r < p->n; r++) {
            const double *cov = p->cov + r * p->c * p->c;
            double s[MOST * MOST];
            for (size_t y = first; y <= at; y++) {
                for (size_t x = first; x <= y; x++)
                    s[(y - first) * MOST + x - first] = cov[order[y] * p->c + order[x]];
            }
            cost += at == first ? -s[0] : volume(s, at - m * p->d + 1);
        }
        swap(order, at, i);
        if (cost < least) {
            least = cost;
            best = i;
        }
    }
    swap(order, at, best);
}

fb_status fb_permute_start(const fb_permute_problem *p, size_t *order)
{
    FB_TRY(check(p));
    for (size_t i = 0; i < p->c; i++)
        order[i] = i;
    for (size_t i = 0; i < p->c; i++)
        take_best(p, order, i / p->d * p->d, i);
    return FB_OK;
}
