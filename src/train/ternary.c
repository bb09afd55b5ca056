/* Ternary weights: threshold, levels, gradients. */
#include "train/ternary.h"

#include "base/alloc.h"
#include "compress/fit.h"

#include <math.h>
#include <string.h>

static float in_units(const float *w, const float *scale, size_t i, size_t channel)
{
    return scale ? w[i] / scale[channel] : w[i];
}

float fb_ternary_threshold(const float *w, const float *scale, size_t n, size_t channels,
                           fb_ternary_rule rule, float part)
{
    const size_t inner = n / channels;
    double sum = 0;
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float m = fabsf(in_units(w, scale, i, i / inner));
        sum += (double)m;
        most = fmaxf(most, m);
    }
    return rule == FB_TERNARY_TTQ ? part * most : (float)(0.7 * sum / (double)n);
}

static fb_status exact_threshold(const float *w, const float *scale, size_t n, size_t channels,
                                 float *threshold)
{
    const size_t inner = n / channels;
    double a, at;
    float *x = fb_alloc(n * sizeof *x);
    if (!x)
        return fb_fail(FB_E_MEMORY, "no memory for %zu weights", n);
    for (size_t i = 0; i < n; i++)
        x[i] = in_units(w, scale, i, i / inner);
    fb_status status = fb_fit_ternary(x, n, &a, &at);
    *threshold = (float)at;
    fb_free(x);
    return status;
}

fb_status fb_ternary_fit(const float *w, const float *scale, size_t n, size_t channels,
                         fb_ternary_rule rule, float part, fb_ternary *t)
{
    const size_t inner = n / channels;
    double sum[2] = {0, 0}; /* of the negative, of the positive */
    size_t count[2] = {0, 0};
    *t = (fb_ternary){0};
    if (rule == FB_TERNARY_EXACT)
        FB_TRY(exact_threshold(w, scale, n, channels, &t->threshold));
    else
        t->threshold = fb_ternary_threshold(w, scale, n, channels, rule, part);
    for (size_t i = 0; i < n; i++) {
        float x = in_units(w, scale, i, i / inner);
        if (!(fabsf(x) > t->threshold))
            continue;
        sum[x > 0] += fabs((double)x);
        count[x > 0]++;
    }
    if (count[0] + count[1] == 0)
        return FB_OK;
    double both = (sum[0] + sum[1]) / (double)(count[0] + count[1]);
    bool apart = rule == FB_TERNARY_TTQ && count[0] > 0 && count[1] > 0;
    t->negative = (float)(apart ? sum[0] / (double)count[0] : both);
    t->positive = (float)(apart ? sum[1] / (double)count[1] : both);
    return FB_OK;
}

void fb_ternary_forward(const fb_ternary *t, const float *w, const float *scale, size_t n,
                        size_t channels, int8_t *code, float *value)
{
    const size_t inner = n / channels;
    for (size_t i = 0; i < n; i++) {
        float x = in_units(w, scale, i, i / inner), s = scale ? scale[i / inner] : 1;
        code[i] = (int8_t)((x > t->threshold) - (x < -t->threshold));
        value[i] = code[i] == 0 ? 0 : s * (code[i] > 0 ? t->positive : -t->negative);
    }
}

void fb_ternary_levels_gradient(const int8_t *code, const float *scale, size_t n, size_t channels,
                                const float *g, double *positive, double *negative)
{
    const size_t inner = n / channels;
    *positive = *negative = 0;
    for (size_t i = 0; i < n; i++) {
        double part = (double)g[i] * (scale ? (double)scale[i / inner] : 1);
        *positive += code[i] > 0 ? part : 0;
        *negative -= code[i] < 0 ? part : 0;
    }
}

void fb_ternary_gradient(const fb_ternary *t, const int8_t *code, size_t n, const float *g,
                         float *gw)
{
    for (size_t i = 0; i < n; i++)
        gw[i] = code[i] == 0 ? g[i] : g[i] * (code[i] > 0 ? t->positive : t->negative);
}

void fb_ternary_finish(const fb_ternary *t, fb_share *s)
{
    const size_t inner = s->n / s->channels;
    const float level[3] = {-t->negative, 0, t->positive};
    s->table = (fb_share_table){.n = 3};
    for (uint32_t i = 0; i < 3; i++) {
        s->table.value[i] = level[i] + 0.0f; /* not -0 */
        s->table.state[i] = FB_SHARE_FROZEN;
    }
    for (size_t i = 0; i < s->n; i++) {
        float x = in_units(s->w, s->scale, i, i / inner);
        s->code[i] = (uint8_t)(1 + (x > t->threshold) - (x < -t->threshold));
        s->w[i] = s->scale[i / inner] * s->table.value[s->code[i]];
    }
    memset(s->mask, 0, s->n);
}
