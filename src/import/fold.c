/* Constants computed at import. Moving numbers about is done here; all arithmetic is done by the
 * library's own kernels, through a model of one node, so that there is no second truth. */
#include "import/import.h"

#include "fewbit/run.h"

#include <string.h>

/* ---- moving -------------------------------------------------------------------------------- */

void fb_imp_strided(void *dst, const void *src, size_t elem_bytes, int32_t rank,
                    const int64_t *dims, const int64_t *stride, int64_t offset)
{
    int64_t index[FB_MAX_RANK] = {0};
    char *d = dst;
    const char *s = (const char *)src + offset * (int64_t)elem_bytes;
    int64_t n = rank ? dims[rank - 1] : 1, step = rank ? stride[rank - 1] : 0;
    for (;;) {
        const char *p = s;
        for (int64_t i = 0; i < n; i++) {
            memcpy(d, p, elem_bytes);
            d += elem_bytes;
            p += step * (int64_t)elem_bytes;
        }
        int32_t axis = rank - 2;
        for (; axis >= 0; axis--) {
            s += stride[axis] * (int64_t)elem_bytes;
            if (++index[axis] < dims[axis])
                break;
            s -= stride[axis] * dims[axis] * (int64_t)elem_bytes;
            index[axis] = 0;
        }
        if (axis < 0)
            return;
    }
}

static fb_tensor as_tensor(const fb_imp_value *c, const fb_imp_buf *buf)
{
    fb_tensor t = {.name = c->name,
                   .dtype = c->shape.dtype,
                   .rank = c->shape.rank,
                   .is_const = true,
                   .enc = c->enc,
                   .data = buf->data,
                   .data_bytes = buf->bytes};
    memcpy(t.dims, c->shape.dims, sizeof t.dims);
    return t;
}

fb_status fb_imp_decode_const(fb_imp *im, int32_t v, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    fb_tensor t = as_tensor(c, c->buf);
    FB_TRY(fb_imp_add_const(im, c->name, FB_F32, c->shape.rank, c->shape.dims, out));
    return fb_tensor_decode(&t, fb_imp_data(im, *out));
}

static fb_imp_buf *permuted(const fb_imp_value *c, const fb_imp_buf *from, const fb_shape *to,
                            const int32_t *perm)
{
    int64_t stride[FB_MAX_RANK], at[FB_MAX_RANK], step = 1;
    if (!from)
        return NULL;
    fb_imp_buf *b = fb_imp_buf_new(from->bytes);
    for (int32_t i = c->shape.rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= c->shape.dims[i];
    }
    for (int32_t i = 0; i < to->rank; i++)
        at[i] = stride[perm[i]];
    if (b && from->bytes)
        fb_imp_strided(b->data, from->data, fb_imp_elem_bytes(c), to->rank, to->dims, at, 0);
    return b;
}

fb_status fb_imp_permute_const(fb_imp *im, int32_t v, const int32_t *perm, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    fb_shape s = c->shape;
    for (int32_t i = 0; i < s.rank; i++)
        s.dims[i] = c->shape.dims[perm[i]];
    bool moves = false; /* axes of size 1 may go anywhere */
    for (int32_t i = 0, last = -1; i < s.rank; i++) {
        if (s.dims[i] == 1)
            continue;
        moves = moves || perm[i] < last;
        last = perm[i];
    }
    fb_imp_buf *b = moves ? permuted(c, c->buf, &s, perm) : fb_imp_buf_ref(c->buf);
    FB_TRY(fb_imp_add_const_buf(im, c->name, &s, b, out));
    fb_imp_value *o = fb_imp_at(im, *out);
    o->enc = c->enc;
    o->pack_bits = c->pack_bits;
    for (int32_t i = 0; i < s.rank && c->enc.axis >= 0; i++) {
        if (perm[i] == c->enc.axis)
            o->enc.axis = (int8_t)i;
    }
    if (!c->alt)
        return FB_OK;
    o->alt = moves ? permuted(c, c->alt, &s, perm) : fb_imp_buf_ref(c->alt);
    return o->alt ? FB_OK : fb_imp_no_memory();
}

static fb_status reshaped(fb_imp *im, int32_t v, const fb_shape *to, int32_t *out)
{
    const fb_imp_value *c = fb_imp_at(im, v);
    bool first = c->enc.axis == 0 && to->rank > 0 && to->dims[0] == c->shape.dims[0];
    if (c->enc.axis >= 0 && !first) {
        FB_TRY(fb_imp_decode_const(im, v, &v));
        c = fb_imp_at(im, v);
    }
    FB_TRY(fb_imp_add_const_buf(im, c->name, to, fb_imp_buf_ref(c->buf), out));
    fb_imp_at(im, *out)->enc = c->enc;
    fb_imp_at(im, *out)->pack_bits = c->pack_bits;
    fb_imp_at(im, *out)->alt = fb_imp_buf_ref(c->alt);
    return FB_OK;
}

/* ---- computing ----------------------------------------------------------------------------- */

/* A model of the node alone: its first input is the model's, the others are constants. */
static fb_status one_node_model(fb_imp *im, const fb_node *node, const fb_shape *shape, bool alt,
                                fb_model **out)
{
    fb_model *m;
    fb_status status;
    *out = NULL;
    FB_TRY(fb_model_create(&m));
    int32_t *in = fb_calloc(node->n_in, sizeof *in), y;
    if (!in) {
        status = fb_imp_no_memory();
        goto fail;
    }
    for (uint32_t i = 0; i < node->n_in; i++) {
        in[i] = -1;
        if (node->in[i] < 0)
            continue;
        const fb_imp_value *c = fb_imp_at(im, node->in[i]);
        const fb_imp_buf *b = alt && c->alt ? c->alt : c->buf;
        if (i == 0) {
            FB_GO(fb_model_add_tensor(m, "", c->shape.dtype, c->shape.rank, c->shape.dims, &in[i]));
            continue;
        }
        FB_GO(fb_model_add_const(m, "", c->shape.dtype, c->shape.rank, c->shape.dims, b->data,
                                 &in[i]));
    }
    FB_GO(fb_model_add_tensor(m, "", shape->dtype, shape->rank, shape->dims, &y));
    FB_GO(fb_model_add_node(m, node->op, node->name, node->n_in, in, 1, &y, &node->attr, NULL));
    FB_GO(fb_model_set_io(m, in, 1, &y, 1));
    fb_free(in);
    *out = m;
    return FB_OK;
fail:
    fb_free(in);
    fb_model_close(&m);
    return status;
}

static fb_status compute(fb_imp *im, const fb_node *node, const fb_shape *shape, bool alt,
                         void *dst, size_t bytes)
{
    fb_model *m = NULL;
    fb_plan *plan = NULL;
    fb_run *run = NULL;
    fb_status status;
    fb_plan_options options = {.batch = 1, .cpu = 0};
    const fb_imp_value *x = fb_imp_at(im, node->in[0]);
    size_t in_bytes = 0, out_bytes = 0;
    FB_GO(one_node_model(im, node, shape, alt, &m));
    FB_GO(fb_plan_create(m, &options, &plan));
    FB_GO(fb_run_create(plan, 1, &run));
    void *to = fb_run_input(run, 0, &in_bytes);
    const fb_imp_buf *from = alt && x->alt ? x->alt : x->buf;
    if (!to || in_bytes != from->bytes) {
        status = fb_fail(FB_E_INTERNAL, "internal error: a folded node takes %zu bytes, not %zu",
                         in_bytes, from->bytes);
        goto fail;
    }
    memcpy(to, from->data, in_bytes);
    FB_GO(fb_run_execute(run));
    const void *result = fb_run_output(run, 0, &out_bytes);
    if (!result || out_bytes != bytes)
        status = fb_fail(FB_E_INTERNAL, "internal error: a folded node gives %zu bytes, not %zu",
                         out_bytes, bytes);
    else
        memcpy(dst, result, bytes);
fail:
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    fb_model_close(&m);
    return status;
}

/* Encoded constants decoded; the node's input list is the caller's own. */
static fb_status decode_inputs(fb_imp *im, const fb_node *node)
{
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] >= 0 && fb_imp_at(im, node->in[i])->enc.kind != FB_ENC_PLAIN)
            FB_TRY(fb_imp_decode_const(im, node->in[i], &node->in[i]));
    }
    return FB_OK;
}

/* Whether the result is worth its memory and its time. */
static bool affordable(fb_imp *im, const fb_node *node, const fb_shape *out, bool *any_alt)
{
    int64_t n, sum = 0, k;
    if (!fb_imp_elems(out, &n))
        return false;
    *any_alt = false;
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] < 0)
            continue;
        *any_alt = *any_alt || fb_imp_at(im, node->in[i])->alt;
        if (!fb_imp_elems(fb_imp_shape(im, node->in[i]), &k))
            return false;
        sum += k;
    }
    uint64_t cost = (uint64_t)n + (uint64_t)sum + 20000; /* a plan of its own is not free */
    if ((n > FB_IMP_FOLD_ELEMS && n > 4 * sum) || cost > im->fold_budget)
        return false;
    im->fold_budget -= cost;
    return true;
}

static bool has_batch(const fb_shape *s)
{
    for (int32_t i = 0; i < s->rank; i++) {
        if (fb_imp_dim(s->dims[i]) < 0)
            return true;
    }
    return false;
}

fb_status fb_imp_fold(fb_imp *im, const fb_node *node, const fb_shape *out, bool *folded,
                      int32_t *v)
{
    bool any_alt;
    *folded = false;
    /* Layers have their own ways; what they cost is not in the sizes of their tensors. */
    if (node->op == FB_OP_CONV || node->op == FB_OP_CONV_TRANSPOSE || node->op == FB_OP_MAX_POOL ||
        node->op == FB_OP_AVG_POOL || node->op == FB_OP_RESIZE || node->op == FB_OP_MATMUL ||
        node->op == FB_OP_DENSE || node->op == FB_OP_LRN || has_batch(out) || node->n_in < 1 ||
        node->in[0] < 0 || !affordable(im, node, out, &any_alt))
        return FB_OK;
    *folded = true;
    if (node->op == FB_OP_RESHAPE)
        return reshaped(im, node->in[0], out, v);
    if (node->op == FB_OP_TRANSPOSE)
        return fb_imp_permute_const(im, node->in[0], node->attr.perm.perm, v);
    FB_TRY(decode_inputs(im, node));
    int32_t y;
    FB_TRY(fb_imp_add_const(im, "", out->dtype, out->rank, out->dims, &y));
    fb_imp_value *c = fb_imp_at(im, y);
    FB_TRY(compute(im, node, out, false, c->buf->data, c->buf->bytes));
    if (any_alt) {
        fb_imp_buf *alt = fb_imp_buf_new(c->buf->bytes);
        if (!alt)
            return fb_imp_no_memory();
        c->alt = alt;
        FB_TRY(compute(im, node, out, true, alt->data, alt->bytes));
        if (memcmp(alt->data, c->buf->data, alt->bytes) == 0)
            fb_imp_buf_drop(&c->alt);
    }
    *v = y;
    return FB_OK;
}
