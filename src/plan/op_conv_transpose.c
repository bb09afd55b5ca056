/* Transposed convolution of f32 images: by definition, no fast form yet. */
#include "kernels/conv_f32.h"
#include "plan/op_weight.h"

typedef struct transpose_params {
    fbk_window g;
    fb_operand w;
    size_t in_elems, out_elems, pixels, grain; /* of one image */
    uint32_t tiles_per_image;
    float lo, hi;
    fbk_conv_transpose_f32_fn *fn;
} transpose_params;

static void run_conv_transpose(const fb_tile *t)
{
    const transpose_params *q = t->step->params;
    size_t image = t->index / q->tiles_per_image, from, to;
    fb_tile_range(q->pixels, q->grain, t->index % q->tiles_per_image, &from, &to);
    fbk_conv_f32_args a = {.g = &q->g,
                           .x = (const float *)t->in[0] + image * q->in_elems,
                           .w = fb_operand_at(&q->w, t, 1),
                           .bias = t->step->n_in > 2 ? t->in[2] : NULL,
                           .y = (float *)t->out[0] + image * q->out_elems,
                           .lo = q->lo,
                           .hi = q->hi};
    q->fn(&a, from, to);
}

fb_status fb_prepare_conv_transpose_f32(fb_prepare *p)
{
    const fb_attr_conv *a = &p->node->attr.conv;
    const fb_slot *const slots[] = {p->in[0], p->in[2], p->out[0]};
    fb_window_attr w = {a->kh,    a->kw,    a->stride_h, a->stride_w, a->dil_h,
                        a->dil_w, a->pad_t, a->pad_l,    a->pad_b,    a->pad_r};
    transpose_params *q;
    FB_TRY(fb_need_f32(p, slots, 3));
    FB_PLAN_ALLOC(p, q, 1);
    FB_TRY(fb_window_make(&w, p->in[0], p->out[0], a->groups, &q->g));
    FB_TRY(fb_operand_plain(p, 1, &q->w));
    size_t images = (size_t)p->in[0]->shape.dims[0];
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->pixels = (size_t)q->g.oh * (size_t)q->g.ow;
    q->lo = fb_act_lo(&a->act);
    q->hi = fb_act_hi(&a->act);
    q->fn = fbk_conv_transpose_f32_pick(p->plan->cpu, &p->step->kernel);
    size_t taps = p->in[1]->elems; /* upper bound of multiply-adds for one pixel */
    q->grain = fb_row_grain(taps);
    q->tiles_per_image = fb_tiles(q->pixels, q->grain);
    p->step->n_tiles = (uint32_t)images * q->tiles_per_image;
    p->step->macs = (uint64_t)p->in[0]->elems / (uint64_t)q->g.c * taps;
    p->step->run = run_conv_transpose;
    p->step->params = q;
    return FB_OK;
}
