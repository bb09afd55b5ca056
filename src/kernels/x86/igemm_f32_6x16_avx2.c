/* Block of an indirect matrix product with FMA: 6 x 16 (12 accumulators, 2 vectors of weights, 1
 * broadcast: 15 of 16 registers) or 4 x 24 (12 + 3 + 1 = 16).
 *
 *   for each k:   load nr weights; for each row: broadcast x[row][k], multiply-add
 *
 * 12 FMA need 6 cycles (two a cycle) and hide their latency of 4; the 8 loads beside them fit three
 * a cycle. The row count is a compile-time constant of every copy, so that all indices into acc
 * vanish.
 */
#include "kernels/igemm_f32.h"
#include "kernels/x86/simd_avx2.h"

/* Vector v of nv; the last is partial unless n is a multiple of 8. */
FBK_INLINE __m256 load_columns(const float *p, int v, int nv, size_t n)
{
    if (v == nv - 1 && (n & 7))
        return _mm256_maskload_ps(p + 8 * v, fbk_mask(n & 7));
    return _mm256_loadu_ps(p + 8 * v);
}

FBK_INLINE void store_columns(float *p, int v, int nv, size_t n, __m256 value)
{
    if (v == nv - 1 && (n & 7))
        _mm256_maskstore_ps(p + 8 * v, fbk_mask(n & 7), value);
    else
        _mm256_storeu_ps(p + 8 * v, value);
}

/* acc += rows * b over all segments. */
FBK_INLINE void multiply(const fbk_igemm_f32_block *p, const int m, const int nv, __m256 acc[6][3])
{
    const float *b = p->b;
    const float *const *rows = p->rows;
    for (size_t s = p->n_seg; s > 0; s--, rows += p->rows_ld) {
        const float *x[6];
        FBK_UNROLL
        for (int i = 0; i < m; i++)
            x[i] = rows[i] + p->offset;
        size_t len = p->len;
        for (size_t k = 0; k < len; k++, b += 8 * nv) {
            __m256 w[3];
            FBK_UNROLL
            for (int v = 0; v < nv; v++)
                w[v] = _mm256_load_ps(b + 8 * v);
            FBK_UNROLL
            for (int i = 0; i < m; i++) {
                __m256 xi = _mm256_broadcast_ss(x[i] + k);
                FBK_UNROLL
                for (int v = 0; v < nv; v++)
                    acc[i][v] = _mm256_fmadd_ps(xi, w[v], acc[i][v]);
            }
        }
    }
}

FBK_INLINE void block(const fbk_igemm_f32_block *p, const int m, const int nv)
{
    __m256 acc[6][3];
    FBK_UNROLL
    for (int i = 0; i < m; i++) {
        FBK_UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = _mm256_setzero_ps();
    }
    multiply(p, m, nv, acc);
    __m256 lo = _mm256_set1_ps(p->lo), hi = _mm256_set1_ps(p->hi);
    FBK_UNROLL
    for (int v = 0; v < nv; v++) {
        __m256 start =
            !p->add && p->bias ? load_columns(p->bias, v, nv, p->n) : _mm256_setzero_ps();
        FBK_UNROLL
        for (int i = 0; i < m; i++) {
            float *y = p->y + (size_t)i * p->ldy;
            __m256 sum = p->add ? load_columns(y, v, nv, p->n) : start;
            sum = _mm256_add_ps(sum, acc[i][v]);
            sum = _mm256_min_ps(hi, _mm256_max_ps(lo, sum)); /* NaN comes from the second operand */
            store_columns(y, v, nv, p->n, sum);
        }
    }
}

#define BLOCK(m, nv)                                                                               \
    static void block_##m##x##nv(const fbk_igemm_f32_block *p)                                     \
    {                                                                                              \
        block(p, m, nv);                                                                           \
    }
BLOCK(1, 1)
BLOCK(2, 1)
BLOCK(3, 1)
BLOCK(4, 1)
BLOCK(5, 1)
BLOCK(6, 1)
BLOCK(1, 2)
BLOCK(2, 2)
BLOCK(3, 2)
BLOCK(4, 2)
BLOCK(5, 2)
BLOCK(6, 2)
BLOCK(1, 3)
BLOCK(2, 3)
BLOCK(3, 3)
BLOCK(4, 3)

void fbk_igemm_f32_6x16_avx2(const fbk_igemm_f32_block *p)
{
    static void (*const blocks[3][6])(const fbk_igemm_f32_block *) = {
        {block_1x1, block_2x1, block_3x1, block_4x1, block_5x1, block_6x1},
        {block_1x2, block_2x2, block_3x2, block_4x2, block_5x2, block_6x2},
        {block_1x3, block_2x3, block_3x3, block_4x3, NULL, NULL},
    };
    blocks[p->nr / 8 - 1][p->m - 1](p);
}
