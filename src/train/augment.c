#include "train/augment.h"

#include "base/status.h"
#include "numeric/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ------------------------------------------------------------------------------------ */

static fb_status bad_word(const char *word, size_t n)
{
    return fb_fail(FB_E_ARG,
                   "augmentation '%.*s' is none of crop=P (1 to 1024), resize=A (above 0, below "
                   "1), flip, jitter=S (above 0, below 1), none",
                   (int)n, word);
}

static fb_status parse_word(const char *word, size_t n, fb_augment *a)
{
    char *end = NULL;
    double v = 0;
    const char *equals = memchr(word, '=', n);
    size_t key = equals ? (size_t)(equals - word) : n;
    if (equals) {
        v = strtod(equals + 1, &end);
        if (end == equals + 1 || end != word + n)
            return bad_word(word, n);
    }
    if (key == 4 && strncmp(word, "flip", 4) == 0 && !equals)
        a->flip = true;
    else if (key == 4 && strncmp(word, "crop", 4) == 0 && v >= 1 && v <= 1024 && v == floor(v))
        a->crop = (uint32_t)v;
    else if (key == 6 && strncmp(word, "resize", 6) == 0 && v > 0 && v < 1)
        a->resize = (float)v;
    else if (key == 6 && strncmp(word, "jitter", 6) == 0 && v > 0 && v < 1)
        a->jitter = (float)v;
    else
        return bad_word(word, n);
    return FB_OK;
}

fb_status fb_augment_parse(const char *text, fb_augment *a)
{
    *a = (fb_augment){0};
    if (!*text || strcmp(text, "none") == 0)
        return FB_OK;
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        FB_TRY(parse_word(p, n, a));
        p += n;
        if (!*p)
            break;
    }
    if (a->crop && a->resize > 0)
        return fb_fail(FB_E_ARG, "augmentation '%s': crop and resize exclude each other", text);
    return FB_OK;
}

/* ---- geometry -------------------------------------------------------------------------------- */

static void shift(size_t h, size_t w, size_t c, const float *x, ptrdiff_t dy, ptrdiff_t dx,
                  float *y)
{
    memset(y, 0, h * w * c * sizeof *y);
    for (size_t r = 0; r < h; r++) {
        ptrdiff_t from = (ptrdiff_t)r + dy;
        size_t first = dx < 0 ? (size_t)-dx : 0, last = dx > 0 ? w - (size_t)dx : w;
        if (from < 0 || from >= (ptrdiff_t)h || first >= last)
            continue;
        const float *row = x + ((size_t)from * w + (size_t)((ptrdiff_t)first + dx)) * c;
        memcpy(y + (r * w + first) * c, row, (last - first) * c * sizeof *y);
    }
}

static void crop(const fb_augment *a, uint64_t *state, size_t h, size_t w, size_t c, const float *x,
                 float *y)
{
    uint64_t span = 2 * (uint64_t)a->crop + 1;
    ptrdiff_t dy = (ptrdiff_t)(fb_random_next(state) % span) - (ptrdiff_t)a->crop;
    ptrdiff_t dx = (ptrdiff_t)(fb_random_next(state) % span) - (ptrdiff_t)a->crop;
    if ((size_t)llabs(dx) >= w)
        memset(y, 0, h * w * c * sizeof *y);
    else
        shift(h, w, c, x, dy, dx, y);
}

/* Where output pixel i of n falls in a window of `size` from `at`, between which two pixels. */
static void sample_at(size_t i, size_t n, float at, float size, size_t limit, size_t *lo,
                      size_t *hi, float *t)
{
    float p = at + ((float)i + 0.5f) * size / (float)n - 0.5f;
    p = fminf(fmaxf(p, 0), (float)(limit - 1));
    *lo = (size_t)p;
    *hi = *lo + 1 < limit ? *lo + 1 : *lo;
    *t = p - (float)*lo;
}

static void stretch(size_t h, size_t w, size_t c, const float *x, const float window[4], float *y)
{
    for (size_t r = 0; r < h; r++) {
        size_t y0, y1, x0, x1;
        float ty, tx;
        sample_at(r, h, window[0], window[2], h, &y0, &y1, &ty);
        for (size_t k = 0; k < w; k++) {
            sample_at(k, w, window[1], window[3], w, &x0, &x1, &tx);
            for (size_t i = 0; i < c; i++) {
                float a = x[(y0 * w + x0) * c + i], b = x[(y0 * w + x1) * c + i];
                float d = x[(y1 * w + x0) * c + i], e = x[(y1 * w + x1) * c + i];
                float top = a + (b - a) * tx, low = d + (e - d) * tx;
                y[(r * w + k) * c + i] = top + (low - top) * ty;
            }
        }
    }
}

/* Ten tries for a window that fits, else the whole image. */
static void resize(const fb_augment *a, uint64_t *state, size_t h, size_t w, size_t c,
                   const float *x, float *y)
{
    float window[4] = {0, 0, (float)h, (float)w};
    for (int i = 0; i < 10; i++) {
        float area = fb_random_float(state, a->resize, 1) * (float)h * (float)w;
        float ratio = expf(fb_random_float(state, -0.28768207f, 0.28768207f)); /* ln 4/3 */
        float wide = sqrtf(area * ratio), high = sqrtf(area / ratio);
        float u = fb_random_float(state, 0, 1), v = fb_random_float(state, 0, 1);
        if (wide > (float)w || high > (float)h)
            continue;
        window[0] = u * ((float)h - high);
        window[1] = v * ((float)w - wide);
        window[2] = high;
        window[3] = wide;
        break;
    }
    stretch(h, w, c, x, window, y);
}

static void flip(size_t h, size_t w, size_t c, float *y)
{
    for (size_t r = 0; r < h; r++) {
        for (size_t a = 0, b = w - 1; a < b; a++, b--) {
            for (size_t i = 0; i < c; i++) {
                float *p = &y[(r * w + a) * c + i], *q = &y[(r * w + b) * c + i], swap = *p;
                *p = *q;
                *q = swap;
            }
        }
    }
}

/* ---- colour ---------------------------------------------------------------------------------- */

static float gray_of(const float *p)
{
    return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
}

static float to_pixel(float v)
{
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* Brightness, then contrast about the image's mean gray, then saturation about each pixel's. */
static void jitter(const fb_augment *a, uint64_t *state, size_t pixels, float *y)
{
    float light = fb_random_float(state, 1 - a->jitter, 1 + a->jitter);
    float contrast = fb_random_float(state, 1 - a->jitter, 1 + a->jitter);
    float colour = fb_random_float(state, 1 - a->jitter, 1 + a->jitter);
    double mean = 0;
    for (size_t i = 0; i < pixels; i++) {
        for (size_t k = 0; k < 3; k++)
            y[3 * i + k] = to_pixel(y[3 * i + k] * light);
        mean += (double)gray_of(y + 3 * i) / (double)pixels;
    }
    for (size_t i = 0; i < pixels; i++) {
        float *p = y + 3 * i;
        for (size_t k = 0; k < 3; k++)
            p[k] = to_pixel((float)mean + (p[k] - (float)mean) * contrast);
        float gray = gray_of(p);
        for (size_t k = 0; k < 3; k++)
            p[k] = to_pixel(gray + (p[k] - gray) * colour);
    }
}

void fb_augment_apply(const fb_augment *a, uint64_t seed, size_t h, size_t w, size_t c,
                      const float *x, float *y)
{
    uint64_t state = seed;
    if (a->crop)
        crop(a, &state, h, w, c, x, y);
    else if (a->resize > 0)
        resize(a, &state, h, w, c, x, y);
    else
        memcpy(y, x, h * w * c * sizeof *y);
    if (a->flip && fb_random_next(&state) & 1)
        flip(h, w, c, y);
    if (a->jitter > 0)
        jitter(a, &state, h * w, y);
}
