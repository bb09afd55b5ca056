/* Fusing on the channels-last graph: per-channel factors and terms into weights and biases, clamps
 * into the layer before them, spelled-out hard swish into one layer. Only where the result is the
 * same function; a value that somebody else reads stays. */
#include "import/import.h"

#include <math.h>
#include <string.h>

typedef struct fuser {
    fb_imp *im;
    uint32_t *uses; /* [n_uses], by value */
    size_t n_uses;
} fuser;

/* Values made meanwhile have one reader, the layer they were made for. */
static fb_status widen_uses(fuser *f)
{
    uint32_t *wide = fb_calloc(f->im->n_values + 64, sizeof *wide);
    size_t n = f->im->n_values + 64;
    if (!wide)
        return fb_imp_no_memory();
    for (size_t i = 0; i < n; i++)
        wide[i] = i < f->n_uses ? f->uses[i] : 1;
    fb_free(f->uses);
    f->uses = wide;
    f->n_uses = n;
    return FB_OK;
}

/* The live node that makes v, if nobody but one reader needs v. */
static fb_node *only_producer(const fuser *f, int32_t v)
{
    int32_t p = v >= 0 ? fb_imp_at(f->im, v)->producer : -1;
    return p >= 0 && f->uses[v] == 1 && !f->im->nodes[p].dead ? &f->im->nodes[p].n : NULL;
}

static bool is_plain(const fuser *f, int32_t v)
{
    const fb_imp_value *x = fb_imp_at(f->im, v);
    return x->enc.kind == FB_ENC_PLAIN && x->shape.dtype == FB_F32;
}

/* `first` takes over the output of the node that follows it. */
static void take_output(fuser *f, fb_node *first, size_t second)
{
    fb_node *n = &f->im->nodes[second].n;
    fb_imp_at(f->im, n->out[0])->producer = fb_imp_at(f->im, first->out[0])->producer;
    first->out[0] = n->out[0];
    f->im->nodes[second].dead = true;
}

/* ---- factors and terms into weights ---------------------------------------------------------- */

/* A constant as one float per channel of the last axis: [c], [1..1][c] or a single number. */
static bool channel_at(const fuser *f, int32_t v, int64_t channels, const float **data, bool *one)
{
    int64_t n;
    if (!fb_imp_is_const(f->im, v) || !is_plain(f, v) || fb_imp_at(f->im, v)->alt)
        return false;
    const fb_shape *s = fb_imp_shape(f->im, v);
    if (!fb_imp_elems(s, &n))
        return false;
    *one = n == 1;
    *data = fb_imp_data(f->im, v);
    return n == 1 || (n == channels && s->rank > 0 && s->dims[s->rank - 1] == channels);
}

/* weight * scale in a new constant; the old payload goes when nobody else reads it. */
static fb_status scale_weight(fuser *f, int32_t old, int64_t oc, const float *scale, bool one,
                              int32_t *w)
{
    fb_imp *im = f->im;
    fb_imp_value *from = fb_imp_at(im, old);
    int64_t elems;
    if (!fb_imp_elems(&from->shape, &elems))
        return fb_imp_no_memory();
    FB_TRY(fb_imp_add_const(im, from->name, FB_F32, from->shape.rank, from->shape.dims, w));
    const float *src = fb_imp_data(im, old);
    float *dst = fb_imp_data(im, *w);
    for (int64_t o = 0, i = 0; o < oc; o++) {
        for (int64_t k = 0; k < elems / oc; k++, i++)
            dst[i] = src[i] * scale[one ? 0 : o];
    }
    if (f->uses[old] == 1)
        fb_imp_buf_drop(&from->buf);
    return FB_OK;
}

/* Weight and bias with y' = y * scale + shift, for conv and dense: axis 0 is the output. */
static fb_status scale_layer(fuser *f, fb_node *n, int64_t oc, const float *scale, bool one_scale,
                             const float *shift, bool one_shift)
{
    fb_imp *im = f->im;
    int32_t w = n->in[1], b;
    if (scale)
        FB_TRY(scale_weight(f, w, oc, scale, one_scale, &w));
    bool had = n->n_in > 2 && n->in[2] >= 0;
    const char *name = had ? fb_imp_at(im, n->in[2])->name : "";
    FB_TRY(fb_imp_add_const(im, name, FB_F32, 1, &oc, &b));
    const float *from = had ? fb_imp_data(im, n->in[2]) : NULL;
    float *to = fb_imp_data(im, b);
    for (int64_t i = 0; i < oc; i++) {
        to[i] = from ? from[i] : 0;
        if (scale)
            to[i] *= scale[one_scale ? 0 : i];
        if (shift)
            to[i] += shift[one_shift ? 0 : i];
    }
    int32_t *in = fb_arena_array(im->arena, 3, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    in[0] = n->in[0];
    in[1] = w;
    in[2] = b;
    n->in = in;
    n->n_in = 3;
    return widen_uses(f);
}

static bool can_scale(const fuser *f, const fb_node *n, int64_t *oc)
{
    if (!n || !fb_op_has_weight(n->op) || !fb_imp_is_const(f->im, n->in[1]) ||
        !is_plain(f, n->in[1]) || fb_imp_at(f->im, n->in[1])->alt)
        return false;
    bool bias = n->n_in > 2 && n->in[2] >= 0;
    if (bias && (!fb_imp_is_const(f->im, n->in[2]) || !is_plain(f, n->in[2])))
        return false;
    *oc = fb_imp_shape(f->im, n->in[1])->dims[0];
    return !(n->op == FB_OP_DENSE ? n->attr.dense.act.clamp : n->attr.conv.act.clamp);
}

static fb_status fold_scale_shift(fuser *f, size_t i)
{
    const fb_node *n = &f->im->nodes[i].n;
    fb_node *first = only_producer(f, n->in[0]);
    const float *scale, *shift;
    bool one_scale, one_shift;
    int64_t oc;
    if (!can_scale(f, first, &oc) || !channel_at(f, n->in[1], oc, &scale, &one_scale) ||
        !channel_at(f, n->in[2], oc, &shift, &one_shift))
        return FB_OK;
    FB_TRY(scale_layer(f, first, oc, scale, one_scale, shift, one_shift));
    take_output(f, first, i);
    return FB_OK;
}

/* conv * c, conv + c, c + conv, conv - c, conv / c with a constant c for each channel. */
static fb_status fold_binary(fuser *f, size_t i, bool *done)
{
    fb_imp *im = f->im;
    const fb_node *n = &im->nodes[i].n;
    int32_t kind = n->attr.binary.kind;
    bool commutes = kind == FB_BINARY_ADD || kind == FB_BINARY_MUL;
    bool second = commutes && fb_imp_is_const(im, n->in[0]);
    int32_t x = n->in[second], c = n->in[!second];
    fb_node *first = only_producer(f, x);
    const float *data;
    bool one;
    int64_t oc, count;
    *done = false;
    if (n->attr.binary.act.clamp || (!commutes && kind != FB_BINARY_SUB && kind != FB_BINARY_DIV) ||
        !can_scale(f, first, &oc) || !channel_at(f, c, oc, &data, &one) ||
        fb_imp_shape(im, n->out[0])->rank != fb_imp_shape(im, x)->rank)
        return FB_OK;
    count = one ? 1 : oc;
    float *own = fb_arena_array(im->arena, (size_t)count, sizeof *own);
    if (!own)
        return fb_imp_no_memory();
    for (int64_t k = 0; k < count; k++) {
        own[k] = kind == FB_BINARY_SUB ? -data[k] : kind == FB_BINARY_DIV ? 1 / data[k] : data[k];
        if (!isfinite(own[k]))
            return FB_OK;
    }
    bool adds = kind == FB_BINARY_ADD || kind == FB_BINARY_SUB;
    FB_TRY(scale_layer(f, first, oc, adds ? NULL : own, one, adds ? own : NULL, one));
    take_output(f, first, i);
    *done = true;
    return FB_OK;
}

/* ---- clamps ---------------------------------------------------------------------------------- */

static fb_act *act_of(fb_node *n)
{
    switch (n->op) {
    case FB_OP_CONV:
    case FB_OP_CONV_TRANSPOSE:
        return &n->attr.conv.act;
    case FB_OP_DENSE:
        return &n->attr.dense.act;
    case FB_OP_BINARY:
        return n->attr.binary.kind == FB_BINARY_ADD ? &n->attr.binary.act : NULL;
    default:
        return NULL;
    }
}

static void fuse_clamp(fuser *f, size_t i)
{
    const fb_node *n = &f->im->nodes[i].n;
    const fb_attr_unary *u = &n->attr.unary;
    if (u->kind != FB_UNARY_RELU && u->kind != FB_UNARY_CLIP)
        return;
    fb_node *first = only_producer(f, n->in[0]);
    fb_act *act = first ? act_of(first) : NULL;
    if (!act || act->clamp || !is_plain(f, n->in[0]) || !is_plain(f, n->out[0]))
        return;
    bool relu = u->kind == FB_UNARY_RELU;
    *act = (fb_act){.clamp = 1, .lo = relu ? 0 : u->a, .hi = relu ? INFINITY : u->b};
    take_output(f, first, i);
}

/* ---- hard swish ------------------------------------------------------------------------------ */

static bool scalar_is(const fuser *f, int32_t v, float want)
{
    const float *x;
    bool one;
    return channel_at(f, v, 1, &x, &one) && one && fabsf(*x - want) < 1e-6f;
}

/* v = clip(x + 3, 0, 6), the clip fused into the sum already or not. */
static bool is_shifted_relu6(const fuser *f, int32_t v, int32_t x)
{
    const fb_node *n = only_producer(f, v);
    fb_act act = {0};
    if (n && n->op == FB_OP_UNARY && n->attr.unary.kind == FB_UNARY_CLIP) {
        act = (fb_act){1, n->attr.unary.a, n->attr.unary.b};
        n = only_producer(f, n->in[0]);
    } else if (n && n->op == FB_OP_BINARY) {
        act = n->attr.binary.act;
    }
    return n && n->op == FB_OP_BINARY && n->attr.binary.kind == FB_BINARY_ADD && act.clamp &&
           act.lo == 0 && act.hi == 6 &&
           ((n->in[0] == x && scalar_is(f, n->in[1], 3)) ||
            (n->in[1] == x && scalar_is(f, n->in[0], 3)));
}

static bool is_hard_sigmoid(const fuser *f, int32_t v, int32_t x)
{
    const fb_node *n = only_producer(f, v);
    return n && n->op == FB_OP_UNARY && n->attr.unary.kind == FB_UNARY_HARD_SIGMOID &&
           n->in[0] == x && fabsf(n->attr.unary.a - 1.0f / 6) < 1e-6f && n->attr.unary.b == 0.5f;
}

/* Turns node i into hard swish of x. */
static fb_status become_hard_swish(fuser *f, size_t i, int32_t x)
{
    fb_node *n = &f->im->nodes[i].n;
    int32_t *in = fb_arena_array(f->im->arena, 1, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    in[0] = x;
    n->op = FB_OP_UNARY;
    n->in = in;
    n->n_in = 1;
    memset(&n->attr, 0, sizeof n->attr);
    n->attr.unary.kind = FB_UNARY_HARD_SWISH;
    return FB_OK;
}

/* x * hard_sigmoid(x); x * clip(x + 3, 0, 6) / 6, the division as such or as a product. */
static fb_status fuse_hard_swish(fuser *f, size_t i)
{
    const fb_node *n = &f->im->nodes[i].n;
    if (n->attr.binary.act.clamp)
        return FB_OK;
    if (n->attr.binary.kind == FB_BINARY_MUL) {
        for (int k = 0; k < 2; k++) {
            if (is_hard_sigmoid(f, n->in[!k], n->in[k]))
                return become_hard_swish(f, i, n->in[k]);
        }
    }
    bool sixth = (n->attr.binary.kind == FB_BINARY_DIV && scalar_is(f, n->in[1], 6)) ||
                 (n->attr.binary.kind == FB_BINARY_MUL && scalar_is(f, n->in[1], 1.0f / 6));
    const fb_node *product = sixth ? only_producer(f, n->in[0]) : NULL;
    if (!product || product->op != FB_OP_BINARY || product->attr.binary.kind != FB_BINARY_MUL)
        return FB_OK;
    for (int k = 0; k < 2; k++) {
        if (is_shifted_relu6(f, product->in[!k], product->in[k]))
            return become_hard_swish(f, i, product->in[k]);
    }
    return FB_OK;
}

/* ---- moves that undo each other ----------------------------------------------------------------
 */

static fb_node *producer(const fuser *f, int32_t v)
{
    int32_t p = v >= 0 ? fb_imp_at(f->im, v)->producer : -1;
    return p >= 0 && !f->im->nodes[p].dead ? &f->im->nodes[p].n : NULL;
}

/* f32 -> f16 -> f32: the detour of a model in half floats, which is computed in f32 here. */
static bool is_detour(const fuser *f, const fb_node *first, const fb_node *second)
{
    fb_dtype a = fb_imp_shape(f->im, first->in[0])->dtype;
    fb_dtype b = fb_imp_shape(f->im, second->in[0])->dtype;
    return a == FB_F32 && (b == FB_F16 || b == FB_BF16) &&
           fb_imp_shape(f->im, second->out[0])->dtype == FB_F32;
}

/* n reads what the layer before it reads. */
static void skip_producer(fuser *f, fb_node *n)
{
    int32_t p = fb_imp_at(f->im, n->in[0])->producer;
    int32_t from = f->im->nodes[p].n.in[0];
    f->uses[from]++;
    if (--f->uses[n->in[0]] == 0) {
        f->im->nodes[p].dead = true;
        f->uses[from]--;
    }
    n->in[0] = from;
}

/* A reshape reads what the reshapes before it read; a cast back to f32 is left out of its readers'
 * way. */
static fb_status tidy(fuser *f)
{
    fb_imp *im = f->im;
    int32_t *same = fb_calloc(im->n_values + 1, sizeof *same);
    if (!same)
        return fb_imp_no_memory();
    for (size_t i = 0; i < im->n_values; i++)
        same[i] = (int32_t)i;
    for (size_t i = 0; i < im->n_nodes; i++) {
        fb_node *n = &im->nodes[i].n;
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (n->in[k] >= 0 && same[n->in[k]] != n->in[k]) {
                f->uses[n->in[k]]--;
                n->in[k] = same[n->in[k]];
                f->uses[n->in[k]]++;
            }
        }
        const fb_node *first = n->n_in ? producer(f, n->in[0]) : NULL;
        if (im->nodes[i].dead || !first || first->op != n->op)
            continue;
        if (n->op == FB_OP_CAST && is_detour(f, first, n))
            same[n->out[0]] = first->in[0];
        else if (n->op == FB_OP_RESHAPE)
            skip_producer(f, n);
    }
    fb_free(same);
    return FB_OK;
}

fb_status fb_imp_fuse(fb_imp *im)
{
    fuser f = {.im = im};
    fb_status status = FB_OK;
    FB_TRY(fb_imp_live(im, &f.uses));
    f.n_uses = im->n_values;
    FB_GO(tidy(&f));
    for (size_t i = 0; i < im->n_nodes; i++) {
        const fb_imp_node *n = &im->nodes[i];
        bool done = false;
        if (n->dead)
            continue;
        if (n->n.op == FB_OP_SCALE_SHIFT) {
            FB_GO(fold_scale_shift(&f, i));
        } else if (n->n.op == FB_OP_BINARY) {
            FB_GO(fold_binary(&f, i, &done));
            if (!done)
                FB_GO(fuse_hard_swish(&f, i));
        } else if (n->n.op == FB_OP_UNARY) {
            fuse_clamp(&f, i);
        }
    }
fail:
    fb_free(f.uses);
    return status;
}
