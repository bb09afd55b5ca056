/* The list of architectures, and the builder they share. */
#include "train/arch.h"

#include "fewbit/train.h"
#include "model/shape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the builder ----------------------------------------------------------------------------- */

static void add_node(fb_build *b, fb_op op, const char *name, uint32_t n_in, const int32_t *in,
                     const fb_attr *attr)
{
    fb_shape shapes[3] = {{0}}, out[2];
    int64_t dims[FB_MAX_RANK];
    int32_t y[2] = {-1, -1};
    fb_node n = {.op = op, .name = name, .n_in = n_in, .n_out = fb_op_get(op)->n_out, .out = y};
    int32_t copy[3] = {-1, -1, -1};
    if (b->status != FB_OK)
        return;
    memcpy(copy, in, n_in * sizeof *in);
    n.in = copy;
    if (attr)
        n.attr = *attr;
    for (uint32_t i = 0; i < n_in; i++)
        fb_shape_of(&b->m->tensors[in[i]], FB_BATCH_MARK, &shapes[i]);
    b->status = fb_shape_infer_node(&n, shapes, FB_BATCH_MARK, out);
    if (b->status != FB_OK)
        return;
    fb_shape_to_symbolic(&out[0], dims);
    b->status = fb_model_add_tensor(b->m, "", FB_F32, out[0].rank, dims, &y[0]);
    if (b->status == FB_OK)
        b->status = fb_model_add_node(b->m, op, name, n_in, copy, n.n_out, y, attr, NULL);
    b->x = y[0];
}

/* A constant "layer.what" filled with one value. */
static int32_t add_const(fb_build *b, const char *layer, const char *what, int32_t rank,
                         const int64_t *dims, float value)
{
    char name[96];
    int32_t t = -1;
    if (b->status != FB_OK)
        return -1;
    (void)snprintf(name, sizeof name, "%s.%s", layer, what);
    b->status = fb_model_add_const(b->m, name, FB_F32, rank, dims, NULL, &t);
    if (b->status != FB_OK)
        return -1;
    float *data = (float *)(uintptr_t)b->m->tensors[t].data;
    for (size_t i = 0; i < b->m->tensors[t].data_bytes / sizeof *data; i++)
        data[i] = value;
    return t;
}

static int64_t channels(const fb_build *b)
{
    const fb_tensor *t = &b->m->tensors[b->x];
    return t->dims[t->rank - 1];
}

void fb_build_input(fb_build *b, int64_t h, int64_t w, int64_t c)
{
    int64_t dims[4] = {-1, h, w, c};
    if (b->status == FB_OK)
        b->status = fb_model_add_tensor(b->m, "input", FB_F32, 4, dims, &b->x);
    if (b->status == FB_OK)
        b->m->tensors[b->x].source_nchw = true;
}

static void add_norm(fb_build *b, const char *layer)
{
    int64_t c = channels(b);
    char name[96];
    int32_t scale = add_const(b, layer, "norm.scale", 1, &c, 1);
    int32_t shift = add_const(b, layer, "norm.shift", 1, &c, 0);
    (void)snprintf(name, sizeof name, "%s.norm", layer);
    if (b->status == FB_OK)
        add_node(b, FB_OP_SCALE_SHIFT, name, 3, (int32_t[]){b->x, scale, shift}, NULL);
}

void fb_build_add_conv(fb_build *b, const fb_build_conv *c)
{
    if (b->status != FB_OK)
        return;
    int64_t ic = channels(b), oc = c->depthwise ? ic : c->oc;
    int32_t k = (int32_t)c->k, pad = c->valid ? 0 : k / 2, in[3] = {b->x, -1, -1};
    fb_attr a = {.conv = {.kh = k,
                          .kw = k,
                          .stride_h = c->stride,
                          .stride_w = c->stride,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = pad,
                          .pad_l = pad,
                          .pad_b = pad,
                          .pad_r = pad,
                          .groups = c->depthwise ? (int32_t)ic : 1}};
    int64_t dims[4] = {oc, c->k, c->k, c->depthwise ? 1 : ic};
    in[1] = add_const(b, c->name, "weight", 4, dims, 0);
    if (!c->norm)
        in[2] = add_const(b, c->name, "bias", 1, &oc, 0);
    add_node(b, FB_OP_CONV, c->name, c->norm ? 2 : 3, in, &a);
    if (c->norm)
        add_norm(b, c->name);
}

void fb_build_add_dense(fb_build *b, const char *name, int64_t n)
{
    if (b->status != FB_OK)
        return;
    int32_t in[3] = {b->x};
    in[1] = add_const(b, name, "weight", 2, (int64_t[]){n, channels(b)}, 0);
    in[2] = add_const(b, name, "bias", 1, &n, 0);
    add_node(b, FB_OP_DENSE, name, 3, in, NULL);
}

void fb_build_add_clamp(fb_build *b, float hi)
{
    bool relu = hi == INFINITY;
    fb_attr a = {.unary = {relu ? FB_UNARY_RELU : FB_UNARY_CLIP, 0, relu ? 0 : hi}};
    add_node(b, FB_OP_UNARY, "relu", 1, &b->x, &a);
}

void fb_build_add_max_pool(fb_build *b)
{
    fb_attr a = {.pool = {.kh = 2, .kw = 2, .stride_h = 2, .stride_w = 2, .dil_h = 1, .dil_w = 1}};
    add_node(b, FB_OP_MAX_POOL, "pool", 1, &b->x, &a);
}

void fb_build_add_mean(fb_build *b)
{
    fb_attr a = {.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6}};
    add_node(b, FB_OP_REDUCE, "mean", 1, &b->x, &a);
}

void fb_build_add_flat(fb_build *b)
{
    if (b->status != FB_OK)
        return;
    const fb_tensor *t = &b->m->tensors[b->x];
    fb_attr a = {.shape = {.rank = 2, .dims = {-1, 1}}};
    for (int32_t i = 1; i < t->rank; i++)
        a.shape.dims[1] *= t->dims[i];
    add_node(b, FB_OP_RESHAPE, "flatten", 1, &b->x, &a);
}

void fb_build_add_sum(fb_build *b, int32_t other)
{
    fb_attr a = {.binary = {.kind = FB_BINARY_ADD}};
    add_node(b, FB_OP_BINARY, "add", 2, (int32_t[]){b->x, other}, &a);
}

/* ---- the list -------------------------------------------------------------------------------- */

static const struct {
    const char *name, *prep;
    void (*build)(fb_build *b, uint32_t classes);
} archs[] = {
    {"lenet5", "mnist", fb_arch_lenet5},
    {"resnet8", "cifar10", fb_arch_resnet8},
    {"resnet20", "cifar10", fb_arch_resnet20},
    {"vgg-small", "cifar10", fb_arch_vgg_small},
    {"mobilenet-tiny", "cifar10", fb_arch_mobilenet_tiny},
};

uint32_t fb_n_archs(void)
{
    return sizeof archs / sizeof *archs;
}

const char *fb_arch_name(uint32_t i)
{
    return i < fb_n_archs() ? archs[i].name : NULL;
}

static fb_status finish(fb_build *b, const char *prep)
{
    fb_prep p;
    int32_t in = 0;
    FB_TRY(b->status);
    FB_TRY(fb_model_set_io(b->m, &in, 1, &b->x, 1));
    b->m->tensors[b->x].name = "output";
    FB_TRY(fb_prep_parse(prep, &p));
    FB_TRY(fb_model_set_prep(b->m, &p));
    return fb_model_validate(b->m);
}

fb_status fb_arch_create(const char *name, uint32_t classes, fb_model **out)
{
    uint32_t i = 0;
    *out = NULL;
    while (i < fb_n_archs() && strcmp(archs[i].name, name) != 0)
        i++;
    if (i == fb_n_archs())
        return fb_fail(FB_E_ARG,
                       "architecture '%s' is none of lenet5, resnet8, resnet20, vgg-small, "
                       "mobilenet-tiny",
                       name);
    if (classes < 2 || classes > 100000)
        return fb_fail(FB_E_ARG, "%u classes; must be 2 to 100000", classes);
    fb_build b = {0};
    FB_TRY(fb_model_create(&b.m));
    archs[i].build(&b, classes);
    fb_status status = finish(&b, archs[i].prep);
    if (status != FB_OK)
        fb_model_close(&b.m);
    *out = b.m;
    return status;
}
