/* GPTVQ: vectors one after the other, each error spread over the columns that are left. */
#include "compress/solve_words.h"

#include "base/alloc.h"
#include "compress/linalg.h"

#include <string.h>

enum {
    ROWS = 16,    /* channels of a task */
    CHUNK = 128,  /* columns that are kept up to date vector by vector */
    REVISIONS = 2 /* of each stage of a vector after the first choice */
};

/* One part of a layer, columns in the order of its vectors. */
typedef struct work {
    const fb_problem_part *part;
    const fb_words *w;
    uint8_t *code;   /* [ct][n_blocks][n_stages] that is chosen */
    size_t first, n; /* its vectors */
    size_t *at;      /* [n + 1] their first columns in order */
    uint32_t *order; /* [d] columns of the part in order */
    double *u;       /* [d][d] G⁻¹ = Uᵀ U, in order */
    double *target;  /* [n_rows][d] in order */
    double *word;    /* [n][n_stages][K][d of words] P⁻¹, P = U of the vector's columns */
    double *norm;    /* [n][n_stages][K] squared lengths of those */
    double **room;
} work;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to choose the codewords of a layer");
}

/* x [n][ld] P⁻¹ in place, P the size x size upper triangle at u. */
static void divide(double *x, size_t n, size_t ld, const double *u, size_t u_ld, size_t size)
{
    for (size_t r = 0; r < n; r++) {
        for (size_t j = 0; j < size; j++) {
            double sum = x[r * ld + j];
            for (size_t i = 0; i < j; i++)
                sum -= x[r * ld + i] * u[i * u_ld + j];
            x[r * ld + j] = sum / u[j * u_ld + j];
        }
    }
}

/* --- what does not depend on channels -------------------------------------------------------- */

/* The part's vectors and the order of its columns. */
static fb_status place(work *c)
{
    const fb_words *w = c->w;
    const fb_problem_part *s = c->part;
    size_t at = 0;
    c->n = 0;
    for (size_t b = 0; b < w->n_blocks; b++) {
        const uint32_t *column = w->column + b * w->d;
        if (column[0] < s->col || column[0] - s->col >= s->d)
            continue;
        if (c->n == 0)
            c->first = b;
        c->at[c->n++] = at;
        for (size_t j = 0; j < w->d && column[j] != FB_WORDS_NONE; j++) {
            if (column[j] < s->col || column[j] - s->col >= s->d)
                return fb_fail(FB_E_UNSUPPORTED,
                               "vectors along the kernel of a layer with %zu weights a channel "
                               "cannot be chosen column by column; at most %d",
                               w->inner, (int)FB_PROBLEM_WHOLE);
            c->order[at++] = column[j] - (uint32_t)s->col;
        }
    }
    c->at[c->n] = at;
    FB_ENSURE(at == s->d);
    return FB_OK;
}

static void prepare(void *ctx, uint32_t index, uint32_t worker)
{
    work *c = ctx;
    const fb_words *w = c->w;
    size_t k = w->n_words, d = w->d, from = c->at[index], size = c->at[index + 1] - from;
    (void)worker;
    for (size_t s = 0; s < w->n_stages; s++) {
        size_t at = (index * w->n_stages + s) * k;
        double *word = c->word + at * d;
        memcpy(word, fb_words_word(w, s, fb_words_book(w, c->part->row, c->first + index), 0),
               k * d * sizeof *word);
        divide(word, k, d, c->u + from * c->part->d + from, c->part->d, size);
        for (size_t m = 0; m < k; m++) {
            c->norm[at + m] = 0;
            for (size_t j = 0; j < size; j++)
                c->norm[at + m] += word[m * d + j] * word[m * d + j];
        }
    }
}

static void permute(const work *c, const double *from, size_t rows, double *to)
{
    size_t d = c->part->d;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < d; j++)
            to[i * d + j] = from[i * d + c->order[j]];
    }
}

static fb_status factor(work *c)
{
    const fb_problem_part *s = c->part;
    size_t d = s->d;
    fb_problem_part in_order = *s;
    for (size_t i = 0; i < d; i++)
        permute(c, s->gram + c->order[i] * d, 1, c->u + i * d);
    FB_TRY(fb_inverse_cholesky(d, c->u));
    in_order.cross = fb_alloc(s->n_rows * d * sizeof *in_order.cross);
    if (!in_order.cross)
        return no_memory();
    permute(c, s->cross, s->n_rows, in_order.cross);
    fb_status status = fb_problem_target(&in_order, c->u, c->target);
    fb_free(in_order.cross);
    return status;
}

/* --- channels -------------------------------------------------------------------------------- */

static size_t nearest(const double *score, const double *norm, double scale, size_t n)
{
    size_t best = 0;
    double least = scale * norm[0] - 2 * score[0];
    for (size_t k = 1; k < n; k++) {
        double cost = scale * norm[k] - 2 * score[k];
        if (cost < least) {
            least = cost;
            best = k;
        }
    }
    return best;
}

/* Words of vector i for `n` channels: e [n][d] comes with (target P⁻¹), leaves without the words.
 */
static void choose(work *c, size_t i, size_t row, size_t n, double *e, double *score)
{
    const fb_words *w = c->w;
    size_t k = w->n_words, d = w->d, size = c->at[i + 1] - c->at[i], stages = w->n_stages;
    size_t rounds = stages > 1 ? 1 + REVISIONS : 1;
    for (size_t step = 0; step < rounds * stages; step++) {
        size_t s = step % stages, at = (i * stages + s) * k;
        for (size_t r = 0; r < n && step >= stages; r++) { /* the word that it has, back */
            const double *word =
                c->word + (at + c->code[((row + r) * w->n_blocks + c->first + i) * stages + s]) * d;
            for (size_t j = 0; j < size; j++)
                e[r * d + j] += w->scale[row + r] * word[j];
        }
        fb_gemm_f64(false, true, n, k, size, 1, e, d, c->word + at * d, d, 0, score, k);
        for (size_t r = 0; r < n; r++) {
            size_t best = nearest(score + r * k, c->norm + at, w->scale[row + r], k);
            c->code[((row + r) * w->n_blocks + c->first + i) * stages + s] = (uint8_t)best;
            for (size_t j = 0; j < size; j++)
                e[r * d + j] -= w->scale[row + r] * c->word[(at + best) * d + j];
        }
    }
}

static void solve_rows(void *ctx, uint32_t index, uint32_t worker)
{
    work *c = ctx;
    const fb_words *w = c->w;
    size_t d = c->part->d, first = (size_t)index * ROWS, row = c->part->row + first;
    size_t n = c->part->n_rows - first < ROWS ? c->part->n_rows - first : ROWS;
    double *v = c->room[worker], *e = v + ROWS * d, *score = e + ROWS * w->d;
    double *errors = score + ROWS * w->n_words; /* [ROWS][CHUNK + d of words] */
    size_t ld = CHUNK + w->d;
    memcpy(v, c->target + first * d, n * d * sizeof *v);
    for (size_t i = 0, stop; i < c->n; i = stop) {
        for (stop = i; stop < c->n && c->at[stop] - c->at[i] < CHUNK; stop++)
            ;
        size_t from = c->at[i], end = c->at[stop];
        for (size_t z = i; z < stop; z++) {
            size_t at = c->at[z], behind = c->at[z + 1], size = behind - at;
            const double *u = c->u + at * d;
            for (size_t r = 0; r < n; r++)
                memcpy(e + r * w->d, v + r * d + at, size * sizeof *e);
            divide(e, n, w->d, u + at, d, size);
            choose(c, z, row, n, e, score);
            for (size_t r = 0; r < n; r++)
                memcpy(errors + r * ld + at - from, e + r * w->d, size * sizeof *e);
            if (behind < end)
                fb_gemm_f64(false, false, n, end - behind, size, -1, e, w->d, u + behind, d, 1,
                            v + behind, d);
        }
        if (end < d)
            fb_gemm_f64(false, false, n, d - end, end - from, -1, errors, ld, c->u + from * d + end,
                        d, 1, v + end, d);
    }
}

static fb_status solve_part(work *c, fb_pool *pool)
{
    const fb_words *w = c->w;
    const fb_problem_part *s = c->part;
    size_t local = w->n_blocks * w->n_stages * w->n_words, workers = fb_pool_size(pool);
    size_t room = ROWS * (s->d + 2 * w->d + w->n_words + CHUNK);
    double *rooms = fb_alloc(workers * room * sizeof *rooms);
    fb_status status;
    c->at = fb_calloc(w->n_blocks + 1, sizeof *c->at);
    c->order = fb_calloc(s->d, sizeof *c->order);
    c->u = fb_alloc(s->d * s->d * sizeof *c->u);
    c->target = fb_alloc(s->n_rows * s->d * sizeof *c->target);
    c->word = fb_calloc(local, w->d * sizeof *c->word);
    c->norm = fb_calloc(local, sizeof *c->norm);
    c->room = fb_calloc(workers, sizeof *c->room);
    if (!rooms || !c->at || !c->order || !c->u || !c->target || !c->word || !c->norm || !c->room) {
        status = no_memory();
        goto fail;
    }
    for (size_t i = 0; i < workers; i++)
        c->room[i] = rooms + i * room;
    FB_GO(place(c));
    FB_GO(factor(c));
    fb_pool_run(pool, (uint32_t)c->n, prepare, c);
    fb_pool_run(pool, (uint32_t)((s->n_rows + ROWS - 1) / ROWS), solve_rows, c);
fail:
    fb_free(rooms);
    fb_free(c->at);
    fb_free(c->order);
    fb_free(c->u);
    fb_free(c->target);
    fb_free(c->word);
    fb_free(c->norm);
    fb_free(c->room);
    return status;
}

/* --- rounds ---------------------------------------------------------------------------------- */

/* Indices of all channels; those whose J does not fall stay. */
static fb_status assign(const fb_problem *p, fb_words *w, fb_pool *pool)
{
    size_t each = w->n_blocks * w->n_stages;
    fb_words trial = *w;
    float *value = fb_alloc(w->ct * w->inner * sizeof *value);
    double *was = fb_calloc(w->ct, sizeof *was), *is = fb_calloc(w->ct, sizeof *is);
    fb_status status;
    trial.code = fb_alloc(w->ct * each);
    if (!value || !was || !is || !trial.code) {
        status = no_memory();
        goto fail;
    }
    memcpy(trial.code, w->code, w->ct * each);
    for (uint32_t i = 0; i < p->n_parts; i++) {
        work c = {.part = &p->parts[i], .w = w, .code = trial.code};
        FB_GO(solve_part(&c, pool));
    }
    fb_words_decode(w, value);
    FB_GO(fb_problem_error(p, value, true, pool, was, NULL));
    fb_words_decode(&trial, value);
    FB_GO(fb_problem_error(p, value, true, pool, is, NULL));
    for (size_t r = 0; r < w->ct; r++) {
        if (is[r] < was[r])
            memcpy(w->code + r * each, trial.code + r * each, each);
    }
fail:
    fb_free(value);
    fb_free(was);
    fb_free(is);
    fb_free(trial.code);
    return status;
}

fb_status fb_solve_gptvq(const fb_problem *p, fb_words *w, uint32_t rounds, fb_pool *pool,
                         double *error)
{
    fb_ec_options fit = {.sweeps = 0, .moves = FB_EC_WORDS};
    FB_TRY(fb_solve_ec(p, w, &fit, pool, error));
    fit.sweeps = 2;
    for (uint32_t k = 0; k < rounds; k++) {
        double step[2];
        FB_TRY(assign(p, w, pool));
        FB_TRY(fb_solve_ec(p, w, &fit, pool, step));
        error[1] = step[1];
    }
    return FB_OK;
}
