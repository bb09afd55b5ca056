#include "plan/op_igemm_f32.h"

#include "kernels/igemm_f32.h"

typedef struct igemm_params {
    fbk_igemm_f32_shape s;
    fbk_igemm_f32_fn *micro;
    const float *packed;
    size_t in_elems, out_elems; /* of one image */
    uint32_t tiles;             /* of one image */
    float lo, hi;
} igemm_params;

static void run_igemm(const fb_tile *t)
{
    const igemm_params *q = t->step->params;
    size_t image = t->index / q->tiles;
    fbk_igemm_f32_args a = {.s = &q->s,
                            .micro = q->micro,
                            .x = (const float *)t->in[0] + image * q->in_elems,
                            .packed = q->packed,
                            .bias = t->step->n_in > 2 ? t->in[2] : NULL,
                            .y = (float *)t->out[0] + image * q->out_elems,
                            .lo = q->lo,
                            .hi = q->hi,
                            .scratch = t->scratch};
    fbk_igemm_f32_tile(&a, t->index % q->tiles);
}

bool fb_igemm_f32_usable(const fb_prepare *p)
{
    return fbk_igemm_f32_pick(p->plan->cpu, NULL) != fbk_igemm_f32_ref;
}

fb_status fb_prepare_igemm_f32(fb_prepare *p, const fbk_window *g, size_t images, const fb_act *act)
{
    igemm_params *q;
    fb_weight w;
    FB_PLAN_ALLOC(p, q, 1);
    fbk_igemm_f32_shape_make(g, &q->s);
    FB_TRY(fb_weight_open(p, 1, &w));
    float *packed =
        fb_plan_alloc_packed(p->plan, fbk_igemm_f32_packed_elems(&q->s), sizeof *packed);
    if (packed)
        fbk_igemm_f32_pack(&q->s, w.data, packed);
    fb_weight_release(&w);
    if (!packed)
        return fb_plan_no_memory(p);
    q->packed = packed;
    q->micro = fbk_igemm_f32_pick(p->plan->cpu, &p->step->kernel);
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->tiles = fbk_igemm_f32_tiles(&q->s);
    q->lo = fb_act_lo(act);
    q->hi = fb_act_hi(act);
    p->step->n_tiles = (uint32_t)images * q->tiles;
    p->step->scratch_bytes = q->s.scratch_bytes;
    p->step->run = run_igemm;
    p->step->params = q;
    return FB_OK;
}
