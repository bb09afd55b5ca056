/* Look-up convolution and dense layers: codewords in 8 bits, indices and the integer law of
 * NUMERICS.md ("Look-up tables"). The unit of the sums is table_scale * scale[channel]. */
#include "plan/op_prod_q.h"

#include "kernels/prod_q.h"
#include "model/product.h"

typedef struct prod_params {
    fbk_prod_q layer;
    const fbk_prod_q_row *row;
} prod_params;

static void run_prod(const fb_tile *t)
{
    const prod_params *k = t->step->params;
    k->row->run(&k->layer, t->in[0], t->out[0], t->scratch, t->index);
}

/* The multiplier of a stage's products, or 0 when it does not fit 15 bits. */
static int32_t multiplier(const fb_encoding *e, size_t stage, float x_scale)
{
    double mul = 32768.0 * (double)x_scale * (double)e->word_scale[stage] / (double)e->table_scale;
    return mul > 0.5 && mul < 32767.5 ? (int32_t)lrint(mul) : 0;
}

static bool words_fit(const fb_encoding *e, const fb_product *g)
{
    size_t n = g->stages * g->books * g->words;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (size_t j = 0; j < g->sub; j++)
            sum += fabsf(e->word[i * g->sub + j]);
        if (sum > FBK_PROD_SUM)
            return false;
    }
    return true;
}

bool fb_prod_q_takes(const fb_prepare *p, const fb_slot *w, const fb_codes *x, uint32_t groups)
{
    const fb_encoding *e = w->enc;
    if (w->place != FB_PLACE_CONST || !w->tensor || e->kind != FB_ENC_PRODUCT || !e->table_bits ||
        p->plan->tables == FB_TABLES_DECODE || x->is_signed || groups % e->n_groups != 0)
        return false;
    for (size_t s = 0; s < e->n_stages; s++)
        if (!multiplier(e, s, x->scale))
            return false;
    fb_product g = fb_product_of(w->tensor);
    return words_fit(e, &g);
}

/* What packing reads, in heap memory. */
typedef struct source {
    uint8_t *index;
    int8_t *word;
    int32_t *bias;
    float *scale;
    float *decoded; /* f32 bias */
} source;

static void source_free(source *s)
{
    fb_free(s->index);
    fb_free(s->word);
    fb_free(s->bias);
    fb_free(s->scale);
    fb_free(s->decoded);
}

static float channel_scale(const fb_encoding *e, uint32_t o)
{
    return e->scale[e->n_scales == 1 ? 0 : o];
}

/* Codewords as the kernels want them: every group and subspace with its own. */
static void read_words(const fb_encoding *e, const fb_product *g, const fbk_prod_q *c, int8_t *to)
{
    for (uint32_t group = 0; group < c->groups; group++)
        for (uint32_t m = 0; m < c->subs; m++) {
            size_t book = fb_product_book(g, (size_t)group * (c->oc / c->groups), m);
            for (uint32_t s = 0; s < c->stages; s++)
                for (uint32_t k = 0; k < c->n_words; k++) {
                    const float *word = fb_product_word(e, g, s, book, k);
                    for (uint32_t j = 0; j < c->d; j++)
                        *to++ = (int8_t)word[j];
                }
        }
}

static fb_status read_bias(const fb_prepare *p, const fbk_prod_q *c, source *s)
{
    const fb_slot *b = p->in[2];
    const fb_encoding *e = p->in[1]->enc;
    if (!b)
        return FB_OK;
    FB_ENSURE(b->elems == c->oc);
    FB_TRY(fb_prepare_decode(p, b, &s->decoded));
    int64_t sums = (int64_t)c->kh * c->kw * c->subs * c->stages << (c->table_bits - 1);
    int32_t limit = sums < INT32_MAX ? (int32_t)(INT32_MAX - sums) : 0;
    for (uint32_t o = 0; o < c->oc; o++)
        s->bias[o] = fb_bias_code(s->decoded[o], e->table_scale, channel_scale(e, o), limit);
    return FB_OK;
}

static fb_status read_source(const fb_prepare *p, const fbk_prod_q *c, const fb_codes *y, source *s)
{
    const fb_slot *w = p->in[1];
    const fb_encoding *e = w->enc;
    fb_product g = fb_product_of(w->tensor);
    size_t words = (size_t)c->groups * c->subs * c->stages * c->n_words * c->d;
    s->index = fb_alloc(g.n_indices);
    s->word = fb_alloc(words);
    s->bias = fb_calloc(c->oc, sizeof *s->bias);
    s->scale = fb_calloc(c->oc, sizeof *s->scale);
    if (!s->index || !s->word || !s->bias || !s->scale)
        return fb_plan_no_memory(p);
    for (size_t i = 0; i < g.n_indices; i++)
        s->index[i] = (uint8_t)fb_packed_get(w->tensor->data, i, e->bits, false);
    read_words(e, &g, c, s->word);
    for (uint32_t o = 0; o < c->oc; o++)
        s->scale[o] = c->f32_out ? e->table_scale * channel_scale(e, o)
                                 : fb_requant_scale(e->table_scale, channel_scale(e, o), y->scale);
    return read_bias(p, c, s);
}

static fbk_prod_q layer_of(const fb_encoding *e, const fbk_conv_q *c, const fb_codes *x)
{
    fbk_prod_q l = {.shape = c->shape,
                    .d = e->sub,
                    .n_words = e->n_words,
                    .stages = e->n_stages,
                    .table_bits = e->table_bits,
                    .y_signed = c->y_signed,
                    .f32_out = c->f32_out,
                    .x_zero = c->x_zero,
                    .y_zero = c->y_zero,
                    .y_lo = c->y_lo,
                    .y_hi = c->y_hi,
                    .act_lo = c->act_lo,
                    .act_hi = c->act_hi};
    l.subs = (c->ic / c->groups + l.d - 1) / l.d;
    for (uint32_t s = 0; s < l.stages; s++)
        l.mul[s] = multiplier(e, s, x->scale);
    return l;
}

fb_status fb_prepare_prod_q(fb_prepare *p, const fbk_conv_q *layer, const fb_codes *x,
                            const fb_codes *y)
{
    source s = {0};
    prod_params *k;
    fbk_prod_q c = layer_of(p->in[1]->enc, layer, x);
    fb_status status;
    FB_GO(read_source(p, &c, y, &s));
    const fbk_prod_q_row *row = fbk_prod_q_choose(&c, p->plan->cpu);
    c.packed = fb_plan_alloc_packed(p->plan, c.packed_bytes, 1);
    k = fb_plan_alloc(p->plan, 1, sizeof *k);
    if (!c.packed || !k) {
        status = fb_plan_no_memory(p);
        goto fail;
    }
    fbk_prod_source from = {s.index, s.word, s.bias, s.scale};
    row->pack(&c, &from);
    k->layer = c;
    k->row = row;
    p->step->kernel = row->name;
    p->step->run = run_prod;
    p->step->n_tiles = c.n_tiles;
    p->step->scratch_bytes = c.scratch_bytes;
    p->step->params = k;
    p->step->macs = (uint64_t)c.n * c.oh * c.ow * c.oc * c.kh * c.kw * (c.ic / c.groups);
fail:
    source_free(&s);
    return status;
}
