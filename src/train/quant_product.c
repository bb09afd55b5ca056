/* Product weights in training: codewords learn from the sum of the gradients of all vectors that
 * take them (Stock et al. 2020, METHODS V.1); indices stay. */
#include "compress/product_codes.h"
#include "train/quant_def.h"

#include <math.h>
#include <string.h>

typedef struct product {
    fb_product_codes codes;
    const float *first; /* [ct] scales of the encoding */
    uint32_t *uses;     /* [stages][books][words] */
} product;

static size_t n_words(const fb_product *p)
{
    return p->stages * p->books * p->words;
}

static size_t word_at(const fb_product *p, size_t stage, size_t book, size_t k)
{
    return (stage * p->books + book) * p->words + k;
}

static void count_uses(product *k)
{
    const fb_product *p = &k->codes.p;
    const uint8_t *index = k->codes.index;
    for (size_t row = 0; row < p->rows; row++) {
        for (size_t m = 0; m < p->m_count; m++, index += p->stages) {
            for (size_t s = 0; s < p->stages; s++)
                k->uses[word_at(p, s, fb_product_book(p, row / p->rows_each, m), index[s])]++;
        }
    }
}

static fb_status create(fb_quant *q, float *w)
{
    product *k = fb_quant_room(q, 1, sizeof *k);
    (void)w;
    if (!k)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    q->self = k;
    FB_TRY(fb_product_codes_open(q->as, &k->codes));
    const fb_product *p = &k->codes.p;
    float *first = fb_quant_room(q, p->ct, sizeof *first);
    k->uses = fb_quant_room(q, n_words(p), sizeof *k->uses);
    if (!first || !k->uses)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    memcpy(first, k->codes.scale, p->ct * sizeof *first);
    k->first = first;
    count_uses(k);
    FB_TRY(fb_quant_add_scales(q, p->ct));
    return fb_quant_add(q, FB_QUANT_TABLE, "weight.words", n_words(p) * p->sub, k->codes.word);
}

static void set_codes(const fb_quant *q, const float *const *values, fb_product_codes *c)
{
    const product *k = q->self;
    const float *scale = fb_quant_numbers(q, values, q->own[FB_QUANT_SCALE]);
    memcpy(c->word, fb_quant_numbers(q, values, q->own[FB_QUANT_TABLE]),
           n_words(&c->p) * c->p.sub * sizeof *c->word);
    for (size_t i = 0; i < c->p.ct; i++)
        c->scale[i] = fb_quant_scale(scale[i], k->first[i]);
}

static fb_status forward(fb_quant *q)
{
    product *k = q->self;
    set_codes(q, NULL, &k->codes);
    FB_TRY(fb_product_codes_round(&k->codes));
    fb_product_codes_decode(&k->codes, q->value);
    return FB_OK;
}

/* Gradients of one channel's words; returns that of its scale. */
static double channel_backward(const product *k, size_t ct, const float *g, float *dword)
{
    const fb_product *p = &k->codes.p;
    const uint8_t *index = k->codes.index + ct * p->rows_each * p->m_count * p->stages;
    float scale = k->codes.scale[ct];
    double sum = 0;
    for (size_t row = 0; row < p->rows_each; row++) {
        for (size_t m = 0; m < p->m_count; m++, index += p->stages) {
            size_t n = m + 1 < p->m_count ? p->sub : fb_product_last(p);
            for (size_t s = 0; s < p->stages; s++) {
                size_t at = word_at(p, s, fb_product_book(p, ct, m), index[s]) * p->sub;
                for (size_t j = 0; j < n; j++) {
                    float d = g[fb_product_offset(p, row, m * p->sub + j)];
                    dword[at + j] += scale * d;
                    sum += (double)d * (double)k->codes.word[at + j];
                }
            }
        }
    }
    return sum;
}

static void backward(fb_quant *q)
{
    const product *k = q->self;
    const fb_product *p = &k->codes.p;
    fb_param *words = fb_quant_own(q, FB_QUANT_TABLE), *scale = fb_quant_own(q, FB_QUANT_SCALE);
    float *g = fb_quant_master(q)->g;
    bool scales = q->options.learn && !q->options.norm && k->codes.form.enc.n_scales > 1;
    memset(words->g, 0, words->n * sizeof *words->g);
    for (size_t ct = 0; ct < p->ct; ct++) {
        double sum = channel_backward(k, ct, g + ct * q->inner, words->g);
        scale->g[ct] = scales ? (float)(sum / sqrt((double)q->inner) / (double)k->first[ct]) : 0;
    }
    for (size_t i = 0; i < words->n; i++) {
        uint32_t uses = k->uses[i / p->sub];
        words->g[i] = q->options.learn && uses > 0 ? words->g[i] / sqrtf((float)uses) : 0;
    }
    memset(g, 0, q->n * sizeof *g);
}

static fb_status store(const fb_quant *q, const float *const *values, const float *factor,
                       fb_model *m, int32_t tensor)
{
    fb_product_codes c;
    FB_TRY(fb_product_codes_open(q->as, &c));
    set_codes(q, values, &c);
    if (factor)
        c.form.enc.axis = 0;
    c.form.enc.n_scales = c.form.enc.axis < 0 ? 1 : (uint32_t)c.p.ct;
    for (size_t i = 0; factor && i < c.p.ct; i++)
        c.scale[i] = fb_share_stored_scale(c.scale[i] * factor[i]);
    fb_status status = fb_product_codes_store(&c, m, tensor);
    fb_product_codes_free(&c);
    return status;
}

static void destroy(fb_quant *q)
{
    product *k = q->self;
    if (k)
        fb_product_codes_free(&k->codes);
}

const fb_quant_def fb_quant_product_def = {create, forward, backward, store, destroy};
