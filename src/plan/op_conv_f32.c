/* Convolution of f32 images: depthwise, indirect gemm on packed weights, or direct (reference, and
 * weights that are known only while running). Batched dense layers are 1 x 1 convolutions. */
#include "kernels/conv_f32.h"
#include "kernels/igemm_f32.h"
#include "plan/op_igemm_f32.h"
#include "plan/op_sparse_f32.h"

enum { DEPTHWISE_TILE_MACS = 200000 };

typedef struct conv_params {
    fbk_window g;
    fb_operand w;
    size_t in_elems, out_elems, pixels, grain; /* of one image; pixels of a tile */
    uint32_t tiles_per_image;
    float lo, hi;
    fbk_conv_f32_fn *direct; /* or depthwise: the same form */
} conv_params;

static void run_conv(const fb_tile *t)
{
    const conv_params *q = t->step->params;
    size_t image = t->index / q->tiles_per_image, from, to;
    fb_tile_range(q->pixels, q->grain, t->index % q->tiles_per_image, &from, &to);
    fbk_conv_f32_args a = {.g = &q->g,
                           .x = (const float *)t->in[0] + image * q->in_elems,
                           .w = fb_operand_at(&q->w, t, 1),
                           .bias = t->step->n_in > 2 ? t->in[2] : NULL,
                           .y = (float *)t->out[0] + image * q->out_elems,
                           .lo = q->lo,
                           .hi = q->hi};
    q->direct(&a, from, to);
}

/* [c][kh][kw] to [kh][kw][c]. */
static fb_status pack_depthwise(fb_prepare *p, conv_params *q)
{
    fb_weight w;
    FB_TRY(fb_weight_open(p, 1, &w));
    size_t c = (size_t)q->g.c, taps = (size_t)q->g.kh * (size_t)q->g.kw;
    float *packed = fb_plan_alloc_packed(p->plan, c * taps, sizeof *packed);
    if (packed) {
        for (size_t k = 0; k < taps; k++)
            for (size_t i = 0; i < c; i++)
                packed[k * c + i] = w.data[i * taps + k];
    }
    fb_weight_release(&w);
    q->w.data = packed;
    return packed ? FB_OK : fb_plan_no_memory(p);
}

fb_status fb_prepare_conv_f32(fb_prepare *p)
{
    const fb_attr_conv *a = &p->node->attr.conv;
    const fb_slot *const slots[] = {p->in[0], p->in[2], p->out[0]};
    fb_window_attr w = {a->kh,    a->kw,    a->stride_h, a->stride_w, a->dil_h,
                        a->dil_w, a->pad_t, a->pad_l,    a->pad_b,    a->pad_r};
    conv_params *q;
    FB_TRY(fb_need_f32(p, slots, 3));
    FB_PLAN_ALLOC(p, q, 1);
    FB_TRY(fb_window_make(&w, p->in[0], p->out[0], a->groups, &q->g));
    size_t images = (size_t)p->in[0]->shape.dims[0];
    q->in_elems = p->in[0]->elems / images;
    q->out_elems = p->out[0]->elems / images;
    q->pixels = (size_t)q->g.oh * (size_t)q->g.ow;
    q->lo = fb_act_lo(&a->act);
    q->hi = fb_act_hi(&a->act);
    size_t macs = p->in[1]->elems; /* multiply-adds for one pixel */
    p->step->macs = (uint64_t)images * q->pixels * macs;
    p->step->params = q;
    p->step->run = run_conv;
    bool depthwise = q->g.groups == q->g.c && q->g.c == q->g.oc && q->g.c > 1;
    if (depthwise && p->in[1]->place == FB_PLACE_CONST) {
        FB_TRY(pack_depthwise(p, q));
        /* Whole rows, so that the kernel keeps its window; some 8 microseconds of work. */
        size_t row_macs = (size_t)q->g.ow * macs, ow = (size_t)q->g.ow;
        q->grain = row_macs < DEPTHWISE_TILE_MACS ? DEPTHWISE_TILE_MACS / row_macs * ow : ow;
        q->direct = fbk_dwconv_f32_pick(p->plan->cpu, &p->step->kernel);
    } else if (p->in[1]->place == FB_PLACE_CONST && fb_igemm_f32_usable(p)) {
        FB_TRY(fb_prepare_sparse_conv_f32(p, &q->g, images, &a->act));
        if (p->step->kernel)
            return FB_OK;
        /* Without a window, images are one long row of pixels. */
        bool point = a->kh == 1 && a->kw == 1 && a->stride_h == 1 && a->stride_w == 1 &&
                     q->g.oh == q->g.h && q->g.ow == q->g.w && a->pad_t == 0 && a->pad_l == 0;
        if (point && images * q->pixels <= INT32_MAX / 2) {
            q->g.h = q->g.oh = 1;
            q->g.w = q->g.ow = (int32_t)(images * q->pixels);
            images = 1;
        }
        return fb_prepare_igemm_f32(p, &q->g, images, &a->act);
    } else {
        FB_TRY(fb_operand_plain(p, 1, &q->w));
        q->grain = fb_row_grain(macs);
        q->direct = fbk_conv_f32_pick(p->plan->cpu, &p->step->kernel);
    }
    q->tiles_per_image = fb_tiles(q->pixels, q->grain);
    p->step->n_tiles = (uint32_t)images * q->tiles_per_image;
    return FB_OK;
}
