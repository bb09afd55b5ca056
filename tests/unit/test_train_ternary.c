/* Ternary weights: METHODS T.4, gradients against differences, and what is stored. */
#include "train/ternary.h"

#include "base/alloc.h"
#include "model/shape.h"
#include "numeric/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != FB_OK)                                                                       \
            fail_msg("%s", fb_error());                                                            \
    } while (0)

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6 * (1 + fabs(b));
}

/* METHODS T.4: w = (1, -0.9, 0.2, -0.1, 0.05), threshold 0.315, a = 0.95; the exact one is the
 * same; with the threshold 0.05 max|w| all but the last are kept, each sign at its mean. */
static void example(void **state)
{
    (void)state;
    const float w[5] = {1, -0.9f, 0.2f, -0.1f, 0.05f}, want[5] = {0.95f, -0.95f, 0, 0, 0};
    int8_t code[5];
    float value[5];
    fb_ternary t;
    OK(fb_ternary_fit(w, NULL, 5, 1, FB_TERNARY_TWN, 0, &t));
    assert_true(near((double)t.threshold, 0.315));
    for (int rule = FB_TERNARY_TWN; rule <= FB_TERNARY_EXACT; rule++) {
        OK(fb_ternary_fit(w, NULL, 5, 1, (fb_ternary_rule)rule, 0, &t));
        fb_ternary_forward(&t, w, NULL, 5, 1, code, value);
        for (int i = 0; i < 5; i++)
            assert_true(near((double)value[i], (double)want[i]));
    }
    OK(fb_ternary_fit(w, NULL, 5, 1, FB_TERNARY_TTQ, 0.05f, &t));
    assert_true(near((double)t.threshold, 0.05) && near((double)t.positive, 0.6) &&
                near((double)t.negative, 0.5));
    assert_true(t.threshold == fb_ternary_threshold(w, NULL, 5, 1, FB_TERNARY_TTQ, 0.05f));
    fb_ternary_forward(&t, w, NULL, 5, 1, code, value);
    assert_memory_equal(code, ((int8_t[]){1, -1, 1, -1, 0}), 5);
}

/* One sign only, and nothing at all. */
static void edges(void **state)
{
    (void)state;
    const float up[4] = {1, 2, 0, 3}, none[4] = {0, 0, 0, 0};
    int8_t code[4];
    float value[4];
    fb_ternary t;
    OK(fb_ternary_fit(up, NULL, 4, 2, FB_TERNARY_TTQ, 0.05f, &t));
    assert_true(t.positive == 2 && t.negative == 2);
    for (int rule = FB_TERNARY_TWN; rule <= FB_TERNARY_TTQ; rule++) {
        OK(fb_ternary_fit(none, NULL, 4, 2, (fb_ternary_rule)rule, 0.05f, &t));
        assert_true(t.positive == 0 && t.negative == 0);
        fb_ternary_forward(&t, none, NULL, 4, 2, code, value);
        assert_memory_equal(value, none, sizeof none);
    }
    fb_alloc_fail_from(1);
    assert_int_equal(fb_ternary_fit(up, NULL, 4, 2, FB_TERNARY_EXACT, 0, &t), FB_E_MEMORY);
    fb_alloc_fail_from(0);
}

/* loss = sum of target x value: differences in the levels give its gradients. */
static void gradients(void **state)
{
    (void)state;
    enum { N = 60, C = 4 };
    const float scale[C] = {1, 0.5f, 2, 0.25f}, step = 0.25f;
    float w[N], g[N], gw[N], value[N];
    int8_t code[N];
    uint64_t seed = 1;
    double positive, negative, loss[2][2] = {{0}};
    fb_ternary t;
    fb_random_fill(&seed, -1, 1, N, w);
    fb_random_fill(&seed, -1, 1, N, g);
    OK(fb_ternary_fit(w, scale, N, C, FB_TERNARY_TTQ, 0.1f, &t));
    for (int which = 0; which < 2; which++) {
        for (int side = 0; side < 2; side++) {
            fb_ternary moved = t;
            *(which ? &moved.negative : &moved.positive) += side ? step : -step;
            fb_ternary_forward(&moved, w, scale, N, C, code, value);
            for (int i = 0; i < N; i++)
                loss[which][side] += (double)g[i] * (double)value[i];
        }
    }
    fb_ternary_levels_gradient(code, scale, N, C, g, &positive, &negative);
    assert_true(fabs(positive - (loss[0][1] - loss[0][0]) / 0.5) < 1e-5);
    assert_true(fabs(negative - (loss[1][1] - loss[1][0]) / 0.5) < 1e-5);
    fb_ternary_gradient(&t, code, N, g, gw);
    for (int i = 0; i < N; i++)
        assert_true(gw[i] == g[i] * (code[i] > 0 ? t.positive : code[i] < 0 ? t.negative : 1));
}

/* ---- in a model ----------------------------------------------------------------------------- */

enum { N = 360, CHANNELS = 8 };

typedef struct store {
    fb_model *m;
    int32_t tensor;
    fb_share s;
    float w[N], scale[CHANNELS], final[CHANNELS];
    uint8_t mask[N], code[N];
} store;

static void open_store(store *k, uint64_t seed)
{
    const int64_t dims[4] = {CHANNELS, 3, 3, 5};
    fb_random_fill(&seed, -1, 1, N, k->w);
    for (size_t c = 0; c < CHANNELS; c++)
        k->w[c * 45] *= 3;
    OK(fb_model_create(&k->m));
    OK(fb_model_add_const(k->m, "w", FB_F32, 4, dims, k->w, &k->tensor));
    k->s = (fb_share){.name = "w",
                      .n = N,
                      .channels = CHANNELS,
                      .w = k->w,
                      .scale = k->scale,
                      .mask = k->mask,
                      .code = k->code};
    OK(fb_share_scales(k->w, N, CHANNELS, NULL, k->scale));
}

/* Decoding gives stored scale x level, to the bit. */
static void check_store(store *k, unsigned bits, unsigned most_level_bits)
{
    float decoded[N];
    OK(fb_share_store(&k->s, k->final, k->m, k->tensor));
    const fb_tensor *t = &k->m->tensors[k->tensor];
    OK(fb_encoding_get(t->enc.kind)->validate(t));
    assert_int_equal(t->enc.bits, bits);
    assert_true(most_level_bits ? t->enc.level_bits >= 2 && t->enc.level_bits <= most_level_bits
                                : t->enc.level_bits == 0);
    OK(fb_tensor_decode(t, decoded));
    for (size_t i = 0; i < N; i++) {
        float scale = fb_share_stored_scale(k->final[i / 45]);
        float want = scale * k->s.table.value[k->code[i]];
        assert_true(decoded[i] == want && !(decoded[i] == 0 && signbit(decoded[i])));
        assert_true(fabsf(scale - k->final[i / 45]) <= k->final[i / 45] * 0x1p-11f);
    }
}

static void shares_are_stored(void **state)
{
    (void)state;
    const struct {
        fb_share_values values;
        uint32_t n_levels;
        unsigned bits, level_bits;
    } kinds[] = {{FB_SHARE_FLOATS, 17, 5, 0},  {FB_SHARE_FLOATS, 4, 2, 0},
                 {FB_SHARE_INTEGERS, 9, 4, 8}, {FB_SHARE_INTEGERS, 16, 4, 8},
                 {FB_SHARE_INTEGERS, 3, 2, 8}, {FB_SHARE_POWERS, 9, 4, 16},
                 {FB_SHARE_TOPMOST, 5, 3, 3},  {FB_SHARE_TOPMOST, 9, 4, 5}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        static store k;
        fb_share_rule r = {.values = kinds[i].values,
                           .order = kinds[i].values == FB_SHARE_TOPMOST ? FB_SHARE_BY_WEIGHT
                                                                        : FB_SHARE_BY_LOSS,
                           .n_levels = kinds[i].n_levels,
                           .with_zero = true,
                           .n_steps = 1,
                           .share = {1}};
        open_store(&k, 3);
        OK(fb_share_step(&k.s, 1, &r, 0));
        memcpy(k.final, k.scale, sizeof k.final);
        check_store(&k, kinds[i].bits, kinds[i].level_bits);
        float decoded[N]; /* these scales are kept: as they were trained */
        OK(fb_tensor_decode(&k.m->tensors[k.tensor], decoded));
        for (size_t j = 0; j < N; j++)
            assert_true(decoded[j] == k.w[j]);
        fb_model_close(&k.m);
        open_store(&k, 3); /* and others */
        OK(fb_share_step(&k.s, 1, &r, 0));
        for (size_t c = 0; c < CHANNELS; c++)
            k.final[c] = k.scale[c] * (1.37f + (float)c);
        check_store(&k, kinds[i].bits, kinds[i].level_bits);
        assert_int_equal(k.m->tensors[k.tensor].enc.n_scales, CHANNELS);
        fb_model_close(&k.m);
    }
}

/* TWN: -1, 0, 1 times a scale; TTQ: floats. One scale for all is one scale. */
static void ternary_is_stored(void **state)
{
    (void)state;
    for (int rule = FB_TERNARY_TWN; rule <= FB_TERNARY_TTQ; rule++) {
        static store k;
        fb_ternary t;
        float value[N];
        int8_t code[N];
        open_store(&k, 5);
        for (size_t c = 0; c < CHANNELS && rule == FB_TERNARY_TWN; c++)
            k.scale[c] = 1;
        OK(fb_ternary_fit(k.w, k.scale, N, CHANNELS, (fb_ternary_rule)rule, 0.05f, &t));
        fb_ternary_forward(&t, k.w, k.scale, N, CHANNELS, code, value);
        fb_ternary_finish(&t, &k.s);
        assert_int_equal(fb_share_n_free(&k.s), 0);
        for (size_t i = 0; i < N; i++) {
            assert_true(k.w[i] == value[i]);
            assert_int_equal(k.code[i], code[i] + 1);
        }
        memcpy(k.final, k.scale, sizeof k.final);
        check_store(&k, 2, rule == FB_TERNARY_TTQ ? 0 : 2);
        assert_int_equal(k.m->tensors[k.tensor].enc.n_scales,
                         rule == FB_TERNARY_TWN ? 1 : CHANNELS);
        fb_model_close(&k.m);
    }
}

static void what_cannot_be_stored(void **state)
{
    (void)state;
    static store k;
    fb_share_rule r = {.n_levels = 5, .with_zero = true, .n_steps = 1, .share = {1}};
    open_store(&k, 3);
    OK(fb_share_step(&k.s, 1, &r, 0));
    for (size_t c = 0; c < CHANNELS; c++)
        k.final[c] = 0x1p-140f;
    assert_int_equal(fb_share_store(&k.s, k.final, k.m, k.tensor), FB_E_LIMIT);
    assert_non_null(strstr(fb_error(), "layer 'w': channel 0 has the scale"));
    k.mask[5] = 1;
    assert_int_equal(fb_share_store(&k.s, k.scale, k.m, k.tensor), FB_E_INTERNAL);
    fb_model_close(&k.m);
    memset(&k, 0, sizeof k); /* all weights 0: one level */
    open_store(&k, 3);
    memset(k.w, 0, sizeof k.w);
    OK(fb_share_step(&k.s, 1, &r, 0));
    memcpy(k.final, k.scale, sizeof k.final);
    check_store(&k, 1, 2);
    fb_model_close(&k.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example),           cmocka_unit_test(edges),
        cmocka_unit_test(gradients),         cmocka_unit_test(shares_are_stored),
        cmocka_unit_test(ternary_is_stored), cmocka_unit_test(what_cannot_be_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
