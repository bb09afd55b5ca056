/* Levels for activations: evenly spaced, and by exact k-means in one dimension. */
#include "compress/act_grid.h"

#include "base/status.h"

#include <math.h>

void fb_levels_even(double lo, double hi, uint32_t n, double *v)
{
    for (uint32_t i = 0; i < n; i++)
        v[i] = lo + i * (hi - lo) / (n - 1);
}

/* --- exact k-means --------------------------------------------------------------------------- */

/* Running sums over ascending points: weights, weight * x, weight * x * x. */
typedef struct sums {
    double w, s, q;
} sums;

typedef struct fit {
    const sums *sum; /* [count + 1] */
    double *before,
        *now;       /* [count + 1] least error of the first i points with k - 1 and k levels */
    uint32_t *from; /* [k][count + 1] where the last cluster starts */
    uint32_t count;
} fit;

/* Squared error of points [i, j) around their mean. */
static double error_of(const fit *f, uint32_t i, uint32_t j)
{
    double w = f->sum[j].w - f->sum[i].w, s = f->sum[j].s - f->sum[i].s;
    double e = w > 0 ? f->sum[j].q - f->sum[i].q - s * s / w : 0;
    return e > 0 ? e : 0;
}

/* Fills now[lo .. hi] knowing that the last cluster starts within [from, to]: starts are monotone
 * in the end of the cluster. */
static void fill(fit *f, uint32_t *start, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
    while (lo <= hi) {
        uint32_t mid = lo + (hi - lo) / 2, best = from;
        double least = INFINITY;
        for (uint32_t i = from; i <= to && i <= mid; i++) {
            double e = f->before[i] + error_of(f, i, mid);
            if (e < least) {
                least = e;
                best = i;
            }
        }
        f->now[mid] = least;
        start[mid] = best;
        if (mid > lo)
            fill(f, start, lo, mid - 1, from, best);
        lo = mid + 1;
        from = best;
    }
}

/* Means of the k clusters; returns how many are not empty. */
static uint32_t means_of(const fit *f, uint32_t k, double *v)
{
    uint32_t n = 0, end = f->count;
    for (uint32_t c = k; c-- > 0;) {
        uint32_t start = f->from[(size_t)c * (f->count + 1) + end];
        double w = f->sum[end].w - f->sum[start].w;
        if (end > start && w > 0)
            v[n++] = (f->sum[end].s - f->sum[start].s) / w;
        end = start;
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        double other = v[i];
        v[i] = v[n - 1 - i];
        v[n - 1 - i] = other;
    }
    return n;
}

static fb_status kmeans(const double *x, const double *w, uint32_t count, uint32_t k, double *v,
                        uint32_t *n)
{
    sums *sum = fb_calloc((size_t)count + 1, sizeof *sum);
    fit f = {.sum = sum, .count = count};
    f.before = fb_calloc((size_t)count + 1, sizeof *f.before);
    f.now = fb_calloc((size_t)count + 1, sizeof *f.now);
    f.from = fb_calloc((size_t)k * ((size_t)count + 1), sizeof *f.from);
    fb_status status = FB_OK;
    if (!sum || !f.before || !f.now || !f.from) {
        status = fb_fail(FB_E_MEMORY, "no memory to place %u levels", k);
        goto fail;
    }
    for (uint32_t i = 0; i < count; i++)
        sum[i + 1] = (sums){sum[i].w + w[i], sum[i].s + w[i] * x[i], sum[i].q + w[i] * x[i] * x[i]};
    for (uint32_t i = 1; i <= count; i++)
        f.before[i] = INFINITY; /* no level for some points */
    for (uint32_t c = 0; c < k; c++) {
        fill(&f, f.from + (size_t)c * (count + 1), 0, count, 0, count);
        double *swap = f.before;
        f.before = f.now;
        f.now = swap;
    }
    *n = means_of(&f, k, v);
fail:
    fb_free(sum);
    fb_free(f.before);
    fb_free(f.now);
    fb_free(f.from);
    return status;
}

/* A cluster that holds zero has its mean there when zero weighs a million times as much as all the
 * rest. */
fb_status fb_levels_kmeans(double *value, double *weight, uint32_t count, double bound, bool zero,
                           uint32_t n, double *v)
{
    const double anchor = 1e6;
    double total = 0;
    uint32_t at = count, found = 0;
    for (uint32_t i = 0; i < count; i++) {
        value[i] = value[i] > bound ? bound : value[i] < -bound ? -bound : value[i];
        total += weight[i];
        at = value[i] == 0 ? i : at;
    }
    FB_ENSURE(count > 0 && (!zero || at < count));
    if (zero)
        weight[at] = anchor * (total > 0 ? total : 1);
    FB_TRY(kmeans(value, weight, count, n, v, &found));
    at = 0;
    for (uint32_t i = 1; i < found; i++)
        at = fabs(v[i]) < fabs(v[at]) ? i : at;
    v[at] = zero ? 0 : v[at];
    double step = found > 1 ? (v[found - 1] - v[0]) / (found - 1) : 1;
    for (; found < n; found++)
        v[found] = v[found - 1] + step;
    return FB_OK;
}

/* --- levels on a grid ------------------------------------------------------------------------ */

void fb_levels_snap(const double *v, uint32_t n, unsigned level_bits, fb_act_code *code)
{
    int32_t top = (1 << level_bits) - 1, at = 0, count = (int32_t)n;
    while (v[at] != 0)
        at++;
    fb_range_codes((fb_range){(float)v[0], (float)v[n - 1]}, level_bits, &code->scale, &code->zero);
    int32_t room = top - (count - 1 - at); /* largest zero that leaves codes above it */
    code->zero = code->zero < at ? at : code->zero > room ? room : code->zero;
    int32_t last = code->zero;
    for (int32_t i = at; i < count; i++) {
        int32_t q = i == at ? last : (int32_t)lrint(v[i] / (double)code->scale) + code->zero;
        q = i > at && q <= last ? last + 1 : q;
        last = q < top - (count - 1 - i) ? q : top - (count - 1 - i);
        code->level[i] = (float)last;
    }
    last = code->zero;
    for (int32_t i = at - 1; i >= 0; i--) {
        int32_t q = (int32_t)lrint(v[i] / (double)code->scale) + code->zero;
        q = q >= last ? last - 1 : q;
        last = q > i ? q : i;
        code->level[i] = (float)last;
    }
    code->n_levels = (uint16_t)n;
    code->level_bits = (uint8_t)level_bits;
}
