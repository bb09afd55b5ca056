/* Cross-layer equalisation (METHODS M.5, Nagel 2019): between two layers with nothing but
 * positively homogeneous, channel-wise operators between them, channel i of the first is divided by
 * s_i and the weights of the second that read it are multiplied by s_i,
 *
 *     s_i = sqrt(r1_i * r2_i) / r2_i,
 *
 * r1_i, r2_i the largest magnitudes of the first layer's row i and the second layer's column i.
 * Both become sqrt(r1_i * r2_i); the network computes the same. Pairs are swept until nothing
 * moves.
 *
 * A clip with an upper bound (ReLU6) is not homogeneous: such pairs are left alone. So are sums:
 * all that reads or writes one would have to share one s. */
#include "base/status.h"
#include "compress/method.h"
#include "compress/region.h"

#include <math.h>

enum { MAX_SWEEPS = 20 };

/* A pair of layers and the number of channels between them. */
typedef struct pair {
    size_t first, second; /* nodes */
    uint32_t channels;
} pair;

typedef struct finder {
    const fb_model *m;
    int32_t *producer;
    uint32_t *n_uses;
    int32_t *reader; /* [n_tensors] a node that reads it */
} finder;

/* --- finding pairs --------------------------------------------------------------------------- */

static bool homogeneous_act(const fb_act *act)
{
    return !act->clamp || (act->lo == 0 && isinf(act->hi));
}

/* f(s x) = s f(x) for s > 0, each channel (last axis) by itself. */
static bool passes(const fb_model *m, const fb_node *n)
{
    int32_t last = m->tensors[n->in[0]].rank - 1;
    switch (n->op) {
    case FB_OP_UNARY:
        return n->attr.unary.kind == FB_UNARY_RELU || n->attr.unary.kind == FB_UNARY_LEAKY_RELU;
    case FB_OP_MAX_POOL:
        return n->n_out < 2 || n->out[1] < 0;
    case FB_OP_AVG_POOL:
        return true;
    case FB_OP_REDUCE:
        return n->attr.reduce.kind != FB_REDUCE_SUM && !(n->attr.reduce.axes >> last & 1);
    case FB_OP_PAD:
        return n->attr.pad.mode != FB_PAD_CONSTANT ||
               (n->attr.pad.value == 0 && n->attr.pad.before[last] == 0 &&
                n->attr.pad.after[last] == 0);
    case FB_OP_RESHAPE: {
        /* [n][1][1][c] or [n][h][w][c] to [n][h w c]: element k is of channel k mod c */
        const fb_tensor *x = &m->tensors[n->in[0]], *y = &m->tensors[n->out[0]];
        return y->rank >= 1 && x->rank >= 1 && y->dims[y->rank - 1] > 0 &&
               x->dims[x->rank - 1] > 0 && y->dims[y->rank - 1] % x->dims[x->rank - 1] == 0;
    }
    default:
        return false;
    }
}

static bool private_weight(const finder *f, const fb_node *n)
{
    int32_t w = fb_node_weight(f->m, n), b = n->n_in > 2 ? n->in[2] : -1;
    return w >= 0 && f->m->tensors[w].enc.kind == FB_ENC_PLAIN && f->n_uses[w] == 1 &&
           (b < 0 || (f->m->tensors[b].is_const && f->m->tensors[b].enc.kind == FB_ENC_PLAIN &&
                      f->n_uses[b] == 1));
}

static const fb_act *act_of(const fb_node *n)
{
    return n->op == FB_OP_CONV ? &n->attr.conv.act : &n->attr.dense.act;
}

/* Follows the only reader of each tensor from layer `i` to the next layer. */
static bool find_second(const finder *f, size_t i, pair *p)
{
    const fb_model *m = f->m;
    const fb_node *n = &m->nodes[i];
    if (!fb_node_is_layer(m, n) || !private_weight(f, n) || !homogeneous_act(act_of(n)))
        return false;
    int32_t t = n->out[0];
    p->first = i;
    p->channels = (uint32_t)m->tensors[t].dims[m->tensors[t].rank - 1];
    for (;;) {
        if (f->n_uses[t] != 1 || f->reader[t] < 0)
            return false;
        const fb_node *next = &m->nodes[f->reader[t]];
        if (next->in[0] != t)
            return false;
        if (fb_node_is_layer(m, next)) {
            p->second = (size_t)f->reader[t];
            return private_weight(f, next);
        }
        if (!passes(m, next))
            return false;
        t = next->out[0];
    }
}

/* --- one pair -------------------------------------------------------------------------------- */

typedef struct layer {
    float *w; /* [oc][taps][icg] */
    float *b; /* [oc] or NULL */
    size_t oc, taps, icg;
    size_t groups;
} layer;

static layer layer_of(const fb_model *m, const fb_node *n)
{
    const fb_tensor *w = &m->tensors[fb_node_weight(m, n)];
    layer l = {.w = (float *)(uintptr_t)w->data,
               .oc = (size_t)w->dims[0],
               .taps = 1,
               .icg = (size_t)w->dims[w->rank - 1],
               .groups = 1};
    if (n->op == FB_OP_CONV) {
        l.taps = (size_t)(w->dims[1] * w->dims[2]);
        l.groups = (size_t)n->attr.conv.groups;
    }
    if (n->n_in > 2 && n->in[2] >= 0)
        l.b = (float *)(uintptr_t)m->tensors[n->in[2]].data;
    return l;
}

/* Channel of the tensor between the layers that weight index `i` of `l` reads. */
static size_t input_channel(const layer *l, size_t i, size_t channels)
{
    size_t o = i / (l->taps * l->icg), group = o / (l->oc / l->groups);
    return (group * l->icg + i % l->icg) % channels;
}

static void ranges(const layer *a, const layer *b, size_t channels, float *r1, float *r2)
{
    size_t per = a->taps * a->icg;
    for (size_t c = 0; c < channels; c++)
        r1[c] = r2[c] = 0;
    for (size_t i = 0; i < a->oc * per; i++)
        r1[i / per] = fmaxf(r1[i / per], fabsf(a->w[i]));
    for (size_t i = 0; i < b->oc * b->taps * b->icg; i++) {
        size_t c = input_channel(b, i, channels);
        r2[c] = fmaxf(r2[c], fabsf(b->w[i]));
    }
}

/* Returns the largest |s - 1|. `s` and `r` have room for the channels. */
static float balance(const layer *a, const layer *b, size_t channels, float *s, float *r)
{
    float most = 0;
    size_t per = a->taps * a->icg;
    ranges(a, b, channels, s, r);
    for (size_t c = 0; c < channels; c++) {
        float both = sqrtf(s[c] * r[c]);
        s[c] = both > 0x1p-60f && isfinite(both) ? both / r[c] : 1;
        most = fmaxf(most, fabsf(s[c] - 1));
    }
    for (size_t i = 0; i < a->oc * per; i++)
        a->w[i] /= s[i / per];
    for (size_t c = 0; c < channels && a->b; c++)
        a->b[c] /= s[c];
    for (size_t i = 0; i < b->oc * b->taps * b->icg; i++)
        b->w[i] *= s[input_channel(b, i, channels)];
    return most;
}

static fb_status sweep(const fb_job *job, const pair *pairs, size_t n_pairs)
{
    uint32_t most = 1;
    for (size_t i = 0; i < n_pairs; i++)
        most = pairs[i].channels > most ? pairs[i].channels : most;
    float *s = fb_calloc(2 * (size_t)most, sizeof *s);
    if (!s)
        return fb_fail(FB_E_MEMORY, "no memory to equalise %u channels", most);
    fb_status status = FB_OK;
    float moved = 1;
    for (uint64_t k = 0; k < MAX_SWEEPS && moved > 1e-4f; k++) {
        moved = 0;
        FB_GO(fb_job_report(job, "equalize", k, MAX_SWEEPS));
        for (size_t i = 0; i < n_pairs; i++) {
            layer a = layer_of(job->model, &job->model->nodes[pairs[i].first]);
            layer b = layer_of(job->model, &job->model->nodes[pairs[i].second]);
            moved = fmaxf(moved, balance(&a, &b, pairs[i].channels, s, s + most));
        }
    }
fail:
    fb_free(s);
    return status;
}

/* --- the method ------------------------------------------------------------------------------ */

/* An f32 payload of the model's own, that may be written. */
static fb_status make_own(fb_model *m, int32_t t)
{
    int64_t n;
    FB_ENSURE(fb_tensor_elems(&m->tensors[t], 0, &n));
    float *data = fb_arena_array(m->arena, (size_t)n, sizeof *data);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", m->tensors[t].name);
    FB_TRY(fb_tensor_decode(&m->tensors[t], data));
    m->tensors[t].dtype = FB_F32;
    m->tensors[t].data = data;
    m->tensors[t].data_bytes = (size_t)n * sizeof *data;
    return FB_OK;
}

static fb_status own_layers(fb_model *m, const pair *pairs, size_t n_pairs)
{
    for (size_t i = 0; i < n_pairs; i++) {
        for (int k = 0; k < 2; k++) {
            const fb_node *n = &m->nodes[k ? pairs[i].second : pairs[i].first];
            FB_TRY(make_own(m, n->in[1]));
            if (n->n_in > 2 && n->in[2] >= 0)
                FB_TRY(make_own(m, n->in[2]));
        }
    }
    return FB_OK;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    fb_model *m = job->model;
    (void)step;
    finder f = {.m = m,
                .producer = fb_calloc(m->n_tensors + 1, sizeof *f.producer),
                .n_uses = fb_calloc(m->n_tensors + 1, sizeof *f.n_uses),
                .reader = fb_calloc(m->n_tensors + 1, sizeof *f.reader)};
    pair *pairs = fb_calloc(m->n_nodes + 1, sizeof *pairs);
    size_t n_pairs = 0;
    fb_status status = FB_OK;
    if (!f.producer || !f.n_uses || !f.reader || !pairs) {
        status = fb_fail(FB_E_MEMORY, "no memory for the model");
        goto fail;
    }
    fb_model_uses(m, f.producer, f.n_uses);
    for (size_t t = 0; t < m->n_tensors; t++)
        f.reader[t] = -1;
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] >= 0)
                f.reader[m->nodes[i].in[k]] = (int32_t)i;
        }
    }
    for (size_t i = 0; i < m->n_nodes; i++)
        n_pairs += find_second(&f, i, &pairs[n_pairs]);
    FB_GO(own_layers(m, pairs, n_pairs));
    FB_GO(sweep(job, pairs, n_pairs));
    FB_GO(fb_job_renew_reference(job));
fail:
    fb_free(f.producer);
    fb_free(f.n_uses);
    fb_free(f.reader);
    fb_free(pairs);
    return status;
}

const fb_method_def fb_method_equalize = {
    .name = "equalize",
    .summary = "evens out the channel ranges of consecutive layers without changing the network",
    .needs_data = false,
    .apply = apply,
};
