/* Accumulators within 32 bits, by construction or by proof. */
#include "compress/accumulator.h"

#include "model/fixed.h"
#include "numeric/requant.h"

#include <stdlib.h>

enum { CODE_REACH = 255 }; /* of |x code - zero|; the plan's own bound on biases counts so, too */

/* Beyond 32 bits where the plan would have to clip it. */
static int64_t bias_reach(float bias, float x_scale, float w_scale)
{
    double v = fabs((double)(bias / (x_scale * w_scale)));
    return v < (double)INT32_MAX ? llrint(v) : (int64_t)1 << 32;
}

static bool channel_fits(const fb_weight_codes *c, size_t oc, size_t channel, float bias,
                         fb_input_codes x)
{
    size_t k = c->n / oc, at = channel * k, first = at / c->inner * c->per_inner;
    int64_t sum = 0, largest_bias = 0;
    for (size_t i = at; i < at + k; i++) {
        size_t b = first + i % c->inner / c->block;
        int32_t zero = c->zero ? c->zero[b] : 0;
        sum += abs(fb_weight_code(c->rule, c->w[i], c->scale[b], zero) - zero);
        if (i % c->block == 0 || i == at) {
            int64_t reach = bias_reach(bias, x.scale, c->scale[b]);
            largest_bias = reach > largest_bias ? reach : largest_bias;
        }
    }
    return sum * CODE_REACH + largest_bias <= INT32_MAX;
}

fb_status fb_accumulator_fit(fb_weight_codes *c, uint32_t oc, const float *bias, fb_input_codes x)
{
    for (uint32_t channel = 0; channel < oc; channel++) {
        float b = bias ? bias[channel] : 0;
        if (!isfinite(b))
            return fb_fail(FB_E_FORMAT, "the bias of channel %u is %g; it must be finite", channel,
                           (double)b);
        size_t first = (size_t)channel * (c->n / oc) / c->inner * c->per_inner;
        while (!channel_fits(c, oc, channel, b, x)) {
            for (size_t k = first; k < first + c->per_inner; k++)
                c->scale[k] *= 2;
        }
    }
    return FB_OK;
}

/* Of a channel, with n integers, of an encoded weight. */
static bool stored_channel_fits(const fb_tensor *w, const int16_t *q, size_t n, size_t channel,
                                float bias, fb_input_codes x)
{
    const fb_encoding *e = &w->enc;
    size_t s = e->axis >= 0 ? channel : 0;
    int64_t sum = 0;
    for (size_t i = channel * n; i < (channel + 1) * n; i++)
        sum += abs(q[i]);
    return sum * CODE_REACH + bias_reach(bias, x.scale, e->scale[s]) <= INT32_MAX;
}

fb_status fb_accumulator_check(const fb_model *m, const fb_node *n)
{
    int32_t weight = fb_node_weight(m, n);
    const fb_tensor *x = &m->tensors[n->in[0]], *w = weight >= 0 ? &m->tensors[weight] : NULL;
    if (!w || !fb_encoding_is_bytes(&x->enc) || !fb_tensor_is_int8(w) || fb_node_is_fixed(n))
        return FB_OK;
    size_t oc = (size_t)w->dims[0];
    int64_t n_elems;
    FB_ENSURE(fb_tensor_elems(w, 0, &n_elems));
    const fb_tensor *b = n->n_in > 2 && n->in[2] >= 0 ? &m->tensors[n->in[2]] : NULL;
    float *bias = fb_calloc(oc, sizeof *bias);
    int16_t *q = fb_calloc((size_t)n_elems, sizeof *q);
    fb_status status = FB_OK;
    if (!bias || !q) {
        status = fb_fail(FB_E_MEMORY, "no memory for layer '%.200s'", n->name);
        goto fail;
    }
    fb_tensor_integers(w, 0, (size_t)n_elems, q);
    if (b && b->is_const && b->dtype == FB_F32)
        FB_GO(fb_tensor_decode(b, bias));
    fb_input_codes in = {x->enc.scale[0], x->enc.zero ? x->enc.zero[0] : 0};
    for (size_t c = 0; c < oc; c++) {
        if (!stored_channel_fits(w, q, (size_t)n_elems / oc, c, bias[c], in)) {
            status = fb_fail(FB_E_LIMIT,
                             "layer '%.200s': the sums of channel %zu can exceed 32 "
                             "bits; use fewer bits or exclude the layer",
                             n->name, c);
            break;
        }
    }
fail:
    fb_free(bias);
    fb_free(q);
    return status;
}
