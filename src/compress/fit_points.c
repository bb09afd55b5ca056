/* Numbers as ascending weighted points. */
#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct number {
    float x, w;
} number;

/* -0 is 0. */
static int by_value(const void *a, const void *b)
{
    float x = ((const number *)a)->x, y = ((const number *)b)->x;
    return (x > y) - (x < y);
}

static uint32_t count_different(const number *v, size_t n)
{
    uint32_t different = 1;
    for (size_t i = 1; i < n && different <= FB_FIT_POINTS; i++)
        different += v[i].x > v[i - 1].x;
    return different;
}

/* Weighted mean and squared error around it of v[from .. to). */
static void add_point(fb_points *p, const number *v, size_t from, size_t to)
{
    double w = 0, s = 0, e = 0, mean = (double)v[from].x;
    for (size_t i = from; i < to; i++)
        w += (double)v[i].w;
    if (!(w > 0))
        return;
    if (v[to - 1].x > v[from].x) {
        for (size_t i = from; i < to; i++)
            s += (double)v[i].w * ((double)v[i].x - (double)v[from].x);
        mean += s / w;
        for (size_t i = from; i < to; i++) {
            double d = (double)v[i].x - mean;
            e += (double)v[i].w * d * d;
        }
    }
    p->x[p->n] = mean;
    p->w[p->n++] = w;
    p->within += e;
}

static void gather(fb_points *p, const number *v, size_t n)
{
    bool bins = count_different(v, n) > FB_FIT_POINTS;
    double least = (double)v[0].x, width = ((double)v[n - 1].x - least) / FB_FIT_POINTS;
    for (size_t from = 0, to; from < n; from = to) {
        double bin = floor(((double)v[from].x - least) / width);
        to = from + 1;
        while (to < n &&
               (v[to].x == v[from].x || (bins && floor(((double)v[to].x - least) / width) <= bin)))
            to++;
        if (bins && bin >= FB_FIT_POINTS - 1) /* the last bin has its upper end */
            to = n;
        add_point(p, v, from, to);
    }
}

fb_status fb_points_init(fb_points *p, const float *x, const float *weight, size_t n)
{
    *p = (fb_points){0};
    size_t room = n < FB_FIT_POINTS ? n : FB_FIT_POINTS;
    number *v = fb_calloc(n, sizeof *v);
    p->x = fb_calloc(room, sizeof *p->x);
    p->w = fb_calloc(room, sizeof *p->w);
    if (!v || !p->x || !p->w) {
        fb_free(v);
        fb_points_free(p);
        return fb_fail(FB_E_MEMORY, "no memory to place levels for %zu numbers", n);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (number){x[i], weight ? weight[i] : 1};
    qsort(v, n, sizeof *v, by_value);
    gather(p, v, n);
    fb_free(v);
    return FB_OK;
}

void fb_points_free(fb_points *p)
{
    fb_free(p->x);
    fb_free(p->w);
    *p = (fb_points){0};
}

double fb_points_error(const fb_points *p, const double *level, uint32_t k)
{
    double sum = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        while (at + 1 < k && fabs(level[at + 1] - p->x[i]) <= fabs(level[at] - p->x[i]))
            at++;
        double d = p->x[i] - level[at];
        sum += p->w[i] * d * d;
    }
    return sum;
}
