#include "format/predict.h"

#include "base/size.h"

#include <string.h>

/* ---- one position --------------------------------------------------------------------------- */

/* Twice the symbol of 0, or of the middle of all symbols where 0 has none of its own. */
static int middle_of(const fb_encoding *e)
{
    if (e->kind == FB_ENC_LEVELS)
        return e->n_levels - 1;
    return (1 << e->bits) - !e->is_signed;
}

bool fb_planes_of(const fb_tensor *t, fb_planes *g)
{
    int64_t positions = 1;
    if (t->rank < 3 || (t->enc.kind != FB_ENC_AFFINE && t->enc.kind != FB_ENC_LEVELS))
        return false;
    for (int32_t i = 1; i < t->rank - 1 && positions <= FB_PREDICT_POSITIONS; i++)
        positions *= t->dims[i]; /* a dim is 2^31 at most */
    *g = (fb_planes){.rows = (size_t)t->dims[0],
                     .positions = (size_t)positions,
                     .c = (size_t)t->dims[t->rank - 1],
                     .bits = t->enc.bits,
                     .middle = middle_of(&t->enc)};
    return positions >= 2 && positions <= FB_PREDICT_POSITIONS && t->enc.bits <= 8;
}

/* Sizes are sums in 128ths of a code, coarser by this. */
static unsigned coarse(const fb_planes *g)
{
    return g->bits > 2 ? g->bits - 2 : 0;
}

static size_t lags(size_t position)
{
    return position < FB_PREDICT_LAGS ? position : FB_PREDICT_LAGS;
}

fb_predict_row *fb_predict_row_create(const fb_planes *g, const fb_predict *p)
{
    size_t n = g->positions * g->c; /* of a tensor: it fits, and so do its symbols in memory */
    size_t values = fb_round_up(n * sizeof(int16_t), FB_ALIGN);
    size_t sums = fb_round_up(g->c * sizeof(int32_t), FB_ALIGN);
    size_t bytes = fb_round_up(g->c, FB_ALIGN),
           head = fb_round_up(sizeof(fb_predict_row), FB_ALIGN);
    uint8_t *block = fb_alloc(head + values + sums + 2 * bytes);
    if (!block)
        return NULL;
    fb_predict_row *r = (void *)block;
    r->value = (void *)(block + head);
    r->sum = (void *)(block + head + values);
    r->context = block + head + values + sums;
    r->shift = r->context + bytes;
    for (unsigned size = 0, k = 0; size < FB_PREDICT_SIZES; size++) {
        while (k + 1 < p->contexts && size >= p->limit[k])
            k++;
        r->of_size[size] = (uint8_t)k;
    }
    return r;
}

static inline unsigned size_of(int32_t sum, unsigned coarser)
{
    uint32_t size = (uint32_t)(sum < 0 ? -sum : sum) >> coarser;
    return size < FB_PREDICT_SIZES ? size : FB_PREDICT_SIZES - 1;
}

void fb_predict_look(const fb_planes *g, const fb_predict *p, size_t position, fb_predict_row *row)
{
    const size_t c = g->c, n = lags(position);
    const unsigned coarser = coarse(g);
    int32_t *restrict sum = row->sum;
    memset(sum, 0, c * sizeof *sum);
    for (size_t j = 0; j < n; j++) {
        const int16_t *restrict v = row->value + (position - 1 - j) * c;
        const int16_t w = p->coef[position * FB_PREDICT_LAGS + j];
        for (size_t i = 0; i < c; i++)
            sum[i] += w * v[i];
    }
    for (size_t i = 0; i < c; i++) {
        row->context[i] = row->of_size[size_of(sum[i], coarser)];
        row->shift[i] = (uint8_t)((uint32_t)(sum[i] + 64) >> 7 & 255u); /* modulo 2^bits anyway */
    }
}

static void keep(const fb_planes *g, size_t position, fb_predict_row *row, const uint8_t *symbols)
{
    const int middle = g->middle;
    int16_t *restrict v = row->value + position * g->c;
    for (size_t i = 0; i < g->c; i++)
        v[i] = (int16_t)(2 * symbols[i] - middle);
}

void fb_predict_hide(const fb_planes *g, size_t position, fb_predict_row *row,
                     const uint8_t *symbols, uint8_t *coded)
{
    const unsigned mask = (1u << g->bits) - 1;
    keep(g, position, row, symbols);
    for (size_t i = 0; i < g->c; i++)
        coded[i] = (uint8_t)((unsigned)(symbols[i] - row->shift[i]) & mask);
}

void fb_predict_show(const fb_planes *g, size_t position, fb_predict_row *row, const uint8_t *coded,
                     uint8_t *symbols)
{
    const unsigned mask = (1u << g->bits) - 1;
    for (size_t i = 0; i < g->c; i++)
        symbols[i] = (uint8_t)((unsigned)(coded[i] + row->shift[i]) & mask);
    keep(g, position, row, symbols);
}

/* ---- the description ------------------------------------------------------------------------ */

void fb_predict_put(fb_out *out, const fb_planes *g, const fb_predict *p)
{
    fb_out_u8(out, p->contexts);
    fb_out_bytes(out, p->limit, p->contexts - 1);
    for (size_t at = 1; at < g->positions; at++)
        fb_out_bytes(out, p->coef + at * FB_PREDICT_LAGS, lags(at));
}

fb_status fb_predict_get(fb_in *in, const fb_planes *g, fb_predict *p)
{
    p->contexts = fb_in_u8(in);
    if (in->status == FB_OK && (p->contexts < 1 || p->contexts > FB_RANS_CONTEXTS))
        return fb_in_broken(in, "a prediction has %u contexts, must have 1 to %d", p->contexts,
                            (int)FB_RANS_CONTEXTS);
    for (unsigned k = 0; k + 1 < p->contexts; k++) {
        p->limit[k] = (uint8_t)fb_in_u8(in);
        if (k > 0 && p->limit[k] < p->limit[k - 1])
            return fb_in_broken(in, "limit %u of a prediction is %u, below the one before", k,
                                p->limit[k]);
    }
    FB_TRY(in->status);
    p->coef = fb_calloc(g->positions * FB_PREDICT_LAGS, 1);
    if (!p->coef)
        return fb_fail(FB_E_MEMORY, "no memory to decode the weights");
    for (size_t at = 1; at < g->positions; at++) {
        const uint8_t *coef = fb_in_bytes(in, lags(at));
        if (!coef)
            return in->status;
        memcpy(p->coef + at * FB_PREDICT_LAGS, coef, lags(at));
    }
    return FB_OK;
}
