#include "compress/layer_pass.h"

#include "base/alloc.h"
#include "base/status.h"

bool fb_pass_takes(const fb_model *m, size_t node)
{
    const fb_node *n = &m->nodes[node];
    int32_t w = fb_node_weight(m, n);
    if (w < 0 || n->op == FB_OP_CONV_TRANSPOSE)
        return false;
    for (size_t k = 0; k < m->n_nodes; k++) {
        if (k != node && fb_node_weight(m, &m->nodes[k]) == w)
            return false;
    }
    return true;
}

static fb_status pass_layer(fb_gather *g, uint32_t k, double damp, fb_choose_weights choose,
                            void *user)
{
    const fb_model *m = g->job->model;
    const fb_node *n = &m->nodes[g->layers[k].node];
    int32_t weight = fb_node_weight(m, n);
    fb_problem p = {0};
    float *value = NULL;
    double *shift = NULL, before, after;
    fb_status status;
    FB_GO(fb_gather_problem(g, k, &p));
    fb_problem_damp(&p, damp);
    value = fb_alloc(p.ct * p.inner * sizeof *value);
    shift = fb_alloc(p.ct * sizeof *shift);
    if (!value || !shift) {
        status = fb_fail(FB_E_MEMORY, "no memory for the weights of a layer");
        goto fail;
    }
    FB_GO(fb_tensor_decode(&m->tensors[weight], value));
    FB_GO(fb_gather_error(g, &p, value, &before));
    FB_GO(choose(user, weight, &p, g->pool, value));
    FB_GO(fb_gather_error(g, &p, value, &after));
    fb_job_tell_error(g->job, n->name, before, after);
    fb_problem_shift(&p, value, shift);
    FB_GO(fb_gather_move_bias(g, k, shift));
fail:
    fb_free(value);
    fb_free(shift);
    fb_problem_free(&p);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", n->name);
}

fb_status fb_layer_pass(fb_job *job, const fb_recipe_step *step, const bool *wanted,
                        fb_choose_weights choose, void *user)
{
    const fb_option *o = step->option;
    fb_gather g;
    FB_TRY(fb_gather_open(job, (uint64_t)o[FB_PASS_IMAGES].number,
                          (float)o[FB_PASS_ASYMMETRY].number, wanted, &g));
    fb_status status = FB_OK;
    for (uint32_t k = 0; k < g.n && status == FB_OK; k++) {
        FB_GO(fb_job_report(job, step->method->name, k, g.n));
        FB_GO(pass_layer(&g, k, o[FB_PASS_DAMP].number, choose, user));
        FB_GO(fb_gather_advance(&g, k));
    }
fail:
    fb_gather_close(&g);
    return status;
}
