/* Steps behind steps: what an earlier one settled, a later one keeps; what they leave together runs
 * to the same bytes on every kernel and any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/fixed.h"
#include "model/layout.h"
#include "unit/compress_net.h"

static const char *images;
static fb_data *data;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_data_close(&data);
    return unlink(images);
}

static const char *const weights[] = {"conv0.weight", "dw.weight", "pw.weight", "conv3.weight",
                                      "fc.weight"};

static const fb_tensor *tensor_of(const fb_model *m, const char *name)
{
    return &m->tensors[net_tensor(m, name)];
}

static float *decoded(const fb_model *m, const char *name, size_t *n)
{
    int64_t elems;
    const fb_tensor *t = tensor_of(m, name);
    assert_true(fb_tensor_elems(t, 0, &elems));
    float *v = malloc((size_t)elems * sizeof *v);
    net_ok(fb_tensor_decode(t, v));
    *n = (size_t)elems;
    return v;
}

/* Elements in which the two models' weights differ. */
static size_t moved(const fb_model *a, const fb_model *b, const char *name)
{
    size_t n, count = 0;
    float *x = decoded(a, name, &n), *y = decoded(b, name, &n);
    for (size_t i = 0; i < n; i++)
        count += x[i] != y[i];
    free(x);
    free(y);
    return count;
}

/* Levels and scales are the encoder's; codes move, and the network comes nearer. */
static void levels_stay(void **state)
{
    const char *const encoders[] = {"kmeans3:per=channel",
                                    "kmeans3:per=shared",
                                    "kmeans3:per=tensor",
                                    "kmeans3:levels=float",
                                    "kmeans3:scale=pow2",
                                    "levels3:fit=apot",
                                    "ternary"};
    const char *const solvers[] = {"gptq", "adaround:iterations=200"};
    fb_model *m = net_build(false);
    (void)state;
    for (size_t k = 0; k < sizeof encoders / sizeof *encoders; k++) {
        for (size_t s = 0; s < 2; s++) {
            char text[80];
            size_t codes = 0;
            fb_model *a, *b;
            (void)snprintf(text, sizeof text, "%s + %s", encoders[k], solvers[s]);
            net_ok(net_compress(m, encoders[k], data, 1, false, &a));
            net_ok(net_compress(m, text, data, 2, false, &b));
            for (size_t i = 0; i < 5; i++) {
                const fb_encoding *e = net_encoding(a, weights[i]),
                                  *f = net_encoding(b, weights[i]);
                assert_true(e->kind == FB_ENC_LEVELS && f->kind == FB_ENC_LEVELS);
                assert_true(e->n_levels == f->n_levels && e->n_tables == f->n_tables);
                assert_true(e->n_scales == f->n_scales && e->bits == f->bits && e->pow2 == f->pow2);
                assert_memory_equal(e->level, f->level,
                                    (size_t)e->n_tables * e->n_levels * sizeof *e->level);
                assert_memory_equal(e->scale, f->scale, e->n_scales * sizeof *e->scale);
                codes += moved(a, b, weights[i]);
            }
            assert_true(codes > 20);
            if (!(net_difference(m, b, data) < net_difference(m, a, data)))
                fail_msg("%s: %g, not below %g", text, net_difference(m, b, data),
                         net_difference(m, a, data));
            fb_model_close(&a);
            fb_model_close(&b);
        }
    }
    fb_model_close(&m);
}

/* Weights that stand aside as 16-bit floats keep place and value. */
static void patches_stay(void **state)
{
    const char *const chains[] = {"w3:outliers=0.05 + gptq", "w3:outliers=0.05 + gptq:scales=refit",
                                  "w3:outliers=0.05 + adaround:iterations=200"};
    fb_model *m = net_build(false), *a, *b;
    (void)state;
    net_ok(net_compress(m, "w3:outliers=0.05", data, 1, false, &a));
    for (size_t k = 0; k < 3; k++) {
        size_t patches = 0, codes = 0;
        net_ok(net_compress(m, chains[k], data, 2, false, &b));
        for (size_t i = 0; i < 5; i++) {
            const fb_encoding *e = net_encoding(a, weights[i]), *f = net_encoding(b, weights[i]);
            size_t n;
            float *v = decoded(b, weights[i], &n);
            assert_int_equal(e->n_patches, f->n_patches);
            patches += e->n_patches;
            for (uint32_t p = 0; p < e->n_patches; p++) {
                assert_int_equal(e->patch_at[p], f->patch_at[p]);
                assert_true(e->patch[p] == f->patch[p] && v[f->patch_at[p]] == e->patch[p]);
            }
            codes += moved(a, b, weights[i]);
            free(v);
        }
        assert_true(patches > 30 && codes > 30);
        assert_true(net_difference(m, b, data) < net_difference(m, a, data));
        fb_model_close(&b);
    }
    fb_model_close(&a);
    fb_model_close(&m);
}

/* What was pruned stays 0, whatever the encoder and the solver; the rest moves. */
static void zeros_stay(void **state)
{
    const char *const encoders[] = {"w4", "w4:zero=yes", "kmeans3:zero=yes"};
    const char *const solvers[] = {"gptq", "gptq:order=natural,polish=no",
                                   "adaround:iterations=200"};
    fb_model *m = net_build(false), *pruned;
    (void)state;
    net_ok(net_compress(m, "prune:magnitude,share=0.6", data, 1, false, &pruned));
    for (size_t k = 0; k < 9; k++) {
        char text[120];
        fb_model *a, *b;
        size_t zeros = 0, codes = 0, n;
        (void)snprintf(text, sizeof text, "prune:magnitude,share=0.6 + %s", encoders[k / 3]);
        net_ok(net_compress(m, text, data, 1, false, &a));
        (void)snprintf(text, sizeof text, "prune:magnitude,share=0.6 + %s + %s", encoders[k / 3],
                       solvers[k % 3]);
        net_ok(net_compress(m, text, data, 2, false, &b));
        for (size_t i = 0; i < 5; i++) {
            float *x = decoded(pruned, weights[i], &n), *y = decoded(b, weights[i], &n);
            for (size_t j = 0; j < n; j++) {
                zeros += x[j] == 0;
                assert_true(x[j] != 0 || y[j] == 0);
            }
            codes += moved(a, b, weights[i]);
            free(x);
            free(y);
        }

        assert_true(zeros > 900 && codes > 20);
        fb_model_close(&a);
        fb_model_close(&b);
    }
    fb_model_close(&pruned);
    fb_model_close(&m);
}

/* --- to the bit ------------------------------------------------------------------------------ */

static float *outputs(const fb_model *m, uint32_t cpu, uint32_t threads, uint32_t batch)
{
    float *out = malloc(NET_IMAGES * 5 * sizeof *out);
    fb_plan *plan;
    fb_run *run;
    fb_plan_options options;
    uint32_t got;
    size_t bytes;
    fb_plan_options_default(&options);
    options.cpu = cpu;
    options.batch = batch;
    net_ok(fb_plan_create(m, &options, &plan));
    net_ok(fb_run_create(plan, threads, &run));
    fb_data_rewind(data);
    for (uint32_t i = 0; i < NET_IMAGES; i += batch) {
        net_ok(fb_data_next(data, batch, fb_run_input(run, 0, &bytes), NULL, &got));
        net_ok(fb_run_execute(run));
        memcpy(out + i * 5, fb_run_output(run, 0, &bytes), batch * 5 * sizeof *out);
    }
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return out;
}

/* FEWBIT_CPU=ref on one thread against all else. */
static void same_everywhere(const fb_model *m)
{
    const uint32_t cpus[] = {0, fb_cpu_usable() & FB_CPU_AVX2, fb_cpu_usable()};
    float *want = outputs(m, 0, 1, 1);
    for (size_t i = 0; i < 12; i++) {
        float *got = outputs(m, cpus[i % 3], 1 + (uint32_t)(i / 3 % 2), i < 6 ? 1 : 3);
        assert_memory_equal(got, want, NET_IMAGES * 5 * sizeof *got);
        free(got);
    }
    free(want);
}

/* k-means levels in fixed point, and fixed-point arithmetic on them (METHODS D.6). */
static void kmeans_in_fixed_point(void **state)
{
    const char *const chains[] = {"kmeans4:scale=pow2 + fixed8",
                                  "kmeans4:scale=pow2,per=tensor + fixed8:acc=20,overflow=wrap",
                                  "kmeans5:scale=pow2,per=shared + fixed10",
                                  "kmeans4:scale=pow2 + gptq + fixed8:d=5"};
    fb_model *m = net_build(false), *q;
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        net_ok(net_compress(m, chains[k], data, 2, false, &q));
        for (size_t i = 0; i < 5; i++) {
            const fb_tensor *w = tensor_of(q, weights[i]);
            assert_true(w->enc.kind == FB_ENC_LEVELS && w->enc.pow2 && fb_tensor_is_fixed(w));
            assert_int_equal(w->enc.bits, k == 2 ? 5 : 4);
        }
        assert_true(net_difference(m, q, data) < (k == 3 ? 0.2 : 0.12));
        same_everywhere(q);
        fb_model_close(&q);
    }
    /* without powers of two the step says so */
    assert_int_equal(net_compress(m, "kmeans4 + fixed8", data, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "powers of two"));
    fb_model_close(&m);
}

/* Activations as indices of levels lie packed between layers, and integer kernels read them. */
static void levels_of_activations(void **state)
{
    const char *const chains[] = {"act4:kmeans + int8", "act3:kmeans,bound=percentile + int4",
                                  "act5:kmeans + kmeans4", "act6:kmeans,last=0 + int8:per=tensor"};
    const unsigned bits[] = {4, 3, 5, 6};
    const char *const names[] = {"conv0_out", "dw_out", "pw_out", "add_out", "conv3_out"};
    fb_model *m = net_build(false), *q;
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        net_ok(net_compress(m, chains[k], data, 2, false, &q));
        for (size_t i = 0; i < 5; i++) {
            const fb_tensor *t = tensor_of(q, names[i]);
            int64_t n;
            size_t bytes = 0;
            assert_int_equal(t->enc.kind, FB_ENC_LEVELS);
            assert_int_equal(t->enc.bits, bits[k]);
            assert_true(fb_tensor_elems(t, 1, &n) && fb_activation_bytes(t, 1, &bytes));
            assert_true(bytes >= ((size_t)n * bits[k] + 7) / 8 && bytes < (size_t)n);
        }
        same_everywhere(q);
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_stay),
        cmocka_unit_test(patches_stay),
        cmocka_unit_test(zeros_stay),
        cmocka_unit_test(kmeans_in_fixed_point),
        cmocka_unit_test(levels_of_activations),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
