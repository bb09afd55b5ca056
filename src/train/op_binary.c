/* binary: add, sub, mul, div, either input broadcast to the output. */
#include "train/layer.h"

#include <string.h>

typedef struct binary {
    fb_dnn_layer *sum; /* add of two equal shapes; else */
    uint32_t *from[2]; /* [n of the output] element of each input */
} binary;

static void fill_map(const fb_shape *in, const fb_shape *out, size_t n, uint32_t *map)
{
    size_t at[FB_MAX_RANK] = {0}, step[FB_MAX_RANK] = {0}, stride = 1, from = 0;
    int32_t lead = out->rank - in->rank;
    for (int32_t i = in->rank - 1; i >= 0; i--) {
        step[lead + i] = in->dims[i] == 1 ? 0 : stride;
        stride *= (size_t)in->dims[i];
    }
    for (size_t k = 0; k < n; k++) {
        map[k] = (uint32_t)from;
        for (int32_t i = out->rank - 1; i >= 0; i--) {
            from += step[i];
            if (++at[i] < (size_t)out->dims[i])
                break;
            from -= step[i] * at[i];
            at[i] = 0;
        }
    }
}

static fb_status create(fb_net *net, fb_layer *l)
{
    int32_t kind = l->node->attr.binary.kind;
    const fb_value *a = fb_layer_in(net, l, 0), *b = fb_layer_in(net, l, 1);
    const fb_value *y = fb_layer_out(net, l);
    if (kind > FB_BINARY_DIV)
        return fb_layer_no(l, "%s has no gradient", fb_binary_name(kind));
    binary *self = fb_arena_array(net->arena, 1, sizeof *self);
    if (!self)
        return fb_fail(FB_E_MEMORY, "no memory for a layer");
    l->self = self;
    if (kind == FB_BINARY_ADD && a->n == y->n && b->n == y->n)
        return fb_dnn_sum(net->dnn, (int64_t)y->n, &self->sum);
    for (int i = 0; i < 2; i++) {
        self->from[i] = fb_arena_array(net->arena, y->n, sizeof *self->from[i]);
        if (!self->from[i])
            return fb_fail(FB_E_MEMORY, "no memory for a layer");
        fill_map(i ? &b->shape : &a->shape, &y->shape, y->n, self->from[i]);
    }
    return FB_OK;
}

static float value(int32_t kind, float a, float b)
{
    switch ((fb_binary)kind) {
    case FB_BINARY_ADD:
        return a + b;
    case FB_BINARY_SUB:
        return a - b;
    case FB_BINARY_MUL:
        return a * b;
    default:
        return a / b;
    }
}

/* Derivative by input `i`. */
static float slope(int32_t kind, int i, float a, float b)
{
    switch ((fb_binary)kind) {
    case FB_BINARY_ADD:
        return 1;
    case FB_BINARY_SUB:
        return i == 0 ? 1 : -1;
    case FB_BINARY_MUL:
        return i == 0 ? b : a;
    default:
        return i == 0 ? 1 / b : -a / (b * b);
    }
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const binary *self = l->self;
    const float *a = fb_layer_in(net, l, 0)->x, *b = fb_layer_in(net, l, 1)->x;
    const fb_value *y = fb_layer_out(net, l);
    (void)mode;
    if (self->sum)
        return fb_dnn_sum_run(self->sum, a, b, y->x);
    for (size_t k = 0; k < y->n; k++)
        y->x[k] = value(l->node->attr.binary.kind, a[self->from[0][k]], b[self->from[1][k]]);
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const binary *self = l->self;
    const fb_value *a = fb_layer_in(net, l, 0), *b = fb_layer_in(net, l, 1);
    const fb_value *y = fb_layer_out(net, l);
    for (int i = 0; i < 2; i++) {
        if (!dx[i])
            continue;
        if (self->sum) {
            memcpy(dx[i], y->g, y->n * sizeof *y->g);
            continue;
        }
        memset(dx[i], 0, (i ? b : a)->n * sizeof *dx[i]);
        for (size_t k = 0; k < y->n; k++)
            dx[i][self->from[i][k]] +=
                y->g[k] *
                slope(l->node->attr.binary.kind, i, a->x[self->from[0][k]], b->x[self->from[1][k]]);
    }
    return FB_OK;
}

static void destroy(fb_layer *l)
{
    binary *self = l->self;
    if (self)
        fb_dnn_layer_destroy(self->sum);
}

const fb_layer_def fb_train_binary = {FB_KEEP_X, create, forward, backward, destroy};
