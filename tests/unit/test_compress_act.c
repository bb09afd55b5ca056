/* act<b> and int<b>:abits: which activations get which codes, and what is found by trying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static void bits_of_the_edges(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *q;
    net_ok(net_compress(m, "act4", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "image.codes")->bits, 8);
    assert_int_equal(net_encoding(q, "flatten_out")->bits, 8); /* fc reads it */
    assert_int_equal(net_encoding(q, "mean_out")->bits, 8);    /* shares with it */
    assert_int_equal(net_encoding(q, "conv0_out")->bits, 4);
    assert_int_equal(net_encoding(q, "conv0_out")->zero[0], 0);
    assert_int_equal(net_encoding(q, "conv3_out")->bits, 4);
    assert_int_equal(net_encoding(q, "conv0.weight")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "fc_out")->kind, FB_ENC_PLAIN);
    fb_model_close(&q);
    net_ok(net_compress(m, "act4:first=0,last=6,range=minmax", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "image.codes")->bits, 4);
    assert_int_equal(net_encoding(q, "flatten_out")->bits, 6);
    fb_model_close(&q);
    net_ok(net_compress(m, "int4:abits=5,last=2,bias=keep", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "image.codes")->bits, 8);
    assert_int_equal(net_encoding(q, "flatten_out")->bits, 5);
    assert_int_equal(net_encoding(q, "add_out")->bits, 5);
    assert_int_equal(net_encoding(q, "conv0.weight")->bits, 4);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* One step for all, a power of two; values that can be negative have their zero in the middle. */
static void unit_is_one_step(void **state)
{
    (void)state;
    const char *names[] = {"conv0_out", "dw_out", "pw_out", "add_out", "conv3_out"};
    fb_model *m = net_build(false), *q;
    int e;
    net_ok(net_compress(m, "act6:unit,last=0", data, 1, false, &q));
    float step = net_encoding(q, "conv0_out")->scale[0];
    assert_true(frexpf(step, &e) == 0.5f);
    for (int i = 0; i < 5; i++) {
        const fb_encoding *enc = net_encoding(q, names[i]);
        assert_true(enc->bits == 6 && enc->scale[0] == step);
        assert_int_equal(enc->zero[0], i == 2 ? 32 : 0);
    }
    assert_true(net_difference(m, q, data) < 0.15);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void even_levels_reach_the_ends(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q, *r;
    net_ok(net_compress(m, "act5:grid=even,levels=21", data, 1, false, &q));
    net_ok(net_compress(m, "act8:range=minmax", data, 1, false, &r));
    const fb_encoding *a = net_encoding(q, "conv0_out"), *b = net_encoding(r, "conv0_out");
    assert_int_equal(a->bits, 5);
    assert_true(fabsf(a->scale[0] * 20 - b->scale[0] * 255) < 1e-4f * b->scale[0] * 255);
    fb_model_close(&q);
    fb_model_close(&r);
    fb_model_close(&m);
}

/* Weights and activations may be encoded by different steps, in either order but not twice. */
static void steps_compose(void **state)
{
    (void)state;
    fb_model *m = net_build(false), *q, *r;
    net_ok(net_compress(m, "act5 + int4:bias=keep", data, 1, false, &q));
    net_ok(net_compress(m, "int4:abits=5,bias=keep", data, 1, false, &r));
    assert_int_equal(net_encoding(q, "conv0.weight")->bits, 4);
    assert_int_equal(net_encoding(q, "conv0_out")->bits, 5);
    assert_true(net_difference(q, r, data) < 1e-6);
    fb_model_close(&q);
    fb_model_close(&r);
    net_ok(net_compress(m, "w4 + act5", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "dw.weight")->bits, 4);
    assert_int_equal(net_encoding(q, "dw_out")->bits, 5);
    fb_model_close(&q);
    net_ok(net_compress(m, "act4:include=pw,last=0 + act6", data, 1, false, &q));
    assert_int_equal(net_encoding(q, "dw_out")->bits, 4);
    assert_int_equal(net_encoding(q, "conv0_out")->bits, 6);
    fb_model_close(&q);
    const struct {
        const char *method, *says;
    } bad[] = {
        {"int8 + act4", "the activations are encoded already; write act4 before"},
        {"act4 + int4:abits=4", "abits=4 has nothing to encode"},
        {"int8 + int4", "weights and activations of all layers are encoded already"},
        {"act4:levels=9", "levels=9 is for grid=even alone"},
        {"act4:even,levels=8", "levels=8 do not take 4 bits; more than 8 and at most 16 do"},
        {"act4:even,levels=9,bits=auto", "bits=auto chooses the levels"},
        {"act9:kmeans", "grid=kmeans takes at most 8 bits, not 9"},
        {"act6:kmeans,level-bits=5", "level-bits=5 cannot tell the levels of 6 bits apart"},
        {"act4:bound=auto", "bound= is for grid=kmeans alone"},
        {"act1", "grid=affine takes 2 to 16 bits"},
        {"act4:include=nothing", "no conv or dense layer"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_not_equal(net_compress(m, bad[i].method, data, 1, false, &q), FB_OK);
        if (!strstr(fb_error(), bad[i].says))
            print_error("%s: %s\n", bad[i].method, fb_error());
        assert_non_null(strstr(fb_error(), bad[i].says));
        assert_null(q);
    }
    fb_model_close(&m);
}

static void more_bits_are_better(void **state)
{
    (void)state;
    const char *forms[] = {"act%d:last=0", "act%d:even,last=0", "act%d:unit,last=0"};
    fb_model *m = net_build(false), *q;
    for (int f = 0; f < 3; f++) {
        double before = INFINITY;
        for (int bits = 2; bits <= 10; bits += 2) {
            char method[64];
            (void)snprintf(method, sizeof method, forms[f], bits);
            net_ok(net_compress(m, method, data, 2, false, &q));
            double d = net_difference(m, q, data);
            assert_true(d < before);
            before = d;
            fb_model_close(&q);
        }
        assert_true(before < 0.03);
    }
    fb_model_close(&m);
}

static double mean_bits(const fb_model *q)
{
    double bits = 0, elems = 0;
    for (size_t t = 0; t < q->n_tensors; t++) {
        int64_t n;
        if (q->tensors[t].is_const || q->tensors[t].enc.kind == FB_ENC_PLAIN)
            continue;
        assert_true(fb_tensor_elems(&q->tensors[t], 1, &n));
        bits += (double)n * q->tensors[t].enc.bits;
        elems += (double)n;
    }
    return bits / elems;
}

/* More points to lose, fewer bits; none to lose from too few bits is told. */
static void bits_are_found(void **state)
{
    (void)state;
    fb_model *m = net_build(true), *q;
    double before = 17;
    for (int drop = 0; drop <= 50; drop += 25) {
        char method[64];
        (void)snprintf(method, sizeof method, "act8:even,bits=auto,drop=%d,last=0", drop);
        net_ok(net_compress(m, method, data, 1, false, &q));
        assert_true(mean_bits(q) <= before && mean_bits(q) < 8);
        before = mean_bits(q);
        assert_int_equal(net_encoding(q, "image.codes")->bits, 8);
        fb_model_close(&q);
    }
    assert_int_equal(
        net_compress(m, "act1:unit,bits=auto,drop=0,first=0,last=0", data, 1, false, &q),
        FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "more than drop=0; begin with more bits"));
    assert_int_equal(net_compress(m, "act8:bits=auto", NULL, 1, true, &q), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "a dry run needs bits=same"));
    fb_model_close(&m);
}

static void file_bytes(const fb_model *m, void **bytes, size_t *n)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/fewbit_act_%d.fewbit", (int)getpid());
    net_ok(fb_model_save(m, path));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *bytes = malloc(1 << 20);
    *n = fread(*bytes, 1, 1 << 20, f);
    (void)fclose(f);
    (void)unlink(path);
}

static void same_bytes_for_any_threads_same_size_when_dry(void **state)
{
    (void)state;
    const char *methods[] = {"act4",         "act5:unit", "act3:even",
                             "int4:abits=3", "act6 + w4", "act6:bits=auto,drop=10,images=6"};
    fb_model *m = net_build(true), *q;
    for (int i = 0; i < 6; i++) {
        void *bytes[2];
        size_t n[2];
        for (uint32_t k = 0; k < 2; k++) {
            net_ok(net_compress(m, methods[i], data, 1 + 2 * k, false, &q));
            file_bytes(q, &bytes[k], &n[k]);
            fb_model_close(&q);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
        if (strstr(methods[i], "auto"))
            continue;
        uint64_t dry;
        net_ok(net_compress(m, methods[i], NULL, 1, true, &q));
        net_ok(fb_model_file_bytes(q, &dry));
        assert_int_equal(dry, n[0]);
        fb_model_close(&q);
    }
    fb_model_close(&m);
}

/* --- lapq ------------------------------------------------------------------------------------ */

/* Mean divergence of two networks' answers, softmax of the outputs taken. */
static double divergence(const fb_model *a, const fb_model *b)
{
    uint32_t n;
    double total = 0;
    float *x = net_outputs(a, data, &n), *y = net_outputs(b, data, &n);
    for (uint32_t i = 0; i < NET_IMAGES; i++) {
        double sx = 0, sy = 0;
        for (uint32_t c = i * n; c < (i + 1) * n; c++) {
            sx += exp((double)x[c]);
            sy += exp((double)y[c]);
        }
        for (uint32_t c = i * n; c < (i + 1) * n; c++) {
            double p = (double)x[c] - log(sx), q = (double)y[c] - log(sy);
            total += exp(p) * (p - q) / NET_IMAGES;
        }
    }
    free(x);
    free(y);
    return total;
}

/* The images that judge are all that there are: the loss can only fall, and does. */
static void lapq_lowers_the_loss(void **state)
{
    (void)state;
    const char *methods[] = {"act3:range=minmax,last=0", "int3:abits=3,bias=keep",
                             "w3 + act3:even,last=0"};
    fb_model *m = net_build(false), *q, *r, *s;
    for (int i = 0; i < 3; i++) {
        char text[96];
        (void)snprintf(text, sizeof text, "%s + lapq:trials=60", methods[i]);
        net_ok(net_compress(m, methods[i], data, 1, false, &q));
        net_ok(net_compress(m, text, data, 1, false, &r));
        net_ok(net_compress(m, text, data, 3, false, &s));
        assert_true(divergence(m, r) < 0.9 * divergence(m, q));
        assert_true(net_difference(r, s, data) == 0);
        const fb_encoding *a = net_encoding(r, "conv0_out"), *b = net_encoding(r, "pool_out");
        assert_true(a->scale[0] == b->scale[0]); /* still shared */
        fb_model_close(&q);
        fb_model_close(&r);
        fb_model_close(&s);
    }
    net_ok(net_compress(m, "int3 + lapq:trials=1", data, 1, false, &q));
    net_ok(net_compress(m, "int3", data, 1, false, &r));
    assert_true(net_difference(q, r, data) == 0);
    fb_model_close(&q);
    fb_model_close(&r);
    assert_int_equal(net_compress(m, "lapq", data, 1, false, &q), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "nothing has a step size yet"));
    assert_int_equal(net_compress(m, "int8 + lapq", NULL, 1, true, &q), FB_E_UNSUPPORTED);
    fb_model_close(&m);
}

/* --- the arithmetic of paper E's Table VII --------------------------------------------------- */

static int32_t vgg_conv(fb_model *m, int32_t x, int64_t oc, int at)
{
    char name[32];
    (void)snprintf(name, sizeof name, "conv%d", at);
    return net_conv(m, name, x, oc, 3, 1, (fb_act){1, 0, INFINITY});
}

/* The 13 convolutions of VGG-16 (narrow: a sixteenth of the channels) and a classifier. */
static fb_model *vgg_build(void)
{
    const int per_stage[5] = {2, 2, 3, 3, 3};
    const int64_t channels[5] = {4, 8, 16, 32, 32};
    fb_model *m;
    int32_t x, y;
    net_state = 77;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 224, 224, 3), &x));
    int32_t t = x;
    for (int s = 0, at = 0; s < 5; s++) {
        char name[32];
        for (int k = 0; k < per_stage[s]; k++)
            t = vgg_conv(m, t, channels[s], at++);
        (void)snprintf(name, sizeof name, "pool%d", s);
        t = net_max_pool(m, name, t);
    }
    fb_attr attr = {.shape = {.rank = 2, .dims = {-1, 49 * 32}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &t, &attr, FB_F32, &y));
    int32_t w = net_weight(m, "fc.weight", 10, 0, 49 * 32, 1), b = net_bias(m, "fc.bias", 10), z;
    attr = (fb_attr){0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){y, w, b}, &attr, FB_F32, &z));
    net_ok(fb_model_set_io(m, &x, 1, &z, 1));
    return m;
}

/* Bytes of the convolutions' outputs for one image of a network 16 times as wide. */
static double conv_bytes(const fb_model *m, const char *method)
{
    fb_model *q;
    double bits = 0;
    net_ok(net_compress(m, method, NULL, 1, true, &q));
    for (int i = 0; i < 13; i++) {
        char name[32];
        int64_t n;
        (void)snprintf(name, sizeof name, "conv%d_out", i);
        const fb_tensor *t = &q->tensors[net_tensor(q, name)];
        assert_true(fb_tensor_elems(t, 1, &n));
        bits += 16.0 * (double)n * t->enc.bits;
    }
    fb_model_close(&q);
    return bits / 8;
}

static void table_vii_is_bit_arithmetic(void **state)
{
    (void)state;
    const struct {
        int bits;
        double saved, of_ten;
    } rows[] = {{11, 65.6, 110.0}, {10, 68.8, 100}, {5, 84.4, 50.0}, {3, 90.6, 30}};
    fb_model *m = vgg_build();
    const double floats = 13547520 * 4.0; /* 13.55 M activations */
    for (int i = 0; i < 4; i++) {
        char method[32];
        (void)snprintf(method, sizeof method, "act%d:unit,last=0", rows[i].bits);
        double bytes = conv_bytes(m, method);
        assert_true(bytes == floats / 32 * rows[i].bits);
        assert_true(fabs(100 * (1 - bytes / floats) - rows[i].saved) < 0.051);
        assert_true(fabs(100 * bytes / (floats / 32 * 10) - rows[i].of_ten) < 0.21);
    }
    /* 16.85 MB to 8.42 MB per image, within the 0.5% by which the paper counts fewer */
    assert_true(fabs(conv_bytes(m, "act10:unit,last=0") / 16.85e6 - 1) < 0.006);
    assert_true(fabs(conv_bytes(m, "act5:even,last=0") / 8.42e6 - 1) < 0.006);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_the_edges),
        cmocka_unit_test(unit_is_one_step),
        cmocka_unit_test(even_levels_reach_the_ends),
        cmocka_unit_test(steps_compose),
        cmocka_unit_test(more_bits_are_better),
        cmocka_unit_test(bits_are_found),
        cmocka_unit_test(same_bytes_for_any_threads_same_size_when_dry),
        cmocka_unit_test(lapq_lowers_the_loss),
        cmocka_unit_test(table_vii_is_bit_arithmetic),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
