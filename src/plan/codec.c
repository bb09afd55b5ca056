#include "plan/codec.h"

#include <string.h>

enum { PIECE = 1024 }; /* elements that go through a buffer on the stack; a multiple of 8 */

bool fb_codec_grid(const fb_slot *slot, fb_encoding *grid)
{
    const fb_encoding *e = slot->enc;
    *grid = *e;
    if (e->kind == FB_ENC_AFFINE)
        return e->n_scales == 1;
    if (e->kind != FB_ENC_LEVELS || e->level_bits < 1 || e->level_bits > 8 || e->n_scales != 1 ||
        e->n_tables != 1)
        return false;
    *grid = (fb_encoding){.kind = FB_ENC_AFFINE,
                          .bits = e->level_bits,
                          .is_signed = e->is_signed,
                          .axis = -1,
                          .n_scales = 1,
                          .scale = e->scale,
                          .zero = e->zero};
    return true;
}

/* --- tables of levels ------------------------------------------------------------------------- */

static float level_value(const fb_encoding *e, uint32_t i)
{
    float zero = e->zero ? (float)e->zero[0] : 0;
    return (e->level[i] - zero) * e->scale[0];
}

/* The largest float that is not above the middle of a < b: what lies above it is nearer to b. */
static float edge_between(float a, float b)
{
    double middle = ((double)a + (double)b) / 2;
    float edge = (float)middle;
    return (double)edge > middle ? nextafterf(edge, -INFINITY) : edge;
}

static fb_status make_float_tables(const fb_prepare *p, const fb_encoding *e, fb_codec *c)
{
    float *value;
    fbk_nearest *nearest;
    FB_PLAN_ALLOC(p, value, 256);
    FB_PLAN_ALLOC(p, nearest, 1);
    nearest->bits = e->bits;
    for (uint32_t i = 0; i < 256; i++) {
        value[i] = level_value(e, i < e->n_levels ? i : e->n_levels - 1u);
        nearest->edge[i] = INFINITY;
    }
    for (uint32_t i = 0; i + 1 < e->n_levels; i++)
        nearest->edge[i] = edge_between(value[i], value[i + 1]);
    c->to_value = value;
    c->nearest = nearest;
    return FB_OK;
}

static uint8_t nearest_level(const fb_encoding *e, int32_t code)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < e->n_levels; i++) {
        if (fabsf(e->level[i] - (float)code) < fabsf(e->level[best] - (float)code))
            best = i;
    }
    return (uint8_t)best;
}

static fb_status make_code_tables(const fb_prepare *p, const fb_encoding *e, fb_codec *c)
{
    uint8_t *to_code, *to_index;
    FB_PLAN_ALLOC(p, to_code, 256);
    FB_PLAN_ALLOC(p, to_index, 256);
    for (uint32_t i = 0; i < 256; i++) {
        int32_t level = (int32_t)e->level[i < e->n_levels ? i : e->n_levels - 1u];
        to_code[i] = (uint8_t)level;
        to_index[i] = nearest_level(e, fb_code_of_byte((uint8_t)i, e->is_signed));
    }
    c->to_code = to_code;
    c->to_index = to_index;
    return FB_OK;
}

/* --- making ----------------------------------------------------------------------------------- */

static void pick_kernels(uint32_t cpu, fb_codec *c)
{
    c->unpack8 = fbk_unpack8_q_pick(cpu, NULL);
    c->pack8 = fbk_pack8_q_pick(cpu, NULL);
    c->unpack16 = fbk_unpack16_q_pick(cpu, NULL);
    c->pack16 = fbk_pack16_q_pick(cpu, NULL);
    c->lut = fbk_lut_q_pick(cpu, NULL);
    c->lut_f32 = fbk_lut_f32_pick(cpu, NULL);
    c->nearest_f32 = fbk_nearest_f32_pick(cpu, NULL);
    c->quantize = fbk_quantize_q_pick(cpu, NULL);
    c->dequantize = fbk_dequantize_q_pick(cpu, NULL);
}

fb_status fb_codec_make(const fb_prepare *p, const fb_slot *slot, fb_work work, fb_codec *c)
{
    const fb_encoding *e = slot->enc;
    *c = (fb_codec){.bits = slot->lay.bits,
                    .packed = slot->lay.packed,
                    .is_signed = slot->lay.is_signed,
                    .stored_bytes = fb_dtype_bytes(slot->shape.dtype)};
    pick_kernels(p->plan->cpu, c);
    c->copy = e->kind == FB_ENC_PLAIN || (e->kind == FB_ENC_AFFINE && work == FB_WORK_CODES);
    c->work_bytes = c->copy ? c->stored_bytes : work == FB_WORK_FLOATS ? sizeof(float) : 1;
    if (e->kind == FB_ENC_PLAIN)
        return FB_OK;
    if (e->n_scales != 1 || (e->kind == FB_ENC_LEVELS && e->n_tables != 1))
        return fb_fail(FB_E_UNSUPPORTED,
                       "activations of %u bits have one scale, and this has one for each index "
                       "of axis %d",
                       e->bits, e->axis);
    if (e->kind == FB_ENC_LEVELS)
        return work == FB_WORK_FLOATS ? make_float_tables(p, e, c) : make_code_tables(p, e, c);
    c->codes = (fbk_codes){.scale = e->scale[0],
                           .zero = e->zero ? e->zero[0] : 0,
                           .lo = fb_code_min(e->bits, e->is_signed),
                           .hi = fb_code_max(e->bits, e->is_signed),
                           .type = slot->shape.dtype};
    return FB_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void unpack(const fb_codec *c, const void *row, size_t at, size_t n, void *codes)
{
    const uint8_t *x = (const uint8_t *)row + at / 8 * c->bits;
    if (c->bits < 8)
        c->unpack8(c->bits, c->is_signed, n, x, codes);
    else
        c->unpack16(c->bits, c->is_signed, n, x, codes);
}

/* From codes as stored, unpacked, to what is worked on. */
static void decode(const fb_codec *c, const void *codes, size_t n, void *work)
{
    if (c->to_code)
        c->lut(c->to_code, n, codes, work);
    else if (c->to_value)
        c->lut_f32(c->to_value, n, codes, work);
    else
        c->dequantize(&c->codes, n, codes, work);
}

void fb_codec_read(const fb_codec *c, const void *row, size_t at, size_t n, void *work)
{
    uint16_t codes[PIECE];
    if (!c->packed) {
        const char *x = (const char *)row + at * c->stored_bytes;
        if (c->copy)
            memcpy(work, x, n * c->stored_bytes);
        else
            decode(c, x, n, work);
        return;
    }
    if (c->copy) {
        unpack(c, row, at, n, work);
        return;
    }
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < PIECE ? n - i : PIECE;
        unpack(c, row, at + i, m, codes);
        decode(c, codes, m, (char *)work + i * c->work_bytes);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

static void pack(const fb_codec *c, const void *codes, void *row, size_t at, size_t n)
{
    uint8_t *y = (uint8_t *)row + at / 8 * c->bits;
    if (c->bits < 8)
        c->pack8(c->bits, n, codes, y);
    else
        c->pack16(c->bits, n, codes, y);
}

static void encode(const fb_codec *c, const void *work, size_t n, void *codes)
{
    if (c->to_index)
        c->lut(c->to_index, n, work, codes);
    else if (c->nearest)
        c->nearest_f32(c->nearest, n, work, codes);
    else
        c->quantize(&c->codes, n, work, codes);
}

void fb_codec_write(const fb_codec *c, const void *work, void *row, size_t at, size_t n)
{
    uint16_t codes[PIECE];
    if (!c->packed) {
        char *y = (char *)row + at * c->stored_bytes;
        if (c->copy)
            memcpy(y, work, n * c->stored_bytes);
        else
            encode(c, work, n, y);
        return;
    }
    if (c->copy) {
        pack(c, work, row, at, n);
        return;
    }
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < PIECE ? n - i : PIECE;
        encode(c, (const char *)work + i * c->work_bytes, m, codes);
        pack(c, codes, row, at + i, m);
    }
}
