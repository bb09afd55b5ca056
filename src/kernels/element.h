/* One element of any type, through double or through 64-bit integers: the slow generic path. */
#ifndef FB_KERNELS_ELEMENT_H
#define FB_KERNELS_ELEMENT_H

#include "fewbit/fewbit.h"
#include "numeric/half.h"

static inline bool fbk_is_float(fb_dtype t)
{
    return t == FB_F32 || t == FB_F64 || t == FB_F16 || t == FB_BF16;
}

static inline bool fbk_is_unsigned(fb_dtype t)
{
    return t == FB_U8 || t == FB_U16 || t == FB_U32 || t == FB_U64 || t == FB_BOOL;
}

/* Integer and bool types: the value, u64 as its bit pattern. */
static inline int64_t fbk_get_i64(fb_dtype t, const void *p, size_t i)
{
    switch (t) {
    case FB_U8:
        return ((const uint8_t *)p)[i];
    case FB_BOOL:
        return ((const uint8_t *)p)[i] != 0;
    case FB_S8:
        return ((const int8_t *)p)[i];
    case FB_U16:
        return ((const uint16_t *)p)[i];
    case FB_S16:
        return ((const int16_t *)p)[i];
    case FB_U32:
        return ((const uint32_t *)p)[i];
    case FB_S32:
        return ((const int32_t *)p)[i];
    case FB_U64:
    case FB_S64:
        return ((const int64_t *)p)[i];
    default:
        return 0;
    }
}

/* Stores v modulo 2^bits of an integer type; != 0 for bool. */
static inline void fbk_put_i64(fb_dtype t, void *p, size_t i, int64_t v)
{
    switch (t) {
    case FB_BOOL:
        ((uint8_t *)p)[i] = v != 0;
        break;
    case FB_U8:
    case FB_S8:
        ((uint8_t *)p)[i] = (uint8_t)v;
        break;
    case FB_U16:
    case FB_S16:
        ((uint16_t *)p)[i] = (uint16_t)v;
        break;
    case FB_U32:
    case FB_S32:
        ((uint32_t *)p)[i] = (uint32_t)v;
        break;
    case FB_U64:
    case FB_S64:
        ((int64_t *)p)[i] = v;
        break;
    default:
        break;
    }
}

/* Any type as double: exact but for 64-bit integers beyond 2^53. */
static inline double fbk_get_f64(fb_dtype t, const void *p, size_t i)
{
    switch (t) {
    case FB_F32:
        return (double)((const float *)p)[i];
    case FB_F64:
        return ((const double *)p)[i];
    case FB_F16:
        return (double)fb_f16_to_f32(((const uint16_t *)p)[i]);
    case FB_BF16:
        return (double)fb_bf16_to_f32(((const uint16_t *)p)[i]);
    case FB_U64:
        return (double)((const uint64_t *)p)[i];
    default:
        return (double)fbk_get_i64(t, p, i);
    }
}

/* A double as a 64-bit integer, truncated; NaN gives 0, what lies outside saturates. With `u64`
 * set, [2^63, 2^64) is kept as its bit pattern. */
static inline int64_t fbk_trunc_i64(double v, bool u64)
{
    if (isnan(v))
        return 0;
    if (v >= 0x1p63) {
        if (!u64)
            return INT64_MAX;
        return v >= 0x1p64 ? -1 : (int64_t)(uint64_t)v;
    }
    if (v < -0x1p63)
        return INT64_MIN;
    return (int64_t)v;
}

/* Stores a double: float types round to nearest even; integers take fbk_trunc_i64 modulo 2^bits;
 * bool is v != 0. */
static inline void fbk_put_f64(fb_dtype t, void *p, size_t i, double v)
{
    switch (t) {
    case FB_F32:
        ((float *)p)[i] = (float)v;
        break;
    case FB_F64:
        ((double *)p)[i] = v;
        break;
    case FB_F16:
        ((uint16_t *)p)[i] = fb_f16_from_f64(v);
        break;
    case FB_BF16:
        ((uint16_t *)p)[i] = fb_bf16_from_f64(v);
        break;
    case FB_BOOL:
        ((uint8_t *)p)[i] = v != 0.0;
        break;
    default:
        fbk_put_i64(t, p, i, fbk_trunc_i64(v, t == FB_U64));
        break;
    }
}

#endif
