/* Solvers against other ways to the same result: by hand, by trying everything, by the plain form
 * of OBQ, by finite differences, by samples (METHODS M.6, M.8, M.9, IV.3, IV.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/linalg.h"
#include "unit/sample_problem.h"

/* --- METHODS M.8's toy ----------------------------------------------------------------------- */

static const double toy_h[4] = {2, 1, 1, 2};

static void expect_codes(const int32_t *code, int32_t a, int32_t b)
{
    assert_int_equal(code[0], a);
    assert_int_equal(code[1], b);
}

/* The stated losses are halves of the quadratic form. */
static void the_worked_example(void **state)
{
    toy t;
    int32_t code[2], best[2];
    (void)state;
    /* w = (0.45, 0.40): nearest 0.5425; the second weight first: (1, 0) 0.2425, the optimum */
    toy_open(&t, 1, 2, toy_h, (float[]){0.45f, 0.40f});
    expect_codes(t.r.code, 0, 0);
    assert_true(fabs(toy_error(&t, t.r.code) / 2 - 0.5425) < 1e-6);
    assert_true(fabs(toy_least(&t, best) / 2 - 0.2425) < 1e-6);
    expect_codes(best, 1, 0);
    /* in natural order the first weight goes to 0, the second to 0.40 + 0.45 / 2 */
    assert_true(fabs(toy_gptq(&t, false, code) / 2 - 0.2925) < 1e-6);
    expect_codes(code, 0, 1);
    memcpy(code, t.r.code, sizeof code);
    net_ok(fb_solve_adaround(&t.p.parts[0], &t.r, 1000, t.pool, code));
    expect_codes(code, 1, 0);
    toy_close(&t);
    /* OBQ's own order, which fixes 0.40 first */
    toy_open(&t, 1, 2, toy_h, (float[]){0.40f, 0.45f});
    assert_true(fabs(toy_gptq(&t, false, code) / 2 - 0.2425) < 1e-6);
    expect_codes(code, 0, 1);
    toy_close(&t);
    /* w = (0.4, 0.4): nearest 0.48, OBQ (0, 1) 0.28, one of the two optima */
    toy_open(&t, 1, 2, toy_h, (float[]){0.40f, 0.40f});
    assert_true(fabs(toy_error(&t, t.r.code) / 2 - 0.48) < 1e-6);
    assert_true(fabs(toy_least(&t, best) / 2 - 0.28) < 1e-6);
    assert_true(fabs(toy_gptq(&t, false, code) / 2 - 0.28) < 1e-6);
    expect_codes(code, 0, 1);
    /* equal weights are pulled equally and stay together; polishing parts them */
    memcpy(code, t.r.code, sizeof code);
    net_ok(fb_solve_adaround(&t.p.parts[0], &t.r, 1000, t.pool, code));
    assert_int_equal(code[0], code[1]);
    net_ok(fb_solve_polish(&t.p.parts[0], &t.r, 20, t.pool, code));
    assert_true(fabs(toy_error(&t, code) / 2 - 0.28) < 1e-6);
    toy_close(&t);
}

/* --- against the optimum --------------------------------------------------------------------- */

/* Four weights, all codes tried: AdaRound comes close to the optimum on average, and often finds
 * it; polishing never harms. */
static void close_to_the_optimum(void **state)
{
    enum { TRIALS = 60 };
    double sum[4] = {0}; /* nearest, gptq, adaround, optimum */
    int found = 0;
    (void)state;
    net_state = 1234567;
    for (int trial = 0; trial < TRIALS; trial++) {
        float w[4];
        int32_t code[4], best[4];
        double *gram = toy_gram(4);
        toy t;
        for (int j = 0; j < 4; j++)
            w[j] = 3 * net_random();
        toy_open(&t, 1, 4, gram, w);
        double least = toy_least(&t, best);
        sum[0] += toy_error(&t, t.r.code) / least;
        sum[1] += toy_gptq(&t, true, code) / least;
        memcpy(code, t.r.code, sizeof code);
        net_ok(fb_solve_adaround(&t.p.parts[0], &t.r, 1000, t.pool, code));
        double e = toy_error(&t, code);
        sum[2] += e / least;
        found += e <= least * (1 + 1e-9);
        net_ok(fb_solve_polish(&t.p.parts[0], &t.r, 20, t.pool, code));
        assert_true(toy_error(&t, code) <= e * (1 + 1e-9));
        toy_close(&t);
        free(gram);
    }
    print_message("of the optimum: nearest %.2f, gptq %.2f, adaround %.2f; found %d of %d\n",
                  sum[0] / TRIALS, sum[1] / TRIALS, sum[2] / TRIALS, found, TRIALS);
    assert_true(found >= TRIALS / 2);
    assert_true(sum[2] / TRIALS < 1.25 && sum[2] < sum[0]);
}

/* --- gptq is OBQ in a fixed order ------------------------------------------------------------- */

static void invert(size_t d, const double *a, double *inverse)
{
    double *m = malloc(d * 2 * d * sizeof *m);
    for (size_t i = 0; i < d; i++) {
        for (size_t j = 0; j < d; j++) {
            m[i * 2 * d + j] = a[i * d + j];
            m[i * 2 * d + d + j] = i == j;
        }
    }
    for (size_t p = 0; p < d; p++) {
        double pivot = m[p * 2 * d + p];
        for (size_t j = 0; j < 2 * d; j++)
            m[p * 2 * d + j] /= pivot;
        for (size_t i = 0; i < d; i++) {
            double f = m[i * 2 * d + p];
            for (size_t j = 0; i != p && f != 0 && j < 2 * d; j++)
                m[i * 2 * d + j] -= f * m[p * 2 * d + j];
        }
    }
    for (size_t i = 0; i < d * d; i++)
        inverse[i] = m[i / d * 2 * d + d + i % d];
    free(m);
}

/* METHODS M.8 for one row, columns in the given order, the grid of integers -7..7. Returns the sum
 * of the scores (w_p - q)² / [H⁻¹]_pp. */
static double plain_obq(size_t d, const double *gram, const size_t *order, double *w, int32_t *code)
{
    double *h = malloc(d * d * sizeof *h), *column = malloc(d * sizeof *column), score = 0;
    invert(d, gram, h);
    for (size_t k = 0; k < d; k++) {
        size_t p = order[k];
        double q = rint(w[p]), diagonal = h[p * d + p];
        q = q < -7 ? -7 : q > 7 ? 7 : q;
        code[p] = (int32_t)q;
        double e = (w[p] - q) / diagonal;
        score += (w[p] - q) * e;
        for (size_t i = 0; i < d; i++)
            column[i] = h[i * d + p];
        for (size_t i = 0; i < d; i++)
            w[i] -= e * column[i];
        for (size_t i = 0; i < d * d; i++)
            h[i] -= column[i / d] * column[i % d] / diagonal;
    }
    free(h);
    free(column);
    return score;
}

static const double *sort_key;

static int strongest_first(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    if (sort_key[x] != sort_key[y])
        return sort_key[x] < sort_key[y] ? 1 : -1;
    return (x > y) - (x < y);
}

/* 150 columns are more than a block of lazily updated ones. */
static void gptq_is_obq(void **state)
{
    const size_t sizes[] = {1, 2, 7, 24, 128, 150}, ct = 18;
    (void)state;
    net_state = 99;
    for (size_t k = 0; k < 12; k++) {
        size_t d = sizes[k / 2], moved = 0;
        double *gram = toy_gram(d), *key = malloc(d * sizeof *key), *row = malloc(d * sizeof *row);
        float *w = malloc(ct * d * sizeof *w);
        size_t *order = malloc(d * sizeof *order);
        int32_t *code = malloc(ct * d * sizeof *code), *wanted = malloc(d * sizeof *wanted);
        double scores = 0;
        toy t;
        for (size_t i = 0; i < d; i++) {
            gram[i * d + i] += 0.01;
            key[i] = gram[i * d + i];
            order[i] = i;
        }
        for (size_t i = 0; i < ct * d; i++)
            w[i] = 9 * net_random(); /* some beyond the grid */
        sort_key = key;
        if (k % 2)
            qsort(order, d, sizeof *order, strongest_first);
        toy_open(&t, ct, d, gram, w);
        double error = toy_gptq(&t, k % 2, code);
        for (size_t r = 0; r < ct; r++) {
            for (size_t j = 0; j < d; j++)
                row[j] = (double)w[r * d + j];
            scores += plain_obq(d, gram, order, row, wanted);
            assert_memory_equal(code + r * d, wanted, d * sizeof *wanted);
            for (size_t j = 0; j < d; j++)
                moved += wanted[j] != t.r.code[r * d + j];
        }
        assert_true(d == 1 || moved > 0);
        assert_true(fabs(scores - error) < 1e-9 * error);
        toy_close(&t);
        free(gram);
        free(key);
        free(row);
        free(w);
        free(order);
        free(code);
        free(wanted);
    }
}

/* --- AdaRound's gradient --------------------------------------------------------------------- */

/* The loss by METHODS M.6 and IV.4, with lambda = 2. */
static double soft_loss(const fb_soft *s, const double *v, const double *gram, double beta)
{
    double total = 0, unused, *off = malloc(s->d * sizeof *off);
    for (size_t r = 0; r < s->n; r++) {
        for (size_t j = 0; j < s->d; j++) {
            size_t i = r * s->d + j;
            double h = fb_adaround_h(v[i], &unused);
            off[j] = (double)s->low[i] + h * (double)s->step[i] - s->target[i];
            if (beta > 0 && s->step[i] > 0)
                total += 2 * (1 - pow(fabs(2 * h - 1), beta));
        }
        for (size_t i = 0; i < s->d * s->d; i++)
            total += off[i / s->d] * gram[i] * off[i % s->d] / s->unit;
    }
    free(off);
    return total;
}

static void gradient_of_adaround(void **state)
{
    enum { N = 3, D = 7, ALL = N * D };
    float low[ALL], step[ALL], v[ALL], h[ALL], slope[ALL], off[ALL], grad[ALL], g32[D * D];
    double target[ALL], exact[ALL], *gram;
    const double betas[] = {0, 2, 3.5, 11, 20};
    (void)state;
    net_state = 31;
    gram = toy_gram(D);
    for (int i = 0; i < D * D; i++) {
        g32[i] = (float)gram[i];
        gram[i] = (double)g32[i];
    }
    for (int i = 0; i < ALL; i++) {
        low[i] = rintf(4 * net_random()) / 8;
        step[i] = i % 6 == 4 ? 0 : 0.125f * (float)(1 + i % 3);
        target[i] = (double)low[i] + 0.3 * (double)net_random();
        v[i] = i % 9 == 8 ? 4 : 2 * net_random(); /* at 4 h is clipped: no slope */
    }
    fb_soft s = {N, D, g32, target, 0.37, low, step, v, h, slope, off, grad};
    for (size_t b = 0; b < sizeof betas / sizeof *betas; b++) {
        double largest = 0;
        fb_adaround_gradient(&s, betas[b]);
        for (int i = 0; i < ALL; i++)
            largest = fmax(largest, fabs((double)grad[i]));
        for (int i = 0; i < ALL; i++) {
            for (int k = 0; k < ALL; k++)
                exact[k] = (double)v[k];
            exact[i] += 1e-5;
            double up = soft_loss(&s, exact, gram, betas[b]);
            exact[i] -= 2e-5;
            double measured = (up - soft_loss(&s, exact, gram, betas[b])) / 2e-5;
            assert_true(fabs((double)grad[i] - measured) < 1e-5 * (1 + largest));
            assert_true((step[i] > 0 && i % 9 != 8) || grad[i] == 0);
        }
    }
    free(gram);
}

/* --- blocks ---------------------------------------------------------------------------------- */

/* A channel of more than FB_PROBLEM_WHOLE weights: its problem is that of a G whose entries between
 * blocks are 0. All of it from the samples. */
static void blocks_of_a_large_layer(void **state)
{
    enum { INNER = FB_PROBLEM_WHOLE + 9, CT = 2, N = 24, MOST = 8 };
    float *w = malloc(CT * INNER * sizeof *w), *changed = malloc(CT * INNER * sizeof *w);
    float *x = malloc(N * INNER * sizeof *x), *y = malloc(MOST * N * CT * sizeof *y);
    const float *xs[MOST], *ys[MOST];
    double error[CT], brute[CT] = {0}, total, norm[CT] = {0}, moved[CT] = {0};
    fb_problem p;
    fb_pool *pool;
    (void)state;
    net_state = 77;
    net_ok(fb_pool_create(3, &pool));
    for (int i = 0; i < CT * INNER; i++) {
        w[i] = net_random();
        changed[i] = w[i] + 0.1f * net_random();
    }
    net_ok(fb_problem_init(CT, INNER, 1, (fb_pieces){0}, w, &p));
    assert_int_equal(p.n_parts, 3);
    size_t col = 0;
    for (uint32_t b = 0; b < p.n_parts; b++) { /* x of a block [N][d] behind the last one's */
        const fb_problem_part *s = &p.parts[b];
        assert_int_equal(s->col, col);
        assert_true(s->d <= FB_PROBLEM_BLOCK && s->n_rows == CT && s->row == 0);
        xs[b] = x + N * col;
        ys[b] = y + b * N * CT;
        for (size_t n = 0; n < N; n++) {
            float *row = x + N * col + n * s->d, *out = y + (b * N + n) * CT;
            for (size_t j = 0; j < s->d; j++)
                row[j] = net_random() + (j ? 0.5f * row[j - 1] : 0);
            for (size_t r = 0; r < CT; r++) {
                double want = 0, got = 0;
                for (size_t j = 0; j < s->d; j++) {
                    want +=
                        (double)w[r * INNER + col + j] * (double)row[j] * 1.1; /* as xf = 1.1 xq */
                    got += (double)changed[r * INNER + col + j] * (double)row[j];
                }
                out[r] = (float)want;
                brute[r] += (got - (double)out[r]) * (got - (double)out[r]) / N;
            }
        }
        col += s->d;
    }
    assert_int_equal(col, INNER);
    net_ok(fb_problem_measure(&p, N, xs, ys, pool));
    net_ok(fb_problem_error(&p, changed, false, pool, error, &total));
    for (int r = 0; r < CT; r++)
        assert_true(fabs(error[r] - brute[r]) < 1e-6 * brute[r]);
    assert_true(fabs(total - brute[0] - brute[1]) < 1e-6 * total);

    fb_problem_damp(&p, 0.02);
    net_ok(fb_problem_error(&p, changed, false, pool, error, NULL)); /* without the damping */
    for (int r = 0; r < CT; r++)
        assert_true(fabs(error[r] - brute[r]) < 1e-6 * brute[r]);
    net_ok(fb_problem_error(&p, changed, true, pool, error, NULL));
    for (uint32_t b = 0; b < p.n_parts; b++) {
        const fb_problem_part *s = &p.parts[b];
        for (size_t i = 0; i < CT * s->d; i++) {
            size_t at = i / s->d * INNER + s->col + i % s->d;
            double by = (double)changed[at] - (double)w[at];
            moved[i / s->d] += s->damp * by * by;
            norm[i / s->d] += s->damp * (double)w[at] * (double)w[at];
        }
    }
    for (int r = 0; r < CT; r++)
        assert_true(norm[r] > 0 && fabs(error[r] - brute[r] - moved[r]) < 1e-6 * error[r]);

    /* the target t of a block: t (G + lambda I) = p, with G t from the samples */
    for (uint32_t b = 0; b < p.n_parts; b++) {
        const fb_problem_part *s = &p.parts[b];
        double *u = malloc(s->d * s->d * sizeof *u), *t = malloc(CT * s->d * sizeof *t);
        memcpy(u, s->gram, s->d * s->d * sizeof *u);
        net_ok(fb_inverse_cholesky(s->d, u));
        net_ok(fb_problem_target(s, u, t));
        for (size_t r = 0; r < CT; r++) {
            double response[N] = {0};
            for (size_t i = 0; i < N * s->d; i++)
                response[i / s->d] += (double)xs[b][i] * t[r * s->d + i % s->d];
            for (size_t j = 0; j < s->d; j++) {
                double left = s->damp * (t[r * s->d + j] - (double)w[r * INNER + s->col + j]);
                for (size_t n = 0; n < N; n++)
                    left +=
                        (double)xs[b][n * s->d + j] * (response[n] - (double)ys[b][n * CT + r]) / N;
                assert_true(fabs(left) < 1e-6);
            }
        }
        free(u);
        free(t);
    }
    fb_problem_free(&p);
    fb_pool_destroy(pool);
    free(w);
    free(changed);
    free(x);
    free(y);
}

/* w [ct][inner] against samples of each part, [N][d] in xs[i], plain target. */
static void measured(size_t ct, size_t inner, const float *w, size_t n, const float *const *xs,
                     fb_pool *pool, fb_problem *p)
{
    float *y = NULL;
    const float *ys[8];
    net_ok(fb_problem_init(ct, inner, 1, (fb_pieces){0}, w, p));
    y = malloc(p->n_parts * n * ct * sizeof *y);
    for (uint32_t b = 0; b < p->n_parts; b++) {
        const fb_problem_part *s = &p->parts[b];
        float *out = y + b * n * ct;
        ys[b] = out;
        fb_gemm_f32(false, true, n, ct, s->d, 1, xs[b], s->d, w + s->col, inner, 0, out, ct);
    }
    net_ok(fb_problem_measure(p, n, xs, ys, pool));
    fb_problem_damp(p, 0.01);
    free(y);
}

/* gptq of such a layer is that of each block by itself, and better than nearest. */
static void gptq_on_blocks(void **state)
{
    enum { INNER = FB_PROBLEM_WHOLE + 1, CT = 2, N = 64 };
    const fb_gptq_options options = {true, false};
    float *w = malloc(CT * INNER * sizeof *w), *x = malloc(N * INNER * sizeof *x);
    float *value = malloc(CT * INNER * sizeof *value);
    int32_t *code = malloc(CT * INNER * sizeof *code);
    const float *xs[8];
    double error[CT], nearest, gptq;
    fb_problem p;
    fb_pool *pool;
    fb_model *m;
    fb_reround r;
    (void)state;
    net_state = 5150;
    for (int i = 0; i < CT * INNER; i++)
        w[i] = 4 * net_random();
    for (int i = 0; i < N * INNER; i++)
        x[i] = net_random() + (i ? 0.7f * x[i - 1] : 0);
    net_ok(fb_pool_create(2, &pool));
    for (size_t b = 0; b < 3; b++)
        xs[b] = x + N * (INNER * b / 3);
    measured(CT, INNER, w, N, xs, pool, &p);
    assert_int_equal(p.n_parts, 3);
    grid_open(CT, INNER, w, &m, &r);
    memcpy(code, r.code, CT * INNER * sizeof *code);
    for (uint32_t b = 0; b < p.n_parts; b++)
        net_ok(fb_solve_gptq(&p.parts[b], &r, &options, pool, code));
    fb_reround_decode(&r, r.code, value);
    net_ok(fb_problem_error(&p, value, false, pool, error, &nearest));
    fb_reround_decode(&r, code, value);
    net_ok(fb_problem_error(&p, value, false, pool, error, &gptq));
    assert_true(gptq < 0.5 * nearest);

    for (uint32_t b = 0; b < p.n_parts; b++) {
        size_t d = p.parts[b].d, col = p.parts[b].col;
        float *part = malloc(CT * d * sizeof *part);
        fb_problem alone;
        fb_model *m2;
        fb_reround r2;
        for (size_t i = 0; i < CT * d; i++)
            part[i] = w[i / d * INNER + col + i % d];
        measured(CT, d, part, N, &xs[b], pool, &alone);
        assert_int_equal(alone.n_parts, 1);
        grid_open(CT, d, part, &m2, &r2);
        net_ok(fb_solve_gptq(&alone.parts[0], &r2, &options, pool, r2.code));
        for (size_t row = 0; row < CT; row++)
            assert_memory_equal(r2.code + row * d, code + row * INNER + col, d * sizeof *code);
        fb_reround_close(&r2);
        fb_model_close(&m2);
        fb_problem_free(&alone);
        free(part);
    }
    fb_reround_close(&r);
    fb_model_close(&m);
    fb_problem_free(&p);
    fb_pool_destroy(pool);
    free(w);
    free(x);
    free(value);
    free(code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(close_to_the_optimum),
        cmocka_unit_test(gptq_is_obq),
        cmocka_unit_test(gradient_of_adaround),
        cmocka_unit_test(blocks_of_a_large_layer),
        cmocka_unit_test(gptq_on_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
