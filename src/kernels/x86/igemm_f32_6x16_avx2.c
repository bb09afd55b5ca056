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

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* The next loop has a small constant count: without it, acc would live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 6")
#endif

/* The last n % 8 lanes, as a mask; n in 1..7. */
static const int32_t mask_bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

INLINE __m256i tail_mask(size_t n)
{
    return _mm256_loadu_si256((const __m256i *)(mask_bits + 8 - (n & 7)));
}

/* Vector v of nv; the last is partial unless n is a multiple of 8. */
INLINE __m256 load_columns(const float *p, int v, int nv, size_t n)
{
    if (v == nv - 1 && (n & 7))
        return _mm256_maskload_ps(p + 8 * v, tail_mask(n));
    return _mm256_loadu_ps(p + 8 * v);
}

INLINE void store_columns(float *p, int v, int nv, size_t n, __m256 value)
{
    if (v == nv - 1 && (n & 7))
        _mm256_maskstore_ps(p + 8 * v, tail_mask(n), value);
    else
        _mm256_storeu_ps(p + 8 * v, value);
}

/* acc += rows * b over all segments. */
INLINE void multiply(const fbk_igemm_f32_block *p, const int m, const int nv, __m256 acc[6][3])
{
    const float *b = p->b;
    const float *const *rows = p->rows;
    for (size_t s = p->n_seg; s > 0; s--, rows += p->rows_ld) {
        const float *x[6];
        UNROLL
        for (int i = 0; i < m; i++)
            x[i] = rows[i] + p->offset;
        size_t len = p->len;
        for (size_t k = 0; k < len; k++, b += 8 * nv) {
            __m256 w[3];
            UNROLL
            for (int v = 0; v < nv; v++)
                w[v] = _mm256_load_ps(b + 8 * v);
            UNROLL
            for (int i = 0; i < m; i++) {
                __m256 xi = _mm256_broadcast_ss(x[i] + k);
                UNROLL
                for (int v = 0; v < nv; v++)
                    acc[i][v] = _mm256_fmadd_ps(xi, w[v], acc[i][v]);
            }
        }
    }
}

INLINE void block(const fbk_igemm_f32_block *p, const int m, const int nv)
{
    __m256 acc[6][3];
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = _mm256_setzero_ps();
    }
    multiply(p, m, nv, acc);
    __m256 lo = _mm256_set1_ps(p->lo), hi = _mm256_set1_ps(p->hi);
    UNROLL
    for (int v = 0; v < nv; v++) {
        __m256 start =
            !p->add && p->bias ? load_columns(p->bias, v, nv, p->n) : _mm256_setzero_ps();
        UNROLL
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
