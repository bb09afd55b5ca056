/* Products: their form in ENCP, their scales and codebooks, which calibration data may decide, in
 * FIXD, in fixed width. */
#include "format/form.h"
#include "format/format.h"
#include "numeric/half.h"

#include <string.h>

/* The third byte of the form. */
enum {
    FORM_STAGES = 3,        /* mask: stages - 1 */
    FORM_LAYER = 1 << 2,    /* one codebook for the layer; else varint groups at the end */
    FORM_KERNEL = 1 << 3,   /* vectors lie along the kernel */
    FORM_WORDS = 4,         /* shift, 2 bits: words of 32, 16 or 8 bits */
    FORM_CHANNELS = 1 << 6, /* a scale for each output channel */
    FORM_TABLES = 1 << 7    /* u8 bits of the tables at the end */
};

static const uint8_t word_bits[] = {32, 16, 8};

void fb_put_product(fb_out *out, const fb_encoding *e)
{
    unsigned form = e->n_stages - 1u;
    form |= e->books == FB_BOOKS_LAYER ? FORM_LAYER : 0;
    form |= e->along_kernel ? FORM_KERNEL : 0;
    form |= (e->word_bits == 32 ? 0u : e->word_bits == 16 ? 1u : 2u) << FORM_WORDS;
    form |= e->axis >= 0 ? FORM_CHANNELS : 0;
    form |= e->table_bits ? FORM_TABLES : 0;
    fb_out_u8(out, e->sub);
    fb_out_u8(out, e->n_words - 1u);
    fb_out_u8(out, form);
    if (e->books != FB_BOOKS_LAYER)
        fb_out_varint(out, e->n_groups);
    if (e->table_bits)
        fb_out_u8(out, e->table_bits);
}

fb_status fb_get_product(fb_in *in, fb_tensor *t)
{
    fb_encoding *e = &t->enc;
    if (!t->is_const)
        return fb_in_broken(in, "activation '%.200s' is a product, must be affine or levels",
                            t->name);
    e->sub = (uint8_t)fb_in_u8(in);
    e->n_words = (uint16_t)(fb_in_u8(in) + 1);
    unsigned form = fb_in_u8(in), words = form >> FORM_WORDS & 3u;
    if (words > 2)
        return fb_in_broken(in, "codewords of width %u of '%.200s' need a newer fewbit", words,
                            t->name);
    e->bits = (uint8_t)fb_product_bits(e->n_words);
    e->n_stages = (uint8_t)((form & FORM_STAGES) + 1);
    e->books = form & FORM_LAYER ? FB_BOOKS_LAYER : FB_BOOKS_SUBSPACE;
    e->along_kernel = (form & FORM_KERNEL) != 0;
    e->word_bits = word_bits[words];
    e->axis = form & FORM_CHANNELS ? 0 : -1;
    e->n_groups = 1;
    if (!(form & FORM_LAYER))
        e->n_groups = (uint32_t)fb_in_count(in, "groups with codebooks", UINT32_MAX);
    if (form & FORM_TABLES) {
        e->table_bits = (uint8_t)fb_in_u8(in);
        if (e->table_bits == 0)
            return fb_in_broken(in, "'%.200s' has tables of 0 bits", t->name);
    }
    uint64_t n_scales;
    if (t->rank < 2 || !fb_affine_scale_count(t, &n_scales))
        return fb_in_broken(in, "product '%.200s' has %d dims or more than 2^32 scales", t->name,
                            (int)t->rank);
    e->n_scales = (uint32_t)n_scales;
    return in->status;
}

/* ---- scales and codebooks ------------------------------------------------------------------- */

/* Bytes of a word that FIXD has: all, or, of a coded tensor, those below its top. */
static unsigned stored_bytes(const fb_encoding *e, bool coded)
{
    return e->word_bits / 8u - (coded && e->word_bits != 8);
}

static void put_word(fb_out *out, float word, const fb_encoding *e, bool coded)
{
    uint32_t u;
    if (e->word_bits == 8)
        u = (uint32_t)(int32_t)word;
    else if (coded)
        u = fb_word_rest(word, e->word_bits);
    else if (e->word_bits == 16)
        u = fb_f16_from_f64((double)word);
    else
        memcpy(&u, &word, sizeof u);
    for (unsigned k = 0; k < stored_bytes(e, coded); k++)
        fb_out_u8(out, u >> (8 * k) & 255u);
}

void fb_put_product_fixed(fb_out *out, const fb_tensor *t, bool coded)
{
    const fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    for (uint32_t i = 0; i < e->n_scales; i++)
        fb_out_f32(out, e->scale[i]);
    for (size_t s = 1; s < p.stages && e->word_bits == 8; s++)
        fb_out_f32(out, e->word_scale[s]);
    if (e->table_bits)
        fb_out_f32(out, e->table_scale);
    for (size_t i = 0; i < p.stages * p.books * p.words; i++) {
        size_t used = fb_product_stored_sub(&p, i / p.words % p.books);
        for (size_t j = 0; j < used; j++)
            put_word(out, e->word[i * p.sub + j], e, coded);
    }
}

/* Of a coded tensor the bits of fb_word_rest, which fb_form_show completes. */
static float get_word(fb_in *in, const fb_encoding *e, bool coded)
{
    uint32_t u = 0;
    float word;
    for (unsigned k = 0; k < stored_bytes(e, coded); k++)
        u |= (uint32_t)fb_in_u8(in) << (8 * k);
    if (e->word_bits == 8)
        return (float)(int8_t)u;
    if (e->word_bits == 16 && !coded)
        return fb_f16_to_f32((uint16_t)u);
    memcpy(&word, &u, sizeof word);
    return word;
}

/* Room for the lists; the words that follow in the file bound it: a codeword is never more than
 * twice as long as what is stored of the codebooks of a row (sub <= len). */
static fb_status make_lists(fb_in *in, fb_model *m, fb_tensor *t, const fb_product *p, bool coded)
{
    fb_encoding *e = &t->enc;
    uint64_t words = fb_product_stored_words(p);
    if (words > fb_in_left(in) / stored_bytes(e, coded) || e->n_scales > fb_in_left(in) / 4)
        return fb_in_broken(in, "'%.200s' has %llu elements of codewords, %zu bytes are left",
                            t->name, (unsigned long long)words, fb_in_left(in));
    e->scale = fb_arena_array(m->arena, e->n_scales, sizeof *e->scale);
    e->word_scale = fb_arena_array(m->arena, p->stages, sizeof *e->word_scale);
    e->word = fb_arena_array(m->arena, p->stages * p->books * p->words * p->sub, sizeof *e->word);
    if (!e->scale || !e->word_scale || !e->word)
        return fb_fail(FB_E_MEMORY, "no memory for the codebooks of '%.200s'", t->name);
    return FB_OK;
}

fb_status fb_get_product_fixed(fb_in *in, fb_model *m, fb_tensor *t, bool coded)
{
    fb_encoding *e = &t->enc;
    fb_product p = fb_product_of(t);
    FB_TRY(in->status);
    FB_TRY(make_lists(in, m, t, &p, coded));
    for (uint32_t i = 0; i < e->n_scales; i++)
        e->scale[i] = fb_in_f32(in);
    for (size_t s = 0; s < p.stages; s++)
        e->word_scale[s] = s > 0 && e->word_bits == 8 ? fb_in_f32(in) : 1;
    if (e->table_bits)
        e->table_scale = fb_in_f32(in);
    for (size_t i = 0; i < p.stages * p.books * p.words; i++) {
        size_t used = fb_product_stored_sub(&p, i / p.words % p.books);
        for (size_t j = 0; j < used; j++)
            e->word[i * p.sub + j] = get_word(in, e, coded);
    }
    return in->status;
}
