/* Images in memory: decoding, resizing. */
#ifndef FB_DATA_IMAGE_H
#define FB_DATA_IMAGE_H

#include "data/bytes.h"

/* Images above this are refused before they are decoded. */
#define FB_DATA_MAX_PIXELS ((uint64_t)64 << 20)
/* Files above this are not taken for one image. */
#define FB_DATA_MAX_IMAGE_FILE ((uint64_t)256 << 20)

typedef struct fb_data_image {
    const uint8_t *pixels; /* [height][width][channels], borrowed */
    uint32_t height, width, channels;
} fb_data_image;

typedef enum fb_data_image_kind { FB_DATA_NO_IMAGE, FB_DATA_JPEG, FB_DATA_PNG } fb_data_image_kind;

/* By the first bytes; names lie. */
fb_data_image_kind fb_data_image_sniff(const uint8_t *bytes, size_t n);

/* Decodes JPEG or PNG to 8-bit RGB as PIL's Image.open(...).convert("RGB") does: grey is repeated,
 * alpha dropped, 16-bit PNG cut to its high byte, CMYK JPEG taken as Adobe's inverted kind, EXIF
 * orientation and colour profiles ignored. JPEG whose pixels are damaged or missing fails
 * (FB_E_FORMAT); stray bytes between its markers do not. The image's pixels lie in `pixels`.
 * Sentences name no file: callers put it before. */
fb_status fb_data_image_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                               fb_data_image *out);

fb_status fb_data_jpeg_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                              fb_data_image *out);
fb_status fb_data_png_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                             fb_data_image *out);

/* Checks the sides against the limits and makes room for height x width x 3. */
fb_status fb_data_image_room(uint32_t height, uint32_t width, fb_data_buffer *pixels,
                             fb_data_image *out);

/* Part [y, y+h) x [x, x+w) of an image. */
typedef struct fb_data_window {
    uint32_t y, x, h, w;
} fb_data_window;

/* Buffers that fb_data_resize reuses. */
typedef struct fb_data_resizer {
    fb_data_buffer rows, coefficients;
} fb_data_resizer;

/* The window of `src` resized to height x width by PIL's antialiased bilinear filter, equal to
 * Pillow's Image.resize(..., BILINEAR) to the bit. Only what the window needs is computed.
 *   src   1 to 4 channels, sides up to FB_DATA_MAX_SIDE
 *   dst   first pixel of the window; rows dst_stride bytes apart; as many channels as src
 */
fb_status fb_data_resize(const fb_data_image *src, uint32_t height, uint32_t width,
                         fb_data_window window, fb_data_resizer *resizer, uint8_t *dst,
                         size_t dst_stride);

#endif
