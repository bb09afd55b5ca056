/* Every f32 step as the plan prepares it: one-node models, run with the reference kernels and with
 * the fast ones, on one to three threads. Fast and reference agree within rounding; thread counts
 * agree to the bit. (What the operators mean is the business of the ONNX conformance cases.) */
#include "guard.h"

#include "fewbit/fewbit.h"
#include "unit/sample_model.h"

#include <math.h>

typedef struct operand {
    int32_t rank;
    int64_t dims[4]; /* -1 = the batch */
    bool is_const;
    fb_dtype type; /* 0 = f32 */
} operand;

typedef struct plan_case {
    const char *name;
    fb_op op;
    fb_attr attr;
    operand in[4];
    double tolerance; /* relative to the largest output; 0 = the same bits */
} plan_case;

#define X(...)                                                                                     \
    {                                                                                              \
        .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dims = { __VA_ARGS__ }                      \
    }
#define C(...)                                                                                     \
    {                                                                                              \
        .rank = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dims = {__VA_ARGS__}, .is_const = true      \
    }
#define CONV(kh_, kw_, s_, d_, p_, g_)                                                             \
    .op = FB_OP_CONV, .attr.conv = {.kh = kh_,                                                     \
                                    .kw = kw_,                                                     \
                                    .stride_h = s_,                                                \
                                    .stride_w = s_,                                                \
                                    .dil_h = d_,                                                   \
                                    .dil_w = d_,                                                   \
                                    .pad_t = p_,                                                   \
                                    .pad_l = p_,                                                   \
                                    .pad_b = p_,                                                   \
                                    .pad_r = p_,                                                   \
                                    .groups = g_,                                                  \
                                    .act = {1, 0, INFINITY}}
#define POOL(k_, s_, p_)                                                                           \
    .attr.pool = {.kh = k_,                                                                        \
                  .kw = k_,                                                                        \
                  .stride_h = s_,                                                                  \
                  .stride_w = s_,                                                                  \
                  .dil_h = 1,                                                                      \
                  .dil_w = 1,                                                                      \
                  .pad_t = p_,                                                                     \
                  .pad_l = p_,                                                                     \
                  .pad_b = p_,                                                                     \
                  .pad_r = p_}
#define UNARY(k)  .op = FB_OP_UNARY, .attr.unary = {FB_UNARY_##k, 0.5f, 0.75f}
#define BINARY(k) .op = FB_OP_BINARY, .attr.binary = {FB_BINARY_##k, {0, 0, 0}}

static const plan_case cases[] = {
    {"conv 3x3", CONV(3, 3, 1, 1, 1, 1), .in = {X(-1, 14, 15, 32), C(48, 3, 3, 32), C(48)},
     .tolerance = 1e-5},
    {"conv 7x7 rgb", CONV(7, 7, 2, 1, 3, 1), .in = {X(-1, 32, 30, 3), C(24, 7, 7, 3), C(24)},
     .tolerance = 1e-5},
    {"conv 1x1", CONV(1, 1, 1, 1, 0, 1), .in = {X(-1, 28, 28, 64), C(40, 1, 1, 64)},
     .tolerance = 1e-5},
    {"conv 1x1 s2", CONV(1, 1, 2, 1, 0, 1), .in = {X(-1, 28, 28, 64), C(17, 1, 1, 64), C(17)},
     .tolerance = 1e-5},
    {"conv wide", CONV(3, 3, 1, 1, 1, 1), .in = {X(-1, 7, 7, 512), C(96, 3, 3, 512), C(96)},
     .tolerance = 1e-5},
    {"conv groups", CONV(3, 3, 1, 2, 2, 4), .in = {X(-1, 9, 9, 32), C(48, 3, 3, 8), C(48)},
     .tolerance = 1e-5},
    {"conv depthwise", CONV(3, 3, 1, 1, 1, 36), .in = {X(-1, 21, 19, 36), C(36, 3, 3, 1), C(36)},
     .tolerance = 1e-5},
    {"conv live weight", CONV(3, 3, 1, 1, 1, 1), .in = {X(-1, 5, 5, 4), X(6, 3, 3, 4), X(6)},
     .tolerance = 1e-5},
    {"conv live depthwise", CONV(3, 3, 1, 1, 1, 6), .in = {X(-1, 5, 5, 6), X(6, 3, 3, 1), X(6)},
     .tolerance = 1e-5},
    {"conv transpose", .op = FB_OP_CONV_TRANSPOSE,
     .attr.conv = {.kh = 3,
                   .kw = 3,
                   .stride_h = 2,
                   .stride_w = 2,
                   .dil_h = 1,
                   .dil_w = 1,
                   .pad_t = 1,
                   .pad_l = 1,
                   .pad_b = 1,
                   .pad_r = 1,
                   .groups = 1,
                   .out_pad_h = 1,
                   .out_pad_w = 1},
     .in = {X(-1, 7, 6, 5), C(9, 3, 3, 5), C(9)}, .tolerance = 1e-5},
    {"dense", .op = FB_OP_DENSE, .in = {X(-1, 1000), C(301, 1000), C(301)}, .tolerance = 1e-5},
    {"dense live", .op = FB_OP_DENSE, .in = {X(-1, 100), X(31, 100), X(31)}, .tolerance = 1e-5},
    {"matmul", .op = FB_OP_MATMUL, .in = {X(2, 1, 9, 33), X(3, 33, 21)}, .tolerance = 1e-5},
    {"scale shift", .op = FB_OP_SCALE_SHIFT, .in = {X(-1, 5, 7, 19), C(19), C(19)},
     .tolerance = 1e-6},
    {"prelu", .op = FB_OP_PRELU, .in = {X(-1, 5, 7, 19), C(19)}},
    {"relu", UNARY(RELU), .in = {X(-1, 50, 41, 19)}},
    {"sigmoid", UNARY(SIGMOID), .in = {X(-1, 5, 41, 19)}, .tolerance = 1e-6},
    {"tanh", UNARY(TANH), .in = {X(-1, 5, 41, 19)}, .tolerance = 1e-6},
    {"erf", UNARY(ERF), .in = {X(-1, 5)}},
    {"add", BINARY(ADD), .in = {X(-1, 30, 31, 32), X(-1, 30, 31, 32)}},
    {"add bias", BINARY(ADD), .in = {X(-1, 30, 31, 33), C(33)}},
    {"sub scalar", BINARY(SUB), .in = {X(-1, 30), {.rank = 0, .is_const = true}}},
    {"mul gate", BINARY(MUL), .in = {X(-1, 9, 11, 24), X(-1, 1, 1, 24)}},
    {"div outer", BINARY(DIV), .in = {X(-1, 9, 1, 24), X(11, 1)}},
    {"pow", BINARY(POW), .in = {X(-1, 9), C(1)}, .tolerance = 1e-6},
    {"add s32", BINARY(ADD),
     .in = {{.rank = 2, .dims = {3, 40000}, .type = FB_S32},
            {.rank = 1, .dims = {40000}, .type = FB_S32}}},
    {"max pool", .op = FB_OP_MAX_POOL, POOL(3, 2, 1), .in = {X(-1, 30, 31, 40)}},
    {"max pool u8", .op = FB_OP_MAX_POOL, POOL(3, 2, 1),
     .in = {{.rank = 4, .dims = {-1, 9, 8, 5}, .type = FB_U8}}},
    {"avg pool", .op = FB_OP_AVG_POOL, POOL(3, 2, 1), .in = {X(-1, 30, 31, 40)}, .tolerance = 1e-6},
    {"mean hw", .op = FB_OP_REDUCE, .attr.reduce = {FB_REDUCE_MEAN, 6, 1}, .in = {X(-1, 7, 7, 130)},
     .tolerance = 1e-6},
    {"sum c", .op = FB_OP_REDUCE, .attr.reduce = {FB_REDUCE_SUM, 8, 0}, .in = {X(-1, 7, 7, 130)},
     .tolerance = 1e-6},
    {"max hw", .op = FB_OP_REDUCE, .attr.reduce = {FB_REDUCE_MAX, 6, 1}, .in = {X(-1, 7, 7, 130)}},
    {"max n,w", .op = FB_OP_REDUCE, .attr.reduce = {FB_REDUCE_MAX, 5, 0}, .in = {X(3, 7, 8, 13)}},
    {"arg max", .op = FB_OP_ARG_MAX, .attr.arg = {2, 0, 0}, .in = {X(-1, 4, 5, 6)}},
    {"concat", .op = FB_OP_CONCAT, .attr.axis = {3},
     .in = {X(1, 40, 41, 16), X(1, 40, 41, 7), C(1, 40, 41, 3)}},
    {"gather", .op = FB_OP_GATHER, .attr.axis = {1},
     .in = {X(2, 9, 70), {.rank = 1, .dims = {5}, .type = FB_S64}}},
    {"slice", .op = FB_OP_SLICE, .attr.slice = {{0, 3, 5, 0}, {2, 4, 3, 6}, {1, 2, -2, 1}},
     .in = {X(2, 10, 9, 6)}},
    {"nchw to nhwc", .op = FB_OP_TRANSPOSE, .attr.perm = {{0, 2, 3, 1}}, .in = {X(-1, 24, 13, 17)}},
    {"nhwc to nchw", .op = FB_OP_TRANSPOSE, .attr.perm = {{0, 3, 1, 2}}, .in = {X(-1, 24, 13, 17)}},
    {"expand", .op = FB_OP_EXPAND, .attr.shape = {3, {5, 40, 9}}, .in = {X(40, 1)}},
    {"pad", .op = FB_OP_PAD, .attr.pad = {FB_PAD_CONSTANT, {0, 1, 2, 0}, {0, -2, 1, 3}, 1.5},
     .in = {X(-1, 9, 9, 5)}},
    {"reflect", .op = FB_OP_PAD, .attr.pad = {FB_PAD_REFLECT, {0, 3, 2, 0}, {0, 2, 1, 0}, 0},
     .in = {X(-1, 9, 9, 5)}},
    {"nearest", .op = FB_OP_RESIZE,
     .attr.resize = {.mode = FB_RESIZE_NEAREST,
                     .coord = FB_COORD_ASYMMETRIC,
                     .size = {-1, 18, 27, 5}},
     .in = {X(-1, 9, 9, 5)}},
    {"linear", .op = FB_OP_RESIZE,
     .attr.resize = {.mode = FB_RESIZE_LINEAR, .size = {-1, 20, 7, 5}}, .in = {X(-1, 9, 9, 5)},
     .tolerance = 1e-6},
    {"cubic", .op = FB_OP_RESIZE,
     .attr.resize = {.mode = FB_RESIZE_CUBIC, .cubic_a = -0.75f, .size = {-1, 20, 7, 5}},
     .in = {X(-1, 9, 9, 5)}, .tolerance = 1e-6},
    {"lrn", .op = FB_OP_LRN, .attr.lrn = {5, 1e-2f, 0.75f, 1}, .in = {X(-1, 9, 9, 35)},
     .tolerance = 1e-6},
    {"softmax", .op = FB_OP_SOFTMAX, .attr.softmax = {1, 2, 0}, .in = {X(-1, 1001)},
     .tolerance = 1e-5},
    {"log softmax h,w", .op = FB_OP_SOFTMAX, .attr.softmax = {1, 3, 1}, .in = {X(-1, 9, 8, 3)},
     .tolerance = 1e-5},
    {"reshape", .op = FB_OP_RESHAPE, .attr.shape = {2, {-1, 45}}, .in = {X(-1, 9, 5)}},
};

static void fill(void *data, size_t n, fb_dtype type)
{
    if (type == FB_F32)
        test_fill_f32(data, n);
    else
        for (size_t i = 0; i < n; i++) {
            int64_t v = (int64_t)test_below(5); /* a valid index too */
            memcpy((uint8_t *)data + i * fb_dtype_bytes(type), &v, fb_dtype_bytes(type));
        }
}

static void must(fb_status status, const char *what)
{
    if (status != FB_OK)
        fail_msg("%s: %s", what, fb_error());
}

static fb_model *build(const plan_case *c)
{
    fb_model *m;
    int32_t in[4], inputs[4], out;
    uint32_t n = 0, n_inputs = 0;
    must(fb_model_create(&m), c->name);
    while (n < 4 && (c->in[n].rank > 0 || c->in[n].is_const)) {
        const operand *o = &c->in[n];
        fb_dtype type = o->type ? o->type : FB_F32;
        char name[16];
        (void)snprintf(name, sizeof name, "in%u", n);
        if (o->is_const) {
            int64_t elems = 1;
            for (int32_t k = 0; k < o->rank; k++)
                elems *= o->dims[k];
            void *data = malloc((size_t)elems * fb_dtype_bytes(type));
            assert_non_null(data);
            fill(data, (size_t)elems, type);
            must(fb_model_add_const(m, name, type, o->rank, o->dims, data, &in[n]), c->name);
            free(data);
        } else {
            must(fb_model_add_tensor(m, name, type, o->rank, o->dims, &in[n]), c->name);
            inputs[n_inputs++] = in[n];
        }
        n++;
    }
    must(sample_node(m, c->op, "node", n, in, &c->attr, FB_F32, &out), c->name);
    must(fb_model_set_io(m, inputs, n_inputs, &out, 1), c->name);
    must(fb_model_validate(m), c->name);
    return m;
}

/* Runs the model on `inputs` (made by the first call) and returns a copy of its output. */
static void *run_once(const fb_model *m, uint32_t batch, uint32_t cpu, uint32_t threads,
                      void *inputs[4], size_t *bytes, const char *name)
{
    fb_plan_options o;
    fb_plan *plan;
    fb_run *run;
    fb_plan_options_default(&o);
    o.batch = batch;
    o.cpu = cpu;
    must(fb_plan_create(m, &o, &plan), name);
    must(fb_run_create(plan, threads, &run), name);
    for (uint32_t i = 0; i < fb_model_n_inputs(m); i++) {
        size_t n;
        void *data = fb_run_input(run, i, &n);
        fb_dtype type = m->tensors[fb_model_input(m, i)].dtype;
        if (!inputs[i]) {
            inputs[i] = malloc(n);
            fill(inputs[i], n / fb_dtype_bytes(type), type);
        }
        memcpy(data, inputs[i], n);
    }
    must(fb_run_execute(run), name);
    const void *out = fb_run_output(run, 0, bytes);
    void *copy = malloc(*bytes);
    assert_non_null(copy);
    memcpy(copy, out, *bytes);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return copy;
}

static void compare(const plan_case *c, const float *want, const float *got, size_t bytes)
{
    double top = 0;
    if (c->tolerance == 0) {
        if (memcmp(want, got, bytes) != 0)
            fail_msg("%s: fast and reference differ", c->name);
        return;
    }
    for (size_t i = 0; i < bytes / 4; i++)
        top = fmax(top, isnan(want[i]) ? 0 : fabs((double)want[i]));
    for (size_t i = 0; i < bytes / 4; i++) {
        bool same = isnan(want[i]) ? isnan(got[i])
                                   : fabs((double)want[i] - (double)got[i]) <= c->tolerance * top;
        if (!same)
            fail_msg("%s: element %zu is %g, the reference gives %g", c->name, i, (double)got[i],
                     (double)want[i]);
    }
}

static void plans_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const plan_case *c = &cases[i];
        fb_model *m = build(c);

        for (uint32_t batch = 1; batch <= 5; batch += 2) {
            void *inputs[4] = {NULL};
            size_t bytes, bytes_fast;
            void *ref = run_once(m, batch, 0, 1, inputs, &bytes, c->name);
            void *fast = run_once(m, batch, FB_CPU_ALL, 1, inputs, &bytes_fast, c->name);
            assert_int_equal(bytes, bytes_fast);
            compare(c, ref, fast, bytes);
            for (uint32_t threads = 2; threads <= 3; threads++) {
                void *more = run_once(m, batch, FB_CPU_ALL, threads, inputs, &bytes_fast, c->name);
                if (memcmp(more, fast, bytes) != 0)
                    fail_msg("%s: %u threads change the result", c->name, threads);
                free(more);
            }
            free(ref);
            free(fast);
            for (int k = 0; k < 4; k++)
                free(inputs[k]);
        }
        fb_model_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plans_agree)};
    test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
