#include "compress/fixed.h"

#include "base/status.h"
#include "compress/stage.h"
#include "compress/weights.h"
#include "model/fixed.h"
#include "numeric/requant.h"

enum { MOST_FRACTION = 56 }; /* what fb_tensor_is_fixed allows, less what a search may add */

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the formats of the layers");
}

static int32_t clamp_fraction(int32_t f)
{
    return f < -MOST_FRACTION ? -MOST_FRACTION : f > MOST_FRACTION ? MOST_FRACTION : f;
}

/* --- what the data say ----------------------------------------------------------------------- */

static void find_askers(const fb_model *m, fb_fixed_net *net)
{
    const fb_region *r = &net->region;
    bool changed = true;
    for (size_t t = 0; t < m->n_tensors; t++)
        net->asks[t] = -1;
    for (uint32_t k = 0; k < net->n_layers; k++) {
        int32_t leader = r->leader[m->nodes[net->layers[k].node].in[0]];
        net->asks[leader] = leader;
    }
    while (changed) {
        changed = false;
        for (size_t i = m->n_nodes; i-- > 0;) {
            const fb_node *n = &m->nodes[i];
            int32_t by = n->out[0] >= 0 && r->encoded[n->out[0]] && fb_node_is_carrier(m, n)
                             ? net->asks[r->leader[n->out[0]]]
                             : -1;
            for (uint32_t k = 0; by >= 0 && k < n->n_in; k++) {
                int32_t t = n->in[k];
                if (t < 0 || !r->encoded[t] || net->asks[r->leader[t]] >= 0)
                    continue;
                net->asks[r->leader[t]] = by;
                changed = true;
            }
        }
    }
    for (uint32_t e = 0; e < r->n_encoded; e++)
        net->asks[net->tensors[e]] = net->asks[r->leader[net->tensors[e]]];
}

static fb_status find_layers(const fb_model *m, fb_fixed_net *net)
{
    net->layers = fb_calloc(net->region.n_integer + 1, sizeof *net->layers);
    net->tensors = fb_calloc(net->region.n_encoded + 1, sizeof *net->tensors);
    net->asks = fb_calloc(m->n_tensors + 1, sizeof *net->asks);
    net->stats = fb_calloc(net->region.n_encoded + 1, sizeof *net->stats);
    if (!net->layers || !net->tensors || !net->asks || !net->stats)
        return no_memory();
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (!net->region.integer[i])
            continue;
        const fb_tensor *w = &m->tensors[fb_node_weight(m, n)];
        int64_t elems;
        FB_ENSURE(fb_tensor_elems(w, 0, &elems));
        net->layers[net->n_layers++] = (fb_fixed_layer){
            .node = (uint32_t)i,
            .terms = (uint64_t)(elems / w->dims[0]) + (n->n_in > 2 && n->in[2] >= 0 ? 1 : 0),
            .most_sum = 1};
    }
    uint32_t n = 0;
    for (size_t t = 0; t < m->n_tensors; t++) {
        if (net->region.encoded[t])
            net->tensors[n++] = (int32_t)t;
    }
    find_askers(m, net);
    return FB_OK;
}

/* Tensors to watch: the encoded ones, then sums that are none of those. */
typedef struct watched {
    fb_model *model;
    int32_t *tensors;
    fb_stats *stats;
    uint32_t *of_layer; /* [n_layers] where the layer's sums are */
    uint32_t n;
} watched;

static uint32_t find_watched(const watched *w, int32_t tensor)
{
    uint32_t k = 0;
    while (k < w->n && w->tensors[k] != tensor)
        k++;
    return k;
}

/* The sums of a layer exist before its activation function, so that is split off. */
static fb_status list_watched(const fb_job *job, const fb_fixed_net *net, watched *w)
{
    uint32_t n_enc = net->region.n_encoded, most = n_enc + net->n_layers;
    w->stats = fb_calloc(most, sizeof *w->stats);
    w->tensors = fb_calloc(most, sizeof *w->tensors);
    w->of_layer = fb_calloc(net->n_layers, sizeof *w->of_layer);
    if (!w->stats || !w->tensors || !w->of_layer)
        return no_memory();
    FB_TRY(fb_model_clone(job->model, false, &w->model));
    for (; w->n < n_enc; w->n++)
        w->tensors[w->n] = net->tensors[w->n];
    for (uint32_t k = net->n_layers; k-- > 0;) { /* backwards: a split moves the nodes behind it */
        int32_t sums;
        FB_TRY(fb_node_split_act(w->model, net->layers[k].node, &sums));
        w->of_layer[k] = find_watched(w, sums);
        if (w->of_layer[k] == w->n)
            w->tensors[w->n++] = sums;
    }
    for (uint32_t k = 0; k < w->n; k++)
        FB_TRY(fb_stats_init(&w->stats[k]));
    return FB_OK;
}

static fb_status run_data(const fb_job *job, fb_fixed_net *net)
{
    watched w = {0};
    fb_samples samples = {0};
    fb_status status;
    FB_GO(list_watched(job, net, &w));
    FB_GO(fb_samples_open(job->model, job->data, 0, &samples));
    fb_source source = fb_samples_source(&samples);
    fb_watch_options o = fb_job_watch(job, "calibrate");
    FB_GO(fb_watch_stats(w.model, &source, w.tensors, w.n, &o, w.stats));
    for (uint32_t k = 0; k < net->n_layers; k++) {
        const fb_stats *s = &w.stats[w.of_layer[k]];
        net->layers[k].most_sum = (double)fmaxf(fabsf(s->min), fabsf(s->max));
    }
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        net->stats[k] = w.stats[k];
        w.stats[k] = (fb_stats){0};
    }
fail:
    for (uint32_t k = 0; w.stats && k < w.n; k++)
        fb_stats_free(&w.stats[k]);
    fb_samples_close(&samples);
    fb_model_close(&w.model);
    fb_free(w.tensors);
    fb_free(w.stats);
    fb_free(w.of_layer);
    return status;
}

static fb_status refuse(const fb_model *m, const fb_fixed_net *net)
{
    if (net->n_layers == 0)
        return fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant weights is there to "
                                         "quantise");
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        const fb_tensor *t = &m->tensors[net->tensors[k]];
        if (t->enc.kind != FB_ENC_PLAIN)
            return fb_fail(FB_E_ARG,
                           "tensor '%.200s' is encoded already; fixed point starts from float "
                           "activations",
                           t->name);
    }
    for (uint32_t k = 0; k < net->n_layers; k++) {
        const fb_node *n = &m->nodes[net->layers[k].node];
        const fb_tensor *w = &m->tensors[fb_node_weight(m, n)];
        if (w->enc.kind != FB_ENC_PLAIN && !fb_tensor_is_fixed(w))
            return fb_fail(FB_E_ARG,
                           "layer '%.200s': its weight was encoded by an earlier step, with scales "
                           "that are no powers of two or with zero points",
                           n->name);
        if (n->n_in > 2 && n->in[2] >= 0 && !m->tensors[n->in[2]].is_const)
            return fb_fail(FB_E_UNSUPPORTED, "layer '%.200s': its bias is not constant", n->name);
    }
    return FB_OK;
}

fb_status fb_fixed_measure(const fb_job *job, const char *include, const char *exclude,
                           fb_fixed_net *net)
{
    *net = (fb_fixed_net){.invented = job->dry_run};
    fb_status status;
    FB_TRY(fb_region_find(job->model, include, exclude, &net->region));
    FB_GO(find_layers(job->model, net));
    FB_GO(refuse(job->model, net));
    for (uint32_t k = 0; job->dry_run && k < net->region.n_encoded; k++) {
        FB_GO(fb_stats_init(&net->stats[k]));
        FB_GO(fb_stats_invent(&net->stats[k], k, net->region.positive[net->tensors[k]]));
    }
    if (!job->dry_run)
        FB_GO(run_data(job, net));
    return FB_OK;
fail:
    fb_fixed_free(net);
    return status;
}

void fb_fixed_free(fb_fixed_net *net)
{
    for (uint32_t k = 0; net->stats && k < net->region.n_encoded; k++)
        fb_stats_free(&net->stats[k]);
    fb_free(net->layers);
    fb_free(net->tensors);
    fb_free(net->asks);
    fb_free(net->stats);
    fb_region_free(&net->region);
    *net = (fb_fixed_net){0};
}

/* --- activations ----------------------------------------------------------------------------- */

typedef struct work {
    const fb_fixed_net *net;
    const fb_fixed_rule *rule;
    const fb_fixed_width *width;
    fb_model *m;
    fb_code_choice *choice; /* [n_tensors] */
    int32_t *fraction;      /* [n_tensors] of activations */
} work;

static void spread_bits(work *w)
{
    const fb_fixed_net *net = w->net;
    for (uint32_t k = 0; k < net->n_layers; k++) {
        int32_t x = w->m->nodes[net->layers[k].node].in[0];
        fb_code_choice *c = &w->choice[net->region.leader[x]];
        c->bits = w->width[k].d_bits > c->bits ? w->width[k].d_bits : c->bits;
    }
    for (uint32_t e = 0; e < net->region.n_encoded; e++) {
        int32_t t = net->tensors[e];
        if (net->region.leader[t] != t || net->asks[t] != t)
            w->choice[t].bits = w->choice[net->asks[t]].bits;
    }
}

/* Squared error over the histogram when values are rounded to 2^-f and kept within [lo, hi] 2^-f.
 * A step finer than the bins is told by its own mean error. */
static double error_of(const fb_stats *s, int32_t f, double lo, double hi)
{
    double step = ldexp(1, -f), width = (double)s->hist.width, total = 0;
    for (int32_t j = 0; j < FB_HIST_BINS; j++) {
        if (s->hist.bins[j] == 0)
            continue;
        double v = (j - FB_HIST_SIDE + 0.5) * width / step;
        double code = v < lo ? lo : v > hi ? hi : rint(v);
        bool fine = v >= lo && v <= hi && step < 2 * width;
        total += (double)s->hist.bins[j] * (fine ? 1.0 / 12 : (v - code) * (v - code));
    }
    return total * step * step;
}

/* Of a tensor and those that share with it. */
static int32_t choose_fraction(const work *w, int32_t leader, unsigned bits, bool is_signed)
{
    const fb_fixed_net *net = w->net;
    double most = 0;
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        const fb_stats *s = &net->stats[k];
        if (net->region.leader[net->tensors[k]] == leader)
            most = fmax(most, (double)fmaxf(fabsf(s->min), fabsf(s->max)));
    }
    int32_t widest = fb_fraction_for(most, bits, is_signed), best = widest;
    double least = INFINITY;
    for (int32_t f = widest; w->rule->least_error && f <= widest + 3; f++) {
        double error = 0;
        for (uint32_t k = 0; k < net->region.n_encoded; k++) {
            if (net->region.leader[net->tensors[k]] == leader)
                error += error_of(&net->stats[k], f, fb_code_min(bits, is_signed),
                                  fb_code_max(bits, is_signed));
        }
        if (error < least) {
            least = error;
            best = f;
        }
    }
    return clamp_fraction(best - w->rule->headroom);
}

/* Of the activations that have bits. */
static void choose_activations(work *w)
{
    const fb_fixed_net *net = w->net;
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        int32_t t = net->tensors[k];
        fb_code_choice *c = &w->choice[net->region.leader[t]];
        c->is_signed |= !(w->rule->positive && net->region.positive[t]);
    }
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        int32_t t = net->tensors[k], leader = net->region.leader[t];
        fb_code_choice *c = &w->choice[t];
        if (c->bits == 0)
            continue;
        c->is_signed = w->choice[leader].is_signed;
        c->pow2 = true;
        w->fraction[t] = choose_fraction(w, leader, c->bits, c->is_signed);
        c->scale = ldexpf(1, -w->fraction[t]);
    }
}

/* --- weights and accumulators ---------------------------------------------------------------- */

/* Fraction bits that the accumulator leaves to the weights. */
static int32_t most_fraction(const work *w, uint32_t k, int32_t acc_bits, int32_t fx)
{
    return acc_bits - 1 - fb_integer_bits(w->net->layers[k].most_sum) - w->rule->headroom - fx;
}

static double largest(const float *v, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, (double)fabsf(v[i]));
    return most;
}

/* Scales by the formula, or as the least error left them. */
static void set_scales(const work *w, fb_weight_codes *c, unsigned bits, int32_t limit)
{
    for (size_t b = 0; b < c->n_blocks; b++) {
        int32_t f = 0;
        double most = largest(c->w + b * c->inner, c->inner);
        if (!w->rule->least_error && most > 0)
            c->scale[b] = ldexpf(1, -fb_fraction_for(most, bits, true));
        (void)fb_fraction_bits(c->scale[b], &f);
        f = clamp_fraction(f < limit ? f : limit);
        c->scale[b] = ldexpf(1, -f);
    }
}

/* The weights of layer k with at most `limit` fraction bits. */
static fb_status encode_within(const work *w, uint32_t k, unsigned bits, int32_t limit)
{
    int32_t weight = fb_node_weight(w->m, &w->m->nodes[w->net->layers[k].node]);
    fb_weight_rule rule = {.bits = bits,
                           .per_channel = w->rule->per_channel,
                           .range = w->rule->least_error ? FB_WEIGHT_MSE : FB_WEIGHT_MINMAX,
                           .pow2 = true};
    fb_weight_codes codes = {0};
    FB_TRY(fb_weight_codes_init(&codes, &w->m->tensors[weight], &rule));
    set_scales(w, &codes, bits, limit);
    fb_status status = fb_weight_codes_store(&codes, w->m, weight);
    fb_weight_codes_free(&codes);
    return status;
}

static fb_status encode_weight(const work *w, uint32_t k, int32_t acc_bits, int32_t fx)
{
    const fb_fixed_layer *layer = &w->net->layers[k];
    const fb_code_choice *x = &w->choice[w->m->nodes[layer->node].in[0]];
    unsigned bits = w->width[k].w_bits;
    int32_t limit = MOST_FRACTION;
    if (w->rule->fit_sums && fb_acc_bound(bits, x->bits, x->is_signed, layer->terms) > acc_bits) {
        if (w->net->invented)
            return fb_fail(FB_E_ARG,
                           "how coarse its weights must be for an accumulator of %d bits depends "
                           "on the data; a dry run cannot tell (sums=keep can)",
                           (int)acc_bits);
        limit = most_fraction(w, k, acc_bits, fx);
    }
    return encode_within(w, k, bits, limit);
}

/* The finest of the layer's accumulators. */
static int32_t acc_fraction(const work *w, uint32_t k, int32_t fx)
{
    const fb_encoding *e =
        &w->m->tensors[fb_node_weight(w->m, &w->m->nodes[w->net->layers[k].node])].enc;
    int32_t most = -MOST_FRACTION, f = 0;
    for (uint32_t i = 0; i < e->n_scales; i++) {
        (void)fb_fraction_bits(e->scale[i], &f);
        most = f > most ? f : most;
    }
    return most + fx;
}

static fb_status assign_layer(work *w, uint32_t k)
{
    const fb_fixed_layer *layer = &w->net->layers[k];
    fb_node *n = &w->m->nodes[layer->node];
    const fb_code_choice *x = &w->choice[n->in[0]];
    int32_t weight = fb_node_weight(w->m, n), fx = w->fraction[n->in[0]];
    int32_t wanted = (int32_t)w->width[k].acc_bits, acc_bits = wanted;
    if (wanted == FB_ACC_DATA && w->net->invented)
        return fb_fail(FB_E_ARG,
                       "acc=data depends on the data, and so does the size of the file; a "
                       "dry run cannot tell");
    if (wanted == FB_ACC_BOUND || wanted == FB_ACC_DATA)
        acc_bits = FB_ACC_MOST;
    if (w->m->tensors[weight].enc.kind == FB_ENC_PLAIN)
        FB_TRY(encode_weight(w, k, acc_bits, fx));
    const fb_encoding *e = &w->m->tensors[weight].enc;
    if (wanted == FB_ACC_BOUND)
        acc_bits = fb_acc_bound(e->kind == FB_ENC_LEVELS ? e->level_bits : e->bits, x->bits,
                                x->is_signed, layer->terms);
    else if (wanted == FB_ACC_DATA)
        acc_bits = 1 + w->rule->headroom +
                   fb_integer_bits(layer->most_sum * ldexp(1, acc_fraction(w, k, fx)) + 1);
    acc_bits = acc_bits < FB_ACC_LEAST ? FB_ACC_LEAST : acc_bits;
    acc_bits = acc_bits > FB_ACC_MOST ? FB_ACC_MOST : acc_bits;
    fb_fixed *law = n->op == FB_OP_DENSE ? &n->attr.dense.fixed : &n->attr.conv.fixed;
    *law = (fb_fixed){.acc_bits = acc_bits,
                      .overflow = (int32_t)w->rule->overflow,
                      .rounding = (int32_t)w->rule->rounding};
    return FB_OK;
}

static fb_status work_open(const fb_fixed_net *net, const fb_fixed_rule *rule, fb_model *m, work *w)
{
    *w = (work){.net = net, .rule = rule, .m = m};
    w->choice = fb_calloc(m->n_tensors + 1, sizeof *w->choice);
    w->fraction = fb_calloc(m->n_tensors + 1, sizeof *w->fraction);
    return w->choice && w->fraction ? FB_OK : no_memory();
}

static void work_close(work *w)
{
    fb_free(w->choice);
    fb_free(w->fraction);
}

fb_status fb_fixed_assign(const fb_fixed_net *net, const fb_fixed_rule *rule,
                          const fb_fixed_width *width, fb_model *m)
{
    work w;
    fb_status status;
    FB_GO(work_open(net, rule, m, &w));
    w.width = width;
    spread_bits(&w);
    choose_activations(&w);
    for (uint32_t k = 0; k < net->n_layers; k++) {
        status = assign_layer(&w, k);
        if (status != FB_OK) {
            status = fb_fail_in(status, "layer '%.200s'", m->nodes[net->layers[k].node].name);
            goto fail;
        }
    }
    status = fb_region_encode(m, &net->region, w.choice);
fail:
    work_close(&w);
    return status;
}

fb_status fb_fixed_assign_weight(const fb_fixed_net *net, const fb_fixed_rule *rule, uint32_t layer,
                                 unsigned bits, fb_model *m)
{
    const work w = {.net = net, .rule = rule, .m = m};
    int32_t weight = fb_node_weight(m, &m->nodes[net->layers[layer].node]);
    if (m->tensors[weight].enc.kind != FB_ENC_PLAIN)
        return FB_OK;
    return encode_within(&w, layer, bits, MOST_FRACTION);
}

fb_status fb_fixed_assign_data(const fb_fixed_net *net, const fb_fixed_rule *rule, int32_t leader,
                               unsigned bits, fb_model *m)
{
    work w;
    fb_status status;
    FB_GO(work_open(net, rule, m, &w));
    for (uint32_t k = 0; k < net->region.n_encoded; k++) {
        int32_t t = net->tensors[k];
        w.choice[t].bits = net->asks[t] == leader ? bits : 0;
    }
    choose_activations(&w);
    status = fb_region_encode(m, &net->region, w.choice);
fail:
    work_close(&w);
    return status;
}
