/* Weights and biases in ONNX's order. */
#include "export/graph.h"

#include "numeric/requant.h"

#include <string.h>

/* Channels-last [o][kh][kw][i] to ONNX's [o][i][kh][kw], or for a transposed convolution, whose
 * groups are laid along the input, to [i * groups][o / groups][kh][kw]. */
static void reorder(const fb_node *n, const int64_t d[4], size_t size, const char *from, char *to,
                    int64_t out[4])
{
    int64_t o = d[0], k = d[1] * d[2], i = d[3];
    bool transposed = n->op == FB_OP_CONV_TRANSPOSE;
    int64_t groups = transposed ? n->attr.conv.groups : 1, og = o / groups;
    for (int64_t a = 0; a < o; a++) {
        for (int64_t p = 0; p < k; p++) {
            for (int64_t b = 0; b < i; b++) {
                int64_t row = transposed ? ((a / og) * i + b) * og + a % og : a * i + b;
                memcpy(to + (size_t)(row * k + p) * size,
                       from + (size_t)((a * k + p) * i + b) * size, size);
            }
        }
    }
    out[0] = transposed ? i * groups : o;
    out[1] = transposed ? og : i;
    out[2] = d[1];
    out[3] = d[2];
}

/* Quantised weights go out as 8-bit integers behind a DequantizeLinear when they are such (affine
 * or integer levels) and ONNX can say their scales (one, or one per output channel); any other
 * encoding goes out decoded. */
static bool fits_qdq(const fb_node *n, const fb_tensor *w)
{
    return fb_tensor_is_int8(w) && w->enc.axis <= 0 &&
           (n->op != FB_OP_CONV_TRANSPOSE || w->enc.axis < 0);
}

bool fbx_is_matrix(const fbx_graph *g, const fb_node *n)
{
    const fb_attr_conv *a = &n->attr.conv;
    const fb_tensor *x = &g->m->tensors[n->in[0]], *w = &g->m->tensors[n->in[1]];
    const fb_tensor *y = &g->m->tensors[n->out[0]];
    return n->op == FB_OP_CONV && x->enc.kind == FB_ENC_AFFINE && y->enc.kind == FB_ENC_PLAIN &&
           fits_qdq(n, w) && a->groups == 1 && a->kh == 1 && a->kw == 1 && x->dims[1] == 1 &&
           x->dims[2] == 1 && y->dims[1] == 1 && y->dims[2] == 1 &&
           !(a->pad_t | a->pad_l | a->pad_b | a->pad_r);
}

static const char *put(fbx_graph *g, const fb_node *n, const fb_tensor *t, fb_dtype dtype,
                       const void *data, size_t elems)
{
    if (n->op == FB_OP_DENSE)
        return fbx_init(g, t->name, dtype, t->rank, t->dims, data);
    if (fbx_is_matrix(g, n))
        return fbx_init(g, t->name, dtype, 2, (int64_t[]){t->dims[0], t->dims[3]}, data);
    size_t size = fb_dtype_bytes(dtype);
    char *moved = fbx_alloc(g, elems, size);
    int64_t dims[4];
    reorder(n, t->dims, size, data, moved, dims);
    return fbx_init(g, t->name, dtype, 4, dims, moved);
}

const char *fbx_weight(fbx_graph *g, const fb_node *n)
{
    int32_t index = n->in[1];
    const fb_tensor *t = &g->m->tensors[index];
    const fb_encoding *e = &t->enc;
    int64_t elems = 0;
    (void)fb_tensor_elems(t, 1, &elems);
    if (!fits_qdq(n, t)) {
        float *values = fbx_alloc(g, (size_t)elems, sizeof *values);
        fb_status status = fb_tensor_decode(t, values);
        if (status != FB_OK)
            fbx_stop(g, status);
        return put(g, n, t, FB_F32, values, (size_t)elems);
    }
    uint8_t *codes = fbx_alloc(g, (size_t)elems, 1);
    int16_t *q = fbx_alloc(g, (size_t)elems, sizeof *q);
    fb_tensor_integers(t, 0, (size_t)elems, q);
    for (size_t i = 0; i < (size_t)elems; i++) {
        uint32_t at = e->zero ? fb_affine_scale_index(t, i) : 0;
        codes[i] = (uint8_t)(q[i] + (e->zero ? e->zero[at] : 0));
    }
    fb_dtype dtype = e->is_signed ? FB_S8 : FB_U8;
    uint8_t *zeros = fbx_alloc(g, e->n_scales, 1);
    for (uint32_t i = 0; i < e->n_scales; i++)
        zeros[i] = e->zero ? (uint8_t)e->zero[i] : 0;
    int32_t rank = e->axis < 0 ? 0 : 1;
    int64_t dim = e->n_scales;
    const char *in[3] = {put(g, n, t, dtype, codes, (size_t)elems),
                         fbx_init(g, "weight_scale", FB_F32, rank, &dim, e->scale),
                         fbx_init(g, "weight_zero_point", dtype, rank, &dim, zeros)};
    char *dq = fbx_unique(g, t->name);
    Onnx__NodeProto *node = fbx_node(g, "DequantizeLinear", "dequantize", 3, in, dq);
    if (rank == 1)
        fbx_int(g, node, "axis", 0);
    return dq;
}

/* Between quantised input and quantised weights the bias is an integer in units of the product of
 * their scales, as the integer kernels add it; elsewhere it is float. */
const char *fbx_bias(fbx_graph *g, const fb_node *n)
{
    if (n->n_in < 3 || n->in[2] < 0)
        return NULL;
    const fb_tensor *b = &g->m->tensors[n->in[2]];
    const fb_tensor *weight = &g->m->tensors[n->in[1]];
    const fb_encoding *x = &g->m->tensors[n->in[0]].enc, *w = &weight->enc;
    if (x->kind == FB_ENC_PLAIN || !fits_qdq(n, weight))
        return fbx_get(g, n->in[2], FBX_PLAIN);
    int64_t oc = b->dims[0];
    int32_t *q = fbx_alloc(g, (size_t)oc, sizeof *q), *zero = fbx_alloc(g, (size_t)oc, sizeof *q);
    float *scale = fbx_alloc(g, (size_t)oc, sizeof *scale);
    float *real = fbx_alloc(g, (size_t)oc, sizeof *real);
    fb_status status = fb_tensor_decode(b, real);
    if (status != FB_OK)
        fbx_stop(g, status);
    for (int64_t i = 0; i < oc; i++) {
        float ws = w->scale[w->n_scales == 1 ? 0 : i];
        scale[i] = x->scale[0] * ws;
        q[i] = b->dtype == FB_S32 ? ((const int32_t *)b->data)[i]
                                  : fb_bias_code(real[i], x->scale[0], ws, INT32_MAX);
    }
    const char *in[3] = {fbx_init(g, b->name, FB_S32, 1, &oc, q),
                         fbx_init(g, "bias_scale", FB_F32, 1, &oc, scale),
                         fbx_init(g, "bias_zero_point", FB_S32, 1, &oc, zero)};
    char *dq = fbx_unique(g, b->name);
    fbx_int(g, fbx_node(g, "DequantizeLinear", "dequantize", 3, in, dq), "axis", 0);
    return dq;
}
