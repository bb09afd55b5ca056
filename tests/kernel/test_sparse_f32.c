/* Sparse f32 kernels against a sum in double: random geometries and densities, tiles in random
 * order, guard pages around every buffer. */
#include "guard.h"

#include "kernels/sparse_f32.h"

#include <math.h>

typedef struct problem {
    fbk_window g;
    size_t in, out, weights, kept;
    guard_buf x, w, bias, y;
    float lo, hi;
} problem;

static const float *f32(const guard_buf *b)
{
    return (const float *)(const void *)b->p;
}

static guard_buf floats(size_t n, guard_side side)
{
    guard_buf b = guard_new(n * sizeof(float), sizeof(float), side);
    test_fill_f32((float *)(void *)b.p, n);
    return b;
}

/* About one of `one_of` weights is not 0. */
static size_t thin_out(guard_buf *w, size_t n, uint32_t one_of)
{
    float *p = (float *)(void *)w->p;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (test_below(one_of) != 0)
            p[i] = 0;
        kept += p[i] != 0;
    }
    return kept;
}

static int32_t out_size(int32_t in, int32_t k, int32_t stride, int32_t dil, int32_t pad)
{
    int32_t room = in + 2 * pad - (k - 1) * dil - 1;
    return room < 0 ? 0 : room / stride + 1;
}

static bool random_window(fbk_window *g)
{
    static const int32_t channels[] = {1, 2, 3, 7, 8, 9, 17, 33, 64, 130};
    bool flat = test_below(4) == 0;
    *g = (fbk_window){.groups = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1};
    g->c = channels[test_below(10)];
    g->oc = channels[test_below(10)];
    g->h = flat ? 1 : test_range(1, 19);
    g->w = flat ? test_range(1, 900) : test_range(1, 40);
    g->dil_h = g->dil_w = 1;
    if (!flat) {
        g->kh = test_range(1, test_below(4) ? 3 : 7);
        g->kw = test_range(1, test_below(4) ? 3 : 7);
        g->stride_h = test_range(1, 3);
        g->stride_w = test_range(1, 3);
        g->dil_h = test_below(4) ? 1 : test_range(1, 3);
        g->dil_w = test_below(4) ? 1 : test_range(1, 3);
        g->pad_t = test_range(0, 3);
        g->pad_l = test_range(0, 3);
    }
    g->oh = out_size(g->h, g->kh, g->stride_h, g->dil_h, g->pad_t);
    g->ow = out_size(g->w, g->kw, g->stride_w, g->dil_w, g->pad_l);
    return g->oh > 0 && g->ow > 0;
}

static void open_problem(problem *p, guard_side side)
{
    const fbk_window *g = &p->g;
    p->in = (size_t)g->h * (size_t)g->w * (size_t)g->c;
    p->out = (size_t)g->oh * (size_t)g->ow * (size_t)g->oc;
    p->weights = (size_t)g->kh * (size_t)g->kw * (size_t)g->c * (size_t)g->oc;
    p->x = floats(p->in, side);
    p->w = floats(p->weights, side);
    p->kept = thin_out(&p->w, p->weights, (uint32_t)test_range(1, 12));
    p->bias = floats((size_t)g->oc, side);
    p->y = guard_new(p->out * sizeof(float), sizeof(float), side);
    guard_read_only(&p->x);
    guard_read_only(&p->w);
    guard_read_only(&p->bias);
    p->lo = test_below(2) ? 0.0f : -INFINITY;
    p->hi = test_below(2) ? 1.5f : INFINITY;
}

static void close_problem(problem *p)
{
    guard_free(&p->x);
    guard_free(&p->w);
    guard_free(&p->bias);
    guard_free(&p->y);
}

static double truth(const problem *p, int32_t px, int32_t o, double *magnitude)
{
    const fbk_window *g = &p->g;
    double sum = (double)f32(&p->bias)[o];
    *magnitude = fabs(sum);
    for (int32_t k = 0; k < g->kh * g->kw; k++) {
        int32_t iy = px / g->ow * g->stride_h - g->pad_t + k / g->kw * g->dil_h;
        int32_t ix = px % g->ow * g->stride_w - g->pad_l + k % g->kw * g->dil_w;
        if (iy < 0 || ix < 0 || iy >= g->h || ix >= g->w)
            continue;
        for (int32_t i = 0; i < g->c; i++) {
            double v = (double)f32(&p->x)[(iy * g->w + ix) * g->c + i] *
                       (double)f32(&p->w)[(o * g->kh * g->kw + k) * g->c + i];
            sum += v;
            *magnitude += fabs(v);
        }
    }
    return fmin(fmax(sum, (double)p->lo), (double)p->hi);
}

static void check(const problem *p, const char *name)
{
    const fbk_window *g = &p->g;
    double products = (double)p->weights / g->oc + 1;
    for (int32_t i = 0; i < (int32_t)p->out; i++) {
        double magnitude, want = truth(p, i / g->oc, i % g->oc, &magnitude);
        if (!(fabs((double)f32(&p->y)[i] - want) <= products * 0x1p-24 * magnitude))
            fail_msg("%s: output %d is %.9g, want %.9g (h %d w %d c %d oc %d k %dx%d stride %d,%d "
                     "dil %d,%d pad %d,%d)",
                     name, i, (double)f32(&p->y)[i], want, g->h, g->w, g->c, g->oc, g->kh, g->kw,
                     g->stride_h, g->stride_w, g->dil_h, g->dil_w, g->pad_t, g->pad_l);
    }
}

static void run_tiles(const problem *p, const fbk_sparse_f32_shape *s, fbk_sparse_f32_args *a,
                      guard_side side)
{
    uint32_t tiles = fbk_sparse_f32_tiles(s), first = test_below(tiles);
    guard_buf scratch = guard_new((s->scratch_bytes + 63) / 64 * 64, 64, side);
    a->x = f32(&p->x);
    a->bias = f32(&p->bias);
    a->y = (float *)(void *)p->y.p;
    a->lo = p->lo;
    a->hi = p->hi;
    a->scratch = scratch.p;
    for (uint32_t i = 0; i < tiles; i++)
        fbk_sparse_f32_tile(a, (first + i) % tiles);
    guard_free(&scratch);
}

static void test_conv(fbk_sparse_f32_fn *micro, const char *name)
{
    int ran = 0;
    for (int i = 0; i < 150; i++) {
        problem p;
        fbk_sparse_f32_shape s;
        guard_side side = (guard_side)(i % GUARD_SIDES);
        if (!random_window(&p.g))
            continue;
        assert_true(fbk_sparse_f32_shape_make(&p.g, &s));
        open_problem(&p, side);
        guard_buf start =
            guard_new((s.n_blocks * (size_t)p.g.oc + 1) * sizeof(uint32_t), sizeof(uint32_t), side);
        guard_buf off = guard_new(p.kept * sizeof(uint16_t), sizeof(uint16_t), side);
        guard_buf value = guard_new(p.kept * sizeof(float), sizeof(float), side);
        fbk_sparse_f32_args a = {.s = &s, .micro = micro, .move = fbk_move_any_ref};
        a.w.start = (uint32_t *)(void *)start.p;
        a.w.off = (uint16_t *)(void *)off.p;
        a.w.value = (float *)(void *)value.p;
        fbk_sparse_f32_pack(&s, f32(&p.w), &a.w);
        assert_int_equal(a.w.start[s.n_blocks * (size_t)p.g.oc], p.kept);
        run_tiles(&p, &s, &a, side);
        check(&p, name);
        guard_free(&start);
        guard_free(&off);
        guard_free(&value);
        close_problem(&p);
        ran++;
    }
    assert_true(ran > 50);
}

/* y [m][n] of x [m][k], cut at random places. */
static void test_dense(fbk_sparse_dense_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 200; round++) {
        guard_side side = (guard_side)(round % GUARD_SIDES);
        size_t m = (size_t)test_range(1, 3), n = (size_t)test_range(1, 20);
        size_t k = (size_t)test_range(1, 300);
        guard_buf x = floats(m * k, side), w = floats(n * k, side), bias = floats(n, side);
        size_t kept = thin_out(&w, n * k, (uint32_t)test_range(1, 9)), t = 0;
        guard_buf at = guard_new(kept * sizeof(uint16_t), sizeof(uint16_t), side);
        guard_buf value = guard_new(kept * sizeof(float), sizeof(float), side);
        guard_buf y = guard_new(m * n * sizeof(float), sizeof(float), side);
        uint32_t start[21] = {0};
        for (size_t i = 0; i < n * k; i++) {
            if (f32(&w)[i] != 0) {
                ((uint16_t *)(void *)at.p)[t] = (uint16_t)(i % k);
                ((float *)(void *)value.p)[t++] = f32(&w)[i];
            }
            start[i / k + 1] = (uint32_t)t;
        }
        fbk_sparse_dense_f32_args a = {.m = m,
                                       .k = k,
                                       .ldy = n,
                                       .x = f32(&x),
                                       .w = f32(&value),
                                       .bias = f32(&bias),
                                       .start = start,
                                       .at = (const uint16_t *)(void *)at.p,
                                       .y = (float *)(void *)y.p,
                                       .lo = -1,
                                       .hi = INFINITY};
        size_t cut = test_below((uint32_t)n + 1);
        fn(&a, 0, cut);
        fn(&a, cut, n);
        for (size_t i = 0; i < m * n; i++) {
            double sum = (double)f32(&bias)[i % n], magnitude = fabs(sum);
            for (size_t q = 0; q < k; q++) {
                double v = (double)f32(&x)[i / n * k + q] * (double)f32(&w)[i % n * k + q];
                sum += v;
                magnitude += fabs(v);
            }
            if (!(fabs((double)f32(&y)[i] - fmax(sum, -1)) <=
                  (double)(k + 1) * 0x1p-24 * magnitude))
                fail_msg("%s: output %zu of m %zu n %zu k %zu", name, i, m, n, k);
        }
        guard_free(&x);
        guard_free(&w);
        guard_free(&bias);
        guard_free(&at);
        guard_free(&value);
        guard_free(&y);
    }
}

static void sparse_f32_rows(void **state)
{
    (void)state;
#define RUN_sparse_f32(symbol)       test_conv(symbol, #symbol)
#define RUN_sparse_dense_f32(symbol) test_dense(symbol, #symbol)
#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable()))                                                     \
        RUN_##family(symbol);
#include "kernels/sparse_f32.inc"
#undef FBK
}

/* Grouped convolutions, and planes that 16 bits cannot number, are left to others. */
static void declines(void **state)
{
    (void)state;
    fbk_sparse_f32_shape s;
    fbk_window g = {.h = 8,
                    .w = 8,
                    .c = 4,
                    .oh = 8,
                    .ow = 8,
                    .oc = 4,
                    .kh = 1,
                    .kw = 1,
                    .stride_h = 1,
                    .stride_w = 1,
                    .dil_h = 1,
                    .dil_w = 1,
                    .groups = 2};
    assert_false(fbk_sparse_f32_shape_make(&g, &s));
    g.groups = 1;
    assert_true(fbk_sparse_f32_shape_make(&g, &s));
    g.kh = 3;
    g.oh = 6;
    g.w = g.ow = 30000;
    assert_false(fbk_sparse_f32_shape_make(&g, &s));
}

/* The cost falls with the zeros, and of 3 x 3 windows a third of the weights is worth it. */
static void cost(void **state)
{
    (void)state;
    fbk_sparse_f32_shape s;
    fbk_window g = {.h = 14,
                    .w = 14,
                    .c = 256,
                    .oh = 14,
                    .ow = 14,
                    .oc = 256,
                    .kh = 3,
                    .kw = 3,
                    .stride_h = 1,
                    .stride_w = 1,
                    .dil_h = 1,
                    .dil_w = 1,
                    .pad_t = 1,
                    .pad_l = 1,
                    .groups = 1};
    assert_true(fbk_sparse_f32_shape_make(&g, &s));
    size_t n = 256 * 256 * 9;
    assert_true(fbk_sparse_f32_cost(&s, n) > 1.5);
    assert_true(fbk_sparse_f32_cost(&s, n / 3) < 0.9);
    assert_true(fbk_sparse_f32_cost(&s, n / 10) < 0.4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sparse_f32_rows),
                                       cmocka_unit_test(declines), cmocka_unit_test(cost)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
