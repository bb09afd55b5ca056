/* D-step: each codeword of one codebook at the least-squares optimum of the vectors that have it,
 * while all else stays. With U_r the vectors of channel r that have the word,
 *
 *     A = sum over r of scale_r² sum over u, v in U_r of G_uv,   rhs = - sum of scale_r g_r,u,
 *
 * it moves by (A + 1e-6 tr(A)/d I)⁻¹ rhs. */
#include "compress/ec_batch.h"

#include "base/alloc.h"
#include "compress/linalg.h"

#include <string.h>

typedef struct fit {
    fb_ec_batch *b;
    size_t row, n_rows; /* channels that share the codebook */
    size_t stage;
    size_t n, width;           /* vectors and columns at work */
    double *word;              /* [K][d] */
    double *a, *rhs, *inverse; /* [d][d], [d], and for words without vectors [groups][n][d][d] */
    double *together; /* [n][n] sum of scale² of the channels that have the word at u, v */
} fit;

static uint8_t *code_of(const fit *f, uint32_t slot)
{
    const fb_words *w = f->b->e->w;
    return fb_words_code(w, f->row + slot / f->n, fb_ec_block(f->b, f->b->from + slot % f->n)) +
           f->stage;
}

/* Who has which word: slot = channel * n + vector, ascending for each word. */
static void sort_slots(const fit *f)
{
    uint32_t *start = f->b->start, k = (uint32_t)f->b->e->w->n_words;
    size_t all = f->n_rows * f->n;
    memset(start, 0, (k + 1) * sizeof *start);
    for (uint32_t i = 0; i < all; i++)
        start[*code_of(f, i)]++;
    for (uint32_t i = 0, sum = 0; i <= k; i++) {
        uint32_t n = start[i];
        start[i] = sum;
        sum += n;
    }
    for (uint32_t i = 0; i < all; i++)
        f->b->slot[start[*code_of(f, i)]++] = i;
    for (uint32_t i = k; i > 0; i--)
        start[i] = start[i - 1];
    start[0] = 0;
}

static size_t group_of(const fit *f, uint32_t slot)
{
    return (f->row + slot / f->n) / f->b->e->group_rows;
}

/* A += what channels of one group put into `together`, which is cleared. */
static void flush(const fit *f, size_t group)
{
    size_t d = f->b->e->w->d, first = f->b->from * d;
    for (size_t i = 0; i < f->n * f->n; i++) {
        double t = f->together[i];
        if (t == 0)
            continue;
        const double *h = fb_ec_h(f->b, group, first + i / f->n * d, first + i % f->n * d);
        for (size_t y = 0; y < d; y++) {
            for (size_t x = 0; x < d; x++)
                f->a[y * d + x] += t * h[y * f->b->n + x];
        }
        f->together[i] = 0;
    }
}

static void gather_word(const fit *f, uint32_t from, uint32_t to)
{
    const fb_words *w = f->b->e->w;
    const uint32_t *slot = f->b->slot;
    size_t d = w->d;
    memset(f->a, 0, d * d * sizeof *f->a);
    memset(f->rhs, 0, d * sizeof *f->rhs);
    for (uint32_t i = from, end; i < to; i = end) { /* a channel's vectors at a time */
        size_t r = slot[i] / f->n;
        double scale = w->scale[f->row + r];
        for (end = i; end < to && slot[end] / f->n == r; end++) {
            const double *g =
                f->b->g + (f->row + r) * f->b->n + (f->b->from + slot[end] % f->n) * d;
            for (size_t j = 0; j < d; j++)
                f->rhs[j] -= scale * g[j];
            for (uint32_t z = i; z < to && slot[z] / f->n == r; z++)
                f->together[slot[end] % f->n * f->n + slot[z] % f->n] += scale * scale;
        }
        if (end == to || group_of(f, slot[end]) != group_of(f, slot[i]))
            flush(f, group_of(f, slot[i]));
    }
}

/* 1e-6 of the mean diagonal; false where all is 0. */
static bool add_ridge(double *a, size_t d)
{
    double trace = 0;
    for (size_t j = 0; j < d; j++)
        trace += a[j * d + j];
    for (size_t j = 0; j < d; j++)
        a[j * d + j] += 1e-6 * trace / (double)d;
    return trace > 0;
}

/* The vector of a slot moved by delta [d]: gradient of its codebook's columns, and `step`. */
static void move_slot(const fit *f, uint32_t slot, const double *delta)
{
    const fb_ec_batch *b = f->b;
    size_t d = b->e->w->d, row = f->row + slot / f->n, u = slot % f->n, first = b->from * d;
    const double *h = fb_ec_h(b, group_of(f, slot), first + u * d, first);
    double *g = b->g + row * b->n + first, *step = b->step + row * f->width + u * d;
    double scale = b->e->w->scale[row];
    for (size_t j = 0; j < d; j++) {
        double by = scale * delta[j];
        step[j] += by;
        for (size_t x = 0; by != 0 && x < f->width; x++)
            g[x] += by * h[j * b->n + x];
    }
}

static fb_status fit_word(const fit *f, size_t k)
{
    uint32_t from = f->b->start[k], to = f->b->start[k + 1];
    size_t d = f->b->e->w->d;
    gather_word(f, from, to);
    if (!add_ridge(f->a, d))
        return FB_OK;
    FB_TRY(fb_spd_solve(d, f->a, 1, f->rhs));
    for (size_t j = 0; j < d; j++)
        f->word[k * d + j] += f->rhs[j];
    for (uint32_t i = from; i < to; i++)
        move_slot(f, f->b->slot[i], f->rhs);
    return FB_OK;
}

/* --- words that no vector has ---------------------------------------------------------------- */

/* (G_uu + ridge)⁻¹ of each group and vector; 0 where G_uu is. */
static fb_status invert_all(const fit *f)
{
    const fb_ec_batch *b = f->b;
    size_t d = b->e->w->d;
    for (size_t i = 0; i < b->e->groups * f->n; i++) {
        double *to = f->inverse + i * d * d;
        size_t at = (b->from + i % f->n) * d;
        const double *h = fb_ec_h(b, i / f->n, at, at);
        for (size_t j = 0; j < d; j++)
            memcpy(to + j * d, h + j * b->n, d * sizeof *to);
        if (add_ridge(to, d))
            FB_TRY(fb_spd_inverse(d, to));
    }
    return FB_OK;
}

/* What J falls by when a slot has a word of its own; rhs receives the move over its scale. */
static double gain_of(const fit *f, uint32_t slot, double *rhs)
{
    const fb_ec_batch *b = f->b;
    size_t d = b->e->w->d, row = f->row + slot / f->n, u = slot % f->n;
    const double *inverse = f->inverse + (group_of(f, slot) * f->n + u) * d * d;
    const double *g = b->g + row * b->n + (b->from + u) * d;
    double gain = 0;
    for (size_t j = 0; j < d; j++) {
        double sum = 0;
        for (size_t x = 0; x < d; x++)
            sum += inverse[j * d + x] * g[x];
        gain += sum * g[j];
        if (rhs)
            rhs[j] = -sum / b->e->w->scale[row];
    }
    return gain;
}

/* Word k becomes what the slot that gains most would have by itself. */
static void reseed(const fit *f, size_t k)
{
    size_t d = f->b->e->w->d;
    double most = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < f->n_rows * f->n; i++) {
        double gain = gain_of(f, i, NULL);
        if (gain > most) {
            most = gain;
            best = i;
        }
    }
    if (!(most > 0))
        return;
    (void)gain_of(f, best, f->rhs);
    uint8_t *code = code_of(f, best);
    for (size_t j = 0; j < d; j++)
        f->word[k * d + j] = f->word[*code * d + j] + f->rhs[j];
    *code = (uint8_t)k;
    move_slot(f, best, f->rhs);
}

static fb_status reseed_all(const fit *f)
{
    const uint32_t *start = f->b->start;
    bool ready = false;
    for (size_t k = 0; k < f->b->e->w->n_words; k++) {
        if (start[k] != start[k + 1])
            continue;
        if (!ready)
            FB_TRY(invert_all(f));
        ready = true;
        reseed(f, k);
    }
    return FB_OK;
}

/* --- the step -------------------------------------------------------------------------------- */

/* The rest of the batch learns what moved. */
static void finish_rows(void *ctx, uint32_t index, uint32_t worker)
{
    fb_ec_batch *b = ctx;
    size_t group, row, n = fb_ec_task(b->e, index, &group, &row), d = b->e->w->d;
    size_t first = b->from * d, width = (b->to - b->from) * d, behind = first + width;
    double *step = b->step + row * width;
    (void)worker;
    if (first > 0)
        fb_gemm_f64(false, false, n, first, width, 1, step, width, fb_ec_h(b, group, first, 0),
                    b->n, 1, b->g + row * b->n, b->n);
    if (behind < b->n)
        fb_gemm_f64(false, false, n, b->n - behind, width, 1, step, width,
                    fb_ec_h(b, group, first, behind), b->n, 1, b->g + row * b->n + behind, b->n);
    for (size_t r = 0; r < n; r++) {
        for (size_t j = 0; j < width; j++)
            b->move[(row + r) * b->n + first + j] += step[r * width + j];
    }
}

static fb_status fit_book(fit *f)
{
    fb_ec *e = f->b->e;
    size_t book = fb_words_book(e->w, f->row, fb_ec_block(f->b, f->b->from));
    for (f->stage = 0; f->stage < e->w->n_stages; f->stage++) {
        f->word = fb_words_word(e->w, f->stage, book, 0);
        sort_slots(f);
        for (size_t k = 0; k < e->w->n_words; k++)
            FB_TRY(fit_word(f, k));
        if (e->o->moves & FB_EC_CODES)
            FB_TRY(reseed_all(f));
    }
    return FB_OK;
}

fb_status fb_ec_fit(fb_ec_batch *b)
{
    const fb_words *w = b->e->w;
    size_t d = w->d;
    fit f = {.b = b, .n = b->to - b->from, .width = (b->to - b->from) * d};
    f.n_rows = w->book_step ? w->book_rows : w->ct;
    f.a = fb_calloc(d * d, sizeof *f.a);
    f.rhs = fb_calloc(d, sizeof *f.rhs);
    f.inverse = fb_calloc(b->e->groups * f.n, d * d * sizeof *f.inverse);
    f.together = fb_calloc(f.n * f.n, sizeof *f.together);
    fb_status status = f.a && f.rhs && f.inverse && f.together
                           ? FB_OK
                           : fb_fail(FB_E_MEMORY, "no memory to correct the codewords of a layer");
    memset(b->step, 0, w->ct * f.width * sizeof *b->step);
    for (f.row = 0; status == FB_OK && f.row < w->ct; f.row += f.n_rows)
        status = fit_book(&f);
    if (status == FB_OK) {
        fb_ec_run(b->e, fb_ec_tasks(b->e), FB_EC_ROWS * f.width * b->n, finish_rows, b);
        fb_ec_watch(b->e);
    }
    fb_free(f.a);
    fb_free(f.rhs);
    fb_free(f.inverse);
    fb_free(f.together);
    return status;
}
