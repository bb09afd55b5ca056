/* Histogram pruning without retraining (METHODS D.2): layer by layer, the largest first, the
 * threshold moves from bin edge to bin edge of the histogram of |w| as long as the network, with
 * all that was pruned before, stays within the tolerance. The tolerance is a budget that grows from
 * layer to layer: of L layers, number l may use the share (l + 1) / L of it, so that the last ones
 * find something left.
 *
 * The published text moves one step at a time. Here the first edge that is tried is the one where
 * the loss should reach the budget if it grew with the squared weights that are lost, as fast as in
 * the trial before; what lies between a good and a bad edge is narrowed by a straight line through
 * their losses, and by halves now and then. Where loss grows with the threshold that ends at the
 * same edge, after some four trials instead of dozens. */
#include "compress/prune.h"

#include "base/status.h"
#include "compress/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_STEP = 8 /* edges, each some 1% of the weights */ };
/* Too far costs less than too short: a bad edge is given up after some of the images. */
#define AIM 0.7

uint32_t fb_prune_edges(const float *w, size_t n, uint32_t bins, float *edge)
{
    float most = 0;
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    size_t *count = fb_calloc((size_t)bins + 1, sizeof *count), below = 0, last = 0;
    for (size_t i = 0; count && most > 0 && i < n; i++)
        count[(uint32_t)((double)fabsf(w[i]) / (double)most * bins)]++;
    for (uint32_t b = 0; count && most > 0 && b + 1 < bins; b++) {
        below += count[b];
        if (below > last && (double)(below - last) >= 0.01 * (double)n) {
            last = below;
            edge[found++] = (float)((double)most * (b + 1) / bins);
        }
    }
    fb_free(count);
    return found;
}

size_t fb_prune_below(const float *from, size_t n, float t, float *w)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        w[i] = fabsf(from[i]) < t ? 0 : from[i];
        zeros += w[i] == 0;
    }
    return zeros;
}

typedef struct search {
    fb_prune *p;
    fb_judge judge;
    fb_verdict reference;
    float *edge;  /* [bins] thresholds of the layer at hand, */
    double *lost; /*   and the squared weights below each */
    float *from;  /* the layer's weights before */
    double loss;  /* of the network with the layers before pruned */
    double slope; /* loss per squared weight that was lost, relative to all of the layer's */
    uint32_t done;
} search;

/* What layer l has to keep within, one image at least: with 128 images a point is little more than
 * one, and most layers would have none. */
static fb_bar bar_of(const search *s, uint32_t l)
{
    double part = (double)(l + 1) / s->p->n_layers, image = 1 / (double)s->judge.samples.count;
    double drop = fmax(s->p->drop * part, s->p->drop > 0 ? image : 0);
    return (fb_bar){s->p->loss * part, s->reference.correct - drop - 1e-9};
}

/* Squared weights below each edge. Returns those of the layer. */
static double weigh_edges(search *s, const fb_prune_layer *layer, uint32_t n_edges)
{
    double all = 0;
    memset(s->lost, 0, n_edges * sizeof *s->lost);
    for (size_t i = 0; i < layer->n; i++) {
        double w = fabs((double)layer->w[i]);
        uint32_t lo = 0, hi = n_edges; /* the first edge above w */
        while (lo < hi) {
            uint32_t mid = (lo + hi) / 2;
            if (w < (double)s->edge[mid])
                hi = mid;
            else
                lo = mid + 1;
        }
        if (lo < n_edges)
            s->lost[lo] += w * w;
        all += w * w;
    }
    for (uint32_t k = 1; k < n_edges; k++)
        s->lost[k] += s->lost[k - 1];
    return all;
}

/* Edges between which the answer lies: low is good, or 0, and high is not, or none. Edge number k
 * is edge[k - 1]. */
typedef struct bracket {
    uint32_t n, low, high, step;
    double low_loss, high_loss; /* the latter 0 where it tells nothing */
} bracket;

static double lost_below(const search *s, uint32_t k)
{
    return k > 0 ? s->lost[k - 1] : 0;
}

/* The last edge that should keep within `loss` when it grows by `slope` for each squared weight
 * that is lost beyond edge `from`. */
static uint32_t guess(const search *s, const bracket *b, uint32_t from, double slope, double loss)
{
    uint32_t k = from;
    while (k < b->n && (s->lost[k] - lost_below(s, from)) * slope <= loss)
        k++;
    return k;
}

/* The edge to try next. */
static uint32_t choose_edge(const search *s, const bracket *b, double all, double loss)
{
    uint32_t k = b->low + FIRST_STEP;
    double left = loss - b->low_loss;
    if (b->high > b->n) { /* upwards, at least twice as far each time */
        if (s->slope > 0)
            k = guess(s, b, b->low, AIM * s->slope / all, left);
        k = k < b->low + b->step ? b->low + b->step : k;
    } else if (b->step % 3 == 0 || b->high_loss <= loss) {
        k = (b->low + b->high) / 2;
    } else {
        double lost = lost_below(s, b->high) - lost_below(s, b->low);
        k = guess(s, b, b->low, (b->high_loss - b->low_loss) / lost, left);
    }
    return k <= b->low ? b->low + 1 : k >= b->high ? b->high - 1 : k;
}

static void narrow(bracket *b, uint32_t k, bool good, double loss)
{
    if (good) {
        b->low = k;
        b->low_loss = loss;
    } else {
        b->high = k;
        b->high_loss = loss;
    }
    b->step = b->high > b->n ? 2 * b->step : b->step + 1;
}

static fb_status prune_layer(search *s, const fb_prune_layer *layer, uint32_t l)
{
    bracket b = {.n = fb_prune_edges(layer->w, layer->n, s->p->bins, s->edge), .step = 1};
    double all = weigh_edges(s, layer, b.n);
    const fb_bar bar = bar_of(s, l);
    b.high = b.n + 1;
    b.low_loss = s->loss;
    memcpy(s->from, layer->w, layer->n * sizeof *s->from);
    FB_TRY(fb_judge_hold(&s->judge, s->p->job->model, layer->node));
    while (b.high - b.low > 1) {
        uint32_t k = choose_edge(s, &b, all, bar.loss);
        fb_verdict v;
        bool good;
        (void)fb_prune_below(s->from, layer->n, s->edge[k - 1], layer->w);
        FB_TRY(fb_job_report(s->p->job, "prune", s->done, s->p->n_layers));
        FB_TRY(fb_judge_try(&s->judge, s->p->job->model, &bar, &v, &good));
        if (v.loss > s->loss)
            s->slope = (v.loss - s->loss) / (s->lost[k - 1] / all);
        narrow(&b, k, good, v.loss);
    }
    s->loss = b.low_loss;
    (void)fb_prune_below(s->from, layer->n, b.low ? s->edge[b.low - 1] : 0, layer->w);
    return FB_OK;
}

static int larger_first(const void *a, const void *b)
{
    const fb_prune_layer *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->node < y->node ? -1 : 1;
}

fb_status fb_prune_by_hist(fb_prune *p)
{
    search s = {.p = p};
    fb_status status;
    qsort(p->layers, p->n_layers, sizeof *p->layers, larger_first);
    s.edge = fb_calloc(p->bins, sizeof *s.edge);
    s.lost = fb_calloc(p->bins, sizeof *s.lost);
    s.from = fb_calloc(p->n_layers ? p->layers[0].n : 1, sizeof *s.from);
    if (!s.edge || !s.lost || !s.from) {
        status = fb_fail(FB_E_MEMORY, "no memory to prune");
        goto fail;
    }
    FB_GO(fb_judge_open(p->job, p->images, &s.judge));
    FB_GO(fb_judge_reference(&s.judge, &s.reference));
    for (uint32_t l = 0; l < p->n_layers; l++) {
        FB_GO(prune_layer(&s, &p->layers[l], l));
        s.done++;
    }
fail:
    fb_judge_close(&s.judge);
    fb_free(s.edge);
    fb_free(s.lost);
    fb_free(s.from);
    return status;
}
