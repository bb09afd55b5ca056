/* Every row of conv_q.inc against the reference, to the bit: awkward shapes, worst-case values,
 * guard pages around each buffer, tiles in reverse order. */
#include "kernel/guard.h"

#include "base/cpu.h"
#include "kernels/conv_q.h"
#include "numeric/requant.h"

typedef enum pattern { RANDOM, EXTREME, HIGH, LOW, PATTERNS } pattern;

typedef struct layer {
    fbk_conv_q c;
    bool wide;
    uint32_t few; /* 0, or the values of a table */
    bool own;     /* a table for each channel */
    int16_t *w;
    int8_t *values;
    int32_t *bias;
    float *scale;
} layer;

static size_t taps_of(const fbk_conv_q *c)
{
    return (size_t)c->kh * c->kw * (c->ic / c->groups);
}

static int32_t pick(pattern p, int32_t lo, int32_t hi)
{
    switch (p) {
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

/* Weights from tables of at most `few` values (17 are too many); they need not hold 0. */
static void few_weights(layer *l, pattern p)
{
    size_t taps = taps_of(&l->c);
    int16_t table[17];
    for (uint32_t o = 0; o < l->c.oc; o++) {
        for (uint32_t i = 0; i < l->few && (o == 0 || l->own); i++)
            table[i] = (int16_t)pick(p, -128, 127);
        for (size_t i = 0; i < taps; i++)
            l->w[o * taps + i] = table[test_below(l->few)];
    }
}

static void layer_fill(layer *l, pattern p)
{
    fbk_conv_q *c = &l->c;
    size_t taps = taps_of(c);
    l->w = malloc(c->oc * taps * sizeof *l->w);
    l->bias = malloc(c->oc * sizeof *l->bias);
    l->scale = malloc(c->oc * sizeof *l->scale);
    int32_t most = l->wide ? 255 : 127;
    for (size_t i = 0; i < c->oc * taps; i++)
        l->w[i] = (int16_t)pick(p, l->wide ? -255 : -128, most);
    if (l->few)
        few_weights(l, p);
    l->values = malloc((size_t)c->oc * 16);
    fbk_conv_q_values(c, l->w, l->values);
    for (uint32_t o = 0; o < c->oc; o++) {
        l->bias[o] =
            test_below(4) ? test_range(-100000, 100000) : pick(EXTREME, -2147483647, 2147483647);
        /* Most sums land inside the code range, some far outside, some on ties. */
        l->scale[o] = test_below(4) == 0 ? 0.5f : (test_float() + 1.5f) / (float)(taps * 40);
    }
}

static void layer_free(layer *l)
{
    free(l->w);
    free(l->bias);
    free(l->scale);
    free(l->values);
}

static void run_row(const layer *l, const fbk_conv_q_row *row, const guard_buf *x, guard_buf *y,
                    bool *taken, guard_side side)
{
    fbk_conv_q c = l->c;
    *taken = row->plan(&c, l->wide);
    if (!*taken)
        return;
    guard_buf packed = guard_new(c.packed_bytes, 64, side);
    guard_buf scratch = guard_new(c.scratch_bytes, 64, side);
    c.packed = packed.p;
    row->pack(&c, l->w, l->bias, l->scale);
    guard_read_only(&packed);
    for (uint32_t t = c.n_tiles; t-- > 0;)
        row->run(&c, x->p, y->p, scratch.p, t);
    guard_free(&packed);
    guard_free(&scratch);
}

/* Checked layers that each row took. */
static uint32_t taken_by[16];

static void check(const fbk_conv_q *shape, bool wide, uint32_t few, pattern p)
{
    layer l = {.c = *shape, .wide = wide, .few = few, .own = test_below(2)};
    const fbk_conv_q *c = &l.c;
    layer_fill(&l, p);
    size_t nx = (size_t)c->n * c->ih * c->iw * c->ic, ny = (size_t)c->n * c->oh * c->ow * c->oc;
    size_t bytes = ny * (c->f32_out ? 4 : 1);
    uint32_t n;
    const fbk_conv_q_row *rows = fbk_conv_q_rows(&n);
    for (guard_side side = GUARD_START; side < GUARD_SIDES; side++) {
        guard_buf x = guard_new(nx, 1, side), want = guard_new(bytes, 1, side);
        for (size_t i = 0; i < nx; i++)
            x.p[i] = (uint8_t)pick(p, c->x_signed ? -128 : 0, c->x_signed ? 127 : 255);
        guard_read_only(&x);
        bool taken;
        run_row(&l, &rows[0], &x, &want, &taken, side);
        assert_true(taken);
        for (uint32_t r = 1; r < n; r++) {
            if (!test_row_usable(rows[r].cpu, fb_cpu_usable()))
                continue;
            guard_buf y = guard_new(bytes, c->f32_out ? 4 : 1, side);
            run_row(&l, &rows[r], &x, &y, &taken, side);
            taken_by[r] += taken;
            if (taken && memcmp(y.p, want.p, bytes) != 0) {
                size_t at = 0;
                while (y.p[at] == want.p[at])
                    at++;
                fail_msg("%s: byte %zu is %d, not %d (n %u %ux%ux%u -> %ux%ux%u, k %ux%u s %u,%u "
                         "d %u,%u p %d,%d g %u wide %d few %u, %u tables, pattern %d)",
                         rows[r].name, at, y.p[at], want.p[at], c->n, c->ih, c->iw, c->ic, c->oh,
                         c->ow, c->oc, c->kh, c->kw, c->stride_h, c->stride_w, c->dil_h, c->dil_w,
                         c->pad_t, c->pad_l, c->groups, wide, few, c->n_tables, p);
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

/* Codes, signs and clamps at random. */
static void set_codes(fbk_conv_q *c)
{
    c->x_signed = test_below(3) == 0;
    c->y_signed = test_below(3) == 0;
    c->f32_out = test_below(6) == 0;
    c->x_zero = test_below(3) ? test_range(0, 127) : (c->x_signed ? -128 : 255);
    int32_t lo = c->y_signed ? -128 : 0, hi = c->y_signed ? 127 : 255;
    c->y_lo = test_below(2) ? lo : test_range(lo, 60);
    c->y_hi = test_below(2) ? hi : test_range(c->y_lo, hi);
    c->y_zero = test_range(lo, hi);
    c->act_lo = test_below(2) ? -INFINITY : 0.0f;
    c->act_hi = test_below(2) ? INFINITY : 6.0f;
}

static void make(fbk_conv_q *c, uint32_t pad_b, uint32_t pad_r)
{
    c->oh = out_size(c->ih, c->kh, c->stride_h, c->dil_h, (uint32_t)c->pad_t + pad_b);
    c->ow = out_size(c->iw, c->kw, c->stride_w, c->dil_w, (uint32_t)c->pad_l + pad_r);
    set_codes(c);
}

/* Weights of 8 or 9 bits, or of few values. */
static void check_forms(const fbk_conv_q *c, pattern p)
{
    switch (test_below(4)) {
    case 0:
        check(c, true, 0, p);
        break;
    case 1:
        check(c, false, 0, p);
        break;
    default:
        check(c, false, 1 + test_below(17), p == EXTREME ? EXTREME : RANDOM);
    }
}

static void test_shapes(void **state)
{
    (void)state;
    static const uint32_t ics[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64};
    static const uint32_t ocs[] = {1, 7, 15, 16, 17, 32, 35, 48};
    for (int i = 0; i < 700; i++) {
        fbk_conv_q c = {.n = 1 + test_below(2),
                        .ih = 1 + test_below(16),
                        .iw = 1 + test_below(16),
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
                        .pad_l = (int32_t)test_below(3)};
        uint32_t kind = test_below(5);
        if (kind == 0) { /* 1x1, dense */
            c.kh = c.kw = c.stride_h = c.stride_w = 1;
            c.pad_t = c.pad_l = 0;
        } else if (kind == 1) { /* depthwise */
            c.groups = c.oc = c.ic;
        } else if (kind == 2) { /* groups */
            c.groups = 1 + test_below(3);
            c.ic *= c.groups;
            c.oc *= c.groups;
        }
        make(&c, kind == 0 ? 0 : test_below(3), kind == 0 ? 0 : test_below(3));
        if (c.oh > 0 && c.ow > 0)
            check_forms(&c, (pattern)test_below(PATTERNS));
    }
}

/* Layers as networks have them: more than one band and more than one split. */
static void test_real(void **state)
{
    (void)state;
    static const uint32_t table[][7] = {
        /* size, ic, oc, k, stride, pad, groups */
        {56, 64, 64, 3, 1, 1, 1},     {14, 256, 256, 3, 1, 1, 1}, {7, 512, 512, 3, 1, 1, 1},
        {56, 64, 128, 1, 2, 0, 1},    {64, 3, 64, 7, 2, 3, 1},    {28, 96, 96, 3, 1, 1, 96},
        {28, 144, 144, 5, 2, 2, 144}, {1, 1000, 515, 1, 1, 0, 1}, {27, 96, 256, 5, 1, 2, 2},
        {64, 8, 8, 3, 1, 1, 8},       {32, 12, 12, 3, 2, 1, 12}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const uint32_t *t = table[i];
        fbk_conv_q c = {.n = 1,
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
                        .pad_l = (int32_t)t[5]};
        make(&c, t[5], t[5]);
        check(&c, false, 0, (pattern)(i % PATTERNS));
        check(&c, false, i % 2 ? 16 : 4, (pattern)(i % 2 ? RANDOM : EXTREME));
    }
}

/* Dense layers of one row: the codes are multiplied as they stream. */
static void test_dense(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        uint32_t k = 1 + test_below(test_below(2) ? 40 : 300);
        fbk_conv_q c = {.n = 1 + (test_below(3) == 0) * test_below(8),
                        .ih = 1,
                        .iw = 1,
                        .ic = k,
                        .oc = 1 + test_below(70),
                        .kh = 1,
                        .kw = 1,
                        .stride_h = 1,
                        .stride_w = 1,
                        .dil_h = 1,
                        .dil_w = 1,
                        .groups = 1};
        make(&c, 0, 0);
        check(&c, false, 1 + test_below(17), (pattern)test_below(PATTERNS));
    }
}

/* Tables as the plan finds them: ascending, the last value repeated. */
static void test_values(void **state)
{
    (void)state;
    enum { OC = 3, TAPS = 64 };
    fbk_conv_q c = {.ic = TAPS, .oc = OC, .kh = 1, .kw = 1, .groups = 1};
    int16_t w[OC * TAPS];
    int8_t values[OC * 16];
    for (int i = 0; i < OC * TAPS; i++)
        w[i] = (int16_t)(i % 3 * 5 - 5);
    fbk_conv_q_values(&c, w, values);
    static const int8_t shared[16] = {-5, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    assert_int_equal(c.n_tables, 1);
    assert_memory_equal(c.values, shared, 16);
    for (int i = 0; i < OC * TAPS; i++)
        w[i] = (int16_t)(i / TAPS * 16 + i % 16 - 20);
    fbk_conv_q_values(&c, w, values);
    assert_int_equal(c.n_tables, OC);
    for (int i = 0; i < OC * 16; i++)
        assert_int_equal(c.values[i], i - 20);
    w[5] = 100; /* a 17th value */
    fbk_conv_q_values(&c, w, values);
    assert_int_equal(c.n_tables, 0);
    for (int i = 0; i < OC * TAPS; i++)
        w[i] = (int16_t)(128 * (i % 2));
    fbk_conv_q_values(&c, w, values); /* few, but not of 8 bits */
    assert_int_equal(c.n_tables, 0);
}

/* No row may get through the tests above by declining everything. */
static void test_taken(void **state)
{
    (void)state;
    uint32_t n;
    const fbk_conv_q_row *rows = fbk_conv_q_rows(&n);
    assert_true(n <= 16);
    for (uint32_t r = 1; r < n; r++)
        if ((rows[r].cpu & ~fb_cpu_usable()) == 0 && taken_by[r] < 10)
            fail_msg("%s took %u layers", rows[r].name, taken_by[r]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_real), cmocka_unit_test(test_dense),
                                       cmocka_unit_test(test_taken)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
