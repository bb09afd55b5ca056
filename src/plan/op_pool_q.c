/* Pools and means over the image on codes. */
#include "kernels/pool_q.h"
#include "plan/op_q.h"

typedef struct pool_params {
    fbk_window g;
    fbk_avg_pool_q avg;
    bool is_signed;
    size_t in_elems, out_elems; /* of one image */
    int32_t rows;               /* output rows of a tile */
    uint32_t tiles_per_image;
    fbk_max_pool_q_fn *max_fn; /* one of the two */
    fbk_avg_pool_q_fn *avg_fn;
} pool_params;

static void run_pool(const fb_tile *t)
{
    const pool_params *q = t->step->params;
    size_t image = t->index / q->tiles_per_image;
    int32_t oy0 = (int32_t)(t->index % q->tiles_per_image) * q->rows;
    int32_t oy1 = q->g.oh - oy0 < q->rows ? q->g.oh : oy0 + q->rows;
    const uint8_t *x = (const uint8_t *)t->in[0] + image * q->in_elems;
    uint8_t *y = (uint8_t *)t->out[0] + image * q->out_elems;
    if (q->max_fn)
        q->max_fn(&q->g, q->is_signed, x, y, oy0, oy1);
    else
        q->avg_fn(&q->g, &q->avg, x, y, oy0, oy1);
}

static fb_status prepare_pool(fb_prepare *p, pool_params **out)
{
    const fb_attr_pool *a = &p->node->attr.pool;
    fb_window_attr w = {a->kh,    a->kw,    a->stride_h, a->stride_w, a->dil_h,
                        a->dil_w, a->pad_t, a->pad_l,    a->pad_b,    a->pad_r};
    pool_params *q;
    FB_PLAN_ALLOC(p, q, 1);
    FB_TRY(fb_window_make(&w, p->in[0], p->out[0], 1, &q->g));
    size_t images = (size_t)p->in[0]->shape.dims[0];
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->is_signed = p->in[0]->enc->is_signed;
    size_t rows = fb_row_grain((size_t)q->g.ow * (size_t)q->g.c * (size_t)(q->g.kh * q->g.kw) / 8);
    q->rows = rows > (size_t)q->g.oh ? q->g.oh : (int32_t)rows;
    q->tiles_per_image = fb_tiles((size_t)q->g.oh, (size_t)q->rows);
    p->step->n_tiles = (uint32_t)images * q->tiles_per_image;
    p->step->params = q;
    *out = q;
    return FB_OK;
}

fb_status fb_prepare_max_pool_q(fb_prepare *p)
{
    fb_codes x, y;
    pool_params *q;
    if (p->out[1] || p->in[0]->shape.rank != 4 || !fb_codes8_of(p->in[0], &x) ||
        !fb_codes8_of(p->out[0], &y) || !fb_codes_same(&x, &y))
        return FB_OK;
    FB_TRY(prepare_pool(p, &q));
    q->max_fn = fbk_max_pool_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_pool;
    return FB_OK;
}

fb_status fb_prepare_avg_pool_q(fb_prepare *p)
{
    const fb_attr_pool *a = &p->node->attr.pool;
    fb_codes x, y;
    pool_params *q;
    if (a->dil_h != 1 || a->dil_w != 1 || p->in[0]->shape.rank != 4 ||
        !fb_codes8_of(p->in[0], &x) || !fb_codes8_of(p->out[0], &y) || x.is_signed != y.is_signed)
        return FB_OK;
    FB_TRY(prepare_pool(p, &q));
    uint8_t flip = fb_codes_unsigned(&y);
    (void)fb_codes_unsigned(&x);
    q->avg = (fbk_avg_pool_q){.x_scale = x.scale,
                              .y_scale = y.scale,
                              .x_zero = x.zero,
                              .y_zero = y.zero,
                              .lo = y.lo,
                              .hi = y.hi,
                              .include_pad = a->count_include_pad != 0,
                              .flip = flip};
    q->avg_fn = fbk_avg_pool_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_pool;
    return FB_OK;
}

/* --- mean over height and width --------------------------------------------------------------- */

enum { MEAN_CHANNELS = 64 }; /* of a tile */

typedef struct mean_params {
    fbk_mean_q mean;
    size_t pixels, c, tiles_per_image;
    fbk_mean_q_fn *fn;
} mean_params;

static void run_mean(const fb_tile *t)
{
    const mean_params *m = t->step->params;
    size_t image = t->index / m->tiles_per_image, from, to;
    fb_tile_range(m->c, MEAN_CHANNELS, (uint32_t)(t->index % m->tiles_per_image), &from, &to);
    m->fn(&m->mean, m->pixels, m->c, to - from,
          (const uint8_t *)t->in[0] + image * m->pixels * m->c + from,
          (uint8_t *)t->out[0] + image * m->c + from);
}

fb_status fb_prepare_reduce_q(fb_prepare *p)
{
    const fb_attr_reduce *a = &p->node->attr.reduce;
    const fb_shape *in = &p->in[0]->shape;
    fb_codes x, y;
    if (a->kind != FB_REDUCE_MEAN || in->rank != 4 || a->axes != 6 || !fb_codes8_of(p->in[0], &x) ||
        !fb_codes8_of(p->out[0], &y) || x.is_signed != y.is_signed ||
        in->dims[1] * in->dims[2] >= (1 << 23))
        return FB_OK;
    mean_params *m;
    FB_PLAN_ALLOC(p, m, 1);
    m->pixels = (size_t)(in->dims[1] * in->dims[2]);
    m->c = (size_t)in->dims[3];
    m->mean = (fbk_mean_q){.scale = fb_mean_scale(x.scale, y.scale, (uint32_t)m->pixels),
                           .x_zero = x.zero,
                           .y_zero = y.zero,
                           .lo = y.lo,
                           .hi = y.hi,
                           .is_signed = x.is_signed};
    m->tiles_per_image = fb_tiles(m->c, MEAN_CHANNELS);
    m->fn = fbk_mean_q_pick(p->plan->cpu, &p->step->kernel);
    p->step->run = run_mean;
    p->step->n_tiles = (uint32_t)((size_t)in->dims[0] * m->tiles_per_image);
    p->step->params = m;
    return FB_OK;
}
