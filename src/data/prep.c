/* Preprocessing as text: presets, parser, formatter. */
#include "data/prep.h"

#include "base/status.h"
#include "data/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PRESET_NAMES "imagenet, tensorflow, caffe, cifar10, mnist, none"
#define KEY_NAMES    "size, resize, mean, std, scale, order"

static const fb_prep presets[] = {
    {"imagenet",
     256,
     0,
     224,
     224,
     255.0f,
     {0.485f, 0.456f, 0.406f, 0.0f},
     {0.229f, 0.224f, 0.225f, 1.0f},
     FB_RGB},
    {"tensorflow", 256, 0, 224, 224, 127.5f, {1, 1, 1, 1}, {1, 1, 1, 1}, FB_RGB},
    {"caffe", 256, 0, 227, 227, 1.0f, {104, 117, 123, 0}, {1, 1, 1, 1}, FB_BGR},
    {"cifar10",
     0,
     0,
     0,
     0,
     255.0f,
     {0.485f, 0.456f, 0.406f, 0.0f},
     {0.229f, 0.224f, 0.225f, 1.0f},
     FB_RGB},
    {"mnist",
     0,
     0,
     0,
     0,
     255.0f,
     {0.1307f, 0.1307f, 0.1307f, 0.1307f},
     {0.3081f, 0.3081f, 0.3081f, 0.3081f},
     FB_GRAY},
    {"none", 0, 0, 0, 0, 1.0f, {0, 0, 0, 0}, {1, 1, 1, 1}, FB_RGB},
    {"", 0, 0, 0, 0, 1.0f, {0, 0, 0, 0}, {1, 1, 1, 1}, FB_RGB},
};

static const char *const order_names[] = {"rgb", "bgr", "gray"};

static const fb_prep *preset_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strlen(presets[i].name) == n && memcmp(presets[i].name, name, n) == 0)
            return &presets[i];
    }
    return NULL;
}

static bool all_equal(const float v[4])
{
    return v[0] == v[1] && v[0] == v[2] && v[0] == v[3];
}

bool fb_data_prep_uniform(const fb_prep *prep)
{
    return all_equal(prep->mean) && all_equal(prep->std);
}

void fb_data_prep_identity(fb_prep *prep)
{
    *prep = *preset_find("", 0);
}

/* `side` of the crop times the preset's ratio of resize to crop, rounded. */
static uint32_t scaled_resize(const fb_prep *preset, uint32_t h, uint32_t w)
{
    uint64_t side = h > w ? h : w;
    uint64_t scaled =
        (side * preset->resize_h * 2 + preset->crop_h) / (2 * (uint64_t)preset->crop_h);
    return scaled > FB_DATA_MAX_SIDE ? FB_DATA_MAX_SIDE : (uint32_t)scaled;
}

/* What size=H/W without resize= means. */
static void geometry_from_size(const fb_prep *preset, uint32_t h, uint32_t w, fb_prep *prep)
{
    if (preset->resize_h == 0) {
        prep->resize_h = h;
        prep->resize_w = w;
        return;
    }
    prep->crop_h = h;
    prep->crop_w = w;
    if (h > 0) {
        prep->resize_h = scaled_resize(preset, h, w);
        prep->resize_w = 0;
    }
}

/* A preset's mean or std when `order` is not the preset's own. False for gray out of colours. */
static bool reorder(const fb_prep *preset, fb_channel_order order, const float from[4], float to[4])
{
    memcpy(to, from, 4 * sizeof to[0]);
    if (order == preset->order || all_equal(from))
        return true;
    if (order == FB_GRAY)
        return from[0] == from[1] && from[0] == from[2];
    to[0] = from[2];
    to[2] = from[0];
    return true;
}

static bool same_geometry(const fb_prep *a, const fb_prep *b)
{
    return a->resize_h == b->resize_h && a->resize_w == b->resize_w && a->crop_h == b->crop_h &&
           a->crop_w == b->crop_w;
}

/* ---- parser ---- */

typedef struct field {
    const char *value; /* NULL when the key was not given */
    size_t n;
} field;

enum { KEY_SIZE, KEY_RESIZE, KEY_MEAN, KEY_STD, KEY_SCALE, KEY_ORDER, N_KEYS };
static const char *const keys[N_KEYS] = {"size", "resize", "mean", "std", "scale", "order"};

static int shown(size_t n)
{
    return n > 64 ? 64 : (int)n;
}

static fb_status split_fields(const char *at, field fields[N_KEYS])
{
    while (*at == ',') {
        at++;
        size_t n = strcspn(at, ",");
        const char *equals = memchr(at, '=', n);
        if (!equals)
            return fb_fail(FB_E_ARG,
                           "preprocessing '%.*s' is not key=value (the keys are " KEY_NAMES ")",
                           shown(n), at);
        size_t key_n = (size_t)(equals - at);
        int key = 0;
        while (key < N_KEYS && !(strlen(keys[key]) == key_n && memcmp(keys[key], at, key_n) == 0))
            key++;
        if (key == N_KEYS)
            return fb_fail(FB_E_ARG,
                           "preprocessing key '%.*s' is unknown (the keys are " KEY_NAMES ")",
                           shown(key_n), at);
        if (fields[key].value)
            return fb_fail(FB_E_ARG, "preprocessing key '%s' is given twice", keys[key]);
        fields[key].value = equals + 1;
        fields[key].n = n - key_n - 1;
        at += n;
    }
    return FB_OK;
}

/* One or two whole numbers joined by '/'; *w = 0 when there is one. */
static fb_status read_sides(const char *key, field f, const char *one_means, uint32_t *h,
                            uint32_t *w)
{
    uint64_t a = 0, b = 0;
    const char *slash = memchr(f.value, '/', f.n);
    size_t n = slash ? (size_t)(slash - f.value) : f.n;
    bool good = fb_data_read_u64(f.value, n, FB_DATA_MAX_SIDE, &a);
    if (good && slash)
        good = fb_data_read_u64(slash + 1, f.n - n - 1, FB_DATA_MAX_SIDE, &b) && a > 0 && b > 0;
    if (!good)
        return fb_fail(
            FB_E_ARG,
            "preprocessing %s=%.*s must be %s, a height/width, each 1 to %u, or 0 for none", key,
            shown(f.n), f.value, one_means, FB_DATA_MAX_SIDE);
    *h = (uint32_t)a;
    *w = (uint32_t)b;
    return FB_OK;
}

static fb_status read_geometry(const fb_prep *preset, const field fields[N_KEYS], fb_prep *prep)
{
    uint32_t h = 0, w = 0;
    field size = fields[KEY_SIZE], resize = fields[KEY_RESIZE];
    if (resize.value)
        FB_TRY(read_sides("resize", resize, "the length of the short side", &prep->resize_h,
                          &prep->resize_w));
    if (!size.value)
        return FB_OK;
    FB_TRY(read_sides("size", size, "the side of a square", &h, &w));
    if (w == 0)
        w = h;
    if (resize.value) {
        prep->crop_h = h;
        prep->crop_w = w;
    } else {
        geometry_from_size(preset, h, w, prep);
    }
    return FB_OK;
}

/* One to four numbers joined by '/'. One stands for all channels; of more, those not given are
 * `rest`. */
static fb_status read_channels(const char *key, field f, bool positive, float rest, float out[4])
{
    size_t count = 0;
    const char *at = f.value, *end = f.value + f.n;
    bool good = true;
    for (;;) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *stop = slash ? slash : end;
        float v = 0;
        good = count < 4 && fb_data_read_float(at, (size_t)(stop - at), &v) && (!positive || v > 0);
        if (!good)
            break;
        out[count++] = v;
        if (!slash)
            break;
        at = slash + 1;
    }
    if (!good)
        return fb_fail(FB_E_ARG,
                       "preprocessing %s=%.*s must be one to four %snumbers joined by '/'", key,
                       shown(f.n), f.value, positive ? "positive " : "");
    float fill = count == 1 ? out[0] : rest;
    for (; count < 4; count++)
        out[count] = fill;
    return FB_OK;
}

static fb_status read_values(const fb_prep *preset, const field fields[N_KEYS], fb_prep *prep)
{
    field f = fields[KEY_SCALE];
    if (f.value && (!fb_data_read_float(f.value, f.n, &prep->scale) || !(prep->scale > 0)))
        return fb_fail(FB_E_ARG, "preprocessing scale=%.*s must be a positive number", shown(f.n),
                       f.value);
    f = fields[KEY_ORDER];
    if (f.value) {
        int order = 0;
        while (order < 3 && !(strlen(order_names[order]) == f.n &&
                              memcmp(order_names[order], f.value, f.n) == 0))
            order++;
        if (order == 3)
            return fb_fail(FB_E_ARG, "preprocessing order=%.*s must be rgb, bgr or gray",
                           shown(f.n), f.value);
        prep->order = (fb_channel_order)order;
    }
    bool fits = reorder(preset, prep->order, preset->mean, prep->mean);
    fits = (reorder(preset, prep->order, preset->std, prep->std) || fields[KEY_STD].value) &&
           (fits || fields[KEY_MEAN].value);
    if (!fits)
        return fb_fail(
            FB_E_ARG,
            "preprocessing order=gray needs mean= and std=, because '%s' has one a colour",
            preset->name);
    if (fields[KEY_MEAN].value)
        FB_TRY(read_channels("mean", fields[KEY_MEAN], false, 0.0f, prep->mean));
    if (fields[KEY_STD].value)
        FB_TRY(read_channels("std", fields[KEY_STD], true, 1.0f, prep->std));
    return FB_OK;
}

fb_status fb_prep_parse(const char *text, fb_prep *prep)
{
    if (!text || !prep)
        return fb_fail(FB_E_ARG, "fb_prep_parse needs a text and a place for the result");
    size_t name_n = strcspn(text, ",");
    const fb_prep *preset = preset_find(text, name_n);
    if (!preset || (name_n == 0 && text[0]))
        return fb_fail(FB_E_ARG, "preprocessing '%.*s' is unknown (choose " PRESET_NAMES ")",
                       shown(name_n), text);
    field fields[N_KEYS] = {{NULL, 0}};
    fb_prep result = *preset;
    FB_TRY(split_fields(text + name_n, fields));
    FB_TRY(read_geometry(preset, fields, &result));
    FB_TRY(read_values(preset, fields, &result));
    *prep = result;
    return FB_OK;
}

/* ---- formatter ---- */

fb_status fb_data_prep_check(const fb_prep *prep)
{
    const char *end = memchr(prep->name, '\0', sizeof prep->name);
    const fb_prep *preset = end ? preset_find(prep->name, (size_t)(end - prep->name)) : NULL;
    if (!preset)
        return fb_fail(FB_E_ARG, "preprocessing '%.16s' is unknown (choose " PRESET_NAMES ")",
                       prep->name);
    if (!preset->name[0])
        return FB_OK; /* the other fields do not count */
    if (prep->resize_h > FB_DATA_MAX_SIDE || prep->resize_w > FB_DATA_MAX_SIDE ||
        prep->crop_h > FB_DATA_MAX_SIDE || prep->crop_w > FB_DATA_MAX_SIDE)
        return fb_fail(FB_E_ARG, "preprocessing '%s' has a side above %u", prep->name,
                       FB_DATA_MAX_SIDE);
    if ((prep->resize_w && !prep->resize_h) || !prep->crop_h != !prep->crop_w)
        return fb_fail(FB_E_ARG, "preprocessing '%s' has a width without a height or the reverse",
                       prep->name);
    if (!(prep->scale > 0) || !isfinite(prep->scale))
        return fb_fail(FB_E_ARG, "preprocessing '%s' has scale %g, which must be positive",
                       prep->name, (double)prep->scale);
    for (int c = 0; c < 4; c++) {
        if (!isfinite(prep->mean[c]) || !(prep->std[c] > 0) || !isfinite(prep->std[c]))
            return fb_fail(FB_E_ARG,
                           "preprocessing '%s' has mean %g and std %g, which must be positive",
                           prep->name, (double)prep->mean[c], (double)prep->std[c]);
    }
    if ((unsigned)prep->order > FB_GRAY)
        return fb_fail(FB_E_ARG,
                       "preprocessing '%s' has channel order %u, which is none of rgb, bgr, gray",
                       prep->name, (unsigned)prep->order);
    return FB_OK;
}

typedef struct writer {
    char text[512]; /* all keys at their longest take less than 300 bytes */
    size_t n;
} writer;

static void put(writer *w, const char *text)
{
    size_t n = strlen(text);
    if (n < sizeof w->text - w->n) {
        memcpy(w->text + w->n, text, n + 1);
        w->n += n;
    }
}

static void put_sides(writer *w, const char *key, uint32_t h, uint32_t width)
{
    char text[64];
    if (width)
        (void)snprintf(text, sizeof text, ",%s=%u/%u", key, h, width);
    else
        (void)snprintf(text, sizeof text, ",%s=%u", key, h);
    put(w, text);
}

static void put_size(writer *w, uint32_t h, uint32_t width)
{
    put_sides(w, "size", h, h == width ? 0 : width);
}

static void put_geometry(writer *w, const fb_prep *preset, const fb_prep *prep)
{
    if (same_geometry(preset, prep))
        return;
    fb_prep from_size = *preset;
    uint32_t h = preset->resize_h ? prep->crop_h : prep->resize_h;
    uint32_t width = preset->resize_h ? prep->crop_w : prep->resize_w;
    geometry_from_size(preset, h, width, &from_size);
    if (width && same_geometry(&from_size, prep)) {
        put_size(w, h, width);
        return;
    }
    put_sides(w, "resize", prep->resize_h, prep->resize_w);
    if (preset->crop_h != prep->crop_h || preset->crop_w != prep->crop_w)
        put_size(w, prep->crop_h, prep->crop_w);
}

static void put_channels(writer *w, const char *key, const float v[4], float rest)
{
    size_t count = 1;
    if (!all_equal(v)) {
        count = 4;
        while (count > 2 && v[count - 1] == rest)
            count--;
    }
    for (size_t c = 0; c < count; c++) {
        char number[FB_DATA_FLOAT_CHARS];
        fb_data_write_float(v[c], number);
        if (c == 0) {
            put(w, ",");
            put(w, key);
        }
        put(w, c == 0 ? "=" : "/");
        put(w, number);
    }
}

static bool same4(const float a[4], const float b[4])
{
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

fb_status fb_prep_format(const fb_prep *prep, char *text, size_t cap)
{
    if (!prep || !text || cap == 0)
        return fb_fail(FB_E_ARG, "fb_prep_format needs a preprocessing and room for a text");
    text[0] = '\0';
    FB_TRY(fb_data_prep_check(prep));
    const fb_prep *preset = preset_find(prep->name, strlen(prep->name));
    writer w = {.n = 0};
    w.text[0] = '\0';
    put(&w, prep->name);
    if (prep->name[0]) {
        put_geometry(&w, preset, prep);
        float mean[4], std[4];
        bool fits = reorder(preset, prep->order, preset->mean, mean);
        bool std_fits = reorder(preset, prep->order, preset->std, std);
        if (prep->order != preset->order) {
            put(&w, ",order=");
            put(&w, order_names[prep->order]);
        }
        if (prep->scale != preset->scale) {
            char number[FB_DATA_FLOAT_CHARS];
            fb_data_write_float(prep->scale, number);
            put(&w, ",scale=");
            put(&w, number);
        }
        if (!fits || !same4(mean, prep->mean))
            put_channels(&w, "mean", prep->mean, 0.0f);
        if (!std_fits || !same4(std, prep->std))
            put_channels(&w, "std", prep->std, 1.0f);
    }
    if (w.n >= cap)
        return fb_fail(FB_E_ARG,
                       "preprocessing as text takes %zu bytes, and the caller has room for %zu",
                       w.n + 1, cap);
    memcpy(text, w.text, w.n + 1);
    return FB_OK;
}

void fb_prep_fit(fb_prep *prep, uint32_t height, uint32_t width)
{
    if (!prep || height == 0 || width == 0 || !memchr(prep->name, '\0', sizeof prep->name))
        return;
    const fb_prep *preset = preset_find(prep->name, strlen(prep->name));
    if (!preset || preset->crop_h == 0 || prep->crop_h != preset->crop_h ||
        prep->crop_w != preset->crop_w)
        return;
    if (prep->resize_h == preset->resize_h && prep->resize_w == preset->resize_w)
        prep->resize_h = scaled_resize(preset, height, width);
    prep->crop_h = height;
    prep->crop_w = width;
}
