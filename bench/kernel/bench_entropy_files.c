/* Weights of files, as they lie packed, as section CODE has them, and against an adaptive ideal:
 *
 *     bench_entropy_files [--write folder] file.fewbit ...
 *
 * For each file: weights; bytes packed; bytes coded, tables and descriptions included; bytes of the
 * ideal; million weights a second that reading the whole file delivers (one core, CPU time, the
 * best of several). --write leaves the symbols of the last file in folder/packed and folder/bytes
 * (one a byte), for other compressors: bench/entropy/run.
 *
 * The ideal: for each symbol, several adaptive models, each of which knows all symbols before and
 * backs off to a simpler one, are mixed by how well they did so far. Predictions are the writer's,
 * at no cost. Of products, the tops of codewords count with an adaptive model of order 0. */
#include "base/alloc.h"
#include "format/entropy.h"
#include "format/form.h"
#include "format/format.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 7, MODELS = 4 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

/* ---- adaptive models ------------------------------------------------------------------------ */

/* Counts of k symbols in each of n contexts. */
typedef struct counts {
    size_t k;
    float *of, *sum;
} counts;

static counts counts_make(size_t n, size_t k)
{
    counts c = {k, need(calloc(n * k, sizeof(float))), need(calloc(n, sizeof(float)))};
    return c;
}

static void counts_free(counts *c)
{
    free(c->of);
    free(c->sum);
}

/* The probability of a symbol, with that of a simpler model as `weight` observations. */
static double chance(const counts *c, size_t context, unsigned s, double simpler, double weight)
{
    return (c->of[context * c->k + s] + weight * simpler) / (c->sum[context] + weight);
}

static void seen(counts *c, size_t context, unsigned s)
{
    c->of[context * c->k + s]++;
    c->sum[context]++;
}

/* Bits of a symbol by the mixture; what did well recently weighs more. */
static double mix(double weight[MODELS], const double p[MODELS])
{
    double sum = 0, all = 0;
    for (int i = 0; i < MODELS; i++) {
        sum += weight[i] * p[i];
        all += weight[i];
    }
    for (int i = 0; i < MODELS; i++)
        weight[i] = pow(weight[i] * p[i] / sum, 0.995) + 1e-4;
    return -log2(sum / all);
}

static double order_0(const uint8_t *s, size_t n, size_t k)
{
    counts c = counts_make(1, k);
    double bits = 0;
    for (size_t i = 0; i < n; i++) {
        bits -= log2(chance(&c, 0, s[i], 1.0 / (double)k, 0.5 * (double)k));
        seen(&c, 0, s[i]);
    }
    counts_free(&c);
    return bits;
}

/* What the prediction says of each symbol; all 0 where nothing is predicted. */
typedef struct hints {
    uint8_t *shift, *size;
    size_t row; /* symbols of an output channel */
} hints;

static void predict(const fb_tensor *t, const uint8_t *symbols, hints *h)
{
    fb_planes g;
    fb_predict p;
    uint64_t bits;
    if (!fb_planes_of(t, &g) || fb_predict_fit(&g, symbols, &p, &bits) != FB_OK)
        return;
    fb_predict_row *row = need(fb_predict_row_create(&g, &p));
    for (unsigned i = 0; i < FB_PREDICT_SIZES; i++)
        row->of_size[i] = (uint8_t)i;
    uint8_t *coded = need(malloc(g.c));
    for (size_t r = 0, at = 0; r < g.rows; r++) {
        for (size_t k = 0; k < g.positions; k++, at += g.c) {
            fb_predict_look(&g, &p, k, row);
            memcpy(h->shift + at, row->shift, g.c);
            for (size_t i = 0; i < g.c; i++) /* 16 classes, finer where predictions are small */
                h->size[at + i] = (uint8_t)(4 * log2(1 + row->context[i] / 4.0) * 0.65);
            fb_predict_hide(&g, k, row, symbols + at, coded);
        }
    }
    free(coded);
    fb_free(row);
    fb_free(p.coef);
}

static double ideal_codes(const fb_tensor *t, const uint8_t *s, size_t n)
{
    const size_t k = (size_t)1 << t->enc.bits, channels = (size_t)t->dims[0];
    hints h = {need(calloc(n, 1)), need(calloc(n, 1)), n / channels};
    predict(t, s, &h);
    counts all = counts_make(1, k), row = counts_make(channels, k), size = counts_make(16, k),
           both = counts_make(16 * channels, k);
    double weight[MODELS] = {1, 1, 1, 1}, bits = 0, half = 0.5 * (double)k;
    for (size_t i = 0; i < n; i++) {
        unsigned x = s[i], rest = (x - h.shift[i]) & (unsigned)(k - 1);
        size_t r = i / h.row;
        double p[MODELS];
        p[0] = chance(&all, 0, x, 1.0 / (double)k, half);
        p[1] = chance(&row, r, x, p[0], 4 * (double)k);
        p[2] = chance(&size, h.size[i], rest, 1.0 / (double)k, half);
        p[3] = chance(&both, r * 16 + h.size[i], rest, p[2], 4 * (double)k);
        bits += mix(weight, p);
        seen(&all, 0, x);
        seen(&row, r, x);
        seen(&size, h.size[i], rest);
        seen(&both, r * 16 + h.size[i], rest);
    }
    counts_free(&all);
    counts_free(&row);
    counts_free(&size);
    counts_free(&both);
    free(h.shift);
    free(h.size);
    return bits;
}

static double ideal_numbers(const fb_tensor *t, const uint8_t *s)
{
    fb_product p = fb_product_of(t);
    const size_t k = (size_t)1 << t->enc.bits, lanes = fb_recent_lanes(&p);
    counts all = counts_make(1, k), book = counts_make(p.books * p.stages, k),
           place = counts_make(p.ct * lanes, k), find = counts_make(4, 4),
           fresh = counts_make(1, k);
    fb_recent *last = need(calloc(lanes, sizeof *last));
    uint8_t *state = need(calloc(lanes, 1));
    double weight[MODELS] = {1, 1, 1, 1}, bits = 0, half = 0.5 * (double)k;
    for (size_t i = 0; i < p.n_indices; i++) {
        size_t lane = i % lanes, row = i / lanes, ct = row / p.rows_each;
        size_t b = i % p.stages * p.books + fb_product_book(&p, ct, lane / p.stages);
        bool first = row % p.rows_each == 0;
        if (first)
            last[lane] = state[lane] = 0;
        unsigned x = s[i], where = first ? 0 : fb_recent_find(last[lane], x, 3);
        double q[MODELS];
        q[0] = chance(&all, 0, x, 1.0 / (double)k, half);
        q[1] = chance(&book, b, x, q[0], half);
        q[2] = chance(&place, ct * lanes + lane, x, q[1], 8);
        q[3] = first ? 1 : chance(&find, state[lane], where, 0.25, 2);
        q[3] *= where == 0 ? chance(&fresh, 0, x, 1.0 / (double)k, half) : 1;
        bits += mix(weight, q);
        seen(&all, 0, x);
        seen(&book, b, x);
        seen(&place, ct * lanes + lane, x);
        if (!first)
            seen(&find, state[lane], where);
        if (where == 0)
            seen(&fresh, 0, x);
        (void)fb_recent_use(&last[lane], where, x);
        state[lane] = (uint8_t)where;
    }
    counts_free(&all);
    counts_free(&book);
    counts_free(&place);
    counts_free(&find);
    counts_free(&fresh);
    free(last);
    free(state);
    return bits;
}

/* ---- files ---------------------------------------------------------------------------------- */

typedef struct totals {
    double weights, packed, ideal;
    FILE *as_packed, *as_bytes;
} totals;

static void put(FILE *f, const void *data, size_t n)
{
    if (f && fwrite(data, 1, n, f) != n)
        exit(1);
}

static void add_tensor(const fb_tensor *t, totals *sum)
{
    size_t n = fb_form_symbols(t), tops = (size_t)fb_form_saves(t) - t->data_bytes;
    uint8_t *s = need(malloc(n));
    int64_t weights = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t q = fb_packed_get(t->data, i, t->enc.bits, false);
        s[i] =
            (uint8_t)(q ^ (t->enc.kind == FB_ENC_AFFINE && t->enc.is_signed ? 1 << (t->enc.bits - 1)
                                                                            : 0));
    }
    (void)fb_tensor_elems(t, 0, &weights);
    sum->weights += (double)weights;
    sum->packed += (double)fb_form_saves(t);
    sum->ideal += t->enc.kind == FB_ENC_PRODUCT ? ideal_numbers(t, s) : ideal_codes(t, s, n);
    put(sum->as_packed, t->data, t->data_bytes);
    put(sum->as_bytes, s, n);
    if (tops > 0) {
        fb_form f = {.storage = FB_CODED_FORM};
        fb_symbols run[FB_FORM_RUNS];
        if (fb_form_hide(&f, t, run) != FB_OK)
            exit(1);
        sum->ideal += order_0(run[1].symbol, tops, 256);
        put(sum->as_packed, run[1].symbol, tops);
        put(sum->as_bytes, run[1].symbol, tops);
        fb_symbols_free(run);
    }
    free(s);
}

/* Bytes of section CODE and of what it leaves packed. */
static double coded_bytes(const fb_model *m)
{
    fb_entropy e;
    if (fb_entropy_encode(m, &e) != FB_OK)
        exit(1);
    double bytes = (double)e.section.n;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (fb_form_possible(&m->tensors[i]) && !e.coded[i])
            bytes += (double)fb_form_saves(&m->tensors[i]);
    }
    fb_entropy_free(&e);
    return bytes;
}

/* Seconds to read the file, at best. */
static double load_seconds(const fb_model *m)
{
    fb_out out;
    double best = 1e9;
    if (fb_format_write(m, 0, &out) != FB_OK)
        exit(1);
    for (int k = 0; k < SAMPLES; k++) {
        fb_model *back;
        bool in_place;
        double start = now();
        if (fb_format_read(out.data, out.n, 0, &back, &in_place) != FB_OK)
            exit(1);
        double end = now();
        best = end - start < best ? end - start : best;
        fb_model_close(&back);
    }
    fb_out_free(&out);
    return best;
}

static FILE *open_in(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(1);
    }
    return f;
}

static int measure(const char *path, const char *folder)
{
    totals sum = {0};
    fb_model *m;
    if (fb_model_open(path, &m) != FB_OK) {
        fprintf(stderr, "%s\n", fb_error());
        return 1;
    }
    if (folder) {
        sum.as_packed = open_in(folder, "packed");
        sum.as_bytes = open_in(folder, "bytes");
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (fb_form_possible(&m->tensors[i]))
            add_tensor(&m->tensors[i], &sum);
    }
    m->entropy = true;
    printf("%10.0f  %9.0f  %9.0f  %9.0f  %6.0f  %s\n", sum.weights, sum.packed, coded_bytes(m),
           sum.ideal / 8, sum.weights / load_seconds(m) / 1e6, path);
    bool closed = !folder || (fclose(sum.as_packed) == 0 && fclose(sum.as_bytes) == 0);
    fb_model_close(&m);
    return !closed;
}

int main(int argc, char **argv)
{
    const char *folder = NULL;
    int first = 1, failed = 0;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    (void)sched_setaffinity(0, sizeof one, &one); /* one core, one thread */
    if (argc > 2 && strcmp(argv[1], "--write") == 0) {
        folder = argv[2];
        first = 3;
    }
    if (first >= argc) {
        fprintf(stderr, "bench_entropy_files [--write folder] file.fewbit ...\n");
        return 2;
    }
    printf("   weights     packed      coded      ideal     M/s  file\n");
    for (int i = first; i < argc; i++)
        failed |= measure(argv[i], folder);
    return failed;
}
