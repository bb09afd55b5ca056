#include "export/graph.h"

#include "numeric/requant.h"

#include <stdio.h>
#include <string.h>

_Noreturn void fbx_stop(fbx_graph *g, fb_status status)
{
    g->status = status;
    longjmp(g->stop, 1);
}

void *fbx_alloc(fbx_graph *g, size_t n, size_t bytes)
{
    void *p = fb_arena_array(g->arena, n, bytes);
    if (!p)
        fbx_stop(g, fb_fail(FB_E_MEMORY, "no memory to export the model"));
    return p;
}

char *fbx_string(fbx_graph *g, const char *text)
{
    char *s = fbx_alloc(g, strlen(text) + 1, 1);
    strcpy(s, text);
    return s;
}

char *fbx_unique(fbx_graph *g, const char *stem)
{
    size_t cap = strlen(stem) + 16;
    char *s = fbx_alloc(g, cap, 1);
    /* Two dots: names of the model's inputs and outputs often end in ".1". */
    (void)snprintf(s, cap, "%s..%u", stem, g->n_names++);
    return s;
}

/* Room for one more pointer; the array lives outside the arena and is freed by onnx.c. */
static void **push(fbx_graph *g, void **items, size_t *cap, size_t n)
{
    if (!fb_grow(items, cap, n + 1, sizeof(void *)))
        fbx_stop(g, fb_fail(FB_E_MEMORY, "no memory to export the model"));
    return *items;
}

Onnx__NodeProto *fbx_node(fbx_graph *g, const char *op, const char *name, uint32_t n_in,
                          const char *const *in, const char *out)
{
    Onnx__NodeProto *node = fbx_alloc(g, 1, sizeof *node);
    onnx__node_proto__init(node);
    node->op_type = fbx_string(g, op);
    node->name = fbx_unique(g, name);
    node->input = fbx_alloc(g, n_in, sizeof *node->input);
    node->n_input = n_in;
    for (uint32_t i = 0; i < n_in; i++)
        node->input[i] = fbx_string(g, in[i] ? in[i] : "");
    node->output = fbx_alloc(g, 1, sizeof *node->output);
    node->output[0] = fbx_string(g, out);
    node->n_output = 1;
    node->attribute = fbx_alloc(g, 16, sizeof *node->attribute);
    void **list = push(g, &g->nodes, &g->cap_nodes, g->proto->n_node);
    list[g->proto->n_node++] = node;
    g->proto->node = (Onnx__NodeProto **)list;
    return node;
}

static Onnx__AttributeProto *add_attribute(fbx_graph *g, Onnx__NodeProto *node, const char *key,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = fbx_alloc(g, 1, sizeof *a);
    onnx__attribute_proto__init(a);
    a->name = fbx_string(g, key);
    a->has_type = 1;
    a->type = type;
    node->attribute[node->n_attribute++] = a;
    return a;
}

void fbx_int(fbx_graph *g, Onnx__NodeProto *node, const char *key, int64_t value)
{
    Onnx__AttributeProto *a =
        add_attribute(g, node, key, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = value;
}

void fbx_float(fbx_graph *g, Onnx__NodeProto *node, const char *key, float value)
{
    Onnx__AttributeProto *a =
        add_attribute(g, node, key, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = value;
}

void fbx_text(fbx_graph *g, Onnx__NodeProto *node, const char *key, const char *value)
{
    Onnx__AttributeProto *a =
        add_attribute(g, node, key, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s = 1;
    a->s.len = strlen(value);
    a->s.data = (uint8_t *)fbx_string(g, value);
}

void fbx_ints(fbx_graph *g, Onnx__NodeProto *node, const char *key, uint32_t n,
              const int64_t *values)
{
    Onnx__AttributeProto *a =
        add_attribute(g, node, key, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->n_ints = n;
    a->ints = fbx_alloc(g, n, sizeof *a->ints);
    memcpy(a->ints, values, n * sizeof *values);
}

const char *fbx_init(fbx_graph *g, const char *stem, fb_dtype dtype, int32_t rank,
                     const int64_t *dims, const void *data)
{
    Onnx__TensorProto *t = fbx_alloc(g, 1, sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = fbx_unique(g, stem);
    t->has_data_type = 1;
    t->data_type = (int32_t)dtype;
    t->n_dims = (size_t)rank;
    t->dims = fbx_alloc(g, (size_t)rank, sizeof *t->dims);
    size_t bytes = fb_dtype_bytes(dtype);
    for (int32_t i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        bytes *= (size_t)dims[i];
    }
    t->has_raw_data = 1;
    t->raw_data.len = bytes;
    t->raw_data.data = fbx_alloc(g, bytes, 1);
    memcpy(t->raw_data.data, data, bytes);
    void **list = push(g, &g->inits, &g->cap_inits, g->proto->n_initializer);
    list[g->proto->n_initializer++] = t;
    g->proto->initializer = (Onnx__TensorProto **)list;
    return t->name;
}

const char *fbx_init_i64(fbx_graph *g, const char *stem, uint32_t n, const int64_t *values)
{
    int64_t dim = n;
    return fbx_init(g, stem, FB_S64, 1, &dim, values);
}

const char *fbx_init_f32(fbx_graph *g, const char *stem, float value)
{
    return fbx_init(g, stem, FB_F32, 0, NULL, &value);
}

int64_t fbx_axis(fbx_form form, int32_t axis)
{
    static const int64_t nchw[4] = {0, 2, 3, 1};
    return form == FBX_NCHW ? nchw[axis] : axis;
}

fbx_form fbx_form_of(const fbx_graph *g, int32_t tensor)
{
    const fbx_tensor *t = &g->tensors[tensor];
    return t->name[FBX_NCHW] && !t->name[FBX_PLAIN] ? FBX_NCHW : FBX_PLAIN;
}

const char *fbx_stem(const fbx_graph *g, int32_t tensor)
{
    const char *name = g->m->tensors[tensor].name, *maker = g->tensors[tensor].maker;
    return *name ? name : maker && *maker ? maker : "t";
}

/* A constant as floats (or its own integers), in either form. */
static const char *constant(fbx_graph *g, int32_t tensor, fbx_form form)
{
    const fb_tensor *t = &g->m->tensors[tensor];
    int64_t elems = 0;
    (void)fb_tensor_elems(t, 1, &elems);
    const void *data = t->data;
    fb_dtype dtype = t->dtype;
    if (t->enc.kind != FB_ENC_PLAIN) {
        float *values = fbx_alloc(g, (size_t)elems, sizeof *values);
        fb_status status = fb_tensor_decode(t, values);
        if (status != FB_OK)
            fbx_stop(g, status);
        data = values;
        dtype = FB_F32;
    }
    if (form == FBX_PLAIN)
        return fbx_init(g, fbx_stem(g, tensor), dtype, t->rank, t->dims, data);
    int64_t d[4] = {1, 1, 1, 1}; /* as [n][h][w][c] */
    for (int32_t i = 0; i < t->rank; i++)
        d[4 - t->rank + i] = t->dims[i];
    size_t size = fb_dtype_bytes(dtype), plane = (size_t)(d[1] * d[2]), c = (size_t)d[3];
    char *moved = fbx_alloc(g, (size_t)elems, size);
    for (size_t n = 0; n < (size_t)d[0]; n++) {
        for (size_t p = 0; p < plane; p++) {
            for (size_t k = 0; k < c; k++)
                memcpy(moved + ((n * c + k) * plane + p) * size,
                       (const char *)data + ((n * plane + p) * c + k) * size, size);
        }
    }
    int64_t dims[4] = {d[0], d[3], d[1], d[2]};
    return fbx_init(g, fbx_stem(g, tensor), dtype, 4, dims, moved);
}

const char *fbx_get(fbx_graph *g, int32_t tensor, fbx_form form)
{
    fbx_tensor *t = &g->tensors[tensor];
    if (t->name[form])
        return t->name[form];
    if (g->m->tensors[tensor].is_const) {
        t->name[form] = constant(g, tensor, form);
        return t->name[form];
    }
    static const int64_t to_nchw[4] = {0, 3, 1, 2}, to_plain[4] = {0, 2, 3, 1};
    const char *from = t->name[1 - form];
    if (!from)
        fbx_stop(g, fb_fail(FB_E_INTERNAL, "internal error: tensor '%s' is read before it is made",
                            g->m->tensors[tensor].name));
    char *to = fbx_unique(g, fbx_stem(g, tensor));
    Onnx__NodeProto *node = fbx_node(g, "Transpose", "transpose", 1, &from, to);
    fbx_ints(g, node, "perm", 4, form == FBX_NCHW ? to_nchw : to_plain);
    /* Behind its own Q and DQ, so that engines which work on codes can move codes. */
    t->name[form] = fbx_requantise(g, tensor, to, &t->codes[form]);
    return t->name[form];
}

/* Scale and zero point of an encoded activation. */
static void quant_params(fbx_graph *g, int32_t like, const char **scale, const char **zero)
{
    const fb_tensor *t = &g->m->tensors[like];
    const fb_encoding *e = &t->enc;
    if (e->bits > 8 || e->n_scales != 1)
        fbx_stop(g, fb_fail(FB_E_UNSUPPORTED,
                            "tensor '%s' is encoded as %u bits with %u scales; ONNX opset 13 has 8 "
                            "bits and one scale for activations",
                            t->name, e->bits, e->n_scales));
    *scale = fbx_init_f32(g, "scale", e->scale[0]);
    int32_t z = e->zero ? e->zero[0] : 0;
    if (e->is_signed) {
        int8_t v = (int8_t)z;
        *zero = fbx_init(g, "zero_point", FB_S8, 0, NULL, &v);
    } else {
        uint8_t v = (uint8_t)z;
        *zero = fbx_init(g, "zero_point", FB_U8, 0, NULL, &v);
    }
}

static const char *q_and_dq(fbx_graph *g, int32_t like, const char *name, const char **codes)
{
    const char *in[3] = {name, NULL, NULL};
    quant_params(g, like, &in[1], &in[2]);
    char *q = fbx_unique(g, fbx_stem(g, like)), *dq = fbx_unique(g, fbx_stem(g, like));
    fbx_node(g, "QuantizeLinear", "quantize", 3, in, q);
    in[0] = q;
    fbx_node(g, "DequantizeLinear", "dequantize", 3, in, dq);
    *codes = q;
    return dq;
}

/* Fewer than 8 bits travel as 8: a Clip behind the quantiser, and one more quantiser, keep the
 * range. */
static const char *clip_to_bits(fbx_graph *g, int32_t like, const char *name)
{
    const fb_encoding *e = &g->m->tensors[like].enc;
    int32_t lo = fb_code_min(e->bits, e->is_signed), hi = fb_code_max(e->bits, e->is_signed);
    int32_t z = e->zero ? e->zero[0] : 0;
    const char *in[3] = {name, fbx_init_f32(g, "min", fb_dequantize(lo, e->scale[0], z)),
                         fbx_init_f32(g, "max", fb_dequantize(hi, e->scale[0], z))};
    char *out = fbx_unique(g, fbx_stem(g, like));
    fbx_node(g, "Clip", "clip", 3, in, out);
    return out;
}

const char *fbx_requantise(fbx_graph *g, int32_t like, const char *name, const char **codes)
{
    const fb_encoding *e = &g->m->tensors[like].enc;
    if (e->kind == FB_ENC_PLAIN)
        return name;
    name = q_and_dq(g, like, name, codes);
    return e->bits < 8 ? q_and_dq(g, like, clip_to_bits(g, like, name), codes) : name;
}

const char *fbx_dequantise(fbx_graph *g, int32_t like, const char *codes)
{
    const char *in[3] = {codes, NULL, NULL};
    quant_params(g, like, &in[1], &in[2]);
    char *dq = fbx_unique(g, fbx_stem(g, like));
    fbx_node(g, "DequantizeLinear", "dequantize", 3, in, dq);
    return dq;
}

void fbx_set(fbx_graph *g, int32_t tensor, fbx_form form, const char *name)
{
    fbx_tensor *t = &g->tensors[tensor];
    t->name[form] = fbx_requantise(g, tensor, name, &t->codes[form]);
}
