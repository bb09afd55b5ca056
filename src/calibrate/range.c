/* Choosers by rule, and what they share. */
#include "calibrate/range.h"

#include "numeric/requant.h"

fb_range fb_range_fit(const fb_stats *s, double lo, double hi)
{
    double least = (double)s->min, most = (double)s->max;
    lo = lo > least ? lo : least;
    hi = hi < most ? hi : most;
    return (fb_range){lo < 0 ? (float)lo : 0, hi > 0 ? (float)hi : 0};
}

void fb_range_codes(fb_range r, unsigned bits, float *scale, int32_t *zero)
{
    const float least = 0x1p-60f; /* products of two scales must stay normal floats */
    int32_t top = fb_code_max(bits, false);
    float span = r.hi - r.lo;
    *scale = span > 0 ? span / (float)top : 1;
    *scale = *scale > least ? *scale : least;
    *zero = fb_quantize(-r.lo, *scale, 0, 0, top);
}

fb_range fb_range_choose(fb_range_rule rule, const fb_stats *s, unsigned bits, double percentile)
{
    switch (rule) {
    case FB_RANGE_EMA:
        return fb_range_ema(s);
    case FB_RANGE_PERCENTILE:
        return fb_range_percentile(s, percentile);
    case FB_RANGE_MSE:
        return fb_range_mse(s, bits);
    case FB_RANGE_KL:
        return fb_range_kl(s, bits);
    case FB_RANGE_ACIQ:
        return fb_range_aciq(s, bits);
    case FB_RANGE_MINMAX:
        break;
    }
    return fb_range_minmax(s);
}
