/* Movers on codes: with equal encodings in and out, the movers of plain tensors do; concat gives
 * each input a table. */
#include "plan/op_q.h"

#include <string.h>

static bool same_encoding(const fb_slot *a, const fb_slot *b)
{
    fb_codes x, y;
    return fb_codes_of(a, &x) && fb_codes_of(b, &y) && fb_codes_same(&x, &y) &&
           a->place != FB_PLACE_CONST;
}

fb_status fb_prepare_move_q(fb_prepare *p)
{
    if (!same_encoding(p->in[0], p->out[0]))
        return FB_OK;
    switch (p->node->op) {
    case FB_OP_SLICE:
        return fb_prepare_slice(p);
    case FB_OP_RESHAPE:
        return fb_prepare_reshape(p);
    case FB_OP_TRANSPOSE:
        return fb_prepare_transpose(p);
    default:
        return FB_OK;
    }
}

fb_status fb_prepare_pad_q(fb_prepare *p)
{
    fb_codes q;
    if (!same_encoding(p->in[0], p->out[0]) || !fb_codes_of(p->out[0], &q))
        return FB_OK;
    /* The plain mover, told to fill with the code of the value. */
    fb_node node = *p->node;
    fb_prepare inner = *p;
    node.attr.pad.value =
        (double)fb_quantize((float)node.attr.pad.value, q.scale, q.zero, q.lo, q.hi);
    inner.node = &node;
    return fb_prepare_pad(&inner);
}

/* --- concat ---------------------------------------------------------------------------------- */

typedef struct part {
    size_t bytes; /* of one outer row */
    bool copy;
    uint8_t table[256];
} part;

typedef struct concat_params {
    size_t outer, grain, row_bytes;
    const part *parts; /* [n_in] */
    fbk_lut_q_fn *fn;
} concat_params;

static void run_concat(const fb_tile *t)
{
    const concat_params *c = t->step->params;
    size_t from, to;
    fb_tile_range(c->outer, c->grain, t->index, &from, &to);
    uint8_t *at = (uint8_t *)t->out[0] + from * c->row_bytes;
    for (uint32_t k = 0; k < t->step->n_in; k++) {
        const part *q = &c->parts[k];
        const uint8_t *src = (const uint8_t *)t->in[k] + from * q->bytes;
        uint8_t *dst = at;
        for (size_t r = from; r < to; r++, src += q->bytes, dst += c->row_bytes) {
            if (q->copy)
                memcpy(dst, src, q->bytes);
            else
                c->fn(q->table, q->bytes, src, dst);
        }
        at += q->bytes;
    }
}

fb_status fb_prepare_concat_q(fb_prepare *p)
{
    const fb_shape *out = &p->out[0]->shape;
    int32_t axis = p->node->attr.axis.axis;
    fb_codes y, x;
    if (!fb_codes8_of(p->out[0], &y))
        return FB_OK;
    for (uint32_t k = 0; k < p->step->n_in; k++) {
        if (!fb_codes8_of(fb_prepare_input(p, k), &x))
            return FB_OK;
    }
    FB_ENSURE(axis >= 0 && axis < out->rank);
    concat_params *c;
    part *parts;
    FB_PLAN_ALLOC(p, c, 1);
    FB_PLAN_ALLOC(p, parts, p->step->n_in);
    size_t inner = fb_dims_product(out, axis + 1, out->rank);
    for (uint32_t k = 0; k < p->step->n_in; k++) {
        const fb_slot *in = fb_prepare_input(p, k);
        (void)fb_codes8_of(in, &x);
        parts[k].bytes = (size_t)in->shape.dims[axis] * inner;
        parts[k].copy = fb_codes_same(&x, &y);
        fb_codes_table(&x, &y, NULL, NULL, parts[k].table);
    }
    c->outer = fb_dims_product(out, 0, axis);
    c->row_bytes = (size_t)out->dims[axis] * inner;
    c->parts = parts;
    c->grain = fb_row_grain(c->row_bytes / 4);
    c->fn = fbk_lut_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_concat;
    p->step->n_tiles = fb_tiles(c->outer, c->grain);
    p->step->params = c;
    return FB_OK;
}
