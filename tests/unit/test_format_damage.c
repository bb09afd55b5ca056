/* The .fewbit file as enemies and bad cables make it: each truncation, each flipped bit, forged
 * tables, lies in every section, with the sentence that must come. */
#include "unit/sample_forms.h"
#include "unit/sample_model.h"

#include "base/hash.h"
#include "base/status.h"
#include "format/code.h"
#include "format/format.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The corpus is replayed by the fuzzer's own function. */
#include "fuzz/fuzz_format.c"

static fb_out written(fb_model *m, unsigned flags)
{
    fb_out out = {0};
    if (!m || fb_format_write(m, flags, &out) != FB_OK)
        fail_msg("sample: %s", fb_error());
    fb_model_close(&m);
    return out;
}

/* Opens an aligned copy of exactly n bytes; the model, or NULL. */
static fb_model *open_copy(const uint8_t *data, size_t n)
{
    fb_model *m = NULL;
    uint8_t *copy = fb_alloc(n);
    bool in_place;
    memcpy(copy, data, n);
    fb_status s = fb_format_read(copy, n, 0, &m, &in_place);
    assert_int_equal(s == FB_OK, m != NULL);
    assert_false(in_place); /* the samples here are small */
    fb_free(copy);
    return m;
}

static void refused(const uint8_t *data, size_t n, const char *says)
{
    fb_model *m = open_copy(data, n);
    if (m) {
        fb_model_close(&m);
        fail_msg("opened, should say \"%s\"", says);
    }
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
}

static fb_out sample_written(unsigned way)
{
    return way == 4   ? written(sample_forms(), 0)
           : way == 3 ? written(sample_sparse(), 0)
           : way == 2 ? written(sample_peaked(), 0)
                      : written(sample_net(10), way ? FB_FORMAT_NO_CODING : 0);
}

static void test_every_truncation(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 5; way++) {
        fb_out out = sample_written(way);
        for (size_t n = 0; n < out.n; n++) {
            fb_model *m = open_copy(out.data, n);
            if (m)
                fail_msg("opened with %zu of %zu bytes", n, out.n);
            assert_true(fb_error()[0] != '\0');
        }
        fb_out_free(&out);
    }
}

/* Checksums cover every byte, padding must be zero: no flip is harmless. */
static void test_every_bit(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 5; way++) {
        fb_out out = sample_written(way);
        for (size_t i = 0; i < out.n * 8; i += way == 4 ? 7 : 1) { /* a large one: every byte */
            out.data[i / 8] ^= (uint8_t)(1u << i % 8);
            fb_model *m = open_copy(out.data, out.n);
            if (m)
                fail_msg("opened with bit %zu of byte %zu flipped", i % 8, i / 8);
            out.data[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        fb_model *m = open_copy(out.data, out.n);
        assert_non_null(m); /* and it was the flips that were refused */
        fb_model_close(&m);
        fb_out_free(&out);
    }
}

static void test_padding(void **state)
{
    (void)state;
    fb_model *m = sample_net(256), *back;
    bool in_place;
    fb_out out = written(m, 0);
    for (size_t i = out.n - 16384 - 63; i < out.n - 16384; i++) {
        out.data[i] ^= 1;
        assert_int_equal(fb_format_read(out.data, out.n, 0, &back, &in_place), FB_E_FORMAT);
        out.data[i] ^= 1;
    }
    fb_out_free(&out);
}

static void test_other_files(void **state)
{
    (void)state;
    refused((const uint8_t *)"", 0, "is empty");
    refused((const uint8_t *)"x", 1, "is not a .fewbit file");
    refused((const uint8_t *)"PK\3\4 and so on", 14, "is not a .fewbit file");
    refused((const uint8_t *)"\x08\x08\x12\x07pytorch\x1a\x05", 13,
            "is an ONNX file; import it with fewbit compress");
    refused((const uint8_t *)"\x89"
                             "FWB\n\x1a\n",
            7, "text mode");
    refused((const uint8_t *)"\x09"
                             "FWB\r\n\x1a\n",
            8, "first byte is 0x09, must be 0x89");
    refused((const uint8_t *)"\x89"
                             "FWB\r",
            5, "was cut off");
    refused((const uint8_t *)"\x89"
                             "FWB\r\n\x1a\n",
            8, "was cut off");
}

/* ---- forged files ---------------------------------------------------------------------------- */

/* An uncoded file taken apart: sections can be changed, added, dropped, and it is put together with
 * right sizes and checksums. */
typedef struct forged {
    uint32_t n, id[12], flags[12];
    uint8_t content[12][8192];
    size_t bytes[12];
    unsigned version;
} forged;

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static forged *take_apart(fb_model *m)
{
    fb_out out = written(m, FB_FORMAT_NO_CODING);
    forged *f = calloc(1, sizeof *f);
    f->version = 1;
    f->n = (uint32_t)number(out.data + 12, 4);
    size_t at = 32 + 24 * (size_t)f->n;
    for (uint32_t i = 0; i < f->n; i++) {
        const uint8_t *e = out.data + 32 + 24 * (size_t)i;
        f->id[i] = (uint32_t)number(e, 4);
        f->flags[i] = (uint32_t)number(e + 4, 4);
        f->bytes[i] = (size_t)number(e + 8, 8);
        assert_true(f->bytes[i] <= sizeof f->content[i]);
        memcpy(f->content[i], out.data + at, f->bytes[i]);
        at += f->bytes[i]; /* the samples have no DATA, so nothing is aligned */
    }
    assert_int_equal(at, out.n);
    fb_out_free(&out);
    return f;
}

static uint32_t section(const forged *f, const char *name)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (memcmp(&f->id[i], name, 4) == 0)
            return i;
    }
    fail_msg("no section %s", name);
    return 0;
}

static uint32_t add(forged *f, const char *name, uint32_t flags, const char *content)
{
    memcpy(&f->id[f->n], name, 4);
    f->flags[f->n] = flags;
    f->bytes[f->n] = strlen(content);
    memcpy(f->content[f->n], content, f->bytes[f->n]);
    return f->n++;
}

static fb_out put_together(const forged *f)
{
    fb_out out = {0};
    size_t at = 32 + 24 * (size_t)f->n, total = at;
    for (uint32_t i = 0; i < f->n; i++) {
        size_t align = (size_t)1 << (f->flags[i] >> 8 & 15);
        total = (total + align - 1) / align * align + f->bytes[i];
    }
    fb_out_bytes(&out, FB_FORMAT_MAGIC, 8);
    fb_out_u32(&out, f->version);
    fb_out_u32(&out, f->n);
    fb_out_u64(&out, total);
    fb_out_u64(&out, 0);
    for (uint32_t i = 0; i < f->n; i++) {
        fb_out_u32(&out, f->id[i]);
        fb_out_u32(&out, f->flags[i]);
        fb_out_u64(&out, f->bytes[i]);
        fb_out_u64(&out, fb_hash64(f->content[i], f->bytes[i]));
    }
    for (uint32_t i = 0; i < f->n; i++) {
        size_t align = (size_t)1 << (f->flags[i] >> 8 & 15);
        while (out.n % align != 0)
            fb_out_u8(&out, 0);
        fb_out_bytes(&out, f->content[i], f->bytes[i]);
    }
    fb_hash h;
    fb_hash_init(&h);
    fb_hash_add(&h, out.data, 24);
    fb_hash_add(&h, out.data + 32, at - 32);
    uint64_t sum = fb_hash_end(&h);
    for (int i = 0; i < 8; i++)
        out.data[24 + i] = (uint8_t)(sum >> (8 * i));
    return out;
}

static void forged_refused(forged *f, const char *says)
{
    fb_out out = put_together(f);
    refused(out.data, out.n, says);
    fb_out_free(&out);
    free(f);
}

static void forged_opens(forged *f)
{
    fb_out out = put_together(f);
    fb_model *m = open_copy(out.data, out.n), *want = sample_tiny();
    const char *what;
    if (!m)
        fail_msg("%s", fb_error());
    assert_true(sample_same(want, m, &what));
    fb_model_close(&m);
    fb_model_close(&want);
    fb_out_free(&out);
    free(f);
}

#define TINY(f) forged *f = take_apart(sample_tiny())

static void test_table(void **state)
{
    (void)state;
    {
        TINY(f);
        forged_opens(f); /* the tool itself changes nothing */
    }
    {
        TINY(f);
        f->version = 2;
        forged_refused(f, "format version 2.0, this fewbit reads 1.x");
    }
    {
        TINY(f);
        f->version = 1 | 7u << 16;
        forged_opens(f); /* a later minor version */
    }
    {
        TINY(f);
        add(f, "ZZZZ", 0, "nobody knows this section");
        add(f, "YYYY", 6u << 8 | 0x80u, "nor this");
        forged_opens(f);
    }
    {
        TINY(f);
        add(f, "ZZZZ", FB_SECTION_REQUIRED, "nobody knows this section");
        forged_refused(f, "needs section ZZZZ");
    }
    {
        TINY(f);
        add(f, "Z\1ZZ", FB_SECTION_REQUIRED, "");
        forged_refused(f, "needs section Z?ZZ");
    }
    {
        TINY(f);
        add(f, "ZZZZ", 13u << 8, "");
        forged_refused(f, "aligned to 2^13");
    }
    {
        TINY(f);
        add(f, "NOTE", 0, "");
        forged_refused(f, "section NOTE comes twice");
    }
    {
        TINY(f);
        add(f, "ZZZZ", 0, "");
        add(f, "ZZZZ", 0, "");
        forged_refused(f, "section ZZZZ comes twice");
    }
    {
        TINY(f);
        f->flags[section(f, "NOTE")] = 4;
        forged_refused(f, "section NOTE has flags 0x4");
    }
    {
        TINY(f);
        f->flags[section(f, "GRPH")] = 0;
        forged_refused(f, "section GRPH has flags 0x0");
    }
    {
        TINY(f);
        add(f, "DATA", 0x603, "");
        forged_refused(f, "section DATA has flags 0x603");
    }
    {
        TINY(f);
        memcpy(&f->id[section(f, "GRPH")], "ABCD", 4);
        f->flags[section(f, "ABCD")] = 0;
        forged_refused(f, "has no section GRPH");
    }
    {
        TINY(f);
        f->bytes[section(f, "STRS")] = 0;
        forged_refused(f, "section STRS, byte 0: 1 bytes are wanted, 0 are left");
    }
    {
        TINY(f);
        fb_out out = put_together(f);
        fb_out_u8(&out, 0);
        refused(out.data, out.n, "has something appended");
        out.data[16]++; /* the size is right again, the checksum is not */
        refused(out.data, out.n, "header: checksum does not match");
        out.data[12] = 65;
        refused(out.data, out.n, "header: 65 sections");
        fb_out_free(&out);
        free(f);
    }
}

/* One byte of a section replaced. */
static void lie(const char *name, size_t at, unsigned byte, const char *says)
{
    TINY(f);
    uint32_t i = section(f, name);
    assert_true(at < f->bytes[i]);
    f->content[i][at] = (uint8_t)byte;
    forged_refused(f, says);
}

static void longer(const char *name, const char *says)
{
    TINY(f);
    f->bytes[section(f, name)]++;
    forged_refused(f, says);
}

/* Positions are those of the worked example in docs/FORMAT.md. */
static void test_sections(void **state)
{
    (void)state;
    lie("GRPH", 0, 100, "number of tensors is 100, at most 28 is possible here");
    lie("GRPH", 1, 100, "number of nodes is 100");
    lie("GRPH", 2, 5, "number of inputs is 5, at most 4");
    lie("GRPH", 4, 0x94, "a tensor has 9 dims");
    lie("GRPH", 5, 8, "element type 8 is unknown");
    lie("GRPH", 6, 0, "dim 0 is 0");
    lie("GRPH", 8, 0x2f, "storage 4 needs a newer fewbit");
    lie("GRPH", 18, 0x40, "a tensor number is outside the model's 4 tensors");
    lie("GRPH", 20, FB_OP_COUNT << 1, "is unknown and needs a newer fewbit");
    lie("GRPH", 21, 4, "number of inputs is 4, at most 3");
    lie("GRPH", 22, 2, "number of outputs is 2, at most 1");
    lie("GRPH", 27, 64, "unknown field needs a newer fewbit");
    lie("GRPH", 27, 1, "1 bytes are wanted, 0 are left");
    longer("GRPH", "section GRPH, byte 28: 1 bytes too many");
    lie("STRS", 0, 1, "length shared with the text before is 1, at most 0");
    lie("STRS", 1, 100, "length of a text is 100");
    lie("STRS", 2, 0, "a text contains a NUL");
    longer("STRS", "section STRS, byte 27: 1 bytes too many");
    lie("ENCP", 0, 7, "encoding 7 of tensor 'fc.weight' is unknown");
    lie("ENCP", 0, 2, "a list of scales of form 63 needs a newer fewbit");
    lie("ENCP", 0, 0x41, "section ENCP, byte 8: 1 bytes are wanted, 0 are left");
    lie("ENCP", 1, 0xbf, "'fc.weight' has 12 bytes, the payloads have 11 left");
    lie("ENCP", 1, 0xb1, "section SMAL has 3 bytes, the small constants need 2");
    lie("ENCP", 2, 2, "scales along axis 2");
    lie("ENCP", 4, 2, "a list of scales of form 2 needs a newer fewbit");
    lie("ENCP", 4, 0, "section ENCP, byte 5: 3 bytes too many");
    lie("ENCP", 5, 0x3e, "'fc.weight': scale 0 is");
    lie("ENCP", 6, 1, "must be a power of two");
    longer("ENCP", "1 bytes too many");
    lie("NOTE", 0, 100, "number of notes is 100, at most 3");
    longer("NOTE", "1 bytes too many");
    {
        TINY(f);
        f->bytes[section(f, "SMAL")]--;
        forged_refused(f, "have more bytes than the payloads, 10");
    }
    longer("FIXD", "section FIXD, byte 8: 1 bytes too many");
    longer("SMAL", "section SMAL has 4 bytes, the small constants need 3");
}

static void test_other_sections(void **state)
{
    (void)state;
    {
        TINY(f);
        add(f, "LABL", 0, "\x02\x01");
        forged_refused(f, "section LABL, byte 1: number of labels is 2, at most 1");
    }
    {
        TINY(f);
        add(f, "PREP", 0, "\x05");
        forged_refused(f, "section PREP, byte 1: length shared");
    }
    {
        forged *f = take_apart(sample_net(10));
        f->content[section(f, "PREP")][13] = 3; /* after "cifar10" and four sizes */
        forged_refused(f, "channel order is 3, at most 2");
    }
    {
        forged *f = take_apart(sample_net(10));
        f->content[section(f, "PREP")][17] = 0xff; /* the scale's sign */
        forged_refused(f, "has scale");
    }
}

/* Coded sections: sizes that lie, code that is cut or goes on. */
static void test_coded(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        TINY(f);
        uint32_t i = section(f, "GRPH");
        fb_out out = {0};
        fb_coder *c = fb_coder_create(f->bytes[i]);
        fb_out_varint(&out, way == 1 ? f->bytes[i] + 1 : way == 2 ? UINT64_MAX : f->bytes[i]);
        fb_coder_encode(c, &out, f->content[i], f->bytes[i], 1);
        fb_coder_flush(c, &out);
        fb_free(c);
        if (way == 3)
            fb_out_u8(&out, 0);
        f->flags[i] |= FB_SECTION_CODED;
        f->bytes[i] = out.n;
        memcpy(f->content[i], out.data, out.n);
        fb_out_free(&out);
        if (way == 0)
            forged_opens(f);
        else if (way == 1)
            forged_refused(f, "section GRPH");
        else if (way == 2)
            forged_refused(f, "coded bytes stand for 18446744073709551615, at most");
        else
            forged_refused(f, "the code does not end with its last byte");
    }
}

static void test_coder(void **state)
{
    (void)state;
    static uint8_t data[20000], back[20000];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof data; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = i < 5000 ? 0 : i < 10000 ? (uint8_t)(i % 7) : (uint8_t)(seed >> 24);
    }
    for (unsigned period = 1; period <= 8; period++) {
        for (size_t n = 0; n <= sizeof data; n = n * 3 + 1) {
            fb_out out = {0};
            fb_coder *c = fb_coder_create(n);
            fb_coder_encode(c, &out, data, n, period);
            fb_coder_flush(c, &out);
            fb_free(c);
            c = fb_coder_create(n);
            memset(back, 0xaa, sizeof back);
            fb_coder_start(c, out.data, out.n);
            fb_coder_decode(c, back, n, period);
            assert_true(fb_coder_done(c));
            assert_memory_equal(back, data, n);
            assert_int_equal(back[n < sizeof back ? n : 0], n < sizeof back ? 0xaa : data[0]);
            fb_free(c);
            assert_true(out.n <= n + n / 20 + 8);
            if (n > 4000)
                assert_true(out.n < n / 10 || n > 5000); /* zeros take next to nothing */
            fb_out_free(&out);
        }
    }
}

/* Expanded texts are limited: shared beginnings must not multiply a small file. */
static void test_text_bomb(void **state)
{
    (void)state;
    fb_arena *arena = fb_arena_create();
    fb_out out = {0};
    char *text = calloc(4097, 1);
    memset(text, 'x', 4096);
    for (int i = 0; i < 20000; i++)
        fb_out_text(&out, text);
    assert_true(out.n < 100000);
    fb_in in = fb_in_of("TEST", out.data, out.n, arena);
    int n = 0;
    while (in.status == FB_OK && n < 20000) {
        (void)fb_in_text(&in, 4096);
        n++;
    }
    assert_true(n > 16000 && n < 17000); /* 64 MiB */
    assert_int_equal(in.status, FB_E_FORMAT);
    fb_out_free(&out);
    fb_arena_destroy(arena);
    free(text);
}

static void test_varints(void **state)
{
    (void)state;
    const int64_t values[] = {0, 1, -1, 63, -64, 64, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    fb_out out = {0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        fb_out_svarint(&out, values[i]);
        fb_out_varint(&out, (uint64_t)values[i]);
    }
    fb_in in = fb_in_of("TEST", out.data, out.n, NULL);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_true(fb_in_svarint(&in) == values[i]);
        assert_true(fb_in_varint(&in) == (uint64_t)values[i]);
    }
    assert_int_equal(fb_in_end(&in), FB_OK);
    fb_out_free(&out);
    const uint8_t too_long[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 2};
    in = fb_in_of("TEST", too_long, 10, NULL);
    assert_true(fb_in_varint(&in) == 0);
    assert_int_equal(in.status, FB_E_FORMAT);
}

static void test_corpus(void **state)
{
    (void)state;
    const char *folder = FB_SOURCE_DIR "/tests/fuzz/corpus/format";
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[1024];
        static uint8_t bytes[65536];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t got = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        (void)LLVMFuzzerTestOneInput(bytes, got);
        /* and neighbours of it, which the fuzzer's function reads without checksums */
        for (size_t i = 0; i < got; i += 1 + got / 2048) {
            uint8_t keep = bytes[i];
            bytes[i] = (uint8_t)(keep ^ (1u << i % 8));
            (void)LLVMFuzzerTestOneInput(bytes, got);
            bytes[i] = keep;
        }
        n++;
    }
    closedir(d);
    assert_true(n >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_other_sections),
        cmocka_unit_test(test_coded),
        cmocka_unit_test(test_coder),
        cmocka_unit_test(test_text_bomb),
        cmocka_unit_test(test_varints),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
