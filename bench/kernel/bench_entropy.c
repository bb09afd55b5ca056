/* Speed of the entropy stage of weights (format/rans.h), one thread, thread CPU time: MB/s of
 * weights with codes as they come out of int8 (a normal distribution of about 42 steps).
 *
 *     bench_entropy
 */
#include "format/freqs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 1 << 22, SAMPLES = 15 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint8_t random_code(void)
{
    static uint64_t seed = 1;
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(seed >> 11) * 0x1p-53;
    }
    long q = lrint(42 * sum);
    return (uint8_t)((q > 127 ? 127 : q < -127 ? -127 : q) + 128);
}

static int run(const uint8_t *symbols, uint8_t *back, fb_rans_table *table, size_t n)
{
    uint64_t count[256] = {0};
    double encode = 1e9, decode = 1e9;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        count[symbols[i]]++;
    for (int k = 0; k < SAMPLES; k++) {
        fb_out out = {0};
        fb_freqs f;
        double start = now();
        fb_freqs_choose(&f, 8, count, NULL);
        fb_rans_encode(&out, f.freq, NULL, symbols, n);
        double middle = now();
        fb_rans_table_make(table, f.freq, 128);
        bool good = fb_rans_decode(table, out.data, out.n, back, n);
        double end = now();
        encode = middle - start < encode ? middle - start : encode;
        decode = end - middle < decode ? end - middle : decode;
        bytes = out.n;
        fb_out_free(&out);
        if (!good || (back[n - 1] ^ 128) != symbols[n - 1]) {
            fprintf(stderr, "%zu symbols did not come back\n", n);
            return 1;
        }
    }
    printf("%9zu  %9zu  %6.2f%%  %8.0f  %8.0f\n", n, bytes, 100.0 * (double)bytes / (double)n,
           (double)n / encode / 1e6, (double)n / decode / 1e6);
    return 0;
}

int main(void)
{
    uint8_t *symbols = malloc(MOST), *back = malloc(MOST);
    fb_rans_table *table = malloc(sizeof *table);
    int failed = !symbols || !back || !table;
    for (size_t i = 0; !failed && i < MOST; i++)
        symbols[i] = random_code();
    if (!failed)
        printf("  weights      coded            encode    decode  (MB/s)\n");
    for (size_t n = 576; !failed && n <= MOST; n *= 7)
        failed = run(symbols, back, table, n);
    free(symbols);
    free(back);
    free(table);
    return failed;
}
