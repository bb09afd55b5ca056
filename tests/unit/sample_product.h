/* A small network with everything that `product` can say: the same bytes every time. */
#ifndef FB_TESTS_SAMPLE_PRODUCT_H
#define FB_TESTS_SAMPLE_PRODUCT_H

#include "model/product.h"
#include "unit/sample_model.h"

/* A weight of `dims`, encoded as *e says except for the words, which are made here. */
static inline fb_status sample_product_weight(fb_model *m, const char *name, const int64_t *dims,
                                              fb_encoding e, int32_t *index)
{
    static float word[4096];
    static uint8_t data[4096];
    fb_status status = fb_model_add_const(m, name, FB_F32, 4, dims, NULL, index);
    if (status != FB_OK)
        return status;
    fb_tensor t = m->tensors[*index];
    e.kind = FB_ENC_PRODUCT;
    e.bits = (uint8_t)fb_product_bits(e.n_words);
    t.enc = e;
    fb_product p = fb_product_of(&t);
    size_t bytes;
    if (p.stages * p.books * p.words * p.sub > 4096 ||
        !fb_packed_bytes(p.n_indices, e.bits, &bytes) || bytes > sizeof data)
        return FB_E_LIMIT;
    for (size_t i = 0; i < p.stages * p.books * p.words; i++) {
        for (size_t j = 0; j < p.sub; j++) {
            int v = (int)(i * 37 + j * 11) % 201 - 100;
            float w =
                e.word_bits == 8 ? (float)v : (float)v / 64 / (float)(1 + i / p.words / p.books);
            word[i * p.sub + j] = j < fb_product_stored_sub(&p, i / p.words % p.books)
                                      ? (e.word_bits == 16 ? (float)v / 64 : w)
                                      : 0;
        }
    }
    memset(data, 0, sizeof data);
    for (size_t i = 0; i < p.n_indices; i++)
        fb_packed_put(data, i, e.bits, (int32_t)((i * 7 + i / 5) % e.n_words));
    e.word = word;
    return fb_model_set_payload(m, *index, &e, data, bytes);
}

/* Layers 0..3: a, b, c, d; each has its weight as the second input. */
static inline fb_model *sample_product(void)
{
    fb_model *m = NULL;
    int32_t x, w, t, u;
    float scale[8], one[4] = {1, 1, 1, 1}, falling[3] = {1, 0.3f, 0.0625f};
    for (int i = 0; i < 8; i++)
        scale[i] = 0.01f * (float)(i + 1);
    SAMPLE_TRY(fb_model_create(&m));
    SAMPLE_TRY(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 6, 6, 6), &x));

    /* two stages of 5 words of floats; the second subspace has 2 of 4 elements; scales */
    fb_encoding a = {.axis = 0,
                     .n_scales = 8,
                     .scale = scale,
                     .sub = 4,
                     .n_words = 5,
                     .n_stages = 2,
                     .n_groups = 1,
                     .word_bits = 32,
                     .word_scale = one};
    SAMPLE_TRY(sample_product_weight(m, "a.weight", sample_dims(8, 3, 3, 6), a, &w));
    fb_attr attr = sample_conv(3, 1, 1);
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "a", 3, (int32_t[]){x, w, -1}, &attr, FB_F32, &t));

    /* two groups with codebooks of their own, half floats */
    fb_encoding b = {.axis = -1,
                     .n_scales = 1,
                     .scale = scale + 4,
                     .sub = 2,
                     .n_words = 4,
                     .n_stages = 1,
                     .n_groups = 2,
                     .word_bits = 16,
                     .word_scale = one};
    SAMPLE_TRY(sample_product_weight(m, "b.weight", sample_dims(8, 1, 1, 4), b, &w));
    attr = sample_conv(1, 1, 0);
    attr.conv.groups = 2;
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "b", 3, (int32_t[]){t, w, -1}, &attr, FB_F32, &u));

    /* along the kernel, one codebook a stage, three stages of bytes */
    fb_encoding c = {.axis = 0,
                     .n_scales = 8,
                     .scale = scale,
                     .sub = 5,
                     .n_words = 16,
                     .n_stages = 3,
                     .books = FB_BOOKS_LAYER,
                     .n_groups = 1,
                     .along_kernel = true,
                     .word_bits = 8,
                     .word_scale = falling};
    SAMPLE_TRY(sample_product_weight(m, "c.weight", sample_dims(8, 3, 3, 8), c, &w));
    attr = sample_conv(3, 1, 1);
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "c", 3, (int32_t[]){u, w, -1}, &attr, FB_F32, &t));

    /* bytes, for tables of 6 bits */
    fb_encoding d = {.axis = -1,
                     .n_scales = 1,
                     .scale = scale,
                     .sub = 4,
                     .n_words = 16,
                     .n_stages = 1,
                     .n_groups = 1,
                     .word_bits = 8,
                     .word_scale = one,
                     .table_bits = 6,
                     .table_scale = 0.75f};
    SAMPLE_TRY(sample_product_weight(m, "d.weight", sample_dims(4, 3, 3, 8), d, &w));
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "d", 3, (int32_t[]){t, w, -1}, &attr, FB_F32, &u));
    SAMPLE_TRY(fb_model_set_io(m, &x, 1, &u, 1));
    return m;
fail:
    fb_model_close(&m);
    return NULL;
}

#endif
