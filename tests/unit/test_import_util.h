/* What the import tests share: importing, looking at the result, expecting a refusal. */
#ifndef TEST_IMPORT_UTIL_H
#define TEST_IMPORT_UTIL_H

#include "unit/test_import_net.h"

#include "fewbit/onnx.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

static inline fb_model *import_with(net *n, const fb_onnx_options *options)
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

static inline fb_model *import(net *n)
{
    return import_with(n, NULL);
}

static inline size_t count(const fb_model *m, fb_op op)
{
    size_t k = 0;
    for (size_t i = 0; i < m->n_nodes; i++)
        k += m->nodes[i].op == op;
    return k;
}

static inline const fb_node *find(const fb_model *m, fb_op op)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == op)
            return &m->nodes[i];
    }
    fail_msg("no %s", fb_op_get(op)->name);
    return NULL;
}

static inline const fb_tensor *tensor(const fb_model *m, int32_t t)
{
    assert_true(t >= 0);
    return &m->tensors[t];
}

static inline void refused(net *n, fb_status want, const char *part)
{
    fb_model *m;
    net_pack(n);
    assert_int_equal(fb_onnx_import_memory(n->bytes, n->n_bytes, NULL, NULL, &m), want);
    assert_null(m);
    if (!strstr(fb_error(), part))
        fail_msg("'%s' does not say '%s'", fb_error(), part);
}

static inline void conv_bn_relu(net *n)
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

#endif
