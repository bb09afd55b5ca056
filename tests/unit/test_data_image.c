/* Decoding, Pillow's resize, and what becomes of an image on its way to the network. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/image.h"
#include "data/prepare.h"
#include "test_data_files.h"

enum { H = 37, W = 53 };

/* Hashes of what Pillow 9.4 makes of the noise image (37x53, RGB or grey) by
 * im.resize((w, h), Image.BILINEAR). */
static void test_resize_is_pillows(void **state)
{
    (void)state;
    static const struct {
        uint32_t h, w, c;
        uint64_t hash;
    } golden[] = {
        {16, 16, 3, 0x79816767a8266089u},  {16, 16, 1, 0x502490238d77a232u},
        {100, 80, 3, 0x3b540593c4049fe7u}, {100, 80, 1, 0x4f175732b04238b9u},
        {37, 20, 3, 0xcf59844d4f64a224u},  {37, 20, 1, 0x28876bab5619c993u},
        {1, 1, 3, 0xa32b5f196f0e1c7cu},    {1, 1, 1, 0xaf63f24c860211eeu},
        {90, 53, 3, 0xd1ba2cc90eb0071du},  {90, 53, 1, 0x95e9482833af04abu},
        {8, 200, 3, 0x9de916fdf39d36cau},  {8, 200, 1, 0x750d2778d6e6720cu},
        {37, 53, 3, 0x1c70a739a49829a2u},  {37, 53, 1, 0xa42d530b78db97ddu},
        {36, 52, 3, 0x204af95fd09aa3f0u},  {36, 52, 1, 0x48f44c8e9dad6940u},
    };
    uint8_t in[H * W * 3], out[100 * 80 * 3];
    noise(in, sizeof in);
    fb_data_resizer resizer;
    memset(&resizer, 0, sizeof resizer);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        uint32_t h = golden[i].h, w = golden[i].w, c = golden[i].c;
        fb_data_image image = {in, H, W, c};
        fb_data_window all = {0, 0, h, w};
        assert_int_equal(fb_data_resize(&image, h, w, all, &resizer, out, (size_t)w * c), FB_OK);
        if (hash_bytes(out, (size_t)h * w * c) != golden[i].hash)
            fail_msg("resize to %ux%ux%u differs from Pillow", h, w, c);
    }
    fb_data_buffer_free(&resizer.rows);
    fb_data_buffer_free(&resizer.coefficients);
}

static void test_resized_window_is_part_of_the_whole(void **state)
{
    (void)state;
    uint8_t in[H * W * 3], whole[30 * 44 * 3], part[11 * 20 * 3];
    noise(in, sizeof in);
    fb_data_image image = {in, H, W, 3};
    fb_data_resizer resizer;
    memset(&resizer, 0, sizeof resizer);
    fb_data_window all = {0, 0, 30, 44}, some = {7, 13, 11, 20}, none = {3, 3, 0, 5};
    assert_int_equal(fb_data_resize(&image, 30, 44, all, &resizer, whole, 44 * 3), FB_OK);
    assert_int_equal(fb_data_resize(&image, 30, 44, some, &resizer, part, 20 * 3), FB_OK);
    for (int y = 0; y < 11; y++)
        assert_memory_equal(part + y * 60, whole + ((y + 7) * 44 + 13) * 3, 60);
    assert_int_equal(fb_data_resize(&image, 30, 44, none, &resizer, part, 20 * 3), FB_OK);
    fb_data_buffer_free(&resizer.rows);
    fb_data_buffer_free(&resizer.coefficients);
}

/* x of the noise image under `prep`, for a network of h x w x c. */
static fb_status prepare_noise(const char *prep, uint32_t h, uint32_t w, uint32_t c,
                               bool transposed, float *x)
{
    uint8_t in[H * W * 3], turned[H * W * 3];
    noise(in, sizeof in);
    for (int y = 0; y < H; y++) {
        for (int k = 0; k < W; k++)
            memcpy(turned + (k * H + y) * 3, in + (y * W + k) * 3, 3);
    }
    fb_data_image image = {in, H, W, 3}, other = {turned, W, H, 3};
    fb_data_options o = options_for(prep, h, w, c);
    fb_data_prepare prepare;
    assert_int_equal(fb_data_prepare_init(&prepare, &o.prep, &o.shape), FB_OK);
    fb_data_scratch scratch;
    memset(&scratch, 0, sizeof scratch);
    fb_status status =
        fb_data_prepare_image(&prepare, transposed ? &other : &image, true, &scratch, x);
    fb_data_scratch_free(&scratch);
    return status;
}

static uint64_t hash_floats(const float *x, size_t n)
{
    uint8_t bytes[50 * 60 * 3];
    assert_true(n <= sizeof bytes);
    for (size_t i = 0; i < n; i++) {
        assert_true(x[i] >= 0 && x[i] <= 255 && x[i] == (float)(int)x[i]);
        bytes[i] = (uint8_t)x[i];
    }
    return hash_bytes(bytes, n);
}

/* Hashes of Pillow's pixels after torchvision's Resize and CenterCrop. */
static void test_geometry_is_torchvisions(void **state)
{
    (void)state;
    static const struct {
        const char *prep;
        uint32_t h, w, c;
        uint64_t hash;
    } golden[] = {
        {"none,resize=24,size=20/20", 20, 20, 3, 0xf12255ae4915748eu},
        {"none,resize=24,size=21/19", 21, 19, 3, 0x74fa824e362898e0u},
        {"none,resize=0,size=20/20", 20, 20, 3, 0x9216fee04cbb0274u},
        {"none,resize=0,size=40/50", 40, 50, 3, 0x4fb8231dfb997bc6u},
        {"none,resize=0,size=50/60", 50, 60, 3, 0xcb099c60848db98eu},
        {"none,resize=30,size=41/33", 41, 33, 3, 0x1d4cf15731712263u},
        {"none,resize=25/31", 25, 31, 3, 0xad1b17f2202ade98u},
        {"none,resize=25/31,size=24/24,order=gray", 24, 24, 1, 0x33a23046b816f7d8u},
        {"none,resize=24,size=20/20,order=gray", 20, 20, 1, 0x76c19423997f48b8u},
    };
    static float x[50 * 60 * 3];
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        uint32_t h = golden[i].h, w = golden[i].w, c = golden[i].c;
        assert_int_equal(prepare_noise(golden[i].prep, h, w, c, false, x), FB_OK);
        if (hash_floats(x, (size_t)h * w * c) != golden[i].hash)
            fail_msg("'%s' differs from torchvision and Pillow", golden[i].prep);
    }
    assert_int_equal(prepare_noise("none,resize=24,size=20/20", 20, 20, 3, true, x), FB_OK);
    assert_true(hash_floats(x, 1200) == 0x75ad0dc98ef1fcd1u);
}

static void test_order_and_normalisation(void **state)
{
    (void)state;
    static float x[H * W * 3], planar[H * W * 3];
    uint8_t in[H * W * 3];
    noise(in, sizeof in);
    assert_int_equal(prepare_noise("imagenet,resize=0,size=0", H, W, 3, false, x), FB_OK);
    for (size_t i = 0; i < sizeof in; i++) {
        static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
        float v = (float)in[i] / 255.0f;
        assert_true(x[i] == (v - mean[i % 3]) / std[i % 3]);
    }
    assert_int_equal(prepare_noise("caffe,resize=0,size=0", H, W, 3, false, x), FB_OK);
    for (size_t i = 0; i < sizeof in; i++) {
        static const float mean[3] = {104, 117, 123};
        assert_true(x[i] == (float)in[i / 3 * 3 + 2 - i % 3] - mean[i % 3]);
    }
    /* A network that takes the image as one flat row, from a framework with planes. */
    assert_int_equal(prepare_noise("", 1, 1, H * W * 3, false, planar), FB_OK);
    for (size_t i = 0; i < sizeof in; i++)
        assert_true(planar[i % 3 * (H * W) + i / 3] == (float)in[i]);
}

static void test_misfits_are_explained(void **state)
{
    (void)state;
    static float x[H * W * 3];
    expect_sentence(
        prepare_noise("none", 32, 32, 3, false, x), FB_E_ARG,
        "an image of 37x53 (height x width) does not fit the network's input of 32x32x3");
    expect_sentence(prepare_noise("none,resize=24", 32, 32, 3, false, x), FB_E_ARG,
                    "'none' turns an image of 37x53 into 24x34 (height x width), but");
    expect_sentence(prepare_noise("none", H, W, 1, false, x), FB_E_ARG, "add order=gray");
    expect_sentence(prepare_noise("none,order=gray", H, W, 3, false, x), FB_E_ARG,
                    "images have 1 channel with order=gray, but the network's input has 3");
    expect_sentence(prepare_noise("none", 1, 1, 100, false, x), FB_E_ARG, "input of 100 values");
    fb_data_prepare prepare;
    fb_data_options o = options_for("none", 0, 32, 3);
    expect_sentence(fb_data_prepare_init(&prepare, &o.prep, &o.shape), FB_E_ARG, "no elements");
    o = options_for("none", 65536, 65536, 3);
    expect_sentence(fb_data_prepare_init(&prepare, &o.prep, &o.shape), FB_E_LIMIT, "is the limit");
    o = options_for("none", 32, 32, 3);
    o.prep.scale = 0;
    expect_sentence(fb_data_prepare_init(&prepare, &o.prep, &o.shape), FB_E_ARG, "scale 0");
}

/* ---- decoding ---- */

static fb_status decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                        fb_data_image *image)
{
    /* A copy of its own, so that the sanitiser sees a byte too far. */
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n)
        memcpy(copy, bytes, n);
    fb_status status = fb_data_image_decode(copy, n, pixels, image);
    free(copy);
    return status;
}

static void decode_file(const char *name, fb_data_buffer *pixels, fb_data_image *image)
{
    fb_data_buffer file = {NULL, 0};
    size_t n = 0;
    assert_int_equal(fb_data_file_read(in_folder(name), 1 << 20, &file, &n), FB_OK);
    if (decode(file.p, n, pixels, image) != FB_OK)
        fail_msg("%s: %s", name, fb_error());
    fb_data_buffer_free(&file);
}

static void expect_pixel(const fb_data_image *image, uint32_t y, uint32_t x, int r, int g, int b,
                         int tolerance)
{
    const uint8_t *p = image->pixels + ((size_t)y * image->width + x) * 3;
    if (abs(p[0] - r) > tolerance || abs(p[1] - g) > tolerance || abs(p[2] - b) > tolerance)
        fail_msg("pixel %u,%u is %d %d %d, not %d %d %d", y, x, p[0], p[1], p[2], r, g, b);
}

static void test_png_kinds(void **state)
{
    (void)state;
    uint8_t rgb[H * W * 3];
    noise(rgb, sizeof rgb);
    fb_data_buffer pixels = {NULL, 0};
    fb_data_image image;
    write_png("rgb.png", H, W, rgb);
    write_png_as("laced.png", H, W, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7, rgb, W * 3);
    const char *const names[] = {"rgb.png", "laced.png"};
    for (int i = 0; i < 2; i++) {
        decode_file(names[i], &pixels, &image);
        assert_int_equal(image.height, H);
        assert_int_equal(image.width, W);
        assert_int_equal(image.channels, 3);
        assert_memory_equal(image.pixels, rgb, sizeof rgb);
    }
    static const uint8_t rgba[] = {10, 20, 30, 0, 40, 50, 60, 128};
    write_png_as("rgba.png", 1, 2, PNG_COLOR_TYPE_RGB_ALPHA, 8, 0, rgba, 8);
    decode_file("rgba.png", &pixels, &image);
    expect_pixel(&image, 0, 0, 10, 20, 30, 0);
    expect_pixel(&image, 0, 1, 40, 50, 60, 0);
    static const uint8_t gray[] = {7, 200};
    write_png_as("gray.png", 1, 2, PNG_COLOR_TYPE_GRAY, 8, 0, gray, 2);
    decode_file("gray.png", &pixels, &image);
    expect_pixel(&image, 0, 1, 200, 200, 200, 0);
    static const uint8_t gray_alpha[] = {7, 0, 200, 9};
    write_png_as("la.png", 1, 2, PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0, gray_alpha, 4);
    decode_file("la.png", &pixels, &image);
    expect_pixel(&image, 0, 0, 7, 7, 7, 0);
    static const uint8_t bits[] = {0x40}; /* 0 1 */
    write_png_as("bits.png", 1, 2, PNG_COLOR_TYPE_GRAY, 1, 0, bits, 1);
    decode_file("bits.png", &pixels, &image);
    expect_pixel(&image, 0, 0, 0, 0, 0, 0);
    expect_pixel(&image, 0, 1, 255, 255, 255, 0);
    static const uint8_t index[] = {1, 0, 2};
    write_png_as("palette.png", 1, 3, PNG_COLOR_TYPE_PALETTE, 8, 0, index, 3);
    decode_file("palette.png", &pixels, &image);
    expect_pixel(&image, 0, 0, 200, 100, 50, 0);
    expect_pixel(&image, 0, 1, 1, 2, 3, 0);
    expect_pixel(&image, 0, 2, 7, 8, 9, 0);
    static const uint8_t deep[] = {0x12, 0xff, 0x80, 0x01, 0xff, 0x00};
    write_png_as("deep.png", 1, 1, PNG_COLOR_TYPE_RGB, 16, 0, deep, 6);
    decode_file("deep.png", &pixels, &image);
    expect_pixel(&image, 0, 0, 0x12, 0x80, 0xff, 0);
    fb_data_buffer_free(&pixels);
}

static void test_png_damage(void **state)
{
    (void)state;
    fb_data_buffer pixels = {NULL, 0};
    fb_data_image image;
    uint8_t file[16384];
    uint8_t rgb[H * W * 3];
    noise(rgb, sizeof rgb);
    write_png("whole.png", H, W, rgb);
    fb_data_buffer whole = {NULL, 0};
    size_t n = 0;
    assert_int_equal(fb_data_file_read(in_folder("whole.png"), sizeof file, &whole, &n), FB_OK);
    memcpy(file, whole.p, n);
    expect_sentence(decode(file, n / 2, &pixels, &image), FB_E_FORMAT, "the PNG is cut short");
    expect_sentence(decode(file, 9, &pixels, &image), FB_E_FORMAT, "the PNG is cut short");
    file[n / 2] ^= 0x55;
    expect_sentence(decode(file, n, &pixels, &image), FB_E_FORMAT, "the PNG is damaged");
    memcpy(file, whole.p, n);
    file[17] = 9; /* IHDR's width; its checksum is wrong then */
    expect_sentence(decode(file, n, &pixels, &image), FB_E_FORMAT, "the PNG is damaged");
    expect_sentence(decode(file, 0, &pixels, &image), FB_E_FORMAT, "the file is empty");
    expect_sentence(decode((const uint8_t *)"GIF89a", 6, &pixels, &image), FB_E_FORMAT,
                    "it is neither a JPEG nor a PNG image");
    fb_data_buffer_free(&whole);
    fb_data_buffer_free(&pixels);
}

static void test_limits(void **state)
{
    (void)state;
    fb_data_buffer pixels = {NULL, 0};
    fb_data_image image;
    expect_sentence(fb_data_image_room(1, 16385, &pixels, &image), FB_E_LIMIT,
                    "the image is 16385x1, and the limit is 16384 a side");
    expect_sentence(fb_data_image_room(16384, 4097, &pixels, &image), FB_E_LIMIT, "pixels");
    expect_sentence(fb_data_image_room(0, 4, &pixels, &image), FB_E_FORMAT, "has no pixels");
    uint8_t *line = calloc(16385, 3);
    assert_non_null(line);
    write_png("wide.png", 1, 16385, line);
    free(line);
    fb_data_buffer file = {NULL, 0};
    size_t n = 0;
    assert_int_equal(fb_data_file_read(in_folder("wide.png"), 1 << 20, &file, &n), FB_OK);
    expect_sentence(decode(file.p, n, &pixels, &image), FB_E_LIMIT, "16385x1");
    expect_sentence(fb_data_file_read(in_folder("wide.png"), 10, &file, &n), FB_E_LIMIT,
                    "and 10 is the limit");
    fb_data_buffer_free(&file);
    fb_data_buffer_free(&pixels);
}

static void test_jpeg_kinds(void **state)
{
    (void)state;
    fb_data_buffer pixels = {NULL, 0};
    fb_data_image image;
    unsigned long n = 0;
    uint8_t rgb[24 * 20 * 3], gray[24 * 20], cmyk[24 * 20 * 4];
    for (int i = 0; i < 24 * 20; i++) {
        memcpy(rgb + i * 3, (const uint8_t[]){200, 100, 50}, 3);
        gray[i] = 77;
        memcpy(cmyk + i * 4, (const uint8_t[]){255, 128, 0, 200}, 4); /* inverted: 255 is no ink */
    }
    for (int progressive = 0; progressive < 2; progressive++) {
        unsigned char *jpeg = make_jpeg(24, 20, 3, JCS_RGB, progressive, rgb, &n);
        assert_int_equal(decode(jpeg, n, &pixels, &image), FB_OK);
        assert_int_equal(image.height, 24);
        assert_int_equal(image.width, 20);
        assert_int_equal(image.channels, 3);
        expect_pixel(&image, 23, 19, 200, 100, 50, 3);
        free(jpeg);
    }
    unsigned char *jpeg = make_jpeg(24, 20, 1, JCS_GRAYSCALE, 0, gray, &n);
    assert_int_equal(decode(jpeg, n, &pixels, &image), FB_OK);
    assert_int_equal(image.channels, 3);
    expect_pixel(&image, 0, 0, 77, 77, 77, 1);
    free(jpeg);
    jpeg = make_jpeg(24, 20, 4, JCS_CMYK, 0, cmyk, &n);
    assert_int_equal(decode(jpeg, n, &pixels, &image), FB_OK);
    expect_pixel(&image, 5, 5, 200, 100, 0, 2);
    free(jpeg);
    fb_data_buffer_free(&pixels);
}

static void test_jpeg_damage(void **state)
{
    (void)state;
    fb_data_buffer pixels = {NULL, 0};
    fb_data_image image;
    unsigned long n = 0;
    uint8_t rgb[64 * 64 * 3];
    noise(rgb, sizeof rgb);
    unsigned char *jpeg = make_jpeg(64, 64, 3, JCS_RGB, 0, rgb, &n);
    expect_sentence(decode(jpeg, n / 2, &pixels, &image), FB_E_FORMAT, "the JPEG is cut short");
    expect_sentence(decode(jpeg, 4, &pixels, &image), FB_E_FORMAT, "the JPEG is");
    expect_sentence(decode(jpeg, 40, &pixels, &image), FB_E_FORMAT, "the JPEG is");
    /* An end of image in the middle of the data. */
    jpeg[n / 2] = 0xff;
    jpeg[n / 2 + 1] = 0xd9;
    expect_sentence(decode(jpeg, n, &pixels, &image), FB_E_FORMAT, "the JPEG is damaged");
    free(jpeg);
    /* Stray bytes before the end marker harm nothing, and real sets have them. */
    jpeg = make_jpeg(64, 64, 3, JCS_RGB, 0, rgb, &n);
    unsigned char *stray = malloc(n + 3);
    assert_non_null(stray);
    memcpy(stray, jpeg, n - 2);
    memcpy(stray + n - 2, "\x12\x34\x56\xff\xd9", 5);
    assert_int_equal(decode(stray, n + 3, &pixels, &image), FB_OK);
    free(stray);
    free(jpeg);
    fb_data_buffer_free(&pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize_is_pillows),
        cmocka_unit_test(test_resized_window_is_part_of_the_whole),
        cmocka_unit_test(test_geometry_is_torchvisions),
        cmocka_unit_test(test_order_and_normalisation),
        cmocka_unit_test(test_misfits_are_explained),
        cmocka_unit_test(test_png_kinds),
        cmocka_unit_test(test_png_damage),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_jpeg_kinds),
        cmocka_unit_test(test_jpeg_damage),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
