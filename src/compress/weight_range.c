/* The range of weights that share a scale (METHODS M.1, M.3, C.2.3). */
#include "compress/weights.h"

#include "base/status.h"
#include "calibrate/range.h"
#include "numeric/grid.h"
#include "numeric/requant.h"

#include <string.h>

enum {
    STEPS = 128,      /* candidates are max|w| i / STEPS */
    LEAST_STEP = 8,   /* heavy tails have their optimum far inside */
    KL_BINS = 2048,   /* over [-max|w|, max|w|], at most; 2 STEPS at least */
    KL_PER_BIN = 4,   /* weights for each bin, on average */
    SEARCH_STEPS = 37 /* of least_error: down to a fifth */
};

bool fb_weight_has_zero(const fb_weight_rule *rule)
{
    return rule->zero || rule->bits == 1;
}

void fb_weight_limits(const fb_weight_rule *rule, int32_t *lo, int32_t *hi)
{
    *hi = fb_code_max(rule->bits, !fb_weight_has_zero(rule));
    *lo = fb_weight_has_zero(rule) ? 0 : -*hi;
}

/* 0 for a block without weights. Scales that a file stores by the dozen lie on a grid
 * (numeric/grid.h), or are powers of two: the next one up for a given range, so that nothing is
 * clipped. */
static float tidy(const fb_weight_rule *rule, float scale)
{
    const float least = 0x1p-60f; /* products with activation scales must stay normal floats */
    if (!(scale > 0))
        return 0;
    scale = scale > least ? scale : least;
    if (rule->pow2) {
        int e;
        float m = frexpf(scale, &e);
        scale = ldexpf(1, m > 0.5f ? e : e - 1);
    } else if (rule->per_channel) {
        scale = fb_grid_scale(fb_grid_up(scale));
    }
    return scale;
}

fb_weight_grid fb_weight_cover(const fb_weight_rule *rule, float lo, float hi)
{
    int32_t least, most;
    fb_weight_limits(rule, &least, &most);
    lo = lo < 0 ? lo : 0;
    hi = hi > 0 ? hi : 0;
    if (!fb_weight_has_zero(rule)) {
        float largest = -lo > hi ? -lo : hi;
        return (fb_weight_grid){tidy(rule, largest / (float)most), 0};
    }
    float scale = tidy(rule, (hi - lo) / (float)most);
    return (fb_weight_grid){scale, scale > 0 ? fb_quantize(-lo, scale, 0, least, most) : 0};
}

double fb_weight_error(const fb_weight_rule *rule, const float *w, size_t n, fb_weight_grid grid)
{
    int32_t least, most;
    fb_weight_limits(rule, &least, &most);
    float inverse = 1 / grid.scale, lo = (float)(least - grid.zero), hi = (float)(most - grid.zero);
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        float v = w[i] * inverse;
        float q = v > lo ? v : lo;
        q = q < hi ? q : hi;
        q = (q + 12582912.0f) - 12582912.0f; /* nearest integer for |q| < 2^22 */
        total += (double)((v - q) * (v - q));
    }
    return total * (double)grid.scale * (double)grid.scale;
}

/* --- rules ----------------------------------------------------------------------------------- */

typedef struct extent {
    float lo, hi, most; /* most = max|w| */
} extent;

static extent extent_of(const float *w, size_t n)
{
    extent e = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        e.lo = w[i] < e.lo ? w[i] : e.lo;
        e.hi = w[i] > e.hi ? w[i] : e.hi;
    }
    e.most = -e.lo > e.hi ? -e.lo : e.hi;
    return e;
}

static fb_weight_grid cover_within(const fb_weight_rule *rule, extent e, float t)
{
    return fb_weight_cover(rule, e.lo > -t ? e.lo : -t, e.hi < t ? e.hi : t);
}

/* Shrinks the range by a step of the grid (4.4%) a time; powers of two by halves. */
static fb_weight_grid least_error(const fb_weight_rule *rule, const float *w, size_t n, extent e)
{
    fb_weight_grid best = fb_weight_cover(rule, e.lo, e.hi);
    double least = fb_weight_error(rule, w, n, best);
    int steps = rule->pow2 ? 3 : SEARCH_STEPS;
    for (int i = 1; i <= steps; i++) {
        float f = rule->pow2 ? ldexpf(1, -i) : fb_grid_scale(-i);
        fb_weight_grid grid = fb_weight_cover(rule, e.lo * f, e.hi * f);
        double error = fb_weight_error(rule, w, n, grid);
        if (error < least) {
            least = error;
            best = grid;
        }
    }
    return best;
}

static float mse_boundary(const fb_weight_rule *rule, const float *w, size_t n, extent e)
{
    float best = e.most, scale = 0;
    double least = INFINITY;
    for (int i = STEPS; i >= LEAST_STEP; i--) {
        float t = e.most * (float)i / STEPS;
        fb_weight_grid grid = cover_within(rule, e, t);
        if (grid.scale == scale) /* tidied to the same */
            continue;
        scale = grid.scale;
        double error = fb_weight_error(rule, w, n, grid);
        if (error < least) {
            least = error;
            best = t;
        }
    }
    return best;
}

/* Bins that hold hardly a weight each would make every clipping look alike; what a few weights
 * leave undecided, the widest wins. */
static float kl_boundary(const fb_weight_rule *rule, const float *w, size_t n, extent e)
{
    uint64_t counts[KL_BINS];
    int32_t lo, hi;
    fb_weight_limits(rule, &lo, &hi);
    uint32_t levels = (uint32_t)(hi - lo) + 1, bins = KL_BINS;
    while (bins > 2 * STEPS && n < (size_t)bins * KL_PER_BIN)
        bins /= 2;
    const uint32_t half = bins / 2;
    if (levels >= bins)
        return e.most;
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < n; i++) {
        uint32_t bin = (uint32_t)((w[i] / e.most + 1) * (float)half);
        counts[bin < bins ? bin : bins - 1]++;
    }
    float best = e.most;
    double least = INFINITY;
    for (uint32_t i = STEPS; i >= LEAST_STEP; i--) {
        uint32_t side = half / STEPS * i;
        double kl = fb_kl_cells(counts, bins, half - side, half + side, levels, true);
        if (kl >= 0 && kl < least) {
            least = kl;
            best = e.most * (float)i / STEPS;
        }
    }
    return best;
}

static float aciq_boundary(const fb_weight_rule *rule, const float *w, size_t n, extent e)
{
    double sum = 0, variance = 0, deviation = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)w[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = (double)w[i] - mean;
        variance += d * d / (double)n;
        deviation += fabs(d) / (double)n;
    }
    double t = fabs(mean) + fb_aciq_boundary(deviation, sqrt(variance), rule->bits);
    return t < (double)e.most ? (float)t : e.most;
}

float fb_weight_boundary(const fb_weight_rule *rule, fb_weight_range range, const float *w,
                         size_t n)
{
    extent e = extent_of(w, n);
    if (!(e.most > 0))
        return 0;
    switch (range) {
    case FB_WEIGHT_MSE:
        return mse_boundary(rule, w, n, e);
    case FB_WEIGHT_KL:
        return kl_boundary(rule, w, n, e);
    case FB_WEIGHT_ACIQ:
        return aciq_boundary(rule, w, n, e);
    case FB_WEIGHT_MINMAX:
        break;
    }
    return e.most;
}

fb_weight_grid fb_weight_choose(const fb_weight_rule *rule, const float *w, size_t n)
{
    extent e = extent_of(w, n);
    if (rule->range == FB_WEIGHT_MSE && e.most > 0)
        return least_error(rule, w, n, e);
    return cover_within(rule, e, fb_weight_boundary(rule, rule->range, w, n));
}
