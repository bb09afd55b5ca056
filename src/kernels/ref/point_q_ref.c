/* Element-wise integer kernels, the plain truth. */
#include "kernels/point_q.h"

void fbk_add_q_ref(const fbk_add_q *q, size_t n, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t sum = fb_add_codes(a[i] ^ q->flip, b[i] ^ q->flip, &q->law, q->lo, q->hi);
        y[i] = (uint8_t)(sum ^ q->flip);
    }
}

void fbk_mul_q_ref(const fbk_mul_q *q, size_t n, const uint8_t *a, const uint8_t *b, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t product = fb_mul_codes(a[i] ^ q->flip, q->a_zero, b[i] ^ q->flip, q->b_zero,
                                       q->ratio, q->y_zero, q->lo, q->hi);
        y[i] = (uint8_t)(product ^ q->flip);
    }
}

void fbk_lut_q_ref(const uint8_t table[256], size_t n, const uint8_t *x, uint8_t *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = table[x[i]];
}

void fbk_quantize_q_ref(const fbk_codes *q, size_t n, const float *x, void *y)
{
    bool narrow = q->type == FB_U8 || q->type == FB_S8;
    for (size_t i = 0; i < n; i++) {
        int32_t code = fb_quantize(x[i], q->scale, q->zero, q->lo, q->hi);
        if (narrow)
            ((uint8_t *)y)[i] = (uint8_t)code;
        else
            ((uint16_t *)y)[i] = (uint16_t)code;
    }
}

void fbk_dequantize_q_ref(const fbk_codes *q, size_t n, const void *x, float *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t code;
        if (q->type == FB_U8)
            code = ((const uint8_t *)x)[i];
        else if (q->type == FB_S8)
            code = ((const int8_t *)x)[i];
        else if (q->type == FB_U16)
            code = ((const uint16_t *)x)[i];
        else
            code = ((const int16_t *)x)[i];
        y[i] = fb_dequantize(code, q->scale, q->zero);
    }
}
