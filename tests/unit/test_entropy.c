/* Entropy coding of weights: what goes in comes out, in about the room that theory allows; nothing
 * else is accepted. */
#include "base/alloc.h"
#include "format/entropy.h"
#include "format/format.h"
#include "format/freqs.h"
#include "model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after its needs */
#include <cmocka.h>

#include "unit/short_memory.h"

static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static uint8_t normal_code(double sigma, unsigned bits)
{
    int middle = 1 << (bits - 1);
    double v = sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform()) * sigma;
    int q = (int)lrint(v);
    q = q > middle - 1 ? middle - 1 : q < 1 - middle ? 1 - middle : q;
    return (uint8_t)(q + middle);
}

static void count_symbols(const uint8_t *s, size_t n, uint64_t count[256])
{
    memset(count, 0, 256 * sizeof *count);
    for (size_t i = 0; i < n; i++)
        count[s[i]]++;
}

static double entropy_bytes(const uint64_t count[256], size_t n)
{
    double bits = 0;
    for (int s = 0; s < 256; s++)
        bits -= count[s] ? (double)count[s] * log2((double)count[s] / (double)n) : 0;
    return bits / 8;
}

static void check_sum(const fb_freqs *f)
{
    uint32_t sum = 0;
    for (int s = 0; s < 256; s++) {
        assert_true(f->freq[s] == 0 || s < 1 << f->bits);
        sum += f->freq[s];
    }
    assert_int_equal(sum, FB_RANS_ONE);
}

/* A table, written and read, equals itself; so do the symbols. Returns coded bytes with the table.
 */
static size_t round_trip(const uint8_t *symbols, size_t n, unsigned bits)
{
    uint64_t count[256];
    fb_freqs f, again;
    fb_out table = {0}, code = {0};
    fb_rans_table *t = malloc(sizeof *t);
    uint8_t *back = malloc(n + 1);
    assert_true(t && back);
    count_symbols(symbols, n, count);
    fb_freqs_choose(&f, bits, count, NULL);
    check_sum(&f);
    fb_freqs_put(&table, &f);
    fb_in in = fb_in_of("CODE", table.data, table.n, NULL);
    assert_int_equal(fb_freqs_get(&in, &again), FB_OK);
    assert_int_equal(fb_in_end(&in), FB_OK);
    assert_memory_equal(f.freq, again.freq, sizeof f.freq);
    fb_rans_encode(&code, f.freq, NULL, symbols, n);
    for (unsigned flip = 0; flip < 256; flip += 128) {
        fb_rans_table_make(t, again.freq, flip);
        assert_true(fb_rans_decode(t, code.data, code.n, back, n));
        for (size_t i = 0; i < n; i++)
            assert_int_equal(back[i], symbols[i] ^ flip);
    }
    /* a byte less or more, another number of symbols: refused */
    assert_false(fb_rans_decode(t, code.data, code.n - 2, back, n));
    if (n > 0)
        assert_false(fb_rans_decode(t, code.data, code.n, back, n - 1));
    code.data[0] ^= 1;
    assert_false(fb_rans_decode(t, code.data, code.n, back, n) && memcmp(back, symbols, n) == 0);
    size_t bytes = table.n + code.n;
    fb_out_free(&table);
    fb_out_free(&code);
    free(t);
    free(back);
    return bytes;
}

static void test_round_trips(void **state)
{
    (void)state;
    static uint8_t s[40000];
    const size_t lengths[] = {1, 2, 3, 63, 64, 577, 4096, 16383, 16384, 16385, 16387, 40000};
    for (unsigned bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
            size_t n = lengths[k];
            for (size_t i = 0; i < n; i++)
                s[i] = (uint8_t)(uniform() * (1 << bits));
            (void)round_trip(s, n, bits);
            for (size_t i = 0; i < n; i++)
                s[i] = normal_code(0.2 * (1 << bits), bits);
            (void)round_trip(s, n, bits);
            memset(s, (1 << bits) - 1, n); /* one symbol */
            (void)round_trip(s, n, bits);
            s[n / 2] = 0; /* and a rare one */
            (void)round_trip(s, n, bits);
        }
    }
}

/* Within 1.5% of the order-0 entropy, table included. */
static void test_size(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    uint8_t *s = malloc(N);
    assert_non_null(s);
    for (unsigned bits = 2; bits <= 8; bits += 2) {
        for (double sigma = 0.05; sigma < 0.5; sigma *= 1.7) {
            uint64_t count[256];
            for (size_t i = 0; i < N; i++)
                s[i] = normal_code(sigma * (1 << bits), bits);
            count_symbols(s, N, count);
            double least = entropy_bytes(count, N), is = (double)round_trip(s, N, bits);
            assert_true(is <= 1.015 * least + 0.0005 * N);
        }
    }
    free(s);
}

/* Small payloads: a curve is 11 bytes, and costs little more than a list that knew all. */
static void test_small_payloads(void **state)
{
    (void)state;
    uint8_t s[4096];
    uint64_t count[256];
    for (size_t i = 0; i < sizeof s; i++)
        s[i] = normal_code(42, 8);
    count_symbols(s, sizeof s, count);
    assert_true((double)round_trip(s, sizeof s, 8) < 1.02 * entropy_bytes(count, sizeof s) + 16);
}

static void refused(const uint8_t *bytes, size_t n)
{
    fb_freqs f;
    fb_in in = fb_in_of("CODE", bytes, n, NULL);
    assert_int_equal(fb_freqs_get(&in, &f), FB_E_FORMAT);
    assert_true(fb_error()[0] != '\0');
}

static void test_hostile_tables(void **state)
{
    (void)state;
    refused((uint8_t[]){0x10}, 1);                                   /* unknown bit */
    refused((uint8_t[]){7 | 8, 1, 2, 3}, 4);                         /* cut off */
    refused((uint8_t[]){4 | 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 11);   /* a curve for 5 bits */
    refused((uint8_t[]){7 | 8, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0}, 11); /* knot above 127 */
    refused((uint8_t[]){7, 5, 5, 0}, 4);                             /* one symbol */
    refused((uint8_t[]){3, 0, 16, 0}, 4);                            /* beyond 4 bits */
    refused((uint8_t[]){7, 0, 1, 13, 0, 0}, 6);                      /* Rice parameter */
    refused((uint8_t[]){7, 0, 1, 12, 0, 0}, 6);                      /* 0, so 4096 for the last */
    refused((uint8_t[]){7, 0, 1, 12, 2, 0}, 6);                      /* negative */
    uint8_t ones[2000];
    memset(ones, 255, sizeof ones);
    memcpy(ones, (uint8_t[]){7, 0, 1, 0}, 4);
    refused(ones, sizeof ones); /* unary without end */
}

/* ---- in a model ----------------------------------------------------------------------------- */

/* Weights of several sizes and widths, one of them 16 bits and so never coded. */
static fb_model *weights(bool flat)
{
    static const struct {
        unsigned bits;
        int64_t dims[2];
    } shape[] = {{8, {64, 64}}, {8, {24, 24}},  {4, {130, 129}}, {8, {200, 300}},
                 {3, {33, 35}}, {16, {40, 40}}, {1, {64, 65}}};
    fb_model *m;
    assert_int_equal(fb_model_create(&m), FB_OK);
    for (size_t k = 0; k < sizeof shape / sizeof shape[0]; k++) {
        size_t n = (size_t)(shape[k].dims[0] * shape[k].dims[1]), bytes;
        char name[8];
        int32_t t;
        float scale = 0.5f;
        fb_encoding e = {.kind = FB_ENC_AFFINE,
                         .bits = (uint8_t)shape[k].bits,
                         .is_signed = shape[k].bits > 1,
                         .axis = -1,
                         .n_scales = 1,
                         .scale = &scale};
        assert_true(fb_packed_bytes(n, shape[k].bits, &bytes));
        uint8_t *data = calloc(1, bytes);
        assert_non_null(data);
        for (size_t i = 0; i < n; i++) {
            unsigned few = shape[k].bits > 8 ? 8 : shape[k].bits;
            int32_t q = normal_code(0.12 * (1 << few), few) - (1 << (few - 1));
            fb_packed_put(data, i, shape[k].bits, flat ? 0 : few == 1 ? uniform() < 0.1 : q);
        }
        (void)snprintf(name, sizeof name, "w%zu", k);
        assert_int_equal(fb_model_add_const(m, name, FB_F32, 2, shape[k].dims, NULL, &t), FB_OK);
        assert_int_equal(fb_model_set_payload(m, t, &e, data, bytes), FB_OK);
        free(data);
    }
    int32_t all[7] = {0, 1, 2, 3, 4, 5, 6};
    assert_int_equal(fb_model_set_io(m, NULL, 0, all, 7), FB_OK);
    return m;
}

static size_t file_round_trip(const fb_model *m, bool coded)
{
    fb_out out, twice;
    fb_model *again;
    uint64_t predicted;
    bool in_place;
    assert_int_equal(fb_format_write(m, 0, &out), FB_OK);
    assert_int_equal(fb_model_file_bytes(m, &predicted), FB_OK);
    assert_int_equal(predicted, out.n);
    assert_int_equal(fb_format_read(out.data, out.n, 0, &again, &in_place), FB_OK);
    assert_int_equal(again->entropy, coded);
    assert_int_equal(in_place, !coded);
    for (size_t i = 0; i < m->n_tensors; i++) {
        assert_int_equal(m->tensors[i].data_bytes, again->tensors[i].data_bytes);
        assert_memory_equal(m->tensors[i].data, again->tensors[i].data, m->tensors[i].data_bytes);
    }
    assert_int_equal(fb_format_write(again, 0, &twice), FB_OK);
    assert_int_equal(out.n, twice.n);
    assert_memory_equal(out.data, twice.data, out.n);
    size_t n = out.n;
    fb_out_free(&out);
    fb_out_free(&twice);
    fb_model_close(&again);
    return n;
}

static void test_in_a_file(void **state)
{
    (void)state;
    for (int flat = 0; flat < 2; flat++) {
        fb_model *m = weights(flat == 1);
        size_t plain = file_round_trip(m, false);
        m->entropy = true;
        size_t coded = file_round_trip(m, true);
        assert_true(coded < plain * 9 / 10);
        fb_model_close(&m);
    }
}

/* Random codes cannot be coded: the file does not grow, and large payloads stay in place. */
static void test_only_where_it_saves(void **state)
{
    (void)state;
    fb_model *m = weights(false);
    for (size_t k = 0; k < m->n_tensors; k++) {
        uint8_t *p = (uint8_t *)(uintptr_t)m->tensors[k].data;
        for (size_t i = 0; i + 1 < m->tensors[k].data_bytes; i++)
            p[i] = (uint8_t)(uniform() * 256);
    }
    size_t plain = file_round_trip(m, false);
    m->entropy = true;
    assert_int_equal(file_round_trip(m, false), plain);
    fb_model_close(&m);
}

/* Damage within section CODE with checksums off: a sentence or some model, never a crash. */
static void test_damage(void **state)
{
    (void)state;
    fb_model *m = weights(false), *got;
    fb_out out;
    bool in_place;
    m->entropy = true;
    assert_int_equal(fb_format_write(m, 0, &out), FB_OK);
    size_t refusals = 0;
    for (size_t at = 32; at < out.n; at += 97) {
        uint8_t old = out.data[at];
        out.data[at] = (uint8_t)((old + 1 + (int)(uniform() * 254)) % 256);
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
    fb_model *m = weights(false);
    m->entropy = true;
    survives_short_memory(m, 0);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),    cmocka_unit_test(test_size),
        cmocka_unit_test(test_small_payloads), cmocka_unit_test(test_hostile_tables),
        cmocka_unit_test(test_in_a_file),      cmocka_unit_test(test_only_where_it_saves),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
