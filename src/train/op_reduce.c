/* reduce: mean, sum and maximum over any axes. */
#include "train/layer.h"

#include <math.h>
#include <string.h>

typedef struct reduce {
    uint32_t *to;   /* [n of the input] element of the output that it falls into */
    uint32_t *best; /* maximum: [n of the output] the first input that is it */
} reduce;

static void fill_map(const fb_shape *in, int32_t axes, size_t n, uint32_t *to)
{
    size_t at[FB_MAX_RANK] = {0}, step[FB_MAX_RANK] = {0}, stride = 1, k = 0;
    for (int32_t i = in->rank - 1; i >= 0; i--) {
        bool kept = (axes >> i & 1) == 0;
        step[i] = kept ? stride : 0;
        stride *= kept ? (size_t)in->dims[i] : 1;
    }
    for (size_t e = 0; e < n; e++) {
        to[e] = (uint32_t)k;
        for (int32_t i = in->rank - 1; i >= 0; i--) {
            k += step[i];
            if (++at[i] < (size_t)in->dims[i])
                break;
            k -= step[i] * at[i];
            at[i] = 0;
        }
    }
}

static fb_status create(fb_net *net, fb_layer *l)
{
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    reduce *self = fb_arena_array(net->arena, 1, sizeof *self);
    if (self) {
        self->to = fb_arena_array(net->arena, x->n, sizeof *self->to);
        self->best = fb_arena_array(net->arena, y->n, sizeof *self->best);
    }
    if (!self || !self->to || !self->best)
        return fb_fail(FB_E_MEMORY, "no memory for a layer");
    fill_map(&x->shape, l->node->attr.reduce.axes, x->n, self->to);
    l->self = self;
    return FB_OK;
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const reduce *self = l->self;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    int32_t kind = l->node->attr.reduce.kind;
    bool max = kind == FB_REDUCE_MAX;
    (void)mode;
    for (size_t k = 0; k < y->n; k++)
        y->x[k] = max ? -INFINITY : 0;
    for (size_t e = 0; e < x->n; e++) {
        uint32_t k = self->to[e];
        if (!max) {
            y->x[k] += x->x[e];
        } else if (x->x[e] > y->x[k]) {
            y->x[k] = x->x[e];
            self->best[k] = (uint32_t)e;
        }
    }
    float share = (float)y->n / (float)x->n;
    for (size_t k = 0; kind == FB_REDUCE_MEAN && k < y->n; k++)
        y->x[k] *= share;
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const reduce *self = l->self;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    int32_t kind = l->node->attr.reduce.kind;
    float share = kind == FB_REDUCE_MEAN ? (float)y->n / (float)x->n : 1;
    if (kind == FB_REDUCE_MAX) {
        memset(dx[0], 0, x->n * sizeof *dx[0]);
        for (size_t k = 0; k < y->n; k++)
            dx[0][self->best[k]] += y->g[k];
        return FB_OK;
    }
    for (size_t e = 0; e < x->n; e++)
        dx[0][e] = y->g[self->to[e]] * share;
    return FB_OK;
}

const fb_layer_def fb_train_reduce = {0, create, forward, backward, NULL};
