/* A finished share as the payload of a weight. */
#include "train/share.h"

#include "base/alloc.h"
#include "numeric/grid.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* The levels that weights have, ascending and different, and where those of the table went. */
typedef struct ladder {
    uint32_t n;
    float value[FB_SHARE_LEVELS];
    uint8_t step[FB_SHARE_LEVELS];
    unsigned level_bits; /* 0: floats */
    double unit;
} ladder;

static void add_level(ladder *l, float value)
{
    uint32_t at = l->n;
    while (at > 0 && l->value[at - 1] >= value)
        at--;
    if (at < l->n && l->value[at] == value)
        return;
    memmove(l->value + at + 1, l->value + at, (l->n - at) * sizeof *l->value);
    l->value[at] = value + 0.0f; /* not -0 */
    l->n++;
}

/* The largest power of two that all levels are multiples of, as an exponent. */
static int common_exponent(const ladder *l)
{
    int least = INT_MAX;
    for (uint32_t i = 0; i < l->n; i++) {
        int e;
        double m = frexp(fabs((double)l->value[i]), &e);
        if (m == 0)
            continue;
        for (; m != floor(m); e--) /* m < 2^24 at the end */
            m *= 2;
        for (; fmod(m, 2) == 0; e++)
            m /= 2;
        least = e < least ? e : least;
    }
    return least == INT_MAX ? 0 : least;
}

/* Levels as integers of at most 16 bits times a unit: the least of them, or a power of two. */
static bool fit_unit(ladder *l, double unit)
{
    double most = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        double q = rint((double)l->value[i] / unit);
        most = fmax(most, fabs(q));
        if (q * unit != (double)l->value[i])
            return false;
    }
    if (most > 32767)
        return false;
    for (l->level_bits = 2; most >= ldexp(1, (int)l->level_bits - 1);)
        l->level_bits++;
    for (uint32_t i = 0; i < l->n; i++)
        l->value[i] = (float)rint((double)l->value[i] / unit);
    l->unit = unit;
    return true;
}

static void find_integers(ladder *l)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < l->n; i++) {
        double m = fabs((double)l->value[i]);
        least = m > 0 && m < least ? m : least;
    }
    if (!isfinite(least) || !fit_unit(l, least))
        (void)fit_unit(l, ldexp(1, common_exponent(l)));
}

static fb_status climb(const fb_share *s, ladder *l)
{
    bool used[FB_SHARE_LEVELS] = {false};
    *l = (ladder){.unit = 1};
    for (size_t i = 0; i < s->n; i++) {
        FB_ENSURE(s->mask[i] == 0 && s->code[i] < s->table.n);
        used[s->code[i]] = true;
    }
    for (uint32_t i = 0; i < s->table.n; i++) {
        if (used[i])
            add_level(l, s->table.value[i]);
    }
    for (uint32_t i = 0; i < s->table.n; i++) {
        while (used[i] && l->value[l->step[i]] < s->table.value[i])
            l->step[i]++;
    }
    find_integers(l);
    return FB_OK;
}

float fb_share_stored_scale(float scale)
{
    int32_t k;
    int e;
    if (fb_grid_find(scale, &k))
        return scale;
    float m = frexpf(scale, &e);
    return ldexpf(rintf(m * 2048), e - 11);
}

static bool all_same(const float *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (v[i] != v[0])
            return false;
    }
    return true;
}

static fb_status write_scales(const fb_share *s, const float *channel_scale, const ladder *l,
                              float *scale)
{
    for (size_t c = 0; c < s->channels; c++) {
        scale[c] = (float)((double)fb_share_stored_scale(channel_scale[c]) * l->unit);
        if (!(scale[c] >= 0x1p-126f) || !isfinite(scale[c]))
            return fb_fail(FB_E_LIMIT,
                           "layer '%.200s': channel %zu has the scale %g for levels in units of "
                           "%g, and their product must be a normal float above 0",
                           s->name, c, (double)channel_scale[c], l->unit);
    }
    return FB_OK;
}

fb_status fb_share_store(const fb_share *s, const float *channel_scale, fb_model *m, int32_t tensor)
{
    ladder l;
    size_t bytes;
    unsigned bits = 1;
    uint8_t *data = NULL;
    FB_TRY(climb(s, &l));
    while (l.n > 1u << bits)
        bits++;
    if (!fb_packed_bytes(s->n, bits, &bytes))
        return fb_fail(FB_E_LIMIT, "weight '%.200s' is too large", s->name);
    float *scale = fb_calloc(s->channels, sizeof *scale);
    data = fb_calloc(1, bytes);
    fb_status status = FB_OK;
    if (!scale || !data) {
        status = fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", s->name);
        goto fail;
    }
    FB_GO(write_scales(s, channel_scale, &l, scale));
    for (size_t i = 0; i < s->n; i++)
        fb_packed_put(data, i, bits, l.step[s->code[i]]);
    bool one = all_same(scale, s->channels);
    fb_encoding e = {.kind = FB_ENC_LEVELS,
                     .bits = (uint8_t)bits,
                     .is_signed = l.level_bits > 0,
                     .axis = one ? -1 : 0,
                     .n_scales = one ? 1 : (uint32_t)s->channels,
                     .scale = scale,
                     .n_levels = (uint16_t)l.n,
                     .level_bits = (uint8_t)l.level_bits,
                     .n_tables = 1,
                     .level = l.value};
    status = fb_model_set_payload(m, tensor, &e, data, bytes);
fail:
    fb_free(scale);
    fb_free(data);
    return status;
}
