/* Sparse constants: bitmap or runs of zeros, then what is kept. */
#include "model/sparse.h"

#include "base/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *fb_sparse_name(fb_sparse form)
{
    static const char *const names[] = {"dense", "bitmap", "runs4", "runs8"};
    return (unsigned)form < 4 ? names[form] : "?";
}

static unsigned run_bits(fb_sparse form)
{
    return form == FB_SPARSE_RUNS4 ? 4 : 8;
}

/* Most zeros before an element. */
static size_t longest_run(fb_sparse form)
{
    return ((size_t)1 << run_bits(form)) - 1;
}

static unsigned kept_bits(const fb_tensor *t)
{
    return t->enc.kind == FB_ENC_PLAIN ? 32 : t->enc.bits;
}

static size_t elems_of(const fb_tensor *t)
{
    int64_t n;
    return fb_tensor_elems(t, 0, &n) ? (size_t)n : 0;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static bool where_bytes(fb_sparse form, size_t n, size_t kept, size_t *bytes)
{
    if (form == FB_SPARSE_BITMAP)
        return fb_packed_bytes(n, 1, bytes);
    return fb_packed_bytes(kept, run_bits(form), bytes);
}

static bool form_bytes(const fb_tensor *t, fb_sparse form, size_t n, size_t kept, size_t *bytes)
{
    size_t where, codes;
    return where_bytes(form, n, kept, &where) && fb_packed_bytes(kept, kept_bits(t), &codes) &&
           fb_size_add(where, codes, bytes);
}

fb_status fb_sparse_bytes(const fb_tensor *t, size_t n, size_t *bytes)
{
    const fb_encoding *e = &t->enc;
    if (!t->is_const || t->dtype != FB_F32 || (unsigned)e->sparse > FB_SPARSE_RUNS8)
        return fb_fail(FB_E_FORMAT, "sparse form %d of %s, must be 1 to 3 and of f32 constants",
                       (int)e->sparse, fb_dtype_name(t->dtype));
    size_t run = e->sparse == FB_SPARSE_BITMAP ? 0 : longest_run(e->sparse);
    if (e->n_kept > n || (run && (n - e->n_kept) / (e->n_kept + 1) > run))
        return fb_fail(FB_E_FORMAT, "%zu entries of %s cannot stand for %zu elements", e->n_kept,
                       fb_sparse_name(e->sparse), n);
    if (!form_bytes(t, e->sparse, n, e->n_kept, bytes))
        return fb_fail(FB_E_LIMIT, "%zu sparse elements do not fit into memory", n);
    return FB_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The kept elements one after another. */
typedef struct walk {
    const fb_tensor *t;
    const uint8_t *where, *codes;
    size_t n, entry, at; /* elements; entries and elements passed */
} walk;

static walk walk_of(const fb_tensor *t)
{
    size_t where = 0;
    walk w = {.t = t, .where = t->data, .n = elems_of(t)};
    (void)where_bytes(t->enc.sparse, w.n, t->enc.n_kept, &where);
    w.codes = w.where + where;
    return w;
}

/* The element number of the next entry; false behind the last. May lie beyond n in a bad payload.
 */
static bool next_entry(walk *w, size_t *element)
{
    const fb_encoding *e = &w->t->enc;
    if (e->sparse == FB_SPARSE_BITMAP) {
        while (w->at < w->n && !(w->where[w->at / 8] >> (w->at % 8) & 1u))
            w->at += w->at % 8 == 0 && w->where[w->at / 8] == 0 ? 8 : 1;
        if (w->at >= w->n)
            return false;
    } else {
        if (w->entry == e->n_kept)
            return false;
        w->at += (size_t)fb_packed_get(w->where, w->entry, run_bits(e->sparse), false);
    }
    *element = w->at++;
    w->entry++;
    return true;
}

/* The code that stands for 0 under scale (or table) number k; false when there is none. */
static bool zero_code(const fb_encoding *e, uint32_t k, int32_t *code)
{
    *code = e->kind == FB_ENC_AFFINE && e->zero ? e->zero[k] : 0;
    if (e->kind != FB_ENC_LEVELS)
        return true;
    const float *level = e->level + (e->n_tables == 1 ? 0 : (size_t)k * e->n_levels);
    float zero = e->zero ? (float)e->zero[e->n_scales == 1 ? 0 : k] : 0;
    for (int32_t q = 0; q < e->n_levels; q++) {
        if (level[q] == zero) {
            *code = q;
            return true;
        }
    }
    return false;
}

/* Number of different scales and tables. */
static uint32_t n_zero_codes(const fb_encoding *e)
{
    return e->kind == FB_ENC_PLAIN ? 1 : e->n_scales > e->n_tables ? e->n_scales : e->n_tables;
}

static bool one_zero_code(const fb_encoding *e, int32_t *code)
{
    (void)zero_code(e, 0, code);
    for (uint32_t k = 1; k < n_zero_codes(e); k++) {
        int32_t other;
        (void)zero_code(e, k, &other);
        if (other != *code)
            return false;
    }
    return true;
}

static fb_status check_zero_codes(const fb_encoding *e)
{
    int32_t code;
    for (uint32_t k = 0; k < n_zero_codes(e); k++) {
        if (!zero_code(e, k, &code))
            return fb_fail(FB_E_FORMAT, "is sparse, but table %u has no level for 0", k);
    }
    return FB_OK;
}

fb_status fb_sparse_validate(const fb_tensor *t)
{
    const fb_encoding *e = &t->enc;
    size_t element, last = 0, n = elems_of(t);
    FB_TRY(check_zero_codes(e));
    walk w = walk_of(t);
    while (next_entry(&w, &element)) {
        if (element >= n)
            return fb_fail(FB_E_FORMAT, "sparse entry %zu lies beyond the %zu elements",
                           w.entry - 1, n);
        last = element + 1;
    }
    if (w.entry != e->n_kept)
        return fb_fail(FB_E_FORMAT, "the bitmap keeps %zu elements, must keep %zu", w.entry,
                       e->n_kept);
    if (e->sparse != FB_SPARSE_BITMAP && n - last > longest_run(e->sparse))
        return fb_fail(FB_E_FORMAT,
                       "the runs end %zu elements before the end, at most %zu may be "
                       "left",
                       n - last, longest_run(e->sparse));
    for (size_t i = 0; e->kind == FB_ENC_LEVELS && i < e->n_kept; i++) {
        int32_t q = fb_packed_get(w.codes, i, e->bits, false);
        if (q >= e->n_levels)
            return fb_fail(FB_E_FORMAT, "kept code %zu is %d, must be below %u", i, (int)q,
                           e->n_levels);
    }
    return FB_OK;
}

static void fill_zero_codes(const fb_tensor *t, uint8_t *data, size_t bytes, size_t n)
{
    const fb_encoding *e = &t->enc;
    int32_t code;
    bool one = one_zero_code(e, &code);
    memset(data, 0, bytes);
    if (one && code == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (!one)
            (void)zero_code(e, fb_affine_scale_index(t, i), &code);
        fb_packed_put(data, i, e->bits, code);
    }
}

/* Packed bits of element i become those of q. */
static void replace(uint8_t *data, size_t i, unsigned bits, int32_t q)
{
    int32_t old = fb_packed_get(data, i, bits, false);
    for (unsigned b = 0; b < bits; b++) {
        size_t at = i * bits + b;
        if ((old ^ q) >> b & 1)
            data[at / 8] = (uint8_t)(data[at / 8] ^ 1u << at % 8);
    }
}

fb_status fb_sparse_expand(const fb_tensor *t, fb_tensor *dense, void **owned)
{
    size_t n = elems_of(t), element, k = 0;
    *dense = *t;
    dense->enc.sparse = FB_DENSE;
    dense->enc.n_kept = 0;
    FB_TRY(fb_tensor_payload_bytes(dense, &dense->data_bytes));
    uint8_t *data = *owned = fb_alloc(dense->data_bytes);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for the %zu elements of '%.200s'", n, t->name);
    walk w = walk_of(t);
    bool plain = t->enc.kind == FB_ENC_PLAIN, bytes = t->enc.bits == 8;
    if (plain)
        memset(data, 0, dense->data_bytes);
    else
        fill_zero_codes(t, data, dense->data_bytes, n);
    for (; next_entry(&w, &element); k++) {
        if (plain)
            memcpy(data + 4 * element, w.codes + 4 * k, 4);
        else if (bytes)
            data[element] = w.codes[k];
        else
            replace(data, element, t->enc.bits, fb_packed_get(w.codes, k, t->enc.bits, false));
    }
    dense->data = data;
    return FB_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct zeros {
    const fb_tensor *t;
    const float *plain;
    bool one;
    int32_t code; /* of 0, where there is one for all */
} zeros;

static zeros zeros_of(const fb_tensor *t)
{
    zeros z = {.t = t, .plain = t->enc.kind == FB_ENC_PLAIN ? t->data : NULL};
    z.one = one_zero_code(&t->enc, &z.code);
    return z;
}

static bool is_zero(const zeros *z, size_t i)
{
    const fb_encoding *e = &z->t->enc;
    int32_t code = z->code;
    if (z->plain)
        return z->plain[i] == 0 && !signbit(z->plain[i]);
    if (!z->one)
        (void)zero_code(e, fb_affine_scale_index(z->t, i), &code);
    bool is_signed = e->kind == FB_ENC_AFFINE && e->is_signed;
    return fb_packed_get(z->t->data, i, e->bits, is_signed) == code;
}

static bool can_be_sparse(const fb_tensor *t)
{
    return t->is_const && t->dtype == FB_F32 && t->rank >= 2 && t->enc.sparse == FB_DENSE &&
           t->enc.kind != FB_ENC_PRODUCT && check_zero_codes(&t->enc) == FB_OK;
}

/* Entries of each form: a gap of more zeros than a run can have takes entries that are 0. */
static void count_entries(const fb_tensor *t, size_t n, size_t entries[4])
{
    zeros z = zeros_of(t);
    size_t gap = 0, kept = 0, more4 = 0, more8 = 0;
    for (size_t i = 0; i < n; i++) {
        bool zero = is_zero(&z, i);
        gap += zero;
        if (zero && i + 1 < n)
            continue;
        kept += !zero;
        more4 += gap / 16;
        more8 += gap / 256;
        gap = 0;
    }
    entries[FB_DENSE] = n;
    entries[FB_SPARSE_BITMAP] = kept;
    entries[FB_SPARSE_RUNS4] = kept + more4;
    entries[FB_SPARSE_RUNS8] = kept + more8;
}

fb_sparse fb_sparse_choose(const fb_tensor *t, size_t *bytes, size_t *n_zeros)
{
    size_t n = elems_of(t), entries[4] = {n, n, n, n}, least = t->data_bytes, size;
    fb_sparse best = FB_DENSE;
    if (can_be_sparse(t)) {
        count_entries(t, n, entries);
        for (int form = FB_SPARSE_BITMAP; form <= FB_SPARSE_RUNS8; form++) {
            if (form_bytes(t, (fb_sparse)form, n, entries[form], &size) && size < least) {
                least = size;
                best = (fb_sparse)form;
            }
        }
    }
    if (bytes)
        *bytes = least;
    if (n_zeros)
        *n_zeros = n - entries[FB_SPARSE_BITMAP];
    return best;
}

/* Writes entries of a dense tensor, one after another, into the zeroed payload of its sparse form.
 */
typedef struct writer {
    const fb_tensor *from;
    fb_sparse form;
    uint8_t *where, *codes;
    size_t entry;
} writer;

static void put_entry(writer *w, size_t element, size_t run)
{
    const fb_tensor *t = w->from;
    if (w->form == FB_SPARSE_BITMAP)
        fb_packed_put(w->where, element, 1, 1);
    else
        fb_packed_put(w->where, w->entry, run_bits(w->form), (int32_t)run);
    if (t->enc.kind == FB_ENC_PLAIN)
        memcpy(w->codes + 4 * w->entry, (const uint8_t *)t->data + 4 * element, 4);
    else
        fb_packed_put(w->codes, w->entry, t->enc.bits,
                      fb_packed_get(t->data, element, t->enc.bits, false));
    w->entry++;
}

static void put_entries(writer *w, size_t n)
{
    zeros z = zeros_of(w->from);
    size_t gap = 0, run = w->form == FB_SPARSE_BITMAP ? SIZE_MAX : longest_run(w->form);
    for (size_t i = 0; i < n; i++) {
        if (is_zero(&z, i) && gap < run) {
            gap++;
            continue;
        }
        put_entry(w, i, gap);
        gap = 0;
    }
}

static fb_status make_sparse(fb_model *m, int32_t tensor, fb_sparse form)
{
    const fb_tensor *t = &m->tensors[tensor];
    size_t n = elems_of(t), entries[4], where, bytes;
    if (!can_be_sparse(t))
        return fb_fail(FB_E_ARG, "tensor '%.200s' cannot be sparse", t->name);
    count_entries(t, n, entries);
    fb_encoding e = t->enc;
    e.sparse = form;
    e.n_kept = entries[form];
    if (!form_bytes(t, form, n, e.n_kept, &bytes) || !where_bytes(form, n, e.n_kept, &where))
        return fb_fail(FB_E_LIMIT, "%zu sparse elements do not fit into memory", n);
    uint8_t *data = fb_calloc(bytes + 1, 1);
    if (!data)
        return fb_fail(FB_E_MEMORY, "no memory for the %zu elements of '%.200s'", n, t->name);
    writer w = {t, form, data, data + where, 0};
    put_entries(&w, n);
    fb_status status = fb_model_set_payload(m, tensor, &e, data, bytes);
    fb_free(data);
    return status;
}

fb_status fb_sparse_store(fb_model *m, int32_t tensor, fb_sparse form)
{
    const fb_tensor *t = &m->tensors[tensor];
    if (t->enc.sparse == form)
        return FB_OK;
    if (t->enc.sparse != FB_DENSE) {
        fb_tensor dense;
        void *owned;
        FB_TRY(fb_sparse_expand(t, &dense, &owned));
        fb_status status =
            fb_model_set_payload(m, tensor, &dense.enc, dense.data, dense.data_bytes);
        fb_free(owned);
        FB_TRY(status);
    }
    return form == FB_DENSE ? FB_OK : make_sparse(m, tensor, form);
}

fb_status fb_model_densify(fb_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].enc.sparse != FB_DENSE)
            FB_TRY(fb_sparse_store(m, (int32_t)i, FB_DENSE));
    }
    return FB_OK;
}
