/* Copies that transpose 4-byte elements: 8 x 8 blocks in registers. Everything else is left to the
 * reference, whose inner loop is memcpy where rows are contiguous. */
#include "kernels/any.h"
#include "kernels/x86/simd_avx2.h"

/* dst rows i (ds apart) = columns i of 8 src rows (ss apart); floats stand for any 4 bytes. */
FBK_INLINE void transpose_8x8(const float *s, ptrdiff_t ss, float *d, ptrdiff_t ds)
{
    __m256 r[8], t[8];
    FBK_UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(s + i * ss);
    FBK_UNROLL
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    FBK_UNROLL
    for (int i = 0; i < 2; i++) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    FBK_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(d + i * ds, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(d + (i + 4) * ds, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* 8 rows of dst from the same place on; n columns. src: row i, column j at i + j * col. */
static void eight_rows(const float *s, ptrdiff_t col, float *d, ptrdiff_t ds, size_t n)
{
    size_t j = 0;
    for (; j + 8 <= n; j += 8)
        transpose_8x8(s + (ptrdiff_t)j * col, col, d + j, ds);
    for (; j < n; j++) {
        for (ptrdiff_t i = 0; i < 8; i++)
            d[i * ds + (ptrdiff_t)j] = s[(ptrdiff_t)j * col + i];
    }
}

void fbk_move_any_8x8_avx2(const fbk_walk *w, size_t elem_bytes, const void *src, void *dst,
                           size_t row0, size_t n_rows)
{
    int32_t last = w->rank - 1, prev = w->rank - 2;
    bool transposes = elem_bytes == 4 && w->rank >= 2 && w->stride[1][last] != 1 &&
                      w->stride[1][prev] == 1 && w->stride[0][last] == 1;
    size_t row = row0, end = row0 + n_rows;
    while (transposes && row < end) {
        size_t run = w->dims[prev] - row % w->dims[prev]; /* rows with the same outer indices */
        run = run < end - row ? run : end - row;
        ptrdiff_t off[FBK_WALK_OPERANDS];
        fbk_walk_at(w, row, off);
        size_t done = 0;
        for (; done + 8 <= run; done += 8)
            eight_rows((const float *)src + off[1] + (ptrdiff_t)done, w->stride[1][last],
                       (float *)dst + off[0] + (ptrdiff_t)done * w->stride[0][prev],
                       w->stride[0][prev], w->dims[last]);
        fbk_move_any_ref(w, elem_bytes, src, dst, row + done, run - done);
        row += run;
    }
    fbk_move_any_ref(w, elem_bytes, src, dst, row, end - row);
}
