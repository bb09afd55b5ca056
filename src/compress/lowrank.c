/* Low rank by eigenvectors of the smaller side's moments, in double. */
#include "compress/lowrank.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/linalg.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256 }; /* rows or columns of W in double at a time */

static fb_status no_memory(size_t m, size_t n)
{
    return fb_fail(FB_E_MEMORY, "no memory to decompose a matrix of %zu x %zu", m, n);
}

bool fb_lowrank_fits(size_t m, size_t n, bool whitened)
{
    size_t side = whitened || m <= n ? m : n;
    return side <= FB_LOWRANK_MOST && fb_linalg_fits(m, n);
}

/* Columns [from, from + count) of w [m][n]: block [m][count], or with `turn` [count][m]. */
static void take_columns(const float *w, size_t m, size_t n, size_t from, size_t count, bool turn,
                         double *block)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < count; j++)
            block[turn ? j * m + i : i * count + j] = (double)w[i * n + from + j];
    }
}

static void take_rows(const float *w, size_t n, size_t from, size_t count, double *block)
{
    for (size_t i = 0; i < count * n; i++)
        block[i] = (double)w[from * n + i];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Upper triangle of W Wᵀ or Wᵀ W. */
static fb_status moments(const float *w, size_t m, size_t n, bool of_output, double *out)
{
    size_t k = of_output ? m : n, along = of_output ? n : m;
    double *block = fb_calloc(BLOCK * k, sizeof *block);
    if (!block)
        return no_memory(m, n);
    for (size_t at = 0; at < along; at += BLOCK) {
        size_t count = least(BLOCK, along - at);
        if (of_output)
            take_columns(w, m, n, at, count, true, block);
        else
            take_rows(w, n, at, count, block);
        fb_syrk_f64(k, count, 1, block, k, at > 0, out, k);
    }
    fb_free(block);
    return FB_OK;
}

static double trace(const double *a, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += a[i * k + i];
    return sum;
}

/* energy[i] = u_iᵀ covariance u_i: what was seen along the directions, without the prior. */
static fb_status variances(const double *covariance, fb_lowrank *l)
{
    size_t k = l->k;
    double *product = fb_calloc(BLOCK * k, sizeof *product);
    if (!product)
        return no_memory(l->m, l->n);
    for (size_t at = 0; at < k; at += BLOCK) {
        size_t count = least(BLOCK, k - at);
        fb_gemm_f64(false, false, count, k, k, 1, l->basis + at * k, k, covariance, k, 0, product,
                    k);
        for (size_t i = 0; i < count; i++) {
            l->energy[at + i] = 0;
            for (size_t j = 0; j < k; j++)
                l->energy[at + i] += product[i * k + j] * l->basis[(at + i) * k + j];
        }
    }
    fb_free(product);
    return FB_OK;
}

fb_status fb_lowrank_find(const float *w, size_t m, size_t n, const double *covariance,
                          double prior, fb_lowrank *l)
{
    bool of_output = covariance || m <= n;
    size_t k = of_output ? m : n;
    fb_status status;
    FB_ENSURE(m > 0 && n > 0 && fb_lowrank_fits(m, n, covariance));
    *l = (fb_lowrank){.m = m, .n = n, .of_output = of_output, .k = k};
    l->basis = fb_calloc(k * k, sizeof *l->basis);
    l->energy = fb_calloc(k, sizeof *l->energy);
    if (!l->basis || !l->energy) {
        status = no_memory(m, n);
        goto fail;
    }
    double seen = covariance ? trace(covariance, k) : 0;
    if (!(seen > 0) || prior > 0)
        FB_GO(moments(w, m, n, of_output, l->basis));
    double own = trace(l->basis, k);
    if (seen > 0) {
        double of_own = own > 0 ? prior / own : 0, of_seen = (1 - prior) / seen;
        for (size_t i = 0; i < k * k; i++)
            l->basis[i] = of_own * l->basis[i] + of_seen * covariance[i];
    }
    FB_GO(fb_eigen_symmetric(k, l->basis, l->energy));
    if (seen > 0 && prior > 0)
        FB_GO(variances(covariance, l));
    for (size_t i = 0; i < k; i++)
        l->energy[i] = l->energy[i] > 0 ? l->energy[i] : 0;
    return FB_OK;
fail:
    fb_lowrank_free(l);
    return status;
}

void fb_lowrank_free(fb_lowrank *l)
{
    fb_free(l->basis);
    fb_free(l->energy);
    *l = (fb_lowrank){0};
}

/* Sums from the smallest up. */
double fb_lowrank_loss(const fb_lowrank *l, size_t r)
{
    double left = 0, all = 0;
    for (size_t i = l->k; i-- > 0;) {
        left += i >= r ? l->energy[i] : 0;
        all += l->energy[i];
    }
    return all > 0 ? left / all : 0;
}

size_t fb_lowrank_rank(const fb_lowrank *l, double loss)
{
    double all = 0, left = 0;
    for (size_t i = l->k; i-- > 0;)
        all += l->energy[i];
    size_t r = l->k;
    while (r > 1 && left + l->energy[r - 1] <= loss * all)
        left += l->energy[--r];
    return r;
}

/* --- factors --------------------------------------------------------------------------------- */

/* b = U_rᵀ W, length[i] = |row i|^2 */
static void project_columns(const fb_lowrank *l, const float *w, size_t r, double *block,
                            double *product, float *b, double *length)
{
    for (size_t at = 0; at < l->n; at += BLOCK) {
        size_t count = least(BLOCK, l->n - at);
        take_columns(w, l->m, l->n, at, count, false, block);
        fb_gemm_f64(false, false, r, count, l->m, 1, l->basis, l->m, block, count, 0, product,
                    count);
        for (size_t i = 0; i < r; i++) {
            for (size_t j = 0; j < count; j++) {
                double v = product[i * count + j];
                b[i * l->n + at + j] = (float)v;
                length[i] += v * v;
            }
        }
    }
}

/* a = W V_r, length[i] = |column i|^2 */
static void project_rows(const fb_lowrank *l, const float *w, size_t r, double *block,
                         double *product, float *a, double *length)
{
    for (size_t at = 0; at < l->m; at += BLOCK) {
        size_t count = least(BLOCK, l->m - at);
        take_rows(w, l->n, at, count, block);
        fb_gemm_f64(false, true, count, r, l->n, 1, block, l->n, l->basis, l->n, 0, product, r);
        for (size_t j = 0; j < count; j++) {
            for (size_t i = 0; i < r; i++) {
                double v = product[j * r + i];
                a[(at + j) * r + i] = (float)v;
                length[i] += v * v;
            }
        }
    }
}

fb_status fb_lowrank_split(const fb_lowrank *l, const float *w, size_t r, float *a, float *b)
{
    size_t m = l->m, n = l->n;
    FB_ENSURE(r > 0 && r <= l->k);
    double *block = fb_calloc(BLOCK * l->k, sizeof *block);
    double *product = fb_calloc(BLOCK * r, sizeof *product);
    double *length = fb_calloc(r, sizeof *length);
    fb_status status = FB_OK;
    if (!block || !product || !length) {
        status = no_memory(m, n);
        goto done;
    }
    if (l->of_output)
        project_columns(l, w, r, block, product, b, length);
    else
        project_rows(l, w, r, block, product, a, length);
    for (size_t i = 0; i < r; i++) {
        double root = sqrt(sqrt(length[i])), inverse = root > 0 ? 1 / root : 0;
        const double *unit = l->basis + i * l->k;
        for (size_t j = 0; j < m; j++)
            a[j * r + i] = (float)(l->of_output ? unit[j] * root : (double)a[j * r + i] * inverse);
        for (size_t j = 0; j < n; j++)
            b[i * n + j] = (float)(l->of_output ? (double)b[i * n + j] * inverse : unit[j] * root);
    }
done:
    fb_free(block);
    fb_free(product);
    fb_free(length);
    return status;
}

fb_status fb_lowrank_rest(const fb_lowrank *l, size_t r, double *y)
{
    FB_ENSURE(l->of_output);
    for (size_t i = 0; i < r; i++) { /* one at a time: orthonormal */
        const double *u = l->basis + i * l->k;
        double dot = 0;
        for (size_t j = 0; j < l->m; j++)
            dot += u[j] * y[j];
        for (size_t j = 0; j < l->m; j++)
            y[j] -= dot * u[j];
    }
    return FB_OK;
}
