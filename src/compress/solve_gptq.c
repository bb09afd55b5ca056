#include "compress/solve.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/linalg.h"
#include "numeric/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, BLOCK = 128, REACH = 4 };

typedef struct column {
    double diagonal;
    size_t at;
} column;

typedef struct work {
    const fb_problem_part *part;
    fb_reround *r;
    bool refit;
    column *order;
    double *u;       /* of the columns in order */
    double *target;  /* [n_rows][d] in order */
    double **room;   /* [workers] 2 x [ROWS][d], [ROWS][BLOCK] */
    int32_t **trial; /* [workers] [ROWS][d] in order */
    int32_t *code;
} work;

static int largest_first(const void *a, const void *b)
{
    const column *x = a, *y = b;
    if (x->diagonal != y->diagonal)
        return x->diagonal < y->diagonal ? 1 : -1;
    return x->at < y->at ? -1 : 1;
}

static size_t element(const work *w, size_t row, size_t k)
{
    return (w->part->row + row) * w->r->inner + w->part->col + w->order[k].at;
}

static int32_t round_one(const work *w, size_t i, double value, float gain, double *left)
{
    fb_steps s = fb_reround_steps(w->r, i);
    s.scale *= gain;
    int32_t q = fb_reround_is_fixed(w->r, i) ? w->code[i] : fb_steps_nearest(&s, value);
    *left = value - (fb_reround_is_fixed(w->r, i) ? (double)fb_reround_value(w->r, i)
                                                  : (double)fb_steps_value(&s, q));
    return q;
}

/* Rows [first, first + n) with scales times gain[row]; loss[row] = J over the target's. */
static void round_rows(work *w, uint32_t worker, size_t first, size_t n, const float *gain,
                       double *loss)
{
    const size_t d = w->part->d;
    double *v = w->room[worker], *e = v + ROWS * d;
    memcpy(v, w->target + first * d, n * d * sizeof *v);
    memset(loss, 0, n * sizeof *loss);
    for (size_t j0 = 0; j0 < d; j0 += BLOCK) {
        size_t stop = j0 + BLOCK < d ? j0 + BLOCK : d;
        for (size_t j = j0; j < stop; j++) {
            const double *u = w->u + j * d;
            for (size_t r = 0; r < n; r++) {
                double left;
                w->trial[worker][r * d + j] =
                    round_one(w, element(w, first + r, j), v[r * d + j], gain[r], &left);
                left /= u[j];
                loss[r] += left * left;
                e[r * BLOCK + j - j0] = left;
                for (size_t k = j + 1; k < stop; k++)
                    v[r * d + k] -= left * u[k];
            }
        }
        if (stop < d)
            fb_gemm_f64(false, false, n, d - stop, stop - j0, -1, e, BLOCK, w->u + j0 * d + stop, d,
                        1, v + stop, d);
    }
}

static void keep(work *w, uint32_t worker, size_t first, size_t r)
{
    for (size_t j = 0; j < w->part->d; j++)
        w->code[element(w, first + r, j)] = w->trial[worker][r * w->part->d + j];
}

/* A channel may move along the grid when all its scales lie on it and no other part shares it. */
static bool is_free(const work *w, size_t row)
{
    size_t first, count;
    int32_t k;
    fb_reround_scales(w->r, w->part->row + row, &first, &count);
    bool fits = count > 0 && w->part->d == w->r->inner && !w->r->tensor.enc.pow2;
    for (size_t i = 0; fits && i < count; i++)
        fits = fb_grid_find(w->r->scale[first + i], &k);
    return fits;
}

static void move_scales(work *w, size_t row, int32_t steps)
{
    size_t first, count;
    fb_reround_scales(w->r, w->part->row + row, &first, &count);
    for (size_t i = 0; i < count; i++) {
        int32_t k = 0;
        (void)fb_grid_find(w->r->scale[first + i], &k);
        w->r->scale[first + i] = fb_grid_scale(k + steps);
    }
}

static void solve_rows(void *ctx, uint32_t index, uint32_t worker)
{
    work *w = ctx;
    size_t first = (size_t)index * ROWS, n = w->part->n_rows - first;
    double loss[ROWS], least[ROWS];
    int32_t best[ROWS] = {0};
    float gain[ROWS];
    n = n < ROWS ? n : ROWS;
    for (size_t r = 0; r < ROWS; r++)
        gain[r] = 1;
    round_rows(w, worker, first, n, gain, least);
    for (size_t r = 0; r < n; r++)
        keep(w, worker, first, r);
    for (int32_t step = -REACH; w->refit && step <= REACH; step++) {
        if (step == 0)
            continue;
        for (size_t r = 0; r < n; r++)
            gain[r] = is_free(w, first + r) ? fb_grid_scale(step) : 1;
        round_rows(w, worker, first, n, gain, loss);
        for (size_t r = 0; r < n; r++) {
            if (loss[r] < least[r] && is_free(w, first + r)) {
                least[r] = loss[r];
                best[r] = step;
                keep(w, worker, first, r);
            }
        }
    }
    for (size_t r = 0; r < n; r++) {
        if (best[r])
            move_scales(w, first + r, best[r]);
    }
}

static void permute(const column *order, size_t rows, size_t d, double *m, double *row)
{
    for (size_t i = 0; i < rows; i++) {
        memcpy(row, m + i * d, d * sizeof *row);
        for (size_t j = 0; j < d; j++)
            m[i * d + j] = row[order[j].at];
    }
}

/* u = U of the part's G, target = its target, both with columns in order. */
static fb_status factor(work *w)
{
    const fb_problem_part *s = w->part;
    const size_t d = s->d;
    double *row = fb_alloc(d * sizeof *row);
    if (!row)
        return fb_fail(FB_E_MEMORY, "no memory to round a layer");
    for (size_t i = 0; i < d; i++)
        memcpy(w->u + i * d, s->gram + w->order[i].at * d, d * sizeof *row);
    permute(w->order, d, d, w->u, row);
    fb_status status = fb_inverse_cholesky(d, w->u);
    if (status == FB_OK) {
        fb_problem_part in_order = *s;
        in_order.cross = fb_alloc(s->n_rows * d * sizeof *row);
        status = in_order.cross ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to round a layer");
        if (status == FB_OK) {
            memcpy(in_order.cross, s->cross, s->n_rows * d * sizeof *row);
            permute(w->order, s->n_rows, d, in_order.cross, row);
            status = fb_problem_target(&in_order, w->u, w->target);
        }
        fb_free(in_order.cross);
    }
    fb_free(row);
    return status;
}

fb_status fb_solve_gptq(const fb_problem_part *s, fb_reround *r, const fb_gptq_options *options,
                        fb_pool *pool, int32_t *code)
{
    uint32_t workers = fb_pool_size(pool);
    work w = {.part = s, .r = r, .refit = options->refit, .code = code};
    fb_status status = FB_OK;
    w.order = fb_alloc(s->d * sizeof *w.order);
    w.u = fb_alloc(s->d * s->d * sizeof *w.u);
    w.target = fb_alloc(s->n_rows * s->d * sizeof *w.target);
    w.room = fb_calloc(workers, sizeof *w.room);
    w.trial = fb_calloc(workers, sizeof *w.trial);
    bool memory = w.order && w.u && w.target && w.room && w.trial;
    for (uint32_t i = 0; memory && i < workers; i++) {
        w.room[i] = fb_alloc(ROWS * (s->d + BLOCK) * sizeof **w.room);
        w.trial[i] = fb_alloc(ROWS * s->d * sizeof **w.trial);
        memory = w.room[i] && w.trial[i];
    }
    if (!memory) {
        status = fb_fail(FB_E_MEMORY, "no memory to round a layer");
        goto fail;
    }
    for (size_t i = 0; i < s->d; i++)
        w.order[i] = (column){s->gram[i * s->d + i], i};
    if (options->by_diagonal)
        qsort(w.order, s->d, sizeof *w.order, largest_first);
    FB_GO(factor(&w));
    fb_pool_run(pool, (uint32_t)((s->n_rows + ROWS - 1) / ROWS), solve_rows, &w);
fail:
    for (uint32_t i = 0; w.room && w.trial && i < workers; i++) {
        fb_free(w.room[i]);
        fb_free(w.trial[i]);
    }
    fb_free(w.room);
    fb_free(w.trial);
    fb_free(w.order);
    fb_free(w.u);
    fb_free(w.target);
    return status;
}
