/* What hybrid tunes, and the harm of each width of it alone.
 *
 * Everything else stays float: no kernel then knows of widths that are not on trial, and the float
 * ones are faster than those of sums beyond 32 bits. Trials go through the network front to back,
 * and run from where the tensor on trial is written. */
#include "compress/hybrid.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

/* Widths above FINE bits are told from it: the error's power falls to a quarter with each bit, and
 * the divergence with the power. Only where it is small, though: nats. */
enum { FINE = 8 };
#define SMALL_HARM 0.02

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to tune widths");
}

/* --- what is tuned --------------------------------------------------------------------------- */

int32_t fb_tuner_leader(const fb_tuner *t, uint32_t layer)
{
    const fb_node *n = &t->job->model->nodes[t->net.layers[layer].node];
    return t->net.region.leader[n->in[0]];
}

static uint64_t values_of(const fb_tuner *t, int32_t leader)
{
    const fb_model *m = t->job->model;
    uint64_t sum = 0;
    for (uint32_t k = 0; k < t->net.region.n_encoded; k++) {
        int64_t n = 0;
        int32_t x = t->net.tensors[k];
        if (t->net.asks[x] == leader && fb_tensor_elems(&m->tensors[x], 1, &n))
            sum += (uint64_t)n;
    }
    return sum;
}

/* The first node that writes one of the tensors; 0 for the network's input. */
static uint32_t writer_of(const fb_tuner *t, int32_t leader)
{
    const fb_model *m = t->job->model;
    const int32_t *asks = t->net.asks;
    bool *encoded = t->net.region.encoded;
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        if (encoded[m->inputs[k]] && asks[m->inputs[k]] == leader)
            return 0;
    }
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        int32_t out = m->nodes[i].out[0];
        if (out >= 0 && encoded[out] && asks[out] == leader)
            return i;
    }
    return 0;
}

void fb_tuner_list(fb_tuner *t)
{
    const fb_model *m = t->job->model;
    for (uint32_t k = 0; k < t->net.n_layers; k++) {
        int64_t n = 0;
        uint32_t node = t->net.layers[k].node;
        int32_t w = fb_node_weight(m, &m->nodes[node]), leader = fb_tuner_leader(t, k);
        if (fb_tensor_elems(&m->tensors[w], 0, &n))
            t->items[t->n_items++] = (fb_tunable){.layer = k, .node = node, .elems = (uint64_t)n};
        bool known = false;
        for (uint32_t i = 0; i < t->n_items; i++)
            known = known || (t->items[i].is_data && t->items[i].leader == leader);
        double values = (double)values_of(t, leader) * t->data;
        if (!known)
            t->items[t->n_items++] = (fb_tunable){.is_data = true,
                                                  .leader = leader,
                                                  .node = writer_of(t, leader),
                                                  .elems = (uint64_t)values};
    }
}

/* --- each alone ------------------------------------------------------------------------------ */

fb_status fb_tuner_tell(fb_tuner *t)
{
    FB_TRY(fb_job_report(t->job, "tune widths", t->done, t->total));
    t->done += t->done + 1 < t->total;
    return FB_OK;
}

/* Worse than `hopeless` is told from a few images. */
static fb_status measure_width(fb_tuner *t, const fb_tunable *x, unsigned bits, double hopeless,
                               double *loss)
{
    const fb_bar bar = {.loss = hopeless};
    fb_model *trial;
    fb_verdict v = {0};
    fb_status status;
    bool met;
    FB_TRY(fb_tuner_tell(t));
    FB_TRY(fb_model_clone(t->job->model, false, &trial));
    if (x->is_data)
        FB_GO(fb_fixed_assign_data(&t->net, &t->rule, x->leader, bits, trial));
    else
        FB_GO(fb_fixed_assign_weight(&t->net, &t->rule, x->layer, bits, trial));
    FB_GO(fb_judge_try(&t->sense, trial, &bar, &v, &met));
    *loss = v.loss;
fail:
    fb_model_close(&trial);
    return status;
}

/* Harms of one tensor's widths. Narrower ones than one that alone costs a nat are not tried: no
 * network stands that. A narrower width is never taken for less harmful than a wider one. */
static fb_status measure_item(fb_tuner *t, fb_tunable *x, double base)
{
    const double hopeless = 1;
    double loss, fine = -1, harm = 0;
    uint32_t k = 0;
    while (k < t->n_widths && t->widths[k] > FINE)
        k++;
    if (k > 0 && k < t->n_widths && t->widths[k] == FINE) {
        FB_TRY(measure_width(t, x, FINE, base + hopeless, &loss));
        fine = fmax(loss - base, 0);
    }
    for (k = 0; k < t->n_widths; k++) {
        unsigned bits = t->widths[k];
        if (fine >= 0 && bits >= FINE && (bits == FINE || fine < SMALL_HARM)) {
            loss = base + ldexp(fine, 2 * (FINE - (int)bits));
        } else {
            FB_TRY(measure_width(t, x, bits, base + hopeless, &loss));
        }
        harm = fmax(harm, loss - base);
        x->choice[k] = (fb_choice){harm, x->elems * bits};
        x->n = k + 1;
        if (harm > hopeless)
            break;
    }
    return FB_OK;
}

/* Front to back, so that what lies before has to be run once. */
fb_status fb_tuner_measure(fb_tuner *t)
{
    fb_verdict base;
    bool *done = fb_calloc(t->n_items, sizeof *done);
    fb_status status = done ? FB_OK : no_memory();
    if (status == FB_OK)
        status = fb_judge_run(&t->sense, t->job->model, &base);
    for (uint32_t round = 0; round < t->n_items && status == FB_OK; round++) {
        uint32_t next = t->n_items;
        for (uint32_t i = 0; i < t->n_items; i++) {
            if (!done[i] && (next == t->n_items || t->items[i].node < t->items[next].node))
                next = i;
        }
        done[next] = true;
        FB_GO(fb_judge_hold(&t->sense, t->job->model, t->items[next].node));
        FB_GO(measure_item(t, &t->items[next], base.loss));
        t->list[next] = (fb_item){t->items[next].choice, t->items[next].n};
    }
fail:
    fb_free(done);
    return status;
}
