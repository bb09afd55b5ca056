/* 16-bit floats widened to f32, exactly, in plain C: IEEE binary16 (f16) and bfloat16 bit patterns.
 */
#ifndef FB_NUMERIC_HALF_H
#define FB_NUMERIC_HALF_H

#include <stdint.h>
#include <string.h>

static inline float fb_bits_to_f32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* bfloat16 is the upper half of an f32. */
static inline float fb_bf16_to_f32(uint16_t h)
{
    return fb_bits_to_f32((uint32_t)h << 16);
}

/* 1 sign bit, 5 exponent bits (bias 15), 10 mantissa bits. */
static inline float fb_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 31) /* infinity, NaN */
        return fb_bits_to_f32(sign | 0x7f800000u | man << 13);
    if (exp > 0) /* 127 - 15 = 112 */
        return fb_bits_to_f32(sign | (exp + 112u) << 23 | man << 13);
    /* zero and subnormals are multiples of 2^-24 */
    float f = (float)man * 0x1p-24f;
    return sign ? -f : f;
}

#endif
