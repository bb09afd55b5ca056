/* A small network of look-up layers: every row and any number of threads give the same bytes; each
 * layer's outputs lie within the bound of NUMERICS.md of what its decoded weights give on the same
 * input; on decoded weights the network runs without look-ups. */
#include "guard.h"

#include "fewbit/fewbit.h"
#include "model/model.h"
#include "model/product.h"

#include <math.h>

enum { LAYERS = 3, X_ELEMS = 9 * 9 * 24 };

static uint64_t rng = 42;

static uint32_t draw(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33) % n;
}

static int32_t activation(fb_model *m, const char *name, int32_t rank, const int64_t *dims,
                          float scale, int32_t zero)
{
    int32_t t;
    assert_int_equal(fb_model_add_tensor(m, name, FB_F32, rank, dims, &t), FB_OK);
    if (scale > 0)
        assert_int_equal(fb_model_set_activation(m, t, 8, false, scale, zero), FB_OK);
    return t;
}

typedef struct form {
    uint8_t sub, stages, table_bits, n_words;
    uint32_t groups; /* with codebooks of their own */
    int mul;         /* of the first stage; the second has half of it */
} form;

/* A weight of random indices and words; its tables suit inputs of x_scale. */
static int32_t weight(fb_model *m, const char *name, int32_t rank, const int64_t *dims,
                      float x_scale, const form *f)
{
    float *scale = malloc((size_t)dims[0] * sizeof *scale), halves[2] = {1, 0.5f};
    int32_t index;
    size_t bytes;
    assert_int_equal(fb_model_add_const(m, name, FB_F32, rank, dims, NULL, &index), FB_OK);
    for (int64_t o = 0; o < dims[0]; o++)
        scale[o] = 2e-4f * (float)(1 + draw(4));
    fb_tensor t = m->tensors[index];
    t.enc = (fb_encoding){.kind = FB_ENC_PRODUCT,
                          .bits = (uint8_t)fb_product_bits(f->n_words),
                          .axis = 0,
                          .n_scales = (uint32_t)dims[0],
                          .scale = scale,
                          .sub = f->sub,
                          .n_words = f->n_words,
                          .n_stages = f->stages,
                          .n_groups = f->groups,
                          .word_bits = 8,
                          .word_scale = halves,
                          .table_bits = f->table_bits,
                          .table_scale = x_scale * 32768 / (float)f->mul};
    fb_product p = fb_product_of(&t);
    t.enc.word = calloc(p.stages * p.books * p.words * p.sub, sizeof(float));
    for (size_t i = 0; i < p.stages * p.books * p.words; i++)
        for (size_t j = 0; j < fb_product_stored_sub(&p, i / p.words % p.books); j++)
            t.enc.word[i * p.sub + j] = (float)((int)draw(31) - 15);
    assert_true(fb_packed_bytes(p.n_indices, t.enc.bits, &bytes));
    uint8_t *codes = calloc(1, bytes);
    for (size_t i = 0; i < p.n_indices; i++)
        fb_packed_put(codes, i, t.enc.bits, (int32_t)draw(f->n_words));
    assert_int_equal(fb_model_set_payload(m, index, &t.enc, codes, bytes), FB_OK);
    free(scale);
    free(t.enc.word);
    free(codes);
    return index;
}

static int32_t bias(fb_model *m, const char *name, int64_t n)
{
    float v[64];
    int32_t t;
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)draw(1000) * 1e-3f - 0.5f;
    assert_int_equal(fb_model_add_const(m, name, FB_F32, 1, &n, v, &t), FB_OK);
    return t;
}

static void node(fb_model *m, fb_op op, const char *name, uint32_t n_in, const int32_t *in,
                 int32_t out, const fb_attr *attr)
{
    int32_t outs[2] = {out, -1};
    assert_int_equal(
        fb_model_add_node(m, op, name, n_in, in, fb_op_get(op)->n_out, outs, attr, NULL), FB_OK);
}

static fb_attr conv(int32_t stride, int32_t groups, fb_act act)
{
    return (fb_attr){.conv = {.kh = 3,
                              .kw = 3,
                              .stride_h = stride,
                              .stride_w = stride,
                              .dil_h = 1,
                              .dil_w = 1,
                              .pad_t = 1,
                              .pad_l = 1,
                              .pad_b = 1,
                              .pad_r = 1,
                              .groups = groups,
                              .act = act}};
}

/* x -> encode -> conv -> grouped conv of two stages -> flatten -> dense. The second layer's tables
 * clip, the others' do not. */
static fb_model *build(void)
{
    static const fb_act none = {0, 0, 0}, relu = {1, 0, INFINITY};
    static const form forms[LAYERS] = {
        {4, 1, 6, 100, 1, 50}, {8, 2, 7, 16, 2, 700}, {3, 1, 8, 40, 1, 300}};
    fb_model *m;
    fb_attr no = {.shape = {0}}, first = conv(1, 1, relu), second = conv(2, 2, none);
    assert_int_equal(fb_model_create(&m), FB_OK);
    int32_t x = activation(m, "x", 4, (int64_t[]){-1, 9, 9, 24}, 0, 0);
    int32_t q = activation(m, "q", 4, (int64_t[]){-1, 9, 9, 24}, 0.02f, 30);
    int32_t a = activation(m, "a", 4, (int64_t[]){-1, 9, 9, 40}, 0.01f, 0);
    int32_t b = activation(m, "b", 4, (int64_t[]){-1, 5, 5, 32}, 0.015f, 128);
    int32_t c = activation(m, "c", 2, (int64_t[]){-1, 800}, 0.015f, 128);
    int32_t y = activation(m, "y", 2, (int64_t[]){-1, 10}, 0, 0);
    node(m, FB_OP_CONVERT, "encode", 1, &x, q, &no);
    int32_t w = weight(m, "w1", 4, (int64_t[]){40, 3, 3, 24}, 0.02f, &forms[0]);
    node(m, FB_OP_CONV, "first", 3, (int32_t[]){q, w, bias(m, "b1", 40)}, a, &first);
    w = weight(m, "w2", 4, (int64_t[]){32, 3, 3, 20}, 0.01f, &forms[1]);
    node(m, FB_OP_CONV, "second", 3, (int32_t[]){a, w, bias(m, "b2", 32)}, b, &second);
    fb_attr flat = {.shape = {2, {-1, 800}}};
    node(m, FB_OP_RESHAPE, "flatten", 1, &b, c, &flat);
    w = weight(m, "w3", 2, (int64_t[]){10, 800}, 0.015f, &forms[2]);
    node(m, FB_OP_DENSE, "dense", 3, (int32_t[]){c, w, bias(m, "b3", 10)}, y, &no);
    assert_int_equal(fb_model_set_io(m, &x, 1, &y, 1), FB_OK);
    if (fb_model_validate(m) != FB_OK)
        fail_msg("%s", fb_error());
    return m;
}

typedef struct outcome {
    fb_plan *plan;
    fb_run *run;
    uint32_t look_ups; /* steps that do */
} outcome;

static outcome execute(const fb_model *m, uint32_t cpu, uint32_t threads, fb_tables tables)
{
    outcome o = {0};
    fb_plan_options options = {.batch = 2, .cpu = cpu, .keep_all = true, .tables = tables};
    if (fb_plan_create(m, &options, &o.plan) != FB_OK)
        fail_msg("%s", fb_error());
    for (uint32_t i = 0; i < fb_plan_n_steps(o.plan); i++) {
        fb_step_info info;
        assert_int_equal(fb_plan_step(o.plan, i, &info), FB_OK);
        o.look_ups += strncmp(info.kernel, "fbk_prod_q_", 11) == 0;
    }
    assert_int_equal(fb_run_create(o.plan, threads, &o.run), FB_OK);
    float *x = fb_run_input(o.run, 0, NULL);
    uint32_t state = 7;
    for (size_t i = 0; i < 2 * X_ELEMS; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 4194304.0f - 0.5f;
    }
    assert_int_equal(fb_run_execute(o.run), FB_OK);
    return o;
}

static void release(outcome *o)
{
    fb_run_destroy(&o->run);
    fb_plan_destroy(&o->plan);
}

static void test_same_bytes(void **state)
{
    (void)state;
    fb_model *m = build();
    outcome want = execute(m, 0, 1, FB_TABLES_LOOKUP);
    assert_int_equal(want.look_ups, LAYERS);
    uint32_t levels[] = {FB_CPU_AVX2, FB_CPU_AVX2 | FB_CPU_VNNI, FB_CPU_ALL};
    size_t bytes;
    const void *y = fb_run_output(want.run, 0, &bytes);
    assert_int_equal(bytes, 2 * 10 * sizeof(float));
    for (int i = 0; i < 3; i++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            outcome got = execute(m, levels[i] & fb_cpu_usable(), threads, FB_TABLES_LOOKUP);
            assert_int_equal(got.look_ups, LAYERS);
            assert_memory_equal(fb_run_output(got.run, 0, NULL), y, bytes);
            release(&got);
        }
    }
    release(&want);
    fb_model_close(&m);
}

/* One layer in doubles. */
typedef struct layer {
    const fb_encoding *e;
    fb_product p;
    const uint8_t *index;
    const float *w; /* decoded */
    fb_attr_conv a; /* a dense layer: a 1x1 convolution of one pixel */
    int64_t h, c, groups;
    float *x; /* [h][h][c] decoded */
} layer;

/* The decoded weights' sum of one kernel position, and what the tables may be off by, in units of
 * table_scale * scale: half a step a look-up, and what is clipped. */
static double one_tap(const layer *l, int64_t o, int64_t tap, const float *px, double *off)
{
    const fb_encoding *e = l->e;
    int64_t icg = (int64_t)l->p.c, most = (1 << (e->table_bits - 1)) - 1;
    const float *w = l->w + (o * (int64_t)l->p.kernel + tap) * icg;
    double sum = 0;
    for (int64_t i = 0; i < icg; i++)
        sum += (double)w[i] * (double)px[i];
    for (size_t m = 0; m < l->p.m_count; m++) {
        for (size_t s = 0; s < l->p.stages; s++) {
            size_t row = (size_t)o * l->p.kernel + (size_t)tap;
            size_t at = (row * l->p.m_count + m) * l->p.stages + s;
            size_t k = (size_t)fb_packed_get(l->index, at, e->bits, false);
            const float *word =
                fb_product_word(e, &l->p, s, fb_product_book(&l->p, (size_t)o, m), k);
            double v = 0;
            for (size_t j = 0; j < l->p.sub && m * l->p.sub + j < l->p.c; j++)
                v += (double)word[j] * (double)px[m * l->p.sub + j];
            v *= (double)e->word_scale[s] / (double)e->table_scale;
            *off += 0.5 + fmax(0, fmax(v - (double)most, -(double)most - 1 - v));
        }
    }
    return sum;
}

/* Output (y, x, o) on the decoded weights; *off as above. */
static double one_output(const layer *l, int64_t y, int64_t x, int64_t o, double *off)
{
    double sum = 0;
    int64_t first = o / ((int64_t)l->p.ct / l->groups) * (int64_t)l->p.c;
    *off = 0.5; /* the bias */
    for (int64_t tap = 0; tap < (int64_t)l->p.kernel; tap++) {
        int64_t iy = y * l->a.stride_h + tap / l->a.kw - l->a.pad_t;
        int64_t ix = x * l->a.stride_w + tap % l->a.kw - l->a.pad_l;
        if (iy >= 0 && iy < l->h && ix >= 0 && ix < l->h)
            sum += one_tap(l, o, tap, l->x + (iy * l->h + ix) * l->c + first, off);
    }
    return sum;
}

static void check_layer(const fb_model *m, const fb_run *run, size_t n, bool clips)
{
    const fb_node *d = &m->nodes[n];
    const fb_tensor *w = &m->tensors[d->in[1]];
    const float *b = m->tensors[d->in[2]].data;
    fb_view xv, yv;
    assert_int_equal(fb_run_tensor(run, d->in[0], &xv), FB_OK);
    assert_int_equal(fb_run_tensor(run, d->out[0], &yv), FB_OK);
    layer l = {.e = &w->enc, .p = fb_product_of(w), .index = w->data, .h = 1, .groups = 1};
    l.a = (fb_attr_conv){.kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1};
    l.c = xv.dims[xv.rank - 1];
    if (d->op == FB_OP_CONV) {
        l.a = d->attr.conv;
        l.h = xv.dims[1];
        l.groups = l.a.groups;
    }
    size_t image = xv.n_elems / 2, n_w = l.p.rows * l.p.len, per = yv.n_elems / 2 / l.p.ct;
    int64_t side = d->op == FB_OP_CONV ? yv.dims[2] : 1;
    float *decoded = malloc(n_w * sizeof *decoded), *y = malloc(yv.n_elems * sizeof *y);
    l.x = malloc(image * sizeof *l.x);
    l.w = decoded;
    assert_int_equal(fb_tensor_decode(w, decoded), FB_OK);
    fb_view_read(&xv, image, image, l.x); /* the second of two */
    fb_view_read(&yv, 0, yv.n_elems, y);
    double clipped = 0, worst = 0;
    for (size_t i = 0; i < per * l.p.ct; i++) {
        size_t o = i % l.p.ct, pixel = i / l.p.ct;
        double off, unit = (double)w->enc.table_scale * (double)w->enc.scale[o];
        double want =
            one_output(&l, (int64_t)pixel / side, (int64_t)pixel % side, (int64_t)o, &off);
        want += (double)b[o];
        if (yv.scale != 1 || yv.zero != 0) { /* codes: their range, and half a step */
            want =
                fmax(fmin(want, (double)yv.scale * (255 - yv.zero)), (double)yv.scale * -yv.zero);
            off += 0.5 * (double)yv.scale / unit;
        }
        double error = fabs((double)y[yv.n_elems / 2 + i] - want) / unit;
        if (error > off * 1.0001)
            fail_msg("layer %zu output %zu is off by %g steps of its tables, the bound is %g", n, i,
                     error, off);
        clipped = fmax(clipped, off - 0.5 - 0.5 * (double)(l.p.kernel * l.p.m_count * l.p.stages));
        worst = fmax(worst, error / off);
    }
    assert_true(worst > 0.003);
    assert_int_equal(clipped > 60, clips);
    free(decoded);
    free(y);
    free(l.x);
}

static void test_bound(void **state)
{
    (void)state;
    fb_model *m = build();
    outcome o = execute(m, fb_cpu_usable(), 1, FB_TABLES_LOOKUP);
    check_layer(m, o.run, 1, false);
    check_layer(m, o.run, 2, true);
    check_layer(m, o.run, 4, false);
    release(&o);
    o = execute(m, fb_cpu_usable(), 1, FB_TABLES_DECODE);
    assert_int_equal(o.look_ups, 0);
    check_layer(m, o.run, 1, false);
    release(&o);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes),
                                       cmocka_unit_test(test_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
