/* Operators that only move elements: concat, slice, transpose, expand, gather, reshape. Any type.
 */
#include "kernels/any.h"
#include "plan/op_util.h"

#include <string.h>

/* --- one strided copy: slice, transpose, expand ---------------------------------------------- */

typedef struct move_params {
    fbk_walk walk;    /* operands: dst, src */
    ptrdiff_t src_at; /* first element */
    size_t elem_bytes, rows, grain;
    fbk_move_any_fn *fn;
} move_params;

static void run_move(const fb_tile *t)
{
    const move_params *m = t->step->params;
    size_t from, to;
    fb_tile_range(m->rows, m->grain, t->index, &from, &to);
    m->fn(&m->walk, m->elem_bytes, (const uint8_t *)t->in[0] + m->src_at * (ptrdiff_t)m->elem_bytes,
          t->out[0], from, to - from);
}

static bool is_contiguous(const fbk_walk *w)
{
    return w->rank == 1 && (w->stride[1][0] == 1 || w->dims[0] == 1);
}

/* Freezes a copy whose source strides (in the order of the output's axes) are `stride`. */
static fb_status finish_move(fb_prepare *p, const ptrdiff_t stride[FB_MAX_RANK], ptrdiff_t src_at)
{
    const fb_shape *out = &p->out[0]->shape;
    move_params *m;
    FB_PLAN_ALLOC(p, m, 1);
    m->walk.rank = out->rank;
    for (int32_t i = 0; i < out->rank; i++) {
        m->walk.dims[i] = (size_t)out->dims[i];
        m->walk.stride[1][i] = stride[i];
    }
    fb_strides(out, m->walk.stride[0]);
    fb_walk_simplify(&m->walk);
    if (is_contiguous(&m->walk) && src_at == 0 && p->in[0]->elems == p->out[0]->elems) {
        fb_prepare_alias(p);
        return FB_OK;
    }
    m->src_at = src_at;
    m->elem_bytes = fb_dtype_bytes(out->dtype);
    m->rows = fbk_walk_rows(&m->walk);
    /* Multiples of 8 rows, which is what a transposing kernel takes at once. */
    m->grain = fb_round_up(fb_row_grain(m->walk.dims[m->walk.rank - 1]), 8);
    m->fn = fbk_move_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_move;
    p->step->n_tiles = fb_tiles(m->rows, m->grain);
    p->step->params = m;
    return FB_OK;
}

fb_status fb_prepare_slice(fb_prepare *p)
{
    const fb_attr_slice *attr = &p->node->attr.slice;
    const fb_shape *in = &p->in[0]->shape;
    ptrdiff_t own[FB_MAX_RANK], stride[FB_MAX_RANK], base = 0;
    fb_strides(in, own);
    for (int32_t i = 0; i < in->rank; i++) {
        int64_t n = p->out[0]->shape.dims[i], last = attr->start[i] + (n - 1) * attr->step[i];
        FB_ENSURE(attr->start[i] >= 0 && attr->start[i] < in->dims[i] && last >= 0 &&
                  last < in->dims[i]);
        stride[i] = own[i] * (ptrdiff_t)attr->step[i];
        base += own[i] * (ptrdiff_t)attr->start[i];
    }
    return finish_move(p, stride, base);
}

fb_status fb_prepare_transpose(fb_prepare *p)
{
    const fb_shape *in = &p->in[0]->shape;
    ptrdiff_t own[FB_MAX_RANK], stride[FB_MAX_RANK];
    fb_strides(in, own);
    for (int32_t i = 0; i < in->rank; i++) {
        int32_t from = p->node->attr.perm.perm[i];
        FB_ENSURE(from >= 0 && from < in->rank);
        stride[i] = own[from];
    }
    return finish_move(p, stride, 0);
}

fb_status fb_prepare_expand(fb_prepare *p)
{
    const fb_shape *in = &p->in[0]->shape, *out = &p->out[0]->shape;
    ptrdiff_t own[FB_MAX_RANK], stride[FB_MAX_RANK];
    FB_ENSURE(in->rank <= out->rank);
    fb_strides(in, own);
    for (int32_t i = 0; i < out->rank; i++) {
        int32_t k = i - (out->rank - in->rank);
        FB_ENSURE(k < 0 || in->dims[k] == 1 || in->dims[k] == out->dims[i]);
        stride[i] = k < 0 || in->dims[k] == 1 ? 0 : own[k];
    }
    return finish_move(p, stride, 0);
}

fb_status fb_prepare_reshape(fb_prepare *p)
{
    FB_ENSURE(p->in[0]->bytes == p->out[0]->bytes);
    fb_prepare_alias(p);
    return FB_OK;
}

/* --- concat ---------------------------------------------------------------------------------- */

typedef struct concat_params {
    size_t outer, grain;
    size_t row_bytes;          /* of the output: all chunks */
    const size_t *chunk_bytes; /* [n_in] */
} concat_params;

static void run_concat(const fb_tile *t)
{
    const concat_params *c = t->step->params;
    size_t from, to, at = 0;
    fb_tile_range(c->outer, c->grain, t->index, &from, &to);
    for (uint32_t k = 0; k < t->step->n_in; at += c->chunk_bytes[k], k++) {
        size_t chunk = c->chunk_bytes[k];
        const uint8_t *src = (const uint8_t *)t->in[k] + from * chunk;
        uint8_t *dst = (uint8_t *)t->out[0] + from * c->row_bytes + at;
        for (size_t r = from; r < to; r++, src += chunk, dst += c->row_bytes)
            memcpy(dst, src, chunk);
    }
}

fb_status fb_prepare_concat(fb_prepare *p)
{
    const fb_shape *out = &p->out[0]->shape;
    int32_t axis = p->node->attr.axis.axis;
    FB_ENSURE(axis >= 0 && axis < out->rank);
    if (p->step->n_in == 1) {
        fb_prepare_alias(p);
        return FB_OK;
    }
    concat_params *c;
    size_t *chunk, inner = fb_dims_product(out, axis + 1, out->rank) * fb_dtype_bytes(out->dtype);
    FB_PLAN_ALLOC(p, c, 1);
    FB_PLAN_ALLOC(p, chunk, p->step->n_in);
    for (uint32_t k = 0; k < p->step->n_in; k++) {
        const fb_slot *in = fb_prepare_input(p, k);
        FB_ENSURE(in && in->shape.rank == out->rank && in->shape.dtype == out->dtype);
        chunk[k] = (size_t)in->shape.dims[axis] * inner;
    }
    c->outer = fb_dims_product(out, 0, axis);
    c->row_bytes = (size_t)out->dims[axis] * inner;
    c->chunk_bytes = chunk;
    c->grain = fb_row_grain(c->row_bytes / 4);
    p->step->kernel = "memcpy";
    p->step->run = run_concat;
    p->step->n_tiles = fb_tiles(c->outer, c->grain);
    p->step->params = c;
    return FB_OK;
}

/* --- gather ---------------------------------------------------------------------------------- */

typedef struct gather_params {
    size_t axis, inner_bytes, n_idx, rows, grain;
    fb_dtype idx_type;
    fbk_gather_any_fn *fn;
} gather_params;

static void run_gather(const fb_tile *t)
{
    const gather_params *g = t->step->params;
    size_t from, to;
    fb_tile_range(g->rows, g->grain, t->index, &from, &to);
    g->fn(t->in[0], g->axis, g->inner_bytes, t->in[1], g->idx_type, g->n_idx, t->out[0], from,
          to - from);
}

fb_status fb_prepare_gather(fb_prepare *p)
{
    const fb_shape *in = &p->in[0]->shape;
    int32_t axis = p->node->attr.axis.axis;
    gather_params *g;
    FB_ENSURE(axis >= 0 && axis < in->rank);
    FB_PLAN_ALLOC(p, g, 1);
    g->axis = (size_t)in->dims[axis];
    g->inner_bytes = fb_dims_product(in, axis + 1, in->rank) * fb_dtype_bytes(in->dtype);
    g->n_idx = p->in[1]->elems;
    g->idx_type = p->in[1]->shape.dtype;
    if (fbk_is_float(g->idx_type) || g->idx_type == FB_BOOL)
        return fb_fail(FB_E_FORMAT, "indices of type %s are not integers",
                       fb_dtype_name(g->idx_type));
    for (size_t i = 0; p->in[1]->place == FB_PLACE_CONST && i < g->n_idx; i++) {
        int64_t v = fbk_get_i64(g->idx_type, p->in[1]->data, i);
        if (v < -(int64_t)g->axis || v >= (int64_t)g->axis)
            return fb_fail(FB_E_FORMAT, "index %lld is outside an axis of %zu", (long long)v,
                           g->axis);
    }
    g->rows = fb_dims_product(in, 0, axis) * g->n_idx;
    g->grain = fb_row_grain(g->inner_bytes / 4);
    g->fn = fbk_gather_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_gather;
    p->step->n_tiles = fb_tiles(g->rows, g->grain);
    p->step->params = g;
    return FB_OK;
}
