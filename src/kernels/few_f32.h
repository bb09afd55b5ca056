/* f32 kernels on weights that stay packed in 1 to 8 bits and are decoded in registers. List:
 * few_f32.inc.
 *
 * A weight matrix has columns (output channels). Code q of column j stands for
 *
 *   table given    scale[j] * table[q]        (own: the column's table)
 *   no table       scale[j] * (q - zero[j])   affine
 *
 * where, with groups, each run of `group` k has scales and zeros of its own.
 *
 * in float, one rounding for each operation written: exactly what decoding the tensor gives. Codes
 * lie least significant bit first, in octets: 8 codes, `bits` bytes.
 */
#ifndef FB_KERNELS_FEW_F32_H
#define FB_KERNELS_FEW_F32_H

#include "kernels/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kernels may read so many bytes behind the last octet of codes (dense layers: fbk_few_in_place);
 * what they hold does not matter. */
enum { FBK_FEW_SLACK = 8 };

typedef struct fbk_few_f32 {
    uint32_t bits;      /* of a code, 1 .. 8; with a table 1 .. 4 */
    bool is_signed;     /* q is two's complement (a table is indexed by its bits all the same) */
    bool affine;        /* (q - zero) is true of the codes, table or not; zero NULL: all 0 */
    bool own;           /* a table for each column; not affine */
    const float *table; /* [1 or columns][16], those of fewer than 4 bits repeated; or NULL */
    size_t group;       /* k that share scales, a multiple of 8, or 0: all; affine */
    size_t columns;
    const float *zero;  /* affine: [groups][columns], whole numbers, or NULL */
    const float *scale; /* [groups][columns] */
} fbk_few_f32;

/* Whether dense layers read nothing behind rows of k codes, which may then be a tensor's payload.
 */
static inline bool fbk_few_in_place(const fbk_few_f32 *w, size_t k)
{
    return k % 8 == 0 && (w->bits == 8 || (w->bits == 4 && w->table));
}

/* y[i][j] = clamp(bias[j] + scale[j] * sum_k x[i][k] * v(w[j][k]), lo, hi) for i < m and j in
 * [j0, j1), v the code's value without its scale; with groups, a sum for each. For few rows (m),
 * where memory bandwidth rules.
 *
 *   x [m][k]   codes [columns] rows of ceil(k / 8) octets   bias [columns] or NULL
 *   y [m][ldy]
 *
 * Rows of the list may differ by rounding: the error of an output is below
 * (k + groups + 1) * 2^-24 * (|bias| + sum scale |x v|).
 */
typedef struct fbk_dense_few_f32_args {
    size_t m, k, ldy;
    const float *x;
    const fbk_few_f32 *w;
    const uint8_t *codes;
    const float *bias;
    float *y;
    float lo, hi;
} fbk_dense_few_f32_args;
typedef void fbk_dense_few_f32_fn(const fbk_dense_few_f32_args *a, size_t j0, size_t j1);

/* to [rows][nr] = the values of codes [rows][nr], whose columns are [column, column + nr) of w; nr
 * is 8, 16 or 24, `to` 32-byte aligned. With a table for each column, codes are [rows / 8][nr][8]
 * and rows a multiple of 8. With groups, w's zeros and scales are those of the group that all rows
 * are in. All rows of the list give the same floats. */
typedef void fbk_unpack_f32_fn(const fbk_few_f32 *w, const uint8_t *codes, size_t column, size_t nr,
                               size_t rows, float *to);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/few_f32.inc"
#undef FBK

FBK_PICK(dense_few_f32)
FBK_PICK(unpack_f32)

#endif
