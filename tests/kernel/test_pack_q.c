/* Packing, unpacking, levels: the reference against the bit-by-bit law of model/encoding.h, every
 * other row against the reference, on both sides of a guard page. */
#include "guard.h"

#include "kernels/pack_q.h"
#include "model/encoding.h"

#include <math.h>

static const size_t sizes[] = {0,  1,  2,  3,  7,  8,  9,  15, 16,  17,  23,  24,  31,
                               32, 33, 39, 63, 64, 65, 95, 96, 127, 128, 129, 511, 1000};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static size_t packed_bytes(size_t n, unsigned bits)
{
    size_t bytes;
    assert_true(fb_packed_bytes(n, bits, &bytes));
    return bytes;
}

/* Row `r` of a family, NULL when there are no more or this CPU cannot run it. */
static fbk_fn *row_of(const char *family, uint32_t r, const char **name)
{
    uint32_t n, seen = 0;
    const fbk_info *list = fbk_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].family, family) != 0 || seen++ != r)
            continue;
        *name = list[i].name;
        return test_row_usable(list[i].cpu, fb_cpu_usable()) ? fbk_pick(family, list[i].cpu, NULL)
                                                             : NULL;
    }
    return NULL;
}

static void same_bytes(const char *name, unsigned bits, const guard_buf *got, const uint8_t *want)
{
    for (size_t i = 0; i < got->bytes; i++) {
        if (got->p[i] != want[i])
            fail_msg("%s, %u bits: byte %zu of %zu is %d, must be %d", name, bits, i, got->bytes,
                     got->p[i], want[i]);
    }
}

static void unpack_one(unsigned bits, bool is_signed, size_t n, guard_side side)
{
    size_t each = bits < 8 ? 1 : 2;
    guard_buf x = guard_new(packed_bytes(n, bits), 1, side);
    uint8_t *want = malloc(n * each + 1);
    const char *name;
    fbk_fn *fn;
    test_fill_bytes(x.p, x.bytes);
    for (size_t i = 0; i < n; i++) {
        int32_t q = fb_packed_get(x.p, i, bits, is_signed);
        if (each == 1)
            want[i] = (uint8_t)q;
        else
            ((uint16_t *)(void *)want)[i] = (uint16_t)q;
    }
    guard_read_only(&x);
    for (uint32_t r = 0; (fn = row_of(each == 1 ? "unpack8_q" : "unpack16_q", r, &name)) != NULL;
         r++) {
        guard_buf y = guard_new(n * each, 1, side);
        if (each == 1)
            ((fbk_unpack8_q_fn *)fn)(bits, is_signed, n, x.p, y.p);
        else
            ((fbk_unpack16_q_fn *)fn)(bits, is_signed, n, x.p, (void *)y.p);
        same_bytes(name, bits, &y, want);
        guard_free(&y);
    }
    free(want);
    guard_free(&x);
}

static void pack_one(unsigned bits, size_t n, guard_side side)
{
    size_t each = bits < 8 ? 1 : 2, bytes = packed_bytes(n, bits);
    guard_buf x = guard_new(n * each, 1, side);
    uint8_t *want = calloc(bytes + 1, 1);
    const char *name;
    fbk_fn *fn;
    test_fill_bytes(x.p, x.bytes); /* the bits above a code's are to be dropped */
    for (size_t i = 0; i < n; i++)
        fb_packed_put(want, i, bits, each == 1 ? x.p[i] : ((const uint16_t *)(void *)x.p)[i]);
    guard_read_only(&x);
    for (uint32_t r = 0; (fn = row_of(each == 1 ? "pack8_q" : "pack16_q", r, &name)) != NULL; r++) {
        guard_buf y = guard_new(bytes, 1, side);
        if (each == 1)
            ((fbk_pack8_q_fn *)fn)(bits, n, x.p, y.p);
        else
            ((fbk_pack16_q_fn *)fn)(bits, n, (const void *)x.p, y.p);
        same_bytes(name, bits, &y, want);
        guard_free(&y);
    }
    free(want);
    guard_free(&x);
}

static void test_pack(void **state)
{
    (void)state;
    for (unsigned bits = 1; bits < 16; bits++) {
        for (int k = 0; bits != 8 && k < N_SIZES; k++) {
            for (int side = 0; side < GUARD_SIDES; side++) {
                unpack_one(bits, false, sizes[k], (guard_side)side);
                unpack_one(bits, true, sizes[k], (guard_side)side);
                pack_one(bits, sizes[k], (guard_side)side);
            }
        }
    }
}

/* Ascending, some of them equal to values that are looked up. */
static void make_edges(fbk_nearest *q, unsigned n_levels)
{
    float at = -2;
    for (unsigned i = 0; i < 256; i++) {
        at += (float)test_below(3) * 0.125f;
        q->edge[i] = i + 1 < n_levels ? at : INFINITY;
    }
}

static void levels_one(size_t n, guard_side side)
{
    fbk_nearest q = {.bits = 1 + test_below(8)};
    float table[256];
    make_edges(&q, 1 + test_below(1u << q.bits));
    for (int i = 0; i < 256; i++)
        table[i] = test_float();
    guard_buf x = guard_new(n * sizeof(float), 4, side), index = guard_new(n, 1, side);
    float *v = (float *)(void *)x.p;
    uint8_t *want = malloc(n + 1);
    float *want_f = malloc((n + 1) * sizeof *want_f);
    const char *name;
    fbk_fn *fn;
    test_fill_bytes(index.p, n);
    for (size_t i = 0; i < n; i++) {
        v[i] = i % 3 ? (float)test_range(-40, 40) * 0.125f : test_float();
        if (i % 31 == 30)
            v[i] = i % 2 ? NAN : INFINITY;
        uint8_t level = 0;
        while (level + 1u < 1u << q.bits && v[i] > q.edge[level])
            level++;
        want[i] = level;
        want_f[i] = table[index.p[i]];
    }
    guard_read_only(&x);
    guard_read_only(&index);
    for (uint32_t r = 0; (fn = row_of("nearest_f32", r, &name)) != NULL; r++) {
        guard_buf y = guard_new(n, 1, side);
        ((fbk_nearest_f32_fn *)fn)(&q, n, v, y.p);
        same_bytes(name, q.bits, &y, want);
        guard_free(&y);
    }
    for (uint32_t r = 0; (fn = row_of("lut_f32", r, &name)) != NULL; r++) {
        guard_buf y = guard_new(n * sizeof(float), 4, side);
        ((fbk_lut_f32_fn *)fn)(table, n, index.p, (float *)(void *)y.p);
        same_bytes(name, 32, &y, (const uint8_t *)want_f);
        guard_free(&y);
    }
    free(want);
    free(want_f);
    guard_free(&x);
    guard_free(&index);
}

static void test_levels(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++)
        levels_one(sizes[test_below(N_SIZES)], (guard_side)(i % GUARD_SIDES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_levels),
    };
    test_seed();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
