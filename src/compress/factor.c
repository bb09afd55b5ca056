/* Graph surgery for low rank. */
#include "compress/factor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Product of dims [from, to); one that counts by the batch counts for one image. */
static double positions(const fb_tensor *t, int32_t from, int32_t to)
{
    double n = 1;
    for (int32_t i = from; i < to; i++)
        n *= fabs((double)t->dims[i]);
    return n;
}

fb_factor_shape fb_factor_shape_of(const fb_model *m, const fb_node *n, fb_factor_form form)
{
    const fb_tensor *w = &m->tensors[n->in[1]], *y = &m->tensors[n->out[0]];
    const fb_tensor *x = &m->tensors[n->in[0]];
    bool spatial = form == FB_FACTOR_SPATIAL;
    size_t oc = (size_t)w->dims[0], taps = 1, kw = spatial ? (size_t)w->dims[2] : 1;
    for (int32_t i = 1; i < w->rank; i++)
        taps *= (size_t)w->dims[i];
    double outputs = positions(y, 0, y->rank - 1), between = outputs;
    if (spatial)
        between *= (double)x->dims[2] / (double)y->dims[2];
    fb_factor_shape s = {.m = oc * kw, .n = taps / kw, .params = (uint64_t)oc * taps};
    s.rank_params = s.m + s.n;
    s.macs = (double)s.params * outputs;
    s.rank_macs = (double)s.n * between + (double)s.m * outputs;
    return s;
}

size_t fb_factor_most(const fb_factor_shape *s)
{
    uint64_t most = (s->params - 1) / s->rank_params;
    while (most > 0 && (double)most * s->rank_macs >= s->macs)
        most--;
    return (size_t)most;
}

void fb_factor_spatial(const fb_tensor *weight, const float *w, float *matrix)
{
    size_t oc = (size_t)weight->dims[0], kh = (size_t)weight->dims[1];
    size_t kw = (size_t)weight->dims[2], ic = (size_t)weight->dims[3];
    for (size_t o = 0; o < oc; o++) {
        for (size_t a = 0; a < kh; a++) {
            for (size_t b = 0; b < kw; b++)
                memcpy(matrix + ((o * kw + b) * kh + a) * ic, w + ((o * kh + a) * kw + b) * ic,
                       ic * sizeof *matrix);
        }
    }
}

/* --- the rewrite ----------------------------------------------------------------------------- */

/* NAME.TAIL, or NAME.TAIL.2 and so on where that is taken; no name at all where it is too long. */
static void unique_name(const fb_model *m, const char *name, const char *tail, char *text,
                        size_t cap)
{
    for (int k = 1;; k++) {
        int n = k == 1 ? snprintf(text, cap, "%s.%s", name, tail)
                       : snprintf(text, cap, "%s.%s.%d", name, tail, k);
        bool taken = false;
        for (size_t i = 0; i < m->n_tensors; i++)
            taken = taken || strcmp(m->tensors[i].name, text) == 0;
        if (n < 0 || (size_t)n >= cap)
            text[0] = '\0';
        if (!taken || !text[0])
            return;
    }
}

typedef struct pair {
    fb_attr first, second;
    int32_t rank; /* of the weights */
    int64_t a_dims[4], b_dims[4];
    int64_t between[FB_MAX_RANK]; /* dims of what the first writes */
} pair;

static void split_dense(const fb_node *n, int64_t r, pair *p)
{
    p->rank = 2;
    p->first = p->second = n->attr;
    p->first.dense.act.clamp = 0;
    p->b_dims[0] = r;
    p->a_dims[1] = r;
}

static void split_conv(const fb_model *m, const fb_node *n, fb_factor_form form, int64_t r, pair *p)
{
    const fb_tensor *w = &m->tensors[n->in[1]], *x = &m->tensors[n->in[0]];
    fb_attr_conv *first = &p->first.conv, *second = &p->second.conv;
    p->rank = 4;
    p->first = p->second = n->attr;
    first->act.clamp = 0;
    p->b_dims[0] = r;
    p->b_dims[1] = w->dims[1];
    p->a_dims[1] = 1;
    p->a_dims[3] = r;
    second->kh = second->stride_h = second->dil_h = 1;
    second->pad_t = second->pad_b = 0;
    if (form == FB_FACTOR_SPATIAL) {
        first->kw = first->stride_w = first->dil_w = 1;
        first->pad_l = first->pad_r = 0;
        p->between[2] = x->dims[2];
        p->b_dims[2] = 1;
        p->a_dims[2] = w->dims[2];
    } else {
        second->kw = second->stride_w = second->dil_w = 1;
        second->pad_l = second->pad_r = 0;
        p->b_dims[2] = w->dims[2];
        p->a_dims[2] = 1;
    }
}

/* The last node takes the place `at`. */
static void place(fb_model *m, size_t at)
{
    fb_node last = m->nodes[m->n_nodes - 1];
    memmove(m->nodes + at + 1, m->nodes + at, (m->n_nodes - 1 - at) * sizeof *m->nodes);
    m->nodes[at] = last;
}

fb_status fb_factor_apply(fb_model *m, size_t at, fb_factor_form form, size_t r, const float *a,
                          const float *b, const float *bias)
{
    const fb_node n = m->nodes[at];
    const fb_tensor w = m->tensors[n.in[1]], y = m->tensors[n.out[0]];
    char name[512];
    int32_t wb, wa, t, ba = n.n_in > 2 ? n.in[2] : -1;
    pair p = {0};
    memcpy(p.between, y.dims, sizeof p.between);
    p.between[y.rank - 1] = (int64_t)r;
    p.a_dims[0] = w.dims[0];
    p.b_dims[w.rank - 1] = w.dims[w.rank - 1];
    if (form == FB_FACTOR_DENSE)
        split_dense(&n, (int64_t)r, &p);
    else
        split_conv(m, &n, form, (int64_t)r, &p);
    unique_name(m, n.name, "svd0.weight", name, sizeof name);
    FB_TRY(fb_model_add_const(m, name, FB_F32, p.rank, p.b_dims, b, &wb));
    unique_name(m, n.name, "svd1.weight", name, sizeof name);
    FB_TRY(fb_model_add_const(m, name, FB_F32, p.rank, p.a_dims, a, &wa));
    if (bias) {
        unique_name(m, n.name, "svd1.bias", name, sizeof name);
        FB_TRY(fb_model_add_const(m, name, FB_F32, 1, &w.dims[0], bias, &ba));
    }
    unique_name(m, n.name, "svd0", name, sizeof name);
    FB_TRY(fb_model_add_tensor(m, name, FB_F32, y.rank, p.between, &t));
    FB_TRY(fb_model_add_node(m, n.op, name, 2, (int32_t[]){n.in[0], wb}, 1, &t, &p.first, NULL));
    place(m, at);
    (void)snprintf(name, sizeof name, "%.500s.svd1", n.name);
    FB_TRY(fb_model_add_node(m, n.op, name, ba < 0 ? 2 : 3, (int32_t[]){t, wa, ba}, 1, n.out,
                             &p.second, NULL));
    m->nodes[at + 1] = m->nodes[m->n_nodes - 1];
    m->n_nodes--;
    return FB_OK;
}
