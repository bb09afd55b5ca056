/* Between a tensor in the product encoding and codewords as real numbers. */
#include "compress/words.h"

#include "base/alloc.h"
#include "model/product.h"
#include "numeric/half.h"

#include <math.h>

/* --- opening --------------------------------------------------------------------------------- */

static void place_blocks(const fb_product *p, fb_words *w)
{
    for (size_t b = 0; b < w->n_blocks; b++) {
        size_t row = b / p->m_count, m = b % p->m_count;
        w->book[b] = (uint32_t)fb_product_book(p, 0, m);
        for (size_t j = 0; j < p->sub; j++) {
            size_t at = m * p->sub + j;
            w->column[b * p->sub + j] =
                at < p->len ? (uint32_t)fb_product_offset(p, row, at) : FB_WORDS_NONE;
        }
    }
}

fb_status fb_words_open(const fb_tensor *t, fb_words *w)
{
    const fb_encoding *e = &t->enc;
    *w = (fb_words){0};
    if (e->kind != FB_ENC_PRODUCT)
        return fb_fail(FB_E_UNSUPPORTED,
                       "weight '%.200s' is not made of codewords; a step such as "
                       "pq comes first",
                       t->name);
    if (e->table_bits)
        return fb_fail(
            FB_E_UNSUPPORTED,
            "weight '%.200s' has look-up tables already; its codewords are chosen before", t->name);
    fb_product p = fb_product_of(t);
    size_t inner = p.rows_each * p.len;
    FB_ENSURE(inner < FB_WORDS_NONE);
    *w = (fb_words){.ct = p.ct,
                    .inner = inner,
                    .n_blocks = p.rows_each * p.m_count,
                    .d = p.sub,
                    .n_words = p.words,
                    .n_stages = p.stages,
                    .n_books = p.books,
                    .book_rows = p.ct_group,
                    .book_step = e->n_groups > 1 ? p.m_count : 0,
                    .own_scales = e->n_scales > 1};
    FB_TRY(fb_words_alloc(w));
    place_blocks(&p, w);
    for (size_t i = 0; i < p.n_indices; i++)
        w->code[i] = (uint8_t)fb_packed_get(t->data, i, e->bits, false);
    for (size_t s = 0, each = p.books * p.words * p.sub; s < p.stages; s++) {
        for (size_t i = 0; i < each; i++)
            w->word[s * each + i] = (double)e->word_scale[s] * (double)e->word[s * each + i];
    }
    for (size_t r = 0; r < p.ct; r++)
        w->scale[r] = (double)e->scale[e->n_scales == 1 ? 0 : r];
    return FB_OK;
}

/* --- rounding -------------------------------------------------------------------------------- */

/* Integers of a stage: the unit makes its largest element 127. */
static double unit_of(const double *word, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(word[i]));
    float unit = (float)(most / 127);
    return unit > 0 ? (double)unit : 1;
}

void fb_words_round(fb_words *w, unsigned bits, double *unit)
{
    size_t each = w->n_books * w->n_words * w->d;
    for (size_t s = 0; s < w->n_stages; s++) {
        double *word = w->word + s * each;
        unit[s] = bits == 8 ? unit_of(word, each) : 1;
        for (size_t i = 0; i < each; i++) {
            if (bits == 8)
                word[i] = unit[s] * fmax(-128, fmin(127, rint(word[i] / unit[s])));
            else if (bits == 16)
                word[i] = (double)fb_f16_to_f32(fb_f16_from_f64(word[i]));
            else
                word[i] = (double)(float)word[i];
        }
    }
}

/* --- storing --------------------------------------------------------------------------------- */

static fb_status pack(const fb_words *w, const fb_tensor *t, uint8_t **out, size_t *bytes)
{
    size_t n = w->ct * w->n_blocks * w->n_stages;
    FB_ENSURE(fb_packed_bytes(n, t->enc.bits, bytes));
    *out = fb_calloc(1, *bytes);
    if (!*out)
        return fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
    for (size_t i = 0; i < n; i++)
        fb_packed_put(*out, i, t->enc.bits, w->code[i]);
    return FB_OK;
}

fb_status fb_words_store(fb_words *w, const double *unit, fb_model *m, int32_t tensor)
{
    const fb_tensor *t = &m->tensors[tensor];
    fb_encoding e = t->enc;
    size_t each = w->n_books * w->n_words * w->d, bytes = 0;
    float *word = fb_calloc(each * w->n_stages, sizeof *word), scales[FB_PRODUCT_STAGES];
    float *scale = fb_calloc(e.n_scales, sizeof *scale);
    uint8_t *data = NULL;
    fb_status status;
    if (!word || !scale) {
        status = fb_fail(FB_E_MEMORY, "no memory for weight '%.200s'", t->name);
        goto fail;
    }
    FB_GO(pack(w, t, &data, &bytes));
    for (size_t s = 0; s < w->n_stages; s++) {
        scales[s] = (float)(unit[s] / unit[0]);
        for (size_t i = 0; i < each; i++)
            word[s * each + i] = (float)(w->word[s * each + i] / unit[s]);
        for (size_t i = 0; i < each && e.word_bits == 8; i++)
            word[s * each + i] = rintf(word[s * each + i]);
    }
    for (size_t r = 0; r < e.n_scales; r++)
        scale[r] = (float)(w->scale[r] * unit[0]);
    e.word = word;
    e.word_scale = scales;
    e.scale = scale;
    FB_GO(fb_model_set_payload(m, tensor, &e, data, bytes));
fail:
    fb_free(word);
    fb_free(scale);
    fb_free(data);
    return status;
}
