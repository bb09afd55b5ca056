/* JPEG through libjpeg-turbo. */
#include "data/image.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file may send any number of scans, each of which costs a pass over all pixels. */
enum { MAX_SCANS = 500, ROWS = 16 };

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
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

static void on_error(j_common_ptr common)
{
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    fb_status status = common->err->msg_code == JERR_OUT_OF_MEMORY ? FB_E_MEMORY : FB_E_FORMAT;
    give_up(common->client_data, fb_fail(status, "the JPEG is damaged (%s)", text));
}

/* libjpeg goes on after each of these; the pixels are what matters here. */
static bool harms_pixels(int code)
{
    switch (code) {
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_ARITH_BAD_CODE:
        return true;
    default:
        return false;
    }
}

static void on_message(j_common_ptr common, int level)
{
    if (level >= 0 || !harms_pixels(common->err->msg_code))
        return;
    if (common->err->msg_code == JWRN_JPEG_EOF)
        give_up(common->client_data, fb_fail(FB_E_FORMAT, "the JPEG is cut short"));
    on_error(common);
}

static void on_progress(j_common_ptr common)
{
    decoder *d = common->client_data;
    if (common->is_decompressor && d->jpeg.input_scan_number > MAX_SCANS)
        give_up(d, fb_fail(FB_E_LIMIT, "the JPEG has more than %d scans, the limit", MAX_SCANS));
}

/* As PIL does: Adobe writes CMYK inverted, and hardly anyone else writes it. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++, cmyk += 4, rgb += 3) {
        int light = cmyk[3];
        for (int c = 0; c < 3; c++) {
            int t = (255 - cmyk[c]) * light + 128;
            int v = light - (((t >> 8) + t) >> 8);
            rgb[c] = (uint8_t)(v < 0 ? 0 : v);
        }
    }
}

static void read_rows(decoder *d, uint8_t *pixels)
{
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    uint32_t width = d->image.width;
    JSAMPARRAY cmyk = NULL;
    if (jpeg->out_color_space == JCS_CMYK)
        cmyk = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, width * 4, 1);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint32_t y = jpeg->output_scanline;
        if (cmyk) {
            if (jpeg_read_scanlines(jpeg, cmyk, 1) == 1)
                cmyk_to_rgb(cmyk[0], pixels + (size_t)y * width * 3, width);
            continue;
        }
        JSAMPROW rows[ROWS];
        uint32_t n = 0;
        for (; n < ROWS && y + n < jpeg->output_height; n++)
            rows[n] = pixels + (size_t)(y + n) * width * 3;
        (void)jpeg_read_scanlines(jpeg, rows, n);
    }
}

/* Everything that may jump. All state is in `d`, which lies outside the function that calls setjmp:
 * locals of that one would be lost. */
static void decode(decoder *d, const uint8_t *bytes, size_t n)
{
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    jpeg_create_decompress(jpeg);
    d->progress.progress_monitor = on_progress;
    jpeg->progress = &d->progress;
    jpeg_mem_src(jpeg, bytes, n);
    (void)jpeg_read_header(jpeg, TRUE);
    bool four = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = four ? JCS_CMYK : JCS_RGB;
    fb_status status =
        fb_data_image_room(jpeg->image_height, jpeg->image_width, d->pixels, &d->image);
    if (status != FB_OK)
        give_up(d, status);
    (void)jpeg_start_decompress(jpeg);
    read_rows(d, d->pixels->p);
    (void)jpeg_finish_decompress(jpeg);
}

static void decode_or_jump(decoder *d, const uint8_t *bytes, size_t n)
{
    if (setjmp(d->out) == 0)
        decode(d, bytes, n);
}

fb_status fb_data_jpeg_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                              fb_data_image *out)
{
    decoder d;
    memset(&d, 0, sizeof d);
    d.pixels = pixels;
    d.jpeg.err = jpeg_std_error(&d.errors);
    d.jpeg.client_data = &d;
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    decode_or_jump(&d, bytes, n);
    jpeg_destroy_decompress(&d.jpeg);
    if (d.status == FB_OK)
        *out = d.image;
    return d.status;
}
