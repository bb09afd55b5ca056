/* The importer on small models: what becomes of them. */
#include "unit/test_import_util.h"

#include "fewbit/run.h"

/* ---- fusing -------------------------------------------------------------------------------- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fuse),          cmocka_unit_test(test_keep_names),
        cmocka_unit_test(test_hard_swish),    cmocka_unit_test(test_flatten_dense),
        cmocka_unit_test(test_shuffle),       cmocka_unit_test(test_follow),
        cmocka_unit_test(test_plain_input),   cmocka_unit_test(test_shape_chain),
        cmocka_unit_test(test_symbolic_side), cmocka_unit_test(test_binding),
        cmocka_unit_test(test_function),      cmocka_unit_test(test_qdq_conv),
        cmocka_unit_test(test_int4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
