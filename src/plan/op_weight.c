#include "plan/op_weight.h"

#include <string.h>

static bool is_plain_const(const fb_slot *s)
{
    return s->place == FB_PLACE_CONST && s->shape.dtype == FB_F32 && s->enc->kind == FB_ENC_PLAIN &&
           !s->enc->sparse;
}

fb_status fb_weight_open(fb_prepare *p, uint32_t i, fb_weight *w)
{
    const fb_slot *s = p->in[i];
    *w = (fb_weight){NULL, NULL};
    if (s->place != FB_PLACE_CONST)
        return fb_need_f32(p, &s, 1);
    if (is_plain_const(s)) {
        w->data = s->data;
        return FB_OK;
    }
    FB_TRY(fb_prepare_decode(p, s, &w->decoded));
    w->data = w->decoded;
    return FB_OK;
}

void fb_weight_release(fb_weight *w)
{
    fb_free(w->decoded);
    *w = (fb_weight){NULL, NULL};
}

fb_status fb_operand_plain(fb_prepare *p, uint32_t i, fb_operand *out)
{
    fb_weight w;
    FB_TRY(fb_weight_open(p, i, &w));
    out->data = w.data;
    if (!w.decoded)
        return FB_OK;
    float *keep = fb_plan_alloc_packed(p->plan, p->in[i]->elems, sizeof *keep);
    if (keep)
        memcpy(keep, w.decoded, p->in[i]->elems * sizeof *keep);
    out->data = keep;
    fb_weight_release(&w);
    return keep ? FB_OK : fb_plan_no_memory(p);
}
