/* Building a model: creation, copies, tensors, nodes, what travels along. */
#include "model/model.h"

#include "model/product.h"

#include <string.h>

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the model");
}

fb_status fb_model_create(fb_model **out)
{
    *out = NULL;
    fb_model *m = fb_calloc(1, sizeof *m);
    if (!m)
        return no_memory();
    m->arena = fb_arena_create();
    if (!m->arena) {
        fb_free(m);
        return no_memory();
    }
    m->prep.scale = 1;
    for (int c = 0; c < 4; c++)
        m->prep.std[c] = 1;
    *out = m;
    return FB_OK;
}

void fb_model_close(fb_model **model)
{
    fb_model *m = model ? *model : NULL;
    if (!m)
        return;
    if (m->unmap)
        m->unmap(m->map, m->map_bytes);
    fb_free(m->tensors);
    fb_free(m->nodes);
    fb_free(m->notes);
    fb_arena_destroy(m->arena);
    fb_free(m);
    *model = NULL;
}

fb_status fb_model_add_tensor(fb_model *m, const char *name, fb_dtype dtype, int32_t rank,
                              const int64_t *dims, int32_t *index)
{
    if (m->n_tensors >= FB_LIMIT_TENSORS)
        return fb_fail(FB_E_LIMIT, "the model has more than %d tensors", (int)FB_LIMIT_TENSORS);
    if (rank < 0 || rank > FB_MAX_RANK)
        return fb_fail(FB_E_LIMIT, "tensor '%s' has %d dimensions; at most %d are allowed", name,
                       rank, FB_MAX_RANK);
    void *items = m->tensors;
    if (!fb_grow(&items, &m->cap_tensors, m->n_tensors + 1, sizeof *m->tensors))
        return no_memory();
    m->tensors = items;
    fb_tensor *t = &m->tensors[m->n_tensors];
    *t = (fb_tensor){.dtype = dtype, .rank = rank};
    t->enc.axis = -1;
    t->name = fb_arena_string(m->arena, name);
    if (!t->name)
        return no_memory();
    if (rank > 0)
        memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
    *index = (int32_t)m->n_tensors++;
    return FB_OK;
}

fb_status fb_model_add_const(fb_model *m, const char *name, fb_dtype dtype, int32_t rank,
                             const int64_t *dims, const void *data, int32_t *index)
{
    int32_t i;
    FB_TRY(fb_model_add_tensor(m, name, dtype, rank, dims, &i));
    fb_tensor *t = &m->tensors[i];
    t->is_const = true;
    size_t bytes;
    fb_status status = fb_tensor_payload_bytes(t, &bytes);
    void *copy = status == FB_OK ? fb_arena_alloc(m->arena, bytes) : NULL;
    if (!copy) {
        m->n_tensors--;
        return status != FB_OK ? status : no_memory();
    }
    if (data && bytes)
        memcpy(copy, data, bytes);
    t->data = copy;
    t->data_bytes = bytes;
    *index = i;
    return FB_OK;
}

static int32_t *copy_indices(fb_model *m, const int32_t *from, uint32_t n)
{
    int32_t *to = fb_arena_array(m->arena, n, sizeof *to);
    if (to && n)
        memcpy(to, from, n * sizeof *to);
    return to;
}

fb_status fb_model_add_node(fb_model *m, fb_op op, const char *name, uint32_t n_in,
                            const int32_t *in, uint32_t n_out, const int32_t *out,
                            const fb_attr *attr, int32_t *index)
{
    if (m->n_nodes >= FB_LIMIT_NODES)
        return fb_fail(FB_E_LIMIT, "the model has more than %d nodes", (int)FB_LIMIT_NODES);
    void *items = m->nodes;
    if (!fb_grow(&items, &m->cap_nodes, m->n_nodes + 1, sizeof *m->nodes))
        return no_memory();
    m->nodes = items;
    fb_node *n = &m->nodes[m->n_nodes];
    *n = (fb_node){.op = op, .n_in = n_in, .n_out = n_out};
    n->name = fb_arena_string(m->arena, name);
    n->in = copy_indices(m, in, n_in);
    n->out = copy_indices(m, out, n_out);
    if (!n->name || !n->in || !n->out)
        return no_memory();
    if (attr)
        n->attr = *attr;
    if (index)
        *index = (int32_t)m->n_nodes;
    m->n_nodes++;
    return FB_OK;
}

fb_status fb_model_set_io(fb_model *m, const int32_t *inputs, uint32_t n_inputs,
                          const int32_t *outputs, uint32_t n_outputs)
{
    int32_t *in = copy_indices(m, inputs, n_inputs);
    int32_t *out = copy_indices(m, outputs, n_outputs);
    if (!in || !out)
        return no_memory();
    m->inputs = in;
    m->outputs = out;
    m->n_inputs = n_inputs;
    m->n_outputs = n_outputs;
    return FB_OK;
}

/* A copy of n items in the arena; NULL of NULL. */
static fb_status copy_list(fb_model *m, const void *from, size_t n, size_t bytes, void **to)
{
    *to = from ? fb_arena_array(m->arena, n, bytes) : NULL;
    if (from && !*to)
        return no_memory();
    if (from && n)
        memcpy(*to, from, n * bytes);
    return FB_OK;
}

/* Copies the lists of a product, the encoding `from` of a tensor like `t`, into the arena. */
static fb_status copy_product(fb_model *m, const fb_tensor *t, const fb_encoding *from,
                              fb_encoding *to)
{
    fb_tensor like = *t;
    void *word_scale, *word;
    like.enc = *from;
    like.is_const = true;
    like.dtype = FB_F32;
    FB_TRY(fb_encoding_get(FB_ENC_PRODUCT)->validate(&like)); /* the lists' lengths rest on it */
    fb_product p = fb_product_of(&like);
    FB_TRY(copy_list(m, from->word_scale, p.stages, sizeof *to->word_scale, &word_scale));
    FB_TRY(copy_list(m, from->word, p.stages * p.books * p.words * p.sub, sizeof *to->word, &word));
    to->word_scale = word_scale;
    to->word = word;
    return FB_OK;
}

/* Copies the encoding `from` of a tensor like `t`, and its lists, into the arena. */
static fb_status copy_encoding(fb_model *m, const fb_tensor *t, const fb_encoding *from,
                               fb_encoding *to)
{
    fb_encoding e = *from;
    size_t n_levels = (size_t)from->n_tables * from->n_levels;
    void *scale, *zero, *level, *patch_at, *patch;
    FB_TRY(copy_list(m, from->scale, from->n_scales, sizeof *e.scale, &scale));
    FB_TRY(copy_list(m, from->zero, from->n_scales, sizeof *e.zero, &zero));
    FB_TRY(copy_list(m, from->level, n_levels, sizeof *e.level, &level));
    FB_TRY(copy_list(m, from->patch_at, from->n_patches, sizeof *e.patch_at, &patch_at));
    FB_TRY(copy_list(m, from->patch, from->n_patches, sizeof *e.patch, &patch));
    e.scale = scale;
    e.zero = zero;
    e.level = level;
    e.patch_at = patch_at;
    e.patch = patch;
    if (from->kind == FB_ENC_PRODUCT)
        FB_TRY(copy_product(m, t, from, &e));
    *to = e;
    return FB_OK;
}

fb_status fb_model_set_payload(fb_model *m, int32_t tensor, const fb_encoding *enc,
                               const void *data, size_t bytes)
{
    fb_tensor trial = m->tensors[tensor];
    FB_TRY(copy_encoding(m, &trial, enc, &trial.enc));
    if (enc->kind != FB_ENC_PLAIN)
        trial.dtype = FB_F32;
    void *copy = fb_arena_alloc(m->arena, bytes);
    if (!copy)
        return no_memory();
    if (bytes)
        memcpy(copy, data, bytes);
    trial.is_const = true;
    trial.data = copy;
    trial.data_bytes = bytes;
    m->tensors[tensor] = trial;
    return FB_OK;
}

fb_status fb_model_set_activation(fb_model *m, int32_t tensor, unsigned bits, bool is_signed,
                                  float scale, int32_t zero)
{
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = (uint8_t)bits,
                     .is_signed = is_signed,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale,
                     .zero = &zero};
    return fb_model_set_activation_encoding(m, tensor, &e);
}

fb_status fb_model_set_activation_encoding(fb_model *m, int32_t tensor, const fb_encoding *enc)
{
    return copy_encoding(m, &m->tensors[tensor], enc, &m->tensors[tensor].enc);
}

static fb_status clone_tensors(const fb_model *from, bool copy_data, fb_model *m)
{
    for (size_t i = 0; i < from->n_tensors; i++) {
        const fb_tensor *t = &from->tensors[i];
        int32_t k;
        FB_TRY(fb_model_add_tensor(m, t->name, t->dtype, t->rank, t->dims, &k));
        fb_tensor *u = &m->tensors[k];
        u->is_const = t->is_const;
        u->source_nchw = t->source_nchw;
        u->data = t->data;
        u->data_bytes = t->data_bytes;
        FB_TRY(copy_encoding(m, t, &t->enc, &u->enc));
        if (copy_data && t->data) {
            void *copy = fb_arena_alloc(m->arena, t->data_bytes);
            if (!copy)
                return no_memory();
            memcpy(copy, t->data, t->data_bytes);
            u->data = copy;
        }
    }
    return FB_OK;
}

fb_status fb_model_clone(const fb_model *from, bool copy_data, fb_model **out)
{
    fb_model *m;
    *out = NULL;
    FB_TRY(fb_model_create(&m));
    fb_status status;
    FB_GO(clone_tensors(from, copy_data, m));
    for (size_t i = 0; i < from->n_nodes; i++) {
        const fb_node *n = &from->nodes[i];
        FB_GO(
            fb_model_add_node(m, n->op, n->name, n->n_in, n->in, n->n_out, n->out, &n->attr, NULL));
    }
    FB_GO(fb_model_set_io(m, from->inputs, from->n_inputs, from->outputs, from->n_outputs));
    m->prep = from->prep;
    m->entropy = from->entropy;
    FB_GO(fb_model_set_labels(m, from->labels, from->n_labels));
    for (size_t i = 0; i < from->n_notes; i++)
        FB_GO(fb_model_set_note(m, from->notes[i].key, from->notes[i].value));
    *out = m;
    return FB_OK;
fail:
    fb_model_close(&m);
    return status;
}

fb_status fb_model_set_prep(fb_model *model, const fb_prep *prep)
{
    model->prep = *prep;
    return FB_OK;
}

fb_status fb_model_set_labels(fb_model *model, const char *const *labels, uint32_t n)
{
    if (n > FB_LIMIT_LABELS)
        return fb_fail(FB_E_LIMIT, "%u labels; at most %d are allowed", n, (int)FB_LIMIT_LABELS);
    const char **copy = fb_arena_array(model->arena, n, sizeof *copy);
    if (!copy)
        return no_memory();
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = fb_arena_string(model->arena, labels[i]);
        if (!copy[i])
            return no_memory();
    }
    model->labels = copy;
    model->n_labels = n;
    return FB_OK;
}

fb_status fb_model_set_note(fb_model *model, const char *key, const char *value)
{
    const char *copy = fb_arena_string(model->arena, value);
    if (!copy)
        return no_memory();
    for (size_t i = 0; i < model->n_notes; i++) {
        if (strcmp(model->notes[i].key, key) == 0) {
            model->notes[i].value = copy;
            return FB_OK;
        }
    }
    void *items = model->notes;
    if (!fb_grow(&items, &model->cap_notes, model->n_notes + 1, sizeof *model->notes))
        return no_memory();
    model->notes = items;
    const char *name = fb_arena_string(model->arena, key);
    if (!name)
        return no_memory();
    model->notes[model->n_notes++] = (fb_note){name, copy};
    return FB_OK;
}
