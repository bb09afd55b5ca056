/* The encoding `product`: values, integers, texts, sizes, what validation refuses, and files,
 * damaged ones included. */
#include "unit/sample_product.h"

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

static fb_model *sample(void)
{
    fb_model *m = sample_product();
    if (!m)
        fail_msg("sample: %s", fb_error());
    return m;
}

static fb_tensor *weight(fb_model *m, uint32_t layer)
{
    return &m->tensors[m->nodes[layer].in[1]];
}

/* METHODS A.2 by hand: two outputs, three channels in subspaces of two, the last one padded. */
static void test_values(void **state)
{
    (void)state;
    float scale[2] = {2, 10}, one = 1, out[6];
    float word[2 * 2 * 2] = {1, 2, 3, 4, /* first subspace */ 5, 0, 6, 0};
    const uint8_t data[1] = {0x6}; /* indices 0 1 | 1 0 */
    fb_tensor t = {.name = "t",
                   .dtype = FB_F32,
                   .rank = 2,
                   .dims = {2, 3},
                   .is_const = true,
                   .data = data,
                   .data_bytes = 1,
                   .enc = {.kind = FB_ENC_PRODUCT,
                           .bits = 1,
                           .axis = 0,
                           .n_scales = 2,
                           .scale = scale,
                           .sub = 2,
                           .n_words = 2,
                           .n_stages = 1,
                           .n_groups = 1,
                           .word_bits = 32,
                           .word_scale = &one,
                           .word = word}};
    size_t bytes;
    ok(fb_encoding_get(FB_ENC_PRODUCT)->validate(&t));
    ok(fb_tensor_payload_bytes(&t, &bytes));
    assert_int_equal(bytes, 1);
    ok(fb_tensor_decode(&t, out));
    const float want[6] = {2, 4, 12, 30, 40, 50};
    assert_memory_equal(out, want, sizeof want);
    /* a byte of indices, 2 words of 3 elements, 2 scales */
    assert_int_equal(fb_product_bytes(&t), 1 + 4 * (2 * 3 + 2));
}

/* An element by its definition. */
static float value_of(const fb_tensor *t, size_t i)
{
    const fb_encoding *e = &t->enc;
    size_t c = (size_t)t->dims[3], kernel = (size_t)(t->dims[1] * t->dims[2]);
    size_t ct = i / c / kernel, pos = i / c % kernel, channel = i % c;
    size_t row = e->along_kernel ? ct * c + channel : ct * kernel + pos;
    size_t place = e->along_kernel ? pos : channel, len = e->along_kernel ? kernel : c;
    size_t m_count = (len + e->sub - 1u) / e->sub, m = place / e->sub;
    size_t books = e->books == FB_BOOKS_LAYER ? 1 : m_count * e->n_groups, book = 0;
    if (e->books != FB_BOOKS_LAYER)
        book = ct * e->n_groups / (size_t)t->dims[0] * m_count + m;
    float sum = 0;
    for (size_t s = 0; s < e->n_stages; s++) {
        size_t at = (row * m_count + m) * e->n_stages + s;
        size_t k = (size_t)fb_packed_get(t->data, at, e->bits, false);
        sum += e->word_scale[s] *
               e->word[((s * books + book) * e->n_words + k) * e->sub + place % e->sub];
    }
    return e->scale[e->n_scales == 1 ? 0 : ct] * sum;
}

static void test_decode_and_integers(void **state)
{
    (void)state;
    fb_model *m = sample();
    for (uint32_t k = 0; k < 4; k++) {
        const fb_tensor *t = weight(m, k);
        static float out[1024];
        static int16_t q[1024];
        int64_t n;
        assert_true(fb_tensor_elems(t, 0, &n) && n <= 600);
        ok(fb_tensor_decode(t, out));
        for (int64_t i = 0; i < n; i++)
            assert_true(out[i] == value_of(t, (size_t)i));
        for (size_t first = 0; first + 17 <= (size_t)n; first += 5) {
            fb_encoding_get(t->enc.kind)->decode(t, first, 17, out + 600);
            for (size_t i = 0; i < 17; i++)
                assert_true(out[600 + i] == value_of(t, first + i));
        }
        assert_int_equal(fb_tensor_is_int8(t), k == 3);
        if (k != 3)
            continue;
        fb_tensor_integers(t, 0, (size_t)n, q);
        for (int64_t i = 0; i < n; i++)
            assert_true(t->enc.scale[0] * (float)q[i] == value_of(t, (size_t)i));
        fb_tensor_integers(t, 31, 9, q + 600);
        assert_memory_equal(q + 600, q + 31, 9 * sizeof *q);
    }
    fb_model_close(&m);
}

static void test_describe_and_sizes(void **state)
{
    (void)state;
    static const char *const want[4] = {
        "product 4/2x5 per-channel", "product 2/4 per-group words16",
        "product 5/3x16 per-layer along-kernel per-channel words8", "product 4/16 words8 lookup6"};
    /* METHODS A.2: indices, then codewords without padding, then scales */
    const size_t indices[4] = {(8 * 9 * 2 * 2 * 3 + 7) / 8, (8 * 2 * 2) / 8, 8 * 8 * 2 * 3 * 4 / 8,
                               4 * 9 * 2 * 4 / 8};
    const size_t words[4] = {4 * 2 * 5 * 6, 2 * 2 * 4 * 4, 3 * 16 * 5, 16 * 8};
    const size_t scales[4] = {8, 1, 8 + 2, 1 + 1};
    fb_model *m = sample();
    fb_tensor_info info;
    for (uint32_t k = 0; k < 4; k++) {
        ok(fb_model_tensor(m, (uint32_t)m->nodes[k].in[1], &info));
        assert_string_equal(info.encoding, want[k]);
        assert_int_equal(weight(m, k)->data_bytes, indices[k]);
        assert_int_equal(info.stored_bytes, indices[k] + words[k] + 4 * scales[k]);
    }
    fb_model_close(&m);
}

static void refused(fb_model *m, const char *says)
{
    if (fb_model_validate(m) != FB_E_FORMAT)
        fail_msg("nothing says \"%s\"", says);
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

/* Puts a value into a list of the encoding for one check. */
#define REFUSED_VALUE(layer, list, at, value, says)                                                \
    do {                                                                                           \
        float *v = &weight(m, layer)->enc.list[at], good = *v;                                     \
        *v = (value);                                                                              \
        refused(m, says);                                                                          \
        *v = good;                                                                                 \
    } while (0)

static void test_validate(void **state)
{
    (void)state;
    fb_model *m = sample();
    int32_t zero[8] = {0};
    ok(fb_model_validate(m));
    REFUSED(0, e->sub = 0, "vectors of 0 elements, must have 1 to 64");
    REFUSED(0, e->sub = 65, "vectors of 65 elements");
    REFUSED(0, e->sub = 7, "vectors of 7 elements along rows of 6");
    REFUSED(2, e->sub = 10, "vectors of 10 elements along rows of 9");
    REFUSED(0, e->n_words = 1, "1 codewords, must be 2 to 256");
    REFUSED(0, e->n_words = 257, "257 codewords");
    REFUSED(0, e->n_words = 9, "indices of 3 bits for 9 codewords, must have 4");
    REFUSED(0, e->n_stages = 0, "0 stages, must be 1 to 4");
    REFUSED(0, e->n_stages = 5, "5 stages");
    REFUSED(0, e->n_stages = 1, "has a payload of 108 bytes, must have 54");
    REFUSED(0, e->books = (fb_books)2, "codebooks of the unknown kind 2");
    REFUSED(0, e->n_groups = 0, "codebooks for 0 groups");
    REFUSED(0, e->n_groups = 3, "codebooks for 3 groups, must be 1 or");
    REFUSED(2, e->n_groups = 2, "codebooks for 2 groups");
    REFUSED(0, e->word_bits = 12, "codewords of 12 bits, must have 32, 16 or 8");
    REFUSED_VALUE(1, word, 0, 0.1f, "is 0.1, must be a finite 16-bit float");
    REFUSED(0, e->word_bits = 8, "must be an integer within -128..127");
    REFUSED(0, e->axis = 1, "scales along axis 1, must be -1 or 0");
    REFUSED(0, e->n_scales = 1, "1 scales, must be 1 or, along axis 0");
    REFUSED(0, e->zero = zero, "has zero points, groups or levels");
    REFUSED(0, e->n_patches = 1, "is sparse or has outliers");
    REFUSED(0, e->sparse = FB_SPARSE_BITMAP, "");
    REFUSED(0, e->word = NULL, "codebooks are missing");
    REFUSED(0, e->table_bits = 6, "tables have scale 0, must be finite and > 0");
    REFUSED(3, e->table_bits = 4, "tables of 4 bits, must have 0 or 5 to 8");
    REFUSED(3, e->table_bits = 0, "tables have scale 0.75, but no bits");
    REFUSED(3, e->word_bits = 32, "tables of 6 bits need codewords of 8 bits along the channels");
    REFUSED_VALUE(0, scale, 3, -1, "scale 3 is -1");
    REFUSED_VALUE(0, word_scale, 1, 2, "stage 1 has scale 2, must be 1");
    REFUSED_VALUE(2, word_scale, 0, 2, "stage 0 has scale 2, must be 1");
    REFUSED_VALUE(2, word_scale, 2, 0, "stage 2 has scale 0, must be finite and > 0");
    REFUSED_VALUE(0, word, 3, NAN, "element 3 of codeword 0 is nan, must be finite");
    REFUSED_VALUE(2, word, 5, 0.5f, "element 0 of codeword 1 is 0.5, must be an integer");
    /* the second subspace of a has two elements of four */
    REFUSED_VALUE(0, word, 5 * 4 + 2, 1, "element 2 of codeword 0 is 1");
    fb_packed_put((uint8_t *)(uintptr_t)weight(m, 0)->data, 20, 3, 7);
    refused(m, "there are 5 codewords");
    fb_model_close(&m);
    m = sample();
    weight(m, 0)->dtype = FB_S8;
    refused(m, "a product encodes constants of s8");
    fb_model_close(&m);
    m = sample();
    m->tensors[m->nodes[0].out[0]].enc = weight(m, 0)->enc;
    refused(m, "a product encodes activations");
    fb_model_close(&m);
}

/* Clones own what they have. */
static void test_clone(void **state)
{
    (void)state;
    fb_model *m = sample(), *copy;
    const char *what;
    ok(fb_model_clone(m, true, &copy));
    assert_true(sample_same(m, copy, &what));
    assert_ptr_not_equal(weight(m, 1)->enc.word, weight(copy, 1)->enc.word);
    fb_model_close(&m);
    ok(fb_model_validate(copy));
    fb_model_close(&copy);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_file(void **state)
{
    (void)state;
    fb_model *m = sample(), *back;
    fb_out out, fewer;
    bool in_place;
    const char *what;
    ok(fb_format_write(m, 0, &out));
    ok(fb_format_read(out.data, out.n, 0, &back, &in_place));
    if (!sample_same(m, back, &what))
        fail_msg("%s differs", what);
    fb_model_close(&back);

    /* The size depends on nothing but the form: indices and words may be anything. */
    for (uint32_t k = 0; k < 4; k++) {
        fb_tensor *t = weight(m, k);
        memset((void *)(uintptr_t)t->data, 0, t->data_bytes);
        t->enc.word[0] = 3;
        t->enc.scale[0] = 0.123f;
    }
    ok(fb_format_write(m, 0, &fewer));
    assert_int_equal(fewer.n, out.n);
    fb_out_free(&fewer);
    fb_out_free(&out);
    fb_model_close(&m);
}

/* Every byte of the file replaced, checksums not looked at: refused, or a model that passes the
 * fuzzer's checks. Both happen. */
static void test_damage(void **state)
{
    (void)state;
    static const uint8_t flips[] = {1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x7f, 0xff};
    fb_model *m = sample();
    fb_out out;
    ok(fb_format_write(m, FB_FORMAT_NO_CODING, &out));
    uint8_t *copy = fb_alloc(out.n);
    size_t opened = 0, tried = 0;
    assert_non_null(copy);
    for (size_t i = FB_FORMAT_HEADER; i < out.n; i++) {
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
    assert_true(opened > 1000 && tried - opened > 1000);
    fb_free(copy);
    fb_out_free(&out);
    fb_model_close(&m);
}

/* ---- running -------------------------------------------------------------------------------- */

/* Decoded weights give the same floats as the encoded ones. */
static void test_float_plan(void **state)
{
    (void)state;
    fb_model *m = sample(), *plain;
    ok(fb_model_clone(m, true, &plain));
    for (uint32_t k = 0; k < 4; k++) {
        const fb_tensor *t = weight(m, k);
        static float values[1024];
        int64_t n;
        fb_encoding f32 = {.kind = FB_ENC_PLAIN, .axis = -1};
        assert_true(fb_tensor_elems(t, 0, &n));
        ok(fb_tensor_decode(t, values));
        ok(fb_model_set_payload(plain, m->nodes[k].in[1], &f32, values,
                                (size_t)n * sizeof *values));
    }
    float out[2][6 * 6 * 4 * 2];
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
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_decode_and_integers),
        cmocka_unit_test(test_describe_and_sizes),
        cmocka_unit_test(test_validate),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_float_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
