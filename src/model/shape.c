/* Shape inference: limits, sentences, the walk over a model. The rules are in shape_layer.c (those
 * that compute) and shape_move.c (those that only move numbers). */
#include "model/shape_rules.h"

#include <stdio.h>
#include <string.h>

static fb_shape_rule *const rules[FB_OP_COUNT] = {
    [FB_OP_CONV] = fb_shape_conv,
    [FB_OP_CONV_TRANSPOSE] = fb_shape_conv_transpose,
    [FB_OP_DENSE] = fb_shape_dense,
    [FB_OP_MATMUL] = fb_shape_matmul,
    [FB_OP_SCALE_SHIFT] = fb_shape_scale_shift,
    [FB_OP_UNARY] = fb_shape_unary,
    [FB_OP_PRELU] = fb_shape_prelu,
    [FB_OP_BINARY] = fb_shape_binary,
    [FB_OP_MAX_POOL] = fb_shape_max_pool,
    [FB_OP_AVG_POOL] = fb_shape_avg_pool,
    [FB_OP_REDUCE] = fb_shape_reduce,
    [FB_OP_ARG_MAX] = fb_shape_arg_max,
    [FB_OP_CONCAT] = fb_shape_concat,
    [FB_OP_SLICE] = fb_shape_slice,
    [FB_OP_GATHER] = fb_shape_gather,
    [FB_OP_RESHAPE] = fb_shape_reshape,
    [FB_OP_TRANSPOSE] = fb_shape_transpose,
    [FB_OP_EXPAND] = fb_shape_expand,
    [FB_OP_PAD] = fb_shape_pad,
    [FB_OP_RESIZE] = fb_shape_resize,
    [FB_OP_LRN] = fb_shape_lrn,
    [FB_OP_SOFTMAX] = fb_shape_softmax,
    [FB_OP_CAST] = fb_shape_cast,
    [FB_OP_CONVERT] = fb_shape_convert,
    [FB_OP_REINTERPRET] = fb_shape_reinterpret,
};

fb_status fb_shape_broken(const fb_node *node, fb_status status)
{
    const fb_op_def *def = fb_op_get(node->op);
    return fb_fail_in(status, "%s '%.200s'", def ? def->name : "operator",
                      node->name ? node->name : "");
}

const char *fb_shape_text(const fb_shape *s, char text[192])
{
    size_t at = 0;
    text[at++] = '[';
    for (int32_t i = 0; i < s->rank; i++)
        at += (size_t)snprintf(text + at, 192 - at, "%s%lld", i ? "," : "", (long long)s->dims[i]);
    text[at] = ']';
    text[at + 1] = '\0';
    return text;
}

fb_status fb_shape_want_f32(const fb_node *node, const fb_shape *in)
{
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (in[i].dtype != 0 && in[i].dtype != FB_F32)
            return FB_RULE(node, "input %u is %s, must be f32", i, fb_dtype_name(in[i].dtype));
    }
    return FB_OK;
}

fb_status fb_shape_want_rank(const fb_node *node, uint32_t i, const fb_shape *in, int32_t rank)
{
    if (in[i].rank != rank)
        return FB_RULE(node, "input %u has %d dims, must have %d", i, (int)in[i].rank, (int)rank);
    return FB_OK;
}

fb_status fb_shape_want_flag(const fb_node *node, const char *name, int32_t value)
{
    if (value != 0 && value != 1)
        return FB_RULE(node, "%s=%d must be 0 or 1", name, (int)value);
    return FB_OK;
}

fb_status fb_shape_want_act(const fb_node *node, const fb_act *act)
{
    FB_TRY(fb_shape_want_flag(node, "act.clamp", act->clamp));
    if (act->clamp && !(act->lo <= act->hi))
        return FB_RULE(node, "activation clamps to [%g, %g], which is no interval", (double)act->lo,
                       (double)act->hi);
    return FB_OK;
}

fb_status fb_shape_want_axis(const fb_node *node, int32_t axis, int32_t rank)
{
    if (axis < 0 || axis >= rank)
        return FB_RULE(node, "axis=%d is not within 0..%d", (int)axis, (int)rank - 1);
    return FB_OK;
}

fb_status fb_shape_attr_dims(const fb_node *node, int32_t rank, const int64_t *dims, int64_t batch,
                             int64_t *out)
{
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] == 0 || dims[i] > FB_LIMIT_DIM || dims[i] < -FB_LIMIT_DIM)
            return FB_RULE(node,
                           "size %lld of axis %d must be 1..2^31, or -k for k times the batch",
                           (long long)dims[i], (int)i);
        out[i] = fb_dim_at(dims[i], batch);
    }
    return FB_OK;
}

bool fb_shape_broadcast(const fb_shape *a, const fb_shape *b, fb_shape *out)
{
    fb_shape r = {.dtype = a->dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
    for (int32_t i = 0; i < r.rank; i++) {
        int32_t ia = i - (r.rank - a->rank), ib = i - (r.rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1)
            return false;
        r.dims[i] = da == 1 ? db : da;
    }
    *out = r;
    return true;
}

/* A dim that is a multiple of the mark counts as what it is for batch 1, so that a network whose
 * shapes are inferred symbolically meets the same limits. */
static fb_status check_limits(const fb_shape *s, int64_t batch)
{
    char text[192];
    int64_t elems = 1;
    if (s->rank < 0 || s->rank > FB_MAX_RANK)
        return fb_fail(FB_E_LIMIT, "a tensor has %d dims, at most %d are possible", (int)s->rank,
                       FB_MAX_RANK);
    for (int32_t i = 0; i < s->rank; i++) {
        int64_t d = s->dims[i];
        if (d <= 0)
            return fb_fail(FB_E_FORMAT, "dim %d of a tensor is %lld, must be at least 1", (int)i,
                           (long long)d);
        if (batch == FB_BATCH_MARK && d % FB_BATCH_MARK == 0)
            d /= FB_BATCH_MARK;
        if (d > FB_LIMIT_DIM)
            return fb_fail(FB_E_LIMIT, "dim %d of a tensor is %lld, at most 2^31 is possible",
                           (int)i, (long long)d);
        if (!fb_i64_mul(elems, d, &elems) || elems > FB_LIMIT_ELEMS)
            return fb_fail(FB_E_LIMIT, "a tensor of %s has more than 2^40 elements",
                           fb_shape_text(s, text));
    }
    return FB_OK;
}

void fb_shape_of(const fb_tensor *t, int64_t batch, fb_shape *shape)
{
    memset(shape, 0, sizeof *shape);
    shape->dtype = t->dtype;
    shape->rank = t->rank;
    for (int32_t i = 0; i < t->rank; i++)
        shape->dims[i] = fb_dim_at(t->dims[i], batch);
}

void fb_shape_to_symbolic(const fb_shape *shape, int64_t dims[FB_MAX_RANK])
{
    memset(dims, 0, FB_MAX_RANK * sizeof dims[0]);
    for (int32_t i = 0; i < shape->rank; i++) {
        int64_t d = shape->dims[i];
        dims[i] = d % FB_BATCH_MARK == 0 ? -(d / FB_BATCH_MARK) : d;
    }
}

fb_status fb_shape_infer_node(const fb_node *node, const fb_shape *in, int64_t batch, fb_shape *out)
{
    const fb_op_def *def = fb_op_get(node->op);
    if (!def)
        return fb_fail(FB_E_FORMAT, "node '%.200s' has the unknown operator %d", node->name,
                       (int)node->op);
    if (batch < 1 || batch > UINT32_MAX)
        return fb_fail(FB_E_ARG, "batch %lld is not within 1..2^32-1", (long long)batch);
    if (node->n_in < def->min_in || node->n_in > def->max_in)
        return FB_RULE(node, "has %u inputs, must have %u to %u", node->n_in, def->min_in,
                       def->max_in);
    if (node->n_out < 1 || node->n_out > def->n_out)
        return FB_RULE(node, "has %u outputs, must have 1 to %u", node->n_out, def->n_out);
    for (uint32_t i = 0; i < node->n_in; i++) {
        bool optional = i >= def->min_in && def->attr != FB_ATTR_AXIS;
        if (in[i].dtype == 0 && !optional)
            return FB_RULE(node, "input %u is absent, but required", i);
        fb_status status = in[i].dtype == 0 ? FB_OK : check_limits(&in[i], batch);
        if (status != FB_OK)
            return fb_shape_broken(node, status);
    }
    FB_TRY(rules[node->op](node, in, batch, out));
    for (uint32_t i = 0; i < node->n_out; i++) {
        for (int32_t d = out[i].rank; d >= 0 && d < FB_MAX_RANK; d++)
            out[i].dims[d] = 0;
        fb_status status = check_limits(&out[i], batch);
        if (status != FB_OK)
            return fb_shape_broken(node, status);
    }
    return FB_OK;
}

enum { FEW_INPUTS = 8 };

static fb_status infer_one(const fb_model *m, const fb_node *n, int64_t batch, fb_shape *in,
                           fb_shape *shapes)
{
    fb_shape out[2] = {{0}};
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (n->in[i] >= 0)
            in[i] = shapes[n->in[i]];
        else
            memset(&in[i], 0, sizeof in[i]);
    }
    FB_ENSURE(n->n_out <= 2);
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (n->out[i] >= 0)
            out[i].dtype = m->tensors[n->out[i]].dtype; /* read by cast and reinterpret */
    }
    FB_TRY(fb_shape_infer_node(n, in, batch, out));
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (n->out[i] >= 0)
            shapes[n->out[i]] = out[i];
    }
    return FB_OK;
}

fb_status fb_shape_infer(const fb_model *m, int64_t batch, fb_shape *shapes)
{
    if (batch < 1 || batch > UINT32_MAX)
        return fb_fail(FB_E_ARG, "batch %lld is not within 1..2^32-1", (long long)batch);
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_shape_of(&m->tensors[i], batch, &shapes[i]);
        fb_status status = check_limits(&shapes[i], batch);
        if (status != FB_OK)
            return fb_fail_in(status, "tensor '%.200s' with batch %lld", m->tensors[i].name,
                              (long long)batch);
    }
    uint32_t most = 0;
    for (size_t i = 0; i < m->n_nodes; i++)
        most = m->nodes[i].n_in > most ? m->nodes[i].n_in : most;
    fb_shape few[FEW_INPUTS];
    fb_shape *in = most <= FEW_INPUTS ? few : fb_calloc(most, sizeof *in);
    if (!in)
        return fb_fail(FB_E_MEMORY, "no memory for the shapes of %u inputs", most);
    fb_status status = FB_OK;
    for (size_t i = 0; i < m->n_nodes && status == FB_OK; i++)
        status = infer_one(m, &m->nodes[i], batch, in, shapes);
    if (in != few)
        fb_free(in);
    return status;
}
