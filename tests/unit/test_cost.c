/* Operations and bytes of products as Q-CNN counts them: METHODS A.2, A.3, A.10.5 and the figures
 * of ANCHORS A1 and A3, for the shapes of AlexNet, CNN-S and VGG-16. */
#include "model/cost.h"
#include "unit/sample_product.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A layer: side of input and output, kernel's side, channels in and out, groups. FC: sides 1. */
typedef struct layer {
    uint32_t in, out, k, ic, oc, groups;
} layer;

typedef struct net {
    const char *name;
    layer layers[16];
    size_t n;
    uint32_t conv_d;             /* with 128 codewords */
    double speed[2], smaller[2]; /* FC6 and FC7 with 32 words for 3, for 4 inputs; FC8 1/16 */
} net;

static const net nets[] = {
    {"AlexNet",
     {{227, 55, 11, 3, 96, 1},
      {27, 27, 5, 96, 256, 2},
      {13, 13, 3, 256, 384, 1},
      {13, 13, 3, 384, 384, 2},
      {13, 13, 3, 384, 256, 2},
      {1, 1, 1, 9216, 4096, 1},
      {1, 1, 1, 4096, 4096, 1},
      {1, 1, 1, 4096, 1000, 1}},
     8,
     8,
     {4.050, 4.156},
     {15.25, 18.54}},
    {"CNN-S",
     {{224, 109, 7, 3, 96, 1},
      {37, 35, 5, 96, 256, 1},
      {18, 18, 3, 256, 512, 1},
      {18, 18, 3, 512, 512, 1},
      {18, 18, 3, 512, 512, 1},
      {1, 1, 1, 18432, 4096, 1},
      {1, 1, 1, 4096, 4096, 1},
      {1, 1, 1, 4096, 1000, 1}},
     8,
     8,
     {5.700, 5.786},
     {15.93, 19.57}},
    {"VGG-16",
     {{224, 224, 3, 3, 64, 1},
      {224, 224, 3, 64, 64, 1},
      {112, 112, 3, 64, 128, 1},
      {112, 112, 3, 128, 128, 1},
      {56, 56, 3, 128, 256, 1},
      {56, 56, 3, 256, 256, 1},
      {56, 56, 3, 256, 256, 1},
      {28, 28, 3, 256, 512, 1},
      {28, 28, 3, 512, 512, 1},
      {28, 28, 3, 512, 512, 1},
      {14, 14, 3, 512, 512, 1},
      {14, 14, 3, 512, 512, 1},
      {14, 14, 3, 512, 512, 1},
      {1, 1, 1, 25088, 4096, 1},
      {1, 1, 1, 4096, 4096, 1},
      {1, 1, 1, 4096, 1000, 1}},
     16,
     6,
     {4.049, 4.059},
     {15.80, 19.22}},
};

static uint32_t sub_of(const net *n, size_t i, uint32_t fc_d)
{
    if (i + 1 == n->n)
        return 1;
    return i + 3 < n->n ? n->conv_d : fc_d;
}

static uint32_t words_of(const net *n, size_t i)
{
    if (i + 1 == n->n)
        return 16;
    return i + 3 < n->n ? 128 : 32;
}

static fb_cost_shape shape_of(const layer *l)
{
    return (fb_cost_shape){.in_pixels = (uint64_t)l->in * l->in,
                           .out_pixels = (uint64_t)l->out * l->out,
                           .kernel = (uint64_t)l->k * l->k,
                           .ic = l->ic,
                           .oc = l->oc,
                           .groups = l->groups};
}

/* The layer's weight as the model has it, without lists: what sizes follow from. */
static fb_tensor tensor_of(const layer *l, uint32_t sub, uint32_t words)
{
    uint32_t c = l->ic / l->groups;
    return (fb_tensor){.dtype = FB_F32,
                       .is_const = true,
                       .rank = 4,
                       .dims = {l->oc, l->k, l->k, c},
                       .enc = {.kind = FB_ENC_PRODUCT,
                               .bits = (uint8_t)fb_product_bits(words),
                               .axis = -1,
                               .n_scales = 1,
                               .sub = (uint8_t)(sub < c ? sub : c),
                               .n_words = (uint16_t)words,
                               .n_stages = 1,
                               .n_groups = 1,
                               .word_bits = 32}};
}

static void near(const char *what, double got, double want, double within)
{
    if (fabs(got - want) > within)
        fail_msg("%s: %.4f, must be %.4f", what, got, want);
}

static void figures_of_the_paper(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        const net *n = &nets[i];
        for (uint32_t way = 0; way < 2; way++) {
            uint64_t dense = 0, ops = 0, bytes = 0, weights = 0;
            for (size_t k = 0; k < n->n; k++) {
                const layer *l = &n->layers[k];
                fb_cost_shape s = shape_of(l);
                uint32_t sub = sub_of(n, k, 3 + way), words = words_of(n, k);
                fb_tensor t = tensor_of(l, sub, words);
                dense += fb_cost_dense(&s);
                ops += fb_cost_product(&s, sub, words, 1);
                bytes += fb_product_bytes(&t) - sizeof(float); /* the paper has no scale */
                weights += s.kernel * s.oc * (s.ic / s.groups);
            }
            near(n->name, (double)dense / (double)ops, n->speed[way], 0.0006);
            near(n->name, 4 * (double)weights / (double)bytes, n->smaller[way], 0.006);
            if (i == 0) /* ANCHORS 2 */
                assert_int_equal(dense, 724406816);
            if (i == 0)
                assert_int_equal(weights, 60965224 - 10568);
        }
    }
}

/* METHODS A.8, A.10.6: the size of the official files, indices of b bits in blocks of 4096 bytes
 * that none straddles, codebooks of [M][K][d] floats and biases, each behind its dims. It ties the
 * counts of indices and codewords to 13 published file sizes. */
static uint64_t official_indices(uint64_t n, unsigned bits, unsigned dims)
{
    uint64_t each = 32768 / bits;
    return 4 * (2 + dims) + 4096 * ((n + each - 1) / each);
}

static void official_files(void **state)
{
    (void)state;
    assert_int_equal(32768 / 5, 6553);
    assert_int_equal(32768 / 7, 4681);
    assert_int_equal(32768 / 4, 8192);
    const uint64_t want[2] = {13211272, 0};
    const double mib[2][2] = {{15.306, 12.599}, {0, 20.128}};
    for (size_t i = 0; i < 2; i++) {
        const net *n = &nets[i];
        for (uint32_t way = 0; way < 2; way++) {
            uint64_t sum = 0;
            for (size_t k = 0; k < n->n; k++) {
                const layer *l = &n->layers[k];
                uint32_t sub = sub_of(n, k, 3 + way), words = words_of(n, k);
                fb_tensor t = tensor_of(l, sub, words);
                fb_product p = fb_product_of(&t);
                unsigned dims = k + 3 < n->n ? 4 : 2;
                uint64_t index = official_indices(p.n_indices, t.enc.bits, dims);
                sum += index + 16 + 4 * p.m_count * words * sub + 8 + 4 * (uint64_t)l->oc;
                if (i == 0 && way == 1) {
                    const uint64_t known[8] = {12312, 36888,   98328,   0,
                                               0,     5902352, 2625552, 2048016};
                    assert_true(known[k] == 0 || index == known[k]);
                }
            }
            if (mib[i][way] > 0)
                near(n->name, (double)sum / 1048576, mib[i][way], 0.0007);
            if (way == 1 && want[i])
                assert_int_equal(sum, want[i]);
        }
    }
}

/* Through the public view, by hand: a has 5 words in 2 stages for 4 of 6 channels. */
static void layers_tell_their_operations(void **state)
{
    (void)state;
    fb_model *m = sample_product();
    fb_layer_info info;
    assert_non_null(m);
    assert_int_equal(fb_model_layer(m, 0, &info), FB_OK);
    assert_int_equal(info.macs, 36 * 8 * 9 * 6);
    assert_int_equal(info.ops, 2 * (36 * 6 * 5 + 36 * 8 * 9 * 2));
    assert_int_equal(fb_model_layer(m, 1, &info), FB_OK); /* two groups of 4 channels, d = 2 */
    assert_int_equal(info.ops, 36 * 8 * 4 + 36 * 8 * 2);
    assert_int_equal(fb_model_layer(m, 2, &info), FB_OK); /* along the kernel: no tables */
    assert_int_equal(info.ops, info.macs);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_the_paper),
        cmocka_unit_test(official_files),
        cmocka_unit_test(layers_tell_their_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
