/* f32 convolutions against a sum in double: every row of conv_f32.inc and igemm_f32.inc, random odd
 * geometries, random tiles, guard pages around every buffer. */
#include "guard.h"

#include "kernels/conv_f32.h"
#include "kernels/igemm_f32.h"

#include <math.h>

typedef struct problem {
    fbk_window g;
    size_t in, out, weights, k; /* elements; products of one output */
    guard_buf x, w, bias, y;
    float lo, hi;
    bool transposed;
} problem;

/* Output (oy, ox, o) and the sum of magnitudes, in double. */
static double truth(const problem *p, int32_t oy, int32_t ox, int32_t o, double *magnitude)
{
    const fbk_window *g = &p->g;
    const float *x = (const float *)(void *)p->x.p, *w = (const float *)(void *)p->w.p;
    int32_t icg = g->c / g->groups, group = o / (g->oc / g->groups);
    double sum = (double)((const float *)(void *)p->bias.p)[o];
    *magnitude = fabs(sum);
    for (int32_t ky = 0; ky < g->kh; ky++) {
        for (int32_t kx = 0; kx < g->kw; kx++) {
            int32_t iy, ix;
            if (p->transposed) {
                int32_t ay = oy + g->pad_t - ky * g->dil_h, ax = ox + g->pad_l - kx * g->dil_w;
                if (ay < 0 || ax < 0 || ay % g->stride_h || ax % g->stride_w)
                    continue;
                iy = ay / g->stride_h;
                ix = ax / g->stride_w;
            } else {
                iy = oy * g->stride_h - g->pad_t + ky * g->dil_h;
                ix = ox * g->stride_w - g->pad_l + kx * g->dil_w;
            }
            if (iy < 0 || ix < 0 || iy >= g->h || ix >= g->w)
                continue;
            for (int32_t i = 0; i < icg; i++) {
                double v = (double)x[(iy * g->w + ix) * g->c + group * icg + i] *
                           (double)w[((o * g->kh + ky) * g->kw + kx) * icg + i];
                sum += v;
                *magnitude += fabs(v);
            }
        }
    }
    return sum < (double)p->lo ? (double)p->lo : sum > (double)p->hi ? (double)p->hi : sum;
}

static void check(const problem *p, const char *name)
{
    const float *y = (const float *)(void *)p->y.p;
    for (int32_t i = 0; i < (int32_t)p->out; i++) {
        int32_t px = i / p->g.oc;
        double magnitude, want = truth(p, px / p->g.ow, px % p->g.ow, i % p->g.oc, &magnitude);
        double bound = ((double)p->k + 1) * 0x1p-24 * magnitude;
        if (!(fabs((double)y[i] - want) <= bound))
            fail_msg("%s: output %d is %.9g, want %.9g +- %.3g (h %d w %d c %d oc %d k %dx%d "
                     "stride %d,%d dil %d,%d pad %d,%d groups %d)",
                     name, i, (double)y[i], want, bound, p->g.h, p->g.w, p->g.c, p->g.oc, p->g.kh,
                     p->g.kw, p->g.stride_h, p->g.stride_w, p->g.dil_h, p->g.dil_w, p->g.pad_t,
                     p->g.pad_l, p->g.groups);
    }
}

static guard_buf floats(size_t n, guard_side side, bool fill)
{
    guard_buf b = guard_new(n * sizeof(float), sizeof(float), side);
    if (fill) {
        test_fill_f32((float *)(void *)b.p, n);
        guard_read_only(&b);
    }
    return b;
}

static int32_t out_size(int32_t in, int32_t k, int32_t stride, int32_t dil, int32_t pad)
{
    int32_t room = in + 2 * pad - (k - 1) * dil - 1;
    return room < 0 ? 0 : room / stride + 1;
}

/* A random geometry; false when it has no output. */
static bool random_window(fbk_window *g, bool depthwise, bool grouped)
{
    static const int32_t channels[] = {1, 2, 3, 4, 7, 8, 9, 16, 17, 24, 31, 32, 33, 40, 48, 53};
    const uint32_t n = sizeof channels / sizeof channels[0];
    memset(g, 0, sizeof *g);
    g->groups = grouped ? test_range(2, 3) : 1;
    g->c = channels[test_below(n)] * g->groups;
    g->oc = depthwise ? g->c : channels[test_below(n)] * g->groups;
    if (depthwise)
        g->groups = g->c;
    g->h = test_range(1, 13);
    g->w = test_range(1, 17);
    g->kh = test_range(1, test_below(4) ? 3 : 7);
    g->kw = test_range(1, test_below(4) ? 3 : 7);
    g->stride_h = test_range(1, 3);
    g->stride_w = test_range(1, 3);
    g->dil_h = test_below(4) ? 1 : test_range(1, 3);
    g->dil_w = test_below(4) ? 1 : test_range(1, 3);
    g->pad_t = test_range(0, 3);
    g->pad_l = test_range(0, 3);
    g->oh = out_size(g->h, g->kh, g->stride_h, g->dil_h, g->pad_t);
    g->ow = out_size(g->w, g->kw, g->stride_w, g->dil_w, g->pad_l);
    return g->oh > 0 && g->ow > 0;
}

static void open_problem(problem *p, guard_side side)
{
    const fbk_window *g = &p->g;
    p->in = (size_t)g->h * (size_t)g->w * (size_t)g->c;
    p->out = (size_t)g->oh * (size_t)g->ow * (size_t)g->oc;
    p->k = (size_t)g->kh * (size_t)g->kw * (size_t)(g->c / g->groups);
    p->weights = p->k * (size_t)g->oc;
    p->x = floats(p->in, side, true);
    p->w = floats(p->weights, side, true);
    p->bias = floats((size_t)g->oc, side, true);
    p->y = floats(p->out, side, false);
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

/* Runs a kernel of the direct form in random pieces. */
static void run_pieces(const problem *p, fbk_conv_f32_fn *fn, const float *w)
{
    fbk_conv_f32_args a = {.g = &p->g,
                           .x = (const float *)(void *)p->x.p,
                           .w = w,
                           .bias = (const float *)(void *)p->bias.p,
                           .y = (float *)(void *)p->y.p,
                           .lo = p->lo,
                           .hi = p->hi};
    size_t px = (size_t)p->g.oh * (size_t)p->g.ow;
    for (size_t from = 0; from < px;) {
        size_t to = from + 1 + test_below((uint32_t)(px - from));
        fn(&a, from, to);
        from = to;
    }
}

static void test_direct(fbk_conv_f32_fn *fn, const char *name, bool transposed)
{
    for (int i = 0; i < 200; i++) {
        problem p = {.transposed = transposed};
        if (!random_window(&p.g, false, test_below(3) == 0))
            continue;
        if (transposed) { /* oh, ow: what the scatter of the whole input reaches, less the padding
                           */
            p.g.oh = (p.g.h - 1) * p.g.stride_h + (p.g.kh - 1) * p.g.dil_h + 1 - p.g.pad_t;
            p.g.ow = (p.g.w - 1) * p.g.stride_w + (p.g.kw - 1) * p.g.dil_w + 1 - p.g.pad_l;
            if (p.g.oh <= 0 || p.g.ow <= 0)
                continue;
        }
        open_problem(&p, (guard_side)(i % GUARD_SIDES));
        run_pieces(&p, fn, (const float *)(void *)p.w.p);
        check(&p, name);
        close_problem(&p);
    }
}

static void test_depthwise(fbk_dwconv_f32_fn *fn, const char *name)
{
    for (int i = 0; i < 400; i++) {
        problem p = {.transposed = false};
        if (!random_window(&p.g, true, false))
            continue;
        guard_side side = (guard_side)(i % GUARD_SIDES);
        open_problem(&p, side);
        guard_buf packed = floats(p.weights, side, false);
        size_t taps = (size_t)p.g.kh * (size_t)p.g.kw, c = (size_t)p.g.c;
        for (size_t k = 0; k < taps; k++)
            for (size_t j = 0; j < c; j++)
                ((float *)(void *)packed.p)[k * c + j] = ((float *)(void *)p.w.p)[j * taps + k];
        run_pieces(&p, fn, (const float *)(void *)packed.p);
        check(&p, name);
        guard_free(&packed);
        close_problem(&p);
    }
}

static void igemm_case(problem *p, fbk_igemm_f32_fn *micro, const char *name, guard_side side)
{
    fbk_igemm_f32_shape s;
    open_problem(p, side);
    fbk_igemm_f32_shape_make(&p->g, &s);
    size_t packed_bytes = fbk_igemm_f32_packed_elems(&s) * sizeof(float);
    guard_buf packed = guard_new(packed_bytes, 32, GUARD_START);
    guard_buf scratch = guard_new(s.scratch_bytes, 8, side);
    memset(packed.p, 0, packed_bytes);
    fbk_igemm_f32_pack(&s, (const float *)(void *)p->w.p, (float *)(void *)packed.p);
    fbk_igemm_f32_args a = {.s = &s,
                            .micro = micro,
                            .x = (const float *)(void *)p->x.p,
                            .packed = (const float *)(void *)packed.p,
                            .bias = (const float *)(void *)p->bias.p,
                            .y = (float *)(void *)p->y.p,
                            .lo = p->lo,
                            .hi = p->hi,
                            .scratch = scratch.p};
    for (uint32_t t = fbk_igemm_f32_tiles(&s); t-- > 0;)
        fbk_igemm_f32_tile(&a, t);
    check(p, name);
    guard_free(&packed);
    guard_free(&scratch);
    close_problem(p);
}

static void test_igemm(fbk_igemm_f32_fn *micro, const char *name)
{
    /* Blocks of k: kernel rows and taps longer than one block, several tiles in both directions. */
    static const fbk_window fixed[] = {
        {9, 9, 800, 7, 7, 40, 3, 3, 1, 1, 1, 1, 0, 0, 1},
        {5, 61, 31, 5, 61, 72, 3, 13, 1, 1, 1, 1, 1, 6, 1},
        {40, 40, 3, 20, 20, 64, 7, 7, 2, 2, 1, 1, 3, 3, 1},
        {30, 30, 64, 30, 30, 200, 1, 1, 1, 1, 1, 1, 0, 0, 1},
        {1, 7, 1000, 1, 7, 1001, 1, 1, 1, 1, 1, 1, 0, 0, 1},
        {28, 28, 16, 28, 28, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        problem p = {.g = fixed[i]};
        igemm_case(&p, micro, name, (guard_side)(i % GUARD_SIDES));
    }
    for (int i = 0; i < 400; i++) {
        problem p = {.transposed = false};
        if (random_window(&p.g, false, test_below(3) == 0))
            igemm_case(&p, micro, name, (guard_side)(i % GUARD_SIDES));
    }
}

/* The micro-kernel alone: every block size, against the reference row bit for bit up to rounding.
 */
static void test_micro(fbk_igemm_f32_fn *micro, const char *name)
{
    for (int round = 0; round < 600; round++) {
        size_t nr = (size_t)test_range(1, 3) * 8, n = nr - test_below(8);
        size_t m = (size_t)test_range(1, nr == 24 ? FBK_IGEMM_MR_24 : FBK_IGEMM_MR);
        size_t n_seg = (size_t)test_range(1, 4), len = (size_t)test_range(1, 33);
        size_t offset = test_below(3), ldy = n + test_below(3), k = n_seg * len;
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf b = guard_new(k * nr * 4, 32, side), bias = floats(n, side, true);
        guard_buf y = guard_new(((m - 1) * ldy + n) * 4, 4, side), x[24];
        const float *rows[24];
        double want[6][24], size[6][24];
        test_fill_f32((float *)(void *)b.p, k * nr);
        test_fill_f32((float *)(void *)y.p, (m - 1) * ldy + n);
        for (size_t r = 0; r < n_seg * m; r++) {
            x[r] = floats(len + offset, side, true);
            rows[r] = (const float *)(void *)x[r].p;
        }
        fbk_igemm_f32_block p = {.m = m,
                                 .nr = nr,
                                 .n = n,
                                 .n_seg = n_seg,
                                 .len = len,
                                 .rows = rows,
                                 .rows_ld = m,
                                 .offset = offset,
                                 .b = (float *)(void *)b.p,
                                 .bias = test_below(2) ? (float *)(void *)bias.p : NULL,
                                 .add = test_below(2),
                                 .y = (float *)(void *)y.p,
                                 .ldy = ldy,
                                 .lo = -2.0f,
                                 .hi = test_below(2) ? 2.0f : INFINITY};
        for (size_t i = 0; i < m; i++) {
            for (size_t j = 0; j < n; j++) {
                double s = p.add ? (double)p.y[i * ldy + j] : p.bias ? (double)p.bias[j] : 0;
                double size_ij = fabs(s);
                for (size_t q = 0; q < k; q++) {
                    double v =
                        (double)rows[q / len * m + i][offset + q % len] * (double)p.b[q * nr + j];
                    s += v;
                    size_ij += fabs(v);
                }
                want[i][j] = fmin(fmax(s, -2.0), (double)p.hi);
                size[i][j] = size_ij;
            }
        }
        float gap = ldy > n && m > 1 ? p.y[n] : 0;
        micro(&p);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                if (!(fabs((double)p.y[i * ldy + j] - want[i][j]) <=
                      ((double)k + 1) * 0x1p-24 * size[i][j]))
                    fail_msg("%s: m %zu nr %zu n %zu k %zu: (%zu, %zu) is %g, want %g", name, m, nr,
                             n, k, i, j, (double)p.y[i * ldy + j], want[i][j]);
        if (ldy > n && m > 1)
            assert_true(p.y[n] == gap);
        for (size_t r = 0; r < n_seg * m; r++)
            guard_free(&x[r]);
        guard_free(&b);
        guard_free(&bias);
        guard_free(&y);
    }
}

static void conv_f32_rows(void **state)
{
    (void)state;
#define RUN_conv_f32(symbol)           test_direct(symbol, #symbol, false)
#define RUN_conv_transpose_f32(symbol) test_direct(symbol, #symbol, true)
#define RUN_dwconv_f32(symbol)         test_depthwise(symbol, #symbol)
#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable()))                                                     \
        RUN_##family(symbol);
#include "kernels/conv_f32.inc"
#undef FBK
}

static void igemm_f32_rows(void **state)
{
    (void)state;
#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable())) {                                                   \
        test_micro(symbol, #symbol);                                                               \
        test_igemm(symbol, #symbol);                                                               \
    }
#include "kernels/igemm_f32.inc"
#undef FBK
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(conv_f32_rows),
                                       cmocka_unit_test(igemm_f32_rows)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
