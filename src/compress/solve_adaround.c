#include "compress/solve.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/linalg.h"

#include <math.h>
#include <string.h>

enum { ROWS = 16, ARRAYS = 9 };

static const double high_end = 1.1, low_end = -0.1;

/* Of the term that drives h to 0 or 1, J being counted in units of what a weight one step off adds
 * on average. The paper's 0.01 goes with a J in units of the responses, where that is a few
 * thousandths: the term must win in the end, or h stays between and is rounded blindly. */
static const double lambda = 2;

double fb_adaround_h(double v, double *slope)
{
    double s = 1 / (1 + exp(-v)), h = s * (high_end - low_end) + low_end;
    *slope = h > 0 && h < 1 ? s * (1 - s) * (high_end - low_end) : 0;
    return h < 0 ? 0 : h > 1 ? 1 : h;
}

double fb_adaround_v(double fraction)
{
    return -log((high_end - low_end) / (fraction - low_end) - 1);
}

typedef struct work {
    const fb_problem_part *part;
    const fb_reround *r;
    const float *gram;
    const double *target;
    double unit;
    uint32_t iterations;
    float **room; /* [workers] ARRAYS x [ROWS][d] */
    int32_t *code;
} work;

/* Adam's means of the gradient and of its square. */
typedef struct adam {
    float *m1, *m2;
} adam;

static fb_soft soft_of(const work *w, size_t first, size_t n, float *room, adam *a)
{
    size_t d = w->part->d, size = ROWS * d;
    *a = (adam){room + 7 * size, room + 8 * size};
    return (fb_soft){.n = n,
                     .d = d,
                     .gram = w->gram,
                     .target = w->target + first * d,
                     .unit = w->unit,
                     .low = room,
                     .step = room + size,
                     .v = room + 2 * size,
                     .h = room + 3 * size,
                     .slope = room + 4 * size,
                     .off = room + 5 * size,
                     .grad = room + 6 * size};
}

static void start(const work *w, size_t first, fb_soft *b)
{
    for (size_t i = 0; i < b->n * b->d; i++) {
        size_t row = first + i / b->d;
        size_t at = (w->part->row + row) * w->r->inner + w->part->col + i % b->d;
        fb_steps s = fb_reround_steps(w->r, at);
        double t = b->target[i];
        int32_t q = fb_steps_nearest(&s, t);
        q -= q > s.lo && (double)fb_steps_value(&s, q) > t;
        b->step[i] = 0;
        if (fb_reround_is_fixed(w->r, at)) {
            b->low[i] = fb_reround_value(w->r, at);
            continue;
        }
        w->code[at] = q;
        b->low[i] = fb_steps_value(&s, q);
        if (q == s.hi || t < (double)b->low[i]) /* beyond an end: stays there */
            continue;
        b->step[i] = fb_steps_value(&s, q + 1) - b->low[i];
        b->v[i] = (float)fb_adaround_v(fmin((t - (double)b->low[i]) / (double)b->step[i], 0.999));
    }
}

void fb_adaround_gradient(fb_soft *b, double beta)
{
    size_t total = b->n * b->d;
    for (size_t i = 0; i < total; i++) {
        double slope, h = fb_adaround_h((double)b->v[i], &slope);
        b->h[i] = (float)h;
        b->slope[i] = (float)slope;
        b->off[i] = (float)((double)b->low[i] + h * (double)b->step[i] - b->target[i]);
    }
    fb_gemm_f32(false, false, b->n, b->d, b->d, 1, b->off, b->d, b->gram, b->d, 0, b->grad, b->d);
    for (size_t i = 0; i < total; i++) {
        double x = 2 * (double)b->h[i] - 1, g = 2 * (double)b->grad[i] * (double)b->step[i];
        g /= b->unit;
        if (beta > 0 && x != 0)
            g -= lambda * 2 * beta * pow(fabs(x), beta - 1) * (x > 0 ? 1 : -1);
        b->grad[i] = b->step[i] > 0 ? (float)(g * (double)b->slope[i]) : 0;
    }
}

/* Adam (Kingma 2014); beta falls from 20 to 2 after a first fifth without the term. */
static void step(const work *w, fb_soft *b, const adam *a, uint32_t it)
{
    const double warm = 0.2, done = (double)it / w->iterations;
    double rate = 10.0 / w->iterations, beta = 20 - 18 * (done - warm) / (1 - warm);
    rate = rate < 1e-3 ? 1e-3 : rate > 0.05 ? 0.05 : rate;
    fb_adaround_gradient(b, done >= warm ? beta : 0);
    double c1 = 1 - pow(0.9, it + 1), c2 = 1 - pow(0.999, it + 1);
    for (size_t i = 0; i < b->n * b->d; i++) {
        double g = (double)b->grad[i];
        double m1 = 0.9 * (double)a->m1[i] + 0.1 * g, m2 = 0.999 * (double)a->m2[i] + 0.001 * g * g;
        a->m1[i] = (float)m1;
        a->m2[i] = (float)m2;
        b->v[i] -= (float)(rate * (m1 / c1) / (sqrt(m2 / c2) + 1e-8));
    }
}

static void solve_rows(void *ctx, uint32_t index, uint32_t worker)
{
    work *w = ctx;
    size_t first = (size_t)index * ROWS, n = w->part->n_rows - first, d = w->part->d;
    n = n < ROWS ? n : ROWS;
    adam a;
    fb_soft b = soft_of(w, first, n, w->room[worker], &a);
    memset(w->room[worker], 0, ARRAYS * ROWS * d * sizeof **w->room);
    start(w, first, &b);
    for (uint32_t it = 0; it < w->iterations; it++)
        step(w, &b, &a, it);
    for (size_t i = 0; i < n * d; i++) {
        double slope;
        size_t at = (w->part->row + first + i / d) * w->r->inner + w->part->col + i % d;
        w->code[at] += b.step[i] > 0 && fb_adaround_h((double)b.v[i], &slope) >= 0.5;
    }
}

static double unit_of(const fb_problem_part *s, const fb_reround *r)
{
    double total = 0;
    for (size_t row = 0; row < s->n_rows; row++) {
        for (size_t j = 0; j < s->d; j++) {
            fb_steps t = fb_reround_steps(r, (s->row + row) * r->inner + s->col + j);
            double step = (double)(fb_steps_value(&t, t.hi) - fb_steps_value(&t, t.lo)) /
                          (t.hi > t.lo ? t.hi - t.lo : 1);
            total += step * step * s->gram[j * s->d + j];
        }
    }
    return total > 0 ? total / (double)(s->n_rows * s->d) : 1;
}

fb_status fb_solve_adaround(const fb_problem_part *s, const fb_reround *r, uint32_t iterations,
                            fb_pool *pool, int32_t *code)
{
    uint32_t workers = fb_pool_size(pool);
    double *u = fb_alloc(s->d * s->d * sizeof *u);
    double *target = fb_alloc(s->n_rows * s->d * sizeof *target);
    float *gram = fb_alloc(s->d * s->d * sizeof *gram);
    float **room = fb_calloc(workers, sizeof *room);
    bool memory = u && target && gram && room;
    fb_status status = FB_OK;
    for (uint32_t i = 0; memory && i < workers; i++) {
        room[i] = fb_alloc(ARRAYS * ROWS * s->d * sizeof **room);
        memory = room[i] != NULL;
    }
    if (!memory) {
        status = fb_fail(FB_E_MEMORY, "no memory to round a layer");
        goto fail;
    }
    memcpy(u, s->gram, s->d * s->d * sizeof *u);
    FB_GO(fb_inverse_cholesky(s->d, u));
    FB_GO(fb_problem_target(s, u, target));
    for (size_t i = 0; i < s->d * s->d; i++)
        gram[i] = (float)s->gram[i];
    work w = {s, r, gram, target, unit_of(s, r), iterations, room, code};
    fb_pool_run(pool, (uint32_t)((s->n_rows + ROWS - 1) / ROWS), solve_rows, &w);
fail:
    for (uint32_t i = 0; room && i < workers; i++)
        fb_free(room[i]);
    fb_free(room);
    fb_free(gram);
    fb_free(target);
    fb_free(u);
    return status;
}
