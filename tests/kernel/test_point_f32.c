/* The smaller f32 families against double: products, elementwise, pools, softmax, LRN; each row on
 * awkward sizes between guard pages, within the bound that its header states. */
#include "guard.h"

#include "kernels/gemm_f32.h"
#include "kernels/norm_f32.h"
#include "kernels/point_f32.h"
#include "kernels/pool_f32.h"

#include <float.h>
#include <math.h>

static const size_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 61, 64, 127, 1000};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static float *f32(const guard_buf *b)
{
    return (float *)(void *)b->p;
}

static guard_buf floats(size_t n, guard_side side, float scale)
{
    guard_buf b = guard_new(n * sizeof(float), sizeof(float), side);
    test_fill_f32(f32(&b), n);
    for (size_t i = 0; i < n; i++)
        f32(&b)[i] *= scale;
    return b;
}

static void near(const char *name, size_t i, double got, double want, double bound)
{
    bool same = isnan(want) ? isnan(got) : got == want || fabs(got - want) <= bound;
    if (!same)
        fail_msg("%s: element %zu is %.9g, want %.9g +- %.3g", name, i, got, want, bound);
}

/* --- products ----------------------------------------------------------------------------------
 */

static void test_dense_f32(fbk_dense_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 200; round++) {
        size_t m = (size_t)test_range(1, 7), k = sizes[test_below(N_SIZES)];
        size_t n = (size_t)test_range(1, 19), split = test_below((uint32_t)n + 1);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(m * k, side, 1), w = floats(n * k, side, 1), bias = floats(n, side, 1);
        guard_buf y = floats(m * n, side, 1);
        fbk_dense_f32_args a = {m,       k,       n,
                                f32(&x), f32(&w), test_below(2) ? f32(&bias) : NULL,
                                f32(&y), -1.0f,   test_below(2) ? 1.0f : INFINITY};
        fn(&a, split, n);
        fn(&a, 0, split);
        for (size_t i = 0; i < m * n; i++) {
            double sum = a.bias ? (double)a.bias[i % n] : 0, size = fabs(sum);
            for (size_t q = 0; q < k; q++) {
                double v = (double)f32(&x)[i / n * k + q] * (double)f32(&w)[i % n * k + q];
                sum += v;
                size += fabs(v);
            }
            near(name, i, (double)a.y[i], fmin(fmax(sum, -1), (double)a.hi),
                 ((double)k + 1) * 0x1p-24 * size);
        }
        guard_free(&x), guard_free(&w), guard_free(&bias), guard_free(&y);
    }
}

static void test_matmul_f32(fbk_matmul_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 200; round++) {
        size_t m = (size_t)test_range(1, 14), k = (size_t)test_range(1, 40);
        size_t n = (size_t)test_range(1, 40), split = test_below((uint32_t)m + 1);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(m * k, side, 1), w = floats(n * k, side, 1),
                  y = floats(m * n, side, 1);
        fbk_matmul_f32_args a = {n, k, k, n, n, f32(&x), f32(&w), f32(&y)};
        fn(&a, split, m);
        fn(&a, 0, split);
        for (size_t i = 0; i < m * n; i++) {
            double sum = 0, size = 0;
            for (size_t q = 0; q < k; q++) {
                double v = (double)f32(&x)[i / n * k + q] * (double)f32(&w)[q * n + i % n];
                sum += v;
                size += fabs(v);
            }
            near(name, i, (double)a.y[i], sum, ((double)k + 1) * 0x1p-24 * size);
        }
        guard_free(&x), guard_free(&w), guard_free(&y);
    }
}

/* --- elementwise -------------------------------------------------------------------------------
 */

static double binary_truth(fbk_binary op, double a, double b)
{
    switch (op) {
    case FBK_ADD:
        return a + b;
    case FBK_SUB:
        return a - b;
    case FBK_MUL:
        return a * b;
    case FBK_DIV:
        return a / b;
    case FBK_MAX:
        return isnan(a) || isnan(b) ? (double)NAN : fmax(a, b);
    case FBK_MIN:
        return isnan(a) || isnan(b) ? (double)NAN : fmin(a, b);
    default:
        return pow(a, b);
    }
}

static void test_binary_f32(fbk_binary_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 40 * FBK_BINARY_COUNT; round++) {
        fbk_binary op = (fbk_binary)(round % FBK_BINARY_COUNT);
        size_t n = sizes[test_below(N_SIZES)], sa = test_below(2), sb = sa ? test_below(2) : 1;
        guard_side side = (guard_side)(round / FBK_BINARY_COUNT % GUARD_SIDES);
        guard_buf a = floats(sa ? n : 1, side, 4), b = floats(sb ? n : 1, side, 4);
        guard_buf y = floats(n, side, 1);
        if (test_below(4) == 0)
            f32(&a)[0] = NAN;
        if (test_below(4) == 0)
            f32(&b)[0] = NAN;
        float lo = test_below(2) ? 0.0f : -INFINITY, hi = test_below(2) ? 6.0f : INFINITY;
        fn(op, n, f32(&a), sa, f32(&b), sb, f32(&y), lo, hi);
        for (size_t i = 0; i < n; i++) {
            double v = binary_truth(op, (double)f32(&a)[i * sa], (double)f32(&b)[i * sb]);
            v = v < (double)lo ? (double)lo : v > (double)hi ? (double)hi : v;
            near(name, i, (double)f32(&y)[i], v, fabs(v) * (op == FBK_POW ? 0x1p-23 : 0x1p-24));
        }
        guard_free(&a), guard_free(&b), guard_free(&y);
    }
}

static float special(size_t i)
{
    static const float values[] = {0.0f,   -0.0f, 1e-8f,   -1e-8f,   1e-3f,    -1e-3f,    87.0f,
                                   -87.0f, 88.7f, 90.0f,   -110.0f,  INFINITY, -INFINITY, NAN,
                                   3.0f,   -3.0f, 0.3465f, -0.3466f, 1e30f,    -1e30f};
    return values[i % (sizeof values / sizeof values[0])];
}

static void test_unary_f32(fbk_unary_f32_fn *fn, const char *name)
{
    static const float scales[] = {0.01f, 1, 10, 80};
    for (int round = 0; round < 32 * FBK_UNARY_COUNT; round++) {
        fbk_unary op = (fbk_unary)(round % FBK_UNARY_COUNT);
        size_t n = sizes[test_below(N_SIZES)];
        guard_side side = (guard_side)(round / FBK_UNARY_COUNT % GUARD_SIDES);
        guard_buf x = floats(n, side, scales[test_below(4)]), y = floats(n, side, 1);
        bool specials = test_below(4) == 0;
        for (size_t i = 0; specials && i < n; i++)
            f32(&x)[i] = special(i);
        float a = op == FBK_CLIP ? -0.5f : 1.673f, b = op == FBK_CLIP ? 0.75f : 1.0507f;
        fn(op, a, b, n, f32(&x), f32(&y));
        for (size_t i = 0; i < n; i++) {
            double v = fbk_unary_f64(op, (double)a, (double)b, (double)f32(&x)[i]);
            double bound = fabs(v) * 4e-7 + (double)FLT_MIN;
            if (op == FBK_HARD_SIGMOID || op == FBK_HARD_SWISH) /* a sum that may cancel */
                bound += 0x1p-23 * fmax(1, fabs((double)f32(&x)[i]) * 0.5);
            if (fabs(v) > (double)FLT_MAX * (1 - 4e-7) &&
                fabs((double)f32(&y)[i]) >= (double)FLT_MAX)
                continue; /* both overflow, or nearly */
            near(name, (size_t)op * 10000 + i, (double)f32(&y)[i], v, bound);
        }
        guard_free(&x), guard_free(&y);
    }
}

static void test_scale_shift_f32(fbk_scale_shift_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 60; round++) {
        size_t c = sizes[test_below(N_SIZES)], px = (size_t)test_range(1, 5), n = c * px;
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(n, side, 2), s = floats(c, side, 2), t = floats(c, side, 2);
        guard_buf y = floats(n, side, 1);
        fn(px, c, f32(&x), f32(&s), f32(&t), f32(&y));
        for (size_t i = 0; i < n; i++) {
            double v = (double)f32(&x)[i] * (double)f32(&s)[i % c], w = (double)f32(&t)[i % c];
            near(name, i, (double)f32(&y)[i], v + w, 0x1p-23 * (fabs(v) + fabs(w)));
        }
        guard_free(&x), guard_free(&s), guard_free(&t), guard_free(&y);
    }
}

static void test_prelu_f32(fbk_prelu_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 60; round++) {
        size_t n = sizes[test_below(N_SIZES)], ss = test_below(2);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(n, side, 2), s = floats(ss ? n : 1, side, 2), y = floats(n, side, 1);
        fn(n, f32(&x), f32(&s), ss, f32(&y));
        for (size_t i = 0; i < n; i++) {
            float v = f32(&x)[i], want = v < 0 ? v * f32(&s)[i * ss] : v;
            near(name, i, (double)f32(&y)[i], (double)want, 0);
        }
        guard_free(&x), guard_free(&s), guard_free(&y);
    }
}

/* --- pools -------------------------------------------------------------------------------------
 */

static bool random_pool(fbk_window *g)
{
    *g = (fbk_window){.h = test_range(1, 9),
                      .w = test_range(1, 9),
                      .c = (int32_t)sizes[test_below(N_SIZES - 2)],
                      .kh = test_range(1, 4),
                      .kw = test_range(1, 4),
                      .stride_h = test_range(1, 3),
                      .stride_w = test_range(1, 3),
                      .dil_h = test_range(1, 2),
                      .dil_w = test_range(1, 2),
                      .groups = 1};
    g->oc = g->c;
    g->pad_t = test_range(0, g->kh - 1);
    g->pad_l = test_range(0, g->kw - 1);
    int32_t rh = g->h + 2 * g->pad_t - (g->kh - 1) * g->dil_h - 1;
    int32_t rw = g->w + 2 * g->pad_l - (g->kw - 1) * g->dil_w - 1;
    if (rh < 0 || rw < 0)
        return false;
    g->oh = rh / g->stride_h + 1 + (int32_t)test_below(2); /* one more, as ceil_mode may ask */
    g->ow = rw / g->stride_w + 1 + (int32_t)test_below(2);
    return true;
}

/* Max (mode 0), mean of what is inside (1), mean with the padding counted (2). */
static double pool_truth(const fbk_window *g, const float *x, int mode, int32_t pad_b,
                         int32_t pad_r, size_t out)
{
    int32_t c = (int32_t)(out % (size_t)g->c), px = (int32_t)(out / (size_t)g->c);
    double top = -(double)INFINITY, sum = 0, inside = 0, padded = 0;
    for (int32_t ky = 0; ky < g->kh; ky++) {
        for (int32_t kx = 0; kx < g->kw; kx++) {
            int32_t iy = px / g->ow * g->stride_h - g->pad_t + ky * g->dil_h;
            int32_t ix = px % g->ow * g->stride_w - g->pad_l + kx * g->dil_w;
            padded += iy < g->h + pad_b && ix < g->w + pad_r;
            if (iy < 0 || ix < 0 || iy >= g->h || ix >= g->w)
                continue;
            double v = (double)x[(iy * g->w + ix) * g->c + c];
            inside++;
            sum += v;
            top = fmax(top, v);
        }
    }
    double n = mode == 2 ? padded : inside;
    return mode == 0 ? top : n > 0 ? sum / n : 0;
}

static void pool_cases(fbk_max_pool_f32_fn *max, fbk_avg_pool_f32_fn *avg, const char *name)
{
    for (int round = 0; round < 200; round++) {
        fbk_window g;
        if (!random_pool(&g))
            continue;
        guard_side side = (guard_side)(round % GUARD_SIDES);
        size_t in = (size_t)(g.h * g.w * g.c), out = (size_t)(g.oh * g.ow * g.c);
        guard_buf x = floats(in, side, 1), y = floats(out, side, 1);
        int mode = max ? 0 : test_range(1, 2);
        int32_t split = test_range(0, g.oh), pad_b = test_range(0, 2), pad_r = test_range(0, 2);
        guard_read_only(&x);
        for (int part = 0; part < 2; part++) {
            int32_t from = part ? split : 0, to = part ? g.oh : split;
            if (max)
                max(&g, f32(&x), f32(&y), from, to);
            else
                avg(&g, mode == 2, pad_b, pad_r, f32(&x), f32(&y), from, to);
        }
        for (size_t i = 0; i < out; i++) {
            double v = pool_truth(&g, f32(&x), mode, pad_b, pad_r, i);
            near(name, i, (double)f32(&y)[i], v, max ? 0 : 18 * 0x1p-24);
        }
        guard_free(&x), guard_free(&y);
    }
}

static void test_max_pool_f32(fbk_max_pool_f32_fn *fn, const char *name)
{
    pool_cases(fn, NULL, name);
}

static void test_avg_pool_f32(fbk_avg_pool_f32_fn *fn, const char *name)
{
    pool_cases(NULL, fn, name);
}

static void test_col_sum_f32(fbk_col_sum_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 100; round++) {
        size_t n = sizes[test_below(N_SIZES)], m = (size_t)test_range(1, 50),
               ld = n + test_below(3);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats((m - 1) * ld + n, side, 1), y = floats(n, side, 1);
        fn(m, n, ld, f32(&x), 0.25f, f32(&y));
        for (size_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < m; i++) {
                sum += (double)f32(&x)[i * ld + j];
                size += fabs((double)f32(&x)[i * ld + j]);
            }
            near(name, j, (double)f32(&y)[j], sum / 4, ((double)m + 1) * 0x1p-24 * size / 4);
        }
        guard_free(&x), guard_free(&y);
    }
}

static void test_col_max_f32(fbk_col_max_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 100; round++) {
        size_t n = sizes[test_below(N_SIZES)], m = (size_t)test_range(1, 50),
               ld = n + test_below(3);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats((m - 1) * ld + n, side, 1), y = floats(n, side, 1);
        fn(m, n, ld, f32(&x), f32(&y));
        for (size_t j = 0; j < n; j++) {
            double top = -(double)INFINITY;
            for (size_t i = 0; i < m; i++)
                top = fmax(top, (double)f32(&x)[i * ld + j]);
            near(name, j, (double)f32(&y)[j], top, 0);
        }
        guard_free(&x), guard_free(&y);
    }
}

/* --- softmax, LRN ------------------------------------------------------------------------------
 */

static void test_softmax_f32(fbk_softmax_f32_fn *fn, const char *name)
{
    for (int round = 0; round < 120; round++) {
        size_t n = sizes[test_below(N_SIZES)], rows = (size_t)test_range(1, 4);
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(n * rows, side, test_below(2) ? 3.0f : 60.0f);
        guard_buf y = floats(n * rows, side, 1);
        bool log_form = test_below(2);
        fn(f32(&x), f32(&y), n, rows, log_form);
        for (size_t i = 0; i < n * rows; i++) {
            const float *row = f32(&x) + i / n * n;
            double top = -(double)INFINITY, sum = 0;
            for (size_t j = 0; j < n; j++)
                top = fmax(top, (double)row[j]);
            for (size_t j = 0; j < n; j++)
                sum += exp((double)row[j] - top);
            double v = (double)row[i % n] - top;
            double want = log_form ? v - log(sum) : exp(v) / sum;
            double relative = ((double)n / 8 + 16) * 0x1p-24;
            near(name, i, (double)f32(&y)[i], want,
                 log_form ? relative + 0x1p-22 * (fabs(v) + fabs(top)) :
                          /* rounding of x - max moves the exponent */
                     want * (relative + 0x1p-24 * fabs(v)) + (double)FLT_MIN);
        }
        guard_free(&x), guard_free(&y);
    }
}

static void test_lrn_f32(fbk_lrn_f32_fn *fn, const char *name)
{
    static const float betas[] = {0.75f, 0.5f, 1.0f, 0.6f};
    for (int round = 0; round < 120; round++) {
        size_t c = sizes[test_below(N_SIZES)], px = (size_t)test_range(1, 3);
        fbk_lrn p = {test_range(1, 7), 0.5f + test_float() * 0.4f, betas[test_below(4)], 1.0f};
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf x = floats(c * px, side, 3), y = floats(c * px, side, 1);
        guard_buf scratch = floats(c + (size_t)p.size, side, 1);
        fn(&p, f32(&x), f32(&y), c, px, f32(&scratch));
        for (size_t i = 0; i < c * px; i++) {
            double sum = 0;
            for (int32_t k = -((p.size - 1) / 2); k <= p.size / 2; k++) {
                int32_t j = (int32_t)(i % c) + k;
                if (j >= 0 && j < (int32_t)c)
                    sum += pow((double)f32(&x)[i / c * c + (size_t)j], 2);
            }
            double v = (double)f32(&x)[i] / pow(1 + (double)p.alpha / p.size * sum, (double)p.beta);
            near(name, i, (double)f32(&y)[i], v, 1e-6 * fabs(v));
        }
        guard_free(&x), guard_free(&y), guard_free(&scratch);
    }
}

#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable()))                                                     \
        test_##family(symbol, #symbol);

static void gemm_rows(void **state)
{
    (void)state;
#include "kernels/gemm_f32.inc"
}

static void point_rows(void **state)
{
    (void)state;
#include "kernels/point_f32.inc"
}

static void pool_rows(void **state)
{
    (void)state;
#include "kernels/pool_f32.inc"
}

static void norm_rows(void **state)
{
    (void)state;
#include "kernels/norm_f32.inc"
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gemm_rows), cmocka_unit_test(point_rows),
                                       cmocka_unit_test(pool_rows), cmocka_unit_test(norm_rows)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
