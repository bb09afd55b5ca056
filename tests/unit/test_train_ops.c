/* The gradient of every operator against central differences, on small awkward shapes.
 *
 * The loss is sum(r y) with a fixed random r, summed in double. A case fails with its name and the
 * parameter whose gradient is wrong. */
#include "train_net.h"

#include <stdio.h>

enum { BATCH = 3 };
#define STEP 0.003f

typedef struct trial {
    fb_net *net;
    float *x, *r, *logits, *input_gradient;
    size_t n_x, n_logits;
} trial;

static double loss(trial *t, const float *x)
{
    double sum = 0;
    memcpy(fb_net_input(t->net, &t->n_x), x, t->n_x * sizeof *x);
    OK(fb_net_forward(t->net, FB_NET_TRIAL, 1));
    for (size_t i = 0; i < t->n_logits; i++)
        sum += (double)t->r[i] * (double)t->logits[i];
    return sum;
}

/* Largest difference between `g` and the slope by differences of what `at` holds, over the largest
 * slope. */
static double disagreement(trial *t, float *at, const float *g, size_t n)
{
    double worst = 0, largest = 0.1;
    for (size_t i = 0; i<n; i += n> 64 ? n / 48 : 1) {
        float kept = at[i], up = kept + STEP, down = kept - STEP;
        at[i] = up;
        double plus = loss(t, t->x);
        at[i] = down;
        double minus = loss(t, t->x);
        at[i] = kept;
        double slope = (plus - minus) / ((double)up - (double)down);
        worst = fmax(worst, fabs(slope - (double)g[i]));
        largest = fmax(largest, fabs(slope));
    }
    return worst / largest;
}

/* Input values that are apart from each other and from 0, so that no difference crosses a kink. */
static void fill_apart(float *x, size_t n, uint64_t *random)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)i - (float)n / 2 + 0.5f) * 0.05f;
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(fb_random_next(random) % i);
        float swap = x[i - 1];
        x[i - 1] = x[k];
        x[k] = swap;
    }
}

static void start(trial *t, fb_model *m, float dropout, bool apart)
{
    const int32_t tap = m->inputs[0];
    const fb_net_options o = {
        .batch = BATCH, .n_threads = 2, .dropout = dropout, .seed = 5, .taps = &tap, .n_taps = 1};
    uint64_t random = 3;
    *t = (trial){0};
    fb_status status = fb_net_create(m, &o, &t->net);
    if (status != FB_OK)
        fail_msg("%s", fb_error());
    (void)fb_net_input(t->net, &t->n_x);
    t->logits = fb_net_logits(t->net, &t->n_logits);
    t->x = fb_calloc(t->n_x, sizeof(float));
    t->r = fb_calloc(t->n_logits, sizeof(float));
    t->input_gradient = fb_calloc(t->n_x, sizeof(float));
    if (apart)
        fill_apart(t->x, t->n_x, &random);
    else
        fb_random_fill(&random, -1, 1, t->n_x, t->x);
    fb_random_fill(&random, -1, 1, t->n_logits, t->r);
    (void)loss(t, t->x);
    memcpy(fb_net_logits_gradient(t->net), t->r, t->n_logits * sizeof(float));
    OK(fb_net_backward(t->net));
    const float *x;
    float *g;
    OK(fb_net_tap(t->net, 0, &x, &g, &t->n_x));
    memcpy(t->input_gradient, g, t->n_x * sizeof(float));
}

static void stop(trial *t)
{
    fb_free(t->x);
    fb_free(t->r);
    fb_free(t->input_gradient);
    fb_net_destroy(&t->net);
}

static void gradients(const char *name, maker *k, float dropout, bool apart)
{
    trial t;
    fb_model *m = make_end(k);
    start(&t, m, dropout, apart);
    double worst = disagreement(&t, t.x, t.input_gradient, t.n_x);
    if (!(worst < 0.02))
        fail_msg("%s: input gradient is wrong by %g", name, worst);
    for (uint32_t i = 0; i < fb_net_n_params(t.net); i++) {
        fb_param *p = fb_net_param(t.net, i);
        if (!p->g)
            continue;
        /* differences run forward passes alone, so that g stays */
        worst = disagreement(&t, p->w, p->g, p->n);
        if (!(worst < 0.02))
            fail_msg("%s: gradient of parameter %u is wrong by %g", name, i, worst);
    }
    stop(&t);
    fb_model_close(&m);
}

static maker image(int64_t h, int64_t w, int64_t c)
{
    return make_start(4, (int64_t[]){-1, h, w, c});
}

/* Something to learn in front of an operator that has no parameter. */
static maker shifted(int64_t h, int64_t w, int64_t c)
{
    maker k = image(h, w, c);
    fb_attr_conv one = {.kh = 1,
                        .kw = 1,
                        .stride_h = 1,
                        .stride_w = 1,
                        .dil_h = 1,
                        .dil_w = 1,
                        .groups = (int32_t)c};
    make_conv(&k, c, &one, true);
    return k;
}

static void test_conv(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t h, w, ic, oc;
        fb_attr_conv a;
        bool bias;
    } cases[] = {
        {"conv 3x3", 6, 5, 3, 4, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, {0}, {0}}, true},
        {"conv stride 2", 7, 8, 4, 5, {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, {0}, {0}}, false},
        {"conv one-sided pads",
         6,
         6,
         2,
         3,
         {3, 2, 2, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, {0}, {0}},
         true},
        {"conv left pads", 5, 6, 2, 3, {2, 3, 1, 2, 1, 1, 1, 2, 0, 0, 1, 0, 0, {0}, {0}}, true},
        {"conv dilated", 9, 8, 3, 2, {3, 2, 1, 1, 2, 3, 2, 1, 1, 0, 1, 0, 0, {0}, {0}}, true},
        {"conv 1x1 stride 2",
         6,
         6,
         16,
         8,
         {1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1, 0, 0, {0}, {0}},
         false},
        {"conv groups", 5, 5, 6, 4, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 0, {0}, {0}}, true},
        {"conv depthwise", 6, 7, 5, 5, {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 5, 0, 0, {0}, {0}}, true},
        {"conv depthwise 16",
         5,
         5,
         16,
         16,
         {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 16, 0, 0, {0}, {0}},
         true},
        {"conv depth multiplier",
         5,
         5,
         3,
         6,
         {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 0, 0, {0}, {0}},
         true},
        {"conv 16 to 32", 4, 4, 16, 32, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, {0}, {0}}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        maker k = image(cases[i].h, cases[i].w, cases[i].ic);
        make_conv(&k, cases[i].oc, &cases[i].a, cases[i].bias);
        gradients(cases[i].name, &k, 0, false);
    }
}

static void test_dense(void **state)
{
    (void)state;
    maker k = make_start(2, (int64_t[]){-1, 11});
    make_dense(&k, 7, true);
    make_dense(&k, 5, false);
    gradients("dense", &k, 0, false);
    k = make_start(3, (int64_t[]){-1, 4, 6});
    make_dense(&k, 3, true);
    gradients("dense over rows", &k, 0, false);
    k = make_start(2, (int64_t[]){-1, 40});
    make_dense(&k, 12, true);
    gradients("dropout", &k, 0.4f, false);
}

static void test_norm(void **state)
{
    (void)state;
    for (int relu = 0; relu < 2; relu++) {
        for (int64_t c = 3; c <= 16; c += 13) {
            maker k = image(4, 3, 6);
            make_dense(&k, c, true);
            make_norm(&k);
            if (relu)
                make_unary(&k, FB_UNARY_RELU, 0, 0);
            make_flat(&k);
            make_dense(&k, 4, true);
            gradients(relu ? "batch norm and relu" : "batch norm", &k, 0, false);
        }
    }
    maker k = image(4, 3, 5);
    make_norm(&k);
    gradients("batch norm of the input", &k, 0, false);
}

static void test_unary(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        fb_unary kind;
        float a, b;
    } cases[] = {{"relu", FB_UNARY_RELU, 0, 0},
                 {"leaky relu", FB_UNARY_LEAKY_RELU, 0.1f, 0},
                 {"clip", FB_UNARY_CLIP, -0.5f, 0.7f},
                 {"sigmoid", FB_UNARY_SIGMOID, 0, 0},
                 {"hard sigmoid", FB_UNARY_HARD_SIGMOID, 0.2f, 0.5f},
                 {"hard swish", FB_UNARY_HARD_SWISH, 0, 0},
                 {"tanh", FB_UNARY_TANH, 0, 0},
                 {"elu", FB_UNARY_ELU, 1, 0},
                 {"softplus", FB_UNARY_SOFTPLUS, 0, 0},
                 {"exp", FB_UNARY_EXP, 0, 0},
                 {"abs", FB_UNARY_ABS, 0, 0},
                 {"neg", FB_UNARY_NEG, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        maker k = make_start(2, (int64_t[]){-1, 12});
        make_unary(&k, cases[i].kind, cases[i].a, cases[i].b);
        make_dense(&k, 5, true);
        gradients(cases[i].name, &k, 0, true);
    }
}

static void test_binary(void **state)
{
    (void)state;
    static const char *const names[] = {"add", "sub", "mul", "div"};
    for (int kind = 0; kind < 4; kind++) {
        maker k = shifted(3, 4, 5);
        int32_t a = k.x;
        make_unary(&k, FB_UNARY_SOFTPLUS, 0, 0);
        make_binary(&k, (fb_binary)kind, a, k.x);
        gradients(names[kind], &k, 0, false);

        k = shifted(3, 4, 5); /* a gate for each channel, as in squeeze and excite */
        a = k.x;
        fb_attr mean = {.reduce = {FB_REDUCE_MEAN, 6, 1}};
        make_node(&k, FB_OP_REDUCE, 1, &k.x, &mean);
        make_unary(&k, FB_UNARY_SIGMOID, 0, 0);
        make_binary(&k, (fb_binary)kind, a, k.x);
        gradients("binary, broadcast", &k, 0, false);

        k = shifted(3, 4, 5); /* a constant that is not learned */
        int32_t c = make_const(&k, 1, (int64_t[]){5}, 0.5f, 2);
        make_binary(&k, (fb_binary)kind, k.x, c);
        gradients("binary with a constant", &k, 0, false);
    }
    maker k = shifted(3, 4, 5);
    make_binary(&k, FB_BINARY_MUL, k.x, k.x);
    gradients("a square", &k, 0, false);
}

static void test_pool(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        fb_op op;
        fb_attr_pool a;
    } cases[] = {{"max pool", FB_OP_MAX_POOL, {2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0}},
                 {"max pool, ceil", FB_OP_MAX_POOL, {3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 1, 0, 0}},
                 {"max pool, pads", FB_OP_MAX_POOL, {3, 2, 2, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0}},
                 {"mean pool", FB_OP_AVG_POOL, {2, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0}},
                 {"mean pool, pads", FB_OP_AVG_POOL, {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0}},
                 {"mean pool, pads count", FB_OP_AVG_POOL, {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 1, 0}},
                 {"mean pool, ceil", FB_OP_AVG_POOL, {3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 1, 0, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        maker k = image(6, 8, 3);
        fb_attr attr = {.pool = cases[i].a};
        make_node(&k, cases[i].op, 1, &k.x, &attr);
        make_dense(&k, 2, false);
        gradients(cases[i].name, &k, 0, true);
    }
}

static void test_reduce(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        fb_attr_reduce a;
    } cases[] = {{"mean over the image", {FB_REDUCE_MEAN, 6, 0}},
                 {"sum over one axis", {FB_REDUCE_SUM, 4, 1}},
                 {"maximum over the image", {FB_REDUCE_MAX, 6, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        maker k = image(3, 4, 5);
        fb_attr attr = {.reduce = cases[i].a};
        make_node(&k, FB_OP_REDUCE, 1, &k.x, &attr);
        make_dense(&k, 3, true);
        gradients(cases[i].name, &k, 0, true);
    }
}

static void test_move(void **state)
{
    (void)state;
    maker k = shifted(3, 4, 5);
    int32_t a = k.x, b, c;
    make_unary(&k, FB_UNARY_TANH, 0, 0);
    b = k.x;
    make_unary(&k, FB_UNARY_SIGMOID, 0, 0);
    c = k.x;
    fb_attr axis = {.axis = {3}};
    make_node(&k, FB_OP_CONCAT, 3, (int32_t[]){a, b, c}, &axis);
    make_dense(&k, 2, true);
    gradients("concat", &k, 0, false);

    k = shifted(3, 4, 5);
    axis.axis.axis = 1;
    make_node(&k, FB_OP_CONCAT, 3, (int32_t[]){k.x, k.x, k.x}, &axis);
    gradients("concat of one thing thrice", &k, 0, false);

    k = shifted(3, 4, 5);
    fb_attr perm = {.perm = {{0, 3, 1, 2}}};
    make_node(&k, FB_OP_TRANSPOSE, 1, &k.x, &perm);
    make_flat(&k);
    make_dense(&k, 3, true);
    gradients("transpose and reshape", &k, 0, false);

    k = shifted(5, 4, 3);
    fb_attr slice = {.slice = {{0, 4, 1, 0}, {-1, 2, 2, 3}, {1, -2, 1, 1}}};
    make_node(&k, FB_OP_SLICE, 1, &k.x, &slice);
    gradients("slice", &k, 0, false);

    k = shifted(3, 4, 5);
    fb_attr pad = {.pad = {FB_PAD_CONSTANT, {0, 1, -1, 0}, {0, 2, 1, 0}, 0.5}};
    make_node(&k, FB_OP_PAD, 1, &k.x, &pad);
    gradients("pad", &k, 0, false);
}

static void test_normalise(void **state)
{
    (void)state;
    for (int32_t size = 3; size < 6; size++) {
        maker k = shifted(2, 3, 7);
        fb_attr lrn = {.lrn = {size, 0.8f, 0.75f, 1.0f}};
        make_node(&k, FB_OP_LRN, 1, &k.x, &lrn);
        gradients("lrn", &k, 0, false);
    }
    for (int32_t log_of = 0; log_of < 2; log_of++) {
        maker k = shifted(2, 3, 4);
        fb_attr softmax = {.softmax = {log_of ? 1 : 3, log_of ? 3 : 4, log_of}};
        make_node(&k, FB_OP_SOFTMAX, 1, &k.x, &softmax);
        make_dense(&k, 3, false);
        gradients(log_of ? "log softmax over the image" : "softmax", &k, 0, false);
    }
}

/* A residual block: a value with two readers, a clamp that is fused into the sum. */
static void test_residual(void **state)
{
    (void)state;
    maker k = shifted(4, 4, 4);
    fb_attr_conv c3 = {.kh = 3,
                       .kw = 3,
                       .stride_h = 1,
                       .stride_w = 1,
                       .dil_h = 1,
                       .dil_w = 1,
                       .pad_t = 1,
                       .pad_l = 1,
                       .pad_b = 1,
                       .pad_r = 1,
                       .groups = 1};
    int32_t skip = k.x;
    c3.act = (fb_act){1, 0, INFINITY};
    make_conv(&k, 4, &c3, true);
    c3.act.clamp = 0;
    make_conv(&k, 4, &c3, true);
    fb_attr add = {.binary = {FB_BINARY_ADD, {1, -0.9f, 0.9f}}};
    make_node(&k, FB_OP_BINARY, 2, (int32_t[]){k.x, skip}, &add);
    make_pool_mean(&k);
    make_dense(&k, 3, true);
    gradients("residual block", &k, 0, false);
}

/* The comparison sees a gradient that is wrong by a tenth. */
static void test_mutant(void **state)
{
    (void)state;
    trial t;
    maker k = make_start(2, (int64_t[]){-1, 11});
    make_dense(&k, 7, true);
    fb_model *m = make_end(&k);
    start(&t, m, 0, false);
    for (size_t i = 0; i < t.n_x; i++)
        t.input_gradient[i] *= 1.1f;
    assert_true(disagreement(&t, t.x, t.input_gradient, t.n_x) > 0.05);
    stop(&t);
    fb_model_close(&m);
}

static void refused(maker *k, const char *sentence)
{
    const fb_net_options o = {.batch = 2, .n_threads = 1};
    fb_model *m = make_end(k);
    fb_net *net;
    assert_int_equal(fb_net_create(m, &o, &net), FB_E_UNSUPPORTED);
    assert_null(net);
    if (!strstr(fb_error(), sentence))
        fail_msg("'%s' does not say '%s'", fb_error(), sentence);
    fb_model_close(&m);
}

static void test_refused(void **state)
{
    (void)state;
    maker k = shifted(3, 3, 2);
    make_unary(&k, FB_UNARY_ERF, 0, 0);
    refused(&k, "cannot train 'node' (unary): erf has no gradient");
    k = shifted(3, 3, 2);
    make_node(&k, FB_OP_EXPAND, 1, &k.x, &(fb_attr){.shape = {4, {-1, 3, 3, 2}}});
    refused(&k, "cannot train 'node' (expand): the operator has no gradient");
    k = make_start(2, (int64_t[]){-1, 4});
    int32_t w = make_const(&k, 2, (int64_t[]){4, 4}, -1, 1);
    make_node(&k, FB_OP_DENSE, 2, (int32_t[]){k.x, w}, NULL);
    make_node(&k, FB_OP_DENSE, 2, (int32_t[]){k.x, w}, NULL);
    refused(&k, "is another layer's weight, too");
    k = make_start(2, (int64_t[]){-1, 4});
    make_unary(&k, FB_UNARY_RELU, 0, 0);
    refused(&k, "nothing to learn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),      cmocka_unit_test(test_dense),
        cmocka_unit_test(test_norm),      cmocka_unit_test(test_unary),
        cmocka_unit_test(test_binary),    cmocka_unit_test(test_pool),
        cmocka_unit_test(test_reduce),    cmocka_unit_test(test_move),
        cmocka_unit_test(test_normalise), cmocka_unit_test(test_residual),
        cmocka_unit_test(test_mutant),    cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
