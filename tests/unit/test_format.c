/* The .fewbit file where all is well, where memory or disk end, the golden files of every format
 * version, and the worked example of docs/FORMAT.md. Damage is test_format_damage.c's. */
#include "unit/sample_forms.h"
#include "unit/sample_levels.h"
#include "unit/sample_product.h"

#include "base/status.h"
#include "format/format.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/fewbit-test-format-XXXXXX";
static char path[128], other[128];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof path, "%s/a.fewbit", folder);
    (void)snprintf(other, sizeof other, "%s/b.fewbit", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(other);
    return rmdir(folder); /* fails when a temporary was left behind */
}

static fb_model *must(fb_model *m)
{
    if (!m)
        fail_msg("sample: %s", fb_error());
    return m;
}

static void ok(fb_status s)
{
    if (s != FB_OK)
        fail_msg("%s", fb_error());
}

static void same(const fb_model *a, const fb_model *b)
{
    const char *what;
    if (!sample_same(a, b, &what))
        fail_msg("the models differ in %s", what);
}

static void round_trip(fb_model *m, bool large)
{
    fb_model *back;
    uint64_t predicted;
    struct stat st;
    fb_out memory;
    ok(fb_model_save(m, path));
    ok(fb_model_file_bytes(m, &predicted));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(predicted, st.st_size);
    ok(fb_model_open(path, &back));
    ok(fb_model_validate(back));
    same(m, back);
    assert_int_equal(back->map != NULL, large); /* only large payloads keep the file mapped */
    for (size_t i = 0; i < back->n_tensors; i++) {
        const fb_tensor *t = &back->tensors[i];
        const char *p = t->data, *map = back->map;
        bool in_map = map && p >= map && p < map + back->map_bytes;
        assert_int_equal(in_map, t->is_const && t->data_bytes >= FB_FORMAT_LARGE);
    }
    /* what was read is written to the same bytes, to a file and to memory */
    ok(fb_model_save(back, other));
    ok(fb_format_write(back, 0, &memory));
    assert_int_equal(memory.n, predicted);
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(i ? path : other, "rb");
        char *bytes = malloc(memory.n + 1);
        assert_non_null(f);
        assert_int_equal(fread(bytes, 1, memory.n + 1, f), memory.n);
        assert_memory_equal(bytes, memory.data, memory.n);
        free(bytes);
        fclose(f);
    }
    fb_out_free(&memory);
    fb_model_close(&back);
    fb_model_close(&m);
}

static void test_round_trip(void **state)
{
    (void)state;
    round_trip(must(sample_tiny()), false);
    round_trip(must(sample_net(10)), false);
    round_trip(must(sample_net(300)), true);
    round_trip(must(sample_peaked()), false);
    round_trip(must(sample_levels()), false);
    round_trip(must(sample_level_activations()), false);
}

/* A network that says as little as possible: the identity, without a name anywhere. */
static void test_smallest(void **state)
{
    (void)state;
    fb_model *m;
    int32_t x;
    ok(fb_model_create(&m));
    ok(fb_model_add_tensor(m, "", FB_U8, 0, NULL, &x));
    ok(fb_model_set_io(m, &x, 1, &x, 1));
    round_trip(m, false);
}

static void test_uncoded_is_the_same_model(void **state)
{
    (void)state;
    fb_model *m = must(sample_net(300)), *back;
    fb_out raw, coded;
    bool in_place;
    ok(fb_format_write(m, FB_FORMAT_NO_CODING, &raw));
    ok(fb_format_write(m, 0, &coded));
    assert_true(coded.n < raw.n);
    ok(fb_model_open_memory(raw.data, raw.n, &back));
    same(m, back);
    fb_model_close(&back);
    ok(fb_format_read(coded.data, coded.n, 0, &back, &in_place));
    assert_true(in_place);
    same(m, back);
    fb_model_close(&back);
    assert_int_equal(fb_model_open_memory(raw.data + 8, raw.n - 8, &back), FB_E_ARG);
    assert_null(back);
    fb_out_free(&raw);
    fb_out_free(&coded);
    fb_model_close(&m);
}

/* The sample that is there to fill section CODE does. */
static void test_peaked_weights_are_coded(void **state)
{
    (void)state;
    fb_model *m = must(sample_peaked());
    fb_out out;
    ok(fb_format_write(m, 0, &out));
    bool found = false;
    for (size_t at = FB_FORMAT_HEADER; at < FB_FORMAT_HEADER + 12 * FB_FORMAT_ENTRY; at += 24)
        found |= memcmp(out.data + at, "CODE", 4) == 0;
    assert_true(found);
    fb_out_free(&out);
    fb_model_close(&m);
}

/* What a network of 30 layers needs beside its numbers: names, graph, encodings without scales. */
static void test_overhead(void **state)
{
    (void)state;
    fb_model *m;
    int32_t x;
    ok(fb_model_create(&m));
    ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 16, 16, 8), &x));
    int32_t first = x;
    for (int i = 0; i < 30; i++) {
        char name[64];
        int32_t w, b;
        float scale = 0.5f, bias[8] = {0};
        int8_t q[576];
        for (int k = 0; k < 576; k++)
            q[k] = (int8_t)((unsigned)(k * 7 + i) * 2654435761u >> 24); /* incompressible */
        (void)snprintf(name, sizeof name, "layer%d.%d.conv.weight", i / 4, i % 4);
        fb_encoding e = {.kind = FB_ENC_AFFINE,
                         .bits = 8,
                         .is_signed = true,
                         .axis = -1,
                         .n_scales = 1,
                         .scale = &scale};
        ok(fb_model_add_const(m, name, FB_F32, 4, sample_dims(8, 3, 3, 8), NULL, &w));
        ok(fb_model_set_payload(m, w, &e, q, sizeof q));
        (void)snprintf(name, sizeof name, "layer%d.%d.conv.bias", i / 4, i % 4);
        ok(fb_model_add_const(m, name, FB_F32, 1, sample_dims(8, 0, 0, 0), bias, &b));
        (void)snprintf(name, sizeof name, "/layer%d/layer%d.%d/conv/Conv", i / 4, i / 4, i % 4);
        fb_attr attr = sample_conv(3, 1, 1);
        ok(sample_node(m, FB_OP_CONV, name, 3, (int32_t[]){x, w, b}, &attr, FB_F32, &x));
        ok(fb_model_set_activation(m, x, 8, false, 0.01f * (float)(i + 1), i));
    }
    ok(fb_model_set_io(m, &first, 1, &x, 1));
    uint64_t bytes;
    ok(fb_model_file_bytes(m, &bytes));
    assert_true(bytes < 30 * 576 + 1536);
    fb_model_close(&m);
}

/* ---- what ends too early --------------------------------------------------------------------- */

static void test_open_without_memory(void **state)
{
    (void)state;
    fb_model *m = must(sample_net(300)), *back;
    ok(fb_model_save(m, path));
    size_t n = 1;
    for (;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_model_open(path, &back);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
        assert_null(back);
    }
    assert_true(n > 20);
    same(m, back);
    fb_model_close(&back);
    fb_model_close(&m);
}

static void test_save_without_memory(void **state)
{
    (void)state;
    fb_model *m = must(sample_net(300)), *old = must(sample_tiny()), *back;
    ok(fb_model_save(old, path));
    size_t n = 1;
    for (;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_model_save(m, path);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
        ok(fb_model_open(path, &back)); /* the old file is still there */
        same(old, back);
        fb_model_close(&back);
    }
    assert_true(n > 20);
    ok(fb_model_open(path, &back));
    same(m, back);
    fb_model_close(&back);
    fb_model_close(&old);
    fb_model_close(&m);
}

/* A disk that is full after 100 bytes, in a child since the limit cannot be lifted again. */
static void test_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    fb_model *m = must(sample_net(300)), *old = must(sample_tiny()), *back;
    ok(fb_model_save(old, path));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {100, 100};
        (void)signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(2);
        bool refused = fb_model_save(m, path) == FB_E_IO && strstr(fb_error(), path) != NULL;
        _exit(refused ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    ok(fb_model_open(path, &back));
    same(old, back);
    fb_model_close(&back);
    assert_int_equal(fb_model_save(m, "/dev/full"), FB_E_IO);
    assert_int_equal(fb_model_save(m, "/tmp/no/such/folder/x"), FB_E_IO);
    fb_model_close(&old);
    fb_model_close(&m);
}

static void test_broken_model_is_not_written(void **state)
{
    (void)state;
    fb_model *m = must(sample_tiny());
    uint64_t bytes;
    (void)unlink(path);
    m->tensors[0].dims[1] = 4;
    assert_int_equal(fb_model_save(m, path), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "cannot be written: dense 'fc'"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(fb_model_file_bytes(m, &bytes), FB_E_FORMAT);
    fb_model_close(&m);
}

/* ---- the treaty ------------------------------------------------------------------------------ */

/* From the first release on, golden files are never rewritten. For a new format version, add files:
 * FEWBIT_WRITE_GOLDEN=folder test_format writes what this version would. */
static void golden(const char *name, fb_model *m)
{
    char file[512];
    const char *to = getenv("FEWBIT_WRITE_GOLDEN");
    fb_model *back;
    if (to) {
        (void)snprintf(file, sizeof file, "%s/%s", to, name);
        ok(fb_model_save(m, file));
    }
    (void)snprintf(file, sizeof file, "%s/tests/golden/%s", FB_SOURCE_DIR, name);
    ok(fb_model_open(file, &back));
    same(m, back);
    fb_model_close(&back);
    fb_model_close(&m);
}

static void test_golden_files(void **state)
{
    (void)state;
    golden("v1_entropy.fewbit", must(sample_peaked()));
    golden("v1_tiny.fewbit", must(sample_tiny()));
    golden("v1_net.fewbit", must(sample_net(10)));
    golden("v1_sparse.fewbit", must(sample_sparse()));
    golden("v1_large.fewbit", must(sample_net(256)));
    golden("v1_levels.fewbit", must(sample_level_activations()));
    golden("v1_product.fewbit", must(sample_product()));
    golden("v1_forms.fewbit", must(sample_forms()));
}

/* Lines "00000010  xx xx ..." of the document, joined. */
static size_t hex_of_document(uint8_t *bytes, size_t cap)
{
    FILE *f = fopen(FB_SOURCE_DIR "/docs/FORMAT.md", "r");
    char line[256];
    size_t n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned at, byte;
        int used;
        if (sscanf(line, "%8x  %n", &at, &used) != 1 || used != 10 || at != n)
            continue;
        for (const char *p = line + used; sscanf(p, "%2x%n", &byte, &used) == 1; p += used) {
            assert_true(n < cap);
            bytes[n++] = (uint8_t)byte;
        }
    }
    fclose(f);
    return n;
}

static void test_example_of_the_document(void **state)
{
    (void)state;
    fb_model *m = must(sample_tiny());
    fb_out out;
    uint8_t *bytes = fb_alloc(4096);
    ok(fb_format_write(m, FB_FORMAT_NO_CODING, &out));
    size_t n = hex_of_document(bytes, 4096);
    assert_int_equal(n, out.n);
    assert_memory_equal(bytes, out.data, n);
    fb_model *back;
    ok(fb_model_open_memory(bytes, n, &back));
    same(m, back);
    fb_model_close(&back);
    fb_free(bytes);
    fb_out_free(&out);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_uncoded_is_the_same_model),
        cmocka_unit_test(test_peaked_weights_are_coded),
        cmocka_unit_test(test_overhead),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_save_without_memory),
        cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_broken_model_is_not_written),
        cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_example_of_the_document),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
