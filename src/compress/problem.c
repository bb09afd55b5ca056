/* Moments, and what follows from them. */
#include "compress/problem.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "compress/linalg.h"

#include <math.h>
#include <string.h>

enum {
    TILE = 256, /* rows and columns of G that one task sums */
    CHUNK = 512 /* samples turned into doubles at a time */
};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the moments of a layer");
}

/* --- parts ----------------------------------------------------------------------------------- */

static fb_status part_init(fb_problem_part *s)
{
    if (!fb_linalg_fits(s->d, s->d) || !fb_linalg_fits(s->n_rows, s->d))
        return fb_fail(FB_E_LIMIT, "a layer of %zu weights for each of %zu channels is too large",
                       s->d, s->n_rows);
    s->gram = fb_calloc(s->d * s->d, sizeof *s->gram);
    s->cross = fb_calloc(s->n_rows * s->d, sizeof *s->cross);
    s->power = fb_calloc(s->n_rows, sizeof *s->power);
    s->mean_x = fb_calloc(s->d, sizeof *s->mean_x);
    s->mean_y = fb_calloc(s->n_rows, sizeof *s->mean_y);
    return s->gram && s->cross && s->power && s->mean_x && s->mean_y ? FB_OK : no_memory();
}

/* The last place to cut at or before column `at`. */
static size_t cut_at(fb_pieces p, size_t inner, size_t at)
{
    if (p.run == 0 || at == inner)
        return at;
    return at / p.run * p.run + at % p.run / p.piece * p.piece;
}

fb_status fb_problem_init(size_t ct, size_t inner, size_t groups, fb_pieces pieces, const float *w,
                          fb_problem *p)
{
    size_t blocks =
        inner <= FB_PROBLEM_WHOLE ? 1 : (inner + FB_PROBLEM_BLOCK - 1) / FB_PROBLEM_BLOCK;
    *p = (fb_problem){.ct = ct, .inner = inner};
    FB_ENSURE(groups > 0 && ct % groups == 0 && ct > 0 && inner > 0);
    fb_status status = FB_OK;
    size_t n_parts, elems;
    if (!fb_size_mul(groups, blocks, &n_parts) || n_parts > UINT32_MAX ||
        !fb_size_mul(ct, inner, &elems))
        return fb_fail(FB_E_LIMIT, "a layer of %zu x %zu weights is too large", ct, inner);
    p->w = fb_calloc(elems, sizeof *p->w);
    p->parts = fb_calloc(n_parts, sizeof *p->parts);
    if (!p->w || !p->parts) {
        status = no_memory();
        goto fail;
    }
    memcpy(p->w, w, elems * sizeof *w);
    for (size_t g = 0; g < groups; g++) {
        for (size_t b = 0; b < blocks; b++) {
            fb_problem_part *s = &p->parts[p->n_parts++];
            size_t from = cut_at(pieces, inner, inner * b / blocks);
            size_t to = cut_at(pieces, inner, inner * (b + 1) / blocks);
            *s = (fb_problem_part){
                .row = ct / groups * g, .n_rows = ct / groups, .col = from, .d = to - from};
            FB_GO(part_init(s));
        }
    }
    return FB_OK;
fail:
    fb_problem_free(p);
    return status;
}

void fb_problem_free(fb_problem *p)
{
    for (uint32_t i = 0; i < p->n_parts; i++) {
        fb_problem_part *s = &p->parts[i];
        fb_free(s->gram);
        fb_free(s->cross);
        fb_free(s->power);
        fb_free(s->mean_x);
        fb_free(s->mean_y);
    }
    fb_free(p->w);
    fb_free(p->parts);
    *p = (fb_problem){0};
}

/* --- moments of samples ---------------------------------------------------------------------- */

/* A tile of aᵀ b / n, where a and b are x, or y and x. */
typedef struct tile {
    uint32_t part;
    bool of_y; /* a is y: a tile of `cross`; else of `gram` */
    size_t i, m, j, n;
} tile;

typedef struct measurement {
    fb_problem *p;
    size_t n;
    const float *const *x, *const *y;
    tile *tiles;
    uint32_t n_tiles;
    double **panel; /* [workers] 2 x [CHUNK][TILE] */
} measurement;

static void widen(const float *from, size_t rows, size_t ld, size_t cols, double *to)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++)
            to[r * TILE + c] = (double)from[r * ld + c];
    }
}

static void measure_tile(void *ctx, uint32_t index, uint32_t worker)
{
    measurement *w = ctx;
    const tile *t = &w->tiles[index];
    fb_problem_part *s = &w->p->parts[t->part];
    double *a = w->panel[worker], *b = a + (size_t)CHUNK * TILE;
    size_t lda = t->of_y ? s->n_rows : s->d;
    const float *from = t->of_y ? w->y[t->part] : w->x[t->part];
    double *out = (t->of_y ? s->cross : s->gram) + t->i * s->d + t->j;
    for (size_t at = 0; at < w->n; at += CHUNK) {
        size_t k = w->n - at < CHUNK ? w->n - at : CHUNK;
        widen(from + at * lda + t->i, k, lda, t->m, a);
        widen(w->x[t->part] + at * s->d + t->j, k, s->d, t->n, b);
        fb_gemm_f64(true, false, t->m, t->n, k, 1 / (double)w->n, a, TILE, b, TILE, at ? 1 : 0, out,
                    s->d);
    }
}

static void mean_of(const float *x, size_t n, size_t d, double *mean, double *square)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            double v = (double)x[i * d + j] / (double)n;
            mean[j] += v;
            if (square)
                square[j] += v * (double)x[i * d + j];
        }
    }
}

static void measure_means(void *ctx, uint32_t part, uint32_t worker)
{
    measurement *w = ctx;
    fb_problem_part *s = &w->p->parts[part];
    (void)worker;
    s->n_samples = w->n;
    mean_of(w->x[part], w->n, s->d, s->mean_x, NULL);
    mean_of(w->y[part], w->n, s->n_rows, s->mean_y, s->power);
    fb_symmetrize_f64(s->d, s->gram, s->d);
}

/* Of `gram` the tiles on and above the diagonal. With tiles NULL only counts. */
static size_t cut_tiles(const fb_problem *p, tile *tiles)
{
    size_t n = 0;
    for (uint32_t part = 0; part < p->n_parts; part++) {
        const fb_problem_part *s = &p->parts[part];
        for (int of_y = 0; of_y < 2; of_y++) {
            size_t rows = of_y ? s->n_rows : s->d;
            for (size_t i = 0; i < rows; i += TILE) {
                for (size_t j = of_y ? 0 : i; j < s->d; j += TILE, n++) {
                    if (tiles)
                        tiles[n] = (tile){part, of_y != 0,
                                          i,    rows - i < TILE ? rows - i : TILE,
                                          j,    s->d - j < TILE ? s->d - j : TILE};
                }
            }
        }
    }
    return n;
}

fb_status fb_problem_measure(fb_problem *p, size_t n, const float *const *x, const float *const *y,
                             fb_pool *pool)
{
    measurement w = {.p = p, .n = n, .x = x, .y = y};
    uint32_t workers = fb_pool_size(pool);
    size_t n_tiles = cut_tiles(p, NULL);
    fb_status status = FB_OK;
    FB_ENSURE(n > 0 && n_tiles <= UINT32_MAX);
    w.n_tiles = (uint32_t)n_tiles;
    w.tiles = fb_calloc(n_tiles, sizeof *w.tiles);
    w.panel = fb_calloc(workers, sizeof *w.panel);
    if (!w.tiles || !w.panel) {
        status = no_memory();
        goto fail;
    }
    for (uint32_t i = 0; i < workers; i++) {
        w.panel[i] = fb_alloc(2 * (size_t)CHUNK * TILE * sizeof **w.panel);
        if (!w.panel[i]) {
            status = no_memory();
            goto fail;
        }
    }
    (void)cut_tiles(p, w.tiles);
    fb_pool_run(pool, w.n_tiles, measure_tile, &w);
    fb_pool_run(pool, p->n_parts, measure_means, &w);
fail:
    for (uint32_t i = 0; w.panel && i < workers; i++)
        fb_free(w.panel[i]);
    fb_free(w.panel);
    fb_free(w.tiles);
    return status;
}

/* --- centring and damping -------------------------------------------------------------------- */

void fb_problem_centre(fb_problem *p)
{
    for (uint32_t part = 0; part < p->n_parts; part++) {
        fb_problem_part *s = &p->parts[part];
        for (size_t i = 0; i < s->d; i++) {
            for (size_t j = 0; j < s->d; j++)
                s->gram[i * s->d + j] -= s->mean_x[i] * s->mean_x[j];
        }
        for (size_t r = 0; r < s->n_rows; r++) {
            for (size_t j = 0; j < s->d; j++)
                s->cross[r * s->d + j] -= s->mean_y[r] * s->mean_x[j];
            s->power[r] -= s->mean_y[r] * s->mean_y[r];
        }
    }
}

static const float *row_of(const fb_problem *p, const fb_problem_part *s, const float *w, size_t r)
{
    return w + (s->row + r) * p->inner + s->col;
}

void fb_problem_damp(fb_problem *p, double share)
{
    for (uint32_t part = 0; part < p->n_parts; part++) {
        fb_problem_part *s = &p->parts[part];
        double trace = 0;
        for (size_t i = 0; i < s->d; i++)
            trace += s->gram[i * s->d + i];
        /* An input that never moves leaves any damping at all to decide. */
        double lambda = trace > 0 ? share * trace / (double)s->d : 1;
        for (size_t i = 0; i < s->d; i++)
            s->gram[i * s->d + i] += lambda;
        for (size_t r = 0; r < s->n_rows; r++) {
            const float *w = row_of(p, s, p->w, r);
            for (size_t j = 0; j < s->d; j++)
                s->cross[r * s->d + j] += lambda * (double)w[j];
        }
        s->damp += lambda;
    }
}

/* --- errors ---------------------------------------------------------------------------------- */

enum { ROWS = 16 }; /* channels of a task */

typedef struct sums {
    const fb_problem *p;
    const float *w;
    double *error;
    bool damped;
    const fb_problem_part *part;
    double **room; /* [workers] 2 x [ROWS][d of the widest part] */
    size_t widest;
} sums;

/* Both terms of G and p hold the damping; |w' - w|² takes it out again:
 *     J + lambda |w' - w|² = w' G w'ᵀ - 2 w' p + e + lambda |w|². */
static void sum_rows(void *ctx, uint32_t index, uint32_t worker)
{
    sums *c = ctx;
    const fb_problem_part *s = c->part;
    size_t first = (size_t)index * ROWS, n = s->n_rows - first;
    double *v = c->room[worker], *vg = v + ROWS * c->widest;
    n = n < ROWS ? n : ROWS;
    for (size_t r = 0; r < n; r++) {
        const float *w = row_of(c->p, s, c->w, first + r);
        for (size_t j = 0; j < s->d; j++)
            v[r * s->d + j] = (double)w[j];
    }
    fb_gemm_f64(false, false, n, s->d, s->d, 1, v, s->d, s->gram, s->d, 0, vg, s->d);
    for (size_t r = 0; r < n; r++) {
        const float *w0 = row_of(c->p, s, c->p->w, first + r);
        const double *a = v + r * s->d, *ag = vg + r * s->d, *p = s->cross + (first + r) * s->d;
        double total = 0, norm = 0, moved = 0;
        for (size_t j = 0; j < s->d; j++) {
            double w = (double)w0[j];
            total += a[j] * (ag[j] - 2 * p[j]);
            norm += w * w;
            moved += (a[j] - w) * (a[j] - w);
        }
        total += s->power[first + r] + s->damp * norm;
        c->error[s->row + first + r] += c->damped ? total : total - s->damp * moved;
    }
}

fb_status fb_problem_error(const fb_problem *p, const float *w, bool damped, fb_pool *pool,
                           double *error, double *total)
{
    uint32_t workers = fb_pool_size(pool);
    sums c = {.p = p, .w = w, .error = error, .damped = damped};
    fb_status status = FB_OK;
    for (uint32_t i = 0; i < p->n_parts; i++)
        c.widest = p->parts[i].d > c.widest ? p->parts[i].d : c.widest;
    c.room = fb_calloc(workers, sizeof *c.room);
    for (uint32_t i = 0; c.room && i < workers; i++) {
        c.room[i] = fb_calloc(2 * ROWS * c.widest, sizeof **c.room);
        if (!c.room[i])
            status = no_memory();
    }
    if (!c.room || status != FB_OK) {
        status = no_memory();
        goto fail;
    }
    memset(error, 0, p->ct * sizeof *error);
    for (uint32_t i = 0; i < p->n_parts; i++) {
        c.part = &p->parts[i];
        fb_pool_run(pool, (uint32_t)((c.part->n_rows + ROWS - 1) / ROWS), sum_rows, &c);
    }
    for (size_t r = 0; total && r < p->ct; r++)
        *total = (r ? *total : 0) + error[r];
fail:
    for (uint32_t i = 0; c.room && i < workers; i++)
        fb_free(c.room[i]);
    fb_free(c.room);
    return status;
}

double fb_problem_power(const fb_problem *p)
{
    double total = 0;
    for (uint32_t i = 0; i < p->n_parts; i++) {
        for (size_t r = 0; r < p->parts[i].n_rows; r++)
            total += p->parts[i].power[r];
    }
    return total;
}

void fb_problem_shift(const fb_problem *p, const float *w, double *shift)
{
    memset(shift, 0, p->ct * sizeof *shift);
    for (uint32_t i = 0; i < p->n_parts; i++) {
        const fb_problem_part *s = &p->parts[i];
        for (size_t r = 0; r < s->n_rows; r++) {
            const float *row = row_of(p, s, w, r);
            double mean = 0;
            for (size_t j = 0; j < s->d; j++)
                mean += (double)row[j] * s->mean_x[j];
            shift[s->row + r] += s->mean_y[r] - mean;
        }
    }
}

fb_status fb_problem_target(const fb_problem_part *s, const double *inverse, double *target)
{
    size_t d = s->d;
    double *half = fb_alloc(s->n_rows * d * sizeof *half);
    if (!half)
        return no_memory();
    fb_gemm_f64(false, true, s->n_rows, d, d, 1, s->cross, d, inverse, d, 0, half, d);
    fb_gemm_f64(false, false, s->n_rows, d, d, 1, half, d, inverse, d, 0, target, d);
    fb_free(half);
    return FB_OK;
}
