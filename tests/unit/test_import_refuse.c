/* What the importer says about models that it refuses: unsupported, broken, hostile, out of memory.
 */
#include "unit/test_import_util.h"

#include <unistd.h>

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
        cmocka_unit_test(test_unsupported_list),
        cmocka_unit_test(test_subgraph),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_external),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
