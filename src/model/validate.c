/* The invariants of model.h, each with its sentence. Nothing about the model is taken for granted:
 * the reader calls this on what a hostile file said. */
#include "base/alloc.h"
#include "model/encoding_defs.h"
#include "model/fixed.h"
#include "model/model.h"
#include "model/shape_rules.h"
#include "model/sparse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---------------------------------------------------------------------------------- */

/* Characters of `text` up to its NUL, at most limit + 1. */
static size_t length_up_to(const char *text, size_t limit)
{
    const char *end = memchr(text, '\0', limit + 1);
    return end ? (size_t)(end - text) : limit + 1;
}

static fb_status check_name(const char *what, size_t index, const char *name)
{
    if (!name)
        return fb_fail(FB_E_FORMAT, "%s %zu has no name", what, index);
    if (length_up_to(name, FB_LIMIT_NAME) > FB_LIMIT_NAME)
        return fb_fail(FB_E_LIMIT, "the name of %s %zu has more than %d bytes", what, index,
                       (int)FB_LIMIT_NAME);
    return FB_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts `names` and refuses equal neighbours. */
static fb_status check_unique(const char *what, const char **names, size_t n)
{
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return fb_fail(FB_E_FORMAT, "two %s have the name '%.200s'", what, names[i]);
    }
    return FB_OK;
}

static fb_status check_tensor_names(const fb_model *m)
{
    const char **names = fb_calloc(m->n_tensors + 1, sizeof *names);
    if (!names)
        return fb_fail(FB_E_MEMORY, "no memory for %zu names", m->n_tensors);
    size_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].name[0] != '\0')
            names[n++] = m->tensors[i].name;
    }
    fb_status status = check_unique("tensors", names, n);
    fb_free(names);
    return status;
}

/* ---- tensors -------------------------------------------------------------------------------- */

static fb_status check_dims(const fb_tensor *t)
{
    if (t->rank < 0 || t->rank > FB_MAX_RANK)
        return fb_fail(FB_E_LIMIT, "has %d dims, at most %d are possible", (int)t->rank,
                       FB_MAX_RANK);
    for (int32_t i = 0; i < t->rank; i++) {
        int64_t d = t->dims[i];
        if (d == 0 || (d < 0 && t->is_const))
            return fb_fail(FB_E_FORMAT, "dim %d is %lld, must be %s", (int)i, (long long)d,
                           t->is_const ? "at least 1" : "at least 1, or -k for k times the batch");
        if (d > FB_LIMIT_DIM || d < -FB_LIMIT_DIM)
            return fb_fail(FB_E_LIMIT, "dim %d is %lld, at most 2^31 is possible", (int)i,
                           (long long)d);
        if (d % FB_BATCH_MARK == 0)
            return fb_fail(FB_E_LIMIT, "dim %d is %lld; multiples of %lld are reserved", (int)i,
                           (long long)d, (long long)FB_BATCH_MARK);
    }
    int64_t n;
    if (!fb_tensor_elems(t, 1, &n))
        return fb_fail(FB_E_LIMIT, "has more than 2^40 elements");
    return FB_OK;
}

static fb_status check_payload(const fb_tensor *t)
{
    size_t bytes;
    if (!t->is_const) {
        if (t->data || t->data_bytes || t->enc.sparse)
            return fb_fail(FB_E_FORMAT, "has a payload of %zu bytes%s, but is no constant",
                           t->data_bytes, t->enc.sparse ? ", sparse" : "");
        return FB_OK;
    }
    FB_TRY(fb_tensor_payload_bytes(t, &bytes));
    if (!t->data || t->data_bytes != bytes)
        return fb_fail(FB_E_FORMAT, "has a payload of %zu bytes, must have %zu",
                       t->data ? t->data_bytes : 0, bytes);
    if ((uintptr_t)t->data % FB_ALIGN != 0)
        return fb_fail(FB_E_INTERNAL, "has a payload that is not aligned to %u bytes", FB_ALIGN);
    if (t->enc.sparse)
        return fb_sparse_validate(t);
    if (t->enc.kind == FB_ENC_PRODUCT)
        return fb_product_check_codes(t);
    int64_t n;
    FB_ENSURE(fb_tensor_elems(t, 0, &n));
    return t->enc.kind == FB_ENC_LEVELS ? fb_levels_check_codes(t, (size_t)n) : FB_OK;
}

static fb_status check_tensor(const fb_tensor *t)
{
    const fb_encoding_def *def = fb_encoding_get(t->enc.kind);
    if (!def)
        return fb_fail(FB_E_FORMAT, "has the unknown encoding %d", (int)t->enc.kind);
    FB_TRY(check_dims(t));
    FB_TRY(def->validate(t));
    return check_payload(t);
}

static fb_status check_tensors(const fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        FB_TRY(check_name("tensor", i, m->tensors[i].name));
        fb_status status = check_tensor(&m->tensors[i]);
        if (status != FB_OK)
            return fb_fail_in(status, "tensor %zu '%.200s'", i, m->tensors[i].name);
    }
    return check_tensor_names(m);
}

/* ---- graph ---------------------------------------------------------------------------------- */

/* What is known about a tensor while walking the nodes in order. */
enum { UNDEFINED, DEFINED, OUTPUT = 2 };

static fb_status check_inputs(const fb_model *m, uint8_t *state)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        state[i] = m->tensors[i].is_const ? DEFINED : UNDEFINED;
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        int32_t t = m->inputs[k];
        if (t < 0 || (size_t)t >= m->n_tensors)
            return fb_fail(FB_E_FORMAT, "model input %u is tensor %d, the model has %zu", k, (int)t,
                           m->n_tensors);
        if (state[t] != UNDEFINED)
            return fb_fail(FB_E_FORMAT, "model input %u, '%.200s', is a constant or comes twice", k,
                           m->tensors[t].name);
        state[t] = DEFINED;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (t->source_nchw && (t->is_const || state[i] != DEFINED || t->rank < 3))
            return fb_fail(FB_E_FORMAT,
                           "tensor %zu '%.200s' is marked as an image input, but is none", i,
                           t->name);
    }
    return FB_OK;
}

/* Type of the elements as an activation is stored while running, or of a constant that is not
 * packed; 0 for a packed one. */
static fb_dtype stored_type(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (e->kind == FB_ENC_PLAIN)
        return t->dtype;
    if (t->is_const && e->bits != 8 && e->bits != 16)
        return (fb_dtype)0;
    if (e->kind == FB_ENC_LEVELS)
        return FB_U8;
    if (e->bits <= 8)
        return e->is_signed ? FB_S8 : FB_U8;
    return e->is_signed ? FB_S16 : FB_U16;
}

static fb_status check_reinterpret(const fb_model *m, const fb_node *n)
{
    if (n->n_in < 1 || n->in[0] < 0)
        return FB_OK; /* left to the shape rules */
    fb_dtype from = stored_type(&m->tensors[n->in[0]]), to = stored_type(&m->tensors[n->out[0]]);
    if (from == 0 || from != to)
        return FB_RULE(n, "input is stored as %s, output as %s, must be alike",
                       from ? fb_dtype_name(from) : "packed bits", fb_dtype_name(to));
    return FB_OK;
}

static fb_status check_node(const fb_model *m, const fb_node *n, uint8_t *state)
{
    const fb_op_def *def = fb_op_get(n->op);
    if (!def)
        return fb_fail(FB_E_FORMAT, "node '%.200s' has the unknown operator %d", n->name,
                       (int)n->op);
    if (n->n_in < def->min_in || n->n_in > def->max_in)
        return FB_RULE(n, "has %u inputs, must have %u to %u", n->n_in, def->min_in, def->max_in);
    if (n->n_out < 1 || n->n_out > def->n_out)
        return FB_RULE(n, "has %u outputs, must have 1 to %u", n->n_out, def->n_out);
    for (uint32_t k = 0; k < n->n_in; k++) {
        int32_t t = n->in[k];
        if (t < -1 || t >= (int64_t)m->n_tensors)
            return FB_RULE(n, "input %u is tensor %d, the model has %zu", k, (int)t, m->n_tensors);
        if (t >= 0 && state[t] == UNDEFINED)
            return FB_RULE(n, "input %u, '%.200s', is not computed by an earlier node", k,
                           m->tensors[t].name);
    }
    for (uint32_t k = 0; k < n->n_out; k++) {
        int32_t t = n->out[k];
        if (t < (k == 0 ? 0 : -1) || t >= (int64_t)m->n_tensors)
            return FB_RULE(n, "output %u is tensor %d, the model has %zu", k, (int)t, m->n_tensors);
        if (t < 0)
            continue;
        if (state[t] != UNDEFINED)
            return FB_RULE(n, "output %u, '%.200s', has a value already", k, m->tensors[t].name);
        state[t] = DEFINED;
    }
    FB_TRY(fb_fixed_check(m, n));
    return n->op == FB_OP_REINTERPRET ? check_reinterpret(m, n) : FB_OK;
}

static fb_status check_outputs(const fb_model *m, uint8_t *state)
{
    if (m->n_outputs == 0)
        return fb_fail(FB_E_FORMAT, "the model has no output");
    for (uint32_t k = 0; k < m->n_outputs; k++) {
        int32_t t = m->outputs[k];
        if (t < 0 || (size_t)t >= m->n_tensors)
            return fb_fail(FB_E_FORMAT, "model output %u is tensor %d, the model has %zu", k,
                           (int)t, m->n_tensors);
        if (state[t] == UNDEFINED)
            return fb_fail(FB_E_FORMAT, "model output %u, '%.200s', is not computed by any node", k,
                           m->tensors[t].name);
        if (state[t] == OUTPUT)
            return fb_fail(FB_E_FORMAT, "model output %u, '%.200s', comes twice", k,
                           m->tensors[t].name);
        state[t] = OUTPUT;
    }
    return FB_OK;
}

static fb_status check_graph(const fb_model *m)
{
    uint8_t *state = fb_calloc(m->n_tensors + 1, 1);
    if (!state)
        return fb_fail(FB_E_MEMORY, "no memory for the state of %zu tensors", m->n_tensors);
    fb_status status;
    FB_GO(check_inputs(m, state));
    for (size_t i = 0; i < m->n_nodes; i++) {
        FB_GO(check_name("node", i, m->nodes[i].name));
        FB_GO(check_node(m, &m->nodes[i], state));
    }
    FB_GO(check_outputs(m, state));
fail:
    fb_free(state);
    return status;
}

/* ---- shapes --------------------------------------------------------------------------------- */

static bool same_shape(const fb_shape *a, const fb_shape *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

static fb_status compare_shapes(const fb_model *m, int64_t batch, fb_shape *shapes)
{
    char want_text[192], have_text[192];
    FB_TRY(fb_shape_infer(m, batch, shapes));
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        for (uint32_t k = 0; k < n->n_out; k++) {
            fb_shape declared;
            if (n->out[k] < 0)
                continue;
            const fb_tensor *t = &m->tensors[n->out[k]];
            const fb_shape *s = &shapes[n->out[k]];
            fb_shape_of(t, batch, &declared);
            if (same_shape(&declared, s))
                continue;
            if (batch == FB_BATCH_MARK) { /* for the sentence: -k, not thousands of millions */
                fb_shape symbolic = *s;
                fb_shape_to_symbolic(s, symbolic.dims);
                memcpy(declared.dims, t->dims, sizeof declared.dims);
                fb_shape_text(&symbolic, want_text);
            } else {
                fb_shape_text(s, want_text);
            }
            return FB_RULE(n, "output '%.200s' is declared as %s %s, but is %s %s%s", t->name,
                           fb_dtype_name(t->dtype), fb_shape_text(&declared, have_text),
                           fb_dtype_name(s->dtype), want_text,
                           batch == FB_BATCH_MARK ? "" : " with batch 1");
        }
    }
    return FB_OK;
}

/* Two batch sizes: a dim that is linear in the batch and right for both is right for all. */
static fb_status check_shapes(const fb_model *m)
{
    fb_shape *shapes = fb_calloc(m->n_tensors + 1, sizeof *shapes);
    if (!shapes)
        return fb_fail(FB_E_MEMORY, "no memory for the shapes of %zu tensors", m->n_tensors);
    fb_status status = compare_shapes(m, FB_BATCH_MARK, shapes);
    if (status == FB_OK)
        status = compare_shapes(m, 1, shapes);
    fb_free(shapes);
    return status;
}

/* ---- what travels along --------------------------------------------------------------------- */

static fb_status check_prep(const fb_prep *p)
{
    const uint32_t most = 65535;
    if (!memchr(p->name, '\0', sizeof p->name))
        return fb_fail(FB_E_FORMAT, "preprocessing has a name of more than %zu bytes",
                       sizeof p->name - 1);
    if (p->name[0] == '\0')
        return FB_OK; /* there is none; the rest is not looked at */
    if (p->resize_h > most || p->resize_w > most || p->crop_h > most || p->crop_w > most)
        return fb_fail(FB_E_LIMIT, "preprocessing '%s' has a size above %u", p->name, most);
    if ((p->resize_w > 0 && p->resize_h == 0) || (p->crop_h == 0) != (p->crop_w == 0))
        return fb_fail(FB_E_FORMAT,
                       "preprocessing '%s' resizes to %ux%u and crops %ux%u: one side "
                       "is missing",
                       p->name, p->resize_h, p->resize_w, p->crop_h, p->crop_w);
    if (!isfinite(p->scale) || !(p->scale > 0))
        return fb_fail(FB_E_FORMAT, "preprocessing '%s' has scale %g, must be > 0", p->name,
                       (double)p->scale);
    for (int c = 0; c < 4; c++) {
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || !(p->std[c] > 0))
            return fb_fail(FB_E_FORMAT,
                           "preprocessing '%s' has mean %g and std %g, must be finite and std > 0",
                           p->name, (double)p->mean[c], (double)p->std[c]);
    }
    if ((unsigned)p->order > FB_GRAY)
        return fb_fail(FB_E_FORMAT, "preprocessing '%s' has the unknown channel order %d", p->name,
                       (int)p->order);
    return FB_OK;
}

static fb_status check_notes(const fb_model *m)
{
    if (m->n_notes > FB_LIMIT_NOTES)
        return fb_fail(FB_E_LIMIT, "the model has %zu notes, at most %d are possible", m->n_notes,
                       (int)FB_LIMIT_NOTES);
    const char **keys = fb_calloc(m->n_notes + 1, sizeof *keys);
    if (!keys)
        return fb_fail(FB_E_MEMORY, "no memory for the keys of %zu notes", m->n_notes);
    fb_status status = FB_OK;
    for (size_t i = 0; i < m->n_notes; i++) {
        FB_GO(check_name("note", i, m->notes[i].key));
        keys[i] = m->notes[i].key;
        if (!m->notes[i].value || length_up_to(m->notes[i].value, FB_LIMIT_NOTE) > FB_LIMIT_NOTE) {
            status = fb_fail(FB_E_LIMIT, "note '%.200s' has no text, or more than %d bytes",
                             keys[i], (int)FB_LIMIT_NOTE);
            goto fail;
        }
    }
    status = check_unique("notes", keys, m->n_notes);
fail:
    fb_free(keys);
    return status;
}

fb_status fb_model_validate(const fb_model *m)
{
    if (m->n_nodes > FB_LIMIT_NODES || m->n_tensors > FB_LIMIT_TENSORS)
        return fb_fail(FB_E_LIMIT,
                       "the model has %zu nodes and %zu tensors; at most %d and %d are possible",
                       m->n_nodes, m->n_tensors, (int)FB_LIMIT_NODES, (int)FB_LIMIT_TENSORS);
    if (m->n_labels > FB_LIMIT_LABELS)
        return fb_fail(FB_E_LIMIT, "the model has %u labels, at most %d are possible", m->n_labels,
                       (int)FB_LIMIT_LABELS);
    FB_TRY(check_tensors(m));
    FB_TRY(check_graph(m));
    FB_TRY(check_shapes(m));
    FB_TRY(check_prep(&m->prep));
    for (uint32_t i = 0; i < m->n_labels; i++)
        FB_TRY(check_name("label", i, m->labels[i]));
    return check_notes(m);
}
