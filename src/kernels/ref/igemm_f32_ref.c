/* The block of an indirect matrix product, by definition. */
#include "kernels/igemm_f32.h"

void fbk_igemm_f32_ref(const fbk_igemm_f32_block *p)
{
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            float *y = p->y + i * p->ldy + j;
            float sum = p->add ? *y : p->bias ? p->bias[j] : 0;
            for (size_t s = 0; s < p->n_seg; s++) {
                const float *x = p->rows[s * p->rows_ld + i] + p->offset;
                for (size_t k = 0; k < p->len; k++)
                    sum += x[k] * p->b[(s * p->len + k) * p->nr + j];
            }
            sum = sum < p->lo ? p->lo : sum;
            *y = sum > p->hi ? p->hi : sum;
        }
    }
}
