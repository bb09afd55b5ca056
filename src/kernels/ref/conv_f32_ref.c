/* Direct convolutions: the definition, one output element after the other. */
#include "kernels/conv_f32.h"

static float clamp_f32(float v, float lo, float hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

static size_t pixel(const fbk_window *g, int32_t iy, int32_t ix)
{
    return ((size_t)iy * (size_t)g->w + (size_t)ix) * (size_t)g->c;
}

/* Sum over the taps and the channels of output channel o's group for the window at (y0, x0). */
static float conv_one(const fbk_conv_f32_args *a, int32_t y0, int32_t x0, int32_t o)
{
    const fbk_window *g = a->g;
    int32_t icg = g->c / g->groups, ocg = g->oc / g->groups;
    const float *w = a->w + (size_t)o * (size_t)g->kh * (size_t)g->kw * (size_t)icg;
    const float *x = a->x + (size_t)(o / ocg) * (size_t)icg;
    float sum = 0;
    int32_t ky0, ky1, kx0, kx1;
    fbk_taps_inside(y0, g->h, g->kh, g->dil_h, &ky0, &ky1);
    fbk_taps_inside(x0, g->w, g->kw, g->dil_w, &kx0, &kx1);
    for (int32_t ky = ky0; ky < ky1; ky++) {
        for (int32_t kx = kx0; kx < kx1; kx++) {
            const float *px = x + pixel(g, y0 + ky * g->dil_h, x0 + kx * g->dil_w);
            const float *pw = w + ((size_t)ky * (size_t)g->kw + (size_t)kx) * (size_t)icg;
            for (int32_t i = 0; i < icg; i++)
                sum += px[i] * pw[i];
        }
    }
    return sum;
}

void fbk_conv_f32_ref(const fbk_conv_f32_args *a, size_t p0, size_t p1)
{
    const fbk_window *g = a->g;
    for (size_t p = p0; p < p1; p++) {
        int32_t oy = (int32_t)(p / (size_t)g->ow), ox = (int32_t)(p % (size_t)g->ow);
        int32_t y0 = oy * g->stride_h - g->pad_t, x0 = ox * g->stride_w - g->pad_l;
        for (int32_t o = 0; o < g->oc; o++) {
            float v = conv_one(a, y0, x0, o);
            if (a->bias)
                v += a->bias[o];
            a->y[p * (size_t)g->oc + (size_t)o] = clamp_f32(v, a->lo, a->hi);
        }
    }
}

/* Input coordinate that tap k of output coordinate o gathers from, or -1. */
static int32_t transposed_source(int32_t o, int32_t pad, int32_t k, int32_t dil, int32_t stride,
                                 int32_t size)
{
    int32_t at = o + pad - k * dil;
    if (at < 0 || at % stride != 0 || at / stride >= size)
        return -1;
    return at / stride;
}

static float transposed_one(const fbk_conv_f32_args *a, int32_t oy, int32_t ox, int32_t o)
{
    const fbk_window *g = a->g;
    int32_t icg = g->c / g->groups, ocg = g->oc / g->groups;
    const float *w = a->w + (size_t)o * (size_t)g->kh * (size_t)g->kw * (size_t)icg;
    const float *x = a->x + (size_t)(o / ocg) * (size_t)icg;
    float sum = 0;
    for (int32_t ky = 0; ky < g->kh; ky++) {
        int32_t iy = transposed_source(oy, g->pad_t, ky, g->dil_h, g->stride_h, g->h);
        for (int32_t kx = 0; iy >= 0 && kx < g->kw; kx++) {
            int32_t ix = transposed_source(ox, g->pad_l, kx, g->dil_w, g->stride_w, g->w);
            if (ix < 0)
                continue;
            const float *px = x + pixel(g, iy, ix);
            const float *pw = w + ((size_t)ky * (size_t)g->kw + (size_t)kx) * (size_t)icg;
            for (int32_t i = 0; i < icg; i++)
                sum += px[i] * pw[i];
        }
    }
    return sum;
}

void fbk_conv_transpose_f32_ref(const fbk_conv_f32_args *a, size_t p0, size_t p1)
{
    const fbk_window *g = a->g;
    for (size_t p = p0; p < p1; p++) {
        int32_t oy = (int32_t)(p / (size_t)g->ow), ox = (int32_t)(p % (size_t)g->ow);
        for (int32_t o = 0; o < g->oc; o++) {
            float v = transposed_one(a, oy, ox, o);
            if (a->bias)
                v += a->bias[o];
            a->y[p * (size_t)g->oc + (size_t)o] = clamp_f32(v, a->lo, a->hi);
        }
    }
}

void fbk_dwconv_f32_ref(const fbk_conv_f32_args *a, size_t p0, size_t p1)
{
    const fbk_window *g = a->g;
    size_t c = (size_t)g->c;
    for (size_t p = p0; p < p1; p++) {
        int32_t oy = (int32_t)(p / (size_t)g->ow), ox = (int32_t)(p % (size_t)g->ow);
        int32_t y0 = oy * g->stride_h - g->pad_t, x0 = ox * g->stride_w - g->pad_l;
        int32_t ky0, ky1, kx0, kx1;
        fbk_taps_inside(y0, g->h, g->kh, g->dil_h, &ky0, &ky1);
        fbk_taps_inside(x0, g->w, g->kw, g->dil_w, &kx0, &kx1);
        for (size_t i = 0; i < c; i++) {
            float sum = a->bias ? a->bias[i] : 0;
            for (int32_t ky = ky0; ky < ky1; ky++)
                for (int32_t kx = kx0; kx < kx1; kx++)
                    sum += a->x[pixel(g, y0 + ky * g->dil_h, x0 + kx * g->dil_w) + i] *
                           a->w[((size_t)ky * (size_t)g->kw + (size_t)kx) * c + i];
            a->y[p * c + i] = clamp_f32(sum, a->lo, a->hi);
        }
    }
}
