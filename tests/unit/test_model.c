/* The model itself: every invariant of model.h broken once, copies, compaction. */
#include "unit/sample_model.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static fb_model *net(void)
{
    fb_model *m = sample_net(10);
    if (!m)
        fail_msg("sample: %s", fb_error());
    assert_int_equal(fb_model_validate(m), FB_OK);
    return m;
}

static fb_tensor *tensor(fb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static fb_node *node(fb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->nodes[i].name, name) == 0)
            return &m->nodes[i];
    }
    fail_msg("no node %s", name);
    return NULL;
}

static int32_t index_of(const fb_model *m, const fb_tensor *t)
{
    return (int32_t)(t - m->tensors);
}

static void refused(fb_model *m, const char *says)
{
    if (fb_model_validate(m) == FB_OK)
        fail_msg("accepted, should say \"%s\"", says);
    if (!strstr(fb_error(), says))
        fail_msg("\"%s\" does not say \"%s\"", fb_error(), says);
    fb_model_close(&m);
}

/* Makes a net, changes it, and wants the sentence. */
#define BREAK(change, says)                                                                        \
    do {                                                                                           \
        fb_model *m = net();                                                                       \
        change;                                                                                    \
        refused(m, says);                                                                          \
    } while (0)

static void test_tensors(void **state)
{
    (void)state;
    BREAK(tensor(m, "image")->rank = 9, "has 9 dims");
    BREAK(tensor(m, "image")->dims[1] = 0, "dim 1 is 0");
    BREAK(tensor(m, "image")->dims[1] = (INT64_C(1) << 31) + 1, "at most 2^31");
    BREAK(tensor(m, "image")->dims[1] = INT64_MIN, "at most 2^31");
    BREAK(tensor(m, "image")->dims[1] = 3 * FB_BATCH_MARK, "are reserved");
    BREAK((tensor(m, "image")->dims[1] = 1 << 20, tensor(m, "image")->dims[2] = 1 << 20),
          "2^40 elements");
    BREAK(tensor(m, "fc.weight")->dims[0] = -1, "dim 0 is -1, must be at least 1");
    BREAK(tensor(m, "fc.weight")->dtype = (fb_dtype)99, "element type 99");
    BREAK(tensor(m, "fc.weight")->enc.kind = FB_ENC_COUNT, "unknown encoding");
    BREAK(tensor(m, "fc.weight")->data_bytes -= 1, "payload of 639 bytes, must have 640");
    BREAK(tensor(m, "fc.weight")->data = NULL, "payload of 0 bytes");
    BREAK(tensor(m, "fc.weight")->data = (const char *)m->tensors[0].name + 1, "not aligned");
    BREAK(tensor(m, "features.0.weight")->data_bytes = 864, "payload of 864 bytes, must have 216");
    BREAK(tensor(m, "features.0.weight")->enc.n_scales = 7, "7 scales, must be 8");
    BREAK(tensor(m, "fc_out")->data = m, "is no constant");
    BREAK(tensor(m, "fc_out")->source_nchw = true, "marked as an image input");
    BREAK(tensor(m, "features.0_out")->enc.scale[0] = -1, "features.0_out': scale 0 is -1");
    BREAK(tensor(m, "features.0_out")->enc.axis = 3, "must have one scale");
    BREAK(tensor(m, "fc_out")->name = "fc.weight", "two tensors have the name 'fc.weight'");
    BREAK(tensor(m, "fc_out")->name = NULL, "has no name");
    char *longest = calloc(FB_LIMIT_NAME + 2, 1);
    memset(longest, 'x', FB_LIMIT_NAME + 1);
    BREAK(tensor(m, "fc_out")->name = longest, "more than 4096 bytes");
    longest[FB_LIMIT_NAME] = '\0';
    fb_model *m = net();
    tensor(m, "fc_out")->name = longest;
    tensor(m, "pad_out")->name = "";
    tensor(m, "slice_out")->name = ""; /* several without a name are fine */
    assert_int_equal(fb_model_validate(m), FB_OK);
    fb_model_close(&m);
    free(longest);
}

static void test_graph(void **state)
{
    (void)state;
    BREAK(m->inputs[0] = 99, "model input 0 is tensor 99");
    BREAK(m->inputs[0] = -1, "model input 0 is tensor -1");
    BREAK(m->inputs[0] = index_of(m, tensor(m, "fc.weight")), "is a constant or comes twice");
    BREAK(m->outputs[0] = 99, "model output 0 is tensor 99");
    BREAK(m->n_outputs = 0, "has no output");
    BREAK(m->n_inputs = 0, "marked as an image input");
    BREAK((m->n_inputs = 0, tensor(m, "image")->source_nchw = false),
          "conv 'features.0': input 0, 'image', is not computed");
    BREAK(m->n_nodes -= 1, "is not computed by any node");
    BREAK((m->outputs = (int32_t[]){m->outputs[0], m->outputs[0]}, m->n_outputs = 2),
          "comes twice");
    BREAK(node(m, "fc")->op = FB_OP_COUNT, "unknown operator");
    BREAK(node(m, "fc")->n_in = 1, "has 1 inputs, must have 2 to 3");
    BREAK(node(m, "fc")->n_out = 0, "has 0 outputs");
    BREAK(node(m, "fc")->out[0] = -1, "output 0 is tensor -1");
    BREAK(node(m, "fc")->in[0] = 1000, "input 0 is tensor 1000");
    BREAK(node(m, "fc")->in[0] = -2, "input 0 is tensor -2");
    BREAK(node(m, "fc")->in[1] = -1, "input 1 is absent, but required");
    BREAK(node(m, "fc")->out[0] = node(m, "pad")->out[0], "has a value already");
    BREAK(node(m, "fc")->out[0] = index_of(m, tensor(m, "order")), "has a value already");
    BREAK(node(m, "pad")->name = NULL, "node 3 has no name");
    fb_node swap;
    BREAK((swap = m->nodes[0], m->nodes[0] = m->nodes[1], m->nodes[1] = swap),
          "max_pool 'features.1': input 0, 'features.0_out', is not computed by an earlier node");
}

static void test_shapes(void **state)
{
    (void)state;
    BREAK(tensor(m, "fc_out")->dims[1] = 11,
          "dense 'fc': output 'fc_out' is declared as f32 [-1,11], but is f32 [-1,10]");
    BREAK(tensor(m, "fc_out")->dims[0] = 5, "is declared as f32 [5,10], but is f32 [-1,10]");
    BREAK(tensor(m, "fc_out")->dtype = FB_S64, "is declared as s64");
    BREAK(node(m, "features.0")->attr.conv.groups = 2, "groups=2");
    /* a layer that strides over the batch: 500002 for the mark, but 1 for batch 1 */
    fb_model *m;
    int32_t x, y;
    assert_int_equal(fb_model_create(&m), FB_OK);
    fb_attr attr = {
        .pool = {.kh = 1, .kw = 1, .stride_h = 2, .stride_w = 1, .dil_h = 1, .dil_w = 1}};
    assert_int_equal(fb_model_add_tensor(m, "x", FB_F32, 4, sample_dims(1, -1, 1, 1), &x), FB_OK);
    assert_int_equal(sample_node(m, FB_OP_MAX_POOL, "p", 1, &x, &attr, FB_F32, &y), FB_OK);
    assert_int_equal(fb_model_set_io(m, &x, 1, &y, 1), FB_OK);
    refused(m, "with batch 1");
}

static void test_reinterpret(void **state)
{
    (void)state;
    for (int bits = 8; bits >= 7; bits--) {
        for (int is_signed = 0; is_signed <= 1; is_signed++) {
            fb_model *m;
            int32_t x, y;
            assert_int_equal(fb_model_create(&m), FB_OK);
            assert_int_equal(fb_model_add_tensor(m, "x", FB_U8, 1, sample_dims(4, 0, 0, 0), &x),
                             FB_OK);
            assert_int_equal(sample_node(m, FB_OP_REINTERPRET, "r", 1, &x, NULL, FB_F32, &y),
                             FB_OK);
            assert_int_equal(fb_model_set_activation(m, y, (unsigned)bits, is_signed != 0, 0.5f, 0),
                             FB_OK);
            assert_int_equal(fb_model_set_io(m, &x, 1, &y, 1), FB_OK);
            if (is_signed) {
                refused(m, "input is stored as u8, output as s8");
            } else {
                assert_int_equal(fb_model_validate(m), FB_OK);
                fb_model_close(&m);
            }
        }
    }
}

static void test_travelling(void **state)
{
    (void)state;
    BREAK(m->prep.scale = 0, "scale 0");
    BREAK(m->prep.std[2] = 0, "std > 0");
    BREAK(m->prep.mean[0] = NAN, "must be finite");
    BREAK(m->prep.order = (fb_channel_order)3, "channel order 3");
    BREAK(m->prep.crop_w = 0, "one side is missing");
    BREAK(m->prep.crop_w = 65536, "size above 65535");
    BREAK(memset(m->prep.name, 'x', sizeof m->prep.name), "more than 15 bytes");
    BREAK(m->labels[1] = NULL, "label 1 has no name");
    BREAK(m->n_labels = FB_LIMIT_LABELS + 1, "1000001 labels");
    BREAK(m->notes[1].key = "method", "two notes have the name 'method'");
    BREAK(m->notes[1].value = NULL, "note 'source' has no text");
    BREAK(m->n_notes = FB_LIMIT_NOTES + 1, "1001 notes");
    BREAK(m->n_nodes = FB_LIMIT_NODES + 1, "100001 nodes");
    fb_model *m = net();
    memset(&m->prep, 0, sizeof m->prep); /* none: the numbers do not matter */
    assert_int_equal(fb_model_validate(m), FB_OK);
    fb_model_close(&m);
}

static void same_model(const fb_model *a, const fb_model *b)
{
    const char *what;
    if (!sample_same(a, b, &what))
        fail_msg("the models differ in %s", what);
    for (size_t i = 0; i < a->n_tensors; i++)
        assert_string_equal(a->tensors[i].name, b->tensors[i].name);
}

static void test_clone(void **state)
{
    (void)state;
    fb_model *m = net(), *shared, *deep;
    assert_int_equal(fb_model_clone(m, false, &shared), FB_OK);
    assert_int_equal(fb_model_clone(m, true, &deep), FB_OK);
    assert_int_equal(fb_model_validate(shared), FB_OK);
    same_model(m, shared);
    assert_ptr_equal(tensor(shared, "fc.weight")->data, tensor(m, "fc.weight")->data);
    fb_model_close(&shared);
    same_model(m, deep);
    assert_ptr_not_equal(tensor(deep, "fc.weight")->data, tensor(m, "fc.weight")->data);
    assert_ptr_not_equal(tensor(deep, "features.0.weight")->enc.scale,
                         tensor(m, "features.0.weight")->enc.scale);
    fb_model_close(&m);
    assert_null(m);
    assert_int_equal(fb_model_validate(deep), FB_OK); /* stands alone */
    fb_model_close(&deep);
    fb_model_close(&deep); /* NULL is fine */
}

static void test_clone_without_memory(void **state)
{
    (void)state;
    fb_model *m = net(), *copy;
    size_t n = 1;
    for (;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_model_clone(m, true, &copy);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
        assert_null(copy);
    }
    assert_true(n > 5); /* it was told no at least so often */
    fb_model_close(&copy);
    fb_model_close(&m);
}

static void test_validate_without_memory(void **state)
{
    (void)state;
    fb_model *m = net();
    size_t n = 1;
    for (;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_model_validate(m);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
    }
    assert_int_equal(n, 5); /* names, states, shapes, keys of notes */
    fb_model_close(&m);
}

static void test_compact(void **state)
{
    (void)state;
    fb_model *m = net();
    size_t n_tensors = m->n_tensors, n_nodes = m->n_nodes;
    /* a dead branch, an orphan, and the nodes in reverse order */
    int32_t t, u;
    fb_attr attr = {.unary = {.kind = FB_UNARY_RELU}};
    t = index_of(m, tensor(m, "pad_out"));
    assert_int_equal(sample_node(m, FB_OP_UNARY, "dead", 1, &t, &attr, FB_F32, &u), FB_OK);
    assert_int_equal(fb_model_add_tensor(m, "orphan", FB_F32, 0, NULL, &u), FB_OK);
    for (size_t i = 0; i < m->n_nodes / 2; i++) {
        fb_node swap = m->nodes[i];
        m->nodes[i] = m->nodes[m->n_nodes - 1 - i];
        m->nodes[m->n_nodes - 1 - i] = swap;
    }
    assert_int_not_equal(fb_model_validate(m), FB_OK);
    assert_int_equal(fb_model_compact(m), FB_OK);
    assert_int_equal(fb_model_validate(m), FB_OK);
    assert_int_equal(m->n_tensors, n_tensors);
    assert_int_equal(m->n_nodes, n_nodes);
    fb_model *fresh = net();
    same_model(fresh, m);
    fb_model_close(&fresh);
    /* a cycle */
    node(m, "features.0")->in[0] = index_of(m, tensor(m, "features.1_out"));
    assert_int_equal(fb_model_compact(m), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "depends on its own output"));
    fb_model_close(&m);
}

static void test_uses(void **state)
{
    (void)state;
    fb_model *m = net();
    int32_t producer[64];
    uint32_t uses[64];
    assert_true(m->n_tensors <= 64);
    fb_model_uses(m, producer, uses);
    int32_t t = index_of(m, tensor(m, "features.0_out")), out = m->outputs[0];
    assert_string_equal(m->nodes[producer[t]].name, "features.0");
    assert_int_equal(uses[t], 1);
    assert_int_equal(uses[out], 1);
    assert_int_equal(producer[m->inputs[0]], -1);
    assert_string_equal(m->tensors[fb_node_weight(m, node(m, "fc"))].name, "fc.weight");
    assert_int_equal(fb_node_weight(m, node(m, "pad")), -1);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_reinterpret),
        cmocka_unit_test(test_travelling),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_clone_without_memory),
        cmocka_unit_test(test_validate_without_memory),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
