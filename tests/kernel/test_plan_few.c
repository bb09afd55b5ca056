/* A float network whose weights stay packed in few bits, against the same network with the decoded
 * weights: convolutions agree to the bit, dense layers of few rows within their bound, any number
 * of threads gives the same bytes, and the plan's packed weights shrink with the bits. */
#include "guard.h"

#include "fewbit/fewbit.h"
#include "model/model.h"

#include <math.h>

/* How weights are written. */
typedef struct form {
    uint8_t bits;
    bool is_signed, per_channel;
    enum { NO_ZERO, SHARED_ZERO, CHANNEL_ZERO } zero;
    uint32_t group;    /* affine: scales for so many k */
    uint16_t n_levels; /* 0: affine; else levels, */
    bool own;          /* a table for each channel */
    bool decoded;      /* the same values as plain floats */
    uint64_t rng;      /* both ways draw the same numbers */
} form;

static uint32_t draw(form *f, uint32_t n)
{
    f->rng = f->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(f->rng >> 33) % n;
}

/* Ascending levels [n_tables][n_levels]: floats, or integers of 8 bits where there is a zero. */
static float *levels_new(form *f, size_t n_tables)
{
    float *level = malloc(n_tables * f->n_levels * sizeof *level);
    for (size_t k = 0; k < n_tables; k++) {
        float at = f->zero == NO_ZERO ? -0.9f : 0;
        for (size_t i = 0; i < f->n_levels; i++) {
            at += f->zero == NO_ZERO ? 0.01f + (float)draw(f, 100) * 1e-3f : 1 + (float)draw(f, 3);
            level[k * f->n_levels + i] = at;
        }
    }
    return level;
}

static int32_t weight(fb_model *m, form *f, const char *name, int32_t rank, const int64_t *dims)
{
    size_t n = 1, bytes, channels = (size_t)dims[0];
    for (int32_t i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    int32_t t, count = 1 << f->bits, lo = f->is_signed ? -count / 2 : 0;
    size_t taps = n / channels, groups = f->group ? (taps + f->group - 1) / f->group : 1;
    size_t lists = channels * groups;
    float *scale = malloc(lists * sizeof *scale), *values = malloc(n * sizeof *values);
    int32_t *zero = malloc(lists * sizeof *zero);
    assert_true(fb_packed_bytes(n, f->bits, &bytes));
    uint8_t *codes = calloc(1, bytes);
    int32_t shared = f->zero == NO_ZERO ? 0 : lo + (int32_t)draw(f, (uint32_t)count);
    for (size_t o = 0; o < lists; o++) {
        scale[o] =
            f->per_channel || o == 0 ? (1 + (float)draw(f, 1000) * 1e-3f) / (float)count : scale[0];
        zero[o] = f->zero == CHANNEL_ZERO ? lo + (int32_t)draw(f, (uint32_t)count) : shared;
    }
    uint32_t n_tables = f->n_levels ? f->own ? (uint32_t)channels : 1 : 0;
    float *level = n_tables ? levels_new(f, n_tables) : NULL;
    for (size_t i = 0; i < n; i++) {
        int32_t q = lo + (int32_t)draw(f, f->n_levels ? f->n_levels : (uint32_t)count);
        size_t o = i / taps * groups + (f->group ? i % taps / f->group : 0);
        fb_packed_put(codes, i, f->bits, q);
        if (level)
            values[i] =
                scale[o] * (level[(f->own ? o : 0) * f->n_levels + (size_t)q] - (float)zero[o]);
        else
            values[i] = scale[o] * (float)(q - zero[o]);
    }
    fb_encoding few = {.kind = FB_ENC_AFFINE,
                       .bits = f->bits,
                       .is_signed = f->is_signed,
                       .axis = f->per_channel ? 0 : -1,
                       .group = f->group,
                       .n_scales = f->per_channel ? (uint32_t)lists : 1,
                       .scale = scale,
                       .zero = f->zero == NO_ZERO ? NULL : zero,
                       .n_levels = f->n_levels,
                       .level_bits = f->n_levels && f->zero != NO_ZERO ? 8 : 0,
                       .n_tables = n_tables,
                       .level = level};
    if (level)
        few.kind = FB_ENC_LEVELS;
    fb_encoding plain = {.kind = FB_ENC_PLAIN, .axis = -1};
    assert_int_equal(fb_model_add_const(m, name, FB_F32, rank, dims, NULL, &t), FB_OK);
    fb_status status = f->decoded ? fb_model_set_payload(m, t, &plain, values, n * 4)
                                  : fb_model_set_payload(m, t, &few, codes, bytes);
    if (status != FB_OK)
        fail_msg("%s", fb_error());
    free(scale);
    free(values);
    free(zero);
    free(level);
    free(codes);
    return t;
}

static int32_t tensor(fb_model *m, const char *name, int32_t rank, const int64_t *dims)
{
    int32_t t;
    assert_int_equal(fb_model_add_tensor(m, name, FB_F32, rank, dims, &t), FB_OK);
    return t;
}

static void node(fb_model *m, fb_op op, const char *name, uint32_t n_in, const int32_t *in,
                 int32_t out, fb_attr attr)
{
    int32_t outs[2] = {out, -1};
    assert_int_equal(
        fb_model_add_node(m, op, name, n_in, in, fb_op_get(op)->n_out, outs, &attr, NULL), FB_OK);
}

static fb_attr conv_attr(int32_t k, int32_t groups)
{
    fb_attr a = {.conv = {.kh = k,
                          .kw = k,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dil_h = 1,
                          .dil_w = 1,
                          .pad_t = k / 2,
                          .pad_l = k / 2,
                          .pad_b = k / 2,
                          .pad_r = k / 2,
                          .groups = groups}};
    return a;
}

/* x -> 3x3 -> 3x3 in 2 groups -> 1x1 = first output -> flatten -> dense = second output */
static fb_model *build(form f)
{
    enum { SIZE = 9, FEATURES = SIZE * SIZE * 21 };
    fb_model *m;
    float bias[21];
    int32_t b;
    assert_int_equal(fb_model_create(&m), FB_OK);
    int32_t x = tensor(m, "x", 4, (int64_t[]){-1, SIZE, SIZE, 3});
    int32_t c = tensor(m, "c", 4, (int64_t[]){-1, SIZE, SIZE, 40});
    int32_t d = tensor(m, "d", 4, (int64_t[]){-1, SIZE, SIZE, 66});
    int32_t e = tensor(m, "e", 4, (int64_t[]){-1, SIZE, SIZE, 21});
    int32_t r = tensor(m, "r", 2, (int64_t[]){-1, FEATURES});
    int32_t y = tensor(m, "y", 2, (int64_t[]){-1, 19});
    for (int i = 0; i < 21; i++)
        bias[i] = (float)draw(&f, 1000) * 1e-3f;
    assert_int_equal(fb_model_add_const(m, "b", FB_F32, 1, (int64_t[]){21}, bias, &b), FB_OK);
    node(m, FB_OP_CONV, "conv", 2, (int32_t[]){x, weight(m, &f, "w1", 4, (int64_t[]){40, 3, 3, 3})},
         c, conv_attr(3, 1));
    node(m, FB_OP_CONV, "groups", 2,
         (int32_t[]){c, weight(m, &f, "w2", 4, (int64_t[]){66, 3, 3, 20})}, d, conv_attr(3, 2));
    node(m, FB_OP_CONV, "point", 3,
         (int32_t[]){d, weight(m, &f, "w3", 4, (int64_t[]){21, 1, 1, 66}), b}, e, conv_attr(1, 1));
    node(m, FB_OP_RESHAPE, "flatten", 1, &e, r, (fb_attr){.shape = {2, {-1, FEATURES}}});
    node(m, FB_OP_DENSE, "dense", 2,
         (int32_t[]){r, weight(m, &f, "w4", 2, (int64_t[]){19, FEATURES})}, y,
         (fb_attr){.shape = {0}});
    assert_int_equal(fb_model_set_io(m, &x, 1, (int32_t[]){e, y}, 2), FB_OK);
    if (fb_model_validate(m) != FB_OK)
        fail_msg("%s", fb_error());
    return m;
}

typedef struct result {
    float *y[2];
    size_t n[2];
    uint64_t packed;
} result;

static result run(const fb_model *m, uint32_t batch, uint32_t cpu, uint32_t threads)
{
    fb_plan_options options;
    fb_plan *plan = NULL;
    fb_run *r = NULL;
    result res;
    size_t bytes;
    fb_plan_options_default(&options);
    options.batch = batch;
    options.cpu = cpu;
    if (fb_plan_create(m, &options, &plan) != FB_OK || fb_run_create(plan, threads, &r) != FB_OK)
        fail_msg("%s", fb_error());
    res.packed = fb_plan_packed_bytes(plan);
    float *x = fb_run_input(r, 0, &bytes);
    uint32_t state = 7;
    for (size_t i = 0; i < bytes / sizeof *x; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    assert_int_equal(fb_run_execute(r), FB_OK);
    for (uint32_t i = 0; i < 2; i++) {
        const void *y = fb_run_output(r, i, &bytes);
        res.y[i] = malloc(bytes);
        res.n[i] = bytes / 4;
        memcpy(res.y[i], y, bytes);
    }
    fb_run_destroy(&r);
    fb_plan_destroy(&plan);
    return res;
}

static void result_free(result *r)
{
    free(r->y[0]);
    free(r->y[1]);
}

/* Largest difference against the largest value. */
static double apart(const result *a, const result *b, int i)
{
    double top = 0, most = 0;
    for (size_t k = 0; k < a->n[i]; k++) {
        top = fmax(top, fabs((double)b->y[i][k]));
        most = fmax(most, fabs((double)a->y[i][k] - (double)b->y[i][k]));
    }
    return most / top;
}

static void check(const form *f, uint32_t batch)
{
    form plain = *f;
    plain.decoded = true;
    fb_model *few = build(*f), *floats = build(plain);
    result want = run(floats, batch, fb_cpu_usable(), 1);
    result got = run(few, batch, fb_cpu_usable(), 1), ref = run(few, batch, 0, 1);
    if (memcmp(got.y[0], want.y[0], got.n[0] * 4) != 0)
        fail_msg("%u bits, zero %d: convolutions on codes and on floats differ", f->bits, f->zero);
    if (!(apart(&got, &want, 1) < 2e-5))
        fail_msg("%u bits, zero %d: dense layers are %g apart", f->bits, f->zero,
                 apart(&got, &want, 1));
    assert_true(apart(&ref, &got, 0) < 2e-5 && apart(&ref, &got, 1) < 2e-5);
    for (uint32_t threads = 2; threads <= 3; threads++) {
        result more = run(few, batch, fb_cpu_usable(), threads);
        for (int i = 0; i < 2; i++)
            assert_memory_equal(more.y[i], got.y[i], got.n[i] * 4);
        result_free(&more);
    }
    /* Lists by channel, tables, padding and a row of zeros come on top of the codes. */
    uint64_t weights = 40 * 27 + 66 * 180 + 21 * 66 + 19 * 9 * 9 * 21;
    bool packed = (fb_cpu_usable() & FB_CPU_AVX2) && !(f->n_levels && f->bits > 4) && !f->group;
    if (f->own || (f->n_levels && f->zero == CHANNEL_ZERO)) /* a table for each channel */
        weights += 8 * 64 * (40 + 80 + 24 + 24) / f->bits;
    if (packed && got.packed > weights * f->bits / 8 * 5 / 4 + 12000)
        fail_msg("%u bits, batch %u: %llu bytes for %llu weights", f->bits, batch,
                 (unsigned long long)got.packed, (unsigned long long)weights);
    if ((fb_cpu_usable() & FB_CPU_AVX2) && f->group && f->group % 8 == 0)
        assert_true(got.packed < weights * 2 + 12000);
    result_free(&want);
    result_free(&got);
    result_free(&ref);
    fb_model_close(&few);
    fb_model_close(&floats);
}

static void affine_forms(void **state)
{
    (void)state;
    for (uint8_t bits = 1; bits <= 8; bits++) {
        for (int i = 0; i < 12; i++) {
            form f = {.bits = bits, .is_signed = i % 2, .per_channel = i / 2 % 2, .rng = 42 + bits};
            f.zero = i < 4 ? NO_ZERO : i < 8 ? SHARED_ZERO : CHANNEL_ZERO;
            if (f.zero == CHANNEL_ZERO && !f.per_channel)
                continue;
            check(&f, 1);
            check(&f, 5);
        }
    }
}

static void groups_forms(void **state)
{
    (void)state;
    for (uint8_t bits = 2; bits <= 8; bits++) {
        form f = {.bits = bits,
                  .is_signed = bits % 2,
                  .per_channel = true,
                  .zero = bits % 3 ? NO_ZERO : CHANNEL_ZERO,
                  .group = bits == 7 ? 20 : 8u * bits, /* 20: decoded */
                  .rng = 5 + bits};
        check(&f, 1);
        check(&f, 5);
    }
}

static void levels_forms(void **state)
{
    (void)state;
    for (uint8_t bits = 1; bits <= 8; bits++) {
        for (int i = 0; i < 12; i++) {
            form f = {.bits = bits,
                      .per_channel = i % 4 > 0,
                      .own = i % 4 == 2,
                      .n_levels = (uint16_t)((1 << bits) - (bits > 1 && i % 4 == 3)),
                      .rng = 77 + bits};
            f.zero = i < 4 ? NO_ZERO : i < 8 ? SHARED_ZERO : CHANNEL_ZERO;
            /* 8-bit levels end at 255. */
            if ((f.zero == CHANNEL_ZERO && !f.per_channel) || (f.zero != NO_ZERO && bits > 6))
                continue;
            check(&f, 1);
            check(&f, 5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(affine_forms),
                                       cmocka_unit_test(groups_forms),
                                       cmocka_unit_test(levels_forms)};
    test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
