/* Integer convolution kernels on the shapes of real networks: one thread, thread CPU time, best of
 * several rounds. Lines: row, layer, microseconds, GMAC/s, packed bytes a second. */
#include "base/alloc.h"
#include "base/cpu.h"
#include "kernels/conv_q.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct shape {
    const char *name;
    uint32_t size, ic, oc, k, stride, pad, groups;
} shape;

static const shape shapes[] = {
    {"3x3 64 @56", 56, 64, 64, 3, 1, 1, 1},
    {"3x3 128 @28", 28, 128, 128, 3, 1, 1, 1},
    {"3x3 256 @14", 14, 256, 256, 3, 1, 1, 1},
    {"3x3 512 @7", 7, 512, 512, 3, 1, 1, 1},
    {"3x3 64-128 s2 @56", 56, 64, 128, 3, 2, 1, 1},
    {"1x1 256-64 @56", 56, 256, 64, 1, 1, 0, 1},
    {"1x1 1024-256 @14", 14, 1024, 256, 1, 1, 0, 1},
    {"1x1 64-128 s2 @56", 56, 64, 128, 1, 2, 0, 1},
    {"1x1 24-144 @56", 56, 24, 144, 1, 1, 0, 1},
    {"1x1 144-24 @56", 56, 144, 24, 1, 1, 0, 1},
    {"1x1 320-1280 @7", 7, 320, 1280, 1, 1, 0, 1},
    {"7x7 s2 3-64 @224", 224, 3, 64, 7, 2, 3, 1},
    {"3x3 s2 3-32 @224", 224, 3, 32, 3, 2, 1, 1},
    {"11x11 s4 3-64 @224", 224, 3, 64, 11, 4, 2, 1},
    {"5x5 64-192 @27", 27, 64, 192, 5, 1, 2, 1},
    {"3x3 16 @32", 32, 16, 16, 3, 1, 1, 1},
    {"3x3 32 @16", 16, 32, 32, 3, 1, 1, 1},
    {"3x3 64 @8", 8, 64, 64, 3, 1, 1, 1},
    {"dw3x3 144 @56", 56, 144, 144, 3, 1, 1, 144},
    {"dw3x3 384 @14", 14, 384, 384, 3, 1, 1, 384},
    {"dw5x5 240 @14", 14, 240, 240, 5, 1, 2, 240},
    {"fc 512-1000", 1, 512, 1000, 1, 1, 0, 1},
    {"fc 4096-1000", 1, 4096, 1000, 1, 1, 0, 1},
    {"fc 4096-4096", 1, 4096, 4096, 1, 1, 0, 1},
    {"fc 9216-4096", 1, 9216, 4096, 1, 1, 0, 1},
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static uint32_t state = 1;

static int32_t noise(int32_t lo, int32_t hi)
{
    state = state * 1664525u + 1013904223u;
    return lo + (int32_t)((state >> 8) % (uint32_t)(hi - lo + 1));
}

/* Best microseconds of one pass over all tiles. */
static double time_row(const fbk_conv_q *c, const fbk_conv_q_row *row, const uint8_t *x, uint8_t *y,
                       void *scratch)
{
    double best = 1e30, spent = 0;
    for (int round = 0; round < 200 && (round < 5 || spent < 300e3); round++) {
        double start = now_us();
        for (uint32_t t = 0; t < c->n_tiles; t++)
            row->run(c, x, y, scratch, t);
        double took = now_us() - start;
        spent += took;
        best = took < best ? took : best;
    }
    return best;
}

/* `few`: weights from a table of so many values, from one for each channel when own; 0: any. */
static void bench(const shape *s, const fbk_conv_q_row *row, int32_t few, bool own)
{
    uint32_t out = (s->size + 2 * s->pad - s->k) / s->stride + 1;
    fbk_conv_q c = {.n = 1,
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
                    .groups = s->groups,
                    .pad_t = (int32_t)s->pad,
                    .pad_l = (int32_t)s->pad,
                    .x_zero = 100,
                    .y_zero = 128,
                    .y_hi = 255};
    size_t n_x = (size_t)s->size * s->size * s->ic;
    size_t n_w = (size_t)s->oc * s->k * s->k * (s->ic / s->groups);
    uint8_t *x = fb_alloc(n_x), *y = fb_alloc((size_t)out * out * s->oc);
    int8_t *values = fb_alloc((size_t)s->oc * 16);
    void *scratch = NULL;
    int16_t *w = fb_alloc(n_w * sizeof *w);
    int32_t *bias = fb_calloc(s->oc, sizeof *bias);
    float *scale = fb_calloc(s->oc, sizeof *scale);
    if (!x || !y || !values || !w || !bias || !scale)
        exit(1);
    for (size_t i = 0; i < n_x; i++)
        x[i] = (uint8_t)noise(0, 255);
    for (size_t i = 0; i < n_w; i++)
        w[i] = few ? (int16_t)(noise(0, few - 1) * 7 - 40 + (own ? (int)(i * s->oc / n_w) % 20 : 0))
                   : (int16_t)noise(-127, 127);
    for (uint32_t o = 0; o < s->oc; o++)
        scale[o] = 0.0005f;
    fbk_conv_q_values(&c, w, values);
    if (row->plan(&c, false)) {
        scratch = fb_alloc(c.scratch_bytes);
        c.packed = fb_alloc(c.packed_bytes);
        if (!scratch || !c.packed)
            exit(1);
        row->pack(&c, w, bias, scale);
        double us = time_row(&c, row, x, y, scratch);
        double macs = (double)n_w * out * out;
        printf("%-26s %-20s %10.1f us %8.1f GMAC/s %7.1f GB/s weights %4u tiles%s\n", row->name,
               s->name, us, macs / us * 1e-3, (double)c.packed_bytes / us * 1e-3, c.n_tiles,
               few == 0   ? ""
               : few <= 4 ? own ? ", 2 bits, own tables" : ", 2 bits"
               : own      ? ", 4 bits, own tables"
                          : ", 4 bits");
    }
    fb_free(x);
    fb_free(y);
    fb_free(values);
    fb_free(scratch);
    fb_free(w);
    fb_free(bias);
    fb_free(scale);
    fb_free(c.packed);
}

int main(int argc, char **argv)
{
    uint32_t n;
    const fbk_conv_q_row *rows = fbk_conv_q_rows(&n);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (argc > 1 && !strstr(shapes[i].name, argv[1]))
            continue;
        for (uint32_t r = 0; r < n; r++) {
            if ((rows[r].cpu & ~fb_cpu_usable()) != 0 || (rows[r].cpu == 0 && argc < 3))
                continue;
            if (shapes[i].groups > 1 && rows[r].cpu && r + 1 < n)
                continue; /* the depthwise row is the one that is chosen */
            bool takes_few = strstr(rows[r].name, "_few_") != NULL;
            if (!takes_few)
                bench(&shapes[i], &rows[r], 0, false);
            for (int32_t few = 15; takes_few && few >= 3; few -= 12) {
                bench(&shapes[i], &rows[r], few, false);
                bench(&shapes[i], &rows[r], few, true);
            }
        }
    }
    return 0;
}
