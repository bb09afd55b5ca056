/* Unary operators on codes: a table of 256 entries, made from the float definition. ONNX Runtime's
 * QLinear activations do the same. */
#include "kernels/any.h"
#include "plan/op_q.h"

#include <string.h>

void fb_codes_table(const fb_codes *x, const fb_codes *y, float (*f)(const void *ctx, float v),
                    const void *ctx, uint8_t table[256])
{
    for (int i = 0; i < 256; i++) {
        float v = fb_dequantize(fb_code_of_byte((uint8_t)i, x->is_signed), x->scale, x->zero);
        if (f)
            v = f(ctx, v);
        table[i] = (uint8_t)fb_quantize(v, y->scale, y->zero, y->lo, y->hi);
    }
}

typedef struct table_params {
    uint8_t table[256];
    size_t n;
    fbk_lut_q_fn *fn;
} table_params;

static void run_table(const fb_tile *t)
{
    const table_params *k = t->step->params;
    size_t from, to;
    fb_tile_range(k->n, 2 * FB_GRAIN_ELEMS, t->index, &from, &to);
    k->fn(k->table, to - from, (const uint8_t *)t->in[0] + from, (uint8_t *)t->out[0] + from);
}

fb_status fb_prepare_table(fb_prepare *p, const uint8_t table[256])
{
    bool identity = true;
    for (int i = 0; i < 256; i++)
        identity = identity && table[i] == i;
    if (identity) {
        fb_prepare_alias(p);
        return FB_OK;
    }
    table_params *k;
    FB_PLAN_ALLOC(p, k, 1);
    memcpy(k->table, table, sizeof k->table);
    k->n = p->out[0]->elems;
    k->fn = fbk_lut_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_table;
    p->step->n_tiles = fb_tiles(k->n, 2 * FB_GRAIN_ELEMS);
    p->step->params = k;
    return FB_OK;
}

static float apply(const void *ctx, float v)
{
    const fb_attr_unary *a = ctx;
    return (float)fbk_unary_f64((fbk_unary)a->kind, (double)a->a, (double)a->b, (double)v);
}

fb_status fb_prepare_unary_q(fb_prepare *p)
{
    fb_codes x, y;
    uint8_t table[256];
    if (!fb_codes8_of(p->in[0], &x) || !fb_codes8_of(p->out[0], &y))
        return FB_OK;
    fb_codes_table(&x, &y, apply, &p->node->attr.unary, table);
    return fb_prepare_table(p, table);
}
