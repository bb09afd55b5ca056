/* All codewords of a layer towards their least-squares optimum, indices staying: conjugate
 * gradients on the normal equations, preconditioned with what each word costs by itself. */
#include "compress/ec_state.h"

#include "base/alloc.h"
#include "compress/linalg.h"

#include <string.h>

enum { ROUNDS = 8 };

typedef struct descent {
    fb_ec *e;
    size_t n;                    /* codewords of all stages and books */
    double *inverse;             /* [n][d][d] the preconditioner */
    double *rhs, *z, *direction; /* [n][d] */
    float *response;             /* [ct][inner] of the direction: G times what weights move by */
    double *power;               /* [ct] its share in direction' A direction */
    double step;
    double **room; /* [workers] 2 x [FB_EC_ROWS][inner] */
} descent;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to correct the codewords of a layer");
}

/* Number of the codeword that a vector has. */
static size_t word_at(const fb_words *w, size_t row, size_t block, size_t stage)
{
    return (stage * w->n_books + fb_words_book(w, row, block)) * w->n_words +
           fb_words_code(w, row, block)[stage];
}

/* --- preconditioner -------------------------------------------------------------------------- */

static void add_block(const fb_ec *e, size_t group, const uint32_t *column, double by, double *a)
{
    size_t d = e->w->d;
    for (size_t i = 0; i < d; i++) {
        if (column[i] == FB_WORDS_NONE)
            continue;
        const fb_problem_part *s = fb_ec_part(e, group, e->cut_of[column[i]]);
        const double *from = s->gram + (column[i] - s->col) * s->d;
        for (size_t j = 0; j < d; j++) {
            if (column[j] >= s->col && column[j] - s->col < s->d)
                a[i * d + j] += by * from[column[j] - s->col];
        }
    }
}

static fb_status invert(double *a, size_t d)
{
    double trace = 0;
    for (size_t j = 0; j < d; j++)
        trace += a[j * d + j];
    for (size_t j = 0; j < d; j++)
        a[j * d + j] += 1e-6 * trace / (double)d;
    return trace > 0 ? fb_spd_inverse(d, a) : FB_OK;
}

static fb_status precondition(const descent *c)
{
    const fb_words *w = c->e->w;
    size_t square = w->d * w->d;
    memset(c->inverse, 0, c->n * square * sizeof *c->inverse);
    for (size_t r = 0; r < w->ct; r++) {
        double by = w->scale[r] * w->scale[r];
        for (size_t b = 0; b < w->n_blocks; b++) {
            for (size_t s = 0; s < w->n_stages; s++)
                add_block(c->e, r / c->e->group_rows, w->column + b * w->d, by,
                          c->inverse + word_at(w, r, b, s) * square);
        }
    }
    for (size_t k = 0; k < c->n; k++)
        FB_TRY(invert(c->inverse + k * square, w->d));
    return FB_OK;
}

/* rhs from the gradient, z = inverse rhs; returns rhs' z. */
static double residual(const descent *c)
{
    const fb_words *w = c->e->w;
    size_t d = w->d;
    double dot = 0;
    memset(c->rhs, 0, c->n * d * sizeof *c->rhs);
    for (size_t r = 0; r < w->ct; r++) {
        const float *g = c->e->g + r * w->inner;
        for (size_t b = 0; b < w->n_blocks; b++) {
            const uint32_t *column = w->column + b * d;
            for (size_t s = 0; s < w->n_stages; s++) {
                double *to = c->rhs + word_at(w, r, b, s) * d;
                for (size_t j = 0; j < d; j++)
                    to[j] -= column[j] == FB_WORDS_NONE ? 0 : w->scale[r] * (double)g[column[j]];
            }
        }
    }
    for (size_t k = 0; k < c->n; k++) {
        for (size_t i = 0; i < d; i++) {
            double sum = 0;
            for (size_t j = 0; j < d; j++)
                sum += c->inverse[(k * d + i) * d + j] * c->rhs[k * d + j];
            c->z[k * d + i] = sum;
            dot += sum * c->rhs[k * d + i];
        }
    }
    return dot;
}

/* --- steps ----------------------------------------------------------------------------------- */

static void respond(void *ctx, uint32_t index, uint32_t worker)
{
    descent *c = ctx;
    fb_ec *e = c->e;
    size_t inner = e->w->inner, group, row, n = fb_ec_task(e, index, &group, &row);
    double *v = c->room[worker], *y = v + FB_EC_ROWS * inner;
    for (size_t r = 0; r < n; r++)
        fb_words_spread(e->w, c->direction, row + r, v + r * inner);
    for (size_t cut = 0; cut < e->n_cuts; cut++) {
        const fb_problem_part *s = fb_ec_part(e, group, cut);
        fb_gemm_f64(false, false, n, s->d, s->d, 1, v + s->col, inner, s->gram, s->d, 0, y + s->col,
                    inner);
    }
    for (size_t r = 0; r < n; r++) {
        c->power[row + r] = 0;
        for (size_t j = 0; j < inner; j++) {
            c->power[row + r] += v[r * inner + j] * y[r * inner + j];
            c->response[(row + r) * inner + j] = (float)y[r * inner + j];
        }
    }
}

static void follow(void *ctx, uint32_t index, uint32_t worker)
{
    descent *c = ctx;
    fb_ec *e = c->e;
    size_t inner = e->w->inner, group, row, n = fb_ec_task(e, index, &group, &row);
    (void)worker;
    for (size_t i = row * inner; i < (row + n) * inner; i++)
        e->g[i] += (float)(c->step * (double)c->response[i]);
}

static void descend(descent *c)
{
    fb_ec *e = c->e;
    double dot = residual(c), first = dot;
    memcpy(c->direction, c->z, c->n * e->w->d * sizeof *c->z);
    for (int k = 0; k < ROUNDS && dot > 0 && dot > 1e-8 * first; k++) {
        double curvature = 0, next;
        fb_pool_run(e->pool, (uint32_t)fb_ec_tasks(e), respond, c);
        for (size_t r = 0; r < e->w->ct; r++)
            curvature += c->power[r];
        if (!(curvature > 0))
            return;
        c->step = dot / curvature;
        for (size_t i = 0; i < c->n * e->w->d; i++)
            e->w->word[i] += c->step * c->direction[i];
        fb_pool_run(e->pool, (uint32_t)fb_ec_tasks(e), follow, c);
        fb_ec_watch(e);
        next = residual(c);
        for (size_t i = 0; i < c->n * e->w->d; i++)
            c->direction[i] = c->z[i] + next / dot * c->direction[i];
        dot = next;
    }
}

fb_status fb_ec_descend(fb_ec *e)
{
    const fb_words *w = e->w;
    descent c = {.e = e, .n = w->n_stages * w->n_books * w->n_words};
    size_t all = c.n * w->d;
    c.inverse = fb_calloc(all, w->d * sizeof *c.inverse);
    c.rhs = fb_calloc(all, sizeof *c.rhs);
    c.z = fb_calloc(all, sizeof *c.z);
    c.direction = fb_calloc(all, sizeof *c.direction);
    c.response = fb_calloc(w->ct * w->inner, sizeof *c.response);
    c.power = fb_calloc(w->ct, sizeof *c.power);
    c.room = fb_ec_rooms(e, 2 * FB_EC_ROWS * w->inner);
    fb_status status = c.inverse && c.rhs && c.z && c.direction && c.response && c.power && c.room
                           ? precondition(&c)
                           : no_memory();
    if (status == FB_OK)
        descend(&c);
    fb_free(c.inverse);
    fb_free(c.rhs);
    fb_free(c.z);
    fb_free(c.direction);
    fb_free(c.response);
    fb_free(c.power);
    fb_ec_free_rooms(e, c.room);
    return status;
}
