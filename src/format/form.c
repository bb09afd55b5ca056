/* Forms: which one, what it is called in the file, and payloads to symbols. form_show.c has the way
 * back. */
#include "format/form.h"

#include "format/freqs.h"

#include <string.h>

bool fb_form_possible(const fb_tensor *t)
{
    return t->is_const && t->enc.kind != FB_ENC_PLAIN && t->enc.bits <= 8 && t->rank >= 2 &&
           !t->enc.sparse;
}

bool fb_form_has_second(const fb_tensor *t)
{
    fb_planes g;
    return fb_form_possible(t) && (t->enc.kind == FB_ENC_PRODUCT || fb_planes_of(t, &g));
}

size_t fb_form_symbols(const fb_tensor *t)
{
    int64_t n;
    if (t->enc.kind == FB_ENC_PRODUCT)
        return fb_product_of(t).n_indices;
    return fb_tensor_elems(t, 0, &n) ? (size_t)n : 0; /* validated: constants have elements */
}

/* Words of 8 bits have no top. */
static size_t tops_of(const fb_tensor *t)
{
    if (t->enc.kind != FB_ENC_PRODUCT || t->enc.word_bits == 8)
        return 0;
    fb_product p = fb_product_of(t);
    return (size_t)fb_product_stored_words(&p);
}

uint64_t fb_form_saves(const fb_tensor *t)
{
    return t->data_bytes + tops_of(t);
}

void fb_form_free(fb_form *f)
{
    fb_free(f->predict.coef);
    *f = (fb_form){0};
}

/* ---- codes to symbols ----------------------------------------------------------------------- */

/* Codes in order of their values: two's complement turned into an offset. Indices of levels are. */
static unsigned flip_of(const fb_tensor *t)
{
    return t->enc.kind == FB_ENC_AFFINE && t->enc.is_signed ? 1u << (t->enc.bits - 1) : 0;
}

static void read_symbols(const fb_tensor *t, uint8_t *symbols)
{
    size_t n = fb_form_symbols(t);
    unsigned flip = flip_of(t);
    const uint8_t *data = t->data;
    if (t->enc.bits == 8) {
        for (size_t i = 0; i < n; i++)
            symbols[i] = (uint8_t)(data[i] ^ flip);
        return;
    }
    for (size_t i = 0; i < n; i++)
        symbols[i] = (uint8_t)((uint32_t)fb_packed_get(data, i, t->enc.bits, false) ^ flip);
}

static fb_status no_memory(const fb_tensor *t)
{
    return fb_fail(FB_E_MEMORY, "no memory for the symbols of '%.200s'", t->name);
}

static bool make_run(fb_symbols *run)
{
    size_t n = run->shape.n;
    bool by_context = run->shape.contexts > 1;
    run->symbol = fb_alloc(by_context ? 2 * n : n);
    run->context = by_context && run->symbol ? run->symbol + n : NULL;
    return run->symbol != NULL;
}

void fb_symbols_free(fb_symbols run[FB_FORM_RUNS])
{
    for (int k = 0; k < FB_FORM_RUNS; k++) {
        fb_free(run[k].symbol);
        run[k] = (fb_symbols){0};
    }
}

/* Symbols, in place, to what the prediction leaves of them. */
static fb_status hide_predicted(const fb_form *f, const fb_tensor *t, fb_symbols *run)
{
    const fb_planes *g = &f->planes;
    fb_predict_row *row = fb_predict_row_create(g, &f->predict);
    if (!row)
        return no_memory(t);
    uint8_t *at = run->symbol, *context = run->context;
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t p = 0; p < g->positions; p++, at += g->c) {
            fb_predict_look(g, &f->predict, p, row);
            fb_predict_hide(g, p, row, at, at);
            if (context) {
                memcpy(context, row->context, g->c);
                context += g->c;
            }
        }
    }
    fb_free(row);
    return FB_OK;
}

static void hide_words(const fb_encoding *e, const fb_product *p, uint8_t *top)
{
    for (size_t i = 0; i < p->stages * p->books * p->words; i++) {
        size_t used = fb_product_stored_sub(p, i / p->words % p->books);
        for (size_t j = 0; j < used; j++)
            *top++ = (uint8_t)fb_word_top(e->word[i * p->sub + j], e->word_bits);
    }
}

/* found: context and symbol of each number that is not in a channel's first row; fresh: the new
 * ones. */
static fb_status hide_numbers(const fb_form *f, const fb_tensor *t, const fb_product *p,
                              fb_symbols *found, fb_symbols *fresh)
{
    const size_t lanes = fb_recent_lanes(p);
    fb_recent *last = fb_alloc(lanes * sizeof *last);
    uint8_t *state = fb_alloc(lanes);
    size_t at = 0, n_found = 0, n_fresh = 0;
    if (!last || !state) {
        fb_free(last);
        fb_free(state);
        return no_memory(t);
    }
    for (size_t r = 0; r < p->rows; r++) {
        bool first = r % p->rows_each == 0;
        if (first) {
            memset(last, 0, lanes * sizeof *last);
            memset(state, 0, lanes);
        }
        for (size_t k = 0; k < lanes; k++, at++) {
            unsigned number = (unsigned)fb_packed_get(t->data, at, t->enc.bits, false);
            unsigned where = first ? 0 : fb_recent_find(last[k], number, f->depth);
            (void)fb_recent_use(&last[k], where, number);
            if (!first && f->depth > 0) {
                found->context[n_found] = state[k];
                found->symbol[n_found++] = (uint8_t)where;
            }
            if (where == 0)
                fresh->symbol[n_fresh++] = (uint8_t)number;
            state[k] = (uint8_t)where;
        }
    }
    fresh->shape.n = n_fresh;
    fb_free(last);
    fb_free(state);
    return FB_OK;
}

static fb_status hide_product(const fb_form *f, const fb_tensor *t, fb_symbols *run)
{
    fb_product p = fb_product_of(t);
    unsigned k = f->depth > 0;
    FB_TRY(hide_numbers(f, t, &p, &run[0], &run[k]));
    if (t->enc.word_bits != 8)
        hide_words(&t->enc, &p, run[k + 1].symbol);
    return FB_OK;
}

unsigned fb_form_shapes(const fb_form *f, const fb_tensor *t, fb_run_shape shape[FB_FORM_RUNS])
{
    unsigned n = 0;
    size_t tops = tops_of(t);
    if (t->enc.kind != FB_ENC_PRODUCT) {
        unsigned contexts = f->storage == FB_CODED_FORM ? f->predict.contexts : 1;
        shape[0] = (fb_run_shape){fb_form_symbols(t), t->enc.bits, contexts};
        return 1;
    }
    fb_product p = fb_product_of(t);
    if (f->depth > 0)
        shape[n++] = (fb_run_shape){fb_recent_finds(&p), f->depth == 1 ? 1 : 2, f->depth + 1};
    shape[n++] = (fb_run_shape){p.n_indices, t->enc.bits, 1};
    if (tops > 0)
        shape[n++] = (fb_run_shape){tops, 8, 1};
    return n;
}

fb_status fb_form_hide(const fb_form *f, const fb_tensor *t, fb_symbols run[FB_FORM_RUNS])
{
    fb_run_shape shape[FB_FORM_RUNS];
    unsigned n = fb_form_shapes(f, t, shape);
    fb_status status = FB_OK;
    memset(run, 0, FB_FORM_RUNS * sizeof *run);
    for (unsigned k = 0; k < n; k++) {
        run[k].shape = shape[k];
        if (!make_run(&run[k])) {
            status = no_memory(t);
            goto fail;
        }
    }
    if (t->enc.kind == FB_ENC_PRODUCT) {
        FB_GO(hide_product(f, t, run));
    } else {
        read_symbols(t, run[0].symbol);
        if (f->storage == FB_CODED_FORM)
            FB_GO(hide_predicted(f, t, &run[0]));
    }
    return FB_OK;
fail:
    fb_symbols_free(run);
    return status;
}

/* ---- the choice ----------------------------------------------------------------------------- */

static uint64_t ideal_of(const fb_symbols *run)
{
    uint64_t count[FB_RANS_CONTEXTS][256] = {{0}}, bits = 0;
    for (size_t i = 0; i < run->shape.n; i++)
        count[run->context ? run->context[i] : 0][run->symbol[i]]++;
    for (unsigned k = 0; k < run->shape.contexts; k++)
        bits += fb_freqs_ideal(count[k]);
    return bits;
}

static fb_status choose_depth(const fb_tensor *t, fb_form *f)
{
    static const uint8_t depths[] = {0, 1, FB_RECENT_MOST};
    uint64_t least = UINT64_MAX;
    unsigned best = 0;
    f->storage = FB_CODED_FORM;
    for (unsigned i = 0; i < (fb_product_of(t).rows_each > 1 ? 3 : 1); i++) {
        fb_symbols run[FB_FORM_RUNS];
        f->depth = depths[i];
        FB_TRY(fb_form_hide(f, t, run));
        uint64_t bits = (uint64_t)depths[i] << 22; /* 8 bytes of tables for each */
        for (unsigned k = 0; k <= (f->depth > 0); k++)
            bits += ideal_of(&run[k]);
        fb_symbols_free(run);
        if (bits < least) {
            least = bits;
            best = f->depth;
        }
    }
    f->depth = best;
    return FB_OK;
}

fb_status fb_form_choose(const fb_tensor *t, fb_form *f)
{
    fb_symbols run[FB_FORM_RUNS];
    *f = (fb_form){.storage = FB_CODED_PLAIN};
    if (t->enc.kind == FB_ENC_PRODUCT)
        return choose_depth(t, f);
    if (!fb_planes_of(t, &f->planes))
        return FB_OK;
    FB_TRY(fb_form_hide(f, t, run));
    uint64_t plain = ideal_of(&run[0]), predicted;
    fb_status status = fb_predict_fit(&f->planes, run[0].symbol, &f->predict, &predicted);
    fb_symbols_free(run);
    f->storage = predicted < plain ? FB_CODED_FORM : FB_CODED_PLAIN;
    return status;
}

/* ---- the description ------------------------------------------------------------------------ */

void fb_form_put(fb_out *out, const fb_form *f, const fb_tensor *t)
{
    if (t->enc.kind == FB_ENC_PRODUCT)
        fb_out_u8(out, f->depth);
    else if (f->storage == FB_CODED_FORM)
        fb_predict_put(out, &f->planes, &f->predict);
}

fb_status fb_form_get(fb_in *in, const fb_tensor *t, fb_form *f)
{
    if (t->enc.kind != FB_ENC_PRODUCT) {
        if (f->storage != FB_CODED_FORM)
            return FB_OK;
        FB_ENSURE(fb_planes_of(t, &f->planes));
        return fb_predict_get(in, &f->planes, &f->predict);
    }
    f->depth = fb_in_u8(in);
    fb_product p = fb_product_of(t);
    if (f->depth != 0 && ((f->depth != 1 && f->depth != FB_RECENT_MOST) || p.rows_each < 2))
        return fb_in_broken(in, "numbers of '%.200s' are sought among the last %u, must be 0%s",
                            t->name, f->depth, p.rows_each < 2 ? "" : ", 1 or 3");
    return in->status;
}
