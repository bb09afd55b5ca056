/* Shapes of integer layers. */
#include "plan/op_q.h"

bool fb_layer_fits(const fb_prepare *p)
{
    return p->in[0]->elems < UINT32_MAX && p->out[0]->elems < UINT32_MAX;
}

fb_status fb_conv_shape(const fb_prepare *p, fbk_layer *shape)
{
    const fb_attr_conv *a = &p->node->attr.conv;
    const fb_window_attr w = {a->kh,    a->kw,    a->stride_h, a->stride_w, a->dil_h,
                              a->dil_w, a->pad_t, a->pad_l,    a->pad_b,    a->pad_r};
    fbk_window g;
    FB_ENSURE(p->in[0]->shape.rank == 4);
    FB_TRY(fb_window_make(&w, p->in[0], p->out[0], a->groups, &g));
    *shape = (fbk_layer){.n = (uint32_t)p->in[0]->shape.dims[0],
                         .ih = (uint32_t)g.h,
                         .iw = (uint32_t)g.w,
                         .ic = (uint32_t)g.c,
                         .oh = (uint32_t)g.oh,
                         .ow = (uint32_t)g.ow,
                         .oc = (uint32_t)g.oc,
                         .kh = (uint32_t)g.kh,
                         .kw = (uint32_t)g.kw,
                         .stride_h = (uint32_t)g.stride_h,
                         .stride_w = (uint32_t)g.stride_w,
                         .dil_h = (uint32_t)g.dil_h,
                         .dil_w = (uint32_t)g.dil_w,
                         .groups = (uint32_t)g.groups,
                         .pad_t = g.pad_t,
                         .pad_l = g.pad_l};
    return FB_OK;
}

fb_status fb_dense_shape(const fb_prepare *p, fbk_layer *shape)
{
    const fb_shape *w = &p->in[1]->shape;
    FB_ENSURE(w->rank == 2 && p->in[0]->elems % (size_t)w->dims[1] == 0);
    uint32_t rows = (uint32_t)(p->in[0]->elems / (size_t)w->dims[1]);
    *shape = (fbk_layer){.n = 1,
                         .ih = 1,
                         .iw = rows,
                         .ic = (uint32_t)w->dims[1],
                         .oh = 1,
                         .ow = rows,
                         .oc = (uint32_t)w->dims[0],
                         .kh = 1,
                         .kw = 1,
                         .stride_h = 1,
                         .stride_w = 1,
                         .dil_h = 1,
                         .dil_w = 1,
                         .groups = 1};
    return FB_OK;
}
