/* Softmax over a run of axes, and local response normalisation over the last. */
#include "kernels/any.h"
#include "kernels/norm_f32.h"
#include "plan/op_util.h"

typedef struct softmax_params {
    size_t n, inner, lines, grain;
    fb_dtype type;
    bool log;
    fbk_softmax_f32_fn *f32;
    fbk_softmax_any_fn *any;
} softmax_params;

static void run_softmax(const fb_tile *t)
{
    const softmax_params *s = t->step->params;
    size_t from, to;
    fb_tile_range(s->lines, s->grain, t->index, &from, &to);
    if (s->f32)
        s->f32((const float *)t->in[0] + from * s->n, (float *)t->out[0] + from * s->n, s->n,
               to - from, s->log);
    else
        s->any(s->type, t->in[0], t->out[0], s->n, s->inner, s->log, from, to - from);
}

fb_status fb_prepare_softmax_f32(fb_prepare *p)
{
    const fb_attr_softmax *attr = &p->node->attr.softmax;
    const fb_shape *in = &p->in[0]->shape;
    softmax_params *s;
    FB_ENSURE(attr->axis_from >= 0 && attr->axis_from <= attr->axis_to &&
              attr->axis_to <= in->rank);
    if (!fbk_is_float(in->dtype))
        return fb_fail(FB_E_UNSUPPORTED, "softmax of %s is not defined", fb_dtype_name(in->dtype));
    FB_PLAN_ALLOC(p, s, 1);
    s->n = fb_dims_product(in, attr->axis_from, attr->axis_to);
    s->inner = fb_dims_product(in, attr->axis_to, in->rank);
    s->lines = p->in[0]->elems / s->n;
    s->grain = fb_row_grain(s->n * 4); /* an exponential costs several plain operations */
    s->type = in->dtype;
    s->log = attr->log != 0;
    if (in->dtype == FB_F32 && s->inner == 1)
        s->f32 = fbk_softmax_f32_pick(p->plan->cpu, &p->step->kernel);
    else
        s->any = fbk_softmax_any_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_softmax;
    p->step->n_tiles = fb_tiles(s->lines, s->grain);
    p->step->params = s;
    return FB_OK;
}

typedef struct lrn_params {
    fbk_lrn lrn;
    size_t c, n_px, grain;
    fbk_lrn_f32_fn *fn;
} lrn_params;

static void run_lrn(const fb_tile *t)
{
    const lrn_params *l = t->step->params;
    size_t from, to;
    fb_tile_range(l->n_px, l->grain, t->index, &from, &to);
    l->fn(&l->lrn, (const float *)t->in[0] + from * l->c, (float *)t->out[0] + from * l->c, l->c,
          to - from, t->scratch);
}

fb_status fb_prepare_lrn_f32(fb_prepare *p)
{
    const fb_attr_lrn *attr = &p->node->attr.lrn;
    lrn_params *l;
    FB_TRY(fb_need_f32(p, p->in, 1));
    FB_ENSURE(p->in[0]->shape.rank >= 1 && attr->size >= 1);
    FB_PLAN_ALLOC(p, l, 1);
    l->c = (size_t)p->in[0]->shape.dims[p->in[0]->shape.rank - 1];
    /* A window wider than 2 c covers all channels already; the scale keeps alpha / size. */
    l->lrn = (fbk_lrn){attr->size, attr->alpha, attr->beta, attr->bias};
    if ((size_t)attr->size > 2 * l->c + 1) {
        l->lrn.size = (int32_t)(2 * l->c + 1);
        l->lrn.alpha = attr->alpha * (float)l->lrn.size / (float)attr->size;
    }
    l->n_px = p->in[0]->elems / l->c;
    l->grain = fb_row_grain(l->c * 4);
    l->fn = fbk_lrn_f32_pick(p->plan->cpu, &p->step->kernel);
    p->step->scratch_bytes = (l->c + (size_t)l->lrn.size) * sizeof(float);
    p->step->run = run_lrn;
    p->step->n_tiles = fb_tiles(l->n_px, l->grain);
    p->step->params = l;
    return FB_OK;
}
