/* Levels for activations: by exact k-means, and on a grid. */
#include "compress/act_grid.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/fit.h"

#include <math.h>

/* Values that are equal once they are clipped become one point; those that never occurred, none. */
static void clip_points(const double *value, const double *weight, uint32_t count, double bound,
                        fb_points *p)
{
    for (uint32_t i = 0; i < count; i++) {
        double v = value[i] > bound ? bound : value[i] < -bound ? -bound : value[i];
        if (p->n > 0 && p->x[p->n - 1] == v) {
            p->w[p->n - 1] += weight[i];
        } else if (weight[i] > 0) {
            p->x[p->n] = v;
            p->w[p->n++] = weight[i];
        }
    }
}

fb_status fb_levels_kmeans(const double *value, const double *weight, uint32_t count, double bound,
                           bool zero, uint32_t n, double *v)
{
    fb_points p = {.x = fb_calloc(count, sizeof *p.x), .w = fb_calloc(count, sizeof *p.w)};
    uint32_t found = 0;
    fb_status status = FB_OK;
    if (!p.x || !p.w) {
        status = fb_fail(FB_E_MEMORY, "no memory to place %u levels", n);
        goto fail;
    }
    clip_points(value, weight, count, bound, &p);
    if (p.n > 0)
        FB_GO(fb_kmeans_exact(&p, n, zero, v, &found));
    else
        v[found++] = 0; /* nothing was seen */
    double step = found > 1 ? (v[found - 1] - v[0]) / (found - 1) : 1;
    for (; found < n; found++)
        v[found] = v[found - 1] + step;
fail:
    fb_points_free(&p);
    return status;
}

/* --- levels on a grid ------------------------------------------------------------------------ */

void fb_levels_snap(const double *v, uint32_t n, unsigned level_bits, fb_act_code *code)
{
    int32_t top = (1 << level_bits) - 1, at = 0, count = (int32_t)n;
    while (v[at] != 0)
        at++;
    fb_range_codes((fb_range){(float)v[0], (float)v[n - 1]}, level_bits, &code->scale, &code->zero);
    int32_t room = top - (count - 1 - at); /* largest zero that leaves codes above it */
    code->zero = code->zero < at ? at : code->zero > room ? room : code->zero;
    int32_t last = code->zero;
    for (int32_t i = at; i < count; i++) {
        int32_t q = i == at ? last : (int32_t)lrint(v[i] / (double)code->scale) + code->zero;
        q = i > at && q <= last ? last + 1 : q;
        last = q < top - (count - 1 - i) ? q : top - (count - 1 - i);
        code->level[i] = (float)last;
    }
    last = code->zero;
    for (int32_t i = at - 1; i >= 0; i--) {
        int32_t q = (int32_t)lrint(v[i] / (double)code->scale) + code->zero;
        q = q >= last ? last - 1 : q;
        last = q > i ? q : i;
        code->level[i] = (float)last;
    }
    code->n_levels = (uint16_t)n;
    code->level_bits = (uint8_t)level_bits;
}
