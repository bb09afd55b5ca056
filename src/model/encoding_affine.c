/* affine: value = scale * (q - zero), q packed integers of 1 to 16 bits. */
#include "base/size.h"
#include "model/encoding_defs.h"
#include "model/model.h"
#include "numeric/fixed.h"

#include <math.h>
#include <stdio.h>

/* ---- packed integers ------------------------------------------------------------------------ */

int32_t fb_packed_get(const uint8_t *data, size_t i, unsigned bits, bool is_signed)
{
    uint64_t at = (uint64_t)i * bits;
    const uint8_t *p = data + at / 8;
    unsigned skip = (unsigned)(at % 8);
    /* 16 bits that start within a byte touch at most 3; never read beyond the last one. */
    uint32_t v = p[0];
    if (skip + bits > 8)
        v |= (uint32_t)p[1] << 8;
    if (skip + bits > 16)
        v |= (uint32_t)p[2] << 16;
    v = (v >> skip) & ((1u << bits) - 1u);
    uint32_t sign = is_signed ? 1u << (bits - 1) : 0;
    return (int32_t)(v ^ sign) - (int32_t)sign;
}

void fb_packed_put(uint8_t *data, size_t i, unsigned bits, int32_t q)
{
    uint64_t at = (uint64_t)i * bits;
    uint8_t *p = data + at / 8;
    unsigned skip = (unsigned)(at % 8);
    uint32_t v = ((uint32_t)q & ((1u << bits) - 1u)) << skip;
    p[0] = (uint8_t)(p[0] | (v & 255u));
    if (skip + bits > 8)
        p[1] = (uint8_t)(p[1] | (v >> 8 & 255u));
    if (skip + bits > 16)
        p[2] = (uint8_t)(p[2] | (v >> 16 & 255u));
}

bool fb_packed_bytes(size_t n, unsigned bits, size_t *bytes)
{
    /* n * bits / 8 rounded up, without the overflow of n * bits */
    size_t whole, rest = (n % 8 * bits + 7) / 8;
    return fb_size_mul(n / 8, bits, &whole) && fb_size_add(whole, rest, bytes);
}

/* ---- which scale ---------------------------------------------------------------------------- */

/* A row-major index is (outer, index along the axis, inner); constants have only positive dims. */
typedef struct split {
    size_t n_axis, inner, group, groups; /* groups per index of the axis */
} split;

static split split_of(const fb_tensor *t)
{
    size_t outer = 1;
    split s = {1, 1, 0, 1};
    for (int32_t i = 0; i < t->rank; i++) {
        size_t d = (size_t)t->dims[i];
        if (i < t->enc.axis)
            outer *= d;
        else if (i == t->enc.axis)
            s.n_axis = d;
        else
            s.inner *= d;
    }
    s.group = t->enc.group;
    if (s.group)
        s.groups = (outer * s.inner + s.group - 1) / s.group;
    return s;
}

static size_t scale_at(const split *s, size_t i)
{
    size_t block = i / s->inner, along = block % s->n_axis;
    if (s->group == 0)
        return along;
    size_t within = block / s->n_axis * s->inner + i % s->inner;
    return along * s->groups + within / s->group;
}

bool fb_affine_scale_count(const fb_tensor *t, uint64_t *n)
{
    *n = 1;
    if (t->enc.axis >= 0) {
        split s = split_of(t);
        *n = (uint64_t)s.n_axis * s.groups; /* at most the element count */
    }
    return *n <= UINT32_MAX;
}

uint32_t fb_affine_scale_index(const fb_tensor *t, size_t i)
{
    if (t->enc.axis < 0)
        return 0;
    split s = split_of(t);
    return (uint32_t)scale_at(&s, i);
}

/* ---- the definition ------------------------------------------------------------------------- */

static fb_status affine_bytes(const fb_tensor *t, size_t n_elems, size_t *bytes)
{
    if (!fb_packed_bytes(n_elems, t->enc.bits, bytes))
        return fb_fail(FB_E_LIMIT, "%zu elements of %u bits do not fit into memory", n_elems,
                       t->enc.bits);
    return FB_OK;
}

static bool is_pow2(float v)
{
    int e;
    return frexpf(v, &e) == 0.5f;
}

fb_status fb_scales_validate(const fb_encoding *e, int32_t lo, int32_t hi)
{
    for (uint32_t i = 0; i < e->n_scales; i++) {
        if (!isfinite(e->scale[i]) || !(e->scale[i] > 0))
            return fb_fail(FB_E_FORMAT, "scale %u is %g, must be finite and > 0", i,
                           (double)e->scale[i]);
        if (e->pow2 && !is_pow2(e->scale[i]))
            return fb_fail(FB_E_FORMAT, "scale %u is %g, must be a power of two", i,
                           (double)e->scale[i]);
        if (e->zero && (e->zero[i] < lo || e->zero[i] > hi))
            return fb_fail(FB_E_FORMAT, "zero point %u is %d, must be within %d..%d", i,
                           (int)e->zero[i], (int)lo, (int)hi);
    }
    return FB_OK;
}

static fb_status affine_validate(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (t->dtype != FB_F32)
        return fb_fail(FB_E_FORMAT, "affine values are %s, must be f32", fb_dtype_name(t->dtype));
    if (e->bits < 1 || e->bits > 16)
        return fb_fail(FB_E_FORMAT, "affine with %u bits, must have 1 to 16", e->bits);
    if (e->axis < -1 || e->axis >= t->rank)
        return fb_fail(FB_E_FORMAT, "scales along axis %d, must be -1 or within the %d dims",
                       e->axis, (int)t->rank);
    if (e->axis < 0 && e->group != 0)
        return fb_fail(FB_E_FORMAT, "groups of %u need an axis", e->group);
    if (e->axis >= 0 && !t->is_const)
        return fb_fail(FB_E_FORMAT, "an activation has scales along axis %d, must have one scale",
                       e->axis);
    uint64_t want;
    if (!fb_affine_scale_count(t, &want) || e->n_scales != want)
        return fb_fail(FB_E_FORMAT, "%u scales, must be %llu", e->n_scales,
                       (unsigned long long)want);
    if (!e->scale)
        return fb_fail(FB_E_FORMAT, "the list of %u scales is missing", e->n_scales);
    int32_t lo = e->is_signed ? -(1 << (e->bits - 1)) : 0;
    FB_TRY(fb_scales_validate(e, lo, lo + (1 << e->bits) - 1));
    return fb_patches_validate(t);
}

/* Elements [first, first + n) share one scale and zero point. */
static void decode_run(const fb_tensor *t, size_t first, size_t n, size_t scale, float *out)
{
    const fb_encoding *e = &t->enc;
    float s = e->scale[scale];
    int32_t zero = e->zero ? e->zero[scale] : 0;
    if (e->bits == 8 && e->is_signed) {
        const int8_t *q = (const int8_t *)t->data + first;
        for (size_t i = 0; i < n; i++)
            out[i] = s * (float)(q[i] - zero);
    } else {
        for (size_t i = 0; i < n; i++)
            out[i] = s * (float)(fb_packed_get(t->data, first + i, e->bits, e->is_signed) - zero);
    }
}

static void affine_decode(const fb_tensor *t, size_t first, size_t n, float *out)
{
    split s = split_of(t);
    for (size_t i = first; i < first + n;) {
        /* The scale stays until the axis moves on or, with groups, the group ends. */
        size_t run = s.inner - i % s.inner;
        if (s.group) {
            size_t within = i / s.inner / s.n_axis * s.inner + i % s.inner;
            size_t left = s.group - within % s.group;
            run = left < run ? left : run;
        }
        if (run > first + n - i)
            run = first + n - i;
        decode_run(t, i, run, scale_at(&s, i), out + (i - first));
        i += run;
    }
    fb_patches_apply(&t->enc, first, n, out);
}

static void affine_describe(const fb_tensor *t, char *text, size_t cap)
{
    const fb_encoding *e = &t->enc;
    char per[32] = "", patches[32];
    int32_t f;
    if (e->pow2 && e->axis < 0 && (!e->zero || e->zero[0] == 0) && e->n_patches == 0 &&
        e->sparse == FB_DENSE && fb_fraction_bits(e->scale[0], &f)) {
        int32_t m = e->bits - f - (e->is_signed ? 1 : 0); /* fixed point, in its own words */
        (void)snprintf(text, cap, "%sQ%d.%d", e->is_signed ? "" : "U", (int)m, (int)f);
        return;
    }
    if (e->axis >= 0 && e->group)
        (void)snprintf(per, sizeof per, " per-group-%u", e->group);
    else if (e->axis >= 0)
        (void)snprintf(per, sizeof per, " per-channel");
    (void)snprintf(text, cap, "affine%u%s%s%s%s", e->bits, e->is_signed ? "" : "u", per,
                   e->pow2 ? " pow2" : "", fb_patches_text(e, patches, sizeof patches));
}

const fb_encoding_def fb_encoding_affine = {"affine", affine_bytes, affine_validate, affine_decode,
                                            affine_describe};
