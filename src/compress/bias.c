#include "compress/bias.h"

#include "model/fixed.h"
#include "numeric/requant.h"

fb_status fb_bias_encode(fb_model *m, int32_t tensor, unsigned bits, bool pow2)
{
    const fb_tensor *t = &m->tensors[tensor];
    const int32_t most = fb_code_max(bits, true);
    int64_t n;
    size_t bytes;
    FB_ENSURE(fb_tensor_elems(t, 0, &n) && fb_packed_bytes((size_t)n, bits, &bytes));
    float *b = fb_calloc((size_t)n, sizeof *b), reach = 0;
    uint8_t *q = fb_calloc(1, bytes);
    fb_status status = FB_OK;
    if (!b || !q) {
        status = fb_fail(FB_E_MEMORY, "no memory for bias '%.200s'", t->name);
        goto fail;
    }
    FB_GO(fb_tensor_decode(t, b));
    for (int64_t i = 0; i < n; i++)
        reach = fabsf(b[i]) > reach ? fabsf(b[i]) : reach;
    float scale = reach / (float)most;
    scale = scale > 0x1p-100f ? scale : 0x1p-100f;
    if (pow2)
        scale = ldexpf(1, fb_integer_bits((double)scale));
    for (int64_t i = 0; i < n; i++)
        fb_packed_put(q, (size_t)i, bits, fb_quantize(b[i], scale, 0, -most, most));
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = (uint8_t)bits,
                     .is_signed = true,
                     .pow2 = pow2,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    status = fb_model_set_payload(m, tensor, &e, q, bytes);
fail:
    fb_free(b);
    fb_free(q);
    return status;
}

/* Whether a node other than those that take it as a bias reads it. */
static bool is_read_elsewhere(const fb_model *m, const bool *integer, int32_t tensor)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (n->in[k] == tensor && !(integer[i] && k == 2))
                return true;
        }
    }
    for (uint32_t k = 0; k < m->n_outputs; k++) {
        if (m->outputs[k] == tensor)
            return true;
    }
    return false;
}

static fb_status encode_marked(fb_model *m, const bool *integer)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t b = integer[i] && n->n_in > 2 ? n->in[2] : -1;
        const fb_tensor *t = b >= 0 ? &m->tensors[b] : NULL;
        if (t && t->is_const && t->dtype == FB_F32 && t->enc.kind == FB_ENC_PLAIN &&
            !is_read_elsewhere(m, integer, b)) {
            bool fixed = fb_node_is_fixed(n);
            FB_TRY(fb_bias_encode(m, b, fixed ? FB_BIAS_FIXED_BITS : FB_BIAS_BITS, fixed));
        }
    }
    return FB_OK;
}

fb_status fb_bias_encode_integer(fb_model *m)
{
    bool *integer = fb_calloc(m->n_nodes + 1, sizeof *integer);
    if (!integer)
        return fb_fail(FB_E_MEMORY, "no memory for the model");
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t w = fb_node_weight(m, n);
        integer[i] = w >= 0 && n->op != FB_OP_CONV_TRANSPOSE && n->in[0] >= 0 &&
                     m->tensors[w].enc.kind != FB_ENC_PLAIN &&
                     fb_encoding_is_bytes(&m->tensors[n->in[0]].enc);
    }
    fb_status status = encode_marked(m, integer);
    fb_free(integer);
    return status;
}

fb_status fb_bias_own(fb_model *m, uint32_t node, uint32_t channels, int32_t *bias)
{
    fb_node *n = &m->nodes[node];
    int32_t old = n->n_in > 2 ? n->in[2] : -1;
    int64_t dim = channels;
    if (old >= 0 && !m->tensors[old].is_const)
        return fb_fail(FB_E_UNSUPPORTED, "layer '%.200s' has a bias that is not constant", n->name);
    float *values = fb_calloc(channels, sizeof *values);
    if (!values)
        return fb_fail(FB_E_MEMORY, "no memory for the bias of layer '%.200s'", n->name);
    fb_status status = FB_OK;
    if (old >= 0)
        FB_GO(fb_tensor_decode(&m->tensors[old], values));
    FB_GO(fb_model_add_const(m, "", FB_F32, 1, &dim, values, bias));
    if (old >= 0) { /* the name goes with it, if no one else wants it */
        uint32_t uses = 0;
        for (size_t i = 0; i < m->n_nodes; i++) {
            for (uint32_t k = 0; k < m->nodes[i].n_in; k++)
                uses += m->nodes[i].in[k] == old;
        }
        if (uses == 1) {
            m->tensors[*bias].name = m->tensors[old].name;
            m->tensors[old].name = "";
        }
    }
    int32_t *in = fb_arena_array(m->arena, 3, sizeof *in);
    if (!in) {
        status = fb_fail(FB_E_MEMORY, "no memory for the bias of layer '%.200s'", n->name);
        goto fail;
    }
    in[0] = n->in[0];
    in[1] = n->in[1];
    in[2] = *bias;
    n->in = in;
    n->n_in = 3;
fail:
    fb_free(values);
    return status;
}
