/* Affine weights in training: learned step sizes (Esser et al. 2020, METHODS T.1). */
#include "numeric/requant.h"
#include "train/quant_def.h"

#include <math.h>
#include <string.h>

typedef struct run {
    size_t first, n; /* weights side by side of one scale */
    uint32_t at;     /* which */
} run;

typedef struct affine {
    run *runs;
    size_t n_runs;
    const float *first; /* [n_scales] of the encoding */
    size_t *of;         /* [n_scales] weights of each */
    double *sum;        /* [n_scales] of gradients */
    int32_t lo, hi;     /* codes in use */
    int16_t *code;      /* [n] less the zero point, where codes are fixed */
} affine;

static int32_t zero_of(const fb_encoding *e, uint32_t at)
{
    return e->zero ? e->zero[at] : 0;
}

static float scale_of(const affine *a, const float *scales, uint32_t at)
{
    return fb_quant_scale(scales[at], a->first[at]);
}

static fb_status find_runs(fb_quant *q, affine *a)
{
    size_t n_runs = 0;
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < q->n; i++) {
        uint32_t at = fb_affine_scale_index(q->as, i);
        n_runs += at != last;
        last = at;
    }
    a->runs = fb_quant_room(q, n_runs, sizeof *a->runs);
    a->of = fb_quant_room(q, q->as->enc.n_scales, sizeof *a->of);
    a->sum = fb_quant_room(q, q->as->enc.n_scales, sizeof *a->sum);
    if (!a->runs || !a->of || !a->sum)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    last = UINT32_MAX;
    for (size_t i = 0; i < q->n; i++) {
        uint32_t at = fb_affine_scale_index(q->as, i);
        if (at != last)
            a->runs[a->n_runs++] = (run){i, 0, at};
        a->runs[a->n_runs - 1].n++;
        a->of[at]++;
        last = at;
    }
    return FB_OK;
}

/* Symmetric codes leave the lowest one out unless the weight has it. */
static void find_limits(const fb_quant *q, affine *a)
{
    const fb_encoding *e = &q->as->enc;
    a->lo = fb_code_min(e->bits, e->is_signed);
    a->hi = fb_code_max(e->bits, e->is_signed);
    if (!e->is_signed || e->bits == 1)
        return;
    for (size_t i = 0; i < q->n; i++) {
        if (fb_packed_get(q->as->data, i, e->bits, true) == a->lo)
            return;
    }
    a->lo++;
}

static fb_status keep_codes(fb_quant *q, affine *a)
{
    const fb_encoding *e = &q->as->enc;
    a->code = fb_quant_room(q, q->n, sizeof *a->code);
    if (!a->code)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    for (size_t r = 0; r < a->n_runs; r++) {
        const run *u = &a->runs[r];
        for (size_t i = u->first; i < u->first + u->n; i++)
            a->code[i] =
                (int16_t)(fb_packed_get(q->as->data, i, e->bits, e->is_signed) - zero_of(e, u->at));
    }
    return FB_OK;
}

static void place_masters(const fb_quant *q, const affine *a, float *w)
{
    for (size_t r = 0; r < a->n_runs; r++) {
        const run *u = &a->runs[r];
        float s = a->first[u->at];
        for (size_t i = u->first; i < u->first + u->n; i++) {
            if (q->mask[i])
                w[i] = fb_quant_within(q->start[i], s, w[i] / s, 0.49f);
        }
    }
}

static fb_status create(fb_quant *q, float *w)
{
    const fb_encoding *e = &q->as->enc;
    affine *a = fb_quant_room(q, 1, sizeof *a);
    if (!a)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    q->self = a;
    a->first = e->scale;
    FB_TRY(find_runs(q, a));
    find_limits(q, a);
    if (q->options.codes == FB_CODES_FIXED)
        FB_TRY(keep_codes(q, a));
    if (q->start)
        place_masters(q, a, w);
    return fb_quant_add_scales(q, e->n_scales);
}

static fb_status forward(fb_quant *q)
{
    const affine *a = q->self;
    const float *w = fb_quant_master(q)->w, *scales = fb_quant_own(q, FB_QUANT_SCALE)->w;
    for (size_t r = 0; r < a->n_runs; r++) {
        const run *u = &a->runs[r];
        float s = scale_of(a, scales, u->at);
        int32_t zero = zero_of(&q->as->enc, u->at);
        for (size_t i = u->first; i < u->first + u->n; i++) {
            int32_t c = a->code ? a->code[i] : fb_code_of(w[i] / s, zero, a->lo, a->hi) - zero;
            q->value[i] = s * (float)c;
        }
    }
    return FB_OK;
}

/* The gradient of a run's scale; dw in place of dq. */
static double run_backward(const fb_quant *q, const affine *a, const run *u, float s, float *g)
{
    const float *w = fb_quant_master(q)->w;
    int32_t zero = zero_of(&q->as->enc, u->at);
    float lo = (float)(a->lo - zero), hi = (float)(a->hi - zero);
    double sum = 0;
    for (size_t i = u->first; i < u->first + u->n; i++) {
        float c = q->value[i] / s, v = w[i] / s;
        bool inside = !a->code && v >= lo && v <= hi;
        sum += (double)g[i] * (double)(inside ? c - v : c);
        g[i] = inside ? g[i] : 0;
    }
    return sum;
}

static void backward(fb_quant *q)
{
    const affine *a = q->self;
    const fb_encoding *e = &q->as->enc;
    fb_param *scale = fb_quant_own(q, FB_QUANT_SCALE);
    float *g = fb_quant_master(q)->g;
    memset(a->sum, 0, e->n_scales * sizeof *a->sum);
    for (size_t r = 0; r < a->n_runs; r++) {
        const run *u = &a->runs[r];
        a->sum[u->at] += run_backward(q, a, u, scale_of(a, scale->w, u->at), g);
    }
    for (uint32_t k = 0; k < e->n_scales; k++) {
        int32_t most = a->hi - zero_of(e, k);
        double over = sqrt((double)a->of[k] * (most > 1 ? most : 1));
        scale->g[k] =
            q->options.learn && !e->pow2 ? (float)(a->sum[k] / over / (double)a->first[k]) : 0;
    }
}

/* ---- the encoded tensor ---------------------------------------------------------------------- */

static fb_status write(const fb_quant *q, const float *const *values, const fb_encoding *e,
                       fb_model *m, int32_t tensor)
{
    const affine *a = q->self;
    const fb_encoding *old = &q->as->enc;
    const float *w = fb_quant_numbers(q, values, q->param);
    const float *scales = fb_quant_numbers(q, values, q->own[FB_QUANT_SCALE]);
    size_t bytes;
    FB_ENSURE(fb_packed_bytes(q->n, e->bits, &bytes));
    uint8_t *data = fb_calloc(1, bytes);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%s'", q->as->name);
    for (size_t r = 0; r < a->n_runs; r++) {
        const run *u = &a->runs[r];
        float s = scale_of(a, scales, u->at);
        int32_t zero = zero_of(old, u->at);
        for (size_t i = u->first; i < u->first + u->n; i++)
            fb_packed_put(data, i, e->bits,
                          a->code ? a->code[i] + zero : fb_code_of(w[i] / s, zero, a->lo, a->hi));
    }
    fb_status status = fb_model_set_payload(m, tensor, e, data, bytes);
    fb_free(data);
    return status;
}

static fb_status store(const fb_quant *q, const float *const *values, const float *factor,
                       fb_model *m, int32_t tensor)
{
    const affine *a = q->self;
    const float *scales = fb_quant_numbers(q, values, q->own[FB_QUANT_SCALE]);
    fb_encoding e = q->as->enc;
    bool spread = factor && e.axis < 0; /* one scale becomes one a channel */
    e.sparse = FB_DENSE;
    if (spread) {
        e.axis = 0;
        e.n_scales = (uint32_t)q->channels;
    }
    e.scale = fb_calloc(e.n_scales, sizeof *e.scale);
    e.zero = q->as->enc.zero ? fb_calloc(e.n_scales, sizeof *e.zero) : NULL;
    fb_status status = FB_OK;
    if (!e.scale || (q->as->enc.zero && !e.zero))
        status = fb_fail(FB_E_MEMORY, "no memory for weight '%s'", q->as->name);
    for (uint32_t k = 0; status == FB_OK && k < e.n_scales; k++) {
        uint32_t from = spread ? 0 : k, per = e.n_scales / (uint32_t)q->channels;
        float f = factor ? factor[k / (per ? per : 1)] : 1;
        e.scale[k] = fb_quant_stored(scale_of(a, scales, from) * f, a->first[from]);
        if (e.zero)
            e.zero[k] = q->as->enc.zero[from];
    }
    if (status == FB_OK)
        status = write(q, values, &e, m, tensor);
    fb_free(e.scale);
    fb_free(e.zero);
    return status;
}

const fb_quant_def fb_quant_affine_def = {create, forward, backward, store, NULL};
