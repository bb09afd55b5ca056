/* Layer problems small enough to check by hand or by trying everything (METHODS M.6, M.8, M.9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/solve.h"
#include "unit/compress_net.h"

/* One channel of d weights, an integer grid of 4 bits, the given G = H, plain target. */
typedef struct toy {
    fb_problem p;
    fb_model *m;
    fb_reround r;
    fb_pool *pool;
    size_t d;
} toy;

static void toy_open(toy *t, size_t ct, size_t d, const double *gram, const float *w)
{
    int64_t dims[2] = {(int64_t)ct, (int64_t)d};
    int32_t k;
    float scale = 1;
    uint8_t codes[256] = {0};
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 4,
                     .is_signed = true,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    t->d = d;
    net_ok(fb_pool_create(1, &t->pool));
    net_ok(fb_problem_init(ct, d, 1, w, &t->p));
    fb_problem_part *s = &t->p.parts[0];
    memcpy(s->gram, gram, d * d * sizeof *gram);
    for (size_t r = 0; r < ct; r++) {
        for (size_t i = 0; i < d; i++) {
            for (size_t j = 0; j < d; j++)
                s->cross[r * d + j] += (double)w[r * d + i] * gram[i * d + j];
        }
        for (size_t j = 0; j < d; j++)
            s->power[r] += s->cross[r * d + j] * (double)w[r * d + j];
    }
    net_ok(fb_model_create(&t->m));
    net_ok(fb_model_add_const(t->m, "w", FB_F32, 2, dims, w, &k));
    net_ok(fb_model_set_payload(t->m, k, &e, codes, (ct * d + 1) / 2));
    net_ok(fb_reround_open(&t->m->tensors[k], false, &t->r));
    for (size_t i = 0; i < ct * d; i++) {
        fb_steps steps = fb_reround_steps(&t->r, i);
        t->r.code[i] = fb_steps_nearest(&steps, (double)w[i]);
    }
}

static void toy_close(toy *t)
{
    fb_reround_close(&t->r);
    fb_model_close(&t->m);
    fb_problem_free(&t->p);
    fb_pool_destroy(t->pool);
}

static double toy_error(toy *t, const int32_t *code)
{
    float value[256];
    double error[16], total;
    fb_reround_decode(&t->r, code, value);
    net_ok(fb_problem_error(&t->p, value, false, t->pool, error, &total));
    return total;
}

static void the_worked_example(void **state)
{
    const double h[4] = {2, 1, 1, 2};
    const float w[2][2] = {{0.45f, 0.40f}, {0.40f, 0.40f}};
    const double nearest[2] = {0.5425, 0.48}, best[2] = {0.2425, 0.28};
    (void)state;
    for (int k = 0; k < 2; k++) {
        toy t = {0};
        int32_t code[2];
        toy_open(&t, 1, 2, h, w[k]);
        /* the stated losses are halves of the quadratic form */
        assert_true(fabs(toy_error(&t, t.r.code) / 2 - nearest[k]) < 1e-6);
        memcpy(code, t.r.code, sizeof code);
        net_ok(fb_solve_polish(&t.p.parts[0], &t.r, 20, t.pool, code));
        double polished = toy_error(&t, code);
        assert_true(polished <= toy_error(&t, t.r.code) + 1e-12);
        double least = 1e9;
        for (int a = -2; a <= 2; a++) {
            for (int b = -2; b <= 2; b++)
                least = fmin(least, toy_error(&t, (int32_t[]){a, b}));
        }
        assert_true(fabs(least / 2 - best[k]) < 1e-6);
        net_ok(fb_solve_adaround(&t.p.parts[0], &t.r, 2000, t.pool, code));
        /* descends from the target itself, where these tied weights pull equally: no worse */
        assert_true(toy_error(&t, code) <= toy_error(&t, t.r.code) + 1e-6);
        toy_close(&t);
    }
}

/* G = I: every solver rounds to nearest. */
static void without_correlation(void **state)
{
    double h[64] = {0};
    float w[16];
    (void)state;
    net_state = 5;
    for (int i = 0; i < 8; i++)
        h[i * 9] = 1;
    for (int i = 0; i < 16; i++)
        w[i] = 5 * net_random();
    toy t = {0};
    int32_t code[16] = {0};
    toy_open(&t, 2, 8, h, w);
    net_ok(fb_solve_gptq(&t.p.parts[0], &t.r, &(fb_gptq_options){true, false}, t.pool, code));
    assert_memory_equal(code, t.r.code, sizeof code);
    net_ok(fb_solve_adaround(&t.p.parts[0], &t.r, 1000, t.pool, code));
    assert_memory_equal(code, t.r.code, sizeof code);
    toy_close(&t);
}

/* On average over random problems GPTQ is better than nearest; polishing never makes it worse. */
static void gptq_against_nearest(void **state)
{
    double sum[2] = {0};
    (void)state;
    net_state = 7;
    for (int trial = 0; trial < 30; trial++) {
        double x[24 * 8], h[64] = {0};
        float w[16];
        for (int i = 0; i < 24 * 8; i++)
            x[i] = (double)net_random() + (i % 8 ? 0.8 * x[i - 1] : 0);
        for (int n = 0; n < 24; n++) {
            for (int i = 0; i < 64; i++)
                h[i] += x[n * 8 + i / 8] * x[n * 8 + i % 8] / 24;
        }
        for (int i = 0; i < 16; i++)
            w[i] = 3 * net_random();
        toy t = {0};
        int32_t code[16] = {0};
        toy_open(&t, 2, 8, h, w);
        net_ok(fb_solve_gptq(&t.p.parts[0], &t.r, &(fb_gptq_options){false, false}, t.pool, code));
        double gptq = toy_error(&t, code);
        sum[0] += toy_error(&t, t.r.code);
        sum[1] += gptq;
        net_ok(fb_solve_polish(&t.p.parts[0], &t.r, 20, t.pool, code));
        assert_true(toy_error(&t, code) <= gptq + 1e-9);
        toy_close(&t);
    }
    assert_true(sum[1] < sum[0]);
}

static void soft_rounding(void **state)
{
    (void)state;
    assert_true(fabs(fb_adaround_v(0.25) + 0.8873) < 1e-4);
    assert_true(fabs(fb_adaround_v(0.5)) < 1e-12);
    assert_true(fabs(fb_adaround_v(0.9) - 1.6094) < 1e-4);
    for (double v = -2; v < 2; v += 0.37) {
        double slope, unused, d = 1e-5;
        (void)fb_adaround_h(v, &slope);
        double measured = (fb_adaround_h(v + d, &unused) - fb_adaround_h(v - d, &unused)) / (2 * d);
        assert_true(fabs(slope - measured) < 1e-7);
    }
}

/* d = 1: the target is w E[xq xf] / E[xq²]. */
static void asymmetric_target(void **state)
{
    const float xq[4] = {1, 2, -1, 3}, xf[4] = {1.5f, 2, -2, 2}, w = 0.7f;
    float y[4];
    double qq = 0, qf = 0;
    fb_problem p;
    fb_pool *pool;
    (void)state;
    for (int i = 0; i < 4; i++) {
        y[i] = w * xf[i];
        qq += (double)(xq[i] * xq[i]);
        qf += (double)(xq[i] * xf[i]);
    }
    net_ok(fb_pool_create(1, &pool));
    net_ok(fb_problem_init(1, 1, 1, &w, &p));
    net_ok(fb_problem_measure(&p, 4, (const float *[]){xq}, (const float *[]){y}, pool));
    double u = 1 / sqrt(p.parts[0].gram[0]), target;
    net_ok(fb_problem_target(&p.parts[0], &u, &target));
    assert_true(fabs(target - (double)w * qf / qq) < 1e-6);
    fb_problem_free(&p);
    fb_pool_destroy(pool);
}

/* Through the command's own path: better than rounding, the same bytes for any threads. */
static void whole_network(void **state)
{
    const char *images = net_write_images();
    fb_data *data = net_data(images);
    fb_model *m = net_build(false), *q, *g, *g2;
    (void)state;
    net_ok(net_compress(m, "int3:bias=keep", data, 1, false, &q));
    double before = net_difference(m, q, data);
    const char *methods[] = {"int3:bias=keep + gptq", "int3:bias=keep + gptq:scales=refit",
                             "int3:bias=keep + adaround:iterations=500"};
    for (int k = 0; k < 3; k++) {
        net_ok(net_compress(m, methods[k], data, 1, false, &g));
        net_ok(net_compress(m, methods[k], data, 3, false, &g2));
        assert_true(net_difference(m, g, data) < before);
        for (size_t i = 0; i < g->n_tensors; i++) {
            assert_int_equal(g->tensors[i].data_bytes, g2->tensors[i].data_bytes);
            if (g->tensors[i].data_bytes)
                assert_memory_equal(g->tensors[i].data, g2->tensors[i].data,
                                    g->tensors[i].data_bytes);
        }
        fb_model_close(&g);
        fb_model_close(&g2);
    }
    assert_int_equal(net_compress(m, "gptq", data, 1, false, &g), FB_E_ARG);
    assert_int_equal(net_compress(m, "int4 + gptq", NULL, 1, true, &g), FB_E_ARG);
    net_ok(net_compress(m, "int4:entropy=off + gptq", NULL, 1, true, &g));
    net_ok(net_compress(m, "int4:entropy=off + gptq", data, 1, false, &g2));
    uint64_t a, b;
    net_ok(fb_model_file_bytes(g, &a));
    net_ok(fb_model_file_bytes(g2, &b));
    assert_true(a == b);
    fb_model_close(&g);
    fb_model_close(&g2);
    fb_model_close(&q);
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example),   cmocka_unit_test(without_correlation),
        cmocka_unit_test(gptq_against_nearest), cmocka_unit_test(soft_rounding),
        cmocka_unit_test(asymmetric_target),    cmocka_unit_test(whole_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
