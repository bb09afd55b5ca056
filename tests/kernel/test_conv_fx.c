/* Every row of conv_fx.inc against the reference, to the bit and to the count: every mode, widths
 * from 4 to 16 bits, awkward shapes, worst-case values, guard pages around each buffer, tiles in
 * reverse order. And the reference against the law written out in doubles. */
#include "guard.h"

#include "base/cpu.h"
#include "kernels/conv_fx.h"
#include "kernels/element.h"

#include <math.h>

typedef enum pattern { RANDOM, SMALL, EXTREME, HIGH, LOW, PATTERNS } pattern;

typedef struct layer {
    fbk_conv_fx c;
    unsigned w_bits;
    int16_t *w;
    int32_t *bias, *shift;
    float *scale;
    unsigned shift_kind;
} layer;

static size_t taps_of(const fbk_conv_fx *c)
{
    return (size_t)c->kh * c->kw * (c->ic / c->groups);
}

static int32_t pick(pattern p, int32_t lo, int32_t hi)
{
    switch (p) {
    case SMALL:
        return test_range(lo / 16, hi / 16);
    case EXTREME:
        return test_below(2) ? lo : hi;
    case HIGH:
        return hi;
    case LOW:
        return lo;
    default:
        return test_range(lo, hi);
    }
}

static size_t type_bytes(fb_dtype t)
{
    return t == FB_F32 ? 4 : t == FB_U16 || t == FB_S16 ? 2 : 1;
}

static bool type_signed(fb_dtype t)
{
    return t == FB_S8 || t == FB_S16;
}

static int32_t log2_up(double v)
{
    int e;
    (void)frexp(v, &e);
    return e;
}

static void layer_fill(layer *l, pattern p)
{
    fbk_conv_fx *c = &l->c;
    size_t taps = taps_of(c);
    l->w = malloc(c->oc * taps * sizeof *l->w);
    l->bias = malloc(c->oc * sizeof *l->bias);
    l->shift = malloc(c->oc * sizeof *l->shift);
    l->scale = malloc(c->oc * sizeof *l->scale);
    int32_t most = (1 << (l->w_bits - 1)) - 1;
    for (size_t i = 0; i < c->oc * taps; i++)
        l->w[i] = (int16_t)pick(p, -most - (int32_t)test_below(2), most);
    /* Most results land within the codes, some far outside, some shifted to the left. */
    unsigned acc = (unsigned)log2_up(sqrt((double)taps)) + l->w_bits + c->x_bits - 2;
    int32_t usual = (int32_t)(acc < 31 ? acc : 31) - (c->y_type == FB_F32 ? 0 : 8);
    for (uint32_t o = 0; o < c->oc; o++) {
        l->bias[o] =
            test_below(8) ? test_range(-1000, 1000) : pick(EXTREME, -2147483647, 2147483647);
        l->shift[o] = usual + test_range(-2, 2);
        if (l->shift_kind == 1)
            l->shift[o] = test_range(-20, 6);
        if (l->shift_kind == 2)
            l->shift[o] = test_range(24, 45);
        if (l->shift_kind == 3)
            l->shift[o] = test_range(0, 32);
        l->scale[o] = ldexpf(1, -l->shift[o]);
    }
    fbk_fx_weights w = {l->w, l->bias, l->shift, l->scale};
    fbk_conv_fx_prove(c, &w);
}

static void layer_free(layer *l)
{
    free(l->w);
    free(l->bias);
    free(l->shift);
    free(l->scale);
}

static fb_saturations run_row(const layer *l, const fbk_conv_fx_row *row, const guard_buf *x,
                              guard_buf *y, bool *taken, guard_side side)
{
    fbk_conv_fx c = l->c;
    fb_saturations counts = {0};
    *taken = row->plan(&c);
    if (!*taken)
        return counts;
    guard_buf packed = guard_new(c.packed_bytes, 64, side);
    guard_buf scratch = guard_new(c.scratch_bytes, 64, side);
    c.packed = packed.p;
    row->pack(&c, &(fbk_fx_weights){l->w, l->bias, l->shift, l->scale});
    guard_read_only(&packed);
    for (uint32_t t = c.n_tiles; t-- > 0;)
        row->run(&c, x->p, y->p, scratch.p, t, &counts);
    guard_free(&packed);
    guard_free(&scratch);
    return counts;
}

static unsigned taken_by[8], layers, overflowed;

static void check(const layer *shape, pattern p)
{
    layer l = *shape;
    const fbk_conv_fx *c = &l.c;
    layer_fill(&l, p);
    size_t nx = (size_t)c->n * c->ih * c->iw * c->ic, ny = (size_t)c->n * c->oh * c->ow * c->oc;
    size_t sx = type_bytes(c->x_type), sy = type_bytes(c->y_type), bytes = ny * sy;
    int32_t x_lo = type_signed(c->x_type) ? -(1 << (c->x_bits - 1)) : 0;
    int32_t x_hi = x_lo + (1 << c->x_bits) - 1;
    uint32_t n;
    const fbk_conv_fx_row *rows = fbk_conv_fx_rows(&n);
    layers++;
    for (guard_side side = GUARD_START; side < GUARD_SIDES; side++) {
        guard_buf x = guard_new(nx * sx, sx, side), want = guard_new(bytes, sy, side);
        for (size_t i = 0; i < nx; i++)
            fbk_put_i64(c->x_type, x.p, i, pick(p, x_lo, x_hi));
        guard_read_only(&x);
        bool taken;
        fb_saturations truth = run_row(&l, &rows[0], &x, &want, &taken, side);
        assert_true(taken);
        overflowed += truth.sums > 0;
        assert_true(truth.sums <= ny && truth.outputs <= ny);
        if (fbk_conv_fx_is_safe(c))
            assert_int_equal(truth.sums, 0);
        for (uint32_t r = 1; r < n; r++) {
            if (!test_row_usable(rows[r].cpu, fb_cpu_usable()))
                continue;
            guard_buf y = guard_new(bytes, sy, side);
            fb_saturations got = run_row(&l, &rows[r], &x, &y, &taken, side);
            taken_by[r] += taken;
            bool same = !taken || (memcmp(y.p, want.p, bytes) == 0 && got.sums == truth.sums &&
                                   got.outputs == truth.outputs);
            if (!same) {
                size_t at = 0;
                while (at < bytes && y.p[at] == want.p[at])
                    at++;
                fail_msg(
                    "%s: byte %zu of %zu, counts %llu %llu not %llu %llu (n %u %ux%ux%u -> "
                    "%ux%ux%u, k %ux%u s %u,%u d %u,%u p %d,%d g %u types %d %d bits %u %u acc "
                    "%d %d %d pattern %d shift %d..%d)",
                    rows[r].name, at, bytes, (unsigned long long)got.sums,
                    (unsigned long long)got.outputs, (unsigned long long)truth.sums,
                    (unsigned long long)truth.outputs, c->n, c->ih, c->iw, c->ic, c->oh, c->ow,
                    c->oc, c->kh, c->kw, c->stride_h, c->stride_w, c->dil_h, c->dil_w, c->pad_t,
                    c->pad_l, c->groups, c->x_type, c->y_type, l.w_bits, c->x_bits, c->law.acc_bits,
                    c->law.overflow, c->law.rounding, p, c->shift_lo, c->shift_hi);
            }
            guard_free(&y);
        }
        guard_free(&x);
        guard_free(&want);
    }
    layer_free(&l);
}

static uint32_t out_size(uint32_t in, uint32_t k, uint32_t stride, uint32_t dil, uint32_t pad)
{
    uint32_t span = (k - 1) * dil + 1;
    return in + pad < span ? 0 : (in + pad - span) / stride + 1;
}

/* Widths, signs, modes and clamps at random. */
static void set_codes(layer *l)
{
    fbk_conv_fx *c = &l->c;
    static const fb_dtype types[] = {FB_U8, FB_S8, FB_U16, FB_S16};
    c->x_type = types[test_below(4)];
    c->x_bits = type_bytes(c->x_type) == 1 ? 4 + test_below(5) : 9 + test_below(8);
    l->w_bits = 2 + test_below(15);
    c->y_type = test_below(8) == 0 ? FB_F32 : types[test_below(4)];
    unsigned bits = type_bytes(c->y_type) == 1 ? 4 + test_below(5) : 9 + test_below(8);
    c->y_lo = type_signed(c->y_type) ? -(1 << (bits - 1)) : 0;
    c->y_hi = c->y_lo + (1 << bits) - 1;
    c->lo_counts = test_below(2);
    c->hi_counts = test_below(3) > 0;
    if (!c->lo_counts)
        c->y_lo = c->y_lo / 2;
    if (!c->hi_counts)
        c->y_hi = c->y_hi / 2;
    c->act_lo = test_below(2) ? -INFINITY : 0.0f;
    c->act_hi = test_below(2) ? INFINITY : 6.0f;
    c->law.acc_bits = test_below(4) == 0 ? 32 : test_range(8, 32);
    c->law.overflow = (int32_t)test_below(FB_OVERFLOW_COUNT);
    c->law.rounding = (int32_t)test_below(FB_ROUND_COUNT);
    l->shift_kind = test_below(6);
}

static void test_shapes(void **state)
{
    (void)state;
    static const uint32_t ics[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64};
    static const uint32_t ocs[] = {1, 7, 15, 16, 17, 32, 35, 48};
    for (int i = 0; i < 1500; i++) {
        layer l = {.c = {.n = 1 + test_below(2),
                         .ih = 1 + test_below(12),
                         .iw = 1 + test_below(12),
                         .ic = ics[test_below(11)],
                         .oc = ocs[test_below(8)],
                         .kh = 1 + test_below(4),
                         .kw = 1 + test_below(4),
                         .stride_h = 1 + test_below(3),
                         .stride_w = 1 + test_below(3),
                         .dil_h = 1 + test_below(2),
                         .dil_w = 1 + test_below(2),
                         .groups = 1,
                         .pad_t = (int32_t)test_below(3),
                         .pad_l = (int32_t)test_below(3)}};
        fbk_conv_fx *c = &l.c;
        uint32_t kind = test_below(5), more_h = test_below(3), more_w = test_below(3);
        if (kind == 0) { /* 1x1, dense */
            c->kh = c->kw = c->stride_h = c->stride_w = 1;
            c->pad_t = c->pad_l = 0;
            more_h = more_w = 0;
        } else if (kind == 1) { /* depthwise */
            c->groups = c->oc = c->ic;
        } else if (kind == 2) { /* groups */
            c->groups = 1 + test_below(3);
            c->ic *= c->groups;
            c->oc *= c->groups;
        }
        c->oh = out_size(c->ih, c->kh, c->stride_h, c->dil_h, (uint32_t)c->pad_t + more_h);
        c->ow = out_size(c->iw, c->kw, c->stride_w, c->dil_w, (uint32_t)c->pad_l + more_w);
        set_codes(&l);
        if (c->oh > 0 && c->ow > 0)
            check(&l, (pattern)test_below(PATTERNS));
    }
}

/* Layers as networks have them: more than one band and more than one split. */
static void test_real(void **state)
{
    (void)state;
    static const uint32_t table[][7] = {/* size, ic, oc, k, stride, pad, groups */
                                        {28, 64, 64, 3, 1, 1, 1},  {7, 256, 256, 3, 1, 1, 1},
                                        {28, 64, 128, 1, 2, 0, 1}, {32, 3, 64, 7, 2, 3, 1},
                                        {14, 96, 96, 3, 1, 1, 96}, {1, 1000, 515, 1, 1, 0, 1},
                                        {13, 96, 128, 5, 1, 2, 2}};
    for (size_t i = 0; i < 3 * (sizeof table / sizeof table[0]); i++) {
        const uint32_t *t = table[i / 3];
        layer l = {.c = {.n = 1,
                         .ih = t[0],
                         .iw = t[0],
                         .ic = t[1],
                         .oc = t[2],
                         .kh = t[3],
                         .kw = t[3],
                         .stride_h = t[4],
                         .stride_w = t[4],
                         .dil_h = 1,
                         .dil_w = 1,
                         .groups = t[6],
                         .pad_t = (int32_t)t[5],
                         .pad_l = (int32_t)t[5]}};
        l.c.oh = out_size(t[0], t[3], t[4], 1, 2 * t[5]);
        l.c.ow = l.c.oh;
        set_codes(&l);
        l.c.law.overflow = (int32_t)(i % 3);
        check(&l, RANDOM);
    }
}

/* One output whose sum needs more than 32 bits, by hand: 600 products 32767 * -32768, and a bias.
 */
static void test_wide_sum(void **state)
{
    (void)state;
    enum { TAPS = 600 };
    int16_t w[TAPS], x[TAPS];
    int32_t bias = 12345, shift = 16;
    for (int i = 0; i < TAPS; i++) {
        w[i] = 32767;
        x[i] = -32768;
    }
    int64_t exact = 12345 - (int64_t)TAPS * 32767 * 32768;
    fbk_fx_weights weights = {w, &bias, &shift, NULL};
    for (int32_t mode = 0; mode < FB_OVERFLOW_COUNT; mode++) {
        fbk_conv_fx c = {.n = 1,
                         .ih = 1,
                         .iw = 1,
                         .ic = TAPS,
                         .oh = 1,
                         .ow = 1,
                         .oc = 1,
                         .kh = 1,
                         .kw = 1,
                         .stride_h = 1,
                         .stride_w = 1,
                         .dil_h = 1,
                         .dil_w = 1,
                         .groups = 1,
                         .x_type = FB_S16,
                         .y_type = FB_S16,
                         .x_bits = 16,
                         .law = {32, mode, FB_ROUND_HALF_UP},
                         .y_lo = -32768,
                         .y_hi = 32767,
                         .lo_counts = true,
                         .hi_counts = true};
        fbk_conv_fx_prove(&c, &weights);
        assert_true(c.reach == (int64_t)TAPS * 32767 * 32768 + 12345);
        int64_t acc = mode == FB_OVERFLOW_WRAP ? (int32_t)(uint32_t)(uint64_t)exact : INT32_MIN;
        int64_t y = fb_shift(acc, 16, FB_ROUND_HALF_UP);
        const uint32_t levels[] = {0, fb_cpu_usable()};
        for (int k = 0; k < 2; k++) {
            const fbk_conv_fx_row *row = fbk_conv_fx_choose(&c, levels[k]);
            void *packed, *scratch;
            int16_t got = 0;
            fb_saturations counts = {0};
            assert_int_equal(posix_memalign(&packed, 64, c.packed_bytes), 0);
            assert_int_equal(posix_memalign(&scratch, 64, c.scratch_bytes + 1), 0);
            c.packed = packed;
            row->pack(&c, &weights);
            for (uint32_t t = 0; t < c.n_tiles; t++)
                row->run(&c, x, &got, scratch, t, &counts);
            assert_int_equal(got, y);
            assert_int_equal(counts.sums, 1);
            free(packed);
            free(scratch);
        }
    }
}

/* The law in doubles: every |sum| here is below 2^53, so doubles are exact. */
static void test_doubles(void **state)
{
    (void)state;
    enum { TAPS = 40, OC = 5 };
    int16_t w[OC * TAPS], x[TAPS], y[OC];
    int32_t bias[OC], shift[OC];
    for (int round = 0; round < 2000; round++) {
        int32_t acc_bits = test_range(16, 32), mode = (int32_t)test_below(FB_OVERFLOW_COUNT);
        double top = ldexp(1, acc_bits - 1), sum[OC];
        for (int i = 0; i < TAPS; i++)
            x[i] = (int16_t)test_range(-2048, 2047);
        for (int o = 0; o < OC; o++) {
            bias[o] = test_range(-100000, 100000);
            shift[o] = test_range(0, 14);
            sum[o] = mode == 0 ? fmin(fmax(bias[o], -top), top - 1) : bias[o];
            for (int i = 0; i < TAPS; i++) {
                w[o * TAPS + i] = (int16_t)test_range(-512, 511);
                sum[o] += (double)w[o * TAPS + i] * x[i];
                if (mode == FB_OVERFLOW_SATURATE)
                    sum[o] = fmin(fmax(sum[o], -top), top - 1);
            }
            sum[o] = mode == FB_OVERFLOW_WRAP ? sum[o] - 2 * top * floor((sum[o] + top) / (2 * top))
                                              : fmin(fmax(sum[o], -top), top - 1);
        }
        fbk_conv_fx c = {.n = 1,
                         .ih = 1,
                         .iw = 1,
                         .ic = TAPS,
                         .oh = 1,
                         .ow = 1,
                         .oc = OC,
                         .kh = 1,
                         .kw = 1,
                         .stride_h = 1,
                         .stride_w = 1,
                         .dil_h = 1,
                         .dil_w = 1,
                         .groups = 1,
                         .x_type = FB_S16,
                         .y_type = FB_S16,
                         .x_bits = 12,
                         .law = {acc_bits, mode, FB_ROUND_HALF_UP},
                         .y_lo = -2048,
                         .y_hi = 2047};
        fbk_fx_weights weights = {w, bias, shift, NULL};
        fbk_conv_fx_prove(&c, &weights);
        const fbk_conv_fx_row *row = fbk_conv_fx_choose(&c, 0);
        fb_saturations counts = {0};
        void *packed;
        assert_int_equal(posix_memalign(&packed, 64, c.packed_bytes), 0);
        c.packed = packed;
        row->pack(&c, &weights);
        for (uint32_t t = 0; t < c.n_tiles; t++)
            row->run(&c, x, y, NULL, t, &counts);
        for (int o = 0; o < OC; o++)
            assert_int_equal(y[o],
                             (int)fmin(fmax(floor(ldexp(sum[o], -shift[o]) + 0.5), -2048), 2047));
        free(packed);
    }
}

/* A test that only ever saw layers without overflow, or rows that decline, would prove nothing. */
static void test_was_thorough(void **state)
{
    (void)state;
    uint32_t n;
    const fbk_conv_fx_row *rows = fbk_conv_fx_rows(&n);
    assert_true(overflowed > layers / 4);
    for (uint32_t r = 1; r < n; r++) {
        if ((rows[r].cpu & ~fb_cpu_usable()) == 0)
            assert_true(taken_by[r] > layers / 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_real), cmocka_unit_test(test_wide_sum),
        cmocka_unit_test(test_doubles), cmocka_unit_test(test_was_thorough)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
