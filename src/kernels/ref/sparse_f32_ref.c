/* Products with sparse weights, by definition. */
#include "kernels/sparse_f32.h"

static float clamp(float v, float lo, float hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

void fbk_sparse_f32_ref(const fbk_sparse_f32_block *b)
{
    size_t lanes = (b->lanes + 7) / 8 * 8;
    for (size_t j = 0; j < b->n_out; j++) {
        float *sum = b->sum + j * FBK_SPARSE_LANES;
        for (uint32_t t = b->start[j]; t < b->start[j + 1]; t++) {
            for (size_t i = 0; i < lanes; i++)
                sum[i] += b->w[t] * b->x[b->off[t] + i];
        }
        for (size_t i = 0; i < lanes; i++)
            sum[i] = clamp(sum[i], b->lo, b->hi);
    }
}

void fbk_sparse_dense_f32_ref(const fbk_sparse_dense_f32_args *a, size_t j0, size_t j1)
{
    for (size_t i = 0; i < a->m; i++) {
        for (size_t j = j0; j < j1; j++) {
            float sum = a->bias ? a->bias[j] : 0;
            for (uint32_t t = a->start[j]; t < a->start[j + 1]; t++)
                sum += a->w[t] * a->x[i * a->k + a->at[t]];
            a->y[i * a->ldy + j] = clamp(sum, a->lo, a->hi);
        }
    }
}
