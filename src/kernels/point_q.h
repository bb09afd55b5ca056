/* Integer kernels that work element by element: sums and products of codes, look-up tables,
 * quantising and decoding. List: point_q.inc. The arithmetic is that of numeric/requant.h. Buffers
 * may be unaligned; y may be one of the inputs, and must not overlap them otherwise. */
#ifndef FB_KERNELS_POINT_Q_H
#define FB_KERNELS_POINT_Q_H

#include "fewbit/fewbit.h"
#include "kernels/registry.h"
#include "numeric/requant.h"

/* y[i] = fb_add_codes(a[i], b[i]). Signed codes are computed as the unsigned codes q + 128, which
 * is q ^ 0x80: `flip` is 0x80 for them, else 0, and the zero points behind the law, lo and hi are
 * those of the unsigned codes. The same holds for fbk_mul_q. */
typedef struct fbk_add_q {
    fb_add_law law;
    int32_t lo, hi;
    uint8_t flip;
} fbk_add_q;
typedef void fbk_add_q_fn(const fbk_add_q *q, size_t n, const uint8_t *a, const uint8_t *b,
                          uint8_t *y);

/* y[i] = fb_mul_codes(a[i], b[i]). */
typedef struct fbk_mul_q {
    int32_t a_zero, b_zero, y_zero, lo, hi;
    float ratio;
    uint8_t flip;
} fbk_mul_q;
typedef void fbk_mul_q_fn(const fbk_mul_q *q, size_t n, const uint8_t *a, const uint8_t *b,
                          uint8_t *y);

/* y[i] = table[x[i]]; the table is indexed by the stored byte, signed or not. */
typedef void fbk_lut_q_fn(const uint8_t table[256], size_t n, const uint8_t *x, uint8_t *y);

/* y[i] = fb_quantize(x[i]), stored as `type` (u8, s8, u16 or s16). */
typedef struct fbk_codes {
    float scale;
    int32_t zero, lo, hi;
    fb_dtype type;
} fbk_codes;
typedef void fbk_quantize_q_fn(const fbk_codes *q, size_t n, const float *x, void *y);
/* y[i] = fb_dequantize(x[i]). */
typedef void fbk_dequantize_q_fn(const fbk_codes *q, size_t n, const void *x, float *y);

#define FBK(symbol, cpu, role) fbk_##role##_fn symbol;
#include "kernels/point_q.inc"
#undef FBK

FBK_PICK(add_q)
FBK_PICK(mul_q)
FBK_PICK(lut_q)
FBK_PICK(quantize_q)
FBK_PICK(dequantize_q)

#endif
