/* Section FIXD: what calibration data may decide, in fixed width and never coded, so that the size
 * of a file can be told before the data are read. For each tensor in order:
 *
 *   - affine without an axis: the scale (f32), and the zero point of an activation, or of a
 * constant that has one: the low byte of the code, or its two bytes from 9 bits on
 *   - affine with an axis whose scales are not on the grid: the scales (f32)
 *   - a constant of less than two axes and less than FB_FORMAT_LARGE bytes: the payload
 */
#include "format/format.h"

#include <string.h>

static bool has_scales(const fb_tensor *t)
{
    int32_t least;
    return t->enc.kind == FB_ENC_AFFINE && !fb_format_on_grid(&t->enc, &least);
}

static bool has_zero(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
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
    if (e->bits > 8)
        fb_out_u8(out, zero >> 8 & 255u);
}

void fb_put_fixed(fb_out *out, const fb_model *m, const uint8_t *coded)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (has_scales(t))
            put_scales(out, t);
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
    unsigned low = fb_in_u8(in), high = e->bits > 8 ? fb_in_u8(in) : 0;
    uint16_t code = (uint16_t)(low | high << 8);
    if (!e->is_signed)
        e->zero[0] = code;
    else
        e->zero[0] = e->bits > 8 ? (int16_t)code : (int8_t)code;
}

fb_status fb_get_fixed(fb_in *in, fb_model *m, const uint8_t *coded)
{
    for (size_t i = 0; i < m->n_tensors && in->status == FB_OK; i++) {
        fb_tensor *t = &m->tensors[i];
        if (t->enc.kind == FB_ENC_AFFINE && t->enc.scale[0] == 0)
            get_scales(in, t);
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
