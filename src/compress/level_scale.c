/* Scales for tables of levels. */
#include "compress/level_table.h"

#include "base/alloc.h"
#include "numeric/grid.h"

#include <math.h>

double fb_level_error(const fb_level_work *k, size_t from, size_t n, float scale)
{
    const float *w = k->w + from, *importance = k->importance ? k->importance + from : NULL;
    const uint32_t n_levels = k->n_levels;
    float value[FB_FIT_MOST_LEVELS], upper[FB_FIT_MOST_LEVELS];
    uint32_t half = 1;
    double sum = 0;
    for (uint32_t i = 0; i < n_levels; i++)
        value[i] = scale * k->level[i];
    for (uint32_t i = 0; i + 1 < n_levels; i++)
        upper[i] = (value[i] + value[i + 1]) / 2;
    while (2 * half < n_levels)
        half *= 2;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = 0;
        for (uint32_t step = half; step > 0; step /= 2)
            at += at + step < n_levels && w[i] > upper[at + step - 1] ? step : 0;
        float d = w[i] - value[at];
        sum += (double)(d * d) * (importance ? (double)importance[i] : 1);
    }
    return sum;
}

float fb_level_scale_near(const fb_level_work *k, size_t channel, float scale)
{
    const size_t from = channel * k->inner;
    const int32_t step = k->rule->fit == FB_LEVELS_POW2 || k->rule->pow2 ? 16 : 1;
    int32_t at = fb_grid_up(scale);
    at -= at % step;
    double least = fb_level_error(k, from, k->inner, fb_grid_scale(at));
    for (int32_t way = -step; way <= step; way += 2 * step) {
        int32_t first = at;
        for (;;) {
            double e = fb_level_error(k, from, k->inner, fb_grid_scale(at + way));
            if (!(e < least) || fb_grid_scale(at + way) == fb_grid_scale(at))
                break;
            least = e;
            at += way;
        }
        if (at != first) /* downhill on one side, uphill on the other */
            break;
    }
    return fb_grid_scale(at);
}

void fb_level_lift_scales(fb_level_work *k)
{
    float most = 0;
    for (size_t c = 0; c < k->channels; c++)
        most = k->scale[c] > most ? k->scale[c] : most;
    most = most > 0 ? most : 0x1p-16f;
    bool has_zero = k->n_tables > 1; /* tables of their own, for such channels 0 */
    for (uint32_t i = 0; i < k->n_levels; i++)
        has_zero = has_zero || k->level[i] == 0;
    for (size_t c = 0; c < k->channels; c++) {
        if (!(k->scale[c] > 0))
            k->scale[c] = has_zero ? most : most * 0x1p-10f;
        k->scale[c] = fmaxf(k->scale[c], most * 0x1p-14f);
    }
}

/* ---- given tables --------------------------------------------------------------------------- */

static float largest(const float *w, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return most;
}

/* Where the search for a scale begins. */
static fb_status first_scale(const fb_level_work *k, size_t channel, float *scale)
{
    const float *w = k->w + channel * k->inner;
    float most = largest(w, k->inner), top = k->level[k->n_levels - 1];
    double a, threshold;
    *scale = most / top;
    if (!(most > 0))
        return FB_OK;
    if (k->rule->fit == FB_LEVELS_POW2) /* INQ's rule: never 0, so that the level is within reach */
        *scale = ldexpf(1, fb_fit_pow2_top((double)most)) / top;
    if (k->rule->fit == FB_LEVELS_TERNARY) {
        FB_TRY(fb_fit_ternary(w, k->inner, &a, &threshold));
        *scale = (float)a;
    }
    if (k->rule->fit == FB_LEVELS_TWN) {
        *scale = (float)fb_fit_twn(w, k->inner, &threshold);
        k->threshold[channel] = (float)threshold;
    }
    return FB_OK;
}

static float nearest_on_grid(float scale)
{
    int32_t k = fb_grid_up(scale);
    float below = fb_grid_scale(k - 1), above = fb_grid_scale(k);
    return scale - below < above - scale ? below : above;
}

fb_status fb_level_fit_scales(fb_level_work *k)
{
    double level[FB_FIT_MOST_LEVELS] = {-1, 0, 1};
    const fb_level_rule *rule = k->rule;
    bool ternary = rule->fit == FB_LEVELS_TERNARY || rule->fit == FB_LEVELS_TWN;
    k->n_levels = rule->fit == FB_LEVELS_POW2   ? fb_fit_pow2(rule->bits, level)
                  : rule->fit == FB_LEVELS_APOT ? fb_fit_apot(rule->bits, level)
                                                : 3;
    k->n_tables = 1;
    k->level = fb_calloc(k->n_levels, sizeof *k->level);
    k->threshold = rule->fit == FB_LEVELS_TWN ? fb_calloc(k->channels, sizeof(float)) : NULL;
    if (!k->level || (rule->fit == FB_LEVELS_TWN && !k->threshold))
        return fb_fail(FB_E_MEMORY, "no memory for %zu scales", k->channels);
    for (uint32_t i = 0; i < k->n_levels; i++)
        k->level[i] = (float)level[i];
    for (k->level_bits = 2; level[k->n_levels - 1] >= 1 << (k->level_bits - 1);)
        k->level_bits++;
    for (size_t c = 0; c < k->channels; c++) {
        float scale;
        FB_TRY(first_scale(k, c, &scale));
        if (!(scale > 0))
            continue;
        if (rule->fit == FB_LEVELS_TWN || (ternary && !k->along))
            k->scale[c] = k->along ? nearest_on_grid(scale) : scale;
        else
            k->scale[c] = fb_level_scale_near(k, c, scale);
    }
    fb_level_lift_scales(k);
    return FB_OK;
}
