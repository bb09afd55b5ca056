/* Transposes pushed towards the outputs and cancelled, so that images stay [n][h][w][c] from the
 * input to the last layer. */
#include "import/layout.h"

#include <string.h>

/* ---- views --------------------------------------------------------------------------------- */

fb_lay_view *fb_lay_get(fb_lay *l, int32_t v)
{
    if (v < 0 || (size_t)v >= l->cap || !l->views[v].has)
        return NULL;
    return &l->views[v];
}

static fb_status room(fb_lay *l, int32_t v)
{
    size_t old = l->cap;
    void *items = l->views;
    if ((size_t)v < old)
        return FB_OK;
    if (!fb_grow(&items, &l->cap, (size_t)v + 1, sizeof *l->views))
        return fb_imp_no_memory();
    l->views = items;
    memset(l->views + old, 0, (l->cap - old) * sizeof *l->views);
    return FB_OK;
}

fb_status fb_lay_set(fb_lay *l, int32_t v, int32_t src, const int32_t *perm)
{
    FB_TRY(room(l, v));
    fb_lay_view *view = &l->views[v];
    *view = (fb_lay_view){.has = true, .src = src};
    memcpy(view->perm, perm, sizeof view->perm);
    fb_imp_value *s = fb_imp_at(l->im, src);
    if (s->name[0] == '\0' && !s->is_const)
        s->name = fb_imp_at(l->im, v)->name;
    return FB_OK;
}

bool fb_lay_moves(const fb_shape *src, const int32_t *perm)
{
    for (int32_t i = 0, last = -1; i < src->rank; i++) {
        if (src->dims[perm[i]] == 1)
            continue;
        if (perm[i] < last)
            return true;
        last = perm[i];
    }
    return false;
}

void fb_lay_inverse(int32_t rank, const int32_t *perm, int32_t *inverse)
{
    memset(inverse, 0, FB_MAX_RANK * sizeof *inverse);
    for (int32_t i = 0; i < rank; i++)
        inverse[perm[i]] = i;
}

static bool is_identity(int32_t rank, const int32_t *perm)
{
    for (int32_t i = 0; i < rank; i++) {
        if (perm[i] != i)
            return false;
    }
    return true;
}

/* ---- emitting ------------------------------------------------------------------------------ */

static fb_status add_move(fb_lay *l, fb_op op, const fb_attr *attr, int32_t x, int32_t out)
{
    fb_imp_value *y = fb_imp_at(l->im, out);
    if (fb_imp_at(l->im, x)->enc.kind != FB_ENC_PLAIN)
        FB_TRY(fb_imp_copy_encoding(l->im, &fb_imp_at(l->im, x)->enc, &y->enc));
    return fb_imp_add_node(l->im, op, l->name, attr, 1, &x, 1, &out);
}

static void shape_attr(const fb_shape *s, fb_attr *a)
{
    memset(a, 0, sizeof *a);
    a->shape.rank = s->rank;
    for (int32_t i = 0; i < s->rank; i++)
        a->shape.dims[i] = fb_imp_dim(s->dims[i]);
}

fb_status fb_lay_reshape(fb_lay *l, int32_t x, int32_t rank, const int64_t *dims, int32_t *out)
{
    const fb_shape *s = fb_imp_shape(l->im, x);
    fb_shape to = {.dtype = s->dtype, .rank = rank};
    fb_attr a;
    memcpy(to.dims, dims, (size_t)rank * sizeof *dims);
    if (s->rank == rank && memcmp(s->dims, to.dims, (size_t)rank * sizeof *dims) == 0) {
        *out = x;
        return FB_OK;
    }
    shape_attr(&to, &a);
    FB_TRY(fb_imp_add_value(l->im, "", &to, out));
    return add_move(l, FB_OP_RESHAPE, &a, x, *out);
}

/* x, transposed, into the value `out`. */
static fb_status transpose_into(fb_lay *l, int32_t x, const int32_t *perm, int32_t out)
{
    fb_attr a = {.perm = {.perm = {0}}};
    const fb_shape *s = fb_imp_shape(l->im, x);
    if (!fb_lay_moves(s, perm)) {
        shape_attr(fb_imp_shape(l->im, out), &a);
        return add_move(l, FB_OP_RESHAPE, &a, x, out);
    }
    memcpy(a.perm.perm, perm, (size_t)s->rank * sizeof *perm);
    return add_move(l, FB_OP_TRANSPOSE, &a, x, out);
}

fb_status fb_lay_transpose(fb_lay *l, int32_t x, const int32_t *perm, int32_t *out)
{
    fb_shape s = *fb_imp_shape(l->im, x), to = s;
    *out = x;
    if (is_identity(s.rank, perm))
        return FB_OK;
    for (int32_t i = 0; i < s.rank; i++)
        to.dims[i] = s.dims[perm[i]];
    FB_TRY(fb_imp_add_value(l->im, "", &to, out));
    return transpose_into(l, x, perm, *out);
}

/* [n][k] in the wrong order: spread, transpose, join. */
static fb_status make_flat(fb_lay *l, const fb_lay_view *view, int32_t v)
{
    int32_t x;
    fb_attr a;
    FB_TRY(fb_lay_reshape(l, view->src, view->before.rank, view->before.dims, &x));
    FB_TRY(fb_lay_transpose(l, x, view->perm, &x));
    shape_attr(fb_imp_shape(l->im, v), &a);
    return add_move(l, FB_OP_RESHAPE, &a, x, v);
}

fb_status fb_lay_logical(fb_lay *l, int32_t v, int32_t *out)
{
    fb_lay_view *view = fb_lay_get(l, v);
    *out = v;
    if (!view || view->made)
        return FB_OK;
    if (!view->flat && is_identity(fb_imp_shape(l->im, v)->rank, view->perm)) {
        *out = view->src;
        return FB_OK;
    }
    view->made = true;
    if (view->flat)
        return make_flat(l, view, v);
    return transpose_into(l, view->src, view->perm, v);
}

fb_status fb_lay_emit(fb_lay *l, const fb_node *node, const int32_t *in, const fb_attr *attr,
                      const int32_t *perm)
{
    int32_t v = node->out[0], p;
    const fb_imp_value *value = fb_imp_at(l->im, v);
    fb_shape s = value->shape;
    for (int32_t i = 0; i < s.rank; i++)
        s.dims[perm[i]] = value->shape.dims[i];
    FB_TRY(fb_imp_add_value(l->im, value->name, &s, &p));
    fb_imp_at(l->im, p)->enc = value->enc;
    FB_TRY(fb_imp_add_node(l->im, node->op, node->name, attr, node->n_in, in, 1, &p));
    return fb_lay_set(l, v, p, perm);
}

fb_status fb_lay_plain(fb_lay *l, const fb_node *node)
{
    int32_t *in = fb_arena_array(l->im->arena, node->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < node->n_in; i++) {
        in[i] = node->in[i];
        if (in[i] >= 0)
            FB_TRY(fb_lay_logical(l, in[i], &in[i]));
    }
    return fb_imp_add_node(l->im, node->op, node->name, &node->attr, node->n_in, in, node->n_out,
                           node->out);
}

/* ---- inputs and outputs -------------------------------------------------------------------- */

static const int32_t nchw_to_nhwc[FB_MAX_RANK] = {0, 2, 3, 1};
static const int32_t nhwc_to_nchw[FB_MAX_RANK] = {0, 3, 1, 2};

static bool any_order(fb_op op)
{
    switch (op) {
    case FB_OP_UNARY:
    case FB_OP_BINARY:
    case FB_OP_PRELU:
    case FB_OP_CAST:
    case FB_OP_CONVERT:
    case FB_OP_REINTERPRET:
    case FB_OP_CONCAT:
    case FB_OP_SLICE:
    case FB_OP_PAD:
    case FB_OP_RESIZE:
    case FB_OP_SOFTMAX:
        return true;
    default:
        return false;
    }
}

/* wants[v]: some way from v leads to a layer that wants channels last. */
static void find_wants(const fb_imp *im, bool *wants)
{
    for (size_t i = im->n_nodes; i-- > 0;) {
        const fb_node *n = &im->nodes[i].n;
        bool want = any_order(n->op) && wants[n->out[0]];
        if (n->op == FB_OP_TRANSPOSE && fb_imp_shape(im, n->in[0])->rank == 4)
            want = want || memcmp(n->attr.perm.perm, nchw_to_nhwc, 4 * sizeof(int32_t)) == 0;
        for (uint32_t k = 0; k < n->n_in && want && !im->nodes[i].dead; k++) {
            if (n->in[k] >= 0)
                wants[n->in[k]] = true;
        }
    }
}

/* Takes the i-th input channels last. Node `i` of the new list is kept for the way back, should
 * some operator need the file's order after all. */
static fb_status turn_input(fb_lay *l, uint32_t i)
{
    fb_imp *im = l->im;
    int32_t v = im->inputs[i], p;
    fb_shape s = *fb_imp_shape(im, v), to = s;
    fb_attr a = {.perm = {.perm = {0, 2, 3, 1}}};
    for (int32_t k = 0; k < 4; k++)
        to.dims[k] = s.dims[nchw_to_nhwc[k]];
    FB_TRY(fb_imp_add_value(im, fb_imp_at(im, v)->name, &to, &p));
    fb_imp_at(im, p)->is_input = true;
    fb_imp_at(im, p)->source_nchw = true;
    im->inputs[i] = p;
    FB_TRY(fb_imp_add_node(im, FB_OP_TRANSPOSE, fb_imp_at(im, v)->name, &a, 1, &v, 1, &p));
    im->nodes[im->n_nodes - 1].dead = true;
    fb_imp_at(im, p)->producer = -1;
    return fb_lay_set(l, v, p, nhwc_to_nchw);
}

static fb_status turn_inputs(fb_lay *l, const bool *wants)
{
    fb_imp *im = l->im;
    if (im->opt->keep_io_layout)
        return FB_OK;
    for (uint32_t i = 0; i < im->n_inputs; i++) {
        int32_t v = im->inputs[i];
        if (wants[v] && fb_imp_shape(im, v)->rank == 4)
            FB_TRY(turn_input(l, i));
    }
    return FB_OK;
}

/* Where the transpose of an input back to the file's order was made, the input itself stays in that
 * order. */
static void return_inputs(fb_lay *l, size_t n_turned)
{
    fb_imp *im = l->im;
    for (size_t t = 0; t < n_turned; t++) {
        fb_imp_node *kept = &im->nodes[t];
        int32_t v = kept->n.in[0], p = kept->n.out[0], back = fb_imp_at(im, v)->producer;
        if (!fb_lay_get(l, v)->made || back < 0 || im->nodes[back].n.op != FB_OP_TRANSPOSE)
            continue;
        im->nodes[back].dead = true;
        kept->dead = false;
        for (uint32_t i = 0; i < im->n_inputs; i++) {
            if (im->inputs[i] == p)
                im->inputs[i] = v;
        }
        fb_imp_at(im, v)->producer = -1;
        fb_imp_at(im, p)->producer = (int32_t)t;
        fb_imp_at(im, p)->is_input = false;
        fb_imp_at(im, p)->source_nchw = false;
        fb_imp_at(im, p)->name = "";
    }
}

/* Outputs in ONNX order, each a value of its own with its own name. */
static fb_status settle_outputs(fb_lay *l)
{
    fb_imp *im = l->im;
    for (uint32_t i = 0; i < im->n_outputs; i++) {
        int32_t v = im->outputs[i], x;
        const char *name = fb_imp_at(im, v)->name;
        l->name = name;
        FB_TRY(fb_lay_logical(l, v, &x));
        bool taken = x != v && (fb_imp_at(im, x)->is_const || fb_imp_at(im, x)->is_input);
        for (uint32_t k = 0; k < i; k++)
            taken = taken || im->outputs[k] == x;
        if (taken) {
            fb_attr a;
            shape_attr(fb_imp_shape(im, v), &a);
            FB_TRY(add_move(l, FB_OP_RESHAPE, &a, x, v));
            x = v;
        }
        fb_imp_at(im, x)->name = name;
        im->outputs[i] = x;
    }
    return FB_OK;
}

static fb_status sweep(fb_lay *l, const fb_imp_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (nodes[i].dead)
            continue;
        l->name = nodes[i].n.name;
        FB_TRY(fb_lay_node(l, &nodes[i].n));
    }
    return settle_outputs(l);
}

fb_status fb_imp_layout(fb_imp *im)
{
    uint32_t *uses = NULL;
    FB_TRY(fb_imp_live(im, &uses));
    fb_lay l = {.im = im, .uses = uses, .n_uses = im->n_values};
    bool *wants = fb_calloc(im->n_values + 1, sizeof *wants);
    fb_imp_node *old = im->nodes;
    size_t n_old = im->n_nodes;
    fb_status status = wants ? FB_OK : fb_imp_no_memory();
    if (status == FB_OK) {
        find_wants(im, wants);
        im->nodes = NULL;
        im->n_nodes = im->cap_nodes = 0;
        status = turn_inputs(&l, wants);
        size_t n_turned = im->n_nodes;
        if (status == FB_OK)
            status = sweep(&l, old, n_old);
        if (status == FB_OK)
            return_inputs(&l, n_turned);
        fb_free(old);
    }
    fb_free(wants);
    fb_free(uses);
    fb_free(l.views);
    return status;
}
