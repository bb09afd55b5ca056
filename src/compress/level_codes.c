/* From weights to tables, scales and indices. Tables are fitted in double; the indices are those of
 * the nearest values that a reader will decode. */
#include "compress/level_codes.h"

#include "base/alloc.h"
#include "compress/level_table.h"

#include <math.h>
#include <string.h>

/* ---- indices -------------------------------------------------------------------------------- */

/* Boundaries between the values of a table, which ascend: a weight belongs to the first value whose
 * upper boundary it does not exceed. */
typedef struct cells {
    uint32_t n;
    float upper[FB_FIT_MOST_LEVELS];
} cells;

static cells cells_of(const fb_level_work *k, size_t channel)
{
    const float *level = fb_level_table_of(k, channel);
    cells c = {.n = k->n_levels};
    for (uint32_t i = 0; i + 1 < k->n_levels; i++)
        c.upper[i] = (float)(((double)(k->scale[channel] * level[i]) +
                              (double)(k->scale[channel] * level[i + 1])) /
                             2);
    return c;
}

static int32_t nearest(const cells *c, float w)
{
    uint32_t lo = 0, hi = c->n - 1;
    while (lo < hi) {
        uint32_t middle = (lo + hi) / 2;
        if (w <= c->upper[middle])
            hi = middle;
        else
            lo = middle + 1;
    }
    return (int32_t)lo;
}

static void write_codes(const fb_level_work *k, uint8_t *data)
{
    for (size_t channel = 0; channel < k->channels; channel++) {
        cells c = cells_of(k, channel);
        if (k->threshold) { /* twn: its rule, not the nearest */
            c.upper[0] = nextafterf(-k->threshold[channel], -INFINITY);
            c.upper[1] = k->threshold[channel];
        }
        for (size_t i = channel * k->inner; i < (channel + 1) * k->inner; i++) {
            int32_t q = nearest(&c, k->w[i]);
            fb_packed_put(data, i, k->rule->bits, q);
        }
    }
}

static fb_status store(const fb_level_work *k, fb_model *m, int32_t tensor)
{
    size_t bytes;
    fb_encoding e = {.kind = FB_ENC_LEVELS,
                     .bits = (uint8_t)k->rule->bits,
                     .is_signed = k->level_bits > 0,
                     .axis = k->along ? 0 : -1,
                     .n_scales = (uint32_t)k->channels,
                     .scale = k->scale,
                     .n_levels = (uint16_t)k->n_levels,
                     .level_bits = (uint8_t)k->level_bits,
                     .n_tables = (uint32_t)k->n_tables,
                     .level = k->level,
                     .pow2 = k->rule->fit == FB_LEVELS_POW2 || k->rule->pow2};
    if (!fb_packed_bytes(k->n, e.bits, &bytes))
        return fb_fail(FB_E_LIMIT, "weight '%.200s' is too large", m->tensors[tensor].name);
    uint8_t *data = fb_calloc(1, bytes);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", m->tensors[tensor].name);
    write_codes(k, data);
    fb_status status = fb_model_set_payload(m, tensor, &e, data, bytes);
    fb_free(data);
    return status;
}

/* ---- a tensor ------------------------------------------------------------------------------- */

static bool pays_tables(const fb_level_rule *rule, size_t inner)
{
    size_t level_bytes = rule->level_bits == 0 ? 4 : rule->level_bits > 8 ? 2 : 1;
    return ((size_t)1 << rule->bits) * level_bytes <= inner * rule->bits / 8 / 4;
}

static fb_status read_weights(fb_level_work *k, const fb_tensor *t)
{
    int64_t n;
    FB_ENSURE(t->is_const && t->rank > 0 && fb_tensor_elems(t, 0, &n) && n > 0);
    k->n = (size_t)n;
    k->along = k->rule->per != FB_LEVELS_TENSOR;
    k->channels = k->along ? (size_t)t->dims[0] : 1;
    k->inner = k->n / k->channels;
    k->shared = k->rule->per == FB_LEVELS_SHARED ||
                (k->rule->per == FB_LEVELS_AUTO && !pays_tables(k->rule, k->inner));
    k->n_tables = k->shared ? 1 : k->channels;
    k->w = fb_calloc(k->n, sizeof *k->w);
    k->scale = fb_calloc(k->channels, sizeof *k->scale);
    if (!k->w || !k->scale)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
    FB_TRY(fb_tensor_decode(t, k->w));
    size_t zeros = 0;
    for (size_t i = 0; i < k->n; i++) {
        zeros += k->w[i] == 0;
        if (!isfinite(k->w[i]))
            return fb_fail(FB_E_FORMAT,
                           "weight '%.200s' has the value %g at %zu; weights must be finite",
                           t->name, (double)k->w[i], i);
    }
    k->with_zero = k->rule->zero == FB_LEVELS_ZERO_KEEP ||
                   (k->rule->zero == FB_LEVELS_ZERO_AUTO && zeros >= k->n >> k->rule->bits);
    return FB_OK;
}

fb_status fb_level_encode(fb_model *m, int32_t tensor, const fb_level_rule *rule,
                          const float *importance)
{
    fb_level_work k = {.rule = rule, .importance = importance};
    fb_status status;
    FB_GO(read_weights(&k, &m->tensors[tensor]));
    if (rule->fit >= FB_LEVELS_POW2)
        FB_GO(fb_level_fit_scales(&k));
    else if (k.shared)
        FB_GO(fb_level_fit_shared(&k));
    else
        FB_GO(fb_level_fit_tables(&k));
    FB_GO(store(&k, m, tensor));
fail:
    fb_free(k.w);
    fb_free(k.scale);
    fb_free(k.level);
    fb_free(k.threshold);
    return status;
}
