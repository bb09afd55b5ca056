/* Pools in f32, plain C. */
#include "kernels/pool_f32.h"

#include <math.h>

/* The taps of output pixel (oy, ox) that lie inside the image, and where tap (0, 0) is. */
typedef struct taps {
    int32_t y0, x0, ky0, ky1, kx0, kx1;
} taps;

static taps taps_of(const fbk_window *g, int32_t oy, int32_t ox)
{
    taps t = {.y0 = oy * g->stride_h - g->pad_t, .x0 = ox * g->stride_w - g->pad_l};
    fbk_taps_inside(t.y0, g->h, g->kh, g->dil_h, &t.ky0, &t.ky1);
    fbk_taps_inside(t.x0, g->w, g->kw, g->dil_w, &t.kx0, &t.kx1);
    return t;
}

static const float *tap_at(const fbk_window *g, const float *x, const taps *t, int32_t ky,
                           int32_t kx)
{
    size_t iy = (size_t)(t->y0 + ky * g->dil_h), ix = (size_t)(t->x0 + kx * g->dil_w);
    return x + (iy * (size_t)g->w + ix) * (size_t)g->c;
}

void fbk_max_pool_f32_ref(const fbk_window *g, const float *x, float *y, int32_t oy0, int32_t oy1)
{
    size_t c = (size_t)g->c;
    y += (size_t)oy0 * (size_t)g->ow * c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += c) {
            taps t = taps_of(g, oy, ox);
            for (size_t i = 0; i < c; i++)
                y[i] = -INFINITY;
            for (int32_t ky = t.ky0; ky < t.ky1; ky++) {
                for (int32_t kx = t.kx0; kx < t.kx1; kx++) {
                    const float *s = tap_at(g, x, &t, ky, kx);
                    for (size_t i = 0; i < c; i++)
                        y[i] = s[i] > y[i] ? s[i] : y[i];
                }
            }
        }
    }
}

void fbk_avg_pool_f32_ref(const fbk_window *g, bool include_pad, int32_t pad_b, int32_t pad_r,
                          const float *x, float *y, int32_t oy0, int32_t oy1)
{
    size_t c = (size_t)g->c;
    y += (size_t)oy0 * (size_t)g->ow * c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += c) {
            taps t = taps_of(g, oy, ox);
            int32_t n = (t.ky1 - t.ky0) * (t.kx1 - t.kx0);
            if (include_pad) {
                int32_t a, b, d, e;
                fbk_taps_inside(t.y0 + g->pad_t, g->h + g->pad_t + pad_b, g->kh, g->dil_h, &a, &b);
                fbk_taps_inside(t.x0 + g->pad_l, g->w + g->pad_l + pad_r, g->kw, g->dil_w, &d, &e);
                n = (b - a) * (e - d);
            }
            float scale = n > 0 ? 1.0f / (float)n : 0.0f;
            for (size_t i = 0; i < c; i++)
                y[i] = 0;
            for (int32_t ky = t.ky0; ky < t.ky1; ky++) {
                for (int32_t kx = t.kx0; kx < t.kx1; kx++) {
                    const float *s = tap_at(g, x, &t, ky, kx);
                    for (size_t i = 0; i < c; i++)
                        y[i] += s[i];
                }
            }
            for (size_t i = 0; i < c; i++)
                y[i] *= scale;
        }
    }
}

void fbk_col_sum_f32_ref(size_t m, size_t n, size_t ld, const float *x, float scale, float *y)
{
    for (size_t j = 0; j < n; j++)
        y[j] = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            y[j] += x[i * ld + j];
    for (size_t j = 0; j < n; j++)
        y[j] *= scale;
}

void fbk_col_max_f32_ref(size_t m, size_t n, size_t ld, const float *x, float *y)
{
    for (size_t j = 0; j < n; j++)
        y[j] = -INFINITY;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            y[j] = x[i * ld + j] > y[j] ? x[i * ld + j] : y[j];
}
