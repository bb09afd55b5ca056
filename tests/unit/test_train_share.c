/* Weights that come to share values: the checks of METHODS B.8 and T.4, orders, edge cases. */
#include "train/share.h"

#include "base/alloc.h"
#include "compress/fit.h"
#include "numeric/random.h"
#include "share_layer.h"
#include "train/optim.h"
#include "train/share_fit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What training does to free weights; masked ones it leaves alone. */
static void train(fb_share *s, float by, uint64_t *seed)
{
    for (size_t i = 0; i < s->n; i++)
        s->w[i] += s->mask[i] ? by * s->scale[i / (s->n / s->channels)] * normal(seed) : 0;
}

static uint32_t count_state(const fb_share *s, fb_share_state state)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->table.n; i++)
        n += s->table.state[i] == state;
    return n;
}

/* Every frozen weight is scale x level of a frozen place (or held at 0), to the bit. */
static void check_frozen(const fb_share *s)
{
    for (size_t i = 0; i < s->n; i++) {
        assert_true(s->mask[i] <= 1);
        if (s->mask[i])
            continue;
        uint8_t at = s->code[i];
        assert_true(at < s->table.n);
        assert_true(s->table.state[at] == FB_SHARE_FROZEN || (at == 0 && s->table.n_held > 0));
        float want = s->scale[i / (s->n / s->channels)] * s->table.value[at];
        assert_memory_equal(&want, &s->w[i], sizeof want);
    }
}

/* METHODS B.8: max |w| = 0.9. */
static void powers_to_start_from(void **state)
{
    (void)state;
    double level[17];
    fb_share_first_levels(0.9, 17, true, level);
    assert_true(level[0] == 0);
    for (int k = 0; k < 8; k++) {
        assert_true(level[1 + 2 * k] == 0.5 / (1 << k));
        assert_true(level[2 + 2 * k] == -0.5 / (1 << k));
    }
    assert_true(level[15] == 0.00390625);
    fb_share_first_levels(0.5, 2, false, level);
    assert_true(level[0] == 0.5 && level[1] == -0.5);
    assert_int_equal(fb_fit_pow2_top(0.9), 0);
}

/* METHODS B.2: the rule of ESLQ. */
static void rounding_to_powers(void **state)
{
    (void)state;
    const double pairs[][2] = {{0, 0},     {1, 1},       {1.49, 1},        {1.5, 2},
                               {-1.5, -2}, {-0.74, -.5}, {0.75, 1},        {3, 4},
                               {2.99, 2},  {0.3, 0.25},  {-3e-5, -0x1p-15}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_true(fb_share_power(pairs[i][0]) == pairs[i][1]);
}

/* METHODS B.2: 5, 9, 13, 15, 17 clusters of 17; B.8: frozen weights stay to the bit, and there are
 * no more values than frozen clusters. */
static void schedule_of_slq(void **state)
{
    (void)state;
    static layer l;
    static float before[N];
    static uint8_t mask[N], code[N];
    const uint32_t want[5] = {5, 9, 13, 15, 17};
    for (int fit = 0; fit < 2; fit++) {
        for (int order = 0; order < 2; order++) {
            for (int values = 0; values < 2; values++) {
                uint64_t seed = 9;
                fb_share_rule r = make_rule((fb_share_values)values, (fb_share_order)order, 17);
                r.fit = (fb_share_fit)fit;
                make_layer(&l, N, CHANNELS, 0.02f, 5);
                memset(mask, 1, N);
                for (uint32_t step = 0; step < 5; step++) {
                    memcpy(before, l.w, sizeof before);
                    OK(fb_share_step(&l.s, 1, &r, step));
                    assert_int_equal(count_state(&l.s, FB_SHARE_FROZEN), want[step]);
                    check_frozen(&l.s);
                    for (size_t i = 0; i < N; i++) {
                        assert_true(mask[i] >= l.mask[i]); /* none comes free again */
                        if (!mask[i]) {
                            assert_memory_equal(&before[i], &l.w[i], 4);
                            assert_int_equal(code[i], l.code[i]);
                        }
                    }
                    memcpy(mask, l.mask, N);
                    memcpy(code, l.code, N);
                    train(&l.s, 0.05f, &seed);
                    check_frozen(&l.s);
                }
                assert_int_equal(fb_share_n_free(&l.s), 0);
                assert_int_equal(count_state(&l.s, FB_SHARE_FREE), 0);
                assert_true(l.s.table.zero && l.s.table.value[0] == 0);
            }
        }
    }
}

/* The first clusters to go are those of the largest error, or of the largest level. */
static void partition_of_slq(void **state)
{
    (void)state;
    static layer l;
    for (int order = 0; order < 2; order++) {
        make_layer(&l, N, CHANNELS, 0.02f, 5);
        fb_share_rule r = make_rule(FB_SHARE_FLOATS, (fb_share_order)order, 17);
        static float x[N];
        fb_points p;
        double error[17] = {0}, level[17];
        uint32_t found;
        for (size_t i = 0; i < N; i++)
            x[i] = l.w[i] / l.scale[i / (N / CHANNELS)];
        OK(fb_points_init(&p, x, NULL, N));
        OK(fb_kmeans_exact(&p, 17, true, level, &found));
        fb_points_free(&p);
        for (size_t i = 0; i < N; i++) {
            uint32_t at = 0;
            for (uint32_t k = 1; k < 17; k++)
                at = fabs((double)x[i] - level[k]) < fabs((double)x[i] - level[at]) ? k : at;
            error[at] += pow((double)x[i] - level[at], 2);
        }
        OK(fb_share_step(&l.s, 1, &r, 0));
        double least_in = INFINITY, most_out = 0;
        for (uint32_t i = 0; i < 17; i++) {
            for (uint32_t k = 0; k < 17; k++) {
                if ((float)level[k] != l.s.table.value[i])
                    continue;
                double key = order == 0 ? error[k] : fabs(level[k]);
                if (l.s.table.state[i] == FB_SHARE_FROZEN)
                    least_in = fmin(least_in, key);
                else
                    most_out = fmax(most_out, key);
            }
        }
        assert_true(most_out > 0 && least_in > most_out);
    }
}

/* With all at once, the exact fit costs what the best levels cost, Lloyd's a little more. */
static void one_step_is_k_means(void **state)
{
    (void)state;
    static layer l;
    static float x[N];
    double error[2] = {0, 0}, level[9];
    uint32_t found;
    fb_points p;
    for (int fit = 0; fit < 2; fit++) {
        make_layer(&l, N, 1, 0.02f, 3);
        memcpy(x, l.w, sizeof x);
        fb_share_rule r = make_rule(FB_SHARE_FLOATS, FB_SHARE_BY_LOSS, 9);
        r.fit = (fb_share_fit)fit;
        r.n_steps = 1;
        r.share[0] = 1;
        OK(fb_share_step(&l.s, 1, &r, 0));
        assert_int_equal(fb_share_n_free(&l.s), 0);
        for (size_t i = 0; i < N; i++)
            error[fit] += pow((double)(x[i] - l.w[i]) / (double)l.scale[0], 2);
    }
    for (size_t i = 0; i < N; i++)
        x[i] /= l.scale[0];
    OK(fb_points_init(&p, x, NULL, N));
    OK(fb_kmeans_exact(&p, 9, true, level, &found));
    assert_true(fabs(error[0] / fb_points_error(&p, level, found) - 1) < 1e-4);
    assert_true(error[1] >= error[0] && error[1] < 1.5 * error[0]);
    fb_points_free(&p);
}

/* METHODS B.8: every level has zero mantissa bits; integers are integers. */
static void values_are_of_their_kind(void **state)
{
    (void)state;
    static layer l;
    for (int fit = 0; fit < 2; fit++) {
        for (int kind = FB_SHARE_INTEGERS; kind <= FB_SHARE_POWERS; kind++) {
            uint64_t seed = 4;
            fb_share_rule r = make_rule((fb_share_values)kind, FB_SHARE_BY_LOSS, 17);
            r.fit = (fb_share_fit)fit;
            make_layer(&l, N, CHANNELS, 0.02f, 8);
            for (uint32_t step = 0; step < 5; step++) {
                OK(fb_share_step(&l.s, 1, &r, step));
                check_frozen(&l.s);
                for (uint32_t i = 0; i < l.s.table.n; i++) {
                    if (l.s.table.state[i] == FB_SHARE_NONE)
                        continue;
                    int e;
                    double v = (double)l.s.table.value[i], m = fabs(frexp(v, &e));
                    double q = v / l.s.table.unit;
                    if (kind == FB_SHARE_POWERS)
                        assert_true(m == 0 || m == 0.5);
                    else
                        assert_true(q == floor(q) && fabs(q) <= 127);
                }
                train(&l.s, 0.1f, &seed);
            }
            assert_true(count_state(&l.s, FB_SHARE_FROZEN) <= 17);
            assert_true(count_state(&l.s, FB_SHARE_FROZEN) >= 7);
        }
    }
}

/* METHODS B.5: levels from the largest weight; each weight at the nearest; the largest go first. */
static void inq(void **state)
{
    (void)state;
    static layer l;
    const double share[4] = {0.3, 0.6, 0.8, 1};
    fb_share_rule r = make_rule(FB_SHARE_TOPMOST, FB_SHARE_BY_WEIGHT, 17);
    r.n_steps = 4;
    memcpy(r.share, share, sizeof share);
    make_layer(&l, N, 1, 0.02f, 6);
    l.scale[0] = 1;
    for (size_t i = 0; i < N; i++) /* many of the same size */
        l.w[i] = rintf(l.w[i] * 500) / 500;
    l.w[7] = -0.9f;
    uint64_t seed = 2;
    for (uint32_t step = 0; step < 4; step++) {
        OK(fb_share_step(&l.s, 1, &r, step));
        assert_int_equal(l.s.table.n, 17);
        for (int k = 0; k < 8; k++)
            assert_true(l.s.table.value[1 + 2 * k] == ldexpf(1, -k) &&
                        l.s.table.value[2 + 2 * k] == -ldexpf(1, -k));
        check_frozen(&l.s);
        assert_int_equal(N - fb_share_n_free(&l.s), (size_t)rint(share[step] * N));
        float most = 0;
        for (size_t i = 0; i < N; i++)
            most = l.mask[i] ? fmaxf(most, fabsf(l.w[i])) : most;
        if (step == 0) {
            assert_true(l.w[7] == -1);
            for (size_t i = 0; i < N; i++) /* frozen ones were at least 2/3 of what they are now */
                assert_true(l.mask[i] || fabsf(l.w[i]) * 1.5f >= most);
        }
        train(&l.s, 0.001f, &seed);
    }
}

static void inq_rounds_to_the_nearest(void **state)
{
    (void)state;
    float w[8] = {0.9f, 0.74f, 0.75f, -0.37f, -0.375f, 0.06f, 0.0625f, -0.07f};
    const float want[8] = {1, 0.5f, 1, -0.25f, -0.5f, 0, 0.125f, -0.125f}, one = 1;
    uint8_t mask[8], code[8];
    fb_share s = {
        .name = "w", .n = 8, .channels = 1, .w = w, .scale = &one, .mask = mask, .code = code};
    fb_share_rule r = make_rule(FB_SHARE_TOPMOST, FB_SHARE_BY_WEIGHT, 9); /* 1 .. 1/8 */
    r.n_steps = 1;
    r.share[0] = 1;
    OK(fb_share_step(&s, 1, &r, 0));
    assert_memory_equal(w, want, sizeof w);
}

/* METHODS B.3: layers of the largest relative error first, until the share of all weights is
 * reached; the same for pairs of layer and cluster. */
static void joint_order_of_mlq(void **state)
{
    (void)state;
    static layer l[3];
    for (int order = FB_SHARE_BY_LAYER; order <= FB_SHARE_BY_NET_CLUSTERS; order++) {
        fb_share s[3];
        make_layer(&l[0], 2304, 1, 0.05f, 1);
        make_layer(&l[1], N, 1, 0.001f, 2);
        make_layer(&l[2], 1152, 1, 1.0f, 3);
        /* The second is large, but nearly has two values: its error is large, but not beside
         * its weights. */
        for (size_t i = 0; i < N; i++)
            l[1].w[i] = (i % 2 ? 1000.0f : -1000.0f) * (1 + l[1].w[i]);
        for (size_t i = 0; i < 1152; i++)
            l[2].w[i] = (float)(i * i * i) / 1152;
        for (int k = 0; k < 3; k++) {
            l[k].scale[0] = 1;
            s[k] = l[k].s;
        }
        fb_share_rule r = make_rule(FB_SHARE_FLOATS, (fb_share_order)order, 3);
        r.n_steps = 3;
        r.share[0] = 0.2;
        r.share[1] = 0.6;
        r.share[2] = 1;
        OK(fb_share_step(s, 3, &r, 0));
        size_t all = 2304 + N + 1152;
        size_t frozen = all;
        for (int k = 0; k < 3; k++) {
            check_frozen(&s[k]);
            frozen -= fb_share_n_free(&s[k]);
        }
        assert_true((double)frozen >= 0.2 * (double)all);
        assert_int_equal(fb_share_n_free(&s[1]), N); /* last, whatever its size */
        if (order == FB_SHARE_BY_LAYER)              /* 2304 of 8064 are enough */
            assert_int_equal(fb_share_n_free(&s[0]), 0);
        OK(fb_share_step(s, 3, &r, 1));
        frozen = all;
        for (int k = 0; k < 3; k++)
            frozen -= fb_share_n_free(&s[k]);
        assert_true((double)frozen >= 0.6 * (double)all);
        OK(fb_share_step(s, 3, &r, 2));
        for (int k = 0; k < 3; k++) {
            assert_int_equal(fb_share_n_free(&s[k]), 0);
            assert_true(count_state(&s[k], FB_SHARE_FROZEN) <= 3);
            check_frozen(&s[k]);
        }
    }
}

/* A free weight that comes to lie at a frozen level joins it; fitted levels keep away from it. */
static void frozen_levels_stay_open(void **state)
{
    (void)state;
    static layer l;
    fb_share_rule r = make_rule(FB_SHARE_FLOATS, FB_SHARE_BY_LOSS, 9);
    make_layer(&l, N, 1, 0.1f, 11);
    OK(fb_share_step(&l.s, 1, &r, 0));
    uint8_t place = 0;
    while (l.s.table.state[place] != FB_SHARE_FROZEN)
        place++;
    size_t moved = 0;
    for (size_t i = 0; i < N && moved < 100; i++) {
        if (l.mask[i]) {
            l.w[i] = l.scale[0] * l.s.table.value[place] * 1.0001f;
            moved++;
        }
    }
    size_t frozen = N - fb_share_n_free(&l.s);
    fb_share_rule same = r;
    same.share[1] = r.share[0]; /* no further cluster */
    OK(fb_share_step(&l.s, 1, &same, 1));
    assert_true(N - fb_share_n_free(&l.s) >= frozen + 100);
    for (uint32_t i = 0; i < l.s.table.n; i++) {
        for (uint32_t k = 0; k < i; k++)
            assert_true(l.s.table.state[i] == FB_SHARE_NONE ||
                        l.s.table.state[k] == FB_SHARE_NONE ||
                        l.s.table.value[i] != l.s.table.value[k]);
    }
}

/* Pruned weights stay 0, and are not counted. */
static void zeros_are_held(void **state)
{
    (void)state;
    static layer l;
    for (int kind = FB_SHARE_FLOATS; kind <= FB_SHARE_TOPMOST; kind++) {
        uint64_t seed = 3;
        fb_share_rule r =
            make_rule((fb_share_values)kind,
                      kind == FB_SHARE_TOPMOST ? FB_SHARE_BY_WEIGHT : FB_SHARE_BY_NET_CLUSTERS,
                      kind == FB_SHARE_TOPMOST ? 9 : 8);
        make_layer(&l, N, CHANNELS, 0.1f, 12);
        for (size_t i = 0; i < N; i += 2)
            l.w[i] = i % 4 ? 0.0f : -0.0f;
        for (uint32_t step = 0; step < 5; step++) {
            OK(fb_share_step(&l.s, 1, &r, step));
            assert_int_equal(l.s.table.n_held, N / 2);
            double frozen = (double)(N / 2 - fb_share_n_free(&l.s)), want = five[step] * N / 2;
            assert_true(kind == FB_SHARE_TOPMOST ? fabs(frozen - want) <= 0.5 : frozen >= want);
            assert_true(step > 0 || frozen < 0.6 * N / 2); /* not of all weights */
            train(&l.s, 0.02f, &seed);
            check_frozen(&l.s);
        }
        for (size_t i = 0; i < N; i += 2)
            assert_true(l.w[i] == 0 && !signbit(l.w[i]) && l.code[i] == 0);
    }
}

/* METHODS B.8: with the optimizers themselves; momentum that a weight had when it froze, and decay,
 * are masked like its gradient. */
static void optimizers_leave_frozen_weights(void **state)
{
    (void)state;
    for (int kind = FB_OPTIM_SGD; kind <= FB_OPTIM_ADAM; kind++) {
        enum { W = 8 * 3 * 3 * 4 };
        static float scale[8], frozen[W];
        static uint8_t mask[W], code[W];
        maker k = make_start(4, (int64_t[]){-1, 4, 4, 4});
        make_conv(&k, 8,
                  &(fb_attr_conv){.kh = 3,
                                  .kw = 3,
                                  .groups = 1,
                                  .stride_h = 1,
                                  .stride_w = 1,
                                  .dil_h = 1,
                                  .dil_w = 1},
                  true);
        make_flat(&k);
        fb_model *m = make_end(&k);
        fb_net *net;
        fb_optim optim;
        fb_optim_options options = {.kind = (fb_optim_kind)kind, .momentum = 0.9f, .decay = 0.01f};
        OK(fb_net_create(m, &(fb_net_options){.batch = 2, .n_threads = 1}, &net));
        OK(fb_optim_create(net, &options, &optim));
        fb_param *p = fb_net_param(net, 0);
        assert_int_equal(p->n, W);
        fb_share s = {.name = "w",
                      .n = W,
                      .channels = 8,
                      .w = p->w,
                      .scale = scale,
                      .mask = mask,
                      .code = code};
        fb_share_rule r = make_rule(FB_SHARE_INTEGERS, FB_SHARE_BY_LOSS, 9);
        uint64_t seed = 1, step = 0;
        OK(fb_share_scales(p->w, W, 8, &r, scale));
        for (uint32_t phase = 0; phase < 6; phase++) { /* the first one learns freely */
            memcpy(frozen, p->w, sizeof frozen);
            for (int i = 0; i < 5; i++) {
                for (uint32_t q = 0; q < fb_net_n_params(net); q++)
                    fb_random_fill(&seed, -1, 1, fb_net_param(net, q)->n, fb_net_param(net, q)->g);
                fb_optim_step(&optim, 0.01f, step++, NULL);
            }
            size_t moved = 0;
            for (size_t i = 0; i < W; i++) {
                bool same = memcmp(&frozen[i], &p->w[i], 4) == 0;
                assert_true(phase == 0 || mask[i] || same);
                moved += !same;
            }
            assert_true(phase == 0 ? moved == W : moved == fb_share_n_free(&s));
            if (phase < 5)
                OK(fb_share_step(&s, 1, &r, phase));
            p->mask = mask;
        }
        check_frozen(&s);
        fb_optim_free(&optim);
        fb_net_destroy(&net);
        fb_model_close(&m);
    }
}

static void degenerate_layers(void **state)
{
    (void)state;
    static layer l[4];
    for (int kind = FB_SHARE_FLOATS; kind <= FB_SHARE_TOPMOST; kind++) {
        for (int fit = 0; fit < 2; fit++) {
            fb_share s[4];
            fb_share_rule r =
                make_rule((fb_share_values)kind,
                          kind == FB_SHARE_TOPMOST ? FB_SHARE_BY_WEIGHT : FB_SHARE_BY_LOSS, 17);
            r.fit = (fb_share_fit)fit;
            make_layer(&l[0], 64, 4, 0, 1); /* all 0 */
            make_layer(&l[1], 64, 4, 1, 2); /* one weight that is not, near nothing */
            make_layer(&l[2], 64, 4, 1, 3); /* one value */
            make_layer(&l[3], 4, 4, 1, 4);  /* fewer weights than levels */
            memset(l[1].w, 0, sizeof l[1].w);
            l[1].w[63] = -0.4f;
            for (size_t i = 0; i < 64; i++)
                l[2].w[i] = 0.75f;
            for (int k = 0; k < 4; k++) {
                OK(fb_share_scales(l[k].w, l[k].s.n, 4, &r, l[k].scale));
                s[k] = l[k].s;
                for (int c = 0; c < 4; c++)
                    assert_true(l[k].scale[c] > 0);
            }
            for (uint32_t step = 0; step < 5; step++) {
                OK(fb_share_step(s, 4, &r, step));
                for (int k = 0; k < 4; k++)
                    check_frozen(&s[k]);
                assert_int_equal(fb_share_n_free(&s[0]), 0); /* at once */
            }
            for (int k = 0; k < 4; k++)
                assert_int_equal(fb_share_n_free(&s[k]), 0);
            assert_int_equal(count_state(&s[0], FB_SHARE_FROZEN), 1);
            assert_true(fabsf(l[1].w[63] + 0.4f) < 0.15f && l[1].w[0] == 0);
            assert_true(fabsf(l[2].w[5] - 0.75f) < 0.3f && l[2].w[5] == l[2].w[60]);
        }
    }
    make_layer(&l[0], 64, 4, 1, 1);
    l[0].w[17] = NAN;
    fb_share_rule r = make_rule(FB_SHARE_FLOATS, FB_SHARE_BY_LOSS, 9);
    assert_int_equal(fb_share_step(&l[0].s, 1, &r, 0), FB_E_LIMIT);
    assert_non_null(strstr(fb_error(), "layer 'layer': weight 17 is nan"));
}

/* Root mean squares in 11 bits; with a rule, such that the error is less. */
static void scales_of_channels(void **state)
{
    (void)state;
    const float w[6] = {3, 4, 0, 0, 1, -1}, none[4] = {0, 0, 0, 0};
    float scale[3];
    OK(fb_share_scales(w, 6, 3, NULL, scale));
    assert_true(fabsf(scale[0] / 3.5355f - 1) < 0x1p-11f && scale[2] == 1);
    assert_true(fabsf(scale[1] / 2.1213f - 1) < 0x1p-11f); /* that of the layer */
    OK(fb_share_scales(none, 4, 2, NULL, scale));
    assert_true(scale[0] == 1 && scale[1] == 1);
    static layer l;
    static float x[N];
    for (int kind = FB_SHARE_FLOATS; kind <= FB_SHARE_POWERS; kind++) {
        fb_share_rule r = make_rule((fb_share_values)kind, FB_SHARE_BY_LOSS, 9);
        double error[2] = {0, 0};
        r.n_steps = 1;
        r.share[0] = 1;
        for (int fitted = 0; fitted < 2; fitted++) {
            make_layer(&l, N, CHANNELS, 0.02f, 21);
            memcpy(x, l.w, sizeof x);
            OK(fb_share_scales(l.w, N, CHANNELS, fitted ? &r : NULL, l.scale));
            for (int c = 0; c < CHANNELS; c++)
                assert_true(l.scale[c] == fb_share_stored_scale(l.scale[c]));
            OK(fb_share_step(&l.s, 1, &r, 0));
            for (size_t i = 0; i < N; i++)
                error[fitted] += pow((double)(x[i] - l.w[i]) / (1 + (double)(i / 288)), 2);
        }
        assert_true(error[1] < 0.99 * error[0]);
    }
}

/* Without memory: a sentence, and no leak. */
static void short_of_memory(void **state)
{
    (void)state;
    static layer l;
    fb_status status = FB_E_MEMORY;
    fb_share_rule r = make_rule(FB_SHARE_INTEGERS, FB_SHARE_BY_LAYER, 5);
    for (size_t n = 1; status != FB_OK; n++) {
        make_layer(&l, 256, 4, 1, 1);
        fb_alloc_fail_from(n);
        status = fb_share_step(&l.s, 1, &r, 0);
        fb_alloc_fail_from(0);
        assert_true(status == FB_OK || (status == FB_E_MEMORY && strlen(fb_error()) > 10));
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(powers_to_start_from),
        cmocka_unit_test(rounding_to_powers),
        cmocka_unit_test(schedule_of_slq),
        cmocka_unit_test(partition_of_slq),
        cmocka_unit_test(one_step_is_k_means),
        cmocka_unit_test(values_are_of_their_kind),
        cmocka_unit_test(inq),
        cmocka_unit_test(inq_rounds_to_the_nearest),
        cmocka_unit_test(joint_order_of_mlq),
        cmocka_unit_test(frozen_levels_stay_open),
        cmocka_unit_test(zeros_are_held),
        cmocka_unit_test(optimizers_leave_frozen_weights),
        cmocka_unit_test(degenerate_layers),
        cmocka_unit_test(scales_of_channels),
        cmocka_unit_test(short_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
