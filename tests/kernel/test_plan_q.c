/* A small integer network with every operator that has an integer form: the plan must decline none
 * of them, reference and fast kernels and any number of threads must agree to the bit, and the
 * result must stay near that of the same network in floats. */
#include "guard.h"

#include "fewbit/fewbit.h"
#include "model/model.h"

#include <math.h>

typedef struct net {
    fb_model *m;
    bool encoded, is_signed;
    uint64_t rng; /* both versions of the network draw the same numbers */
} net;

static uint32_t draw(net *g, uint32_t n)
{
    g->rng = g->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g->rng >> 33) % n;
}

static int32_t tensor(net *g, const char *name, int32_t rank, const int64_t *dims, float scale,
                      int32_t zero)
{
    int32_t t;
    assert_int_equal(fb_model_add_tensor(g->m, name, FB_F32, rank, dims, &t), FB_OK);
    if (g->encoded && scale > 0)
        assert_int_equal(fb_model_set_activation(g->m, t, 8, g->is_signed, scale,
                                                 zero - (g->is_signed ? 128 : 0)),
                         FB_OK);
    return t;
}

static int32_t image(net *g, const char *name, int64_t size, int64_t c, float scale, int32_t zero)
{
    return tensor(g, name, 4, (int64_t[]){-1, size, size, c}, scale, zero);
}

/* Weights of `bits` bits, one scale for each output channel. */
static int32_t weight(net *g, const char *name, int32_t rank, const int64_t *dims, unsigned bits)
{
    int64_t n = 1;
    for (int32_t i = 0; i < rank; i++)
        n *= dims[i];
    int32_t t;
    assert_int_equal(fb_model_add_const(g->m, name, FB_F32, rank, dims, NULL, &t), FB_OK);
    float *scale = malloc((size_t)dims[0] * sizeof *scale);
    float *values = malloc((size_t)n * sizeof *values);
    size_t bytes;
    assert_true(fb_packed_bytes((size_t)n, bits, &bytes));
    uint8_t *codes = calloc(1, bytes);
    int32_t most = (1 << (bits - 1)) - 1;
    for (int64_t o = 0; o < dims[0]; o++)
        scale[o] =
            (0.5f + (float)draw(g, 1000) * 1e-3f) / ((float)most * sqrtf((float)(n / dims[0])));
    for (int64_t i = 0; i < n; i++) {
        int32_t q = (int32_t)draw(g, (uint32_t)(2 * most + 1)) - most;
        fb_packed_put(codes, (size_t)i, bits, q);
        values[i] = (float)q * scale[i / (n / dims[0])];
    }
    fb_encoding enc = {.kind = FB_ENC_AFFINE,
                       .bits = (uint8_t)bits,
                       .is_signed = true,
                       .axis = 0,
                       .n_scales = (uint32_t)dims[0],
                       .scale = scale};
    fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    if (g->encoded)
        assert_int_equal(fb_model_set_payload(g->m, t, &enc, codes, bytes), FB_OK);
    else
        assert_int_equal(fb_model_set_payload(g->m, t, &plain, values, (size_t)n * 4), FB_OK);
    free(scale);
    free(values);
    free(codes);
    return t;
}

static int32_t bias(net *g, const char *name, int64_t n)
{
    float v[64];
    int32_t t;
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)draw(g, 1000) * 1e-3f - 0.5f;
    assert_int_equal(fb_model_add_const(g->m, name, FB_F32, 1, &n, v, &t), FB_OK);
    return t;
}

static void node(net *g, fb_op op, const char *name, uint32_t n_in, const int32_t *in, int32_t out,
                 fb_attr attr)
{
    int32_t outs[2] = {out, -1};
    assert_int_equal(
        fb_model_add_node(g->m, op, name, n_in, in, fb_op_get(op)->n_out, outs, &attr, NULL),
        FB_OK);
}

static fb_attr conv_attr(int32_t k, int32_t stride, int32_t pad, int32_t groups, fb_act act)
{
    fb_attr a = {.conv = {.kh = k,
                          .kw = k,
                          .stride_h = stride,
                          .stride_w = stride,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = pad,
                          .pad_l = pad,
                          .pad_b = pad,
                          .pad_r = pad,
                          .groups = groups,
                          .act = act}};
    return a;
}

static fb_attr pool_attr(int32_t k, int32_t stride, int32_t pad)
{
    fb_attr a = {.pool = {.kh = k,
                          .kw = k,
                          .stride_h = stride,
                          .stride_w = stride,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = pad,
                          .pad_l = pad,
                          .pad_b = pad,
                          .pad_r = pad}};
    return a;
}

/* x -> encode -> conv -> depthwise -> 1x1 -> + -> gate -> max pool \ concat -> avg pool -> pad ->
 * leaky relu -> mean -> dense */
static void build(net *g)
{
    static const fb_act none = {0, 0, 0}, relu6 = {1, 0, 6};
    assert_int_equal(fb_model_create(&g->m), FB_OK);
    int32_t x = image(g, "x", 23, 3, 0, 0), xq = image(g, "xq", 23, 3, 0.008f, 127);
    int32_t a = image(g, "a", 23, 24, 0.012f, 0), b = image(g, "b", 23, 24, 0.01f, 120);
    int32_t c = image(g, "c", 23, 24, 0.011f, 100), d = image(g, "d", 23, 24, 0.02f, 60);
    int32_t gate = tensor(g, "gate", 4, (int64_t[]){-1, 1, 1, 24}, 0.01f, 60);
    int32_t e = image(g, "e", 23, 24, 0.02f, 60), f = image(g, "f", 12, 24, 0.02f, 60);
    int32_t s = image(g, "s", 12, 16, 0.015f, 0), k = image(g, "k", 12, 40, 0.018f, 40);
    int32_t m = image(g, "m", 6, 40, 0.014f, 50), p = image(g, "p", 8, 40, 0.014f, 50);
    int32_t l = image(g, "l", 8, 40, 0.014f, 20);
    int32_t v = tensor(g, "v", 4, (int64_t[]){-1, 1, 1, 40}, 0.006f, 50);
    int32_t r = tensor(g, "r", 2, (int64_t[]){-1, 40}, 0.006f, 50);
    int32_t y = tensor(g, "y", 2, (int64_t[]){-1, 10}, 0, 0);
    fb_attr no = {.shape = {0}};
    if (g->encoded)
        node(g, FB_OP_CONVERT, "encode", 1, &x, xq, no);
    else
        node(g, FB_OP_UNARY, "encode", 1, &x, xq, (fb_attr){.unary = {FB_UNARY_CLIP, -9, 9}});
    node(g, FB_OP_CONV, "conv", 3,
         (int32_t[]){xq, weight(g, "w1", 4, (int64_t[]){24, 3, 3, 3}, 8), bias(g, "b1", 24)}, a,
         conv_attr(3, 1, 1, 1, relu6));
    node(g, FB_OP_CONV, "depthwise", 3,
         (int32_t[]){a, weight(g, "w2", 4, (int64_t[]){24, 3, 3, 1}, 8), bias(g, "b2", 24)}, b,
         conv_attr(3, 1, 1, 24, none));
    node(g, FB_OP_CONV, "pointwise", 2,
         (int32_t[]){b, weight(g, "w3", 4, (int64_t[]){24, 1, 1, 24}, 5)}, c,
         conv_attr(1, 1, 0, 1, none));
    node(g, FB_OP_BINARY, "add", 2, (int32_t[]){a, c}, d,
         (fb_attr){.binary = {FB_BINARY_ADD, none}});
    node(g, FB_OP_REDUCE, "squeeze", 1, &d, gate, (fb_attr){.reduce = {FB_REDUCE_MEAN, 6, 1}});
    node(g, FB_OP_BINARY, "gate", 2, (int32_t[]){d, gate}, e,
         (fb_attr){.binary = {FB_BINARY_MUL, none}});
    node(g, FB_OP_MAX_POOL, "max", 1, &e, f, pool_attr(3, 2, 1));
    node(g, FB_OP_CONV, "strided", 3,
         (int32_t[]){e, weight(g, "w4", 4, (int64_t[]){16, 1, 1, 24}, 8), bias(g, "b4", 16)}, s,
         conv_attr(1, 2, 0, 1, relu6));
    node(g, FB_OP_CONCAT, "concat", 2, (int32_t[]){f, s}, k, (fb_attr){.axis = {3}});
    node(g, FB_OP_AVG_POOL, "avg", 1, &k, m, pool_attr(3, 2, 1));
    node(g, FB_OP_PAD, "pad", 1, &m, p,
         (fb_attr){.pad = {FB_PAD_CONSTANT, {0, 1, 1, 0}, {0, 1, 1, 0}, 0}});
    node(g, FB_OP_UNARY, "leaky", 1, &p, l, (fb_attr){.unary = {FB_UNARY_LEAKY_RELU, 0.1f, 0}});
    node(g, FB_OP_REDUCE, "mean", 1, &l, v, (fb_attr){.reduce = {FB_REDUCE_MEAN, 6, 1}});
    node(g, FB_OP_RESHAPE, "flatten", 1, &v, r, (fb_attr){.shape = {2, {-1, 40}}});
    node(g, FB_OP_DENSE, "dense", 3,
         (int32_t[]){r, weight(g, "w5", 2, (int64_t[]){10, 40}, 8), bias(g, "b5", 10)}, y, no);
    assert_int_equal(fb_model_set_io(g->m, &x, 1, &y, 1), FB_OK);
    if (fb_model_validate(g->m) != FB_OK)
        fail_msg("%s", fb_error());
}

/* Outputs [batch][10]. */
static void run(const net *g, uint32_t batch, uint32_t cpu, uint32_t threads, float *out)
{
    fb_plan_options options;
    fb_plan *plan;
    fb_run *r;
    size_t bytes;
    fb_plan_options_default(&options);
    options.batch = batch;
    options.cpu = cpu;
    if (fb_plan_create(g->m, &options, &plan) != FB_OK)
        fail_msg("%s", fb_error());
    for (uint32_t i = 0; g->encoded && i < fb_plan_n_steps(plan); i++) {
        fb_step_info info;
        assert_int_equal(fb_plan_step(plan, i, &info), FB_OK);
        if (strcmp(info.op, "convert") == 0 && strcmp(info.name, "encode") != 0)
            fail_msg("%s runs in floats", info.name);
    }
    assert_int_equal(fb_run_create(plan, threads, &r), FB_OK);
    float *x = fb_run_input(r, 0, &bytes);
    uint32_t state = 7;
    for (size_t i = 0; i < bytes / sizeof *x; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    assert_int_equal(fb_run_execute(r), FB_OK);
    const float *y = fb_run_output(r, 0, &bytes);
    assert_int_equal(bytes, batch * 10 * sizeof *y);
    memcpy(out, y, bytes);
    fb_run_destroy(&r);
    fb_plan_destroy(&plan);
}

static void test_net(void **state)
{
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        net f = {.rng = 42}, q = {.encoded = true, .is_signed = is_signed, .rng = 42};
        build(&f);
        build(&q);
        float exact[30], want[30], got[30];
        run(&f, 3, 0, 1, exact);
        run(&q, 3, 0, 1, want);
        for (uint32_t threads = 1; threads <= 3; threads++) {
            run(&q, 3, fb_cpu_usable(), threads, got);
            assert_memory_equal(got, want, sizeof got);
        }
        run(&q, 1, fb_cpu_usable(), 2, got);
        assert_memory_equal(got, want, 10 * sizeof *got);
        double error = 0, power = 0;
        for (int i = 0; i < 30; i++) {
            error += (double)((want[i] - exact[i]) * (want[i] - exact[i]));
            power += (double)(exact[i] * exact[i]);
        }
        assert_true(power > 0.01);
        if (error > 0.01 * power)
            fail_msg("integer outputs are off by %g of the floats' %g", error, power);
        fb_model_close(&f.m);
        fb_model_close(&q.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_net)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
