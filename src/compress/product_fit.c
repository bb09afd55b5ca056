#include "compress/product_fit.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/vectors.h"

#include <math.h>
#include <string.h>

enum {
    SWEEPS = 50,  /* of the stages of a codebook, at most */
    ROUNDS = 60,  /* of scales and codewords in turn, at most */
    HELD = 2000,  /* the same with indices held: where codebooks fit exactly, it takes many to get
                     there; elsewhere few are worth it */
    FEW_BOOKS = 8 /* so many share out their vectors to threads, more are shared out themselves */
};
static const double worth = 1e-4; /* share of the error that another round must remove */

typedef struct fit {
    fb_product_codes *c;
    const float *w, *importance;
    uint32_t groups;
    uint64_t seed;
    fb_pool *pool;   /* within a codebook; NULL where the codebooks are shared out */
    bool fresh;      /* from new codewords */
    bool directions; /* vectors without their lengths: what scales cannot hide */
    uint32_t sweeps;
    fb_status *status; /* [books] */
} fit;

/* ---- the vectors of a codebook -------------------------------------------------------------- */

/* A vector of the layer: its output channel, row within it and place within the row. */
typedef struct place {
    size_t ct, row, m;
} place;

static size_t vectors_of(const fb_product *p)
{
    return p->per_layer ? p->rows * p->m_count : p->ct_group * p->rows_each;
}

static place place_of(const fb_product *p, size_t book, size_t i)
{
    if (p->per_layer)
        return (place){i / p->m_count / p->rows_each, i / p->m_count % p->rows_each,
                       i % p->m_count};
    return (place){book / p->m_count * p->ct_group + i / p->rows_each, i % p->rows_each,
                   book % p->m_count};
}

static size_t index_at(const fb_product *p, place a)
{
    return ((a.ct * p->rows_each + a.row) * p->m_count + a.m) * p->stages;
}

/* Without weights of their own, vectors need no importances. */
static bool is_plain(const fit *f)
{
    const fb_product *p = &f->c->p;
    bool padded = p->per_layer && fb_product_last(p) < p->sub;
    return !f->importance && f->c->form.enc.axis < 0 && !padded;
}

/* What an error of element j of a row counts. */
static float weight_of(const fit *f, place a, size_t j)
{
    const fb_product *p = &f->c->p;
    size_t channel = p->along_kernel ? a.row : j;
    size_t group = a.ct / (p->ct / f->groups);
    return f->importance ? f->importance[group * p->c + channel] : 1;
}

/* To unit length; an error there is length times as large in the vector. */
static void take_direction(size_t n, float *v, float *h)
{
    double square = 0;
    for (size_t j = 0; j < n; j++)
        square += (double)v[j] * (double)v[j];
    float length = (float)sqrt(square);
    for (size_t j = 0; j < n; j++) {
        v[j] = length > 0x1p-60f ? v[j] / length : 0;
        h[j] *= (float)square;
    }
}

/* Vector i of a codebook as its codewords see it: weights without their channel's scale. An error
 * there is scale times as large in the weights. */
static void take_vector(const fit *f, place a, float *v, float *h)
{
    const fb_product *p = &f->c->p;
    float scale = f->c->scale[a.ct];
    size_t n = a.m + 1 < p->m_count ? p->sub : fb_product_last(p);
    const float *w = f->w + a.ct * p->kernel * p->c;
    for (size_t j = 0; j < p->sub; j++) {
        size_t place_in_row = a.m * p->sub + j;
        v[j] = j < n ? w[fb_product_offset(p, a.row, place_in_row)] / scale : 0;
        if (h)
            h[j] = j < n ? scale * scale * weight_of(f, a, place_in_row) : 0;
    }
    if (f->directions)
        take_direction(p->sub, v, h);
}

static void load_indices(const fit *f, size_t book, const fb_stages *s)
{
    const fb_product *p = &f->c->p;
    for (size_t i = 0; i < vectors_of(p); i++) {
        const uint8_t *index = f->c->index + index_at(p, place_of(p, book, i));
        for (size_t t = 0; t < p->stages; t++)
            s->index[t][i] = index[t];
    }
}

static void store_indices(const fit *f, size_t book, const fb_stages *s)
{
    const fb_product *p = &f->c->p;
    for (size_t i = 0; i < vectors_of(p); i++) {
        uint8_t *index = f->c->index + index_at(p, place_of(p, book, i));
        for (size_t t = 0; t < p->stages; t++)
            index[t] = (uint8_t)s->index[t][i];
    }
}

static fb_status fit_book(const fit *f, size_t book)
{
    const fb_product *p = &f->c->p;
    const fb_encoding view = {.word = f->c->word};
    size_t n = vectors_of(p);
    bool plain = is_plain(f);
    float *v = fb_alloc(n * p->sub * sizeof *v);
    float *h = plain ? NULL : fb_alloc(n * p->sub * sizeof *h);
    uint16_t *index = fb_alloc(n * p->stages * sizeof *index);
    fb_status status;
    double total;
    if (!v || (!h && !plain) || !index) {
        status = fb_fail(FB_E_MEMORY, "no memory for %zu vectors of a layer", n);
        goto fail;
    }
    for (size_t i = 0; i < n; i++)
        take_vector(f, place_of(p, book, i), v + i * p->sub, h ? h + i * p->sub : NULL);
    fb_vectors x = {n, p->sub, v, h};
    fb_stages s = {.k = p->words, .n = p->stages};
    for (size_t t = 0; t < p->stages; t++) {
        s.word[t] = fb_product_word(&view, p, t, book, 0);
        s.index[t] = index + t * n;
    }
    if (!f->fresh)
        load_indices(f, book, &s);
    FB_GO(fb_stages_fit(&x, &s, f->fresh, f->sweeps, f->seed + 0x9e37u * book, f->pool, &total));
    store_indices(f, book, &s);
fail:
    fb_free(v);
    fb_free(h);
    fb_free(index);
    return status;
}

static void fit_one(void *ctx, uint32_t book, uint32_t worker)
{
    fit *f = ctx;
    (void)worker;
    f->status[book] = fit_book(f, book);
}

static fb_status fit_books(fit *f, fb_pool *pool)
{
    size_t n = f->c->p.books;
    bool within = n < FEW_BOOKS;
    f->pool = within ? pool : NULL;
    for (uint32_t i = 0; within && i < n; i++)
        f->status[i] = fit_book(f, i);
    if (!within)
        fb_pool_run(pool, (uint32_t)n, fit_one, f);
    for (size_t i = 0; i < n; i++) {
        if (f->status[i] != FB_OK) /* the sentence may be another thread's */
            return within ? f->status[i] : fb_fail(f->status[i], "no memory for k-means");
    }
    return FB_OK;
}

/* ---- scales --------------------------------------------------------------------------------- */

/* <w, value> and <value, value> of a channel, value without its scale. */
static void dots(const fb_product_codes *c, const float *w, const float *importance,
                 uint32_t groups, size_t ct, float *value, double *cross, double *square,
                 double *power)
{
    const fb_product *p = &c->p;
    size_t inner = p->kernel * p->c, group = ct / (p->ct / groups);
    *cross = *square = *power = 0;
    fb_product_codes_channel(c, ct, value);
    for (size_t i = 0; i < inner; i++) {
        double h = importance ? (double)importance[group * p->c + i % p->c] : 1;
        double v = (double)value[i], x = (double)w[ct * inner + i];
        *cross += h * x * v;
        *square += h * v * v;
        *power += h * x * x;
    }
}

double fb_product_error(const fb_product_codes *c, const float *w, const float *importance,
                        uint32_t groups)
{
    float *value = fb_alloc(c->p.kernel * c->p.c * sizeof *value);
    double total = 0, cross, square, power;
    for (size_t ct = 0; value && ct < c->p.ct; ct++) {
        size_t inner = c->p.kernel * c->p.c, group = ct / (c->p.ct / groups);
        dots(c, w, importance, groups, ct, value, &cross, &square, &power);
        for (size_t i = 0; i < inner; i++) {
            double h = importance ? (double)importance[group * c->p.c + i % c->p.c] : 1;
            double e = (double)w[ct * inner + i] - (double)(c->scale[ct] * value[i]);
            total += h * e * e;
        }
    }
    fb_free(value);
    return total;
}

/* Least squares; a channel that its codewords point away from keeps its scale. Returns the error
 * and, in *all, what it is a share of. */
static fb_status refit_scales(const fit *f, double *error, double *all)
{
    const fb_product *p = &f->c->p;
    float *value = fb_alloc(p->kernel * p->c * sizeof *value);
    double cross, square, power;
    if (!value)
        return fb_fail(FB_E_MEMORY, "no memory for a channel's weights");
    *error = *all = 0;
    for (size_t ct = 0; ct < p->ct; ct++) {
        dots(f->c, f->w, f->importance, f->groups, ct, value, &cross, &square, &power);
        if (square > 0 && cross > 0x1p-100 * square)
            f->c->scale[ct] = (float)(cross / square);
        double s = (double)f->c->scale[ct];
        *error += power - 2 * s * cross + s * s * square;
        *all += power;
    }
    fb_free(value);
    return FB_OK;
}

/* Root mean squares; 1 where all weights are 0. */
static void start_scales(const fit *f)
{
    const fb_product *p = &f->c->p;
    size_t inner = p->kernel * p->c;
    for (size_t ct = 0; ct < p->ct; ct++) {
        double square = 0;
        for (size_t i = 0; i < inner; i++)
            square += (double)f->w[ct * inner + i] * (double)f->w[ct * inner + i];
        double rms = sqrt(square / (double)inner);
        f->c->scale[ct] = rms > 0x1p-100 ? (float)rms : 1;
    }
}

/* Codewords of the only stage as the weighted means of their vectors, indices and scales as they
 * are. sum [2][words of all books][sub]. */
static void refit_words(const fit *f, double *sum)
{
    const fb_product *p = &f->c->p;
    size_t n = p->books * p->words * p->sub;
    float v[FB_PRODUCT_SUB], h[FB_PRODUCT_SUB];
    memset(sum, 0, 2 * n * sizeof *sum);
    for (size_t book = 0; book < p->books; book++) {
        for (size_t i = 0; i < vectors_of(p); i++) {
            place a = place_of(p, book, i);
            size_t at = (book * p->words + f->c->index[index_at(p, a)]) * p->sub;
            take_vector(f, a, v, h);
            for (size_t j = 0; j < p->sub; j++) {
                sum[at + j] += (double)h[j] * (double)v[j];
                sum[n + at + j] += (double)h[j];
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (sum[n + i] > 0)
            f->c->word[i] = (float)(sum[i] / sum[n + i]);
    }
}

static bool goes_on(double error, double before, double all)
{
    return error < before * (1 - worth) && error >= 1e-14 * all;
}

/* Scales and codewords in turn: first without moving indices, if these are to be trusted more. */
static fb_status alternate(fit *f, fb_pool *pool, bool hold, double *error, double *all)
{
    const fb_product *p = &f->c->p;
    double before;
    if (hold) {
        double *sum = fb_alloc(2 * p->books * p->words * p->sub * sizeof *sum);
        fb_status status = sum ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for codewords");
        *error = HUGE_VAL;
        for (int i = 0; status == FB_OK && i < HELD; i++) {
            before = *error;
            refit_words(f, sum);
            status = refit_scales(f, error, all);
            if (!goes_on(*error, before, *all))
                break;
        }
        fb_free(sum);
        FB_TRY(status);
    }
    f->fresh = false;
    f->sweeps = 1;
    FB_TRY(refit_scales(f, error, all));
    for (int i = 0; i < ROUNDS; i++) {
        before = *error;
        FB_TRY(fit_books(f, pool));
        FB_TRY(refit_scales(f, error, all));
        if (!goes_on(*error, before, *all))
            break;
    }
    return FB_OK;
}

static fb_status fit_from(fit *f, fb_pool *pool, bool directions, double *error, double *all)
{
    start_scales(f);
    f->fresh = true;
    f->sweeps = directions ? SWEEPS : 5;
    f->directions = directions;
    FB_TRY(fit_books(f, pool));
    f->directions = false;
    return alternate(f, pool, directions, error, all);
}

/* What a fit chose, with the other one's memory. */
static void exchange(fb_product_codes *a, fb_product_codes *b)
{
    fb_product_codes t = *a;
    *a = *b;
    *b = t;
}

/* From vectors under rough scales; and, as rough scales may blur what is shared, from the vectors'
 * directions, which no scale can change. The better one stays. */
static fb_status fit_scaled(fit *f, fb_pool *pool)
{
    fb_product_codes other = {0};
    double error, least, all;
    bool both = f->c->p.stages == 1 && f->c->p.sub > 1;
    FB_TRY(fit_from(f, pool, both, &least, &all));
    if (!both || least < 1e-14 * all)
        return FB_OK;
    FB_TRY(fb_product_codes_make(&f->c->form, &f->c->form.enc, &other));
    exchange(f->c, &other);
    fb_status status = fit_from(f, pool, false, &error, &all);
    if (status == FB_OK && least < error)
        exchange(f->c, &other);
    fb_product_codes_free(&other);
    return status;
}

fb_status fb_product_fit(fb_product_codes *c, const float *w, const float *importance,
                         uint32_t groups, uint64_t seed, fb_pool *pool)
{
    fit f = {.c = c,
             .w = w,
             .importance = importance,
             .groups = groups,
             .seed = seed,
             .fresh = true,
             .sweeps = SWEEPS};
    f.status = fb_calloc(c->p.books, sizeof *f.status);
    if (!f.status)
        return fb_fail(FB_E_MEMORY, "no memory for %zu codebooks", c->p.books);
    fb_status status = c->form.enc.axis < 0 ? fit_books(&f, pool) : fit_scaled(&f, pool);
    fb_free(f.status);
    return status;
}
