/* Channels last without transposes at run time.
 *
 * The walk wraps every convolution and pool in a transpose to channels last and one back. This pass
 * rebuilds the node list in order and makes transposes lazy: instead of emitting one it remembers
 * that a value is `base` seen with permuted axes. A layer whose meaning can follow the permutation
 * (layout_rules.c) is rewritten to work on the bases, and its output is lazy in turn; inverse
 * transposes so meet and cancel. Where nothing can follow, the transpose is written after all, as a
 * reshape when only axes of one element move.
 *
 * A reshape that flattens permuted features is lazy too: a dense layer behind it gets its weight
 * columns permuted instead.
 */
#include "import/layout.h"

#include <string.h>

/* ---- lazy values ----------------------------------------------------------------------------- */

const fb_lazy *fb_lay_lazy(const fb_layout *l, int32_t v)
{
    return v >= 0 && (size_t)v < l->n && l->lazy[v].base > 0 ? &l->lazy[v] : NULL;
}

static bool is_identity(const int32_t *perm, int32_t rank)
{
    for (int32_t i = 0; i < rank; i++) {
        if (perm[i] != i)
            return false;
    }
    return true;
}

void fb_lay_set(fb_layout *l, int32_t v, int32_t base, const int32_t *perm, int32_t rank)
{
    fb_imp_value *to = fb_imp_at(l->im, base), *from = fb_imp_at(l->im, v);
    if (to->name[0] == '\0')
        to->name = from->name;
    l->lazy[v] = (fb_lazy){.base = base + 1};
    memcpy(l->lazy[v].perm, perm, (size_t)rank * sizeof *perm);
    if (is_identity(perm, rank))
        l->lazy[v].same = true;
}

/* Axes of more than one element keep their order: the bytes do not move. */
static bool only_ones_move(const fb_shape *base, const int32_t *perm)
{
    int32_t last = -1;
    for (int32_t i = 0; i < base->rank; i++) {
        if (base->dims[perm[i]] == 1)
            continue;
        if (perm[i] < last)
            return false;
        last = perm[i];
    }
    return true;
}

static fb_status emit_transpose(fb_layout *l, int32_t x, const int32_t *perm, int32_t *out)
{
    fb_imp *im = l->im;
    const fb_shape s = *fb_imp_shape(im, x);
    if (is_identity(perm, s.rank)) {
        *out = x;
        return FB_OK;
    }
    if (fb_imp_is_const(im, x))
        return fb_imp_permute_const(im, x, perm, out);
    fb_attr a = {0};
    fb_shape y = s;
    for (int32_t i = 0; i < s.rank; i++)
        y.dims[i] = s.dims[perm[i]];
    bool reshape = only_ones_move(&s, perm);
    if (reshape) {
        a.shape.rank = s.rank;
        for (int32_t i = 0; i < s.rank; i++)
            a.shape.dims[i] = fb_imp_dim(y.dims[i]);
    } else {
        memcpy(a.perm.perm, perm, (size_t)s.rank * sizeof *perm);
    }
    FB_TRY(fb_imp_add_value(im, "", &y, out));
    fb_imp_at(im, *out)->enc = fb_imp_at(im, x)->enc;
    return fb_imp_add_node(im, reshape ? FB_OP_RESHAPE : FB_OP_TRANSPOSE, l->name, &a, 1, &x, 1,
                           out);
}

static fb_status emit_reshape(fb_layout *l, int32_t x, const fb_shape *shape, int32_t *out)
{
    fb_attr a = {.shape = {.rank = shape->rank}};
    for (int32_t i = 0; i < shape->rank; i++)
        a.shape.dims[i] = fb_imp_dim(shape->dims[i]);
    FB_TRY(fb_imp_add_value(l->im, "", shape, out));
    fb_imp_at(l->im, *out)->enc = fb_imp_at(l->im, x)->enc;
    return fb_imp_add_node(l->im, FB_OP_RESHAPE, l->name, &a, 1, &x, 1, out);
}

/* The value itself, in the order that its ONNX name means. */
fb_status fb_lay_real(fb_layout *l, int32_t v, int32_t *out)
{
    *out = v;
    if (!fb_lay_lazy(l, v))
        return FB_OK;
    if (l->lazy[v].real == 0) {
        int32_t made;
        fb_lazy z = l->lazy[v];
        if (z.flat) {
            fb_shape inner = z.inner;
            FB_TRY(emit_reshape(l, z.base - 1, &inner, &made));
            FB_TRY(emit_transpose(l, made, z.perm, &made));
            fb_shape s = *fb_imp_shape(l->im, v);
            FB_TRY(emit_reshape(l, made, &s, &made));
        } else {
            FB_TRY(emit_transpose(l, z.base - 1, z.perm, &made));
        }
        l->lazy[v].real = made + 1;
    }
    *out = l->lazy[v].real - 1;
    return FB_OK;
}

void fb_lay_invert(const int32_t *perm, int32_t rank, int32_t *inverse)
{
    for (int32_t i = 0; i < rank; i++)
        inverse[perm[i]] = i;
}

/* w with v = transpose(w, perm); v is of the same rank, or of a lower one that broadcasts. */
fb_status fb_lay_base(fb_layout *l, int32_t v, const int32_t *perm, int32_t rank, int32_t *out)
{
    int32_t inverse[FB_MAX_RANK], q[FB_MAX_RANK];
    fb_lay_invert(perm, rank, inverse);
    const fb_lazy *z = fb_lay_lazy(l, v);
    const fb_shape s = *fb_imp_shape(l->im, v);
    if (z && !z->flat && s.rank == rank) {
        for (int32_t j = 0; j < rank; j++)
            q[j] = z->perm[inverse[j]];
        return emit_transpose(l, z->base - 1, q, out);
    }
    FB_TRY(fb_lay_real(l, v, &v));
    if (s.rank < rank) {
        int64_t n;
        *out = v;
        if (fb_imp_elems(&s, &n) && n == 1)
            return FB_OK; /* one element broadcasts anywhere */
        fb_shape wide = {.dtype = s.dtype, .rank = rank};
        for (int32_t i = 0; i < rank; i++)
            wide.dims[i] = i < rank - s.rank ? 1 : s.dims[i - (rank - s.rank)];
        if (fb_imp_is_const(l->im, v)) {
            fb_imp_value *c = fb_imp_at(l->im, v);
            if (c->enc.kind != FB_ENC_PLAIN && c->enc.axis >= 0)
                FB_TRY(fb_imp_decode_const(l->im, v, &v));
            c = fb_imp_at(l->im, v);
            const char *name = c->name;
            fb_encoding enc = c->enc;
            FB_TRY(fb_imp_add_const_buf(l->im, name, &wide, fb_imp_buf_ref(c->buf), &v));
            fb_imp_at(l->im, v)->enc = enc;
        } else {
            FB_TRY(emit_reshape(l, v, &wide, &v));
        }
    }
    return emit_transpose(l, v, inverse, out);
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* transpose(transpose(b, q), p) = transpose(b, q[p]) */
static fb_status on_transpose(fb_layout *l, const fb_node *n)
{
    int32_t rank = fb_imp_shape(l->im, n->in[0])->rank, perm[FB_MAX_RANK];
    int32_t x = n->in[0];
    const fb_lazy *z = fb_lay_lazy(l, x);
    if (z && z->flat) {
        FB_TRY(fb_lay_real(l, x, &x));
        z = NULL;
    }
    for (int32_t i = 0; i < rank; i++)
        perm[i] = z ? z->perm[n->attr.perm.perm[i]] : n->attr.perm.perm[i];
    fb_lay_set(l, n->out[0], z ? z->base - 1 : x, perm, rank);
    return FB_OK;
}

/* Reshapes of permuted values: free when no byte moves, lazy when they flatten all but the batch.
 */
static fb_status on_reshape(fb_layout *l, const fb_node *n, bool *done)
{
    const fb_lazy *z = fb_lay_lazy(l, n->in[0]);
    *done = false;
    if (!z || z->flat)
        return FB_OK;
    const fb_shape base = *fb_imp_shape(l->im, z->base - 1), y = *fb_imp_shape(l->im, n->out[0]);
    bool still = only_ones_move(&base, z->perm);
    bool flat = y.rank == 2 && y.dtype == FB_F32 && z->perm[0] == 0 && y.dims[0] == base.dims[0];
    if (!still && !flat)
        return FB_OK;
    int32_t made;
    fb_lazy from = *z;
    FB_TRY(emit_reshape(l, from.base - 1, &y, &made));
    static const int32_t identity[FB_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    fb_lay_set(l, n->out[0], made, identity, y.rank);
    if (!still) {
        fb_lazy *to = &l->lazy[n->out[0]];
        to->flat = true;
        to->same = false;
        to->inner = base;
        memcpy(to->perm, from.perm, sizeof to->perm);
    }
    *done = true;
    return FB_OK;
}

/* Weight columns in the order of the base features. */
static fb_status on_dense(fb_layout *l, const fb_node *n, bool *done)
{
    const fb_lazy *z = fb_lay_lazy(l, n->in[0]);
    fb_imp *im = l->im;
    *done = false;
    if (!z || !z->flat || !fb_imp_is_const(im, n->in[1]))
        return FB_OK;
    fb_lazy from = *z;
    int32_t rank = from.inner.rank, perm[FB_MAX_RANK], inverse[FB_MAX_RANK], w = n->in[1];
    /* Axis 0 is the batch, in its place the rows of the weight. */
    const fb_imp_value *c = fb_imp_at(im, w);
    if (c->enc.kind != FB_ENC_PLAIN && (c->enc.axis > 0 || c->enc.group))
        FB_TRY(fb_imp_decode_const(im, w, &w));
    c = fb_imp_at(im, w);
    fb_shape wide = {.dtype = c->shape.dtype, .rank = rank};
    wide.dims[0] = c->shape.dims[0];
    for (int32_t i = 1; i < rank; i++)
        wide.dims[i] = from.inner.dims[from.perm[i]];
    fb_lay_invert(from.perm, rank, inverse);
    memcpy(perm, inverse, sizeof perm);
    fb_shape flat = c->shape;
    fb_encoding enc = c->enc;
    uint8_t bits = c->pack_bits;
    const char *name = c->name;
    FB_TRY(fb_imp_add_const_buf(im, name, &wide, fb_imp_buf_ref(c->buf), &w));
    fb_imp_at(im, w)->enc = enc;
    fb_imp_at(im, w)->pack_bits = bits;
    FB_TRY(fb_imp_permute_const(im, w, perm, &w));
    FB_TRY(fb_imp_add_const_buf(im, name, &flat, fb_imp_buf_ref(fb_imp_at(im, w)->buf), &w));
    fb_imp_at(im, w)->enc = enc;
    fb_imp_at(im, w)->pack_bits = bits;
    int32_t in[3] = {from.base - 1, w, n->n_in > 2 ? n->in[2] : -1};
    if (n->n_in > 2 && n->in[2] >= 0)
        FB_TRY(fb_lay_real(l, n->in[2], &in[2]));
    *done = true;
    return fb_imp_add_node(im, FB_OP_DENSE, n->name, &n->attr, n->n_in, in, 1, n->out);
}

/* Elementwise layers between the flattening and the dense layer stay in the base order. */
static fb_status on_flat_unary(fb_layout *l, const fb_node *n, bool *done)
{
    const fb_lazy *z = fb_lay_lazy(l, n->in[0]);
    *done = false;
    if (!z || !z->flat || (n->op != FB_OP_UNARY && n->op != FB_OP_CONVERT))
        return FB_OK;
    fb_lazy from = *z;
    int32_t made, x = from.base - 1;
    FB_TRY(fb_imp_add_value(l->im, "", fb_imp_shape(l->im, n->out[0]), &made));
    fb_imp_at(l->im, made)->enc = fb_imp_at(l->im, n->out[0])->enc;
    FB_TRY(fb_imp_add_node(l->im, n->op, n->name, &n->attr, 1, &x, 1, &made));
    from.base = made + 1;
    from.real = 0;
    l->lazy[n->out[0]] = from;
    *done = true;
    return FB_OK;
}

static fb_status keep(fb_layout *l, const fb_node *n)
{
    int32_t *in = fb_arena_array(l->im->arena, n->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t k = 0; k < n->n_in; k++)
        FB_TRY(fb_lay_real(l, n->in[k], &in[k]));
    return fb_imp_add_node(l->im, n->op, n->name, &n->attr, n->n_in, in, n->n_out, n->out);
}

static fb_status on_node(fb_layout *l, const fb_node *n)
{
    bool done = false;
    l->name = n->name;
    if (n->op == FB_OP_TRANSPOSE)
        return on_transpose(l, n);
    if (n->op == FB_OP_RESHAPE)
        FB_TRY(on_reshape(l, n, &done));
    else if (n->op == FB_OP_DENSE)
        FB_TRY(on_dense(l, n, &done));
    else
        FB_TRY(on_flat_unary(l, n, &done));
    if (!done)
        FB_TRY(fb_lay_follow(l, n, &done));
    return done ? FB_OK : keep(l, n);
}

/* An image input that some layer wants channels last is taken so from the user. */
static fb_status turn_inputs(fb_layout *l, const fb_imp_node *nodes, size_t n_nodes)
{
    static const int32_t from_nhwc[4] = {0, 3, 1, 2};
    fb_imp *im = l->im;
    bool images = false;
    for (size_t i = 0; i < n_nodes; i++)
        images = images || nodes[i].n.op == FB_OP_CONV || nodes[i].n.op == FB_OP_MAX_POOL ||
                 nodes[i].n.op == FB_OP_AVG_POOL;
    if (!images || im->opt->keep_io_layout)
        return FB_OK;
    for (uint32_t k = 0; k < im->n_inputs; k++) {
        int32_t v = im->inputs[k], made;
        const fb_shape s = *fb_imp_shape(im, v);
        if (s.rank != 4 || s.dtype != FB_F32)
            continue;
        fb_shape y = s;
        y.dims[1] = s.dims[2];
        y.dims[2] = s.dims[3];
        y.dims[3] = s.dims[1];
        FB_TRY(fb_imp_add_value(im, fb_imp_at(im, v)->name, &y, &made));
        fb_imp_at(im, made)->is_input = true;
        fb_imp_at(im, made)->source_nchw = true;
        fb_lay_set(l, v, made, from_nhwc, 4);
        im->inputs[k] = made;
    }
    return FB_OK;
}

fb_status fb_imp_layout(fb_imp *im)
{
    fb_layout l = {.im = im, .n = im->n_values, .name = ""};
    fb_imp_node *nodes = im->nodes;
    size_t n_nodes = im->n_nodes;
    fb_status status;
    l.lazy = fb_calloc(l.n + 1, sizeof *l.lazy);
    if (!l.lazy)
        return fb_imp_no_memory();
    im->nodes = NULL;
    im->n_nodes = im->cap_nodes = 0;
    FB_GO(turn_inputs(&l, nodes, n_nodes));
    for (size_t i = 0; i < n_nodes; i++)
        FB_GO(on_node(&l, &nodes[i].n));
    for (uint32_t k = 0; k < im->n_outputs; k++) {
        int32_t v = im->outputs[k], real;
        FB_GO(fb_lay_real(&l, v, &real));
        if (real == v)
            continue;
        /* The output's name belongs to the value that users read. */
        const char *name = fb_imp_at(im, v)->name;
        const fb_lazy *z = fb_lay_lazy(&l, v);
        fb_imp_value *base = fb_imp_at(im, z->base - 1);
        if (base->name == name && z->base - 1 != real)
            base->name = "";
        if (fb_imp_at(im, real)->producer >= 0)
            fb_imp_at(im, real)->name = name;
        im->outputs[k] = real;
    }
fail:
    fb_free(nodes);
    fb_free(l.lazy);
    return status;
}
