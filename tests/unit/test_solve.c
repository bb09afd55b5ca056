/* gptq and adaround: properties on random layer problems, and as methods on a whole network
 * (METHODS M.6, M.9, IV.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/sample_problem.h"

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
    net_ok(fb_problem_init(1, 1, 1, (fb_pieces){0}, &w, &p));
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

/* --- what the steps tell of layers ------------------------------------------------------------ */

typedef struct told {
    uint32_t n;
    char layer[8][32];
    double before[8], after[8];
} told;

static void listen(void *user, const fb_layer_error *e)
{
    told *t = user;
    assert_true(t->n < 8);
    (void)snprintf(t->layer[t->n], sizeof t->layer[0], "%s", e->layer);
    assert_true(strncmp(e->step, "gptq", 4) == 0 || strncmp(e->step, "adaround", 8) == 0);
    t->before[t->n] = e->before;
    t->after[t->n++] = e->after;
}

static fb_model *compress_and_listen(const fb_model *m, const char *method, fb_data *data, told *t)
{
    fb_compress_options o;
    fb_model *out;
    *t = (told){0};
    fb_compress_options_default(&o);
    o.method = method;
    o.data = data;
    o.n_threads = 2;
    o.layer_error = listen;
    o.layer_error_user = t;
    net_ok(fb_compress(m, &o, &out));
    return out;
}

/* Variance of W x - w x over that of W x, for a 3x3 layer with pads of 1 on the images. */
static double measured_error(const float *w, const float *wq, size_t ct, const float *images)
{
    double noise = 0, power = 0;
    for (size_t r = 0; r < ct; r++) {
        double e1 = 0, e2 = 0, y1 = 0, y2 = 0, n = NET_IMAGES * 144.0;
        for (int64_t at = 0; at < NET_IMAGES * 144; at++) {
            double e = 0, y = 0;
            for (int64_t j = 0; j < 27; j++) {
                int64_t iy = at % 144 / 12 + j / 9 - 1, ix = at % 12 + j / 3 % 3 - 1;
                if (iy < 0 || iy > 11 || ix < 0 || ix > 11)
                    continue;
                double x = (double)images[at / 144 * NET_ELEMS + (iy * 12 + ix) * 3 + j % 3];
                y += x * (double)w[r * 27 + (size_t)j];
                e += x * (double)(w[r * 27 + (size_t)j] - wq[r * 27 + (size_t)j]);
            }
            e1 += e / n;
            e2 += e * e / n;
            y1 += y / n;
            y2 += y * y / n;
        }
        noise += e2 - e1 * e1;
        power += y2 - y1 * y1;
    }
    return noise / power;
}

/* In every layer both are no worse than rounding, which is what the step found; what they tell is
 * what the weights that they leave do. */
static void response_errors(void **state)
{
    const char *path = net_write_images();
    const char *methods[] = {"w3 + gptq", "w3 + adaround:iterations=1000"};
    fb_data *data = net_data(path);
    fb_model *m = net_build(false);
    float *images = malloc(NET_IMAGES * NET_ELEMS * sizeof *images), wq[8 * 27], w0[8 * 27];
    const fb_tensor *w = &m->tensors[net_tensor(m, "conv0.weight")];
    double total[2][2] = {{0}};
    uint32_t got;
    fb_model *rounded;
    (void)state;
    net_ok(fb_data_next(data, NET_IMAGES, images, NULL, &got));
    net_ok(net_compress(m, "w3", data, 1, false, &rounded));
    net_ok(fb_tensor_decode(&rounded->tensors[net_tensor(rounded, "conv0.weight")], w0));
    for (int k = 0; k < 2; k++) {
        told t;
        fb_model *out = compress_and_listen(m, methods[k], data, &t);
        assert_int_equal(t.n, 5);
        assert_string_equal(t.layer[0], "conv0");
        for (uint32_t i = 0; i < t.n; i++) {
            print_message("%-8s %-30s %.5f -> %.5f\n", t.layer[i], methods[k], t.before[i],
                          t.after[i]);
            assert_true(t.after[i] > 0 && t.after[i] <= t.before[i]);
            total[k][0] += t.before[i];
            total[k][1] += t.after[i];
        }
        net_ok(fb_tensor_decode(&out->tensors[net_tensor(out, "conv0.weight")], wq));
        double first = measured_error((const float *)w->data, w0, 8, images);
        double last = measured_error((const float *)w->data, wq, 8, images);
        assert_true(fabs(t.before[0] - first) < 1e-3 * first);
        assert_true(fabs(t.after[0] - last) < 1e-3 * last);
        assert_true(total[k][1] < 0.6 * total[k][0]);
        fb_model_close(&out);
    }
    assert_true(total[1][1] < 1.1 * total[0][1]); /* adaround keeps up with gptq */
    free(images);
    fb_model_close(&rounded);
    fb_model_close(&m);
    fb_data_close(&data);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_correlation), cmocka_unit_test(gptq_against_nearest),
        cmocka_unit_test(soft_rounding),       cmocka_unit_test(asymmetric_target),
        cmocka_unit_test(whole_network),       cmocka_unit_test(response_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
