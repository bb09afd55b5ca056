/* Constants in every form that section CODE has: the same bytes every time. */
#ifndef FB_TESTS_SAMPLE_FORMS_H
#define FB_TESTS_SAMPLE_FORMS_H

#include "model/product.h"
#include "unit/sample_model.h"

static inline uint32_t sample_random(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 16) % below;
}

/* A code of a smooth kernel: near that of the position before. */
static inline int32_t sample_smooth(uint32_t *seed, int32_t before, int32_t most)
{
    int32_t wide = (int32_t)sample_random(seed, 9) ? most / 4 + 1 : most;
    int32_t q = before * 7 / 8 + (int32_t)sample_random(seed, (uint32_t)wide * 2 + 1) - wide;
    return q > most ? most : q < -most ? -most : q;
}

/* A kernel (or, of rank 2, a matrix) of smooth codes around the middle of `bits` bits. */
static inline fb_status sample_kernel(fb_model *m, const char *name, int32_t rank,
                                      const int64_t *dims, fb_encoding e, int32_t *index)
{
    static uint8_t data[8192];
    uint32_t seed = 7u + e.bits;
    int32_t middle = 1 << (e.bits - 1), most = e.n_levels ? e.n_levels / 2 : middle - 1;
    size_t n = 1, c = (size_t)dims[rank - 1], bytes;
    for (int32_t i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    if (!fb_packed_bytes(n, e.bits, &bytes) || bytes > sizeof data)
        return FB_E_LIMIT;
    memset(data, 0, sizeof data);
    for (size_t i = 0; i < n; i++) {
        int32_t before = 0;
        if (rank == 4 && i / c % ((size_t)dims[1] * (size_t)dims[2]) != 0) {
            before = fb_packed_get(data, i - c, e.bits, e.is_signed);
            before -= e.is_signed ? 0 : e.n_levels / 2;
        }
        int32_t q = sample_smooth(&seed, before, most);
        fb_packed_put(data, i, e.bits, q + (e.is_signed ? 0 : e.n_levels / 2));
    }
    fb_status status = fb_model_add_const(m, name, FB_F32, rank, dims, NULL, index);
    return status == FB_OK ? fb_model_set_payload(m, *index, &e, data, bytes) : status;
}

/* A product whose numbers often stay what they were at one of the positions before. */
static inline fb_status sample_found(fb_model *m, const char *name, const int64_t *dims,
                                     unsigned words, unsigned word_bits, int32_t *index)
{
    static float word[4096], one[2] = {1, 0.25f}, scale = 0.5f;
    static uint8_t data[8192];
    fb_encoding e = {.kind = FB_ENC_PRODUCT,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale,
                     .sub = 4,
                     .n_words = (uint16_t)words,
                     .bits = (uint8_t)fb_product_bits(words),
                     .n_stages = 1,
                     .n_groups = 1,
                     .word_bits = (uint8_t)word_bits,
                     .word_scale = one};
    uint32_t seed = words + word_bits;
    fb_status status = fb_model_add_const(m, name, FB_F32, 4, dims, NULL, index);
    if (status != FB_OK)
        return status;
    fb_tensor t = m->tensors[*index];
    t.enc = e;
    fb_product p = fb_product_of(&t);
    size_t bytes;
    if (p.books * p.words * p.sub > 4096 || !fb_packed_bytes(p.n_indices, e.bits, &bytes) ||
        bytes > sizeof data)
        return FB_E_LIMIT;
    for (size_t i = 0; i < p.books * p.words * p.sub; i++) {
        int v = (int)sample_random(&seed, 201) - 100;
        word[i] = word_bits == 8 ? (float)v : (float)v / 64;
    }
    memset(data, 0, sizeof data);
    for (size_t i = 0; i < p.n_indices; i++) {
        uint32_t back = sample_random(&seed, 4), k = sample_random(&seed, words);
        k = sample_random(&seed, k + 1); /* small numbers are frequent */
        if (back > 0 && i / p.m_count % p.rows_each >= back)
            k = (uint32_t)fb_packed_get(data, i - back * p.m_count, e.bits, false);
        fb_packed_put(data, i, e.bits, (int32_t)k);
    }
    e.word = word;
    return fb_model_set_payload(m, *index, &e, data, bytes);
}

enum { SAMPLE_FORMS = 7 };

static inline fb_model *sample_forms(void)
{
    static float level[7] = {-3, -1.5f, -0.5f, 0, 0.5f, 1.5f, 3}, scale = 0.25f;
    fb_model *m = NULL;
    int32_t all[SAMPLE_FORMS];
    fb_encoding e = {
        .kind = FB_ENC_AFFINE, .axis = -1, .n_scales = 1, .scale = &scale, .is_signed = true};
    SAMPLE_TRY(fb_model_create(&m));
    e.bits = 4;
    SAMPLE_TRY(sample_kernel(m, "smooth4", 4, sample_dims(32, 1, 5, 16), e, &all[0]));
    e.bits = 8;
    SAMPLE_TRY(sample_kernel(m, "smooth8", 4, sample_dims(32, 1, 5, 17), e, &all[1]));
    SAMPLE_TRY(sample_kernel(m, "matrix8", 2, sample_dims(20, 40, 0, 0), e, &all[2]));
    e.kind = FB_ENC_LEVELS;
    e.bits = 3;
    e.is_signed = false;
    e.n_levels = 7;
    e.n_tables = 1;
    e.level = level;
    SAMPLE_TRY(sample_kernel(m, "levels3", 4, sample_dims(32, 1, 5, 16), e, &all[3]));
    SAMPLE_TRY(sample_found(m, "found", sample_dims(32, 3, 3, 8), 16, 32, &all[4]));
    SAMPLE_TRY(sample_found(m, "halves", sample_dims(40, 1, 1, 16), 20, 16, &all[5]));
    SAMPLE_TRY(sample_found(m, "bytes", sample_dims(32, 3, 3, 4), 32, 8, &all[6]));
    SAMPLE_TRY(fb_model_set_io(m, NULL, 0, all, SAMPLE_FORMS));
    m->entropy = true;
    return m;
fail:
    fb_model_close(&m);
    return NULL;
}

#endif
