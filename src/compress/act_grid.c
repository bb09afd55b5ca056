/* Codes of activations by grid. */
#include "compress/act_grid.h"

#include "base/status.h"
#include "numeric/requant.h"

#include <math.h>

/* --- one step for the whole network ---------------------------------------------------------- */

/* Signed values have codes in two's complement, moved up to be unsigned. */
static int32_t unit_zero(const fb_act_group *g, unsigned bits)
{
    return g->positive ? 0 : 1 << (bits - 1);
}

static double power_of(const fb_stats *s)
{
    return s->sum_sq > 0 ? s->sum_sq : 1;
}

/* Squared error of a tensor's values on the grid, each bin at its middle. */
static double unit_error(const fb_stats *s, double step, int32_t zero, unsigned bits)
{
    const fb_hist *h = &s->hist;
    double least = -(double)zero, most = (double)fb_code_max(bits, false) - zero, total = 0;
    for (int32_t j = 0; j < FB_HIST_BINS; j++) {
        if (h->bins[j] == 0)
            continue;
        double v = (j - FB_HIST_SIDE + 0.5) * (double)h->width / step;
        double code = v < least ? least : v > most ? most : rint(v);
        total += (double)h->bins[j] * (v - code) * (v - code);
    }
    return total * step * step;
}

int32_t fb_act_unit_exponent(const fb_activations *a, unsigned bits)
{
    enum { LEAST = -40, MOST = 40 };
    int32_t best = 0;
    double least = INFINITY;
    for (int32_t e = MOST; e >= LEAST; e--) {
        double total = 0;
        for (uint32_t k = 0; k < a->n; k++) {
            const fb_act_group *g = &a->groups[a->group[k]];
            if (g->place != FB_ACT_FIRST)
                total += unit_error(&a->stats[k], ldexp(1, e), unit_zero(g, bits), bits) /
                         power_of(&a->stats[k]);
        }
        if (total < least) {
            least = total;
            best = e;
        }
    }
    return best;
}

/* --- evenly spaced levels -------------------------------------------------------------------- */

/* Minimum to maximum. Where that spans zero, the grid moves by less than half a step, so that zero
 * is on it: padding must be exact. */
static void choose_even(const fb_activations *a, uint32_t group, uint32_t n_levels, unsigned bits,
                        fb_act_code *code)
{
    float lo = 0, hi = 0;
    for (uint32_t k = 0; k < a->n; k++) {
        if (a->group[k] != group)
            continue;
        lo = a->stats[k].min < lo ? a->stats[k].min : lo;
        hi = a->stats[k].max > hi ? a->stats[k].max : hi;
    }
    int32_t top = (int32_t)n_levels - 1;
    double step = ((double)hi - (double)lo) / top;
    code->bits = bits;
    code->scale = step > 0x1p-60 ? (float)step : hi > lo ? 0x1p-60f : 1;
    code->zero = fb_quantize(-lo, code->scale, 0, 0, top);
}

/* --- k-means --------------------------------------------------------------------------------- */

static float largest(const fb_activations *a, uint32_t group)
{
    float most = 0;
    for (uint32_t k = 0; k < a->n; k++) {
        if (a->group[k] != group)
            continue;
        most = fmaxf(most, fmaxf(a->stats[k].max, -a->stats[k].min));
    }
    return most;
}

static fb_status choose_kmeans(const fb_activations *a, uint32_t group, unsigned level_bits,
                               unsigned bits, double bound, fb_act_code *code)
{
    double *value = fb_calloc(2 * FB_CELLS_SIDE + 1, sizeof *value);
    double *weight = fb_calloc(2 * FB_CELLS_SIDE + 1, sizeof *weight);
    fb_cells all = {0};
    double v[256];
    fb_status status;
    if (!value || !weight) {
        status = fb_fail(FB_E_MEMORY, "no memory to place levels");
        goto fail;
    }
    FB_GO(fb_cells_init(&all));
    for (uint32_t k = 0; k < a->n; k++) {
        if (a->group[k] == group)
            fb_cells_merge(&all, &a->cells[k]);
    }
    uint32_t n = 1u << bits, count = fb_cells_list(&all, value, weight);
    FB_GO(fb_levels_kmeans(value, weight, count, bound * (double)largest(a, group), true, n, v));
    *code = (fb_act_code){.bits = bits, .scale = 1, .n_levels = (uint16_t)n};
    if (level_bits > 0) {
        fb_levels_snap(v, n, level_bits, code);
        goto fail;
    }
    for (uint32_t i = 0; i < n; i++)
        code->level[i] = (float)v[i];
fail:
    fb_cells_free(&all);
    fb_free(value);
    fb_free(weight);
    return status;
}

double fb_act_percentile_bound(const fb_activations *a, uint32_t group, double percentile)
{
    float most = 0, all = largest(a, group);
    for (uint32_t k = 0; k < a->n; k++) {
        if (a->group[k] != group)
            continue;
        fb_range r = fb_range_percentile(&a->stats[k], percentile);
        most = fmaxf(most, fmaxf(r.hi, -r.lo));
    }
    return all > 0 && most > 0 ? (double)most / (double)all : 1;
}

/* --- all ------------------------------------------------------------------------------------- */

fb_status fb_act_choose(const fb_activations *a, uint32_t group, const fb_act_rule *rule,
                        unsigned bits, double bound, fb_act_code *code)
{
    const fb_act_group *g = &a->groups[group];
    *code = (fb_act_code){.bits = bits, .scale = 1};
    if (g->fixed >= 0)
        return FB_OK;
    if (g->place == FB_ACT_FIRST || rule->grid == FB_ACT_AFFINE) {
        fb_range_rule range = rule->grid == FB_ACT_AFFINE ? rule->range : FB_RANGE_MINMAX;
        fb_act_affine(a, group, range, rule->percentile, bits, code);
        return FB_OK;
    }
    switch (rule->grid) {
    case FB_ACT_UNIT:
        code->scale = ldexpf(1, rule->exponent);
        code->zero = unit_zero(g, bits);
        return FB_OK;
    case FB_ACT_EVEN:
        choose_even(a, group, rule->n_levels ? rule->n_levels : 1u << bits, bits, code);
        return FB_OK;
    default:
        return choose_kmeans(a, group, rule->level_bits, bits, bound, code);
    }
}
