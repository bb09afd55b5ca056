/* Data sets of arrays: IDX, CIFAR binary, npy, npz. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/array.h"
#include "test_data_files.h"

#include <math.h>
#include <zlib.h>

static const char *pair(const char *a, const char *b)
{
    static char text[1100];
    (void)snprintf(text, sizeof text, "%s,%s", in_folder(a), in_folder(b));
    return text;
}

static void write_gz(const char *name, const void *bytes, unsigned n)
{
    gzFile f = gzopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, n), n);
    assert_int_equal(gzclose(f), Z_OK);
}

/* ---- IDX ---- */

enum { IDX_N = 5, IDX_HEAD = 16 };

/* 5 images of 4x3, pixel i of image k is 10 k + i. */
static size_t make_idx(uint8_t *p)
{
    static const uint8_t head[IDX_HEAD] = {0, 0, 8, 3, 0, 0, 0, IDX_N, 0, 0, 0, 4, 0, 0, 0, 3};
    memcpy(p, head, sizeof head);
    for (int k = 0; k < IDX_N; k++) {
        for (int i = 0; i < 12; i++)
            p[IDX_HEAD + k * 12 + i] = (uint8_t)(10 * k + i);
    }
    return IDX_HEAD + IDX_N * 12;
}

static const uint8_t idx_labels[] = {0, 0, 8, 1, 0, 0, 0, IDX_N, 3, 1, 4, 1, 9};

static void check_idx(const char *spec, bool labelled)
{
    fb_data_options o = options_for("none", 4, 3, 1);
    fb_data *data = open_ok(spec, &o);
    assert_int_equal(fb_data_count(data), IDX_N);
    assert_int_equal(fb_data_labelled(data), labelled);
    assert_int_equal(fb_data_n_classes(data), labelled ? 10 : 0);
    assert_null(fb_data_name(data, 0));
    float x[IDX_N * 12];
    int32_t labels[IDX_N];
    assert_int_equal(read_all(data, IDX_N, x, labels), IDX_N);
    assert_true(x[0] == 0 && x[11] == 11 && x[4 * 12 + 5] == 45);
    assert_int_equal(labels[2], labelled ? 4 : -1);
    fb_data_close(&data);
}

static void test_idx(void **state)
{
    (void)state;
    uint8_t images[256];
    size_t n = make_idx(images);
    write_file("a-images-idx3-ubyte", images, n);
    check_idx(in_folder("a-images-idx3-ubyte"), false);
    write_file("a-labels-idx1-ubyte", idx_labels, sizeof idx_labels);
    check_idx(in_folder("a-images-idx3-ubyte"), true);
    write_gz("b-images-idx3-ubyte.gz", images, (unsigned)n);
    check_idx(in_folder("b-images-idx3-ubyte.gz"), false);
    write_gz("b-labels-idx1-ubyte.gz", idx_labels, sizeof idx_labels);
    check_idx(in_folder("b-images-idx3-ubyte.gz"), true);
    /* Plain images beside packed labels. */
    write_file("b-images-idx3-ubyte", images, n);
    check_idx(in_folder("b-images-idx3-ubyte"), true);
    write_file("lbl", idx_labels, sizeof idx_labels);
    write_file("img", images, n);
    check_idx(pair("img", "lbl"), true);
    static const int64_t y[IDX_N] = {3, 1, 4, 1, 9};
    write_npy("y.npy", "<i8", "(5,)", "False", y, sizeof y);
    check_idx(pair("img", "y.npy"), true);
}

static void test_idx_becomes_what_the_network_wants(void **state)
{
    (void)state;
    uint8_t images[256];
    write_file("img", images, make_idx(images));
    float x[IDX_N * 300];
    /* Repeated for three channels. */
    fb_data_options o = options_for("none", 4, 3, 3);
    fb_data *data = open_ok(in_folder("img"), &o);
    assert_int_equal(read_all(data, 1, x, NULL), 1);
    assert_true(x[33] == 11 && x[34] == 11 && x[35] == 11);
    fb_data_close(&data);
    /* Flat. */
    o = options_for("mnist", 1, 1, 12);
    data = open_ok(in_folder("img"), &o);
    assert_int_equal(read_all(data, 2, x, NULL), 2);
    assert_true(x[12] == (10.0f / 255.0f - 0.1307f) / 0.3081f);
    fb_data_close(&data);
    /* Resized. */
    o = options_for("none,size=8/6", 8, 6, 1);
    data = open_ok(in_folder("img"), &o);
    assert_int_equal(read_all(data, 1, x, NULL), 1);
    assert_true(x[0] == 0 && x[47] == 11);
    fb_data_close(&data);
    /* The network's size already: a resize in the preprocessing has been done. */
    o = options_for("none,resize=5,size=4/3", 4, 3, 1);
    data = open_ok(in_folder("img"), &o);
    assert_int_equal(read_all(data, 1, x, NULL), 1);
    assert_true(x[5] == 5);
    fb_data_close(&data);
    o = options_for("none", 5, 3, 1);
    open_fails(in_folder("img"), &o, FB_E_ARG,
               "img': an image of 4x3 (height x width) does not fit");
    /* Colour: [n][h][w][c]. */
    static const uint8_t colour[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0,
                                     0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6};
    write_file("rgb", colour, sizeof colour);
    o = options_for("none,order=bgr", 1, 2, 3);
    data = open_ok(in_folder("rgb"), &o);
    assert_int_equal(read_all(data, 1, x, NULL), 1);
    assert_true(x[0] == 3 && x[2] == 1 && x[3] == 6);
    fb_data_close(&data);
}

static void idx_fails(size_t at, uint8_t value, size_t n, fb_status status, const char *part)
{
    uint8_t images[256];
    size_t whole = make_idx(images);
    fb_data_options o = options_for("none", 4, 3, 1);
    images[at] = value;
    write_file("bad", images, n ? n : whole);
    open_fails(in_folder("bad"), &o, status, part);
}

static void test_idx_errors(void **state)
{
    (void)state;
    idx_fails(2, 0x0d, 0, FB_E_UNSUPPORTED, "elements of type 0x0d, and only 0x08 (u8)");
    idx_fails(3, 1, 0, FB_E_FORMAT, "has 1 IDX dimension, and images have 3 or 4");
    idx_fails(3, 0, 0, FB_E_UNSUPPORTED, "0 IDX dimensions, and 1 to 4 are read");
    idx_fails(3, 5, 0, FB_E_UNSUPPORTED, "5 IDX dimensions");
    idx_fails(7, 6, 0, FB_E_FORMAT, "is cut short: its header promises 6 samples of 12 bytes");
    idx_fails(7, 0, 0, FB_E_FORMAT, "holds no samples");
    idx_fails(11, 0, 0, FB_E_FORMAT, "samples of");
    idx_fails(8, 255, 0, FB_E_LIMIT, "elements is the limit");
    idx_fails(0, 0, 75, FB_E_FORMAT, "is cut short");
    idx_fails(0, 0, 10, FB_E_FORMAT, "is cut short");
    idx_fails(0, 0, 3, FB_E_FORMAT, "is cut short");
    uint8_t images[256], labels[16];
    fb_data_options o = options_for("none", 4, 3, 1);
    write_file("img", images, make_idx(images));
    memcpy(labels, idx_labels, sizeof idx_labels);
    labels[7] = 4;
    write_file("lbl", labels, sizeof idx_labels);
    open_fails(pair("img", "lbl"), &o, FB_E_FORMAT, "lbl' has 4 labels for 5 samples");
    write_file("lbl", idx_labels, sizeof idx_labels - 1);
    open_fails(pair("img", "lbl"), &o, FB_E_FORMAT, "lbl' is cut short");
    open_fails(pair("img", "img"), &o, FB_E_FORMAT, "has 3 IDX dimensions, and labels have 1");
    write_text("lbl", "text");
    open_fails(pair("img", "lbl"), &o, FB_E_FORMAT, "does not start with two zeros");
    open_fails(pair("img", "nowhere"), &o, FB_E_IO, "nowhere': No such file");
    write_gz("z.gz", images, 76);
    fb_data_buffer z = {NULL, 0};
    size_t n = 0;
    assert_int_equal(fb_data_file_read(in_folder("z.gz"), 1000, &z, &n), FB_OK);
    write_file("cut.gz", z.p, n / 2);
    open_fails(in_folder("cut.gz"), &o, FB_E_FORMAT, "its compressed data do not end");
    memset((uint8_t *)z.p + 12, 0xff, 8);
    write_file("broken.gz", z.p, n);
    open_fails(in_folder("broken.gz"), &o, FB_E_FORMAT, "its compressed data are not valid");
    fb_data_buffer_free(&z);
}

/* ---- CIFAR ---- */

/* Rows whose planes are constant: red 10 + i, green 20 + i, blue 30 + i. */
static void write_cifar(const char *name, size_t label_bytes, int n, int first_label)
{
    size_t row = label_bytes + 3072;
    uint8_t *p = calloc((size_t)n, row);
    assert_non_null(p);
    for (int i = 0; i < n; i++) {
        uint8_t *r = p + (size_t)i * row;
        r[0] = 19; /* the coarse label where there are two */
        r[label_bytes - 1] = (uint8_t)(first_label + i);
        for (int c = 0; c < 3; c++)
            memset(r + label_bytes + c * 1024, 10 * (c + 1) + i, 1024);
    }
    write_file(name, p, (size_t)n * row);
    free(p);
}

static void test_cifar(void **state)
{
    (void)state;
    make_dir("cifar");
    write_cifar("cifar/data_batch_1.bin", 1, 2, 3);
    write_cifar("cifar/data_batch_2.bin", 1, 3, 5);
    write_cifar("cifar/test_batch.bin", 1, 1, 9);
    static float x[6 * 3072];
    int32_t labels[6];
    fb_data_options o = options_for("none", 32, 32, 3);
    fb_data *data = open_ok(in_folder("cifar"), &o);
    assert_int_equal(fb_data_count(data), 5);
    assert_int_equal(fb_data_n_classes(data), 8);
    assert_int_equal(read_all(data, 6, x, labels), 5);
    assert_true(x[0] == 10 && x[1] == 20 && x[2] == 30 && x[3] == 10);
    assert_true(x[4 * 3072] == 12 && x[5 * 3072 - 1] == 32);
    assert_true(labels[0] == 3 && labels[1] == 4 && labels[2] == 5 && labels[4] == 7);
    fb_data_close(&data);

    /* One file; a flat network from a framework with planes sees the planes. */
    o = options_for("", 1, 1, 3072);
    data = open_ok(in_folder("cifar/test_batch.bin"), &o);
    assert_int_equal(read_all(data, 6, x, labels), 1);
    assert_true(labels[0] == 9 && x[1023] == 10 && x[1024] == 20 && x[2048] == 30);
    fb_data_close(&data);

    o = options_for("none", 32, 32, 3);
    write_cifar("train.bin", 2, 2, 98);
    data = open_ok(in_folder("train.bin"), &o);
    assert_int_equal(fb_data_n_classes(data), 100);
    assert_int_equal(read_all(data, 6, x, labels), 2);
    assert_true(labels[1] == 99 && x[3072] == 11);
    fb_data_close(&data);

    write_cifar("high.bin", 1, 1, 10);
    open_fails(in_folder("high.bin"), &o, FB_E_FORMAT, "has label 10, and CIFAR-10 has 0 to 9");
    write_cifar("high.bin", 2, 1, 100);
    open_fails(in_folder("high.bin"), &o, FB_E_FORMAT, "has label 100, and CIFAR-100 has 0 to 99");
    write_text("short.bin", "abc");
    open_fails(in_folder("short.bin"), &o, FB_E_FORMAT, "its 3 bytes are not rows of 3073");
    o = options_for("none", 28, 28, 3);
    open_fails(in_folder("train.bin"), &o, FB_E_ARG, "an image of 32x32");
}

/* ---- npy ---- */

static void check_npy(const char *spec, const char *prep, fb_sample_shape shape, const float *want,
                      uint32_t n)
{
    fb_data_options o = options_for(prep, shape.height, shape.width, shape.channels);
    o.shape.source_nchw = shape.source_nchw;
    fb_data *data = open_ok(spec, &o);
    float x[256];
    size_t elems = (size_t)shape.height * shape.width * shape.channels;
    assert_int_equal(fb_data_count(data), n);
    assert_int_equal(read_all(data, n, x, NULL), n);
    for (size_t i = 0; i < elems * n; i++) {
        if (x[i] != want[i])
            fail_msg("element %zu is %g, not %g", i, (double)x[i], (double)want[i]);
    }
    fb_data_close(&data);
}

static void test_npy_types(void **state)
{
    (void)state;
    static const float want[] = {0, 1, 2, 3, 4, 100};
    static const fb_sample_shape shape = {1, 3, 1, true};
    static const uint8_t u1[] = {0, 1, 2, 3, 4, 100};
    static const int16_t i2[] = {0, 1, 2, 3, 4, 100};
    static const int32_t i4[] = {0, 1, 2, 3, 4, 100};
    static const int64_t i8[] = {0, 1, 2, 3, 4, 100};
    static const uint16_t f2[] = {0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x5640};
    static const float f4[] = {0, 1, 2, 3, 4, 100};
    static const double f8[] = {0, 1, 2, 3, 4, 100};
    static const struct {
        const char *descr;
        const void *data;
        size_t n;
    } types[] = {{"|u1", u1, sizeof u1}, {"|i1", u1, sizeof u1}, {"<i2", i2, sizeof i2},
                 {"<u2", i2, sizeof i2}, {"<i4", i4, sizeof i4}, {"<u4", i4, sizeof i4},
                 {"<i8", i8, sizeof i8}, {"<u8", i8, sizeof i8}, {"<f2", f2, sizeof f2},
                 {"<f4", f4, sizeof f4}, {"<f8", f8, sizeof f8}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        write_npy("t.npy", types[i].descr, "(2, 3)", "False", types[i].data, types[i].n);
        check_npy(in_folder("t.npy"), "", shape, want, 2);
    }
    static const uint8_t negative[] = {0xff, 0x80, 0x00, 0x00};
    float x = fb_data_elem_float(FB_DATA_I8, negative, 1);
    assert_true(x == -128.0f);
    assert_true(fb_data_elem_float(FB_DATA_I16, negative, 0) == -32513.0f);
    static const uint8_t halves[] = {0x01, 0x00, 0x00, 0xbc, 0xff, 0x7b, 0x00, 0x7c};
    assert_true(fb_data_elem_float(FB_DATA_F16, halves, 0) == 5.9604645e-8f);
    assert_true(fb_data_elem_float(FB_DATA_F16, halves, 1) == -1.0f);
    assert_true(fb_data_elem_float(FB_DATA_F16, halves, 2) == 65504.0f);
    assert_true(isinf(fb_data_elem_float(FB_DATA_F16, halves, 3)));
}

static void test_npy_layouts(void **state)
{
    (void)state;
    /* 2 channels of 2x3. */
    static const float stored[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const float turned[] = {0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11};
    static const fb_sample_shape nchw = {2, 3, 2, true}, nhwc = {2, 3, 2, false},
                                 flat = {1, 1, 12, true};
    write_npy("chw.npy", "<f4", "(1, 2, 2, 3)", "False", stored, sizeof stored);
    check_npy(in_folder("chw.npy"), "", nchw, turned, 1);
    write_npy("hwc.npy", "<f4", "(1, 2, 3, 2)", "False", stored, sizeof stored);
    check_npy(in_folder("hwc.npy"), "", nhwc, stored, 1);
    check_npy(in_folder("hwc.npy"), "", nchw, stored, 1);
    write_npy("flat.npy", "<f4", "(1, 12)", "False", stored, sizeof stored);
    check_npy(in_folder("flat.npy"), "", nchw, turned, 1);
    check_npy(in_folder("flat.npy"), "", nhwc, stored, 1);
    check_npy(in_folder("flat.npy"), "", flat, stored, 1);
    check_npy(in_folder("chw.npy"), "", flat, stored, 1);
    /* Dimensions of one do not count. */
    static const fb_sample_shape gray = {3, 4, 1, true};
    write_npy("gray.npy", "<f4", "(1, 3, 4)", "False", stored, sizeof stored);
    check_npy(in_folder("gray.npy"), "", gray, stored, 1);
    write_npy("gray.npy", "<f4", "(1, 1, 3, 4, 1)", "False", stored, sizeof stored);
    check_npy(in_folder("gray.npy"), "", gray, stored, 1);
    /* Floats are normalised as pixels are, and the default leaves them alone. */
    static const float halved[] = {-1, 2, -0.5f, 2.5f, 0, 3, 0.5f, 3.5f, 1, 4, 1.5f, 4.5f};
    check_npy(in_folder("chw.npy"), "none,scale=2,mean=1", nchw, halved, 1);
    /* u8 images in planes are turned, resized and reordered. */
    static const uint8_t pixels[] = {9, 9, 9, 9, 7, 7, 7, 7, 5, 5, 5, 5};
    static const float blue_first[] = {5, 7, 9};
    static const fb_sample_shape one = {1, 1, 3, true};
    write_npy("u8.npy", "|u1", "(1, 3, 2, 2)", "False", pixels, sizeof pixels);
    check_npy(in_folder("u8.npy"), "none,size=1,order=bgr", one, blue_first, 1);
}

static void npy_fails(const char *descr, const char *shape, const char *fortran, size_t n,
                      fb_status status, const char *part)
{
    static const uint8_t zeros[4096];
    fb_data_options o = options_for("none", 4, 4, 1);
    write_npy("bad.npy", descr, shape, fortran, zeros, n);
    open_fails(in_folder("bad.npy"), &o, status, part);
}

static void test_npy_errors(void **state)
{
    (void)state;
    npy_fails("<f4", "(2, 3, 5)", "False", 120, FB_E_ARG,
              "bad.npy' are 3x5, but the network's input is 4x4x1 (height x width x channels)");
    npy_fails("<f4", "(2, 4, 4)", "True", 128, FB_E_UNSUPPORTED, "fortran_order True");
    npy_fails(">f4", "(2, 4, 4)", "False", 128, FB_E_UNSUPPORTED, "big-endian '>f4'");
    npy_fails("<c8", "(2, 4, 4)", "False", 256, FB_E_UNSUPPORTED, "elements of type '<c8'");
    npy_fails("<U10", "(2, 4, 4)", "False", 256, FB_E_UNSUPPORTED, "elements of type '<U10'");
    npy_fails("<f4", "(2, 4, 4)", "False", 127, FB_E_FORMAT,
              "cut short: its header promises 2 samples of 64 bytes");
    npy_fails("<f4", "(0, 4, 4)", "False", 0, FB_E_FORMAT, "holds no samples");
    npy_fails("<f4", "(2, 0, 4)", "False", 0, FB_E_FORMAT, "has no elements");
    npy_fails("<f4", "()", "False", 4, FB_E_FORMAT, "one number");
    npy_fails("<f4", "(4611686018427387904, 4, 4)", "False", 64, FB_E_FORMAT, "cut short");
    npy_fails("<f4", "(2, 4611686018427387904, 4)", "False", 64, FB_E_LIMIT, "is the limit");
    npy_fails("<f4", "(1, 65536, 65536)", "False", 64, FB_E_LIMIT, "is the limit");
    npy_fails("<f4", "(99999999999999999999, 4)", "False", 64, FB_E_FORMAT, "not a plain array's");
    npy_fails("<f4", "(1,1,1,1,1,1,1,1,1,1)", "False", 4, FB_E_FORMAT, "not a plain array's");
    npy_fails("<f4", "(2, -4, 4)", "False", 64, FB_E_FORMAT, "not a plain array's");
    npy_fails("<f4", "(2, 4, 4", "False", 64, FB_E_FORMAT, "not a plain array's");
    npy_fails("<f4", "(2, 4, 4)", "Maybe", 64, FB_E_FORMAT, "not a plain array's");
    fb_data_options o = options_for("none", 4, 4, 1);
    write_text("bad.npy", "\x93NUMPY\x09");
    open_fails(in_folder("bad.npy"), &o, FB_E_FORMAT, "is cut short");
    write_text("bad.npy", "\x93NUMPY\x09\x01\x01\x01\x01\x01");
    open_fails(in_folder("bad.npy"), &o, FB_E_UNSUPPORTED, "npy version 9");
    write_text("bad.npy", "\x93NUMPY\x02\x01\xff\xff\xff\xff");
    open_fails(in_folder("bad.npy"), &o, FB_E_LIMIT, "header of 4294967295 bytes");

    float values[32] = {0};
    values[20] = NAN;
    write_npy("nan.npy", "<f4", "(2, 4, 4)", "False", values, sizeof values);
    fb_data *data = open_ok(in_folder("nan.npy"), &o);
    float x[32];
    uint32_t got;
    assert_int_equal(fb_data_next(data, 2, x, NULL, &got), FB_OK);
    assert_int_equal(got, 1);
    expect_sentence(fb_data_next(data, 2, x, NULL, &got), FB_E_FORMAT,
                    "element 4 is not a finite number");
    assert_non_null(strstr(fb_error(), "sample 1 of '"));
    fb_data_close(&data);
    values[20] = 0;
    write_npy("wide.npy", "<f4", "(2, 4, 4)", "False", values, sizeof values);
    o = options_for("imagenet", 1, 1, 16);
    open_fails(in_folder("wide.npy"), &o, FB_E_ARG, "has a mean and std for each colour");
}

static void test_npy_labels(void **state)
{
    (void)state;
    static const float values[32];
    static const int32_t y[] = {7, 2}, minus[] = {7, -1}, high[] = {1000000, 1};
    static const float fractions[] = {1, 2};
    fb_data_options o = options_for("none", 4, 4, 1);
    float x[32];
    int32_t labels[2];
    write_npy("x.npy", "<f4", "(2, 4, 4)", "False", values, sizeof values);
    const char *const shapes[] = {"(2,)", "(2, 1)"};
    for (int i = 0; i < 2; i++) {
        write_npy("y.npy", "<i4", shapes[i], "False", y, sizeof y);
        fb_data *data = open_ok(pair("x.npy", "y.npy"), &o);
        assert_int_equal(fb_data_n_classes(data), 8);
        assert_int_equal(read_all(data, 2, x, labels), 2);
        assert_true(labels[0] == 7 && labels[1] == 2);
        fb_data_close(&data);
    }
    write_npy("y.npy", "<i4", "(1,)", "False", y, 4);
    open_fails(pair("x.npy", "y.npy"), &o, FB_E_FORMAT, "y.npy' has 1 labels for 2 samples");
    write_npy("y.npy", "<i4", "(2,)", "False", minus, sizeof minus);
    open_fails(pair("x.npy", "y.npy"), &o, FB_E_FORMAT, "label 1 of '");
    write_npy("y.npy", "<i4", "(2,)", "False", high, sizeof high);
    open_fails(pair("x.npy", "y.npy"), &o, FB_E_FORMAT, "is 1000000, and labels are 0 to 999999");
    write_npy("y.npy", "<f4", "(2,)", "False", fractions, sizeof fractions);
    open_fails(pair("x.npy", "y.npy"), &o, FB_E_FORMAT, "floating-point numbers, and labels are");
    open_fails(pair("x.npy", "x.npy"), &o, FB_E_FORMAT, "has 16 numbers for each sample");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx),
        cmocka_unit_test(test_idx_becomes_what_the_network_wants),
        cmocka_unit_test(test_idx_errors),
        cmocka_unit_test(test_cifar),
        cmocka_unit_test(test_npy_types),
        cmocka_unit_test(test_npy_layouts),
        cmocka_unit_test(test_npy_errors),
        cmocka_unit_test(test_npy_labels),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
