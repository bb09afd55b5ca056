/* Pools: channels in vectors, four of them at once while they last; taps outside the image are not
 * looked at. */
#include "kernels/pool_f32.h"
#include "kernels/x86/simd_avx2.h"

#include <math.h>

/* The taps of one window that lie inside the image. */
typedef struct taps {
    const float *x; /* the first, channel 0 */
    float *y;
    size_t ny, nx, row, tap; /* their number; floats from row to row and tap to tap */
    float scale;             /* average: of the sum */
} taps;

/* 8 * nv channels from channel i, the last vector with `lanes`. */
FBK_INLINE void channels(const taps *t, const bool max, const int nv, size_t i, size_t lanes)
{
    __m256 acc[4];
    FBK_UNROLL
    for (int v = 0; v < nv; v++)
        acc[v] = max ? _mm256_set1_ps(-INFINITY) : _mm256_setzero_ps();
    for (size_t ky = 0; ky < t->ny; ky++) {
        const float *x = t->x + ky * t->row + i;
        for (size_t kx = 0; kx < t->nx; kx++, x += t->tap) {
            FBK_UNROLL
            for (int v = 0; v < nv; v++) {
                __m256 in = fbk_load(x + 8 * v, v == nv - 1 ? lanes : 8);
                acc[v] = max ? _mm256_max_ps(in, acc[v]) : _mm256_add_ps(in, acc[v]);
            }
        }
    }
    FBK_UNROLL
    for (int v = 0; v < nv; v++)
        fbk_store(t->y + i + 8 * v, v == nv - 1 ? lanes : 8,
                  max ? acc[v] : _mm256_mul_ps(acc[v], _mm256_set1_ps(t->scale)));
}

FBK_INLINE void all_channels(const taps *t, const bool max, size_t c)
{
    size_t i = 0;
    for (; i + 32 <= c; i += 32)
        channels(t, max, 4, i, 8);
    for (; i + 8 <= c; i += 8)
        channels(t, max, 1, i, 8);
    if (i < c)
        channels(t, max, 1, i, c - i);
}

/* Fills t for output pixel (oy, ox), scale aside. */
static void taps_of(const fbk_window *g, const float *x, float *y, int32_t oy, int32_t ox, taps *t)
{
    size_t c = (size_t)g->c;
    int32_t y0 = oy * g->stride_h - g->pad_t, x0 = ox * g->stride_w - g->pad_l;
    int32_t ky0, ky1, kx0, kx1;
    fbk_taps_inside(y0, g->h, g->kh, g->dil_h, &ky0, &ky1);
    fbk_taps_inside(x0, g->w, g->kw, g->dil_w, &kx0, &kx1);
    t->ny = (size_t)(ky1 - ky0);
    t->nx = (size_t)(kx1 - kx0);
    t->row = (size_t)g->dil_h * (size_t)g->w * c;
    t->tap = (size_t)g->dil_w * c;
    t->x = x;
    if (t->ny > 0 && t->nx > 0)
        t->x += ((size_t)(y0 + ky0 * g->dil_h) * (size_t)g->w + (size_t)(x0 + kx0 * g->dil_w)) * c;
    t->y = y + ((size_t)oy * (size_t)g->ow + (size_t)ox) * c;
}

void fbk_max_pool_f32_avx2(const fbk_window *g, const float *x, float *y, int32_t oy0, int32_t oy1)
{
    taps t = {0};
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++) {
            taps_of(g, x, y, oy, ox, &t);
            all_channels(&t, true, (size_t)g->c);
        }
    }
}

/* Taps inside the padded axis [-pad0, size + pad1). */
static int32_t padded_taps(int32_t at, int32_t size, int32_t pad0, int32_t pad1, int32_t taps_n,
                           int32_t dil)
{
    int32_t first, end;
    fbk_taps_inside(at + pad0, size + pad0 + pad1, taps_n, dil, &first, &end);
    return end - first;
}

void fbk_avg_pool_f32_avx2(const fbk_window *g, bool include_pad, int32_t pad_b, int32_t pad_r,
                           const float *x, float *y, int32_t oy0, int32_t oy1)
{
    taps t = {0};
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++) {
            taps_of(g, x, y, oy, ox, &t);
            float n = (float)(t.ny * t.nx);
            if (include_pad)
                n = (float)(padded_taps(oy * g->stride_h - g->pad_t, g->h, g->pad_t, pad_b, g->kh,
                                        g->dil_h) *
                            padded_taps(ox * g->stride_w - g->pad_l, g->w, g->pad_l, pad_r, g->kw,
                                        g->dil_w));
            t.scale = n > 0 ? 1.0f / n : 0.0f;
            all_channels(&t, false, (size_t)g->c);
        }
    }
}

void fbk_col_sum_f32_avx2(size_t m, size_t n, size_t ld, const float *x, float scale, float *y)
{
    taps t = {.x = x, .y = y, .ny = m, .nx = 1, .row = ld, .tap = 0, .scale = scale};
    all_channels(&t, false, n);
}

void fbk_col_max_f32_avx2(size_t m, size_t n, size_t ld, const float *x, float *y)
{
    taps t = {.x = x, .y = y, .ny = m, .nx = 1, .row = ld, .tap = 0};
    all_channels(&t, true, n);
}
