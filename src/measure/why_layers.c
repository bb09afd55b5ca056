/* Channels that never change, and values that are no numbers. */
#include "measure/why.h"

#include "model/model.h"

#include <math.h>

/* A layer with weights; what it gives is looked at behind the activation function that follows. */
typedef struct layer {
    uint32_t node, channels;
    float *least, *most; /* [channels] */
    uint64_t infinite;
} layer;

typedef struct layers {
    const fb_model *model;
    layer *items;
    uint32_t n;
    int32_t *of; /* [n_tensors] layer whose output the tensor is, or -1 */
} layers;

static void release(layers *l)
{
    for (uint32_t i = 0; l->items && i < l->n; i++) {
        fb_free(l->items[i].least);
        fb_free(l->items[i].most);
    }
    fb_free(l->items);
    fb_free(l->of);
}

/* The output moves on to an activation function that alone reads it. */
static void follow(layers *l, const fb_node *n, const uint32_t *uses)
{
    int32_t from = n->in[0];
    if (n->op != FB_OP_UNARY || from < 0 || l->of[from] < 0 || uses[from] != 1)
        return;
    l->of[n->out[0]] = l->of[from];
    l->of[from] = -1;
}

static fb_status add_layer(layers *l, uint32_t node)
{
    const fb_tensor *out = &l->model->tensors[l->model->nodes[node].out[0]];
    layer *item = &l->items[l->n++];
    *item = (layer){.node = node, .channels = (uint32_t)out->dims[out->rank - 1]};
    item->least = fb_calloc(item->channels, sizeof *item->least);
    item->most = fb_calloc(item->channels, sizeof *item->most);
    if (!item->least || !item->most)
        return fb_fail(FB_E_MEMORY, "no memory for %u channels", item->channels);
    for (uint32_t c = 0; c < item->channels; c++) {
        item->least[c] = INFINITY;
        item->most[c] = -INFINITY;
    }
    return FB_OK;
}

static fb_status find_layers(layers *l, const uint32_t *uses)
{
    const fb_model *m = l->model;
    for (size_t i = 0; i < m->n_tensors; i++)
        l->of[i] = -1;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (fb_node_weight(m, n) >= 0 && m->tensors[n->out[0]].rank >= 2) {
            l->of[n->out[0]] = (int32_t)l->n;
            FB_TRY(add_layer(l, (uint32_t)i));
        } else {
            follow(l, n, uses);
        }
    }
    return FB_OK;
}

static fb_status prepare(layers *l)
{
    uint32_t *uses = fb_calloc(l->model->n_tensors + 1, sizeof *uses);
    l->items = fb_calloc(l->model->n_nodes + 1, sizeof *l->items);
    l->of = fb_calloc(l->model->n_tensors + 1, sizeof *l->of);
    fb_status status = FB_OK;
    if (!uses || !l->items || !l->of)
        status = fb_fail(FB_E_MEMORY, "no memory to look at %zu layers", l->model->n_nodes);
    if (status == FB_OK) {
        fb_model_uses(l->model, NULL, uses);
        status = find_layers(l, uses);
    }
    fb_free(uses);
    return status;
}

static fb_status see(void *user, const fb_why_seen *seen)
{
    layers *l = user;
    if (l->of[seen->tensor] < 0)
        return FB_OK;
    layer *item = &l->items[l->of[seen->tensor]];
    for (size_t i = 0; i < seen->n; i += item->channels) {
        const float *x = seen->x + i;
        for (uint32_t c = 0; c < item->channels; c++) {
            item->least[c] = x[c] < item->least[c] ? x[c] : item->least[c];
            item->most[c] = x[c] > item->most[c] ? x[c] : item->most[c];
        }
    }
    for (size_t i = 0; i < seen->n; i++)
        item->infinite += isfinite(seen->x[i]) ? 0 : 1;
    return FB_OK;
}

/* --- the report ------------------------------------------------------------------------------- */

typedef struct sums {
    uint32_t dead, zero, channels, layers; /* layers: with dead channels */
    double weights, dead_weights;
    const fb_why_layer *worst;    /* largest share of dead channels */
    const fb_why_layer *infinite; /* first with values that are not finite */
} sums;

static void fill(const layers *l, const layer *item, fb_why_layer *out)
{
    const fb_node *n = &l->model->nodes[item->node];
    int64_t params = 0;
    float peak = 0;
    (void)fb_tensor_elems(&l->model->tensors[n->in[1]], 1, &params);
    *out = (fb_why_layer){.name = n->name,
                          .op = fb_op_get(n->op)->name,
                          .channels = item->channels,
                          .params = (uint64_t)params,
                          .infinite = item->infinite};
    for (uint32_t c = 0; c < item->channels; c++) {
        peak = fmaxf(peak, fabsf(item->least[c]));
        peak = fmaxf(peak, fabsf(item->most[c]));
    }
    for (uint32_t c = 0; c < item->channels; c++) {
        bool dead = item->most[c] - item->least[c] <= 1e-6f * peak;
        out->dead += dead;
        out->zero += dead && item->most[c] == 0 && item->least[c] == 0;
    }
}

static void add(sums *t, const fb_why_layer *l)
{
    t->channels += l->channels;
    t->dead += l->dead;
    t->zero += l->zero;
    t->layers += l->dead > 0;
    t->weights += (double)l->params;
    t->dead_weights += (double)l->params * l->dead / l->channels;
    if (l->dead && (!t->worst || (uint64_t)l->dead * t->worst->channels >
                                     (uint64_t)t->worst->dead * l->channels))
        t->worst = l;
    if (l->infinite && !t->infinite)
        t->infinite = l;
}

static fb_status say_infinite(fb_why_state *s, const fb_why_layer *l)
{
    fb_why_say say = {
        .kind = "not-finite",
        .points = (double)NAN,
        .layer = l->name,
        .what =
            fb_why_text(s,
                        "%s is the first layer that gives values which are no numbers: %llu "
                        "infinities or NaNs over %llu images",
                        l->name, (unsigned long long)l->infinite, (unsigned long long)s->best->n),
        .advice = "look at the weights of that layer, and at the scale of the preprocessing",
        .n_numbers = 1,
        .numbers = {{"values", (double)l->infinite}}};
    return fb_why_find(s, &say);
}

static fb_status say_blind(fb_why_state *s, const fb_why_layer *l)
{
    fb_why_say say = {
        .kind = "dead",
        .points = (double)NAN,
        .layer = l->name,
        .what = fb_why_text(s,
                            "%s gives the same for every image: all its %u channels stay "
                            "constant over %llu images, so that what follows it sees nothing",
                            l->name, l->channels, (unsigned long long)s->best->n),
        .advice = "look at its weights and biases, and at those of the layers before it: the "
                  "training has diverged, or the file is damaged",
        .n_numbers = 2,
        .numbers = {{"dead", l->dead}, {"channels", l->channels}}};
    return fb_why_find(s, &say);
}

/* A few dead channels are common and cost bytes alone. */
static fb_status say_dead(fb_why_state *s, const sums *t)
{
    double share = 100 * t->dead_weights / t->weights;
    bool many = share >= 10;
    fb_why_say say = {
        .kind = "dead",
        .hint = !many,
        .points = (double)NAN,
        .layer = t->worst->name,
        .what = fb_why_text(s,
                            "%u of %u output channels never change over %llu images (%u of them "
                            "are always 0), in %u layers, most in %s (%u of %u); their filters "
                            "are %.1f%% of the weights",
                            t->dead, t->channels, (unsigned long long)s->best->n, t->zero,
                            t->layers, t->worst->name, t->worst->dead, t->worst->channels, share),
        .advice = many ? "train again with a lower rate or another start: these channels have died "
                         "and only cost bytes"
                       : "nothing has to be done: they cost bytes and time, not accuracy",
        .n_numbers = 4,
        .numbers = {{"dead", t->dead},
                    {"zero", t->zero},
                    {"channels", t->channels},
                    {"weights_percent", share}}};
    return fb_why_find(s, &say);
}

static fb_status report(fb_why_state *s, const layers *l)
{
    fb_why_report *r = s->report;
    sums t = {0};
    r->layers = fb_arena_array(s->memory, l->n + (size_t)1, sizeof *r->layers);
    if (!r->layers)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    for (uint32_t i = 0; i < l->n; i++) {
        fill(l, &l->items[i], &r->layers[r->n_layers]);
        add(&t, &r->layers[r->n_layers++]);
    }
    if (t.infinite)
        FB_TRY(say_infinite(s, t.infinite));
    else if (t.worst && t.worst->dead == t.worst->channels && t.worst->channels > 1)
        FB_TRY(say_blind(s, t.worst));
    else if (t.worst)
        FB_TRY(say_dead(s, &t));
    return fb_why_look_at(
        s, "channels",
        fb_why_text(s, "%u layers with weights, %u channels, of which %u stay constant", l->n,
                    t.channels, t.dead));
}

fb_status fb_why_layers(fb_why_state *s)
{
    layers l = {.model = s->model};
    fb_status status = prepare(&l);
    if (status == FB_OK)
        status = fb_why_watch(s, s->model, "looking at layers", s->best->limit, see, &l);
    if (status == FB_OK)
        status = report(s, &l);
    release(&l);
    return status;
}
