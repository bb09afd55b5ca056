/* Symbols back to payloads. */
#include "format/form.h"

#include <string.h>

/* Packs n symbols of `bits` bits from element `first` on, lowest bit first; `first` begins a byte.
 */
static void pack(const uint8_t *symbols, size_t n, unsigned bits, uint8_t *data)
{
    uint32_t room = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        room |= (uint32_t)symbols[i] << have;
        have += bits;
        if (have >= 8) {
            *data++ = (uint8_t)room;
            room >>= 8;
            have -= 8;
        }
    }
    if (have > 0)
        *data = (uint8_t)room;
}

/* Symbols, in place, to a payload. */
static void store(const fb_tensor *t, uint8_t *symbols, size_t n, uint8_t *data)
{
    unsigned bits = t->enc.bits;
    bool flips = t->enc.kind == FB_ENC_AFFINE && t->enc.is_signed;
    const uint8_t flip = (uint8_t)(flips ? 1u << (bits - 1) : 0);
    for (size_t i = 0; flip && i < n; i++)
        symbols[i] ^= flip;
    if (symbols != data)
        pack(symbols, n, bits, data);
}

static fb_status no_memory(const fb_tensor *t)
{
    return fb_fail(FB_E_MEMORY, "no memory for the payload of '%.200s'", t->name);
}

/* ---- predicted ------------------------------------------------------------------------------ */

static fb_status show_predicted(const fb_form *f, const fb_tensor *t, const fb_coded_run *run,
                                uint8_t *symbols, bool *good)
{
    const fb_planes *g = &f->planes;
    fb_rans_in in;
    fb_predict_row *row = fb_predict_row_create(g, &f->predict);
    if (!row)
        return no_memory(t);
    uint8_t *at = symbols;
    *good = fb_rans_begin(&in, run->tables, run->code, run->bytes, fb_form_symbols(t));
    for (size_t r = 0; r < g->rows && *good; r++) {
        for (size_t p = 0; p < g->positions && *good; p++, at += g->c) {
            fb_predict_look(g, &f->predict, p, row);
            *good = fb_rans_take(&in, row->context, at, g->c);
            fb_predict_show(g, p, row, at, at);
        }
    }
    *good = *good && fb_rans_end(&in);
    fb_free(row);
    return FB_OK;
}

/* ---- products ------------------------------------------------------------------------------- */

static fb_status show_words(const fb_tensor *t, const fb_product *p, const fb_coded_run *run,
                            bool *good)
{
    const fb_encoding *e = &t->enc;
    size_t n = (size_t)fb_product_stored_words(p), at = 0;
    uint8_t *top = fb_alloc(n);
    if (!top)
        return no_memory(t);
    *good = fb_rans_decode(run->tables, run->code, run->bytes, top, n);
    for (size_t i = 0; *good && i < p->stages * p->books * p->words; i++) {
        size_t used = fb_product_stored_sub(p, i / p->words % p->books);
        for (size_t j = 0; j < used; j++) {
            uint32_t rest;
            float *word = &e->word[i * p->sub + j];
            memcpy(&rest, word, sizeof rest);
            *word = fb_word_join(top[at++], rest, e->word_bits);
        }
    }
    fb_free(top);
    return FB_OK;
}

/* Where each number is found, with those of the first rows 0; returns how many are new. */
static size_t show_finds(const fb_product *p, const fb_coded_run *run, uint8_t *found, bool *good)
{
    const size_t lanes = fb_recent_lanes(p);
    fb_rans_in in;
    size_t fresh = 0;
    *good = fb_rans_begin(&in, run->tables, run->code, run->bytes, fb_recent_finds(p));
    for (size_t r = 0; r < p->rows && *good; r++, found += lanes) {
        if (r % p->rows_each == 0)
            memset(found, 0, lanes);
        else
            *good = fb_rans_take(&in, found - lanes, found, lanes);
        for (size_t k = 0; k < lanes; k++)
            fresh += found[k] == 0;
    }
    *good = *good && fb_rans_end(&in);
    return fresh;
}

/* found, in place, to numbers. */
static void join_numbers(const fb_product *p, const uint8_t *fresh, fb_recent *last, uint8_t *found)
{
    const size_t lanes = fb_recent_lanes(p);
    for (size_t r = 0; r < p->rows; r++, found += lanes) {
        if (r % p->rows_each == 0)
            memset(last, 0, lanes * sizeof *last);
        for (size_t k = 0; k < lanes; k++) {
            unsigned where = found[k];
            found[k] = (uint8_t)fb_recent_use(&last[k], where, where == 0 ? *fresh++ : 0);
        }
    }
}

static fb_status show_found(const fb_tensor *t, const fb_product *p, const fb_coded_run *run,
                            uint8_t *symbols, bool *good)
{
    const size_t lanes = fb_recent_lanes(p);
    fb_recent *last = fb_calloc(lanes, sizeof *last);
    uint8_t *fresh = fb_alloc(p->n_indices);
    if (last && fresh) {
        size_t n = show_finds(p, &run[0], symbols, good);
        *good = *good && n / FB_RANS_EXPAND <= run[1].bytes &&
                fb_rans_decode(run[1].tables, run[1].code, run[1].bytes, fresh, n);
        if (*good)
            join_numbers(p, fresh, last, symbols);
    }
    bool made = last && fresh;
    fb_free(last);
    fb_free(fresh);
    return made ? FB_OK : no_memory(t);
}

static fb_status show_product(const fb_form *f, const fb_tensor *t, const fb_coded_run *run,
                              uint8_t *symbols, bool *good)
{
    fb_product p = fb_product_of(t);
    if (f->depth > 0)
        FB_TRY(show_found(t, &p, run, symbols, good));
    else
        *good = fb_rans_decode(run->tables, run->code, run->bytes, symbols, p.n_indices);
    if (*good && t->enc.word_bits != 8)
        FB_TRY(show_words(t, &p, &run[1 + (f->depth > 0)], good));
    return FB_OK;
}

fb_status fb_form_show(const fb_form *f, const fb_tensor *t, const fb_coded_run run[FB_FORM_RUNS],
                       uint8_t *data, bool *good)
{
    size_t n = fb_form_symbols(t);
    uint8_t *symbols = t->enc.bits == 8 ? data : fb_alloc(n);
    fb_status status = FB_OK;
    if (!symbols)
        return no_memory(t);
    if (t->enc.kind == FB_ENC_PRODUCT)
        status = show_product(f, t, run, symbols, good);
    else if (f->storage == FB_CODED_FORM)
        status = show_predicted(f, t, run, symbols, good);
    else
        *good = fb_rans_decode(run->tables, run->code, run->bytes, symbols, n);
    if (status == FB_OK && *good)
        store(t, symbols, n, data);
    if (symbols != data)
        fb_free(symbols);
    return status;
}
