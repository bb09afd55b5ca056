/* Levels that a rule gives: evenly spaced, powers of two and their sums, ternary. */
#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void fb_fit_even(double lo, double hi, uint32_t n, double *level)
{
    for (uint32_t i = 0; i < n; i++)
        level[i] = lo + (hi - lo) * i / (n - 1);
}

/* -m[n-1] .. -m[0], 0, m[0] .. m[n-1]. */
static uint32_t with_signs(const double *m, uint32_t n, double *level)
{
    for (uint32_t i = 0; i < n; i++) {
        level[n - 1 - i] = -m[i];
        level[n + 1 + i] = m[i];
    }
    level[n] = 0;
    return 2 * n + 1;
}

uint32_t fb_fit_pow2(unsigned bits, double *level)
{
    double m[8];
    uint32_t n = 1u << (bits - 2);
    for (uint32_t i = 0; i < n; i++)
        m[i] = (double)(1u << i);
    return with_signs(m, n, level);
}

int fb_fit_pow2_top(double most)
{
    int e;
    (void)frexp(4 * most / 3, &e); /* [1/2, 1) 2^e */
    return e - 1;
}

uint32_t fb_fit_apot(unsigned bits, double *level)
{
    /* Magnitudes a + b in units of their least: bits - 1 bits of them. */
    static const uint8_t a[4][4] = {{0, 1}, {0, 1, 2, 4}, {0, 1, 4, 8}, {0, 2, 8, 32}};
    static const uint8_t b[4][4] = {{0}, {0}, {0, 2}, {0, 1, 4, 16}};
    static const uint8_t n_a[4] = {2, 4, 4, 4}, n_b[4] = {1, 1, 2, 4};
    unsigned at = bits - 2;
    bool there[64] = {false};
    double m[16];
    uint32_t n = 0;
    for (uint8_t i = 0; i < n_a[at]; i++) {
        for (uint8_t k = 0; k < n_b[at]; k++)
            there[a[at][i] + b[at][k]] = true;
    }
    for (unsigned v = 1; v < 64; v++) {
        if (there[v])
            m[n++] = (double)v;
    }
    return with_signs(m, n, level);
}

/* --- ternary --------------------------------------------------------------------------------- */

double fb_fit_twn(const float *x, size_t n, double *threshold)
{
    double sum = 0, above = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)x[i]);
    *threshold = 0.7 * sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double v = fabs((double)x[i]);
        above += v > *threshold ? v : 0;
        count += v > *threshold;
    }
    return count ? above / (double)count : 0;
}

static int larger_first(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The k largest magnitudes, of sum s, cost s^2 / k less at their mean than at 0. */
fb_status fb_fit_ternary(const float *x, size_t n, double *a, double *threshold)
{
    float *m = fb_alloc(n * sizeof *m);
    double sum = 0, best = 0;
    *a = *threshold = 0;
    if (!m)
        return fb_fail(FB_E_MEMORY, "no memory for %zu numbers", n);
    for (size_t i = 0; i < n; i++)
        m[i] = fabsf(x[i]);
    qsort(m, n, sizeof *m, larger_first);
    for (size_t k = 1; k <= n; k++) {
        sum += (double)m[k - 1];
        bool last = k == n || m[k] < m[k - 1]; /* equal ones stay together */
        if (last && sum * sum / (double)k > best) {
            best = sum * sum / (double)k;
            *a = sum / (double)k;
            *threshold = k < n ? ((double)m[k] + (double)m[k - 1]) / 2 : (double)m[n - 1] / 2;
        }
    }
    fb_free(m);
    return FB_OK;
}
