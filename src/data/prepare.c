#include "data/prepare.h"

#include "base/size.h"
#include "base/status.h"
#include "data/prep.h"

#include <stdio.h>
#include <string.h>

void fb_data_scratch_free(fb_data_scratch *scratch)
{
    fb_data_buffer_free(&scratch->file);
    fb_data_buffer_free(&scratch->pixels);
    fb_data_buffer_free(&scratch->canvas);
    fb_data_buffer_free(&scratch->path);
    fb_data_buffer_free(&scratch->resizer.rows);
    fb_data_buffer_free(&scratch->resizer.coefficients);
}

static void trim(fb_data_buffer *buffer)
{
    enum { KEEP = 16 << 20 };
    if (buffer->cap > KEEP)
        fb_data_buffer_free(buffer);
}

void fb_data_scratch_trim(fb_data_scratch *scratch)
{
    trim(&scratch->file);
    trim(&scratch->pixels);
    trim(&scratch->canvas);
    trim(&scratch->resizer.rows);
}

const char *fb_data_dims_text(const uint64_t *dims, uint32_t rank, char text[FB_DATA_DIMS_CHARS])
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rank && at + 24 < FB_DATA_DIMS_CHARS; i++) {
        int n = snprintf(text + at, FB_DATA_DIMS_CHARS - at, "%s%llu", i ? "x" : "",
                         (unsigned long long)dims[i]);
        at += n > 0 ? (size_t)n : 0;
    }
    return text;
}

static bool is_flat(const fb_sample_shape *shape)
{
    return shape->height == 1 && shape->width == 1 && shape->channels > 4;
}

const char *fb_data_shape_text(const fb_sample_shape *shape, char text[FB_DATA_DIMS_CHARS])
{
    if (is_flat(shape))
        (void)snprintf(text, FB_DATA_DIMS_CHARS, "%u values", shape->channels);
    else
        (void)snprintf(text, FB_DATA_DIMS_CHARS, "%ux%ux%u (height x width x channels)",
                       shape->height, shape->width, shape->channels);
    return text;
}

fb_status fb_data_prepare_init(fb_data_prepare *prepare, const fb_prep *prep,
                               const fb_sample_shape *shape)
{
    memset(prepare, 0, sizeof *prepare);
    FB_TRY(fb_data_prep_check(prep));
    char text[FB_DATA_DIMS_CHARS];
    size_t n;
    if (shape->height == 0 || shape->width == 0 || shape->channels == 0)
        return fb_fail(FB_E_ARG, "the network's input is %s, which has no elements",
                       fb_data_shape_text(shape, text));
    if (!fb_size_mul(shape->height, shape->width, &n) || !fb_size_mul(n, shape->channels, &n) ||
        n > FB_DATA_MAX_ELEMS)
        return fb_fail(FB_E_LIMIT, "the network's input is %s, and %llu elements is the limit",
                       fb_data_shape_text(shape, text), (unsigned long long)FB_DATA_MAX_ELEMS);
    prepare->prep = *prep;
    if (!prep->name[0])
        fb_data_prep_identity(&prepare->prep);
    prepare->shape = *shape;
    prepare->n_elems = n;
    prepare->flat = is_flat(shape);
    for (uint32_t c = 0; c < 4; c++) {
        for (int v = 0; v < 256; v++)
            prepare->value[c][v] = fb_data_prepare_value(&prepare->prep, (float)v, c);
    }
    return FB_OK;
}

/* Where an image goes: resized to h x w as a whole, `window` of that is wanted, and it lands at
 * (pad_y, pad_x) of a zeroed canvas of out_h x out_w. */
typedef struct layout {
    uint32_t h, w;
    uint32_t out_h, out_w;
    fb_data_window window;
    uint32_t pad_y, pad_x;
} layout;

/* torchvision: int(short * long_side / short_side). */
static uint32_t other_side(uint32_t side, uint32_t shorter, uint32_t longer)
{
    return (uint32_t)((uint64_t)side * longer / shorter);
}

/* One axis of torchvision's center_crop: pads evenly with the odd line at the end, or cuts from
 * round(rest / 2.0), which in Python goes to the even neighbour. */
static void crop_axis(uint32_t size, uint32_t crop, uint32_t *from, uint32_t *n, uint32_t *pad)
{
    if (size <= crop) {
        *from = 0;
        *n = size;
        *pad = (crop - size) / 2;
        return;
    }
    uint32_t half = (size - crop) / 2;
    if ((size - crop) % 2 == 1)
        half += half % 2;
    *from = half;
    *n = crop;
    *pad = 0;
}

static layout plan(const fb_prep *prep, uint32_t h, uint32_t w, bool geometry)
{
    layout l = {.h = h, .w = w};
    if (geometry && prep->resize_h && prep->resize_w) {
        l.h = prep->resize_h;
        l.w = prep->resize_w;
    } else if (geometry && prep->resize_h) {
        l.h = h <= w ? prep->resize_h : other_side(prep->resize_h, w, h);
        l.w = w <= h ? prep->resize_h : other_side(prep->resize_h, h, w);
    }
    bool crop = geometry && prep->crop_h;
    l.out_h = crop ? prep->crop_h : l.h;
    l.out_w = crop ? prep->crop_w : l.w;
    crop_axis(l.h, l.out_h, &l.window.y, &l.window.h, &l.pad_y);
    crop_axis(l.w, l.out_w, &l.window.x, &l.window.w, &l.pad_x);
    return l;
}

static uint32_t out_channels(const fb_data_prepare *prepare, uint32_t channels)
{
    if (prepare->prep.order == FB_GRAY)
        return 1;
    if (channels == 1)
        return !prepare->flat && prepare->shape.channels == 3 ? 3 : 1;
    return channels;
}

static fb_status check_layout(const fb_data_prepare *prepare, const layout *l, uint32_t h,
                              uint32_t w, uint32_t channels)
{
    char text[FB_DATA_DIMS_CHARS];
    const fb_sample_shape *shape = &prepare->shape;
    if (prepare->flat ? (uint64_t)l->out_h * l->out_w * channels == prepare->n_elems
                      : l->out_h == shape->height && l->out_w == shape->width)
        return FB_OK;
    fb_data_shape_text(shape, text);
    if (l->out_h == h && l->out_w == w)
        return fb_fail(
            FB_E_ARG,
            "an image of %ux%u (height x width) does not fit the network's input of %s; a "
            "preprocessing with size= or resize= would make it fit",
            h, w, text);
    return fb_fail(
        FB_E_ARG,
        "preprocessing '%s' turns an image of %ux%u into %ux%u (height x width), but the "
        "network's input is %s",
        prepare->prep.name, h, w, l->out_h, l->out_w, text);
}

fb_status fb_data_prepare_check(const fb_data_prepare *prepare, uint32_t height, uint32_t width,
                                uint32_t channels, bool geometry)
{
    static const char *const orders[] = {"rgb", "bgr", "gray"};
    const fb_sample_shape *shape = &prepare->shape;
    const fb_prep *prep = &prepare->prep;
    uint32_t n = out_channels(prepare, channels);
    if (!prepare->flat && n != shape->channels)
        return fb_fail(FB_E_ARG,
                       "images have %u channel%s with order=%s, but the network's input has %u%s",
                       n, n == 1 ? "" : "s", orders[prep->order], shape->channels,
                       shape->channels == 1 ? "; add order=gray to the preprocessing" : "");
    bool exact = geometry && (prep->crop_h || (prep->resize_h && prep->resize_w));
    if (height == 0 && !exact)
        return FB_OK;
    if (height == 0) {
        layout l = plan(prep, 1, 1, true);
        if (prepare->flat ? (uint64_t)l.out_h * l.out_w * n != prepare->n_elems
                          : l.out_h != shape->height || l.out_w != shape->width) {
            char text[FB_DATA_DIMS_CHARS];
            return fb_fail(
                FB_E_ARG,
                "preprocessing '%s' gives %ux%u (height x width), but the network's input is "
                "%s; set size= to match",
                prep->name, l.out_h, l.out_w, fb_data_shape_text(shape, text));
        }
        return FB_OK;
    }
    layout l = plan(prep, height, width, geometry);
    return check_layout(prepare, &l, height, width, n);
}

/* The image after resize and crop, in scratch; *out stays what it was where nothing changes. */
static fb_status place(const fb_data_image *image, const layout *l, fb_data_scratch *scratch,
                       fb_data_image *out)
{
    bool same_size = l->h == image->height && l->w == image->width;
    if (same_size && l->out_h == l->h && l->out_w == l->w)
        return FB_OK;
    size_t stride = (size_t)l->out_w * image->channels, bytes;
    if (!fb_size_mul(stride, l->out_h, &bytes))
        return fb_fail(FB_E_LIMIT, "an image of %ux%u is too large", l->out_w, l->out_h);
    uint8_t *canvas = fb_data_room(&scratch->canvas, bytes);
    if (!canvas)
        return FB_E_MEMORY;
    if (l->window.h != l->out_h || l->window.w != l->out_w)
        memset(canvas, 0, bytes);
    *out = (fb_data_image){canvas, l->out_h, l->out_w, image->channels};
    uint8_t *to = canvas + l->pad_y * stride + (size_t)l->pad_x * image->channels;
    if (!same_size)
        return fb_data_resize(image, l->h, l->w, l->window, &scratch->resizer, to, stride);
    size_t in_stride = (size_t)image->width * image->channels;
    for (uint32_t y = 0; y < l->window.h; y++)
        memcpy(to + y * stride,
               image->pixels + (l->window.y + y) * in_stride +
                   (size_t)l->window.x * image->channels,
               (size_t)l->window.w * image->channels);
    return FB_OK;
}

/* PIL's convert("L"): ITU-R 601 luma in 16-bit fixed point; it keeps greys as they are. */
static uint8_t luma(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

/* n pixels; output element of pixel i and channel c is x[i * pixel_step + c * channel_step]. */
static void normalise(const fb_data_prepare *prepare, const uint8_t *p, size_t n, uint32_t in_c,
                      uint32_t out_c, size_t pixel_step, size_t channel_step, float *x)
{
    const float(*value)[256] = (const float(*)[256])prepare->value;
    if (in_c == 3 && out_c == 1) {
        for (size_t i = 0; i < n; i++, p += 3)
            x[i * pixel_step] = value[0][luma(p)];
        return;
    }
    for (uint32_t c = 0; c < out_c; c++) {
        uint32_t from = in_c == 1 ? 0 : prepare->prep.order == FB_BGR && in_c == 3 ? 2 - c : c;
        for (size_t i = 0; i < n; i++)
            x[i * pixel_step + c * channel_step] = value[c][p[i * in_c + from]];
    }
}

fb_status fb_data_prepare_image(const fb_data_prepare *prepare, const fb_data_image *image,
                                bool geometry, fb_data_scratch *scratch, float *x)
{
    FB_TRY(fb_data_prepare_check(prepare, image->height, image->width, image->channels, geometry));
    layout l = plan(&prepare->prep, image->height, image->width, geometry);
    fb_data_image ready = *image;
    FB_TRY(place(image, &l, scratch, &ready));
    size_t n = (size_t)ready.height * ready.width;
    uint32_t out_c = out_channels(prepare, ready.channels);
    bool planar = prepare->flat && prepare->shape.source_nchw;
    normalise(prepare, ready.pixels, n, ready.channels, out_c, planar ? 1 : out_c, planar ? n : 1,
              x);
    return FB_OK;
}
