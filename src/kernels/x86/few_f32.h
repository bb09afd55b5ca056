/* Octets of codes to 8 floats: what the kernels on weights in few bits share (few_f32.h). Their
 * files for AVX2 and for AVX-512VL (which comes with VNNI) differ in FEW_LOOKUP16 alone.
 *
 * The ways, chosen once for a call; "plain" is affine, signed and without zero points:
 *   TABLE   up to 4 bits: 32 bits that hold the octet go to all lanes, each lane shifts its code
 *           down, and a permutation looks it up in registers; the bits above need no mask.
 *   ARITH   up to 4 bits, plain: each lane shifts its code up to the sign and back.
 *   BYTES   8 bits, plain: extended.
 *   PLAIN   any bits, plain: bytes that hold a code go to its lane, then as ARITH.
 *   OFFSET  any affine codes: as PLAIN, unsigned ones with their sign flipped, less the zero point.
 */
#ifndef FB_KERNELS_X86_FEW_F32_H
#define FB_KERNELS_X86_FEW_F32_H

#include "kernels/few_f32.h"
#include "kernels/x86/simd_avx2.h"

#include <string.h>

typedef enum few_way { FEW_TABLE, FEW_ARITH, FEW_BYTES, FEW_PLAIN, FEW_OFFSET, FEW_WAYS } few_way;

/* What does not change from octet to octet. */
typedef struct few_octets {
    __m256i shift;   /* by lane, to bring a code down (TABLE) or up to the sign */
    __m256i bytes;   /* by lane, the bytes that hold its code */
    __m256i flip;    /* the sign, when codes are unsigned */
    __m128i down;    /* 32 - bits */
    __m256 midpoint; /* what flipping took from a code; added to zero points */
} few_octets;

/* What stands for the lanes of an octet, or for the column that it belongs to. */
typedef struct few_values {
    __m256 lo, hi; /* a table */
    __m256 zero;   /* less the midpoint */
} few_values;

FBK_INLINE __m256i few_lanes(void)
{
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

FBK_INLINE few_octets few_octets_of(const fbk_few_f32 *w, const few_way way)
{
    few_octets o;
    int32_t bits = (int32_t)w->bits;
    bool in_place = way == FEW_TABLE || way == FEW_ARITH;
    __m256i first = _mm256_mullo_epi32(few_lanes(), _mm256_set1_epi32(bits)); /* bit of a code */
    __m256i byte = _mm256_srli_epi32(first, 3);
    __m256i within = in_place ? first : _mm256_and_si256(first, _mm256_set1_epi32(7));
    o.shift = way == FEW_TABLE ? first : _mm256_sub_epi32(_mm256_set1_epi32(32 - bits), within);
    /* A code lies in two bytes at most: the lane's two lowest; the others are shifted out. */
    o.bytes = _mm256_add_epi32(_mm256_mullo_epi32(byte, _mm256_set1_epi32(0x0101)),
                               _mm256_set1_epi32((int32_t)0x80800100));
    o.flip = _mm256_set1_epi32(w->is_signed ? 0 : INT32_MIN);
    o.down = _mm_cvtsi32_si128(32 - bits);
    o.midpoint = _mm256_set1_ps(w->is_signed ? 0.0f : -(float)(1 << (bits - 1)));
    return o;
}

FBK_INLINE __m256i few_broadcast32(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

FBK_INLINE __m256i few_broadcast64(const uint8_t *p)
{
    int64_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi64x(v);
}

/* The octet's codes at the top of their lanes. */
FBK_INLINE __m256i few_raised(const few_octets *o, const uint8_t *p, const few_way way)
{
    __m256i v =
        way == FEW_ARITH ? few_broadcast32(p) : _mm256_shuffle_epi8(few_broadcast64(p), o->bytes);
    v = _mm256_sllv_epi32(v, o->shift);
    return way == FEW_OFFSET ? _mm256_xor_si256(v, o->flip) : v;
}

FBK_INLINE few_values few_values_of(const few_octets *o, const float *table, __m256 zero,
                                    const few_way way)
{
    few_values v;
    v.lo = v.hi = _mm256_setzero_ps();
    if (way == FEW_TABLE) {
        v.lo = _mm256_loadu_ps(table);
        v.hi = _mm256_loadu_ps(table + 8);
    }
    v.zero = _mm256_add_ps(zero, o->midpoint);
    return v;
}

/* Values without scale of the octet at p. */
FBK_INLINE __m256 few_decode(const few_octets *o, const uint8_t *p, const few_values *v,
                             const few_way way)
{
    if (way == FEW_TABLE)
        return FEW_LOOKUP16(v->lo, v->hi, _mm256_srlv_epi32(few_broadcast32(p), o->shift));
    if (way == FEW_BYTES)
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
    __m256i q = _mm256_sra_epi32(few_raised(o, p, way), o->down);
    __m256 x = _mm256_cvtepi32_ps(q);
    return way == FEW_OFFSET ? _mm256_sub_ps(x, v->zero) : x;
}

FBK_INLINE few_way few_way_of(const fbk_few_f32 *w)
{
    bool plain = w->affine && w->is_signed && !w->zero;
    if (w->bits <= 4 && plain && (FEW_ARITH_FIRST || !w->table))
        return FEW_ARITH;
    if (w->table)
        return FEW_TABLE;
    if (!plain)
        return FEW_OFFSET;
    return w->bits == 8 ? FEW_BYTES : FEW_PLAIN;
}

#endif
