/* Element by element in f32, plain C. */
#include "kernels/point_f32.h"

#include <math.h>

static float binary_one(fbk_binary op, float a, float b)
{
    switch (op) {
    case FBK_ADD:
        return a + b;
    case FBK_SUB:
        return a - b;
    case FBK_MUL:
        return a * b;
    case FBK_DIV:
        return a / b;
    case FBK_MAX:
        return isnan(a) || a > b ? a : b;
    case FBK_MIN:
        return isnan(a) || a < b ? a : b;
    case FBK_POW:
        return powf(a, b);
    default:
        return 0;
    }
}

void fbk_binary_f32_ref(fbk_binary op, size_t n, const float *a, size_t sa, const float *b,
                        size_t sb, float *y, float lo, float hi)
{
    for (size_t i = 0; i < n; i++) {
        float v = binary_one(op, a[i * sa], b[i * sb]);
        v = v < lo ? lo : v;
        y[i] = v > hi ? hi : v;
    }
}

void fbk_unary_f32_ref(fbk_unary op, float a, float b, size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)fbk_unary_f64(op, (double)a, (double)b, (double)x[i]);
}

void fbk_scale_shift_f32_ref(size_t n_px, size_t c, const float *x, const float *scale,
                             const float *shift, float *y)
{
    for (size_t p = 0; p < n_px; p++, x += c, y += c)
        for (size_t i = 0; i < c; i++)
            y[i] = x[i] * scale[i] + shift[i];
}

void fbk_prelu_f32_ref(size_t n, const float *x, const float *slope, size_t ss, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] < 0 ? x[i] * slope[i * ss] : x[i];
}
