/* Codes of any width to and from whole bytes, and levels to and from floats: what stands between
 * activations as they are stored and the kernels that compute. List: pack_q.inc.
 *
 * Packed codes lie least significant bit first, from a whole byte on; 8 codes take `bits` bytes.
 * Buffers may be unaligned and must not overlap unless said. Nothing is read or written outside
 * the n codes' bytes. */
#ifndef FB_KERNELS_PACK_Q_H
#define FB_KERNELS_PACK_Q_H

#include "fewbit/fewbit.h"
#include "kernels/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n codes of 1..7 bits to bytes, sign-extended when is_signed. */
typedef void fbk_unpack8_q_fn(unsigned bits, bool is_signed, size_t n, const uint8_t *x,
                              uint8_t *y);
/* n bytes to codes of 1..7 bits: their low bits. Bits beyond the last code become 0. */
typedef void fbk_pack8_q_fn(unsigned bits, size_t n, const uint8_t *x, uint8_t *y);
/* The same for codes of 9..15 bits in 16. */
typedef void fbk_unpack16_q_fn(unsigned bits, bool is_signed, size_t n, const uint8_t *x,
                               uint16_t *y);
typedef void fbk_pack16_q_fn(unsigned bits, size_t n, const uint16_t *x, uint8_t *y);

/* y[i] = table[x[i]] */
typedef void fbk_lut_f32_fn(const float table[256], size_t n, const uint8_t *x, float *y);

/* The nearest of several ascending values: y[i] = number of j with x[i] > edge[j], so that a NaN
 * counts as the lowest. Unused edges are +inf. */
typedef struct fbk_nearest {
    unsigned bits; /* 1..8: edges 0 .. 2^bits - 2 are looked at */
    float edge[256];
} fbk_nearest;
typedef void fbk_nearest_f32_fn(const fbk_nearest *q, size_t n, const float *x, uint8_t *y);

#define FBK(symbol, cpu, role) fbk_##role##_fn symbol;
#include "kernels/pack_q.inc"
#undef FBK

FBK_PICK(unpack8_q)
FBK_PICK(pack8_q)
FBK_PICK(unpack16_q)
FBK_PICK(pack16_q)
FBK_PICK(lut_f32)
FBK_PICK(nearest_f32)

#endif
