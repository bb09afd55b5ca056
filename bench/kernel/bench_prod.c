/* Look-up convolution on the shapes of real networks: one thread, thread CPU time, best of several
 * rounds, in turns with the best 8-bit kernel on dense weights of the same shape. Lines: row,
 * layer, setting, microseconds, look-ups a second and the multiply-adds a second that they stand
 * for, tiles, times as fast as the dense kernel. Arguments: part of a shape's name, number of the
 * first settings to run. */
#include "base/alloc.h"
#include "base/cpu.h"
#include "kernels/conv_q.h"
#include "kernels/prod_q.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct shape {
    const char *name;
    uint32_t size, ic, oc, k, stride, pad;
} shape;

static const shape shapes[] = {
    {"3x3 64 @224", 224, 64, 64, 3, 1, 1},         {"3x3 64 @56", 56, 64, 64, 3, 1, 1},
    {"3x3 128 @28", 28, 128, 128, 3, 1, 1},        {"3x3 256 @14", 14, 256, 256, 3, 1, 1},
    {"3x3 512 @7", 7, 512, 512, 3, 1, 1},          {"3x3 64-128 s2 @56", 56, 64, 128, 3, 2, 1},
    {"3x3 256-512 s2 @14", 14, 256, 512, 3, 2, 1}, {"5x5 64-192 @27", 27, 64, 192, 5, 1, 2},
    {"3x3 192-384 @13", 13, 192, 384, 3, 1, 1},    {"1x1 256-64 @56", 56, 256, 64, 1, 1, 0},
    {"1x1 1024-256 @14", 14, 1024, 256, 1, 1, 0},  {"1x1 64-128 s2 @56", 56, 64, 128, 1, 2, 0},
    {"fc 4096-1000", 1, 4096, 1000, 1, 1, 0},      {"fc 4096-4096", 1, 4096, 4096, 1, 1, 0},
    {"fc 9216-4096", 1, 9216, 4096, 1, 1, 0},      {"fc 25088-4096", 1, 25088, 4096, 1, 1, 0},
};

typedef struct setting {
    uint32_t d, n_words, stages, table_bits;
} setting;

static const setting settings[] = {
    {4, 16, 1, 6}, {4, 16, 1, 7}, {4, 16, 1, 8},  {8, 16, 1, 6},  {8, 16, 2, 6}, {3, 16, 1, 6},
    {4, 32, 1, 6}, {8, 64, 1, 6}, {8, 128, 1, 6}, {8, 128, 1, 8}, {8, 64, 1, 8},
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static uint32_t state = 1;

static uint32_t noise(uint32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

/* What is timed in turns: a look-up row and a dense one. */
typedef struct lanes {
    fbk_prod_q prod;
    const fbk_prod_q_row *row;
    fbk_conv_q dense;
    const fbk_conv_q_row *dense_row;
    void *scratch;
    uint8_t *x, *y;
} lanes;

static void *need(size_t bytes)
{
    void *p = fb_calloc(bytes, 1);
    if (!p)
        exit(1);
    return p;
}

/* Best microseconds of one pass over all tiles of each. */
static void time_both(const lanes *l, double *prod, double *dense)
{
    double spent = 0;
    *prod = *dense = 1e30;
    for (int round = 0; round < 200 && (round < 5 || spent < 300e3); round++) {
        double start = now_us();
        for (uint32_t t = 0; t < l->prod.n_tiles; t++)
            l->row->run(&l->prod, l->x, l->y, l->scratch, t);
        double middle = now_us();
        for (uint32_t t = 0; t < l->dense.n_tiles; t++)
            l->dense_row->run(&l->dense, l->x, l->y, l->scratch, t);
        double end = now_us();
        spent += end - start;
        *prod = middle - start < *prod ? middle - start : *prod;
        *dense = end - middle < *dense ? end - middle : *dense;
    }
}

static fbk_layer layer_of(const shape *s)
{
    uint32_t out = (s->size + 2 * s->pad - s->k) / s->stride + 1;
    return (fbk_layer){.n = 1,
                       .ih = s->size,
                       .iw = s->size,
                       .ic = s->ic,
                       .oh = out,
                       .ow = out,
                       .oc = s->oc,
                       .kh = s->k,
                       .kw = s->k,
                       .stride_h = s->stride,
                       .stride_w = s->stride,
                       .dil_h = 1,
                       .dil_w = 1,
                       .groups = 1,
                       .pad_t = (int32_t)s->pad,
                       .pad_l = (int32_t)s->pad};
}

static void pack_prod(fbk_prod_q *c, const fbk_prod_q_row *row, const int32_t *bias,
                      const float *scale)
{
    size_t n_index = (size_t)c->oc * c->kh * c->kw * c->subs * c->stages;
    size_t n_word = (size_t)c->subs * c->stages * c->n_words * c->d;
    uint8_t *index = need(n_index);
    int8_t *word = need(n_word);
    for (size_t i = 0; i < n_index; i++)
        index[i] = (uint8_t)noise(c->n_words);
    for (size_t i = 0; i < n_word; i++)
        word[i] = (int8_t)((int)noise(31) - 15);
    fbk_prod_source source = {index, word, bias, scale};
    c->packed = need(c->packed_bytes);
    row->pack(c, &source);
    fb_free(index);
    fb_free(word);
}

static void pack_dense(fbk_conv_q *c, const fbk_conv_q_row **row, const int32_t *bias,
                       const float *scale)
{
    size_t n = (size_t)c->oc * c->kh * c->kw * c->ic;
    int16_t *w = need(n * sizeof *w);
    int8_t *values = need((size_t)c->oc * 16);
    for (size_t i = 0; i < n; i++)
        w[i] = (int16_t)((int)noise(255) - 127);
    fbk_conv_q_values(c, w, values);
    *row = fbk_conv_q_choose(c, fb_cpu_usable(), false);
    c->packed = need(c->packed_bytes);
    (*row)->pack(c, w, bias, scale);
    fb_free(w);
    fb_free(values);
}

static void report(const shape *s, const setting *set, const lanes *l)
{
    const fbk_prod_q *c = &l->prod;
    double prod, dense;
    time_both(l, &prod, &dense);
    double positions = (double)c->oh * c->ow * c->oc * c->kh * c->kw;
    printf(
        "%-20s %-20s d %u k %3u r %u t %u %10.1f us %7.1f G/s %8.1f GMAC/s %4u tiles %6.2fx %s\n",
        l->row->name, s->name, set->d, set->n_words, set->stages, set->table_bits, prod,
        positions * c->subs * c->stages / prod * 1e-3, positions * c->ic / prod * 1e-3, c->n_tiles,
        dense / prod, l->dense_row->name);
}

static void bench(const shape *s, const fbk_prod_q_row *row, const setting *set)
{
    lanes l = {.prod = {.shape = layer_of(s),
                        .d = set->d,
                        .n_words = set->n_words,
                        .stages = set->stages,
                        .subs = (s->ic + set->d - 1) / set->d,
                        .table_bits = set->table_bits,
                        .mul = {150, 90, 60, 40},
                        .y_zero = 128,
                        .y_hi = 255},
               .row = row,
               .dense = {.shape = layer_of(s), .y_zero = 128, .y_hi = 255}};
    if (!row->plan(&l.prod))
        return;
    size_t n_x = (size_t)s->size * s->size * s->ic;
    int32_t *bias = need(s->oc * sizeof *bias);
    float *scale = need(s->oc * sizeof *scale);
    for (uint32_t o = 0; o < s->oc; o++)
        scale[o] = 0.0005f;
    pack_prod(&l.prod, row, bias, scale);
    pack_dense(&l.dense, &l.dense_row, bias, scale);
    l.x = need(n_x);
    l.y = need((size_t)l.prod.oh * l.prod.ow * s->oc);
    for (size_t i = 0; i < n_x; i++)
        l.x[i] = (uint8_t)noise(256);
    l.scratch = need(l.prod.scratch_bytes > l.dense.scratch_bytes ? l.prod.scratch_bytes
                                                                  : l.dense.scratch_bytes);
    report(s, set, &l);
    fb_free(bias);
    fb_free(scale);
    fb_free(l.x);
    fb_free(l.y);
    fb_free(l.scratch);
    fb_free(l.prod.packed);
    fb_free(l.dense.packed);
}

int main(int argc, char **argv)
{
    uint32_t n;
    const fbk_prod_q_row *rows = fbk_prod_q_rows(&n);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (argc > 1 && !strstr(shapes[i].name, argv[1]))
            continue;
        for (size_t j = 0; j < sizeof settings / sizeof settings[0]; j++) {
            if (argc > 2 && (int)j >= atoi(argv[2]))
                continue;
            for (uint32_t r = 1; r < n; r++)
                if ((rows[r].cpu & ~fb_cpu_usable()) == 0)
                    bench(&shapes[i], &rows[r], &settings[j]);
        }
    }
    return 0;
}
