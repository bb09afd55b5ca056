#include "data/image.h"

#include "base/status.h"
#include "data/prep.h"

#include <string.h>

fb_data_image_kind fb_data_image_sniff(const uint8_t *bytes, size_t n)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (n >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
        return FB_DATA_JPEG;
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        return FB_DATA_PNG;
    return FB_DATA_NO_IMAGE;
}

fb_status fb_data_image_decode(const uint8_t *bytes, size_t n, fb_data_buffer *pixels,
                               fb_data_image *out)
{
    switch (fb_data_image_sniff(bytes, n)) {
    case FB_DATA_JPEG:
        return fb_data_jpeg_decode(bytes, n, pixels, out);
    case FB_DATA_PNG:
        return fb_data_png_decode(bytes, n, pixels, out);
    case FB_DATA_NO_IMAGE:
        break;
    }
    return fb_fail(FB_E_FORMAT,
                   n == 0 ? "the file is empty" : "it is neither a JPEG nor a PNG image");
}

fb_status fb_data_image_room(uint32_t height, uint32_t width, fb_data_buffer *pixels,
                             fb_data_image *out)
{
    if (height == 0 || width == 0)
        return fb_fail(FB_E_FORMAT, "the image is %ux%u, which has no pixels", width, height);
    if (height > FB_DATA_MAX_SIDE || width > FB_DATA_MAX_SIDE ||
        (uint64_t)height * width > FB_DATA_MAX_PIXELS)
        return fb_fail(FB_E_LIMIT, "the image is %ux%u, and the limit is %u a side and %llu pixels",
                       width, height, FB_DATA_MAX_SIDE, (unsigned long long)FB_DATA_MAX_PIXELS);
    uint8_t *p = fb_data_room(pixels, (size_t)height * width * 3);
    if (!p)
        return FB_E_MEMORY;
    *out = (fb_data_image){p, height, width, 3};
    return FB_OK;
}
