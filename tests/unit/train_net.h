/* Small networks for the tests of training. A builder gives up (the test fails) on any error. */
#ifndef TESTS_UNIT_TRAIN_NET_H
#define TESTS_UNIT_TRAIN_NET_H

#include "base/alloc.h"
#include "model/model.h"
#include "model/shape.h"
#include "numeric/random.h"
#include "train/net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define OK(call) assert_int_equal((call), FB_OK)

typedef struct maker {
    fb_model *m;
    int32_t x; /* tensor at the end */
    uint64_t random;
} maker;

static inline maker make_start(int32_t rank, const int64_t *dims)
{
    maker k = {.random = 7};
    OK(fb_model_create(&k.m));
    OK(fb_model_add_tensor(k.m, "input", FB_F32, rank, dims, &k.x));
    return k;
}

static inline int32_t make_const(maker *k, int32_t rank, const int64_t *dims, float lo, float hi)
{
    int32_t t;
    int64_t n = 1;
    char name[16] = {'c', (char)('a' + k->m->n_tensors / 26), (char)('a' + k->m->n_tensors % 26)};
    for (int32_t i = 0; i < rank; i++)
        n *= dims[i];
    float *data = fb_calloc((size_t)n, sizeof *data);
    assert_non_null(data);
    fb_random_fill(&k->random, lo, hi, (size_t)n, data);
    OK(fb_model_add_const(k->m, name, FB_F32, rank, dims, data, &t));
    fb_free(data);
    return t;
}

/* A node over `in`; its first output becomes the end. Shapes are inferred at once. */
static inline int32_t make_node(maker *k, fb_op op, uint32_t n_in, const int32_t *in,
                                const fb_attr *attr)
{
    fb_shape shapes[8], out[2];
    int64_t dims[FB_MAX_RANK];
    int32_t t[2] = {-1, -1};
    fb_node n = {.op = op, .name = "node", .n_in = n_in, .n_out = fb_op_get(op)->n_out};
    n.in = (int32_t *)(uintptr_t)in;
    n.out = t;
    if (attr)
        n.attr = *attr;
    for (uint32_t i = 0; i < n_in; i++) {
        shapes[i] = (fb_shape){0};
        if (in[i] >= 0)
            fb_shape_of(&k->m->tensors[in[i]], FB_BATCH_MARK, &shapes[i]);
    }
    OK(fb_shape_infer_node(&n, shapes, FB_BATCH_MARK, out));
    fb_shape_to_symbolic(&out[0], dims);
    OK(fb_model_add_tensor(k->m, "", FB_F32, out[0].rank, dims, &t[0]));
    OK(fb_model_add_node(k->m, op, "node", n_in, in, n.n_out, t, attr, NULL));
    k->x = t[0];
    return t[0];
}

static inline void make_conv(maker *k, int64_t oc, const fb_attr_conv *a, bool bias)
{
    int64_t ic = k->m->tensors[k->x].dims[3];
    fb_attr attr = {.conv = *a};
    int32_t in[3] = {k->x};
    in[1] = make_const(k, 4, (int64_t[]){oc, a->kh, a->kw, ic / a->groups}, -0.5f, 0.5f);
    if (bias)
        in[2] = make_const(k, 1, &oc, -0.5f, 0.5f);
    make_node(k, FB_OP_CONV, bias ? 3 : 2, in, &attr);
}

static inline void make_dense(maker *k, int64_t n, bool bias)
{
    const fb_tensor *t = &k->m->tensors[k->x];
    int64_t dims[2] = {n, t->dims[t->rank - 1]};
    int32_t in[3] = {k->x};
    in[1] = make_const(k, 2, dims, -0.5f, 0.5f);
    if (bias)
        in[2] = make_const(k, 1, &n, -0.5f, 0.5f);
    make_node(k, FB_OP_DENSE, bias ? 3 : 2, in, NULL);
}

static inline void make_norm(maker *k)
{
    const fb_tensor *t = &k->m->tensors[k->x];
    int64_t c = t->dims[t->rank - 1];
    int32_t in[3] = {k->x};
    in[1] = make_const(k, 1, &c, 0.5f, 1.5f);
    in[2] = make_const(k, 1, &c, -0.5f, 0.5f);
    make_node(k, FB_OP_SCALE_SHIFT, 3, in, NULL);
}

static inline void make_unary(maker *k, fb_unary kind, float a, float b)
{
    fb_attr attr = {.unary = {(int32_t)kind, a, b}};
    make_node(k, FB_OP_UNARY, 1, &k->x, &attr);
}

static inline void make_binary(maker *k, fb_binary kind, int32_t a, int32_t b)
{
    fb_attr attr = {.binary = {.kind = (int32_t)kind}};
    make_node(k, FB_OP_BINARY, 2, (int32_t[]){a, b}, &attr);
}

static inline void make_flat(maker *k)
{
    const fb_tensor *t = &k->m->tensors[k->x];
    fb_attr attr = {.shape = {.rank = 2, .dims = {-1, 1}}};
    for (int32_t i = 1; i < t->rank; i++)
        attr.shape.dims[1] *= t->dims[i];
    make_node(k, FB_OP_RESHAPE, 1, &k->x, &attr);
}

static inline void make_pool_mean(maker *k)
{
    fb_attr attr = {.reduce = {FB_REDUCE_MEAN, 6, 0}};
    make_node(k, FB_OP_REDUCE, 1, &k->x, &attr);
}

static inline fb_model *make_end(maker *k)
{
    int32_t in = 0;
    OK(fb_model_set_io(k->m, &in, 1, &k->x, 1));
    OK(fb_model_validate(k->m));
    return k->m;
}

#endif
