/* The law of fixed point: Qm.f numbers q 2^-f with accumulators of a stated width (METHODS D.3).
 *
 *     acc = bias, in units 2^-fa;  fa = fraction bits of the weights + those of the input
 *     acc = acc + w x              for each product; fb_overflow says what becomes of too large a
 * sum y   = clamp(fb_shift(acc, fa - fraction bits of the output), lo, hi)
 *
 * The kernels of conv_fx.inc compute exactly these functions; docs/NUMERICS.md has the same text in
 * words. */
#ifndef FB_NUMERIC_FIXED_H
#define FB_NUMERIC_FIXED_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum fb_overflow {
    FB_OVERFLOW_SATURATE, /* after each product, in the order (kh, kw, c): a saturating adder */
    FB_OVERFLOW_END,      /* the sum of all products and the bias is exact, then saturates */
    FB_OVERFLOW_WRAP,     /* two's complement, modulo 2^acc_bits */
    FB_OVERFLOW_COUNT
} fb_overflow;
#define FB_OVERFLOW_NAMES "saturate|end|wrap" /* as options spell them, in this order */

typedef enum fb_rounding {
    FB_ROUND_HALF_UP,   /* floor(v + 1/2) */
    FB_ROUND_HALF_EVEN, /* ties to the even neighbour */
    FB_ROUND_HALF_AWAY, /* ties away from zero */
    FB_ROUND_DOWN,      /* floor(v): bits are cut off */
    FB_ROUND_COUNT
} fb_rounding;
#define FB_ROUNDING_NAMES "half-up|half-even|half-away|floor"

/* The arithmetic of one layer. */
typedef struct fb_fixed {
    int32_t
        acc_bits; /* FB_ACC_LEAST .. FB_ACC_MOST; 0: not fixed point, but the law of requant.h */
    int32_t overflow; /* fb_overflow */
    int32_t rounding; /* fb_rounding */
} fb_fixed;

enum { FB_ACC_LEAST = 8, FB_ACC_MOST = 32 };

static inline int64_t fb_acc_max(int32_t acc_bits)
{
    return ((int64_t)1 << (acc_bits - 1)) - 1;
}

static inline int64_t fb_acc_min(int32_t acc_bits)
{
    return -((int64_t)1 << (acc_bits - 1));
}

static inline bool fb_acc_holds(int64_t v, int32_t acc_bits)
{
    return v >= fb_acc_min(acc_bits) && v <= fb_acc_max(acc_bits);
}

static inline int64_t fb_acc_saturate(int64_t v, int32_t acc_bits)
{
    int64_t lo = fb_acc_min(acc_bits), hi = fb_acc_max(acc_bits);
    return v < lo ? lo : v > hi ? hi : v;
}

/* The low acc_bits of v as two's complement. */
static inline int64_t fb_acc_wrap(int64_t v, int32_t acc_bits)
{
    uint64_t sign = (uint64_t)1 << (acc_bits - 1);
    uint64_t low = (uint64_t)v & (2 * sign - 1);
    return (int64_t)(low ^ sign) - (int64_t)sign;
}

/* An exact sum as an accumulator that is not saturated product by product. */
static inline int64_t fb_acc_of(int64_t sum, const fb_fixed *law)
{
    return law->overflow == FB_OVERFLOW_WRAP ? fb_acc_wrap(sum, law->acc_bits)
                                             : fb_acc_saturate(sum, law->acc_bits);
}

/* v 2^-n, rounded; |v| <= 2^31. n <= 0 is a shift to the left, which is exact. n is brought within
 * [-31, 40], which changes nothing: beyond, all bits are gone, or any v but 0 is larger than 16-bit
 * codes. */
static inline int64_t fb_shift(int64_t v, int32_t n, fb_rounding rounding)
{
    n = n < -31 ? -31 : n > 40 ? 40 : n;
    if (n <= 0)
        return v * ((int64_t)1 << -n);
    int64_t unit = (int64_t)1 << n, half = unit / 2;
    int64_t down = (v - (v & (unit - 1))) / unit, rest = v & (unit - 1); /* v = down unit + rest */
    switch (rounding) {
    case FB_ROUND_HALF_UP:
        return down + (rest >= half);
    case FB_ROUND_HALF_EVEN:
        return down + (rest > half || (rest == half && (down & 1)));
    case FB_ROUND_HALF_AWAY:
        return down + (rest > half || (rest == half && v >= 0));
    default:
        return down;
    }
}

/* A value as an integer in units 2^-f, rounded likewise and kept within 32 bits: how a bias becomes
 * an accumulator. For a bias that is an integer in units 2^-fb this is bias << (f - fb), or a
 * rounded shift to the right where f < fb. */
static inline int32_t fb_fixed_value(double value, int32_t f, fb_rounding rounding)
{
    double v = ldexp(value, f), down = floor(v), rest = v - down;
    bool up = false;
    if (!(v > -0x1p31)) /* also a NaN */
        return INT32_MIN;
    if (v >= 0x1p31 - 1)
        return INT32_MAX;
    if (rounding == FB_ROUND_HALF_UP)
        up = rest >= 0.5;
    else if (rounding == FB_ROUND_HALF_EVEN)
        up = rest > 0.5 || (rest == 0.5 && fmod(down, 2) != 0);
    else if (rounding == FB_ROUND_HALF_AWAY)
        up = rest > 0.5 || (rest == 0.5 && v >= 0);
    return (int32_t)(int64_t)(down + (up ? 1 : 0));
}

/* f of a scale 2^-f; false when it is no power of two. */
static inline bool fb_fraction_bits(float scale, int32_t *f)
{
    int e;
    if (!(scale > 0) || frexpf(scale, &e) != 0.5f)
        return false;
    *f = 1 - e;
    return true;
}

/* The least m with |x| <= 2^m for all |x| <= most: integer bits of Qm.f (METHODS D.3). 0 for most =
 * 0. */
static inline int32_t fb_integer_bits(double most)
{
    int e;
    double r = frexp(most, &e);
    return most > 0 ? (r == 0.5 ? e - 1 : e) : 0;
}

/* Bits that hold any sum of n products (the bias counts as one) of w_bits times x_bits in two's
 * complement: w_bits + x_bits - 1 + ceil(log2 n). An unsigned x counts a bit more. */
static inline int32_t fb_acc_bound(unsigned w_bits, unsigned x_bits, bool x_signed, uint64_t n)
{
    int32_t log = 0;
    while (((uint64_t)1 << log) < n)
        log++;
    return (int32_t)(w_bits + x_bits) - (x_signed ? 1 : 0) + log;
}

#endif
