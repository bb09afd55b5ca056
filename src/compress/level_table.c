/* Tables of levels that follow the weights. */
#include "compress/level_table.h"

#include "base/alloc.h"
#include "numeric/grid.h"

#include <math.h>
#include <string.h>

enum { TURNS = 3 }; /* of table and scales */

/* ---- one table ------------------------------------------------------------------------------ */

static fb_status fit(const fb_level_work *k, const float *x, const float *importance, size_t n,
                     double *level, uint32_t *found)
{
    const fb_level_rule *rule = k->rule;
    uint32_t most = 1u << rule->bits;
    fb_points p;
    FB_TRY(fb_points_init(&p, x, importance, n));
    fb_status status = FB_OK;
    if (rule->fit == FB_LEVELS_EVEN) {
        fb_fit_even(p.x[0], p.x[p.n - 1], most, level);
        *found = p.n > 1 ? most : 1;
    } else if (rule->fit == FB_LEVELS_LLOYD) {
        status = fb_kmeans_lloyd(&p, most, k->with_zero, rule->start, rule->seed, level, found);
    } else {
        status = fb_kmeans_exact(&p, most, k->with_zero, level, found);
    }
    fb_points_free(&p);
    return status;
}

static double largest(const double *level, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fabs(level[i]) > most ? fabs(level[i]) : most;
    return most;
}

uint32_t fb_level_round(const double *level, uint32_t n, double factor, unsigned level_bits,
                        float *out)
{
    double top = (1 << (level_bits - 1)) - 1;
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        double q = rint(level[i] * factor);
        q = q > top ? top : q < -top ? -top : q;
        if (found == 0 || q > (double)out[found - 1])
            out[found++] = (float)q + 0.0f; /* not -0 */
    }
    return found;
}

/* ---- a table for the tensor, or for each channel -------------------------------------------- */

/* Tables of a tensor have the same number of levels: short ones get further ones, which lie beyond
 * all weights, or are integers that were left out. */
static void lengthen(float *level, uint32_t n, uint32_t want, bool integers)
{
    float step = fmaxf(level[n - 1] - level[0], fabsf(level[n - 1]));
    for (; n < want && !integers; n++)
        level[n] = level[n - 1] + (step > 0 ? step : 1);
    for (uint32_t at = 0; n < want; at++) { /* the first gap behind level `at` */
        if (at + 1 < n && level[at + 1] == level[at] + 1)
            continue;
        if (at + 1 == n) { /* none: before the first, or behind the last */
            bool before = level[0] + level[n - 1] > 0;
            if (before)
                memmove(level + 1, level, n * sizeof *level);
            level[before ? 0 : n] = before ? level[1] - 1 : level[n - 1] + 1;
        } else {
            memmove(level + at + 2, level + at + 1, (n - at - 1) * sizeof *level);
            level[at + 1] = level[at] + 1;
        }
        n++;
        at = UINT32_MAX; /* from the start again */
    }
}

/* The levels as they are stored, and the scale. */
static uint32_t settle(fb_level_work *k, size_t channel, const double *level, uint32_t n,
                       float *out)
{
    double most = largest(level, n);
    if (k->level_bits == 0) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = (float)level[i];
        k->scale[channel] = 1;
        return n;
    }
    if (most > 0) {
        double top = (1 << (k->level_bits - 1)) - 1;
        float scale = fmaxf((float)(most / top), 0x1p-60f);
        if (k->rule->pow2)
            k->scale[channel] = ldexpf(1, (int)ceil(log2((double)scale)));
        else
            k->scale[channel] = k->along ? fb_grid_scale(fb_grid_up(scale)) : scale;
        return fb_level_round(level, n, 1 / (double)k->scale[channel], k->level_bits, out);
    }
    out[0] = 0;
    return 1;
}

fb_status fb_level_fit_tables(fb_level_work *k)
{
    uint32_t most = 1u << k->rule->bits, *n = fb_calloc(k->n_tables, sizeof *n);
    double level[FB_FIT_MOST_LEVELS];
    fb_status status = FB_OK;
    k->level_bits = k->rule->level_bits;
    k->n_levels = 0;
    k->level = fb_calloc(k->n_tables * most, sizeof *k->level);
    if (!k->level || !n) {
        status = fb_fail(FB_E_MEMORY, "no memory for %zu tables of levels", k->n_tables);
        goto fail;
    }
    for (size_t c = 0; c < k->n_tables; c++) {
        uint32_t found;
        const float *importance = k->importance ? k->importance + c * k->inner : NULL;
        FB_GO(fit(k, k->w + c * k->inner, importance, k->inner, level, &found));
        n[c] = settle(k, c, level, found, k->level + c * most);
        k->n_levels = n[c] > k->n_levels ? n[c] : k->n_levels;
    }
    for (size_t c = 0; c < k->n_tables; c++) {
        lengthen(k->level + c * most, n[c], k->n_levels, k->level_bits > 0);
        memmove(k->level + c * k->n_levels, k->level + c * most, k->n_levels * sizeof *k->level);
    }
    fb_level_lift_scales(k);
fail:
    fb_free(n);
    return status;
}

/* ---- one table, scales for channels --------------------------------------------------------- */

static float rms(const float *w, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)w[i] * (double)w[i];
    return (float)sqrt(sum / (double)n);
}

static void fit_scales(fb_level_work *k, double factor)
{
    for (size_t c = 0; c < k->channels; c++) {
        if (k->scale[c] > 0)
            k->scale[c] = fb_level_scale_near(k, c, (float)(k->scale[c] * factor));
    }
}

/* Weights in units of their channel's scale, and their importance; channels without weights are
 * left out. */
static size_t normalise(const fb_level_work *k, float *x, float *importance)
{
    size_t n = 0;
    for (size_t c = 0; c < k->channels; c++) {
        for (size_t i = c * k->inner; i < (c + 1) * k->inner && k->scale[c] > 0; i++) {
            x[n] = k->w[i] / k->scale[c];
            importance[n++] = k->importance ? k->importance[i] : 1;
        }
    }
    return n;
}

/* x: room for twice all weights. */
static fb_status take_turns(fb_level_work *k, float *x)
{
    double level[FB_FIT_MOST_LEVELS] = {0}, factor = 1;
    uint32_t found = 1;
    for (int turn = 0; turn < TURNS; turn++) {
        size_t n = normalise(k, x, x + k->n);
        if (n > 0)
            FB_TRY(fit(k, x, x + k->n, n, level, &found));
        for (uint32_t i = 0; i < found; i++)
            k->level[i] = (float)level[i];
        k->n_levels = found;
        if (turn + 1 < TURNS)
            fit_scales(k, 1);
    }
    k->level_bits = k->rule->level_bits;
    if (k->level_bits > 0 && largest(level, found) > 0) {
        factor = ((1 << (k->level_bits - 1)) - 1) / largest(level, found);
        k->n_levels = fb_level_round(level, found, factor, k->level_bits, k->level);
    }
    fit_scales(k, 1 / factor);
    fb_level_lift_scales(k);
    return FB_OK;
}

fb_status fb_level_fit_shared(fb_level_work *k)
{
    float *x = fb_calloc(2 * k->n, sizeof *x);
    fb_status status;
    k->level = fb_calloc((size_t)1 << k->rule->bits, sizeof *k->level);
    if (!x || !k->level) {
        status = fb_fail(FB_E_MEMORY, "no memory for %zu weights", k->n);
        goto fail;
    }
    for (size_t c = 0; c < k->channels; c++) {
        float r = rms(k->w + c * k->inner, k->inner);
        k->scale[c] = r > 0x1p-60f ? fb_grid_scale(fb_grid_up(r)) : 0;
    }
    status = take_turns(k, x);
fail:
    fb_free(x);
    return status;
}
