/* Elementwise operators on plain tensors: unary, binary, prelu, scale_shift, cast. */
#include "kernels/point_f32.h"
#include "plan/op_util.h"

_Static_assert((int)FB_UNARY_ERF == (int)FBK_ERF && (int)FB_UNARY_COUNT == (int)FBK_UNARY_COUNT,
               "model and kernels number the unary functions alike");
_Static_assert((int)FB_BINARY_POW == (int)FBK_POW && (int)FB_BINARY_COUNT == (int)FBK_BINARY_COUNT,
               "model and kernels number the binary functions alike");

/* --- unary and cast -------------------------------------------------------------------------- */

typedef struct unary_params {
    size_t n;
    fbk_unary op;
    float a, b;
    fb_dtype type, to;
    fbk_unary_f32_fn *f32;
    fbk_unary_any_fn *any;
    fbk_cast_any_fn *cast;
} unary_params;

static const void *at(const void *p, fb_dtype type, size_t i)
{
    return (const uint8_t *)p + i * fb_dtype_bytes(type);
}

static void *at_mut(void *p, fb_dtype type, size_t i)
{
    return (uint8_t *)p + i * fb_dtype_bytes(type);
}

static void run_unary_f32(const fb_tile *t)
{
    const unary_params *u = t->step->params;
    size_t from, to;
    fb_tile_range(u->n, FB_GRAIN_ELEMS, t->index, &from, &to);
    u->f32(u->op, u->a, u->b, to - from, (const float *)t->in[0] + from, (float *)t->out[0] + from);
}

static void run_unary_any(const fb_tile *t)
{
    const unary_params *u = t->step->params;
    size_t from, to;
    fb_tile_range(u->n, FB_GRAIN_ELEMS, t->index, &from, &to);
    u->any(u->op, u->a, u->b, to - from, u->type, at(t->in[0], u->type, from),
           at_mut(t->out[0], u->type, from));
}

static void run_cast(const fb_tile *t)
{
    const unary_params *u = t->step->params;
    size_t from, to;
    fb_tile_range(u->n, FB_GRAIN_ELEMS, t->index, &from, &to);
    u->cast(u->to, at_mut(t->out[0], u->to, from), u->type, at(t->in[0], u->type, from), to - from);
}

fb_status fb_prepare_unary_f32(fb_prepare *p)
{
    const fb_attr_unary *attr = &p->node->attr.unary;
    unary_params *u;
    FB_ENSURE((uint32_t)attr->kind < FB_UNARY_COUNT);
    FB_PLAN_ALLOC(p, u, 1);
    *u = (unary_params){.n = p->out[0]->elems,
                        .op = (fbk_unary)attr->kind,
                        .a = attr->a,
                        .b = attr->b,
                        .type = p->in[0]->shape.dtype};
    if (u->type == FB_F32) {
        u->f32 = fbk_unary_f32_pick(p->plan->cpu, &p->step->kernel);
        p->step->run = run_unary_f32;
    } else {
        u->any = fbk_unary_any_pick(p->plan->cpu, &p->step->kernel);
        p->step->run = run_unary_any;
    }
    p->step->n_tiles = fb_tiles(u->n, FB_GRAIN_ELEMS);
    p->step->params = u;
    return FB_OK;
}

fb_status fb_prepare_cast(fb_prepare *p)
{
    unary_params *u;
    if (p->in[0]->shape.dtype == p->out[0]->shape.dtype) {
        fb_prepare_alias(p);
        return FB_OK;
    }
    FB_PLAN_ALLOC(p, u, 1);
    *u = (unary_params){.n = p->out[0]->elems,
                        .type = p->in[0]->shape.dtype,
                        .to = p->out[0]->shape.dtype,
                        .cast = fbk_cast_any_pick(p->plan->cpu, &p->step->kernel)};
    p->step->run = run_cast;
    p->step->n_tiles = fb_tiles(u->n, FB_GRAIN_ELEMS);
    p->step->params = u;
    return FB_OK;
}

/* --- binary and prelu, with broadcasting ----------------------------------------------------- */

typedef struct binary_params {
    fbk_walk walk; /* operands: y, a, b */
    size_t n, rows,
        grain; /* elements of a row; rows (or elements, where there is one row) a tile */
    bool flat; /* one row: tiles cut it */
    fbk_binary op;
    float lo, hi;
    fb_dtype ta, tb, ty;
    fbk_binary_f32_fn *f32;
    fbk_binary_any_fn *any;
    fbk_prelu_f32_fn *prelu;
} binary_params;

static void broadcast_strides(const fb_shape *in, const fb_shape *out,
                              ptrdiff_t stride[FBK_MAX_RANK])
{
    ptrdiff_t own[FB_MAX_RANK];
    fb_strides(in, own);
    for (int32_t i = 0; i < out->rank; i++) {
        int32_t k = i - (out->rank - in->rank);
        stride[i] = k < 0 || in->dims[k] == 1 ? 0 : own[k];
    }
}

static void binary_walk(const fb_prepare *p, binary_params *b)
{
    const fb_shape *out = &p->out[0]->shape;
    b->walk.rank = out->rank;
    for (int32_t i = 0; i < out->rank; i++)
        b->walk.dims[i] = (size_t)out->dims[i];
    fb_strides(out, b->walk.stride[0]);
    broadcast_strides(&p->in[0]->shape, out, b->walk.stride[1]);
    broadcast_strides(&p->in[1]->shape, out, b->walk.stride[2]);
    fb_walk_simplify(&b->walk);
    b->n = b->walk.dims[b->walk.rank - 1];
    b->rows = fbk_walk_rows(&b->walk);
    b->flat = b->rows == 1;
    b->grain = b->flat ? FB_GRAIN_ELEMS : fb_row_grain(b->n);
    p->step->n_tiles = fb_tiles(b->flat ? b->n : b->rows, b->grain);
}

/* One row, or a piece of it, from the three offsets. */
static void binary_row(const binary_params *b, const fb_tile *t, const ptrdiff_t off[3], size_t n)
{
    int32_t last = b->walk.rank - 1;
    ptrdiff_t sa = b->walk.stride[1][last], sb = b->walk.stride[2][last];
    if (b->f32)
        b->f32(b->op, n, (const float *)t->in[0] + off[1], (size_t)sa,
               (const float *)t->in[1] + off[2], (size_t)sb, (float *)t->out[0] + off[0], b->lo,
               b->hi);
    else if (b->prelu)
        b->prelu(n, (const float *)t->in[0] + off[1], (const float *)t->in[1] + off[2], (size_t)sb,
                 (float *)t->out[0] + off[0]);
    else
        b->any(b->op, n, b->ta, at(t->in[0], b->ta, (size_t)off[1]), sa, b->tb,
               at(t->in[1], b->tb, (size_t)off[2]), sb, b->ty,
               at_mut(t->out[0], b->ty, (size_t)off[0]), b->lo, b->hi);
}

static void run_binary(const fb_tile *t)
{
    const binary_params *b = t->step->params;
    size_t from, to;
    ptrdiff_t off[FBK_WALK_OPERANDS];
    fb_tile_range(b->flat ? b->n : b->rows, b->grain, t->index, &from, &to);
    if (b->flat) {
        for (int o = 0; o < FBK_WALK_OPERANDS; o++)
            off[o] = (ptrdiff_t)from * b->walk.stride[o][0];
        binary_row(b, t, off, to - from);
        return;
    }
    for (size_t row = from; row < to; row++) {
        fbk_walk_at(&b->walk, row, off);
        binary_row(b, t, off, b->n);
    }
}

fb_status fb_prepare_binary(fb_prepare *p)
{
    const fb_attr_binary *attr = &p->node->attr.binary;
    binary_params *b;
    FB_ENSURE((uint32_t)attr->kind < FB_BINARY_COUNT);
    FB_PLAN_ALLOC(p, b, 1);
    b->op = (fbk_binary)attr->kind;
    b->lo = fb_act_lo(&attr->act);
    b->hi = fb_act_hi(&attr->act);
    b->ta = p->in[0]->shape.dtype;
    b->tb = p->in[1]->shape.dtype;
    b->ty = p->out[0]->shape.dtype;
    if (b->ta == FB_F32 && b->tb == FB_F32 && b->ty == FB_F32)
        b->f32 = fbk_binary_f32_pick(p->plan->cpu, &p->step->kernel);
    else
        b->any = fbk_binary_any_pick(p->plan->cpu, &p->step->kernel);
    binary_walk(p, b);
    p->step->run = run_binary;
    p->step->params = b;
    return FB_OK;
}

fb_status fb_prepare_prelu(fb_prepare *p)
{
    binary_params *b;
    FB_TRY(fb_need_f32(p, p->in, 2));
    FB_PLAN_ALLOC(p, b, 1);
    b->prelu = fbk_prelu_f32_pick(p->plan->cpu, &p->step->kernel);
    binary_walk(p, b);
    p->step->run = run_binary;
    p->step->params = b;
    return FB_OK;
}

/* --- scale_shift ----------------------------------------------------------------------------- */

typedef struct scale_params {
    size_t n_px, c, grain;
    fbk_scale_shift_f32_fn *fn;
} scale_params;

static void run_scale_shift(const fb_tile *t)
{
    const scale_params *s = t->step->params;
    size_t from, to;
    fb_tile_range(s->n_px, s->grain, t->index, &from, &to);
    s->fn(to - from, s->c, (const float *)t->in[0] + from * s->c, t->in[1], t->in[2],
          (float *)t->out[0] + from * s->c);
}

fb_status fb_prepare_scale_shift_f32(fb_prepare *p)
{
    scale_params *s;
    FB_TRY(fb_need_f32(p, p->in, 3));
    FB_ENSURE(p->in[0]->shape.rank >= 1);
    FB_PLAN_ALLOC(p, s, 1);
    s->c = (size_t)p->in[0]->shape.dims[p->in[0]->shape.rank - 1];
    FB_ENSURE(p->in[1]->elems == s->c && p->in[2]->elems == s->c);
    s->n_px = p->in[0]->elems / s->c;
    s->grain = fb_row_grain(s->c);
    s->fn = fbk_scale_shift_f32_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_scale_shift;
    p->step->n_tiles = fb_tiles(s->n_px, s->grain);
    p->step->params = s;
    return FB_OK;
}
