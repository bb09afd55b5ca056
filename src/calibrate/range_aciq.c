/* Analytic clipping (METHODS M.3): minimises the expected error of uniform quantisation within
 * [-a, a] for a Laplace or Gauss distribution. Whichever of the two has the observed ratio of mean
 * deviation to standard deviation more nearly (1/sqrt(2) or sqrt(2/pi)) is taken. */
#include "calibrate/range.h"

#include <math.h>

#define SQRT_HALF 0.70710678118654752440
#define SQRT_2_PI 0.79788456080286535588

/* Expected errors for unit spread. */
static double laplace_error(double a, double levels_sq)
{
    return 2 * exp(-a) + a * a / (3 * levels_sq);
}

static double gauss_error(double a, double levels_sq)
{
    return (1 + a * a) * (1 - erf(a * SQRT_HALF)) - SQRT_2_PI * a * exp(-a * a / 2) +
           a * a / (3 * levels_sq);
}

/* Both errors fall, then rise: ternary search. */
static double least(double (*error)(double, double), unsigned bits)
{
    double levels_sq = ldexp(1, 2 * (int)bits), lo = 0, hi = 40;
    for (int i = 0; i < 100; i++) {
        double a = lo + (hi - lo) / 3, b = hi - (hi - lo) / 3;
        if (error(a, levels_sq) < error(b, levels_sq))
            hi = b;
        else
            lo = a;
    }
    return (lo + hi) / 2;
}

double fb_aciq_laplace(unsigned bits)
{
    return least(laplace_error, bits);
}

double fb_aciq_gauss(unsigned bits)
{
    return least(gauss_error, bits);
}

double fb_aciq_boundary(double deviation, double sigma, unsigned bits)
{
    bool laplace = deviation < (SQRT_HALF + SQRT_2_PI) / 2 * sigma;
    return laplace ? fb_aciq_laplace(bits) * deviation : fb_aciq_gauss(bits) * sigma;
}

/* E|x - centre| over all values but, for rectified tensors, the zeros. */
static double mean_deviation(const fb_hist *h, double centre, double n_zero, double *n)
{
    double total = fabs(centre) * n_zero;
    *n = n_zero;
    for (int32_t j = 0; j < FB_HIST_BINS; j++) {
        double x = (j - FB_HIST_SIDE + 0.5) * (double)h->width;
        total += (double)h->bins[j] * fabs(x - centre);
        *n += (double)h->bins[j];
    }
    return *n > 0 ? total / *n : 0;
}

/* What a ReLU left is taken for one half of a distribution around zero: its zeros say nothing about
 * the spread, and half the range has one bit more. */
fb_range fb_range_aciq(const fb_stats *s, unsigned bits)
{
    bool rectified = s->min >= 0;
    double n, centre = rectified || s->n == 0 ? 0 : s->sum / (double)s->n;
    double deviation = mean_deviation(&s->hist, centre, rectified ? 0 : (double)s->hist.n_zero, &n);
    if (n == 0)
        return fb_range_minmax(s);
    double variance = s->sum_sq / n - centre * centre, sigma = variance > 0 ? sqrt(variance) : 0;
    unsigned m = rectified ? bits + 1 : bits;
    double a = fb_aciq_boundary(deviation, sigma, m);
    return fb_range_fit(s, centre - a, centre + a);
}
