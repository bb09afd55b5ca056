/* Pools on plain tensors: max of any type (with positions), average of f32. */
#include "kernels/any.h"
#include "kernels/pool_f32.h"
#include "plan/op_util.h"

typedef struct pool_params {
    fbk_window g;
    fb_dtype type;
    size_t images, in_elems, out_elems; /* of one image */
    int32_t rows;                       /* output rows of a tile */
    uint32_t tiles_per_image;
    bool include_pad, column_major;
    int32_t pad_b, pad_r;
    fbk_max_pool_f32_fn *max_f32;
    fbk_max_pool_any_fn *max_any;
    fbk_avg_pool_f32_fn *avg_f32;
} pool_params;

static void run_pool(const fb_tile *t)
{
    const pool_params *q = t->step->params;
    size_t image = t->index / q->tiles_per_image;
    int32_t oy0 = (int32_t)(t->index % q->tiles_per_image) * q->rows;
    int32_t oy1 = q->g.oh - oy0 < q->rows ? q->g.oh : oy0 + q->rows;
    size_t e = fb_dtype_bytes(q->type);
    const uint8_t *x = (const uint8_t *)t->in[0] + image * q->in_elems * e;
    uint8_t *y = (uint8_t *)t->out[0] + image * q->out_elems * e;
    if (q->avg_f32)
        q->avg_f32(&q->g, q->include_pad, q->pad_b, q->pad_r, (const float *)x, (float *)y, oy0,
                   oy1);
    else if (q->max_f32)
        q->max_f32(&q->g, (const float *)x, (float *)y, oy0, oy1);
    else {
        int64_t *index = t->step->n_out > 1 && t->out[1] ? (int64_t *)t->out[1] : NULL;
        q->max_any(&q->g, q->type, x, y, index ? index + image * q->out_elems : NULL,
                   (int64_t)(image * q->in_elems), q->column_major, oy0, oy1);
    }
}

static fb_status prepare_pool(fb_prepare *p, pool_params **out)
{
    const fb_attr_pool *a = &p->node->attr.pool;
    fb_window_attr w = {a->kh,    a->kw,    a->stride_h, a->stride_w, a->dil_h,
                        a->dil_w, a->pad_t, a->pad_l,    a->pad_b,    a->pad_r};
    pool_params *q;
    FB_PLAN_ALLOC(p, q, 1);
    FB_TRY(fb_window_make(&w, p->in[0], p->out[0], 1, &q->g));
    q->type = p->in[0]->shape.dtype;
    q->images = (size_t)p->in[0]->shape.dims[0];
    q->in_elems = p->in[0]->elems / q->images;
    q->out_elems = p->out[0]->elems / q->images;
    q->include_pad = a->count_include_pad != 0;
    q->column_major = a->index_order != 0;
    q->pad_b = a->pad_b;
    q->pad_r = a->pad_r;
    size_t work = (size_t)q->g.ow * (size_t)q->g.c * (size_t)q->g.kh * (size_t)q->g.kw;
    size_t rows =
        fb_row_grain(work / 2); /* two taps cost about what one elementwise operation does */
    q->rows = rows > (size_t)q->g.oh ? q->g.oh : (int32_t)rows;
    q->tiles_per_image = fb_tiles((size_t)q->g.oh, (size_t)q->rows);
    p->step->n_tiles = (uint32_t)q->images * q->tiles_per_image;
    p->step->run = run_pool;
    p->step->params = q;
    *out = q;
    return FB_OK;
}

fb_status fb_prepare_max_pool(fb_prepare *p)
{
    pool_params *q;
    FB_TRY(prepare_pool(p, &q));
    if (q->type == FB_F32 && !p->out[1])
        q->max_f32 = fbk_max_pool_f32_pick(p->plan->cpu, &p->step->kernel);
    else
        q->max_any = fbk_max_pool_any_pick(p->plan->cpu, &p->step->kernel);
    return FB_OK;
}

fb_status fb_prepare_avg_pool_f32(fb_prepare *p)
{
    pool_params *q;
    FB_TRY(fb_need_f32(p, p->in, 1));
    FB_TRY(prepare_pool(p, &q));
    q->avg_f32 = fbk_avg_pool_f32_pick(p->plan->cpu, &p->step->kernel);
    return FB_OK;
}
