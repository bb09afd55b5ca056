#include "compress/solve.h"

#include "base/alloc.h"
#include "base/status.h"

typedef struct work {
    const fb_problem_part *part;
    const fb_reround *r;
    uint32_t sweeps;
    double **room; /* [workers] [d]: half of J's gradient, w G - p */
    int32_t *code;
} work;

static double value_at(const work *w, size_t i)
{
    fb_steps s = fb_reround_steps(w->r, i);
    return fb_reround_is_fixed(w->r, i) ? (double)fb_reround_value(w->r, i)
                                        : (double)fb_steps_value(&s, w->code[i]);
}

static void move(const work *w, double *g, size_t j, double by)
{
    const double *row = w->part->gram + j * w->part->d;
    for (size_t k = 0; k < w->part->d; k++)
        g[k] += by * row[k];
}

static void polish_row(void *ctx, uint32_t row, uint32_t worker)
{
    const work *w = ctx;
    const fb_problem_part *s = w->part;
    size_t base = (s->row + row) * w->r->inner + s->col;
    double *g = w->room[worker];
    for (size_t j = 0; j < s->d; j++)
        g[j] = -s->cross[row * s->d + j];
    for (size_t j = 0; j < s->d; j++)
        move(w, g, j, value_at(w, base + j));
    bool moved = true;
    for (uint32_t sweep = 0; moved && sweep < w->sweeps; sweep++) {
        moved = false;
        for (size_t j = 0; j < s->d; j++) {
            double now = value_at(w, base + j), curve = s->gram[j * s->d + j];
            if (fb_reround_is_fixed(w->r, base + j) || !(curve > 0))
                continue;
            fb_steps steps = fb_reround_steps(w->r, base + j);
            int32_t q = fb_steps_nearest(&steps, now - g[j] / curve);
            double by = (double)fb_steps_value(&steps, q) - now;
            double gain = -by * (2 * g[j] + by * curve);
            if (q == w->code[base + j] || !(gain > 1e-12 * s->power[row]))
                continue;
            w->code[base + j] = q;
            move(w, g, j, by);
            moved = true;
        }
    }
}

fb_status fb_solve_polish(const fb_problem_part *s, const fb_reround *r, uint32_t sweeps,
                          fb_pool *pool, int32_t *code)
{
    uint32_t workers = fb_pool_size(pool);
    work w = {.part = s, .r = r, .sweeps = sweeps, .code = code};
    fb_status status = FB_OK;
    w.room = fb_calloc(workers, sizeof *w.room);
    for (uint32_t i = 0; w.room && i < workers && status == FB_OK; i++) {
        w.room[i] = fb_alloc(s->d * sizeof **w.room);
        status = w.room[i] ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to round a layer");
    }
    if (!w.room)
        status = fb_fail(FB_E_MEMORY, "no memory to round a layer");
    if (status == FB_OK)
        fb_pool_run(pool, (uint32_t)s->n_rows, polish_row, &w);
    for (uint32_t i = 0; w.room && i < workers; i++)
        fb_free(w.room[i]);
    fb_free(w.room);
    return status;
}
