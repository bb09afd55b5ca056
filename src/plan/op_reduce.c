/* Reductions over any axes and the position of the largest element. */
#include "kernels/any.h"
#include "kernels/pool_f32.h"
#include "plan/op_util.h"

/* --- reduce ---------------------------------------------------------------------------------- */

typedef struct reduce_params {
    fbk_reduce op;
    fb_dtype type;
    fbk_walk keep, red; /* over the input, as operand 1 */
    size_t n, grain;    /* outputs; per tile */
    fbk_reduce_any_fn *any;
    /* f32 sums and maxima of the form [outer][m][cols] -> [outer][cols]: */
    size_t m, cols, col_grain, tiles_per_outer;
    float scale;
    fbk_col_sum_f32_fn *col_sum;
    fbk_col_max_f32_fn *col_max;
} reduce_params;

static void run_reduce(const fb_tile *t)
{
    const reduce_params *r = t->step->params;
    size_t from, to;
    fb_tile_range(r->n, r->grain, t->index, &from, &to);
    r->any(r->op, r->type, &r->keep, &r->red, t->in[0], t->out[0], from, to - from);
}

static void run_columns(const fb_tile *t)
{
    const reduce_params *r = t->step->params;
    size_t outer = t->index / r->tiles_per_outer, from, to;
    fb_tile_range(r->cols, r->col_grain, (uint32_t)(t->index % r->tiles_per_outer), &from, &to);
    const float *x = (const float *)t->in[0] + outer * r->m * r->cols + from;
    float *y = (float *)t->out[0] + outer * r->cols + from;
    if (r->col_max)
        r->col_max(r->m, to - from, r->cols, x, y);
    else
        r->col_sum(r->m, to - from, r->cols, x, r->scale, y);
}

/* Splits the input's axes into those kept and those reduced. */
static void split_axes(const fb_shape *in, int32_t axes, reduce_params *r)
{
    ptrdiff_t stride[FB_MAX_RANK];
    fb_strides(in, stride);
    for (int32_t i = 0; i < in->rank; i++) {
        fbk_walk *w = axes >> i & 1 ? &r->red : &r->keep;
        w->dims[w->rank] = (size_t)in->dims[i];
        w->stride[1][w->rank++] = stride[i];
    }
    fb_walk_simplify(&r->keep);
    fb_walk_simplify(&r->red);
}

/* True for [outer][m][cols] with the middle reduced and cols > 1. */
static bool is_columns(const fb_shape *in, int32_t axes, reduce_params *r)
{
    int32_t first = 0, end;
    while (first < in->rank && !(axes >> first & 1))
        first++;
    for (end = first; end < in->rank && (axes >> end & 1);)
        end++;
    if (first == in->rank || axes >> end != 0)
        return false;
    r->m = fb_dims_product(in, first, end);
    r->cols = fb_dims_product(in, end, in->rank);
    return r->cols > 1;
}

fb_status fb_prepare_reduce(fb_prepare *p)
{
    const fb_attr_reduce *attr = &p->node->attr.reduce;
    const fb_shape *in = &p->in[0]->shape;
    reduce_params *r;
    FB_ENSURE((uint32_t)attr->kind < FB_REDUCE_COUNT);
    FB_PLAN_ALLOC(p, r, 1);
    r->op = attr->kind == FB_REDUCE_MEAN  ? FBK_REDUCE_MEAN
            : attr->kind == FB_REDUCE_SUM ? FBK_REDUCE_SUM
                                          : FBK_REDUCE_MAX;
    r->type = in->dtype;
    r->n = p->out[0]->elems;
    p->step->params = r;
    if (in->dtype == FB_F32 && is_columns(in, attr->axes, r)) {
        r->scale = r->op == FBK_REDUCE_MEAN ? 1.0f / (float)r->m : 1.0f;
        r->col_grain = FB_GRAIN_ELEMS / r->m < 64 ? 64 : FB_GRAIN_ELEMS / r->m;
        r->tiles_per_outer = fb_tiles(r->cols, r->col_grain);
        if (r->op == FBK_REDUCE_MAX)
            r->col_max = fbk_col_max_f32_pick(p->plan->cpu, &p->step->kernel);
        else
            r->col_sum = fbk_col_sum_f32_pick(p->plan->cpu, &p->step->kernel);
        p->step->n_tiles = (uint32_t)(p->in[0]->elems / (r->m * r->cols) * r->tiles_per_outer);
        p->step->run = run_columns;
        return FB_OK;
    }
    split_axes(in, attr->axes, r);
    r->grain = fb_row_grain(p->in[0]->elems / r->n);
    r->any = fbk_reduce_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->n_tiles = fb_tiles(r->n, r->grain);
    p->step->run = run_reduce;
    return FB_OK;
}

/* --- arg max --------------------------------------------------------------------------------- */

typedef struct arg_params {
    size_t n, inner, total, grain;
    fb_dtype type;
    bool select_last;
    fbk_arg_max_any_fn *fn;
} arg_params;

static void run_arg_max(const fb_tile *t)
{
    const arg_params *a = t->step->params;
    size_t from, to;
    fb_tile_range(a->total, a->grain, t->index, &from, &to);
    a->fn(a->type, t->in[0], a->n, a->inner, a->select_last, t->out[0], from, to - from);
}

fb_status fb_prepare_arg_max(fb_prepare *p)
{
    const fb_attr_arg *attr = &p->node->attr.arg;
    const fb_shape *in = &p->in[0]->shape;
    arg_params *a;
    FB_ENSURE(attr->axis >= 0 && attr->axis < in->rank && p->out[0]->shape.dtype == FB_S64);
    FB_PLAN_ALLOC(p, a, 1);
    a->n = (size_t)in->dims[attr->axis];
    a->inner = fb_dims_product(in, attr->axis + 1, in->rank);
    a->total = p->out[0]->elems;
    a->grain = fb_row_grain(a->n);
    a->type = in->dtype;
    a->select_last = attr->select_last != 0;
    a->fn = fbk_arg_max_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_arg_max;
    p->step->n_tiles = fb_tiles(a->total, a->grain);
    p->step->params = a;
    return FB_OK;
}
