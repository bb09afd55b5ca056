/* Low rank: METHODS C.2.2, C.3 and C.5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/factor.h"
#include "compress/linalg.h"
#include "compress/lowrank.h"
#include "compress/response.h"
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

static float *random_matrix(size_t m, size_t n)
{
    float *w = malloc(m * n * sizeof *w);
    for (size_t i = 0; i < m * n; i++)
        w[i] = net_random();
    return w;
}

/* |W - A B|^2 and |W|^2 */
static double distance(const float *w, const float *a, const float *b, size_t m, size_t n, size_t r,
                       double *power)
{
    double error = 0;
    *power = 0;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double v = (double)w[i * n + j];
            *power += v * v;
            for (size_t k = 0; k < r; k++)
                v -= (double)a[i * r + k] * (double)b[k * n + j];
            error += v * v;
        }
    }
    return error;
}

static void rank_one_is_exact(void **state)
{
    (void)state;
    const size_t sizes[][2] = {{7, 11}, {11, 7}, {1, 5}, {300, 40}};
    net_state = 1;
    for (size_t k = 0; k < 4; k++) {
        size_t m = sizes[k][0], n = sizes[k][1];
        float *u = random_matrix(m, 1), *v = random_matrix(1, n), *w = random_matrix(m, n);
        float *a = random_matrix(m, 1), *b = random_matrix(1, n);
        for (size_t i = 0; i < m * n; i++)
            w[i] = u[i / n] * v[i % n];
        fb_lowrank l;
        double power;
        net_ok(fb_lowrank_find(w, m, n, NULL, 0, &l));
        assert_int_equal(fb_lowrank_rank(&l, 1e-9), 1);
        net_ok(fb_lowrank_split(&l, w, 1, a, b));
        assert_true(sqrt(distance(w, a, b, m, n, 1, &power) / power) < 1e-6);
        double la = 0, lb = 0; /* both factors have the same length */
        for (size_t i = 0; i < m; i++)
            la += (double)a[i] * (double)a[i];
        for (size_t i = 0; i < n; i++)
            lb += (double)b[i] * (double)b[i];
        assert_true(fabs(la / lb - 1) < 1e-5);
        fb_lowrank_free(&l);
        free(u), free(v), free(w), free(a), free(b);
    }
}

/* Eckart-Young: |W - W_r|^2 is the sum of the squared singular values left out, and those are
 * LAPACK's. */
static void truncation_error(void **state)
{
    (void)state;
    const size_t sizes[][2] = {{13, 29}, {29, 13}, {64, 64}, {5, 700}, {700, 5}};
    net_state = 2;
    for (size_t k = 0; k < 5; k++) {
        size_t m = sizes[k][0], n = sizes[k][1], least = m < n ? m : n;
        float *w = random_matrix(m, n);
        double *copy = malloc(m * n * sizeof *copy), *u = malloc(m * least * sizeof *u);
        double *vt = malloc(least * n * sizeof *vt), *s = malloc(least * sizeof *s);
        for (size_t i = 0; i < m * n; i++)
            copy[i] = (double)w[i];
        net_ok(fb_svd(m, n, copy, u, s, vt));
        fb_lowrank l;
        net_ok(fb_lowrank_find(w, m, n, NULL, 0, &l));
        for (size_t r = 1; r <= least; r += 1 + least / 5) {
            float *a = random_matrix(m, r), *b = random_matrix(r, n);
            double power, left = 0;
            net_ok(fb_lowrank_split(&l, w, r, a, b));
            double error = distance(w, a, b, m, n, r, &power);
            for (size_t i = r; i < least; i++)
                left += s[i] * s[i];
            assert_true(fabs(error - left) < 1e-5 * power);
            assert_true(fabs(fb_lowrank_loss(&l, r) - left / power) < 1e-9);
            assert_int_equal(fb_lowrank_rank(&l, left / power + 1e-9), r);
            free(a), free(b);
        }
        fb_lowrank_free(&l);
        free(w), free(copy), free(u), free(vt), free(s);
    }
}

/* y = W x for inputs with covariance G: error of W^ in response, tr((W - W^) G (W - W^)ᵀ). */
static double response_error(const float *w, const float *a, const float *b, size_t m, size_t n,
                             size_t r, const double *g)
{
    double total = 0, e[64];
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            e[j] = (double)w[i * n + j];
            for (size_t k = 0; k < r; k++)
                e[j] -= (double)a[i * r + k] * (double)b[k * n + j];
        }
        for (size_t j = 0; j < n * n; j++)
            total += e[j / n] * g[j] * e[j % n];
    }
    return total;
}

/* The projection of the responses is the truncated SVD of W G^(1/2): its error is what that leaves
 * out, which no other factors of the rank beat. */
static void whitened_is_optimal(void **state)
{
    (void)state;
    enum { M = 12, NN = 20 };
    net_state = 3;
    float *w = random_matrix(M, NN), *x = random_matrix(NN, NN);
    double g[NN * NN], half[NN * NN], cov[M * M] = {0}, c[M * NN], value[NN];
    for (size_t i = 0; i < NN * NN; i++) {
        g[i] = 0;
        for (size_t k = 0; k < NN; k++) /* far from white */
            g[i] += (double)x[i / NN * NN + k] * (double)x[i % NN * NN + k] / pow(1.5, (double)k);
        half[i] = g[i];
    }
    net_ok(fb_eigen_symmetric(NN, half, value));
    for (size_t i = 0; i < M; i++) { /* c = W G^(1/2), by its eigenvectors */
        for (size_t k = 0; k < NN; k++) {
            double dot = 0;
            for (size_t j = 0; j < NN; j++)
                dot += (double)w[i * NN + j] * half[k * NN + j];
            c[i * NN + k] = dot * sqrt(fmax(value[k], 0));
        }
    }
    for (size_t i = 0; i < M * M; i++) {
        for (size_t k = 0; k < NN; k++)
            cov[i] += c[i / M * NN + k] * c[i % M * NN + k];
    }
    double u[M * M], s[M], vt[M * NN];
    net_ok(fb_svd(M, NN, c, u, s, vt));
    fb_lowrank white, plain;
    net_ok(fb_lowrank_find(w, M, NN, cov, 0, &white));
    net_ok(fb_lowrank_find(w, M, NN, NULL, 0, &plain));
    for (size_t r = 1; r < M; r++) {
        float *a = random_matrix(M, r), *b = random_matrix(r, NN);
        double left = 0, all = 0;
        for (size_t i = 0; i < M; i++) {
            left += i >= r ? s[i] * s[i] : 0;
            all += s[i] * s[i];
        }
        net_ok(fb_lowrank_split(&white, w, r, a, b));
        double error = response_error(w, a, b, M, NN, r, g);
        assert_true(fabs(error - left) < 1e-5 * all);
        net_ok(fb_lowrank_split(&plain, w, r, a, b));
        assert_true(response_error(w, a, b, M, NN, r, g) > error * 1.05);
        free(a), free(b);
    }
    fb_lowrank_free(&white);
    fb_lowrank_free(&plain);
    free(w), free(x);
}

/* Few samples: where they say nothing, W's own directions decide. */
static void prior_fills_the_gaps(void **state)
{
    (void)state;
    const float w[9] = {1, 0, 0, 0, 2, 0, 0, 0, 3};
    const double cov[9] = {5}; /* only output 0 was ever seen to move */
    fb_lowrank l;
    net_ok(fb_lowrank_find(w, 3, 3, cov, 0.1, &l));
    assert_true(fabs(fabs(l.basis[0]) - 1) < 1e-12);
    assert_true(fabs(fabs(l.basis[5]) - 1) < 1e-12); /* then output 2, the larger row */
    assert_true(fabs(l.energy[0] - 5) < 1e-12 && l.energy[1] == 0); /* seen, the prior left out */
    assert_int_equal(fb_lowrank_rank(&l, 0.01), 1);
    fb_lowrank_free(&l);
}

/* --- in a network ---------------------------------------------------------------------------- */

/* conv (kernel 5 x 3) - conv as given - flatten - dense 40 - dense 7, a name each. */
static fb_model *awkward(const fb_attr_conv *c)
{
    fb_model *m;
    int32_t x, t, u, y;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 12, 12, 3), &x));
    t = net_conv(m, "first", x, 10, 3, 1, (fb_act){1, 0, INFINITY});
    int32_t w, b = net_bias(m, "conv.bias", 14);
    net_ok(fb_model_add_const(m, "conv.weight", FB_F32, 4, sample_dims(14, c->kh, c->kw, 10), NULL,
                              &w));
    float *v = (float *)(uintptr_t)m->tensors[w].data;
    for (size_t i = 0; i < m->tensors[w].data_bytes / sizeof *v; i++)
        v[i] = 0.3f * net_random();
    fb_attr attr = {.conv = *c};
    net_ok(sample_node(m, FB_OP_CONV, "conv", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &u));
    int64_t n = m->tensors[u].dims[1] * m->tensors[u].dims[2] * 14;
    attr = (fb_attr){.shape = {.rank = 2, .dims = {-1, n}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &u, &attr, FB_F32, &t));
    attr = (fb_attr){.dense = {.act = {1, 0, INFINITY}}};
    w = net_weight(m, "fc1.weight", 40, 0, n, 1);
    b = net_bias(m, "fc1.bias", 40);
    net_ok(sample_node(m, FB_OP_DENSE, "fc1", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &u));
    attr = (fb_attr){0};
    w = net_weight(m, "fc2.weight", 7, 0, 40, 1);
    net_ok(sample_node(m, FB_OP_DENSE, "fc2", 2, (int32_t[]){u, w}, &attr, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    return m;
}

static const fb_attr_conv plain_conv = {.kh = 3,
                                        .kw = 3,
                                        .stride_h = 1,
                                        .stride_w = 1,
                                        .dil_h = 1,
                                        .dil_w = 1,
                                        .pad_t = 1,
                                        .pad_l = 1,
                                        .pad_b = 1,
                                        .pad_r = 1,
                                        .groups = 1,
                                        .act = {1, 0, INFINITY}};

static size_t node_named(const fb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->nodes[i].name, name) == 0)
            return i;
    }
    fail_msg("no node %s", name);
    return 0;
}

/* Nothing is lost at full rank, whatever the window looks like. */
static void full_rank_convolutions_agree(void **state)
{
    (void)state;
    const fb_attr_conv shapes[] = {
        plain_conv,
        {.kh = 5,
         .kw = 3,
         .stride_h = 2,
         .stride_w = 3,
         .dil_h = 1,
         .dil_w = 2,
         .pad_t = 2,
         .pad_l = 0,
         .pad_b = 1,
         .pad_r = 3,
         .groups = 1,
         .act = {1, 0, 6}},
        {.kh = 2,
         .kw = 4,
         .stride_h = 3,
         .stride_w = 2,
         .dil_h = 3,
         .dil_w = 1,
         .pad_t = 0,
         .pad_l = 3,
         .pad_b = 4,
         .pad_r = 0,
         .groups = 1},
        {.kh = 1,
         .kw = 1,
         .stride_h = 2,
         .stride_w = 1,
         .dil_h = 1,
         .dil_w = 1,
         .pad_t = 1,
         .pad_l = 0,
         .pad_b = 0,
         .pad_r = 1,
         .groups = 1,
         .act = {1, -1, 1}},
        {.kh = 1,
         .kw = 7,
         .stride_h = 1,
         .stride_w = 2,
         .dil_h = 1,
         .dil_w = 1,
         .pad_l = 3,
         .pad_r = 3,
         .groups = 1},
    };
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        fb_model *m = awkward(&shapes[k]);
        size_t at = node_named(m, "conv");
        for (int f = FB_FACTOR_CHANNEL; f <= FB_FACTOR_SPATIAL; f++) {
            fb_factor_form form = (fb_factor_form)f;
            fb_model *q;
            fb_lowrank l;
            net_ok(fb_model_clone(m, true, &q));
            const fb_tensor *t = &m->tensors[net_tensor(m, "conv.weight")];
            fb_factor_shape s = fb_factor_shape_of(m, &m->nodes[at], form);
            size_t r = s.m < s.n ? s.m : s.n;
            float *w = malloc(t->data_bytes), *a = random_matrix(s.m, r),
                  *b = random_matrix(r, s.n);
            memcpy(w, t->data, t->data_bytes);
            if (form == FB_FACTOR_SPATIAL)
                fb_factor_spatial(t, t->data, w);
            net_ok(fb_lowrank_find(w, s.m, s.n, NULL, 0, &l));
            net_ok(fb_lowrank_split(&l, w, r, a, b));
            net_ok(fb_factor_apply(q, at, form, r, a, b, NULL));
            net_ok(fb_model_compact(q));
            net_ok(fb_model_validate(q));
            assert_true(net_difference(m, q, data) < 2e-6);
            fb_layer_info first, second, whole;
            net_ok(fb_model_layer(q, (uint32_t)at, &first));
            net_ok(fb_model_layer(q, (uint32_t)at + 1, &second));
            net_ok(fb_model_layer(m, (uint32_t)at, &whole));
            assert_true((double)(first.macs + second.macs) == s.rank_macs * (double)r);
            assert_true((double)whole.macs == s.macs);
            assert_int_equal(first.params + second.params, s.rank_params * r + 14);
            assert_string_equal(first.name, "conv.svd0");
            assert_string_equal(second.name, "conv.svd1");
            fb_lowrank_free(&l);
            fb_model_close(&q);
            free(w), free(a), free(b);
        }
        fb_model_close(&m);
    }
}

static uint64_t params_of(const fb_model *m, const char *name)
{
    fb_layer_info info;
    net_ok(fb_model_layer(m, (uint32_t)node_named(m, name), &info));
    return info.params;
}

static bool has_node(const fb_model *m, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < m->n_nodes; i++)
        found = found || strcmp(m->nodes[i].name, name) == 0;
    return found;
}

/* fc1 is 40 x 2016: rank 40 would be larger, 39 is the most that pays. */
static void ranks_by_rule(void **state)
{
    (void)state;
    fb_model *m = awkward(&plain_conv), *q;
    net_ok(net_compress(m, "svd:5", data, 1, false, &q));
    assert_int_equal(params_of(q, "fc1.svd0"), 5 * 2016);
    assert_int_equal(params_of(q, "fc1.svd1"), 5 * 40 + 40);
    assert_int_equal(params_of(q, "fc2.svd0"), 5 * 40);
    assert_non_null(strstr(fb_model_note(q, "svd"), "fc1 rank 5, fc2 rank 5"));
    fb_model_close(&q);
    net_ok(net_compress(m, "svd:ratio=4,whiten=no", NULL, 1, false, &q));
    assert_int_equal(params_of(q, "fc1.svd0"), 9 * 2016); /* 80640 / 4 / 2056 = 9.8 */
    fb_model_close(&q);
    const char *rules[] = {"svd:energy=0.75", "svd:error=0.5"}; /* the same */
    size_t rank[2];
    for (int k = 0; k < 2; k++) {
        net_ok(net_compress(m, rules[k], data, 1, false, &q));
        rank[k] = params_of(q, "fc1.svd0") / 2016;
        assert_true(rank[k] > 0 && rank[k] < 30);
        fb_model_close(&q);
    }
    assert_int_equal(rank[0], rank[1]);
    fb_model_close(&m);
}

static void what_does_not_pay_stays(void **state)
{
    (void)state;
    fb_model *m = awkward(&plain_conv), *q;
    net_ok(net_compress(m, "svd:39", data, 1, false, &q));
    assert_true(has_node(q, "fc1.svd0") && has_node(q, "fc2") && !has_node(q, "fc2.svd0"));
    assert_non_null(
        strstr(fb_model_note(q, "svd"), "fc2 stays: rank 39 is more than 5, which pays"));
    fb_model_close(&q);
    assert_int_equal(net_compress(m, "svd:40", data, 1, false, &q), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "step 'svd:40': no layer gains from a lower rank; 'fc1' "
                                       "stays because rank 40 is more than 39"));
    assert_int_equal(net_compress(m, "svd:20,gain=2", data, 1, false, &q), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "'fc1' stays because rank 20 is more than 19"));
    net_ok(net_compress(m, "svd:19,gain=2", data, 1, false, &q)); /* 80640 / 2 / 2056 = 19.6 */
    assert_true(has_node(q, "fc1.svd0") && !has_node(q, "fc2.svd0"));
    fb_model_close(&q);
    assert_int_equal(net_compress(m, "svd:2,include=x*", data, 1, false, &q), FB_E_UNSUPPORTED);
    assert_int_equal(net_compress(m, "svd:2,energy=0.5", data, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "give one"));
    assert_int_equal(net_compress(m, "svd:2", NULL, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "needs calibration data"));
    assert_int_equal(net_compress(m, "svd:2", NULL, 1, true, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "whiten=no does without"));
    net_ok(net_compress(m, "svd:2,exclude=fc1", data, 1, false, &q));
    assert_true(has_node(q, "fc1") && has_node(q, "fc2.svd1"));
    fb_model_close(&q);
    fb_model_close(&m);
}

/* By kinds: 1 x 1 layers of net_build, then all; groups stay. */
static void kinds_of_convolutions(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q;
    net_ok(net_compress(m, "svd:2", data, 1, false, &q));
    assert_true(has_node(q, "pw") && has_node(q, "conv3") && has_node(q, "fc.svd0"));
    fb_model_close(&q);
    net_ok(net_compress(m, "svd:2,kinds=1x1", data, 1, false, &q));
    assert_true(has_node(q, "pw.svd0") && has_node(q, "conv3"));
    fb_model_close(&q);
    net_ok(net_compress(m, "svd:2,kinds=all,whiten=no", data, 1, false, &q));
    assert_true(has_node(q, "conv3.svd0") && has_node(q, "conv0.svd0") && has_node(q, "dw"));
    assert_non_null(strstr(fb_model_note(q, "svd"), "dw stays: its channels are grouped"));
    fb_model_close(&q);
    /* at a given error the cheaper form is taken: conv3 becomes a 3 x 1 and a 1 x 3 conv in sum of
     * four, which no few channels of 3 x 3 taps can give */
    fb_tensor *t = &m->tensors[net_tensor(m, "conv3.weight")];
    float *w = (float *)(uintptr_t)t->data, *u = random_matrix(48, 4), *v = random_matrix(4, 24);
    for (size_t i = 0; i < 16 * 3 * 3 * 8; i++) {
        size_t o = i / 72, y = i / 24 % 3, x = i / 8 % 3, c = i % 8;
        w[i] = 0;
        for (size_t k = 0; k < 4; k++)
            w[i] += 0.2f * u[(o * 3 + x) * 4 + k] * v[k * 24 + y * 8 + c];
    }
    free(u), free(v);
    net_ok(net_compress(m, "svd:energy=0.999,kinds=all,whiten=no", data, 1, false, &q));
    assert_non_null(strstr(fb_model_note(q, "svd"), "conv3 rank 4 spatial"));
    assert_true(net_difference(m, q, data) < 0.001);
    fb_layer_info before, first, second;
    net_ok(fb_model_layer(m, (uint32_t)node_named(m, "conv3"), &before));
    net_ok(fb_model_layer(q, (uint32_t)node_named(q, "conv3.svd0"), &first));
    net_ok(fb_model_layer(q, (uint32_t)node_named(q, "conv3.svd1"), &second));
    assert_true(first.macs + second.macs < before.macs);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* The responses that are measured are those that the kernels give; the fit to them beats the fit to
 * the weights, and the mean response is kept exactly. */
static void data_helps(void **state)
{
    (void)state;
    fb_model *m = awkward(&plain_conv), *q;
    for (size_t r = 2; r < 20; r += 5) {
        char method[64];
        double error[2];
        for (int k = 0; k < 2; k++) {
            (void)snprintf(method, sizeof method, "svd:%zu,include=fc1,whiten=%s", r,
                           k ? "yes" : "no");
            net_ok(net_compress(m, method, data, 1, false, &q));
            error[k] = net_difference(m, q, data);
            fb_model_close(&q);
        }
        assert_true(error[1] < 0.7 * error[0]);
    }
    net_ok(net_compress(m, "svd:2,include=fc2", data, 1, false, &q));
    uint32_t n;
    float *x = net_outputs(m, data, &n), *y = net_outputs(q, data, &n);
    for (uint32_t c = 0; c < n; c++) {
        double d = 0, p = 0;
        for (uint32_t i = 0; i < NET_IMAGES; i++) {
            d += (double)y[i * n + c] - (double)x[i * n + c];
            p += fabs((double)x[i * n + c]);
        }
        assert_true(fabs(d) < 1e-5 * p);
    }
    free(x), free(y);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* The abstract's pipeline: factors are layers like any other. */
static void the_chain_runs(void **state)
{
    (void)state;
    const char *chains[] = {"svd:rank=35 + clip:kl + int6 + bias-correct",
                            "svd:rank=5,kinds=all + clip + int4",
                            "svd:rank=39,whiten=no + int8:per=tensor",
                            "svd:rank=20 + svd:ratio=1.2,include=*.svd0 + w4:group=16",
                            "equalize + svd:ratio=1.04,kinds=all,whiten=no + clip:std + int8"};
    const double allowed[] = {0.12, 0.6, 0.2, 0.4, 0.8};
    fb_model *m = awkward(&plain_conv), *q, *again;
    for (size_t k = 0; k < 5; k++) {
        uint64_t bytes[2];
        net_ok(net_compress(m, chains[k], data, 1, false, &q));
        double got = net_difference(m, q, data);
        if (getenv("NET_TALK"))
            print_message("%s: %g\n", chains[k], got);
        assert_true(got < allowed[k]);
        net_ok(net_compress(m, chains[k], data, 3, false, &again));
        net_ok(fb_model_file_bytes(q, &bytes[0]));
        net_ok(fb_model_file_bytes(again, &bytes[1]));
        assert_int_equal(bytes[0], bytes[1]);
        const char *what;
        assert_true(sample_same(q, again, &what));
        fb_model_close(&again);
        if (k == 2) {
            net_ok(net_compress(m, chains[k], NULL, 1, true, &again));
            net_ok(fb_model_file_bytes(again, &bytes[1]));
            assert_int_equal(bytes[0], bytes[1]);
            fb_model_close(&again);
        }
        if (k == 0) {
            assert_string_equal(net_encoding(q, "fc1.svd0")->kind == FB_ENC_AFFINE ? "codes" : "",
                                "codes"); /* between the factors */
            assert_int_equal(net_encoding(q, "fc1.svd1.weight")->bits, 6);
        }
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

/* --- sizes ------------------------------------------------------------------------------------ */

/* The file holds a byte a weight of each factor: dry, uncoded. Scales, names and notes come on top.
 */
static void files_have_that_size(void **state)
{
    (void)state;
    fb_model *m = awkward(&plain_conv), *q;
    uint64_t bytes;
    net_ok(net_compress(m, "svd:12,whiten=no + int8:per=tensor,entropy=off", NULL, 1, true, &q));
    net_ok(fb_model_file_bytes(q, &bytes));
    size_t weights = 10 * 27 + 14 * 90 + 40 * 12 + 12 * 2016 + 7 * 40;
    assert_true(bytes > weights && bytes < weights + 2200);
    fb_model_close(&q);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rank_one_is_exact),
        cmocka_unit_test(truncation_error),
        cmocka_unit_test(whitened_is_optimal),
        cmocka_unit_test(prior_fills_the_gaps),
        cmocka_unit_test(full_rank_convolutions_agree),
        cmocka_unit_test(ranks_by_rule),
        cmocka_unit_test(what_does_not_pay_stays),
        cmocka_unit_test(kinds_of_convolutions),
        cmocka_unit_test(data_helps),
        cmocka_unit_test(the_chain_runs),
        cmocka_unit_test(files_have_that_size),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
