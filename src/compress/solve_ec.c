/* Error correction: sweeps, and the gradient that they keep. */
#include "compress/ec_state.h"

#include "base/alloc.h"
#include "compress/linalg.h"

#include <math.h>
#include <string.h>

enum { WORTH_WAKING = 1 << 20 };

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to correct the codewords of a layer");
}

void fb_ec_run(const fb_ec *e, size_t n, size_t each,
               void (*fn)(void *ctx, uint32_t i, uint32_t worker), void *ctx)
{
    if (n > WORTH_WAKING / (each + 1)) {
        fb_pool_run(e->pool, (uint32_t)n, fn, ctx);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(ctx, i, 0);
}

double **fb_ec_rooms(const fb_ec *e, size_t size)
{
    uint32_t workers = fb_pool_size(e->pool);
    double **room = fb_calloc(workers, sizeof *room);
    bool memory = room != NULL;
    for (uint32_t i = 0; memory && i < workers; i++) {
        room[i] = fb_calloc(size, sizeof **room);
        memory = room[i] != NULL;
    }
    if (!memory)
        fb_ec_free_rooms(e, room);
    return memory ? room : NULL;
}

void fb_ec_free_rooms(const fb_ec *e, double **room)
{
    for (uint32_t i = 0; room && i < fb_pool_size(e->pool); i++)
        fb_free(room[i]);
    fb_free(room);
}

/* --- gradient -------------------------------------------------------------------------------- */

typedef struct refresh {
    fb_ec *e;
    double **room; /* [workers] 2 x [FB_EC_ROWS][inner] */
    double *error; /* [ct] */
} refresh;

/* The scale that minimises a t² - 2 b t, as a factor of the present one. */
static double best_scale(double a, double b, double scale)
{
    double t = a > 0 && b > 0 ? b / a : 1;
    float stored = (float)(scale * t);
    return isfinite(stored) && stored > 0 ? t : 1;
}

static double finish_row(fb_ec *e, size_t group, size_t row, double *v, double *y)
{
    double a = 0, b = 0;
    for (size_t cut = 0; cut < e->n_cuts; cut++) {
        const fb_problem_part *s = fb_ec_part(e, group, cut);
        const double *p = s->cross + (row - s->row) * s->d;
        for (size_t j = 0; j < s->d; j++) {
            a += v[s->col + j] * y[s->col + j];
            b += v[s->col + j] * p[j];
        }
    }
    double t = e->w->own_scales ? best_scale(a, b, e->w->scale[row]) : 1;
    e->w->scale[row] *= t;
    for (size_t cut = 0; cut < e->n_cuts; cut++) {
        const fb_problem_part *s = fb_ec_part(e, group, cut);
        const double *p = s->cross + (row - s->row) * s->d;
        for (size_t j = 0; j < s->d; j++)
            e->g[row * e->w->inner + s->col + j] = (float)(t * y[s->col + j] - p[j]);
    }
    return t * t * a - 2 * t * b;
}

static void refresh_rows(void *ctx, uint32_t index, uint32_t worker)
{
    refresh *c = ctx;
    fb_ec *e = c->e;
    size_t inner = e->w->inner, group, row, n = fb_ec_task(e, index, &group, &row);
    double *v = c->room[worker], *y = v + FB_EC_ROWS * inner;
    for (size_t r = 0; r < n; r++)
        fb_words_decode_row(e->w, row + r, v + r * inner);
    for (size_t cut = 0; cut < e->n_cuts; cut++) {
        const fb_problem_part *s = fb_ec_part(e, group, cut);
        fb_gemm_f64(false, false, n, s->d, s->d, 1, v + s->col, inner, s->gram, s->d, 0, y + s->col,
                    inner);
    }
    for (size_t r = 0; r < n; r++)
        c->error[row + r] = finish_row(e, group, row + r, v + r * inner, y + r * inner);
}

fb_status fb_ec_refresh(fb_ec *e, double *j)
{
    refresh c = {.e = e,
                 .room = fb_ec_rooms(e, 2 * FB_EC_ROWS * e->w->inner),
                 .error = fb_calloc(e->w->ct, sizeof *c.error)};
    fb_status status = c.room && c.error ? FB_OK : no_memory();
    if (status == FB_OK) {
        fb_ec_run(e, fb_ec_tasks(e), FB_EC_ROWS * e->w->inner * (e->w->inner / e->n_cuts),
                  refresh_rows, &c);
        *j = e->constant;
        for (size_t r = 0; r < e->w->ct; r++)
            *j += c.error[r];
        fb_ec_watch(e);
    }
    fb_ec_free_rooms(e, c.room);
    fb_free(c.error);
    return status;
}

/* --- structure ------------------------------------------------------------------------------- */

/* Vectors by their codebook, in order within one. */
static void sort_blocks(fb_ec *e)
{
    const fb_words *w = e->w;
    for (size_t b = 0; b < w->n_blocks; b++)
        e->set_first[w->book[b] + 1]++;
    for (size_t s = 0; s < e->n_sets; s++) {
        e->wide = e->wide || e->set_first[s + 1] * w->d > FB_EC_NARROW;
        e->set_first[s + 1] += e->set_first[s];
    }
    for (size_t s = 0, at = 0; s < e->n_sets; s++) {
        for (size_t b = 0; e->set_first[s + 1] > at && b < w->n_blocks; b++) {
            if (w->book[b] == s)
                e->set_block[at++] = b;
        }
    }
}

static fb_status open_ec(fb_ec *e)
{
    const fb_words *w = e->w;
    const fb_problem *p = e->p;
    FB_ENSURE(p->ct == w->ct && p->inner == w->inner && p->n_parts > 0);
    e->group_rows = p->parts[0].n_rows;
    e->groups = p->ct / e->group_rows;
    e->n_cuts = p->n_parts / e->groups;
    FB_ENSURE(w->book_step == 0 || w->book_rows == e->group_rows);
    for (size_t b = 0; b < w->n_blocks; b++)
        e->n_sets = w->book[b] + 1u > e->n_sets ? w->book[b] + 1u : e->n_sets;
    e->cut_of = fb_calloc(w->inner, sizeof *e->cut_of);
    e->set_first = fb_calloc(e->n_sets + 1, sizeof *e->set_first);
    e->set_block = fb_calloc(w->n_blocks, sizeof *e->set_block);
    e->g = fb_calloc(w->ct * w->inner, sizeof *e->g);
    if (!e->cut_of || !e->set_first || !e->set_block || !e->g)
        return no_memory();
    for (uint32_t i = 0; i < p->n_parts; i++) {
        const fb_problem_part *s = &p->parts[i];
        for (size_t j = 0; i < e->n_cuts && j < s->d; j++)
            e->cut_of[s->col + j] = i;
        for (size_t r = 0; r < s->n_rows; r++) {
            const float *row = p->w + (s->row + r) * p->inner + s->col;
            for (size_t j = 0; s->damp > 0 && j < s->d; j++)
                e->constant += s->damp * (double)row[j] * (double)row[j];
        }
    }
    e->constant += fb_problem_power(p);
    sort_blocks(e);
    return FB_OK;
}

static void close_ec(fb_ec *e)
{
    fb_free(e->cut_of);
    fb_free(e->set_first);
    fb_free(e->set_block);
    fb_free(e->g);
}

fb_status fb_solve_ec(const fb_problem *p, fb_words *w, const fb_ec_options *options, fb_pool *pool,
                      double *error)
{
    fb_ec e = {.p = p, .w = w, .o = options, .pool = pool};
    bool own_scales = w->own_scales;
    fb_status status;
    FB_GO(open_ec(&e));
    w->own_scales = false; /* as they are: the error before */
    FB_GO(fb_ec_refresh(&e, &error[0]));
    w->own_scales = own_scales;
    error[1] = error[0];
    for (uint32_t k = 0; k < options->sweeps; k++) {
        double was = error[1];
        if (own_scales && k == 0)
            FB_GO(fb_ec_refresh(&e, &error[1]));
        FB_GO(fb_ec_pass(&e));
        if (e.wide && (options->moves & FB_EC_WORDS))
            FB_GO(fb_ec_descend(&e));
        FB_GO(fb_ec_refresh(&e, &error[1]));
        if (!(was - error[1] > options->enough * was))
            break;
    }
fail:
    w->own_scales = own_scales;
    close_ec(&e);
    return status;
}
