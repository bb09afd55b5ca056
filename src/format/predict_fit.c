/* Coefficients by least squares, from moments that are summed in integers; limits that cut the
 * predictions' sizes into equal shares. */
#include "base/size.h"
#include "format/freqs.h"
#include "format/predict.h"

#include <string.h>

enum { LAGS = FB_PREDICT_LAGS, SIZES = FB_PREDICT_SIZES };

/* moment[position][lag]: sum of values times those so many positions before (lag 0: squares). */
static void add_row(const fb_planes *g, const int16_t *value, int64_t *moment)
{
    for (size_t at = 0; at < g->positions; at++) {
        for (size_t lag = 0; lag <= LAGS && lag <= at; lag++) {
            const int16_t *a = value + at * g->c, *b = a - lag * g->c;
            int64_t sum = 0;
            for (size_t i = 0; i < g->c; i++)
                sum += (int32_t)a[i] * b[i];
            moment[at * (LAGS + 1) + lag] += sum;
        }
    }
}

/* Solves a x = b, a symmetric and made definite by a little on its diagonal; x replaces b. */
static void solve(double a[LAGS][LAGS], double b[LAGS], size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i][i] += 1 + a[i][i] / 8192;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            double f = a[j][i] / a[i][i];
            for (size_t k = i; k < n; k++)
                a[j][k] -= f * a[i][k];
            b[j] -= f * b[i];
        }
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
}

static int8_t rounded(double x)
{
    x = x * 64 + 128.5; /* so that the cast rounds */
    return (int8_t)(x < 1 ? -127 : x > 255 ? 127 : (int)x - 128);
}

static void fit_position(const int64_t *moment, size_t at, int8_t *coef)
{
    double a[LAGS][LAGS], b[LAGS];
    size_t n = at < LAGS ? at : LAGS;
    for (size_t i = 0; i < n; i++) {
        b[i] = (double)moment[at * (LAGS + 1) + i + 1];
        for (size_t j = i; j < n; j++) {
            a[i][j] = (double)moment[(at - 1 - i) * (LAGS + 1) + j - i];
            a[j][i] = a[i][j];
        }
    }
    solve(a, b, n);
    for (size_t i = 0; i < n; i++)
        coef[i] = rounded(b[i]);
}

/* ---- limits --------------------------------------------------------------------------------- */

typedef struct counts {
    uint32_t of[SIZES][256]; /* coded symbols by the prediction's size */
} counts;

/* Limits that cut into k contexts of about as many symbols; returns how many there are. */
static unsigned cut(const counts *n, size_t total, unsigned k, uint8_t *limit)
{
    unsigned made = 1;
    uint64_t below = 0;
    for (unsigned size = 0; size + 1 < SIZES && made < k; size++) {
        for (unsigned s = 0; s < 256; s++)
            below += n->of[size][s];
        if (below * k >= (uint64_t)total * made && below < total) {
            limit[made - 1] = (uint8_t)(size + 1);
            made++;
        }
    }
    return made;
}

/* Bytes that a context costs: its table, as if it had it alone, and the table's number. */
static uint64_t context_cost(unsigned bits)
{
    return (uint64_t)(bits >= FB_FREQS_CURVE_BITS ? 16 : 5 + (1u << bits) / 2) << 19;
}

static uint64_t cost_of(const counts *n, const fb_planes *g, unsigned contexts,
                        const uint8_t *limit)
{
    uint64_t count[256], cost = 0;
    unsigned size = 0;
    for (unsigned k = 0; k < contexts; k++) {
        memset(count, 0, sizeof count);
        for (; size < SIZES && (k + 1 == contexts || size < limit[k]); size++) {
            for (unsigned s = 0; s < 256; s++)
                count[s] += n->of[size][s];
        }
        cost += fb_freqs_ideal(count) + context_cost(g->bits);
    }
    return cost;
}

static void choose_limits(const counts *n, const fb_planes *g, fb_predict *p, uint64_t *bits)
{
    size_t total = g->rows * g->positions * g->c;
    uint64_t coefs = 0;
    for (size_t at = 1; at < g->positions; at++)
        coefs += at < LAGS ? at : LAGS;
    *bits = UINT64_MAX;
    for (unsigned k = 1; k <= FB_RANS_CONTEXTS; k *= 2) {
        uint8_t limit[FB_RANS_CONTEXTS - 1];
        unsigned made = cut(n, total, k, limit);
        uint64_t cost = cost_of(n, g, made, limit) + ((coefs + made) << 19);
        if (cost < *bits) {
            *bits = cost;
            p->contexts = made;
            memcpy(p->limit, limit, made - 1);
        }
    }
}

/* Sizes are their own contexts here: a row with 256 of them. */
static void count_sizes(const fb_planes *g, const fb_predict *p, const uint8_t *symbols,
                        fb_predict_row *row, counts *n)
{
    for (unsigned size = 0; size < SIZES; size++)
        row->of_size[size] = (uint8_t)size;
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t at = 0; at < g->positions; at++, symbols += g->c) {
            fb_predict_look(g, p, at, row);
            fb_predict_hide(g, at, row, symbols, row->shift);
            for (size_t i = 0; i < g->c; i++)
                n->of[row->context[i]][row->shift[i]]++;
        }
    }
}

fb_status fb_predict_fit(const fb_planes *g, const uint8_t *symbols, fb_predict *p, uint64_t *bits)
{
    *p = (fb_predict){.contexts = 1};
    p->coef = fb_calloc(g->positions * LAGS, 1);
    int64_t *moment = fb_calloc(g->positions * (LAGS + 1), sizeof *moment);
    counts *n = fb_calloc(1, sizeof *n);
    fb_predict_row *row = fb_predict_row_create(g, p);
    fb_status status = FB_OK;
    if (!p->coef || !moment || !n || !row) {
        status = fb_fail(FB_E_MEMORY, "no memory to code the weights");
        fb_free(p->coef);
        p->coef = NULL;
        goto done;
    }
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t i = 0; i < g->positions * g->c; i++)
            row->value[i] = (int16_t)(2 * symbols[r * g->positions * g->c + i] - g->middle);
        add_row(g, row->value, moment);
    }
    for (size_t at = 1; at < g->positions; at++)
        fit_position(moment, at, p->coef + at * LAGS);
    count_sizes(g, p, symbols, row, n);
    choose_limits(n, g, p, bits);
done:
    fb_free(moment);
    fb_free(n);
    fb_free(row);
    return status;
}
