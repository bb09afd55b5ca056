/* A batch that several processes share: sums over them, batch norms of all of it, and nets that
 * learn from parts of a batch what one net learns from the whole. Threads stand for processes. */
#include "train_net.h"

#include "train/ranks.h"
#include "train/stream.h"

#include <pthread.h>

enum { RANKS = 3 };

/* ---- threads as processes -------------------------------------------------------------------- */

typedef struct hub {
    pthread_barrier_t barrier;
    const char *from[RANKS];
} hub;

static void exchange(const fb_ranks *r, const void *from, void *to, size_t bytes)
{
    hub *h = r->user;
    h->from[r->own] = from;
    pthread_barrier_wait(&h->barrier);
    for (uint32_t k = 0; k < r->n; k++)
        memcpy((char *)to + k * bytes, h->from[k] + r->own * bytes, bytes);
    pthread_barrier_wait(&h->barrier);
}

static void gather(const fb_ranks *r, const void *from, void *to, size_t bytes)
{
    hub *h = r->user;
    h->from[r->own] = from;
    pthread_barrier_wait(&h->barrier);
    for (uint32_t k = 0; k < r->n; k++)
        memcpy((char *)to + k * bytes, h->from[k], bytes);
    pthread_barrier_wait(&h->barrier);
}

typedef struct worker {
    fb_ranks ranks;
    fb_status (*work)(struct worker *w);
    void *what; /* the test's */
    fb_status status;
    pthread_t thread;
} worker;

static void *start_worker(void *arg)
{
    worker *w = arg;
    w->status = w->work(w);
    return NULL;
}

static void run_ranks(worker *w, fb_status (*work)(worker *), void *what, size_t bytes)
{
    hub h;
    pthread_barrier_init(&h.barrier, NULL, RANKS);
    for (uint32_t k = 0; k < RANKS; k++) {
        w[k] = (worker){.ranks = {RANKS, k, exchange, gather, &h},
                        .work = work,
                        .what = (char *)what + k * bytes};
        assert_int_equal(pthread_create(&w[k].thread, NULL, start_worker, &w[k]), 0);
    }
    for (uint32_t k = 0; k < RANKS; k++) {
        pthread_join(w[k].thread, NULL);
        OK(w[k].status);
    }
    pthread_barrier_destroy(&h.barrier);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* More floats than three messages hold. */
enum { MANY = 300001 };

typedef struct numbers {
    double few[7];
    float many[MANY];
    uint32_t bits, same, other;
} numbers;

static fb_status add_up(worker *w)
{
    numbers *x = w->what;
    uint64_t seed = w->ranks.own;
    for (int i = 0; i < 7; i++)
        x->few[i] = (double)fb_random_float(&seed, -1, 1);
    fb_random_fill(&seed, -1, 1, MANY, x->many);
    x->bits = w->ranks.own == 1 ? 6 : 1;
    FB_TRY(fb_ranks_sum(&w->ranks, x->few, 7));
    FB_TRY(fb_ranks_sum(&w->ranks, x->few, 0));
    FB_TRY(fb_ranks_mean(&w->ranks, x->many, MANY));
    FB_TRY(fb_ranks_any(&w->ranks, &x->bits));
    FB_TRY(fb_ranks_differ(&w->ranks, 5, &x->same));
    return fb_ranks_differ(&w->ranks, w->ranks.own < 2 ? 5 : 6, &x->other);
}

static void test_sums(void **state)
{
    (void)state;
    static numbers x[RANKS];
    static float many[RANKS][MANY];
    double few[7] = {0};
    worker w[RANKS];
    run_ranks(w, add_up, x, sizeof *x);
    for (uint64_t k = 0; k < RANKS; k++) {
        uint64_t seed = k;
        for (int i = 0; i < 7; i++)
            few[i] += (double)fb_random_float(&seed, -1, 1);
        fb_random_fill(&seed, -1, 1, MANY, many[k]);
    }
    for (int i = 0; i < MANY; i++) {
        double sum = ((double)many[0][i] + (double)many[1][i]) + (double)many[2][i];
        assert_true(x[0].many[i] == (float)(sum / 3));
    }
    for (int k = 0; k < RANKS; k++) { /* in the order of ranks: to the bit */
        assert_memory_equal(x[k].few, few, sizeof few);
        assert_memory_equal(x[k].many, x[0].many, sizeof x[0].many);
        assert_int_equal(x[k].bits, 7);
        assert_int_equal(x[k].same, 0);
        assert_int_equal(x[k].other, 2);
    }
}

/* ---- nets ------------------------------------------------------------------------------------ */

static fb_attr_conv conv_3x3(void)
{
    return (fb_attr_conv){.kh = 3,
                          .kw = 3,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = 1,
                          .pad_b = 1,
                          .pad_l = 1,
                          .pad_r = 1,
                          .groups = 1};
}

/* Rounded input, conv, batch norm with and without a clamp, dropout, dense. */
static fb_model *build(int64_t channels, bool relu)
{
    maker k = make_start(4, (int64_t[]){-1, 3, 5, 2});
    fb_attr_conv conv = conv_3x3();
    int32_t in = k.x;
    make_node(&k, FB_OP_CONVERT, 1, &in, NULL);
    OK(fb_model_set_activation(k.m, k.x, 4, true, 0.11f, 0));
    make_conv(&k, channels, &conv, false);
    make_norm(&k);
    if (relu)
        make_unary(&k, FB_UNARY_RELU, 0, 0);
    make_flat(&k);
    make_dense(&k, 4, true);
    return make_end(&k);
}

typedef struct part {
    const fb_model *model;
    uint32_t images, first; /* of the batch */
    float dropout;
    fb_net *net;
} part;

/* Two steps' worth of everything that depends on the batch: measured, adopted, forward, back. */
static fb_status pass(part *p, const fb_ranks *ranks)
{
    bool learn[64] = {false, true};
    const fb_net_options o = {.batch = p->images,
                              .n_threads = 1,
                              .dropout = p->dropout,
                              .seed = 4,
                              .learn = learn,
                              .ranks = ranks};
    size_t n;
    uint64_t seed = 1;
    FB_TRY(fb_net_create(p->model, &o, &p->net));
    float *x = fb_net_input(p->net, &n);
    fb_random_skip(&seed, n / p->images * p->first);
    fb_random_fill(&seed, -1, 1, n, x);
    FB_TRY(fb_net_forward(p->net, FB_NET_MEASURE, 0));
    FB_TRY(fb_net_adopt(p->net));
    FB_TRY(fb_net_forward(p->net, FB_NET_TRAIN, 7));
    (void)fb_net_logits(p->net, &n);
    seed = 2;
    fb_random_skip(&seed, n / p->images * p->first);
    fb_random_fill(&seed, -1, 1, n, fb_net_logits_gradient(p->net));
    for (size_t i = 0; i < n; i++) /* of a mean over the images */
        fb_net_logits_gradient(p->net)[i] /= (float)p->images;
    return fb_net_backward(p->net);
}

static fb_status pass_shared(worker *w)
{
    part *p = w->what;
    FB_TRY(pass(p, &w->ranks));
    for (uint32_t i = 0; i < fb_net_n_params(p->net); i++) {
        const fb_param *q = fb_net_param(p->net, i);
        if (q->g)
            FB_TRY(fb_ranks_mean(&w->ranks, q->g, q->n));
    }
    return FB_OK;
}

static void assert_close(const char *what, uint32_t at, const float *a, const float *b, size_t n)
{
    float most = 1e-3f;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(b[i]));
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= 2e-5f * most))
            fail_msg("%s %u, element %zu: %g instead of %g", what, at, i, (double)a[i],
                     (double)b[i]);
    }
}

static void assert_same_learning(fb_net *net, fb_net *whole)
{
    assert_int_equal(fb_net_n_params(net), fb_net_n_params(whole));
    for (uint32_t i = 0; i < fb_net_n_params(whole); i++) {
        const fb_param *p = fb_net_param(net, i), *q = fb_net_param(whole, i);
        assert_close("parameter", i, p->w, q->w, q->n);
        if (q->g)
            assert_close("gradient", i, p->g, q->g, q->n);
    }
}

static void compare(int64_t channels, bool relu, float dropout, uint32_t each)
{
    fb_model *m = build(channels, relu);
    part whole = {m, RANKS * each, 0, dropout, NULL}, parts[RANKS];
    worker w[RANKS];
    size_t n;
    for (uint32_t k = 0; k < RANKS; k++)
        parts[k] = (part){m, each, k * each, dropout, NULL};
    OK(pass(&whole, NULL));
    run_ranks(w, pass_shared, parts, sizeof *parts);
    for (uint32_t k = 0; k < RANKS; k++) {
        const float *logits = fb_net_logits(parts[k].net, &n);
        assert_close("logits", k, logits, fb_net_logits(whole.net, &n) + k * each * 4, each * 4);
        assert_same_learning(parts[k].net, whole.net);
        fb_net_destroy(&parts[k].net);
    }
    fb_net_destroy(&whole.net);
    fb_model_close(&m);
}

/* Parameters, running statistics, gradients and logits are those of one net; widths around the
 * blocks of shared_norm.c. */
static void test_shares(void **state)
{
    (void)state;
    compare(1, true, 0, 2);
    compare(3, false, 0, 4);
    compare(16, true, 0, 1);
    compare(17, true, 0.3f, 3);
    compare(33, false, 0.3f, 2);
}

/* The batch norm of shared_norm.c over one process is oneDNN's. */
static void test_norm_alone(void **state)
{
    (void)state;
    const fb_ranks alone = {.n = 1};
    static const int64_t channels[] = {1, 5, 16, 31, 48};
    for (int i = 0; i < 10; i++) {
        fb_model *m = build(channels[i / 2], i % 2);
        part ours = {m, 7, 0, 0, NULL}, theirs = ours;
        size_t n;
        OK(pass(&ours, &alone));
        OK(pass(&theirs, NULL));
        const float *logits = fb_net_logits(ours.net, &n);
        assert_close("logits", 0, logits, fb_net_logits(theirs.net, &n), n);
        assert_same_learning(ours.net, theirs.net);
        fb_net_destroy(&ours.net);
        fb_net_destroy(&theirs.net);
        fb_model_close(&m);
    }
}

/* A batch norm of its share alone learns something else: the comparison sees it. */
static void test_mutant(void **state)
{
    (void)state;
    fb_model *m = build(3, false);
    part whole = {m, 6, 0, 0, NULL}, half = {m, 3, 0, 0, NULL};
    OK(pass(&whole, NULL));
    OK(pass(&half, NULL));
    double worst = 0;
    for (uint32_t i = 0; i < fb_net_n_params(half.net); i++) {
        const fb_param *p = fb_net_param(half.net, i), *q = fb_net_param(whole.net, i);
        for (size_t k = 0; k < p->n; k++)
            worst = fmax(worst, fabs((double)p->w[k] - (double)q->w[k]));
    }
    assert_true(worst > 0.01);
    fb_net_destroy(&whole.net);
    fb_net_destroy(&half.net);
    fb_model_close(&m);
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* Shares of a batch are the batch, augmentation included. */
static void test_places(void **state)
{
    (void)state;
    enum { COUNT = 20, BATCH = 6, ELEMS = 12, STEPS = 7 };
    uint8_t pixels[COUNT * ELEMS];
    int32_t labels[COUNT], l[BATCH], l_share[BATCH];
    fb_train_set s = {.n = COUNT, .h = 2, .w = 2, .c = 3, .pixels = pixels, .labels = labels};
    float x[BATCH * ELEMS], x_share[BATCH * ELEMS];
    fb_augment augment;
    fb_stream *whole, *share[RANKS];
    for (int i = 0; i < COUNT * ELEMS; i++)
        pixels[i] = (uint8_t)i;
    for (int i = 0; i < COUNT; i++)
        labels[i] = i;
    for (int v = 0; v < 4 * 256; v++)
        s.table[v / 256][v % 256] = (float)(v % 256) / 255;
    OK(fb_augment_parse("crop=1,flip,jitter=0.2", &augment));
    OK(fb_stream_create(&s, &augment, (fb_places){BATCH, 0, BATCH}, 9, 0, &whole));
    for (uint32_t k = 0; k < RANKS; k++)
        OK(fb_stream_create(&s, &augment, (fb_places){BATCH, 2 * k, 2}, 9, 0, &share[k]));
    for (int step = 0; step < STEPS; step++) {
        fb_stream_next(whole, x, l);
        for (int k = 0; k < RANKS; k++) {
            fb_stream_next(share[k], x_share, l_share);
            assert_memory_equal(x_share, x + k * 2 * ELEMS, 2 * ELEMS * sizeof *x);
            assert_memory_equal(l_share, l + 2 * k, 2 * sizeof *l);
        }
    }
    fb_stream_destroy(whole);
    for (int k = 0; k < RANKS; k++)
        fb_stream_destroy(share[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),   cmocka_unit_test(test_shares),
        cmocka_unit_test(test_mutant), cmocka_unit_test(test_norm_alone),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
