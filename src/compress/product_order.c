#include "compress/product_order.h"

#include "base/alloc.h"
#include "base/status.h"
#include "model/product.h"

#include <stdlib.h>
#include <string.h>

typedef struct use {
    size_t times;
    size_t number; /* of the codeword */
} use;

static int most_used_first(const void *a, const void *b)
{
    const use *x = a, *y = b;
    if (x->times != y->times)
        return x->times < y->times ? 1 : -1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* What index `at` counts in: the first of its codebook's uses, by stage and codebook. */
static size_t first_use(const fb_product *p, size_t at)
{
    size_t stage = at % p->stages, vector = at / p->stages;
    size_t book = fb_product_book(p, vector / p->m_count / p->rows_each, vector % p->m_count);
    return (stage * p->books + book) * p->words;
}

/* uses [stages][books][words] in their new order; place: where each old number has gone. */
static void order_books(const fb_tensor *t, const fb_product *p, use *uses, uint8_t *place)
{
    size_t n = p->stages * p->books * p->words;
    for (size_t i = 0; i < n; i++)
        uses[i].number = i % p->words;
    for (size_t i = 0; i < p->n_indices; i++)
        uses[first_use(p, i) + (size_t)fb_packed_get(t->data, i, t->enc.bits, false)].times++;
    for (size_t i = 0; i < n; i += p->words) {
        qsort(uses + i, p->words, sizeof *uses, most_used_first);
        for (size_t k = 0; k < p->words; k++)
            place[i + uses[i + k].number] = (uint8_t)k;
    }
}

static fb_status order_one(fb_model *m, int32_t tensor)
{
    const fb_tensor *t = &m->tensors[tensor];
    fb_product p = fb_product_of(t);
    size_t n = p.stages * p.books * p.words;
    use *uses = fb_calloc(n, sizeof *uses);
    uint8_t *place = fb_alloc(n), *data = fb_calloc(t->data_bytes, 1);
    float *word = fb_alloc(n * p.sub * sizeof *word);
    fb_status status = FB_OK;
    if (!uses || !place || !data || !word) {
        status = fb_fail(FB_E_MEMORY, "no memory for the codewords of '%.200s'", t->name);
        goto fail;
    }
    order_books(t, &p, uses, place);
    for (size_t i = 0; i < n; i++)
        memcpy(word + i * p.sub, t->enc.word + (i - i % p.words + uses[i].number) * p.sub,
               p.sub * sizeof *word);
    for (size_t i = 0; i < p.n_indices; i++) {
        size_t old = (size_t)fb_packed_get(t->data, i, t->enc.bits, false);
        fb_packed_put(data, i, t->enc.bits, place[first_use(&p, i) + old]);
    }
    fb_encoding e = t->enc;
    e.word = word;
    FB_GO(fb_model_set_payload(m, tensor, &e, data, t->data_bytes));
fail:
    fb_free(uses);
    fb_free(place);
    fb_free(data);
    fb_free(word);
    return status;
}

fb_status fb_products_order(fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].is_const && m->tensors[i].enc.kind == FB_ENC_PRODUCT)
            FB_TRY(order_one(m, (int32_t)i));
    }
    return FB_OK;
}
