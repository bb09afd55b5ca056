/* Integer pools on AVX2: channels in vectors, taps in loops. */
#include "kernels/pool_q.h"

#include <immintrin.h>
#include <string.h>

typedef struct taps {
    int32_t r0, r1, s0, s1; /* taps inside the image */
    const uint8_t *x;       /* code of tap (r0, s0), channel 0 */
    size_t row, col;        /* bytes from tap row to tap row, tap to tap */
} taps;

static taps taps_of(const fbk_window *g, const uint8_t *x, int32_t oy, int32_t ox)
{
    taps t;
    int32_t iy = oy * g->stride_h - g->pad_t, ix = ox * g->stride_w - g->pad_l;
    fbk_taps_inside(iy, g->h, g->kh, g->dil_h, &t.r0, &t.r1);
    fbk_taps_inside(ix, g->w, g->kw, g->dil_w, &t.s0, &t.s1);
    t.x = x;
    if (t.r0 < t.r1 && t.s0 < t.s1)
        t.x += ((size_t)(iy + t.r0 * g->dil_h) * (size_t)g->w + (size_t)(ix + t.s0 * g->dil_w)) *
               (size_t)g->c;
    t.row = (size_t)g->dil_h * (size_t)g->w * (size_t)g->c;
    t.col = (size_t)g->dil_w * (size_t)g->c;
    return t;
}

/* --- max -------------------------------------------------------------------------------------- */

static void max_pixel(const taps *t, size_t c, bool is_signed, uint8_t *y)
{
    /* Signed codes are compared as unsigned ones after flipping the sign bit. */
    uint8_t flip = is_signed ? 0x80 : 0;
    __m256i flips = _mm256_set1_epi8((char)flip);
    size_t i = 0;
    for (; i + 32 <= c; i += 32) {
        __m256i best = _mm256_setzero_si256();
        for (int32_t r = t->r0; r < t->r1; r++) {
            const uint8_t *x = t->x + (size_t)(r - t->r0) * t->row + i;
            for (int32_t s = t->s0; s < t->s1; s++, x += t->col) {
                __m256i v = _mm256_xor_si256(_mm256_loadu_si256((const void *)x), flips);
                best = _mm256_max_epu8(best, v);
            }
        }
        _mm256_storeu_si256((void *)(y + i), _mm256_xor_si256(best, flips));
    }
    for (; i < c; i++) {
        uint8_t best = 0;
        for (int32_t r = t->r0; r < t->r1; r++) {
            const uint8_t *x = t->x + (size_t)(r - t->r0) * t->row + i;
            for (int32_t s = t->s0; s < t->s1; s++, x += t->col) {
                uint8_t v = *x ^ flip;
                best = v > best ? v : best;
            }
        }
        y[i] = best ^ flip;
    }
}

void fbk_max_pool_q_avx2(const fbk_window *g, bool is_signed, const uint8_t *x, uint8_t *y,
                         int32_t oy0, int32_t oy1)
{
    y += (size_t)oy0 * (size_t)g->ow * (size_t)g->c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += g->c) {
            taps t = taps_of(g, x, oy, ox);
            max_pixel(&t, (size_t)g->c, is_signed, y);
        }
    }
}

/* --- average ---------------------------------------------------------------------------------- */

static inline __m256i load_8(const uint8_t *x, size_t n, bool is_signed)
{
    uint8_t tail[8] = {0};
    if (n < 8) {
        memcpy(tail, x, n);
        x = tail;
    }
    __m128i q = _mm_loadl_epi64((const void *)x);
    return is_signed ? _mm256_cvtepi8_epi32(q) : _mm256_cvtepu8_epi32(q);
}

/* Low bytes of 8 codes to y[0 .. n). */
static inline void store_8(uint8_t *y, size_t n, __m256i v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
    __m128i q = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    q = _mm_packus_epi16(q, q);
    uint8_t rest[16];
    _mm_storeu_si128((void *)rest, q);
    memcpy(y, rest, n < 8 ? n : 8);
}

static void avg_pixel(const taps *t, const fbk_avg_pool_q *q, float count, size_t c, uint8_t *y)
{
    __m256 x_scale = _mm256_set1_ps(q->x_scale), zero = _mm256_set1_ps((float)q->y_zero);
    __m256i x_zero = _mm256_set1_epi32(q->x_zero);
    __m256 lo = _mm256_set1_ps((float)q->lo), hi = _mm256_set1_ps((float)q->hi);
    __m256i flip = _mm256_set1_epi32(q->flip);
    for (size_t i = 0; i < c; i += 8) {
        size_t n = c - i;
        __m256 sum = _mm256_setzero_ps();
        for (int32_t r = t->r0; r < t->r1; r++) {
            const uint8_t *x = t->x + (size_t)(r - t->r0) * t->row + i;
            for (int32_t s = t->s0; s < t->s1; s++, x += t->col) {
                __m256i v = _mm256_sub_epi32(_mm256_xor_si256(load_8(x, n, false), flip), x_zero);
                sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(v), x_scale));
            }
        }
        __m256 v =
            _mm256_div_ps(_mm256_div_ps(sum, _mm256_set1_ps(count)), _mm256_set1_ps(q->y_scale));
        v = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(v, zero), lo), hi);
        store_8(y + i, n, _mm256_xor_si256(_mm256_cvtps_epi32(v), flip));
    }
}

void fbk_avg_pool_q_avx2(const fbk_window *g, const fbk_avg_pool_q *q, const uint8_t *x, uint8_t *y,
                         int32_t oy0, int32_t oy1)
{
    y += (size_t)oy0 * (size_t)g->ow * (size_t)g->c;
    for (int32_t oy = oy0; oy < oy1; oy++) {
        for (int32_t ox = 0; ox < g->ow; ox++, y += g->c) {
            taps t = taps_of(g, x, oy, ox);
            int32_t inside = (t.r1 - t.r0) * (t.s1 - t.s0);
            avg_pixel(&t, q, (float)(q->include_pad ? g->kh * g->kw : inside), (size_t)g->c, y);
        }
    }
}

/* --- mean over the image -----------------------------------------------------------------------
 */

void fbk_mean_q_avx2(const fbk_mean_q *q, size_t pixels, size_t c, size_t n, const uint8_t *x,
                     uint8_t *y)
{
    __m256 lo = _mm256_set1_ps((float)(q->lo - q->y_zero));
    __m256 hi = _mm256_set1_ps((float)(q->hi - q->y_zero)), scale = _mm256_set1_ps(q->scale);
    __m256i zero = _mm256_set1_epi32(q->y_zero);
    __m256i start = _mm256_set1_epi32((int32_t)(0u - (uint32_t)q->x_zero * (uint32_t)pixels));
    for (size_t i = 0; i < n; i += 8) {
        __m256i acc = start;
        for (size_t p = 0; p < pixels; p++)
            acc = _mm256_add_epi32(acc, load_8(x + p * c + i, n - i, q->is_signed));
        __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), scale);
        v = _mm256_min_ps(_mm256_max_ps(v, lo), hi);
        store_8(y + i, n - i, _mm256_add_epi32(_mm256_cvtps_epi32(v), zero));
    }
}
