#include "train/hints.h"

#include "train/loss.h"

#include <string.h>

static bool is_layer(const fb_model *m, const fb_node *n)
{
    bool kind = n->op == FB_OP_CONV || n->op == FB_OP_DENSE || n->op == FB_OP_BINARY;
    return kind && n->out[0] != m->outputs[0] && *n->name;
}

/* What the teacher's node of this name and operator makes, if it has the same dims; else -1. */
static int32_t find(const fb_model *m, const fb_node *of, const fb_tensor *t)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        const fb_tensor *x = &m->tensors[n->out[0]];
        if (n->op == of->op && strcmp(n->name, of->name) == 0 && x->rank == t->rank &&
            memcmp(x->dims, t->dims, (size_t)t->rank * sizeof *t->dims) == 0)
            return n->out[0] == m->outputs[0] ? -1 : n->out[0];
    }
    return -1;
}

static fb_status match(const fb_model *student, const fb_model *teacher, fb_hints *h)
{
    h->student_taps = fb_calloc(student->n_nodes + 1, sizeof *h->student_taps);
    h->teacher_taps = fb_calloc(student->n_nodes + 1, sizeof *h->teacher_taps);
    h->power = fb_calloc(student->n_nodes + 1, sizeof *h->power);
    if (!h->student_taps || !h->teacher_taps || !h->power)
        return fb_fail(FB_E_MEMORY, "no memory for the teacher");
    for (size_t i = 0; i < student->n_nodes; i++) {
        const fb_node *n = &student->nodes[i];
        int32_t t = is_layer(student, n) ? find(teacher, n, &student->tensors[n->out[0]]) : -1;
        if (t < 0)
            continue;
        h->student_taps[h->n] = n->out[0];
        h->teacher_taps[h->n++] = t;
    }
    if (h->n == 0)
        return fb_fail(FB_E_ARG, "no layer of the network has the name and shape of one of the "
                                 "teacher's; learn from its answers alone");
    return FB_OK;
}

fb_status fb_hints_create(const fb_model *student, const fb_model *teacher,
                          const fb_net_options *options, double weight, fb_hints *h)
{
    *h = (fb_hints){.weight = weight, .ranks = options->ranks};
    fb_status status = match(student, teacher, h);
    if (status == FB_OK) {
        const fb_net_options o = {.batch = options->batch,
                                  .n_threads = options->n_threads,
                                  .taps = h->teacher_taps,
                                  .n_taps = h->n};
        status = fb_net_create(teacher, &o, &h->teacher);
    }
    if (status != FB_OK)
        fb_hints_free(h);
    return status;
}

void fb_hints_free(fb_hints *h)
{
    fb_net_destroy(&h->teacher);
    fb_free(h->student_taps);
    fb_free(h->teacher_taps);
    fb_free(h->power);
    *h = (fb_hints){0};
}

/* Means of t^2 over the batch of all processes. */
static fb_status measure(const fb_hints *h)
{
    for (uint32_t k = 0; k < h->n; k++) {
        const float *t;
        float *unused;
        size_t n;
        FB_TRY(fb_net_tap(h->teacher, k, &t, &unused, &n));
        h->power[k] = 0;
        for (size_t i = 0; i < n; i++)
            h->power[k] += (double)t[i] * (double)t[i];
        h->power[k] /= (double)n;
    }
    if (!h->ranks)
        return FB_OK;
    FB_TRY(fb_ranks_sum(h->ranks, h->power, h->n));
    for (uint32_t k = 0; k < h->n; k++)
        h->power[k] /= h->ranks->n;
    return FB_OK;
}

fb_status fb_hints_run(const fb_hints *h, fb_net *student, double *loss)
{
    size_t n;
    const float *x = fb_net_input(student, &n);
    memcpy(fb_net_input(h->teacher, &n), x, n * sizeof *x);
    FB_TRY(fb_net_forward(h->teacher, FB_NET_EVAL, 0));
    FB_TRY(measure(h));
    for (uint32_t k = 0; k < h->n; k++) {
        const float *y, *t;
        float *g, *unused;
        FB_TRY(fb_net_tap(student, k, &y, &g, &n));
        FB_TRY(fb_net_tap(h->teacher, k, &t, &unused, &n));
        double weight = h->power[k] > 0 ? h->weight / h->n / h->power[k] : 0;
        *loss += weight * fb_loss_square(n, y, t, weight, g);
    }
    return FB_OK;
}
