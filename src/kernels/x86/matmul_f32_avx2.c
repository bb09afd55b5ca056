/* Matrix product on plain row-major matrices: 6 x 16 blocks, the right matrix read in place. */
#include "kernels/gemm_f32.h"
#include "kernels/x86/simd_avx2.h"

/* m rows from row i, columns [j, j + n), n <= 16. */
FBK_INLINE void block(const fbk_matmul_f32_args *p, size_t i0, const int m, size_t j, size_t n)
{
    const float *x = p->a + i0 * p->lda, *b = p->b + j;
    size_t n0 = n < 8 ? n : 8, n1 = n - n0;
    __m256i mask0 = fbk_mask(n0), mask1 = fbk_mask(n1);
    __m256 acc[6][2];
    FBK_UNROLL
    for (int i = 0; i < m; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < p->k; k++, b += p->ldb) {
        __m256 b0 = n == 16 ? _mm256_loadu_ps(b) : _mm256_maskload_ps(b, mask0);
        __m256 b1 = n == 16 ? _mm256_loadu_ps(b + 8) : _mm256_setzero_ps();
        if (n > 8 && n < 16)
            b1 = _mm256_maskload_ps(b + 8, mask1);
        FBK_UNROLL
        for (int i = 0; i < m; i++) {
            __m256 xi = _mm256_broadcast_ss(x + (size_t)i * p->lda + k);
            acc[i][0] = _mm256_fmadd_ps(xi, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(xi, b1, acc[i][1]);
        }
    }
    FBK_UNROLL
    for (int i = 0; i < m; i++) {
        float *y = p->y + (i0 + (size_t)i) * p->ldy + j;
        fbk_store(y, n0, acc[i][0]);
        if (n1)
            fbk_store(y + 8, n1, acc[i][1]);
    }
}

/* Full blocks get their own copy, without the tests for the edge. */
#define BLOCK(m)                                                                                   \
    static void block_##m(const fbk_matmul_f32_args *p, size_t i, size_t j, size_t n)              \
    {                                                                                              \
        if (n == 16)                                                                               \
            block(p, i, m, j, 16);                                                                 \
        else                                                                                       \
            block(p, i, m, j, n);                                                                  \
    }
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)
BLOCK(5)
BLOCK(6)

void fbk_matmul_f32_avx2(const fbk_matmul_f32_args *p, size_t i0, size_t i1)
{
    static void (*const blocks[6])(const fbk_matmul_f32_args *, size_t, size_t,
                                   size_t) = {block_1, block_2, block_3, block_4, block_5, block_6};
    for (size_t j = 0; j < p->n; j += 16) {
        size_t n = p->n - j < 16 ? p->n - j : 16;
        for (size_t i = i0; i < i1; i += 6) {
            size_t m = i1 - i < 6 ? i1 - i : 6;
            blocks[m - 1](p, i, j, n);
        }
    }
}
