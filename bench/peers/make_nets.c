/* Networks of known shapes with seeded random weights, to be timed beside peers:
 *
 *     make_nets alexnet|vgg16|resnet18 f32|int8|lut FILE
 *
 * f32 and int8 (8-bit weights and activations, a scale for each channel) are written as ONNX, lut
 * as .fewbit: 16 codewords of 4 weights in convolutions (1 bit a weight), of 3 in dense layers
 * (1.33), tables of FB_NETS_BITS bits (6); the first layer has 8 bits. Classes mean nothing; ranges
 * are such that codes neither stick to an end nor to 0. */
#include "fewbit/fewbit.h"
#include "fewbit/onnx.h"
#include "model/product.h"
#include "model/shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum form { F32, INT8, LUT } form;

typedef struct net {
    fb_model *m;
    form form;
    int32_t x; /* the last tensor */
    uint32_t n_layers;
    uint8_t table_bits;
    uint64_t rng;
} net;

static void must(fb_status status)
{
    if (status == FB_OK)
        return;
    (void)fprintf(stderr, "make_nets: %s\n", fb_error());
    exit(1);
}

static uint32_t draw(net *g, uint32_t n)
{
    g->rng = g->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g->rng >> 33) % n;
}

/* The output of a node, encoded unless it is the network's. */
static void add(net *g, fb_op op, const char *name, uint32_t n_in, const int32_t *inputs,
                const fb_attr *attr, bool last)
{
    fb_node node = {.op = op, .name = name, .n_in = n_in, .n_out = 1, .attr = *attr};
    fb_shape in[3], shape = {.dtype = FB_F32};
    int64_t dims[FB_MAX_RANK];
    char text[64];
    int32_t out;
    for (uint32_t i = 0; i < n_in; i++)
        fb_shape_of(&g->m->tensors[inputs[i]], FB_BATCH_MARK, &in[i]);
    must(fb_shape_infer_node(&node, in, FB_BATCH_MARK, &shape));
    fb_shape_to_symbolic(&shape, dims);
    (void)snprintf(text, sizeof text, "%s.out", name);
    must(fb_model_add_tensor(g->m, text, FB_F32, shape.rank, dims, &out));
    if (g->form != F32 && !last)
        must(fb_model_set_activation(g->m, out, 8, false, 0.02f, 0));
    must(fb_model_add_node(g->m, op, name, n_in, inputs, fb_op_get(op)->n_out, (int32_t[]){out, -1},
                           attr, NULL));
    g->x = out;
}

/* 8-bit codes, a scale for each channel. */
static void int8_weight(net *g, int32_t w, size_t inner)
{
    const fb_tensor *t = &g->m->tensors[w];
    size_t oc = (size_t)t->dims[0];
    float *scale = malloc(oc * sizeof *scale);
    int8_t *q = malloc(oc * inner);
    if (!scale || !q)
        exit(1);
    for (size_t o = 0; o < oc; o++)
        scale[o] = 1.4f / (73 * sqrtf((float)inner));
    for (size_t i = 0; i < oc * inner; i++)
        q[i] = (int8_t)((int)draw(g, 255) - 127);
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 8,
                     .is_signed = true,
                     .axis = 0,
                     .n_scales = (uint32_t)oc,
                     .scale = scale};
    must(fb_model_set_payload(g->m, w, &e, q, oc * inner));
    free(scale);
    free(q);
}

static void lut_weight(net *g, int32_t w, size_t inner, uint8_t d)
{
    fb_tensor t = g->m->tensors[w];
    float scale = 1.4f / (20 * sqrtf((float)inner)), one = 1;
    size_t bytes;
    t.enc = (fb_encoding){.kind = FB_ENC_PRODUCT,
                          .bits = 4,
                          .axis = -1,
                          .n_scales = 1,
                          .scale = &scale,
                          .sub = d,
                          .n_words = 16,
                          .n_stages = 1,
                          .n_groups = 1,
                          .word_bits = 8,
                          .word_scale = &one,
                          .table_bits = g->table_bits};
    t.enc.table_scale = 0.02f * 8192 / (float)(1 << (g->table_bits - 1)); /* clips at 8,192 */
    fb_product p = fb_product_of(&t);
    t.enc.word = calloc(p.books * p.words * p.sub, sizeof(float));
    if (!t.enc.word || !fb_packed_bytes(p.n_indices, 4, &bytes))
        exit(1);
    uint8_t *codes = malloc(bytes);
    if (!codes)
        exit(1);
    for (size_t i = 0; i < p.books * p.words; i++)
        for (size_t j = 0; j < fb_product_stored_sub(&p, i / p.words); j++)
            t.enc.word[i * p.sub + j] = (float)((int)draw(g, 63) - 31);
    for (size_t i = 0; i < bytes; i++)
        codes[i] = (uint8_t)draw(g, 256);
    if (p.n_indices % 2) /* the bits beyond the last index are 0 */
        codes[bytes - 1] &= 15;
    must(fb_model_set_payload(g->m, w, &t.enc, codes, bytes));
    free(t.enc.word);
    free(codes);
}

static int32_t weight(net *g, const char *name, int32_t rank, const int64_t *dims)
{
    char text[64];
    size_t inner = 1;
    int32_t w;
    (void)snprintf(text, sizeof text, "%s.weight", name);
    must(fb_model_add_const(g->m, text, FB_F32, rank, dims, NULL, &w));
    for (int32_t i = 1; i < rank; i++)
        inner *= (size_t)dims[i];
    if (g->form == F32) {
        float *v = (float *)(uintptr_t)g->m->tensors[w].data;
        for (size_t i = 0; i < (size_t)dims[0] * inner; i++)
            v[i] = ((float)draw(g, 65536) / 32768 - 1) * 2.4f / sqrtf((float)inner);
    } else if (g->form == INT8 || g->n_layers == 0) {
        int8_weight(g, w, inner);
    } else {
        lut_weight(g, w, inner, rank == 4 ? 4 : 3);
    }
    g->n_layers++;
    return w;
}

static int32_t bias(net *g, const char *name, int64_t n)
{
    char text[64];
    int32_t b;
    (void)snprintf(text, sizeof text, "%s.bias", name);
    must(fb_model_add_const(g->m, text, FB_F32, 1, &n, NULL, &b));
    float *v = (float *)(uintptr_t)g->m->tensors[b].data;
    for (int64_t i = 0; i < n; i++)
        v[i] = 0.1f;
    return b;
}

static const fb_act relu = {1, 0, INFINITY}, none = {0, 0, 0};

static void conv(net *g, const char *name, int64_t oc, int32_t k, int32_t stride, int32_t pad,
                 fb_act act)
{
    int64_t ic = g->m->tensors[g->x].dims[3];
    fb_attr a = {.conv = {.kh = k,
                          .kw = k,
                          .stride_h = stride,
                          .stride_w = stride,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = pad,
                          .pad_l = pad,
                          .pad_b = pad,
                          .pad_r = pad,
                          .groups = 1,
                          .act = act}};
    int32_t w = weight(g, name, 4, (int64_t[]){oc, k, k, ic});
    add(g, FB_OP_CONV, name, 3, (int32_t[]){g->x, w, bias(g, name, oc)}, &a, false);
}

static void pool(net *g, const char *name, int32_t k, int32_t stride, int32_t pad)
{
    fb_attr a = {.pool = {.kh = k,
                          .kw = k,
                          .stride_h = stride,
                          .stride_w = stride,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = pad,
                          .pad_l = pad,
                          .pad_b = pad,
                          .pad_r = pad}};
    add(g, FB_OP_MAX_POOL, name, 1, &g->x, &a, false);
}

static void flatten(net *g)
{
    const fb_tensor *t = &g->m->tensors[g->x];
    fb_attr a = {.shape = {2, {-1, t->dims[1] * t->dims[2] * t->dims[3]}}};
    add(g, FB_OP_RESHAPE, "flatten", 1, &g->x, &a, false);
}

static void dense(net *g, const char *name, int64_t oc, bool last)
{
    fb_attr a = {.dense = {.act = last ? none : relu}};
    int32_t w = weight(g, name, 2, (int64_t[]){oc, g->m->tensors[g->x].dims[1]});
    add(g, FB_OP_DENSE, name, 3, (int32_t[]){g->x, w, bias(g, name, oc)}, &a, last);
}

static void alexnet(net *g)
{
    conv(g, "conv1", 64, 11, 4, 2, relu);
    pool(g, "pool1", 3, 2, 0);
    conv(g, "conv2", 192, 5, 1, 2, relu);
    pool(g, "pool2", 3, 2, 0);
    conv(g, "conv3", 384, 3, 1, 1, relu);
    conv(g, "conv4", 256, 3, 1, 1, relu);
    conv(g, "conv5", 256, 3, 1, 1, relu);
    pool(g, "pool5", 3, 2, 0);
    flatten(g);
    dense(g, "fc6", 4096, false);
    dense(g, "fc7", 4096, false);
    dense(g, "fc8", 1000, true);
}

static void vgg16(net *g)
{
    static const int channels[5] = {64, 128, 256, 512, 512}, count[5] = {2, 2, 3, 3, 3};
    char name[32];
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < count[i]; j++) {
            (void)snprintf(name, sizeof name, "conv%d_%d", i + 1, j + 1);
            conv(g, name, channels[i], 3, 1, 1, relu);
        }
        (void)snprintf(name, sizeof name, "pool%d", i + 1);
        pool(g, name, 2, 2, 0);
    }
    flatten(g);
    dense(g, "fc6", 4096, false);
    dense(g, "fc7", 4096, false);
    dense(g, "fc8", 1000, true);
}

static void resnet18(net *g)
{
    char name[32];
    conv(g, "conv1", 64, 7, 2, 3, relu);
    pool(g, "pool1", 3, 2, 1);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++) {
            int32_t from = g->x, stride = i && !j ? 2 : 1, other;
            (void)snprintf(name, sizeof name, "layer%d.%d.conv1", i + 1, j);
            conv(g, name, 64 << i, 3, stride, 1, relu);
            (void)snprintf(name, sizeof name, "layer%d.%d.conv2", i + 1, j);
            conv(g, name, 64 << i, 3, 1, 1, none);
            other = from;
            if (stride == 2) {
                int32_t main_path = g->x;
                g->x = from;
                (void)snprintf(name, sizeof name, "layer%d.%d.down", i + 1, j);
                conv(g, name, 64 << i, 1, 2, 0, none);
                other = g->x;
                g->x = main_path;
            }
            fb_attr a = {.binary = {.kind = FB_BINARY_ADD, .act = relu}};
            (void)snprintf(name, sizeof name, "layer%d.%d.add", i + 1, j);
            add(g, FB_OP_BINARY, name, 2, (int32_t[]){g->x, other}, &a, false);
        }
    }
    fb_attr a = {.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6, .keep_dims = 1}};
    add(g, FB_OP_REDUCE, "mean", 1, &g->x, &a, false);
    flatten(g);
    dense(g, "fc", 1000, true);
}

int main(int argc, char **argv)
{
    static const char *const forms[] = {"f32", "int8", "lut"};
    static const struct {
        const char *name;
        void (*build)(net *g);
    } nets[] = {{"alexnet", alexnet}, {"vgg16", vgg16}, {"resnet18", resnet18}};
    const char *bits = getenv("FB_NETS_BITS");
    net g = {.table_bits = (uint8_t)(bits ? atoi(bits) : 6), .rng = 1};
    int f = 0, k = 0;
    while (argc == 4 && f < 3 && strcmp(argv[2], forms[f]) != 0)
        f++;
    while (argc == 4 && k < 3 && strcmp(argv[1], nets[k].name) != 0)
        k++;
    if (argc != 4 || f == 3 || k == 3) {
        (void)fprintf(stderr, "usage: make_nets alexnet|vgg16|resnet18 f32|int8|lut FILE\n");
        return 2;
    }
    g.form = (form)f;
    int32_t input;
    must(fb_model_create(&g.m));
    must(fb_model_add_tensor(g.m, "image", FB_F32, 4, (int64_t[]){-1, 224, 224, 3}, &input));
    g.m->tensors[input].source_nchw = true;
    g.x = input;
    if (g.form != F32) {
        fb_attr no = {.shape = {0}};
        add(&g, FB_OP_CONVERT, "encode", 1, &input, &no, false);
    }
    nets[k].build(&g);
    must(fb_model_set_io(g.m, &input, 1, &g.x, 1));
    must(fb_model_validate(g.m));
    must(g.form == LUT ? fb_model_save(g.m, argv[3]) : fb_onnx_export(g.m, argv[3]));
    fb_model_close(&g.m);
    return 0;
}
