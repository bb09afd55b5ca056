/* Element-wise integer kernels and integer pools against the reference, to the bit. */
#include "kernel/guard.h"

#include "base/cpu.h"
#include "kernels/point_q.h"
#include "kernels/pool_q.h"

static const size_t sizes[] = {0,  1,  3,  7,  8,  9,  15,  16,  17,
                               31, 32, 33, 63, 64, 65, 100, 257, 1000};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static float random_scale(void)
{
    static const float tidy[] = {1.0f, 0.5f, 0.25f, 0.0078125f, 3.0f};
    return test_below(3) == 0 ? tidy[test_below(5)] : 0.001f + fabsf(test_float()) * 0.2f;
}

/* Row r of `family`, or NULL past the last; skipped rows are counted and left out. */
static fbk_fn *row_of(const char *family, uint32_t r, const char **name)
{
    uint32_t n, seen = 0;
    const fbk_info *list = fbk_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].family, family) == 0 && seen++ == r) {
            *name = list[i].name;
            if (!test_row_usable(list[i].cpu, fb_cpu_usable()))
                return NULL;
            /* A family's rows rise with what they need, so its own bits pick exactly this one. */
            return fbk_pick(family, list[i].cpu, NULL);
        }
    }
    return NULL;
}

#define EACH_ROW(fn_type, family, fn)                                                              \
    const char *name;                                                                              \
    fn_type *fn;                                                                                   \
    for (uint32_t row = 1; (fn = (fn_type *)row_of(family, row, &name)) != NULL; row++)

static void same(const char *name, const guard_buf *y, const guard_buf *want)
{
    if (memcmp(y->p, want->p, want->bytes) == 0)
        return;
    size_t at = 0;
    while (y->p[at] == want->p[at])
        at++;
    fail_msg("%s: byte %zu of %zu is %d, not %d", name, at, want->bytes, y->p[at], want->p[at]);
}

static guard_buf random_codes(size_t n, guard_side side)
{
    guard_buf x = guard_new(n, 1, side);
    test_fill_bytes(x.p, n);
    for (size_t i = 0; i < n; i++)
        x.p[i] =
            test_below(5) ? x.p[i] : (uint8_t)(test_below(2) ? 0x80 : 0x7f + test_below(2) * 0x80);
    guard_read_only(&x);
    return x;
}

static void random_range(bool is_signed, int32_t *zero, int32_t *lo, int32_t *hi)
{
    int32_t least = is_signed ? -128 : 0;
    *zero = test_range(least, least + 255);
    *lo = test_below(2) ? least : test_range(least, least + 255);
    *hi = test_below(2) ? least + 255 : test_range(*lo, least + 255);
    if (*hi < *lo)
        *hi = *lo;
}

static void add_and_mul(size_t n, guard_side side)
{
    guard_buf a = random_codes(n, side), b = random_codes(n, side);
    guard_buf want = guard_new(n, 1, side);
    float sa = random_scale(), sb = random_scale(), sy = random_scale();
    uint8_t flip = test_below(2) ? 0x80 : 0;
    int32_t za, zb, zy, lo, hi;
    random_range(false, &za, &lo, &hi);
    random_range(false, &zb, &lo, &hi);
    random_range(false, &zy, &lo, &hi);
    fbk_add_q add = {fb_add_law_of(sa, za, sb, zb, sy, zy), lo, hi, flip};
    fbk_add_q_ref(&add, n, a.p, b.p, want.p);
    EACH_ROW(fbk_add_q_fn, "add_q", add_fn)
    {
        guard_buf y = guard_new(n, 1, side);
        add_fn(&add, n, a.p, b.p, y.p);
        same(name, &y, &want);
        guard_free(&y);
    }
    fbk_mul_q mul = {za, zb, zy, lo, hi, fb_mul_ratio(sa, sb, sy), flip};
    fbk_mul_q_ref(&mul, n, a.p, b.p, want.p);
    for (uint32_t row = 1;; row++) {
        fbk_mul_q_fn *fn = (fbk_mul_q_fn *)row_of("mul_q", row, &name);
        if (!fn)
            break;
        guard_buf y = guard_new(n, 1, side);
        fn(&mul, n, a.p, b.p, y.p);
        same(name, &y, &want);
        guard_free(&y);
    }
    guard_free(&a);
    guard_free(&b);
    guard_free(&want);
}

static void test_add_mul(void **state)
{
    (void)state;
    for (int i = 0; i < 600; i++)
        add_and_mul(sizes[test_below(N_SIZES)], (guard_side)(i % GUARD_SIDES));
}

static void test_lut(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        size_t n = sizes[test_below(N_SIZES)];
        guard_side side = (guard_side)(i % GUARD_SIDES);
        uint8_t table[256];
        test_fill_bytes(table, sizeof table);
        guard_buf x = random_codes(n, side), want = guard_new(n, 1, side);
        fbk_lut_q_ref(table, n, x.p, want.p);
        EACH_ROW(fbk_lut_q_fn, "lut_q", fn)
        {
            guard_buf y = guard_new(n, 1, side);
            fn(table, n, x.p, y.p);
            same(name, &y, &want);
            guard_free(&y);
        }
        guard_free(&x);
        guard_free(&want);
    }
}

/* Floats around the rounding ties of the code range, and the worst ones. */
static float hard_float(float scale)
{
    static const float worst[] = {INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 1e30f, -1e30f, 1e-40f};
    uint32_t kind = test_below(10);
    if (kind == 0)
        return worst[test_below(8)];
    if (kind < 5)
        return ((float)test_range(-600, 600) + 0.5f) * scale;
    return test_float() * 400.0f * scale;
}

static void test_quantize(void **state)
{
    (void)state;
    static const fb_dtype types[] = {FB_U8, FB_S8, FB_U16, FB_S16};
    for (int i = 0; i < 400; i++) {
        size_t n = sizes[test_below(N_SIZES)];
        guard_side side = (guard_side)(i % GUARD_SIDES);
        unsigned t = test_below(4);
        unsigned bits = t < 2 ? 1 + test_below(8) : 9 + test_below(8);
        bool is_signed = t & 1;
        fbk_codes q = {random_scale(), 0, fb_code_min(bits, is_signed),
                       fb_code_max(bits, is_signed), types[t]};
        q.zero = test_range(q.lo, q.hi);
        size_t size = t < 2 ? 1 : 2;
        guard_buf x = guard_new(n * 4, 4, side), want = guard_new(n * size, size, side);
        for (size_t k = 0; k < n; k++)
            ((float *)(void *)x.p)[k] = hard_float(q.scale);
        guard_read_only(&x);
        fbk_quantize_q_ref(&q, n, (const void *)x.p, want.p);
        EACH_ROW(fbk_quantize_q_fn, "quantize_q", fn)
        {
            guard_buf y = guard_new(n * size, size, side);
            fn(&q, n, (const void *)x.p, y.p);
            same(name, &y, &want);
            guard_free(&y);
        }
        guard_buf back = guard_new(n * 4, 4, side);
        fbk_dequantize_q_ref(&q, n, want.p, (void *)back.p);
        for (uint32_t row = 1;; row++) {
            fbk_dequantize_q_fn *fn2 = (fbk_dequantize_q_fn *)row_of("dequantize_q", row, &name);
            if (!fn2)
                break;
            guard_buf y = guard_new(n * 4, 4, side);
            fn2(&q, n, want.p, (void *)y.p);
            same(name, &y, &back);
            guard_free(&y);
        }
        guard_free(&x);
        guard_free(&want);
        guard_free(&back);
    }
}

static void one_pool(guard_side side)
{
    static const int32_t cs[] = {1, 3, 7, 8, 9, 16, 31, 32, 33, 64, 70};
    fbk_window g = {.h = test_range(1, 12),
                    .w = test_range(1, 12),
                    .c = cs[test_below(11)],
                    .kh = test_range(1, 4),
                    .kw = test_range(1, 4),
                    .stride_h = test_range(1, 3),
                    .stride_w = test_range(1, 3),
                    .dil_h = test_range(1, 2),
                    .dil_w = test_range(1, 2),
                    .pad_t = test_range(0, 2),
                    .pad_l = test_range(0, 2),
                    .groups = 1};
    g.oc = g.c;
    g.oh = (g.h + 2 * g.pad_t - 1) / g.stride_h + 1;
    g.ow = (g.w + 2 * g.pad_l - 1) / g.stride_w + 1;
    bool is_signed = test_below(2);
    size_t nx = (size_t)(g.h * g.w * g.c), ny = (size_t)(g.oh * g.ow * g.c);
    guard_buf x = random_codes(nx, side), want = guard_new(ny, 1, side);
    fbk_max_pool_q_ref(&g, is_signed, x.p, want.p, 0, g.oh);
    EACH_ROW(fbk_max_pool_q_fn, "max_pool_q", max_fn)
    {
        guard_buf y = guard_new(ny, 1, side);
        for (int32_t oy = g.oh; oy-- > 0;)
            max_fn(&g, is_signed, x.p, y.p, oy, oy + 1);
        same(name, &y, &want);
        guard_free(&y);
    }
    fbk_avg_pool_q q = {.x_scale = random_scale(),
                        .y_scale = random_scale(),
                        .flip = is_signed ? 0x80 : 0,
                        .include_pad = test_below(2)};
    random_range(false, &q.x_zero, &q.lo, &q.hi);
    random_range(false, &q.y_zero, &q.lo, &q.hi);
    fbk_avg_pool_q_ref(&g, &q, x.p, want.p, 0, g.oh);
    for (uint32_t row = 1;; row++) {
        fbk_avg_pool_q_fn *fn = (fbk_avg_pool_q_fn *)row_of("avg_pool_q", row, &name);
        if (!fn)
            break;
        guard_buf y = guard_new(ny, 1, side);
        for (int32_t oy = g.oh; oy-- > 0;)
            fn(&g, &q, x.p, y.p, oy, oy + 1);
        same(name, &y, &want);
        guard_free(&y);
    }
    random_range(is_signed, &q.x_zero, &q.lo, &q.hi);
    random_range(is_signed, &q.y_zero, &q.lo, &q.hi);
    fbk_mean_q m = {fb_mean_scale(q.x_scale, q.y_scale, (uint32_t)(g.h * g.w)),
                    q.x_zero,
                    q.y_zero,
                    q.lo,
                    q.hi,
                    is_signed};
    guard_buf mean = guard_new((size_t)g.c, 1, side);
    fbk_mean_q_ref(&m, (size_t)(g.h * g.w), (size_t)g.c, (size_t)g.c, x.p, mean.p);
    for (uint32_t row = 1;; row++) {
        fbk_mean_q_fn *fn = (fbk_mean_q_fn *)row_of("mean_q", row, &name);
        if (!fn)
            break;
        guard_buf y = guard_new((size_t)g.c, 1, side);
        size_t cut = test_below((uint32_t)g.c + 1);
        fn(&m, (size_t)(g.h * g.w), (size_t)g.c, cut, x.p, y.p);
        fn(&m, (size_t)(g.h * g.w), (size_t)g.c, (size_t)g.c - cut, x.p + cut, y.p + cut);
        same(name, &y, &mean);
        guard_free(&y);
    }
    guard_free(&mean);
    guard_free(&x);
    guard_free(&want);
}

static void test_pools(void **state)
{
    (void)state;
    for (int i = 0; i < 600; i++)
        one_pool((guard_side)(i % GUARD_SIDES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_add_mul), cmocka_unit_test(test_lut),
                                       cmocka_unit_test(test_quantize),
                                       cmocka_unit_test(test_pools)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
