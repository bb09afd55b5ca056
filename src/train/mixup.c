#include "train/mixup.h"

#include "numeric/random.h"

#include <math.h>

static double uniform(uint64_t *state)
{
    return ((double)(fb_random_next(state) >> 11) + 0.5) * 0x1p-53;
}

/* Joehnk 1964, in logarithms: for small a both powers are often below the least double. */
static double beta(double a, uint64_t *state)
{
    for (;;) {
        double x = log(uniform(state)) / a, y = log(uniform(state)) / a;
        double top = x > y ? x : y, sum = top + log(exp(x - top) + exp(y - top));
        if (sum <= 0)
            return exp(x - sum);
    }
}

float fb_mixup_share(double a, uint64_t seed, uint64_t step)
{
    uint64_t state = seed ^ (step + 1) * UINT64_C(0xa0761d6478bd642f);
    (void)fb_random_next(&state);
    double l = beta(a, &state);
    return (float)(l > 0.5 ? l : 1 - l);
}

void fb_mixup(float share, size_t n, size_t elems, float *x, const int32_t *labels,
              int32_t *partner)
{
    for (size_t i = 0; i < n; i++)
        partner[i] = labels[(i ^ 1) < n ? i ^ 1 : i];
    for (size_t i = 0; i + 1 < n; i += 2) {
        float *a = x + i * elems, *b = a + elems;
        for (size_t k = 0; k < elems; k++) {
            float p = a[k], q = b[k];
            a[k] = share * p + (1 - share) * q;
            b[k] = share * q + (1 - share) * p;
        }
    }
}
