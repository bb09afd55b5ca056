/* Files for the data tests: a temporary folder, images and arrays written into it. The including
 * file defines _POSIX_C_SOURCE and includes cmocka. */
#ifndef TEST_DATA_FILES_H
#define TEST_DATA_FILES_H

#include "fewbit/data.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>

static char folder[256];

static inline int make_folder(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/fewbit-data-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    char command[320];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* folder/name; a ring of buffers, so that one call may take several. */
static inline const char *in_folder(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void make_dir(const char *name)
{
    assert_int_equal(mkdir(in_folder(name), 0777), 0);
}

static inline void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* The same pseudo-random bytes as in the script that asked Pillow for the golden hashes. */
static inline void noise(uint8_t *p, size_t n)
{
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (uint8_t)(s >> 24);
    }
}

static inline uint64_t hash_bytes(const uint8_t *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* PNG of `rows` as they are (rgb, or any other colour type and depth). */
static inline void write_png_as(const char *name, uint32_t h, uint32_t w, int type, int depth,
                                int interlace, const uint8_t *rows, size_t stride)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    assert_non_null(png);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    png_init_io(png, f);
    png_set_IHDR(png, info, w, h, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[3] = {{1, 2, 3}, {200, 100, 50}, {7, 8, 9}};
        png_byte alpha[2] = {0, 128};
        png_set_PLTE(png, info, palette, 3);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++) {
        for (uint32_t y = 0; y < h; y++)
            png_write_row(png, rows + y * stride);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
}

static inline void write_png(const char *name, uint32_t h, uint32_t w, const uint8_t *rgb)
{
    write_png_as(name, h, w, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, rgb, (size_t)w * 3);
}

/* A PNG of one colour. */
static inline void write_plain(const char *name, uint32_t h, uint32_t w, uint8_t r, uint8_t g,
                               uint8_t b)
{
    uint8_t *p = malloc((size_t)h * w * 3);
    assert_non_null(p);
    for (size_t i = 0; i < (size_t)h * w; i++) {
        p[i * 3] = r;
        p[i * 3 + 1] = g;
        p[i * 3 + 2] = b;
    }
    write_png(name, h, w, p);
    free(p);
}

/* JPEG bytes (malloc'ed) of [h][w][channels]; space is the input's: JCS_RGB, JCS_GRAYSCALE,
 * JCS_CMYK.
 */
static inline unsigned char *make_jpeg(uint32_t h, uint32_t w, int channels, J_COLOR_SPACE space,
                                       int progressive, const uint8_t *pixels, unsigned long *n)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &out, n);
    jpeg.image_height = h;
    jpeg.image_width = w;
    jpeg.input_components = channels;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < h) {
        uint8_t row[4096];
        JSAMPROW rows[1] = {row};
        memcpy(row, pixels + (size_t)jpeg.next_scanline * w * (size_t)channels,
               (size_t)w * (size_t)channels);
        (void)jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return out;
}

static inline void write_npy(const char *name, const char *descr, const char *shape,
                             const char *fortran, const void *data, size_t n)
{
    uint8_t file[65536] = "\x93NUMPY\x01\x00";
    int header =
        snprintf((char *)file + 10, 1000, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n",
                 descr, fortran, shape);
    assert_true(header > 0 && 10 + (size_t)header + n <= sizeof file);
    file[8] = (uint8_t)header;
    file[9] = (uint8_t)(header >> 8);
    if (n)
        memcpy(file + 10 + header, data, n);
    write_file(name, file, 10 + (size_t)header + n);
}

static inline fb_data_options options_for(const char *prep, uint32_t h, uint32_t w, uint32_t c)
{
    fb_data_options o;
    memset(&o, 0, sizeof o);
    assert_int_equal(fb_prep_parse(prep, &o.prep), FB_OK);
    o.shape = (fb_sample_shape){h, w, c, true};
    return o;
}

static inline fb_data *open_ok(const char *spec, const fb_data_options *o)
{
    fb_data *data = NULL;
    fb_status status = fb_data_open(spec, o, &data);
    if (status != FB_OK)
        fail_msg("%s", fb_error());
    assert_non_null(data);
    return data;
}

static inline void expect_sentence(fb_status have, fb_status want, const char *part)
{
    if (have != want || !strstr(fb_error(), part))
        fail_msg("%s: \"%s\", but wanted %s with \"%s\"", fb_status_name(have), fb_error(),
                 fb_status_name(want), part);
}

static inline void open_fails(const char *spec, const fb_data_options *o, fb_status status,
                              const char *part)
{
    fb_data *data = (fb_data *)1;
    expect_sentence(fb_data_open(spec, o, &data), status, part);
    assert_null(data);
}

/* All samples at once. */
static inline uint32_t read_all(fb_data *data, uint32_t max, float *x, int32_t *labels)
{
    uint32_t got = 0;
    fb_status status = fb_data_next(data, max, x, labels, &got);
    if (status != FB_OK)
        fail_msg("%s", fb_error());
    return got;
}

#endif
