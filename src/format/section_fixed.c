/* Section FIXD: what calibration data may decide, in fixed width and never coded, so that the size
 * of a file can be told before the data are read. For each tensor in order:
 *
 *   - codes without an axis: the scale (f32), and the zero point of an activation (unless it has
 *     float levels), or of a constant that has one: the low byte, or its two bytes where codes, or
 *     integer levels, have 9 bits and more
 *   - codes with an axis whose scales are not on the grid: the scales (f32)
 *   - levels of an activation: f32, or one or two bytes each
 *   - a product: its scales and codebooks (section_product.c)
 *   - a constant of less than two axes, or a product, and less than FB_FORMAT_LARGE bytes: the
 * payload
 */
#include "format/format.h"

#include <string.h>

static bool has_scales(const fb_tensor *t)
{
    int32_t least;
    return t->enc.kind != FB_ENC_PLAIN && t->enc.kind != FB_ENC_PRODUCT &&
           !fb_format_on_grid(&t->enc, &least);
}

static bool has_levels(const fb_tensor *t)
{
    return t->enc.kind == FB_ENC_LEVELS && !t->is_const;
}

/* Whether a zero point has two bytes. */
static bool is_wide(const fb_encoding *e)
{
    return (e->kind == FB_ENC_LEVELS ? e->level_bits : e->bits) > 8;
}

static bool has_zero(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (e->kind == FB_ENC_LEVELS && e->level_bits == 0)
        return false;
    return e->axis < 0 && (!t->is_const || (e->zero && e->zero[0] != 0));
}

static void put_scales(fb_out *out, const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    for (uint32_t i = 0; i < e->n_scales; i++)
        fb_out_f32(out, e->scale[i]);
    if (!has_zero(t))
        return;
    uint32_t zero = e->zero ? (uint32_t)e->zero[0] : 0;
    fb_out_u8(out, zero & 255u);
    if (is_wide(e))
        fb_out_u8(out, zero >> 8 & 255u);
}

void fb_put_fixed(fb_out *out, const fb_model *m, const uint8_t *coded)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (has_scales(t))
            put_scales(out, t);
        if (has_levels(t))
            fb_put_levels_fixed(out, &t->enc);
        if (t->enc.kind == FB_ENC_PRODUCT)
            fb_put_product_fixed(out, t, coded[i] != 0);
        if (t->is_const && fb_format_storage(t, coded[i]) == FB_STORED_FIXD)
            fb_out_bytes(out, t->data, t->data_bytes);
    }
}

/* Scales that ENCP left are 0 until now. */
static void get_scales(fb_in *in, fb_tensor *t)
{
    fb_encoding *e = &t->enc;
    for (uint32_t i = 0; i < e->n_scales && in->status == FB_OK; i++)
        e->scale[i] = fb_in_f32(in);
    if (e->axis >= 0 || !e->zero)
        return;
    unsigned low = fb_in_u8(in), high = is_wide(e) ? fb_in_u8(in) : 0;
    uint16_t code = (uint16_t)(low | high << 8);
    if (!e->is_signed)
        e->zero[0] = code;
    else
        e->zero[0] = is_wide(e) ? (int16_t)code : (int8_t)code;
}

fb_status fb_get_fixed(fb_in *in, fb_model *m, const uint8_t *coded)
{
    for (size_t i = 0; i < m->n_tensors && in->status == FB_OK; i++) {
        fb_tensor *t = &m->tensors[i];
        if (t->enc.kind == FB_ENC_PRODUCT)
            FB_TRY(fb_get_product_fixed(in, m, t, coded[i] != 0));
        else if (t->enc.kind != FB_ENC_PLAIN && t->enc.scale[0] == 0)
            get_scales(in, t);
        if (has_levels(t))
            FB_TRY(fb_get_levels_fixed(in, m, &t->enc));
        if (!t->is_const || fb_format_storage(t, coded[i]) != FB_STORED_FIXD)
            continue;
        const uint8_t *p = fb_in_bytes(in, t->data_bytes);
        void *copy = p ? fb_arena_alloc(m->arena, t->data_bytes) : NULL;
        if (p && !copy)
            return fb_fail(FB_E_MEMORY, "no memory for the payload of '%.200s'", t->name);
        if (p)
            t->data = memcpy(copy, p, t->data_bytes);
    }
    return fb_in_end(in);
}
