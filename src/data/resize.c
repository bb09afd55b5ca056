/* Pillow's two-pass resampling of 8-bit images with the bilinear (triangle) filter, to the bit:
 * Pillow src/libImaging/Resample.c. The filter widens with the reduction, so that every source
 * pixel counts (antialiasing); coefficients are rounded to 22 bits, and so is the image between the
 * passes, to 8. */
#include "base/size.h"
#include "base/status.h"
#include "data/image.h"

#include <math.h>
#include <string.h>

enum { PRECISION = 32 - 8 - 2, HALF = 1 << (PRECISION - 1), BLOCK = 32 };

/* Output k of an axis is the sum of weights[k * stride + j] * input[first[k] + j], j < count[k]. */
typedef struct axis {
    size_t stride;
    int32_t *first, *count, *weights;
} axis;

static uint8_t clip8(int32_t sum)
{
    int32_t v = sum >> PRECISION;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static void fill_axis(axis *a, uint32_t in, uint32_t out, uint32_t from, uint32_t n, double *w)
{
    double scale = (double)in / out;
    double stretch = scale < 1.0 ? 1.0 : scale;
    double support = stretch, shrink = 1.0 / stretch;
    for (uint32_t k = 0; k < n; k++) {
        double centre = ((double)(from + k) + 0.5) * scale;
        int32_t first = (int32_t)(centre - support + 0.5);
        int32_t last = (int32_t)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        last = last > (int32_t)in ? (int32_t)in : last;
        double sum = 0.0;
        for (int32_t j = 0; j < last - first; j++) {
            w[j] = triangle((j + first - centre + 0.5) * shrink);
            sum += w[j];
        }
        for (int32_t j = 0; j < last - first; j++) {
            double normal = sum != 0.0 ? w[j] / sum : w[j];
            a->weights[k * a->stride + (size_t)j] =
                (int32_t)(0.5 + normal * (double)(1 << PRECISION)); /* never negative here */
        }
        a->first[k] = first;
        a->count[k] = last - first;
    }
}

static size_t axis_stride(uint32_t in, uint32_t out)
{
    double scale = (double)in / out;
    return (size_t)ceil(scale < 1.0 ? 1.0 : scale) * 2 + 1;
}

/* Both axes and a line of doubles from one block. */
static fb_status make_axes(const fb_data_image *src, uint32_t height, uint32_t width,
                           fb_data_window win, fb_data_buffer *buffer, axis *across, axis *down)
{
    across->stride = axis_stride(src->width, width);
    down->stride = axis_stride(src->height, height);
    size_t line = across->stride > down->stride ? across->stride : down->stride;
    /* Strides are at most 2 * 16384 + 3 and windows at most 16384, so nothing here can overflow. */
    size_t n = (across->stride + 2) * win.w + (down->stride + 2) * win.h;
    double *w = fb_data_room(buffer, line * sizeof *w + n * sizeof(int32_t));
    if (!w)
        return FB_E_MEMORY;
    int32_t *at = (int32_t *)(w + line);
    across->first = at;
    across->count = at + win.w;
    across->weights = at + 2 * (size_t)win.w;
    at += (across->stride + 2) * win.w;
    down->first = at;
    down->count = at + win.h;
    down->weights = at + 2 * (size_t)win.h;
    fill_axis(across, src->width, width, win.x, win.w, w);
    fill_axis(down, src->height, height, win.y, win.h, w);
    return FB_OK;
}

static void row_across_3(const axis *a, uint32_t n, const uint8_t *in, uint8_t *out)
{
    for (uint32_t k = 0; k < n; k++, out += 3) {
        const uint8_t *p = in + (size_t)a->first[k] * 3;
        const int32_t *w = a->weights + k * a->stride;
        int32_t r = HALF, g = HALF, b = HALF;
        for (int32_t j = 0; j < a->count[k]; j++, p += 3) {
            r += p[0] * w[j];
            g += p[1] * w[j];
            b += p[2] * w[j];
        }
        out[0] = clip8(r);
        out[1] = clip8(g);
        out[2] = clip8(b);
    }
}

static void row_across(const axis *a, uint32_t n, uint32_t channels, const uint8_t *in,
                       uint8_t *out)
{
    if (channels == 3) {
        row_across_3(a, n, in, out);
        return;
    }
    for (uint32_t k = 0; k < n; k++) {
        const uint8_t *p = in + (size_t)a->first[k] * channels;
        const int32_t *w = a->weights + k * a->stride;
        for (uint32_t c = 0; c < channels; c++) {
            int32_t sum = HALF;
            for (int32_t j = 0; j < a->count[k]; j++)
                sum += p[(size_t)j * channels + c] * w[j];
            *out++ = clip8(sum);
        }
    }
}

/* One output row from `count` rows of n bytes. The fixed block lets compilers use vectors. */
static void row_down(const uint8_t *rows, size_t n, const int32_t *w, int32_t count, uint8_t *out)
{
    size_t x = 0;
    for (; x + BLOCK <= n; x += BLOCK) {
        int32_t sum[BLOCK];
        for (int i = 0; i < BLOCK; i++)
            sum[i] = HALF;
        for (int32_t j = 0; j < count; j++) {
            const uint8_t *row = rows + (size_t)j * n + x;
            for (int i = 0; i < BLOCK; i++)
                sum[i] += row[i] * w[j];
        }
        for (int i = 0; i < BLOCK; i++)
            out[x + (size_t)i] = clip8(sum[i]);
    }
    for (; x < n; x++) {
        int32_t sum = HALF;
        for (int32_t j = 0; j < count; j++)
            sum += rows[(size_t)j * n + x] * w[j];
        out[x] = clip8(sum);
    }
}

fb_status fb_data_resize(const fb_data_image *src, uint32_t height, uint32_t width,
                         fb_data_window window, fb_data_resizer *resizer, uint8_t *dst,
                         size_t dst_stride)
{
    if (window.h == 0 || window.w == 0)
        return FB_OK;
    axis across, down;
    FB_TRY(make_axes(src, height, width, window, &resizer->coefficients, &across, &down));
    /* Rows of the source that the window's rows look at. */
    int32_t first = down.first[0];
    int32_t last = down.first[window.h - 1] + down.count[window.h - 1];
    size_t n_rows = (size_t)(last - first), line = (size_t)window.w * src->channels, bytes;
    if (!fb_size_mul(n_rows, line, &bytes))
        return fb_fail(FB_E_LIMIT, "an image of %ux%u is too large to resize", width, height);
    uint8_t *rows = fb_data_room(&resizer->rows, bytes);
    if (!rows)
        return FB_E_MEMORY;
    size_t src_stride = (size_t)src->width * src->channels;
    for (size_t y = 0; y < n_rows; y++) {
        const uint8_t *in = src->pixels + ((size_t)first + y) * src_stride;
        if (width == src->width)
            memcpy(rows + y * line, in + (size_t)window.x * src->channels, line);
        else
            row_across(&across, window.w, src->channels, in, rows + y * line);
    }
    for (uint32_t y = 0; y < window.h; y++)
        row_down(rows + (size_t)(down.first[y] - first) * line, line,
                 down.weights + y * down.stride, down.count[y], dst + y * dst_stride);
    return FB_OK;
}
