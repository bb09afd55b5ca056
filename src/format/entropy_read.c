/* Reading section CODE: all descriptions first, then each payload by itself, in several threads
 * where there is much. */
#include "format/entropy.h"

#include "base/threads.h"
#include "format/form.h"
#include "format/freqs.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_TABLES = 64,
    ALONE = 1 << 20 /* fewer symbols than this are not worth a thread */
};

/* A payload to decode. */
typedef struct task {
    fb_tensor *t;
    fb_form form;
    size_t n;
    uint8_t *data;
    unsigned n_runs;
    fb_run_shape shape[FB_FORM_RUNS];
    fb_coded_run run[FB_FORM_RUNS];
    uint8_t table[FB_FORM_RUNS][FB_FORM_TABLES];
    fb_status status;
    bool good;
} task;

typedef struct reader {
    fb_in *in;
    fb_model *m;
    fb_freqs *freqs;
    uint64_t n_tables;
    task *tasks;
    uint32_t n_tasks;
} reader;

/* ---- descriptions --------------------------------------------------------------------------- */

static fb_status get_run(reader *r, task *k, unsigned i)
{
    fb_in *in = r->in;
    for (unsigned c = 0; c < k->shape[i].contexts; c++) {
        k->table[i][c] = (uint8_t)fb_in_count(in, "number of a table", r->n_tables - 1);
        FB_TRY(in->status);
        if (r->freqs[k->table[i][c]].bits != k->shape[i].bits)
            return fb_in_broken(in, "tensor '%.200s' has codes of %u bits, its table is for %u",
                                k->t->name, k->shape[i].bits, r->freqs[k->table[i][c]].bits);
    }
    k->run[i].bytes = (size_t)fb_in_count(in, "size of a coded payload", fb_in_left(in));
    return in->status;
}

/* So that no small file asks for much memory or time. Of a product's new numbers, how many there
 * are is known later. */
static fb_status check_size(reader *r, const task *k)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < k->n_runs; i++) {
        bool fresh = k->form.depth > 0 && i == 1;
        bytes += k->run[i].bytes;
        if (!fresh && k->shape[i].n / FB_RANS_EXPAND > k->run[i].bytes)
            return fb_in_broken(r->in,
                                "tensor '%.200s' has %zu coded bytes for %zu elements, must "
                                "have 1 for %d at least",
                                k->t->name, k->run[i].bytes, k->shape[i].n, (int)FB_RANS_EXPAND);
    }
    if (k->n / FB_RANS_EXPAND > bytes)
        return fb_in_broken(r->in,
                            "tensor '%.200s' has %zu coded bytes for %zu numbers, must have 1 for "
                            "%d at least",
                            k->t->name, bytes, k->n, (int)FB_RANS_EXPAND);
    return FB_OK;
}

static fb_status get_head(reader *r, fb_tensor *t, uint8_t storage)
{
    task *k = &r->tasks[r->n_tasks++];
    *k = (task){.t = t, .form.storage = storage};
    if (!fb_form_possible(t) || (t->enc.kind == FB_ENC_PRODUCT && storage != FB_CODED_FORM))
        return fb_in_broken(r->in,
                            "tensor '%.200s' cannot be coded: it has not codes of at most 8 "
                            "bits and two axes or more",
                            t->name);
    if (storage == FB_CODED_FORM && !fb_form_has_second(t))
        return fb_in_broken(r->in, "tensor '%.200s' has no kernel to predict along", t->name);
    FB_TRY(fb_form_get(r->in, t, &k->form));
    k->n = fb_form_symbols(t);
    k->n_runs = fb_form_shapes(&k->form, t, k->shape);
    for (unsigned i = 0; i < k->n_runs; i++)
        FB_TRY(get_run(r, k, i));
    return check_size(r, k);
}

static fb_status get_tables(reader *r)
{
    fb_in *in = r->in;
    r->n_tables = fb_in_count(in, "number of tables", MOST_TABLES);
    FB_TRY(in->status);
    if (r->n_tables == 0)
        return fb_in_broken(in, "has no table");
    r->freqs = fb_calloc((size_t)r->n_tables, sizeof *r->freqs);
    if (!r->freqs)
        return fb_fail(FB_E_MEMORY, "no memory to decode the weights");
    for (uint64_t k = 0; k < r->n_tables; k++)
        FB_TRY(fb_freqs_get(in, &r->freqs[k]));
    return in->status;
}

/* ---- payloads ------------------------------------------------------------------------------- */

static void decode(void *ctx, uint32_t i, uint32_t worker)
{
    const reader *r = ctx;
    task *k = &r->tasks[i];
    fb_rans_table *tables[FB_FORM_RUNS] = {NULL};
    (void)worker;
    k->status = FB_OK;
    for (unsigned j = 0; j < k->n_runs; j++) {
        tables[j] = fb_alloc(k->shape[j].contexts * sizeof *tables[j]);
        if (!tables[j])
            k->status = FB_E_MEMORY;
        for (unsigned c = 0; tables[j] && c < k->shape[j].contexts; c++)
            fb_rans_table_make(&tables[j][c], r->freqs[k->table[j][c]].freq, 0);
        k->run[j].tables = tables[j];
    }
    if (k->status == FB_OK)
        k->status = fb_form_show(&k->form, k->t, k->run, k->data, &k->good);
    for (unsigned j = 0; j < k->n_runs; j++)
        fb_free(tables[j]);
}

static int larger_first(const void *a, const void *b)
{
    const task *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->t < y->t ? -1 : 1;
}

/* Largest first, so that no thread is left alone with a large one at the end. */
static fb_status decode_all(reader *r)
{
    fb_pool *pool = NULL;
    size_t total = 0;
    for (uint32_t i = 0; i < r->n_tasks; i++)
        total = total + r->tasks[i].n < total ? SIZE_MAX : total + r->tasks[i].n;
    if (total < ALONE || r->n_tasks < 2) {
        for (uint32_t i = 0; i < r->n_tasks; i++)
            decode(r, i, 0);
        return FB_OK;
    }
    qsort(r->tasks, r->n_tasks, sizeof *r->tasks, larger_first);
    FB_TRY(fb_pool_create(0, &pool));
    fb_pool_run(pool, r->n_tasks, decode, r);
    fb_pool_destroy(pool);
    return FB_OK;
}

/* In the order of the file: where the code of each run is. */
static fb_status take_payloads(reader *r)
{
    for (uint32_t i = 0; i < r->n_tasks; i++) {
        task *k = &r->tasks[i];
        for (unsigned j = 0; j < k->n_runs; j++) {
            k->run[j].code = fb_in_bytes(r->in, k->run[j].bytes);
            if (!k->run[j].code)
                return r->in->status;
        }
        k->data = fb_arena_alloc(r->m->arena, k->t->data_bytes);
        if (!k->data)
            return fb_fail(FB_E_MEMORY, "no memory for the payload of '%.200s'", k->t->name);
    }
    FB_TRY(fb_in_end(r->in));
    FB_TRY(decode_all(r));
    for (uint32_t i = 0; i < r->n_tasks; i++) {
        task *k = &r->tasks[i];
        if (k->status != FB_OK)
            return fb_fail(k->status, "no memory for the payload of '%.200s'", k->t->name);
        if (!k->good)
            return fb_in_broken(r->in,
                                "the coded payload of '%.200s' does not end as it should: it "
                                "is damaged",
                                k->t->name);
        k->t->data = k->data;
    }
    return FB_OK;
}

fb_status fb_entropy_decode(fb_in *in, fb_model *m, const uint8_t *coded)
{
    reader r = {.in = in, .m = m};
    size_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n += coded[i] != 0;
    fb_status status;
    FB_GO(get_tables(&r));
    r.tasks = fb_calloc(n + 1, sizeof *r.tasks);
    if (!r.tasks) {
        status = fb_fail(FB_E_MEMORY, "no memory to decode the weights");
        goto fail;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (coded[i])
            FB_GO(get_head(&r, &m->tensors[i], coded[i]));
    }
    FB_GO(take_payloads(&r));
fail:
    for (uint32_t i = 0; i < r.n_tasks; i++)
        fb_form_free(&r.tasks[i].form);
    fb_free(r.tasks);
    fb_free(r.freqs);
    return status;
}
