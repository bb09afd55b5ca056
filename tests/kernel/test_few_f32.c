/* Every row of few_f32.inc: dense layers against sums in double, panels against the reference to
 * the bit, convolutions on codes against those on decoded weights to the bit. All widths, affine
 * and tables, awkward sizes, guard pages around each buffer. */
#include "kernel/guard.h"

#include "base/cpu.h"
#include "kernels/igemm_f32.h"

#include <math.h>

typedef struct weights {
    fbk_few_f32 f;
    guard_buf table, zero, scale;
} weights;

static float *floats_of(const guard_buf *b)
{
    return (float *)(void *)b->p;
}

/* Codes of `bits` bits for so many columns of k rows, in groups if that pleases chance and k > 0.
 */
static weights weights_new(uint32_t bits, size_t columns, size_t k, guard_side side)
{
    weights w = {.f = {.bits = bits, .columns = columns}};
    w.f.affine = bits > 4 || test_below(2);
    w.f.is_signed = w.f.affine && test_below(2);
    w.f.own = !w.f.affine && test_below(2);
    bool table = !w.f.affine || (bits <= 4 && test_below(2)), zero = w.f.affine && test_below(2);
    size_t entries = 16, tables = w.f.own ? columns : 1;
    int32_t half = 1 << (bits - 1), lo = w.f.is_signed ? -half : 0;
    if (k > 0 && w.f.affine && test_below(2))
        w.f.group = 8 * (size_t)test_range(1, 12);
    size_t lists = columns * (w.f.group ? (k + w.f.group - 1) / w.f.group : 1);
    w.scale = guard_new(lists * 4, 4, side);
    w.zero = guard_new(lists * 4, 4, side);
    w.table = guard_new(tables * entries * 4, 4, side);
    int32_t shared = test_range(lo, lo + 2 * half - 1);
    for (size_t i = 0; i < lists; i++) {
        floats_of(&w.scale)[i] = test_float() + 1.5f;
        floats_of(&w.zero)[i] = (float)(table ? shared : test_range(lo, lo + 2 * half - 1));
    }
    for (size_t i = 0; i < tables * entries; i++) {
        int32_t q = (int32_t)(i % entries) & (2 * half - 1);
        size_t first = i / entries * entries + (size_t)q; /* repeated below 4 bits */
        if (w.f.affine)
            floats_of(&w.table)[i] =
                (float)((w.f.is_signed && q >= half ? q - 2 * half : q) - (zero ? shared : 0));
        else
            floats_of(&w.table)[i] = first < i ? floats_of(&w.table)[first] : test_float();
    }
    w.f.scale = floats_of(&w.scale);
    w.f.zero = zero ? floats_of(&w.zero) : NULL;
    w.f.table = table ? floats_of(&w.table) : NULL;
    return w;
}

static void weights_free(weights *w)
{
    guard_free(&w->table);
    guard_free(&w->zero);
    guard_free(&w->scale);
}

/* Where the lists have row k of a column. */
static size_t list_at(const fbk_few_f32 *f, size_t column, size_t k)
{
    return (f->group ? k / f->group * f->columns : 0) + column;
}

/* The value of code i in a stream, which is row k of a column, without scale. */
static double value_at(const fbk_few_f32 *f, const uint8_t *codes, size_t i, size_t column,
                       size_t k)
{
    uint32_t q = 0;
    for (uint32_t b = 0; b < f->bits; b++)
        q |= (uint32_t)(codes[(i * f->bits + b) / 8] >> (i * f->bits + b) % 8 & 1) << b;
    if (f->table)
        return (double)f->table[(f->own ? column * 16 : 0) + q];
    int32_t v = (int32_t)q;
    if (f->is_signed && q >> (f->bits - 1))
        v -= 1 << f->bits;
    return v - (f->zero ? (double)f->zero[list_at(f, column, k)] : 0);
}

static void dense_case(fbk_dense_few_f32_fn *fn, const char *name, uint32_t bits, guard_side side)
{
    size_t m = (size_t)test_range(1, 5), n = (size_t)test_range(1, 13), k = 1 + test_below(200);
    size_t ldy = n + test_below(3), row_bytes = (k + 7) / 8 * bits;
    size_t j0 = test_below((uint32_t)n), j1 = j0 + 1 + test_below((uint32_t)(n - j0));
    weights w = weights_new(bits, n, k, side);
    size_t slack = fbk_few_in_place(&w.f, k) ? 0 : FBK_FEW_SLACK;
    guard_buf codes = guard_new(n * row_bytes + slack, 1, side), x = guard_new(m * k * 4, 4, side);
    guard_buf bias = guard_new(n * 4, 4, side), y = guard_new(((m - 1) * ldy + n) * 4, 4, side);
    test_fill_bytes(codes.p, codes.bytes);
    test_fill_f32(floats_of(&x), m * k);
    test_fill_f32(floats_of(&bias), n);
    guard_read_only(&codes);
    fbk_dense_few_f32_args a = {.m = m,
                                .k = k,
                                .ldy = ldy,
                                .x = floats_of(&x),
                                .w = &w.f,
                                .codes = codes.p,
                                .bias = test_below(2) ? floats_of(&bias) : NULL,
                                .y = floats_of(&y),
                                .lo = test_below(2) ? -INFINITY : -1.0f,
                                .hi = test_below(2) ? INFINITY : 2.0f};
    fn(&a, j0, j1);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = j0; j < j1; j++) {
            double sum = 0, size = 0, b = a.bias ? (double)a.bias[j] : 0;
            for (size_t q = 0; q < k; q++) {
                double v =
                    (double)a.x[i * k + q] * value_at(&w.f, codes.p + j * row_bytes, q, j, q);
                v *= (double)w.f.scale[list_at(&w.f, j, q)];
                sum += v;
                size += fabs(v);
            }
            double want = fmin(fmax(sum + b, (double)a.lo), (double)a.hi);
            double got = (double)a.y[i * ldy + j];
            double groups = w.f.group ? ceil((double)k / (double)w.f.group) : 1;
            double bound = ((double)k + groups + 1) * 0x1p-24 * (size + fabs(b));
            if (!(fabs(got - want) <= bound))
                fail_msg("%s: bits %u affine %d signed %d own %d group %zu, m %zu k %zu, (%zu, "
                         "%zu) is %g, "
                         "want %g",
                         name, bits, w.f.affine, w.f.is_signed, w.f.own, w.f.group, m, k, i, j, got,
                         want);
        }
    }
    uint8_t pattern[4] = {GUARD_PATTERN, GUARD_PATTERN, GUARD_PATTERN, GUARD_PATTERN};
    for (size_t i = 0; i < (m - 1) * ldy + n; i++) {
        if (i % ldy < j0 || i % ldy >= j1)
            assert_memory_equal(y.p + i * 4, pattern, 4);
    }
    guard_free(&codes);
    guard_free(&x);
    guard_free(&bias);
    guard_free(&y);
    weights_free(&w);
}

static void test_dense_few_f32(fbk_dense_few_f32_fn *fn, const char *name)
{
    for (int i = 0; i < 1200; i++)
        dense_case(fn, name, 1 + (uint32_t)i % 8, (guard_side)(i / 8 % GUARD_SIDES));
}

static void test_unpack_f32(fbk_unpack_f32_fn *fn, const char *name)
{
    for (int i = 0; i < 800; i++) {
        uint32_t bits = 1 + (uint32_t)i % 8;
        guard_side side = (guard_side)(i / 8 % GUARD_SIDES);
        size_t nr = 8 * (1 + test_below(3)), rows = 1 + test_below(40), column = test_below(9);
        weights w = weights_new(bits, column + nr, 0, side);
        if (w.f.own)
            rows = (rows + 7) / 8 * 8;
        guard_buf codes = guard_new(rows * nr / 8 * bits + FBK_FEW_SLACK, 1, side);
        guard_buf want = guard_new(rows * nr * 4, 32, side);
        guard_buf got = guard_new(rows * nr * 4, 32, side);
        test_fill_bytes(codes.p, codes.bytes);
        fbk_unpack_f32_ref(&w.f, codes.p, column, nr, rows, floats_of(&want));
        fn(&w.f, codes.p, column, nr, rows, floats_of(&got));
        for (size_t k = 0; k < rows * nr; k++) {
            size_t row = k / nr, j = k % nr, at = w.f.own ? (row / 8 * nr + j) * 8 + row % 8 : k;
            double v = value_at(&w.f, codes.p, at, column + j, 0);
            float exact = w.f.scale[column + j] * (float)v;
            if (!(floats_of(&got)[k] == exact && floats_of(&want)[k] == exact))
                fail_msg("%s: bits %u affine %d signed %d own %d: element %zu of %zu x %zu is %g, "
                         "the reference's %g, want %g",
                         name, bits, w.f.affine, w.f.is_signed, w.f.own, k, rows, nr,
                         (double)floats_of(&got)[k], (double)floats_of(&want)[k], (double)exact);
        }
        guard_free(&codes);
        guard_free(&want);
        guard_free(&got);
        weights_free(&w);
    }
}

static void few_f32_rows(void **state)
{
    (void)state;
#define FBK(symbol, cpu, family)                                                                   \
    if (test_row_usable(cpu, fb_cpu_usable()))                                                     \
        test_##family(symbol, #symbol);
#include "kernels/few_f32.inc"
#undef FBK
}

/* --- convolutions ---------------------------------------------------------------------------- */

/* The image's output with weights as floats (few NULL) or as codes. */
static void run_igemm(const fbk_igemm_f32_shape *s, const float *packed, const float *x,
                      const fbk_igemm_f32_few *few, guard_buf *y, guard_side side)
{
    size_t bytes = s->scratch_bytes;
    if (few)
        bytes = (bytes + 63) / 64 * 64 + fbk_igemm_f32_block_bytes(s);
    guard_buf scratch = guard_new(bytes, few ? 32 : 8, side);
    fbk_igemm_f32_args a = {.s = s,
                            .micro = fbk_igemm_f32_pick(fb_cpu_usable(), NULL),
                            .x = x,
                            .packed = packed,
                            .few = few,
                            .y = floats_of(y),
                            .lo = -INFINITY,
                            .hi = INFINITY,
                            .scratch = scratch.p};
    for (uint32_t t = fbk_igemm_f32_tiles(s); t-- > 0;)
        fbk_igemm_f32_tile(&a, t);
    guard_free(&scratch);
}

static void conv_case(const fbk_window *g, uint32_t bits, guard_side side)
{
    fbk_igemm_f32_shape s;
    fbk_igemm_f32_shape_make(g, &s);
    size_t oc = (size_t)g->oc, elems = oc * s.k, columns = fbk_igemm_f32_columns(&s);
    weights w = weights_new(bits, (size_t)g->groups * columns, s.k, GUARD_START);
    uint8_t *codes = malloc(elems);
    float *decoded = malloc(elems * sizeof *decoded);
    for (size_t i = 0; i < elems; i++) {
        size_t column = i / s.k / s.n * columns + i / s.k % s.n;
        codes[i] = (uint8_t)test_below(1u << bits);
        float scale = w.f.scale[list_at(&w.f, column, i % s.k)];
        decoded[i] = scale * (float)value_at(&w.f, codes + i, 0, column, i % s.k);
    }
    size_t nx = (size_t)g->h * (size_t)g->w * (size_t)g->c;
    size_t ny = (size_t)g->oh * (size_t)g->ow * oc;
    size_t floats = fbk_igemm_f32_packed_elems(&s);
    guard_buf x = guard_new(nx * 4, 4, side), zeros = guard_new(s.seg_len * 4, 4, side);
    guard_buf packed = guard_new(floats * 4, 32, GUARD_START);
    guard_buf panels = guard_new(fbk_igemm_f32_codes_bytes(&s, bits), 1, side);
    guard_buf want = guard_new(ny * 4, 4, side), got = guard_new(ny * 4, 4, side);
    test_fill_f32(floats_of(&x), nx);
    memset(zeros.p, 0, zeros.bytes);
    memset(packed.p, 0, packed.bytes);
    memset(panels.p, 0, panels.bytes);
    fbk_igemm_f32_pack(&s, decoded, floats_of(&packed));
    fbk_igemm_f32_pack_codes(&s, codes, bits, w.f.own, panels.p);
    guard_read_only(&panels);
    fbk_igemm_f32_few few = {w.f, panels.p, fbk_unpack_f32_pick(fb_cpu_usable(), NULL)};
    run_igemm(&s, floats_of(&packed), floats_of(&x), NULL, &want, side);
    run_igemm(&s, floats_of(&zeros), floats_of(&x), &few, &got, side);
    if (memcmp(got.p, want.p, ny * 4) != 0)
        fail_msg("codes of %u bits differ from decoded weights (%dx%dx%d -> %d, k %dx%d, groups "
                 "%d, affine %d own %d)",
                 bits, g->h, g->w, g->c, g->oc, g->kh, g->kw, g->groups, w.f.affine, w.f.own);
    guard_free(&x);
    guard_free(&zeros);
    guard_free(&packed);
    guard_free(&panels);
    guard_free(&want);
    guard_free(&got);
    weights_free(&w);
    free(codes);
    free(decoded);
}

static void igemm_codes(void **state)
{
    (void)state;
    static const fbk_window shapes[] = {
        {9, 9, 70, 7, 7, 40, 3, 3, 1, 1, 1, 1, 0, 0, 1},
        {5, 33, 31, 5, 33, 72, 3, 13, 1, 1, 1, 1, 1, 6, 1},
        {20, 20, 3, 10, 10, 64, 7, 7, 2, 2, 1, 1, 3, 3, 1},
        {30, 30, 64, 30, 30, 200, 1, 1, 1, 1, 1, 1, 0, 0, 1},
        {1, 7, 1000, 1, 7, 101, 1, 1, 1, 1, 1, 1, 0, 0, 1},
        {8, 8, 30, 8, 8, 33, 3, 3, 1, 1, 1, 1, 1, 1, 3},
        {6, 6, 5, 6, 6, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    };
    for (uint32_t i = 0; i < 8 * sizeof shapes / sizeof shapes[0]; i++)
        for (guard_side side = GUARD_START; side < GUARD_SIDES; side++)
            conv_case(&shapes[i / 8], 1 + i % 8, side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(few_f32_rows),
                                       cmocka_unit_test(igemm_codes)};
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
