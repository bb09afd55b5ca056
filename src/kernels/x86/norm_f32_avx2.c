/* Softmax and LRN in vectors. */
#include "kernels/norm_f32.h"
#include "kernels/x86/simd_avx2.h"

#include <math.h>
#include <string.h>

static float row_max(const float *x, size_t n)
{
    float top = -INFINITY;
    size_t i = 0;
    __m256 m = _mm256_set1_ps(-INFINITY);
    for (; i + 8 <= n; i += 8)
        m = _mm256_max_ps(_mm256_loadu_ps(x + i), m);
    float lanes[8];
    _mm256_storeu_ps(lanes, m);
    for (int k = 0; k < 8; k++)
        top = lanes[k] > top ? lanes[k] : top;
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* y = e^(x - top); the sum of all. */
static float row_exp(const float *x, float *y, size_t n, float top, bool keep)
{
    __m256 sum = _mm256_setzero_ps(), t = _mm256_set1_ps(top);
    for (size_t i = 0; i < n; i += 8) {
        size_t k = n - i < 8 ? n - i : 8;
        __m256 e = fbk_exp(_mm256_sub_ps(fbk_load(x + i, k), t));
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(fbk_mask(k))));
        if (keep)
            fbk_store(y + i, k, e);
    }
    return fbk_sum(sum);
}

void fbk_softmax_f32_avx2(const float *x, float *y, size_t n, size_t n_rows, bool log_form)
{
    for (size_t r = 0; r < n_rows; r++, x += n, y += n) {
        float top = row_max(x, n), sum = row_exp(x, y, n, top, !log_form);
        __m256 t = _mm256_set1_ps(top), s = _mm256_set1_ps(log_form ? logf(sum) : 1.0f / sum);
        for (size_t i = 0; i < n; i += 8) {
            size_t k = n - i;
            fbk_store(y + i, k,
                      log_form ? _mm256_sub_ps(_mm256_sub_ps(fbk_load(x + i, k), t), s)
                               : _mm256_mul_ps(fbk_load(y + i, k), s));
        }
    }
}

/* v^-beta where square roots and a division give it: beta 1/2, 3/4 and 1. */
FBK_INLINE __m256 power(__m256 v, float beta)
{
    __m256 root = _mm256_sqrt_ps(v), one = _mm256_set1_ps(1);
    if (beta == 0.5f)
        return _mm256_div_ps(one, root);
    if (beta == 1.0f)
        return _mm256_div_ps(one, v);
    return _mm256_div_ps(one, _mm256_mul_ps(root, _mm256_sqrt_ps(root)));
}

/* Any beta: eight calls of libm. */
static __m256 power_any(__m256 v, float beta)
{
    float lanes[8];
    _mm256_storeu_ps(lanes, v);
    for (int k = 0; k < 8; k++)
        lanes[k] = powf(lanes[k], -beta);
    return _mm256_loadu_ps(lanes);
}

void fbk_lrn_f32_avx2(const fbk_lrn *p, const float *x, float *y, size_t c, size_t n_px,
                      float *scratch)
{
    size_t size = (size_t)p->size, before = (size_t)(p->size - 1) / 2, after = size - 1 - before;
    bool roots = p->beta == 0.75f || p->beta == 0.5f || p->beta == 1.0f;
    __m256 alpha = _mm256_set1_ps(p->alpha / (float)p->size), bias = _mm256_set1_ps(p->bias);
    memset(scratch, 0, before * sizeof *scratch);
    memset(scratch + before + c, 0, after * sizeof *scratch);
    for (size_t px = 0; px < n_px; px++, x += c, y += c) {
        for (size_t i = 0; i < c; i += 8) {
            __m256 v = fbk_load(x + i, c - i);
            fbk_store(scratch + before + i, c - i, _mm256_mul_ps(v, v));
        }
        for (size_t i = 0; i < c; i += 8) {
            size_t k = c - i;
            __m256 s = fbk_load(scratch + i, k);
            for (size_t t = 1; t < size; t++)
                s = _mm256_add_ps(s, fbk_load(scratch + i + t, k));
            s = _mm256_fmadd_ps(alpha, s, bias);
            s = roots ? power(s, p->beta) : power_any(s, p->beta);
            fbk_store(y + i, k, _mm256_mul_ps(fbk_load(x + i, k), s));
        }
    }
}
