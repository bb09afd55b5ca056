/* Pruning against the layer problem (METHODS M.8): in execution order, each layer from what the
 * pruned ones before it really give. Either the zeros are chosen there, too, or they are there
 * already and only the other weights are fitted anew. Biases take up the means. */
#include "base/status.h"
#include "compress/bias.h"
#include "compress/gather.h"
#include "compress/linalg.h"
#include "compress/obs.h"
#include "compress/prune.h"

#include <string.h>

static const double DAMP = 0.01; /* of the mean of G's diagonal, as GPTQ has it */

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to prune a layer");
}

/* The weights of a part as doubles [n_rows][d], and back. */
static void take_part(const fb_prune_layer *l, const fb_problem_part *s, double *w)
{
    for (size_t r = 0; r < s->n_rows; r++) {
        for (size_t i = 0; i < s->d; i++)
            w[r * s->d + i] = (double)l->w[(s->row + r) * l->inner + s->col + i];
    }
}

static void put_part(const fb_prune_layer *l, const fb_problem_part *s, const double *w)
{
    for (size_t r = 0; r < s->n_rows; r++) {
        for (size_t i = 0; i < s->d; i++)
            l->w[(s->row + r) * l->inner + s->col + i] = (float)w[r * s->d + i];
    }
}

static fb_status choose_zeros(const fb_prune *p, const fb_prune_layer *l, const fb_problem_part *s,
                              fb_pool *pool, double *w)
{
    const fb_obs_rule rule = {p->share, p->keep, p->group, l->ic};
    double *inverse = fb_calloc(s->d * s->d, sizeof *inverse);
    if (!inverse)
        return no_memory();
    memcpy(inverse, s->gram, s->d * s->d * sizeof *inverse);
    fb_status status = fb_inverse_cholesky(s->d, inverse);
    if (status == FB_OK)
        status = fb_problem_target(s, inverse, w);
    fb_free(inverse);
    return status == FB_OK ? fb_obs_prune(s->n_rows, s->d, s->gram, &rule, pool, w) : status;
}

static fb_status solve_part(const fb_prune *p, const fb_prune_layer *l, const fb_problem_part *s,
                            fb_pool *pool)
{
    double *w = fb_calloc(s->n_rows * s->d, sizeof *w);
    if (!w)
        return no_memory();
    take_part(l, s, w);
    fb_status status = p->by == FB_PRUNE_OBC
                           ? choose_zeros(p, l, s, pool, w)
                           : fb_obs_refit(s->n_rows, s->d, s->gram, s->cross, pool, w);
    if (status == FB_OK)
        put_part(l, s, w);
    fb_free(w);
    return status;
}

static fb_status move_bias(fb_model *m, const fb_prune_layer *l, const fb_problem *problem)
{
    int32_t bias;
    double *shift = fb_calloc(l->ct, sizeof *shift);
    if (!shift)
        return no_memory();
    fb_problem_shift(problem, l->w, shift);
    fb_status status = fb_bias_own(m, l->node, (uint32_t)l->ct, &bias);
    if (status == FB_OK) {
        float *b = (float *)(uintptr_t)m->tensors[bias].data;
        for (size_t i = 0; i < l->ct; i++)
            b[i] = (float)((double)b[i] + shift[i]);
    }
    fb_free(shift);
    return status;
}

static fb_status solve_layer(fb_prune *p, fb_gather *g, uint32_t k, const fb_prune_layer *l)
{
    fb_problem problem;
    double before, after;
    fb_status status = FB_OK;
    const char *name = p->job->model->nodes[l->node].name;
    if (p->by == FB_PRUNE_OBC && p->group && l->inner > FB_PROBLEM_WHOLE)
        return fb_fail(FB_E_UNSUPPORTED,
                       "layer '%.200s' has %zu weights a channel; obc keeps n of m in layers of %d "
                       "at most",
                       name, l->inner, (int)FB_PROBLEM_WHOLE);
    FB_TRY(fb_gather_problem(g, k, &problem));
    fb_problem_damp(&problem, DAMP);
    FB_GO(fb_gather_error(g, &problem, l->w, &before));
    for (uint32_t i = 0; i < problem.n_parts; i++)
        FB_GO(solve_part(p, l, &problem.parts[i], g->pool));
    FB_GO(fb_gather_error(g, &problem, l->w, &after));
    fb_job_tell_error(p->job, name, before, after);
    FB_GO(move_bias(p->job->model, l, &problem));
fail:
    fb_problem_free(&problem);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", name);
}

static const fb_prune_layer *layer_of(const fb_prune *p, uint32_t node)
{
    for (uint32_t l = 0; l < p->n_layers; l++) {
        if (p->layers[l].node == node)
            return &p->layers[l];
    }
    return NULL;
}

fb_status fb_prune_by_problem(fb_prune *p)
{
    const fb_model *m = p->job->model;
    bool *wanted = fb_calloc(m->n_nodes + 1, sizeof *wanted), any = false;
    fb_gather g;
    if (!wanted)
        return no_memory();
    for (uint32_t l = 0; l < p->n_layers; l++) {
        uint32_t node = p->layers[l].node;
        wanted[node] = m->nodes[node].op != FB_OP_CONV_TRANSPOSE;
        any = any || wanted[node];
    }
    fb_status status = any ? fb_gather_open(p->job, p->images, 1, wanted, &g) : FB_OK;
    fb_free(wanted);
    if (status != FB_OK || !any)
        return status;
    for (uint32_t k = 0; k < g.n; k++) {
        FB_GO(fb_job_report(p->job, "prune", k, g.n));
        FB_GO(solve_layer(p, &g, k, layer_of(p, g.layers[k].node)));
        FB_GO(fb_gather_advance(&g, k));
    }
fail:
    fb_gather_close(&g);
    return status;
}
