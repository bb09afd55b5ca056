/* The importer's graph -> fb_model: only what the outputs need; each payload is freed here as soon
 * as the model has its copy. */
#include "import/import.h"

#include <stdio.h>
#include <string.h>

fb_status fb_imp_live(fb_imp *im, uint32_t **uses)
{
    uint32_t *n = fb_calloc(im->n_values + 1, sizeof *n);
    if (!n)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < im->n_outputs; i++)
        n[im->outputs[i]]++;
    /* Nodes stand in order, so one look from the end finds all that is needed. */
    for (size_t i = im->n_nodes; i-- > 0;) {
        fb_imp_node *node = &im->nodes[i];
        bool needed = false;
        for (uint32_t k = 0; k < node->n.n_out; k++)
            needed = needed || (node->n.out[k] >= 0 && n[node->n.out[k]] > 0);
        node->dead = node->dead || !needed;
        for (uint32_t k = 0; k < node->n.n_in && !node->dead; k++) {
            if (node->n.in[k] >= 0)
                n[node->n.in[k]]++;
        }
    }
    *uses = n;
    return FB_OK;
}

/* ---- names --------------------------------------------------------------------------------- */

typedef struct names {
    const char **slots;
    size_t cap;
    unsigned n_clashes;
} names;

/* True when `name` was not there yet. */
static bool add_name(names *s, const char *name)
{
    uint64_t h = 1469598103934665603u;
    for (const char *p = name; *p; p++)
        h = (h ^ (uint8_t)*p) * 1099511628211u;
    size_t i = (size_t)(h ^ h >> 32) & (s->cap - 1);
    for (; s->slots[i]; i = (i + 1) & (s->cap - 1)) {
        if (strcmp(s->slots[i], name) == 0)
            return false;
    }
    s->slots[i] = name;
    return true;
}

static fb_status names_create(names *s, size_t n)
{
    s->cap = 64;
    while (s->cap < 2 * n + 2)
        s->cap *= 2;
    s->slots = fb_calloc(s->cap, sizeof *s->slots);
    return s->slots ? FB_OK : fb_imp_no_memory();
}

/* A name of its own for each node: helpers around a layer get "/operator" behind its name. */
static fb_status unique_node_name(fb_imp *im, names *taken, const fb_node *n, const char **out)
{
    *out = n->name;
    if (add_name(taken, n->name))
        return FB_OK;
    const char *op = fb_op_get(n->op)->name;
    size_t room = strlen(n->name) + strlen(op) + 16;
    char *text = fb_arena_alloc(im->arena, room);
    if (!text)
        return fb_imp_no_memory();
    *out = text;
    snprintf(text, room, "%s/%s", n->name, op);
    /* One counter for all names: a file of equal names must not be quadratic. */
    while (!add_name(taken, text))
        snprintf(text, room, "%s/%s_%u", n->name, op, ++taken->n_clashes);
    return FB_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* q in bytes -> packed. */
static fb_status pack(fb_imp_value *c)
{
    size_t n = c->buf->bytes, bytes;
    if (!fb_packed_bytes(n, c->pack_bits, &bytes))
        return fb_imp_no_memory();
    fb_imp_buf *b = fb_imp_buf_new(bytes);
    if (!b)
        return fb_imp_no_memory();
    for (size_t i = 0; i < n; i++)
        fb_packed_put(b->data, i, c->pack_bits, ((const int8_t *)c->buf->data)[i]);
    fb_imp_buf_drop(&c->buf);
    c->buf = b;
    c->enc.bits = c->pack_bits;
    return FB_OK;
}

static fb_status lower_const(fb_model *m, fb_imp_value *c, const char *name, int32_t *t)
{
    if (c->enc.kind == FB_ENC_PLAIN) {
        FB_TRY(fb_model_add_const(m, name, c->shape.dtype, c->shape.rank, c->shape.dims,
                                  c->buf->data, t));
    } else {
        if (c->pack_bits)
            FB_TRY(pack(c));
        FB_TRY(fb_model_add_tensor(m, name, FB_F32, c->shape.rank, c->shape.dims, t));
        FB_TRY(fb_model_set_payload(m, *t, &c->enc, c->buf->data, c->buf->bytes));
    }
    fb_imp_buf_drop(&c->buf);
    return FB_OK;
}

static fb_status lower_value(fb_imp *im, fb_model *m, names *taken, int32_t v, int32_t *map)
{
    fb_imp_value *value = fb_imp_at(im, v);
    int64_t dims[FB_MAX_RANK];
    if (map[v] >= 0)
        return FB_OK;
    const char *name = value->name[0] && add_name(taken, value->name) ? value->name : "";
    if (value->is_const)
        return lower_const(m, value, name, &map[v]);
    fb_shape_to_symbolic(&value->shape, dims);
    FB_TRY(fb_model_add_tensor(m, name, value->shape.dtype, value->shape.rank, dims, &map[v]));
    m->tensors[map[v]].source_nchw = value->source_nchw;
    if (value->enc.kind == FB_ENC_AFFINE)
        return fb_model_set_activation(m, map[v], value->enc.bits, value->enc.is_signed,
                                       value->enc.scale[0],
                                       value->enc.zero ? value->enc.zero[0] : 0);
    return FB_OK;
}

static fb_status lower_node(fb_imp *im, fb_model *m, names taken[2], const fb_node *n,
                            const uint32_t *uses, int32_t *map)
{
    const char *name;
    int32_t *in = fb_arena_array(im->arena, (size_t)n->n_in + n->n_out, sizeof *in);
    int32_t *out = in ? in + n->n_in : NULL;
    if (!in)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < n->n_in; i++) {
        in[i] = -1;
        if (n->in[i] < 0)
            continue;
        FB_TRY(lower_value(im, m, &taken[0], n->in[i], map));
        in[i] = map[n->in[i]];
    }
    uint32_t n_out = n->n_out;
    for (uint32_t i = 0; i < n->n_out; i++) {
        out[i] = -1;
        if (n->out[i] < 0 || (i > 0 && uses[n->out[i]] == 0))
            continue;
        FB_TRY(lower_value(im, m, &taken[0], n->out[i], map));
        out[i] = map[n->out[i]];
    }
    while (n_out > 1 && out[n_out - 1] < 0)
        n_out--;
    FB_TRY(unique_node_name(im, &taken[1], n, &name));
    return fb_model_add_node(m, n->op, name, n->n_in, in, n_out, out, &n->attr, NULL);
}

static fb_status lower_io(fb_imp *im, fb_model *m, names *taken, int32_t *map)
{
    int32_t *io = fb_arena_array(im->arena, (size_t)im->n_inputs + im->n_outputs + 1, sizeof *io);
    if (!io)
        return fb_imp_no_memory();
    for (uint32_t i = 0; i < im->n_inputs; i++)
        io[i] = map[im->inputs[i]];
    for (uint32_t i = 0; i < im->n_outputs; i++) {
        FB_TRY(lower_value(im, m, taken, im->outputs[i], map));
        io[im->n_inputs + i] = map[im->outputs[i]];
    }
    return fb_model_set_io(m, io, im->n_inputs, io + im->n_inputs, im->n_outputs);
}

static fb_status fill(fb_imp *im, fb_model *m, const uint32_t *uses, names taken[2], int32_t *map)
{
    /* The names that users know come first: inputs and outputs keep theirs in any case. */
    for (uint32_t i = 0; i < im->n_inputs; i++)
        FB_TRY(lower_value(im, m, &taken[0], im->inputs[i], map));
    for (uint32_t i = 0; i < im->n_outputs; i++)
        FB_TRY(lower_value(im, m, &taken[0], im->outputs[i], map));
    for (size_t i = 0; i < im->n_nodes; i++) {
        if (!im->nodes[i].dead)
            FB_TRY(lower_node(im, m, taken, &im->nodes[i].n, uses, map));
    }
    FB_TRY(lower_io(im, m, &taken[0], map));
    FB_TRY(fb_model_compact(m));
    return fb_model_validate(m);
}

fb_status fb_imp_lower(fb_imp *im, fb_model **out)
{
    fb_model *m = NULL;
    uint32_t *uses = NULL;
    names taken[2] = {{0}};
    int32_t *map = fb_calloc(im->n_values + 1, sizeof *map);
    fb_status status = map ? FB_OK : fb_imp_no_memory();
    if (status == FB_OK) {
        memset(map, -1, (im->n_values + 1) * sizeof *map);
        status = fb_imp_live(im, &uses);
    }
    if (status == FB_OK)
        status = names_create(&taken[0], im->n_values);
    if (status == FB_OK)
        status = names_create(&taken[1], im->n_nodes * 2);
    if (status == FB_OK)
        status = fb_model_create(&m);
    if (status == FB_OK)
        status = fill(im, m, uses, taken, map);
    if (status != FB_OK)
        fb_model_close(&m);
    fb_free(taken[0].slots);
    fb_free(taken[1].slots);
    fb_free(uses);
    fb_free(map);
    *out = m;
    return status;
}
