/* Where the levels of a layer lie, given those that are frozen. */
#include "train/share_fit.h"

#include "compress/fit.h"

#include <math.h>
#include <stdlib.h>

enum { OCTAVES = 15, CANDIDATES = 2 * FB_SHARE_TOP + 1 + FB_SHARE_LEVELS };

/* ---- cells ---------------------------------------------------------------------------------- */

void fb_share_cells_of(const fb_share_table *t, fb_share_cells *c)
{
    c->n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->state[i] == FB_SHARE_NONE)
            continue;
        uint32_t at = c->n++;
        for (; at > 0 && t->value[c->place[at - 1]] > t->value[i]; at--)
            c->place[at] = c->place[at - 1];
        c->place[at] = (uint8_t)i;
    }
    for (uint32_t i = 0; i + 1 < c->n; i++)
        c->upper[i] = ((double)t->value[c->place[i]] + (double)t->value[c->place[i + 1]]) / 2;
}

/* ---- the start ------------------------------------------------------------------------------ */

bool fb_share_holds(size_t zeros, size_t n, const fb_share_rule *rule)
{
    return zeros > 0 && zeros >= n / rule->n_levels;
}

fb_share_table fb_share_first_table(const fb_share_rule *rule, bool holds_zeros)
{
    fb_share_table t = {.n = 0};
    if (rule->with_zero || holds_zeros || rule->values >= FB_SHARE_POWERS) {
        t.n = 1;
        t.zero = true;
        t.state[0] = FB_SHARE_FREE;
    }
    return t;
}

/* ---- what a level may be -------------------------------------------------------------------- */

void fb_share_first_levels(double most, uint32_t n, bool with_zero, double *level)
{
    int e;
    (void)frexp(most, &e); /* [1/2, 1) 2^e */
    uint32_t at = 0;
    if (with_zero)
        level[at++] = 0;
    for (uint32_t k = 0; at < n; k++)
        level[at++] = ldexp(k % 2 ? -1 : 1, e - 1 - (int)(k / 2));
}

double fb_share_power(double c)
{
    int e;
    double m = frexp(fabs(c), &e); /* [1/2, 1) 2^e */
    return c == 0 ? 0 : copysign(ldexp(1, m < 0.75 ? e - 1 : e), c);
}

/* The least power of two of which 127 reach `most` > 0. */
static double unit_for(double most)
{
    int e;
    double m = frexp(most / FB_SHARE_TOP, &e);
    return ldexp(1, m == 0.5 ? e - 1 : e);
}

static double largest(const double *v, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fabs(v[i]) > most ? fabs(v[i]) : most;
    return most;
}

static double snap(const fb_share_table *t, const fb_share_rule *rule, double c)
{
    if (rule->values == FB_SHARE_POWERS)
        return fb_share_power(c);
    if (rule->values == FB_SHARE_INTEGERS) {
        double q = rint(c / t->unit);
        q = fmax(-FB_SHARE_TOP, fmin(q, FB_SHARE_TOP));
        return q * t->unit + 0.0; /* not -0 */
    }
    return (double)(float)c;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- levels that stay ----------------------------------------------------------------------- */

/* What the others are fitted beside: frozen levels, and 0 where it is one. */
typedef struct anchors {
    double value[FB_SHARE_LEVELS]; /* ascending */
    uint32_t n;
} anchors;

static anchors anchors_of(const fb_share_table *t)
{
    anchors a = {.n = 0};
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->state[i] == FB_SHARE_FROZEN || (i == 0 && t->zero))
            a.value[a.n++] = (double)t->value[i];
    }
    qsort(a.value, a.n, sizeof *a.value, ascending);
    return a;
}

static bool is_anchor(const anchors *a, double v)
{
    return bsearch(&v, a->value, a->n, sizeof *a->value, ascending) != NULL;
}

/* Puts levels, less what is there already, into the places that are not taken for good. */
static void put(fb_share_table *t, const anchors *a, double *level, uint32_t n)
{
    uint32_t place = t->zero ? 1 : 0, end = place;
    qsort(level, n, sizeof *level, ascending);
    for (uint32_t i = place; i < t->n; i++) {
        if (t->state[i] == FB_SHARE_FREE)
            t->state[i] = FB_SHARE_NONE;
        end = t->state[i] == FB_SHARE_FROZEN ? i + 1 : end;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (is_anchor(a, level[i]) || (i > 0 && level[i] == level[i - 1]))
            continue;
        while (t->state[place] == FB_SHARE_FROZEN)
            place++;
        t->value[place] = (float)level[i];
        t->state[place++] = FB_SHARE_FREE;
    }
    t->n = place > end ? place : end;
}

/* ---- exact ---------------------------------------------------------------------------------- */

/* All values that a level may have, ascending. */
static uint32_t list_candidates(const fb_share_table *t, const fb_share_rule *rule,
                                const anchors *a, double most, double *candidate)
{
    uint32_t n = 0, unique = 0;
    for (uint32_t i = 0; i < a->n; i++)
        candidate[n++] = a->value[i];
    for (int k = 0; rule->values == FB_SHARE_POWERS && k < OCTAVES; k++) {
        double power = fb_share_power(most) * ldexp(1, -k);
        candidate[n++] = power;
        candidate[n++] = -power;
    }
    for (int q = -FB_SHARE_TOP; rule->values == FB_SHARE_INTEGERS && q <= FB_SHARE_TOP; q++)
        candidate[n++] = q * t->unit;
    qsort(candidate, n, sizeof *candidate, ascending);
    for (uint32_t i = 0; i < n; i++) {
        if (unique == 0 || candidate[i] > candidate[unique - 1])
            candidate[unique++] = candidate[i];
    }
    return unique;
}

static fb_status choose(const fb_share_table *t, const fb_share_rule *rule, const anchors *a,
                        const fb_points *p, double *level, uint32_t *found)
{
    double candidate[CANDIDATES], most = fmax(fabs(p->x[0]), fabs(p->x[p->n - 1]));
    bool must[CANDIDATES], chosen[CANDIDATES];
    uint32_t n = list_candidates(t, rule, a, most, candidate);
    for (uint32_t i = 0; i < n; i++)
        must[i] = is_anchor(a, candidate[i]);
    FB_TRY(fb_fit_choose(p, candidate, must, n, rule->n_levels, chosen));
    for (uint32_t i = 0; i < n; i++) {
        if (chosen[i])
            level[(*found)++] = candidate[i];
    }
    return FB_OK;
}

static fb_status fit_exactly(fb_share_table *t, const fb_share_rule *rule, const anchors *a,
                             const fb_points *p, double *level, uint32_t *found)
{
    bool integers = rule->values == FB_SHARE_INTEGERS;
    if (rule->values == FB_SHARE_FLOATS || (integers && !(t->unit > 0))) {
        FB_TRY(fb_kmeans_beside(p, a->value, a->n, rule->n_levels - a->n, level, found));
        if (!integers)
            return FB_OK;
        t->unit = unit_for(fmax(largest(level, *found), 0x1p-60));
        *found = 0;
    }
    return choose(t, rule, a, p, level, found);
}

/* ---- Lloyd ---------------------------------------------------------------------------------- */

/* Levels to start from, without the anchors. */
static uint32_t start_levels(const fb_share_table *t, const fb_share_rule *rule, const anchors *a,
                             bool first, double most, double *level)
{
    double all[FB_SHARE_LEVELS];
    uint32_t n = 0, n_all = 0, room = rule->n_levels - a->n;
    if (first) {
        n_all = rule->n_levels;
        fb_share_first_levels(most, n_all, t->zero, all);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->state[i] == FB_SHARE_FREE)
            all[n_all++] = (double)t->value[i];
    }
    for (uint32_t i = 0; i < n_all && n < room; i++) {
        if (!is_anchor(a, all[i]))
            level[n++] = all[i];
    }
    return n;
}

static void fit_by_rounds(fb_share_table *t, const fb_share_rule *rule, const anchors *a,
                          bool first, const fb_points *p, double *level, uint32_t *found)
{
    double most = fmax(fabs(p->x[0]), fabs(p->x[p->n - 1]));
    bool fixed[FB_SHARE_LEVELS];
    uint32_t n = start_levels(t, rule, a, first, most, level);
    for (uint32_t i = 0; i < a->n; i++)
        level[n++] = a->value[i];
    qsort(level, n, sizeof *level, ascending);
    for (uint32_t i = 0; i < n; i++)
        fixed[i] = is_anchor(a, level[i]);
    fb_kmeans_refine(p, n, fixed, FB_SHARE_ROUNDS, level);
    if (rule->values == FB_SHARE_INTEGERS && !(t->unit > 0))
        t->unit = unit_for(fmax(largest(level, n), 0x1p-60));
    for (uint32_t i = 0; i < n; i++)
        level[i] = fixed[i] ? level[i] : snap(t, rule, level[i]);
    *found = n;
}

/* ---- a layer -------------------------------------------------------------------------------- */

/* METHODS B.5 */
static void put_topmost(fb_share_table *t, const fb_share_rule *rule, const float *x, size_t n)
{
    float most = 0;
    uint32_t pairs = (rule->n_levels - 1) / 2;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    int top = fb_fit_pow2_top((double)most);
    t->n = 2 * pairs + 1;
    for (uint32_t i = 0; i < t->n; i++) {
        int e = top + 1 - (int)((i + 1) / 2);
        t->value[i] = i == 0 ? 0 : ldexpf(i % 2 ? 1 : -1, e);
        t->state[i] = FB_SHARE_FROZEN;
    }
}

fb_status fb_share_place(fb_share_table *t, const fb_share_rule *rule, bool first, const float *x,
                         size_t n)
{
    double level[CANDIDATES] = {0};
    uint32_t found = 0;
    anchors a = anchors_of(t);
    fb_points p;
    if (rule->values == FB_SHARE_TOPMOST) {
        if (first)
            put_topmost(t, rule, x, n);
        return FB_OK;
    }
    FB_ENSURE(a.n <= rule->n_levels);
    FB_TRY(fb_points_init(&p, x, NULL, n));
    fb_status status = FB_OK;
    if (rule->fit == FB_SHARE_EXACT)
        status = fit_exactly(t, rule, &a, &p, level, &found);
    else
        fit_by_rounds(t, rule, &a, first, &p, level, &found);
    fb_points_free(&p);
    if (status == FB_OK) {
        for (uint32_t i = 0; i < found; i++)
            level[i] = (double)(float)level[i];
        put(t, &a, level, found);
    }
    return status;
}
