/* Depthwise convolution: channels in vectors, four neighbouring pixels at once so that a load of
 * weights serves four multiply-adds.
 *
 *   output row:   | left edge: 1 pixel at a time | inner: 4 pixels a step | right edge |
 *   each step:    for each 16 channels: taps inside the image -> 8 accumulators -> clamp -> store
 *
 * Rows at the top and bottom only have fewer kernel rows; columns at the edge fewer kernel columns.
 */
#include "kernels/conv_f32.h"
#include "kernels/x86/simd_avx2.h"

/* What np pixels that lie side by side share. */
typedef struct step {
    const float *x;    /* first tap inside the image, of the first pixel, channel 0 */
    const float *w;    /* its weights */
    const float *bias; /* or NULL */
    float *y;
    size_t from, to;              /* channels to do */
    size_t c, nky, nkx;           /* taps that are inside */
    size_t x_row, x_tap, x_pixel; /* from kernel row to row, tap to tap, pixel to pixel */
    size_t w_row;                 /* from kernel row to row */
    float lo, hi;
} step;

/* 8 * nv channels from channel i; the last vector has `lanes`. */
FBK_INLINE void channels(const step *s, const int np, const int nv, size_t i, size_t nky,
                         size_t nkx, size_t lanes)
{
    __m256 acc[4][4];
    FBK_UNROLL
    for (int v = 0; v < nv; v++) {
        __m256 b =
            s->bias ? fbk_load(s->bias + i + 8 * v, v == nv - 1 ? lanes : 8) : _mm256_setzero_ps();
        FBK_UNROLL
        for (int p = 0; p < np; p++)
            acc[p][v] = b;
    }
    for (size_t ky = 0; ky < nky; ky++) {
        const float *x = s->x + ky * s->x_row + i, *w = s->w + ky * s->w_row + i;
        for (size_t kx = 0; kx < nkx; kx++, x += s->x_tap, w += s->c) {
            FBK_UNROLL
            for (int v = 0; v < nv; v++) {
                size_t n = v == nv - 1 ? lanes : 8;
                __m256 wv = fbk_load(w + 8 * v, n);
                FBK_UNROLL
                for (int p = 0; p < np; p++)
                    acc[p][v] = _mm256_fmadd_ps(fbk_load(x + (size_t)p * s->x_pixel + 8 * v, n), wv,
                                                acc[p][v]);
            }
        }
    }
    __m256 lo = _mm256_set1_ps(s->lo), hi = _mm256_set1_ps(s->hi);
    FBK_UNROLL
    for (int p = 0; p < np; p++) {
        FBK_UNROLL
        for (int v = 0; v < nv; v++)
            fbk_store(s->y + (size_t)p * s->c + i + 8 * v, v == nv - 1 ? lanes : 8,
                      fbk_clamp(acc[p][v], lo, hi));
    }
}

/* All channels of the chunk; nky and nkx may be constants. */
FBK_INLINE void pixels(const step *s, const int np, size_t nky, size_t nkx)
{
    size_t i = s->from;
    for (; np == 1 && i + 32 <= s->to; i += 32)
        channels(s, np, 4, i, nky, nkx, 8);
    for (; i + 16 <= s->to; i += 16)
        channels(s, np, 2, i, nky, nkx, 8);
    if (i + 8 <= s->to) {
        channels(s, np, 1, i, nky, nkx, 8);
        i += 8;
    }
    if (i < s->to)
        channels(s, np, 1, i, nky, nkx, s->to - i);
}

/* Kernel rows of three neighbouring columns, stride 1: the 4 pixels read 6 columns between them,
 * each loaded once. 8 accumulators, 6 weights and a column: 15 registers. */
FBK_INLINE void channels_3(const step *s, const int nv, size_t i, size_t lanes)
{
    __m256 acc[4][2];
    FBK_UNROLL
    for (int v = 0; v < nv; v++) {
        __m256 b = s->bias ? fbk_load(s->bias + i + 8 * v, lanes) : _mm256_setzero_ps();
        FBK_UNROLL
        for (int p = 0; p < 4; p++)
            acc[p][v] = b;
    }
    const float *x = s->x + i, *w = s->w + i;
    for (size_t ky = s->nky; ky > 0; ky--, x += s->x_row, w += s->w_row) {
        __m256 wv[3][2];
        FBK_UNROLL
        for (int k = 0; k < 3; k++) {
            FBK_UNROLL
            for (int v = 0; v < nv; v++)
                wv[k][v] = fbk_load(w + (size_t)k * s->c + 8 * v, lanes);
        }
        FBK_UNROLL
        for (int q = 0; q < 6; q++) {
            FBK_UNROLL
            for (int v = 0; v < nv; v++) {
                __m256 xv = fbk_load(x + (size_t)q * s->c + 8 * v, lanes);
                FBK_UNROLL
                for (int k = 0; k < 3; k++) {
                    if (q - k >= 0 && q - k < 4)
                        acc[q - k][v] = _mm256_fmadd_ps(xv, wv[k][v], acc[q - k][v]);
                }
            }
        }
    }
    __m256 lo = _mm256_set1_ps(s->lo), hi = _mm256_set1_ps(s->hi);
    FBK_UNROLL
    for (int p = 0; p < 4; p++) {
        FBK_UNROLL
        for (int v = 0; v < nv; v++)
            fbk_store(s->y + (size_t)p * s->c + i + 8 * v, lanes, fbk_clamp(acc[p][v], lo, hi));
    }
}

static void pixels_4_by_3(const step *s)
{
    size_t i = s->from;
    for (; i + 16 <= s->to; i += 16)
        channels_3(s, 2, i, 8);
    if (i + 8 <= s->to) {
        channels_3(s, 1, i, 8);
        i += 8;
    }
    if (i < s->to)
        channels_3(s, 1, i, s->to - i);
}

static void pixels_4(const step *s)
{
    if (s->nkx == 3 && s->x_tap == s->c && s->x_pixel == s->c)
        pixels_4_by_3(s);
    else if (s->nky == 3 && s->nkx == 3)
        pixels(s, 4, 3, 3);
    else
        pixels(s, 4, s->nky, s->nkx);
}

static void pixels_1(const step *s)
{
    pixels(s, 1, s->nky, s->nkx);
}

/* Output columns [*from, *to) whose kernel columns are all inside the image. */
static void inner_columns(const fbk_window *g, int32_t *from, int32_t *to)
{
    int32_t reach = (g->kw - 1) * g->dil_w, last = g->w - 1 - reach + g->pad_l;
    *from = (g->pad_l + g->stride_w - 1) / g->stride_w;
    *to = last < 0 ? 0 : last / g->stride_w + 1;
    if (*to > g->ow)
        *to = g->ow;
    if (*from > *to)
        *from = *to;
}

/* Columns [ox, end) of output row oy, channels [from, to). */
static void row(const fbk_conv_f32_args *a, int32_t oy, int32_t ox, int32_t end, size_t from,
                size_t to)
{
    const fbk_window *g = a->g;
    size_t c = (size_t)g->c;
    int32_t ky0, ky1, inner0, inner1, y0 = oy * g->stride_h - g->pad_t;
    fbk_taps_inside(y0, g->h, g->kh, g->dil_h, &ky0, &ky1);
    inner_columns(g, &inner0, &inner1);
    step s = {.bias = a->bias,
              .from = from,
              .to = to,
              .c = c,
              .nky = (size_t)(ky1 - ky0),
              .x_row = (size_t)g->dil_h * (size_t)g->w * c,
              .x_tap = (size_t)g->dil_w * c,
              .x_pixel = (size_t)g->stride_w * c,
              .w_row = (size_t)g->kw * c,
              .lo = a->lo,
              .hi = a->hi};
    while (ox < end) {
        int32_t kx0, kx1, x0 = ox * g->stride_w - g->pad_l;
        fbk_taps_inside(x0, g->w, g->kw, g->dil_w, &kx0, &kx1);
        s.nkx = (size_t)(kx1 - kx0);
        s.y = a->y + ((size_t)oy * (size_t)g->ow + (size_t)ox) * c;
        s.x = a->x; /* not read when no tap is inside */
        s.w = a->w;
        if (s.nkx > 0 && s.nky > 0) {
            s.x +=
                ((size_t)(y0 + ky0 * g->dil_h) * (size_t)g->w + (size_t)(x0 + kx0 * g->dil_w)) * c;
            s.w += ((size_t)ky0 * (size_t)g->kw + (size_t)kx0) * c;
        }
        bool four = ox >= inner0 && ox + 4 <= inner1 && ox + 4 <= end;
        if (four)
            pixels_4(&s);
        else
            pixels_1(&s);
        ox += four ? 4 : 1;
    }
}

/* Channels of a chunk: 9 rows of weights and 18 columns under 4 pixels, 4 bytes each, are 20 KiB of
 * the 32 KiB of L1. */
enum { CHUNK = 192 };

void fbk_dwconv_f32_avx2(const fbk_conv_f32_args *a, size_t p0, size_t p1)
{
    size_t ow = (size_t)a->g->ow, c = (size_t)a->g->c;
    for (size_t from = 0; from < c;) {
        size_t to = c - from < 2 * CHUNK ? c : from + CHUNK;
        for (size_t p = p0; p < p1;) {
            size_t oy = p / ow, end = (oy + 1) * ow < p1 ? (oy + 1) * ow : p1;
            row(a, (int32_t)oy, (int32_t)(p - oy * ow), (int32_t)(end - oy * ow), from, to);
            p = end;
        }
        from = to;
    }
}
