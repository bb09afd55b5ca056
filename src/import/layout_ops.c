/* What each operator does when its input is a transposed view. */
#include "import/layout.h"

#include <string.h>

/* The view of the first input if an operator may look through it. */
static const fb_lay_view *seen(fb_lay *l, int32_t v)
{
    const fb_lay_view *view = fb_lay_get(l, v);
    return view && !view->flat ? view : NULL;
}

/* One number after another: any order, also flat. */
static fb_status elementwise(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = fb_lay_get(l, node->in[0]);
    if (!view)
        return fb_lay_plain(l, node);
    fb_lay_view copy = *view;
    if (!copy.flat)
        return fb_lay_emit(l, node, &copy.src, &node->attr, copy.perm);
    static const int32_t none[FB_MAX_RANK] = {0, 1};
    FB_TRY(fb_lay_emit(l, node, &copy.src, &node->attr, none));
    fb_lay_view *made = fb_lay_get(l, node->out[0]);
    copy.src = made->src;
    copy.made = false;
    *made = copy;
    return FB_OK;
}

static fb_status transpose(fb_lay *l, const fb_node *node)
{
    int32_t perm[FB_MAX_RANK] = {0}, src = node->in[0];
    int32_t rank = fb_imp_shape(l->im, src)->rank;
    const fb_lay_view *view = seen(l, src);
    if (!view)
        FB_TRY(fb_lay_logical(l, src, &src));
    for (int32_t i = 0; i < rank; i++) {
        int32_t p = node->attr.perm.perm[i];
        perm[i] = view ? view->perm[p] : p;
    }
    return fb_lay_set(l, node->out[0], view ? view->src : src, perm);
}

/* ---- several inputs ------------------------------------------------------------------------ */

/* An operand brought to `rank` dims in the order of perm. */
static fb_status operand(fb_lay *l, int32_t v, int32_t rank, const int32_t *perm, int32_t *out)
{
    const fb_lay_view *view = seen(l, v);
    int32_t inverse[FB_MAX_RANK], x;
    fb_lay_inverse(rank, perm, inverse);
    if (view && fb_imp_shape(l->im, v)->rank == rank &&
        memcmp(view->perm, perm, (size_t)rank * sizeof *perm) == 0) {
        *out = view->src;
        return FB_OK;
    }
    FB_TRY(fb_lay_logical(l, v, &x));
    fb_shape s = *fb_imp_shape(l->im, x);
    int64_t dims[FB_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        dims[i] = i < rank - s.rank ? 1 : s.dims[i - (rank - s.rank)];
    if (!fb_imp_is_const(l->im, x)) {
        FB_TRY(fb_lay_reshape(l, x, rank, dims, &x));
        return fb_lay_transpose(l, x, inverse, out);
    }
    FB_TRY(fb_imp_reshape(l->im, x, rank, dims, &x));
    return fb_imp_permute_const(l->im, x, inverse, out);
}

/* The view that most operands of full rank have in common is the order to compute in; NULL when
 * more operands would have to be transposed for it than need not be. */
static const fb_lay_view *choose(fb_lay *l, const fb_node *node, int32_t rank)
{
    const fb_lay_view *first = NULL;
    uint32_t with = 0, against = 0;
    for (uint32_t i = 0; i < node->n_in; i++) {
        const fb_lay_view *view = seen(l, node->in[i]);
        const fb_shape *s = fb_imp_shape(l->im, node->in[i]);
        int64_t n;
        if (view && s->rank == rank && !first)
            first = view;
        bool same = view && first && s->rank == rank &&
                    memcmp(view->perm, first->perm, (size_t)rank * sizeof(int32_t)) == 0;
        if (same)
            with++;
        else if (!fb_imp_is_const(l->im, node->in[i]) && fb_imp_elems(s, &n) && n > 1)
            against++;
    }
    return first && with >= against ? first : NULL;
}

static fb_status joint(fb_lay *l, const fb_node *node)
{
    int32_t rank = fb_imp_shape(l->im, node->out[0])->rank, perm[FB_MAX_RANK];
    const fb_lay_view *view = choose(l, node, rank);
    if (!view || (node->op == FB_OP_PRELU && !seen(l, node->in[0])))
        return fb_lay_plain(l, node);
    memcpy(perm, view->perm, sizeof perm);
    int32_t *in = fb_arena_array(l->im->arena, node->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < node->n_in; i++)
        FB_TRY(operand(l, node->in[i], rank, perm, &in[i]));
    fb_attr a = node->attr;
    if (node->op == FB_OP_CONCAT)
        a.axis.axis = perm[a.axis.axis];
    return fb_lay_emit(l, node, in, &a, perm);
}

/* ---- one value an axis --------------------------------------------------------------------- */

static void permute64(const int32_t *perm, int32_t rank, int64_t *v)
{
    int64_t old[FB_MAX_RANK];
    memcpy(old, v, sizeof old);
    for (int32_t i = 0; i < rank; i++)
        v[perm[i]] = old[i];
}

static void permute_f32(const int32_t *perm, int32_t rank, float *v)
{
    float old[FB_MAX_RANK];
    memcpy(old, v, sizeof old);
    for (int32_t i = 0; i < rank; i++)
        v[perm[i]] = old[i];
}

static fb_status by_axis(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = seen(l, node->in[0]);
    int32_t rank = fb_imp_shape(l->im, node->in[0])->rank;
    if (!view || (node->op == FB_OP_EXPAND && node->attr.shape.rank != rank))
        return fb_lay_plain(l, node);
    fb_attr a = node->attr;
    const int32_t *p = view->perm;
    if (node->op == FB_OP_SLICE) {
        permute64(p, rank, a.slice.start);
        permute64(p, rank, a.slice.count);
        permute64(p, rank, a.slice.step);
    } else if (node->op == FB_OP_PAD) {
        permute64(p, rank, a.pad.before);
        permute64(p, rank, a.pad.after);
    } else if (node->op == FB_OP_EXPAND) {
        permute64(p, rank, a.shape.dims);
    } else {
        permute64(p, rank, a.resize.size);
        permute_f32(p, rank, a.resize.scale);
        permute_f32(p, rank, a.resize.roi_lo);
        permute_f32(p, rank, a.resize.roi_hi);
    }
    int32_t src = view->src, perm[FB_MAX_RANK];
    memcpy(perm, p, sizeof perm);
    return fb_lay_emit(l, node, &src, &a, perm);
}

/* ---- axes that go away --------------------------------------------------------------------- */

/* The order of what is left of `perm` without the axes of a mask. */
static void without(const int32_t *perm, int32_t rank, uint32_t gone, int32_t *out)
{
    int32_t n = 0;
    memset(out, 0, FB_MAX_RANK * sizeof *out);
    for (int32_t i = 0; i < rank; i++) {
        if (gone >> i & 1u)
            continue;
        out[n] = perm[i];
        for (int32_t k = 0; k < rank; k++)
            out[n] -= (gone >> k & 1u) && perm[k] < perm[i];
        n++;
    }
}

static fb_status reduce(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = seen(l, node->in[0]);
    int32_t rank = fb_imp_shape(l->im, node->in[0])->rank, perm[FB_MAX_RANK];
    if (!view)
        return fb_lay_plain(l, node);
    fb_attr a = node->attr;
    uint32_t gone;
    bool keep;
    if (node->op == FB_OP_ARG_MAX) {
        gone = 1u << a.arg.axis;
        keep = a.arg.keep_dims != 0;
        a.arg.axis = view->perm[a.arg.axis];
    } else {
        gone = (uint32_t)a.reduce.axes;
        keep = a.reduce.keep_dims != 0;
        a.reduce.axes = 0;
        for (int32_t i = 0; i < rank; i++)
            a.reduce.axes |= (int32_t)(gone >> i & 1u) << view->perm[i];
    }
    int32_t src = view->src;
    without(view->perm, rank, keep ? 0 : gone, perm);
    return fb_lay_emit(l, node, &src, &a, perm);
}

/* Axes [from, to) must lie side by side in the other order too; axes of 1 do not count. */
static fb_status softmax(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = seen(l, node->in[0]);
    if (!view)
        return fb_lay_plain(l, node);
    const fb_shape *s = fb_imp_shape(l->im, view->src);
    fb_attr a = node->attr;
    uint32_t in_set = 0;
    int32_t lo = s->rank, hi = -1;
    for (int32_t i = a.softmax.axis_from; i < a.softmax.axis_to; i++) {
        int32_t p = view->perm[i];
        in_set |= 1u << p;
        if (s->dims[p] == 1 && a.softmax.axis_to - a.softmax.axis_from > 1)
            continue;
        lo = p < lo ? p : lo;
        hi = p > hi ? p : hi;
    }
    bool fits = hi >= 0;
    for (int32_t p = lo; p <= hi && fits; p++)
        fits = (in_set >> p & 1u) || s->dims[p] == 1;
    if (!fits)
        return fb_lay_plain(l, node);
    a.softmax.axis_from = lo;
    a.softmax.axis_to = hi + 1;
    int32_t src = view->src, perm[FB_MAX_RANK];
    memcpy(perm, view->perm, sizeof perm);
    return fb_lay_emit(l, node, &src, &a, perm);
}

/* A list of indices replaces one axis. */
static fb_status gather(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = seen(l, node->in[0]);
    int32_t in[2], perm[FB_MAX_RANK];
    if (!view || fb_imp_shape(l->im, node->in[1])->rank != 1)
        return fb_lay_plain(l, node);
    fb_attr a = node->attr;
    a.axis.axis = view->perm[a.axis.axis];
    in[0] = view->src;
    memcpy(perm, view->perm, sizeof perm);
    FB_TRY(fb_lay_logical(l, node->in[1], &in[1]));
    return fb_lay_emit(l, node, in, &a, perm);
}

fb_status fb_lay_node(fb_lay *l, const fb_node *node)
{
    switch (node->op) {
    case FB_OP_UNARY:
    case FB_OP_CAST:
    case FB_OP_CONVERT:
    case FB_OP_REINTERPRET:
        return elementwise(l, node);
    case FB_OP_TRANSPOSE:
        return transpose(l, node);
    case FB_OP_RESHAPE:
        return fb_lay_on_reshape(l, node);
    case FB_OP_DENSE:
        return fb_lay_on_dense(l, node);
    case FB_OP_BINARY:
    case FB_OP_PRELU:
    case FB_OP_CONCAT:
        return joint(l, node);
    case FB_OP_SLICE:
    case FB_OP_PAD:
    case FB_OP_RESIZE:
    case FB_OP_EXPAND:
        return by_axis(l, node);
    case FB_OP_REDUCE:
    case FB_OP_ARG_MAX:
        return reduce(l, node);
    case FB_OP_SOFTMAX:
        return softmax(l, node);
    case FB_OP_GATHER:
        return gather(l, node);
    default:
        return fb_lay_plain(l, node);
    }
}
