/* permute (PQF, Martinez 2021; METHODS V.2): channels between layers change places, so that those
 * which vary together come to lie in one vector of the product encoding. The network computes the
 * same: what writes a tensor permutes its rows and bias, what reads it permutes its columns.
 *
 * Tensors whose channels must stay side by side (operands of a sum, what a pool or a depthwise
 * convolution reads and writes) share one permutation. It is the identity where channels reach an
 * input or output of the model, a grouped convolution, or an operator that is not listed here. */
#include "base/status.h"
#include "compress/method.h"
#include "compress/permute_fit.h"

#include <math.h>
#include <string.h>

enum { OPT_D, OPT_BOOKS, OPT_SWEEPS, OPT_INCLUDE, OPT_EXCLUDE };

typedef struct work {
    fb_job *job;
    const fb_recipe_step *step;
    int32_t *leader;  /* [n_tensors] of those with one permutation */
    bool *fixed;      /* [n_tensors] by leader */
    uint32_t *n_uses; /* [n_tensors] */
    size_t c;         /* channels of the permutation at work */
    size_t *order;    /* [c] the channel that comes to each place */
    double *cov;      /* [n][c][c] */
    size_t n, cap;    /* readers */
} work;

/* --- which tensors share a permutation ------------------------------------------------------- */

static size_t channels(const fb_model *m, int32_t t)
{
    const fb_tensor *x = &m->tensors[t];
    return x->rank > 0 && x->dims[x->rank - 1] > 0 ? (size_t)x->dims[x->rank - 1] : 0;
}

static int32_t leader_of(const work *w, int32_t t)
{
    while (w->leader[t] != t)
        t = w->leader[t];
    return t;
}

static void fix(work *w, int32_t t)
{
    if (t >= 0)
        w->fixed[leader_of(w, t)] = true;
}

/* The one with fewer channels leads: the other has them several times over (a flatten). */
static void join(work *w, int32_t a, int32_t b)
{
    const fb_model *m = w->job->model;
    a = leader_of(w, a);
    b = leader_of(w, b);
    if (a == b)
        return;
    size_t ca = channels(m, a), cb = channels(m, b);
    int32_t low = ca < cb || (ca == cb && a < b) ? a : b, high = low == a ? b : a;
    w->leader[high] = low;
    w->fixed[low] = w->fixed[low] || w->fixed[high] || channels(m, low) == 0 ||
                    channels(m, high) % channels(m, low) != 0;
}

static bool private_const(const work *w, int32_t t)
{
    const fb_tensor *x = &w->job->model->tensors[t];
    return x->is_const && x->dtype == FB_F32 && x->enc.kind == FB_ENC_PLAIN &&
           x->enc.sparse == FB_DENSE && w->n_uses[t] == 1;
}

static bool is_depthwise(const fb_model *m, const fb_node *n)
{
    return n->op == FB_OP_CONV && n->attr.conv.groups > 1 &&
           (size_t)n->attr.conv.groups == channels(m, n->in[0]) &&
           channels(m, n->in[0]) == channels(m, n->out[0]);
}

/* A layer whose rows and columns can be permuted. */
static bool is_layer(const work *w, const fb_node *n)
{
    const fb_model *m = w->job->model;
    int32_t bias = n->n_in > 2 ? n->in[2] : -1;
    return (n->op == FB_OP_CONV || n->op == FB_OP_DENSE) && fb_node_weight(m, n) >= 0 &&
           private_const(w, n->in[1]) && (bias < 0 || private_const(w, bias)) &&
           (n->op == FB_OP_DENSE || n->attr.conv.groups == 1 || is_depthwise(m, n));
}

/* Channel i of the output depends on channel i of the input alone. */
static bool is_pointwise(const fb_model *m, const fb_node *n)
{
    const fb_tensor *x = &m->tensors[n->in[0]];
    int32_t last = x->rank - 1;
    switch (n->op) {
    case FB_OP_UNARY:
    case FB_OP_AVG_POOL:
        return true;
    case FB_OP_MAX_POOL:
        return n->n_out < 2 || n->out[1] < 0;
    case FB_OP_REDUCE:
        return !(n->attr.reduce.axes >> last & 1);
    case FB_OP_PAD:
        return n->attr.pad.before[last] == 0 && n->attr.pad.after[last] == 0;
    case FB_OP_RESHAPE:
        /* [h][w][c] to [h w c]: element k is of channel k mod c */
        return channels(m, n->out[0]) > 0 && channels(m, n->in[0]) > 0 &&
               channels(m, n->out[0]) % channels(m, n->in[0]) == 0;
    default:
        return false;
    }
}

static bool same_dims(const fb_tensor *a, const fb_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

static void visit(work *w, const fb_node *n)
{
    const fb_model *m = w->job->model;
    if (is_layer(w, n)) {
        if (is_depthwise(m, n))
            join(w, n->in[0], n->out[0]);
        return;
    }
    if (is_pointwise(m, n)) {
        join(w, n->in[0], n->out[0]);
        return;
    }
    if (n->op == FB_OP_BINARY && !m->tensors[n->in[0]].is_const && !m->tensors[n->in[1]].is_const &&
        same_dims(&m->tensors[n->in[0]], &m->tensors[n->in[1]])) {
        join(w, n->in[0], n->in[1]);
        join(w, n->in[0], n->out[0]);
        return;
    }
    for (uint32_t k = 0; k < n->n_in; k++)
        fix(w, n->in[k]);
    for (uint32_t k = 0; k < n->n_out; k++)
        fix(w, n->out[k]);
}

static void find_classes(work *w)
{
    const fb_model *m = w->job->model;
    fb_model_uses(m, NULL, w->n_uses);
    for (size_t t = 0; t < m->n_tensors; t++)
        w->leader[t] = (int32_t)t;
    for (size_t i = 0; i < m->n_nodes; i++)
        visit(w, &m->nodes[i]);
    for (uint32_t i = 0; i < m->n_inputs; i++)
        fix(w, m->inputs[i]);
    for (uint32_t i = 0; i < m->n_outputs; i++)
        fix(w, m->outputs[i]);
}

/* --- one permutation ------------------------------------------------------------------------- */

static bool of_class(const work *w, int32_t t, int32_t leader)
{
    return leader_of(w, t) == leader;
}

static bool counts(const work *w, const fb_node *n)
{
    const fb_option *o = w->step->option;
    return (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
           !fb_glob(o[OPT_EXCLUDE].text, n->name);
}

/* Covariance of columns [first, first + c) of the rows x [rows][ld], added to cov [c][c]. */
static void add_covariance(const float *x, size_t rows, size_t ld, size_t first, size_t c,
                           double *mean, double *cov)
{
    memset(mean, 0, c * sizeof *mean);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < c; i++)
            mean[i] += (double)x[r * ld + first + i] / (double)rows;
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < c; i++) {
            double v = ((double)x[r * ld + first + i] - mean[i]) / (double)rows;
            for (size_t j = 0; j < c; j++)
                cov[i * c + j] += v * ((double)x[r * ld + first + j] - mean[j]);
        }
    }
}

/* One more reader: block `first` of the input channels of a layer, its share of the layer's
 * variance. */
static fb_status add_reader(work *w, const fb_tensor *t, size_t first)
{
    size_t ld = (size_t)t->dims[t->rank - 1], c = w->c;
    size_t rows = t->data_bytes / sizeof(float) / ld;
    if (!fb_grow((void **)&w->cov, &w->cap, (w->n + 1) * c * c + c, sizeof *w->cov))
        return fb_fail(FB_E_MEMORY, "no memory to permute %zu channels", c);
    double *cov = w->cov + w->n * c * c, *mean = cov + c * c, trace = 0;
    memset(cov, 0, c * c * sizeof *cov);
    add_covariance(t->data, rows, ld, first, c, mean, cov);
    for (size_t i = 0; i < c; i++)
        trace += cov[i * c + i];
    for (size_t i = 0; trace > 0 && i < c * c; i++)
        cov[i] *= (double)c / (trace * (double)ld);
    w->n++;
    return FB_OK;
}

static fb_status find_readers(work *w, int32_t leader, size_t d)
{
    const fb_model *m = w->job->model;
    w->n = 0;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (!is_layer(w, n) || is_depthwise(m, n) || !of_class(w, n->in[0], leader) ||
            !counts(w, n))
            continue;
        size_t all = channels(m, n->in[0]);
        if (all > w->c && w->c % d != 0) /* a flatten whose vectors run across pixels */
            continue;
        for (size_t first = 0; first < all; first += w->c)
            FB_TRY(add_reader(w, &m->tensors[n->in[1]], first));
    }
    return FB_OK;
}

/* The better of two starts: as channels are, and grouped greedily. */
static fb_status find_order(work *w, size_t d)
{
    const fb_option *o = w->step->option;
    unsigned sweeps = (unsigned)o[OPT_SWEEPS].number;
    fb_permute_problem p = {
        .c = w->c, .d = d, .n = w->n, .cov = w->cov, .shared = o[OPT_BOOKS].choice == 1};
    size_t *other = fb_calloc(w->c, sizeof *other);
    if (!other)
        return fb_fail(FB_E_MEMORY, "no memory to permute %zu channels", w->c);
    for (size_t i = 0; i < w->c; i++)
        w->order[i] = i;
    fb_status status;
    FB_GO(fb_permute_improve(&p, sweeps, w->order));
    FB_GO(fb_permute_start(&p, other));
    FB_GO(fb_permute_improve(&p, sweeps, other));
    if (fb_permute_cost(&p, other) < fb_permute_cost(&p, w->order))
        memcpy(w->order, other, w->c * sizeof *other);
fail:
    fb_free(other);
    return status;
}

/* --- applying it ----------------------------------------------------------------------------- */

/* t [..][all][run] with order[i] of each w->c entries along its middle axis at place i. */
static fb_status permute_axis(const work *w, int32_t tensor, size_t all, size_t run)
{
    fb_model *m = w->job->model;
    fb_tensor *t = &m->tensors[tensor];
    size_t n = t->data_bytes / sizeof(float);
    const float *from = t->data;
    float *to = fb_arena_array(m->arena, n, sizeof *to);
    if (!to)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
    for (size_t i = 0; i < n; i += run) {
        size_t at = i / run % all, block = at / w->c * w->c;
        memcpy(to + i, from + (i / run - at + block + w->order[at - block]) * run,
               run * sizeof *to);
    }
    t->data = to;
    return FB_OK;
}

static fb_status permute_class(work *w, int32_t leader)
{
    fb_model *m = w->job->model;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (!is_layer(w, n))
            continue;
        const fb_tensor *t = &m->tensors[n->in[1]];
        size_t ct = (size_t)t->dims[0], ld = (size_t)t->dims[t->rank - 1];
        if (of_class(w, n->out[0], leader)) {
            FB_TRY(permute_axis(w, n->in[1], ct, t->data_bytes / sizeof(float) / ct));
            if (n->n_in > 2 && n->in[2] >= 0)
                FB_TRY(permute_axis(w, n->in[2], ct, 1));
        }
        if (of_class(w, n->in[0], leader) && !is_depthwise(m, n))
            FB_TRY(permute_axis(w, n->in[1], ld, 1));
    }
    return FB_OK;
}

static fb_status solve_class(work *w, int32_t leader)
{
    size_t d = (size_t)w->step->option[OPT_D].number;
    w->c = channels(w->job->model, leader);
    if (w->fixed[leader] || w->c <= d)
        return FB_OK;
    FB_TRY(find_readers(w, leader, d));
    if (w->n == 0)
        return FB_OK;
    w->order = fb_calloc(w->c, sizeof *w->order);
    if (!w->order)
        return fb_fail(FB_E_MEMORY, "no memory to permute %zu channels", w->c);
    fb_status status;
    FB_GO(find_order(w, d));
    FB_GO(permute_class(w, leader));
fail:
    fb_free(w->order);
    w->order = NULL;
    return status;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_model *m = job->model;
    work w = {.job = job,
              .step = step,
              .leader = fb_calloc(m->n_tensors + 1, sizeof *w.leader),
              .fixed = fb_calloc(m->n_tensors + 1, sizeof *w.fixed),
              .n_uses = fb_calloc(m->n_tensors + 1, sizeof *w.n_uses)};
    fb_status status = FB_OK;
    if (!w.leader || !w.fixed || !w.n_uses) {
        status = fb_fail(FB_E_MEMORY, "no memory for the model");
        goto fail;
    }
    find_classes(&w);
    for (size_t t = 0; t < m->n_tensors; t++) {
        FB_GO(fb_job_report(job, "permute", t, m->n_tensors));
        if (!m->tensors[t].is_const && w.leader[t] == (int32_t)t)
            FB_GO(solve_class(&w, (int32_t)t));
    }
    FB_GO(fb_job_renew_reference(job));
fail:
    fb_free(w.leader);
    fb_free(w.fixed);
    fb_free(w.n_uses);
    fb_free(w.cov);
    return status;
}

const fb_method_def fb_method_permute = {
    .name = "permute",
    .summary = "orders channels so that product codes fit better, without changing the network",
    .needs_data = false,
    .n_options = 5,
    .options =
        {
            {.key = "d",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 64,
             .preset = "8",
             .meaning = "elements of the vectors to come"},
            {.key = "books",
             .kind = FB_OPTION_CHOICE,
             .choices = "subspace|layer",
             .preset = "subspace",
             .meaning = "the codebooks to come: one for each place of a vector, or one for all"},
            {.key = "sweeps",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1000,
             .preset = "20",
             .meaning = "over all pairs of channels, at most"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .preset = "",
             .meaning = "names of the layers that count; all when empty"},
            {.key = "exclude",
             .kind = FB_OPTION_TEXT,
             .preset = "",
             .meaning = "names of layers that do not count"},
        },
    .apply = apply,
};
