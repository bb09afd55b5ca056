#include "train/spell.h"

#include "train/layer.h"

#include <string.h>

typedef struct speller {
    const fb_model *from;
    fb_spelled *s;
    bool norms;
} speller;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for the network to train");
}

static bool same_encoding(const fb_encoding *a, const fb_encoding *b)
{
    if (a->kind != b->kind || a->bits != b->bits || a->is_signed != b->is_signed ||
        a->n_scales != 1 || b->n_scales != 1 || a->scale[0] != b->scale[0])
        return false;
    if ((a->zero ? a->zero[0] : 0) != (b->zero ? b->zero[0] : 0))
        return false;
    return a->kind == FB_ENC_AFFINE ||
           (a->n_levels == b->n_levels &&
            memcmp(a->level, b->level, a->n_levels * sizeof *a->level) == 0);
}

bool fb_spelled_moves(const fb_model *m, const fb_node *n)
{
    const fb_encoding *x = n->n_in > 0 && n->in[0] >= 0 ? &m->tensors[n->in[0]].enc : NULL;
    const fb_encoding *y = &m->tensors[n->out[0]].enc;
    bool mover = n->op == FB_OP_MAX_POOL || n->op == FB_OP_RESHAPE || n->op == FB_OP_TRANSPOSE ||
                 n->op == FB_OP_SLICE || n->op == FB_OP_PAD;
    return mover && x && x->kind != FB_ENC_PLAIN && y->kind != FB_ENC_PLAIN && same_encoding(x, y);
}

static bool is_encoded(const fb_model *m, int32_t t)
{
    return t >= 0 && !m->tensors[t].is_const && m->tensors[t].enc.kind != FB_ENC_PLAIN;
}

/* ---- scales that may move ---------------------------------------------------------------------
 */

static bool lets_scales_move(fb_op op)
{
    return op == FB_OP_CONV || op == FB_OP_DENSE || op == FB_OP_BINARY || op == FB_OP_UNARY ||
           op == FB_OP_REDUCE || op == FB_OP_AVG_POOL;
}

/* Every scale but those of fixed point, and of tensors that an operator wants to agree with
 * another one (concat): makers and readers must all take any scale, or hand it on. */
static void find_learned(const fb_model *m, bool *learn)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        learn[i] = is_encoded(m, (int32_t)i) && m->tensors[i].enc.kind == FB_ENC_AFFINE &&
                   !m->tensors[i].enc.pow2;
    for (size_t i = m->n_nodes; i-- > 0;) {
        const fb_node *n = &m->nodes[i];
        bool moves = fb_spelled_moves(m, n);
        if (moves) /* what stands still behind it, stands still before it */
            learn[n->in[0]] = learn[n->in[0]] && learn[n->out[0]];
        if (!lets_scales_move(n->op) && !moves) {
            learn[n->out[0]] = false;
            for (uint32_t k = 0; k < n->n_in; k++) {
                if (n->in[k] >= 0)
                    learn[n->in[k]] = false;
            }
        }
    }
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

/* A plain tensor like `t`. */
static fb_status add_like(fb_model *m, int32_t t, int32_t *index)
{
    const fb_tensor x = m->tensors[t];
    return fb_model_add_tensor(m, "", x.dtype, x.rank, x.dims, index);
}

static fb_status add_norm(fb_model *m, const fb_node *n, int32_t x, int32_t y, int32_t *gamma)
{
    const fb_tensor *t = &m->tensors[y];
    int64_t c = t->dims[t->rank - 1];
    int32_t in[3] = {x, -1, -1};
    float *ones = fb_calloc((size_t)c, sizeof *ones);
    if (!ones)
        return no_memory();
    for (int64_t i = 0; i < c; i++)
        ones[i] = 1;
    fb_status status = fb_model_add_const(m, "", FB_F32, 1, &c, ones, &in[1]);
    fb_free(ones);
    FB_TRY(status);
    FB_TRY(fb_model_add_const(m, "", FB_F32, 1, &c, NULL, &in[2]));
    *gamma = in[1];
    return fb_model_add_node(m, FB_OP_SCALE_SHIFT, n->name, 3, in, 1, &y, NULL, NULL);
}

static fb_spelled_layer *layer_of(const fb_spelled *s, int32_t weight)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        if (s->layers[i].weight == weight)
            return &s->layers[i];
    }
    return NULL;
}

/* The node, then a batch norm, then a convert, as far as they are wanted. */
static fb_status spell_node(speller *k, const fb_node *n)
{
    fb_model *m = k->s->model;
    int32_t out = n->out[0], made = out;
    bool weighted = n->op == FB_OP_CONV || n->op == FB_OP_DENSE;
    fb_spelled_layer *l = weighted ? layer_of(k->s, n->in[1]) : NULL;
    bool norm = k->norms && l && out != m->outputs[0] && l->gamma < 0;
    bool convert = is_encoded(m, out) && n->op != FB_OP_CONVERT && !fb_spelled_moves(m, n);
    int32_t normed = out, outs[8];
    FB_ENSURE(n->n_out <= 8);
    if (convert)
        FB_TRY(add_like(m, out, &normed));
    made = normed;
    if (norm)
        FB_TRY(add_like(m, out, &made));
    memcpy(outs, n->out, n->n_out * sizeof *outs);
    outs[0] = made;
    FB_TRY(fb_model_add_node(m, n->op, n->name, n->n_in, n->in, n->n_out, outs, &n->attr, NULL));
    if (norm)
        FB_TRY(add_norm(m, n, made, normed, &l->gamma));
    if (convert)
        FB_TRY(fb_model_add_node(m, FB_OP_CONVERT, n->name, 1, &normed, 1, &out, NULL, NULL));
    return FB_OK;
}

static fb_status list_layers(speller *k)
{
    const fb_model *m = k->from;
    fb_spelled *s = k->s;
    s->layers = fb_arena_array(s->model->arena, m->n_nodes + 1, sizeof *s->layers);
    if (!s->layers)
        return no_memory();
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (n->op == FB_OP_CONV || n->op == FB_OP_DENSE)
            s->layers[s->n_layers++] = (fb_spelled_layer){i, n->in[1], n->in[2], -1};
    }
    return FB_OK;
}

static fb_status decode_constants(fb_model *m)
{
    const fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        int64_t n;
        if (!t->is_const || t->enc.kind == FB_ENC_PLAIN)
            continue;
        FB_ENSURE(fb_tensor_elems(t, 0, &n));
        float *w = fb_calloc((size_t)n, sizeof *w);
        if (!w)
            return no_memory();
        fb_status status = fb_tensor_decode(t, w);
        if (status == FB_OK)
            status = fb_model_set_payload(m, (int32_t)i, &plain, w, (size_t)n * sizeof *w);
        fb_free(w);
        FB_TRY(status);
    }
    return FB_OK;
}

static fb_status spell_all(speller *k)
{
    fb_model *m;
    FB_TRY(fb_net_split(k->from, &m));
    k->s->model = m;
    FB_TRY(list_layers(k));
    FB_TRY(decode_constants(m));
    fb_node *nodes = m->nodes;
    size_t n = m->n_nodes;
    m->nodes = NULL;
    m->n_nodes = m->cap_nodes = 0;
    fb_status status = FB_OK;
    for (size_t i = 0; status == FB_OK && i < n; i++)
        status = spell_node(k, &nodes[i]);
    fb_free(nodes);
    FB_TRY(status);
    k->s->learn = fb_arena_array(m->arena, m->n_tensors, sizeof *k->s->learn);
    if (!k->s->learn)
        return no_memory();
    find_learned(k->from, k->s->learn);
    return FB_OK;
}

fb_status fb_spell(const fb_model *model, bool norms, fb_spelled *out)
{
    *out = (fb_spelled){0};
    speller k = {.from = model, .s = out, .norms = norms};
    fb_status status = spell_all(&k);
    if (status != FB_OK)
        fb_spelled_free(out);
    return status;
}

void fb_spelled_free(fb_spelled *s)
{
    fb_model_close(&s->model);
    *s = (fb_spelled){0};
}
