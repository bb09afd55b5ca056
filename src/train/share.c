/* Which weights freeze at a step: the layers are fitted, clusters are measured, some are taken. */
#include "train/share.h"

#include "base/alloc.h"
#include "train/share_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Free weights that are nearest to a level. */
typedef struct cluster {
    size_t n;
    double error; /* squared, in units of the channels' scales */
    bool taken;
} cluster;

/* A layer at a step. */
typedef struct work {
    fb_share *s;
    fb_share_cells cells;
    cluster at[FB_SHARE_LEVELS]; /* by place */
    double squares;              /* of all weights */
} work;

/* What may be taken, in the order in which it is. */
typedef struct offer {
    double key; /* largest first */
    size_t n;   /* weights */
    uint32_t layer, place;
} offer;

size_t fb_share_n_free(const fb_share *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->mask[i];
    return n;
}

static float in_units(const fb_share *s, size_t i, size_t channel)
{
    return s->w[i] / s->scale[channel];
}

static void freeze(fb_share *s, size_t i, size_t channel, uint8_t place)
{
    s->w[i] = s->scale[channel] * s->table.value[place];
    s->code[i] = place;
    s->mask[i] = 0;
}

/* ---- start ---------------------------------------------------------------------------------- */

static void start(fb_share *s, const fb_share_rule *rule)
{
    size_t zeros = 0;
    memset(s->mask, 1, s->n);
    memset(s->code, 0, s->n);
    for (size_t i = 0; i < s->n; i++)
        zeros += s->w[i] == 0;
    bool hold = fb_share_holds(zeros, s->n, rule);
    s->table = fb_share_first_table(rule, hold);
    if (zeros == s->n)
        s->table.state[0] = FB_SHARE_FROZEN;
    for (size_t i = 0; hold && i < s->n; i++) {
        if (s->w[i] == 0)
            freeze(s, i, i / (s->n / s->channels), 0);
    }
    s->table.n_held = hold ? zeros : 0;
}

/* ---- clusters ------------------------------------------------------------------------------- */

static fb_status gather(const fb_share *s, float *x, size_t *n)
{
    const size_t inner = s->n / s->channels;
    *n = 0;
    for (size_t c = 0; c < s->channels; c++) {
        for (size_t i = c * inner; i < (c + 1) * inner; i++) {
            if (!s->mask[i])
                continue;
            x[*n] = in_units(s, i, c);
            if (!isfinite(x[*n]))
                return fb_fail(FB_E_LIMIT,
                               "layer '%.200s': weight %zu is %g with the scale %g; only finite "
                               "weights can share values",
                               s->name, i, (double)s->w[i], (double)s->scale[c]);
            (*n)++;
        }
    }
    return FB_OK;
}

static fb_status fit(fb_share *s, const fb_share_rule *rule, uint32_t step)
{
    size_t n;
    float *x = fb_alloc(s->n * sizeof *x);
    if (!x)
        return fb_fail(FB_E_MEMORY, "no memory for %zu weights of layer '%.200s'", s->n, s->name);
    fb_status status = gather(s, x, &n);
    if (status == FB_OK && n > 0)
        status = fb_share_place(&s->table, rule, step == 0, x, n);
    fb_free(x);
    return status;
}

static void measure(work *k)
{
    const fb_share *s = k->s;
    const size_t inner = s->n / s->channels;
    fb_share_cells_of(&s->table, &k->cells);
    for (size_t c = 0; c < s->channels; c++) {
        for (size_t i = c * inner; i < (c + 1) * inner; i++) {
            float x = in_units(s, i, c);
            k->squares += (double)x * (double)x;
            if (!s->mask[i])
                continue;
            uint8_t place = fb_share_nearest(&k->cells, x);
            double d = (double)x - (double)s->table.value[place];
            k->at[place].n++;
            k->at[place].error += d * d;
        }
    }
}

/* ---- which clusters ------------------------------------------------------------------------- */

static int largest_first(const void *a, const void *b)
{
    const offer *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static bool is_open(const work *k, uint32_t place)
{
    return k->s->table.state[place] == FB_SHARE_FREE && k->at[place].n > 0;
}

/* Free weights go where frozen levels are nearest, in any case. */
static void take_frozen(work *k)
{
    for (uint32_t i = 0; i < k->s->table.n; i++)
        k->at[i].taken = k->s->table.state[i] == FB_SHARE_FROZEN;
}

static void take_all(work *k)
{
    for (uint32_t i = 0; i < k->s->table.n; i++)
        k->at[i].taken = true;
}

/* In one layer: the share counts clusters. */
static void take_clusters(work *k, const fb_share_rule *rule, double share)
{
    const fb_share_table *t = &k->s->table;
    offer offers[FB_SHARE_LEVELS];
    uint32_t n = 0, frozen = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        frozen += t->state[i] == FB_SHARE_FROZEN;
        if (!is_open(k, i))
            continue;
        double key = rule->order == FB_SHARE_BY_LOSS ? k->at[i].error : fabs((double)t->value[i]);
        offers[n++] = (offer){.key = key, .place = i};
    }
    qsort(offers, n, sizeof *offers, largest_first);
    double want = rint(share * (frozen + n));
    for (uint32_t i = 0; i < n && frozen + i < want; i++)
        k->at[offers[i].place].taken = true;
}

/* In the network: layers or their clusters. */
static uint32_t list_offers(const work *works, size_t n_layers, const fb_share_rule *rule,
                            offer *offers)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < n_layers; l++) {
        const work *k = &works[l];
        offer whole = {.layer = l};
        for (uint32_t i = 0; i < k->s->table.n; i++) {
            if (!is_open(k, i))
                continue;
            double key = k->squares > 0 ? k->at[i].error / k->squares : 0;
            if (rule->order == FB_SHARE_BY_NET_CLUSTERS)
                offers[n++] = (offer){key, k->at[i].n, l, i};
            whole.key += key;
            whole.n += k->at[i].n;
        }
        if (rule->order == FB_SHARE_BY_LAYER && whole.n > 0)
            offers[n++] = whole;
    }
    qsort(offers, n, sizeof *offers, largest_first);
    return n;
}

/* The share counts weights, without those that were 0 from the start. */
static void take_in_order(work *works, size_t n_layers, const fb_share_rule *rule, double share,
                          const offer *offers, uint32_t n_offers)
{
    double all = 0, frozen = 0;
    for (size_t l = 0; l < n_layers; l++) {
        const fb_share *s = works[l].s;
        double free = (double)fb_share_n_free(s);
        all += (double)s->n - (double)s->table.n_held;
        frozen += (double)s->n - (double)s->table.n_held - free;
        for (uint32_t i = 0; i < s->table.n; i++)
            frozen += works[l].at[i].taken ? (double)works[l].at[i].n : 0;
    }
    for (uint32_t i = 0; i < n_offers && frozen < share * all; i++) {
        work *k = &works[offers[i].layer];
        frozen += (double)offers[i].n;
        if (rule->order == FB_SHARE_BY_LAYER)
            take_all(k);
        else
            k->at[offers[i].place].taken = true;
    }
}

static fb_status take_in_net(work *works, size_t n_layers, const fb_share_rule *rule, double share)
{
    offer *offers = fb_calloc(n_layers * FB_SHARE_LEVELS, sizeof *offers);
    if (!offers)
        return fb_fail(FB_E_MEMORY, "no memory for the clusters of %zu layers", n_layers);
    uint32_t n = list_offers(works, n_layers, rule, offers);
    take_in_order(works, n_layers, rule, share, offers, n);
    fb_free(offers);
    return FB_OK;
}

static void freeze_taken(work *k, bool last)
{
    fb_share *s = k->s;
    const size_t inner = s->n / s->channels;
    for (size_t i = 0; i < s->n; i++) {
        if (!s->mask[i])
            continue;
        uint8_t place = fb_share_nearest(&k->cells, in_units(s, i, i / inner));
        if (k->at[place].taken)
            freeze(s, i, i / inner, place);
    }
    for (uint32_t i = 0; i < s->table.n; i++) {
        uint8_t *state = &s->table.state[i];
        bool holds = i == 0 && s->table.n_held > 0;
        if (*state == FB_SHARE_FREE && ((k->at[i].taken && k->at[i].n > 0) || (last && holds)))
            *state = FB_SHARE_FROZEN;
        else if (*state == FB_SHARE_FREE && last)
            *state = FB_SHARE_NONE;
    }
}

/* ---- which weights -------------------------------------------------------------------------- */

/* The bits of |x| order as the numbers do. */
static uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

/* Of the free weights whose magnitude begins with the bits `head` (shift 16), or of all (shift 32:
 * head 0), the half-word of the want-th largest; *want becomes its number among those that share
 * it. */
static uint32_t select_half(const fb_share *s, uint32_t head, unsigned shift, size_t *count,
                            size_t *want)
{
    const size_t inner = s->n / s->channels;
    memset(count, 0, 65536 * sizeof *count);
    for (size_t i = 0; i < s->n; i++) {
        uint32_t bits = magnitude_bits(in_units(s, i, i / inner));
        if (s->mask[i] && (shift == 32 || bits >> 16 == head))
            count[shift == 32 ? bits >> 16 : bits & 0xffff]++;
    }
    uint32_t half = 65535;
    for (; half > 0 && count[half] < *want; half--)
        *want -= count[half];
    return half;
}

/* Freezes the largest weights so that the share of those that were not 0 from the start is. */
static fb_status freeze_largest(work *k, double share)
{
    fb_share *s = k->s;
    const size_t inner = s->n / s->channels, n_free = fb_share_n_free(s);
    const size_t all = s->n - (size_t)s->table.n_held, frozen = all - n_free;
    size_t goal = (size_t)rint(share * (double)all), want = goal > frozen ? goal - frozen : 0;
    if (want == 0)
        return FB_OK;
    size_t *count = fb_alloc(65536 * sizeof *count);
    if (!count)
        return fb_fail(FB_E_MEMORY, "no memory to order the weights of layer '%.200s'", s->name);
    uint32_t head = select_half(s, 0, 32, count, &want);
    uint32_t least = head << 16 | select_half(s, head, 16, count, &want);
    fb_free(count);
    for (size_t i = 0; i < s->n; i++) {
        float x = in_units(s, i, i / inner);
        uint32_t bits = magnitude_bits(x);
        if (!s->mask[i] || bits < least || (bits == least && want == 0))
            continue;
        want -= bits == least; /* of those on the edge, the first ones */
        freeze(s, i, i / inner, fb_share_nearest(&k->cells, x));
    }
    return FB_OK;
}

/* ---- a step --------------------------------------------------------------------------------- */

static fb_status take(work *works, size_t n_layers, const fb_share_rule *rule, uint32_t step)
{
    bool last = step + 1 == rule->n_steps;
    bool in_net = rule->order == FB_SHARE_BY_LAYER || rule->order == FB_SHARE_BY_NET_CLUSTERS;
    for (size_t l = 0; l < n_layers; l++) {
        if (last)
            take_all(&works[l]);
        else
            take_frozen(&works[l]);
        if (!last && !in_net)
            take_clusters(&works[l], rule, rule->share[step]);
    }
    return last || !in_net ? FB_OK : take_in_net(works, n_layers, rule, rule->share[step]);
}

fb_status fb_share_step(fb_share *layers, size_t n_layers, const fb_share_rule *rule, uint32_t step)
{
    bool last = step + 1 == rule->n_steps, by_weight = rule->order == FB_SHARE_BY_WEIGHT && !last;
    fb_status status = FB_OK;
    FB_ENSURE(step < rule->n_steps && rule->n_steps <= FB_SHARE_STEPS && rule->n_levels >= 2 &&
              rule->n_levels <= FB_SHARE_LEVELS && rule->share[rule->n_steps - 1] == 1);
    FB_ENSURE((rule->values == FB_SHARE_TOPMOST) == (rule->order == FB_SHARE_BY_WEIGHT));
    FB_ENSURE(rule->values != FB_SHARE_TOPMOST || (rule->n_levels % 2 && rule->n_levels <= 17));
    work *works = fb_calloc(n_layers + 1, sizeof *works);
    if (!works)
        return fb_fail(FB_E_MEMORY, "no memory for %zu layers", n_layers);
    for (size_t l = 0; l < n_layers; l++) {
        works[l].s = &layers[l];
        if (step == 0)
            start(&layers[l], rule);
        FB_GO(fit(&layers[l], rule, step));
        measure(&works[l]);
    }
    if (!by_weight)
        FB_GO(take(works, n_layers, rule, step));
    for (size_t l = 0; l < n_layers; l++) {
        if (by_weight)
            FB_GO(freeze_largest(&works[l], rule->share[step]));
        else
            freeze_taken(&works[l], last);
    }
fail:
    fb_free(works);
    return status;
}
