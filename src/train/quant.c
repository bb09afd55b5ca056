/* What all quantisers share. */
#include "train/quant_def.h"

#include <string.h>

void *fb_quant_room(const fb_quant *q, size_t n, size_t size)
{
    return fb_arena_array(q->net->arena, n, size);
}

fb_status fb_quant_add(fb_quant *q, int k, const char *name, size_t n, const float *start)
{
    return fb_net_add_param(q->net, name, n, start, &q->own[k]);
}

fb_status fb_quant_add_scales(fb_quant *q, size_t n)
{
    float *ones = fb_alloc(n * sizeof *ones);
    if (!ones)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    for (size_t i = 0; i < n; i++)
        ones[i] = 1;
    fb_status status = fb_quant_add(q, FB_QUANT_SCALE, "weight.scale", n, ones);
    fb_free(ones);
    return status;
}

static const fb_quant_def *def_of(const fb_tensor *as, const fb_quant_options *o)
{
    switch (as->enc.kind) {
    case FB_ENC_PLAIN:
        return o->ternary ? &fb_quant_ternary_def : NULL;
    case FB_ENC_AFFINE:
        return &fb_quant_affine_def;
    case FB_ENC_LEVELS:
        return &fb_quant_levels_def;
    case FB_ENC_PRODUCT:
        return &fb_quant_product_def;
    default:
        return NULL;
    }
}

static fb_status check(const fb_tensor *as)
{
    if (as->enc.n_patches > 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "cannot tune weight '%s': %u of its elements are kept aside", as->name,
                       as->enc.n_patches);
    if (as->enc.kind != FB_ENC_PRODUCT && as->enc.axis > 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "cannot tune weight '%s': its scales go along axis %d; scales go along the "
                       "output channels",
                       as->name, as->enc.axis);
    if (as->enc.table_bits > 0)
        return fb_fail(FB_E_UNSUPPORTED,
                       "cannot tune weight '%s': it runs by look-up tables; tune the model before "
                       "the step lut",
                       as->name);
    return FB_OK;
}

/* Which masters do not learn: all where codes are fixed, and zeros that are to stay. */
static void freeze(fb_quant *q, const float *w)
{
    bool fixed = q->options.codes == FB_CODES_FIXED || q->def == &fb_quant_product_def;
    for (size_t i = 0; i < q->n; i++)
        q->mask[i] = !fixed && !(q->options.keep_zeros && w[i] == 0);
}

static fb_status make(fb_quant *q)
{
    fb_param *p = fb_quant_master(q);
    q->n = p->n;
    q->channels = (size_t)q->as->dims[0];
    q->inner = q->n / q->channels;
    q->value = fb_quant_room(q, q->n, sizeof *q->value);
    q->mask = fb_quant_room(q, q->n, 1);
    if (!q->value || !q->mask)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    FB_TRY(fb_tensor_decode(q->as, p->w));
    freeze(q, p->w);
    FB_TRY(q->def->create(q, p->w));
    p->q = q->value;
    p->mask = q->mask;
    return q->def->forward(q);
}

fb_status fb_quant_create(fb_net *net, int32_t param, const fb_tensor *as, const float *start,
                          const fb_quant_options *options, fb_quant **out)
{
    *out = NULL;
    FB_TRY(check(as));
    fb_quant *q = fb_calloc(1, sizeof *q);
    if (!q)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    *q = (fb_quant){.def = def_of(as, options),
                    .net = net,
                    .as = as,
                    .start = start,
                    .options = *options,
                    .param = param,
                    .own = {-1, -1}};
    fb_status status = q->def ? make(q) : fb_fail(FB_E_ARG, "weight '%s' is not encoded", as->name);
    q->start = NULL;
    if (status != FB_OK)
        fb_quant_destroy(q);
    else
        *out = q;
    return status;
}

void fb_quant_destroy(fb_quant *q)
{
    if (q && q->def && q->def->destroy)
        q->def->destroy(q);
    fb_free(q);
}

fb_status fb_quant_forward(fb_quant *q)
{
    return q->def->forward(q);
}

void fb_quant_backward(fb_quant *q)
{
    q->def->backward(q);
}

fb_status fb_quant_store(const fb_quant *q, const float *const *values, const float *factor,
                         fb_model *m, int32_t tensor)
{
    return q->def->store(q, values, factor, m, tensor);
}
