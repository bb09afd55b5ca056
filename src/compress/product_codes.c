#include "compress/product_codes.h"

#include "base/alloc.h"
#include "base/status.h"
#include "numeric/half.h"

#include <math.h>
#include <string.h>

static size_t n_words(const fb_product *p)
{
    return p->stages * p->books * p->words * p->sub;
}

static fb_status make_room(fb_product_codes *c)
{
    c->index = fb_calloc(c->p.n_indices, 1);
    c->word = fb_calloc(n_words(&c->p), sizeof *c->word);
    c->scale = fb_calloc(c->p.ct, sizeof *c->scale);
    if (!c->index || !c->word || !c->scale) {
        fb_product_codes_free(c);
        return fb_fail(FB_E_MEMORY, "no memory for the indices of a layer");
    }
    for (size_t i = 0; i < c->p.ct; i++)
        c->scale[i] = 1;
    return FB_OK;
}

fb_status fb_product_codes_make(const fb_tensor *t, const fb_encoding *form, fb_product_codes *c)
{
    size_t bytes;
    int64_t n;
    *c = (fb_product_codes){.form = *t};
    fb_encoding *e = &c->form.enc;
    *e = *form;
    e->kind = FB_ENC_PRODUCT;
    e->bits = (uint8_t)fb_product_bits(e->n_words);
    e->n_scales = e->axis < 0 ? 1 : (uint32_t)t->dims[0];
    e->scale = e->word_scale = e->word = NULL;
    e->table_bits = 0;
    e->table_scale = 0;
    c->form.data = NULL;
    c->form.dtype = FB_F32;
    FB_ENSURE(fb_tensor_elems(t, 0, &n));
    FB_TRY(fb_encoding_get(FB_ENC_PRODUCT)->payload_bytes(&c->form, (size_t)n, &bytes));
    c->p = fb_product_of(&c->form);
    return make_room(c);
}

fb_status fb_product_codes_open(const fb_tensor *t, fb_product_codes *c)
{
    const fb_encoding *e = &t->enc;
    FB_TRY(fb_product_codes_make(t, e, c));
    size_t each = n_words(&c->p) / c->p.stages;
    for (size_t i = 0; i < c->p.n_indices; i++)
        c->index[i] = (uint8_t)fb_packed_get(t->data, i, e->bits, false);
    /* A scale for all goes into the words. */
    float one = e->n_scales == 1 ? e->scale[0] : 1;
    for (size_t i = 0; i < n_words(&c->p); i++)
        c->word[i] = one * (e->word_scale[i / each] * e->word[i]);
    for (size_t i = 0; e->n_scales > 1 && i < c->p.ct; i++)
        c->scale[i] = e->scale[i];
    return FB_OK;
}

void fb_product_codes_free(fb_product_codes *c)
{
    fb_free(c->index);
    fb_free(c->word);
    fb_free(c->scale);
    *c = (fb_product_codes){0};
}

void fb_product_codes_channel(const fb_product_codes *c, size_t ct, float *out)
{
    const fb_product *p = &c->p;
    const fb_encoding view = {.word = c->word};
    const uint8_t *index = c->index + ct * p->rows_each * p->m_count * p->stages;
    memset(out, 0, p->kernel * p->c * sizeof *out);
    for (size_t row = 0; row < p->rows_each; row++) {
        for (size_t m = 0; m < p->m_count; m++, index += p->stages) {
            size_t n = m + 1 < p->m_count ? p->sub : fb_product_last(p);
            for (size_t s = 0; s < p->stages; s++) {
                const float *word =
                    fb_product_word(&view, p, s, fb_product_book(p, ct, m), index[s]);
                for (size_t j = 0; j < n; j++)
                    out[fb_product_offset(p, row, m * p->sub + j)] += word[j];
            }
        }
    }
}

void fb_product_codes_decode(const fb_product_codes *c, float *out)
{
    size_t inner = c->p.kernel * c->p.c;
    for (size_t ct = 0; ct < c->p.ct; ct++) {
        fb_product_codes_channel(c, ct, out + ct * inner);
        for (size_t i = 0; i < inner; i++)
            out[ct * inner + i] *= c->scale[ct];
    }
}

/* ---- storing -------------------------------------------------------------------------------- */

/* Words of a stage as integers; returns their scale. */
static float round_to_bytes(const float *from, size_t n, float *to)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(from[i]) > most ? fabsf(from[i]) : most;
    float scale = most > 0x1p-100f ? most / 127 : 1;
    for (size_t i = 0; i < n; i++) {
        float q = rintf(from[i] / scale);
        to[i] = q < -127 ? -127 : q > 127 ? 127 : q;
    }
    return scale;
}

static void round_words(const fb_product_codes *c, float *word, float *word_scale, float *unit)
{
    size_t each = n_words(&c->p) / c->p.stages;
    *unit = 1;
    for (size_t s = 0; s < c->p.stages; s++) {
        const float *from = c->word + s * each;
        float *to = word + s * each;
        word_scale[s] = 1;
        if (c->form.enc.word_bits == 8) {
            float scale = round_to_bytes(from, each, to);
            if (s == 0)
                *unit = scale;
            word_scale[s] = s == 0 ? 1 : scale / *unit;
            continue;
        }
        for (size_t i = 0; i < each; i++)
            to[i] = c->form.enc.word_bits == 16 ? fb_f16_to_f32(fb_f16_from_f64((double)from[i]))
                                                : from[i];
    }
}

fb_status fb_product_codes_round(fb_product_codes *c)
{
    size_t n = n_words(&c->p), each = n / c->p.stages;
    float word_scale[FB_PRODUCT_STAGES], unit;
    float *word = fb_alloc(n * sizeof *word);
    if (!word)
        return fb_fail(FB_E_MEMORY, "no memory for the indices of a layer");
    round_words(c, word, word_scale, &unit);
    for (size_t i = 0; i < n; i++)
        c->word[i] = unit * (word_scale[i / each] * word[i]);
    fb_free(word);
    return FB_OK;
}

fb_status fb_product_codes_store(const fb_product_codes *c, fb_model *m, int32_t tensor)
{
    fb_encoding e = c->form.enc;
    float word_scale[FB_PRODUCT_STAGES], unit;
    size_t bytes = 0;
    FB_ENSURE(fb_packed_bytes(c->p.n_indices, e.bits, &bytes));
    float *word = fb_alloc(n_words(&c->p) * sizeof *word);
    float *scale = fb_alloc(c->p.ct * sizeof *scale);
    uint8_t *data = fb_calloc(1, bytes);
    fb_status status;
    if (!word || !scale || !data) {
        status = fb_fail(FB_E_MEMORY, "no memory for the indices of a layer");
        goto fail;
    }
    round_words(c, word, word_scale, &unit);
    for (size_t i = 0; i < e.n_scales; i++)
        scale[i] = unit * (e.n_scales > 1 || e.axis >= 0 ? c->scale[i] : 1);
    for (size_t i = 0; i < c->p.n_indices; i++)
        fb_packed_put(data, i, e.bits, c->index[i]);
    e.word = word;
    e.word_scale = word_scale;
    e.scale = scale;
    status = fb_model_set_payload(m, tensor, &e, data, bytes);
fail:
    fb_free(word);
    fb_free(scale);
    fb_free(data);
    return status;
}
