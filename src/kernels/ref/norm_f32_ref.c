/* Softmax and LRN in plain C. Sums are in double: the fast rows are measured against these. */
#include "kernels/norm_f32.h"

#include <math.h>

void fbk_softmax_f32_ref(const float *x, float *y, size_t n, size_t n_rows, bool log_form)
{
    for (size_t r = 0; r < n_rows; r++, x += n, y += n) {
        float top = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            top = x[i] > top ? x[i] : top;
        for (size_t i = 0; i < n; i++)
            sum += (double)expf(x[i] - top);
        if (log_form) {
            double log_sum = log(sum);
            for (size_t i = 0; i < n; i++)
                y[i] = (float)((double)(x[i] - top) - log_sum);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            y[i] = (float)((double)expf(x[i] - top) / sum);
    }
}

void fbk_lrn_f32_ref(const fbk_lrn *p, const float *x, float *y, size_t c, size_t n_px,
                     float *scratch)
{
    (void)scratch;
    size_t before = (size_t)(p->size - 1) / 2, after = (size_t)p->size / 2;
    for (size_t px = 0; px < n_px; px++, x += c, y += c) {
        for (size_t i = 0; i < c; i++) {
            size_t from = i > before ? i - before : 0, to = i + after < c ? i + after : c - 1;
            double sum = 0;
            for (size_t j = from; j <= to; j++)
                sum += (double)x[j] * (double)x[j];
            double base = (double)p->bias + (double)p->alpha / p->size * sum;
            y[i] = (float)((double)x[i] / pow(base, (double)p->beta));
        }
    }
}
