/* Kernels for elements of any type: half floats exhaustively, movers against index arithmetic,
 * arithmetic against hand values. */
#include "guard.h"

#include "kernels/any.h"

#include <math.h>

static const fb_dtype types[] = {FB_F32, FB_U8,  FB_S8,   FB_U16, FB_S16,  FB_S32, FB_S64,
                                 FB_U32, FB_U64, FB_BOOL, FB_F16, FB_BF16, FB_F64};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* --- half floats -------------------------------------------------------------------------------
 */

/* Every value converts back to itself, and the midpoint of two neighbours goes to the even one. */
static void half_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double v = (double)fb_f16_to_f32((uint16_t)h);
        assert_int_equal(fb_f16_from_f64(v), h);
        assert_int_equal(fb_f16_from_f64(-v), h | 0x8000u);
        if (h + 1 == 0x7c00)
            break;
        double next = (double)fb_f16_to_f32((uint16_t)(h + 1)), mid = (v + next) / 2;
        assert_int_equal(fb_f16_from_f64(mid), h % 2 ? h + 1 : h);
        assert_int_equal(fb_f16_from_f64(nextafter(mid, 0)), h);
        assert_int_equal(fb_f16_from_f64(nextafter(mid, 1e9)), h + 1);
    }
    for (uint32_t h = 0; h + 1 < 0x7f80; h++) {
        double v = (double)fb_bf16_to_f32((uint16_t)h);
        double mid = (v + (double)fb_bf16_to_f32((uint16_t)(h + 1))) / 2;
        assert_int_equal(fb_bf16_from_f64(v), h);
        if (h + 1 < 0x7f7f)
            assert_int_equal(fb_bf16_from_f64(mid), h % 2 ? h + 1 : h);
    }
    assert_int_equal(fb_f16_from_f64(65504), 0x7bff);
    assert_int_equal(fb_f16_from_f64(65519.9), 0x7bff);
    assert_int_equal(fb_f16_from_f64(65520), 0x7c00);
    assert_int_equal(fb_f16_from_f64((double)INFINITY), 0x7c00);
    assert_true(isnan(fb_f16_to_f32(fb_f16_from_f64((double)NAN))));
    assert_true(isnan(fb_bf16_to_f32(fb_bf16_from_f64((double)NAN))));
    assert_int_equal(fb_bf16_from_f64(-(double)INFINITY), 0xff80);
    assert_int_equal(fb_bf16_from_f64(3.4e38), 0x7f80);
}

/* --- movers ------------------------------------------------------------------------------------
 */

/* A permuted, stepped copy into a part of a wider dst (as slice, transpose and concat ask). */
static void test_move_any(fbk_move_any_fn *fn, const char *name)
{
    static const size_t element[] = {1, 2, 4, 8};
    for (int round = 0; round < 400; round++) {
        size_t e = element[test_below(4)], src_n = 1, dst_n = 1;
        fbk_walk w = {.rank = test_range(1, 4)};
        int32_t perm[4] = {0, 1, 2, 3};
        for (int32_t k = w.rank - 1; k > 0; k--) {
            int32_t other = (int32_t)test_below((uint32_t)k + 1), t = perm[k];
            perm[k] = perm[other];
            perm[other] = t;
        }
        for (int32_t k = 0; k < w.rank; k++)
            w.dims[k] = (size_t)test_range(1, test_below(3) ? 5 : 21);
        for (int32_t k = w.rank - 1; k >= 0; k--) { /* src axis k is dst axis perm[k] */
            ptrdiff_t step = test_below(3) ? 1 : 2;
            w.stride[1][perm[k]] = (ptrdiff_t)src_n * step;
            src_n *= w.dims[perm[k]] * (size_t)step;
        }
        for (int32_t k = w.rank - 1; k >= 0; k--) {
            w.stride[0][k] = (ptrdiff_t)dst_n;
            dst_n *= w.dims[k] + test_below(2);
        }
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf src = guard_new(src_n * e, e, side), dst = guard_new(dst_n * e, e, side);
        test_fill_bytes(src.p, src_n * e);
        guard_read_only(&src);
        size_t rows = fbk_walk_rows(&w), split = test_below((uint32_t)rows + 1), n = 0;
        fn(&w, e, src.p, dst.p, split, rows - split);
        fn(&w, e, src.p, dst.p, 0, split);
        for (size_t row = 0; row < rows; row++) {
            ptrdiff_t off[FBK_WALK_OPERANDS];
            fbk_walk_at(&w, row, off);
            for (size_t i = 0; i < w.dims[w.rank - 1]; i++, n++) {
                ptrdiff_t s = off[1] + (ptrdiff_t)i * w.stride[1][w.rank - 1];
                ptrdiff_t d = off[0] + (ptrdiff_t)i * w.stride[0][w.rank - 1];
                if (memcmp(src.p + s * (ptrdiff_t)e, dst.p + d * (ptrdiff_t)e, e) != 0)
                    fail_msg("%s: element %zu of row %zu differs (rank %d, %zu bytes)", name, i,
                             row, w.rank, e);
            }
        }
        guard_free(&src), guard_free(&dst);
    }
}

static void test_take_any(fbk_take_any_fn *fn, const char *name)
{
    for (int round = 0; round < 200; round++) {
        size_t e = (size_t)1 << test_below(4), in_n = 1, out_n = 1, in[3];
        int32_t maps[3][12];
        fbk_take t = {.rank = test_range(1, 3), .elem_bytes = e};
        test_fill_bytes(t.fill, 8);
        for (int32_t k = t.rank - 1; k >= 0; k--) {
            in[k] = (size_t)test_range(1, 6);
            t.dims[k] = test_below(3) ? (size_t)test_range(1, 12) : in[k];
            t.stride[k] = (ptrdiff_t)in_n;
            in_n *= in[k];
            out_n *= t.dims[k];
            for (size_t i = 0; i < t.dims[k]; i++)
                maps[k][i] = (int32_t)test_below((uint32_t)in[k] + 1) - 1;
            t.map[k] = t.dims[k] == in[k] && test_below(2) ? NULL : maps[k];
        }
        guard_side side = (guard_side)(round % GUARD_SIDES);
        guard_buf src = guard_new(in_n * e, e, side), dst = guard_new(out_n * e, e, side);
        test_fill_bytes(src.p, in_n * e);
        size_t rows = out_n / t.dims[t.rank - 1], split = test_below((uint32_t)rows + 1);
        fn(&t, src.p, dst.p, split, rows - split);
        fn(&t, src.p, dst.p, 0, split);
        for (size_t i = 0; i < out_n; i++) {
            ptrdiff_t at = 0;
            size_t rest = i;
            bool fill = false;
            for (int32_t k = t.rank - 1; k >= 0; k--) {
                size_t o = rest % t.dims[k];
                rest /= t.dims[k];
                ptrdiff_t from = t.map[k] ? t.map[k][o] : (ptrdiff_t)o;
                fill = fill || from < 0;
                at += from * t.stride[k];
            }
            const uint8_t *want = fill ? t.fill : src.p + at * (ptrdiff_t)e;
            if (memcmp(want, dst.p + i * e, e) != 0)
                fail_msg("%s: element %zu differs", name, i);
        }
        guard_free(&src), guard_free(&dst);
    }
}

static void test_gather_any(fbk_gather_any_fn *fn, const char *name)
{
    (void)name;
    const uint16_t src[2][3][2] = {{{1, 2}, {3, 4}, {5, 6}}, {{7, 8}, {9, 10}, {11, 12}}};
    const int64_t idx[] = {-1, 0, 2, 99};
    const uint16_t want[2][4][2] = {{{5, 6}, {1, 2}, {5, 6}, {5, 6}},
                                    {{11, 12}, {7, 8}, {11, 12}, {11, 12}}};
    uint16_t dst[2][4][2];
    fn(src, 3, 4, idx, FB_S64, 4, dst, 3, 5);
    fn(src, 3, 4, idx, FB_S64, 4, dst, 0, 3);
    assert_memory_equal(dst, want, sizeof want);
}

/* --- arithmetic --------------------------------------------------------------------------------
 */

static void test_cast_any(fbk_cast_any_fn *fn, const char *name)
{
    int64_t a, b, c;                             /* room for one element of any type, aligned */
    for (int from = 0; from < N_TYPES; from++) { /* small integers survive every pair of types */
        for (int to = 0; to < N_TYPES; to++) {
            for (int64_t v = 0; v < 128; v++) {
                int64_t want = types[from] == FB_BOOL || types[to] == FB_BOOL ? v != 0 : v;
                fn(types[from], &a, FB_S64, &v, 1);
                fn(types[to], &b, types[from], &a, 1);
                fn(FB_S64, &c, types[to], &b, 1);
                if (c != want)
                    fail_msg("%s: %lld through %s and %s", name, (long long)v,
                             fb_dtype_name(types[from]), fb_dtype_name(types[to]));
            }
        }
    }
    const double in[] = {-1.9, 1.9, 300.0, -300.0, (double)NAN, 1e300, -1e300, 1.8e19, 0.3};
    int64_t s64[9];
    uint64_t u64[9];
    uint8_t u8[9], flag[9];
    fn(FB_S64, s64, FB_F64, in, 9);
    fn(FB_U64, u64, FB_F64, in, 9);
    fn(FB_U8, u8, FB_F64, in, 9);
    fn(FB_BOOL, flag, FB_F64, in, 9);
    const int64_t want_s64[] = {-1, 1, 300, -300, 0, INT64_MAX, INT64_MIN, INT64_MAX, 0};
    const uint8_t want_u8[] = {255, 1, 44, 212, 0};
    assert_memory_equal(s64, want_s64, sizeof s64);
    assert_memory_equal(u8, want_u8, sizeof want_u8);
    assert_true(u64[7] == UINT64_C(18000000000000000000) && flag[8] == 1 && flag[4] == 1);
    const int64_t big = 9007199791611905; /* 2^53 + 2^29 + 1: rounds up once, not to even twice */
    float f;
    fn(FB_F32, &f, FB_S64, &big, 1);
    assert_true(f == (float)big);
}

static int64_t binary_s64(fbk_binary_any_fn *fn, fbk_binary op, fb_dtype t, int64_t a, int64_t b)
{
    int64_t x, y, z;
    fbk_put_i64(t, &x, 0, a);
    fbk_put_i64(t, &y, 0, b);
    fn(op, 1, t, &x, 1, t, &y, 1, t, &z, -INFINITY, INFINITY);
    return fbk_get_i64(t, &z, 0);
}

static void test_binary_any(fbk_binary_any_fn *fn, const char *name)
{
    (void)name;
    assert_int_equal(binary_s64(fn, FBK_ADD, FB_U8, 250, 10), 4);
    assert_int_equal(binary_s64(fn, FBK_SUB, FB_U8, 3, 5), 254);
    assert_int_equal(binary_s64(fn, FBK_MUL, FB_S64, INT64_MAX, 2), -2);
    assert_int_equal(binary_s64(fn, FBK_DIV, FB_S32, -7, 2), -3);
    assert_int_equal(binary_s64(fn, FBK_DIV, FB_S32, 7, 0), 0);
    assert_int_equal(binary_s64(fn, FBK_DIV, FB_S64, INT64_MIN, -1), INT64_MIN);
    assert_int_equal(binary_s64(fn, FBK_DIV, FB_U64, -1, 2), INT64_MAX);
    assert_int_equal(binary_s64(fn, FBK_MAX, FB_U64, -1, 2), -1);
    assert_int_equal(binary_s64(fn, FBK_MAX, FB_S64, -1, 2), 2);
    assert_int_equal(binary_s64(fn, FBK_MIN, FB_S8, -128, 127), -128);
    assert_int_equal(binary_s64(fn, FBK_POW, FB_S64, -3, 5), -243);
    assert_int_equal(binary_s64(fn, FBK_POW, FB_S32, 2, -1), 0);
    const float base[] = {1, 2, 3};
    const int64_t exponent = 2;
    float y[3];
    fn(FBK_POW, 3, FB_F32, base, 1, FB_S64, &exponent, 0, FB_F32, y, -INFINITY, INFINITY);
    assert_true(y[0] == 1 && y[1] == 4 && y[2] == 9);
    const int32_t ibase[] = {2, 3};
    const float fexponent[] = {0.5f, 2};
    int32_t iy[2];
    fn(FBK_POW, 2, FB_S32, ibase, 1, FB_F32, fexponent, 1, FB_S32, iy, -INFINITY, INFINITY);
    assert_true(iy[0] == 1 && iy[1] == 9);
}

static void test_unary_any(fbk_unary_any_fn *fn, const char *name)
{
    (void)name;
    const int8_t x[] = {-128, -1, 0, 5, 127};
    int8_t y[5];
    fn(FBK_ABS, 0, 0, 5, FB_S8, x, y);
    assert_true(y[0] == -128 && y[1] == 1 && y[4] == 127);
    fn(FBK_RELU, 0, 0, 5, FB_S8, x, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[4] == 127);
    fn(FBK_CLIP, -2, 6.5f, 5, FB_S8, x, y);
    assert_true(y[0] == -2 && y[3] == 5 && y[4] == 6);
    const int64_t big[] = {INT64_MAX, INT64_MIN, -7};
    int64_t out[3];
    fn(FBK_CLIP, -INFINITY, INFINITY, 3, FB_S64, big, out);
    assert_memory_equal(out, big, sizeof big);
    const double d[] = {-2.5};
    double dy;
    fn(FBK_NEG, 0, 0, 1, FB_F64, d, &dy);
    assert_true(dy == 2.5);
}

static void test_max_pool_any(fbk_max_pool_any_fn *fn, const char *name)
{
    (void)name;
    const fbk_window g = {2, 3, 2, 1, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 1};
    const uint8_t x[2][3][2] = {{{1, 200}, {5, 3}, {5, 9}}, {{4, 7}, {5, 8}, {0, 9}}};
    const uint8_t want[2][2] = {{5, 200}, {5, 9}};
    const int64_t row_major[2][2] = {{101, 106}, {101, 108}}, column_major[] = {102, 106, 102, 110};
    uint8_t y[2][2];
    int64_t index[4];
    fn(&g, FB_U8, x, y, index, 100, false, 0, 1);
    assert_memory_equal(y, want, sizeof want);
    assert_memory_equal(index, row_major, sizeof row_major);
    fn(&g, FB_U8, x, y, index, 100, true, 0, 1);
    assert_memory_equal(index, column_major, sizeof column_major);
}

static void test_reduce_any(fbk_reduce_any_fn *fn, const char *name)
{
    (void)name;
    const int32_t x[2][3] = {{1, -2, -6}, {INT32_MAX, 1, 0}};
    const fbk_walk keep = {1, {2}, {{0}, {3}, {0}}}, red = {1, {3}, {{0}, {1}, {0}}};
    int32_t y[2];
    fn(FBK_REDUCE_SUM, FB_S32, &keep, &red, x, y, 0, 2);
    assert_true(y[0] == -7 && y[1] == INT32_MIN);
    fn(FBK_REDUCE_MEAN, FB_S32, &keep, &red, x, y, 0, 2);
    assert_true(y[0] == -2);
    fn(FBK_REDUCE_MAX, FB_S32, &keep, &red, x, y, 1, 1);
    assert_true(y[1] == INT32_MAX && y[0] == -2);
}

static void test_arg_max_any(fbk_arg_max_any_fn *fn, const char *name)
{
    (void)name;
    const float x[3][2] = {{1, NAN}, {3, 2}, {3, 9}};
    int64_t y[2];
    fn(FB_F32, x, 3, 2, false, y, 0, 2);
    assert_true(y[0] == 1 && y[1] == 0);
    fn(FB_F32, x, 3, 2, true, y, 0, 2);
    assert_true(y[0] == 2 && y[1] == 0);
}

static void test_softmax_any(fbk_softmax_any_fn *fn, const char *name)
{
    (void)name;
    const double x[2][2] = {{1000, 0}, {1001, 0}};
    double y[2][2];
    fn(FB_F64, x, y, 2, 2, false, 0, 2);
    assert_true(fabs(y[0][0] - 1 / (1 + exp(1))) < 1e-15 && y[0][1] == 0.5 && y[1][1] == 0.5);
    fn(FB_F64, x, y, 2, 2, true, 0, 2);
    assert_true(fabs(y[0][1] + log(2)) < 1e-15);
}

/* Two axes of two taps each, one element block: bilinear by hand. */
static const int32_t resize_idx[] = {0, 1, 1, 1, -1, -1};
static const float resize_wt[] = {0.25f, 0.75f, 1, 0, 1, 0};
static const fbk_resize resize_case = {
    2, {{3, 2, 2, resize_idx, resize_wt}, {2, 1, 2, resize_idx, resize_wt}}, 1, 7.0f};
static const float resize_want[6] = {0.25f * 0.25f * 1 + 0.25f * 0.75f * 2 + 0.75f * 0.25f * 3 +
                                         0.75f * 0.75f * 4,
                                     0.25f * 2 + 0.75f * 4,
                                     0.25f * 3 + 0.75f * 4,
                                     4,
                                     7,
                                     7};

static void test_resize_any(fbk_resize_any_fn *fn, const char *name)
{
    (void)name;
    const double x[4] = {1, 2, 3, 4};
    const uint8_t b[4] = {1, 2, 3, 4};
    double y[6];
    uint8_t by[6];
    fn(&resize_case, FB_F64, x, y, 0, 6);
    fn(&resize_case, FB_U8, b, by, 0, 6);
    for (int i = 0; i < 6; i++) {
        assert_true(y[i] == (double)resize_want[i]);
        assert_int_equal(by[i], (int)rint((double)resize_want[i]));
    }
}

static void test_resize_f32(fbk_resize_f32_fn *fn, const char *name)
{
    (void)name;
    const float x[4] = {1, 2, 3, 4};
    float y[6];
    fn(&resize_case, x, y, 4, 2);
    fn(&resize_case, x, y, 0, 4);
    assert_memory_equal(y, resize_want, sizeof y);
}

static void any_rows(void **state)
{
    (void)state;
#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable()))                                                     \
        test_##family(symbol, #symbol);
#include "kernels/any.inc"
#undef FBK
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(half_round_trip),
                                       cmocka_unit_test(any_rows)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
