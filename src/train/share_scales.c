/* Scales of channels that suit shared levels. */
#include "train/share.h"

#include "base/alloc.h"
#include "train/share_fit.h"

#include <math.h>

enum {
    TURNS = 3,
    SAMPLES = 65536 /* weights of a layer that the levels are fitted to, about */
};

static double root_mean_square(const float *w, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)w[i] * (double)w[i];
    return sqrt(sum / (double)n);
}

static void first_scales(const float *w, size_t n, size_t channels, float *scale)
{
    const size_t inner = n / channels;
    double all = root_mean_square(w, n);
    all = all > 0x1p-60 ? all : 1;
    for (size_t c = 0; c < channels; c++) {
        double r = root_mean_square(w + c * inner, inner);
        scale[c] = fb_share_stored_scale((float)(r > all * 0x1p-20 ? r : all));
    }
}

/* The levels that suit the scales. x: room for SAMPLES + 1. */
static fb_status fit_levels(const float *w, size_t n, size_t channels, const fb_share_rule *rule,
                            const float *scale, float *x, fb_share_table *t)
{
    const size_t inner = n / channels, stride = n / SAMPLES + 1;
    size_t zeros = 0, found = 0;
    for (size_t i = 0; i < n; i++)
        zeros += w[i] == 0;
    bool hold = fb_share_holds(zeros, n, rule);
    *t = fb_share_first_table(rule, hold);
    for (size_t i = 0; i < n; i += stride) {
        if (w[i] != 0 || !hold)
            x[found++] = w[i] / scale[i / inner];
    }
    return found > 0 ? fb_share_place(t, rule, true, x, found) : FB_OK;
}

/* The scale s of the least Σ (w - s v)^2, v the level of each weight. */
static void fit_scales(const float *w, size_t n, size_t channels, const fb_share_table *t,
                       float *scale)
{
    const size_t inner = n / channels;
    fb_share_cells cells;
    fb_share_cells_of(t, &cells);
    for (size_t c = 0; c < channels; c++) {
        double wv = 0, vv = 0;
        for (size_t i = c * inner; i < (c + 1) * inner; i++) {
            double v = (double)t->value[fb_share_nearest(&cells, w[i] / scale[c])];
            wv += (double)w[i] * v;
            vv += v * v;
        }
        float best = vv > 0 ? (float)(wv / vv) : 0;
        if (best > scale[c] / 2 && best < scale[c] * 2)
            scale[c] = fb_share_stored_scale(best);
    }
}

fb_status fb_share_scales(const float *w, size_t n, size_t channels, const fb_share_rule *rule,
                          float *scale)
{
    fb_status status = FB_OK;
    fb_share_table t;
    first_scales(w, n, channels, scale);
    if (!rule || rule->values == FB_SHARE_TOPMOST)
        return FB_OK;
    float *x = fb_alloc((SAMPLES + 1) * sizeof *x);
    if (!x)
        return fb_fail(FB_E_MEMORY, "no memory to fit the scales of %zu channels", channels);
    for (int turn = 0; turn < TURNS; turn++) {
        FB_GO(fit_levels(w, n, channels, rule, scale, x, &t));
        if (t.n > 0)
            fit_scales(w, n, channels, &t, scale);
    }
fail:
    fb_free(x);
    return status;
}
