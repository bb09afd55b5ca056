/* Error correction of codewords (METHODS A.5, A.10, IV.2): worked checks, and J computed from the
 * samples themselves after every single step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/solve_words.h"
#include "unit/compress_net.h"

enum { MOST = 4096 };

/* A convolution of `taps` positions and c channels a group, its samples, and codewords. */
typedef struct toy {
    size_t ct, groups, taps, c, n; /* n samples */
    float *x, *w;                  /* [groups][n][taps * c], [ct][taps * c] */
    float *y;                      /* [groups][n][ct / groups] */
    fb_problem p;
    fb_words words;
    fb_pool *pool;
    double last; /* J when it was last seen */
    size_t steps;
} toy;

static double sample_error(const toy *t)
{
    size_t inner = t->taps * t->c, rows = t->ct / t->groups;
    double sum = 0, *v = calloc(inner, sizeof *v);
    assert_non_null(v);
    for (size_t r = 0; r < t->ct; r++) {
        const float *x = t->x + r / rows * t->n * inner, *y = t->y + r / rows * t->n * rows;
        fb_words_decode_row(&t->words, r, v);
        for (size_t i = 0; i < t->n; i++) {
            double e = (double)y[i * rows + r % rows];
            for (size_t j = 0; j < inner; j++)
                e -= v[j] * (double)x[i * inner + j];
            sum += e * e / (double)t->n;
        }
    }
    free(v);
    return sum;
}

static void see(void *user)
{
    toy *t = user;
    double j = sample_error(t);
    if (j > t->last * (1 + 1e-5) + 1e-12)
        print_error("step %zu: J rises from %.9g to %.9g\n", t->steps, t->last, j);
    assert_true(j <= t->last * (1 + 1e-5) + 1e-12);
    t->last = j;
    t->steps++;
}

/* Vectors along the channels, one codebook a place or one for all; first words and indices drawn
 * from the weights. */
static void fill_words(toy *t, size_t d, size_t k, size_t stages, bool layer, bool by_group)
{
    fb_words *w = &t->words;
    size_t m_count = (t->c + d - 1) / d, copies = by_group ? t->groups : 1;
    *w = (fb_words){.ct = t->ct,
                    .inner = t->taps * t->c,
                    .n_blocks = t->taps * m_count,
                    .d = d,
                    .n_words = k,
                    .n_stages = stages,
                    .n_books = layer ? 1 : m_count * copies,
                    .book_rows = t->ct / copies,
                    .book_step = by_group ? m_count : 0};
    net_ok(fb_words_alloc(w));
    for (size_t b = 0; b < w->n_blocks; b++) {
        w->book[b] = layer ? 0 : (uint32_t)(b % m_count);
        for (size_t j = 0; j < d; j++) {
            size_t at = b % m_count * d + j;
            w->column[b * d + j] = at < t->c ? (uint32_t)(b / m_count * t->c + at) : FB_WORDS_NONE;
        }
    }
    for (size_t i = 0; i < stages * w->n_books * k; i++) {
        size_t m = i / k % m_count;
        for (size_t j = 0; j < d; j++)
            w->word[i * d + j] = m * d + j < t->c || layer ? 0.5 * (double)net_random() : 0;
    }
    for (size_t i = 0; i < w->ct * w->n_blocks * stages; i++)
        w->code[i] = (uint8_t)((net_random() + 1) / 2 * (float)k);
}

static void open_toy(toy *t, size_t ct, size_t groups, size_t taps, size_t c, size_t n,
                     uint32_t threads)
{
    size_t inner = taps * c, rows = ct / groups;
    const float *x[16], *y[16];
    *t = (toy){.ct = ct, .groups = groups, .taps = taps, .c = c, .n = n};
    t->x = calloc(groups * n * inner, sizeof *t->x);
    t->w = calloc(ct * inner, sizeof *t->w);
    t->y = calloc(groups * n * rows, sizeof *t->y);
    assert_true(t->x && t->w && t->y && groups <= 16);
    for (size_t i = 0; i < ct * inner; i++)
        t->w[i] = net_random();
    for (size_t i = 0; i < groups * n; i++) {
        float common = net_random();
        for (size_t j = 0; j < inner; j++) /* correlated, the last one never moves */
            t->x[i * inner + j] = j + 1 == inner ? 0 : fmaxf(0, common + net_random());
    }
    for (size_t g = 0; g < groups; g++) {
        x[g] = t->x + g * n * inner;
        y[g] = t->y + g * n * rows;
        for (size_t i = 0; i < n * rows; i++) {
            for (size_t j = 0; j < inner; j++)
                t->y[g * n * rows + i] +=
                    t->w[(g * rows + i % rows) * inner + j] * x[g][i / rows * inner + j];
        }
    }
    net_ok(fb_pool_create(threads, &t->pool));
    net_ok(fb_problem_init(ct, inner, groups, (fb_pieces){c, 2}, t->w, &t->p));
    net_ok(fb_problem_measure(&t->p, n, x, y, t->pool));
}

static void close_toy(toy *t)
{
    free(t->x);
    free(t->w);
    free(t->y);
    fb_problem_free(&t->p);
    fb_words_free(&t->words);
    fb_pool_destroy(t->pool);
}

/* Two channels with one word; their residuals average to (3, 2, 5) on the samples (1, 0), (0, 1),
 * (1, 1): the word is (3, 2). */
static void the_closed_form(void **state)
{
    const float x[6] = {1, 0, 0, 1, 1, 1}, y[6] = {2, 1, 4, 3, 2, 8}, w[4] = {0};
    const float y_of[6] = {2, 4, 1, 3, 2, 8}; /* [sample][channel] */
    (void)state;
    (void)y;
    toy t = {.ct = 2, .groups = 1, .taps = 1, .c = 2, .n = 3};
    fb_ec_options o = {.sweeps = 1, .moves = FB_EC_WORDS};
    double error[2];
    net_ok(fb_pool_create(1, &t.pool));
    net_ok(fb_problem_init(2, 2, 1, (fb_pieces){0}, w, &t.p));
    net_ok(fb_problem_measure(&t.p, 3, (const float *[]){x}, (const float *[]){y_of}, t.pool));
    fill_words(&t, 2, 2, 1, false, false);
    memset(t.words.code, 0, 2);
    memset(t.words.word, 0, 4 * sizeof *t.words.word);
    net_ok(fb_solve_ec(&t.p, &t.words, &o, t.pool, error));
    assert_true(fabs(t.words.word[0] - 3) < 1e-5);
    assert_true(fabs(t.words.word[1] - 2) < 1e-5);
    fb_problem_free(&t.p);
    fb_words_free(&t.words);
    fb_pool_destroy(t.pool);
}

/* J from the samples falls with every B-step, D-step and scale, whatever the codebooks. */
static void falls_at_every_step(void **state)
{
    const struct {
        size_t ct, groups, taps, c, d, k, stages;
        bool layer, by_group, scales;
    } cases[] = {
        {6, 1, 3, 12, 4, 3, 1, false, false, false}, {40, 1, 9, 10, 4, 8, 1, false, false, true},
        {8, 2, 9, 8, 3, 5, 2, false, false, true},   {8, 2, 4, 8, 4, 40, 2, false, true, false},
        {20, 1, 9, 24, 4, 4, 3, false, false, true}, {70, 1, 1, 60, 5, 16, 1, false, false, false},
        {16, 2, 9, 60, 4, 12, 2, true, false, true}, {12, 1, 9, 16, 16, 40, 1, false, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        toy t;
        double error[2];
        net_state = 77 + i;
        open_toy(&t, cases[i].ct, cases[i].groups, cases[i].taps, cases[i].c, 200, 2);
        fill_words(&t, cases[i].d, cases[i].k, cases[i].stages, cases[i].layer, cases[i].by_group);
        t.words.own_scales = cases[i].scales;
        t.last = sample_error(&t);
        double before = t.last;
        fb_ec_options o = {.sweeps = 4, .moves = FB_EC_ALL, .watch = see, .user = &t};
        net_ok(fb_solve_ec(&t.p, &t.words, &o, t.pool, error));
        print_message("case %zu: %g -> %g\n", i, error[0], error[1]);
        assert_true(t.steps > 8);
        assert_true(fabs(error[0] - before) < 1e-5 * before);
        assert_true(fabs(error[1] - sample_error(&t)) < 1e-5 * before);
        assert_true(error[1] < 0.5 * error[0]);
        close_toy(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_closed_form),
        cmocka_unit_test(falls_at_every_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
