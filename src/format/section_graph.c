/* Section GRPH: tensors, nodes, inputs and outputs. */
#include "format/form.h"
#include "format/format.h"

#include <string.h>

/* First byte of a tensor; the rank is in the upper four bits. */
enum {
    TENSOR_CONST = 1 << 0,
    TENSOR_OTHER = 1 << 1, /* not a constant: source_nchw; a constant: a storage number follows */
    TENSOR_NAMED = 1 << 2, /* its name is in STRS */
    TENSOR_ENCODED =
        1 << 3 /* not plain, or sparse: parameters in ENCP, no dtype byte (it is f32) */
};

/* ---- what gets a name ----------------------------------------------------------------------- */

/* Names of temporaries are dropped: nobody outside can ask for them, and nodes keep theirs. */
static void mark_named(const fb_model *m, uint8_t *named)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        named[i] = m->tensors[i].is_const;
    for (uint32_t k = 0; k < m->n_inputs; k++)
        named[m->inputs[k]] = 1;
    for (uint32_t k = 0; k < m->n_outputs; k++)
        named[m->outputs[k]] = 1;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].name[0] == '\0')
            named[i] = 0;
    }
}

/* Tensor numbers are written as the difference to the one before, plus one, 0 for absent: mostly
 * one byte, whatever the size of the network. */
static void put_index(fb_out *out, int32_t index, int64_t *last)
{
    if (index < 0) {
        fb_out_varint(out, 0);
        return;
    }
    int64_t d = index - *last;
    fb_out_varint(out, (d < 0 ? ~((uint64_t)d << 1) : (uint64_t)d << 1) + 1);
    *last = index;
}

static int32_t get_index(fb_in *in, const fb_model *m, int64_t *last)
{
    uint64_t u = fb_in_varint(in);
    if (u == 0)
        return -1;
    u -= 1;
    if (u >> 1 > FB_LIMIT_TENSORS)
        goto fail;
    int64_t d = (int64_t)(u >> 1);
    int64_t index = *last + (u & 1 ? -d - 1 : d);
    if (index < 0 || index >= (int64_t)m->n_tensors)
        goto fail;
    *last = index;
    return (int32_t)index;
fail:
    fb_in_broken(in, "a tensor number is outside the model's %zu tensors", m->n_tensors);
    return -1;
}

/* ---- tensors -------------------------------------------------------------------------------- */

static void put_tensor(fb_out *out, const fb_tensor *t, bool named, uint8_t coded)
{
    unsigned head = (unsigned)t->rank << 4;
    head |= t->is_const ? TENSOR_CONST : 0;
    head |= coded || (!t->is_const && t->source_nchw) ? TENSOR_OTHER : 0;
    head |= named ? TENSOR_NAMED : 0;
    head |= t->enc.kind != FB_ENC_PLAIN || t->enc.sparse ? TENSOR_ENCODED : 0;
    fb_out_u8(out, head);
    if (coded)
        fb_out_varint(out, coded);
    if (!(head & TENSOR_ENCODED))
        fb_out_u8(out, (unsigned)t->dtype);
    for (int32_t i = 0; i < t->rank; i++)
        fb_out_svarint(out, t->dims[i]);
}

/* *coded: the storage number, or 0: the payload is where fb_format_storage says. */
static fb_status get_tensor(fb_in *in, fb_tensor *t, uint8_t *coded)
{
    unsigned head = fb_in_u8(in);
    t->is_const = (head & TENSOR_CONST) != 0;
    bool stored = t->is_const && (head & TENSOR_OTHER);
    uint64_t storage = stored ? fb_in_varint(in) : 0;
    if (in->status == FB_OK && (storage > FB_CODED_FORM || (stored && storage == 0)))
        return fb_in_broken(in, "a payload's storage %llu needs a newer fewbit",
                            (unsigned long long)storage);
    *coded = (uint8_t)storage;
    t->source_nchw = !t->is_const && (head & TENSOR_OTHER);
    t->name = head & TENSOR_NAMED ? NULL : ""; /* NULL: STRS has it */
    t->enc.kind = FB_ENC_PLAIN;
    t->enc.axis = -1;
    t->dtype = FB_F32;
    if (head & TENSOR_ENCODED) {
        t->enc.kind = FB_ENC_COUNT; /* ENCP has it */
    } else {
        unsigned dtype = fb_in_u8(in);
        t->dtype = (fb_dtype)dtype;
        if (in->status == FB_OK && fb_dtype_bytes(t->dtype) == 0)
            return fb_in_broken(in, "element type %u is unknown", dtype);
    }
    t->rank = (int32_t)(head >> 4);
    if (t->rank > FB_MAX_RANK)
        return fb_in_broken(in, "a tensor has %d dims, at most %d are possible", (int)t->rank,
                            FB_MAX_RANK);
    for (int32_t i = 0; i < t->rank && in->status == FB_OK; i++) {
        t->dims[i] = fb_in_svarint(in);
        if (t->dims[i] == 0 || t->dims[i] > FB_LIMIT_DIM || t->dims[i] < -FB_LIMIT_DIM)
            fb_in_broken(in, "dim %d is %lld, must be 1..2^31, or -k for k times the batch", (int)i,
                         (long long)t->dims[i]);
    }
    return in->status;
}

/* ---- attributes ----------------------------------------------------------------------------- */

/* All elements of all fields in order of the table; a varint has a bit for each that is not 0 (bit
 * for bit), and those follow. So fields that a writer does not know yet are 0, and a reader notices
 * those that it does not know when they are not. */

static bool element_is_zero(const fb_attr *attr, const fb_field *f, uint32_t k)
{
    static const uint8_t zero[8];
    size_t size = f->type == FB_FIELD_I64 || f->type == FB_FIELD_F64 ? 8 : 4;
    return memcmp((const char *)attr + f->offset + k * size, zero, size) == 0;
}

static void put_element(fb_out *out, const fb_attr *attr, const fb_field *f, uint32_t k)
{
    const char *p = (const char *)attr + f->offset;
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
    switch (f->type) {
    case FB_FIELD_I32:
        memcpy(&i32, p + k * sizeof i32, sizeof i32);
        fb_out_svarint(out, i32);
        break;
    case FB_FIELD_I64:
        memcpy(&i64, p + k * sizeof i64, sizeof i64);
        fb_out_svarint(out, i64);
        break;
    case FB_FIELD_F32:
        memcpy(&f32, p + k * sizeof f32, sizeof f32);
        fb_out_f32(out, f32);
        break;
    case FB_FIELD_F64:
        memcpy(&f64, p + k * sizeof f64, sizeof f64);
        fb_out_f64(out, f64);
        break;
    }
}

static void get_element(fb_in *in, fb_attr *attr, const fb_field *f, uint32_t k)
{
    char *p = (char *)attr + f->offset;
    if (f->type == FB_FIELD_I32) {
        int64_t wide = fb_in_svarint(in);
        int32_t v = (int32_t)wide;
        if (v != wide)
            fb_in_broken(in, "%s=%lld does not fit into 32 bits", f->name, (long long)wide);
        memcpy(p + k * sizeof v, &v, sizeof v);
    } else if (f->type == FB_FIELD_I64) {
        int64_t v = fb_in_svarint(in);
        memcpy(p + k * sizeof v, &v, sizeof v);
    } else if (f->type == FB_FIELD_F32) {
        float v = fb_in_f32(in);
        memcpy(p + k * sizeof v, &v, sizeof v);
    } else {
        double v = fb_in_f64(in);
        memcpy(p + k * sizeof v, &v, sizeof v);
    }
}

static void put_attr(fb_out *out, fb_attr_kind kind, const fb_attr *attr)
{
    uint32_t n_fields, bit = 0;
    uint64_t mask = 0;
    const fb_field *fields = fb_attr_fields(kind, &n_fields);
    for (uint32_t i = 0; i < n_fields; i++) {
        for (uint32_t k = 0; k < fields[i].count; k++, bit++)
            mask |= (uint64_t)!element_is_zero(attr, &fields[i], k) << bit;
    }
    fb_out_varint(out, mask);
    for (uint32_t i = 0; i < n_fields; i++) {
        for (uint32_t k = 0; k < fields[i].count; k++, mask >>= 1) {
            if (mask & 1)
                put_element(out, attr, &fields[i], k);
        }
    }
}

static void get_attr(fb_in *in, fb_attr_kind kind, fb_attr *attr)
{
    uint32_t n_fields;
    uint64_t mask = fb_in_varint(in);
    const fb_field *fields = fb_attr_fields(kind, &n_fields);
    for (uint32_t i = 0; i < n_fields; i++) {
        for (uint32_t k = 0; k < fields[i].count; k++, mask >>= 1) {
            if (mask & 1)
                get_element(in, attr, &fields[i], k);
        }
    }
    if (mask != 0)
        fb_in_broken(in, "an attribute with an unknown field needs a newer fewbit");
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void put_node(fb_out *out, const fb_node *n, int64_t *last)
{
    const fb_op_def *def = fb_op_get(n->op);
    fb_out_varint(out, (uint64_t)n->op << 1 | (n->name[0] != '\0'));
    fb_out_varint(out, n->n_in);
    fb_out_varint(out, n->n_out);
    for (uint32_t k = 0; k < n->n_in; k++)
        put_index(out, n->in[k], last);
    for (uint32_t k = 0; k < n->n_out; k++)
        put_index(out, n->out[k], last);
    if (def->attr != FB_ATTR_NONE)
        put_attr(out, def->attr, &n->attr);
}

static fb_status get_node(fb_in *in, fb_model *m, fb_node *n, int64_t *last)
{
    uint64_t head = fb_in_varint(in);
    const fb_op_def *def = head >> 1 < FB_OP_COUNT ? fb_op_get((fb_op)(head >> 1)) : NULL;
    if (!def)
        return fb_in_broken(in, "operator %llu is unknown and needs a newer fewbit",
                            (unsigned long long)(head >> 1));
    n->op = (fb_op)(head >> 1);
    n->name = head & 1 ? NULL : "";
    n->n_in = (uint32_t)fb_in_count(in, "number of inputs", def->max_in);
    n->n_out = (uint32_t)fb_in_count(in, "number of outputs", def->n_out);
    n->in = fb_arena_array(m->arena, (size_t)n->n_in + n->n_out, sizeof *n->in);
    if (!n->in)
        return fb_fail(FB_E_MEMORY, "no memory for the nodes");
    n->out = n->in + n->n_in;
    for (uint32_t k = 0; k < n->n_in; k++)
        n->in[k] = get_index(in, m, last);
    for (uint32_t k = 0; k < n->n_out; k++)
        n->out[k] = get_index(in, m, last);
    if (def->attr != FB_ATTR_NONE)
        get_attr(in, def->attr, &n->attr);
    return in->status;
}

/* ---- the section ---------------------------------------------------------------------------- */

void fb_put_graph(fb_out *out, const fb_model *m, const uint8_t *coded)
{
    uint8_t *named = fb_calloc(m->n_tensors + 1, 1);
    if (!named) {
        out->no_memory = true;
        return;
    }
    mark_named(m, named);
    int64_t last = 0;
    fb_out_varint(out, m->n_tensors);
    fb_out_varint(out, m->n_nodes);
    fb_out_varint(out, m->n_inputs);
    fb_out_varint(out, m->n_outputs);
    for (size_t i = 0; i < m->n_tensors; i++)
        put_tensor(out, &m->tensors[i], named[i] != 0, coded[i]);
    for (uint32_t k = 0; k < m->n_inputs; k++)
        put_index(out, m->inputs[k], &last);
    for (uint32_t k = 0; k < m->n_outputs; k++)
        put_index(out, m->outputs[k], &last);
    for (size_t i = 0; i < m->n_nodes; i++)
        put_node(out, &m->nodes[i], &last);
    fb_free(named);
}

static size_t count_of(fb_in *in, const char *what, size_t limit)
{
    /* Each takes a byte at least, so a count beyond what is left is a lie. */
    size_t left = fb_in_left(in);
    return (size_t)fb_in_count(in, what, left < limit ? left : limit);
}

fb_status fb_get_graph(fb_in *in, fb_model *m, uint8_t **coded)
{
    int64_t last = 0;
    size_t n_tensors = count_of(in, "number of tensors", FB_LIMIT_TENSORS);
    size_t n_nodes = count_of(in, "number of nodes", FB_LIMIT_NODES);
    size_t n_inputs = count_of(in, "number of inputs", n_tensors);
    size_t n_outputs = count_of(in, "number of outputs", n_tensors);
    if (in->status != FB_OK)
        return in->status;
    m->tensors = fb_calloc(n_tensors + 1, sizeof *m->tensors);
    m->nodes = fb_calloc(n_nodes + 1, sizeof *m->nodes);
    m->inputs = fb_arena_array(m->arena, n_inputs, sizeof *m->inputs);
    m->outputs = fb_arena_array(m->arena, n_outputs, sizeof *m->outputs);
    *coded = fb_arena_alloc(m->arena, n_tensors + 1);
    if (!m->tensors || !m->nodes || !m->inputs || !m->outputs || !*coded)
        return fb_fail(FB_E_MEMORY, "no memory for %zu tensors and %zu nodes", n_tensors, n_nodes);
    m->cap_tensors = n_tensors + 1;
    m->cap_nodes = n_nodes + 1;
    for (; m->n_tensors < n_tensors; m->n_tensors++)
        FB_TRY(get_tensor(in, &m->tensors[m->n_tensors], &(*coded)[m->n_tensors]));
    for (; m->n_inputs < n_inputs; m->n_inputs++)
        m->inputs[m->n_inputs] = get_index(in, m, &last);
    for (; m->n_outputs < n_outputs; m->n_outputs++)
        m->outputs[m->n_outputs] = get_index(in, m, &last);
    for (; m->n_nodes < n_nodes; m->n_nodes++)
        FB_TRY(get_node(in, m, &m->nodes[m->n_nodes], &last));
    return fb_in_end(in);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* Order of STRS: for each node its own name, then those of its inputs and outputs that have not
 * come yet; at last the tensors that no node knows. So "conv1" stands beside "conv1.weight", and
 * `text` stores what differs. */

static void put_name(fb_out *out, const fb_model *m, uint8_t *pending, int32_t tensor)
{
    if (tensor < 0 || !pending[tensor])
        return;
    pending[tensor] = 0;
    fb_out_text(out, m->tensors[tensor].name);
}

void fb_put_names(fb_out *out, const fb_model *m)
{
    uint8_t *pending = fb_calloc(m->n_tensors + 1, 1);
    if (!pending) {
        out->no_memory = true;
        return;
    }
    mark_named(m, pending);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (n->name[0] != '\0')
            fb_out_text(out, n->name);
        for (uint32_t k = 0; k < n->n_in; k++)
            put_name(out, m, pending, n->in[k]);
        for (uint32_t k = 0; k < n->n_out; k++)
            put_name(out, m, pending, n->out[k]);
    }
    for (size_t i = 0; i < m->n_tensors; i++)
        put_name(out, m, pending, (int32_t)i);
    fb_free(pending);
}

static void get_name(fb_in *in, const char **name)
{
    if (!*name)
        *name = fb_in_text(in, FB_LIMIT_NAME);
}

fb_status fb_get_names(fb_in *in, fb_model *m)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        fb_node *n = &m->nodes[i];
        get_name(in, &n->name);
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (n->in[k] >= 0)
                get_name(in, &m->tensors[n->in[k]].name);
        }
        for (uint32_t k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0)
                get_name(in, &m->tensors[n->out[k]].name);
        }
    }
    for (size_t i = 0; i < m->n_tensors; i++)
        get_name(in, &m->tensors[i].name);
    return fb_in_end(in);
}
