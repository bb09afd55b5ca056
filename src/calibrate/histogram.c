/* Histogram whose range doubles by merging pairs. */
#include "calibrate/histogram.h"

#include "base/alloc.h"
#include "base/status.h"

#include <string.h>

fb_status fb_hist_init(fb_hist *h)
{
    *h = (fb_hist){.bins = fb_calloc(FB_HIST_BINS, sizeof *h->bins)};
    return h->bins ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a histogram");
}

void fb_hist_free(fb_hist *h)
{
    fb_free(h->bins);
    *h = (fb_hist){0};
}

/* Bin j goes to floor(j / 2): zero stays an edge between bins. */
static void merge_pairs(fb_hist *h)
{
    uint64_t *b = h->bins;
    enum { HALF = FB_HIST_SIDE / 2 };
    for (uint32_t j = 0; j < HALF; j++) /* upwards from zero */
        b[FB_HIST_SIDE + j] = b[FB_HIST_SIDE + 2 * j] + b[FB_HIST_SIDE + 2 * j + 1];
    for (uint32_t j = 1; j <= HALF; j++) /* downwards from zero */
        b[FB_HIST_SIDE - j] = b[FB_HIST_SIDE - 2 * j] + b[FB_HIST_SIDE - 2 * j + 1];
    memset(b, 0, HALF * sizeof *b);
    memset(b + FB_HIST_SIDE + HALF, 0, HALF * sizeof *b);
    h->width *= 2;
}

void fb_hist_add(fb_hist *h, const float *x, size_t n, float largest)
{
    const float least_width = 0x1p-110f; /* so that 1 / width is finite */
    if (h->width == 0 && largest > 0) {
        float width = largest / FB_HIST_SIDE;
        h->width = width > least_width ? width : least_width;
    }
    while (largest > h->width * FB_HIST_SIDE && h->width < 0x1p+110f)
        merge_pairs(h);
    float scale = h->width > 0 ? 1 / h->width : 0;
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        if (x[i] == 0) {
            zeros++;
            continue;
        }
        float v = x[i] * scale;
        int32_t j = (int32_t)v;
        j += FB_HIST_SIDE - (v < (float)j); /* floor */
        j = j < 0 ? 0 : j;
        j = j >= FB_HIST_BINS ? FB_HIST_BINS - 1 : j;
        h->bins[j]++;
    }
    h->n_zero += zeros;
}

uint64_t fb_hist_count(const fb_hist *h)
{
    uint64_t n = h->n_zero;
    for (uint32_t j = 0; j < FB_HIST_BINS; j++)
        n += h->bins[j];
    return n;
}

uint32_t fb_hist_fold(const fb_hist *h, uint64_t *out)
{
    uint32_t used = 0;
    for (uint32_t j = 0; j < FB_HIST_SIDE; j++) {
        out[j] = h->bins[FB_HIST_SIDE + j] + h->bins[FB_HIST_SIDE - 1 - j];
        if (out[j])
            used = j + 1;
    }
    return used;
}
