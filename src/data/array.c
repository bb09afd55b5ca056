#include "data/array.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "data/prep.h"

#include <math.h>
#include <string.h>

size_t fb_data_elem_bytes(fb_data_elem elem)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8};
    return bytes[elem];
}

static float half_to_float(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31);
    float fraction = (float)(h & 1023);
    float v;
    if (exponent == 31)
        v = fraction > 0 ? NAN : INFINITY;
    else if (exponent == 0)
        v = ldexpf(fraction, -24);
    else
        v = ldexpf(fraction + 1024.0f, exponent - 25);
    return h >> 15 ? -v : v;
}

bool fb_data_elem_int(fb_data_elem elem, const uint8_t *data, size_t k, int64_t *out)
{
    const uint8_t *p = data + k * fb_data_elem_bytes(elem);
    switch (elem) {
    case FB_DATA_U8:
        *out = p[0];
        return true;
    case FB_DATA_I8:
        *out = (int8_t)p[0];
        return true;
    case FB_DATA_U16:
        *out = (int64_t)fb_data_u16le(p);
        return true;
    case FB_DATA_I16:
        *out = (int16_t)fb_data_u16le(p);
        return true;
    case FB_DATA_U32:
        *out = fb_data_u32le(p);
        return true;
    case FB_DATA_I32:
        *out = (int32_t)fb_data_u32le(p);
        return true;
    case FB_DATA_U64:
    case FB_DATA_I64:
        *out = (int64_t)fb_data_u64le(p);
        return elem == FB_DATA_I64 || *out >= 0;
    case FB_DATA_F16:
    case FB_DATA_F32:
    case FB_DATA_F64:
        break;
    }
    return false;
}

float fb_data_elem_float(fb_data_elem elem, const uint8_t *data, size_t k)
{
    const uint8_t *p = data + k * fb_data_elem_bytes(elem);
    if (elem == FB_DATA_F32) {
        uint32_t bits = fb_data_u32le(p);
        float v;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    if (elem == FB_DATA_F64) {
        uint64_t bits = fb_data_u64le(p);
        double v;
        memcpy(&v, &bits, sizeof v);
        /* A conversion out of float's range is undefined in C. */
        return fabs(v) > 3.4028234e38 ? (float)NAN : (float)v;
    }
    if (elem == FB_DATA_F16)
        return half_to_float(fb_data_u16le(p));
    int64_t v = 0;
    if (!fb_data_elem_int(elem, data, k, &v))
        return (float)fb_data_u64le(p);
    return (float)v;
}

void fb_data_array_free(fb_data_array *array)
{
    fb_data_piece *pieces = array->pieces;
    for (size_t i = 0; i < array->n_pieces; i++) {
        fb_data_bytes_close(&pieces[i].bytes);
        fb_free(pieces[i].name);
    }
    fb_free(pieces);
    memset(array, 0, sizeof *array);
}

fb_status fb_data_array_shape(fb_data_array *array, fb_data_elem elem, fb_data_order order,
                              uint32_t rank, const uint64_t *dims, const char *name)
{
    char text[FB_DATA_DIMS_CHARS];
    if (rank > FB_MAX_RANK)
        return fb_fail(FB_E_LIMIT, "samples of '%s' have %u dimensions, and %u is the limit", name,
                       rank, FB_MAX_RANK);
    size_t n = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] == 0)
            return fb_fail(FB_E_FORMAT, "samples of '%s' are %s, which has no elements", name,
                           fb_data_dims_text(dims, rank, text));
        if (dims[i] > FB_DATA_MAX_ELEMS || !fb_size_mul(n, (size_t)dims[i], &n) ||
            n > FB_DATA_MAX_ELEMS)
            return fb_fail(FB_E_LIMIT, "samples of '%s' are %s, and %llu elements is the limit",
                           name, fb_data_dims_text(dims, rank, text),
                           (unsigned long long)FB_DATA_MAX_ELEMS);
    }
    array->elem = elem;
    array->order = order;
    array->rank = rank;
    if (rank)
        memcpy(array->dims, dims, rank * sizeof dims[0]);
    array->n_elems = n;
    return FB_OK;
}

static fb_status check_extent(const fb_data_array *array, const fb_data_bytes *bytes,
                              uint64_t first, uint64_t stride, uint64_t n, const char *name)
{
    uint64_t payload = array->n_elems * fb_data_elem_bytes(array->elem), all;
    if (n == 0)
        return fb_fail(FB_E_FORMAT, "'%s' holds no samples", name);
    if (n > FB_DATA_MAX_ELEMS * 8 || __builtin_mul_overflow(n - 1, stride, &all) ||
        __builtin_add_overflow(all, payload, &all) || __builtin_add_overflow(all, first, &all) ||
        all > bytes->size)
        return fb_fail(
            FB_E_FORMAT,
            "'%s' is cut short: its header promises %llu samples of %llu bytes, and the data "
            "are %llu bytes",
            name, (unsigned long long)n, (unsigned long long)payload,
            (unsigned long long)(bytes->size > first ? bytes->size - first : 0));
    return FB_OK;
}

fb_status fb_data_array_add(fb_data_array *array, fb_data_bytes *bytes, uint64_t first,
                            uint64_t stride, uint64_t n, const char *name)
{
    fb_status status = check_extent(array, bytes, first, stride, n, name);
    size_t name_n = strlen(name) + 1;
    char *copy = NULL;
    if (status == FB_OK) {
        copy = fb_alloc(name_n);
        if (!copy || !fb_grow(&array->pieces, &array->pieces_cap, array->n_pieces + 1,
                              sizeof(fb_data_piece)))
            status = fb_fail(FB_E_MEMORY, "out of memory for '%s'", name);
    }
    if (status != FB_OK) {
        fb_free(copy);
        fb_data_bytes_close(bytes);
        return status;
    }
    memcpy(copy, name, name_n);
    ((fb_data_piece *)array->pieces)[array->n_pieces++] =
        (fb_data_piece){*bytes, first, stride, n, copy};
    *bytes = FB_DATA_BYTES_NONE;
    return FB_OK;
}

/* ---- fitting ---- */

static void set_fit(fb_data_array *array, bool planar, uint64_t h, uint64_t w, uint64_t c)
{
    array->planar = planar;
    array->h = (uint32_t)h;
    array->w = (uint32_t)w;
    array->c = (uint32_t)c;
}

/* Dims of 1 carry no data: [49][10], [1][49][10] and [49][10][1] are one thing. */
static uint32_t squeeze(const uint64_t *dims, uint32_t rank, uint64_t out[FB_MAX_RANK])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] != 1)
            out[n++] = dims[i];
    }
    return n;
}

static bool same_squeezed(const fb_data_array *array, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t want[3] = {a, b, c}, x[FB_MAX_RANK] = {0}, y[FB_MAX_RANK] = {0};
    uint32_t n = squeeze(array->dims, array->rank, x);
    return n == squeeze(want, 3, y) && memcmp(x, y, n * sizeof x[0]) == 0;
}

/* The sample has exactly the network's elements, in an order that is understood. */
static bool fits_exactly(fb_data_array *array, const fb_data_prepare *prepare)
{
    const fb_sample_shape *s = &prepare->shape;
    bool maybe_chw =
        array->order == FB_DATA_CHW || (array->order == FB_DATA_BY_NETWORK && s->source_nchw);
    bool maybe_hwc = array->order != FB_DATA_CHW;
    if (array->n_elems != prepare->n_elems)
        return false;
    if (maybe_chw && same_squeezed(array, s->channels, s->height, s->width)) {
        set_fit(array, true, s->height, s->width, s->channels);
        return true;
    }
    if (maybe_hwc && same_squeezed(array, s->height, s->width, s->channels)) {
        set_fit(array, false, s->height, s->width, s->channels);
        return true;
    }
    /* A flat sample is in the source's order; a network with flat input takes any sample as it is
     * stored, unless the file's order is known and so belongs to an image. */
    uint64_t dims[FB_MAX_RANK];
    bool flat_sample = squeeze(array->dims, array->rank, dims) <= 1;
    if (flat_sample || (prepare->flat && array->order == FB_DATA_BY_NETWORK)) {
        set_fit(array, s->source_nchw, s->height, s->width, s->channels);
        return true;
    }
    return false;
}

/* [h][w], [h][w][c] or [c][h][w] with c 1 or 3. */
static bool looks_like_image(fb_data_array *array, const fb_data_prepare *prepare)
{
    const uint64_t *d = array->dims;
    if (array->elem != FB_DATA_U8)
        return false;
    if (array->rank == 2) {
        set_fit(array, false, d[0], d[1], 1);
        return true;
    }
    if (array->rank != 3)
        return false;
    bool maybe_chw = array->order == FB_DATA_CHW ||
                     (array->order == FB_DATA_BY_NETWORK && prepare->shape.source_nchw);
    if (maybe_chw && (d[0] == 1 || d[0] == 3)) {
        set_fit(array, true, d[1], d[2], d[0]);
        return true;
    }
    if (array->order != FB_DATA_CHW && (d[2] == 1 || d[2] == 3)) {
        set_fit(array, false, d[0], d[1], d[2]);
        return true;
    }
    return false;
}

static fb_status fit_image(fb_data_array *array, const fb_data_prepare *prepare, const char *name)
{
    const fb_sample_shape *s = &prepare->shape;
    array->how = FB_DATA_IMAGE;
    array->geometry = array->h != s->height || array->w != s->width;
    if (array->h > FB_DATA_MAX_SIDE || array->w > FB_DATA_MAX_SIDE)
        return fb_fail(FB_E_LIMIT, "images of '%s' are %ux%u, and %u a side is the limit", name,
                       array->h, array->w, FB_DATA_MAX_SIDE);
    fb_status status =
        fb_data_prepare_check(prepare, array->h, array->w, array->c, array->geometry);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "'%s'", name);
}

fb_status fb_data_array_fit(fb_data_array *array, const fb_data_prepare *prepare)
{
    const char *name = ((const fb_data_piece *)array->pieces)[0].name;
    char have[FB_DATA_DIMS_CHARS], want[FB_DATA_DIMS_CHARS];
    if (!fits_exactly(array, prepare)) {
        if (looks_like_image(array, prepare))
            return fit_image(array, prepare, name);
        return fb_fail(FB_E_ARG, "samples of '%s' are %s, but the network's input is %s%s", name,
                       fb_data_dims_text(array->dims, array->rank, have),
                       fb_data_shape_text(&prepare->shape, want),
                       array->elem == FB_DATA_U8 ? ""
                                                 : " (only 8-bit images are resized or cropped)");
    }
    bool image = array->elem == FB_DATA_U8 && !prepare->flat && (array->c == 1 || array->c == 3);
    if (image)
        return fit_image(array, prepare, name);
    array->how = FB_DATA_VALUES;
    if (array->c > 4 && !fb_data_prep_uniform(&prepare->prep))
        return fb_fail(
            FB_E_ARG,
            "preprocessing '%s' has a mean and std for each colour, but the network's input "
            "is %s",
            prepare->prep.name, fb_data_shape_text(&prepare->shape, want));
    return FB_OK;
}

/* ---- reading ---- */

const fb_data_piece *fb_data_array_piece(const fb_data_array *array, uint64_t *i)
{
    const fb_data_piece *piece = array->pieces;
    while (*i >= piece->n) {
        *i -= piece->n;
        piece++;
    }
    return piece;
}

static void interleave(const uint8_t *planes, size_t n, uint32_t c, uint8_t *out)
{
    for (uint32_t k = 0; k < c; k++) {
        for (size_t i = 0; i < n; i++)
            out[i * c + k] = planes[k * n + i];
    }
}

static fb_status read_values(const fb_data_array *array, const fb_data_prepare *prepare,
                             const uint8_t *raw, float *x)
{
    size_t plane = (size_t)array->h * array->w, n = array->n_elems;
    uint32_t c = 0;
    size_t i = 0; /* within its plane, of planar data */
    for (size_t k = 0; k < n; k++) {
        float v = fb_data_elem_float(array->elem, raw, k);
        v = fb_data_prepare_value(&prepare->prep, v, c);
        if (!isfinite(v))
            return fb_fail(FB_E_FORMAT, "element %zu is not a finite number", k);
        if (array->planar) {
            x[i * array->c + c] = v;
            if (++i == plane) {
                i = 0;
                c++;
            }
        } else {
            x[k] = v;
            c = c + 1 == array->c ? 0 : c + 1;
        }
    }
    return FB_OK;
}

fb_status fb_data_array_read(const fb_data_array *array, const fb_data_prepare *prepare, uint64_t i,
                             fb_data_scratch *scratch, float *x)
{
    uint64_t at = i;
    const fb_data_piece *piece = fb_data_array_piece(array, &at);
    size_t n_bytes = array->n_elems * fb_data_elem_bytes(array->elem);
    uint8_t *raw = fb_data_room(&scratch->file, n_bytes);
    if (!raw)
        return FB_E_MEMORY;
    FB_TRY(fb_data_bytes_read(&piece->bytes, piece->first + at * piece->stride, raw, n_bytes,
                              piece->name));
    fb_status status;
    if (array->how == FB_DATA_VALUES) {
        status = read_values(array, prepare, raw, x);
    } else {
        fb_data_image image = {raw, array->h, array->w, array->c};
        if (array->planar && array->c > 1) {
            uint8_t *pixels = fb_data_room(&scratch->pixels, n_bytes);
            if (!pixels)
                return FB_E_MEMORY;
            interleave(raw, (size_t)array->h * array->w, array->c, pixels);
            image.pixels = pixels;
        }
        status = fb_data_prepare_image(prepare, &image, array->geometry, scratch, x);
    }
    return status == FB_OK
               ? FB_OK
               : fb_fail_in(status, "sample %llu of '%s'", (unsigned long long)i, piece->name);
}
