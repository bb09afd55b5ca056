/* Convolution and dense layers on codes: 8-bit inputs, weights of up to 8 bits, an output of codes
 * or, for the last layer, of floats.
 *
 * Weight codes less their zero points go to the kernel as they are; per-tensor and per-channel
 * scales both fit. Where they are few different ones, by 4-bit codes or by levels, the kernel keeps
 * them packed. The bias becomes an integer in units of x_scale * w_scale[channel]: an S32
 * constant is taken as such units already, an f32 one is rounded to them. */
#include "kernels/conv_q.h"
#include "plan/op_conv_fx.h"
#include "plan/op_prod_q.h"
#include "plan/op_q.h"

typedef struct conv_params {
    fbk_conv_q conv;
    const fbk_conv_q_row *row;
} conv_params;

static void run_conv(const fb_tile *t)
{
    const conv_params *k = t->step->params;
    k->row->run(&k->conv, t->in[0], t->out[0], t->scratch, t->index);
}

/* What packing reads, in heap memory. */
typedef struct source {
    int16_t *w;     /* [oc][taps] codes less zero points */
    float *w_scale; /* [oc] */
    int32_t *bias;  /* [oc] */
    float *scale;   /* [oc] */
    float *decoded; /* f32 bias */
    int8_t *values; /* [oc][16] room for the tables of few values */
    bool wide;
} source;

static void source_free(source *s)
{
    fb_free(s->w);
    fb_free(s->w_scale);
    fb_free(s->bias);
    fb_free(s->scale);
    fb_free(s->decoded);
    fb_free(s->values);
}

static bool takes_weight(const fb_slot *w)
{
    return w && w->place == FB_PLACE_CONST && w->tensor && fb_tensor_is_int8(w->tensor);
}

static bool takes_bias(const fb_slot *b)
{
    return !b || (b->place == FB_PLACE_CONST && b->tensor);
}

static void read_weight(const fb_slot *w, uint32_t oc, source *s)
{
    const fb_encoding *e = w->enc;
    for (uint32_t o = 0; o < oc; o++)
        s->w_scale[o] = e->scale[e->n_scales == 1 ? 0 : o];
    fb_tensor_integers(w->tensor, 0, w->elems, s->w);
    for (size_t i = 0; i < w->elems; i++)
        s->wide = s->wide || s->w[i] < -128 || s->w[i] > 127;
}

/* The largest |bias| that leaves room for every sum of products. */
static int32_t bias_limit(const int16_t *w, size_t taps)
{
    int64_t sum = 0;
    for (size_t i = 0; i < taps; i++)
        sum += w[i] < 0 ? -w[i] : w[i];
    int64_t limit = INT32_MAX - 255 * sum;
    return limit > 0 ? (int32_t)limit : 0;
}

static fb_status read_bias(const fb_prepare *p, float x_scale, uint32_t oc, size_t taps, source *s)
{
    const fb_slot *b = p->in[2];
    if (!b)
        return FB_OK;
    FB_ENSURE(b->elems == oc);
    if (b->enc->kind == FB_ENC_PLAIN && b->shape.dtype == FB_S32) {
        for (uint32_t o = 0; o < oc; o++)
            s->bias[o] = ((const int32_t *)b->data)[o];
        return FB_OK;
    }
    FB_TRY(fb_prepare_decode(p, b, &s->decoded));
    for (uint32_t o = 0; o < oc; o++)
        s->bias[o] =
            fb_bias_code(s->decoded[o], x_scale, s->w_scale[o], bias_limit(s->w + o * taps, taps));
    return FB_OK;
}

static fb_status read_source(const fb_prepare *p, const fb_codes *x, const fb_codes *y,
                             bool f32_out, uint32_t oc, source *s)
{
    size_t taps = p->in[1]->elems / oc;
    s->w = fb_calloc(p->in[1]->elems, sizeof *s->w);
    s->w_scale = fb_calloc(oc, sizeof *s->w_scale);
    s->bias = fb_calloc(oc, sizeof *s->bias);
    s->scale = fb_calloc(oc, sizeof *s->scale);
    s->values = fb_calloc((size_t)oc * 16, sizeof *s->values);
    if (!s->w || !s->w_scale || !s->bias || !s->scale || !s->values)
        return fb_plan_no_memory(p);
    read_weight(p->in[1], oc, s);
    FB_TRY(read_bias(p, x->scale, oc, taps, s));
    for (uint32_t o = 0; o < oc; o++)
        s->scale[o] = f32_out ? x->scale * s->w_scale[o]
                              : fb_requant_scale(x->scale, s->w_scale[o], y->scale);
    return FB_OK;
}

/* Finishes c (its shape is set), chooses the kernel and packs. */
static fb_status prepare_layer(fb_prepare *p, fbk_conv_q *c, const fb_act *act, const fb_codes *x,
                               fb_codes y, bool f32_out)
{
    source s = {0};
    conv_params *k;
    c->x_signed = x->is_signed;
    c->x_zero = x->zero;
    c->f32_out = f32_out;
    c->act_lo = fb_act_lo(act);
    c->act_hi = fb_act_hi(act);
    if (!f32_out) {
        fb_codes_clamp(&y, act);
        c->y_signed = y.is_signed;
        c->y_zero = y.zero;
        c->y_lo = y.lo;
        c->y_hi = y.hi;
    }
    if (fb_prod_q_takes(p, p->in[1], x, c->groups))
        return fb_prepare_prod_q(p, c, x, &y);
    fb_status status;
    FB_GO(read_source(p, x, &y, f32_out, c->oc, &s));
    fbk_conv_q_values(c, s.w, s.values);
    const fbk_conv_q_row *row = fbk_conv_q_choose(c, p->plan->cpu, s.wide);
    c->packed = fb_plan_alloc_packed(p->plan, c->packed_bytes, 1);
    k = fb_plan_alloc(p->plan, 1, sizeof *k);
    if (!c->packed || !k) {
        status = fb_plan_no_memory(p);
        goto fail;
    }
    row->pack(c, s.w, s.bias, s.scale);
    k->conv = *c;
    k->conv.values = NULL; /* in the packed weights now */
    k->row = row;
    p->step->kernel = row->name;
    p->step->run = run_conv;
    p->step->n_tiles = c->n_tiles;
    p->step->scratch_bytes = c->scratch_bytes;
    p->step->params = k;
    p->step->macs = c->n * fbk_layer_macs(&c->shape, c->oh);
fail:
    source_free(&s);
    return status;
}

/* The layer's codes, or false: it is declined. */
static bool takes(const fb_prepare *p, uint32_t groups, fb_codes *x, fb_codes *y, bool *f32_out)
{
    const fb_slot *out = p->out[0];
    *f32_out = out->enc->kind == FB_ENC_PLAIN && out->shape.dtype == FB_F32;
    return p->in[0]->place != FB_PLACE_CONST && fb_codes8_of(p->in[0], x) &&
           (*f32_out || fb_codes8_of(out, y)) && takes_bias(p->in[2]) &&
           (takes_weight(p->in[1]) || (p->in[1] && fb_prod_q_takes(p, p->in[1], x, groups))) &&
           fb_layer_fits(p);
}

fb_status fb_prepare_conv_q(fb_prepare *p)
{
    const fb_attr_conv *a = &p->node->attr.conv;
    fb_codes x, y = {0};
    bool f32_out;
    if (a->fixed.acc_bits)
        return fb_prepare_conv_fx(p);
    if (p->in[0]->shape.rank != 4 || !takes(p, (uint32_t)a->groups, &x, &y, &f32_out))
        return FB_OK;
    fbk_conv_q c = {.n = 0};
    FB_TRY(fb_conv_shape(p, &c.shape));
    return prepare_layer(p, &c, &a->act, &x, y, f32_out);
}

fb_status fb_prepare_dense_q(fb_prepare *p)
{
    fb_codes x, y = {0};
    bool f32_out;
    if (p->node->attr.dense.fixed.acc_bits)
        return fb_prepare_dense_fx(p);
    if (!takes(p, 1, &x, &y, &f32_out))
        return FB_OK;
    fbk_conv_q c = {.n = 0};
    FB_TRY(fb_dense_shape(p, &c.shape));
    return prepare_layer(p, &c, &p->node->attr.dense.act, &x, y, f32_out);
}
