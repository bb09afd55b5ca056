/* Pieces of a model between a cut and a node. */
#include "compress/stage.h"

#include "base/size.h"
#include "base/status.h"
#include "model/layout.h"

#include <string.h>

static const size_t usual_bytes = (size_t)256 << 20;

fb_act *fb_node_act(fb_node *n)
{
    return n->op == FB_OP_DENSE ? &n->attr.dense.act : &n->attr.conv.act;
}

fb_status fb_node_split_act(fb_model *m, size_t node, int32_t *before)
{
    fb_act act = *fb_node_act(&m->nodes[node]);
    int32_t out = m->nodes[node].out[0];
    *before = out;
    if (!act.clamp)
        return FB_OK;
    fb_tensor like = m->tensors[out];
    fb_attr attr = {.unary = {.kind = FB_UNARY_CLIP, .a = act.lo, .b = act.hi}};
    FB_TRY(fb_model_add_tensor(m, "", FB_F32, like.rank, like.dims, before));
    FB_TRY(fb_model_add_node(m, FB_OP_UNARY, "", 1, before, 1, &out, &attr, NULL));
    fb_node_act(&m->nodes[node])->clamp = 0;
    m->nodes[node].out[0] = *before;
    fb_node clip = m->nodes[m->n_nodes - 1];
    memmove(m->nodes + node + 2, m->nodes + node + 1, (m->n_nodes - node - 2) * sizeof *m->nodes);
    m->nodes[node + 1] = clip;
    return FB_OK;
}

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to run the network in pieces");
}

/* --- cuts ------------------------------------------------------------------------------------ */

static fb_status cut_init(fb_cut *c, uint32_t node, uint32_t n)
{
    *c = (fb_cut){.node = node, .n = n};
    c->tensors = fb_calloc(n, sizeof *c->tensors);
    c->bytes = fb_calloc(n, sizeof *c->bytes);
    c->data = fb_calloc(n, sizeof *c->data);
    return c->tensors && c->bytes && c->data ? FB_OK : no_memory();
}

static void cut_free(fb_cut *c)
{
    for (uint32_t k = 0; c->data && k < c->n; k++)
        fb_free(c->data[k]);
    fb_free(c->tensors);
    fb_free(c->bytes);
    fb_free(c->data);
    *c = (fb_cut){0};
}

void fb_stage_free(fb_stage *stage)
{
    cut_free(&stage->cut);
}

static void rewind_cut(void *user)
{
    ((fb_stage *)user)->at = 0;
}

static fb_status fill_from_cut(void *user, fb_run *run, uint32_t *got)
{
    fb_stage *s = user;
    *got = s->at < s->runs;
    for (uint32_t k = 0; *got && k < s->cut.n; k++) {
        size_t bytes;
        void *input = fb_run_input(run, k, &bytes);
        FB_ENSURE(input && bytes == s->cut.bytes[k]);
        memcpy(input, s->cut.data[k] + s->at * bytes, bytes);
    }
    s->at += *got;
    return FB_OK;
}

static fb_source source_of(fb_stage *s)
{
    return s->has_cut ? (fb_source){s, s->runs, rewind_cut, fill_from_cut}
                      : fb_samples_source(s->samples);
}

/* --- pieces ---------------------------------------------------------------------------------- */

/* What becomes of the last node of a piece. */
typedef enum piece_end {
    PIECE_AS_IS,
    PIECE_FLOAT, /* writes floats */
    PIECE_BARE   /* writes floats, without its activation */
} piece_end;

/* The nodes from the cut up to `stop`, which is not among them, with the cut's tensors as inputs,
 * in their order. */
static fb_status make_piece(const fb_stage *s, uint32_t stop, const int32_t *outputs,
                            uint32_t n_outputs, piece_end end, fb_model **out)
{
    fb_model *m;
    *out = NULL;
    FB_TRY(fb_model_clone(s->model, false, &m));
    fb_status status;
    if (end != PIECE_AS_IS) {
        fb_node *n = &m->nodes[stop - 1];
        if (end == PIECE_BARE)
            fb_node_act(n)->clamp = 0;
        m->tensors[n->out[0]].enc = (fb_encoding){.kind = FB_ENC_PLAIN, .axis = -1};
    }
    m->n_nodes = stop;
    if (s->has_cut) {
        m->n_nodes -= s->cut.node;
        memmove(m->nodes, m->nodes + s->cut.node, m->n_nodes * sizeof *m->nodes);
        FB_GO(fb_model_set_io(m, s->cut.tensors, s->cut.n, outputs, n_outputs));
    } else {
        FB_GO(fb_model_set_io(m, m->inputs, m->n_inputs, outputs, n_outputs));
    }
    FB_GO(fb_model_compact(m));
    *out = m;
    return FB_OK;
fail:
    fb_model_close(&m);
    return status;
}

fb_status fb_stage_measure(fb_stage *s, uint32_t node, bool with_act, fb_moments *seen)
{
    fb_model *piece;
    FB_TRY(make_piece(s, node + 1, &s->model->nodes[node].out[0], 1,
                      with_act ? PIECE_FLOAT : PIECE_BARE, &piece));
    fb_source source = source_of(s);
    fb_status status = fb_watch_moments(piece, &source, &piece->outputs[0], 1, &s->options, seen);
    fb_model_close(&piece);
    return status;
}

fb_status fb_stage_watch(fb_stage *s, uint32_t node, int32_t tensor, fb_watch_fn fn, void *user)
{
    fb_model *piece;
    FB_TRY(make_piece(s, node, &tensor, 1, PIECE_AS_IS, &piece));
    fb_source source = source_of(s);
    fb_status status = fb_watch(piece, &source, &piece->outputs[0], 1, &s->options, fn, user);
    fb_model_close(&piece);
    return status;
}

/* --- variants -------------------------------------------------------------------------------- */

static bool is_same_code(const fb_encoding *a, const fb_encoding *b)
{
    bool same = a->kind == b->kind && a->bits == b->bits && a->is_signed == b->is_signed;
    if (!same || a->kind == FB_ENC_PLAIN)
        return same;
    if (a->n_scales != 1 || b->n_scales != 1 || a->scale[0] != b->scale[0] ||
        (a->zero ? a->zero[0] : 0) != (b->zero ? b->zero[0] : 0))
        return false;
    return a->kind == FB_ENC_AFFINE ||
           (a->level_bits == b->level_bits && a->n_levels == b->n_levels &&
            memcmp(a->level, b->level, a->n_levels * sizeof *a->level) == 0);
}

/* Whether the cut's tensors lie in runs of the variant as they were stored; marks them. */
static bool fits_variant(const fb_stage *s, const fb_model *variant, uint8_t *in_cut)
{
    for (uint32_t k = 0; k < s->cut.n; k++) {
        int32_t t = s->cut.tensors[k];
        if (!is_same_code(&s->model->tensors[t].enc, &variant->tensors[t].enc))
            return false;
        in_cut[t] = 1;
    }
    return true;
}

/* Keeps the nodes that the outputs need beyond the cut. False where they need the model's inputs.
 */
static bool keep_tail(fb_model *m, const uint8_t *in_cut, uint8_t *needed)
{
    size_t kept = m->n_nodes;
    needed[m->outputs[0]] = !in_cut[m->outputs[0]];
    for (size_t i = m->n_nodes; i-- > 0;) {
        bool need = false;
        for (uint32_t k = 0; k < m->nodes[i].n_out; k++)
            need = need || (m->nodes[i].out[k] >= 0 && needed[m->nodes[i].out[k]]);
        for (uint32_t k = 0; need && k < m->nodes[i].n_in; k++) {
            int32_t t = m->nodes[i].in[k];
            if (t >= 0)
                needed[t] = !in_cut[t];
        }
        if (need)
            m->nodes[--kept] = m->nodes[i];
    }
    m->n_nodes -= kept;
    memmove(m->nodes, m->nodes + kept, m->n_nodes * sizeof *m->nodes);
    for (uint32_t k = 0; k < m->n_inputs; k++) {
        if (needed[m->inputs[k]])
            return false;
    }
    return true;
}

/* *out NULL: it has to run whole. */
static fb_status make_tail(const fb_stage *s, const fb_model *variant, fb_model **out)
{
    uint8_t *mark = fb_calloc(variant->n_tensors, 2);
    fb_model *m = NULL;
    fb_status status = mark ? FB_OK : no_memory();
    *out = NULL;
    if (status != FB_OK || !fits_variant(s, variant, mark))
        goto fail;
    FB_GO(fb_model_clone(variant, false, &m));
    if (keep_tail(m, mark, mark + m->n_tensors)) {
        FB_GO(fb_model_set_io(m, s->cut.tensors, s->cut.n, variant->outputs, 1));
        FB_GO(fb_model_compact(m));
        *out = m;
        m = NULL;
    }
fail:
    fb_model_close(&m);
    fb_free(mark);
    return status;
}

fb_status fb_stage_run(fb_stage *s, const fb_model *variant, fb_watch_fn fn, void *user)
{
    fb_model *tail = NULL;
    if (s->has_cut)
        FB_TRY(make_tail(s, variant, &tail));
    const fb_model *m = tail ? tail : variant;
    fb_source source = tail ? source_of(s) : fb_samples_source(s->samples);
    fb_status status = fb_watch(m, &source, m->outputs, 1, &s->options, fn, user);
    fb_model_close(&tail);
    return status;
}

/* --- moving on ------------------------------------------------------------------------------- */

/* Marks, for each tensor alive behind `node`: 1 it is in the cut already, 2 a node writes it as its
 * first output, 3 anything else. */
static void find_live(const fb_stage *s, uint32_t node, uint8_t *live)
{
    const fb_model *m = s->model;
    memset(live, 0, m->n_tensors);
    for (size_t i = (size_t)node + 1; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] >= 0 && !m->tensors[m->nodes[i].in[k]].is_const)
                live[m->nodes[i].in[k]] = 3;
        }
    }
    for (size_t i = (size_t)node + 1; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_out; k++) {
            if (m->nodes[i].out[k] >= 0)
                live[m->nodes[i].out[k]] = 0;
        }
    }
    for (size_t i = s->has_cut ? s->cut.node : 0; i <= node; i++) {
        int32_t t = m->nodes[i].out[0];
        if (t >= 0 && live[t])
            live[t] = 2;
    }
    for (uint32_t k = 0; s->has_cut && k < s->cut.n; k++) {
        if (live[s->cut.tensors[k]])
            live[s->cut.tensors[k]] = 1;
    }
}

typedef struct capture {
    fb_cut *cut;
    uint32_t *slot;  /* [watched] place in the cut */
    uint64_t *count; /* [watched] runs so far */
    uint64_t runs;   /* room */
} capture;

/* The first run tells the sizes; all memory is taken then. */
static fb_status store(void *user, uint32_t k, const fb_view *view)
{
    capture *c = user;
    uint32_t at = c->slot[k];
    size_t bytes = view->bytes, all;
    if (c->count[k] == 0) {
        c->cut->bytes[at] = bytes;
        c->cut->data[at] = fb_size_mul(bytes, (size_t)c->runs, &all) ? fb_alloc(all) : NULL;
        if (!c->cut->data[at])
            return no_memory();
    }
    FB_ENSURE(c->count[k] < c->runs);
    memcpy(c->cut->data[at] + c->count[k]++ * bytes, view->data, bytes);
    return FB_OK;
}

/* Bytes of all live tensors, as a run stores them. */
static bool fits(const fb_stage *s, const uint8_t *live)
{
    size_t total = 0;
    for (size_t t = 0; t < s->model->n_tensors; t++) {
        const fb_tensor *x = &s->model->tensors[t];
        size_t bytes;
        if (live[t] == 3)
            return false;
        if (!live[t])
            continue;
        if (!fb_activation_bytes(x, 1, &bytes) ||
            !fb_size_mul(bytes, (size_t)s->samples->count, &bytes) ||
            !fb_size_add(total, bytes, &total))
            return false;
    }
    return total <= (s->most_bytes ? s->most_bytes : usual_bytes);
}

/* Runs the piece for the tensors that are not in the cut yet, into `next`. */
static fb_status run_fresh(fb_stage *s, uint32_t node, const uint8_t *live, fb_cut *next)
{
    fb_model *piece = NULL;
    capture c = {.cut = next, .runs = s->has_cut ? s->runs : s->samples->count};
    int32_t *fresh = fb_calloc(next->n, sizeof *fresh);
    uint32_t n = 0;
    fb_status status = FB_OK;
    c.slot = fb_calloc(next->n, sizeof *c.slot);
    c.count = fb_calloc(next->n, sizeof *c.count);
    if (!fresh || !c.slot || !c.count) {
        status = no_memory();
        goto fail;
    }
    for (uint32_t k = 0; k < next->n; k++) {
        if (live[next->tensors[k]] == 2) {
            c.slot[n] = k;
            fresh[n++] = next->tensors[k];
        }
    }
    if (n > 0) {
        FB_GO(make_piece(s, node + 1, fresh, n, PIECE_AS_IS, &piece));
        fb_source source = source_of(s);
        FB_GO(fb_watch(piece, &source, piece->outputs, n, &s->options, store, &c));
        s->runs = c.count[0];
    }
fail:
    fb_model_close(&piece);
    fb_free(fresh);
    fb_free(c.slot);
    fb_free(c.count);
    return status;
}

/* What stays alive moves from the old cut to the new one. */
static void take_over(fb_cut *from, fb_cut *to)
{
    for (uint32_t k = 0; k < to->n; k++) {
        for (uint32_t i = 0; i < from->n && !to->data[k]; i++) {
            if (from->tensors[i] != to->tensors[k])
                continue;
            to->bytes[k] = from->bytes[i];
            to->data[k] = from->data[i];
            from->data[i] = NULL;
        }
    }
}

fb_status fb_stage_advance(fb_stage *s, uint32_t node)
{
    const fb_model *m = s->model;
    fb_cut next = {0};
    uint32_t n = 0;
    if (s->has_cut && node < s->cut.node)
        return FB_OK;
    uint8_t *live = fb_calloc(m->n_tensors, 1);
    if (!live)
        return no_memory();
    fb_status status = FB_OK;
    find_live(s, node, live);
    for (size_t t = 0; t < m->n_tensors; t++)
        n += live[t] != 0;
    if (n == 0 || !fits(s, live))
        goto fail;
    FB_GO(cut_init(&next, node + 1, n));
    n = 0;
    for (size_t t = 0; t < m->n_tensors; t++) {
        if (live[t])
            next.tensors[n++] = (int32_t)t;
    }
    FB_GO(run_fresh(s, node, live, &next));
    take_over(&s->cut, &next);
    cut_free(&s->cut);
    s->cut = next;
    s->has_cut = true;
    next = (fb_cut){0};
fail:
    cut_free(&next);
    fb_free(live);
    return status;
}
