/* fb_onnx_export: model to ONNX opset 13. */
#include "fewbit/onnx.h"

#include "base/file.h"
#include "export/graph.h"
#include "model/sparse.h"

#include <errno.h>
#include <string.h>

static Onnx__ValueInfoProto *value_info(fbx_graph *g, int32_t tensor, const char *name, bool nchw)
{
    const fb_tensor *t = &g->m->tensors[tensor];
    Onnx__ValueInfoProto *v = fbx_alloc(g, 1, sizeof *v);
    Onnx__TypeProto *type = fbx_alloc(g, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tt = fbx_alloc(g, 1, sizeof *tt);
    Onnx__TensorShapeProto *shape = fbx_alloc(g, 1, sizeof *shape);
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tt);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = (size_t)t->rank;
    shape->dim = fbx_alloc(g, (size_t)t->rank, sizeof *shape->dim);
    for (int32_t i = 0; i < t->rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = fbx_alloc(g, 1, sizeof *d);
        onnx__tensor_shape_proto__dimension__init(d);
        if (t->dims[i] < 0) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = fbx_string(g, t->dims[i] == -1 ? "N" : fbx_unique(g, "N"));
        } else {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = t->dims[i];
        }
        shape->dim[nchw ? fbx_axis(FBX_NCHW, i) : i] = d;
    }
    tt->has_elem_type = 1;
    tt->elem_type = (int32_t)t->dtype;
    tt->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tt;
    v->name = fbx_string(g, name);
    v->type = type;
    return v;
}

static const char *io_name(fbx_graph *g, int32_t tensor, const char *otherwise)
{
    const char *name = g->m->tensors[tensor].name;
    return *name ? name : fbx_unique(g, otherwise);
}

static void add_inputs(fbx_graph *g)
{
    const fb_model *m = g->m;
    g->proto->input = fbx_alloc(g, m->n_inputs, sizeof *g->proto->input);
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        int32_t t = m->inputs[k];
        bool nchw = m->tensors[t].source_nchw && m->tensors[t].rank == 4;
        const char *name = io_name(g, t, "input");
        g->proto->input[g->proto->n_input++] = value_info(g, t, name, nchw);
        fbx_set(g, t, nchw ? FBX_NCHW : FBX_PLAIN, name);
    }
}

static void add_outputs(fbx_graph *g)
{
    const fb_model *m = g->m;
    g->proto->output = fbx_alloc(g, m->n_outputs, sizeof *g->proto->output);
    for (uint32_t k = 0; k < m->n_outputs; k++) {
        int32_t t = m->outputs[k];
        const char *from = fbx_get(g, t, FBX_PLAIN), *name = io_name(g, t, "output");
        fbx_node(g, "Identity", "output", 1, &from, name);
        g->proto->output[g->proto->n_output++] = value_info(g, t, name, false);
    }
}

static void build(fbx_graph *g, Onnx__ModelProto *model)
{
    Onnx__OperatorSetIdProto *opset = fbx_alloc(g, 1, sizeof *opset);
    onnx__operator_set_id_proto__init(opset);
    opset->has_version = 1;
    opset->version = 13;
    opset->domain = fbx_string(g, "");
    model->opset_import = fbx_alloc(g, 1, sizeof *model->opset_import);
    model->opset_import[0] = opset;
    model->n_opset_import = 1;
    model->has_ir_version = 1;
    model->ir_version = 7;
    model->producer_name = fbx_string(g, "fewbit");
    model->producer_version = fbx_string(g, fb_version());
    model->graph = g->proto;
    g->proto->name = fbx_string(g, "fewbit");
    add_inputs(g);
    for (size_t i = 0; i < g->m->n_nodes; i++) {
        const fb_node *n = &g->m->nodes[i];
        for (uint32_t k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0)
                g->tensors[n->out[k]].maker = n->name;
        }
    }
    for (size_t i = 0; i < g->m->n_nodes; i++)
        fbx_layer(g, &g->m->nodes[i]);
    add_outputs(g);
}

typedef struct sink {
    ProtobufCBuffer base;
    FILE *stream;
} sink;

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *data)
{
    (void)fwrite(data, 1, n, ((sink *)buffer)->stream); /* fb_file_commit sees ferror */
}

static fb_status write_model(const Onnx__ModelProto *model, const char *path)
{
    fb_file file;
    if (onnx__model_proto__get_packed_size(model) > INT32_MAX)
        return fb_fail(FB_E_LIMIT, "%s: ONNX files without external data end at 2 GiB", path);
    FB_TRY(fb_file_create(path, &file));
    sink s = {.base = {.append = append}, .stream = file.stream};
    onnx__model_proto__pack_to_buffer(model, &s.base);
    return fb_file_commit(&file);
}

static fb_status export_dense(const fb_model *model, const char *path)
{
    Onnx__ModelProto proto = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    fb_status status;
    /* On the heap: what changes after setjmp must not live in this frame. */
    fbx_graph *g = fb_calloc(1, sizeof *g);
    fb_arena *arena = fb_arena_create();
    if (!g || !arena) {
        fb_free(g);
        fb_arena_destroy(arena);
        return fb_fail(FB_E_MEMORY, "no memory to export the model");
    }
    g->m = model;
    g->proto = &graph;
    g->arena = arena;
    if (setjmp(g->stop) == 0) {
        g->tensors = fbx_alloc(g, model->n_tensors, sizeof *g->tensors);
        build(g, &proto);
        status = write_model(&proto, path);
    } else {
        status = g->status;
    }
    fb_free(g->nodes);
    fb_free(g->inits);
    fb_arena_destroy(arena);
    fb_free(g);
    return status;
}

fb_status fb_onnx_export(const fb_model *model, const char *path)
{
    fb_model *copy;
    FB_TRY(fb_model_clone(model, false, &copy));
    fb_status status = fb_model_densify(copy);
    if (status == FB_OK)
        status = export_dense(copy, path);
    fb_model_close(&copy);
    return status;
}
