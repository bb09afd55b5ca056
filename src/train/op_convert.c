/* convert: an activation as its encoding would have it, straight through (METHODS T.1, T.2).
 *
 *   affine   y = s (q - z), q = clamp(rne(x / s) + z): what the integer kernels leave in memory
 *            (numeric/requant.h). dx = dy where q was not clamped, else 0. A learned s gets
 *            LSQ's gradient (Esser et al. 2020): sum dy (rne(x / s) - x / s) inside, dy (lo - z) or
 *            dy (hi - z) where clamped, over sqrt(n (hi - z)), n the numbers of a batch. With an
 *            unsigned grid behind a ReLU, learning s is learning PACT's bound.
 *   levels   y = the nearest level; dx = dy between the outermost ones
 *   plain    y = x */
#include "numeric/requant.h"
#include "train/quant_def.h"

#include <math.h>
#include <string.h>

enum { SCALE = 0, LANES = 16, RUN = 4096 };

typedef struct convert {
    const fb_encoding *e;
    float lo, hi;  /* codes less the zero point */
    float first;   /* the scale that the learned one is a multiple of (quant_def.h) */
    float *level;  /* levels: [n_levels] values, ascending */
    float *middle; /* [n_levels - 1] between them */
} convert;

static float scale_of(const fb_net *net, const fb_layer *l)
{
    const convert *k = l->self;
    return fb_quant_scale(fb_layer_param(net, l, SCALE)->w[0], k->first);
}

static fb_status make_levels(fb_net *net, convert *k)
{
    const fb_encoding *e = k->e;
    k->level = fb_arena_array(net->arena, e->n_levels, sizeof *k->level);
    k->middle = fb_arena_array(net->arena, e->n_levels, sizeof *k->middle);
    if (!k->level || !k->middle)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    float zero = e->zero ? (float)e->zero[0] : 0;
    for (uint32_t i = 0; i < e->n_levels; i++)
        k->level[i] = e->scale[0] * (e->level[i] - zero);
    for (uint32_t i = 0; i + 1 < e->n_levels; i++)
        k->middle[i] = (k->level[i] + k->level[i + 1]) / 2;
    return FB_OK;
}

static fb_status create(fb_net *net, fb_layer *l)
{
    convert *k = fb_arena_array(net->arena, 1, sizeof *k);
    if (!k)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    k->e = &net->model->tensors[l->node->out[0]].enc;
    l->self = k;
    if (k->e->kind == FB_ENC_LEVELS)
        return make_levels(net, k);
    if (k->e->kind != FB_ENC_AFFINE)
        return FB_OK;
    float zero = k->e->zero ? (float)k->e->zero[0] : 0;
    k->lo = (float)fb_code_min(k->e->bits, k->e->is_signed) - zero;
    k->hi = (float)fb_code_max(k->e->bits, k->e->is_signed) - zero;
    k->first = k->e->scale[0];
    FB_TRY(fb_layer_own(net, l, "scale", 1, SCALE, net->learn && net->learn[l->node->out[0]]));
    fb_layer_param(net, l, SCALE)->w[0] = 1;
    return FB_OK;
}

/* ---- affine ---------------------------------------------------------------------------------- */

/* Nearest integer, ties to even, of |v| < 2^22: lrintf in a form that vectorises. */
static inline float nearest(float v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

static inline float clamped(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

static void affine_forward(const convert *k, float s, size_t n, const float *x, float *y)
{
    const float inverse = 1 / s, lo = k->lo, hi = k->hi;
    for (size_t i = 0; i < n; i++)
        y[i] = s * nearest(clamped(x[i] * inverse, lo, hi));
}

/* One run of lanes: the sums of the scale's gradient, and dx. */
static inline void lanes_backward(const convert *k, float inverse, const float *x, const float *dy,
                                  float *sum, float *dx)
{
    const float lo = k->lo, hi = k->hi;
    for (int j = 0; j < LANES; j++) {
        float v = x[j] * inverse, c = clamped(v, lo, hi);
        float inside = v == c ? 1.0f : 0.0f;
        sum[j] += dy[j] * (nearest(c) - inside * c);
        dx[j] = inside * dy[j];
    }
}

/* dx may be NULL. Returns the sum of the scale's gradient; sums of a run in floats, of runs in
 * doubles. */
static double affine_backward(const convert *k, float s, size_t n, const float *x, const float *dy,
                              float *dx)
{
    const float inverse = 1 / s;
    double total = 0;
    for (size_t from = 0; from < n; from += RUN) {
        size_t to = from + RUN < n ? from + RUN : n, i = from;
        float sum[LANES] = {0}, unused[LANES];
        for (; i + LANES <= to; i += LANES)
            lanes_backward(k, inverse, x + i, dy + i, sum, dx ? dx + i : unused);
        if (i < to) { /* the last few, padded with what adds nothing */
            float rest[3][LANES] = {{0}};
            memcpy(rest[0], x + i, (to - i) * sizeof *x);
            memcpy(rest[1], dy + i, (to - i) * sizeof *dy);
            lanes_backward(k, inverse, rest[0], rest[1], sum, rest[2]);
            if (dx)
                memcpy(dx + i, rest[2], (to - i) * sizeof *dx);
        }
        for (int j = 0; j < LANES; j++)
            total += (double)sum[j];
    }
    return total;
}

/* ---- levels ---------------------------------------------------------------------------------- */

static void levels_forward(const convert *k, size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t lo = 0, hi = k->e->n_levels - 1u;
        while (lo < hi) {
            uint32_t half = (lo + hi) / 2;
            if (x[i] <= k->middle[half])
                hi = half;
            else
                lo = half + 1;
        }
        y[i] = k->level[lo];
    }
}

static void levels_backward(const convert *k, size_t n, const float *x, const float *dy, float *dx)
{
    float lo = k->level[0], hi = k->level[k->e->n_levels - 1u];
    for (size_t i = 0; i < n; i++)
        dx[i] = x[i] >= lo && x[i] <= hi ? dy[i] : 0;
}

/* ---- the layer ------------------------------------------------------------------------------- */

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const convert *k = l->self;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    (void)mode;
    if (k->e->kind == FB_ENC_AFFINE)
        affine_forward(k, scale_of(net, l), x->n, x->x, y->x);
    else if (k->e->kind == FB_ENC_LEVELS)
        levels_forward(k, x->n, x->x, y->x);
    else
        memcpy(y->x, x->x, x->n * sizeof *x->x);
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const convert *k = l->self;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    const fb_param *scale = fb_layer_param(net, l, SCALE);
    if (k->e->kind == FB_ENC_AFFINE) {
        double g = affine_backward(k, scale_of(net, l), x->n, x->x, y->g, dx[0]);
        double uses = (double)x->n * fb_net_ranks(net), most = (double)(k->hi > 1 ? k->hi : 1);
        if (scale->g)
            scale->g[0] = (float)(g / sqrt(uses * most) / (double)k->first);
    } else if (dx[0] && k->e->kind == FB_ENC_LEVELS) {
        levels_backward(k, x->n, x->x, y->g, dx[0]);
    } else if (dx[0]) {
        memcpy(dx[0], y->g, y->n * sizeof *y->g);
    }
    return FB_OK;
}

const fb_layer_def fb_train_convert = {FB_KEEP_X, create, forward, backward, NULL};
