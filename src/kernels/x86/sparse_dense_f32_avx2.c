/* Dense layer with sparse weights for few rows: 8 weights at a time, their inputs gathered. The
 * input stays in L1 or L2; the weights stream, 6 bytes each. */
#include "kernels/sparse_f32.h"
#include "kernels/x86/simd_avx2.h"

enum { AHEAD = 512 }; /* weights, as in dense_f32_avx2.c */

FBK_INLINE __m256 gather(const float *x, const uint16_t *at)
{
    __m128i index = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm256_i32gather_ps(x, _mm256_cvtepu16_epi32(index), 4);
}

static float dot(const fbk_sparse_dense_f32_args *a, const float *x, uint32_t from, uint32_t end)
{
    __m256 even = _mm256_setzero_ps(), odd = even;
    uint32_t t = from;
    for (; t + 16 <= end; t += 16) {
        _mm_prefetch((const char *)(a->w + t) + AHEAD * sizeof(float), _MM_HINT_T0);
        even = _mm256_fmadd_ps(_mm256_loadu_ps(a->w + t), gather(x, a->at + t), even);
        odd = _mm256_fmadd_ps(_mm256_loadu_ps(a->w + t + 8), gather(x, a->at + t + 8), odd);
    }
    float sum = 0;
    for (; t < end; t++)
        sum += a->w[t] * x[a->at[t]];
    return fbk_sum(_mm256_add_ps(even, odd)) + sum;
}

void fbk_sparse_dense_f32_avx2(const fbk_sparse_dense_f32_args *a, size_t j0, size_t j1)
{
    for (size_t j = j0; j < j1; j++) {
        for (size_t i = 0; i < a->m; i++) {
            float s = dot(a, a->x + i * a->k, a->start[j], a->start[j + 1]);
            s += a->bias ? a->bias[j] : 0;
            s = s < a->lo ? a->lo : s;
            a->y[i * a->ldy + j] = s > a->hi ? a->hi : s;
        }
    }
}
