/* Reshapes of views, and dense layers behind a flattened image. */
#include "import/layout.h"

#include <string.h>

/* Axes of the input and of the output that make each other up: [a, b) of the one, [c, d) of the
 * other, with equal products. */
typedef struct group {
    int32_t a, b, c, d;
    int32_t key; /* where it lies in the other order */
} group;

static int32_t make_groups(const fb_shape *in, const fb_shape *out, group *g)
{
    int32_t n = 0, i = 0, j = 0;
    while (i < in->rank || j < out->rank) {
        group *x = &g[n++];
        *x = (group){.a = i, .c = j};
        int64_t p = i < in->rank ? in->dims[i++] : 1, q = j < out->rank ? out->dims[j++] : 1;
        while (p != q) {
            if (p < q && i < in->rank)
                p *= in->dims[i++];
            else if (j < out->rank)
                q *= out->dims[j++];
            else
                break;
        }
        x->b = i;
        x->d = j;
    }
    return n;
}

/* Position of each group in src's order; false when the axes of one do not lie side by side there
 * as they should. */
static bool place_groups(const fb_shape *src, const fb_shape *in, const int32_t *perm, group *g,
                         int32_t n)
{
    int32_t rank_of[FB_MAX_RANK], count = 0, key = -1;
    bool fits = true;
    for (int32_t p = 0; p < src->rank; p++)
        rank_of[p] = src->dims[p] == 1 ? -1 : count++;
    for (int32_t k = 0; k < n; k++) {
        int32_t last = -1, least = -1;
        for (int32_t i = g[k].a; i < g[k].b; i++) {
            int32_t r = in->dims[i] == 1 ? -1 : rank_of[perm[i]];
            if (r < 0)
                continue;
            fits = fits && (last < 0 || r == last + 1);
            last = r;
            least = least < 0 || r < least ? r : least;
        }
        if (least >= 0)
            key = least;
        g[k].key = key;
    }
    /* Insertion sort: stable, so that groups of ones stay behind their neighbours. */
    for (int32_t k = 1; k < n; k++) {
        group x = g[k];
        int32_t at = k;
        for (; at > 0 && g[at - 1].key > x.key; at--)
            g[at] = g[at - 1];
        g[at] = x;
    }
    return fits;
}

/* [n][c][h][w] seen through a transpose, flattened to [n][c h w]: left in src's order. */
static fb_status flat(fb_lay *l, const fb_node *node, const fb_lay_view *view)
{
    int32_t g, v = node->out[0];
    static const int32_t none[FB_MAX_RANK] = {0, 1};
    fb_lay_view made = *view;
    made.before = *fb_imp_shape(l->im, view->src);
    FB_TRY(fb_lay_reshape(l, view->src, 2, fb_imp_shape(l->im, v)->dims, &g));
    FB_TRY(fb_lay_set(l, v, g, none));
    made.has = made.flat = true;
    made.made = false;
    made.src = g;
    *fb_lay_get(l, v) = made;
    return FB_OK;
}

static bool is_flatten(const fb_shape *in, const fb_shape *out, const int32_t *perm)
{
    return out->rank == 2 && in->rank > 2 && in->dims[0] == out->dims[0] && perm[0] == 0;
}

fb_status fb_lay_on_reshape(fb_lay *l, const fb_node *node)
{
    group g[2 * FB_MAX_RANK + 2];
    int32_t v = node->out[0], x = node->in[0], perm[FB_MAX_RANK] = {0};
    const fb_lay_view *found = fb_lay_get(l, x);
    if (!found || found->flat)
        return fb_lay_plain(l, node);
    fb_lay_view view = *found;
    fb_shape in = *fb_imp_shape(l->im, x), out = *fb_imp_shape(l->im, v), to = out;
    fb_shape src = *fb_imp_shape(l->im, view.src);
    int32_t n = make_groups(&in, &out, g), at = 0, order[FB_MAX_RANK] = {0};
    bool fits = place_groups(&src, &in, view.perm, g, n);
    if (!fits && is_flatten(&in, &out, view.perm))
        return flat(l, node, &view);
    if (!fits) { /* one transpose that brings the axes of each group together */
        for (int32_t k = 0; k < n; k++) {
            for (int32_t i = g[k].a; i < g[k].b; i++)
                order[at++] = view.perm[i];
        }
        FB_TRY(fb_lay_transpose(l, view.src, order, &view.src));
    }
    at = 0;
    for (int32_t k = 0; k < n; k++) {
        for (int32_t j = g[k].c; j < g[k].d; j++) {
            to.dims[at] = out.dims[j];
            perm[j] = at++;
        }
    }
    FB_TRY(fb_lay_reshape(l, view.src, out.rank, to.dims, &x));
    return fb_lay_set(l, v, x, perm);
}

/* ---- dense --------------------------------------------------------------------------------- */

/* Weight [n][k] with its columns in the order of the flattened source. */
static fb_status permute_columns(fb_lay *l, int32_t w, const fb_lay_view *view, int32_t *out)
{
    fb_imp *im = l->im;
    const fb_imp_value *c = fb_imp_at(im, w);
    int64_t dims[FB_MAX_RANK], stride[FB_MAX_RANK], logical[FB_MAX_RANK], step = 1;
    int32_t rank = view->before.rank;
    int64_t rows = c->shape.dims[0], cols = c->shape.dims[1];
    size_t each = fb_imp_elem_bytes(c);
    /* Stride of logical axis i within a row, then by axis of the source. */
    for (int32_t i = rank - 1; i > 0; i--) {
        logical[i] = step;
        step *= view->before.dims[view->perm[i]];
    }
    for (int32_t i = 1; i < rank; i++) {
        stride[view->perm[i] - 1] = logical[i];
        dims[view->perm[i] - 1] = view->before.dims[view->perm[i]];
    }
    fb_imp_buf *b = fb_imp_buf_new(c->buf->bytes);
    for (int64_t r = 0; b && r < rows; r++)
        fb_imp_strided((char *)b->data + (size_t)(r * cols) * each,
                       (const char *)c->buf->data + (size_t)(r * cols) * each, each, rank - 1, dims,
                       stride, 0);
    FB_TRY(fb_imp_add_const_buf(im, c->name, &c->shape, b, out));
    fb_imp_at(im, *out)->enc = c->enc;
    fb_imp_at(im, *out)->pack_bits = c->pack_bits;
    if ((size_t)w < l->n_uses && l->uses[w] == 1)
        fb_imp_buf_drop(&fb_imp_at(im, w)->buf);
    return FB_OK;
}

fb_status fb_lay_on_dense(fb_lay *l, const fb_node *node)
{
    const fb_lay_view *view = fb_lay_get(l, node->in[0]);
    int32_t in[3], w = node->in[1], perm[FB_MAX_RANK];
    int32_t rank = fb_imp_shape(l->im, node->in[0])->rank;
    if (!view || view->made || !fb_imp_is_const(l->im, w) || fb_imp_at(l->im, w)->enc.axis > 0 ||
        fb_imp_at(l->im, w)->enc.group != 0)
        return fb_lay_plain(l, node);
    if (!view->flat && view->perm[rank - 1] != rank - 1)
        return fb_lay_plain(l, node);
    memcpy(perm, view->perm, sizeof perm);
    in[0] = view->src;
    in[1] = w;
    in[2] = node->n_in > 2 ? node->in[2] : -1;
    if (!view->flat) /* the last axis is last in the other order too */
        return fb_lay_emit(l, node, in, &node->attr, perm);
    fb_lay_view copy = *view;
    FB_TRY(permute_columns(l, w, &copy, &in[1]));
    return fb_imp_add_node(l->im, node->op, node->name, &node->attr, node->n_in, in, 1, node->out);
}
