/* A small network with everything that `levels` and patches can say: the same bytes every time. */
#ifndef FB_TESTS_SAMPLE_LEVELS_H
#define FB_TESTS_SAMPLE_LEVELS_H

#include "unit/sample_model.h"

/* A weight of `dims` with codes of a fixed pattern below n_codes. */
static inline fb_status sample_codes(fb_model *m, const char *name, int32_t rank,
                                     const int64_t *dims, const fb_encoding *e, uint32_t n_codes,
                                     int32_t *index)
{
    uint8_t data[4096] = {0};
    size_t n = 1, bytes;
    for (int32_t i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    for (size_t i = 0; i < n; i++) /* mostly small, so that section CODE wins */
        fb_packed_put(data, i, e->bits, (int32_t)(i % 5 ? i % 2 : i * 7 % n_codes));
    fb_status status = fb_model_add_const(m, name, FB_F32, rank, dims, NULL, index);
    if (status != FB_OK || !fb_packed_bytes(n, e->bits, &bytes))
        return status;
    return fb_model_set_payload(m, *index, e, data, bytes);
}

static inline fb_model *sample_levels(void)
{
    fb_model *m = NULL;
    int32_t x, w, t, u;
    float scale[8], table[128];
    int32_t zero[8];
    for (int i = 0; i < 8; i++) {
        scale[i] = i == 3 ? 0.013f : 0x1p-4f * (float)(1 << i % 4);
        zero[i] = i - 4;
    }
    for (int i = 0; i < 128; i++)
        table[i] = (float)(i % 8) * 0.375f - 1 + 0.01f * (float)(i / 8 * (i % 8));
    uint64_t at[3] = {0, 77, 127};
    float aside[3] = {4, -0x1.554p-2f, 6.5f};
    SAMPLE_TRY(fb_model_create(&m));
    m->entropy = true;
    SAMPLE_TRY(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 6, 6, 4), &x));

    /* 4 bits into integers, one table for all, a scale and a zero point for each channel */
    float fixed[16] = {-90, -70, -44, -30, -19, -11, -5, 0, 3, 8, 15, 26, 37, 52, 88, 120};
    fb_encoding shared = {.kind = FB_ENC_LEVELS,
                          .bits = 4,
                          .is_signed = true,
                          .axis = 0,
                          .n_scales = 8,
                          .scale = scale,
                          .zero = zero,
                          .n_levels = 16,
                          .level_bits = 8,
                          .n_tables = 1,
                          .level = fixed};
    SAMPLE_TRY(sample_codes(m, "a.weight", 4, sample_dims(8, 3, 3, 4), &shared, 16, &w));
    fb_attr attr = sample_conv(3, 1, 1);
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "a", 3, (int32_t[]){x, w, -1}, &attr, FB_F32, &t));

    /* floats, a table for each channel, with outliers */
    fb_encoding own = {.kind = FB_ENC_LEVELS,
                       .bits = 3,
                       .axis = 0,
                       .n_scales = 8,
                       .scale = scale,
                       .n_levels = 8,
                       .n_tables = 8,
                       .level = table,
                       .n_patches = 3,
                       .patch_at = at,
                       .patch = aside};
    SAMPLE_TRY(sample_codes(m, "b.weight", 4, sample_dims(8, 1, 2, 8), &own, 8, &w));
    attr = sample_conv(1, 1, 0);
    attr.conv.kw = 2;
    attr.conv.pad_r = 1;
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "b", 3, (int32_t[]){t, w, -1}, &attr, FB_F32, &u));

    /* ternary: two bits of which one code is not in use */
    fb_encoding ternary = {.kind = FB_ENC_LEVELS,
                           .bits = 2,
                           .is_signed = true,
                           .pow2 = true,
                           .axis = -1,
                           .n_scales = 1,
                           .scale = (float[]){0.25f},
                           .n_levels = 3,
                           .level_bits = 2,
                           .n_tables = 1,
                           .level = (float[]){-1, 0, 1}};
    SAMPLE_TRY(sample_codes(m, "c.weight", 4, sample_dims(16, 1, 1, 8), &ternary, 3, &w));
    attr = sample_conv(1, 1, 0);
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "c", 3, (int32_t[]){u, w, -1}, &attr, FB_F32, &t));

    /* affine with an outlier */
    fb_encoding affine = {.kind = FB_ENC_AFFINE,
                          .bits = 4,
                          .is_signed = true,
                          .axis = -1,
                          .n_scales = 1,
                          .scale = scale,
                          .n_patches = 1,
                          .patch_at = &at[1],
                          .patch = aside};
    SAMPLE_TRY(sample_codes(m, "d.weight", 4, sample_dims(8, 1, 1, 16), &affine, 16, &w));
    SAMPLE_TRY(sample_node(m, FB_OP_CONV, "d", 3, (int32_t[]){t, w, -1}, &attr, FB_F32, &u));
    SAMPLE_TRY(fb_model_set_io(m, &x, 1, &u, 1));
    return m;
fail:
    fb_model_close(&m);
    return NULL;
}

/* The same with activations that are indices of levels, which files keep and plans need not take.
 */
static inline fb_model *sample_level_activations(void)
{
    fb_model *m = sample_levels();
    if (!m)
        return NULL;
    fb_encoding floats = {.kind = FB_ENC_LEVELS,
                          .bits = 3,
                          .axis = -1,
                          .n_scales = 1,
                          .scale = (float[]){0.7f},
                          .n_levels = 5,
                          .n_tables = 1,
                          .level = (float[]){-1, -0.25f, 0.5f, 1.25f, 2}};
    fb_encoding fixed = {.kind = FB_ENC_LEVELS,
                         .bits = 2,
                         .is_signed = true,
                         .axis = -1,
                         .n_scales = 1,
                         .scale = (float[]){0.1f},
                         .zero = (int32_t[]){-300},
                         .n_levels = 4,
                         .level_bits = 10,
                         .n_tables = 1,
                         .level = (float[]){-300, -7, 100, 511}};
    if (fb_model_set_activation_encoding(m, m->nodes[0].out[0], &floats) != FB_OK ||
        fb_model_set_activation_encoding(m, m->nodes[1].out[0], &fixed) != FB_OK)
        fb_model_close(&m);
    return m;
}

#endif
