/* Layers that only move numbers: reshape (another view of the same memory), concat, and slice,
 * transpose and pad by a table of where each output comes from. */
#include "train/layer.h"

#include <string.h>

/* ---- reshape --------------------------------------------------------------------------------- */

static fb_status reshape_create(fb_net *net, fb_layer *l)
{
    net->values[l->out].alias = l->in[0];
    return FB_OK;
}

static fb_status reshape_forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    (void)net;
    (void)l;
    (void)mode;
    return FB_OK;
}

const fb_layer_def fb_train_reshape = {0, reshape_create, reshape_forward, NULL, NULL};

/* ---- concat ---------------------------------------------------------------------------------- */

static fb_status concat_create(fb_net *net, fb_layer *l)
{
    (void)net;
    (void)l;
    return FB_OK;
}

/* Rows of an input before the axis, and floats of one. */
static size_t row_of(const fb_value *v, int32_t axis, size_t *rows)
{
    *rows = 1;
    for (int32_t i = 0; i < axis; i++)
        *rows *= (size_t)v->shape.dims[i];
    return v->n / *rows;
}

/* Copies between input i and its place in the output. */
static void concat_copy(fb_net *net, const fb_layer *l, uint32_t i, float *part, float *whole,
                        bool into_whole)
{
    size_t rows, before = 0, skip, all, own;
    int32_t axis = l->node->attr.axis.axis;
    for (uint32_t k = 0; k < i; k++)
        before += row_of(fb_layer_in(net, l, k), axis, &skip);
    all = row_of(fb_layer_out(net, l), axis, &rows);
    own = row_of(fb_layer_in(net, l, i), axis, &rows);
    for (size_t r = 0; r < rows; r++) {
        float *a = part + r * own, *b = whole + r * all + before;
        memcpy(into_whole ? b : a, into_whole ? a : b, own * sizeof *a);
    }
}

static fb_status concat_forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    (void)mode;
    for (uint32_t i = 0; i < l->n_in; i++)
        concat_copy(net, l, i, fb_layer_in(net, l, i)->x, fb_layer_out(net, l)->x, true);
    return FB_OK;
}

static fb_status concat_backward(fb_net *net, fb_layer *l, float *const *dx)
{
    for (uint32_t i = 0; i < l->n_in; i++) {
        if (dx[i])
            concat_copy(net, l, i, dx[i], fb_layer_out(net, l)->g, false);
    }
    return FB_OK;
}

const fb_layer_def fb_train_concat = {0, concat_create, concat_forward, concat_backward, NULL};

/* ---- slice, transpose, pad ------------------------------------------------------------------- */

#define NOWHERE UINT32_MAX /* an output that is the pad's value */

/* Input element of output index `at`, or NOWHERE. */
static size_t source(const fb_layer *l, const fb_shape *in, const int64_t *at)
{
    int64_t from[FB_MAX_RANK];
    size_t k = 0;
    for (int32_t i = 0; i < in->rank; i++) {
        const fb_attr *a = &l->node->attr;
        if (l->node->op == FB_OP_TRANSPOSE)
            from[a->perm.perm[i]] = at[i];
        else if (l->node->op == FB_OP_SLICE)
            from[i] = a->slice.start[i] + at[i] * a->slice.step[i];
        else
            from[i] = at[i] - a->pad.before[i];
    }
    for (int32_t i = 0; i < in->rank; i++) {
        if (from[i] < 0 || from[i] >= in->dims[i])
            return NOWHERE;
        k = k * (size_t)in->dims[i] + (size_t)from[i];
    }
    return k;
}

static fb_status move_create(fb_net *net, fb_layer *l)
{
    const fb_shape *in = &fb_layer_in(net, l, 0)->shape;
    const fb_value *y = fb_layer_out(net, l);
    int64_t at[FB_MAX_RANK] = {0};
    if (l->node->op == FB_OP_PAD && l->node->attr.pad.mode != FB_PAD_CONSTANT)
        return fb_layer_no(l, "only padding with a constant has a gradient");
    uint32_t *map = fb_arena_array(net->arena, y->n, sizeof *map);
    if (!map)
        return fb_fail(FB_E_MEMORY, "no memory for a layer");
    for (size_t k = 0; k < y->n; k++) {
        map[k] = (uint32_t)source(l, in, at);
        for (int32_t i = y->shape.rank - 1; i >= 0; i--) {
            if (++at[i] < y->shape.dims[i])
                break;
            at[i] = 0;
        }
    }
    l->self = map;
    return FB_OK;
}

static fb_status move_forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const uint32_t *map = l->self;
    const float *x = fb_layer_in(net, l, 0)->x;
    const fb_value *y = fb_layer_out(net, l);
    float pad = l->node->op == FB_OP_PAD ? (float)l->node->attr.pad.value : 0;
    (void)mode;
    for (size_t k = 0; k < y->n; k++)
        y->x[k] = map[k] == NOWHERE ? pad : x[map[k]];
    return FB_OK;
}

static fb_status move_backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const uint32_t *map = l->self;
    const fb_value *y = fb_layer_out(net, l);
    memset(dx[0], 0, fb_layer_in(net, l, 0)->n * sizeof *dx[0]);
    for (size_t k = 0; k < y->n; k++) {
        if (map[k] != NOWHERE)
            dx[0][map[k]] += y->g[k];
    }
    return FB_OK;
}

const fb_layer_def fb_train_move = {0, move_create, move_forward, move_backward, NULL};
