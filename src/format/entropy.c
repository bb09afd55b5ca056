/* Section CODE: tables, then for each coded payload its table and size, then the coded payloads.
 *
 * Choosing tables: payload after payload, the largest first, joins the table that it makes least
 * more expensive, or opens its own where that costs less. */
#include "format/entropy.h"

#include "format/freqs.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_TABLES = 64, /* in a file */
    TABLES = 8,       /* that this writer makes: more would hardly pay, and choosing takes longer */
    FEWEST = 64,      /* symbols of a payload to code */
    ENTRY_BITS = 32   /* that a payload costs besides its symbols: table, size, end of the states */
};

static bool may_be_coded(const fb_tensor *t)
{
    return t->is_const && t->enc.kind != FB_ENC_PLAIN && t->enc.bits <= 8 && t->rank >= 2 &&
           !t->enc.sparse && t->enc.kind != FB_ENC_PRODUCT;
}

static size_t symbols_of(const fb_tensor *t)
{
    int64_t n;
    return fb_tensor_elems(t, 0, &n) ? (size_t)n : 0; /* validated: constants have elements */
}

/* Codes in order of their values: two's complement turned into an offset. Indices of levels are. */
static unsigned flip_of(const fb_tensor *t)
{
    return t->enc.kind == FB_ENC_AFFINE && t->enc.is_signed ? 1u << (t->enc.bits - 1) : 0;
}

/* ---- choosing tables ------------------------------------------------------------------------ */

typedef struct group {
    fb_freqs freqs;
    uint64_t count[256], cost;
    uint32_t number; /* in the file, by first use; UINT32_MAX: not used yet */
} group;

typedef struct item {
    int32_t tensor;
    size_t n;
    uint32_t group;
} item;

typedef struct chooser {
    const fb_model *m;
    item *items;
    size_t n_items;
    group *groups; /* [TABLES] */
    uint32_t n_groups;
    uint8_t *symbols; /* room for those of one payload */
} chooser;

static int larger_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->tensor < y->tensor ? -1 : 1;
}

static void read_symbols(const fb_tensor *t, uint8_t *symbols)
{
    size_t n = symbols_of(t);
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

static void count_symbols(const chooser *c, const fb_tensor *t, uint64_t count[256])
{
    size_t n = symbols_of(t);
    read_symbols(t, c->symbols);
    memset(count, 0, 256 * sizeof *count);
    for (size_t i = 0; i < n; i++)
        count[c->symbols[i]]++;
}

static group make_group(unsigned bits, const uint64_t count[256], const fb_freqs *near)
{
    group g = {.number = UINT32_MAX};
    memcpy(g.count, count, sizeof g.count);
    fb_freqs_choose(&g.freqs, bits, count, near);
    g.cost = fb_freqs_cost(&g.freqs, count) + fb_freqs_own_cost(&g.freqs);
    return g;
}

static void join(chooser *c, item *it)
{
    const fb_tensor *t = &c->m->tensors[it->tensor];
    uint64_t count[256], both[256];
    count_symbols(c, t, count);
    group best = make_group(t->enc.bits, count, NULL);
    uint64_t least = c->n_groups < TABLES ? best.cost : UINT64_MAX;
    bool is_new = c->n_groups < TABLES;
    for (uint32_t k = 0; k < c->n_groups; k++) {
        const group *g = &c->groups[k];
        if (g->freqs.bits != t->enc.bits)
            continue;
        for (unsigned s = 0; s < 256; s++)
            both[s] = count[s] + g->count[s];
        group merged = make_group(t->enc.bits, both, &g->freqs);
        uint64_t more = merged.cost > g->cost ? merged.cost - g->cost : 0;
        if (more < least) {
            least = more;
            best = merged;
            is_new = false;
            it->group = k;
        }
    }
    if (least == UINT64_MAX) /* eight tables, none of so many bits */
        return;
    if (is_new)
        it->group = c->n_groups++;
    c->groups[it->group] = best;
}

static fb_status choose(chooser *c)
{
    const fb_model *m = c->m;
    size_t most = 0;
    c->items = fb_calloc(m->n_tensors + 1, sizeof *c->items);
    c->groups = fb_calloc(TABLES, sizeof *c->groups);
    for (size_t i = 0; c->items && i < m->n_tensors; i++) {
        size_t n = may_be_coded(&m->tensors[i]) ? symbols_of(&m->tensors[i]) : 0;
        if (n >= FEWEST)
            c->items[c->n_items++] = (item){(int32_t)i, n, UINT32_MAX};
        most = n > most ? n : most;
    }
    c->symbols = fb_alloc(most);
    if (!c->items || !c->groups || !c->symbols)
        return fb_fail(FB_E_MEMORY, "no memory to code the weights");
    qsort(c->items, c->n_items, sizeof *c->items, larger_first);
    for (size_t i = 0; i < c->n_items; i++)
        join(c, &c->items[i]);
    return FB_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool pays(const chooser *c, const item *it)
{
    const fb_tensor *t = &c->m->tensors[it->tensor];
    uint64_t count[256];
    if (it->group == UINT32_MAX)
        return false;
    count_symbols(c, t, count);
    uint64_t bits = (fb_freqs_cost(&c->groups[it->group].freqs, count) >> 16) + ENTRY_BITS;
    return bits / 8 < t->data_bytes && it->n <= FB_RANS_EXPAND * (bits / 8);
}

static void put_section(chooser *c, const uint32_t *group_of, fb_entropy *e)
{
    fb_out heads = {0}, codes = {0};
    group *order[TABLES];
    uint32_t n_tables = 0;
    for (size_t i = 0; i < c->m->n_tensors; i++) {
        if (!e->coded[i])
            continue;
        const fb_tensor *t = &c->m->tensors[i];
        group *g = &c->groups[group_of[i]];
        if (g->number == UINT32_MAX) {
            g->number = n_tables;
            order[n_tables++] = g;
        }
        size_t before = codes.n;
        read_symbols(t, c->symbols);
        fb_rans_encode(&codes, g->freqs.freq, c->symbols, symbols_of(t));
        fb_out_varint(&heads, g->number);
        fb_out_varint(&heads, codes.n - before);
    }
    fb_out_varint(&e->section, n_tables);
    for (uint32_t k = 0; k < n_tables; k++)
        fb_freqs_put(&e->section, &order[k]->freqs);
    fb_out_bytes(&e->section, heads.data, heads.n);
    fb_out_bytes(&e->section, codes.data, codes.n);
    e->section.no_memory |= heads.no_memory || codes.no_memory;
    fb_out_free(&heads);
    fb_out_free(&codes);
}

fb_status fb_entropy_encode(const fb_model *m, fb_entropy *e)
{
    chooser c = {.m = m};
    uint32_t *group_of = fb_calloc(m->n_tensors + 1, sizeof *group_of);
    uint64_t saved = 0;
    fb_status status = FB_OK;
    *e = (fb_entropy){.coded = fb_calloc(m->n_tensors + 1, 1)};
    if (!e->coded || !group_of) {
        status = fb_fail(FB_E_MEMORY, "no memory to code the weights");
        goto fail;
    }
    if (m->entropy)
        FB_GO(choose(&c));
    for (size_t i = 0; i < c.n_items; i++) {
        int32_t t = c.items[i].tensor;
        e->coded[t] = pays(&c, &c.items[i]);
        group_of[t] = c.items[i].group;
        saved += e->coded[t] ? m->tensors[t].data_bytes : 0;
    }
    if (saved > 0)
        put_section(&c, group_of, e);
    if (e->section.no_memory) {
        status = fb_fail(FB_E_MEMORY, "no memory to code the weights");
        goto fail;
    }
    if (e->section.n >= saved) {
        memset(e->coded, 0, m->n_tensors);
        fb_out_free(&e->section);
    }
fail:
    fb_free(group_of);
    fb_free(c.items);
    fb_free(c.groups);
    fb_free(c.symbols);
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

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct reader {
    fb_in *in;
    fb_model *m;
    fb_freqs *freqs;
    uint64_t n_tables;
    fb_rans_table *table; /* made of freqs[made] for `flip` */
    uint64_t made;
    unsigned flip;
} reader;

typedef struct head {
    uint64_t table, bytes;
} head;

static fb_status get_heads(reader *r, const uint8_t *coded, head *heads)
{
    fb_in *in = r->in;
    for (size_t i = 0; i < r->m->n_tensors; i++) {
        const fb_tensor *t = &r->m->tensors[i];
        if (!coded[i])
            continue;
        if (!may_be_coded(t))
            return fb_in_broken(in,
                                "tensor '%.200s' cannot be coded: it has not codes of at most 8 "
                                "bits and two axes or more",
                                t->name);
        heads[i].table = fb_in_count(in, "number of a table", r->n_tables - 1);
        heads[i].bytes = fb_in_count(in, "size of a coded payload", fb_in_left(in));
        FB_TRY(in->status);
        if (r->freqs[heads[i].table].bits != t->enc.bits)
            return fb_in_broken(in, "tensor '%.200s' has codes of %u bits, its table is for %u",
                                t->name, t->enc.bits, r->freqs[heads[i].table].bits);
        if (symbols_of(t) / FB_RANS_EXPAND > heads[i].bytes)
            return fb_in_broken(in,
                                "tensor '%.200s' has %llu coded bytes for %zu elements, must "
                                "have 1 for %d at least",
                                t->name, (unsigned long long)heads[i].bytes, symbols_of(t),
                                (int)FB_RANS_EXPAND);
    }
    return FB_OK;
}

static fb_status get_payload(reader *r, fb_tensor *t, head h)
{
    size_t n = symbols_of(t);
    const uint8_t *bytes = fb_in_bytes(r->in, (size_t)h.bytes);
    if (!bytes)
        return r->in->status;
    if (r->made != h.table || r->flip != flip_of(t)) {
        r->made = h.table;
        r->flip = flip_of(t);
        fb_rans_table_make(r->table, r->freqs[h.table].freq, r->flip);
    }
    uint8_t *data = fb_arena_alloc(r->m->arena, t->data_bytes);
    uint8_t *symbols = t->enc.bits == 8 ? data : fb_alloc(n);
    if (!data || !symbols) {
        if (symbols != data)
            fb_free(symbols);
        return fb_fail(FB_E_MEMORY, "no memory for the payload of '%.200s'", t->name);
    }
    bool good = fb_rans_decode(r->table, bytes, (size_t)h.bytes, symbols, n);
    if (symbols != data) {
        for (size_t i = 0; good && i < n; i++)
            fb_packed_put(data, i, t->enc.bits, symbols[i]);
        fb_free(symbols);
    }
    t->data = data;
    return good ? FB_OK
                : fb_in_broken(r->in,
                               "the coded payload of '%.200s' does not end as it should: it "
                               "is damaged",
                               t->name);
}

fb_status fb_entropy_decode(fb_in *in, fb_model *m, const uint8_t *coded)
{
    reader r = {.in = in, .m = m, .made = UINT64_MAX};
    head *heads = fb_calloc(m->n_tensors + 1, sizeof *heads);
    fb_status status = FB_OK;
    r.n_tables = fb_in_count(in, "number of tables", MOST_TABLES);
    r.freqs = fb_calloc((size_t)r.n_tables + 1, sizeof *r.freqs);
    r.table = fb_alloc(sizeof *r.table);
    if (!heads || !r.freqs || !r.table) {
        status = fb_fail(FB_E_MEMORY, "no memory to decode the weights");
        goto fail;
    }
    if (in->status == FB_OK && r.n_tables == 0)
        fb_in_broken(in, "has no table");
    for (uint64_t k = 0; k < r.n_tables; k++)
        FB_GO(fb_freqs_get(in, &r.freqs[k]));
    FB_GO(in->status);
    FB_GO(get_heads(&r, coded, heads));
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (coded[i])
            FB_GO(get_payload(&r, &m->tensors[i], heads[i]));
    }
    status = fb_in_end(in);
fail:
    fb_free(heads);
    fb_free(r.freqs);
    fb_free(r.table);
    return status;
}
