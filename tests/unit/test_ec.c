/* ec and gptvq on a network, behind pq. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/words.h"
#include "unit/compress_net.h"

static const char *images;
static fb_data *data;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_data_close(&data);
    return unlink(images);
}

static double difference(const fb_model *m, const char *text)
{
    fb_model *q;
    net_ok(net_compress(m, text, data, 2, false, &q));
    double d = net_difference(m, q, data);
    fb_model_close(&q);
    return d;
}

/* Every form that pq gives: the network's answers come closer. */
static void answers_come_closer(void **state)
{
    const char *forms[] = {"pq:d=4,k=8",
                           "pq:d=3,k=8,scale=channel",
                           "pq:d=4,k=4,stages=2",
                           "pq:d=4,k=8,words=16",
                           "pq:d=4,k=8,stages=2,words=8",
                           "pq:d=4,k=16,books=layer",
                           "pq:d=9,k=8,along=kernel",
                           "pq:d=4,k=4,stages=3,scale=channel,words=8"};
    const char *steps[] = {"ec", "gptvq", "gptvq:rounds=1 + ec:sweeps=3"};
    fb_model *m = net_build(false);
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        double before = difference(m, forms[i]);
        for (size_t k = 0; k < 3; k++) {
            char text[160];
            (void)snprintf(text, sizeof text, "%s + %s", forms[i], steps[k]);
            double after = difference(m, text);
            if (!(after < before))
                print_error("%s: %g, without %g\n", text, after, before);
            assert_true(after < before);
        }
    }
    fb_model_close(&m);
}

static void assert_same(const fb_model *a, const fb_model *b)
{
    for (size_t i = 0; i < a->n_tensors; i++) {
        const fb_tensor *x = &a->tensors[i], *y = &b->tensors[i];
        assert_int_equal(x->data_bytes, y->data_bytes);
        if (x->data_bytes)
            assert_memory_equal(x->data, y->data, x->data_bytes);
        if (x->enc.kind != FB_ENC_PRODUCT)
            continue;
        size_t n = (size_t)x->enc.n_words * x->enc.sub;
        assert_memory_equal(x->enc.word, y->enc.word, n * sizeof(float));
        assert_memory_equal(x->enc.scale, y->enc.scale, x->enc.n_scales * sizeof(float));
    }
}

static void same_bytes_for_any_threads(void **state)
{
    const char *text = "pq:d=4,k=8,stages=2,scale=channel + gptvq + ec";
    fb_model *m = net_build(false), *a, *b;
    (void)state;
    net_ok(net_compress(m, text, data, 1, false, &a));
    net_ok(net_compress(m, text, data, 3, false, &b));
    assert_same(a, b);
    fb_model_close(&a);
    fb_model_close(&b);
    fb_model_close(&m);
}

static void sizes_are_known_before(void **state)
{
    const char *text = "pq:d=4,k=8 + ec";
    fb_model *m = net_build(false), *a, *b;
    uint64_t x, y;
    (void)state;
    net_ok(net_compress(m, text, NULL, 1, true, &a));
    net_ok(net_compress(m, text, data, 1, false, &b));
    net_ok(fb_model_file_bytes(a, &x));
    net_ok(fb_model_file_bytes(b, &y));
    assert_true(x == y);
    fb_model_close(&a);
    fb_model_close(&b);
    assert_int_equal(net_compress(m, "ec", data, 1, false, &a), FB_E_ARG);
    assert_int_equal(net_compress(m, "pq:d=4,k=8 + ec:include=nothing", data, 1, false, &a),
                     FB_E_ARG);
    fb_model_close(&m);
}

/* Only the layers that are named move. */
static void include_and_exclude(void **state)
{
    fb_model *m = net_build(false), *a, *b;
    (void)state;
    net_ok(net_compress(m, "pq:d=4,k=8", data, 1, false, &a));
    net_ok(net_compress(m, "pq:d=4,k=8 + ec:exclude=conv3", data, 1, false, &b));
    assert_int_equal(net_encoding(a, "conv3.weight")->kind, FB_ENC_PRODUCT);
    assert_int_equal(net_encoding(a, "conv0.weight")->kind, FB_ENC_PRODUCT);
    const fb_tensor *x = &a->tensors[net_tensor(a, "conv3.weight")];
    const fb_tensor *y = &b->tensors[net_tensor(b, "conv3.weight")];
    assert_memory_equal(x->data, y->data, x->data_bytes);
    x = &a->tensors[net_tensor(a, "conv0.weight")];
    y = &b->tensors[net_tensor(b, "conv0.weight")];
    assert_memory_not_equal(x->enc.word, y->enc.word, 12 * sizeof(float));
    fb_model_close(&a);
    fb_model_close(&b);
    fb_model_close(&m);
}

/* Rounding words keeps within half a unit, and is done after once. */
static void words_as_stored(void **state)
{
    fb_model *m = net_build(false), *q;
    fb_words w, again;
    (void)state;
    net_ok(net_compress(m, "pq:d=4,k=8,words=8,stages=2,scale=channel", data, 1, false, &q));
    int32_t t = net_tensor(q, "conv3.weight");
    net_ok(fb_words_open(&q->tensors[t], &w));
    size_t n = w.n_stages * w.n_books * w.n_words * w.d;
    float *before = calloc(w.ct * w.inner, sizeof *before);
    float *after = calloc(w.ct * w.inner, sizeof *after);
    assert_true(before && after);
    net_ok(fb_tensor_decode(&q->tensors[t], before));
    fb_words_decode(&w, after);
    for (size_t i = 0; i < w.ct * w.inner; i++)
        assert_true(fabs((double)before[i] - (double)after[i]) < 1e-6);
    for (size_t i = 0; i < n; i++)
        w.word[i] *= 1.01 + 0.01 * (double)net_random();
    fb_words_round(&w, 8);
    fb_words_decode(&w, before);
    net_ok(fb_words_store(&w, q, t));
    net_ok(fb_tensor_decode(&q->tensors[t], after));
    for (size_t i = 0; i < w.ct * w.inner; i++)
        assert_true(fabs((double)before[i] - (double)after[i]) < 1e-6);
    net_ok(fb_words_open(&q->tensors[t], &again));
    assert_memory_equal(w.code, again.code, w.ct * w.n_blocks * w.n_stages);
    fb_words_free(&w);
    fb_words_free(&again);
    free(before);
    free(after);
    fb_model_close(&q);
    assert_int_equal(fb_words_open(&m->tensors[net_tensor(m, "conv3.weight")], &w),
                     FB_E_UNSUPPORTED);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_closer),    cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(sizes_are_known_before), cmocka_unit_test(include_and_exclude),
        cmocka_unit_test(words_as_stored),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
