/* Sparse weights times 8 to 64 neighbouring pixels: one broadcast of the weight, then for each 8
 * pixels a load (mostly unaligned) and a multiply-add. Eight sums hide the latency of FMA; the
 * loads, not the arithmetic, set the pace. */
#include "kernels/sparse_f32.h"
#include "kernels/x86/simd_avx2.h"

FBK_INLINE void rows(const fbk_sparse_f32_block *b, const int nv)
{
    const __m256 lo = _mm256_set1_ps(b->lo), hi = _mm256_set1_ps(b->hi);
    for (size_t j = 0; j < b->n_out; j++) {
        float *sum = b->sum + j * FBK_SPARSE_LANES;
        __m256 acc[8];
        FBK_UNROLL
        for (int v = 0; v < nv; v++)
            acc[v] = _mm256_load_ps(sum + 8 * v);
        for (uint32_t t = b->start[j], end = b->start[j + 1]; t < end; t++) {
            const __m256 w = _mm256_broadcast_ss(b->w + t);
            const float *x = b->x + b->off[t];
            FBK_UNROLL
            for (int v = 0; v < nv; v++)
                acc[v] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + 8 * v), acc[v]);
        }
        FBK_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_store_ps(sum + 8 * v, fbk_clamp(acc[v], lo, hi));
    }
}

#define ROWS(nv)                                                                                   \
    static void rows_##nv(const fbk_sparse_f32_block *b)                                           \
    {                                                                                              \
        rows(b, nv);                                                                               \
    }
ROWS(1)
ROWS(2)
ROWS(3)
ROWS(4)
ROWS(5)
ROWS(6)
ROWS(7)
ROWS(8)

void fbk_sparse_f32_avx2(const fbk_sparse_f32_block *b)
{
    static void (*const table[8])(const fbk_sparse_f32_block *) = {rows_1, rows_2, rows_3, rows_4,
                                                                   rows_5, rows_6, rows_7, rows_8};
    table[(b->lanes + 7) / 8 - 1](b);
}
