/* Compressed models as nets that learn: the net computes what the kernels compute, what goes in
 * comes out again, and gradients of scales, levels and codewords are those of differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress_net.h"

#include "train/optim.h"
#include "train/quant.h"
#include "train/share_plan.h"
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
    const char *images; /* file that data reads */
    fb_data *data;
    fb_tuning *tuning;
} setup;

static setup begin(const char *method, bool norms, fb_quant_codes codes)
{
    setup s = {.net = net_build(false), .images = net_write_images()};
    s.data = net_data(s.images);
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
    (void)unlink(s->images);
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

/* Scales learn in units of what they were, by a gradient over that unit. */
static double square(float scale)
{
    return (double)scale * (double)scale;
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
    check_slope(&s, r, "weight.scale", 16, 3, sqrt(9.0 * 8) * square(w->enc.scale[3]));
    end(&s);
}

static void test_scale_gradient(void **state)
{
    (void)state;
    float r[NET_IMAGES * 5];
    setup s = begin("w4:include=conv3", false, FB_CODES_FIXED);
    const fb_tensor *w = &s.small->tensors[net_tensor(s.small, "conv3.weight")];
    fill_random(r, NET_IMAGES * 5);
    for (size_t c = 0; c < 16; c += 5)
        check_slope(&s, r, "weight.scale", 16, c, sqrt(9.0 * 8 * 7) * square(w->enc.scale[c]));
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
    check_slope(&s, r, "weight.scale", 16, 7, sqrt(9.0 * 8) * square(w->enc.scale[7]));
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

/* ---- values that come to be shared --------------------------------------------------------------
 */

static setup begin_plan(const char *method, fb_recipe *recipe, fb_share_plan *plan)
{
    setup s = {.net = net_build(false), .images = net_write_images()};
    s.data = net_data(s.images);
    net_ok(fb_recipe_parse(method, recipe));
    net_ok(fb_share_plan_of(recipe->training, plan));
    const fb_tuning_options o = {.norms = true, .learn = true, .plan = plan};
    const fb_net_options n = {.batch = NET_IMAGES, .n_threads = 1};
    net_ok(fb_tuning_create(s.net, &o, &n, &s.tuning));
    return s;
}

static void learn(setup *s, fb_optim *optim, uint64_t step)
{
    fb_net *net = fb_tuning_net(s->tuning);
    size_t n;
    pass(s, FB_NET_TRAIN);
    float *g = fb_net_logits_gradient(net);
    (void)fb_net_logits(net, &n);
    for (size_t i = 0; i < n; i++)
        g[i] = net_random();
    net_ok(fb_net_backward(net));
    fb_tuning_backward(s->tuning);
    fb_optim_step(optim, 0.01f, step, NULL);
}

static size_t count_frozen(fb_net *net)
{
    size_t n = 0;
    for (uint32_t i = 0; i < fb_net_n_params(net); i++) {
        const fb_param *p = fb_net_param(net, i);
        for (size_t k = 0; p->mask && k < p->n; k++)
            n += !p->mask[k];
    }
    return n;
}

/* METHODS B.8: what is frozen stays to the bit under momentum and decay, what is free moves; after
 * the last step every layer is levels, at most as many as the bits have, and the file computes what
 * the net computes. */
static void test_shares(void **state)
{
    (void)state;
    const char *const plans[] = {"slq:bits=4,steps=3", "eslq:bits=3,steps=2", "mlq:bits=2,steps=3",
                                 "inq:bits=4,steps=2"};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fb_recipe recipe;
        fb_share_plan plan;
        fb_optim optim;
        fb_model *m;
        setup s = begin_plan(plans[i], &recipe, &plan);
        fb_net *net = fb_tuning_net(s.tuning);
        const fb_optim_options o = {.kind = FB_OPTIM_SGD, .momentum = 0.9f, .decay = 0.01f};
        net_ok(fb_optim_create(net, &o, &optim));
        pass(&s, FB_NET_MEASURE);
        net_ok(fb_net_adopt(net));
        fb_param *w = fb_net_param(net, 0); /* of conv0 */
        float before[8 * 27];
        assert_int_equal(w->n, 8 * 27);
        for (uint32_t step = 0; step < plan.rule.n_steps; step++) {
            size_t frozen = count_frozen(net);
            net_ok(fb_tuning_share(s.tuning, step));
            assert_true(count_frozen(net) > frozen);
            memcpy(before, w->w, sizeof before);
            learn(&s, &optim, 2 * step);
            learn(&s, &optim, 2 * step + 1);
            for (size_t k = 0; k < w->n; k++)
                assert_true((w->w[k] == before[k]) == !w->mask[k]);
        }
        net_ok(fb_tuning_model(s.tuning, NULL, &m));
        assert_int_equal(net_encoding(m, "conv3.weight")->kind, FB_ENC_LEVELS);
        assert_true(net_encoding(m, "conv3.weight")->n_levels <= plan.rule.n_levels);
        pass(&s, FB_NET_EVAL);
        double d = distance(&s, m);
        if (!(d < 0.002))
            fail_msg("%s: the file is %.5f from the net", plans[i], d);
        fb_model_close(&m);
        fb_optim_free(&optim);
        end(&s);
        fb_recipe_free(&recipe);
    }
}

/* Ternary all along: three values a layer, and the file is the net. */
static void test_ternary(void **state)
{
    (void)state;
    const char *const plans[] = {"twn", "twn:fit=exact,channels=scale", "ttq"};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fb_recipe recipe;
        fb_share_plan plan;
        fb_optim optim;
        fb_model *m;
        setup s = begin_plan(plans[i], &recipe, &plan);
        fb_net *net = fb_tuning_net(s.tuning);
        const fb_optim_options o = {.kind = FB_OPTIM_SGD};
        net_ok(fb_optim_create(net, &o, &optim));
        pass(&s, FB_NET_MEASURE);
        net_ok(fb_net_adopt(net));
        learn(&s, &optim, 0);
        net_ok(fb_tuning_model(s.tuning, NULL, &m));
        assert_true(net_encoding(m, "conv3.weight")->n_levels == 3);
        pass(&s, FB_NET_EVAL);
        double d = distance(&s, m);
        if (!(d < 0.01))
            fail_msg("%s: the file is %.5f from the net", plans[i], d);
        fb_model_close(&m);
        fb_optim_free(&optim);
        end(&s);
        fb_recipe_free(&recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_net_is_kernels),
        cmocka_unit_test(test_out_again),
        cmocka_unit_test(test_norms_are_identity),
        cmocka_unit_test(test_levels_gradient),
        cmocka_unit_test(test_scale_gradient),
        cmocka_unit_test(test_words_gradient),
        cmocka_unit_test(test_step_size),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_ternary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
