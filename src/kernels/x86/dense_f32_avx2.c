/* Dense layer for few rows: dot products with rows of the weights, read where they lie. Four rows
 * of weights at a time: as many streams from memory, and each load of x serves four multiply-adds.
 */
#include "kernels/gemm_f32.h"
#include "kernels/x86/simd_avx2.h"

/* Memory is some 80 ns away; at 20 GB/s that is 1.6 KB, 400 floats over the 4 streams. The
 * hardware's prefetcher stops at each 4 KiB page, this does not. */
enum { AHEAD = 512 };

/* m rows of x against nw rows of w; nw * m <= 12. Two sums an output when m = 1, to hide latency.
 */
FBK_INLINE void dots(const fbk_dense_f32_args *a, size_t i0, const int m, size_t j, const int nw)
{
    const float *x[3], *w[4];
    __m256 acc[3][4], acc2[4];
    FBK_UNROLL
    for (int i = 0; i < m; i++)
        x[i] = a->x + (i0 + (size_t)i) * a->k;
    FBK_UNROLL
    for (int v = 0; v < nw; v++) {
        w[v] = a->w + (j + (size_t)v) * a->k;
        acc2[v] = _mm256_setzero_ps();
        FBK_UNROLL
        for (int i = 0; i < m; i++)
            acc[i][v] = _mm256_setzero_ps();
    }
    size_t k = 0;
    for (; k + 16 <= a->k; k += 16) {
        FBK_UNROLL
        for (int v = 0; v < nw; v++) {
            __m256 w0 = _mm256_loadu_ps(w[v] + k), w1 = _mm256_loadu_ps(w[v] + k + 8);
            _mm_prefetch((const char *)(w[v] + k) + AHEAD * sizeof(float), _MM_HINT_T0);
            FBK_UNROLL
            for (int i = 0; i < m; i++) {
                acc[i][v] = _mm256_fmadd_ps(_mm256_loadu_ps(x[i] + k), w0, acc[i][v]);
                if (m == 1)
                    acc2[v] = _mm256_fmadd_ps(_mm256_loadu_ps(x[i] + k + 8), w1, acc2[v]);
                else
                    acc[i][v] = _mm256_fmadd_ps(_mm256_loadu_ps(x[i] + k + 8), w1, acc[i][v]);
            }
        }
    }
    for (; k < a->k; k += 8) {
        size_t n = a->k - k < 8 ? a->k - k : 8;
        FBK_UNROLL
        for (int v = 0; v < nw; v++) {
            __m256 w0 = fbk_load(w[v] + k, n);
            FBK_UNROLL
            for (int i = 0; i < m; i++)
                acc[i][v] = _mm256_fmadd_ps(fbk_load(x[i] + k, n), w0, acc[i][v]);
        }
    }
    FBK_UNROLL
    for (int v = 0; v < nw; v++) {
        FBK_UNROLL
        for (int i = 0; i < m; i++) {
            float s = fbk_sum(m == 1 ? _mm256_add_ps(acc[i][v], acc2[v]) : acc[i][v]);
            if (a->bias)
                s += a->bias[j + (size_t)v];
            s = s < a->lo ? a->lo : s;
            a->y[(i0 + (size_t)i) * a->ldy + j + (size_t)v] = s > a->hi ? a->hi : s;
        }
    }
}

#define DOTS(m, nw)                                                                                \
    static void dots_##m##x##nw(const fbk_dense_f32_args *a, size_t i, size_t j)                   \
    {                                                                                              \
        dots(a, i, m, j, nw);                                                                      \
    }
DOTS(1, 1)
DOTS(2, 1)
DOTS(3, 1)
DOTS(1, 4)
DOTS(2, 4)
DOTS(3, 4)

/* Rows of x in threes: each group of weights comes from memory once and from L1 then. */
static void all_rows(const fbk_dense_f32_args *a, size_t j, int nw)
{
    static void (*const table[2][3])(const fbk_dense_f32_args *, size_t, size_t) = {
        {dots_1x1, dots_2x1, dots_3x1}, {dots_1x4, dots_2x4, dots_3x4}};
    for (size_t i = 0; i < a->m; i += 3) {
        size_t m = a->m - i < 3 ? a->m - i : 3;
        table[nw == 4][m - 1](a, i, j);
    }
}

void fbk_dense_f32_avx2(const fbk_dense_f32_args *a, size_t j0, size_t j1)
{
    size_t j = j0;
    for (; j + 4 <= j1; j += 4)
        all_rows(a, j, 4);
    for (; j < j1; j++)
        all_rows(a, j, 1);
}
