/* Weights as indices of levels in training: levels are shared values that learn from the sum of the
 * gradients of all weights that take them (Han et al. 2016; METHODS B.2 freezes them instead). */
#include "train/quant_def.h"

#include <math.h>
#include <string.h>

enum { MOST = 256 };

typedef struct levels {
    float *zero;        /* [n_scales] that a table's numbers are taken less, 0 without */
    const float *first; /* [n_scales] of the encoding */
    uint8_t *code;      /* [n] level of each weight in the last forward pass */
    uint32_t *uses;     /* [n_tables][n_levels] of them */
    bool whole;         /* integer levels: they stay, and only scales learn */
} levels;

/* A table in ascending order. */
typedef struct sorted {
    uint32_t n;
    float level[MOST], middle[MOST];
    uint8_t at[MOST]; /* number of the i-th smallest in the table */
} sorted;

static uint32_t scale_at(const fb_quant *q, size_t channel)
{
    return q->as->enc.n_scales > 1 ? (uint32_t)channel : 0;
}

static size_t table_at(const fb_quant *q, size_t channel)
{
    return q->as->enc.n_tables > 1 ? channel * q->as->enc.n_levels : 0;
}

static sorted sort_table(const float *table, uint32_t n)
{
    sorted t = {.n = n};
    for (uint32_t i = 0; i < n; i++) { /* few, and nearly sorted already */
        uint32_t k = i;
        for (; k > 0 && t.level[k - 1] > table[i]; k--) {
            t.level[k] = t.level[k - 1];
            t.at[k] = t.at[k - 1];
        }
        t.level[k] = table[i];
        t.at[k] = (uint8_t)i;
    }
    for (uint32_t i = 0; i + 1 < n; i++)
        t.middle[i] = (t.level[i] + t.level[i + 1]) / 2;
    return t;
}

static uint8_t nearest(const sorted *t, float v)
{
    uint32_t lo = 0, hi = t->n - 1;
    while (lo < hi) {
        uint32_t half = (lo + hi) / 2;
        if (v <= t->middle[half])
            hi = half;
        else
            lo = half + 1;
    }
    return t->at[lo];
}

static float scale_of(const fb_quant *q, const float *scales, uint32_t at)
{
    const levels *k = q->self;
    return fb_quant_scale(scales[at], k->first[at]);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* Masters go as near to where they were as their cell lets them. */
static void place_masters(const fb_quant *q, float *w)
{
    const fb_encoding *e = &q->as->enc;
    const levels *k = q->self;
    for (size_t c = 0; c < q->channels; c++) {
        float s = e->scale[scale_at(q, c)], zero = k->zero[scale_at(q, c)];
        const float *table = e->level + table_at(q, c);
        for (size_t i = c * q->inner; i < (c + 1) * q->inner; i++) {
            uint32_t at = k->code[i];
            float below = at > 0 ? table[at] - table[at - 1] : INFINITY;
            float above = at + 1u < e->n_levels ? table[at + 1] - table[at] : INFINITY;
            float half = 0.49f * fminf(below, above);
            if (q->mask[i])
                w[i] = fb_quant_within(q->start[i], s, table[at] - zero, half);
        }
    }
}

static fb_status add_table(fb_quant *q, levels *k)
{
    const fb_encoding *e = &q->as->enc;
    size_t n = (size_t)e->n_tables * e->n_levels;
    FB_TRY(fb_quant_add(q, FB_QUANT_TABLE, "weight.levels", n, e->level));
    q->table_mask = fb_quant_room(q, n, 1);
    k->uses = fb_quant_room(q, n, sizeof *k->uses);
    if (!q->table_mask || !k->uses)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    for (size_t i = 0; i < n; i++)
        q->table_mask[i] = !k->whole && e->level[i] != 0;
    fb_quant_own(q, FB_QUANT_TABLE)->mask = q->table_mask;
    return FB_OK;
}

static fb_status create(fb_quant *q, float *w)
{
    const fb_encoding *e = &q->as->enc;
    levels *k = fb_quant_room(q, 1, sizeof *k);
    if (!k)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    q->self = k;
    k->first = e->scale;
    k->whole = e->level_bits > 0;
    k->code = fb_quant_room(q, q->n, 1);
    k->zero = fb_quant_room(q, e->n_scales, sizeof *k->zero);
    if (!k->code || !k->zero)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    for (uint32_t i = 0; e->zero && i < e->n_scales; i++)
        k->zero[i] = (float)e->zero[i];
    for (size_t i = 0; i < q->n; i++)
        k->code[i] = (uint8_t)fb_packed_get(q->as->data, i, e->bits, false);
    if (q->start)
        place_masters(q, w);
    FB_TRY(fb_quant_add_scales(q, e->n_scales));
    return add_table(q, k);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* A weight that is not to learn keeps its code. */
static void recode(const fb_quant *q, size_t c, float s, const float *table)
{
    const levels *k = q->self;
    const float *w = fb_quant_master(q)->w;
    const float zero = k->zero[scale_at(q, c)];
    const sorted t = sort_table(table, q->as->enc.n_levels);
    for (size_t i = c * q->inner; i < (c + 1) * q->inner; i++) {
        if (q->mask[i])
            k->code[i] = nearest(&t, w[i] / s + zero);
    }
}

static fb_status forward(fb_quant *q)
{
    const levels *k = q->self;
    const float *scales = fb_quant_own(q, FB_QUANT_SCALE)->w;
    const float *tables = fb_quant_own(q, FB_QUANT_TABLE)->w;
    memset(k->uses, 0, fb_quant_own(q, FB_QUANT_TABLE)->n * sizeof *k->uses);
    for (size_t c = 0; c < q->channels; c++) {
        const float *table = tables + table_at(q, c);
        uint32_t *uses = k->uses + table_at(q, c);
        float s = scale_of(q, scales, scale_at(q, c)), zero = k->zero[scale_at(q, c)];
        recode(q, c, s, table);
        for (size_t i = c * q->inner; i < (c + 1) * q->inner; i++) {
            q->value[i] = s * (table[k->code[i]] - zero);
            uses[k->code[i]]++;
        }
    }
    return FB_OK;
}

/* Gradients of one channel's levels and weights; returns that of its scale. */
static double channel_backward(const fb_quant *q, size_t c, float s, const float *table,
                               float *dtable)
{
    const levels *k = q->self;
    float *g = fb_quant_master(q)->g, zero = k->zero[scale_at(q, c)], lo = table[0], hi = table[0];
    const float *w = fb_quant_master(q)->w;
    double sum = 0;
    for (uint32_t i = 1; i < q->as->enc.n_levels; i++) {
        lo = table[i] < lo ? table[i] : lo;
        hi = table[i] > hi ? table[i] : hi;
    }
    for (size_t i = c * q->inner; i < (c + 1) * q->inner; i++) {
        float v = w[i] / s + zero;
        dtable[k->code[i]] += s * g[i];
        sum += (double)g[i] * (double)(table[k->code[i]] - zero);
        g[i] = v >= lo && v <= hi ? g[i] : 0;
    }
    return sum;
}

static void backward(fb_quant *q)
{
    const levels *k = q->self;
    const fb_encoding *e = &q->as->enc;
    fb_param *scale = fb_quant_own(q, FB_QUANT_SCALE), *table = fb_quant_own(q, FB_QUANT_TABLE);
    bool scales = q->options.learn && !e->pow2 && (k->whole || !q->options.norm);
    memset(scale->g, 0, scale->n * sizeof *scale->g);
    memset(table->g, 0, table->n * sizeof *table->g);
    for (size_t c = 0; c < q->channels; c++) {
        uint32_t at = scale_at(q, c);
        double sum = channel_backward(q, c, scale_of(q, scale->w, at), table->w + table_at(q, c),
                                      table->g + table_at(q, c));
        if (scales)
            scale->g[at] += (float)(sum / sqrt((double)q->n / e->n_scales) / (double)k->first[at]);
    }
    for (size_t i = 0; i < table->n; i++)
        table->g[i] =
            q->options.learn && k->uses[i] > 0 ? table->g[i] / sqrtf((float)k->uses[i]) : 0;
}

/* ---- the encoded tensor ---------------------------------------------------------------------- */

/* Ascending strictly, as a file wants it; those that met are moved apart by a bit. */
static void write_table(const sorted *t, float *to)
{
    for (uint32_t i = 0; i < t->n; i++)
        to[i] = i > 0 && !(t->level[i] > to[i - 1]) ? nextafterf(to[i - 1], INFINITY) : t->level[i];
}

static void write_codes(const fb_quant *q, const float *const *values, size_t c, const sorted *t,
                        uint8_t *data)
{
    const levels *k = q->self;
    const float *w = fb_quant_numbers(q, values, q->param);
    const float *scales = fb_quant_numbers(q, values, q->own[FB_QUANT_SCALE]);
    float s = scale_of(q, scales, scale_at(q, c)), zero = k->zero[scale_at(q, c)];
    uint8_t place[MOST] = {0};
    for (uint32_t i = 0; i < t->n; i++)
        place[t->at[i]] = (uint8_t)i;
    for (size_t i = c * q->inner; i < (c + 1) * q->inner; i++) {
        uint8_t code = q->mask[i] ? nearest(t, w[i] / s + zero) : k->code[i];
        fb_packed_put(data, i, q->as->enc.bits, place[code]);
    }
}

static void fill(const fb_quant *q, const float *const *values, const float *factor, fb_encoding *e,
                 uint8_t *data)
{
    const float *scales = fb_quant_numbers(q, values, q->own[FB_QUANT_SCALE]);
    const float *tables = fb_quant_numbers(q, values, q->own[FB_QUANT_TABLE]);
    for (size_t c = 0; c < q->channels; c++) {
        const sorted t = sort_table(tables + table_at(q, c), e->n_levels);
        write_table(&t, e->level + table_at(q, c));
        write_codes(q, values, c, &t, data);
    }
    for (uint32_t i = 0; i < e->n_scales; i++) {
        uint32_t from = q->as->enc.n_scales > 1 ? i : 0;
        float scale = scale_of(q, scales, from) * (factor ? factor[i] : 1);
        e->scale[i] = fb_quant_stored(scale, q->as->enc.scale[from]);
        if (e->zero)
            e->zero[i] = q->as->enc.zero[from];
    }
}

static fb_status store(const fb_quant *q, const float *const *values, const float *factor,
                       fb_model *m, int32_t tensor)
{
    const fb_encoding *old = &q->as->enc;
    fb_encoding e = *old;
    size_t bytes;
    e.sparse = FB_DENSE;
    if (factor) {
        e.axis = 0;
        e.n_scales = (uint32_t)q->channels;
    }
    FB_ENSURE(fb_packed_bytes(q->n, e.bits, &bytes));
    uint8_t *data = fb_calloc(1, bytes);
    e.scale = fb_calloc(e.n_scales, sizeof *e.scale);
    e.level = fb_calloc((size_t)e.n_tables * e.n_levels, sizeof *e.level);
    e.zero = old->zero ? fb_calloc(e.n_scales, sizeof *e.zero) : NULL;
    fb_status status = fb_fail(FB_E_MEMORY, "no memory for weight '%s'", q->as->name);
    if (data && e.scale && e.level && (e.zero || !old->zero)) {
        fill(q, values, factor, &e, data);
        status = fb_model_set_payload(m, tensor, &e, data, bytes);
    }
    fb_free(data);
    fb_free(e.scale);
    fb_free(e.level);
    fb_free(e.zero);
    return status;
}

const fb_quant_def fb_quant_levels_def = {create, forward, backward, store, NULL};
