/* A histogram by the leading bits of a float. */
#include "calibrate/cells.h"

#include "base/alloc.h"
#include "base/status.h"

#include <string.h>

fb_status fb_cells_init(fb_cells *c)
{
    *c = (fb_cells){.count = fb_calloc(2 * FB_CELLS_SIDE, sizeof *c->count)};
    return c->count ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a histogram");
}

void fb_cells_free(fb_cells *c)
{
    fb_free(c->count);
    *c = (fb_cells){0};
}

void fb_cells_add(fb_cells *c, const float *x, size_t n)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        if ((u << 1) == 0) {
            zeros++;
            continue;
        }
        int32_t j = (int32_t)(u >> 16 & 0x7fff) - FB_CELLS_FIRST;
        j = j < 0 ? 0 : j;
        j = j >= FB_CELLS_SIDE ? FB_CELLS_SIDE - 1 : j;
        c->count[(u >> 31) * FB_CELLS_SIDE + (uint32_t)j]++;
    }
    c->n_zero += zeros;
}

void fb_cells_merge(fb_cells *c, const fb_cells *other)
{
    for (uint32_t j = 0; j < 2 * FB_CELLS_SIDE; j++)
        c->count[j] += other->count[j];
    c->n_zero += other->n_zero;
}

/* Magnitude in the middle of bin j. */
static double middle(uint32_t j)
{
    uint32_t u = (FB_CELLS_FIRST + j) << 16 | 0x8000;
    float v;
    memcpy(&v, &u, sizeof v);
    return (double)v;
}

uint32_t fb_cells_list(const fb_cells *c, double *value, double *weight)
{
    uint32_t n = 0;
    for (uint32_t j = FB_CELLS_SIDE; j-- > 0;) {
        if (c->count[FB_CELLS_SIDE + j]) {
            value[n] = -middle(j);
            weight[n++] = (double)c->count[FB_CELLS_SIDE + j];
        }
    }
    value[n] = 0;
    weight[n++] = (double)c->n_zero;
    for (uint32_t j = 0; j < FB_CELLS_SIDE; j++) {
        if (c->count[j]) {
            value[n] = middle(j);
            weight[n++] = (double)c->count[j];
        }
    }
    return n;
}
