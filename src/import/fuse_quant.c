/* Models that are quantised already. Reinterpretations that undo each other vanish; then a layer
 * whose inputs come out of decoders and whose output goes into an encoder works on codes itself, as
 * ONNX Runtime fuses QDQ groups. */
#include "import/import.h"

#include <string.h>

typedef struct fuser {
    fb_imp *im;
    uint32_t *uses;
    int32_t *reader;
} fuser;

static fb_node *producer(const fuser *f, int32_t v)
{
    int32_t p = v >= 0 ? fb_imp_at(f->im, v)->producer : -1;
    return p >= 0 && !f->im->nodes[p].dead ? &f->im->nodes[p].n : NULL;
}

static bool encoded(const fuser *f, int32_t v)
{
    return fb_imp_at(f->im, v)->enc.kind == FB_ENC_AFFINE;
}

static bool same_encoding(const fb_encoding *a, const fb_encoding *b)
{
    if (a->kind != b->kind || a->bits != b->bits || a->is_signed != b->is_signed ||
        a->axis != b->axis || a->n_scales != b->n_scales)
        return false;
    for (uint32_t i = 0; i < a->n_scales; i++) {
        if (a->scale[i] != b->scale[i] || (a->zero ? a->zero[i] : 0) != (b->zero ? b->zero[i] : 0))
            return false;
    }
    return true;
}

/* Encoded -> integers -> the same encoding again: one value. */
static fb_status cancel_pairs(fuser *f)
{
    fb_imp *im = f->im;
    int32_t *same = fb_calloc(im->n_values + 1, sizeof *same);
    if (!same)
        return fb_imp_no_memory();
    for (size_t i = 0; i < im->n_values; i++)
        same[i] = (int32_t)i;
    for (size_t i = 0; i < im->n_nodes; i++) {
        fb_node *n = &im->nodes[i].n;
        if (im->nodes[i].dead)
            continue;
        for (uint32_t k = 0; k < n->n_in; k++)
            n->in[k] = n->in[k] >= 0 ? same[n->in[k]] : -1;
        const fb_node *first = n->op == FB_OP_REINTERPRET ? producer(f, n->in[0]) : NULL;
        if (first && first->op == FB_OP_REINTERPRET && encoded(f, n->out[0]) &&
            same_encoding(&fb_imp_at(im, first->in[0])->enc, &fb_imp_at(im, n->out[0])->enc))
            same[n->out[0]] = first->in[0];
    }
    fb_free(same);
    return FB_OK;
}

/* reader[v]: the last live node that reads v, or -1. */
static void find_readers(fuser *f)
{
    for (size_t i = 0; i < f->im->n_values; i++)
        f->reader[i] = -1;
    for (size_t i = 0; i < f->im->n_nodes; i++) {
        const fb_node *n = &f->im->nodes[i].n;
        for (uint32_t k = 0; k < n->n_in && !f->im->nodes[i].dead; k++) {
            if (n->in[k] >= 0)
                f->reader[n->in[k]] = (int32_t)i;
        }
    }
}

/* The encoded value that a decoder turned into the float v, or v where it is an encoded constant;
 * -1 when it is neither. */
static int32_t decoded_from(const fuser *f, int32_t v)
{
    if (fb_imp_is_const(f->im, v))
        return encoded(f, v) && fb_imp_at(f->im, v)->enc.n_scales == 1 ? v : -1;
    const fb_node *n = producer(f, v);
    return n && n->op == FB_OP_CONVERT && encoded(f, n->in[0]) && !encoded(f, v) ? n->in[0] : -1;
}

static bool only_moves(fb_op op)
{
    return op == FB_OP_TRANSPOSE || op == FB_OP_RESHAPE || op == FB_OP_SLICE;
}

/* Decode, then move, becomes move, then decode: a layer behind both sees where its codes are. Here
 * the node list is written anew, since the decoder that comes last is a new one. */
static fb_status decode_last(fuser *f)
{
    fb_imp *im = f->im;
    fb_imp_node *old = im->nodes;
    size_t n_old = im->n_nodes;
    fb_status status = FB_OK;
    /* What makes the inputs of a node is in the new list by the time that the node is looked at. */
    im->nodes = NULL;
    im->n_nodes = im->cap_nodes = 0;
    for (size_t i = 0; i < n_old; i++) {
        const fb_node *n = &old[i].n;
        if (old[i].dead)
            continue;
        int32_t code = only_moves(n->op) ? decoded_from(f, n->in[0]) : -1, moved;
        if (code < 0) {
            FB_GO(fb_imp_add_node(im, n->op, n->name, &n->attr, n->n_in, n->in, n->n_out, n->out));
            continue;
        }
        FB_GO(fb_imp_add_value(im, "", fb_imp_shape(im, n->out[0]), &moved));
        fb_imp_at(im, moved)->enc = fb_imp_at(im, code)->enc;
        FB_GO(fb_imp_add_node(im, n->op, n->name, &n->attr, 1, &code, 1, &moved));
        FB_GO(fb_imp_add_node(im, FB_OP_CONVERT, n->name, NULL, 1, &moved, 1, n->out));
    }
fail:
    fb_free(old);
    return status;
}

/* The only reader of v, if it is an encoder and v is no output. */
static int32_t encoder_of(const fuser *f, int32_t v)
{
    int32_t r = f->uses[v] == 1 ? f->reader[v] : -1;
    const fb_node *n = r >= 0 ? &f->im->nodes[r].n : NULL;
    bool encodes = n && n->op == FB_OP_CONVERT && encoded(f, n->out[0]) && !encoded(f, v);
    return encodes ? r : -1;
}

/* Which inputs of a layer are activations: all of them, or the first where the others are
 * constants. */
static bool works_on_codes(const fb_node *n, uint32_t *n_data)
{
    *n_data = 1;
    switch (n->op) {
    case FB_OP_CONV:
    case FB_OP_DENSE:
    case FB_OP_UNARY:
    case FB_OP_MAX_POOL:
    case FB_OP_AVG_POOL:
    case FB_OP_RESHAPE:
    case FB_OP_TRANSPOSE:
    case FB_OP_SLICE:
    case FB_OP_PAD:
        return n->n_out == 1;
    case FB_OP_REDUCE:
        return n->attr.reduce.kind == FB_REDUCE_MEAN;
    case FB_OP_BINARY:
        *n_data = 2;
        return n->attr.binary.kind == FB_BINARY_ADD || n->attr.binary.kind == FB_BINARY_MUL;
    case FB_OP_CONCAT:
        *n_data = n->n_in;
        return true;
    default:
        return false;
    }
}

static void fuse_layer(fuser *f, size_t i)
{
    fb_imp *im = f->im;
    fb_node *n = &im->nodes[i].n;
    uint32_t n_data;
    if (!works_on_codes(n, &n_data))
        return;
    for (uint32_t k = 0; k < n_data; k++) {
        if (decoded_from(f, n->in[k]) < 0)
            return;
    }
    bool layer = n->op == FB_OP_CONV || n->op == FB_OP_DENSE;
    if (layer && !(fb_imp_is_const(im, n->in[1]) && encoded(f, n->in[1])))
        return;
    int32_t out = encoder_of(f, n->out[0]);
    if (out < 0 && !layer) /* layers may leave codes for floats */
        return;
    for (uint32_t k = 0; k < n_data; k++) {
        int32_t code = decoded_from(f, n->in[k]);
        f->uses[n->in[k]]--;
        f->uses[code]++;
        n->in[k] = code;
    }
    if (out >= 0) {
        int32_t y = im->nodes[out].n.out[0];
        im->nodes[out].dead = true;
        n->out[0] = y;
        fb_imp_at(im, y)->producer = (int32_t)i;
    }
}

fb_status fb_imp_fuse_quant(fb_imp *im)
{
    fuser f = {.im = im};
    fb_status status = FB_OK;
    bool any = false;
    for (size_t i = 0; i < im->n_nodes && !any; i++)
        any = im->nodes[i].n.op == FB_OP_CONVERT;
    if (!any)
        return FB_OK;
    FB_GO(fb_imp_live(im, &f.uses));
    FB_GO(cancel_pairs(&f));
    FB_GO(decode_last(&f));
    fb_free(f.uses);
    f.uses = NULL;
    FB_GO(fb_imp_live(im, &f.uses));
    f.reader = fb_calloc(im->n_values + 1, sizeof *f.reader);
    if (!f.reader) {
        status = fb_imp_no_memory();
        goto fail;
    }
    find_readers(&f);
    for (size_t i = 0; i < im->n_nodes; i++) {
        if (!im->nodes[i].dead)
            fuse_layer(&f, i);
    }
fail:
    fb_free(f.uses);
    fb_free(f.reader);
    return status;
}
