/* product: vectors of a weight as indices into codebooks. product.h has the law. */
#include "base/size.h"
#include "model/encoding_defs.h"
#include "model/product.h"
#include "numeric/half.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

unsigned fb_product_bits(unsigned n_words)
{
    unsigned bits = 1;
    while (1u << bits < n_words)
        bits++;
    return bits;
}

fb_product fb_product_of(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    fb_product p = {.ct = (size_t)t->dims[0],
                    .kernel = 1,
                    .c = (size_t)t->dims[t->rank - 1],
                    .sub = e->sub,
                    .words = e->n_words,
                    .stages = e->n_stages,
                    .along_kernel = e->along_kernel,
                    .per_layer = e->books == FB_BOOKS_LAYER};
    for (int32_t i = 1; i < t->rank - 1; i++)
        p.kernel *= (size_t)t->dims[i];
    p.len = p.along_kernel ? p.kernel : p.c;
    p.rows_each = p.along_kernel ? p.c : p.kernel;
    p.rows = p.ct * p.rows_each;
    p.m_count = (p.len + p.sub - 1) / p.sub;
    p.ct_group = p.ct / e->n_groups;
    p.books = p.per_layer ? 1 : e->n_groups * p.m_count;
    p.n_indices = p.rows * p.m_count * p.stages;
    return p;
}

uint64_t fb_product_stored_words(const fb_product *p)
{
    uint64_t each = p->per_layer ? p->sub : (uint64_t)(p->books / p->m_count) * p->len;
    return each * p->words * p->stages;
}

uint64_t fb_product_bytes(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    uint64_t bits = (uint64_t)p.n_indices * e->bits;
    uint64_t scales =
        (uint64_t)e->n_scales + (e->word_bits == 8 ? p.stages - 1 : 0) + (e->table_bits ? 1 : 0);
    return (bits + 7) / 8 + fb_product_stored_words(&p) * (e->word_bits / 8) + 4 * scales;
}

/* ---- validation ----------------------------------------------------------------------------- */

static fb_status check_form(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (t->dtype != FB_F32 || !t->is_const || t->rank < 2)
        return fb_fail(FB_E_FORMAT,
                       "a product encodes %s of %s with %d dims, must be constants of f32 with 2 "
                       "dims or more",
                       t->is_const ? "constants" : "activations", fb_dtype_name(t->dtype),
                       (int)t->rank);
    if (e->zero || e->group || e->n_levels || e->level || e->is_signed || e->pow2)
        return fb_fail(FB_E_FORMAT, "a product has zero points, groups or levels, must have none");
    if (e->sparse || e->n_patches)
        return fb_fail(FB_E_FORMAT, "a product is sparse or has outliers, must not");
    if (e->sub < 1 || e->sub > FB_PRODUCT_SUB)
        return fb_fail(FB_E_FORMAT, "vectors of %u elements, must have 1 to %d", e->sub,
                       (int)FB_PRODUCT_SUB);
    int64_t len = e->along_kernel ? 1 : t->dims[t->rank - 1];
    for (int32_t i = 1; e->along_kernel && i < t->rank - 1; i++)
        len *= t->dims[i];
    if (e->sub > len)
        return fb_fail(FB_E_FORMAT, "vectors of %u elements along rows of %lld", e->sub,
                       (long long)len);
    if (e->n_words < 2 || e->n_words > FB_PRODUCT_WORDS)
        return fb_fail(FB_E_FORMAT, "%u codewords, must be 2 to %d", e->n_words,
                       (int)FB_PRODUCT_WORDS);
    if (e->bits != fb_product_bits(e->n_words))
        return fb_fail(FB_E_FORMAT, "indices of %u bits for %u codewords, must have %u", e->bits,
                       e->n_words, fb_product_bits(e->n_words));
    if (e->n_stages < 1 || e->n_stages > FB_PRODUCT_STAGES)
        return fb_fail(FB_E_FORMAT, "%u stages, must be 1 to %d", e->n_stages,
                       (int)FB_PRODUCT_STAGES);
    return FB_OK;
}

static fb_status check_books(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    if (e->books != FB_BOOKS_SUBSPACE && e->books != FB_BOOKS_LAYER)
        return fb_fail(FB_E_FORMAT, "codebooks of the unknown kind %d", (int)e->books);
    if (e->n_groups < 1 || t->dims[0] % (int64_t)e->n_groups != 0 ||
        (e->books == FB_BOOKS_LAYER && e->n_groups != 1))
        return fb_fail(FB_E_FORMAT,
                       "codebooks for %u groups, must be 1 or, where they are not the layer's, "
                       "divide %lld output channels",
                       e->n_groups, (long long)t->dims[0]);
    if (e->word_bits != 32 && e->word_bits != 16 && e->word_bits != 8)
        return fb_fail(FB_E_FORMAT, "codewords of %u bits, must have 32, 16 or 8", e->word_bits);
    if (e->axis != -1 && e->axis != 0)
        return fb_fail(FB_E_FORMAT, "scales along axis %d, must be -1 or 0", e->axis);
    if (e->n_scales != (e->axis < 0 ? 1 : (uint64_t)t->dims[0]))
        return fb_fail(FB_E_FORMAT, "%u scales, must be 1 or, along axis 0, one for each index",
                       e->n_scales);
    return FB_OK;
}

static fb_status check_table(const fb_encoding *e)
{
    if (e->table_bits == 0)
        return e->table_scale == 0 ? FB_OK
                                   : fb_fail(FB_E_FORMAT, "tables have scale %g, but no bits",
                                             (double)e->table_scale);
    if (e->table_bits < 5 || e->table_bits > 8)
        return fb_fail(FB_E_FORMAT, "tables of %u bits, must have 0 or 5 to 8", e->table_bits);
    if (!isfinite(e->table_scale) || !(e->table_scale > 0))
        return fb_fail(FB_E_FORMAT, "tables have scale %g, must be finite and > 0",
                       (double)e->table_scale);
    if (e->word_bits != 8 || e->along_kernel)
        return fb_fail(FB_E_FORMAT, "tables of %u bits need codewords of 8 bits along the channels",
                       e->table_bits);
    return FB_OK;
}

static bool word_fits(float w, unsigned bits)
{
    if (bits == 8)
        return w == rintf(w) && w >= -128 && w <= 127;
    return isfinite(w) && (bits == 32 || fb_f16_to_f32(fb_f16_from_f64((double)w)) == w);
}

static fb_status check_words(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    if (!e->scale || !e->word_scale || !e->word)
        return fb_fail(FB_E_FORMAT, "the list of scales or the codebooks are missing");
    for (size_t s = 0; s < p.stages; s++) {
        float v = e->word_scale[s];
        if (!isfinite(v) || !(v > 0) || ((s == 0 || e->word_bits != 8) && v != 1))
            return fb_fail(FB_E_FORMAT, "stage %zu has scale %g, must be %s", s, (double)v,
                           s == 0 || e->word_bits != 8 ? "1" : "finite and > 0");
    }
    for (size_t i = 0; i < p.stages * p.books * p.words; i++) {
        size_t used = fb_product_stored_sub(&p, i / p.words % p.books);
        for (size_t j = 0; j < p.sub; j++) {
            float w = e->word[i * p.sub + j];
            if (!word_fits(w, e->word_bits) || (j >= used && w != 0))
                return fb_fail(FB_E_FORMAT,
                               "element %zu of codeword %zu is %g, must be %s, and 0 beyond the "
                               "end of a row",
                               j, i % p.words, (double)w,
                               e->word_bits == 8    ? "an integer within -128..127"
                               : e->word_bits == 16 ? "a finite 16-bit float"
                                                    : "finite");
        }
    }
    return FB_OK;
}

static fb_status product_validate(const fb_tensor *t)
{
    FB_TRY(check_form(t));
    FB_TRY(check_books(t));
    FB_TRY(check_table(&t->enc));
    FB_TRY(fb_scales_validate(&t->enc, 0, 0));
    return check_words(t);
}

fb_status fb_product_check_codes(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    for (size_t i = 0; e->n_words != 1u << e->bits && i < p.n_indices; i++) {
        int32_t k = fb_packed_get(t->data, i, e->bits, false);
        if (k >= e->n_words)
            return fb_fail(FB_E_FORMAT, "index %zu is %d, there are %u codewords", i, (int)k,
                           e->n_words);
    }
    return FB_OK;
}

/* ---- size and decoding ---------------------------------------------------------------------- */

static fb_status product_bytes(const fb_tensor *t, size_t n_elems, size_t *bytes)
{
    const fb_encoding *e = &t->enc;
    size_t n = 0;
    FB_TRY(check_form(t));
    FB_TRY(check_books(t));
    /* A vector has an element at least, so n_elems bounds their number. */
    if (!fb_size_mul(n_elems, e->n_stages, &n) ||
        !fb_packed_bytes(fb_product_of(t).n_indices, e->bits, bytes))
        return fb_fail(FB_E_LIMIT, "%zu elements of a product do not fit into memory", n_elems);
    return FB_OK;
}

/* A stretch of elements of one vector that lie side by side. */
typedef struct stretch {
    size_t ct, book, at, j, n; /* at: its first index; j: its first element within the vector */
} stretch;

/* The longest that starts at element i, up to element `end`. */
static stretch stretch_at(const fb_product *p, size_t i, size_t end)
{
    size_t inner = p->rows_each * p->len, within = i % inner;
    size_t channel = within % p->c, position = within / p->c;
    size_t row = p->along_kernel ? channel : position, place = p->along_kernel ? position : channel;
    size_t m = place / p->sub;
    stretch s = {.ct = i / inner, .j = place % p->sub, .n = 1};
    s.book = fb_product_book(p, s.ct, m);
    s.at = ((s.ct * p->rows_each + row) * p->m_count + m) * p->stages;
    if (!p->along_kernel) {
        s.n = p->sub - s.j < p->c - channel ? p->sub - s.j : p->c - channel;
        s.n = s.n < end - i ? s.n : end - i;
    }
    return s;
}

static const float *word_of(const fb_tensor *t, const fb_product *p, const stretch *s, size_t stage)
{
    size_t k = (size_t)fb_packed_get(t->data, s->at + stage, t->enc.bits, false);
    return fb_product_word(&t->enc, p, stage, s->book, k) + s->j;
}

static void product_decode(const fb_tensor *t, size_t first, size_t n, float *out)
{
    const fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    float sum[FB_PRODUCT_SUB];
    stretch s;
    for (size_t i = first; i < first + n; i += s.n) {
        s = stretch_at(&p, i, first + n);
        memset(sum, 0, sizeof sum);
        for (size_t stage = 0; stage < p.stages; stage++) {
            const float *word = word_of(t, &p, &s, stage);
            for (size_t j = 0; j < s.n; j++)
                sum[j] += e->word_scale[stage] * word[j];
        }
        float scale = e->scale[e->n_scales == 1 ? 0 : s.ct];
        for (size_t j = 0; j < s.n; j++)
            out[i - first + j] = scale * sum[j];
    }
}

void fb_product_integers(const fb_tensor *t, size_t first, size_t n, int16_t *out)
{
    fb_product p = fb_product_of(t);
    stretch s;
    for (size_t i = first; i < first + n; i += s.n) {
        s = stretch_at(&p, i, first + n);
        const float *word = word_of(t, &p, &s, 0);
        for (size_t j = 0; j < s.n; j++)
            out[i - first + j] = (int16_t)word[j];
    }
}

static void product_describe(const fb_tensor *t, char *text, size_t cap)
{
    const fb_encoding *e = &t->enc;
    char stages[16] = "", words[16] = "", tables[16] = "";
    if (e->n_stages > 1)
        (void)snprintf(stages, sizeof stages, "%ux", e->n_stages);
    if (e->word_bits != 32)
        (void)snprintf(words, sizeof words, " words%u", e->word_bits);
    if (e->table_bits)
        (void)snprintf(tables, sizeof tables, " lookup%u", e->table_bits);
    (void)snprintf(text, cap, "product %u/%s%u%s%s%s%s%s", e->sub, stages, e->n_words,
                   e->books == FB_BOOKS_LAYER ? " per-layer"
                   : e->n_groups > 1          ? " per-group"
                                              : "",
                   e->along_kernel ? " along-kernel" : "", e->axis >= 0 ? " per-channel" : "",
                   words, tables);
}

const fb_encoding_def fb_encoding_product = {"product", product_bytes, product_validate,
                                             product_decode, product_describe};
