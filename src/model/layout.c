#include "model/layout.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "model/model.h"

fb_dtype fb_code_dtype(unsigned bits, bool is_signed)
{
    if (bits <= 8)
        return is_signed ? FB_S8 : FB_U8;
    return is_signed ? FB_S16 : FB_U16;
}

static fb_dtype code_type(const fb_encoding *e)
{
    return fb_code_dtype(e->bits, e->kind == FB_ENC_AFFINE && e->is_signed); /* indices never are */
}

/* Elements of the last two dims, or of fewer where the rank is less. */
static bool row_of(int32_t rank, const int64_t *dims, size_t *row)
{
    *row = 1;
    for (int32_t i = rank > 2 ? rank - 2 : rank - 1; i >= 0 && i < rank; i++) {
        if (!fb_size_mul(*row, (size_t)dims[i], row))
            return false;
    }
    return true;
}

bool fb_layout_of(const fb_encoding *enc, fb_dtype dtype, int32_t rank, const int64_t *dims,
                  fb_layout *l)
{
    bool coded = enc->kind != FB_ENC_PLAIN;
    *l = (fb_layout){.dtype = coded ? code_type(enc) : dtype, .elems = 1, .rows = 1};
    for (int32_t i = 0; i < rank; i++) {
        if (!fb_size_mul(l->elems, (size_t)dims[i], &l->elems))
            return false;
    }
    l->packed = coded && enc->bits != 8 && enc->bits != 16;
    l->is_signed = l->dtype == FB_S8 || l->dtype == FB_S16;
    l->bits = (uint8_t)(coded ? enc->bits : 8 * fb_dtype_bytes(dtype));
    if (!row_of(rank, dims, &l->row_elems))
        return false;
    if (l->packed ? !fb_packed_bytes(l->row_elems, l->bits, &l->row_bytes)
                  : !fb_size_mul(l->row_elems, fb_dtype_bytes(l->dtype), &l->row_bytes))
        return false;
    l->rows = l->row_elems ? l->elems / l->row_elems : 0;
    return fb_size_mul(l->rows, l->row_bytes, &l->bytes);
}

bool fb_activation_bytes(const fb_tensor *t, int64_t batch, size_t *bytes)
{
    int64_t dims[FB_MAX_RANK], n;
    fb_layout layout;
    if (!fb_tensor_elems(t, batch, &n))
        return false;
    for (int32_t i = 0; i < t->rank; i++)
        dims[i] = t->dims[i] < 0 ? -t->dims[i] * batch : t->dims[i];
    if (!fb_layout_of(&t->enc, t->dtype, t->rank, dims, &layout))
        return false;
    *bytes = layout.bytes;
    return true;
}

static bool equal_zeros(const fb_encoding *a, const fb_encoding *b)
{
    for (uint32_t i = 0; i < a->n_scales; i++) {
        if (a->scale[i] != b->scale[i] || (a->zero ? a->zero[i] : 0) != (b->zero ? b->zero[i] : 0))
            return false;
    }
    return true;
}

bool fb_encoding_equal(const fb_encoding *a, const fb_encoding *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == FB_ENC_PLAIN)
        return true;
    if (a->bits != b->bits || a->is_signed != b->is_signed || a->n_scales != b->n_scales ||
        a->axis != b->axis || a->group != b->group || !equal_zeros(a, b))
        return false;
    if (a->kind != FB_ENC_LEVELS)
        return true;
    if (a->n_levels != b->n_levels || a->n_tables != b->n_tables || a->level_bits != b->level_bits)
        return false;
    for (size_t i = 0; i < (size_t)a->n_levels * a->n_tables; i++) {
        if (a->level[i] != b->level[i])
            return false;
    }
    return true;
}

/* --- the sum over a network ------------------------------------------------------------------- */

static fb_status mark_read(const fb_model *m, uint8_t **read)
{
    *read = fb_calloc(m->n_tensors + 1, 1);
    if (!*read)
        return fb_fail(FB_E_MEMORY, "no memory to count activations");
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] >= 0)
                (*read)[m->nodes[i].in[k]] = 1;
        }
    }
    return FB_OK;
}

static bool hands_on(fb_op op)
{
    return op == FB_OP_RESHAPE || op == FB_OP_REINTERPRET || op == FB_OP_CONVERT;
}

fb_status fb_model_activation_bytes(const fb_model *m, uint64_t *bytes)
{
    uint8_t *read;
    uint64_t bits = 0;
    *bytes = 0;
    FB_TRY(mark_read(m, &read));
    fb_status status = FB_OK;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        for (uint32_t k = 0; k < n->n_out && !hands_on(n->op); k++) {
            int64_t elems;
            if (n->out[k] < 0 || !read[n->out[k]])
                continue;
            const fb_tensor *t = &m->tensors[n->out[k]];
            unsigned width =
                t->enc.kind == FB_ENC_PLAIN ? 8 * (unsigned)fb_dtype_bytes(t->dtype) : t->enc.bits;
            if (!fb_tensor_elems(t, 1, &elems) || (uint64_t)elems > UINT64_MAX / 128 - bits / 64) {
                status = fb_fail(FB_E_LIMIT, "tensor '%s' is too large", t->name);
                goto fail;
            }
            bits += (uint64_t)elems * width;
        }
    }
    *bytes = bits / 8 + (bits % 8 != 0);
fail:
    fb_free(read);
    return status;
}
