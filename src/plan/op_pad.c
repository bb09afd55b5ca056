/* Padding: each axis gets a map from output to input index, -1 where the constant goes. */
#include "kernels/any.h"
#include "plan/op_util.h"

#include <string.h>

typedef struct take_params {
    fbk_take take;
    size_t rows, grain;
    fbk_take_any_fn *fn;
} take_params;

static void run_take(const fb_tile *t)
{
    const take_params *k = t->step->params;
    size_t from, to;
    fb_tile_range(k->rows, k->grain, t->index, &from, &to);
    k->fn(&k->take, t->in[0], t->out[0], from, to - from);
}

/* Input index for position i (may lie outside) of an axis of n. Reflection does not repeat the edge
 * and goes on beyond one axis length: its period is 2 (n - 1). */
static int64_t source_index(int64_t i, int64_t n, int32_t mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == FB_PAD_CONSTANT)
        return -1;
    if (mode == FB_PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    if (n == 1)
        return 0;
    int64_t period = 2 * (n - 1), r = i % period;
    if (r < 0)
        r += period;
    return r < n ? r : period - r;
}

fb_status fb_prepare_pad(fb_prepare *p)
{
    const fb_attr_pad *attr = &p->node->attr.pad;
    const fb_shape *in = &p->in[0]->shape, *out = &p->out[0]->shape;
    take_params *t;
    FB_PLAN_ALLOC(p, t, 1);
    FB_ENSURE(in->rank == out->rank);
    t->take.rank = out->rank ? out->rank : 1;
    t->take.dims[0] = 1;
    t->take.elem_bytes = fb_dtype_bytes(out->dtype);
    fb_strides(in, t->take.stride);
    bool identity = true;
    for (int32_t k = 0; k < out->rank; k++) {
        t->take.dims[k] = (size_t)out->dims[k];
        if (attr->before[k] == 0 && attr->after[k] == 0)
            continue;
        if (in->dims[k] > INT32_MAX || out->dims[k] > INT32_MAX)
            return fb_fail(FB_E_LIMIT, "an axis of %lld is too long to pad",
                           (long long)out->dims[k]);
        int32_t *map;
        FB_PLAN_ALLOC(p, map, t->take.dims[k]);
        for (int64_t i = 0; i < out->dims[k]; i++)
            map[i] = (int32_t)source_index(i - attr->before[k], in->dims[k], attr->mode);
        t->take.map[k] = map;
        identity = false;
    }
    if (identity) {
        fb_prepare_alias(p);
        return FB_OK;
    }
    fbk_put_f64(out->dtype, t->take.fill, 0, attr->value);
    t->rows = p->out[0]->elems / t->take.dims[t->take.rank - 1];
    t->grain = fb_row_grain(t->take.dims[t->take.rank - 1]);
    t->fn = fbk_take_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_take;
    p->step->n_tiles = fb_tiles(t->rows, t->grain);
    p->step->params = t;
    return FB_OK;
}
