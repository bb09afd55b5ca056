/* Sparse constants: nothing is lost, sizes are those of the document, damage is refused, and
 * whatever reads weights reads them as if they were dense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "unit/compress_net.h"

enum { ROWS = 7, COLS = 93, N = ROWS * COLS };

/* A model with nothing but one constant [7][93]. */
static fb_model *one_tensor(const fb_encoding *enc, const void *data, size_t bytes)
{
    fb_model *m;
    int32_t w;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_const(m, "w", FB_F32, 2, sample_dims(ROWS, COLS, 0, 0), NULL, &w));
    net_ok(fb_model_set_payload(m, w, enc, data, bytes));
    net_ok(fb_model_set_io(m, NULL, 0, &w, 1));
    return m;
}

/* Codes of an encoding, of which about every `one_of`th is not the zero's. */
static fb_model *random_tensor(unsigned bits, bool zeros, int one_of)
{
    static float scale[ROWS];
    static int32_t zero[ROWS];
    fb_encoding e = {.kind = bits == 32 ? FB_ENC_PLAIN : FB_ENC_AFFINE, .axis = -1};
    size_t bytes = N * 4;
    uint8_t *data;
    if (bits < 32) {
        e.bits = (uint8_t)bits;
        e.is_signed = !zeros;
        e.axis = 0;
        e.n_scales = ROWS;
        e.scale = scale;
        e.zero = zeros ? zero : NULL;
        assert_true(fb_packed_bytes(N, bits, &bytes));
    }
    for (int r = 0; r < ROWS; r++) {
        scale[r] = 0.5f + (float)r;
        zero[r] = r % (1 << (bits < 8 ? bits : 3));
    }
    data = calloc(bytes, 1);
    for (size_t i = 0; i < N; i++) {
        bool keep = one_of > 0 && fabsf(net_random()) * (float)one_of < 1;
        int32_t z = zeros ? zero[i / COLS] : 0;
        float v = keep ? net_random() : 0;
        if (bits == 32)
            ((float *)(void *)data)[i] = v;
        else
            fb_packed_put(data, i, bits, keep ? (int32_t)(v * 40000) : z);
    }
    fb_model *m = one_tensor(&e, data, bytes);
    free(data);
    return m;
}

static void test_nothing_is_lost(void **state)
{
    (void)state;
    const unsigned widths[] = {1, 3, 4, 8, 11, 16, 32};
    const int densities[] = {0, 1, 2, 10, 100, 400};
    net_state = 7;
    for (size_t i = 0; i < 7 * 2 * 6 * 3; i++) {
        unsigned bits = widths[i % 7];
        fb_model *m = random_tensor(bits, i / 7 % 2 && bits < 32, densities[i / 14 % 6]), *dense;
        fb_sparse form = (fb_sparse)(1 + i / 84);
        const char *what = "";
        float before[N], after[N];
        net_ok(fb_model_clone(m, true, &dense));
        net_ok(fb_tensor_decode(&m->tensors[0], before));
        net_ok(fb_sparse_store(m, 0, form));
        net_ok(fb_model_validate(m));
        assert_int_equal(m->tensors[0].enc.sparse, form);
        net_ok(fb_tensor_decode(&m->tensors[0], after));
        assert_memory_equal(before, after, sizeof before);
        net_ok(fb_model_densify(m));
        if (!sample_same(m, dense, &what))
            fail_msg("%u bits: %s", bits, what);
        fb_model_close(&m);
        fb_model_close(&dense);
    }
}

/* 651 elements of 8 bits, 3 of them kept, the zeros between them 0, 20 and 299, and 328 behind. */
static void test_sizes(void **state)
{
    (void)state;
    float scale = 1;
    const fb_encoding e = {.kind = FB_ENC_AFFINE,
                           .bits = 8,
                           .is_signed = true,
                           .axis = -1,
                           .n_scales = 1,
                           .scale = &scale};
    int8_t q[N] = {[0] = 5, [21] = -7, [321] = 1};
    size_t bytes, zeros;
    fb_model *m = one_tensor(&e, q, sizeof q);
    assert_int_equal(fb_sparse_choose(&m->tensors[0], &bytes, &zeros), FB_SPARSE_RUNS8);
    assert_int_equal(bytes, 2 * 5); /* two entries more, one in the gap of 299, one behind */
    assert_int_equal(zeros, N - 3);
    const struct {
        fb_sparse form;
        size_t kept, bytes;
        const char *text;
    } want[] = {{FB_SPARSE_BITMAP, 3, 82 + 3, "affine8 sparse 99%"},
                {FB_SPARSE_RUNS8, 5, 10, "affine8 sparse 99%"},
                {FB_SPARSE_RUNS4, 3 + 1 + 18 + 20, 21 + 42, "affine8 sparse 93%"},
                {FB_DENSE, 0, N, "affine8"}};
    for (size_t i = 0; i < 4; i++) {
        fb_tensor_info info;
        net_ok(fb_sparse_store(m, 0, want[i].form));
        assert_int_equal(m->tensors[0].enc.n_kept, want[i].kept);
        assert_int_equal(m->tensors[0].data_bytes, want[i].bytes);
        net_ok(fb_model_tensor(m, 0, &info));
        assert_string_equal(info.encoding, want[i].text);
    }
    fb_model_close(&m);
}

static void refused(fb_model *m, const char *says)
{
    assert_int_equal(fb_model_validate(m), FB_E_FORMAT);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
    fb_model_close(&m);
}

static fb_model *stored(unsigned bits, fb_sparse form)
{
    net_state = 9;
    fb_model *m = random_tensor(bits, false, 4);
    net_ok(fb_sparse_store(m, 0, form));
    return m;
}

static uint8_t *payload(fb_model *m)
{
    return (uint8_t *)(uintptr_t)m->tensors[0].data;
}

static void test_damage(void **state)
{
    (void)state;
    fb_model *m = stored(8, FB_SPARSE_BITMAP);
    payload(m)[3] ^= 1;
    refused(m, "the bitmap keeps");
    m = stored(8, FB_SPARSE_RUNS8);
    payload(m)[0] = 255;
    payload(m)[1] = 255;
    payload(m)[2] = 255;
    refused(m, "lies beyond the 651 elements");
    m = stored(8, FB_SPARSE_RUNS4);
    memset(payload(m), 0, (m->tensors[0].enc.n_kept + 1) / 2);
    refused(m, "elements before the end, at most 15");
    m = stored(32, FB_SPARSE_RUNS8);
    m->tensors[0].enc.n_kept--;
    refused(m, "has a payload of");
    m = stored(8, FB_SPARSE_RUNS8);
    m->tensors[0].enc.n_kept = 1;
    refused(m, "1 entries of runs8 cannot stand for 651 elements");
    m = stored(8, FB_SPARSE_BITMAP);
    m->tensors[0].enc.n_kept = SIZE_MAX;
    refused(m, "cannot stand for");
    m = stored(8, FB_SPARSE_BITMAP);
    m->tensors[0].enc.sparse = (fb_sparse)4;
    refused(m, "sparse form 4");
}

static void test_without_memory(void **state)
{
    (void)state;
    fb_model *m = stored(8, FB_SPARSE_RUNS4);
    float out[N];
    fb_alloc_fail_from(1);
    assert_int_equal(fb_tensor_decode(&m->tensors[0], out), FB_E_MEMORY);
    assert_int_equal(fb_sparse_store(m, 0, FB_DENSE), FB_E_MEMORY);
    fb_alloc_fail_from(0);
    assert_int_equal(m->tensors[0].enc.sparse, FB_SPARSE_RUNS4);
    net_ok(fb_model_validate(m));
    fb_model_close(&m);
}

/* The same codes, dense and sparse, give the same bytes. */
static void test_runs_as_dense(void **state)
{
    (void)state;
    const char *const methods[] = {"w8", "w4", "w11", "int8", "int4"};
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    for (size_t k = 0; k < 5; k++) {
        fb_model *m = net_build(false), *dense, *sparse;
        uint32_t n;
        net_ok(net_compress(m, methods[k], data, 1, false, &dense));
        net_ok(fb_model_clone(dense, true, &sparse));
        for (size_t i = 0; i < sparse->n_nodes; i++) {
            int32_t w = fb_node_weight(sparse, &sparse->nodes[i]);
            if (w >= 0)
                net_ok(fb_sparse_store(sparse, w, (fb_sparse)(1 + i % 3)));
        }
        net_ok(fb_model_validate(sparse));
        float *a = net_outputs(dense, data, &n), *b = net_outputs(sparse, data, &n);
        assert_memory_equal(a, b, NET_IMAGES * n * sizeof *a);
        free(a);
        free(b);
        fb_model_close(&m);
        fb_model_close(&dense);
        fb_model_close(&sparse);
    }
    fb_data_close(&data);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_damage),          cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_runs_as_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
