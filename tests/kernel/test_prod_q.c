/* Every row of prod_q.inc against the reference, to the bit: awkward shapes, worst-case values,
 * guard pages around each buffer, tiles in reverse order. */
#include "kernel/guard.h"

#include "base/cpu.h"
#include "kernels/prod_q.h"

#include <math.h>

typedef struct layer {
    fbk_prod_q c;
    uint8_t *index;
    int8_t *word;
    int32_t *bias;
    float *scale;
} layer;

static size_t index_count(const fbk_prod_q *c)
{
    return (size_t)c->oc * c->kh * c->kw * c->subs * c->stages;
}

/* A codeword within the law; `full` uses all of it, so that raw reaches its ends. */
static void fill_word(int8_t *word, uint32_t d, bool full)
{
    int32_t left = FBK_PROD_SUM;
    memset(word, 0, d);
    if (full) {
        uint32_t j = test_below(d), sign = test_below(2);
        if (d > 1 && test_below(2))
            word[(j + 1) % d] = sign ? 64 : -64;
        word[j] = d > 1 && word[(j + 1) % d] ? word[(j + 1) % d] : (int8_t)(sign ? 127 : -128);
        return;
    }
    for (uint32_t j = 0; j < d; j++) {
        int32_t most = left < 40 ? left : 40;
        int32_t v = test_range(-most, most);
        word[j] = (int8_t)v;
        left -= v < 0 ? -v : v;
    }
}

static void layer_fill(layer *l, bool full)
{
    fbk_prod_q *c = &l->c;
    size_t words = (size_t)c->groups * c->subs * c->stages * c->n_words;
    l->index = malloc(index_count(c));
    l->word = malloc(words * c->d);
    l->bias = malloc(c->oc * sizeof *l->bias);
    l->scale = malloc(c->oc * sizeof *l->scale);
    for (size_t i = 0; i < index_count(c); i++)
        l->index[i] = (uint8_t)test_below(c->n_words);
    for (size_t i = 0; i < words; i++)
        fill_word(l->word + i * c->d, c->d, full);
    if (full) { /* every look-up at the same end: the largest sums */
        memset(l->index, 0, index_count(c));
        for (size_t i = 0; i < words; i++)
            for (uint32_t j = 0; j < c->d; j++)
                l->word[i * c->d + j] = (int8_t)(j ? 0 : c->table_bits % 2 ? 127 : -128);
    }
    for (uint32_t s = 0; s < c->stages; s++)
        c->mul[s] = full ? 32767 : test_range(1, 400);
    for (uint32_t o = 0; o < c->oc; o++) {
        l->bias[o] = test_below(4)   ? test_range(-3000, 3000)
                     : test_below(2) ? INT32_MAX
                                     : INT32_MIN;
        l->scale[o] = test_below(4) == 0 ? 0.5f : (test_float() + 1.5f) * 0.1f;
    }
}

static void layer_free(layer *l)
{
    free(l->index);
    free(l->word);
    free(l->bias);
    free(l->scale);
}

static bool run_row(const layer *l, const fbk_prod_q_row *row, const guard_buf *x, guard_buf *y,
                    guard_side side)
{
    fbk_prod_q c = l->c;
    if (!row->plan(&c))
        return false;
    guard_buf packed = guard_new(c.packed_bytes, 64, side);
    guard_buf scratch = guard_new(c.scratch_bytes, 64, side);
    fbk_prod_source s = {l->index, l->word, l->bias, l->scale};
    c.packed = packed.p;
    row->pack(&c, &s);
    guard_read_only(&packed);
    for (uint32_t t = c.n_tiles; t-- > 0;)
        row->run(&c, x->p, y->p, scratch.p, t);
    guard_free(&packed);
    guard_free(&scratch);
    return true;
}

/* Checked layers that each row took. */
static uint32_t taken_by[8];

static void check(const fbk_prod_q *shape, bool full)
{
    layer l = {.c = *shape};
    const fbk_prod_q *c = &l.c;
    l.c.subs = (c->ic / c->groups + c->d - 1) / c->d;
    layer_fill(&l, full);
    size_t nx = (size_t)c->n * c->ih * c->iw * c->ic, ny = (size_t)c->n * c->oh * c->ow * c->oc;
    size_t bytes = ny * (c->f32_out ? 4 : 1);
    uint32_t n;
    const fbk_prod_q_row *rows = fbk_prod_q_rows(&n);
    for (guard_side side = GUARD_START; side < GUARD_SIDES; side++) {
        guard_buf x = guard_new(nx, 1, side), want = guard_new(bytes, 1, side);
        for (size_t i = 0; i < nx; i++)
            x.p[i] = full ? (uint8_t)(c->x_zero < 128 ? 255 : 0) : (uint8_t)test_below(256);
        guard_read_only(&x);
        assert_true(run_row(&l, &rows[0], &x, &want, side));
        for (uint32_t r = 1; r < n; r++) {
            if ((rows[r].cpu & ~fb_cpu_usable()) != 0)
                continue;
            guard_buf got = guard_new(bytes, 1, side);
            if (run_row(&l, &rows[r], &x, &got, side)) {
                taken_by[r]++;
                if (memcmp(got.p, want.p, bytes) != 0)
                    fail_msg("%s: %ux%ux%u -> %ux%ux%u, %ux%u, groups %u, d %u, %u words, %u "
                             "stages, %u bits",
                             rows[r].name, c->ih, c->iw, c->ic, c->oh, c->ow, c->oc, c->kh, c->kw,
                             c->groups, c->d, c->n_words, c->stages, c->table_bits);
            }
            guard_free(&got);
        }
        guard_free(&x);
        guard_free(&want);
    }
    layer_free(&l);
}

/* A layer of stride 1 and no padding, codes out. */
static fbk_prod_q plain(uint32_t size, uint32_t ic, uint32_t oc, uint32_t k, uint32_t d)
{
    return (fbk_prod_q){.n = 1,
                        .ih = size,
                        .iw = size,
                        .ic = ic,
                        .oh = size - k + 1,
                        .ow = size - k + 1,
                        .oc = oc,
                        .kh = k,
                        .kw = k,
                        .stride_h = 1,
                        .stride_w = 1,
                        .dil_h = 1,
                        .dil_w = 1,
                        .groups = 1,
                        .d = d,
                        .n_words = 16,
                        .stages = 1,
                        .table_bits = 6,
                        .y_zero = 11,
                        .y_hi = 255};
}

/* 2 to 16 half the time, else more; beyond 128 only the reference goes. */
static uint32_t words_of(uint32_t kind)
{
    return kind < 4   ? 2 + test_below(15)
           : kind < 6 ? 17 + test_below(48)
           : kind < 7 ? 65 + test_below(64)
                      : 120 + test_below(80);
}

static void random_layers(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        uint32_t groups = test_below(4) ? 1 : 2 + test_below(2);
        uint32_t ic = groups * (1 + test_below(30)), oc = groups * (1 + test_below(70));
        fbk_prod_q c = plain(1, ic, oc, 1, 1 + test_below(test_below(8) ? 9 : 40));
        c.groups = groups;
        c.n = 1 + test_below(2);
        c.ih = 1 + test_below(9);
        c.iw = 1 + test_below(9);
        c.kh = 1 + test_below(c.ih < 3 ? c.ih : 3);
        c.kw = 1 + test_below(c.iw < 3 ? c.iw : 3);
        c.stride_h = 1 + test_below(3);
        c.stride_w = 1 + test_below(3);
        c.dil_h = 1 + test_below(2);
        c.dil_w = 1 + test_below(2);
        c.pad_t = (int32_t)((c.kh - 1) * c.dil_h);
        c.pad_l = (int32_t)test_below(1 + (c.kw - 1) * c.dil_w);
        uint32_t right = (c.kw - 1) * c.dil_w; /* enough for one output at least */
        c.oh = (c.ih + (uint32_t)c.pad_t - (c.kh - 1) * c.dil_h - 1) / c.stride_h + 1;
        c.ow = (c.iw + (uint32_t)c.pad_l + right - (c.kw - 1) * c.dil_w - 1) / c.stride_w + 1;
        c.n_words = words_of(test_below(8));
        c.stages = 1 + test_below(FBK_PROD_STAGES);
        c.table_bits = 5 + test_below(4);
        c.x_zero = test_below(2) ? 0 : (int32_t)test_below(256);
        c.y_signed = test_below(2);
        c.y_lo = c.y_signed ? -128 : 0;
        c.y_hi = c.y_lo + 255;
        c.y_zero = test_range(c.y_lo, c.y_hi);
        c.f32_out = test_below(5) == 0;
        c.act_lo = test_below(2) ? 0.0f : -INFINITY;
        c.act_hi = test_below(2) ? 6.0f : INFINITY;
        check(&c, false);
    }
}

/* More look-ups than 16-bit sums hold, all at the end of the range, for each width of entries. */
static void large_sums(void **state)
{
    (void)state;
    for (uint32_t bits = 5; bits <= 8; bits++) {
        for (int32_t zero = 0; zero <= 255; zero += 255) {
            fbk_prod_q c = plain(4, 700, 40, 3, 2);
            c.table_bits = bits;
            c.x_zero = zero;
            c.f32_out = true;
            c.act_lo = -INFINITY;
            c.act_hi = INFINITY;
            check(&c, true);
            for (uint32_t words = 16; words <= 128; words = words * 2 + 7) {
                c = plain(1, 5000, 33, 1, 2);
                c.n_words = words;
                c.table_bits = bits;
                c.x_zero = zero;
                check(&c, true);
            }
        }
    }
}

/* Several bands, strips that share rows, tiles of channels. */
static void bands_and_strips(void **state)
{
    (void)state;
    fbk_prod_q c = plain(30, 64, 64, 3, 4);
    c.pad_t = c.pad_l = 1;
    c.oh = c.ow = 30;
    check(&c, false);
    c = plain(41, 96, 32, 5, 4);
    c.stride_h = c.stride_w = 2;
    c.oh = c.ow = 19;
    check(&c, false);
    c = plain(1, 1000, 500, 1, 3);
    check(&c, false);
    c.n_words = 64;
    check(&c, false);
    c = plain(21, 64, 100, 3, 8);
    c.n_words = 128;
    check(&c, false);
    c = plain(40, 64, 33, 1, 4);
    check(&c, false);
    c = plain(40, 64, 33, 1, 8);
    c.stages = 2;
    c.stride_h = c.stride_w = 3;
    c.oh = c.ow = 14;
    check(&c, false);
}

/* One look-up by hand: x = (10, 3) against the word (5, -7), zero point 4, half a step a unit:
 * raw = 6 * 5 - 1 * -7 = 37, t = floor(18.5 + 0.5) = 19; and -37 gives floor(-18.5 + 0.5) = -18. */
static void by_hand(void **state)
{
    (void)state;
    uint8_t x[2] = {10, 3}, index[2] = {1, 0}, y[2];
    int8_t word[40] = {-5, 7, 5, -7};
    int32_t bias[2] = {100, 100};
    float scale[2] = {1, 1};
    uint32_t n;
    const fbk_prod_q_row *rows = fbk_prod_q_rows(&n);
    for (uint32_t r = 0; r < n; r++) {
        if (!test_row_usable(rows[r].cpu, fb_cpu_usable()))
            continue;
        fbk_prod_q c = plain(1, 2, 2, 1, 2);
        fbk_prod_source s = {index, word, bias, scale};
        c.subs = 1;
        c.n_words = 2;
        if (!rows[r].plan(&c))
            c.n_words = 20; /* a row for larger codebooks */
        c.x_zero = 4;
        c.mul[0] = 16384;
        c.y_zero = 0;
        assert_true(rows[r].plan(&c));
        guard_buf packed = guard_new(c.packed_bytes, 64, GUARD_END);
        guard_buf scratch = guard_new(c.scratch_bytes, 64, GUARD_END);
        c.packed = packed.p;
        rows[r].pack(&c, &s);
        for (uint32_t t = 0; t < c.n_tiles; t++)
            rows[r].run(&c, x, y, scratch.p, t);
        assert_int_equal(y[0], 119);
        assert_int_equal(y[1], 82);
        guard_free(&packed);
        guard_free(&scratch);
    }
}

static void every_row_was_taken(void **state)
{
    (void)state;
    uint32_t n;
    const fbk_prod_q_row *rows = fbk_prod_q_rows(&n);
    for (uint32_t r = 1; r < n; r++)
        if ((rows[r].cpu & ~fb_cpu_usable()) == 0)
            assert_true(taken_by[r] > 20);
}

int main(void)
{
    test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(random_layers),
        cmocka_unit_test(large_sums),
        cmocka_unit_test(bands_and_strips),
        cmocka_unit_test(every_row_was_taken),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : test_rows_report();
}
