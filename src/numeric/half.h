/* 16-bit floats in plain C: IEEE binary16 (f16) and bfloat16, by bit patterns. To f32 exactly; to
 * 16 bits rounding to nearest, ties to even, once, straight from double; NaN stays NaN; too large
 * becomes infinity. */
#ifndef FB_NUMERIC_HALF_H
#define FB_NUMERIC_HALF_H

#include <math.h>
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

/* Rounds |v| (finite or infinite) to `man_bits` of mantissa with least exponent `e_min` (that of
 * the smallest normal) and gives it as a multiple of its own quantum through ldexp: exact in
 * double. */
static inline double fb_round_to(double a, int man_bits, int e_min)
{
    int e;
    (void)frexp(a, &e); /* a = f * 2^e, f in [1/2, 1) */
    e -= 1;
    if (e < e_min)
        e = e_min;
    double scaled = ldexp(a, man_bits - e);
    double whole = floor(scaled), rest = scaled - whole;
    if (rest > 0.5 || (rest == 0.5 && fmod(whole, 2.0) == 1.0))
        whole += 1.0;
    return ldexp(whole, e - man_bits);
}

static inline uint16_t fb_f16_from_f64(double v)
{
    uint16_t sign = signbit(v) ? 0x8000u : 0;
    if (isnan(v))
        return (uint16_t)(sign | 0x7e00u);
    double a = fabs(v);
    if (a >= 65520.0) /* half way between the largest f16, 65504, and 65536 */
        return (uint16_t)(sign | 0x7c00u);
    a = fb_round_to(a, 10, -14);
    if (a < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)(a * 0x1p24));
    int e;
    double f = frexp(a, &e); /* [1/2, 1) */
    uint32_t man = (uint32_t)(f * 2048.0) - 1024u;
    return (uint16_t)(sign | (uint32_t)(e + 14) << 10 | man);
}

static inline uint16_t fb_bf16_from_f64(double v)
{
    uint16_t sign = signbit(v) ? 0x8000u : 0;
    if (isnan(v))
        return (uint16_t)(sign | 0x7fc0u);
    double a = fabs(v);
    if (isinf(a))
        return (uint16_t)(sign | 0x7f80u);
    a = fb_round_to(a, 7, -126);
    if (a >= 0x1p128)
        return (uint16_t)(sign | 0x7f80u);
    float f = (float)a; /* exact */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(sign | bits >> 16);
}

#endif
