/* A layer of normal weights whose channels differ in size, and rules: for the tests of shares.
 * Include setjmp/stdarg/stddef/cmocka first. */
#ifndef TESTS_UNIT_SHARE_LAYER_H
#define TESTS_UNIT_SHARE_LAYER_H

#include "numeric/random.h"
#include "train/share.h"
#include "train_net.h"

#include <string.h>

enum { N = 4608, CHANNELS = 16 };

static const double five[5] = {0.3, 0.55, 0.75, 0.9, 1};

typedef struct layer {
    fb_share s;
    float w[N], scale[CHANNELS];
    uint8_t mask[N], code[N];
} layer;

static inline float normal(uint64_t *seed)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += fb_random_float(seed, -0.5f, 0.5f);
    return sum;
}

/* Normal weights, channels of different sizes. */
static inline void make_layer(layer *l, size_t n, size_t channels, float size, uint64_t seed)
{
    l->s = (fb_share){.name = "layer",
                      .n = n,
                      .channels = channels,
                      .w = l->w,
                      .scale = l->scale,
                      .mask = l->mask,
                      .code = l->code};
    for (size_t i = 0; i < n; i++)
        l->w[i] = size * (1 + (float)(i / (n / channels))) * normal(&seed);
    OK(fb_share_scales(l->w, n, channels, NULL, l->scale));
}

static inline fb_share_rule make_rule(fb_share_values values, fb_share_order order,
                                      uint32_t n_levels)
{
    fb_share_rule r = {
        .values = values, .order = order, .n_levels = n_levels, .with_zero = n_levels % 2 == 1};
    r.n_steps = 5;
    memcpy(r.share, five, sizeof five);
    return r;
}

#endif
