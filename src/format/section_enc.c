/* Section ENCP: for each tensor that is not plain, in tensor order, the parameters of its encoding.
 */
#include "base/size.h"
#include "format/format.h"

#include <string.h>

/* First byte of an affine encoding, after the kind. */
enum {
    AFFINE_BITS = 15, /* mask: bits - 1 */
    AFFINE_SIGNED = 1 << 4,
    AFFINE_POW2 = 1 << 5,
    AFFINE_ZEROS = 1 << 6, /* some zero point is not 0: they follow the scales */
    AFFINE_AXIS = 1 << 7   /* axis (u8) and group (varint) follow */
};

/* ---- lists of floats ------------------------------------------------------------------------ */

/* Scales of one tensor resemble each other, so their bit patterns, read as integers, lie close:
 * u8 width, u8 shift, u32 base, then n numbers d of `width` bits, lowest bit first, in whole bytes;
 * the bit pattern is (base + d) << shift. One float alone is just f32. */

static uint32_t float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void put_floats(fb_out *out, const float *v, uint32_t n)
{
    if (n == 1) {
        fb_out_f32(out, v[0]);
        return;
    }
    uint32_t any = 0, low = UINT32_MAX, high = 0;
    unsigned shift = 0, width = 0;
    for (uint32_t i = 0; i < n; i++)
        any |= float_bits(v[i]);
    while (shift < 31 && !(any >> shift & 1u))
        shift++;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t b = float_bits(v[i]) >> shift;
        low = b < low ? b : low;
        high = b > high ? b : high;
    }
    while (width < 32 && (uint64_t)(high - low) >> width != 0)
        width++;
    fb_out_u8(out, width);
    fb_out_u8(out, shift);
    fb_out_u32(out, low);
    uint64_t pending = 0;
    unsigned filled = 0;
    for (uint32_t i = 0; i < n; i++) {
        pending |= (uint64_t)((float_bits(v[i]) >> shift) - low) << filled;
        for (filled += width; filled >= 8; filled -= 8, pending >>= 8)
            fb_out_u8(out, (unsigned)(pending & 255));
    }
    if (filled > 0)
        fb_out_u8(out, (unsigned)pending);
}

static void get_floats(fb_in *in, float *v, uint32_t n)
{
    if (n == 1) {
        v[0] = fb_in_f32(in);
        return;
    }
    unsigned width = fb_in_u8(in), shift = fb_in_u8(in);
    uint64_t base = fb_in_u32(in);
    if (width > 32 || shift > 31) {
        fb_in_broken(in, "floats of %u bits shifted by %u, must be at most 32 and 31", width,
                     shift);
        return;
    }
    const uint8_t *p = fb_in_bytes(in, (size_t)(((uint64_t)n * width + 7) / 8));
    if (!p)
        return;
    uint64_t pending = 0, mask = ((uint64_t)1 << width) - 1;
    unsigned filled = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (; filled < width; filled += 8)
            pending |= (uint64_t)*p++ << filled;
        uint64_t bits = (base + (pending & mask)) << shift;
        pending >>= width;
        filled -= width;
        if (bits > UINT32_MAX) {
            fb_in_broken(in, "float %u does not fit into 32 bits", i);
            return;
        }
        uint32_t b = (uint32_t)bits;
        memcpy(&v[i], &b, sizeof b);
    }
}

/* ---- affine --------------------------------------------------------------------------------- */

static void put_affine(fb_out *out, const fb_encoding *e)
{
    bool zeros = false;
    for (uint32_t i = 0; e->zero && i < e->n_scales; i++)
        zeros |= e->zero[i] != 0;
    unsigned head = (unsigned)(e->bits - 1) & AFFINE_BITS;
    head |= e->is_signed ? AFFINE_SIGNED : 0;
    head |= e->pow2 ? AFFINE_POW2 : 0;
    head |= zeros ? AFFINE_ZEROS : 0;
    head |= e->axis >= 0 ? AFFINE_AXIS : 0;
    fb_out_u8(out, head);
    if (e->axis >= 0) {
        fb_out_u8(out, (unsigned)e->axis);
        fb_out_varint(out, e->group);
    }
    put_floats(out, e->scale, e->n_scales);
    for (uint32_t i = 0; zeros && i < e->n_scales; i++)
        fb_out_svarint(out, e->zero[i]);
}

static fb_status get_zeros(fb_in *in, fb_model *m, fb_encoding *e)
{
    e->zero = fb_arena_array(m->arena, e->n_scales, sizeof *e->zero);
    if (!e->zero)
        return fb_fail(FB_E_MEMORY, "no memory for %u zero points", e->n_scales);
    for (uint32_t i = 0; i < e->n_scales; i++) {
        int64_t z = fb_in_svarint(in);
        if (z < -65536 || z > 65536)
            return fb_in_broken(in, "zero point %lld is beyond 16 bits", (long long)z);
        e->zero[i] = (int32_t)z;
    }
    return in->status;
}

/* The dims are within the limits (get_tensor); `room` is what DATA and SMAL still have. */
static fb_status get_affine(fb_in *in, fb_model *m, fb_tensor *t, uint64_t room)
{
    fb_encoding *e = &t->enc;
    uint64_t n_scales;
    unsigned head = fb_in_u8(in);
    e->kind = FB_ENC_AFFINE;
    e->bits = (uint8_t)((head & AFFINE_BITS) + 1);
    e->is_signed = (head & AFFINE_SIGNED) != 0;
    e->pow2 = (head & AFFINE_POW2) != 0;
    if (head & AFFINE_AXIS) {
        unsigned axis = fb_in_u8(in);
        if (axis >= (unsigned)t->rank || !t->is_const)
            return fb_in_broken(in,
                                "tensor '%.200s' has scales along axis %u, which is only for "
                                "constants with that axis",
                                t->name, axis);
        e->axis = (int8_t)axis;
        e->group = (uint32_t)fb_in_count(in, "group", UINT32_MAX);
    }
    /* The payload first: there cannot be more scales than elements, nor more elements than payloads
     * have bits, so a lie about dims costs no memory. */
    if (t->is_const) {
        FB_TRY(fb_tensor_payload_bytes(t, &t->data_bytes));
        if (t->data_bytes > room)
            return fb_in_broken(in, "tensor '%.200s' has %zu bytes, the payloads have %llu left",
                                t->name, t->data_bytes, (unsigned long long)room);
    }
    if (!fb_affine_scale_count(t, &n_scales))
        return fb_in_broken(in, "tensor '%.200s' has more than 2^32 scales", t->name);
    e->n_scales = (uint32_t)n_scales;
    e->scale = fb_arena_array(m->arena, e->n_scales, sizeof *e->scale);
    if (!e->scale)
        return fb_fail(FB_E_MEMORY, "no memory for %u scales", e->n_scales);
    get_floats(in, e->scale, e->n_scales);
    return head & AFFINE_ZEROS && in->status == FB_OK ? get_zeros(in, m, e) : in->status;
}

/* ---- the section ---------------------------------------------------------------------------- */

void fb_put_encodings(fb_out *out, const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (t->enc.kind == FB_ENC_PLAIN)
            continue;
        fb_out_varint(out, (uint64_t)t->enc.kind);
        put_affine(out, &t->enc);
    }
}

fb_status fb_get_encodings(fb_in *in, fb_model *m, uint64_t payload_bytes)
{
    uint64_t room = payload_bytes;
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_tensor *t = &m->tensors[i];
        if (t->enc.kind != FB_ENC_PLAIN) {
            uint64_t kind = fb_in_varint(in);
            if (in->status == FB_OK && kind != FB_ENC_AFFINE)
                return fb_in_broken(in,
                                    "encoding %llu of tensor '%.200s' is unknown and needs a "
                                    "newer fewbit",
                                    (unsigned long long)kind, t->name);
            FB_TRY(in->status);
            FB_TRY(get_affine(in, m, t, room));
        } else if (t->is_const) {
            FB_TRY(fb_tensor_payload_bytes(t, &t->data_bytes));
        }
        if (t->data_bytes > room)
            return fb_fail(FB_E_FORMAT,
                           "constants up to '%.200s' have more bytes than the payloads, "
                           "%llu",
                           t->name, (unsigned long long)payload_bytes);
        room -= t->data_bytes;
    }
    return fb_in_end(in);
}
