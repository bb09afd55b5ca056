/* Times the f32 convolution and dense kernels on layer shapes.
 *
 *     bench_kernels [--cpu ref] [--few] bench/shapes/resnet18.txt ...
 *
 * --few: also on weights that stay packed in few bits.
 *
 * One thread, batch 1, thread CPU time (other processes on the machine distort it less than wall
 * time). Each layer: enough repetitions for 5 ms, 15 times; median and best; GFLOP/s of the best
 * against the FMA peak that was measured just before.
 */
#include "fewbit/fewbit.h"
#include "kernels/conv_f32.h"
#include "kernels/gemm_f32.h"
#include "kernels/igemm_f32.h"

#include "base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 15 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct timing {
    double best, median; /* seconds */
} timing;

static timing measure(void (*fn)(void *), void *ctx)
{
    double t[SAMPLES];
    unsigned reps = 1;
    for (;;) {
        double start = now();
        for (unsigned i = 0; i < reps; i++)
            fn(ctx);
        double took = now() - start;
        if (took > 5e-3 || reps > 1000000)
            break;
        reps *= took > 5e-4 ? (unsigned)(5e-3 / took) + 1 : 8;
    }
    for (int s = 0; s < SAMPLES; s++) {
        double start = now();
        for (unsigned i = 0; i < reps; i++)
            fn(ctx);
        t[s] = (now() - start) / reps;
    }
    qsort(t, SAMPLES, sizeof t[0], compare);
    return (timing){t[0], t[SAMPLES / 2]};
}

static float *random_floats(size_t n)
{
    float *p = fb_alloc(n * sizeof *p);
    uint32_t x = 12345;
    if (!p)
        exit(1);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)x * 0x1p-31f;
    }
    return p;
}

/* --- peak: the micro-kernel on data that never leaves L1 ---------------------------------------
 */

static fbk_igemm_f32_fn *micro;

static void run_peak(void *ctx)
{
    micro(ctx);
}

static double peak_gflops(void)
{
    enum { K = 256 };
    float *b = random_floats(K * 16), *x = random_floats(6 * K), y[6 * 16];
    const float *rows[6];
    for (int i = 0; i < 6; i++)
        rows[i] = x + i * K;
    fbk_igemm_f32_block p = {.m = 6,
                             .nr = 16,
                             .n = 16,
                             .n_seg = 1,
                             .len = K,
                             .rows = rows,
                             .rows_ld = 6,
                             .b = b,
                             .y = y,
                             .ldy = 16,
                             .lo = -INFINITY,
                             .hi = INFINITY};
    timing t = measure(run_peak, &p);
    fb_free(b);
    fb_free(x);
    return 2.0 * 6 * 16 * K / t.best * 1e-9;
}

/* --- layers ------------------------------------------------------------------------------------
 */

typedef struct layer {
    fbk_window g;
    fbk_igemm_f32_shape shape;
    fbk_igemm_f32_args igemm;
    fbk_igemm_f32_few igemm_few;
    fbk_dense_few_f32_args few;
    fbk_dense_few_f32_fn *few_fn;
    fbk_conv_f32_args conv;
    fbk_dwconv_f32_fn *direct;
    fbk_dense_f32_args dense;
    fbk_dense_f32_fn *dense_fn;
    size_t n;
} layer;

static void run_igemm(void *ctx)
{
    layer *l = ctx;
    uint32_t n = fbk_igemm_f32_tiles(&l->shape);
    for (uint32_t i = 0; i < n; i++)
        fbk_igemm_f32_tile(&l->igemm, i);
}

static void run_direct(void *ctx)
{
    layer *l = ctx;
    l->direct(&l->conv, 0, (size_t)l->g.oh * (size_t)l->g.ow);
}

static void run_dense(void *ctx)
{
    layer *l = ctx;
    l->dense_fn(&l->dense, 0, l->n);
}

static void run_dense_few(void *ctx)
{
    layer *l = ctx;
    l->few_fn(&l->few, 0, l->n);
}

/* --- weights in few bits -----------------------------------------------------------------------
 */

typedef struct form {
    const char *name;
    uint32_t bits;
    bool affine, own;
} form;
static const form forms[] = {
    {"affine8", 8, true, false},  {"affine6", 6, true, false},
    {"affine4", 4, true, false},  {"affine2", 2, true, false},
    {"levels4", 4, false, false}, {"levels4 by channel", 4, false, true},
};
static bool with_few;

static fbk_few_f32 weights_of(const form *f, size_t columns)
{
    bool table = !f->affine || f->bits <= 4;
    fbk_few_f32 w = {.bits = f->bits,
                     .is_signed = f->affine,
                     .affine = f->affine,
                     .own = f->own,
                     .table = table ? random_floats(f->own ? columns * 16 : 16) : NULL,
                     .scale = random_floats(columns)};
    return w;
}

static void weights_free(fbk_few_f32 *w)
{
    fb_free((float *)(uintptr_t)w->table);
    fb_free((float *)(uintptr_t)w->scale);
}

static void report(const char *kernel, const char *name, timing t, double macs, double peak,
                   double bytes)
{
    double gflops = 2 * macs / t.best * 1e-9;
    printf("%-28s %-26s %9.1f %9.1f us %7.1f GFLOP/s %5.1f%% %6.1f GB/s weights\n", name, kernel,
           t.best * 1e6, t.median * 1e6, gflops, 100 * gflops / peak, bytes / t.best * 1e-9);
}

static void bench_conv_few(const char *name, layer *l, const float *zeros, double macs, double peak)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t bytes = fbk_igemm_f32_codes_bytes(&l->shape, forms[i].bits);
        float *codes = random_floats(bytes / 4 + 1);
        l->igemm_few = (fbk_igemm_f32_few){weights_of(&forms[i], fbk_igemm_f32_columns(&l->shape)),
                                           (const uint8_t *)codes, l->igemm_few.unpack};
        l->igemm.few = &l->igemm_few;
        l->igemm.packed = zeros;
        report(forms[i].name, name, measure(run_igemm, l), macs, peak, (double)bytes);
        weights_free(&l->igemm_few.w);
        fb_free(codes);
    }
}

static void bench_dense_few(const char *name, const float *x, float *y, size_t k, size_t n,
                            uint32_t cpu, double peak)
{
    layer l = {.n = n, .few_fn = fbk_dense_few_f32_pick(cpu, NULL)};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t bytes = n * ((k + 7) / 8) * forms[i].bits + FBK_FEW_SLACK;
        float *codes = random_floats(bytes / 4 + 1);
        fbk_few_f32 w = weights_of(&forms[i], n);
        l.few = (fbk_dense_few_f32_args){1,    k, n,         x,       &w, (const uint8_t *)codes,
                                         NULL, y, -INFINITY, INFINITY};
        report(forms[i].name, name, measure(run_dense_few, &l), (double)k * (double)n, peak,
               (double)bytes);
        weights_free(&w);
        fb_free(codes);
    }
}

static void bench_conv(const char *name, const int v[9], uint32_t cpu, double peak)
{
    layer l = {0};
    int oh = (v[0] + 2 * v[7] - v[4]) / v[6] + 1, ow = (v[1] + 2 * v[7] - v[5]) / v[6] + 1;
    const char *kernel;
    l.g = (fbk_window){.h = v[0],
                       .w = v[1],
                       .c = v[2],
                       .oh = oh,
                       .ow = ow,
                       .oc = v[3],
                       .kh = v[4],
                       .kw = v[5],
                       .stride_h = v[6],
                       .stride_w = v[6],
                       .dil_h = 1,
                       .dil_w = 1,
                       .pad_t = v[7],
                       .pad_l = v[7],
                       .groups = v[8]};
    size_t in = (size_t)v[0] * (size_t)v[1] * (size_t)v[2];
    size_t out = (size_t)oh * (size_t)ow * (size_t)v[3];
    size_t weights = (size_t)v[3] * (size_t)v[4] * (size_t)v[5] * (size_t)(v[2] / v[8]);
    float *x = random_floats(in), *y = random_floats(out), *w = random_floats(weights);
    float *bias = random_floats((size_t)v[3]), *packed = NULL;
    void *scratch = NULL;
    timing t;
    if (v[8] == v[2] && v[2] == v[3] && v[8] > 1) {
        l.direct = fbk_dwconv_f32_pick(cpu, &kernel);
        l.conv = (fbk_conv_f32_args){&l.g, x, w, bias, y, 0, INFINITY};
        t = measure(run_direct, &l);
    } else {
        fbk_igemm_f32_shape_make(&l.g, &l.shape);
        packed = fb_calloc(fbk_igemm_f32_packed_elems(&l.shape), sizeof *packed);
        scratch = fb_alloc(l.shape.scratch_bytes + 64 + fbk_igemm_f32_block_bytes(&l.shape));
        l.igemm_few.unpack = fbk_unpack_f32_pick(cpu, NULL);
        if (!packed || !scratch)
            exit(1);
        fbk_igemm_f32_pack(&l.shape, w, packed);
        l.igemm = (fbk_igemm_f32_args){
            &l.shape, fbk_igemm_f32_pick(cpu, &kernel), x, packed, bias, NULL, y, 0, INFINITY,
            scratch};
        t = measure(run_igemm, &l);
    }
    double macs = (double)out * (double)(weights / (size_t)v[3]);
    report(kernel, name, t, macs, peak, (double)weights * 4);
    if (with_few && packed)
        bench_conv_few(name, &l, packed, macs, peak);
    fb_free(x), fb_free(y), fb_free(w), fb_free(bias), fb_free(packed), fb_free(scratch);
}

static void bench_dense(const char *name, size_t k, size_t n, uint32_t cpu, double peak)
{
    layer l = {.n = n};
    const char *kernel;
    float *x = random_floats(k), *w = random_floats(k * n), *y = random_floats(n);
    l.dense_fn = fbk_dense_f32_pick(cpu, &kernel);
    l.dense = (fbk_dense_f32_args){1, k, n, x, w, NULL, y, -INFINITY, INFINITY};
    timing t = measure(run_dense, &l);
    report(kernel, name, t, (double)k * (double)n, peak, (double)(k * n) * 4);
    if (with_few)
        bench_dense_few(name, x, y, k, n, cpu, peak);
    fb_free(x), fb_free(w), fb_free(y);
}

static int bench_file(const char *path, uint32_t cpu, double peak)
{
    FILE *f = fopen(path, "r");
    char line[256], name[64];
    if (!f) {
        fprintf(stderr, "bench_kernels: cannot open '%s'\n", path);
        return 1;
    }
    printf("# %s\n", path);
    while (fgets(line, sizeof line, f)) {
        int v[9];
        size_t k, n;
        if (sscanf(line, "conv %63s %d %d %d %d %d %d %d %d %d", name, &v[0], &v[1], &v[2], &v[3],
                   &v[4], &v[5], &v[6], &v[7], &v[8]) == 10)
            bench_conv(name, v, cpu, peak);
        else if (sscanf(line, "dense %63s %zu %zu", name, &k, &n) == 3)
            bench_dense(name, k, n, cpu, peak);
    }
    fclose(f);
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t cpu = fb_cpu_usable();
    int first = 1, failed = 0;
    if (argc > 2 && strcmp(argv[1], "--cpu") == 0) {
        if (fb_cpu_parse(argv[2], &cpu) != FB_OK) {
            fprintf(stderr, "bench_kernels: %s\n", fb_error());
            return 2;
        }
        cpu &= fb_cpu_usable();
        first = 3;
    }
    if (first < argc && strcmp(argv[first], "--few") == 0) {
        with_few = true;
        first++;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: bench_kernels [--cpu MASK] [--few] SHAPES.txt ...\n");
        return 2;
    }
    micro = fbk_igemm_f32_pick(cpu, NULL);
    double peak = peak_gflops();
    printf("# peak %.1f GFLOP/s, one thread; best and median of %d samples\n", peak, SAMPLES);
    for (int i = first; i < argc; i++)
        failed |= bench_file(argv[i], cpu, peak);
    return failed;
}
