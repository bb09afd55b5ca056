/* lrn over the last axis: y = x s^-beta, s = bias + alpha / size sum of x^2 over the window, which
 * reaches (size - 1) / 2 channels down, rounded down, and the rest up. */
#include "train/layer.h"

#include <math.h>

static fb_status create(fb_net *net, fb_layer *l)
{
    const fb_value *x = fb_layer_in(net, l, 0);
    size_t c = (size_t)x->shape.dims[x->shape.rank - 1];
    l->self = fb_arena_array(net->arena, 2 * c, sizeof(double)); /* s, and a sum, of one row */
    return l->self ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a layer");
}

static void row_sums(const fb_attr_lrn *a, size_t c, const float *x, double *s)
{
    size_t down = (size_t)(a->size - 1) / 2, up = (size_t)a->size - 1 - down;
    for (size_t i = 0; i < c; i++) {
        size_t from = i > down ? i - down : 0, to = i + up < c ? i + up : c - 1;
        double sum = 0;
        for (size_t k = from; k <= to; k++)
            sum += (double)x[k] * (double)x[k];
        s[i] = (double)a->bias + (double)a->alpha / a->size * sum;
    }
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const fb_attr_lrn *a = &l->node->attr.lrn;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    size_t c = (size_t)x->shape.dims[x->shape.rank - 1];
    double *s = l->self;
    (void)mode;
    for (size_t at = 0; at < x->n; at += c) {
        row_sums(a, c, x->x + at, s);
        for (size_t i = 0; i < c; i++)
            y->x[at + i] = (float)((double)x->x[at + i] * pow(s[i], -(double)a->beta));
    }
    return FB_OK;
}

/* dx_k = dy_k s_k^-b - 2 a b / size x_k sum over windows i that hold k of dy_i x_i s_i^(-b-1). */
static void row_back(const fb_attr_lrn *a, size_t c, const float *x, const float *dy, double *s,
                     double *t, float *dx)
{
    size_t down = (size_t)(a->size - 1) / 2, up = (size_t)a->size - 1 - down;
    double b = (double)a->beta, factor = 2 * (double)a->alpha * b / a->size;
    row_sums(a, c, x, s);
    for (size_t i = 0; i < c; i++)
        t[i] = (double)dy[i] * (double)x[i] * pow(s[i], -b - 1);
    for (size_t k = 0; k < c; k++) {
        size_t from = k > up ? k - up : 0, to = k + down < c ? k + down : c - 1;
        double sum = 0;
        for (size_t i = from; i <= to; i++)
            sum += t[i];
        dx[k] = (float)((double)dy[k] * pow(s[k], -b) - factor * (double)x[k] * sum);
    }
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    size_t c = (size_t)x->shape.dims[x->shape.rank - 1];
    double *s = l->self;
    for (size_t at = 0; at < x->n; at += c)
        row_back(&l->node->attr.lrn, c, x->x + at, y->g + at, s, s + c, dx[0] + at);
    return FB_OK;
}

const fb_layer_def fb_train_lrn = {FB_KEEP_X, create, forward, backward, NULL};
