/* The importer on small models: what becomes of them, and what it says about those it refuses. */
#include "unit/test_import_net.h"

#include "fewbit/onnx.h"
#include "fewbit/run.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static fb_model *import_with(net *n, const fb_onnx_options *options)
{
    fb_model *m;
    net_pack(n);
    fb_status status = fb_onnx_import_memory(n->bytes, n->n_bytes, NULL, options, &m);
    if (status != FB_OK)
        print_error("%s\n", fb_error());
    assert_int_equal(status, FB_OK);
    assert_int_equal(fb_model_validate(m), FB_OK);
    return m;
}

static fb_model *import(net *n)
{
    return import_with(n, NULL);
}

static size_t count(const fb_model *m, fb_op op)
{
    size_t k = 0;
    for (size_t i = 0; i < m->n_nodes; i++)
        k += m->nodes[i].op == op;
    return k;
}

static const fb_node *find(const fb_model *m, fb_op op)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == op)
            return &m->nodes[i];
    }
    fail_msg("no %s", fb_op_get(op)->name);
    return NULL;
}

static const fb_tensor *tensor(const fb_model *m, int32_t t)
{
    assert_true(t >= 0);
    return &m->tensors[t];
}

static void refused(net *n, fb_status want, const char *part)
{
    fb_model *m;
    net_pack(n);
    assert_int_equal(fb_onnx_import_memory(n->bytes, n->n_bytes, NULL, NULL, &m), want);
    assert_null(m);
    if (!strstr(fb_error(), part))
        fail_msg("'%s' does not say '%s'", fb_error(), part);
}

/* ---- fusing -------------------------------------------------------------------------------- */

static void conv_bn_relu(net *n)
{
    net_init(n, 13);
    net_input(n, "x", 1, DIMS(-1, 3, 8, 8));
    net_floats(n, "w", DIMS(4, 3, 3, 3), NULL);
    net_floats(n, "s", DIMS(4), (float[]){1, 2, 3, 4});
    net_floats(n, "b", DIMS(4), (float[]){0, 1, 0, 1});
    net_floats(n, "mean", DIMS(4), (float[]){1, 1, 1, 1});
    net_floats(n, "var", DIMS(4), (float[]){1, 1, 4, 4});
    Onnx__NodeProto *c = net_node(n, "Conv", "c", "x,w", "y");
    net_ints(c, "pads", 4, (int64_t[]){1, 1, 1, 1});
    net_node(n, "BatchNormalization", "bn", "y,s,b,mean,var", "z");
    net_node(n, "Relu", "r", "z", "out");
    net_output(n, "out");
}

static void test_fuse(void **state)
{
    net n;
    (void)state;
    conv_bn_relu(&n);
    fb_model *m = import(&n);
    const fb_node *c = find(m, FB_OP_CONV);
    assert_string_equal(c->name, "c");
    assert_int_equal(count(m, FB_OP_SCALE_SHIFT) + count(m, FB_OP_UNARY), 0);
    assert_int_equal(c->attr.conv.act.clamp, 1);
    assert_true(c->attr.conv.act.lo == 0);
    /* y = scale / sqrt(var + eps): 3 / 2 for channel 2; weight [oc][kh][kw][ic] */
    const fb_tensor *w = tensor(m, c->in[1]), *b = tensor(m, c->in[2]);
    assert_int_equal(w->dims[3], 3);
    assert_string_equal(w->name, "w");
    float first = ((const float *)w->data)[2 * 27];
    assert_float_equal(first, 1.5f * ((float)(54 * 7 % 11) - 5) * 0.25f, 1e-4);
    assert_float_equal(((const float *)b->data)[3], 1 - 2, 1e-4);
    /* The input is taken channels last, the output stays as it was. */
    const fb_tensor *x = tensor(m, m->inputs[0]), *y = tensor(m, m->outputs[0]);
    assert_true(x->source_nchw);
    assert_int_equal(x->dims[0], -1);
    assert_int_equal(x->dims[3], 3);
    assert_string_equal(x->name, "x");
    assert_string_equal(y->name, "out");
    assert_int_equal(y->dims[1], 4);
    fb_model_close(&m);
}

static void test_keep_names(void **state)
{
    net n;
    (void)state;
    conv_bn_relu(&n);
    fb_model *m = import_with(&n, &(fb_onnx_options){.keep_names = true, .batch = 3});
    assert_int_equal(count(m, FB_OP_SCALE_SHIFT), 1);
    assert_int_equal(count(m, FB_OP_UNARY), 1);
    assert_int_equal(tensor(m, m->inputs[0])->dims[0], 3);
    assert_string_equal(tensor(m, find(m, FB_OP_CONV)->out[0])->name, "y");
    fb_model_close(&m);
}

static void test_hard_swish(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 4));
    net_floats(&n, "three", 0, NULL, (float[]){3});
    net_floats(&n, "zero", 0, NULL, (float[]){0});
    net_floats(&n, "six", 0, NULL, (float[]){6});
    net_node(&n, "Add", "a", "x,three", "a");
    net_node(&n, "Clip", "c", "a,zero,six", "c");
    net_node(&n, "Mul", "m", "x,c", "m");
    net_node(&n, "Div", "d", "m,six", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    assert_int_equal(m->n_nodes, 1);
    assert_int_equal(find(m, FB_OP_UNARY)->attr.unary.kind, FB_UNARY_HARD_SWISH);
    fb_model_close(&m);
}

/* ---- layout -------------------------------------------------------------------------------- */

/* Runs both imports of a model, with the file's layout and channels last, and compares. */
static void same_results(net *n, size_t n_transposes)
{
    float out[2][256];
    for (int way = 0; way < 2; way++) {
        fb_plan *plan;
        fb_run *run;
        size_t bytes, got;
        fb_model *m = import_with(n, &(fb_onnx_options){.keep_io_layout = way == 0});
        if (way == 1)
            assert_int_equal(count(m, FB_OP_TRANSPOSE), n_transposes);
        assert_int_equal(fb_plan_create(m, NULL, &plan), FB_OK);
        assert_int_equal(fb_run_create(plan, 1, &run), FB_OK);
        float *x = fb_run_input(run, 0, &bytes);
        const fb_tensor *t = tensor(m, m->inputs[0]);
        int64_t c = t->dims[t->source_nchw ? 3 : 1], pixels = (int64_t)(bytes / 4) / c;
        for (int64_t i = 0; i < c; i++) {
            for (int64_t p = 0; p < pixels; p++)
                x[t->source_nchw ? p * c + i : i * pixels + p] = (float)(i * pixels + p) * 0.125f;
        }
        assert_int_equal(fb_run_execute(run), FB_OK);
        const void *y = fb_run_output(run, 0, &got);
        assert_true(got <= sizeof out[0]);
        memset(out[way], 0, sizeof out[way]);
        memcpy(out[way], y, got);
        fb_run_destroy(&run);
        fb_plan_destroy(&plan);
        fb_model_close(&m);
    }
    for (size_t i = 0; i < 256; i++)
        assert_float_equal(out[0][i], out[1][i], 1e-4);
}

static void conv(net *n, const char *x, const char *y, int64_t ic, int64_t oc)
{
    char w[16];
    snprintf(w, sizeof w, "w_%s", y);
    char in[40];
    snprintf(in, sizeof in, "%s,%s", x, w);
    net_floats(n, w, DIMS(oc, ic, 1, 1), NULL);
    net_node(n, "Conv", y, in, y);
}

static void test_flatten_dense(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 2, 3, 4));
    conv(&n, "x", "a", 2, 3);
    net_node(&n, "Flatten", "f", "a", "f");
    net_node(&n, "Sigmoid", "s", "f", "s");
    net_floats(&n, "w", DIMS(5, 36), NULL);
    net_int(net_node(&n, "Gemm", "g", "s,w", "y"), "transB", 1);
    net_output(&n, "y");
    same_results(&n, 0);
}

/* Channel shuffle: one transpose is its very meaning. */
static void test_shuffle(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 2, 2, 2));
    conv(&n, "x", "a", 2, 6);
    net_int64s(&n, "split", 5, (int64_t[]){-1, 2, 3, 2, 2});
    net_int64s(&n, "join", 4, (int64_t[]){0, 6, 2, 2});
    net_node(&n, "Reshape", "r1", "a,split", "r1");
    net_ints(net_node(&n, "Transpose", "t", "r1", "t"), "perm", 5, (int64_t[]){0, 2, 1, 3, 4});
    net_node(&n, "Reshape", "r2", "t,join", "r2");
    conv(&n, "r2", "b", 6, 3);
    net_node(&n, "GlobalAveragePool", "p", "b", "p");
    net_node(&n, "Flatten", "f", "p", "y");
    net_output(&n, "y");
    same_results(&n, 1);
}

/* Squeeze and excite, pad, concat, softmax over channels, a mean over the image. */
static void test_follow(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 4, 3, 3));
    net_int64s(&n, "pads", 8, (int64_t[]){0, 0, 1, 1, 0, 0, 0, 1});
    net_node(&n, "Pad", "pad", "x,pads", "px");
    conv(&n, "px", "a", 4, 4);
    net_node(&n, "GlobalAveragePool", "gap", "a", "g");
    conv(&n, "g", "e", 4, 4);
    net_node(&n, "HardSigmoid", "hs", "e", "h");
    net_node(&n, "Mul", "mul", "a,h", "m");
    net_floats(&n, "k", DIMS(4, 1, 1), NULL);
    net_node(&n, "Add", "add", "m,k", "k2");
    net_int(net_node(&n, "Concat", "cat", "k2,px", "c"), "axis", 1);
    net_int(net_node(&n, "Softmax", "sm", "c", "s"), "axis", 1);
    Onnx__NodeProto *r = net_node(&n, "ReduceMean", "mean", "s", "y");
    net_ints(r, "axes", 2, (int64_t[]){2, 3});
    net_int(r, "keepdims", 0);
    net_output(&n, "y");
    same_results(&n, 0);
}

/* Nothing wants this input channels last: it stays. */
static void test_plain_input(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 2, 3, 4));
    net_node(&n, "Relu", "r", "x", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    assert_false(tensor(m, m->inputs[0])->source_nchw);
    assert_int_equal(m->n_nodes, 1);
    fb_model_close(&m);
}

/* ---- batch and shapes ---------------------------------------------------------------------- */

/* view(x.size(0), -1) as exporters write it */
static void test_shape_chain(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 3, 4));
    net_node(&n, "Shape", "s", "x", "s");
    net_const(&n, "zero", 7, 8, 0, NULL, (int64_t[]){0});
    net_int64s(&n, "minus", 1, (int64_t[]){-1});
    net_int64s(&n, "axes", 1, (int64_t[]){0});
    net_node(&n, "Gather", "g", "s,zero", "g");
    net_const(&n, "two", 7, 8, 0, NULL, (int64_t[]){2});
    net_node(&n, "Mul", "m", "g,two", "m");
    net_node(&n, "Unsqueeze", "u", "m,axes", "u");
    net_int(net_node(&n, "Concat", "c", "u,minus", "c"), "axis", 0);
    net_node(&n, "Reshape", "r", "x,c", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    assert_int_equal(m->n_nodes, 1);
    assert_int_equal(tensor(m, m->outputs[0])->dims[0], -2);
    assert_int_equal(tensor(m, m->outputs[0])->dims[1], 6);
    fb_model_close(&m);
    /* half of the batch is no multiple of it */
    n.nodes[2]->op_type = net_text("Div", 3);
    refused(&n, FB_E_UNSUPPORTED, "fixed batch");
    m = import_with(&n, &(fb_onnx_options){.batch = 4});
    assert_int_equal(tensor(m, m->outputs[0])->dims[0], 2);
    fb_model_close(&m);
}

static void test_symbolic_side(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 3, -1, 4));
    net_node(&n, "Relu", "r", "x", "y");
    net_output(&n, "y");
    refused(&n, FB_E_UNSUPPORTED, "input 'x': dim 2 ('N') is symbolic");
}

static void test_binding(void **state)
{
    net n;
    int64_t shape[2] = {3, 4};
    fb_onnx_binding b = {"s", FB_S64, 1, {2}, shape};
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(2, 6));
    net_input(&n, "s", 7, DIMS(2));
    net_node(&n, "Reshape", "r", "x,s", "y");
    net_output(&n, "y");
    refused(&n, FB_E_UNSUPPORTED, "shape is computed at run time");
    fb_model *m = import_with(&n, &(fb_onnx_options){.bindings = &b, .n_bindings = 1});
    assert_int_equal(m->n_inputs, 1);
    assert_int_equal(tensor(m, m->outputs[0])->dims[0], 3);
    fb_model_close(&m);
    b.input = "t";
    net_pack(&n);
    assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, NULL,
                                           &(fb_onnx_options){.bindings = &b, .n_bindings = 1}, &m),
                     FB_E_ARG);
}

/* A function with an attribute of the call, twice, one inside the other's output. */
static void test_function(void **state)
{
    net n;
    Onnx__FunctionProto f;
    Onnx__NodeProto *body[1], *calls[2];
    Onnx__OperatorSetIdProto mine;
    (void)state;
    net_init(&n, 17);
    onnx__function_proto__init(&f);
    f.name = net_text("Leaky", 5);
    f.domain = net_text("pkg.mine", 8);
    f.input = net_names("a", &f.n_input);
    f.output = net_names("b", &f.n_output);
    body[0] = net_new_node("LeakyRelu", "inner", "a", "b");
    net_attr(body[0], "alpha", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT)->ref_attr_name =
        net_text("slope", 5);
    f.node = body;
    f.n_node = 1;
    onnx__operator_set_id_proto__init(&mine);
    f.opset_import = n.opsets;
    f.n_opset_import = 1;
    n.functions[0] = &f;
    n.model.n_functions = 1;
    net_input(&n, "x", 1, DIMS(-1, 4));
    calls[0] = net_node(&n, "Leaky", "one", "x", "h");
    calls[1] = net_node(&n, "Leaky", "two", "h", "y");
    for (int i = 0; i < 2; i++) {
        calls[i]->domain = f.domain;
        Onnx__AttributeProto *a =
            net_attr(calls[i], "slope", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
        a->has_f = 1;
        a->f = i ? 0.5f : 0.25f;
    }
    net_output(&n, "y");
    fb_model *m = import(&n);
    assert_int_equal(m->n_nodes, 2);
    assert_true(m->nodes[0].attr.unary.a == 0.25f && m->nodes[1].attr.unary.a == 0.5f);
    assert_string_equal(m->nodes[1].name, "two/inner");
    fb_model_close(&m);
    body[0]->op_type = f.name; /* a function that calls itself */
    body[0]->domain = f.domain;
    refused(&n, FB_E_UNSUPPORTED, "functions nest deeper");
}

/* ---- quantised models ---------------------------------------------------------------------- */

static void scale_zero(net *n, const char *name, float scale, int zero, int32_t type)
{
    char text[32];
    uint8_t z = (uint8_t)zero;
    snprintf(text, sizeof text, "%s_s", name);
    net_floats(n, text, 0, NULL, &scale);
    snprintf(text, sizeof text, "%s_z", name);
    net_const(n, text, type, 1, 0, NULL, &z);
}

static void test_qdq_conv(void **state)
{
    net n;
    int32_t bias[2] = {100, -100};
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 1, 4, 4));
    scale_zero(&n, "x", 0.5f, 128, 2);
    scale_zero(&n, "y", 0.25f, 10, 2);
    net_const(&n, "wq", 3, 1, DIMS(2, 1, 1, 1), (int8_t[]){3, -4});
    net_floats(&n, "w_s", DIMS(2), (float[]){0.1f, 0.2f});
    net_const(&n, "w_z", 3, 1, DIMS(2), (int8_t[]){0, 0});
    net_const(&n, "bq", 6, 4, DIMS(2), bias);
    net_floats(&n, "b_s", DIMS(2), (float[]){0.05f, 0.1f});
    net_node(&n, "QuantizeLinear", "q", "x,x_s,x_z", "q");
    net_node(&n, "DequantizeLinear", "d", "q,x_s,x_z", "d");
    net_int(net_node(&n, "DequantizeLinear", "dw", "wq,w_s,w_z", "w"), "axis", 0);
    net_int(net_node(&n, "DequantizeLinear", "db", "bq,b_s", "b"), "axis", 0);
    net_node(&n, "Conv", "c", "d,w,b", "c");
    net_node(&n, "Relu", "r", "c", "r");
    net_node(&n, "QuantizeLinear", "q2", "r,y_s,y_z", "q2");
    net_node(&n, "DequantizeLinear", "d2", "q2,y_s,y_z", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    const fb_node *c = find(m, FB_OP_CONV);
    assert_int_equal(tensor(m, c->in[0])->enc.kind, FB_ENC_AFFINE);
    assert_int_equal(tensor(m, c->in[1])->enc.n_scales, 2);
    assert_int_equal(tensor(m, c->in[1])->data_bytes, 2);
    assert_int_equal(tensor(m, c->out[0])->enc.kind, FB_ENC_AFFINE);
    assert_int_equal(tensor(m, c->out[0])->enc.zero[0], 10);
    assert_float_equal(((const float *)tensor(m, c->in[2])->data)[1], -10, 1e-5);
    assert_int_equal(count(m, FB_OP_CONVERT), 2);
    assert_int_equal(count(m, FB_OP_REINTERPRET), 0);
    assert_int_equal(count(m, FB_OP_TRANSPOSE), 1); /* the output goes back to the file's order */
    fb_model_close(&m);
}

/* 4-bit weights stay 4-bit. */
static void test_int4(void **state)
{
    net n;
    (void)state;
    net_init(&n, 21);
    net_input(&n, "x", 1, DIMS(-1, 3));
    Onnx__TensorProto *w = net_const(&n, "wq", 22, 1, DIMS(3, 2), NULL);
    w->raw_data.len = 3;
    memcpy(w->raw_data.data, "\x21\xf3\x87", 3); /* 1 2 | 3 -1 | 7 -8 */
    net_floats(&n, "s", 0, NULL, (float[]){0.5f});
    net_node(&n, "DequantizeLinear", "d", "wq,s", "w");
    net_node(&n, "MatMul", "m", "x,w", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    const fb_tensor *t = tensor(m, find(m, FB_OP_DENSE)->in[1]);
    float v[6];
    assert_int_equal(t->enc.bits, 4);
    assert_int_equal(t->data_bytes, 3);
    assert_int_equal(fb_tensor_decode(t, v), FB_OK);
    float want[6] = {0.5f, 1.5f, 3.5f, 1, -0.5f, -4};
    for (int i = 0; i < 6; i++)
        assert_true(v[i] == want[i]);
    fb_model_close(&m);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void test_unsupported_list(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 4));
    net_node(&n, "Einsum", "e", "x", "a");
    net_node(&n, "Relu", "r", "a", "b");
    net_node(&n, "NonZero", "z", "b", "c");
    net_node(&n, "QLinearAdd", "q", "c", "y")->domain = net_text("com.microsoft", 13);
    net_output(&n, "y");
    refused(&n, FB_E_UNSUPPORTED, "3 nodes are not supported: e: Einsum: ");
    assert_non_null(strstr(fb_onnx_unsupported(), "\nz: NonZero: operator 'NonZero'"));
    assert_non_null(strstr(fb_onnx_unsupported(), "q: QLinearAdd: operator of the domain"));
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 4));
    net_node(&n, "Relu", "r", "x", "y");
    net_output(&n, "y");
    fb_model *m = import(&n);
    assert_string_equal(fb_onnx_unsupported(), "");
    fb_model_close(&m);
}

static void test_subgraph(void **state)
{
    net n;
    (void)state;
    net_init(&n, 13);
    net_input(&n, "x", 1, DIMS(-1, 4));
    Onnx__NodeProto *d = net_node(&n, "If", "i", "x", "y");
    Onnx__AttributeProto *a =
        net_attr(d, "then_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH);
    a->g = net_alloc(sizeof *a->g);
    onnx__graph_proto__init(a->g);
    net_output(&n, "y");
    refused(&n, FB_E_UNSUPPORTED, "i: If: holds a subgraph");
}

static void test_training(void **state)
{
    net n;
    (void)state;
    conv_bn_relu(&n);
    n.opset.version = 14;
    net_int(n.nodes[1], "training_mode", 1);
    refused(&n, FB_E_UNSUPPORTED, "call model.eval() before the export");
}

static void test_broken(void **state)
{
    net n;
    (void)state;
    conv_bn_relu(&n);
    n.consts[0]->raw_data.len -= 4;
    refused(&n, FB_E_FORMAT, "tensor 'w' has 428 bytes of data, its dims need 432");
    conv_bn_relu(&n);
    n.nodes[0]->input[0] = net_text("nowhere", 7);
    refused(&n, FB_E_FORMAT, "node 'c' (Conv): tensor 'nowhere' is not a graph input");
    conv_bn_relu(&n);
    n.nodes[0]->input[0] = net_text("out", 3); /* a cycle */
    refused(&n, FB_E_FORMAT, "tensor 'out' is not");
    conv_bn_relu(&n);
    n.nodes[1]->output[0] = n.nodes[0]->output[0];
    refused(&n, FB_E_FORMAT, "tensor 'y' is defined twice");
    conv_bn_relu(&n);
    net_int(n.nodes[0], "group", 0);
    refused(&n, FB_E_FORMAT, "node 'c' (Conv): group=0 must be within 1..2147483647");
    conv_bn_relu(&n);
    net_int(n.nodes[0], "strides", 1);
    refused(&n, FB_E_FORMAT, "attribute strides has the wrong type");
    conv_bn_relu(&n);
    n.consts[0]->dims[0] = (int64_t)1 << 31;
    n.consts[0]->dims[1] = (int64_t)1 << 31;
    refused(&n, FB_E_LIMIT, "tensor 'w' has more than 2^40 elements");
    conv_bn_relu(&n);
    n.opset.version = 99;
    refused(&n, FB_E_UNSUPPORTED, "ONNX opset 99");
}

/* Nested messages: 100,000 levels must not reach the recursive unpacker. */
static void test_depth(void **state)
{
    enum { LEVELS = 20000 };
    static uint8_t data[LEVELS * 4];
    fb_model *m;
    (void)state;
    /* graph (7) > node (1) > attribute (5) > g (6) > node ... with lengths to the end */
    size_t n = sizeof data, at = 0;
    static const uint8_t tags[3] = {0x0a, 0x2a, 0x32};
    for (int i = 0; at + 4 <= n; i++) {
        size_t left = n - at - 4;
        data[at++] = i == 0 ? 0x3a : tags[(i - 1) % 3];
        data[at++] = (uint8_t)(left & 127) | 128;
        data[at++] = (uint8_t)(left >> 7 & 127) | 128;
        data[at++] = (uint8_t)(left >> 14 & 127);
    }
    assert_int_equal(fb_onnx_import_memory(data, n, NULL, NULL, &m), FB_E_LIMIT);
    assert_non_null(strstr(fb_error(), "nest deeper"));
    assert_int_equal(fb_onnx_import_memory("\x3a", 1, NULL, NULL, &m), FB_E_FORMAT);
    assert_int_equal(fb_onnx_import_memory("", 0, NULL, NULL, &m), FB_E_FORMAT);
}

/* Whatever allocation fails, the import ends with a status and without a leak. */
static void test_no_memory(void **state)
{
    net n;
    fb_model *m;
    (void)state;
    conv_bn_relu(&n);
    net_pack(&n);
    fb_status status = FB_E_MEMORY;
    size_t k = 1;
    for (; status != FB_OK && k < 10000; k++) {
        fb_alloc_fail_from(k);
        status = fb_onnx_import_memory(n.bytes, n.n_bytes, NULL, NULL, &m);
        fb_alloc_fail_from(0);
        if (status != FB_OK)
            assert_null(m);
    }
    assert_int_equal(status, FB_OK);
    assert_true(k > 50);
    fb_model_close(&m);
}

/* ---- external data ------------------------------------------------------------------------- */

static void external(Onnx__TensorProto *t, size_t i, const char *key, const char *value)
{
    if (!t->external_data)
        t->external_data = net_alloc(4 * sizeof *t->external_data);
    t->external_data[i] = net_alloc(sizeof **t->external_data);
    onnx__string_string_entry_proto__init(t->external_data[i]);
    t->external_data[i]->key = net_text(key, strlen(key));
    t->external_data[i]->value = net_text(value, strlen(value));
    t->n_external_data = i + 1;
}

static Onnx__TensorProto *external_net(net *n, const char *location)
{
    conv_bn_relu(n);
    Onnx__TensorProto *w = n->consts[0];
    w->has_raw_data = 0;
    w->has_data_location = 1;
    w->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    external(w, 0, "location", location);
    external(w, 1, "offset", "8");
    net_pack(n);
    return w;
}

static void test_external(void **state)
{
    static const char *const outside[] = {"/etc/passwd", "../x", "a/../../x", "..", ""};
    net n;
    fb_model *m;
    char folder[] = "/tmp/fewbit-import-XXXXXX", path[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        external_net(&n, outside[i]);
        assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, folder, NULL, &m), FB_E_FORMAT);
        assert_non_null(strstr(fb_error(), "must be a path inside the model's folder"));
    }
    external_net(&n, "w.bin");
    assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, NULL, NULL, &m), FB_E_ARG);
    assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, folder, NULL, &m), FB_E_IO);
    assert_non_null(strstr(fb_error(), "w.bin"));
    snprintf(path, sizeof path, "%s/w.bin", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    float zeros[2 + 108] = {0, 0, 1.0f};
    assert_int_equal(fwrite(zeros, 4, 100, f), 100);
    fclose(f);
    assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, folder, NULL, &m), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "exceed the 400 bytes"));
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(zeros, 4, 110, f), 110);
    fclose(f);
    assert_int_equal(fb_onnx_import_memory(n.bytes, n.n_bytes, folder, NULL, &m), FB_OK);
    assert_float_equal(*(const float *)tensor(m, find(m, FB_OP_CONV)->in[1])->data, 1, 1e-4);
    fb_model_close(&m);
    /* the same through a file */
    char model[64];
    snprintf(model, sizeof model, "%s/m.onnx", folder);
    f = fopen(model, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(n.bytes, 1, n.n_bytes, f), n.n_bytes);
    fclose(f);
    assert_int_equal(fb_open_any(model, &m), FB_OK);
    fb_model_close(&m);
    unlink(path);
    assert_int_equal(fb_open_any(model, &m), FB_E_IO);
    assert_int_equal(strncmp(fb_error(), "m.onnx: ", 8), 0);
    unlink(model);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fuse),          cmocka_unit_test(test_keep_names),
        cmocka_unit_test(test_hard_swish),    cmocka_unit_test(test_flatten_dense),
        cmocka_unit_test(test_shuffle),       cmocka_unit_test(test_follow),
        cmocka_unit_test(test_plain_input),   cmocka_unit_test(test_shape_chain),
        cmocka_unit_test(test_symbolic_side), cmocka_unit_test(test_binding),
        cmocka_unit_test(test_function),      cmocka_unit_test(test_qdq_conv),
        cmocka_unit_test(test_int4),          cmocka_unit_test(test_unsupported_list),
        cmocka_unit_test(test_subgraph),      cmocka_unit_test(test_training),
        cmocka_unit_test(test_broken),        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_external),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
