/* Weights that are set aside: the largest for their scale, so that the others get a finer one
 * (METHODS D.5). */
#include "compress/weights.h"

#include "base/alloc.h"
#include "numeric/half.h"

#include <stdlib.h>

typedef struct candidate {
    float size; /* in units of the root mean square of its block */
    size_t at;
} candidate;

static int larger_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void rank(const fb_weight_codes *c, candidate *all)
{
    for (size_t b = 0; b < c->n_blocks; b++) {
        size_t n, at = fb_weight_block(c, b, &n);
        double sum = 0;
        for (size_t i = at; i < at + n; i++)
            sum += (double)c->w[i] * (double)c->w[i];
        float unit = sum > 0 ? (float)sqrt((double)n / sum) : 0;
        for (size_t i = at; i < at + n; i++)
            all[i] = (candidate){fabsf(c->w[i]) * unit, i};
    }
    qsort(all, c->n, sizeof *all, larger_first);
}

fb_status fb_outliers_take(fb_weight_codes *c)
{
    size_t n = (size_t)(c->rule->outliers * (double)c->n);
    n = n < UINT32_MAX ? n : UINT32_MAX;
    if (n == 0)
        return FB_OK;
    candidate *all = fb_calloc(c->n, sizeof *all);
    c->patch_at = fb_calloc(n, sizeof *c->patch_at);
    c->patch = fb_calloc(n, sizeof *c->patch);
    if (!all || !c->patch_at || !c->patch) {
        fb_free(all);
        return fb_fail(FB_E_MEMORY, "no memory for %zu outliers", n);
    }
    rank(c, all);
    for (size_t i = 0; i < n; i++)
        c->patch_at[i] = all[i].at;
    fb_free(all);
    qsort(c->patch_at, n, sizeof *c->patch_at, by_place);
    for (size_t i = 0; i < n; i++) {
        c->patch[i] = c->w[c->patch_at[i]];
        c->w[c->patch_at[i]] = 0;
    }
    c->n_patches = (uint32_t)n;
    return FB_OK;
}

void fb_outliers_return(fb_weight_codes *c)
{
    uint32_t n = 0;
    size_t b = 0, length = 0, at = c->n_patches ? fb_weight_block(c, 0, &length) : 0;
    for (uint32_t i = 0; i < c->n_patches; i++) {
        while (c->patch_at[i] >= at + length)
            at = fb_weight_block(c, ++b, &length);
        float w = c->patch[i], half = fb_f16_to_f32(fb_f16_from_f64((double)w));
        int32_t zero = c->zero ? c->zero[b] : 0;
        float coded = c->scale[b] * (float)(fb_weight_code(c->rule, w, c->scale[b], zero) - zero);
        c->w[c->patch_at[i]] = w;
        if (!(fabsf(half - w) < fabsf(coded - w)))
            continue;
        c->patch_at[n] = c->patch_at[i];
        c->patch[n++] = half;
    }
    c->n_patches = n;
}
