/* Histogram pruning without retraining (METHODS D.2): layer by layer, the largest first, the
 * threshold moves from bin edge to bin edge of the histogram of |w| as long as the network, with
 * all that was pruned before, stays within the tolerance. The tolerance is a budget that grows from
 * layer to layer: of L layers, number l may use the share (l + 1) / L of it, so that the last ones
 * find something left.
 *
 * The published text moves one step at a time. Here the step doubles until it goes too far, and
 * what lies between is bisected: where loss grows with the threshold that ends at the same edge. */
#include "compress/prune.h"

#include "base/status.h"
#include "compress/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_STEP = 8 /* edges, each some 1% of the weights */ };

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
    const float *edge;
    float *from; /* the layer's weights before */
    uint32_t done;
} search;

/* Layer l pruned below edge number k - 1: good when within l's budget, one image at least: with 128
 * images a point is little more than one, and most layers would have none. */
static fb_status try_edge(search *s, const fb_prune_layer *layer, uint32_t l, uint32_t k,
                          bool *good)
{
    fb_verdict v;
    double part = (double)(l + 1) / s->p->n_layers, image = 1 / (double)s->judge.samples.count;
    double drop = fmax(s->p->drop * part, s->p->drop > 0 ? image : 0);
    (void)fb_prune_below(s->from, layer->n, s->edge[k - 1], layer->w);
    FB_TRY(fb_job_report(s->p->job, "prune", s->done, s->p->n_layers));
    FB_TRY(fb_judge_run(&s->judge, s->p->job->model, &v));
    *good = v.correct >= s->reference.correct - drop - 1e-9 && v.loss <= s->p->loss * part;
    return FB_OK;
}

static fb_status prune_layer(search *s, const fb_prune_layer *layer, uint32_t l, uint32_t n_edges)
{
    uint32_t low = 0, high = n_edges + 1, step = FIRST_STEP;
    bool good;
    memcpy(s->from, layer->w, layer->n * sizeof *s->from);
    while (high - low > 1) {
        uint32_t k = high <= n_edges ? (low + high) / 2 : low + step;
        k = k < high ? k : high - 1;
        FB_TRY(try_edge(s, layer, l, k, &good));
        low = good ? k : low;
        high = good ? high : k;
        step *= 2;
    }
    (void)fb_prune_below(s->from, layer->n, low ? s->edge[low - 1] : 0, layer->w);
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
    float *edge = fb_calloc(p->bins, sizeof *edge);
    s.from = fb_calloc(p->n_layers ? p->layers[0].n : 1, sizeof *s.from);
    s.edge = edge;
    if (!edge || !s.from) {
        status = fb_fail(FB_E_MEMORY, "no memory to prune");
        goto fail;
    }
    FB_GO(fb_judge_open(p->job, p->images, &s.judge));
    FB_GO(fb_judge_reference(&s.judge, &s.reference));
    for (uint32_t l = 0; l < p->n_layers; l++) {
        const fb_prune_layer *layer = &p->layers[l];
        uint32_t n_edges = fb_prune_edges(layer->w, layer->n, p->bins, edge);
        FB_GO(prune_layer(&s, layer, l, n_edges));
        s.done++;
    }
fail:
    fb_judge_close(&s.judge);
    fb_free(edge);
    fb_free(s.from);
    return status;
}
