/* Panels of codes to panels of floats: unpack_f32_avx2.c and unpack_f32_vnni.c (x86/few_f32.h). */
#include "kernels/x86/few_f32.h"

/* An octet is 8 columns of a row. */
FBK_INLINE void unpack(const fbk_few_f32 *w, const uint8_t *codes, size_t column, const int nv,
                       size_t rows, float *to, const few_way way)
{
    few_octets o = few_octets_of(w, way);
    __m256 scale[3];
    few_values values[3];
    size_t bits = w->bits;
    FBK_UNROLL
    for (int v = 0; v < nv; v++) {
        size_t at = column + 8 * (size_t)v;
        __m256 zero = w->zero ? _mm256_loadu_ps(w->zero + at) : _mm256_setzero_ps();
        scale[v] = _mm256_loadu_ps(w->scale + at);
        values[v] = few_values_of(&o, w->table, zero, way);
    }
    for (; rows > 0; rows--, to += 8 * nv) {
        FBK_UNROLL
        for (int v = 0; v < nv; v++, codes += bits) {
            const few_values *at = &values[way == FEW_TABLE ? 0 : v]; /* one table serves all */
            _mm256_store_ps(to + 8 * v, _mm256_mul_ps(scale[v], few_decode(&o, codes, at, way)));
        }
    }
}

FBK_INLINE void transpose(__m256 v[8])
{
    __m256 a[8], b[8];
    FBK_UNROLL
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    FBK_UNROLL
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
    }
    FBK_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

/* Columns have tables of their own: an octet is 8 rows of a column, which are transposed. */
static void unpack_own(const fbk_few_f32 *w, const uint8_t *codes, size_t column, size_t nr,
                       size_t rows, float *to)
{
    few_octets o = few_octets_of(w, FEW_TABLE);
    for (size_t row = 0; row < rows; row += 8, to += 8 * nr) {
        for (size_t j = 0; j < nr; j += 8) {
            __m256 v[8], scale = _mm256_loadu_ps(w->scale + column + j);
            FBK_UNROLL
            for (size_t c = 0; c < 8; c++, codes += w->bits) {
                few_values at = few_values_of(&o, w->table + (column + j + c) * 16,
                                              _mm256_setzero_ps(), FEW_TABLE);
                v[c] = few_decode(&o, codes, &at, FEW_TABLE);
            }
            transpose(v);
            FBK_UNROLL
            for (size_t k = 0; k < 8; k++)
                _mm256_store_ps(to + k * nr + j, _mm256_mul_ps(scale, v[k]));
        }
    }
}

#define UNPACK(way)                                                                                \
    static void unpack_##way(const fbk_few_f32 *w, const uint8_t *codes, size_t column, size_t nr, \
                             size_t rows, float *to)                                               \
    {                                                                                              \
        if (nr == 8)                                                                               \
            unpack(w, codes, column, 1, rows, to, way);                                            \
        else if (nr == 16)                                                                         \
            unpack(w, codes, column, 2, rows, to, way);                                            \
        else                                                                                       \
            unpack(w, codes, column, 3, rows, to, way);                                            \
    }
UNPACK(FEW_TABLE)
UNPACK(FEW_ARITH)
UNPACK(FEW_BYTES)
UNPACK(FEW_PLAIN)
UNPACK(FEW_OFFSET)

void KERNEL(const fbk_few_f32 *w, const uint8_t *codes, size_t column, size_t nr, size_t rows,
            float *to)
{
    static fbk_unpack_f32_fn *const ways[FEW_WAYS] = {
        unpack_FEW_TABLE, unpack_FEW_ARITH, unpack_FEW_BYTES, unpack_FEW_PLAIN, unpack_FEW_OFFSET};
    if (w->own)
        unpack_own(w, codes, column, nr, rows, to);
    else
        ways[few_way_of(w)](w, codes, column, nr, rows, to);
}
