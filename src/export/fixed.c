/* Layers in fixed point: ONNX can say what they compute only where QuantizeLinear's rounding is
 * theirs and no sum ever meets the end of its accumulator. */
#include "export/graph.h"

#include "model/fixed.h"

#include <math.h>

static _Noreturn void refuse(fbx_graph *g, const fb_node *n, const char *why)
{
    fbx_stop(g, fb_fail(FB_E_UNSUPPORTED,
                        "layer '%s' is computed in fixed point and has no form in ONNX: %s",
                        n->name, why));
}

/* The largest magnitude that a sum of channel `o` can have, in units of its accumulator. */
static double reach_of(const fbx_graph *g, const fb_node *n, const float *w, size_t taps,
                       const float *bias, size_t o)
{
    const fb_encoding *x = &g->m->tensors[n->in[0]].enc, *e = &g->m->tensors[n->in[1]].enc;
    double most_x = ldexp(1, x->is_signed ? x->bits - 1 : x->bits);
    double ws = (double)e->scale[e->n_scales == 1 ? 0 : o], sum = 0;
    for (size_t i = o * taps; i < (o + 1) * taps; i++)
        sum += fabs((double)w[i]) / ws;
    return sum * most_x + (bias ? fabs((double)bias[o]) / (ws * (double)x->scale[0]) + 1 : 0);
}

static float *decoded(fbx_graph *g, const fb_tensor *t, int64_t *elems)
{
    (void)fb_tensor_elems(t, 1, elems);
    float *v = fbx_alloc(g, (size_t)*elems, sizeof *v);
    fb_status status = fb_tensor_decode(t, v);
    if (status != FB_OK)
        fbx_stop(g, status);
    return v;
}

void fbx_check_fixed(fbx_graph *g, const fb_node *n)
{
    if (!fb_node_is_fixed(n))
        return;
    const fb_fixed *f = fb_node_fixed(n);
    const fb_tensor *w = &g->m->tensors[n->in[1]];
    bool has_bias = n->n_in > 2 && n->in[2] >= 0;
    int64_t n_w, n_b;
    if (f->rounding != FB_ROUND_HALF_EVEN)
        refuse(g, n, "QuantizeLinear rounds half to even (compress with round=half-even)");
    const float *values = decoded(g, w, &n_w);
    const float *bias = has_bias ? decoded(g, &g->m->tensors[n->in[2]], &n_b) : NULL;
    size_t oc = (size_t)w->dims[0];
    for (size_t o = 0; o < oc; o++) {
        double reach = reach_of(g, n, values, (size_t)n_w / oc, bias, o);
        if (reach > (double)fb_acc_max(f->acc_bits))
            refuse(g, n, "its sums can leave the accumulator, which ONNX does not have");
        if (reach > 0x1p24)
            refuse(g, n, "its sums can need more than the 24 bits that engines keep of them");
    }
}
