/* Error correction of codewords (METHODS A.5, A.10, IV.2): worked checks, and J computed from the
 * samples themselves after every single step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/solve.h"
#include "compress/solve_words.h"
#include "unit/compress_net.h"

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
    const float x[6] = {1, 0, 0, 1, 1, 1}, w[4] = {0};
    const float y[6] = {2, 4, 1, 3, 2, 8}; /* [sample][channel] */
    (void)state;
    toy t = {.ct = 2, .groups = 1, .taps = 1, .c = 2, .n = 3};
    fb_ec_options o = {.sweeps = 1, .moves = FB_EC_WORDS};
    double error[2];
    net_ok(fb_pool_create(1, &t.pool));
    net_ok(fb_problem_init(2, 2, 1, (fb_pieces){0}, w, &t.p));
    net_ok(fb_problem_measure(&t.p, 3, (const float *[]){x}, (const float *[]){y}, t.pool));
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
        assert_true(t.steps > 8);
        assert_true(fabs(error[0] - before) < 1e-5 * before);
        assert_true(fabs(error[1] - sample_error(&t)) < 1e-5 * before);
        assert_true(error[1] < 0.5 * error[0]);
        close_toy(&t);
    }
}

/* Bits do not depend on threads. */
static void any_number_of_threads(void **state)
{
    (void)state;
    for (int layer = 0; layer < 2; layer++) {
        toy t[2];
        for (uint32_t i = 0; i < 2; i++) {
            double error[2];
            fb_ec_options o = {.sweeps = 2, .moves = FB_EC_ALL};
            net_state = 5;
            open_toy(&t[i], 70, 1, 9, 24, 150, 1 + 2 * i);
            fill_words(&t[i], 4, 12, 2, layer, false);
            t[i].words.own_scales = true;
            net_ok(fb_solve_ec(&t[i].p, &t[i].words, &o, t[i].pool, error));
        }
        const fb_words *a = &t[0].words, *b = &t[1].words;
        size_t words = a->n_stages * a->n_books * a->n_words * a->d;
        assert_memory_equal(a->code, b->code, a->ct * a->n_blocks * a->n_stages);
        assert_memory_equal(a->word, b->word, words * sizeof *a->word);
        assert_memory_equal(a->scale, b->scale, a->ct * sizeof *a->scale);
        close_toy(&t[0]);
        close_toy(&t[1]);
    }
}

/* 2 channels of 3 weights, 2 words of one element for all: 64 choices of indices, each with its
 * best words. From those of the least J nothing moves; no start ends below it. */
static void against_all_choices(void **state)
{
    double least = INFINITY, reached = INFINITY, error[2];
    toy t;
    (void)state;
    net_state = 1234;
    open_toy(&t, 2, 1, 1, 3, 50, 1);
    fill_words(&t, 1, 2, 1, true, false);
    for (unsigned choice = 0; choice < 64; choice++) {
        for (int fit = 0; fit < 2; fit++) {
            fb_ec_options o = {.sweeps = 30, .moves = fit ? FB_EC_WORDS : FB_EC_ALL};
            for (unsigned i = 0; i < 6; i++)
                t.words.code[i] = choice >> i & 1;
            t.words.word[0] = -0.4;
            t.words.word[1] = 0.4;
            net_ok(fb_solve_ec(&t.p, &t.words, &o, t.pool, error));
            assert_true(error[1] <= error[0]);
            if (fit)
                least = fmin(least, error[1]);
            else
                reached = fmin(reached, error[1]);
        }
    }
    assert_true(fabs(reached - least) < 1e-6 * least);
    close_toy(&t);
}

/* Weights that were drawn from codewords, words and indices known: J = 0, and it stays. */
static void without_loss(void **state)
{
    toy t;
    double error[2], value[108];
    (void)state;
    net_state = 21;
    open_toy(&t, 10, 1, 9, 12, 300, 2);
    fill_words(&t, 4, 6, 2, false, false);
    for (size_t r = 0; r < t.ct; r++) {
        t.words.scale[r] = 0.5 + (double)r;
        fb_words_decode_row(&t.words, r, value);
        for (size_t j = 0; j < 108; j++)
            t.w[r * 108 + j] = (float)value[j];
        for (size_t i = 0; i < t.n; i++) {
            double y = 0;
            for (size_t j = 0; j < 108; j++)
                y += value[j] * (double)t.x[i * 108 + j];
            t.y[i * t.ct + r] = (float)y;
        }
    }
    fb_problem_free(&t.p);
    net_ok(fb_problem_init(t.ct, 108, 1, (fb_pieces){0}, t.w, &t.p));
    net_ok(fb_problem_measure(&t.p, t.n, (const float *[]){t.x}, (const float *[]){t.y}, t.pool));
    t.words.own_scales = true;
    fb_ec_options o = {.sweeps = 3, .moves = FB_EC_ALL};
    double power = fb_problem_power(&t.p);
    net_ok(fb_solve_ec(&t.p, &t.words, &o, t.pool, error));
    assert_true(fabs(error[0]) < 1e-9 * power && fabs(error[1]) < 1e-9 * power);
    close_toy(&t);
}

/* Above 4,608 columns G is block-diagonal; its blocks hold whole vectors. */
static void blocks_end_where_vectors_end(void **state)
{
    enum { CT = 3, INNER = 5001, N = 40, D = 7 };
    fb_problem p;
    (void)state;
    net_state = 66;
    toy t = {.ct = CT, .groups = 1, .taps = 1, .c = INNER, .n = N};
    float *x = calloc((size_t)N * INNER, sizeof *x), *w = calloc((size_t)CT * INNER, sizeof *w);
    float y[N * CT] = {0}, *value = calloc((size_t)CT * INNER, sizeof *value);
    assert_true(x && w && value);
    for (size_t i = 0; i < (size_t)CT * INNER; i++)
        w[i] = net_random();
    net_ok(fb_pool_create(2, &t.pool));
    net_ok(fb_problem_init(CT, INNER, 1, (fb_pieces){INNER, D}, w, &p));
    assert_int_equal(p.n_parts, 3);
    for (size_t i = 0, at = 0; i < p.n_parts; i++) {
        assert_int_equal(p.parts[i].col, at);
        assert_int_equal(at % D, 0);
        at += p.parts[i].d;
        assert_true(i + 1 < p.n_parts || at == INNER);
    }
    fb_problem_free(&p);
    net_ok(fb_problem_init(CT, INNER, 1, (fb_pieces){1667, D}, w, &p));
    assert_true(p.parts[1].col % 1667 % D == 0 && p.parts[2].col % 1667 % D == 0);
    for (size_t i = 0; i < N * CT; i++)
        y[i] = net_random();
    for (size_t i = 0; i < (size_t)N * INNER; i++)
        x[i] = net_random();
    const float *all[3] = {x, x, x}, *answers[3] = {y, y, y};
    net_ok(fb_problem_measure(&p, N, all, answers, t.pool));
    fb_problem_damp(&p, 0.01);
    t.c = 1667; /* as three kernel positions */
    t.taps = 3;
    fill_words(&t, D, 4, 1, false, false);
    fb_ec_options o = {.sweeps = 2, .moves = FB_EC_ALL};
    double error[2], by_row[CT], total;
    net_ok(fb_solve_ec(&p, &t.words, &o, t.pool, error));
    fb_words_decode(&t.words, value);
    net_ok(fb_problem_error(&p, value, true, t.pool, by_row, &total));
    assert_true(error[1] < error[0] && fabs(total - error[1]) < 1e-5 * error[0]);
    net_ok(fb_solve_gptvq(&p, &t.words, 1, t.pool, error));
    assert_true(error[1] <= error[0]);
    free(x);
    free(w);
    free(value);
    fb_problem_free(&p);
    fb_words_free(&t.words);
    fb_pool_destroy(t.pool);
}

/* --- gptvq ----------------------------------------------------------------------------------- */

/* Vectors of one element on the integers from -7 to 7: the indices are GPTQ's. */
static void gptvq_on_a_grid_is_gptq(void **state)
{
    enum { CT = 5, D = 12 };
    const int64_t dims[2] = {CT, D};
    float scale = 1;
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 4,
                     .is_signed = true,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    uint8_t payload[CT * D / 2] = {0};
    int32_t tensor, code[CT * D] = {0};
    fb_model *m;
    fb_reround r;
    double error[2];
    toy t;
    (void)state;
    net_state = 4321;
    open_toy(&t, CT, 1, 1, D, 100, 2);
    for (size_t i = 0; i < CT * D; i++) /* as if the weights had been larger */
        t.p.w[i] *= 5;
    for (size_t i = 0; i < CT * D; i++)
        t.p.parts[0].cross[i] *= 5;
    for (size_t i = 0; i < CT; i++)
        t.p.parts[0].power[i] *= 25;
    fb_problem_damp(&t.p, 0.01);
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, dims, t.p.w, &tensor));
    net_ok(fb_model_set_payload(m, tensor, &e, payload, sizeof payload));
    net_ok(fb_reround_open(&m->tensors[tensor], false, &r));
    net_ok(fb_solve_gptq(&t.p.parts[0], &r, &(fb_gptq_options){false, false}, t.pool, code));
    fill_words(&t, 1, 15, 1, true, false);
    for (size_t k = 0; k < 15; k++)
        t.words.word[k] = (double)k - 7;
    memset(t.words.code, 0, CT * D);
    net_ok(fb_solve_gptvq(&t.p, &t.words, 1, t.pool, error));
    assert_true(error[1] < error[0]);
    for (size_t i = 0; i < CT * D; i++)
        assert_int_equal((int)t.words.code[i] - 7, code[i]);
    fb_reround_close(&r);
    fb_model_close(&m);
    close_toy(&t);
}

/* Never worse than it came; better on average than words that are nearest to the weights. */
static void nearest_words(toy *t)
{
    fb_words *w = &t->words;
    for (size_t i = 0; i < w->ct * w->n_blocks; i++) {
        double left[16];
        size_t r = i / w->n_blocks, b = i % w->n_blocks;
        for (size_t j = 0; j < w->d; j++)
            left[j] = (double)t->w[r * w->inner + w->column[b * w->d + j]];
        for (size_t s = 0; s < w->n_stages; s++) {
            double least = INFINITY;
            for (size_t k = 0; k < w->n_words; k++) {
                const double *word = fb_words_word(w, s, w->book[b], k);
                double sum = 0;
                for (size_t j = 0; j < w->d; j++)
                    sum += (left[j] - word[j]) * (left[j] - word[j]);
                if (sum < least) {
                    least = sum;
                    w->code[i * w->n_stages + s] = (uint8_t)k;
                }
            }
            for (size_t j = 0; j < w->d; j++)
                left[j] -= fb_words_word(w, s, w->book[b], w->code[i * w->n_stages + s])[j];
        }
    }
}

static void gptvq_against_nearest(void **state)
{
    double sum[2] = {0};
    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        toy t;
        double error[2];
        fb_ec_options measure = {.sweeps = 0};
        net_state = 300 + i;
        open_toy(&t, 24, 1 + i % 2, 3, 16, 400, 2);
        fb_problem_damp(&t.p, 0.01);
        fill_words(&t, 4, 16, 1 + i / 3, false, false);
        for (size_t k = 0; k < t.words.n_stages * t.words.n_books * 16 * 4; k++)
            t.words.word[k] *= k < t.words.n_books * 16 * 4 ? 2 : 1;
        nearest_words(&t);
        net_ok(fb_solve_ec(&t.p, &t.words, &measure, t.pool, error));
        sum[0] += error[1];
        net_ok(fb_solve_gptvq(&t.p, &t.words, 2, t.pool, error));
        sum[1] += error[1];
        assert_true(error[1] < error[0]);
        close_toy(&t);
    }
    assert_true(sum[1] < 0.5 * sum[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_closed_form),
        cmocka_unit_test(falls_at_every_step),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(against_all_choices),
        cmocka_unit_test(without_loss),
        cmocka_unit_test(blocks_end_where_vectors_end),
        cmocka_unit_test(gptvq_on_a_grid_is_gptq),
        cmocka_unit_test(gptvq_against_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
