/* What the loss of a compressed network hangs on: weights and outputs of layers are put back as the
 * float network has them, and the answers counted again. */
#include "measure/why_small.h"

#include <math.h>
#include <string.h>

/* --- copies ------------------------------------------------------------------------------------
 */

static bool same_shape(const fb_tensor *a, const fb_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

/* A constant input of node i as the twin has it. */
static fb_status put_constant(const fb_why_small *small, fb_model *m, size_t i, uint32_t in,
                              bool *changed)
{
    const fb_model *f = small->s->model;
    const fb_node *n = &m->nodes[i], *twin = &f->nodes[small->twin[i]];
    if (in >= n->n_in || in >= twin->n_in || n->in[in] < 0 || twin->in[in] < 0)
        return FB_OK;
    const fb_tensor *from = &f->tensors[twin->in[in]], *to = &m->tensors[n->in[in]];
    bool same = from->data_bytes == to->data_bytes && from->enc.kind == to->enc.kind &&
                from->is_const && to->is_const && memcmp(from->data, to->data, to->data_bytes) == 0;
    if (!from->is_const || !to->is_const || !same_shape(from, to) || same)
        return FB_OK;
    *changed = true;
    return fb_model_set_payload(m, n->in[in], &from->enc, from->data, from->data_bytes);
}

static bool has_weight(const fb_why_small *small, const fb_model *m, size_t i)
{
    return small->twin[i] >= 0 && fb_node_weight(m, &m->nodes[i]) >= 0;
}

static fb_status put_weight(const fb_why_small *small, fb_model *m, size_t i, bool *changed)
{
    const fb_node *n = &m->nodes[i];
    if (!has_weight(small, m, i) || m->tensors[n->in[1]].enc.kind == FB_ENC_PLAIN)
        return FB_OK;
    return put_constant(small, m, i, 1, changed);
}

/* The output as plain floats; kernels of integers then give way to those of floats around it. */
static fb_status put_output(fb_model *m, size_t i, bool *changed)
{
    static const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    fb_tensor *t = &m->tensors[m->nodes[i].out[0]];
    if (t->is_const || t->enc.kind == FB_ENC_PLAIN)
        return FB_OK;
    *changed = true;
    t->enc = plain;
    return FB_OK;
}

/* What r->what says, done to node i. */
static fb_status put_back(const fb_why_small *small, fb_model *m, const fb_repair *r, size_t i,
                          bool *changed, bool *bias)
{
    if (r->what & FB_REPAIR_WEIGHT)
        FB_TRY(put_weight(small, m, i, changed));
    if (r->what & FB_REPAIR_OUTPUT)
        FB_TRY(put_output(m, i, changed));
    if ((r->what & FB_REPAIR_BIAS) && has_weight(small, m, i))
        FB_TRY(put_constant(small, m, i, 2, bias));
    return FB_OK;
}

/* *changed: there is something to try, which with FB_REPAIR_BIAS means a bias that differs. */
static fb_status make(const fb_why_small *small, const fb_repair *r, fb_model **out, bool *changed)
{
    bool bias = false;
    *changed = false;
    FB_TRY(fb_model_clone(small->model, false, out));
    for (size_t i = 0; i < (*out)->n_nodes; i++) {
        if (r->node < 0 || (size_t)r->node == i)
            FB_TRY(put_back(small, *out, r, i, changed, &bias));
    }
    *changed = *changed && (bias || !(r->what & FB_REPAIR_BIAS));
    return fb_model_validate(*out);
}

static bool is_fatal(fb_status status)
{
    return status == FB_E_MEMORY || status == FB_E_INTERRUPTED || status == FB_E_IO ||
           status == FB_E_INTERNAL;
}

fb_status fb_why_repair(fb_why_small *small, fb_repair *r)
{
    fb_model *m = NULL;
    fb_trial t;
    bool changed;
    fb_status status = make(small, r, &m, &changed);
    r->done = status == FB_OK && changed;
    if (r->done) {
        status = fb_why_answers(small->s, m, "putting layers back", &t, NULL);
        r->done = status == FB_OK;
    }
    fb_model_close(&m);
    if (is_fatal(status))
        return status;
    for (uint64_t i = 0; r->done && i < t.n; i++) {
        bool was = small->trial.top[i] == small->s->best->top[i];
        bool is = t.top[i] == small->s->best->top[i];
        r->agree += is;
        r->won += is && !was;
        r->lost += was && !is;
    }
    return FB_OK;
}

/* --- blame -------------------------------------------------------------------------------------
 */

enum { MOST_LAYERS = 3, MOST = 4 + 4 * MOST_LAYERS };

typedef struct trials {
    fb_repair items[MOST];
    uint32_t n; /* that could be run */
} trials;

static fb_status try_one(fb_why_small *small, trials *t, unsigned what, int32_t node)
{
    fb_repair *r = &t->items[t->n];
    *r = (fb_repair){.what = what, .node = node};
    FB_TRY(fb_why_repair(small, r));
    t->n += r->done;
    return FB_OK;
}

/* With the biases as they are, and as the float network has them. */
static fb_status try_both(fb_why_small *small, trials *t, unsigned what, int32_t node)
{
    FB_TRY(try_one(small, t, what, node));
    return try_one(small, t, what | FB_REPAIR_BIAS, node);
}

/* The layers with the largest figures, each above `least`. */
static uint32_t largest(const double *figure, size_t n, double least, int32_t out[MOST_LAYERS])
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(figure[i] > least))
            continue;
        uint32_t at = count < MOST_LAYERS ? count : MOST_LAYERS;
        while (at > 0 && figure[i] > figure[out[at - 1]])
            at--;
        for (uint32_t k = MOST_LAYERS - 1; k > at; k--)
            out[k] = out[k - 1];
        if (at < MOST_LAYERS)
            out[at] = (int32_t)i;
        count += count < MOST_LAYERS;
    }
    return count;
}

static fb_status try_all(fb_why_small *small, trials *t)
{
    size_t nodes = small->model->n_nodes;
    int32_t worst[MOST_LAYERS] = {0};
    FB_TRY(try_both(small, t, FB_REPAIR_WEIGHT, -1));
    FB_TRY(try_both(small, t, FB_REPAIR_OUTPUT, -1));
    uint32_t n = largest(small->added, nodes, 0, worst);
    for (uint32_t i = 0; i < n; i++)
        FB_TRY(try_both(small, t, FB_REPAIR_WEIGHT, worst[i]));
    if (n > 0)
        FB_TRY(try_one(small, t, FB_REPAIR_OUTPUT, worst[0]));
    n = largest(small->high, nodes, 0.001, worst);
    for (uint32_t i = 0; i < n; i++)
        FB_TRY(try_one(small, t, FB_REPAIR_OUTPUT, worst[i]));
    return FB_OK;
}

/* Whether a repair helps by more than chance. */
static bool helps(const fb_repair *r, uint32_t tests)
{
    return fb_sign_test(r->won, r->lost, tests) < FB_WHY_SURE;
}

/* The repair of one layer (or of all, `layer` false) that brings most, among those of `what`. */
static const fb_repair *best_of(const trials *t, bool layer, unsigned what)
{
    const fb_repair *best = NULL;
    for (uint32_t i = 0; i < t->n; i++) {
        const fb_repair *r = &t->items[i];
        if ((r->node >= 0) == layer && (r->what & what) && (!best || r->agree > best->agree))
            best = r;
    }
    return best;
}

static fb_status say_layer(fb_why_small *small, const trials *t, const fb_repair *r)
{
    fb_why_state *s = small->s;
    const fb_node *n = &small->model->nodes[r->node];
    const char *name = fb_arena_string(s->memory, n->name);
    double was = fb_why_percent(small->agree, small->trial.n),
           is = fb_why_percent(r->agree, small->trial.n);
    double high = 100 * small->high[r->node], p = fb_sign_test(r->won, r->lost, t->n);
    bool weight = r->what & FB_REPAIR_WEIGHT, saturated = !weight && high > 2;
    const char *much = 2 * (is - was) >= 100 - was ? "most" : "a part";
    fb_why_say say = {
        .kind = saturated ? "saturated" : "one-layer",
        .hint = p >= FB_WHY_SURE,
        .points = is - was,
        .layer = name,
        .what = saturated
                    ? fb_why_text(s,
                                  "%s saturates: %.1f%% of its outputs are at the end of their "
                                  "range, and without a range the compressed network answers as "
                                  "the float one on %.1f%% of %llu images instead of %.1f%%",
                                  n->name, high, is, (unsigned long long)small->trial.n, was)
                    : fb_why_text(s,
                                  "one layer loses %s of it: with the %s of %s in float the "
                                  "compressed network answers as the float one on %.1f%% of %llu "
                                  "images instead of %.1f%% (by chance %s times)",
                                  much, weight ? "weights" : "outputs", n->name, is,
                                  (unsigned long long)small->trial.n, was, fb_why_odds(p)),
        .advice =
            saturated
                ? fb_why_text(s,
                              "choose its range from more images or by another rule (act=minmax)")
                : fb_why_text(s,
                              weight ? "give it more bits: 'exclude=%s' leaves it float, and a "
                                       "step before with 'include=%s' gives it a width of its own"
                                     : "give its outputs more bits or another range: 'exclude=%s' "
                                       "leaves it float, 'include=%s' before it is a step for it "
                                       "alone",
                              n->name, n->name),
        .n_numbers = 4,
        .numbers = {{"agreement", was}, {"best_agreement", is}, {"saturated", high}, {"p", p}}};
    return fb_why_find(s, &say);
}

/* "; with all weights in float on 98.0%", or nothing when that could not be run. */
static const char *show_side(fb_why_small *small, const char *name, const fb_repair *r)
{
    if (!r)
        return "";
    return fb_why_text(small->s, "; with all %s in float on %.1f%%", name,
                       fb_why_percent(r->agree, small->trial.n));
}

/* Layers whose outputs stick at the ends of their ranges. */
static const char *show_saturated(fb_why_small *small)
{
    size_t worst = 0;
    uint32_t n = 0;
    for (size_t i = 0; i < small->model->n_nodes; i++) {
        n += small->high[i] > 0.02;
        worst = small->high[i] > small->high[worst] ? i : worst;
    }
    if (n == 0)
        return "";
    return fb_why_text(small->s, "; %u layers saturate, most %s (%.1f%% of its outputs)", n,
                       small->model->nodes[worst].name, 100 * small->high[worst]);
}

static const char *advise_spread(bool weights, bool outputs)
{
    if (weights)
        return "give all weights more bits, a scale for each channel (per=channel), or a method "
               "that "
               "chooses their codes (gptq, adaround)";
    if (outputs)
        return "choose the ranges of activations by another rule (act=mse or act=minmax) or from "
               "more images, or give them more bits";
    return "give weights and activations more bits, or train the network in its encodings (fewbit "
           "tune)";
}

/* No layer alone is to blame; one of the two halves may be. */
static fb_status say_spread(fb_why_small *small, const trials *t)
{
    fb_why_state *s = small->s;
    const fb_repair *w = best_of(t, false, FB_REPAIR_WEIGHT);
    const fb_repair *o = best_of(t, false, FB_REPAIR_OUTPUT);
    uint64_t n = small->trial.n;
    bool weights = w && helps(w, t->n) && (!o || w->agree >= o->agree);
    bool outputs = o && helps(o, t->n) && !weights;
    const char *a = show_side(small, "weights", w), *b = show_side(small, "activations", o);
    const char *c = show_saturated(small);
    if (!a || !b || !c)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    fb_why_say say = {
        .kind = "spread",
        .points = 100 - fb_why_percent(small->agree, n),
        .what = fb_why_text(s,
                            "the compressed network answers as the float one on %.1f%% of %llu "
                            "images only, and no layer alone explains it%s%s%s",
                            fb_why_percent(small->agree, n), (unsigned long long)n, a, b, c),
        .advice = advise_spread(weights, outputs),
        .n_numbers = 3,
        .numbers = {{"agreement", fb_why_percent(small->agree, n)},
                    {"weights_agreement", w ? fb_why_percent(w->agree, n) : (double)NAN},
                    {"outputs_agreement", o ? fb_why_percent(o->agree, n) : (double)NAN}}};
    return fb_why_find(s, &say);
}

/* A layer explains the loss when it brings back half of it; a hint needs no proof, but must not be
 * explained by having tried many. */
static bool explains(const fb_why_small *small, const fb_repair *r)
{
    uint64_t lost = small->trial.n - small->agree;
    return r && r->agree > small->agree && 2 * (r->agree - small->agree) >= lost &&
           fb_sign_test(r->won, r->lost, 1) < FB_WHY_SURE;
}

fb_status fb_why_blame(fb_why_small *small)
{
    fb_why_state *s = small->s;
    trials t = {.n = 0};
    uint64_t n = small->trial.n;
    if (50 * (n - small->agree) < n) /* less than 2% are answered otherwise */
        return fb_why_look_at(s, "one layer",
                              "not looked for: the compressed network loses next to nothing");
    FB_TRY(try_all(small, &t));
    FB_TRY(fb_why_look_at(s, "one layer",
                          fb_why_text(s,
                                      "float weights, outputs and biases put back in %u ways, by "
                                      "layer and as a whole",
                                      t.n)));
    const fb_repair *best = best_of(&t, true, FB_REPAIR_WEIGHT | FB_REPAIR_OUTPUT);
    bool half = explains(small, best);
    if (half || (best && helps(best, t.n) && 10 * (best->agree - small->agree) >= n))
        FB_TRY(say_layer(small, &t, best));
    return !half && 10 * (n - small->agree) >= n ? say_spread(small, &t) : FB_OK;
}
