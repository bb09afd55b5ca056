/* The integer part of a network. */
#include "compress/region.h"

#include "compress/method.h"

static bool is_activation(const fb_model *m, int32_t t)
{
    return t >= 0 && !m->tensors[t].is_const && m->tensors[t].dtype == FB_F32;
}

bool fb_node_is_layer(const fb_model *m, const fb_node *n)
{
    int32_t w = fb_node_weight(m, n);
    if ((n->op != FB_OP_CONV && n->op != FB_OP_DENSE) || w < 0 || !is_activation(m, n->in[0]))
        return false;
    const fb_tensor *t = &m->tensors[w];
    return t->enc.kind == FB_ENC_PLAIN || t->enc.kind == FB_ENC_PRODUCT || fb_tensor_is_int8(t);
}

bool fb_node_is_carrier(const fb_model *m, const fb_node *n)
{
    switch (n->op) {
    case FB_OP_MAX_POOL:
        return n->n_out < 2 || n->out[1] < 0;
    case FB_OP_BINARY:
        return (n->attr.binary.kind == FB_BINARY_ADD || n->attr.binary.kind == FB_BINARY_MUL) &&
               is_activation(m, n->in[0]) && is_activation(m, n->in[1]);
    case FB_OP_PAD:
        return n->attr.pad.mode == FB_PAD_CONSTANT && n->attr.pad.value == 0;
    case FB_OP_REDUCE:
        return n->attr.reduce.kind == FB_REDUCE_MEAN && n->attr.reduce.axes == 6 &&
               m->tensors[n->in[0]].rank == 4;
    case FB_OP_UNARY:
    case FB_OP_AVG_POOL:
    case FB_OP_CONCAT:
    case FB_OP_SLICE:
    case FB_OP_RESHAPE:
    case FB_OP_TRANSPOSE:
        return true;
    default:
        return false;
    }
}

/* Its output holds values of its input and nothing else: codes are copied. */
static bool is_move(const fb_node *n)
{
    return n->op == FB_OP_MAX_POOL || n->op == FB_OP_SLICE || n->op == FB_OP_RESHAPE ||
           n->op == FB_OP_TRANSPOSE || n->op == FB_OP_PAD;
}

/* --- signs ----------------------------------------------------------------------------------- */

static bool act_is_positive(const fb_act *act)
{
    return act->clamp && act->lo >= 0;
}

static bool unary_is_positive(const fb_attr_unary *u, bool of_positive)
{
    switch ((fb_unary)u->kind) {
    case FB_UNARY_RELU:
    case FB_UNARY_SIGMOID:
    case FB_UNARY_HARD_SIGMOID:
    case FB_UNARY_SOFTPLUS:
    case FB_UNARY_EXP:
    case FB_UNARY_SQRT:
    case FB_UNARY_ABS:
        return true;
    case FB_UNARY_CLIP:
        return u->a >= 0 || (of_positive && u->b >= 0);
    case FB_UNARY_LEAKY_RELU:
    case FB_UNARY_HARD_SWISH:
    case FB_UNARY_TANH:
        return of_positive;
    default:
        return false;
    }
}

static bool is_positive(const fb_node *n, bool of_positive)
{
    switch (n->op) {
    case FB_OP_CONV:
    case FB_OP_CONV_TRANSPOSE:
        return act_is_positive(&n->attr.conv.act);
    case FB_OP_DENSE:
        return act_is_positive(&n->attr.dense.act);
    case FB_OP_UNARY:
        return unary_is_positive(&n->attr.unary, of_positive);
    case FB_OP_BINARY:
        return act_is_positive(&n->attr.binary.act) ||
               (of_positive &&
                (n->attr.binary.kind == FB_BINARY_ADD || n->attr.binary.kind == FB_BINARY_MUL));
    case FB_OP_PAD:
        return of_positive && n->attr.pad.value >= 0;
    case FB_OP_SOFTMAX:
        return !n->attr.softmax.log;
    case FB_OP_MAX_POOL:
    case FB_OP_AVG_POOL:
    case FB_OP_REDUCE:
    case FB_OP_CONCAT:
    case FB_OP_SLICE:
    case FB_OP_RESHAPE:
    case FB_OP_TRANSPOSE:
    case FB_OP_EXPAND:
    case FB_OP_LRN:
        return of_positive;
    default:
        return false;
    }
}

static void find_positive(const fb_model *m, fb_region *r)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        bool all = true;
        for (uint32_t k = 0; k < n->n_in; k++)
            all = all && (n->in[k] < 0 || r->positive[n->in[k]]);
        if (n->out[0] >= 0)
            r->positive[n->out[0]] = is_positive(n, all);
    }
}

/* --- what is encoded ------------------------------------------------------------------------- */

/* Backwards: a consumer stands behind its producer. */
static void find_encoded(const fb_model *m, fb_region *r)
{
    for (size_t i = m->n_nodes; i-- > 0;) {
        const fb_node *n = &m->nodes[i];
        if (r->integer[i])
            r->encoded[n->in[0]] = true;
        if (n->out[0] < 0 || !r->encoded[n->out[0]] || !fb_node_is_carrier(m, n))
            continue;
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (is_activation(m, n->in[k]))
                r->encoded[n->in[k]] = true;
        }
    }
}

static int32_t leader_of(fb_region *r, int32_t t)
{
    while (r->leader[t] != t)
        t = r->leader[t] = r->leader[r->leader[t]];
    return t;
}

static void join(fb_region *r, int32_t a, int32_t b)
{
    a = leader_of(r, a);
    b = leader_of(r, b);
    r->leader[a > b ? a : b] = a > b ? b : a;
}

/* Moves share by necessity. A concat shares with an input that only it reads: rounding once to the
 * common scale is better than rounding to the input's own scale and then to the common one. Inputs
 * that others read, and those that moves made, keep their scales and are rescaled. */
static void find_leaders(const fb_model *m, const int32_t *producer, const uint32_t *n_uses,
                         fb_region *r)
{
    for (size_t t = 0; t < m->n_tensors; t++)
        r->leader[t] = (int32_t)t;
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (n->out[0] < 0 || !r->encoded[n->out[0]])
            continue;
        if (is_move(n) && fb_node_is_carrier(m, n))
            join(r, n->in[0], n->out[0]);
        for (uint32_t k = 0; k < n->n_in && n->op == FB_OP_CONCAT; k++) {
            int32_t from = n->in[k] >= 0 && r->encoded[n->in[k]] ? producer[n->in[k]] : -1;
            if (from >= 0 && n_uses[n->in[k]] == 1 && !is_move(&m->nodes[from]))
                join(r, n->in[k], n->out[0]);
        }
    }
    for (size_t t = 0; t < m->n_tensors; t++)
        r->leader[t] = leader_of(r, (int32_t)t);
}

/* A conv or dense layer with a constant weight, in whatever encoding. */
static bool has_weight(const fb_model *m, const fb_node *n)
{
    return (n->op == FB_OP_CONV || n->op == FB_OP_DENSE) && fb_node_weight(m, n) >= 0 &&
           is_activation(m, n->in[0]);
}

fb_status fb_region_find(const fb_model *m, const char *include, const char *exclude, fb_region *r)
{
    return fb_region_find_layers(m, include, exclude, FB_REGION_INTEGER, r);
}

fb_status fb_region_find_layers(const fb_model *m, const char *include, const char *exclude,
                                fb_region_layers layers, fb_region *r)
{
    *r = (fb_region){.integer = fb_calloc(m->n_nodes + 1, sizeof(bool)),
                     .encoded = fb_calloc(m->n_tensors + 1, sizeof(bool)),
                     .positive = fb_calloc(m->n_tensors + 1, sizeof(bool)),
                     .leader = fb_calloc(m->n_tensors + 1, sizeof(int32_t))};
    int32_t *producer = fb_calloc(m->n_tensors + 1, sizeof *producer);
    uint32_t *n_uses = fb_calloc(m->n_tensors + 1, sizeof *n_uses);
    fb_status status = FB_OK;
    if (!r->integer || !r->encoded || !r->positive || !r->leader || !producer || !n_uses) {
        status = fb_fail(FB_E_MEMORY, "no memory for the model");
        goto done;
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        bool wanted = (!*include || fb_glob(include, n->name)) && !fb_glob(exclude, n->name);
        r->integer[i] =
            wanted && (layers == FB_REGION_ALL ? has_weight(m, n) : fb_node_is_layer(m, n));
        r->n_integer += r->integer[i];
    }
    fb_model_uses(m, producer, n_uses);
    find_positive(m, r);
    find_encoded(m, r);
    find_leaders(m, producer, n_uses, r);
    for (size_t t = 0; t < m->n_tensors; t++)
        r->n_encoded += r->encoded[t];
done:
    fb_free(producer);
    fb_free(n_uses);
    if (status != FB_OK)
        fb_region_free(r);
    return status;
}

void fb_region_free(fb_region *r)
{
    fb_free(r->integer);
    fb_free(r->encoded);
    fb_free(r->positive);
    fb_free(r->leader);
    *r = (fb_region){0};
}
