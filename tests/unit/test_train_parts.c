/* Losses, optimizers, schedules, augmentation and the stream of batches, against numbers worked by
 * hand. */
#include "train_net.h"

#include "base/status.h"
#include "fewbit/data.h"
#include "train/augment.h"
#include "train/loss.h"
#include "train/mixup.h"
#include "train/optim.h"
#include "train/schedule.h"
#include "train/stream.h"

#include <stdlib.h>

#define NEAR(a, b, tolerance) assert_true(fabs((double)(a) - (double)(b)) <= (tolerance))

/* ---- losses ---------------------------------------------------------------------------------- */

static void test_cross_entropy(void **state)
{
    (void)state;
    /* softmax (1/6, 2/6, 3/6) */
    const float logits[3] = {0, 0.69314718f, 1.09861229f};
    const int32_t label = 1;
    float g[3] = {1, 0, 0};
    uint64_t correct = 5;
    NEAR(fb_loss_cross_entropy(1, 3, logits, &label, 0, 2, g, &correct), log(3), 1e-6);
    NEAR(g[0], 1 + 2.0 / 6, 1e-6); /* added to what was there */
    NEAR(g[1], 2 * (2.0 / 6 - 1), 1e-6);
    NEAR(g[2], 2 * 3.0 / 6, 1e-6);
    assert_int_equal(correct, 5); /* the third is larger */
    /* smoothing 0.3: targets 0.1, 0.8, 0.1 */
    memset(g, 0, sizeof g);
    double want = 0.1 * log(6) + 0.8 * log(3) + 0.1 * log(2);
    NEAR(fb_loss_cross_entropy(1, 3, logits, &label, 0.3, 1, g, NULL), want, 1e-6);
    NEAR(g[1], 2.0 / 6 - 0.8, 1e-6);
    /* large logits do not overflow */
    const float large[2] = {1000, 0};
    const int32_t zero = 0;
    NEAR(fb_loss_cross_entropy(1, 2, large, &zero, 0, 1, g, &correct), 0, 1e-9);
    assert_int_equal(correct, 6);
}

static void test_distill(void **state)
{
    (void)state;
    const float logits[2] = {0, 0}, teacher[2] = {2.1972246f, 0}; /* at T = 2: p = (3/4, 1/4) */
    float g[2] = {0, 0};
    double kl = 0.75 * log(1.5) + 0.25 * log(0.5);
    NEAR(fb_loss_distill(1, 2, logits, teacher, 2, 1, g), 4 * kl, 1e-6);
    NEAR(g[0], 2 * (0.5 - 0.75), 1e-6); /* T^2 / T (q - p) */
    NEAR(g[1], 2 * (0.5 - 0.25), 1e-6);
    const float x[2] = {1, 3}, y[2] = {0, 1};
    g[0] = g[1] = 0;
    NEAR(fb_loss_square(2, x, y, 1, g), 2.5, 1e-9);
    NEAR(g[0], 1, 1e-7);
    NEAR(g[1], 2, 1e-7);
}

/* ---- optimizers ------------------------------------------------------------------------------ */

static fb_net *tiny_net(void)
{
    maker k = make_start(2, (int64_t[]){-1, 2});
    make_dense(&k, 2, true);
    fb_model *m = make_end(&k);
    const fb_net_options o = {.batch = 1, .n_threads = 1};
    fb_net *net;
    OK(fb_net_create(m, &o, &net));
    fb_model_close(&m);
    return net;
}

static void set(fb_param *p, float w, float g)
{
    for (size_t i = 0; i < p->n; i++) {
        p->w[i] = w;
        p->g[i] = g;
    }
}

static void test_sgd(void **state)
{
    (void)state;
    fb_net *net = tiny_net();
    fb_optim o;
    fb_param *w = fb_net_param(net, 0), *b = fb_net_param(net, 1);
    assert_true(w->decay && !b->decay);
    OK(fb_optim_create(net, &(fb_optim_options){FB_OPTIM_SGD, 0.5f, 0.1f, 0}, &o));
    set(w, 1, 2);
    set(b, 1, 2);
    fb_optim_step(&o, 0.1f, 0, NULL); /* v = 2.1; 2 for the bias */
    NEAR(w->w[0], 0.79, 1e-6);
    NEAR(b->w[0], 0.8, 1e-6);
    fb_optim_step(&o, 0.1f, 1, NULL); /* v = 1.05 + 2.079 = 3.129; 1 + 2 = 3 */
    NEAR(w->w[0], 0.79 - 0.3129, 1e-6);
    NEAR(b->w[0], 0.5, 1e-6);
    fb_optim_free(&o);
    OK(fb_optim_create(net, &(fb_optim_options){FB_OPTIM_NESTEROV, 0.5f, 0, 0}, &o));
    set(w, 1, 2);
    fb_optim_step(&o, 0.1f, 0, NULL); /* g + 0.5 v = 3 */
    NEAR(w->w[0], 0.7, 1e-6);
    fb_optim_free(&o);
    fb_net_destroy(&net);
}

static void test_adam(void **state)
{
    (void)state;
    fb_net *net = tiny_net();
    fb_optim o;
    fb_param *w = fb_net_param(net, 0);
    OK(fb_optim_create(net, &(fb_optim_options){FB_OPTIM_ADAM, 0, 0.5f, 0}, &o));
    set(w, 1, -3);
    fb_optim_step(&o, 0.01f, 0, NULL); /* first step: rate times sign, and decay 0.5 */
    NEAR(w->w[0], 1 + 0.01 - 0.005, 1e-6);
    fb_optim_free(&o);
    fb_net_destroy(&net);
}

static void test_clip(void **state)
{
    (void)state;
    fb_net *net = tiny_net();
    fb_optim o;
    double norm;
    fb_param *w = fb_net_param(net, 0), *b = fb_net_param(net, 1);
    OK(fb_optim_create(net, &(fb_optim_options){FB_OPTIM_SGD, 0, 0, 1}, &o));
    set(w, 0, 2); /* 4 numbers */
    set(b, 0, 0);
    fb_optim_step(&o, 1, 0, &norm);
    NEAR(norm, 4, 1e-6);
    NEAR(w->w[0], -0.5, 1e-6);
    fb_optim_free(&o);
    fb_net_destroy(&net);
}

/* METHODS B.8: a frozen weight stays to the bit, momentum and decay or not. */
static void test_frozen(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {1, 0, 1, 0};
    for (int kind = FB_OPTIM_SGD; kind <= FB_OPTIM_ADAM; kind++) {
        fb_net *net = tiny_net();
        fb_optim o;
        fb_average avg;
        fb_param *w = fb_net_param(net, 0);
        OK(fb_optim_create(net, &(fb_optim_options){(fb_optim_kind)kind, 0.9f, 0.1f, 1}, &o));
        OK(fb_average_create(net, 0.99f, &avg));
        float kept = 0.1f;
        set(w, kept, 1);
        fb_optim_step(&o, 0.1f, 0, NULL); /* gathers momentum */
        kept = w->w[1];
        w->mask = mask;
        for (uint64_t step = 1; step < 20; step++) {
            fb_optim_step(&o, 0.1f, step, NULL);
            fb_average_step(&avg, net, step);
        }
        assert_memory_equal(&w->w[1], &kept, sizeof kept);
        assert_memory_equal(&avg.a[0][3], &w->w[3], sizeof kept);
        assert_true(w->w[0] != kept);
        fb_average_free(&avg);
        fb_optim_free(&o);
        fb_net_destroy(&net);
    }
}

static void test_average(void **state)
{
    (void)state;
    fb_net *net = tiny_net();
    fb_average avg;
    fb_param *w = fb_net_param(net, 0);
    set(w, 0, 0);
    OK(fb_average_create(net, 0.5f, &avg));
    set(w, 1, 0);
    fb_average_step(&avg, net, 0); /* keeps 1/10 */
    NEAR(avg.a[0][0], 0.9, 1e-6);
    set(w, 2, 0);
    fb_average_step(&avg, net, 1000); /* keeps 1/2 */
    NEAR(avg.a[0][0], 1.45, 1e-6);
    fb_average_free(&avg);
    fb_net_destroy(&net);
}

/* ---- schedules ------------------------------------------------------------------------------- */

static void test_schedule(void **state)
{
    (void)state;
    fb_schedule s = {FB_SCHEDULE_ONE_CYCLE, 0.1, 0, 100};
    /* PyTorch 1.13: OneCycleLR(max_lr=0.1, total_steps=100) */
    NEAR(fb_schedule_rate(&s, 0), 0.004, 1e-9);
    NEAR(fb_schedule_rate(&s, 10), 0.0295163948, 1e-9);
    NEAR(fb_schedule_rate(&s, 29), 0.1, 1e-9);
    NEAR(fb_schedule_rate(&s, 64), 0.0500002, 1e-6);
    NEAR(fb_schedule_rate(&s, 99), 4e-7, 1e-9);
    s.kind = FB_SCHEDULE_COSINE;
    NEAR(fb_schedule_rate(&s, 0), 0.1, 1e-9);
    NEAR(fb_schedule_rate(&s, 50), 0.05, 1e-9);
    s.kind = FB_SCHEDULE_STEP;
    NEAR(fb_schedule_rate(&s, 49), 0.1, 1e-9);
    NEAR(fb_schedule_rate(&s, 50), 0.01, 1e-9);
    NEAR(fb_schedule_rate(&s, 75), 0.001, 1e-9);
    s = (fb_schedule){FB_SCHEDULE_CONSTANT, 0.1, 10, 100};
    NEAR(fb_schedule_rate(&s, 0), 0.01, 1e-9);
    NEAR(fb_schedule_rate(&s, 9), 0.1, 1e-9);
    for (uint64_t steps = 1; steps < 5; steps++) { /* no division by zero */
        s = (fb_schedule){FB_SCHEDULE_ONE_CYCLE, 0.1, 0, steps};
        for (uint64_t k = 0; k < steps; k++)
            assert_true(isfinite(fb_schedule_rate(&s, k)) && fb_schedule_rate(&s, k) > 0);
    }
    fb_schedule_kind kind;
    assert_int_equal(fb_schedule_parse("linear", &kind), FB_E_ARG);
}

/* ---- augmentation ---------------------------------------------------------------------------- */

static void test_augment_text(void **state)
{
    (void)state;
    fb_augment a;
    OK(fb_augment_parse("crop=4,flip,jitter=0.2", &a));
    assert_true(a.crop == 4 && a.flip && a.jitter == 0.2f && a.resize == 0);
    OK(fb_augment_parse("none", &a));
    assert_true(!a.flip);
    static const char *const bad[] = {
        "crop",     "crop=0",   "crop=1.5",          "flip=1", "turn", "crop=4,",
        "jitter=1", "resize=0", "crop=4,resize=0.5", ",flip"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fb_augment_parse(bad[i], &a), FB_E_ARG);
}

enum { H = 5, W = 4, C = 3, N = H * W * C };

static void test_augment_images(void **state)
{
    (void)state;
    float x[N], y[N], z[N];
    bool seen[3][3] = {{false}}, flipped = false, kept = false;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i + 1);
    /* every shift by up to one pixel occurs, and is that shift with zeros around */
    for (uint64_t seed = 0; seed < 100; seed++) {
        const fb_augment a = {.crop = 1};
        fb_augment_apply(&a, seed, H, W, C, x, y);
        int hits = 0;
        for (int dy = -1; dy <= 1; dy++) {
            for (int dx = -1; dx <= 1; dx++) {
                bool same = true;
                for (int r = 0; r < H; r++) {
                    for (int k = 0; k < W * C; k++) {
                        int from_r = r + dy, from_c = k / C + dx;
                        bool in = from_r >= 0 && from_r < H && from_c >= 0 && from_c < W;
                        float want = in ? x[(from_r * W + from_c) * C + k % C] : 0;
                        same = same && y[r * W * C + k] == want;
                    }
                }
                hits += same;
                seen[dy + 1][dx + 1] = seen[dy + 1][dx + 1] || same;
            }
        }
        assert_int_equal(hits, 1);
    }
    for (int i = 0; i < 9; i++)
        assert_true(seen[i / 3][i % 3]);
    for (uint64_t seed = 0; seed < 40; seed++) {
        const fb_augment a = {.flip = true};
        fb_augment_apply(&a, seed, H, W, C, x, y);
        bool same = memcmp(x, y, sizeof x) == 0;
        kept = kept || same;
        flipped = flipped || (!same && y[0] == x[(W - 1) * C] && y[1] == x[(W - 1) * C + 1]);
        assert_true(same || y[0] == x[(W - 1) * C]);
    }
    assert_true(kept && flipped);
    for (uint64_t seed = 0; seed < 40; seed++) {
        const fb_augment a = {.resize = 0.3f, .jitter = 0.4f};
        fb_augment_apply(&a, seed, H, W, C, x, y);
        fb_augment_apply(&a, seed, H, W, C, x, z);
        assert_memory_equal(y, z, sizeof y); /* a function of the seed */
        for (int i = 0; i < N; i++)
            assert_true(y[i] >= 0 && y[i] <= 255);
    }
    /* a constant image stays constant under resizing */
    for (int i = 0; i < N; i++)
        x[i] = 7;
    fb_augment_apply(&(fb_augment){.resize = 0.1f}, 3, H, W, C, x, y);
    for (int i = 0; i < N; i++)
        NEAR(y[i], 7, 1e-5);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void test_stream(void **state)
{
    (void)state;
    enum { COUNT = 23, BATCH = 5 };
    uint8_t pixels[COUNT];
    int32_t labels[COUNT];
    fb_train_set s = {
        .n = COUNT, .h = 1, .w = 1, .c = 1, .pixels = pixels, .labels = labels, .n_classes = COUNT};
    for (int i = 0; i < COUNT; i++) {
        pixels[i] = (uint8_t)(10 * i);
        labels[i] = i;
    }
    for (int v = 0; v < 256; v++)
        s.table[0][v] = (float)v / 255;
    float x[12][BATCH], again[BATCH];
    int32_t l[12][BATCH], l_again[BATCH];
    fb_stream *stream;
    static const fb_augment none;
    OK(fb_stream_create(&s, &none, (fb_places){BATCH, 0, BATCH}, 9, 0, &stream));
    for (int k = 0; k < 12; k++)
        fb_stream_next(stream, x[k], l[k]);
    fb_stream_destroy(stream);
    for (int epoch = 0; epoch < 3; epoch++) { /* four batches each: no sample twice */
        int times[COUNT] = {0};
        for (int k = 4 * epoch; k < 4 * epoch + 4; k++) {
            for (int i = 0; i < BATCH; i++) {
                assert_true(++times[l[k][i]] == 1);
                assert_true(x[k][i] == (float)(10 * l[k][i]) / 255);
            }
        }
    }
    assert_memory_not_equal(l[0], l[4], sizeof l[0]);
    for (uint64_t from = 0; from < 12; from++) { /* from any step on, the same */
        OK(fb_stream_create(&s, &none, (fb_places){BATCH, 0, BATCH}, 9, from, &stream));
        fb_stream_next(stream, again, l_again);
        assert_memory_equal(again, x[from], sizeof again);
        assert_memory_equal(l_again, l[from], sizeof l_again);
        fb_stream_destroy(stream);
    }
    assert_int_equal(
        fb_stream_create(&s, &none, (fb_places){COUNT + 1, 0, COUNT + 1}, 9, 0, &stream), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "23 training samples do not fill one batch of 24"));
}

/* Shares lie in [1/2, 1], are those of Beta(a, a) folded at 1/2 (mean 3/4 for the uniform a = 1,
 * near 1 for small a), and the same for the same step. */
static void test_mixup(void **state)
{
    (void)state;
    double mean[2] = {0, 0};
    for (uint64_t k = 0; k < 4000; k++) {
        float uniform = fb_mixup_share(1, 5, k), narrow = fb_mixup_share(0.05, 5, k);
        assert_true(uniform >= 0.5f && uniform <= 1 && narrow >= 0.5f && narrow <= 1);
        mean[0] += (double)uniform / 4000;
        mean[1] += (double)narrow / 4000;
    }
    assert_true(fabs(mean[0] - 0.75) < 0.01);
    assert_true(mean[1] > 0.95);
    assert_true(fb_mixup_share(1, 5, 7) == fb_mixup_share(1, 5, 7));
    assert_true(fb_mixup_share(1, 5, 7) != fb_mixup_share(1, 5, 8));
    float x[6] = {0, 1, 2, 3, 4, 6};
    const int32_t labels[3] = {5, 6, 7};
    int32_t partner[3];
    fb_mixup(0.75f, 3, 2, x, labels, partner);
    const float blend[6] = {0.5f, 1.5f, 1.5f, 2.5f, 4, 6};
    for (int i = 0; i < 6; i++)
        assert_true(x[i] == blend[i]);
    assert_true(partner[0] == 6 && partner[1] == 5 && partner[2] == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixup),          cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_distill),        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adam),           cmocka_unit_test(test_clip),
        cmocka_unit_test(test_frozen),         cmocka_unit_test(test_average),
        cmocka_unit_test(test_schedule),       cmocka_unit_test(test_augment_text),
        cmocka_unit_test(test_augment_images), cmocka_unit_test(test_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
