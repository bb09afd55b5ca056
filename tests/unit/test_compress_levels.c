/* The steps kmeans, levels, ternary and w<b>:outliers: their law on one weight, whole networks on
 * integer kernels, files, dry runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/compress_net.h"

#include "compress/level_codes.h"
#include "compress/region.h"
#include "compress/weights.h"
#include "format/format.h"
#include "plan/plan.h"

static const char *images;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    return unlink(images);
}

/* ---- one weight ----------------------------------------------------------------------------- */

enum { OC = 6, INNER = 200 };

/* Bell-shaped, each channel of its own size; the last one is empty. */
static fb_model *one_weight(int32_t *t)
{
    fb_model *m;
    float w[OC * INNER];
    net_state = 77;
    for (int i = 0; i < OC * INNER; i++) {
        float v = net_random() + net_random() + net_random();
        w[i] = i / INNER == OC - 1 ? 0 : v * (float)(1 << i / INNER) * 0.01f;
    }
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, sample_dims(OC, INNER, 0, 0), w, t));
    net_ok(fb_model_set_io(m, NULL, 0, t, 1));
    return m;
}

static double encode(const fb_model *m, int32_t t, const fb_level_rule *rule, fb_encoding *e)
{
    fb_model *copy;
    float decoded[OC * INNER];
    const float *w = m->tensors[t].data;
    double error = 0;
    net_ok(fb_model_clone(m, true, &copy));
    net_ok(fb_level_encode(copy, t, rule, NULL));
    net_ok(fb_model_validate(copy));
    net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
    for (size_t i = 0; i < OC * INNER; i++) {
        error += (double)(decoded[i] - w[i]) * (double)(decoded[i] - w[i]);
        const fb_encoding *f = &copy->tensors[t].enc;
        uint32_t s = fb_affine_scale_index(&copy->tensors[t], i);
        for (uint32_t q = 0; q < f->n_levels && rule->fit != FB_LEVELS_TWN; q++) {
            float value = f->scale[s] * f->level[(f->n_tables > 1 ? s * f->n_levels : 0) + q];
            assert_true(fabsf(decoded[i] - w[i]) <= fabsf(value - w[i]) * 1.0001f + 1e-7f);
        }
    }
    *e = copy->tensors[t].enc; /* counts only: the lists go with the copy */
    assert_int_equal(fb_tensor_is_int8(&copy->tensors[t]), e->level_bits > 0 && e->level_bits <= 8);
    fb_model_close(&copy);
    return error;
}

/* All weights sit at their nearest level; more freedom and more bits are never worse. */
static void fits_of_a_weight(void **state)
{
    (void)state;
    int32_t t;
    fb_model *m = one_weight(&t);
    fb_encoding e;
    double last = INFINITY;
    for (unsigned bits = 1; bits <= 8; bits++) {
        fb_level_rule rule = {.bits = bits, .per = FB_LEVELS_CHANNEL};
        double exact = encode(m, t, &rule, &e);
        assert_true(e.n_levels <= 1u << bits && e.n_tables == OC && e.n_scales == OC);
        assert_true(exact <= last);
        last = exact;
        rule.fit = FB_LEVELS_LLOYD;
        for (int start = 0; start <= FB_KMEANS_RANDOM; start++) {
            rule.start = (fb_kmeans_start)start;
            assert_true(exact <= encode(m, t, &rule, &e) * (1 + 1e-6) + 1e-12);
        }
        rule.fit = FB_LEVELS_EVEN;
        assert_true(exact <= encode(m, t, &rule, &e));
        rule = (fb_level_rule){.bits = bits, .per = FB_LEVELS_TENSOR};
        assert_true(exact <= encode(m, t, &rule, &e));
        assert_true(e.n_scales == 1 && e.axis == -1);
        for (int per = FB_LEVELS_AUTO; per <= FB_LEVELS_TENSOR; per++) {
            rule = (fb_level_rule){.bits = bits, .per = (fb_level_per)per, .level_bits = 8};
            double fixed = encode(m, t, &rule, &e);
            assert_true(e.is_signed && e.level_bits == 8);
            assert_true(per == FB_LEVELS_TENSOR || bits > (per == FB_LEVELS_CHANNEL ? 6 : 4) ||
                        fixed < 1.4 * exact);
            bool own = per == FB_LEVELS_CHANNEL || (per == FB_LEVELS_AUTO && bits < 5);
            assert_int_equal(e.n_tables, own ? OC : 1);
        }
    }
    fb_model_close(&m);
}

static void rules_of_a_weight(void **state)
{
    (void)state;
    int32_t t;
    fb_model *m = one_weight(&t);
    fb_encoding e;
    for (unsigned bits = 2; bits <= 5; bits++) {
        for (int per = FB_LEVELS_CHANNEL; per <= FB_LEVELS_TENSOR; per += 2) {
            fb_level_rule rule = {.bits = bits, .fit = FB_LEVELS_POW2, .per = (fb_level_per)per};
            (void)encode(m, t, &rule, &e);
            assert_true(e.pow2 && e.n_levels == (1u << (bits - 1)) + 1 && e.n_tables == 1);
            rule.fit = FB_LEVELS_APOT;
            (void)encode(m, t, &rule, &e);
            assert_true(e.n_levels == (1u << bits) - 1 && e.n_tables == 1 && e.level_bits <= 8);
        }
    }
    fb_level_rule rule = {.bits = 2, .fit = FB_LEVELS_TERNARY, .per = FB_LEVELS_CHANNEL};
    double exact = encode(m, t, &rule, &e);
    assert_true(e.n_levels == 3 && e.level_bits == 2);
    rule.fit = FB_LEVELS_TWN;
    assert_true(exact <= encode(m, t, &rule, &e) * 1.001); /* both scales are on the grid */
    fb_model_close(&m);
}

/* METHODS T.4: (1, -0.9, 0.2, -0.1, 0.05) becomes (0.95, -0.95, 0, 0, 0) by both fits. */
static void ternary_example(void **state)
{
    (void)state;
    const float w[5] = {1, -0.9f, 0.2f, -0.1f, 0.05f};
    for (int fit = FB_LEVELS_TERNARY; fit <= FB_LEVELS_TWN; fit++) {
        fb_model *m;
        int32_t t;
        float out[5];
        fb_level_rule rule = {.bits = 2, .fit = (fb_level_fit)fit, .per = FB_LEVELS_TENSOR};
        net_ok(fb_model_create(&m));
        net_ok(fb_model_add_const(m, "w", FB_F32, 2, sample_dims(1, 5, 0, 0), w, &t));
        net_ok(fb_level_encode(m, t, &rule, NULL));
        net_ok(fb_tensor_decode(&m->tensors[t], out));
        for (int i = 0; i < 5; i++)
            assert_true(fabsf(out[i] - (i == 0 ? 0.95f : i == 1 ? -0.95f : 0)) < 1e-6f);
        fb_model_close(&m);
    }
}

/* zero=yes and, where many weights are 0, auto: they stay 0. */
static void zeros_stay(void **state)
{
    (void)state;
    int32_t t;
    fb_model *m = one_weight(&t);
    float *w = (float *)(uintptr_t)m->tensors[t].data, decoded[OC * INNER];
    for (size_t i = 0; i < OC * INNER; i += 2)
        w[i] = 0;
    for (int zero = FB_LEVELS_ZERO_AUTO; zero <= FB_LEVELS_ZERO_FREE; zero++) {
        for (int per = FB_LEVELS_CHANNEL; per <= FB_LEVELS_TENSOR; per++) {
            fb_model *copy;
            bool all = true;
            fb_level_rule rule = {.bits = 2,
                                  .per = (fb_level_per)per,
                                  .level_bits = per == FB_LEVELS_SHARED ? 8 : 0,
                                  .zero = (fb_level_zero)zero};
            net_ok(fb_model_clone(m, true, &copy));
            net_ok(fb_level_encode(copy, t, &rule, NULL));
            net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
            for (size_t i = 0; i < OC * INNER; i += 2)
                all = all && decoded[i] == 0;
            assert_true(all || zero == FB_LEVELS_ZERO_FREE);
            fb_model_close(&copy);
        }
    }
    fb_model_close(&m);
}

/* METHODS D.5: the share that is asked for, the largest ones, in 16 bits; the rest does better. */
static void outliers_of_a_weight(void **state)
{
    (void)state;
    int32_t t;
    fb_model *m = one_weight(&t);
    float *w = (float *)(uintptr_t)m->tensors[t].data, decoded[OC * INNER];
    double error[2] = {0, 0};
    for (size_t i = 0; i < 10; i++)
        w[i * 97] *= 20;
    for (int form = 0; form < 4; form++) {
        fb_weight_codes c;
        fb_model *copy;
        fb_weight_rule rule = {.bits = 4,
                               .per_channel = true,
                               .group = form > 1 ? 50 : 0,
                               .range = FB_WEIGHT_MINMAX,
                               .zero = form > 1,
                               .outliers = form % 2 ? 0.01 : 0};
        net_ok(fb_model_clone(m, true, &copy));
        net_ok(fb_weight_codes_init(&c, &m->tensors[t], &rule));
        net_ok(fb_weight_codes_store(&c, copy, t));
        net_ok(fb_model_validate(copy));
        net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
        const fb_encoding *e = &copy->tensors[t].enc;
        assert_true(e->n_patches <= (form % 2 ? 12 : 0) && (form % 2 == 0 || e->n_patches >= 9));
        assert_true(!fb_tensor_is_int8(&copy->tensors[t]) || form == 0);
        for (uint32_t k = 0; k < e->n_patches; k++)
            assert_true(fabsf(decoded[e->patch_at[k]] - w[e->patch_at[k]]) <=
                        fabsf(w[e->patch_at[k]]) * 0x1p-11f);
        double sum = 0;
        for (size_t i = 0; i < OC * INNER; i++)
            sum += (double)(decoded[i] - w[i]) * (double)(decoded[i] - w[i]);
        error[form % 2] = sum;
        assert_true(form % 2 == 0 || error[1] < error[0] / 2);
        fb_weight_codes_free(&c);
        fb_model_close(&copy);
    }
    fb_model_close(&m);
}

/* ---- networks ------------------------------------------------------------------------------- */

static const char *const methods[] = {"kmeans4",
                                      "kmeans3:per=channel,zero=yes",
                                      "kmeans2:tensor,levels=float",
                                      "kmeans5:shared,fit=lloyd,init=random,level-bits=6",
                                      "levels4",
                                      "levels3:levels=float,per=tensor",
                                      "levels4:pow2",
                                      "levels4:apot",
                                      "ternary",
                                      "ternary:twn,per=tensor",
                                      "w4:outliers=0.02",
                                      "kmeans4 + int8",
                                      "levels4:apot + int8:bias=keep",
                                      "ternary + int8 + bn-stats"};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

/* A dry run has the size of the real one; what is saved is read back and runs alike. */
static void files_of_all_methods(void **state)
{
    (void)state;
    fb_model *m = net_build(true);
    fb_data *data = net_data(images);
    for (int k = 0; k < N_METHODS; k++) {
        fb_model *q, *dry, *back;
        uint64_t bytes[2];
        fb_out out;
        char text[64];
        /* weights in section CODE, too */
        (void)snprintf(text, sizeof text, "%s%s", methods[k], k % 2 ? " + entropy" : "");
        net_ok(net_compress(m, text, data, 2, false, &q));
        net_ok(net_compress(m, text, NULL, 1, true, &dry));
        net_ok(fb_model_file_bytes(q, &bytes[0]));
        net_ok(fb_model_file_bytes(dry, &bytes[1]));
        assert_int_equal(bytes[0], bytes[1]);
        net_ok(fb_format_write(q, 0, &out));
        net_ok(fb_model_open_memory(out.data, out.n, &back));
        assert_true(net_difference(q, back, data) == 0);
        double difference = net_difference(m, q, data);
        assert_true(difference < (strstr(text, "4") ? 0.5 : 0.8));
        fb_out_free(&out);
        fb_model_close(&back);
        fb_model_close(&q);
        fb_model_close(&dry);
    }
    fb_data_close(&data);
    fb_model_close(&m);
}

/* Levels of at most 8 bits run on integer kernels, whatever the CPU level, and give the integers of
 * the reference. */
static void integer_kernels_take_levels(void **state)
{
    (void)state;
    const char *const chains[] = {"kmeans4 + int8", "kmeans4:shared + int8",
                                  "kmeans8:per=tensor + int8", "levels3:apot + int8",
                                  "ternary:per=tensor + int8"};
    fb_model *m = net_build(false);
    fb_data *data = net_data(images);
    for (size_t k = 0; k < sizeof chains / sizeof chains[0]; k++) {
        fb_model *q;
        float y[2][NET_IMAGES * 5];
        net_ok(net_compress(m, chains[k], data, 1, false, &q));
        for (int way = 0; way < 2; way++) {
            fb_plan_options o;
            fb_plan *plan;
            fb_run *run;
            fb_plan_options_default(&o);
            o.batch = NET_IMAGES;
            o.cpu = way ? o.cpu : 0;
            net_ok(fb_plan_create(q, &o, &plan));
            uint32_t integer = 0;
            for (size_t s = 0; s < plan->n_steps; s++)
                integer += plan->steps[s].macs > 0 && strstr(plan->steps[s].kernel, "_q_");
            assert_int_equal(integer, 5); /* four convolutions and fc */
            net_ok(fb_run_create(plan, 1, &run));
            float *x = fb_run_input(run, 0, NULL);
            uint32_t got;
            fb_data_rewind(data);
            net_ok(fb_data_next(data, NET_IMAGES, x, NULL, &got));
            net_ok(fb_run_execute(run));
            memcpy(y[way], fb_run_output(run, 0, NULL), sizeof y[way]);
            fb_run_destroy(&run);
            fb_plan_destroy(&plan);
        }
        assert_memory_equal(y[0], y[1], sizeof y[0]);
        fb_model_close(&q);
    }
    fb_data_close(&data);
    fb_model_close(&m);
}

/* Outliers and float levels keep a layer from the integer kernels, so it stays float. */
static void what_integers_cannot_say_stays_float(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *q;
    fb_data *data = net_data(images);
    assert_int_equal(net_compress(m, "w4:outliers=0.1 + int8", data, 1, false, &q),
                     FB_E_UNSUPPORTED);
    net_ok(net_compress(m, "kmeans4:levels=float,include=conv3 + int8", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "add_out")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "conv3.weight")->kind, FB_ENC_LEVELS);
    fb_model_close(&q);
    fb_data_close(&data);
    fb_model_close(&m);
}

/* ---- errors that count ----------------------------------------------------------------------- */

static double weighted(const fb_model *m, int32_t t, const fb_level_rule *rule,
                       const float *importance, const float *counts)
{
    fb_model *copy;
    float decoded[OC * INNER];
    const float *w = m->tensors[t].data;
    double error = 0;
    net_ok(fb_model_clone(m, true, &copy));
    net_ok(fb_level_encode(copy, t, rule, importance));
    net_ok(fb_tensor_decode(&copy->tensors[t], decoded));
    for (size_t i = 0; i < OC * INNER; i++)
        error += (double)counts[i] * pow((double)(decoded[i] - w[i]), 2);
    fb_model_close(&copy);
    return error;
}

/* Levels go where errors count; where all count the same nothing changes. A shared table counts
 * errors in units of their channel. */
static void importance_of_elements(void **state)
{
    (void)state;
    int32_t t;
    fb_model *m = one_weight(&t);
    float counts[OC * INNER], relative[OC * INNER], equal[OC * INNER];
    for (int i = 0; i < OC * INNER; i++) {
        counts[i] = i % 5 == 2 ? 40 : 0.1f + 0.05f * (float)(i % 7);
        relative[i] = ldexpf(counts[i], -2 * (i / INNER));
        equal[i] = 3;
    }
    for (unsigned bits = 2; bits <= 4; bits++) {
        for (int per = FB_LEVELS_CHANNEL; per <= FB_LEVELS_TENSOR; per++) {
            for (int fixed = 0; fixed < 2; fixed++) {
                const fb_level_rule rule = {
                    .bits = bits, .per = (fb_level_per)per, .level_bits = fixed ? 8 : 0};
                const float *judge = per == FB_LEVELS_SHARED ? relative : counts;
                double same = weighted(m, t, &rule, NULL, judge);
                assert_true(weighted(m, t, &rule, counts, judge) < 0.99 * same);
                assert_true(fabs(weighted(m, t, &rule, equal, judge) - same) < 1e-3 * same);
            }
        }
    }
    fb_model_close(&m);
}

/* kmeans:weight=data, by brute force on the first layer: the mean square of what each weight meets.
 */
static void importance_by_data(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *same, *by, *again;
    fb_data *data = net_data(images);
    float *x = malloc(NET_IMAGES * NET_ELEMS * sizeof *x), w[2][8 * 27];
    double power[27] = {0}, error[2] = {0};
    uint32_t got;
    net_ok(fb_data_next(data, NET_IMAGES, x, NULL, &got));
    for (int64_t at = 0; at < NET_IMAGES * 144; at++) {
        for (int64_t j = 0; j < 27; j++) {
            int64_t iy = at % 144 / 12 + j / 9 - 1, ix = at % 12 + j / 3 % 3 - 1;
            if (iy >= 0 && iy < 12 && ix >= 0 && ix < 12)
                power[j] += pow((double)x[at / 144 * NET_ELEMS + (iy * 12 + ix) * 3 + j % 3], 2);
        }
    }
    net_ok(net_compress(m, "kmeans2:per=channel,levels=float", data, 1, false, &same));
    net_ok(net_compress(m, "kmeans2:per=channel,levels=float,weight=data", data, 1, false, &by));
    net_ok(net_compress(m, "kmeans2:per=channel,levels=float,weight=data", data, 3, false, &again));
    int32_t t = net_tensor(m, "conv0.weight");
    const float *w0 = m->tensors[t].data;
    net_ok(fb_tensor_decode(&same->tensors[net_tensor(same, "conv0.weight")], w[0]));
    net_ok(fb_tensor_decode(&by->tensors[net_tensor(by, "conv0.weight")], w[1]));
    for (int i = 0; i < 8 * 27; i++) {
        for (int k = 0; k < 2; k++)
            error[k] += power[i % 27] * pow((double)(w[k][i] - w0[i]), 2);
    }
    assert_true(error[1] < error[0]);
    for (size_t i = 0; i < by->n_tensors; i++) {
        assert_int_equal(by->tensors[i].data_bytes, again->tensors[i].data_bytes);
        if (by->tensors[i].data_bytes)
            assert_memory_equal(by->tensors[i].data, again->tensors[i].data,
                                by->tensors[i].data_bytes);
    }
    fb_model_close(&same);
    fb_model_close(&by);
    fb_model_close(&again);
    assert_int_equal(net_compress(m, "kmeans4:weight=data", NULL, 1, true, &by), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "a dry run needs weight=same"));
    assert_int_equal(net_compress(m, "kmeans4:weight=data", NULL, 1, false, &by), FB_E_ARG);
    fb_data_close(&data);
    fb_model_close(&m);
    free(x);
}

static void options_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"kmeans9", "kmeans takes 1 to 8 bits"},
        {"kmeans4:init=random", "init= is for fit=lloyd"},
        {"kmeans4:levels=float,level-bits=8", "level-bits= is for levels=fixed"},
        {"kmeans4:levels=float,scale=pow2", "scale=pow2 is for levels=fixed"},
        {"kmeans4:images=9", "images= is for weight=data"},
        {"levels4:pow2,levels=float", "those of pow2 are integers"},
        {"levels6:apot", "fit=apot takes 2 to 5 bits, not 6"},
        {"levels1:pow2", "not 1"},
        {"ternary:per=shared", "channel|tensor"},
        {"w4:outliers=0.6", "from 0 to 0.5"},
        {"kmeans4:include=nothing", "no conv or dense layer"}};
    fb_model *m = net_build(true), *q;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_true(net_compress(m, wrong[i][0], NULL, 1, false, &q) != FB_OK);
        assert_null(q);
        if (!strstr(fb_error(), wrong[i][1]))
            fail_msg("\"%s\" does not say \"%s\"", fb_error(), wrong[i][1]);
    }
    int32_t w = net_tensor(m, "pw.weight");
    ((float *)(uintptr_t)m->tensors[w].data)[3] = NAN;
    assert_int_equal(net_compress(m, "kmeans4", NULL, 1, false, &q), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "weight 'pw.weight' has the value nan at 3"));
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_of_a_weight),
        cmocka_unit_test(rules_of_a_weight),
        cmocka_unit_test(ternary_example),
        cmocka_unit_test(zeros_stay),
        cmocka_unit_test(outliers_of_a_weight),
        cmocka_unit_test(files_of_all_methods),
        cmocka_unit_test(integer_kernels_take_levels),
        cmocka_unit_test(what_integers_cannot_say_stays_float),
        cmocka_unit_test(importance_of_elements),
        cmocka_unit_test(importance_by_data),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
