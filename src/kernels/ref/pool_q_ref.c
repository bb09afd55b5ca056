/* Integer pools, the plain truth. */
#include "kernels/pool_q.h"

static int32_t code_at(const uint8_t *x, size_t i, bool is_signed)
{
    return is_signed ? (int8_t)x[i] : x[i];
}

typedef struct taps {
    int32_t r0, r1, s0, s1, iy, ix; /* taps inside, and the input pixel of tap (0, 0) */
} taps;

static taps taps_of(const fbk_window *g, int32_t oy, int32_t ox)
{
    taps t;
    t.iy = oy * g->stride_h - g->pad_t;
    t.ix = ox * g->stride_w - g->pad_l;
    fbk_taps_inside(t.iy, g->h, g->kh, g->dil_h, &t.r0, &t.r1);
    fbk_taps_inside(t.ix, g->w, g->kw, g->dil_w, &t.s0, &t.s1);
    return t;
}

static size_t pixel(const fbk_window *g, const taps *t, int32_t r, int32_t s)
{
    return ((size_t)(t->iy + r * g->dil_h) * (size_t)g->w + (size_t)(t->ix + s * g->dil_w)) *
           (size_t)g->c;
}

void fbk_max_pool_q_ref(const fbk_window *g, bool is_signed, const uint8_t *x, uint8_t *y,
                        int32_t oy0, int32_t oy1)
{
    y += (size_t)oy0 * (size_t)g->ow * (size_t)g->c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += g->c) {
            taps t = taps_of(g, oy, ox);
            for (int32_t c = 0; c < g->c; c++) {
                int32_t best = is_signed ? -128 : 0;
                for (int32_t r = t.r0; r < t.r1; r++) {
                    for (int32_t s = t.s0; s < t.s1; s++) {
                        int32_t q = code_at(x, pixel(g, &t, r, s) + (size_t)c, is_signed);
                        best = q > best ? q : best;
                    }
                }
                y[c] = (uint8_t)best;
            }
        }
    }
}

void fbk_avg_pool_q_ref(const fbk_window *g, const fbk_avg_pool_q *q, const uint8_t *x, uint8_t *y,
                        int32_t oy0, int32_t oy1)
{
    y += (size_t)oy0 * (size_t)g->ow * (size_t)g->c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += g->c) {
            taps t = taps_of(g, oy, ox);
            int32_t inside = (t.r1 - t.r0) * (t.s1 - t.s0);
            float count = (float)(q->include_pad ? g->kh * g->kw : inside);
            for (int32_t c = 0; c < g->c; c++) {
                float sum = 0;
                for (int32_t r = t.r0; r < t.r1; r++) {
                    for (int32_t s = t.s0; s < t.s1; s++) {
                        int32_t v = x[pixel(g, &t, r, s) + (size_t)c] ^ q->flip;
                        sum += fb_dequantize(v, q->x_scale, q->x_zero);
                    }
                }
                int32_t v = fb_mean_code(sum, count, q->y_scale, q->y_zero, q->lo, q->hi);
                y[c] = (uint8_t)(v ^ q->flip);
            }
        }
    }
}

void fbk_mean_q_ref(const fbk_mean_q *q, size_t pixels, size_t c, size_t n, const uint8_t *x,
                    uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t acc = 0;
        for (size_t p = 0; p < pixels; p++)
            acc += code_at(x, p * c + i, q->is_signed) - q->x_zero;
        y[i] = (uint8_t)fb_requant(acc, q->scale, q->y_zero, q->lo, q->hi);
    }
}
