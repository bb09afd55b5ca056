#include "plan/op_igemm_f32.h"

#include "base/alloc.h"
#include "kernels/igemm_f32.h"
#include "plan/op_few.h"

typedef struct igemm_params {
    fbk_igemm_f32_shape s;
    fbk_igemm_f32_fn *micro;
    const float *packed;
    fbk_igemm_f32_few few;      /* codes NULL: packed holds the weights */
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
                            .few = q->few.codes ? &q->few : NULL,
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

static fb_status pack_floats(fb_prepare *p, igemm_params *q)
{
    fb_weight w;
    FB_TRY(fb_weight_open(p, 1, &w));
    float *packed =
        fb_plan_alloc_packed(p->plan, fbk_igemm_f32_packed_elems(&q->s), sizeof *packed);
    if (packed)
        fbk_igemm_f32_pack(&q->s, w.data, packed);
    fb_weight_release(&w);
    q->packed = packed;
    p->step->scratch_bytes = q->s.scratch_bytes;
    return packed ? FB_OK : fb_plan_no_memory(p);
}

static fb_status pack_codes(fb_prepare *p, igemm_params *q)
{
    uint32_t bits = p->in[1]->enc->bits;
    fb_columns columns = {(size_t)q->s.g.groups, q->s.n, fbk_igemm_f32_columns(&q->s)};
    uint8_t *plain,
        *codes = fb_plan_alloc_packed(p->plan, fbk_igemm_f32_codes_bytes(&q->s, bits), 1);
    q->packed = fb_plan_alloc_packed(p->plan, q->s.seg_len, sizeof *q->packed);
    if (!codes || !q->packed)
        return fb_plan_no_memory(p);
    FB_TRY(fb_few_params(p, p->in[1], &columns, &q->few.w));
    FB_TRY(fb_few_codes(p, p->in[1], &plain));
    fbk_igemm_f32_pack_codes(&q->s, plain, bits, q->few.w.own, codes);
    fb_free(plain);
    q->few.codes = codes;
    q->few.unpack = fbk_unpack_f32_pick(p->plan->cpu, NULL);
    p->step->scratch_bytes = fb_round_up(q->s.scratch_bytes, 64) + fbk_igemm_f32_block_bytes(&q->s);
    return FB_OK;
}

fb_status fb_prepare_igemm_f32(fb_prepare *p, const fbk_window *g, size_t images, const fb_act *act)
{
    igemm_params *q;
    FB_PLAN_ALLOC(p, q, 1);
    fbk_igemm_f32_shape_make(g, &q->s);
    if (fb_few_takes(p->in[1]))
        FB_TRY(pack_codes(p, q));
    else
        FB_TRY(pack_floats(p, q));
    q->micro = fbk_igemm_f32_pick(p->plan->cpu, &p->step->kernel);
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->tiles = fbk_igemm_f32_tiles(&q->s);
    q->lo = fb_act_lo(act);
    q->hi = fb_act_hi(act);
    p->step->n_tiles = (uint32_t)images * q->tiles;
    p->step->run = run_igemm;
    p->step->params = q;
    return FB_OK;
}
