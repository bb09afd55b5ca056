/* How a layer follows a permutation of its input's axes: one rule an operator. */
#include "import/layout.h"

#include <string.h>

/* The permutation that the layer will follow: of its first input of the output's rank that has one.
 */
static const fb_lazy *leader(const fb_layout *l, const fb_node *n, int32_t rank)
{
    for (uint32_t k = 0; k < n->n_in; k++) {
        const fb_lazy *z = fb_lay_lazy(l, n->in[k]);
        if (z && !z->flat && !z->same && fb_imp_shape(l->im, n->in[k])->rank == rank)
            return z;
    }
    return NULL;
}

/* The node on base inputs; its output is as the logical one with axes in base order. */
static fb_status emit(fb_layout *l, const fb_node *n, const fb_attr *attr, const int32_t *in,
                      const int32_t *perm, const fb_shape *shape)
{
    int32_t made;
    fb_imp *im = l->im;
    FB_TRY(fb_imp_add_value(im, "", shape, &made));
    fb_imp_at(im, made)->enc = fb_imp_at(im, n->out[0])->enc;
    FB_TRY(fb_imp_add_node(im, n->op, n->name, attr, n->n_in, in, 1, &made));
    fb_lay_set(l, n->out[0], made, perm, shape->rank);
    return FB_OK;
}

static fb_shape in_base_order(const fb_shape *y, const int32_t *perm)
{
    fb_shape s = *y;
    for (int32_t i = 0; i < y->rank; i++)
        s.dims[perm[i]] = y->dims[i];
    return s;
}

/* All inputs brought to one base order, axes of the attributes renamed already. */
static fb_status follow_all(fb_layout *l, const fb_node *n, const fb_attr *attr,
                            const int32_t *perm, int32_t rank)
{
    int32_t *in = fb_arena_array(l->im->arena, n->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t k = 0; k < n->n_in; k++)
        FB_TRY(fb_lay_base(l, n->in[k], perm, rank, &in[k]));
    fb_shape shape = in_base_order(fb_imp_shape(l->im, n->out[0]), perm);
    return emit(l, n, attr, in, perm, &shape);
}

static void move_i64(int64_t *v, const int32_t *perm, int32_t rank)
{
    int64_t old[FB_MAX_RANK];
    memcpy(old, v, sizeof old);
    for (int32_t i = 0; i < rank; i++)
        v[perm[i]] = old[i];
}

static void move_f32(float *v, const int32_t *perm, int32_t rank)
{
    float old[FB_MAX_RANK];
    memcpy(old, v, sizeof old);
    for (int32_t i = 0; i < rank; i++)
        v[perm[i]] = old[i];
}

/* Reduced axes disappear, or stay with one element; what is left keeps a (smaller) permutation. */
static fb_status follow_reduce(fb_layout *l, const fb_node *n, const fb_lazy *z, int32_t rank)
{
    fb_attr a = n->attr;
    bool arg = n->op == FB_OP_ARG_MAX;
    bool keep = arg ? a.arg.keep_dims : a.reduce.keep_dims;
    int32_t axes = arg ? 1 << a.arg.axis : a.reduce.axes, moved = 0;
    int32_t perm[FB_MAX_RANK], rest[FB_MAX_RANK], slot[FB_MAX_RANK], left = 0, x = z->base - 1;
    memcpy(perm, z->perm, sizeof perm);
    for (int32_t i = 0; i < rank; i++) {
        if (axes & (1 << i))
            moved |= 1 << perm[i];
    }
    if (arg) {
        a.arg.axis = perm[a.arg.axis];
    } else {
        a.reduce.axes = moved;
    }
    const fb_shape y = *fb_imp_shape(l->im, n->out[0]);
    if (keep) {
        fb_shape s = in_base_order(&y, perm);
        return emit(l, n, &a, &x, perm, &s);
    }
    for (int32_t j = 0, k = 0; j < rank; j++)
        slot[j] = moved & (1 << j) ? -1 : k++;
    for (int32_t i = 0; i < rank; i++) {
        if (!(axes & (1 << i)))
            rest[left++] = slot[perm[i]];
    }
    fb_shape s = in_base_order(&y, rest);
    return emit(l, n, &a, &x, rest, &s);
}

/* Normalisation over a set of axes; they must lie side by side in the base as well. */
static bool move_softmax(fb_attr_softmax *a, const int32_t *perm)
{
    int32_t lo = FB_MAX_RANK, hi = -1, n = a->axis_to - a->axis_from;
    for (int32_t i = a->axis_from; i < a->axis_to; i++) {
        lo = perm[i] < lo ? perm[i] : lo;
        hi = perm[i] > hi ? perm[i] : hi;
    }
    if (n < 1 || hi - lo + 1 != n)
        return false;
    a->axis_from = lo;
    a->axis_to = hi + 1;
    return true;
}

/* Encodings with a scale for each index of an axis would have to move it. */
static bool per_tensor(const fb_imp *im, const fb_node *n)
{
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && !fb_imp_at(im, n->in[k])->is_const &&
            fb_imp_at(im, n->in[k])->enc.axis >= 0)
            return false;
    }
    return fb_imp_at(im, n->out[0])->enc.axis < 0;
}

fb_status fb_lay_follow(fb_layout *l, const fb_node *n, bool *done)
{
    fb_imp *im = l->im;
    *done = false;
    if (n->n_out != 1 || n->n_in == 0 || n->in[0] < 0 || !per_tensor(im, n))
        return FB_OK;
    bool reduces = n->op == FB_OP_REDUCE || n->op == FB_OP_ARG_MAX;
    int32_t rank = fb_imp_shape(im, reduces ? n->in[0] : n->out[0])->rank;
    const fb_lazy *found = leader(l, n, rank);
    if (!found)
        return FB_OK;
    fb_lazy z = *found;
    fb_attr a = n->attr;
    switch (n->op) {
    case FB_OP_UNARY:
    case FB_OP_CAST:
    case FB_OP_CONVERT:
    case FB_OP_REINTERPRET:
    case FB_OP_BINARY:
    case FB_OP_PRELU:
        break;
    case FB_OP_CONCAT:
        a.axis.axis = z.perm[a.axis.axis];
        break;
    case FB_OP_GATHER:
        if (fb_imp_shape(im, n->in[1])->rank != 1)
            return FB_OK;
        a.axis.axis = z.perm[a.axis.axis];
        *done = true;
        {
            int32_t in[2] = {z.base - 1, n->in[1]};
            FB_TRY(fb_lay_real(l, n->in[1], &in[1]));
            fb_shape s = in_base_order(fb_imp_shape(im, n->out[0]), z.perm);
            return emit(l, n, &a, in, z.perm, &s);
        }
    case FB_OP_SLICE:
        move_i64(a.slice.start, z.perm, rank);
        move_i64(a.slice.count, z.perm, rank);
        move_i64(a.slice.step, z.perm, rank);
        break;
    case FB_OP_PAD:
        move_i64(a.pad.before, z.perm, rank);
        move_i64(a.pad.after, z.perm, rank);
        break;
    case FB_OP_RESIZE:
        move_i64(a.resize.size, z.perm, rank);
        move_f32(a.resize.scale, z.perm, rank);
        move_f32(a.resize.roi_lo, z.perm, rank);
        move_f32(a.resize.roi_hi, z.perm, rank);
        break;
    case FB_OP_SOFTMAX:
        if (!move_softmax(&a.softmax, z.perm))
            return FB_OK;
        break;
    case FB_OP_REDUCE:
    case FB_OP_ARG_MAX:
        *done = true;
        return follow_reduce(l, n, &z, rank);
    default:
        return FB_OK;
    }
    *done = true;
    return follow_all(l, n, &a, z.perm, rank);
}
