/* Compressed models as nets that learn: the net computes what the kernels compute, what goes in
 * comes out again, and gradients of scales, levels and codewords are those of differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress_net.h"

#include "train/quant.h"
#include "train/tuning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const methods[] = {
    "int8",
    "int8:per=tensor",
    "int4:edges=8",
    "int4:abits=4",
    "w4:group=16",
    "w3",
    "kmeans4",
    "kmeans3 + act8:unit",
    "act4:kmeans + w8",
    "ternary",
    "levels4:fit=pow2",
    "pq:d=4,k=16",
    "pq:d=4,k=16,stages=2,scale=channel,words=8 + int8",
    "prune:share=0.5 + int8",
    "svd:rank=2,include=fc + int8",
};
enum { METHODS = sizeof methods / sizeof *methods };

typedef struct setup {
    fb_model *net, *small;
    fb_data *data;
    fb_tuning *tuning;
} setup;

static setup begin(const char *method, bool norms, fb_quant_codes codes)
{
    setup s = {.net = net_build(false), .data = net_data(net_write_images())};
    const fb_tuning_options o = {.reference = s.net, .norms = norms, .learn = true, .codes = codes};
    const fb_net_options n = {.batch = NET_IMAGES, .n_threads = 1};
    fb_status status = net_compress(s.net, method, s.data, 1, false, &s.small);
    if (status == FB_OK)
        status = fb_tuning_create(s.small, &o, &n, &s.tuning);
    if (status != FB_OK)
        fail_msg("%s: %s", method, fb_error());
    return s;
}

static void end(setup *s)
{
    fb_tuning_destroy(&s->tuning);
    fb_model_close(&s->small);
    fb_model_close(&s->net);
    fb_data_close(&s->data);
}

static void pass(setup *s, fb_net_mode mode)
{
    fb_net *net = fb_tuning_net(s->tuning);
    size_t n;
    uint32_t got;
    float *x = fb_net_input(net, &n);
    fb_data_rewind(s->data);
    net_ok(fb_data_next(s->data, NET_IMAGES, x, NULL, &got));
    net_ok(fb_tuning_forward(s->tuning));
    net_ok(fb_net_forward(net, mode, 0));
}

/* sqrt(sum (net - kernels)^2 / sum kernels^2) over the logits. */
static double distance(setup *s, const fb_model *m)
{
    uint32_t classes;
    size_t n;
    double error = 0, power = 0;
    float *y = net_outputs(m, s->data, &classes);
    const float *z = fb_net_logits(fb_tuning_net(s->tuning), &n);
    assert_int_equal(n, NET_IMAGES * classes);
    for (size_t i = 0; i < n; i++) {
        error += (double)(y[i] - z[i]) * (double)(y[i] - z[i]);
        power += (double)y[i] * (double)y[i];
    }
    free(y);
    return sqrt(error / power);
}

/* A rounding may fall to the other side where sums differ in their last bits; all others agree. */
static void test_net_is_kernels(void **state)
{
    (void)state;
    for (int i = 0; i < METHODS; i++) {
        setup s = begin(methods[i], false, FB_CODES_NEAREST);
        pass(&s, FB_NET_EVAL);
        double d = distance(&s, s.small),
               most = strstr(methods[i], "abits=4") || strstr(methods[i], "act4") ? 0.05 : 0.01;
        if (!(d < most))
            fail_msg("%s: the net is %.4f from the kernels", methods[i], d);
        end(&s);
    }
}

static void test_out_again(void **state)
{
    (void)state;
    for (int i = 0; i < METHODS; i++) {
        for (int codes = FB_CODES_NEAREST; codes <= FB_CODES_FIXED; codes++) {
            fb_model *again;
            setup s = begin(methods[i], false, (fb_quant_codes)codes);
            net_ok(fb_tuning_model(s.tuning, NULL, &again));
            double d = net_difference(s.small, again, s.data);
            if (!(d < 1e-5))
                fail_msg("%s: %.6f from what went in", methods[i], d);
            fb_model_close(&again);
            end(&s);
        }
    }
}

/* Batch norms change nothing at first: neither what the net computes nor what is written. */
static void test_norms_are_identity(void **state)
{
    (void)state;
    for (int i = 0; i < METHODS; i++) {
        if (strstr(methods[i], "pow2"))
            continue;
        fb_model *again;
        setup s = begin(methods[i], true, FB_CODES_NEAREST);
        pass(&s, FB_NET_MEASURE);
        net_ok(fb_net_adopt(fb_tuning_net(s.tuning)));
        pass(&s, FB_NET_EVAL);
        double d = distance(&s, s.small);
        net_ok(fb_tuning_model(s.tuning, NULL, &again));
        double e = net_difference(s.small, again, s.data);
        if (!(d < 0.05 && e < 0.02))
            fail_msg("%s: the net is %.4f away, the file %.4f", methods[i], d, e);
        fb_model_close(&again);
        end(&s);
    }
}

/* ---- gradients --------------------------------------------------------------------------------
 */

static double loss(setup *s, const float *r)
{
    size_t n;
    double sum = 0;
    pass(s, FB_NET_TRIAL);
    const float *y = fb_net_logits(fb_tuning_net(s->tuning), &n);
    for (size_t i = 0; i < n; i++)
        sum += (double)r[i] * (double)y[i];
    return sum;
}

/* For fixed codes the network is a smooth function of scales, levels and words: the gradient times
 * `norm` (what it was divided by) is the slope by differences, at the number `at` of the first
 * parameter with that name and size. */
static void check_slope(setup *s, const float *r, const char *name, size_t n, size_t at,
                        double norm)
{
    fb_net *net = fb_tuning_net(s->tuning);
    fb_param *p = NULL;
    size_t n_logits;
    for (uint32_t i = 0; !p && i < fb_net_n_params(net); i++) {
        fb_param *q = fb_net_param(net, i);
        p = strcmp(q->name, name) == 0 && q->n == n ? q : NULL;
    }
    if (!p)
        fail_msg("no parameter %s of %zu", name, n);
    pass(s, FB_NET_TRIAL);
    (void)fb_net_logits(net, &n_logits);
    memcpy(fb_net_logits_gradient(net), r, n_logits * sizeof *r);
    net_ok(fb_net_backward(net));
    fb_tuning_backward(s->tuning);
    double g = (double)p->g[at] * norm;
    float was = p->w[at], step = fmaxf(fabsf(was), 0.1f) * 0.002f;
    p->w[at] = was + step;
    double plus = loss(s, r);
    p->w[at] = was - step;
    double minus = loss(s, r);
    p->w[at] = was;
    double slope = (plus - minus) / (2 * (double)step);
    if (!(fabs(g - slope) < 0.02 * fabs(slope) + 1e-3))
        fail_msg("%s[%zu]: gradient %.5f, slope %.5f", name, at, g, slope);
}

static void fill_random(float *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        r[i] = net_random();
}

static void test_levels_gradient(void **state)
{
    (void)state;
    float r[NET_IMAGES * 5];
    setup s = begin("kmeans3:per=shared,include=conv3", false, FB_CODES_FIXED);
    const fb_tensor *w = &s.small->tensors[net_tensor(s.small, "conv3.weight")];
    fill_random(r, NET_IMAGES * 5);
    for (uint32_t k = 0; k < w->enc.n_levels; k++) {
        size_t uses = 0;
        for (size_t i = 0; i < 16 * 9 * 8; i++)
            uses += (uint32_t)fb_packed_get(w->data, i, 3, false) == k;
        if (w->enc.level[k] != 0)
            check_slope(&s, r, "weight.levels", w->enc.n_levels, k, sqrt((double)uses));
    }
    check_slope(&s, r, "weight.scale", 16, 3, sqrt(9.0 * 8));
    end(&s);
}

static void test_scale_gradient(void **state)
{
    (void)state;
    float r[NET_IMAGES * 5];
    setup s = begin("w4:include=conv3", false, FB_CODES_FIXED);
    fill_random(r, NET_IMAGES * 5);
    for (size_t c = 0; c < 16; c += 5)
        check_slope(&s, r, "weight.scale", 16, c, sqrt(9.0 * 8 * 7));
    end(&s);
}

static void test_words_gradient(void **state)
{
    (void)state;
    float r[NET_IMAGES * 5];
    setup s = begin("pq:d=4,k=16,scale=channel,words=32,include=conv3", false, FB_CODES_FIXED);
    const fb_tensor *w = &s.small->tensors[net_tensor(s.small, "conv3.weight")];
    size_t n = (size_t)2 * w->enc.n_words * 4;
    fill_random(r, NET_IMAGES * 5);
    for (uint32_t k = 0; k < w->enc.n_words; k += 3) { /* of the second subspace */
        size_t uses = 0;
        for (size_t v = 1; v < 16 * 9 * 2; v += 2)
            uses += (uint32_t)fb_packed_get(w->data, v, w->enc.bits, false) == k;
        check_slope(&s, r, "weight.words", n, (w->enc.n_words + k) * 4 + k % 4, sqrt((double)uses));
    }
    check_slope(&s, r, "weight.scale", 16, 7, sqrt(9.0 * 8));
    end(&s);
}

/* METHODS T.1: three bits, Q = 3, s = 1: 1.3 becomes 1, with slope 1 - 1.3; 9 becomes 3, slope 3,
 * and the master learns nothing. */
static void test_step_size(void **state)
{
    (void)state;
    fb_model *m;
    fb_net *net;
    fb_quant *q;
    int32_t x, y, w;
    float one = 1, master[2] = {1.3f, 9};
    const uint8_t codes = 1 | 3 << 3;
    const int64_t dims[2] = {1, 2};
    const fb_encoding e = {.kind = FB_ENC_AFFINE,
                           .bits = 3,
                           .is_signed = true,
                           .axis = -1,
                           .n_scales = 1,
                           .scale = &one};
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "x", FB_F32, 2, (int64_t[]){-1, 2}, &x));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, dims, master, &w));
    fb_attr none = {0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 2, (int32_t[]){x, w}, &none, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_net_create(m, &(fb_net_options){.batch = 1, .n_threads = 1}, &net));
    fb_tensor as = m->tensors[w];
    as.enc = e;
    as.data = &codes;
    as.data_bytes = 1;
    const fb_quant_options o = {.learn = true};
    net_ok(fb_quant_create(net, 0, &as, NULL, &o, &q));
    fb_param *p = fb_net_param(net, 0), *scale = fb_net_param(net, 1);
    memcpy(p->w, master, sizeof master);
    net_ok(fb_quant_forward(q));
    assert_float_equal(fb_param_value(p)[0], 1, 0);
    assert_float_equal(fb_param_value(p)[1], 3, 0);
    const float slope[2] = {-0.3f, 3};
    for (int k = 0; k < 2; k++) {
        p->g[k] = 1;
        p->g[1 - k] = 0;
        fb_quant_backward(q);
        assert_float_equal(scale->g[0] * sqrtf(2 * 3), slope[k], 1e-5f);
        assert_float_equal(p->g[k], k == 0 ? 1 : 0, 0);
    }
    fb_quant_destroy(q);
    fb_net_destroy(&net);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_net_is_kernels),     cmocka_unit_test(test_out_again),
        cmocka_unit_test(test_norms_are_identity), cmocka_unit_test(test_levels_gradient),
        cmocka_unit_test(test_scale_gradient),     cmocka_unit_test(test_words_gradient),
        cmocka_unit_test(test_step_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
