/* The fixed-point method: formats by the formula, networks that stay what they were, arithmetic
 * that does not depend on kernels or threads, counters that tell the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/fixed.h"
#include "fewbit/onnx.h"
#include "model/fixed.h"
#include "numeric/requant.h"
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

static fb_model *compressed(const fb_model *m, const char *method)
{
    fb_model *q;
    net_ok(net_compress(m, method, data, 1, false, &q));
    return q;
}

static const fb_node *node_of(const fb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->nodes[i].name, name) == 0)
            return &m->nodes[i];
    }
    return NULL;
}

static int32_t fraction(const fb_encoding *e)
{
    int32_t f = 0;
    assert_true(fb_fraction_bits(e->scale[0], &f));
    return f;
}

static const char *text_of(const fb_model *m, const char *tensor)
{
    fb_tensor_info info;
    net_ok(fb_model_tensor(m, (uint32_t)net_tensor(m, tensor), &info));
    return info.encoding;
}

static float most_of(const fb_model *m, const char *name)
{
    const fb_tensor *t = &m->tensors[net_tensor(m, name)];
    const float *v = t->data;
    float most = 0;
    for (size_t i = 0; i < t->data_bytes / sizeof *v; i++)
        most = fmaxf(most, fabsf(v[i]));
    return most;
}

static void formats_follow_the_formula(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *q = compressed(m, "fixed8");
    const char *layers[] = {"conv0", "dw", "pw", "conv3", "fc"};
    const int64_t terms[] = {27 + 1, 9 + 1, 8 + 1, 72 + 1, 16 + 1};
    for (int i = 0; i < 5; i++) {
        char weight[32];
        (void)snprintf(weight, sizeof weight, "%s.weight", layers[i]);
        const fb_encoding *e = net_encoding(q, weight);
        assert_true(e->kind == FB_ENC_AFFINE && e->bits == 8 && e->pow2 && e->axis == -1);
        /* f = B - 1 - ceil(log2 max|w|) */
        assert_int_equal(fraction(e), 7 - (int)ceil(log2((double)most_of(m, weight))));
        const fb_fixed *f = fb_node_fixed(node_of(q, layers[i]));
        assert_int_equal(f->acc_bits, 8 + 8 - 1 + (int)ceil(log2((double)terms[i])));
        assert_int_equal(f->overflow, FB_OVERFLOW_SATURATE);
        assert_int_equal(f->rounding, FB_ROUND_HALF_UP);
    }
    assert_true(net_encoding(q, "conv0.bias")->pow2 && net_encoding(q, "conv0.bias")->bits == 16);
    /* moves share, what a softmax reads is float, the input gets a twin */
    assert_int_equal(fraction(net_encoding(q, "conv0_out")), fraction(net_encoding(q, "pool_out")));
    assert_int_equal(net_encoding(q, "fc_out")->kind, FB_ENC_PLAIN);
    const fb_encoding *e = net_encoding(q, "image.codes");
    char want[32];
    assert_true(e->is_signed && e->bits == 8 && e->zero[0] == 0);
    (void)snprintf(want, sizeof want, "Q%d.%d", 7 - fraction(e), fraction(e));
    assert_string_equal(text_of(q, "image.codes"), want);
    assert_true(net_difference(m, q, data) < 0.05);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void options(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    q = compressed(m, "fixed12:w=6,d=10,acc=24,overflow=wrap,round=floor,positive=unsigned,"
                      "per=channel,headroom=1,exclude=dw");
    const fb_fixed *f = fb_node_fixed(node_of(q, "pw"));
    assert_true(f->acc_bits == 24 && f->overflow == FB_OVERFLOW_WRAP &&
                f->rounding == FB_ROUND_DOWN);
    assert_false(fb_node_is_fixed(node_of(q, "dw")));
    assert_int_equal(net_encoding(q, "pw.weight")->bits, 6);
    assert_int_equal(net_encoding(q, "pw.weight")->n_scales, 8);
    const fb_encoding *e = net_encoding(q, "add_out");
    assert_true(e->bits == 10 && !e->is_signed);
    assert_true(net_encoding(q, "image.codes")->is_signed);
    assert_int_equal(strncmp(text_of(q, "add_out"), "UQ", 2), 0);
    fb_layer_info info;
    net_ok(fb_model_layer(q, 1, &info));
    assert_string_equal(info.name, "conv0");
    assert_string_equal(info.arithmetic, "acc24 wrap floor");
    fb_model_close(&q);
    /* an accumulator by the data holds what the data give */
    q = compressed(m, "fixed8:acc=data,overflow=end");
    assert_true(fb_node_fixed(node_of(q, "conv3"))->acc_bits < 22);
    fb_model_close(&q);
    fb_model *bad;
    assert_int_equal(net_compress(m, "fixed8:acc=33", data, 1, false, &bad), FB_E_ARG);
    assert_non_null(
        strstr(fb_error(), "acc=33 is not auto, data or a number of bits from 8 to 32"));
    assert_int_equal(net_compress(m, "fixed8:acc=7x", data, 1, false, &bad), FB_E_ARG);
    assert_int_equal(net_compress(m, "int8 + fixed8", data, 1, false, &bad), FB_E_ARG);
    assert_int_equal(net_compress(m, "w4:per=tensor + fixed8", data, 1, false, &bad), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "no powers of two"));
    q = compressed(m, "w4:per=tensor,scale=pow2 + fixed8");
    assert_int_equal(net_encoding(q, "pw.weight")->bits, 4);
    assert_true(fb_node_is_fixed(node_of(q, "pw")));
    fb_model_close(&q);
    fb_model_close(&m);
}

static void more_bits_are_better(void **state)
{
    (void)state;
    fb_model *m = net_build(false);
    double last = 1;
    const char *methods[] = {"fixed4", "fixed6", "fixed8", "fixed12", "fixed16"};
    for (int i = 0; i < 5; i++) {
        fb_model *q = compressed(m, methods[i]);
        double e = net_difference(m, q, data);
        assert_true(e < last);
        last = e;
        fb_model_close(&q);
    }
    assert_true(last < 0.0005);
    fb_model_close(&m);
}

/* What one plan gives and counts on all images. */
typedef struct outcome {
    float y[NET_IMAGES * 5];
    fb_saturations over;
} outcome;

static outcome run_all(const fb_model *m, uint32_t cpu, uint32_t threads, uint32_t batch)
{
    outcome o = {.over = {0}};
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
        const float *y = fb_run_output(run, 0, &bytes);
        assert_int_equal(bytes, batch * 5 * sizeof *y);
        memcpy(o.y + i * 5, y, bytes);
    }
    for (uint32_t i = 0; i < fb_plan_n_steps(plan); i++) {
        fb_saturations s;
        net_ok(fb_run_saturations(run, i, &s));
        o.over.sums += s.sums;
        o.over.outputs += s.outputs;
        o.over.of += s.of;
    }
    fb_saturations s;
    assert_int_equal(fb_run_saturations(run, fb_plan_n_steps(plan), &s), FB_E_ARG);
    fb_run_reset_saturations(run);
    for (uint32_t i = 0; i < fb_plan_n_steps(plan); i++) {
        net_ok(fb_run_saturations(run, i, &s));
        assert_true(s.sums == 0 && s.outputs == 0 && s.of == 0);
    }
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return o;
}

static void kernels_and_threads_agree(void **state)
{
    (void)state;
    fb_model *m = net_build(false);
    const char *methods[] = {"fixed8",
                             "fixed8:acc=14,sums=keep",
                             "fixed8:acc=14,sums=keep,overflow=end,round=half-even",
                             "fixed8:acc=14,sums=keep,overflow=wrap,round=half-away",
                             "fixed6:acc=10,positive=unsigned",
                             "fixed12:overflow=end,sums=keep",
                             "fixed16:sums=keep",
                             "fixed16:overflow=wrap,sums=keep",
                             "fixed16:positive=unsigned,round=floor"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        fb_model *q = compressed(m, methods[i]);
        outcome want = run_all(q, 0, 1, 1);
        assert_true(want.over.of > 0 && want.over.sums <= want.over.of);
        /* 14 bits do not hold the sums of this network, nor 32 those of 16-bit products */
        bool tight = (i >= 1 && i <= 3) || i == 6 || i == 7;
        assert_true(tight == (want.over.sums > want.over.of / 100));
        for (uint32_t threads = 1; threads <= 4; threads += 3) {
            for (uint32_t batch = 1; batch <= 4; batch += 3) {
                outcome got = run_all(q, fb_cpu_usable(), threads, batch);
                assert_memory_equal(got.y, want.y, sizeof want.y);
                assert_true(got.over.sums == want.over.sums);
                assert_true(got.over.outputs == want.over.outputs);
                assert_true(got.over.of == want.over.of);
            }
        }
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

/* The codes of a tensor after a run with all tensors kept, as doubles. */
static double *values_of(const fb_run *run, const fb_model *m, const char *name, size_t *n)
{
    fb_view v;
    net_ok(fb_run_tensor(run, net_tensor(m, name), &v));
    double *x = malloc(v.n_elems * sizeof *x);
    for (size_t i = 0; i < v.n_elems; i++) {
        double q = v.dtype == FB_S8 ? (double)((const int8_t *)v.data)[i]
                                    : (double)((const float *)v.data)[i];
        x[i] = q * (double)v.scale;
    }
    *n = v.n_elems;
    return x;
}

/* conv3 (3x3, stride 1, pad 1, ReLU) of a run, again in doubles with the same quantisers: values,
 * not codes, which is what a simulation would do. */
static void equals_a_simulation(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q = compressed(m, "fixed8:round=half-up");
    fb_plan *plan;
    fb_run *run;
    fb_plan_options o;
    uint32_t got;
    size_t bytes, nx, ny;
    fb_plan_options_default(&o);
    o.keep_all = true;
    net_ok(fb_plan_create(q, &o, &plan));
    net_ok(fb_run_create(plan, 1, &run));
    fb_data_rewind(data);
    net_ok(fb_data_next(data, 1, fb_run_input(run, 0, &bytes), NULL, &got));
    net_ok(fb_run_execute(run));
    double *x = values_of(run, q, "add_out", &nx), *y = values_of(run, q, "conv3_out", &ny);
    float w[16 * 72], b[16];
    net_ok(fb_tensor_decode(&q->tensors[net_tensor(q, "conv3.weight")], w));
    net_ok(fb_tensor_decode(&q->tensors[net_tensor(q, "conv3.bias")], b));
    int32_t fy = fraction(net_encoding(q, "conv3_out"));
    int32_t fa = fraction(net_encoding(q, "add_out")) + fraction(net_encoding(q, "conv3.weight"));
    assert_true(nx == 6 * 6 * 8 && ny == 6 * 6 * 16);
    for (int r = 0; r < 6; r++) {
        for (int c = 0; c < 6; c++) {
            for (int k = 0; k < 16; k++) {
                double sum = floor(ldexp((double)b[k], fa) + 0.5) / ldexp(1, fa);
                for (int t = 0; t < 72; t++) {
                    int i = r + t / 24 - 1, j = c + t / 8 % 3 - 1;
                    if (i >= 0 && i < 6 && j >= 0 && j < 6)
                        sum += (double)w[k * 72 + t] * x[(i * 6 + j) * 8 + t % 8];
                }
                double code = fmin(fmax(floor(ldexp(sum, fy) + 0.5), 0), 127);
                assert_true(y[(r * 6 + c) * 16 + k] == ldexp(code, -fy));
            }
        }
    }
    free(x);
    free(y);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* A tuner's use: measured once, assigned twice, widths by layer. */
static void widths_by_layer(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *a, *b;
    fb_job job = {.model = m, .data = data, .cpu = fb_cpu_usable(), .n_threads = 1};
    fb_fixed_net net;
    fb_fixed_rule rule = {.fit_sums = true};
    net_ok(fb_fixed_measure(&job, "", "", &net));
    assert_int_equal(net.n_layers, 5);
    assert_true(net.layers[0].most_sum > 0 && net.layers[4].terms == 17);
    fb_fixed_width width[5];
    for (int i = 0; i < 5; i++)
        width[i] = (fb_fixed_width){8, 8, FB_ACC_BOUND};
    net_ok(fb_model_clone(m, false, &a));
    net_ok(fb_fixed_assign(&net, &rule, width, a));
    width[1] = (fb_fixed_width){5, 12, 20}; /* dw reads pool_out, which conv0_out shares */
    net_ok(fb_model_clone(m, false, &b));
    net_ok(fb_fixed_assign(&net, &rule, width, b));
    net_ok(fb_model_validate(a));
    net_ok(fb_model_validate(b));
    assert_int_equal(net_encoding(a, "pool_out")->bits, 8);
    assert_int_equal(net_encoding(b, "pool_out")->bits, 12);
    assert_int_equal(net_encoding(b, "conv0_out")->bits, 12);
    assert_int_equal(net_encoding(b, "dw_out")->bits, 8);
    assert_int_equal(net_encoding(b, "dw.weight")->bits, 5);
    assert_int_equal(fb_node_fixed(node_of(b, "dw"))->acc_bits, 20);
    assert_int_equal(net_encoding(m, "dw.weight")->kind, FB_ENC_PLAIN);
    assert_true(net_difference(m, a, data) < 0.05 && net_difference(m, b, data) < 0.2);
    fb_model_close(&a);
    fb_model_close(&b);
    fb_fixed_free(&net);
    fb_model_close(&m);
}

static void files_and_dry_runs(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q, *dry, *back;
    const char *methods[] = {"fixed8", "fixed6:per=channel", "fixed16:sums=keep",
                             "fixed8 + bias-correct"};
    for (int i = 0; i < 4; i++) {
        uint64_t real, told;
        q = compressed(m, methods[i]);
        net_ok(net_compress(m, methods[i], NULL, 1, true, &dry));
        net_ok(fb_model_file_bytes(q, &real));
        net_ok(fb_model_file_bytes(dry, &told));
        assert_int_equal(told, real);
        char path[] = "/tmp/fewbit-fixed-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        (void)close(fd);
        net_ok(fb_model_save(q, path));
        net_ok(fb_model_open(path, &back));
        outcome x = run_all(q, fb_cpu_usable(), 1, 1), y = run_all(back, fb_cpu_usable(), 2, 1);
        assert_memory_equal(x.y, y.y, sizeof x.y);
        (void)unlink(path);
        fb_model_close(&back);
        fb_model_close(&dry);
        fb_model_close(&q);
    }
    /* weights as coarse as the data's sums want: unknown before the data are */
    assert_int_equal(net_compress(m, "fixed16", NULL, 1, true, &dry), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "depends on the data"));
    assert_int_equal(net_compress(m, "fixed8:acc=data", NULL, 1, true, &dry), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "acc=data"));
    fb_model_close(&m);
}

static void onnx_only_where_it_says_the_same(void **state)
{
    (void)state;
    char path[] = "/tmp/fewbit-fixed-XXXXXX";
    fb_model *m = net_build(false), *q, *back;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    q = compressed(m, "fixed8");
    assert_int_equal(fb_onnx_export(q, path), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "rounds half to even"));
    fb_model_close(&q);
    q = compressed(m, "fixed8:round=half-even,acc=14,sums=keep");
    assert_int_equal(fb_onnx_export(q, path), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "can leave the accumulator"));
    fb_model_close(&q);
    q = compressed(m, "fixed8:round=half-even");
    net_ok(fb_onnx_export(q, path));
    net_ok(fb_open_any(path, &back));
    outcome a = run_all(q, 0, 1, 1), b = run_all(back, fb_cpu_usable(), 1, 1);
    assert_memory_equal(a.y, b.y, sizeof a.y);
    assert_true(a.over.of > 0 && b.over.of == 0);
    (void)unlink(path);
    fb_model_close(&back);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* What a damaged or hand-made file must not get through. */
static void broken_models_are_refused(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q = compressed(m, "fixed8");
    fb_node *n = (fb_node *)(uintptr_t)node_of(q, "pw");
    fb_fixed *f = &n->attr.conv.fixed, keep = *f;
    struct {
        fb_fixed f;
        const char *why;
    } t[] = {{{7, 0, 0}, "accumulator of 7 bits, must be 8 to 32"},
             {{33, 0, 0}, "accumulator of 33 bits"},
             {{0, 1, 0}, "accumulator of 0 bits"},
             {{20, 3, 0}, "overflow mode 3"},
             {{20, 0, -1}, "rounding -1"}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        *f = t[i].f;
        assert_int_equal(fb_model_validate(q), FB_E_FORMAT);
        assert_non_null(strstr(fb_error(), t[i].why));
    }
    *f = keep;
    net_ok(fb_model_validate(q));
    fb_encoding *x = &q->tensors[n->in[0]].enc, *w = &q->tensors[n->in[1]].enc;
    float scale = x->scale[0];
    x->pow2 = false;
    x->scale[0] = 0.3f;
    assert_int_equal(fb_model_validate(q), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "no power of two as scale"));
    x->scale[0] = 0x1p-61f;
    assert_int_equal(fb_model_validate(q), FB_E_FORMAT);
    x->scale[0] = scale;
    x->zero[0] = 3;
    assert_int_equal(fb_model_validate(q), FB_E_FORMAT);
    x->zero[0] = 0;
    w->pow2 = false;
    w->scale[0] *= 1.5f;
    assert_int_equal(fb_model_validate(q), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "its weight"));
    fb_model_close(&q);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats_follow_the_formula),
                                       cmocka_unit_test(options),
                                       cmocka_unit_test(more_bits_are_better),
                                       cmocka_unit_test(kernels_and_threads_agree),
                                       cmocka_unit_test(equals_a_simulation),
                                       cmocka_unit_test(widths_by_layer),
                                       cmocka_unit_test(files_and_dry_runs),
                                       cmocka_unit_test(onnx_only_where_it_says_the_same),
                                       cmocka_unit_test(broken_models_are_refused)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
