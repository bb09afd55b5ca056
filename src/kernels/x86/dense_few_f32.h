/* Dense layer for few rows on weights in few bits: dense_few_f32_avx2.c and dense_few_f32_vnni.c
 * (x86/few_f32.h). As in dense_f32_avx2.c four rows of weights stream at a time; their codes become
 * floats in registers and serve up to three rows of x. */
#include "kernels/x86/few_f32.h"

enum {
    AHEAD = 1024,
    BURST = 8
}; /* bytes to prefetch ahead; octets from one prefetch to the next */

typedef struct few_row {
    const uint8_t *codes;
    const float *table, *zero, *scale;
} few_row;

FBK_INLINE few_row row_of(const fbk_dense_few_f32_args *a, size_t j)
{
    const fbk_few_f32 *w = a->w;
    few_row r;
    r.codes = a->codes + j * ((a->k + 7) / 8 * w->bits);
    r.table = w->own ? w->table + j * 16 : w->table;
    r.zero = w->zero ? w->zero + j : NULL;
    r.scale = w->scale + j;
    return r;
}

/* m rows of x against nw rows of w, one group after the other. */
FBK_INLINE void dots(const fbk_dense_few_f32_args *a, size_t i0, const int m, size_t j,
                     const int nw, const few_way way)
{
    few_octets o = few_octets_of(a->w, way);
    few_row w[4];
    __m256 acc[3][4], sum[3][4];
    FBK_UNROLL
    for (int v = 0; v < nw; v++) {
        w[v] = row_of(a, j + (size_t)v);
        FBK_UNROLL
        for (int i = 0; i < m; i++)
            sum[i][v] = _mm256_setzero_ps();
    }
    size_t bits = a->w->bits, octets = a->k / 8;
    size_t step = a->w->group ? a->w->group / 8 : octets + 1;
    const float *x = a->x + i0 * a->k;
    for (size_t k = 0, at = 0; k * 8 < a->k; at += a->w->columns) {
        few_values values[4];
        FBK_UNROLL
        for (int v = 0; v < nw; v++) {
            __m256 zero = _mm256_set1_ps(w[v].zero ? w[v].zero[at] : 0.0f);
            values[v] = few_values_of(&o, w[v].table, zero, way);
            FBK_UNROLL
            for (int i = 0; i < m; i++)
                acc[i][v] = _mm256_setzero_ps();
        }
        size_t stop = octets - k < step ? octets : k + step, end = k + step;
        for (; k < stop; k++) {
            if (k % BURST == 0) {
                FBK_UNROLL
                for (int v = 0; v < nw; v++)
                    _mm_prefetch((const char *)w[v].codes + k * bits + AHEAD, _MM_HINT_T0);
            }
            FBK_UNROLL
            for (int v = 0; v < nw; v++) {
                __m256 wv = few_decode(&o, w[v].codes + k * bits, &values[v], way);
                FBK_UNROLL
                for (int i = 0; i < m; i++) {
                    __m256 xv = _mm256_loadu_ps(x + (size_t)i * a->k + 8 * k);
                    acc[i][v] = _mm256_fmadd_ps(xv, wv, acc[i][v]);
                }
            }
        }
        if (k < end && k * 8 < a->k) { /* the rest of k, of fewer than 8 */
            FBK_UNROLL
            for (int v = 0; v < nw; v++) {
                __m256 wv = few_decode(&o, w[v].codes + k * bits, &values[v], way);
                FBK_UNROLL
                for (int i = 0; i < m; i++) {
                    __m256 xv = fbk_load(x + (size_t)i * a->k + 8 * k, a->k % 8);
                    acc[i][v] = _mm256_fmadd_ps(xv, wv, acc[i][v]);
                }
            }
            k++;
        }
        FBK_UNROLL
        for (int v = 0; v < nw; v++) {
            __m256 scale = _mm256_set1_ps(w[v].scale[at]);
            FBK_UNROLL
            for (int i = 0; i < m; i++)
                sum[i][v] = _mm256_fmadd_ps(acc[i][v], scale, sum[i][v]);
        }
    }
    FBK_UNROLL
    for (int v = 0; v < nw; v++) {
        size_t at = j + (size_t)v;
        FBK_UNROLL
        for (int i = 0; i < m; i++) {
            float s = fbk_sum(sum[i][v]) + (a->bias ? a->bias[at] : 0.0f);
            s = s < a->lo ? a->lo : s;
            a->y[(i0 + (size_t)i) * a->ldy + at] = s > a->hi ? a->hi : s;
        }
    }
}

/* Columns [j0, j1) for all rows of x, in threes: each group of weights comes from memory once and
 * from L1 then. */
#define COLUMNS(way)                                                                               \
    static void columns_##way(const fbk_dense_few_f32_args *a, size_t j0, size_t j1)               \
    {                                                                                              \
        for (size_t j = j0; j < j1;) {                                                             \
            bool four = j + 4 <= j1;                                                               \
            for (size_t i = 0; i < a->m; i += 3) {                                                 \
                size_t m = a->m - i;                                                               \
                if (four && m >= 3)                                                                \
                    dots(a, i, 3, j, 4, way);                                                      \
                else if (four && m == 2)                                                           \
                    dots(a, i, 2, j, 4, way);                                                      \
                else if (four)                                                                     \
                    dots(a, i, 1, j, 4, way);                                                      \
                else if (m >= 3)                                                                   \
                    dots(a, i, 3, j, 1, way);                                                      \
                else if (m == 2)                                                                   \
                    dots(a, i, 2, j, 1, way);                                                      \
                else                                                                               \
                    dots(a, i, 1, j, 1, way);                                                      \
            }                                                                                      \
            j += four ? 4 : 1;                                                                     \
        }                                                                                          \
    }
COLUMNS(FEW_TABLE)
COLUMNS(FEW_ARITH)
COLUMNS(FEW_BYTES)
COLUMNS(FEW_PLAIN)
COLUMNS(FEW_OFFSET)

void KERNEL(const fbk_dense_few_f32_args *a, size_t j0, size_t j1)
{
    static fbk_dense_few_f32_fn *const ways[FEW_WAYS] = {columns_FEW_TABLE, columns_FEW_ARITH,
                                                         columns_FEW_BYTES, columns_FEW_PLAIN,
                                                         columns_FEW_OFFSET};
    ways[few_way_of(a->w)](a, j0, j1);
}
