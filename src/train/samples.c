/* Reading a training set into memory. */
#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "train/stream.h"

#include <math.h>
#include <string.h>

enum { PIECE = 64 }; /* samples read at once */

static uint32_t channel_of(const fb_train_set *s, size_t element)
{
    size_t c = element % s->c;
    return c < 4 ? (uint32_t)c : 0;
}

static void fill_table(const fb_prep *prep, fb_train_set *s)
{
    bool identity = !prep->name[0];
    for (uint32_t c = 0; c < 4; c++) {
        for (int v = 0; v < 256; v++)
            s->table[c][v] =
                identity ? (float)v : ((float)v / prep->scale - prep->mean[c]) / prep->std[c];
    }
}

/* The pixels of a sample, if its floats are exactly theirs. */
static bool to_pixels(const fb_train_set *s, const float *x, size_t elems, uint8_t *pixels)
{
    for (size_t i = 0; i < elems; i++) {
        const float *table = s->table[channel_of(s, i)];
        float v = (x[i] - table[0]) / (table[1] - table[0]);
        if (!(v > -0.5f && v < 255.5f))
            return false;
        pixels[i] = (uint8_t)lrintf(v);
        if (table[pixels[i]] != x[i])
            return false;
    }
    return true;
}

/* From bytes to floats, when a sample turns up that is no image. */
static fb_status widen(fb_train_set *s, uint64_t upto, size_t elems)
{
    size_t n;
    if (!fb_size_mul((size_t)s->n, elems, &n) || !(s->values = fb_calloc(n, sizeof *s->values)))
        return fb_fail(FB_E_MEMORY, "no memory for %llu training samples of %zu numbers",
                       (unsigned long long)s->n, elems);
    for (size_t i = 0; i < (size_t)upto * elems; i++)
        s->values[i] = s->table[channel_of(s, i)][s->pixels[i]];
    fb_free(s->pixels);
    s->pixels = NULL;
    return FB_OK;
}

static fb_status keep(fb_train_set *s, uint64_t at, uint32_t got, const float *x, size_t elems)
{
    for (uint32_t i = 0; i < got; i++, x += elems) {
        size_t to = (size_t)(at + i) * elems;
        if (s->pixels && !to_pixels(s, x, elems, s->pixels + to))
            FB_TRY(widen(s, at + i, elems));
        if (!s->pixels)
            memcpy(s->values + to, x, elems * sizeof *x);
    }
    return FB_OK;
}

static fb_status read_all(fb_data *data, fb_progress progress, void *user, fb_train_set *s)
{
    size_t elems = s->h * s->w * s->c;
    float *x = fb_calloc(PIECE, elems * sizeof *x);
    fb_status status = x ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to read training samples");
    fb_data_rewind(data);
    for (uint64_t at = 0; status == FB_OK && at < s->n;) {
        uint32_t got = 0;
        if (progress && !progress(user, "reading", at, s->n)) {
            status = fb_fail(FB_E_INTERRUPTED, "interrupted while reading the training set");
            break;
        }
        status = fb_data_next(data, PIECE, x, s->labels + at, &got);
        if (status == FB_OK && got == 0)
            status = fb_fail(FB_E_IO, "the training set ended after %llu of %llu samples",
                             (unsigned long long)at, (unsigned long long)s->n);
        if (status == FB_OK)
            status = keep(s, at, got, x, elems);
        at += got;
    }
    fb_free(x);
    return status;
}

static fb_status check_labels(fb_train_set *s)
{
    for (uint64_t i = 0; i < s->n; i++) {
        if (s->labels[i] < 0)
            return fb_fail(FB_E_ARG, "sample %llu of the training set has no label",
                           (unsigned long long)i);
        if ((uint32_t)s->labels[i] >= s->n_classes)
            s->n_classes = (uint32_t)s->labels[i] + 1;
    }
    return FB_OK;
}

fb_status fb_train_set_read(fb_data *data, const fb_prep *prep, fb_progress progress, void *user,
                            fb_train_set *out)
{
    fb_sample_shape shape;
    fb_data_shape(data, &shape);
    *out = (fb_train_set){
        .n = fb_data_count(data), .h = shape.height, .w = shape.width, .c = shape.channels};
    out->flat = shape.height == 1 && shape.width == 1 && shape.channels > 4;
    size_t elems = out->h * out->w * out->c, bytes;
    if (!fb_data_labelled(data) || out->n == 0)
        return fb_fail(FB_E_ARG, "the training set has no %s", out->n ? "labels" : "samples");
    if (!fb_size_mul((size_t)out->n, elems, &bytes))
        return fb_fail(FB_E_LIMIT, "the training set does not fit into memory");
    fill_table(prep, out);
    out->pixels = fb_alloc(bytes);
    out->labels = fb_calloc((size_t)out->n, sizeof *out->labels);
    fb_status status = out->pixels && out->labels
                           ? read_all(data, progress, user, out)
                           : fb_fail(FB_E_MEMORY, "no memory for %llu training samples",
                                     (unsigned long long)out->n);
    if (status == FB_OK)
        status = check_labels(out);
    if (status != FB_OK)
        fb_train_set_free(out);
    return status;
}

void fb_train_set_free(fb_train_set *s)
{
    fb_free(s->pixels);
    fb_free(s->values);
    fb_free(s->labels);
    *s = (fb_train_set){0};
}
