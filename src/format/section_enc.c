/* Section ENCP: for each tensor that is not plain or is sparse, in tensor order, the parameters of
 * its encoding. */
#include "base/size.h"
#include "format/format.h"
#include "numeric/grid.h"

/* The kind, which comes first; of a sparse constant the elements kept follow (varint). */
enum {
    KIND_MASK = 15,
    KIND_SPARSE = 4 /* shift of the sparse form */
};
/* First byte of an affine encoding, after that. */
enum {
    AFFINE_BITS = 15, /* mask: bits - 1 */
    AFFINE_SIGNED = 1 << 4,
    AFFINE_POW2 = 1 << 5,
    AFFINE_ZEROS = 1 << 6, /* of a constant: some zero point is not 0 */
    AFFINE_AXIS = 1 << 7   /* axis (u8), group (varint) and scales follow, then zero points if any;
                              without an axis, scale and zero point are in FIXD */
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

/* ---- affine --------------------------------------------------------------------------------- */

static bool has_zeros(const fb_encoding *e)
{
    for (uint32_t i = 0; e->zero && i < e->n_scales; i++) {
        if (e->zero[i] != 0)
            return true;
    }
    return false;
}

static void put_affine(fb_out *out, const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    bool zeros = t->is_const && has_zeros(e);
    unsigned head = (unsigned)(e->bits - 1) & AFFINE_BITS;
    head |= e->is_signed ? AFFINE_SIGNED : 0;
    head |= e->pow2 ? AFFINE_POW2 : 0;
    head |= zeros ? AFFINE_ZEROS : 0;
    head |= e->axis >= 0 ? AFFINE_AXIS : 0;
    fb_out_u8(out, head);
    if (e->axis < 0)
        return;
    fb_out_u8(out, (unsigned)e->axis);
    fb_out_varint(out, e->group);
    put_list(out, e);
    for (uint32_t i = 0; zeros && i < e->n_scales; i++)
        fb_out_svarint(out, e->zero[i]);
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
    if (!t->is_const && head & AFFINE_ZEROS)
        return fb_in_broken(in, "activation '%.200s' has the flag of constants with zero points",
                            t->name);
    if (!t->is_const || head & AFFINE_ZEROS) {
        e->zero = fb_arena_array(m->arena, e->n_scales, sizeof *e->zero);
        if (!e->zero)
            return fb_fail(FB_E_MEMORY, "no memory for %u zero points", e->n_scales);
    }
    if (e->axis < 0)
        return in->status;
    FB_TRY(get_list(in, e));
    return e->zero ? get_zeros(in, e) : FB_OK;
}

/* ---- the section ---------------------------------------------------------------------------- */

void fb_put_encodings(fb_out *out, const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (t->enc.kind == FB_ENC_PLAIN && !t->enc.sparse)
            continue;
        fb_out_varint(out, (uint64_t)t->enc.kind | (uint64_t)t->enc.sparse << KIND_SPARSE);
        if (t->enc.sparse)
            fb_out_varint(out, t->enc.n_kept);
        if (t->enc.kind == FB_ENC_AFFINE)
            put_affine(out, t);
    }
}

/* Sets t->enc.sparse and n_kept. */
static fb_status get_kind(fb_in *in, fb_tensor *t, uint64_t *kind)
{
    uint64_t v = fb_in_varint(in), form = v >> KIND_SPARSE;
    *kind = v & KIND_MASK;
    if (in->status == FB_OK && (form > FB_SPARSE_RUNS8 || *kind > FB_ENC_AFFINE ||
                                (*kind == FB_ENC_PLAIN && form == FB_DENSE)))
        return fb_in_broken(in,
                            "encoding %llu of tensor '%.200s' is unknown and needs a newer fewbit",
                            (unsigned long long)v, t->name);
    t->enc.sparse = (fb_sparse)form;
    if (form != FB_DENSE && !t->is_const)
        return fb_in_broken(in, "activation '%.200s' is sparse", t->name);
    if (form != FB_DENSE)
        t->enc.n_kept = (size_t)fb_in_count(in, "elements kept", SIZE_MAX);
    return in->status;
}

fb_status fb_get_encodings(fb_in *in, fb_model *m, uint64_t payload_bytes)
{
    uint64_t room = payload_bytes;
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_tensor *t = &m->tensors[i];
        if (t->enc.kind != FB_ENC_PLAIN) {
            uint64_t kind;
            FB_TRY(get_kind(in, t, &kind));
            t->enc.kind = (fb_enc_kind)kind;
        }
        if (t->enc.kind == FB_ENC_AFFINE)
            FB_TRY(get_affine(in, m, t, room));
        else if (t->is_const)
            FB_TRY(fb_tensor_payload_bytes(t, &t->data_bytes));
        if (t->data_bytes > room)
            return fb_fail(FB_E_FORMAT,
                           "constants up to '%.200s' have more bytes than the payloads, "
                           "%llu",
                           t->name, (unsigned long long)payload_bytes);
        room -= t->data_bytes;
    }
    return fb_in_end(in);
}
