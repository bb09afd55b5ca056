/* Elimination row by row, its cheaper form column by column, and least squares for what is left. */
#include "compress/obs.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "compress/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128 };
static const double EXACT = 1e11; /* multiply-adds: a minute or so on one core */

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to prune a layer");
}

static double *doubles(size_t rows, size_t cols)
{
    size_t n;
    return fb_size_mul(rows, cols, &n) ? fb_calloc(n + 1, sizeof(double)) : NULL;
}

/* ---- one row -------------------------------------------------------------------------------- */

size_t fb_obs_work(size_t d)
{
    return d * d + 2 * d;
}

/* The weights that are left: the leading n rows and columns of a [d][d] = G⁻¹ of them, their values
 * and numbers. */
typedef struct left {
    size_t n, d;
    double *a, *w;
    uint32_t *index;
} left;

static void swap(double *x, double *y)
{
    double t = *x;
    *x = *y;
    *y = t;
}

static void move_last(left *l, size_t p)
{
    size_t last = l->n - 1;
    uint32_t index = l->index[p];
    for (size_t i = 0; i < l->n && p != last; i++)
        swap(&l->a[p * l->d + i], &l->a[last * l->d + i]);
    for (size_t i = 0; i < l->n && p != last; i++)
        swap(&l->a[i * l->d + p], &l->a[i * l->d + last]);
    swap(&l->w[p], &l->w[last]);
    l->index[p] = l->index[last];
    l->index[last] = index;
}

/* Takes the last one out. */
static void eliminate_last(left *l)
{
    size_t last = --l->n;
    const double *row = l->a + last * l->d;
    double diagonal = row[last];
    for (size_t i = 0; i < last; i++) {
        double *a = l->a + i * l->d, f = row[i] / diagonal;
        l->w[i] -= f * l->w[last];
        for (size_t j = 0; j < last; j++)
            a[j] -= f * row[j];
    }
    l->w[last] = 0;
}

/* Weights that each group may still lose. */
static void fill_quotas(size_t d, const fb_obs_rule *rule, uint32_t *quota)
{
    size_t per_row = (rule->ic + rule->group - 1) / rule->group;
    memset(quota, 0, d * sizeof *quota);
    for (size_t i = 0; i < d; i++) {
        uint32_t *q = &quota[i / rule->ic * per_row + i % rule->ic / rule->group];
        *q += i % rule->ic % rule->group >= rule->keep;
    }
}

static size_t group_of(const fb_obs_rule *rule, size_t i)
{
    size_t per_row = (rule->ic + rule->group - 1) / rule->group;
    return i / rule->ic * per_row + i % rule->ic / rule->group;
}

size_t fb_obs_row(size_t d, const double *inverse, const fb_obs_rule *rule, size_t steps, double *w,
                  uint32_t *order, double *loss, double *work)
{
    left l = {d, d, work, work + d * d, (uint32_t *)(void *)(work + d * d + d)};
    uint32_t *quota = l.index + d;
    size_t done = 0;
    memcpy(l.a, inverse, d * d * sizeof *l.a);
    memcpy(l.w, w, d * sizeof *w);
    for (size_t i = 0; i < d; i++)
        l.index[i] = (uint32_t)i;
    if (rule->group)
        fill_quotas(d, rule, quota);
    while (done < steps) {
        size_t best = l.n;
        double least = INFINITY;
        for (size_t i = 0; i < l.n; i++) {
            double score = l.w[i] * l.w[i] / l.a[i * d + i];
            bool may = !rule->group || quota[group_of(rule, l.index[i])] > 0;
            if (may && (score < least || (score == least && l.index[i] < l.index[best]))) {
                least = score;
                best = i;
            }
        }
        if (best == l.n)
            break;
        order[done] = l.index[best];
        loss[done++] = least;
        if (rule->group)
            quota[group_of(rule, l.index[best])]--;
        move_last(&l, best);
        eliminate_last(&l);
    }
    for (size_t i = 0; i < d; i++)
        w[l.index[i]] = i < l.n ? l.w[i] : 0;
    return done;
}

/* ---- refit ---------------------------------------------------------------------------------- */

typedef struct job {
    size_t n_rows, d;
    const double *gram, *cross, *inverse;
    const fb_obs_rule *rule;
    double *w;
    double **work; /* of each worker */
    uint32_t *order;
    double *loss;
    size_t *done;
    size_t from, to; /* columns of a block */
    fb_status *status;
} job;

static void refit_row(void *ctx, uint32_t r, uint32_t worker)
{
    const job *j = ctx;
    double *w = j->w + r * j->d, *a = j->work[worker], *b = a + j->d * j->d;
    size_t n = 0;
    uint32_t *kept = (uint32_t *)(void *)(b + j->d);
    for (size_t i = 0; i < j->d; i++) {
        if (w[i] != 0)
            kept[n++] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        b[i] = j->cross[r * j->d + kept[i]];
        for (size_t k = 0; k < n; k++)
            a[i * n + k] = j->gram[kept[i] * j->d + kept[k]];
    }
    j->status[r] = n ? fb_spd_solve(n, a, 1, b) : FB_OK;
    for (size_t i = 0; i < n && j->status[r] == FB_OK; i++)
        w[kept[i]] = b[i];
}

static void free_work(job *j, fb_pool *pool)
{
    for (uint32_t k = 0; j->work && k < fb_pool_size(pool); k++)
        fb_free(j->work[k]);
    fb_free(j->work);
    fb_free(j->status);
}

static fb_status open_work(job *j, fb_pool *pool)
{
    uint32_t workers = fb_pool_size(pool);
    j->work = fb_calloc(workers, sizeof *j->work);
    j->status = fb_calloc(j->n_rows, sizeof *j->status);
    for (uint32_t k = 0; j->work && k < workers; k++) {
        if (!(j->work[k] = doubles(1, fb_obs_work(j->d) + j->d)))
            return no_memory();
    }
    return j->work && j->status ? FB_OK : no_memory();
}

fb_status fb_obs_refit(size_t n_rows, size_t d, const double *gram, const double *cross,
                       fb_pool *pool, double *w)
{
    job j = {.n_rows = n_rows, .d = d, .gram = gram, .cross = cross, .w = w};
    fb_status status = open_work(&j, pool);
    if (status == FB_OK)
        fb_pool_run(pool, (uint32_t)n_rows, refit_row, &j);
    for (size_t r = 0; r < n_rows && status == FB_OK; r++) {
        if (j.status[r] != FB_OK)
            status = fb_fail(j.status[r],
                             "row %zu of a layer problem cannot be solved: inputs "
                             "depend on each other",
                             r);
    }
    free_work(&j, pool);
    return status;
}

/* ---- row by row ----------------------------------------------------------------------------- */

static void eliminate_row(void *ctx, uint32_t r, uint32_t worker)
{
    const job *j = ctx;
    double *w = j->work[worker] + fb_obs_work(j->d);
    memcpy(w, j->w + r * j->d, j->d * sizeof *w);
    j->done[r] = fb_obs_row(j->d, j->inverse, j->rule, j->d, w, j->order + r * j->d,
                            j->loss + r * j->d, j->work[worker]);
}

typedef struct step {
    double loss; /* the largest of the row up to here */
    uint32_t row, at;
} step;

static int by_loss(const void *a, const void *b)
{
    const step *x = a, *y = b;
    if (x->loss != y->loss)
        return x->loss < y->loss ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Zeros in w: of all steps of all rows the cheapest, each behind those before it in its row. */
static fb_status take_steps(const job *j)
{
    size_t n = 0, want = (size_t)floor((double)(j->n_rows * j->d) * j->rule->share + 0.5);
    step *steps = fb_calloc(j->n_rows * j->d, sizeof *steps);
    if (!steps)
        return no_memory();
    for (size_t r = 0; r < j->n_rows; r++) {
        double most = 0;
        for (size_t i = 0; i < j->done[r]; i++) {
            most = fmax(most, j->loss[r * j->d + i]);
            steps[n++] = (step){most, (uint32_t)r, (uint32_t)i};
        }
    }
    qsort(steps, n, sizeof *steps, by_loss);
    for (size_t i = 0; i < n && (j->rule->group || i < want); i++)
        j->w[steps[i].row * j->d + j->order[steps[i].row * j->d + steps[i].at]] = 0;
    fb_free(steps);
    return FB_OK;
}

static fb_status prune_rows(job *j, fb_pool *pool)
{
    fb_status status = open_work(j, pool);
    double *inverse = doubles(j->d, j->d);
    j->order = fb_calloc(j->n_rows * j->d, sizeof *j->order);
    j->loss = doubles(j->n_rows, j->d);
    j->done = fb_calloc(j->n_rows, sizeof *j->done);
    if (status == FB_OK && (!inverse || !j->order || !j->loss || !j->done))
        status = no_memory();
    if (status != FB_OK)
        goto fail;
    memcpy(inverse, j->gram, j->d * j->d * sizeof *inverse);
    FB_GO(fb_spd_inverse(j->d, inverse));
    j->inverse = inverse;
    fb_pool_run(pool, (uint32_t)j->n_rows, eliminate_row, j);
    FB_GO(take_steps(j));
fail:
    free_work(j, pool);
    fb_free(inverse);
    fb_free(j->order);
    fb_free(j->loss);
    fb_free(j->done);
    return status;
}

/* ---- column by column ----------------------------------------------------------------------- */

/* Marks the weights of columns [from, to) that go: by groups within a row, or the cheapest of all
 * rows. `gone` [n_rows][BLOCK]. */
static void mark_block(const job *j, const double *u, step *steps, uint8_t *gone)
{
    size_t n = 0, width = j->to - j->from;
    memset(gone, 0, j->n_rows * BLOCK);
    for (size_t r = 0; r < j->n_rows; r++) {
        for (size_t c = j->from; c < j->to; c++) {
            double s = j->w[r * j->d + c] / u[c * j->d + c];
            steps[n++] = (step){s * s, (uint32_t)r, (uint32_t)c};
        }
    }
    qsort(steps, n, sizeof *steps, by_loss);
    size_t want = (size_t)floor((double)(j->n_rows * width) * j->rule->share + 0.5);
    uint32_t *quota = j->order; /* [n_rows][d], of groups */
    for (size_t i = 0; i < n; i++) {
        uint32_t *q =
            j->rule->group ? &quota[steps[i].row * j->d + group_of(j->rule, steps[i].at)] : NULL;
        bool go = q ? *q > 0 : i < want;
        if (q && go)
            --*q;
        gone[steps[i].row * BLOCK + (steps[i].at - j->from)] = go;
    }
}

typedef struct sweep {
    const job *j;
    const double *u;
    const uint8_t *gone;
} sweep;

static void sweep_row(void *ctx, uint32_t r, uint32_t worker)
{
    const sweep *s = ctx;
    const job *j = s->j;
    double *w = j->w + r * j->d;
    (void)worker;
    for (size_t c = j->from; c < j->to; c++) {
        const double *u = s->u + c * j->d;
        if (!s->gone[r * BLOCK + (c - j->from)])
            continue;
        double e = w[c] / u[c];
        for (size_t k = c + 1; k < j->d; k++)
            w[k] -= e * u[k];
        w[c] = 0;
    }
}

static fb_status prune_columns(job *j, fb_pool *pool)
{
    double *u = doubles(j->d, j->d);
    step *steps = fb_calloc(j->n_rows * BLOCK, sizeof *steps);
    uint8_t *gone = fb_calloc(j->n_rows, BLOCK);
    fb_status status = FB_OK;
    /* a group that straddles two blocks may lose what it must in the first */
    j->order = j->rule->group ? fb_calloc(j->n_rows * j->d, sizeof *j->order) : NULL;
    if (!u || !steps || !gone || (j->rule->group && !j->order)) {
        status = no_memory();
        goto fail;
    }
    for (size_t r = 0; r < j->n_rows && j->rule->group; r++)
        fill_quotas(j->d, j->rule, j->order + r * j->d);
    memcpy(u, j->gram, j->d * j->d * sizeof *u);
    FB_GO(fb_inverse_cholesky(j->d, u));
    size_t width =
        j->rule->group && j->rule->group <= BLOCK ? BLOCK / j->rule->group * j->rule->group : BLOCK;
    for (j->from = 0; j->from < j->d; j->from = j->to) {
        j->to = j->from + width < j->d ? j->from + width : j->d;
        mark_block(j, u, steps, gone);
        sweep s = {j, u, gone};
        fb_pool_run(pool, (uint32_t)j->n_rows, sweep_row, &s);
    }
fail:
    fb_free(u);
    fb_free(steps);
    fb_free(gone);
    fb_free(j->order);
    return status;
}

fb_status fb_obs_prune(size_t n_rows, size_t d, const double *gram, const fb_obs_rule *rule,
                       fb_pool *pool, double *target)
{
    double *cross = doubles(n_rows, d),
           cost = (double)n_rows * (double)d * (double)d * (double)d / 3;
    if (!cross)
        return no_memory();
    fb_gemm_f64(false, false, n_rows, d, d, 1, target, d, gram, d, 0, cross, d);
    job j = {.n_rows = n_rows, .d = d, .gram = gram, .rule = rule, .w = target};
    fb_status status = cost <= EXACT ? prune_rows(&j, pool) : prune_columns(&j, pool);
    if (status == FB_OK && cost <= EXACT)
        status = fb_obs_refit(n_rows, d, gram, cross, pool, target);
    fb_free(cross);
    return status;
}
