/* lut: the law of NUMERICS.md holds for what it writes, and finer tables are nearer to the decoded
 * weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/product.h"
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

/* a - pool - b - mean - flatten - fc; b has 32 channels, in and out. With a fork, c reads what b
 * reads, and both are added. */
static fb_model *build_net(bool fork)
{
    const fb_act relu = {1, 0, INFINITY};
    fb_model *m;
    int32_t x, t, u, y;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 12, 12, 3), &x));
    t = net_conv(m, "a", x, 32, 3, 1, relu);
    t = net_max_pool(m, "pool", t);
    u = t;
    t = net_conv(m, "b", t, 32, 3, 1, relu);
    if (fork) {
        u = net_conv(m, "c", u, 32, 3, 1, relu);
        fb_attr add = {.binary = {.kind = FB_BINARY_ADD, .act = relu}};
        net_ok(sample_node(m, FB_OP_BINARY, "add", 2, (int32_t[]){t, u}, &add, FB_F32, &y));
        t = y;
    }
    fb_attr attr = {.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6, .keep_dims = 1}};
    net_ok(sample_node(m, FB_OP_REDUCE, "mean", 1, &t, &attr, FB_F32, &u));
    attr = (fb_attr){.shape = {.rank = 2, .dims = {-1, 32}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &u, &attr, FB_F32, &t));
    int32_t w = net_weight(m, "fc.weight", 5, 0, 32, 2), b = net_bias(m, "fc.bias", 5);
    attr = (fb_attr){0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    return m;
}

static fb_model *build(void)
{
    return build_net(false);
}

/* The layer b and its weight. */
static const fb_node *node_b(const fb_model *m)
{
    for (size_t i = 0; i < m->n_nodes; i++)
        if (strcmp(m->nodes[i].name, "b") == 0)
            return &m->nodes[i];
    fail_msg("layer b is gone");
    return NULL;
}

static const fb_tensor *weight_b(const fb_model *m)
{
    return &m->tensors[node_b(m)->in[1]];
}

static fb_model *compressed(const char *method, uint32_t threads, bool dry)
{
    fb_model *m = build(), *out;
    net_ok(net_compress(m, method, dry ? NULL : data, threads, dry, &out));
    fb_model_close(&m);
    return out;
}

/* Whether layer `name` runs by look-up. */
static bool looks_up(const fb_model *m, const char *name, fb_tables tables)
{
    fb_plan_options o;
    fb_plan *plan;
    bool found = false;
    fb_plan_options_default(&o);
    o.tables = tables;
    net_ok(fb_plan_create(m, &o, &plan));
    for (uint32_t i = 0; i < fb_plan_n_steps(plan); i++) {
        fb_step_info s;
        net_ok(fb_plan_step(plan, i, &s));
        found = found || (strcmp(s.name, name) == 0 && strncmp(s.kernel, "fbk_prod_q", 10) == 0);
    }
    fb_plan_destroy(&plan);
    return found;
}

/* Output [NET_IMAGES][5] with tables or on decoded weights. */
static void outputs(const fb_model *m, fb_tables tables, float *y)
{
    fb_measure_options o;
    fb_predictor *p;
    uint32_t got;
    fb_measure_options_default(&o);
    o.n_threads = 1;
    o.tables = tables;
    net_ok(fb_predictor_create(m, &o, &p));
    assert_int_equal(fb_predictor_classes(p), 5);
    float *x = malloc(NET_IMAGES * NET_ELEMS * sizeof *x);
    fb_data_rewind(data);
    net_ok(fb_data_next(data, NET_IMAGES, x, NULL, &got));
    net_ok(fb_predictor_run(p, got, x, y));
    fb_predictor_destroy(&p);
    free(x);
}

/* Relative error of the tables against the decoded weights. */
static double table_error(const fb_model *m)
{
    float a[NET_IMAGES * 5], b[NET_IMAGES * 5];
    double error = 0, power = 0;
    outputs(m, FB_TABLES_LOOKUP, a);
    outputs(m, FB_TABLES_DECODE, b);
    for (int i = 0; i < NET_IMAGES * 5; i++) {
        error += (double)((a[i] - b[i]) * (a[i] - b[i]));
        power += (double)(b[i] * b[i]);
    }
    return sqrt(error / power);
}

static void check_law(const fb_model *m, unsigned bits)
{
    const fb_tensor *t = weight_b(m);
    const fb_encoding *e = &t->enc;
    assert_int_equal(e->kind, FB_ENC_PRODUCT);
    assert_int_equal(e->table_bits, bits);
    assert_int_equal(e->word_bits, 8);
    fb_product p = fb_product_of(t);
    float most = 0;
    for (size_t i = 0; i < p.stages * p.books * p.words; i++) {
        float sum = 0;
        for (size_t j = 0; j < p.sub; j++)
            sum += fabsf(e->word[i * p.sub + j]);
        most = sum > most ? sum : most;
    }
    assert_true(most <= 128 && most > 120); /* all of the room is used */
    double x = (double)m->tensors[node_b(m)->in[0]].enc.scale[0];
    for (size_t s = 0; s < p.stages; s++) {
        double mul = 32768 * x * (double)e->word_scale[s] / (double)e->table_scale;
        assert_true(mul > 0.9 && mul < 32767.1 && fabs(mul - rint(mul)) < 1e-5 * mul);
    }
}

static void writes_the_law(void **state)
{
    (void)state;
    fb_model *m = compressed("pq:d=4,k=16,include=b + int8 + lut", 1, false);
    check_law(m, 6);
    assert_true(looks_up(m, "b", FB_TABLES_LOOKUP));
    assert_false(looks_up(m, "b", FB_TABLES_DECODE));
    assert_false(looks_up(m, "a", FB_TABLES_LOOKUP));
    fb_model_close(&m);
    m = compressed("pq:d=8,k=16,stages=2,scale=channel,include=b + int8 + lut:bits=7", 1, false);
    check_law(m, 7);
    assert_true(looks_up(m, "b", FB_TABLES_LOOKUP));
    fb_model_close(&m);
    m = compressed("pq:d=8,k=64,include=b + int8 + lut:bits=8", 1, false);
    check_law(m, 8);
    assert_int_equal(weight_b(m)->enc.n_words, 64);
    assert_true(looks_up(m, "b", FB_TABLES_LOOKUP));
    fb_model_close(&m);
}

/* Each of them has tables of its own. */
static void layers_share_an_input(void **state)
{
    (void)state;
    fb_model *m = build_net(true), *out;
    net_ok(net_compress(m, "pq:d=4,k=16,include=b|c + int8 + lut", data, 1, false, &out));
    check_law(out, 6);
    assert_true(looks_up(out, "b", FB_TABLES_LOOKUP));
    assert_true(looks_up(out, "c", FB_TABLES_LOOKUP));
    assert_true(table_error(out) < 0.05);
    fb_model_close(&m);
    fb_model_close(&out);
}

/* A bit more halves the step; rounding adds up independently, so errors halve too. */
static void bits_pay(void **state)
{
    (void)state;
    double error[9];
    for (int bits = 5; bits <= 8; bits++) {
        char method[80];
        (void)snprintf(method, sizeof method,
                       "pq:d=4,k=16,include=b + int8 + lut:bits=%d,bias=keep", bits);
        fb_model *m = compressed(method, 1, false);
        error[bits] = table_error(m);
        fb_model_close(&m);
    }
    assert_true(error[5] > 1.3 * error[6] && error[6] > 1.3 * error[7] && error[7] > error[8]);
    assert_true(error[6] < 0.05);
    assert_true(error[8] < 0.015);
}

static void threads_agree_and_dry_runs_too(void **state)
{
    (void)state;
    const char *method = "pq:d=4,k=16,stages=2,include=b + int8 + lut";
    fb_model *a = compressed(method, 1, false), *b = compressed(method, 3, false);
    fb_model *dry = compressed(method, 1, true);
    const fb_tensor *x = weight_b(a);
    const fb_tensor *y = weight_b(b);
    const fb_tensor *d = weight_b(dry);
    fb_product p = fb_product_of(x);
    size_t words = p.stages * p.books * p.words * p.sub;
    assert_true(x->enc.table_scale == y->enc.table_scale);
    assert_memory_equal(x->enc.word, y->enc.word, words * sizeof(float));
    assert_int_equal(fb_product_bytes(x), fb_product_bytes(d));
    float of_a[NET_IMAGES * 5], of_b[NET_IMAGES * 5];
    outputs(a, FB_TABLES_LOOKUP, of_a);
    outputs(b, FB_TABLES_LOOKUP, of_b);
    assert_memory_equal(of_a, of_b, sizeof of_a);
    fb_model_close(&a);
    fb_model_close(&b);
    fb_model_close(&dry);
}

static void says_what_it_needs(void **state)
{
    (void)state;
    const char *methods[] = {"int8 + lut", "pq:d=4,k=16,include=b + lut",
                             "pq:d=4,k=256,books=layer,include=b + int8 + lut"};
    for (int i = 0; i < 3; i++) {
        fb_model *m = build(), *out = NULL;
        assert_int_equal(net_compress(m, methods[i], data, 1, false, &out), FB_E_ARG);
        assert_non_null(strstr(fb_error(), "pq:k=16 + int8"));
        fb_model_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_law),     cmocka_unit_test(layers_share_an_input),
        cmocka_unit_test(bits_pay),           cmocka_unit_test(threads_agree_and_dry_runs_too),
        cmocka_unit_test(says_what_it_needs),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
