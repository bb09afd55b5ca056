/* Section ENCP: for each tensor that is not plain or is sparse, in tensor order, the parameters of
 * its encoding. */
#include "base/size.h"
#include "format/format.h"
#include "numeric/grid.h"

/* The kind, which comes first; of a sparse constant the elements kept follow (varint). */
enum {
    KIND_MASK = 15,
    KIND_SPARSE = 4,      /* shift of the sparse form, 2 bits */
    KIND_FORM = 3,        /* mask of it */
    KIND_PATCHES = 1 << 6 /* of a constant: patches follow its parameters */
};

/* First byte of the parameters. */
enum {
    HEAD_BITS = 15,       /* mask, affine: bits - 1 */
    HEAD_INDEX_BITS = 7,  /* mask, levels: bits - 1 */
    HEAD_TABLES = 1 << 3, /* levels: a table for each index of the axis */
    HEAD_SIGNED = 1 << 4,
    HEAD_POW2 = 1 << 5,
    HEAD_ZEROS = 1 << 6, /* of a constant: some zero point is not 0 */
    HEAD_AXIS = 1 << 7   /* axis (u8), group (varint, affine only) and scales follow, then zero
                            points if any; without an axis, scale and zero point are in FIXD */
};

/* ---- lists of scales ------------------------------------------------------------------------ */

/* Scales along an axis, which is the first byte: */
enum {
    LIST_FIXED = 0, /* in FIXD */
    LIST_GRID = 1 /* here: the least place on the grid, then for each scale its distance, a byte */
};

bool fb_format_on_grid(const fb_encoding *e, int32_t *least)
{
    int32_t most = INT32_MIN, k;
    *least = INT32_MAX;
    if (e->axis < 0)
        return false;
    for (uint32_t i = 0; i < e->n_scales; i++) {
        if (!fb_grid_find(e->scale[i], &k))
            return false;
        *least = k < *least ? k : *least;
        most = k > most ? k : most;
    }
    return most - *least <= 255;
}

static void put_list(fb_out *out, const fb_encoding *e)
{
    int32_t least, k;
    if (!fb_format_on_grid(e, &least)) {
        fb_out_u8(out, LIST_FIXED);
        return;
    }
    fb_out_u8(out, LIST_GRID);
    fb_out_svarint(out, least);
    for (uint32_t i = 0; i < e->n_scales; i++) {
        (void)fb_grid_find(e->scale[i], &k);
        fb_out_u8(out, (unsigned)(k - least));
    }
}

static fb_status get_list(fb_in *in, fb_encoding *e)
{
    unsigned form = fb_in_u8(in);
    if (form == LIST_FIXED)
        return in->status;
    if (form != LIST_GRID)
        return fb_in_broken(in, "a list of scales of form %u needs a newer fewbit", form);
    int64_t least = fb_in_svarint(in);
    if (least < FB_GRID_LEAST || least > FB_GRID_MOST)
        return fb_in_broken(in, "place %lld on the grid of scales, must be within %d..%d",
                            (long long)least, (int)FB_GRID_LEAST, (int)FB_GRID_MOST);
    const uint8_t *p = fb_in_bytes(in, e->n_scales);
    for (uint32_t i = 0; p && i < e->n_scales; i++)
        e->scale[i] = fb_grid_scale((int32_t)least + p[i]);
    return in->status;
}

/* ---- affine and levels ---------------------------------------------------------------------- */

static bool has_zeros(const fb_encoding *e)
{
    for (uint32_t i = 0; e->zero && i < e->n_scales; i++) {
        if (e->zero[i] != 0)
            return true;
    }
    return false;
}

static void put_params(fb_out *out, const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    bool zeros = t->is_const && has_zeros(e);
    unsigned head = (unsigned)(e->bits - 1) & HEAD_BITS;
    head |= e->kind == FB_ENC_LEVELS && e->n_tables > 1 ? HEAD_TABLES : 0;
    head |= e->is_signed ? HEAD_SIGNED : 0;
    head |= e->pow2 ? HEAD_POW2 : 0;
    head |= zeros ? HEAD_ZEROS : 0;
    head |= e->axis >= 0 ? HEAD_AXIS : 0;
    fb_out_u8(out, head);
    if (e->kind == FB_ENC_LEVELS) {
        fb_out_u8(out, e->level_bits);
        fb_out_u8(out, e->n_levels - 1u);
    }
    if (e->axis >= 0) {
        fb_out_u8(out, (unsigned)e->axis);
        if (e->kind == FB_ENC_AFFINE)
            fb_out_varint(out, e->group);
        put_list(out, e);
        for (uint32_t i = 0; zeros && i < e->n_scales; i++)
            fb_out_svarint(out, e->zero[i]);
    }
    if (e->kind == FB_ENC_LEVELS && t->is_const)
        fb_put_levels(out, e);
}

static fb_status get_zeros(fb_in *in, fb_encoding *e)
{
    for (uint32_t i = 0; i < e->n_scales; i++) {
        int64_t z = fb_in_svarint(in);
        if (z < -65536 || z > 65536)
            return fb_in_broken(in, "zero point %lld is beyond 16 bits", (long long)z);
        e->zero[i] = (int32_t)z;
    }
    return in->status;
}

static fb_status get_head(fb_in *in, fb_tensor *t, unsigned head)
{
    fb_encoding *e = &t->enc;
    bool levels = e->kind == FB_ENC_LEVELS;
    e->bits = (uint8_t)((head & (levels ? HEAD_INDEX_BITS : HEAD_BITS)) + 1);
    e->is_signed = (head & HEAD_SIGNED) != 0;
    e->pow2 = (head & HEAD_POW2) != 0;
    if (levels) {
        e->level_bits = (uint8_t)fb_in_u8(in);
        e->n_levels = (uint16_t)(fb_in_u8(in) + 1);
    }
    if (head & HEAD_AXIS) {
        unsigned axis = fb_in_u8(in);
        if (axis >= (unsigned)t->rank || !t->is_const)
            return fb_in_broken(in,
                                "tensor '%.200s' has scales along axis %u, which is only for "
                                "constants with that axis",
                                t->name, axis);
        e->axis = (int8_t)axis;
        e->group = levels ? 0 : (uint32_t)fb_in_count(in, "group", UINT32_MAX);
    }
    return in->status;
}

/* Room for scales and zero points, which stay 0. */
static fb_status make_lists(fb_in *in, fb_model *m, fb_tensor *t, unsigned head)
{
    fb_encoding *e = &t->enc;
    uint64_t n_scales;
    if (!fb_affine_scale_count(t, &n_scales))
        return fb_in_broken(in, "tensor '%.200s' has more than 2^32 scales", t->name);
    e->n_scales = (uint32_t)n_scales;
    e->scale = fb_arena_array(m->arena, e->n_scales, sizeof *e->scale);
    if (!e->scale)
        return fb_fail(FB_E_MEMORY, "no memory for %u scales", e->n_scales);
    if (!t->is_const && head & HEAD_ZEROS)
        return fb_in_broken(in, "activation '%.200s' has the flag of constants with zero points",
                            t->name);
    bool floats = e->kind == FB_ENC_LEVELS && e->level_bits == 0;
    if (head & HEAD_ZEROS || (!t->is_const && !floats)) {
        e->zero = fb_arena_array(m->arena, e->n_scales, sizeof *e->zero);
        if (!e->zero)
            return fb_fail(FB_E_MEMORY, "no memory for %u zero points", e->n_scales);
    }
    return FB_OK;
}

/* The dims are within the limits (get_tensor); `room` is what DATA and SMAL still have. */
static fb_status get_params(fb_in *in, fb_model *m, fb_tensor *t, uint64_t room)
{
    fb_encoding *e = &t->enc;
    unsigned head = 0;
    if (e->kind == FB_ENC_PRODUCT) {
        FB_TRY(fb_get_product(in, t));
    } else {
        head = fb_in_u8(in);
        FB_TRY(get_head(in, t, head));
    }
    /* The payload first: there cannot be more scales than elements, nor more elements than payloads
     * have bits, so a lie about dims costs no memory. */
    if (t->is_const) {
        FB_TRY(fb_tensor_payload_bytes(t, &t->data_bytes));
        if (t->data_bytes > room)
            return fb_in_broken(in, "tensor '%.200s' has %zu bytes, the payloads have %llu left",
                                t->name, t->data_bytes, (unsigned long long)room);
    }
    if (e->kind == FB_ENC_PRODUCT)
        return FB_OK; /* its lists are in FIXD */
    FB_TRY(make_lists(in, m, t, head));
    if (e->axis >= 0) {
        FB_TRY(get_list(in, e));
        if (e->zero)
            FB_TRY(get_zeros(in, e));
    }
    if (e->kind != FB_ENC_LEVELS)
        return in->status;
    e->n_tables = head & HEAD_TABLES ? e->n_scales : 1;
    return t->is_const ? fb_get_levels(in, m, e) : in->status;
}

/* ---- the section ---------------------------------------------------------------------------- */

void fb_put_encodings(fb_out *out, const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (t->enc.kind == FB_ENC_PLAIN && !t->enc.sparse)
            continue;
        unsigned patches = t->enc.n_patches ? KIND_PATCHES : 0;
        fb_out_varint(out,
                      (unsigned)t->enc.kind | (unsigned)t->enc.sparse << KIND_SPARSE | patches);
        if (t->enc.sparse)
            fb_out_varint(out, t->enc.n_kept);
        if (t->enc.kind == FB_ENC_PRODUCT)
            fb_put_product(out, &t->enc);
        else if (t->enc.kind != FB_ENC_PLAIN)
            put_params(out, t);
        if (patches)
            fb_put_patches(out, &t->enc);
    }
}

/* Sets kind, sparse and n_kept of t->enc. */
static fb_status get_kind(fb_in *in, fb_tensor *t, bool *patches)
{
    uint64_t v = fb_in_varint(in), kind = v & KIND_MASK, form = v >> KIND_SPARSE & KIND_FORM;
    *patches = (v & KIND_PATCHES) != 0;
    if (in->status == FB_OK &&
        (v > (KIND_MASK | KIND_FORM << KIND_SPARSE | KIND_PATCHES) || kind >= FB_ENC_COUNT ||
         (kind == FB_ENC_PLAIN && (form == FB_DENSE || *patches)) ||
         (kind == FB_ENC_PRODUCT && (form != FB_DENSE || *patches))))
        return fb_in_broken(in,
                            "encoding %llu of tensor '%.200s' is unknown and needs a newer fewbit",
                            (unsigned long long)v, t->name);
    t->enc.kind = (fb_enc_kind)kind;
    t->enc.sparse = (fb_sparse)form;
    if ((form != FB_DENSE || *patches) && !t->is_const)
        return fb_in_broken(in, "activation '%.200s' is sparse or has outliers", t->name);
    if (form != FB_DENSE)
        t->enc.n_kept = (size_t)fb_in_count(in, "elements kept", SIZE_MAX);
    return in->status;
}

fb_status fb_get_encodings(fb_in *in, fb_model *m, uint64_t payload_bytes)
{
    uint64_t room = payload_bytes;
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_tensor *t = &m->tensors[i];
        bool patches = false;
        if (t->enc.kind != FB_ENC_PLAIN)
            FB_TRY(get_kind(in, t, &patches));
        if (t->enc.kind != FB_ENC_PLAIN)
            FB_TRY(get_params(in, m, t, room));
        else if (t->is_const)
            FB_TRY(fb_tensor_payload_bytes(t, &t->data_bytes));
        if (patches)
            FB_TRY(fb_get_patches(in, m, t));
        if (t->data_bytes > room)
            return fb_fail(FB_E_FORMAT,
                           "constants up to '%.200s' have more bytes than the payloads, "
                           "%llu",
                           t->name, (unsigned long long)payload_bytes);
        room -= t->data_bytes;
    }
    return fb_in_end(in);
}
