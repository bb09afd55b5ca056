/* Small networks that several tests build: the same bytes every time. */
#ifndef FB_TESTS_SAMPLE_MODEL_H
#define FB_TESTS_SAMPLE_MODEL_H

#include "model/model.h"
#include "model/product.h"
#include "model/shape.h"
#include "model/sparse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A failure to build a sample is a broken test, except where the test makes allocations fail. */
#define SAMPLE_TRY(call)                                                                           \
    do {                                                                                           \
        if ((call) != FB_OK)                                                                       \
            goto fail;                                                                             \
    } while (0)

static inline const int64_t *sample_dims(int64_t a, int64_t b, int64_t c, int64_t d)
{
    static int64_t dims[4];
    dims[0] = a;
    dims[1] = b;
    dims[2] = c;
    dims[3] = d;
    return dims;
}

/* The worked example of docs/FORMAT.md: y = dense(x) with a 4-bit weight. */
static inline fb_model *sample_tiny(void)
{
    fb_model *m = NULL;
    int32_t x, w, b, y;
    float scale[2] = {0.25f, 0.5f}, bias[2] = {1, -1};
    const uint8_t packed[3] = {0x21, 0xf3, 0x7e}; /* 1 2 3 | -1 -2 7 */
    fb_encoding enc = {.kind = FB_ENC_AFFINE,
                       .bits = 4,
                       .is_signed = true,
                       .pow2 = true,
                       .axis = 0,
                       .n_scales = 2,
                       .scale = scale};
    SAMPLE_TRY(fb_model_create(&m));
    SAMPLE_TRY(fb_model_add_tensor(m, "x", FB_F32, 2, sample_dims(-1, 3, 0, 0), &x));
    SAMPLE_TRY(fb_model_add_const(m, "fc.weight", FB_F32, 2, sample_dims(2, 3, 0, 0), NULL, &w));
    SAMPLE_TRY(fb_model_set_payload(m, w, &enc, packed, sizeof packed));
    SAMPLE_TRY(fb_model_add_const(m, "fc.bias", FB_F32, 1, sample_dims(2, 0, 0, 0), bias, &b));
    SAMPLE_TRY(fb_model_add_tensor(m, "y", FB_F32, 2, sample_dims(-1, 2, 0, 0), &y));
    SAMPLE_TRY(fb_model_add_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){x, w, b}, 1, &y, NULL, NULL));
    SAMPLE_TRY(fb_model_set_io(m, &x, 1, &y, 1));
    SAMPLE_TRY(fb_model_set_note(m, "method", "int4"));
    return m;
fail:
    fb_model_close(&m);
    return NULL;
}

/* Adds a node with one output, whose dims are inferred. */
static inline fb_status sample_node(fb_model *m, fb_op op, const char *name, uint32_t n_in,
                                    const int32_t *in, const fb_attr *attr, fb_dtype dtype,
                                    int32_t *out)
{
    fb_shape shapes[4], result = {.dtype = dtype};
    fb_node n = {.op = op, .name = name, .n_in = n_in, .n_out = 1};
    int64_t dims[FB_MAX_RANK];
    if (attr)
        n.attr = *attr;
    for (uint32_t i = 0; i < n_in; i++) {
        memset(&shapes[i], 0, sizeof shapes[i]);
        if (in[i] >= 0)
            fb_shape_of(&m->tensors[in[i]], FB_BATCH_MARK, &shapes[i]);
    }
    fb_status status = fb_shape_infer_node(&n, shapes, FB_BATCH_MARK, &result);
    if (status != FB_OK)
        return status;
    fb_shape_to_symbolic(&result, dims);
    char text[128];
    (void)snprintf(text, sizeof text, "%.100s_out", name);
    status = fb_model_add_tensor(m, text, result.dtype, result.rank, dims, out);
    return status == FB_OK ? fb_model_add_node(m, op, name, n_in, in, 1, out, attr, NULL) : status;
}

/* By fields: what else is in the union does not count. */
static inline bool sample_same_attr(fb_op op, const fb_attr *a, const fb_attr *b)
{
    uint32_t n;
    const fb_field *f = fb_attr_fields(fb_op_get(op)->attr, &n);
    for (uint32_t i = 0; i < n; i++) {
        size_t wide = f[i].type == FB_FIELD_I64 || f[i].type == FB_FIELD_F64 ? 8 : 4;
        if (memcmp((const char *)a + f[i].offset, (const char *)b + f[i].offset,
                   wide * f[i].count) != 0)
            return false;
    }
    return true;
}

/* Of two tensors with dims and kind alike: what only products have. */
static inline bool sample_same_product(const fb_tensor *s, const fb_tensor *t)
{
    const fb_encoding *e = &s->enc, *f = &t->enc;
    if (e->kind != FB_ENC_PRODUCT)
        return true;
    if (e->n_words != f->n_words || e->sub != f->sub || e->n_stages != f->n_stages ||
        e->books != f->books || e->n_groups != f->n_groups || e->along_kernel != f->along_kernel ||
        e->word_bits != f->word_bits || e->table_bits != f->table_bits ||
        e->table_scale != f->table_scale)
        return false;
    fb_product p = fb_product_of(s);
    size_t n = p.stages * p.books * p.words * p.sub;
    return memcmp(e->word_scale, f->word_scale, p.stages * sizeof *e->word_scale) == 0 &&
           memcmp(e->word, f->word, n * sizeof *e->word) == 0;
}

/* Whether two models say the same; names of temporaries do not count, since files do not keep them.
 * On a difference *what names it. */
static inline bool sample_same(const fb_model *a, const fb_model *b, const char **what)
{
    *what = "counts";
    if (a->n_tensors != b->n_tensors || a->n_nodes != b->n_nodes || a->n_inputs != b->n_inputs ||
        a->n_outputs != b->n_outputs || a->n_labels != b->n_labels || a->n_notes != b->n_notes)
        return false;
    *what = "inputs and outputs";
    if (memcmp(a->inputs, b->inputs, a->n_inputs * sizeof *a->inputs) != 0 ||
        memcmp(a->outputs, b->outputs, a->n_outputs * sizeof *a->outputs) != 0)
        return false;
    for (size_t i = 0; i < a->n_tensors; i++) {
        const fb_tensor *s = &a->tensors[i], *t = &b->tensors[i];
        const fb_encoding *e = &s->enc, *f = &t->enc;
        *what = s->name;
        if (s->dtype != t->dtype || s->rank != t->rank || s->is_const != t->is_const ||
            s->source_nchw != t->source_nchw || s->data_bytes != t->data_bytes ||
            memcmp(s->dims, t->dims, sizeof s->dims) != 0 || e->kind != f->kind ||
            e->bits != f->bits || e->is_signed != f->is_signed || e->pow2 != f->pow2 ||
            e->axis != f->axis || e->group != f->group || e->n_scales != f->n_scales ||
            e->sparse != f->sparse || e->n_kept != f->n_kept || e->n_levels != f->n_levels ||
            e->level_bits != f->level_bits || e->n_tables != f->n_tables ||
            e->n_patches != f->n_patches)
            return false;
        for (size_t k = 0; k < (size_t)e->n_tables * e->n_levels; k++) {
            if (e->level[k] != f->level[k])
                return false;
        }
        if (!sample_same_product(s, t))
            return false;
        for (uint32_t k = 0; k < e->n_patches; k++) {
            if (e->patch_at[k] != f->patch_at[k] || e->patch[k] != f->patch[k])
                return false;
        }
        if (s->data_bytes && memcmp(s->data, t->data, s->data_bytes) != 0)
            return false;
        if (s->is_const && strcmp(s->name, t->name) != 0)
            return false;
        for (uint32_t k = 0; k < e->n_scales; k++) {
            if (e->scale[k] != f->scale[k] ||
                (e->zero ? e->zero[k] : 0) != (f->zero ? f->zero[k] : 0))
                return false;
        }
    }
    for (size_t i = 0; i < a->n_nodes; i++) {
        const fb_node *s = &a->nodes[i], *t = &b->nodes[i];
        *what = s->name;
        if (s->op != t->op || strcmp(s->name, t->name) != 0 || s->n_in != t->n_in ||
            s->n_out != t->n_out || memcmp(s->in, t->in, s->n_in * sizeof *s->in) != 0 ||
            memcmp(s->out, t->out, s->n_out * sizeof *s->out) != 0 ||
            !sample_same_attr(s->op, &s->attr, &t->attr))
            return false;
    }
    *what = "preprocessing";
    if (strcmp(a->prep.name, b->prep.name) != 0 || a->prep.crop_h != b->prep.crop_h ||
        a->prep.scale != b->prep.scale ||
        memcmp(a->prep.mean, b->prep.mean, sizeof a->prep.mean) != 0 ||
        memcmp(a->prep.std, b->prep.std, sizeof a->prep.std) != 0)
        return false;
    *what = "labels and notes";
    for (uint32_t i = 0; i < a->n_labels; i++) {
        if (strcmp(a->labels[i], b->labels[i]) != 0)
            return false;
    }
    for (size_t i = 0; i < a->n_notes; i++) {
        if (strcmp(a->notes[i].key, b->notes[i].key) != 0 ||
            strcmp(a->notes[i].value, b->notes[i].value) != 0)
            return false;
    }
    return true;
}

static inline fb_attr sample_conv(int32_t k, int32_t stride, int32_t pad)
{
    return (fb_attr){.conv = {.kh = k,
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
                              .act = {1, 0, INFINITY}}};
}

/* A little of everything: encodings, integer constants, attributes with f64 and i64 fields, labels,
 * notes, preprocessing. From n_classes = 256 on, the weight of "fc" is large enough to be used in
 * place. */
static inline fb_model *sample_net(int32_t n_classes)
{
    fb_model *m = NULL;
    int32_t x, w, b, t, u, v, y;
    float scale[32];
    int32_t zero[32];
    uint8_t bytes[256];
    float *fc = NULL;
    fb_attr attr;
    for (int i = 0; i < 32; i++) {
        scale[i] = 0.01f * (float)(i + 7);
        zero[i] = i % 16;
    }
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    SAMPLE_TRY(fb_model_create(&m));
    SAMPLE_TRY(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 8, 8, 3), &x));
    m->tensors[x].source_nchw = true;

    fb_encoding e8 = {.kind = FB_ENC_AFFINE,
                      .bits = 8,
                      .is_signed = true,
                      .axis = 0,
                      .n_scales = 8,
                      .scale = scale};
    SAMPLE_TRY(
        fb_model_add_const(m, "features.0.weight", FB_F32, 4, sample_dims(8, 3, 3, 3), NULL, &w));
    SAMPLE_TRY(fb_model_set_payload(m, w, &e8, bytes, 216));
    SAMPLE_TRY(
        fb_model_add_const(m, "features.0.bias", FB_F32, 1, sample_dims(8, 0, 0, 0), scale, &b));
    attr = sample_conv(3, 1, 1);
    SAMPLE_TRY(
        sample_node(m, FB_OP_CONV, "features.0", 3, (int32_t[]){x, w, b}, &attr, FB_F32, &t));
    SAMPLE_TRY(fb_model_set_activation(m, t, 8, false, 0.02f, 3));
    memset(&attr, 0, sizeof attr);
    attr.pool =
        (fb_attr_pool){.kh = 2, .kw = 2, .stride_h = 2, .stride_w = 2, .dil_h = 1, .dil_w = 1};
    SAMPLE_TRY(sample_node(m, FB_OP_MAX_POOL, "features.1", 1, &t, &attr, FB_F32, &u));
    SAMPLE_TRY(fb_model_set_activation(m, u, 8, false, 0.02f, 3));

    /* 4 unsigned bits, groups of 3 of 8 inputs: 3 groups a channel, the last one short */
    fb_encoding e4 = {.kind = FB_ENC_AFFINE,
                      .bits = 4,
                      .axis = 0,
                      .group = 3,
                      .n_scales = 12,
                      .scale = scale,
                      .zero = zero};
    SAMPLE_TRY(
        fb_model_add_const(m, "features.2.weight", FB_F32, 4, sample_dims(4, 1, 1, 8), NULL, &w));
    SAMPLE_TRY(fb_model_set_payload(m, w, &e4, bytes, 16));
    attr = sample_conv(1, 1, 0);
    SAMPLE_TRY(
        sample_node(m, FB_OP_CONV, "features.2", 3, (int32_t[]){u, w, -1}, &attr, FB_F32, &t));
    memset(&attr, 0, sizeof attr);
    attr.pad.value = -1.5;
    attr.pad.before[1] = 1;
    attr.pad.after[1] = 2;
    SAMPLE_TRY(sample_node(m, FB_OP_PAD, "pad", 1, &t, &attr, FB_F32, &u));
    memset(&attr, 0, sizeof attr);
    for (int i = 0; i < 4; i++) {
        attr.slice.count[i] = (int64_t[]){-1, 4, 4, 4}[i];
        attr.slice.step[i] = i == 1 ? -1 : 1;
    }
    attr.slice.start[1] = 5;
    SAMPLE_TRY(sample_node(m, FB_OP_SLICE, "slice", 1, &u, &attr, FB_F32, &v));
    memset(&attr, 0, sizeof attr);
    attr.shape = (fb_attr_shape){.rank = 2, .dims = {-1, 64}};
    SAMPLE_TRY(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &v, &attr, FB_F32, &t));
    const int64_t order[16] = {0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 3, 8, 13};
    SAMPLE_TRY(fb_model_add_const(m, "order", FB_S64, 1, sample_dims(16, 0, 0, 0), order, &b));
    memset(&attr, 0, sizeof attr);
    attr.axis.axis = 1;
    SAMPLE_TRY(sample_node(m, FB_OP_GATHER, "gather", 2, (int32_t[]){t, b}, &attr, FB_F32, &u));

    fc = calloc((size_t)n_classes * 16, sizeof *fc);
    if (!fc)
        goto fail;
    for (int i = 0; i < n_classes * 16; i++)
        fc[i] = (float)(i % 17) - 8.0f;
    SAMPLE_TRY(
        fb_model_add_const(m, "fc.weight", FB_F32, 2, sample_dims(n_classes, 16, 0, 0), fc, &w));
    memset(&attr, 0, sizeof attr);
    SAMPLE_TRY(sample_node(m, FB_OP_DENSE, "fc", 2, (int32_t[]){u, w}, &attr, FB_F32, &t));
    attr.softmax = (fb_attr_softmax){1, 2, 0};
    SAMPLE_TRY(sample_node(m, FB_OP_SOFTMAX, "softmax", 1, &t, &attr, FB_F32, &y));
    SAMPLE_TRY(fb_model_set_io(m, &x, 1, &y, 1));
    const fb_prep prep = {.name = "cifar10",
                          .crop_h = 8,
                          .crop_w = 8,
                          .scale = 255,
                          .mean = {0.5f, 0.25f, 0.125f},
                          .std = {0.25f, 0.5f, 0.75f, 1}};
    SAMPLE_TRY(fb_model_set_prep(m, &prep));
    const char *labels[3] = {"tabby cat", "tabby", ""};
    SAMPLE_TRY(fb_model_set_labels(m, labels, 3));
    SAMPLE_TRY(fb_model_set_note(m, "method", "int8 + bias-correct"));
    SAMPLE_TRY(fb_model_set_note(m, "source", "sample.onnx"));
    free(fc);
    return m;
fail:
    free(fc);
    fb_model_close(&m);
    return NULL;
}

/* The same with weights that are mostly 0, so that section CODE has something to win. */
static inline fb_model *sample_peaked(void)
{
    fb_model *m = sample_net(10);
    for (size_t i = 0; m && i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        uint8_t q[216];
        if (strcmp(t->name, "features.0.weight") != 0)
            continue;
        for (int k = 0; k < 216; k++)
            q[k] = (uint8_t)(k % 11 == 0 ? 3 : k % 7 == 0 ? 255 : 0);
        const fb_encoding enc = t->enc;
        m->entropy = true;
        if (fb_model_set_payload(m, (int32_t)i, &enc, q, sizeof q) != FB_OK)
            fb_model_close(&m);
        return m;
    }
    return m;
}

/* Every form of sparse weights: 8 bits as a bitmap, 4 bits with zero points in runs of 4, floats in
 * runs of 8. */
static inline fb_model *sample_sparse(void)
{
    static const struct {
        const char *name;
        fb_sparse form;
    } forms[] = {{"features.0.weight", FB_SPARSE_BITMAP},
                 {"features.2.weight", FB_SPARSE_RUNS4},
                 {"fc.weight", FB_SPARSE_RUNS8}};
    fb_model *m = sample_peaked();
    for (size_t i = 0; m && i < m->n_tensors; i++) {
        for (size_t k = 0; m && k < 3; k++) {
            if (strcmp(m->tensors[i].name, forms[k].name) == 0 &&
                fb_sparse_store(m, (int32_t)i, forms[k].form) != FB_OK)
                fb_model_close(&m);
        }
        if (!m)
            break;
    }
    return m;
}

#endif
