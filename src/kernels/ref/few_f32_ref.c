/* Weights in few bits, by definition. */
#include "kernels/few_f32.h"

/* The value of code i of a row, without its scale. */
static float value_of(const fbk_few_f32 *w, const uint8_t *codes, size_t i, size_t column,
                      size_t group)
{
    uint32_t q = 0;
    for (uint32_t b = 0; b < w->bits; b++) {
        size_t at = i * w->bits + b;
        q |= (uint32_t)(codes[at / 8] >> at % 8 & 1) << b;
    }
    if (w->table)
        return w->table[(w->own ? column * 16 : 0) + q];
    uint32_t sign = w->is_signed ? 1u << (w->bits - 1) : 0;
    float v = (float)((int32_t)(q ^ sign) - (int32_t)sign);
    return w->zero ? v - w->zero[group * w->columns + column] : v;
}

void fbk_dense_few_f32_ref(const fbk_dense_few_f32_args *a, size_t j0, size_t j1)
{
    const fbk_few_f32 *w = a->w;
    size_t row_bytes = (a->k + 7) / 8 * w->bits;
    for (size_t i = 0; i < a->m; i++) {
        for (size_t j = j0; j < j1; j++) {
            float sum = 0, part = 0;
            for (size_t k = 0; k < a->k; k++) {
                size_t group = w->group ? k / w->group : 0;
                part += a->x[i * a->k + k] * value_of(w, a->codes + j * row_bytes, k, j, group);
                if (k + 1 == a->k || (w->group && (k + 1) % w->group == 0)) {
                    sum += part * w->scale[group * w->columns + j];
                    part = 0;
                }
            }
            sum += a->bias ? a->bias[j] : 0;
            sum = sum < a->lo ? a->lo : sum;
            a->y[i * a->ldy + j] = sum > a->hi ? a->hi : sum;
        }
    }
}

void fbk_unpack_f32_ref(const fbk_few_f32 *w, const uint8_t *codes, size_t column, size_t nr,
                        size_t rows, float *to)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < nr; j++) {
            size_t at = w->own ? (i / 8 * nr + j) * 8 + i % 8 : i * nr + j;
            to[i * nr + j] = w->scale[column + j] * value_of(w, codes, at, column + j, 0);
        }
    }
}
