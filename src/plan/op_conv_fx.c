#include "plan/op_conv_fx.h"

#include "kernels/conv_fx.h"
#include "model/fixed.h"
#include "plan/op_q.h"

typedef struct fx_params {
    fbk_conv_fx conv;
    const fbk_conv_fx_row *row;
} fx_params;

static void run_fx(const fb_tile *t)
{
    const fx_params *k = t->step->params;
    k->row->run(&k->conv, t->in[0], t->out[0], t->scratch, t->index, t->over);
}

/* What packing reads, in heap memory. */
typedef struct source {
    float *values; /* decoded weight, then bias */
    int16_t *w;
    int32_t *bias, *shift;
    float *scale;
} source;

static void source_free(source *s)
{
    fb_free(s->values);
    fb_free(s->w);
    fb_free(s->bias);
    fb_free(s->shift);
    fb_free(s->scale);
}

/* Codes of a tensor whose scale is 2^-f. */
typedef struct format {
    fb_codes codes;
    int32_t f;
} format;

static fb_status read_format(const fb_prepare *p, const fb_slot *slot, const char *what,
                             format *out)
{
    if (slot->place == FB_PLACE_CONST || !fb_codes_of(slot, &out->codes) || out->codes.zero != 0 ||
        !fb_fraction_bits(out->codes.scale, &out->f))
        return fb_fail(FB_E_UNSUPPORTED,
                       "layer '%s' is in fixed point, but its %s is not stored as integers times "
                       "one power of two",
                       p->step->name, what);
    return FB_OK;
}

static int32_t fraction_of(const fb_encoding *e, uint32_t channel)
{
    int32_t f = 0;
    (void)fb_fraction_bits(e->scale[e->n_scales == 1 ? 0 : channel], &f);
    return f;
}

/* Weights as integers: any encoding with powers of two, since they decode exactly. */
static fb_status read_weight(const fb_prepare *p, uint32_t oc, source *s)
{
    const fb_slot *w = p->in[1];
    if (w->place != FB_PLACE_CONST || !w->tensor || !fb_tensor_is_fixed(w->tensor))
        return fb_fail(
            FB_E_UNSUPPORTED,
            "layer '%s' is in fixed point, but its weight has no powers of two as scales",
            p->step->name);
    s->w = fb_calloc(w->elems, sizeof *s->w);
    if (!s->w)
        return fb_plan_no_memory(p);
    FB_TRY(fb_prepare_decode(p, w, &s->values));
    size_t taps = w->elems / oc;
    for (uint32_t o = 0; o < oc; o++) {
        int32_t f = fraction_of(w->enc, o);
        for (size_t i = o * taps; i < (o + 1) * taps; i++)
            s->w[i] = (int16_t)ldexpf(s->values[i], f);
    }
    fb_free(s->values);
    s->values = NULL;
    return FB_OK;
}

/* In units of the accumulator; an S32 constant is taken as such. */
static fb_status read_bias(const fb_prepare *p, const fb_fixed *law, int32_t fx, uint32_t oc,
                           source *s)
{
    const fb_slot *b = p->in[2];
    if (!b)
        return FB_OK;
    FB_ENSURE(b->elems == oc && b->place == FB_PLACE_CONST);
    if (b->enc->kind == FB_ENC_PLAIN && b->shape.dtype == FB_S32) {
        for (uint32_t o = 0; o < oc; o++)
            s->bias[o] = ((const int32_t *)b->data)[o];
        return FB_OK;
    }
    FB_TRY(fb_prepare_decode(p, b, &s->values));
    for (uint32_t o = 0; o < oc; o++)
        s->bias[o] = fb_fixed_value((double)s->values[o], fraction_of(p->in[1]->enc, o) + fx,
                                    (fb_rounding)law->rounding);
    return FB_OK;
}

static fb_status read_source(const fb_prepare *p, const fb_fixed *law, int32_t fx, int32_t fy,
                             uint32_t oc, source *s)
{
    FB_TRY(read_weight(p, oc, s));
    s->bias = fb_calloc(oc, sizeof *s->bias);
    s->shift = fb_calloc(oc, sizeof *s->shift);
    s->scale = fb_calloc(oc, sizeof *s->scale);
    if (!s->bias || !s->shift || !s->scale)
        return fb_plan_no_memory(p);
    FB_TRY(read_bias(p, law, fx, oc, s));
    for (uint32_t o = 0; o < oc; o++) {
        int32_t fa = fraction_of(p->in[1]->enc, o) + fx;
        s->shift[o] = fa - fy;
        s->scale[o] = ldexpf(1, -fa);
    }
    return FB_OK;
}

/* Codes that may come out, and which of their ends are those of the width. */
static void set_output(fbk_conv_fx *c, fb_codes y, const fb_act *act)
{
    float least = (float)y.lo * y.scale, most = (float)y.hi * y.scale;
    c->lo_counts = !act->clamp || act->lo < least;
    c->hi_counts = !act->clamp || act->hi > most;
    fb_codes_clamp(&y, act);
    c->y_lo = y.lo;
    c->y_hi = y.hi;
}

/* Finishes c (its shape is set), chooses the kernel and packs. */
static fb_status prepare_layer(fb_prepare *p, fbk_conv_fx *c, const fb_act *act)
{
    source s = {0};
    format x, y = {.f = 0};
    fx_params *k;
    FB_TRY(read_format(p, p->in[0], "input", &x));
    c->law = *fb_node_fixed(p->node);
    c->x_type = p->in[0]->shape.dtype;
    c->x_bits = x.codes.bits;
    c->y_type = p->out[0]->shape.dtype;
    c->act_lo = fb_act_lo(act);
    c->act_hi = fb_act_hi(act);
    if (c->y_type != FB_F32) {
        FB_TRY(read_format(p, p->out[0], "output", &y));
        set_output(c, y.codes, act);
    }
    fb_status status;
    FB_GO(read_source(p, &c->law, x.f, y.f, c->oc, &s));
    fbk_fx_weights weights = {s.w, s.bias, s.shift, s.scale};
    fbk_conv_fx_prove(c, &weights);
    const fbk_conv_fx_row *row = fbk_conv_fx_choose(c, p->plan->cpu);
    c->packed = fb_plan_alloc_packed(p->plan, c->packed_bytes, 1);
    k = fb_plan_alloc(p->plan, 1, sizeof *k);
    if (!c->packed || !k) {
        status = fb_plan_no_memory(p);
        goto fail;
    }
    row->pack(c, &weights);
    k->conv = *c;
    k->row = row;
    p->step->kernel = row->name;
    p->step->run = run_fx;
    p->step->n_tiles = c->n_tiles;
    p->step->scratch_bytes = c->scratch_bytes;
    p->step->params = k;
    p->step->counts = true;
    p->step->macs = c->n * fbk_layer_macs(&c->shape, c->oh);
fail:
    source_free(&s);
    return status;
}

static fb_status check_size(const fb_prepare *p)
{
    return fb_layer_fits(p) ? FB_OK
                            : fb_fail(FB_E_LIMIT,
                                      "layer '%s': its input or output has 2^32 or more "
                                      "elements",
                                      p->step->name);
}

fb_status fb_prepare_conv_fx(fb_prepare *p)
{
    fbk_conv_fx c = {.n = 0};
    FB_TRY(check_size(p));
    FB_TRY(fb_conv_shape(p, &c.shape));
    return prepare_layer(p, &c, &p->node->attr.conv.act);
}

fb_status fb_prepare_dense_fx(fb_prepare *p)
{
    fbk_conv_fx c = {.n = 0};
    FB_TRY(check_size(p));
    FB_TRY(fb_dense_shape(p, &c.shape));
    return prepare_layer(p, &c, &p->node->attr.dense.act);
}
