/* Look-up convolution on the shapes of real networks: one thread, thread CPU time, best of several
 * rounds. Lines: row, layer, setting, microseconds, look-ups a second and the multiply-adds a
 * second that they stand for, tiles. */
#include "base/alloc.h"
#include "base/cpu.h"
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
    {4, 16, 1, 6}, {4, 16, 1, 7}, {4, 16, 1, 8}, {8, 16, 1, 6}, {8, 16, 2, 6}, {3, 16, 1, 6},
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

/* Best microseconds of one pass over all tiles. */
static double time_row(const fbk_prod_q *c, const fbk_prod_q_row *row, const uint8_t *x, uint8_t *y,
                       void *scratch)
{
    double best = 1e30, spent = 0;
    for (int round = 0; round < 200 && (round < 5 || spent < 200e3); round++) {
        double start = now_us();
        for (uint32_t t = 0; t < c->n_tiles; t++)
            row->run(c, x, y, scratch, t);
        double took = now_us() - start;
        spent += took;
        best = took < best ? took : best;
    }
    return best;
}

static void bench(const shape *s, const fbk_prod_q_row *row, const setting *set)
{
    uint32_t out = (s->size + 2 * s->pad - s->k) / s->stride + 1;
    fbk_prod_q c = {.n = 1,
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
                    .pad_l = (int32_t)s->pad,
                    .d = set->d,
                    .n_words = set->n_words,
                    .stages = set->stages,
                    .subs = (s->ic + set->d - 1) / set->d,
                    .table_bits = set->table_bits,
                    .mul = {150, 90, 60, 40},
                    .y_zero = 128,
                    .y_hi = 255};
    size_t n_x = (size_t)s->size * s->size * s->ic;
    size_t n_index = (size_t)s->oc * s->k * s->k * c.subs * c.stages;
    size_t n_word = (size_t)c.subs * c.stages * c.n_words * c.d;
    uint8_t *x = fb_alloc(n_x), *y = fb_alloc((size_t)out * out * s->oc),
            *index = fb_alloc(n_index);
    int8_t *word = fb_alloc(n_word);
    int32_t *bias = fb_calloc(s->oc, sizeof *bias);
    float *scale = fb_calloc(s->oc, sizeof *scale);
    void *scratch = NULL;
    if (!x || !y || !index || !word || !bias || !scale)
        exit(1);
    for (size_t i = 0; i < n_x; i++)
        x[i] = (uint8_t)noise(256);
    for (size_t i = 0; i < n_index; i++)
        index[i] = (uint8_t)noise(c.n_words);
    for (size_t i = 0; i < n_word; i++)
        word[i] = (int8_t)((int)noise(31) - 15);
    for (uint32_t o = 0; o < s->oc; o++)
        scale[o] = 0.05f;
    if (row->plan(&c)) {
        scratch = fb_alloc(c.scratch_bytes);
        c.packed = fb_alloc(c.packed_bytes);
        if (!scratch || !c.packed)
            exit(1);
        fbk_prod_source source = {index, word, bias, scale};
        row->pack(&c, &source);
        double us = time_row(&c, row, x, y, scratch);
        double lookups = (double)n_index * out * out;
        double macs = (double)s->oc * s->k * s->k * s->ic * out * out;
        printf("%-20s %-20s d %u k %3u r %u t %u %10.1f us %7.1f G/s %8.1f GMAC/s %4u tiles\n",
               row->name, s->name, c.d, c.n_words, c.stages, c.table_bits, us, lookups / us * 1e-3,
               macs / us * 1e-3, c.n_tiles);
    }
    fb_free(x);
    fb_free(y);
    fb_free(index);
    fb_free(word);
    fb_free(bias);
    fb_free(scale);
    fb_free(scratch);
    fb_free(c.packed);
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
