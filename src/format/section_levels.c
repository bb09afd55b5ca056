/* Tables of levels and patches, as section ENCP has them. */
#include "base/size.h"
#include "format/format.h"
#include "numeric/half.h"

/* ---- tables of a constant ------------------------------------------------------------------- */

/* Floats as they are; integers, which ascend, as the first and then each less the one before, less
 * 1. */
void fb_put_levels(fb_out *out, const fb_encoding *e)
{
    for (uint32_t k = 0; k < e->n_tables; k++) {
        const float *level = e->level + (size_t)k * e->n_levels;
        for (uint32_t i = 0; i < e->n_levels; i++) {
            if (e->level_bits == 0)
                fb_out_f32(out, level[i]);
            else if (i == 0)
                fb_out_svarint(out, (int64_t)level[i]);
            else
                fb_out_varint(out, (uint64_t)(level[i] - level[i - 1]) - 1);
        }
    }
}

static void get_table(fb_in *in, const fb_encoding *e, float *level)
{
    if (e->level_bits == 0) {
        for (uint32_t i = 0; i < e->n_levels; i++)
            level[i] = fb_in_f32(in);
        return;
    }
    int64_t at = fb_in_svarint(in);
    for (uint32_t i = 0; i < e->n_levels && in->status == FB_OK; i++) {
        if (i > 0)
            at += 1 + (int64_t)fb_in_count(in, "step to the next level", 65535);
        if (at < -32768 || at > 65535) {
            fb_in_broken(in, "level %lld is beyond 16 bits", (long long)at);
            return;
        }
        level[i] = (float)at;
    }
}

/* Each level takes a byte at least, so a lie about their number costs no memory. */
static fb_status make_tables(fb_in *in, fb_model *m, fb_encoding *e, size_t each)
{
    size_t n;
    if (!fb_size_mul(e->n_tables, e->n_levels, &n) || n > fb_in_left(in) / each)
        return fb_in_broken(in, "%u tables of %u levels do not fit into %zu bytes", e->n_tables,
                            e->n_levels, fb_in_left(in));
    e->level = fb_arena_array(m->arena, n, sizeof *e->level);
    return e->level ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for %zu levels", n);
}

fb_status fb_get_levels(fb_in *in, fb_model *m, fb_encoding *e)
{
    FB_TRY(in->status);
    FB_TRY(make_tables(in, m, e, e->level_bits ? 1 : 4));
    for (uint32_t k = 0; k < e->n_tables && in->status == FB_OK; k++)
        get_table(in, e, e->level + (size_t)k * e->n_levels);
    return in->status;
}

/* ---- the table of an activation, in fixed width --------------------------------------------- */

static unsigned level_bytes(const fb_encoding *e)
{
    return e->level_bits == 0 ? 4 : e->level_bits > 8 ? 2 : 1;
}

void fb_put_levels_fixed(fb_out *out, const fb_encoding *e)
{
    for (uint32_t i = 0; i < e->n_levels; i++) {
        if (e->level_bits == 0) {
            fb_out_f32(out, e->level[i]);
            continue;
        }
        uint32_t v = (uint32_t)(int32_t)e->level[i];
        for (unsigned k = 0; k < level_bytes(e); k++)
            fb_out_u8(out, v >> 8 * k & 255u);
    }
}

fb_status fb_get_levels_fixed(fb_in *in, fb_model *m, fb_encoding *e)
{
    FB_TRY(in->status);
    FB_TRY(make_tables(in, m, e, level_bytes(e)));
    for (uint32_t i = 0; i < e->n_levels; i++) {
        if (e->level_bits == 0) {
            e->level[i] = fb_in_f32(in);
            continue;
        }
        uint32_t v = 0;
        for (unsigned k = 0; k < level_bytes(e); k++)
            v |= fb_in_u8(in) << 8 * k;
        int32_t sign = e->is_signed ? 1 << (8 * level_bytes(e) - 1) : 0;
        e->level[i] = (float)((int32_t)(v ^ (uint32_t)sign) - sign);
    }
    return in->status;
}

/* ---- patches -------------------------------------------------------------------------------- */

/* varint number; for each, as varint, the elements between it and the one before; then the values,
 * f16. */
void fb_put_patches(fb_out *out, const fb_encoding *e)
{
    uint64_t next = 0;
    fb_out_varint(out, e->n_patches);
    for (uint32_t i = 0; i < e->n_patches; i++) {
        fb_out_varint(out, e->patch_at[i] - next);
        next = e->patch_at[i] + 1;
    }
    for (uint32_t i = 0; i < e->n_patches; i++) {
        unsigned h = fb_f16_from_f64((double)e->patch[i]);
        fb_out_u8(out, h & 255u);
        fb_out_u8(out, h >> 8);
    }
}

fb_status fb_get_patches(fb_in *in, fb_model *m, fb_tensor *t)
{
    fb_encoding *e = &t->enc;
    int64_t elems;
    FB_ENSURE(fb_tensor_elems(t, 0, &elems));
    size_t most = fb_in_left(in) / 3; /* bytes of one, at least */
    uint64_t n = fb_in_count(in, "number of outliers", most < UINT32_MAX ? most : UINT32_MAX);
    if (in->status == FB_OK && n == 0)
        return fb_in_broken(in, "tensor '%.200s' has outliers, but none follow", t->name);
    FB_TRY(in->status);
    e->n_patches = (uint32_t)n;
    e->patch_at = fb_arena_array(m->arena, e->n_patches, sizeof *e->patch_at);
    e->patch = fb_arena_array(m->arena, e->n_patches, sizeof *e->patch);
    if (!e->patch_at || !e->patch)
        return fb_fail(FB_E_MEMORY, "no memory for %u outliers", e->n_patches);
    uint64_t next = 0;
    for (uint32_t i = 0; i < e->n_patches && in->status == FB_OK; i++) {
        uint64_t left = (uint64_t)elems - next;
        e->patch_at[i] = next + fb_in_count(in, "place of an outlier", left ? left - 1 : 0);
        next = e->patch_at[i] + 1;
        if (left == 0)
            return fb_in_broken(in, "tensor '%.200s' has more outliers than elements", t->name);
    }
    for (uint32_t i = 0; i < e->n_patches && in->status == FB_OK; i++) {
        unsigned low = fb_in_u8(in);
        e->patch[i] = fb_f16_to_f32((uint16_t)(low | fb_in_u8(in) << 8));
    }
    return in->status;
}
