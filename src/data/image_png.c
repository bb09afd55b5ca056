/* PNG through libpng's full interface: the simplified one applies gamma, which PIL does not. */
#include "data/image.h"

#include "base/status.h"
#include "data/prep.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

enum { MAX_CHUNK_BYTES = 8 << 20 };

typedef struct decoder {
    png_structp png;
    png_infop info;
    const uint8_t *bytes;
    size_t n, at;
    jmp_buf out;
    fb_status status;
    fb_data_buffer *pixels;
    fb_data_image image;
} decoder;

static void give_up(decoder *d, fb_status status)
{
    d->status = status;
    longjmp(d->out, 1);
}

static void on_error(png_structp png, png_const_charp text)
{
    give_up(png_get_error_ptr(png), fb_fail(FB_E_FORMAT, "the PNG is damaged (%s)", text));
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, png_size_t n)
{
    decoder *d = png_get_io_ptr(png);
    if (n > d->n - d->at)
        give_up(d, fb_fail(FB_E_FORMAT, "the PNG is cut short"));
    memcpy(to, d->bytes + d->at, n);
    d->at += n;
}

static void ask_for_rgb(decoder *d)
{
    png_set_expand(d->png);
    png_set_strip_16(d->png);
    png_set_strip_alpha(d->png);
    png_set_gray_to_rgb(d->png);
}

static png_structp create(decoder *d)
{
    d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, on_error, on_warning);
    if (d->png)
        d->info = png_create_info_struct(d->png);
    if (!d->info)
        give_up(d, fb_fail(FB_E_MEMORY, "out of memory for a PNG"));
    return d->png;
}

/* Everything that may jump. All state is in `d`, which lies outside the function that calls setjmp:
 * locals of that one would be lost. */
static void decode(decoder *d)
{
    png_structp png = create(d);
    png_set_read_fn(png, d, on_read);
    /* Sides are ours to judge, so that the sentence has the numbers. */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, MAX_CHUNK_BYTES);
    png_read_info(png, d->info);
    fb_status status = fb_data_image_room(png_get_image_height(png, d->info),
                                          png_get_image_width(png, d->info), d->pixels, &d->image);
    if (status != FB_OK)
        give_up(d, status);
    ask_for_rgb(d);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, d->info);
    size_t stride = (size_t)d->image.width * 3;
    if (png_get_rowbytes(png, d->info) != stride)
        give_up(d, fb_fail(FB_E_UNSUPPORTED, "the PNG does not turn into 8-bit RGB"));
    uint8_t *rows = d->pixels->p;
    if (passes > 1) /* each pass but the first adds to what is there */
        memset(rows, 0, stride * d->image.height);
    for (int pass = 0; pass < passes; pass++) {
        for (uint32_t y = 0; y < d->image.height; y++)
            png_read_row(png, rows + y * stride, NULL);
    }
}

static void decode_or_jump(decoder *d)
{
    if (setjmp(d->out) == 0)
        decode(d);
}

fb_status fb_data_png_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                             fb_data_image *out)
{
    decoder d;
    memset(&d, 0, sizeof d);
    d.bytes = bytes;
    d.n = n;
    d.pixels = pixels;
    decode_or_jump(&d);
    png_destroy_read_struct(&d.png, &d.info, NULL);
    if (d.status == FB_OK)
        *out = d.image;
    return d.status;
}
