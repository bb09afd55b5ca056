/* The encoding `levels` and patches: values, integers, texts, what validation refuses, and files,
 * damaged ones included. */
#include "unit/sample_levels.h"

#include "format/format.h"
#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The fuzzer's own function judges damaged files. */
#include "fuzz/fuzz_format.c"

static void ok(fb_status s)
{
    if (s != FB_OK)
        fail_msg("%s", fb_error());
}

static fb_model *sample(fb_model *m)
{
    if (!m)
        fail_msg("sample: %s", fb_error());
    return m;
}

static fb_tensor *weight(fb_model *m, uint32_t layer)
{
    return &m->tensors[m->nodes[layer].in[1]];
}

/* METHODS E.7: five levels between -1 and 2. */
static void test_values(void **state)
{
    (void)state;
    float level[5] = {-1, -0.25f, 0.5f, 1.25f, 2}, scale = 2, out[6];
    uint8_t data[4] = {0};
    for (size_t i = 0; i < 6; i++)
        fb_packed_put(data, i, 3, (int32_t)(i % 5));
    fb_tensor t = {.name = "t",
                   .dtype = FB_F32,
                   .rank = 2,
                   .dims = {2, 3},
                   .is_const = true,
                   .data = data,
                   .data_bytes = 3,
                   .enc = {.kind = FB_ENC_LEVELS,
                           .bits = 3,
                           .axis = -1,
                           .n_scales = 1,
                           .scale = &scale,
                           .n_levels = 5,
                           .n_tables = 1,
                           .level = level}};
    size_t bytes;
    ok(fb_tensor_payload_bytes(&t, &bytes));
    assert_int_equal(bytes, 3);
    ok(fb_tensor_decode(&t, out));
    const float want[6] = {-2, -0.5f, 1, 2.5f, 4, -2};
    assert_memory_equal(out, want, sizeof want);
    fb_encoding_get(FB_ENC_LEVELS)->decode(&t, 2, 3, out); /* from within */
    assert_memory_equal(out, want + 2, 3 * sizeof *want);
}

/* Each element by its definition. */
static float value_of(const fb_tensor *t, size_t i)
{
    const fb_encoding *e = &t->enc;
    for (uint32_t k = 0; k < e->n_patches; k++) {
        if (e->patch_at[k] == i)
            return e->patch[k];
    }
    uint32_t at = fb_affine_scale_index(t, i);
    int32_t zero = e->zero ? e->zero[at] : 0;
    if (e->kind == FB_ENC_AFFINE)
        return e->scale[at] * (float)(fb_packed_get(t->data, i, e->bits, e->is_signed) - zero);
    int32_t q = fb_packed_get(t->data, i, e->bits, false);
    return e->scale[at] *
           (e->level[(e->n_tables > 1 ? at * e->n_levels : 0) + (uint32_t)q] - (float)zero);
}

static void test_decode_and_integers(void **state)
{
    (void)state;
    fb_model *m = sample(sample_levels());
    const bool is_int8[4] = {true, false, true, false};
    for (uint32_t k = 0; k < 4; k++) {
        const fb_tensor *t = weight(m, k);
        float out[512];
        int16_t q[512];
        int64_t n;
        assert_true(fb_tensor_elems(t, 0, &n) && n <= 512);
        ok(fb_tensor_decode(t, out));
        for (int64_t i = 0; i < n; i++)
            assert_true(out[i] == value_of(t, (size_t)i));
        for (size_t first = 0; first < 100; first += 13) { /* patches at both ends of a piece */
            fb_encoding_get(t->enc.kind)->decode(t, first, 65, out + 256);
            for (size_t i = 0; i < 65; i++)
                assert_true(out[256 + i] == value_of(t, first + i));
        }
        assert_int_equal(fb_tensor_is_int8(t), is_int8[k]);
        if (!is_int8[k])
            continue;
        fb_tensor_integers(t, 0, (size_t)n, q);
        for (int64_t i = 0; i < n; i++)
            assert_true(t->enc.scale[fb_affine_scale_index(t, (size_t)i)] * (float)q[i] ==
                        value_of(t, (size_t)i));
        fb_tensor_integers(t, 31, 9, q + 256);
        assert_memory_equal(q + 256, q + 31, 9 * sizeof *q);
    }
    fb_model_close(&m);
}

static void test_describe(void **state)
{
    (void)state;
    static const char *const want[4] = {"levels4 fixed8 per-channel shared",
                                        "levels3 per-channel +3 outliers", "levels2(3) fixed2 pow2",
                                        "affine4 +1 outliers"};
    fb_model *m = sample(sample_levels());
    fb_tensor_info info;
    for (uint32_t k = 0; k < 4; k++) {
        ok(fb_model_tensor(m, (uint32_t)m->nodes[k].in[1], &info));
        assert_string_equal(info.encoding, want[k]);
    }
    /* 32 bytes of codes, a scale, an outlier */
    ok(fb_model_tensor(m, (uint32_t)m->nodes[3].in[1], &info));
    assert_int_equal(info.stored_bytes, 64 + 4 + 6);
    fb_model_close(&m);
}

static void refused(fb_model *m, const char *says)
{
    assert_int_equal(fb_model_validate(m), FB_E_FORMAT);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
}

#define REFUSED(layer, change, says)                                                               \
    do {                                                                                           \
        fb_tensor good = *weight(m, layer);                                                        \
        fb_encoding *e = &weight(m, layer)->enc;                                                   \
        change;                                                                                    \
        refused(m, says);                                                                          \
        *weight(m, layer) = good;                                                                  \
    } while (0)

static void test_validate(void **state)
{
    (void)state;
    fb_model *m = sample(sample_levels());
    float twice[3] = {-1, 0, 0}, wide[3] = {-1, 0, 2}, half[3] = {-1, 0, 0.5f};
    float nan[3] = {-1, NAN, 1}, fine[1] = {0.1f};
    uint64_t beyond[1] = {128}, back[3] = {5, 77, 77};
    ok(fb_model_validate(m));
    REFUSED(0, e->bits = 9, "levels with 9 bits, must have 1 to 8");
    REFUSED(0, e->level_bits = 1, "integer levels of 1 bits");
    REFUSED(0, e->level_bits = 17, "integer levels of 17 bits");
    REFUSED(0, e->level_bits = 7, "must be an integer within -64..63");
    REFUSED(0, e->is_signed = false, "must be within 0..255");
    REFUSED(0, e->level_bits = 0, "float levels have a zero point");
    REFUSED(0, e->group = 4, "levels in groups of 4");
    REFUSED(0, e->axis = 4, "scales along axis 4");
    REFUSED(0, e->n_scales = 7, "7 scales, must be 8");
    REFUSED(0, e->n_tables = 2, "2 tables of levels, must be 1 or one for each of 8 scales");
    REFUSED(0, e->n_levels = 17, "17 levels with 4 bits, must be 1 to 16");
    REFUSED(0, e->n_levels = 0, "0 levels");
    REFUSED(0, e->level = NULL, "the table of levels is missing");
    REFUSED(0, e->n_levels = 15, "there are 15 levels");
    REFUSED(2, e->level = twice, "level 2 of table 0 is 0");
    REFUSED(2, e->level = wide, "level 2 of table 0 is 2, must be an integer within -2..1");
    REFUSED(2, e->level = half, "level 2 of table 0 is 0.5");
    REFUSED(2, e->level = nan, "level 1 of table 0 is nan");
    REFUSED(2, e->n_levels = 2, "is 2, there are 2 levels");
    REFUSED(3, e->patch_at = beyond, "outlier 0 is element 128, must be");
    REFUSED(1, e->patch_at = back, "outlier 2 is element 77");
    REFUSED(3, e->patch = fine, "outlier 0 is 0.1, must be a finite 16-bit float");
    REFUSED(3, e->patch = nan + 1, "outlier 0 is nan");
    REFUSED(3, e->patch = NULL, "list of 1 outliers is missing");
    weight(m, 0)->dtype = FB_S8;
    refused(m, "values of levels are s8");
    fb_model_close(&m);
    m = sample(sample_level_activations());
    ok(fb_model_validate(m));
    fb_encoding *e = &m->tensors[m->nodes[0].out[0]].enc;
    e->n_patches = 1;
    refused(m, "an activation has 1 outliers");
    e->n_patches = 0;
    e->axis = 1;
    refused(m, "must have one scale");
    fb_model_close(&m);
}

/* Clones own what they have. */
static void test_clone(void **state)
{
    (void)state;
    fb_model *m = sample(sample_level_activations()), *copy;
    const char *what;
    ok(fb_model_clone(m, true, &copy));
    assert_true(sample_same(m, copy, &what));
    assert_ptr_not_equal(weight(m, 1)->enc.level, weight(copy, 1)->enc.level);
    assert_ptr_not_equal(weight(m, 1)->enc.patch, weight(copy, 1)->enc.patch);
    fb_model_close(&m);
    ok(fb_model_validate(copy));
    fb_model_close(&copy);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_codes_are_entropy_coded(void **state)
{
    (void)state;
    fb_model *m = sample(sample_levels());
    fb_out coded, raw;
    ok(fb_format_write(m, FB_FORMAT_NO_CODING, &coded));
    m->entropy = false;
    ok(fb_format_write(m, FB_FORMAT_NO_CODING, &raw));
    bool found = false;
    for (size_t at = FB_FORMAT_HEADER; at < FB_FORMAT_HEADER + 8 * FB_FORMAT_ENTRY; at += 24)
        found |= memcmp(coded.data + at, "CODE", 4) == 0;
    assert_true(found && coded.n < raw.n);
    fb_out_free(&coded);
    fb_out_free(&raw);
    fb_model_close(&m);
}

/* Every byte of the file replaced, checksums not looked at: refused, or a model that passes the
 * fuzzer's checks. Both happen. */
static void test_damage(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        fb_model *m = sample(way ? sample_level_activations() : sample_levels());
        m->entropy = way == 1;
        fb_out out;
        ok(fb_format_write(m, FB_FORMAT_NO_CODING, &out));
        uint8_t *copy = fb_alloc(out.n);
        size_t opened = 0, tried = 0;
        assert_non_null(copy);
        for (size_t i = FB_FORMAT_HEADER; i < out.n; i++) {
            static const uint8_t flips[] = {1, 2, 8, 0x10, 0x20, 0x40, 0x80, 0x7f, 0xff};
            for (size_t k = 0; k < sizeof flips; k++) {
                fb_model *back;
                bool in_place;
                memcpy(copy, out.data, out.n);
                copy[i] ^= flips[k];
                (void)LLVMFuzzerTestOneInput(copy, out.n);
                tried++;
                if (fb_format_read(copy, out.n, FB_FORMAT_NO_CHECKSUM, &back, &in_place) == FB_OK) {
                    opened++;
                    fb_model_close(&back);
                } else {
                    assert_true(fb_error()[0] != '\0');
                }
            }
        }
        assert_true(opened > 1000 && tried - opened > 1000); /* codes may be anything */
        fb_free(copy);
        fb_out_free(&out);
        fb_model_close(&m);
    }
}

/* ---- running -------------------------------------------------------------------------------- */

/* Decoded weights give the same floats as the encoded ones, at every CPU level. */
static void test_float_plan(void **state)
{
    (void)state;
    fb_model *m = sample(sample_levels()), *plain;
    ok(fb_model_clone(m, true, &plain));
    for (uint32_t k = 0; k < 4; k++) {
        fb_tensor *t = weight(m, k);
        float values[512];
        int64_t n;
        fb_encoding f32 = {.kind = FB_ENC_PLAIN, .axis = -1};
        assert_true(fb_tensor_elems(t, 0, &n));
        ok(fb_tensor_decode(t, values));
        ok(fb_model_set_payload(plain, m->nodes[k].in[1], &f32, values,
                                (size_t)n * sizeof *values));
    }
    float out[2][6 * 6 * 8 * 2];
    for (int way = 0; way < 2; way++) {
        fb_plan *plan;
        fb_run *run;
        fb_plan_options o = {.batch = 2, .cpu = 0};
        ok(fb_plan_create(way ? plain : m, &o, &plan));
        ok(fb_run_create(plan, 1, &run));
        size_t bytes;
        float *x = fb_run_input(run, 0, &bytes);
        for (size_t i = 0; i < bytes / sizeof *x; i++)
            x[i] = (float)(i * 29 % 64) / 32 - 1;
        ok(fb_run_execute(run));
        const float *y = fb_run_output(run, 0, &bytes);
        assert_int_equal(bytes, sizeof out[way]);
        memcpy(out[way], y, bytes);
        fb_run_destroy(&run);
        fb_plan_destroy(&plan);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    fb_model_close(&plain);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_decode_and_integers),
        cmocka_unit_test(test_describe), cmocka_unit_test(test_validate),
        cmocka_unit_test(test_clone),    cmocka_unit_test(test_codes_are_entropy_coded),
        cmocka_unit_test(test_damage),   cmocka_unit_test(test_float_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
