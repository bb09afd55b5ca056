/* Writing section CODE: tables, then for each coded payload its form, tables and sizes, then the
 * code. FORMAT.md has the bytes.
 *
 * Choosing tables: the symbols of a payload that share a context are an item. Item after item, the
 * largest first, joins the table whose symbols are most like its own, or opens its own where that
 * costs less. */
#include "format/entropy.h"

#include "format/form.h"
#include "format/freqs.h"

#include <stdlib.h>
#include <string.h>

enum {
    TABLES = 64,    /* in a file, at most */
    FEWEST = 64,    /* symbols of a payload to code */
    ENTRY_BITS = 32 /* that a run costs besides its symbols: table, size, end of the states */
};

/* Symbols that will have one table. */
typedef struct item {
    uint64_t n, count[256];
    unsigned bits;
    uint32_t group;
} item;

typedef struct group {
    fb_freqs freqs;
    uint64_t count[256], cost, ideal;
    uint32_t number; /* in the file, by first use; UINT32_MAX: not used yet */
} group;

/* What is known of a tensor that may be coded. */
typedef struct plan {
    fb_form form; /* storage 0: it may not */
    size_t first, n_items;
} plan;

typedef struct chooser {
    const fb_model *m;
    plan *plans; /* [n_tensors] */
    item *items;
    size_t n_items, cap_items;
    group *groups; /* [TABLES] */
    uint32_t n_groups;
} chooser;

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to code the weights");
}

/* ---- items ---------------------------------------------------------------------------------- */

static fb_status add_run(chooser *c, const fb_symbols *run)
{
    void *grown = c->items;
    unsigned contexts = run->shape.contexts;
    if (!fb_grow(&grown, &c->cap_items, c->n_items + contexts, sizeof *c->items))
        return no_memory();
    c->items = grown;
    item *of = c->items + c->n_items;
    for (unsigned k = 0; k < contexts; k++)
        of[k] = (item){.bits = run->shape.bits, .group = UINT32_MAX};
    for (size_t i = 0; i < run->shape.n; i++) {
        item *it = &of[run->context ? run->context[i] : 0];
        it->count[run->symbol[i]]++;
        it->n++;
    }
    c->n_items += contexts;
    return FB_OK;
}

static fb_status make_plan(chooser *c, size_t tensor)
{
    const fb_tensor *t = &c->m->tensors[tensor];
    plan *p = &c->plans[tensor];
    fb_symbols run[FB_FORM_RUNS];
    if (!fb_form_possible(t) || fb_form_symbols(t) < FEWEST)
        return FB_OK;
    FB_TRY(fb_form_choose(t, &p->form));
    FB_TRY(fb_form_hide(&p->form, t, run));
    p->first = c->n_items;
    fb_status status = FB_OK;
    for (unsigned k = 0; k < FB_FORM_RUNS && run[k].symbol; k++)
        FB_GO(add_run(c, &run[k]));
fail:
    p->n_items = c->n_items - p->first;
    fb_symbols_free(run);
    return status;
}

/* ---- choosing tables ------------------------------------------------------------------------ */

static group make_group(unsigned bits, const uint64_t count[256], const fb_freqs *near)
{
    group g = {.number = UINT32_MAX, .ideal = fb_freqs_ideal(count)};
    memcpy(g.count, count, sizeof g.count);
    fb_freqs_choose(&g.freqs, bits, count, near);
    g.cost = fb_freqs_cost(&g.freqs, count) + fb_freqs_own_cost(&g.freqs);
    return g;
}

static void add_counts(const item *it, const group *g, uint64_t both[256])
{
    for (unsigned s = 0; s < 256; s++)
        both[s] = it->count[s] + g->count[s];
}

/* The group of as many bits that the item makes least more expensive, by entropy; UINT32_MAX if
 * there is none. */
static uint32_t most_alike(const chooser *c, const item *it)
{
    uint64_t both[256], least = UINT64_MAX;
    uint32_t best = UINT32_MAX;
    for (uint32_t k = 0; k < c->n_groups; k++) {
        if (c->groups[k].freqs.bits != it->bits)
            continue;
        add_counts(it, &c->groups[k], both);
        uint64_t more = fb_freqs_ideal(both) - c->groups[k].ideal;
        if (more < least) {
            least = more;
            best = k;
        }
    }
    return best;
}

static void join(chooser *c, item *it)
{
    bool may_open = c->n_groups < TABLES;
    uint32_t alike = it->n > 0 ? most_alike(c, it) : UINT32_MAX;
    uint64_t both[256];
    if (it->n == 0) /* any table will do */
        return;
    group own = {0}, merged = {0};
    if (may_open)
        own = make_group(it->bits, it->count, NULL);
    if (alike != UINT32_MAX) {
        const group *g = &c->groups[alike];
        add_counts(it, g, both);
        merged = make_group(it->bits, both, &g->freqs);
        if (!may_open || merged.cost < own.cost + g->cost) {
            it->group = alike;
            c->groups[alike] = merged;
            return;
        }
    }
    if (may_open) {
        it->group = c->n_groups++;
        c->groups[it->group] = own;
    }
}

static int larger_first(const void *a, const void *b)
{
    const item *x = *(const item *const *)a, *y = *(const item *const *)b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x < y ? -1 : x > y;
}

static fb_status choose_tables(chooser *c)
{
    item **order = fb_calloc(c->n_items + 1, sizeof *order);
    c->groups = fb_calloc(TABLES, sizeof *c->groups);
    if (!order || !c->groups) {
        fb_free(order);
        return no_memory();
    }
    for (size_t i = 0; i < c->n_items; i++)
        order[i] = &c->items[i];
    if (c->n_items > 0)
        qsort(order, c->n_items, sizeof *order, larger_first);
    for (size_t i = 0; i < c->n_items; i++)
        join(c, order[i]);
    fb_free(order);
    return FB_OK;
}

/* An item without symbols needs a table, too: the first of as many bits. */
static bool give_empty_items_tables(chooser *c, const plan *p)
{
    for (size_t i = p->first; i < p->first + p->n_items; i++) {
        item *it = &c->items[i];
        for (uint32_t k = 0; it->n == 0 && k < c->n_groups && it->group == UINT32_MAX; k++) {
            if (c->groups[k].freqs.bits == it->bits)
                it->group = k;
        }
        if (it->group == UINT32_MAX)
            return false;
    }
    return true;
}

/* ---- what is coded -------------------------------------------------------------------------- */

static fb_status decide(chooser *c, size_t tensor, bool *coded)
{
    const fb_tensor *t = &c->m->tensors[tensor];
    const plan *p = &c->plans[tensor];
    fb_out description = {0};
    uint64_t bits = 0;
    *coded = false;
    if (p->form.storage == 0 || !give_empty_items_tables(c, p))
        return FB_OK;
    fb_form_put(&description, &p->form, t);
    for (size_t i = p->first; i < p->first + p->n_items; i++) {
        const item *it = &c->items[i];
        bits += (fb_freqs_cost(&c->groups[it->group].freqs, it->count) >> 16) + ENTRY_BITS;
    }
    bool failed = description.no_memory;
    bits += 8 * (uint64_t)description.n;
    fb_out_free(&description);
    *coded = bits / 8 < fb_form_saves(t) && fb_form_symbols(t) <= FB_RANS_EXPAND * (bits / 8);
    return failed ? no_memory() : FB_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct writer {
    chooser *c;
    fb_out heads, codes;
    group *order[TABLES];
    uint32_t n_tables;
    uint16_t *freq; /* [FB_RANS_CONTEXTS][256] */
} writer;

static uint32_t number_of(writer *w, group *g)
{
    if (g->number == UINT32_MAX) {
        g->number = w->n_tables;
        w->order[w->n_tables++] = g;
    }
    return g->number;
}

static void put_run(writer *w, const fb_symbols *run, const item *items)
{
    for (unsigned k = 0; k < run->shape.contexts; k++) {
        group *g = &w->c->groups[items[k].group];
        fb_out_varint(&w->heads, number_of(w, g));
        memcpy(w->freq + 256 * (size_t)k, g->freqs.freq, sizeof g->freqs.freq);
    }
    size_t before = w->codes.n;
    fb_rans_encode(&w->codes, w->freq, run->context, run->symbol, run->shape.n);
    fb_out_varint(&w->heads, w->codes.n - before);
}

static fb_status put_tensor(writer *w, size_t tensor)
{
    const fb_tensor *t = &w->c->m->tensors[tensor];
    const plan *p = &w->c->plans[tensor];
    const item *items = &w->c->items[p->first];
    fb_symbols run[FB_FORM_RUNS];
    FB_TRY(fb_form_hide(&p->form, t, run));
    fb_form_put(&w->heads, &p->form, t);
    for (unsigned k = 0; k < FB_FORM_RUNS && run[k].symbol; k++) {
        put_run(w, &run[k], items);
        items += run[k].shape.contexts;
    }
    fb_symbols_free(run);
    return FB_OK;
}

static fb_status put_section(chooser *c, fb_entropy *e)
{
    writer w = {.c = c, .freq = fb_calloc(FB_RANS_CONTEXTS * 256, sizeof *w.freq)};
    fb_status status = w.freq ? FB_OK : no_memory();
    for (size_t i = 0; i < c->m->n_tensors && status == FB_OK; i++) {
        if (e->coded[i])
            status = put_tensor(&w, i);
    }
    fb_out_varint(&e->section, w.n_tables);
    for (uint32_t k = 0; k < w.n_tables; k++)
        fb_freqs_put(&e->section, &w.order[k]->freqs);
    fb_out_bytes(&e->section, w.heads.data, w.heads.n);
    fb_out_bytes(&e->section, w.codes.data, w.codes.n);
    bool failed = e->section.no_memory || w.heads.no_memory || w.codes.no_memory;
    fb_out_free(&w.heads);
    fb_out_free(&w.codes);
    fb_free(w.freq);
    return status == FB_OK && failed ? no_memory() : status;
}

static void chooser_free(chooser *c)
{
    for (size_t i = 0; c->plans && i < c->m->n_tensors; i++)
        fb_form_free(&c->plans[i].form);
    fb_free(c->plans);
    fb_free(c->items);
    fb_free(c->groups);
}

fb_status fb_entropy_encode(const fb_model *m, fb_entropy *e)
{
    chooser c = {.m = m, .plans = fb_calloc(m->n_tensors + 1, sizeof *c.plans)};
    uint64_t saved = 0;
    fb_status status = FB_OK;
    *e = (fb_entropy){.coded = fb_calloc(m->n_tensors + 1, 1)};
    if (!e->coded || !c.plans) {
        status = no_memory();
        goto fail;
    }
    for (size_t i = 0; m->entropy && i < m->n_tensors; i++)
        FB_GO(make_plan(&c, i));
    FB_GO(choose_tables(&c));
    for (size_t i = 0; i < m->n_tensors; i++) {
        bool coded;
        FB_GO(decide(&c, i, &coded));
        e->coded[i] = coded ? c.plans[i].form.storage : 0;
        saved += coded ? fb_form_saves(&m->tensors[i]) : 0;
    }
    if (saved > 0)
        FB_GO(put_section(&c, e));
    if (e->section.n >= saved) {
        memset(e->coded, 0, m->n_tensors);
        fb_out_free(&e->section);
    }
fail:
    chooser_free(&c);
    if (status != FB_OK)
        fb_entropy_free(e);
    return status;
}

void fb_entropy_free(fb_entropy *e)
{
    fb_free(e->coded);
    fb_out_free(&e->section);
    *e = (fb_entropy){0};
}
