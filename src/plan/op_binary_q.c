/* Sum and product of codes (ONNX Runtime's QLinearAdd and QLinearMul). The operand that broadcasts
 * takes the second place, as it does there. */
#include "plan/op_q.h"

typedef struct binary_params {
    fbk_walk walk; /* operands: y, a, b; the last axis is contiguous in all three */
    size_t rows, grain;
    bool swap; /* a is input 1 */
    fbk_add_q add;
    fbk_mul_q mul;
    fbk_add_q_fn *add_fn; /* one of the two */
    fbk_mul_q_fn *mul_fn;
} binary_params;

static void run_rows(const binary_params *k, size_t n, const uint8_t *a, const uint8_t *b,
                     uint8_t *y)
{
    if (k->add_fn)
        k->add_fn(&k->add, n, a, b, y);
    else
        k->mul_fn(&k->mul, n, a, b, y);
}

static void run_binary(const fb_tile *t)
{
    const binary_params *k = t->step->params;
    const uint8_t *a = t->in[k->swap], *b = t->in[!k->swap];
    uint8_t *y = t->out[0];
    size_t n = k->walk.dims[k->walk.rank - 1], from, to;
    if (k->walk.rank == 1) {
        fb_tile_range(n, k->grain, t->index, &from, &to);
        run_rows(k, to - from, a + from, b + from, y + from);
        return;
    }
    fb_tile_range(k->rows, k->grain, t->index, &from, &to);
    for (size_t row = from; row < to; row++) {
        ptrdiff_t off[FBK_WALK_OPERANDS];
        fbk_walk_at(&k->walk, row, off);
        run_rows(k, n, a + off[1], b + off[2], y + off[0]);
    }
}

/* Strides of `in` as it broadcasts to `out` (aligned at the last axis). */
static void broadcast_strides(const fb_shape *in, const fb_shape *out, ptrdiff_t *stride)
{
    ptrdiff_t own[FB_MAX_RANK];
    fb_strides(in, own);
    for (int32_t i = 0; i < out->rank; i++) {
        int32_t k = i - (out->rank - in->rank);
        stride[i] = k < 0 || in->dims[k] == 1 ? 0 : own[k];
    }
}

/* False when the last axis is not contiguous everywhere, or both operands broadcast. */
static bool make_walk(const fb_prepare *p, binary_params *k)
{
    const fb_shape *out = &p->out[0]->shape;
    bool whole0 = p->in[0]->elems == p->out[0]->elems, whole1 = p->in[1]->elems == p->out[0]->elems;
    if (!whole0 && !whole1)
        return false;
    k->swap = !whole0;
    k->walk.rank = out->rank;
    for (int32_t i = 0; i < out->rank; i++)
        k->walk.dims[i] = (size_t)out->dims[i];
    fb_strides(out, k->walk.stride[0]);
    broadcast_strides(&p->in[k->swap]->shape, out, k->walk.stride[1]);
    broadcast_strides(&p->in[!k->swap]->shape, out, k->walk.stride[2]);
    fb_walk_simplify(&k->walk);
    int32_t last = k->walk.rank - 1;
    if (k->walk.dims[last] == 1)
        return true;
    return k->walk.stride[0][last] == 1 && k->walk.stride[1][last] == 1 &&
           k->walk.stride[2][last] == 1;
}

fb_status fb_prepare_binary_q(fb_prepare *p)
{
    const fb_attr_binary *attr = &p->node->attr.binary;
    fb_codes in[2], y;
    if ((attr->kind != FB_BINARY_ADD && attr->kind != FB_BINARY_MUL) ||
        !fb_codes8_of(p->in[0], &in[0]) || !fb_codes8_of(p->in[1], &in[1]) ||
        !fb_codes8_of(p->out[0], &y) || in[0].is_signed != y.is_signed ||
        in[1].is_signed != y.is_signed)
        return FB_OK;
    binary_params *k;
    FB_PLAN_ALLOC(p, k, 1);
    if (!make_walk(p, k))
        return FB_OK;
    const fb_codes *a = &in[k->swap], *b = &in[!k->swap];
    fb_codes_clamp(&y, &attr->act);
    uint8_t flip = fb_codes_unsigned(&y);
    (void)fb_codes_unsigned(&in[0]);
    (void)fb_codes_unsigned(&in[1]);
    if (attr->kind == FB_BINARY_ADD) {
        k->add =
            (fbk_add_q){.law = fb_add_law_of(a->scale, a->zero, b->scale, b->zero, y.scale, y.zero),
                        .lo = y.lo,
                        .hi = y.hi,
                        .flip = flip};
        k->add_fn = fbk_add_q_pick(p->plan->cpu, &p->step->kernel);
    } else {
        k->mul = (fbk_mul_q){.a_zero = a->zero,
                             .b_zero = b->zero,
                             .y_zero = y.zero,
                             .lo = y.lo,
                             .hi = y.hi,
                             .ratio = fb_mul_ratio(a->scale, b->scale, y.scale),
                             .flip = flip};
        k->mul_fn = fbk_mul_q_pick(p->plan->cpu, &p->step->kernel);
    }
    size_t n = k->walk.dims[k->walk.rank - 1];
    k->rows = fbk_walk_rows(&k->walk);
    k->grain = k->walk.rank == 1 ? 2 * FB_GRAIN_ELEMS : fb_row_grain(n / 2);
    p->step->run = run_binary;
    p->step->n_tiles = fb_tiles(k->walk.rank == 1 ? n : k->rows, k->grain);
    p->step->params = k;
    return FB_OK;
}
