/* Small ONNX models for the import tests, built with the generated C structs. Everything lives in
 * one static block that net_init empties. */
#ifndef TEST_IMPORT_NET_H
#define TEST_IMPORT_NET_H

#include "onnx.pb-c.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NET_BLOCK = 1 << 21, NET_MOST = 64 };

typedef struct net {
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    Onnx__NodeProto *nodes[NET_MOST];
    Onnx__TensorProto *consts[NET_MOST];
    Onnx__ValueInfoProto *inputs[NET_MOST], *outputs[NET_MOST];
    Onnx__FunctionProto *functions[4];
    uint8_t *bytes;
    size_t n_bytes;
} net;

static uint8_t net_block[NET_BLOCK];
static size_t net_used;

static inline void *net_alloc(size_t n)
{
    void *p = net_block + net_used;
    net_used += (n + 15) & ~(size_t)15;
    if (net_used > sizeof net_block)
        abort();
    memset(p, 0, n);
    return p;
}

static inline char *net_text(const char *s, size_t n)
{
    char *p = net_alloc(n + 1);
    memcpy(p, s, n);
    return p;
}

static inline void net_init(net *n, int64_t opset)
{
    net_used = 0;
    memset(n, 0, sizeof *n);
    onnx__model_proto__init(&n->model);
    onnx__graph_proto__init(&n->graph);
    onnx__operator_set_id_proto__init(&n->opset);
    n->model.graph = &n->graph;
    n->model.ir_version = 8;
    n->model.has_ir_version = 1;
    n->opset.has_version = 1;
    n->opset.version = opset;
    n->opsets[0] = &n->opset;
    n->model.opset_import = n->opsets;
    n->model.n_opset_import = 1;
    n->model.functions = n->functions;
    n->graph.name = net_text("g", 1);
    n->graph.node = n->nodes;
    n->graph.initializer = n->consts;
    n->graph.input = n->inputs;
    n->graph.output = n->outputs;
}

/* dims: -1 for a symbolic one. */
static inline Onnx__ValueInfoProto *net_info(const char *name, int32_t type, size_t rank,
                                             const int64_t *dims)
{
    Onnx__ValueInfoProto *v = net_alloc(sizeof *v);
    onnx__value_info_proto__init(v);
    v->name = net_text(name, strlen(name));
    v->type = net_alloc(sizeof *v->type);
    onnx__type_proto__init(v->type);
    v->type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type->tensor_type = net_alloc(sizeof *v->type->tensor_type);
    onnx__type_proto__tensor__init(v->type->tensor_type);
    v->type->tensor_type->has_elem_type = 1;
    v->type->tensor_type->elem_type = type;
    Onnx__TensorShapeProto *s = net_alloc(sizeof *s);
    onnx__tensor_shape_proto__init(s);
    v->type->tensor_type->shape = s;
    s->n_dim = rank;
    s->dim = net_alloc(rank * sizeof *s->dim);
    for (size_t i = 0; i < rank; i++) {
        s->dim[i] = net_alloc(sizeof *s->dim[i]);
        onnx__tensor_shape_proto__dimension__init(s->dim[i]);
        if (dims[i] >= 0) {
            s->dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            s->dim[i]->dim_value = dims[i];
        } else {
            s->dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            s->dim[i]->dim_param = net_text("N", 1);
        }
    }
    return v;
}

#define DIMS(...)                                                                                  \
    sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[])                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static inline void net_input(net *n, const char *name, int32_t type, size_t rank,
                             const int64_t *dims)
{
    n->inputs[n->graph.n_input++] = net_info(name, type, rank, dims);
}

static inline void net_output(net *n, const char *name)
{
    n->outputs[n->graph.n_output++] = net_info(name, 1, 0, NULL);
}

static inline Onnx__TensorProto *net_tensor(int32_t type, size_t rank, const int64_t *dims,
                                            const void *data, size_t bytes)
{
    Onnx__TensorProto *t = net_alloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->has_data_type = 1;
    t->data_type = type;
    t->n_dims = rank;
    t->dims = net_alloc((rank + 1) * sizeof *t->dims);
    if (rank)
        memcpy(t->dims, dims, rank * sizeof *dims);
    t->has_raw_data = 1;
    t->raw_data.len = bytes;
    t->raw_data.data = net_alloc(bytes + 1);
    if (data)
        memcpy(t->raw_data.data, data, bytes);
    return t;
}

static inline Onnx__TensorProto *net_const(net *n, const char *name, int32_t type, size_t each,
                                           size_t rank, const int64_t *dims, const void *data)
{
    size_t elems = 1;
    for (size_t i = 0; i < rank; i++)
        elems *= (size_t)dims[i];
    Onnx__TensorProto *t = net_tensor(type, rank, dims, data, elems * each);
    t->name = net_text(name, strlen(name));
    n->consts[n->graph.n_initializer++] = t;
    return t;
}

/* Floats 0.25, -0.5, 0.75, ... without data. */
static inline void net_floats(net *n, const char *name, size_t rank, const int64_t *dims,
                              const float *data)
{
    Onnx__TensorProto *t = net_const(n, name, 1, 4, rank, dims, data);
    for (size_t i = 0; !data && i < t->raw_data.len / 4; i++) {
        float v = (float)((int)(i * 7 % 11) - 5) * 0.25f;
        memcpy(t->raw_data.data + 4 * i, &v, 4);
    }
}

static inline void net_int64s(net *n, const char *name, size_t count, const int64_t *data)
{
    int64_t dims[1] = {(int64_t)count};
    net_const(n, name, 7, 8, 1, dims, data);
}

static inline char **net_names(const char *list, size_t *count)
{
    char **names = net_alloc(16 * sizeof *names);
    *count = 0;
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        names[(*count)++] = net_text(p, len);
        p += len;
        p += *p == ',';
    }
    return names;
}

static inline Onnx__NodeProto *net_new_node(const char *op, const char *name, const char *in,
                                            const char *out)
{
    Onnx__NodeProto *d = net_alloc(sizeof *d);
    onnx__node_proto__init(d);
    d->op_type = net_text(op, strlen(op));
    d->name = net_text(name, strlen(name));
    d->input = net_names(in, &d->n_input);
    d->output = net_names(out, &d->n_output);
    d->attribute = net_alloc(16 * sizeof *d->attribute);
    return d;
}

/* Names as comma-separated lists. */
static inline Onnx__NodeProto *net_node(net *n, const char *op, const char *name, const char *in,
                                        const char *out)
{
    return n->nodes[n->graph.n_node++] = net_new_node(op, name, in, out);
}

static inline Onnx__AttributeProto *net_attr(Onnx__NodeProto *d, const char *name,
                                             Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = net_alloc(sizeof *a);
    onnx__attribute_proto__init(a);
    a->name = net_text(name, strlen(name));
    a->has_type = 1;
    a->type = type;
    d->attribute[d->n_attribute++] = a;
    return a;
}

static inline void net_int(Onnx__NodeProto *d, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = net_attr(d, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = v;
}

static inline void net_ints(Onnx__NodeProto *d, const char *name, size_t n, const int64_t *v)
{
    Onnx__AttributeProto *a = net_attr(d, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->n_ints = n;
    a->ints = net_alloc((n + 1) * sizeof *v);
    memcpy(a->ints, v, n * sizeof *v);
}

/* The message as bytes, in the block. */
static inline void net_pack(net *n)
{
    n->n_bytes = onnx__model_proto__get_packed_size(&n->model);
    n->bytes = net_alloc(n->n_bytes);
    onnx__model_proto__pack(&n->model, n->bytes);
}

#endif
