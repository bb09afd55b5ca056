/* The importer's graph: values, nodes, and emitting a node with its shape inferred. */
#include "import/import.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

fb_status fb_imp_no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the model");
}

fb_imp *fb_imp_create(void)
{
    fb_imp *im = fb_calloc(1, sizeof *im);
    if (!im)
        return NULL;
    im->arena = fb_arena_create();
    im->fold_budget = (uint64_t)1 << 32;
    if (!im->arena) {
        fb_free(im);
        return NULL;
    }
    return im;
}

void fb_imp_destroy(fb_imp *im)
{
    if (!im)
        return;
    for (size_t i = 0; i < im->n_values; i++) {
        fb_imp_buf_drop(&im->values[i]->buf);
        fb_imp_buf_drop(&im->values[i]->alt);
    }
    fb_free(im->values);
    fb_free(im->nodes);
    fb_arena_destroy(im->arena);
    fb_free(im);
}

/* ---- payloads ------------------------------------------------------------------------------ */

fb_imp_buf *fb_imp_buf_adopt(void *data, size_t bytes)
{
    fb_imp_buf *b = data ? fb_alloc(sizeof *b) : NULL;
    if (!b) {
        fb_free(data);
        return NULL;
    }
    *b = (fb_imp_buf){data, bytes, 1};
    return b;
}

fb_imp_buf *fb_imp_buf_new(size_t bytes)
{
    return fb_imp_buf_adopt(fb_calloc(bytes, 1), bytes);
}

fb_imp_buf *fb_imp_buf_ref(fb_imp_buf *b)
{
    if (b)
        b->refs++;
    return b;
}

void fb_imp_buf_drop(fb_imp_buf **b)
{
    if (*b && --(*b)->refs == 0) {
        fb_free((*b)->data);
        fb_free(*b);
    }
    *b = NULL;
}

/* ---- values -------------------------------------------------------------------------------- */

fb_status fb_imp_add_value(fb_imp *im, const char *name, const fb_shape *shape, int32_t *v)
{
    if (im->n_values >= FB_LIMIT_TENSORS)
        return fb_fail(FB_E_LIMIT, "more than %d tensors", (int)FB_LIMIT_TENSORS);
    void *items = im->values;
    if (!fb_grow(&items, &im->cap_values, im->n_values + 1, sizeof *im->values))
        return fb_imp_no_memory();
    im->values = items;
    fb_imp_value *value = fb_arena_alloc(im->arena, sizeof *value);
    if (!value)
        return fb_imp_no_memory();
    value->name = name;
    value->shape = *shape;
    value->enc.axis = -1;
    value->producer = -1;
    *v = (int32_t)im->n_values;
    im->values[im->n_values++] = value;
    return FB_OK;
}

bool fb_imp_elems(const fb_shape *s, int64_t *n)
{
    *n = 1;
    for (int32_t i = 0; i < s->rank; i++) {
        int64_t d = s->dims[i] % FB_BATCH_MARK == 0 ? s->dims[i] / FB_BATCH_MARK : s->dims[i];
        if (d < 0 || !fb_i64_mul(*n, d, n) || *n > FB_LIMIT_ELEMS)
            return false;
    }
    /* The marks again; each is counted, so that constants are exact. */
    for (int32_t i = 0; i < s->rank; i++) {
        if (s->dims[i] != 0 && s->dims[i] % FB_BATCH_MARK == 0 && !fb_i64_mul(*n, FB_BATCH_MARK, n))
            return false;
    }
    return true;
}

fb_status fb_imp_add_const_buf(fb_imp *im, const char *name, const fb_shape *shape, fb_imp_buf *buf,
                               int32_t *v)
{
    fb_status status = buf ? fb_imp_add_value(im, name, shape, v) : fb_imp_no_memory();
    if (status != FB_OK) {
        fb_imp_buf_drop(&buf);
        return status;
    }
    im->values[*v]->is_const = true;
    im->values[*v]->buf = buf;
    return FB_OK;
}

fb_status fb_imp_add_const(fb_imp *im, const char *name, fb_dtype dtype, int32_t rank,
                           const int64_t *dims, int32_t *v)
{
    fb_shape s = {.dtype = dtype, .rank = rank};
    int64_t n;
    size_t bytes;
    if (rank > 0)
        memcpy(s.dims, dims, (size_t)rank * sizeof *dims);
    if (!fb_imp_elems(&s, &n) || !fb_size_mul((size_t)n, fb_dtype_bytes(dtype), &bytes))
        return fb_fail(FB_E_LIMIT, "constant '%s' is too large", name);
    return fb_imp_add_const_buf(im, name, &s, fb_imp_buf_new(bytes), v);
}

fb_status fb_imp_scalar_f32(fb_imp *im, float x, int32_t *v)
{
    FB_TRY(fb_imp_add_const(im, "", FB_F32, 0, NULL, v));
    *(float *)fb_imp_data(im, *v) = x;
    return FB_OK;
}

size_t fb_imp_elem_bytes(const fb_imp_value *c)
{
    if (c->enc.kind == FB_ENC_AFFINE)
        return c->enc.bits > 8 ? 2 : 1;
    return fb_dtype_bytes(c->shape.dtype);
}

fb_status fb_imp_copy_encoding(fb_imp *im, const fb_encoding *from, fb_encoding *to)
{
    fb_encoding e = *from;
    if (from->scale) {
        e.scale = fb_arena_array(im->arena, from->n_scales, sizeof *e.scale);
        if (!e.scale)
            return fb_imp_no_memory();
        memcpy(e.scale, from->scale, from->n_scales * sizeof *e.scale);
    }
    if (from->zero) {
        e.zero = fb_arena_array(im->arena, from->n_scales, sizeof *e.zero);
        if (!e.zero)
            return fb_imp_no_memory();
        memcpy(e.zero, from->zero, from->n_scales * sizeof *e.zero);
    }
    *to = e;
    return FB_OK;
}

/* ---- nodes --------------------------------------------------------------------------------- */

fb_status fb_imp_add_node(fb_imp *im, fb_op op, const char *name, const fb_attr *attr,
                          uint32_t n_in, const int32_t *in, uint32_t n_out, const int32_t *out)
{
    if (im->n_nodes >= FB_LIMIT_NODES)
        return fb_fail(FB_E_LIMIT, "more than %d nodes", (int)FB_LIMIT_NODES);
    void *items = im->nodes;
    if (!fb_grow(&items, &im->cap_nodes, im->n_nodes + 1, sizeof *im->nodes))
        return fb_imp_no_memory();
    im->nodes = items;
    fb_imp_node node = {.n = {.op = op, .name = name, .n_in = n_in, .n_out = n_out}};
    node.n.in = fb_arena_array(im->arena, n_in, sizeof(int32_t));
    node.n.out = fb_arena_array(im->arena, n_out, sizeof(int32_t));
    if (!node.n.in || !node.n.out)
        return fb_imp_no_memory();
    memcpy(node.n.in, in, n_in * sizeof(int32_t));
    memcpy(node.n.out, out, n_out * sizeof(int32_t));
    if (attr)
        node.n.attr = *attr;
    for (uint32_t i = 0; i < n_in; i++) {
        if (in[i] >= 0)
            im->values[in[i]]->uses++;
    }
    for (uint32_t i = 0; i < n_out; i++) {
        if (out[i] >= 0)
            im->values[out[i]]->producer = (int32_t)im->n_nodes;
    }
    im->nodes[im->n_nodes++] = node;
    return FB_OK;
}

/* What a node of ours may read: known, not empty, not different from batch to batch. */
static fb_status check_operand(fb_imp *im, int32_t v)
{
    const fb_imp_value *x = fb_imp_at(im, v);
    if (x->shape.dtype == 0)
        return fb_fail(FB_E_INTERNAL, "internal error: a node reads an unknown value");
    for (int32_t i = 0; i < x->shape.rank; i++) {
        if (x->shape.dims[i] == 0)
            return fb_imp_no(im, "tensor '%s' is empty", x->name);
    }
    return FB_OK;
}

static fb_status infer(fb_imp *im, const fb_node *node, fb_shape *out)
{
    fb_shape few[8];
    fb_shape *in = node->n_in <= 8 ? few : fb_calloc(node->n_in, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    fb_status status = FB_OK;
    for (uint32_t i = 0; i < node->n_in && status == FB_OK; i++) {
        if (node->in[i] < 0) {
            memset(&in[i], 0, sizeof in[i]);
            continue;
        }
        in[i] = *fb_imp_shape(im, node->in[i]);
        status = check_operand(im, node->in[i]);
    }
    if (status == FB_OK) {
        status = fb_shape_infer_node(node, in, FB_BATCH_MARK, out);
        if (status != FB_OK && im->cur)
            status = fb_fail_in(status, "node '%s' (%s)", im->cur->name, im->cur->op);
    }
    if (in != few)
        fb_free(in);
    return status;
}

static fb_status check_alt(fb_imp *im, const fb_node *node)
{
    for (uint32_t i = 0; i < node->n_in; i++) {
        if (node->in[i] >= 0 && fb_imp_at(im, node->in[i])->alt)
            return fb_imp_no(im, "computes with the batch size ('%s'); import with a fixed batch",
                             fb_imp_at(im, node->in[i])->name);
    }
    return FB_OK;
}

fb_status fb_imp_emit_as(fb_imp *im, fb_op op, const fb_attr *attr, uint32_t n_in,
                         const int32_t *in, fb_dtype dtype, const fb_encoding *enc, int32_t *out)
{
    fb_shape shape[2] = {{.dtype = dtype}};
    const char *name = im->cur ? im->cur->name : "";
    fb_node node = {.op = op, .name = name, .n_in = n_in, .n_out = 1, .out = out};
    node.in = fb_arena_array(im->arena, n_in, sizeof(int32_t));
    if (!node.in)
        return fb_imp_no_memory();
    memcpy(node.in, in, n_in * sizeof(int32_t));
    if (attr)
        node.attr = *attr;
    FB_TRY(infer(im, &node, shape));
    bool all_const = true, folded = false;
    for (uint32_t i = 0; i < n_in; i++)
        all_const = all_const && (in[i] < 0 || fb_imp_is_const(im, in[i]));
    if (all_const && !enc)
        FB_TRY(fb_imp_fold(im, &node, &shape[0], &folded, out));
    if (folded)
        return FB_OK;
    FB_TRY(check_alt(im, &node));
    int32_t v;
    FB_TRY(fb_imp_add_value(im, "", &shape[0], &v));
    bool moves = op == FB_OP_TRANSPOSE || op == FB_OP_RESHAPE || op == FB_OP_SLICE;
    if (!enc && moves && fb_imp_at(im, node.in[0])->enc.axis < 0) /* codes stay codes */
        enc = &fb_imp_at(im, node.in[0])->enc;
    if (enc)
        FB_TRY(fb_imp_copy_encoding(im, enc, &fb_imp_at(im, v)->enc));
    *out = v;
    return fb_imp_add_node(im, op, name, attr, n_in, node.in, 1, &v);
}

fb_status fb_imp_emit(fb_imp *im, fb_op op, const fb_attr *attr, uint32_t n_in, const int32_t *in,
                      int32_t *out)
{
    return fb_imp_emit_as(im, op, attr, n_in, in, 0, NULL, out);
}

fb_status fb_imp_emit_pool(fb_imp *im, const fb_attr *attr, int32_t x, int32_t *out,
                           int32_t *indices)
{
    fb_shape shape[2] = {{0}};
    int32_t v[2];
    fb_node node = {.op = FB_OP_MAX_POOL,
                    .name = im->cur->name,
                    .n_in = 1,
                    .in = &x,
                    .n_out = 2,
                    .out = v,
                    .attr = *attr};
    FB_TRY(infer(im, &node, shape));
    FB_TRY(check_alt(im, &node));
    FB_TRY(fb_imp_add_value(im, "", &shape[0], &v[0]));
    FB_TRY(fb_imp_add_value(im, "", &shape[1], &v[1]));
    *out = v[0];
    *indices = v[1];
    return fb_imp_add_node(im, FB_OP_MAX_POOL, im->cur->name, attr, 1, &x, 2, v);
}

/* ---- short forms --------------------------------------------------------------------------- */

fb_status fb_imp_reshape(fb_imp *im, int32_t x, int32_t rank, const int64_t *dims, int32_t *out)
{
    fb_attr a = {.shape = {.rank = rank}};
    const fb_shape *s = fb_imp_shape(im, x);
    bool same = s->rank == rank;
    for (int32_t i = 0; i < rank; i++) {
        same = same && s->dims[i] == dims[i];
        a.shape.dims[i] = fb_imp_dim(dims[i]);
    }
    if (same) {
        *out = x;
        return FB_OK;
    }
    return fb_imp_emit(im, FB_OP_RESHAPE, &a, 1, &x, out);
}

fb_status fb_imp_transpose(fb_imp *im, int32_t x, const int32_t *perm, int32_t *out)
{
    fb_attr a = {.perm = {.perm = {0}}};
    int32_t rank = fb_imp_shape(im, x)->rank;
    if (rank > 0)
        memcpy(a.perm.perm, perm, (size_t)rank * sizeof *perm);
    return fb_imp_emit(im, FB_OP_TRANSPOSE, &a, 1, &x, out);
}

fb_status fb_imp_binary(fb_imp *im, fb_binary kind, int32_t a, int32_t b, int32_t *out)
{
    fb_attr attr = {.binary = {.kind = (int32_t)kind}};
    return fb_imp_emit(im, FB_OP_BINARY, &attr, 2, (int32_t[]){a, b}, out);
}

fb_status fb_imp_unary(fb_imp *im, fb_unary kind, float a, float b, int32_t x, int32_t *out)
{
    fb_attr attr = {.unary = {.kind = (int32_t)kind, .a = a, .b = b}};
    return fb_imp_emit(im, FB_OP_UNARY, &attr, 1, &x, out);
}

fb_status fb_imp_cast(fb_imp *im, int32_t x, fb_dtype to, int32_t *out)
{
    if (fb_imp_shape(im, x)->dtype == to) {
        *out = x;
        return FB_OK;
    }
    return fb_imp_emit_as(im, FB_OP_CAST, NULL, 1, &x, to, NULL, out);
}

fb_status fb_imp_to_nhwc(fb_imp *im, int32_t x, int32_t *out)
{
    int32_t rank = fb_imp_shape(im, x)->rank, perm[FB_MAX_RANK] = {0};
    for (int32_t i = 1; i < rank; i++)
        perm[i] = i + 1 < rank ? i + 1 : 1;
    *out = x;
    return rank < 3 ? FB_OK : fb_imp_transpose(im, x, perm, out);
}

fb_status fb_imp_from_nhwc(fb_imp *im, int32_t x, int32_t *out)
{
    int32_t rank = fb_imp_shape(im, x)->rank, perm[FB_MAX_RANK] = {0};
    for (int32_t i = 1; i < rank; i++)
        perm[i] = i == 1 ? rank - 1 : i - 1;
    *out = x;
    return rank < 3 ? FB_OK : fb_imp_transpose(im, x, perm, out);
}
