/* What 14 times means: the arithmetic of METHODS C.3 through the bytes that encodings take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/factor.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

typedef struct shape_of_layer {
    const char *name;
    int64_t oc, k, ic; /* k = 0: dense */
} shape_of_layer;

/* Bytes of weights in affine codes of so many bits. */
static size_t coded_bytes(size_t rows, size_t columns, unsigned bits)
{
    fb_tensor t = {
        .dtype = FB_F32,
        .rank = 2,
        .dims = {(int64_t)rows, (int64_t)columns},
        .is_const = true,
        .enc = {.kind = FB_ENC_AFFINE, .bits = (uint8_t)bits, .axis = -1, .n_scales = 1}};
    size_t bytes;
    assert_int_equal(fb_tensor_payload_bytes(&t, &bytes), FB_OK);
    return bytes;
}

/* FP32 size over that with fc6 and fc7 of rank r, all weights of `bits` bits, biases in floats. */
static double ratio_of(const shape_of_layer *layers, size_t n, size_t r, unsigned bits)
{
    double before = 0, after = 0;
    for (size_t i = 0; i < n; i++) {
        const shape_of_layer *l = &layers[i];
        size_t rows = (size_t)l->oc, columns = (size_t)(l->ic * (l->k ? l->k * l->k : 1));
        before += 4.0 * (double)(rows * columns + rows);
        after += 4.0 * (double)rows;
        if (strcmp(l->name, "fc6") == 0 || strcmp(l->name, "fc7") == 0)
            after += (double)coded_bytes(rows, r, bits) + (double)coded_bytes(r, columns, bits);
        else
            after += (double)coded_bytes(rows, columns, bits);
    }
    return before / after;
}

static void size_arithmetic(void **state)
{
    (void)state;
    const shape_of_layer alexnet[] = {{"conv1", 96, 11, 3},   {"conv2", 256, 5, 48},
                                      {"conv3", 384, 3, 256}, {"conv4", 384, 3, 192},
                                      {"conv5", 256, 3, 192}, {"fc6", 4096, 0, 9216},
                                      {"fc7", 4096, 0, 4096}, {"fc8", 1000, 0, 4096}};
    const shape_of_layer vgg16[] = {
        {"conv1_1", 64, 3, 3},    {"conv1_2", 64, 3, 64},   {"conv2_1", 128, 3, 64},
        {"conv2_2", 128, 3, 128}, {"conv3_1", 256, 3, 128}, {"conv3_2", 256, 3, 256},
        {"conv3_3", 256, 3, 256}, {"conv4_1", 512, 3, 256}, {"conv4_2", 512, 3, 512},
        {"conv4_3", 512, 3, 512}, {"conv5_1", 512, 3, 512}, {"conv5_2", 512, 3, 512},
        {"conv5_3", 512, 3, 512}, {"fc6", 4096, 0, 25088},  {"fc7", 4096, 0, 4096},
        {"fc8", 1000, 0, 4096}};
    assert_true(fabs(ratio_of(alexnet, 8, 512, 8) - 13.95) < 0.005);
    assert_true(fabs(ratio_of(alexnet, 8, 800, 6) - 13.73) < 0.005);
    assert_true(fabs(ratio_of(alexnet, 8, 1024, 5) - 13.68) < 0.005);
    assert_true(fabs(ratio_of(vgg16, 16, 512, 8) - 14.57) < 0.005);
    /* break-even ranks: mn / (m + n) = 2835.7, 2048, 803.8; 3521.1. At it nothing is gained. */
    const struct {
        size_t m, n, most;
    } even[] = {{4096, 9216, 2835}, {4096, 4096, 2047}, {1000, 4096, 803}, {4096, 25088, 3521}};
    for (size_t i = 0; i < 4; i++) {
        fb_factor_shape s = {.m = even[i].m,
                             .n = even[i].n,
                             .params = (uint64_t)even[i].m * even[i].n,
                             .rank_params = even[i].m + even[i].n};
        s.macs = (double)s.params;
        s.rank_macs = (double)s.rank_params;
        assert_int_equal(fb_factor_most(&s), even[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(size_arithmetic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
