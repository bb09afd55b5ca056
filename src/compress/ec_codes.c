/* B-step: the best word, or pair of words, for each vector while all else stays. For a vector with
 * gradient v without its own word (v = g_b - scale G_bb word) taking word k costs, over the scale,
 *
 *     scale word_k' G_bb word_k + 2 v' word_k. */
#include "compress/ec_batch.h"

#include "compress/linalg.h"

#include <math.h>
#include <string.h>

/* Of the local arrays: vector i of a group, a stage. */
static size_t local_at(const fb_ec_batch *b, size_t group, size_t i, size_t stage)
{
    const fb_words *w = b->e->w;
    return ((group * (b->to - b->from) + i - b->from) * w->n_stages + stage) * w->n_words;
}

static const double *book_of(const fb_ec_batch *b, size_t group, size_t i, size_t stage)
{
    const fb_words *w = b->e->w;
    return fb_words_word(w, stage, fb_words_book(w, group * b->e->group_rows, fb_ec_block(b, i)),
                         0);
}

/* What does not depend on channels, for one group and vector. */
static void prepare(void *ctx, uint32_t index, uint32_t worker)
{
    fb_ec_batch *b = ctx;
    const fb_words *w = b->e->w;
    size_t k = w->n_words, d = w->d;
    size_t group = index / (b->to - b->from), i = b->from + index % (b->to - b->from);
    const double *h = fb_ec_h(b, group, i * d, i * d);
    (void)worker;
    for (size_t s = 0; s < w->n_stages; s++) {
        const double *word = book_of(b, group, i, s);
        size_t at = local_at(b, group, i, s);
        double *hd = b->hd + at * d;
        fb_gemm_f64(false, false, k, d, d, 1, word, d, h, b->n, 0, hd, d);
        for (size_t m = 0; m < k; m++) {
            b->q[at + m] = 0;
            for (size_t j = 0; j < d; j++)
                b->q[at + m] += hd[m * d + j] * word[m * d + j];
        }
        if (b->pair && s > 0)
            fb_gemm_f64(false, true, k, k, d, 2, b->hd + local_at(b, group, i, s - 1) * d, d, word,
                        d, 0, b->pair + local_at(b, group, i, s - 1) * k, k);
    }
}

typedef struct choice {
    double cost, now; /* of the best, of the present one */
    size_t k, m;      /* words of the stage and of the next one */
} choice;

static choice best_word(const double *q, const double *score, double scale, size_t n, size_t now)
{
    choice c = {.cost = scale * q[now] + score[now], .k = now};
    c.now = c.cost;
    for (size_t k = 0; k < n; k++) {
        double cost = scale * q[k] + score[k];
        if (cost < c.cost) {
            c.cost = cost;
            c.k = k;
        }
    }
    return c;
}

static choice best_pair(const double *q, const double *score, const double *pair, double scale,
                        size_t n, const uint8_t *now)
{
    choice c = {.k = now[0], .m = now[1]};
    c.now = scale * (q[c.k] + q[n + c.m] + pair[c.k * n + c.m]) + score[c.k] + score[n + c.m];
    c.cost = c.now;
    for (size_t k = 0; k < n; k++) {
        double base = scale * q[k] + score[k];
        for (size_t m = 0; m < n; m++) {
            double cost = base + scale * (q[n + m] + pair[k * n + m]) + score[n + m];
            if (cost < c.cost) {
                c.cost = cost;
                c.k = k;
                c.m = m;
            }
        }
    }
    return c;
}

typedef struct rows {
    size_t group, row, n;
    double *v, *delta; /* [n][d] */
    double *score;     /* [n][1 or 2 stages][K] */
} rows;

/* v and the scores 2 v' word of stage s and, with `two`, of the next one. */
static void score_rows(const fb_ec_batch *b, const rows *t, size_t i, size_t s, size_t two)
{
    const fb_words *w = b->e->w;
    size_t d = w->d, k = w->n_words, block = fb_ec_block(b, i);
    for (size_t r = 0; r < t->n; r++) {
        const uint8_t *code = fb_words_code(w, t->row + r, block) + s;
        double scale = w->scale[t->row + r];
        memcpy(t->v + r * d, b->g + (t->row + r) * b->n + i * d, d * sizeof *t->v);
        for (size_t z = 0; z <= two; z++) {
            const double *hd = b->hd + (local_at(b, t->group, i, s + z) + code[z]) * d;
            for (size_t j = 0; j < d; j++)
                t->v[r * d + j] -= scale * hd[j];
        }
    }
    for (size_t z = 0; z <= two; z++)
        fb_gemm_f64(false, true, t->n, k, d, 2, t->v, d, book_of(b, t->group, i, s + z), d, 0,
                    t->score + z * k, (two + 1) * k);
}

static void replace(double *delta, double scale, const double *to, const double *from, size_t d)
{
    for (size_t j = 0; j < d; j++)
        delta[j] += scale * (to[j] - from[j]);
}

/* Indices of stage s (and the next) for vector i; delta = what the weights moved by. */
static bool pick(fb_ec_batch *b, const rows *t, size_t i, size_t s, size_t two)
{
    const fb_words *w = b->e->w;
    size_t d = w->d, k = w->n_words, at = local_at(b, t->group, i, s);
    const double *word = book_of(b, t->group, i, s), *next = book_of(b, t->group, i, s + two);
    bool moved = false;
    memset(t->delta, 0, t->n * d * sizeof *t->delta);
    for (size_t r = 0; r < t->n; r++) {
        uint8_t *code = fb_words_code(w, t->row + r, fb_ec_block(b, i)) + s;
        double scale = w->scale[t->row + r], *score = t->score + r * (two + 1) * k;
        choice c = two ? best_pair(b->q + at, score, b->pair + at * k, scale, k, code)
                       : best_word(b->q + at, score, scale, k, code[0]);
        if (!(c.now - c.cost > 1e-12 * fabs(c.now)))
            continue;
        moved = true;
        replace(t->delta + r * d, scale, word + c.k * d, word + code[0] * d, d);
        code[0] = (uint8_t)c.k;
        if (two) {
            replace(t->delta + r * d, scale, next + c.m * d, next + code[1] * d, d);
            code[1] = (uint8_t)c.m;
        }
    }
    return moved;
}

static void choose_rows(void *ctx, uint32_t index, uint32_t worker)
{
    fb_ec_batch *b = ctx;
    const fb_words *w = b->e->w;
    size_t d = w->d, two = b->pair ? 1 : 0;
    rows t = {.v = b->room[worker]};
    t.n = fb_ec_task(b->e, index, &t.group, &t.row);
    t.delta = t.v + FB_EC_ROWS * d;
    t.score = t.delta + FB_EC_ROWS * d;
    for (size_t i = b->from; i < b->to; i++) {
        for (size_t s = 0; s + two < w->n_stages; s++) {
            score_rows(b, &t, i, s, two);
            if (!pick(b, &t, i, s, two))
                continue;
            fb_gemm_f64(false, false, t.n, b->n, d, 1, t.delta, d, fb_ec_h(b, t.group, i * d, 0),
                        b->n, 1, b->g + t.row * b->n, b->n);
            for (size_t r = 0; r < t.n; r++) {
                double *move = b->move + (t.row + r) * b->n + i * d;
                for (size_t j = 0; j < d; j++)
                    move[j] += t.delta[r * d + j];
            }
        }
    }
}

void fb_ec_choose(fb_ec_batch *b)
{
    const fb_words *w = b->e->w;
    size_t words = w->n_stages * w->n_words, vectors = b->to - b->from;
    size_t each = words * w->d * w->d + (b->pair ? words * w->n_words * w->d : 0);
    fb_ec_run(b->e, b->e->groups * vectors, each, prepare, b);
    each = FB_EC_ROWS * vectors * w->d * (words + b->n);
    fb_ec_run(b->e, fb_ec_tasks(b->e), each, choose_rows, b);
    fb_ec_watch(b->e);
}
