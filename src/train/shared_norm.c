#include "train/shared_norm.h"

#include "train/net.h"

#include <math.h>

/* Channels at a time. A whole block's loops have a constant length, of which compilers make
 * vectors. */
enum { LANES = 16, RUN = 64 };

/* What a block of channels needs, side by side. */
typedef struct block {
    size_t at, rows, stride;
    float least; /* the clamp */
    float guess[LANES], scale[LANES], shift[LANES], mean[LANES];
    float a[LANES], b[LANES]; /* of dx = scale (dy - a - b (x - mean)) */
} block;

typedef struct arrays {
    const float *x, *dy;
    float *to;
    double *sums; /* [2][c] */
} arrays;

typedef void (*pass)(const block *k, size_t lanes, const arrays *v, size_t c);

/* ---- passes over a block --------------------------------------------------------------------- */

/* Sums of a few rows in floats, of those in doubles. */
static inline void add(double total[2][LANES], size_t lanes, const float *a, const float *b)
{
    for (size_t j = 0; j < lanes; j++) {
        total[0][j] += (double)a[j];
        total[1][j] += (double)b[j];
    }
}

static inline void keep(const block *k, double total[2][LANES], size_t lanes, const arrays *v,
                        size_t c)
{
    for (size_t j = 0; j < lanes; j++) {
        v->sums[k->at + j] = total[0][j];
        v->sums[c + k->at + j] = total[1][j];
    }
}

/* Sums of x - guess and of its square: the guess keeps them small, so that no digits are lost. */
static inline void moments(const block *k, size_t lanes, const arrays *v, size_t c)
{
    double total[2][LANES] = {{0}};
    for (size_t from = 0; from < k->rows; from += RUN) {
        size_t to = from + RUN < k->rows ? from + RUN : k->rows;
        float sum[LANES] = {0}, squares[LANES] = {0};
        for (size_t r = from; r < to; r++) {
            const float *x = v->x + r * k->stride + k->at;
            for (size_t j = 0; j < lanes; j++) {
                float d = x[j] - k->guess[j];
                sum[j] += d;
                squares[j] += d * d;
            }
        }
        add(total, lanes, sum, squares);
    }
    keep(k, total, lanes, v, c);
}

static inline void outputs(const block *k, size_t lanes, const arrays *v, size_t c)
{
    const float *restrict x = v->x + k->at;
    float *restrict y = v->to + k->at;
    (void)c;
    for (size_t r = 0; r < k->rows; r++, x += k->stride, y += k->stride) {
        for (size_t j = 0; j < lanes; j++) {
            float value = x[j] * k->scale[j] + k->shift[j];
            y[j] = value < k->least ? k->least : value;
        }
    }
}

/* dy, where the clamp let x through. */
static inline float let_through(const block *k, size_t j, float x, float dy)
{
    return x * k->scale[j] + k->shift[j] > k->least ? dy : 0;
}

/* Sums of dy and of dy (x - mean). */
static inline void slopes(const block *k, size_t lanes, const arrays *v, size_t c)
{
    double total[2][LANES] = {{0}};
    for (size_t from = 0; from < k->rows; from += RUN) {
        size_t to = from + RUN < k->rows ? from + RUN : k->rows;
        float sum[LANES] = {0}, product[LANES] = {0};
        for (size_t r = from; r < to; r++) {
            const float *x = v->x + r * k->stride + k->at, *dy = v->dy + r * k->stride + k->at;
            for (size_t j = 0; j < lanes; j++) {
                float g = let_through(k, j, x[j], dy[j]);
                sum[j] += g;
                product[j] += g * (x[j] - k->mean[j]);
            }
        }
        add(total, lanes, sum, product);
    }
    keep(k, total, lanes, v, c);
}

static inline void inputs(const block *k, size_t lanes, const arrays *v, size_t c)
{
    const float *restrict x = v->x + k->at, *restrict dy = v->dy + k->at;
    float *restrict dx = v->to + k->at;
    (void)c;
    for (size_t r = 0; r < k->rows; r++, x += k->stride, dy += k->stride, dx += k->stride) {
        for (size_t j = 0; j < lanes; j++) {
            float g = let_through(k, j, x[j], dy[j]);
            dx[j] = k->scale[j] * (g - k->a[j] - k->b[j] * (x[j] - k->mean[j]));
        }
    }
}

/* `part` (NULL: none) [2][c] are a and b. */
static inline void each_block(const fb_shared_norm *n, const arrays *v, const double *part,
                              pass run)
{
    block k = {.rows = n->rows, .stride = n->c, .least = n->relu ? 0 : -INFINITY};
    for (k.at = 0; k.at < n->c; k.at += LANES) {
        size_t lanes = n->c - k.at < LANES ? n->c - k.at : LANES;
        for (size_t j = 0; j < lanes; j++) {
            k.guess[j] = n->guess[k.at + j];
            k.scale[j] = n->scale[k.at + j];
            k.shift[j] = n->shift[k.at + j];
            k.mean[j] = n->mean[k.at + j];
            k.a[j] = part ? (float)part[k.at + j] : 0;
            k.b[j] = part ? (float)part[n->c + k.at + j] : 0;
        }
        if (lanes == LANES)
            run(&k, LANES, v, n->c);
        else
            run(&k, lanes, v, n->c);
    }
}

/* ---- the batch norm -------------------------------------------------------------------------- */

fb_status fb_shared_norm_forward(const fb_shared_norm *n, const float *x, float *y)
{
    const double count = (double)n->rows * n->ranks->n;
    const arrays v = {.x = x, .to = y, .sums = n->sums};
    each_block(n, &v, NULL, moments);
    FB_TRY(fb_ranks_sum(n->ranks, n->sums, 2 * n->c));
    for (size_t i = 0; i < n->c; i++) {
        double beside = n->sums[i] / count;
        double variance = n->sums[n->c + i] / count - beside * beside;
        n->mean[i] = (float)((double)n->guess[i] + beside);
        n->variance[i] = variance > 0 ? (float)variance : 0;
        n->scale[i] = n->gamma[i] / sqrtf(n->variance[i] + FB_NET_NORM_EPSILON);
        n->shift[i] = n->beta[i] - n->mean[i] * n->scale[i];
    }
    each_block(n, &v, NULL, outputs);
    return FB_OK;
}

fb_status fb_shared_norm_backward(const fb_shared_norm *n, const float *x, const float *dy,
                                  float *dx, float *dgamma, float *dbeta)
{
    const double count = (double)n->rows * n->ranks->n;
    const arrays v = {.x = x, .dy = dy, .to = dx, .sums = n->sums};
    each_block(n, &v, NULL, slopes);
    for (size_t i = 0; i < n->c; i++) {
        dbeta[i] = (float)n->sums[i];
        dgamma[i] = (float)n->sums[n->c + i] / sqrtf(n->variance[i] + FB_NET_NORM_EPSILON);
    }
    if (!dx)
        return FB_OK;
    FB_TRY(fb_ranks_sum(n->ranks, n->sums, 2 * n->c));
    for (size_t i = 0; i < n->c; i++) {
        n->sums[i] /= count;
        n->sums[n->c + i] /= count * ((double)n->variance[i] + (double)FB_NET_NORM_EPSILON);
    }
    each_block(n, &v, n->sums, inputs);
    return FB_OK;
}
