/* Between a tensor in the product encoding and codewords as real numbers. */
#include "compress/product_codes.h"
#include "compress/words.h"

#include "base/status.h"
#include "numeric/half.h"

#include <math.h>
#include <string.h>

static fb_status check(const fb_tensor *t)
{
    if (t->enc.kind != FB_ENC_PRODUCT)
        return fb_fail(FB_E_UNSUPPORTED,
                       "weight '%.200s' is not made of codewords; a step such as pq comes first",
                       t->name);
    if (t->enc.table_bits)
        return fb_fail(
            FB_E_UNSUPPORTED,
            "weight '%.200s' has look-up tables already; its codewords are chosen before", t->name);
    return FB_OK;
}

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

static size_t n_words(const fb_words *w)
{
    return w->n_stages * w->n_books * w->n_words * w->d;
}

fb_status fb_words_open(const fb_tensor *t, fb_words *w)
{
    fb_product_codes c;
    *w = (fb_words){0};
    FB_TRY(check(t));
    FB_TRY(fb_product_codes_open(t, &c));
    const fb_product *p = &c.p;
    *w = (fb_words){.ct = p->ct,
                    .inner = p->rows_each * p->len,
                    .n_blocks = p->rows_each * p->m_count,
                    .d = p->sub,
                    .n_words = p->words,
                    .n_stages = p->stages,
                    .n_books = p->books,
                    .book_rows = p->ct_group,
                    .book_step = t->enc.n_groups > 1 ? p->m_count : 0,
                    .own_scales = t->enc.n_scales > 1};
    fb_status status = w->inner < FB_WORDS_NONE ? fb_words_alloc(w) : FB_E_LIMIT;
    if (status == FB_OK) {
        place_blocks(p, w);
        memcpy(w->code, c.index, p->n_indices * sizeof *w->code);
        for (size_t i = 0; i < n_words(w); i++)
            w->word[i] = (double)c.word[i];
        for (size_t r = 0; r < p->ct; r++)
            w->scale[r] = (double)c.scale[r];
    }
    fb_product_codes_free(&c);
    return status;
}

/* The largest of a stage is +-127 units, as fb_product_codes_store has it. */
static void round_to_bytes(double *word, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf((float)word[i]));
    float unit = most > 0x1p-100f ? most / 127 : 1;
    for (size_t i = 0; i < n; i++)
        word[i] = (double)(unit * rintf((float)word[i] / unit));
}

void fb_words_round(fb_words *w, unsigned bits)
{
    size_t each = n_words(w) / w->n_stages;
    for (size_t s = 0; s < w->n_stages; s++) {
        double *word = w->word + s * each;
        if (bits == 8)
            round_to_bytes(word, each);
        for (size_t i = 0; i < each && bits != 8; i++)
            word[i] = bits == 16 ? (double)fb_f16_to_f32(fb_f16_from_f64(word[i]))
                                 : (double)(float)word[i];
    }
}

fb_status fb_words_store(const fb_words *w, fb_model *m, int32_t tensor)
{
    fb_product_codes c;
    FB_TRY(fb_product_codes_open(&m->tensors[tensor], &c));
    memcpy(c.index, w->code, c.p.n_indices * sizeof *c.index);
    for (size_t i = 0; i < n_words(w); i++)
        c.word[i] = (float)w->word[i];
    for (size_t r = 0; r < w->ct; r++)
        c.scale[r] = (float)w->scale[r];
    fb_status status = fb_product_codes_store(&c, m, tensor);
    fb_product_codes_free(&c);
    return status;
}
