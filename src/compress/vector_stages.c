/* Sums of codewords from several codebooks: one after the other, then all in turn. */
#include "compress/vectors.h"

#include "base/alloc.h"
#include "base/status.h"

#include <string.h>

enum { PAIR_WORDS = 32, FIRST_ROUNDS = 10 };
static const double worth = 1e-3; /* share of the error that another sweep must remove */

typedef struct work {
    const fb_vectors *x;
    fb_stages *s;
    fb_pool *pool;
    fb_vectors part; /* x without what other stages give */
    float *left;     /* [n][d] x less all stages */
    float *target;   /* [n][d] part.v */
    float *error;    /* [n] */
    float *sums;     /* [k*k][d] of a pair of stages */
    uint16_t *pair;  /* [n] indices into sums */
    uint32_t *uses;  /* [k] */
} work;

/* to = from + sign * the words that stage t gives. */
static void add_stage(const work *w, size_t t, const float *from, float sign, float *to)
{
    size_t d = w->x->d;
    for (size_t i = 0; i < w->x->n; i++) {
        const float *word = w->s->word[t] + w->s->index[t][i] * d;
        for (size_t j = 0; j < d; j++)
            to[i * d + j] = from[i * d + j] + sign * word[j];
    }
}

/* What vector i is missed by. */
static double error_of(const work *w, size_t i)
{
    size_t d = w->x->d;
    double total = 0;
    for (size_t j = i * d; j < (i + 1) * d; j++)
        total += (w->x->h ? (double)w->x->h[j] : 1.0) * (double)w->left[j] * (double)w->left[j];
    return total;
}

static double total_error(const work *w)
{
    double total = 0;
    for (size_t i = 0; i < w->x->n; i++)
        total += error_of(w, i);
    return total;
}

/* Words that no vector has take the place of the vectors with the largest errors. */
static void place_unused(work *w, size_t t)
{
    size_t d = w->x->d, unused = 0;
    for (size_t k = 0; k < w->s->k; k++)
        unused += w->uses[k] == 0;
    for (size_t i = 0; unused > 0 && i < w->x->n; i++)
        w->error[i] = (float)error_of(w, i);
    for (size_t k = 0; unused > 0 && k < w->s->k; k++) {
        size_t worst = 0;
        if (w->uses[k] > 0)
            continue;
        for (size_t i = 1; i < w->x->n; i++)
            worst = w->error[i] > w->error[worst] ? i : worst;
        if (w->error[worst] <= 0)
            return;
        w->error[worst] = 0;
        memcpy(w->s->word[t] + k * d, w->target + worst * d, d * sizeof(float));
    }
}

static fb_status assign(work *w, size_t t)
{
    double total;
    FB_TRY(
        fb_vectors_assign(&w->part, w->s->word[t], w->s->k, w->pool, w->s->index[t], NULL, &total));
    add_stage(w, t, w->target, -1, w->left);
    return FB_OK;
}

/* One round of k-means of a stage, on what the others leave: means, then indices. */
static fb_status round_of(work *w, size_t t)
{
    fb_stages *s = w->s;
    add_stage(w, t, w->left, 1, w->target);
    FB_TRY(fb_vectors_update(&w->part, s->index[t], s->k, w->pool, s->word[t], w->uses));
    place_unused(w, t);
    return assign(w, t);
}

/* Stages 0.. in order, each on what is left. */
static fb_status start(work *w, uint64_t seed)
{
    memcpy(w->left, w->x->v, w->x->n * w->x->d * sizeof *w->left);
    for (size_t t = 0; t < w->s->n; t++) {
        memcpy(w->target, w->left, w->x->n * w->x->d * sizeof *w->left);
        FB_TRY(fb_vectors_seed(&w->part, w->s->k, seed + t, w->s->word[t]));
        FB_TRY(assign(w, t));
        double before = total_error(w), total;
        for (int i = 0; i < FIRST_ROUNDS && w->s->n > 1; i++, before = total) {
            FB_TRY(round_of(w, t));
            total = total_error(w);
            if (!(total < before * (1 - worth)))
                break;
        }
    }
    return FB_OK;
}

static void subtract_all(work *w)
{
    memcpy(w->left, w->x->v, w->x->n * w->x->d * sizeof *w->left);
    for (size_t t = 0; t < w->s->n; t++)
        add_stage(w, t, w->left, -1, w->left);
}

/* The best pair of words for each vector, of stages t and t + 1. */
static fb_status assign_pair(work *w, size_t t)
{
    fb_stages *s = w->s;
    size_t d = w->x->d;
    double total;
    add_stage(w, t, w->left, 1, w->target);
    add_stage(w, t + 1, w->target, 1, w->target);
    for (size_t i = 0; i < s->k * s->k; i++) {
        const float *a = s->word[t] + i / s->k * d, *b = s->word[t + 1] + i % s->k * d;
        for (size_t j = 0; j < d; j++)
            w->sums[i * d + j] = a[j] + b[j];
    }
    FB_TRY(fb_vectors_assign(&w->part, w->sums, s->k * s->k, w->pool, w->pair, NULL, &total));
    for (size_t i = 0; i < w->x->n; i++) {
        s->index[t][i] = (uint16_t)(w->pair[i] / s->k);
        s->index[t + 1][i] = (uint16_t)(w->pair[i] % s->k);
    }
    add_stage(w, t, w->target, -1, w->left);
    add_stage(w, t + 1, w->left, -1, w->left);
    return FB_OK;
}

static fb_status sweep(work *w)
{
    bool pairs = w->s->n > 1 && w->s->k <= PAIR_WORDS;
    for (size_t t = 0; pairs && t + 1 < w->s->n; t++)
        FB_TRY(assign_pair(w, t));
    for (size_t t = 0; t < w->s->n; t++)
        FB_TRY(round_of(w, t));
    return FB_OK;
}

static fb_status run(work *w, bool fresh, uint32_t sweeps, uint64_t seed, double *total)
{
    if (fresh)
        FB_TRY(start(w, seed));
    else
        subtract_all(w);
    *total = total_error(w);
    for (uint32_t i = 0; i < sweeps; i++) {
        double before = *total;
        FB_TRY(sweep(w));
        *total = total_error(w);
        if (!(*total < before * (1 - worth)))
            break;
    }
    return FB_OK;
}

fb_status fb_stages_fit(const fb_vectors *x, fb_stages *s, bool fresh, uint32_t sweeps,
                        uint64_t seed, fb_pool *pool, double *total)
{
    work w = {.x = x, .s = s, .pool = pool};
    size_t n = x->n * x->d, sums = s->n > 1 && s->k <= PAIR_WORDS ? s->k * s->k * x->d : 0;
    w.left = fb_alloc(n * sizeof *w.left);
    w.target = fb_alloc(n * sizeof *w.target);
    w.error = fb_alloc(x->n * sizeof *w.error);
    w.sums = fb_alloc(sums * sizeof *w.sums);
    w.pair = fb_alloc(x->n * sizeof *w.pair);
    w.uses = fb_alloc(s->k * sizeof *w.uses);
    w.part = (fb_vectors){x->n, x->d, w.target, x->h};
    fb_status status = w.left && w.target && w.error && w.sums && w.pair && w.uses
                           ? run(&w, fresh, sweeps, seed, total)
                           : fb_fail(FB_E_MEMORY, "no memory for k-means");
    fb_free(w.left);
    fb_free(w.target);
    fb_free(w.error);
    fb_free(w.sums);
    fb_free(w.pair);
    fb_free(w.uses);
    return status;
}
