/* Dense layers and matrix products, by definition. */
#include "kernels/gemm_f32.h"

void fbk_dense_f32_ref(const fbk_dense_f32_args *a, size_t j0, size_t j1)
{
    for (size_t i = 0; i < a->m; i++) {
        for (size_t j = j0; j < j1; j++) {
            const float *x = a->x + i * a->k, *w = a->w + j * a->k;
            float sum = a->bias ? a->bias[j] : 0;
            for (size_t k = 0; k < a->k; k++)
                sum += x[k] * w[k];
            sum = sum < a->lo ? a->lo : sum;
            a->y[i * a->ldy + j] = sum > a->hi ? a->hi : sum;
        }
    }
}

void fbk_matmul_f32_ref(const fbk_matmul_f32_args *a, size_t i0, size_t i1)
{
    for (size_t i = i0; i < i1; i++) {
        float *y = a->y + i * a->ldy;
        for (size_t j = 0; j < a->n; j++)
            y[j] = 0;
        for (size_t k = 0; k < a->k; k++) {
            float x = a->a[i * a->lda + k];
            const float *b = a->b + k * a->ldb;
            for (size_t j = 0; j < a->n; j++)
                y[j] += x * b[j];
        }
    }
}
