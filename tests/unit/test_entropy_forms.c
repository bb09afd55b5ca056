/* Forms of section CODE: predicted kernels, products; worked numbers, sizes, round trips, lies. */
#include "unit/sample_forms.h"

#include "base/alloc.h"
#include "format/entropy.h"
#include "format/form.h"
#include "format/format.h"
#include "format/freqs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/short_memory.h"

static fb_model *must(fb_model *m)
{
    if (!m)
        fail_msg("sample: %s", fb_error());
    return m;
}

/* ---- worked numbers ------------------------------------------------------------------------- */

/* 4 bits, signed: symbol 12 is the code 4, the value 8; half of it 4, that is, the code 2. */
static void test_prediction(void **state)
{
    (void)state;
    fb_planes g = {.rows = 1, .positions = 3, .c = 2, .bits = 4, .middle = 16};
    int8_t coef[3 * FB_PREDICT_LAGS] = {0};
    fb_predict p = {.contexts = 3, .limit = {60, 65}, .coef = coef};
    coef[FB_PREDICT_LAGS] = 32;         /* position 1: half of position 0 */
    coef[2 * FB_PREDICT_LAGS] = -64;    /* position 2: less position 1, */
    coef[2 * FB_PREDICT_LAGS + 1] = 64; /* and position 0 */
    fb_predict_row *row = fb_predict_row_create(&g, &p);
    const uint8_t symbols[3][2] = {{12, 3}, {11, 0}, {15, 8}};
    uint8_t coded[2], back[2];
    assert_non_null(row);
    fb_predict_look(&g, &p, 0, row);
    assert_int_equal(row->context[0], 0);
    assert_int_equal(row->shift[0], 0);
    fb_predict_hide(&g, 0, row, symbols[0], coded);
    assert_memory_equal(coded, symbols[0], 2);

    fb_predict_look(&g, &p, 1, row);
    assert_int_equal(row->sum[0], 32 * 8); /* size 256 / 4 = 64 */
    assert_int_equal(row->context[0], 1);
    assert_int_equal(row->shift[0], 2);      /* (256 + 64) / 128 */
    assert_int_equal(row->sum[1], 32 * -10); /* size 80 */
    assert_int_equal(row->context[1], 2);
    assert_int_equal(row->shift[1] & 15, 14); /* -256 / 128 */
    fb_predict_hide(&g, 1, row, symbols[1], coded);
    assert_int_equal(coded[0], 9);
    assert_int_equal(coded[1], 2);
    fb_predict_look(&g, &p, 1, row);
    fb_predict_show(&g, 1, row, coded, back);
    assert_memory_equal(back, symbols[1], 2);

    fb_predict_look(&g, &p, 2, row);
    assert_int_equal(row->sum[0], 64 * (8 - 6));
    assert_int_equal(row->sum[1], 64 * (-10 + 16));
    fb_free(row);
}

static void test_recent(void **state)
{
    (void)state;
    /* 5 5 7 5 9 7: new, the latest, new, the one before, new, the third */
    const unsigned numbers[] = {5, 5, 7, 5, 9, 7}, where[] = {0, 1, 0, 2, 0, 3};
    fb_recent in = 0, out = 0;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(fb_recent_find(in, numbers[i], 3), where[i]);
        assert_int_equal(fb_recent_use(&in, where[i], numbers[i]), numbers[i]);
        assert_int_equal(fb_recent_use(&out, where[i], where[i] ? 0 : numbers[i]), numbers[i]);
    }
    assert_int_equal(in, 5u << 16 | 9u << 8 | 7u);
    assert_int_equal(out, in);
    assert_int_equal(fb_recent_find(in, 9, 1), 0);
}

static void test_word_tops(void **state)
{
    (void)state;
    assert_int_equal(fb_word_top(1, 32), 127);
    assert_int_equal(fb_word_rest(1, 32), 0);
    assert_int_equal(fb_word_rest(-1, 32), 1);
    assert_int_equal(fb_word_top(1, 16), 15 << 3);
    assert_int_equal(fb_word_top(-1.5f, 16), (15 << 3) + 4);
    const float words[] = {0, -0.0f, 1, -1.5f, 0.25f, 3.0517578125e-05f, -65504, 0.333251953125f};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (unsigned bits = 16; bits <= 32; bits += 16) {
            float back =
                fb_word_join(fb_word_top(words[i], bits), fb_word_rest(words[i], bits), bits);
            assert_memory_equal(&back, &words[i], sizeof back);
        }
    }
}

/* ---- symbols and back ----------------------------------------------------------------------- */

/* A payload through a form that the caller sets, each run with tables of its own. */
static void through(const fb_tensor *t, const fb_form *f)
{
    fb_symbols run[FB_FORM_RUNS];
    fb_coded_run coded[FB_FORM_RUNS] = {{NULL, 0, NULL}};
    fb_out code[FB_FORM_RUNS] = {{0}};
    fb_rans_table *tables[FB_FORM_RUNS] = {NULL};
    assert_int_equal(fb_form_hide(f, t, run), FB_OK);
    for (int k = 0; k < FB_FORM_RUNS && run[k].symbol; k++) {
        static uint16_t freq[FB_RANS_CONTEXTS][256];
        tables[k] = malloc(run[k].shape.contexts * sizeof *tables[k]);
        for (unsigned c = 0; c < run[k].shape.contexts; c++) {
            uint64_t count[256] = {0};
            fb_freqs freqs;
            for (size_t i = 0; i < run[k].shape.n; i++)
                count[run[k].symbol[i]] += (run[k].context ? run[k].context[i] : 0) == c;
            count[0]++; /* some contexts have no symbol */
            fb_freqs_choose(&freqs, run[k].shape.bits, count, NULL);
            memcpy(freq[c], freqs.freq, sizeof freq[c]);
            fb_rans_table_make(&tables[k][c], freqs.freq, 0);
        }
        fb_rans_encode(&code[k], freq[0], run[k].context, run[k].symbol, run[k].shape.n);
        coded[k] = (fb_coded_run){code[k].data, code[k].n, tables[k]};
    }
    uint8_t *data = calloc(1, t->data_bytes);
    bool good = false;
    assert_int_equal(fb_form_show(f, t, coded, data, &good), FB_OK);
    assert_true(good);
    assert_memory_equal(data, t->data, t->data_bytes);
    /* a word too few in any run is noticed */
    for (int k = 0; k < FB_FORM_RUNS && run[k].symbol; k++) {
        coded[k].bytes -= 2;
        memset(data, 0, t->data_bytes);
        assert_int_equal(fb_form_show(f, t, coded, data, &good), FB_OK);
        assert_false(good);
        coded[k].bytes += 2;
    }
    for (int k = 0; k < FB_FORM_RUNS; k++) {
        fb_out_free(&code[k]);
        free(tables[k]);
    }
    free(data);
    fb_symbols_free(run);
}

static void test_every_form(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms());
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        fb_form f;
        if (t->enc.kind == FB_ENC_PRODUCT) {
            if (t->enc.word_bits != 8)
                continue; /* its words must be the rests: in a file, below */
            for (f = (fb_form){.storage = FB_CODED_FORM}; f.depth <= 3; f.depth = 2 * f.depth + 1)
                through(t, &f);
            continue;
        }
        f = (fb_form){.storage = FB_CODED_PLAIN};
        through(t, &f);
        assert_int_equal(fb_form_choose(t, &f), FB_OK);
        if (f.storage != (t->rank == 4 ? FB_CODED_FORM : FB_CODED_PLAIN))
            fail_msg("%s has storage %u", t->name, f.storage);
        through(t, &f);
        fb_form_free(&f);
    }
    fb_model_close(&m);
}

/* What the predictions and the finds are for: bytes below those of one table for all codes. */
static void test_gain(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms());
    fb_form plain = {.storage = FB_CODED_PLAIN}, f;
    fb_symbols run[FB_FORM_RUNS];
    uint64_t count[256], bits;
    assert_int_equal(fb_form_hide(&plain, &m->tensors[0], run), FB_OK);
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < run[0].shape.n; i++)
        count[run[0].symbol[i]]++;
    assert_int_equal(fb_form_choose(&m->tensors[0], &f), FB_OK);
    fb_free(f.predict.coef);
    assert_int_equal(fb_predict_fit(&f.planes, run[0].symbol, &f.predict, &bits), FB_OK);
    assert_true((double)bits < 0.95 * (double)fb_freqs_ideal(count));
    fb_symbols_free(run);
    fb_form_free(&f);
    assert_int_equal(fb_form_choose(&m->tensors[4], &f), FB_OK);
    assert_int_equal(f.depth, 3);
    fb_form_free(&f);
    fb_model_close(&m);
}

/* ---- in a file ------------------------------------------------------------------------------ */

static void test_file(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms()), *back;
    fb_entropy e;
    fb_out out;
    const char *what;
    bool in_place;
    assert_int_equal(fb_entropy_encode(m, &e), FB_OK);
    for (int i = 0; i < SAMPLE_FORMS; i++)
        assert_int_equal(e.coded[i], i == 2 ? FB_CODED_PLAIN : FB_CODED_FORM);
    fb_entropy_free(&e);
    assert_int_equal(fb_format_write(m, 0, &out), FB_OK);
    assert_int_equal(fb_format_read(out.data, out.n, 0, &back, &in_place), FB_OK);
    if (!sample_same(m, back, &what))
        fail_msg("%s differs", what);
    fb_out_free(&out);
    fb_model_close(&back);
    fb_model_close(&m);
}

/* A network large enough for several threads. */
static void test_threads(void **state)
{
    (void)state;
    enum { N = 3, BYTES = 512 * 9 * 128 };
    fb_model *m, *back;
    fb_out out, again;
    bool in_place;
    int32_t all[N];
    float scale = 1;
    uint32_t seed = 3;
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 8,
                     .is_signed = true,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    int8_t *q = malloc(BYTES);
    assert_non_null(q);
    assert_int_equal(fb_model_create(&m), FB_OK);
    for (int k = 0; k < N; k++) {
        char name[8];
        (void)snprintf(name, sizeof name, "w%d", k);
        for (int i = 0; i < BYTES; i++)
            q[i] = (int8_t)sample_smooth(&seed, i / 128 % 9 ? q[i - 128] : 0, 100 - 20 * k);
        assert_int_equal(
            fb_model_add_const(m, name, FB_F32, 4, sample_dims(512, 3, 3, 128), NULL, &all[k]),
            FB_OK);
        assert_int_equal(fb_model_set_payload(m, all[k], &e, q, BYTES), FB_OK);
    }
    assert_int_equal(fb_model_set_io(m, NULL, 0, all, N), FB_OK);
    m->entropy = true;
    assert_int_equal(fb_format_write(m, 0, &out), FB_OK);
    assert_true(out.n < N * BYTES);
    assert_int_equal(fb_format_read(out.data, out.n, 0, &back, &in_place), FB_OK);
    for (int k = 0; k < N; k++)
        assert_memory_equal(back->tensors[k].data, m->tensors[k].data, BYTES);
    assert_int_equal(fb_format_write(back, 0, &again), FB_OK);
    assert_int_equal(again.n, out.n);
    assert_memory_equal(again.data, out.data, out.n);
    fb_out_free(&out);
    fb_out_free(&again);
    fb_model_close(&back);
    fb_model_close(&m);
    free(q);
}

/* ---- lies ----------------------------------------------------------------------------------- */

static void get_refused(const fb_tensor *t, const uint8_t *bytes, size_t n, const char *says)
{
    fb_form f = {.storage = FB_CODED_FORM};
    fb_in in = fb_in_of("CODE", bytes, n, NULL);
    assert_int_equal(fb_form_get(&in, t, &f), FB_E_FORMAT);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
    fb_form_free(&f);
}

static void test_hostile_descriptions(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms());
    const fb_tensor *smooth = &m->tensors[0], *found = &m->tensors[4], *point = &m->tensors[5];
    get_refused(smooth, (uint8_t[]){0}, 1, "has 0 contexts, must have 1 to 8");
    get_refused(smooth, (uint8_t[]){9}, 1, "has 9 contexts");
    get_refused(smooth, (uint8_t[]){3, 9, 8}, 3, "limit 1 of a prediction is 8, below");
    get_refused(smooth, (uint8_t[]){2, 9, 1, 2}, 4, "2 bytes are wanted, 1 are left");
    get_refused(found, (uint8_t[]){2}, 1, "sought among the last 2, must be 0, 1 or 3");
    get_refused(point, (uint8_t[]){1}, 1, "sought among the last 1, must be 0");
    fb_model_close(&m);
}

/* A whole section for a model of which one tensor is coded, in a storage that it cannot have. */
static void section_refused(size_t tensor, uint8_t storage, const uint8_t *bytes, size_t n,
                            const char *says)
{
    fb_model *m = must(sample_forms());
    uint8_t coded[SAMPLE_FORMS] = {0};
    fb_in in = fb_in_of("CODE", bytes, n, m->arena);
    coded[tensor] = storage;
    assert_int_equal(fb_entropy_decode(&in, m, coded), FB_E_FORMAT);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
    fb_model_close(&m);
}

static void test_hostile_sections(void **state)
{
    (void)state;
    /* one table: 4 bits, a list of symbols 0 and 1 with 2048 each */
    const uint8_t table[] = {1, 3, 0, 1, 12, 0, 16};
    uint8_t bytes[64];
    memcpy(bytes, table, sizeof table);
    section_refused(2, FB_CODED_FORM, bytes, sizeof table, "has no kernel to predict along");
    section_refused(4, FB_CODED_PLAIN, bytes, sizeof table, "cannot be coded");
    bytes[7] = 0; /* found: no depth; numbers: table 0, 1 byte; */
    bytes[8] = 0;
    bytes[9] = 1;
    bytes[10] = 0; /* tops: table 0, which is not for 8 bits */
    bytes[11] = 1;
    bytes[12] = bytes[13] = 0;
    section_refused(4, FB_CODED_FORM, bytes, 14, "codes of 8 bits, its table is for 4");
    section_refused(5, FB_CODED_FORM, bytes, 9, "codes of 5 bits, its table is for 4");
    bytes[7] = 1; /* smooth4: 1 context, 10 coefficients, table 0, 1 byte */
    memset(bytes + 8, 0, 11);
    bytes[19] = 1;
    bytes[20] = 0;
    section_refused(0, FB_CODED_FORM, bytes, 21, "1 coded bytes for 2560 elements");
}

/* Damage anywhere, with checksums off: a sentence or some model, never a crash. */
static void test_damage(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms()), *got;
    fb_out out;
    bool in_place;
    size_t refusals = 0;
    assert_int_equal(fb_format_write(m, FB_FORMAT_NO_CODING, &out), FB_OK);
    for (size_t at = 32; at < out.n; at += 3) {
        uint8_t old = out.data[at];
        out.data[at] = (uint8_t)(old + 1 + at * 7 % 254);
        fb_status s = fb_format_read(out.data, out.n, FB_FORMAT_NO_CHECKSUM, &got, &in_place);
        refusals += s != FB_OK;
        assert_true(s == FB_OK || fb_error()[0] != '\0');
        fb_model_close(&got);
        out.data[at] = old;
    }
    assert_true(refusals > 0);
    fb_out_free(&out);
    fb_model_close(&m);
}

static void test_no_memory(void **state)
{
    (void)state;
    fb_model *m = must(sample_forms());
    survives_short_memory(m, FB_FORMAT_NO_CODING);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_word_tops),
        cmocka_unit_test(test_every_form),
        cmocka_unit_test(test_gain),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_hostile_descriptions),
        cmocka_unit_test(test_hostile_sections),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
