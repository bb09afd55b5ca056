/* Activations of every width and of levels: one-layer networks
 *
 *     x (f32) -> convert -> a (encoded) -> the layer -> y (encoded)
 *
 * What is stored in `a` must be the code of every x, to the bit. What is stored in `y` must be the
 * code of what the same layer makes of the values of `a` in floats: to the bit where it is computed
 * in floats, within one code where in integers. */
#include "guard.h"

#include "fewbit/fewbit.h"
#include "plan/plan.h"

#include <math.h>

/* --- encodings -------------------------------------------------------------------------------- */

typedef enum enc_kind { AFFINE_U, AFFINE_S, GRID_LEVELS, FLOAT_LEVELS, ENC_KINDS } enc_kind;

typedef struct enc {
    fb_encoding e;
    float scale, level[256];
    int32_t zero;
} enc;

/* Values between about -1.3 and 1.3, never the same encoding twice. */
static void make_enc(enc *q, enc_kind kind, unsigned bits)
{
    *q = (enc){.e = {.kind = kind < GRID_LEVELS ? FB_ENC_AFFINE : FB_ENC_LEVELS,
                     .bits = (uint8_t)bits,
                     .axis = -1,
                     .n_scales = 1,
                     .n_tables = 1}};
    q->scale = (2.5f + 0.2f * test_float()) / (float)((1 << bits) - 1);
    q->zero = (1 << bits) / 2;
    q->e.n_levels = (uint16_t)(bits > 2 ? (1 << bits) - 1 - (int)test_below(2) : 1 << bits);
    if (kind == AFFINE_S) {
        q->e.is_signed = true;
        q->zero = bits > 1 ? (int32_t)test_below(2) : 0;
    } else if (kind == GRID_LEVELS) {
        q->e.level_bits = 8;
        q->e.is_signed = test_below(2);
        q->scale = 0.01f + 0.0003f * test_float();
        q->zero = q->e.is_signed ? 3 : 131;
        for (int i = 0; i < q->e.n_levels; i++) /* ascending, 0 or -128 to at most 255 or 127 */
            q->level[i] = (float)(i * 255 / q->e.n_levels + (q->e.is_signed ? -128 : 0));
    } else if (kind == FLOAT_LEVELS) {
        q->scale = 1.1f;
        for (int i = 0; i < q->e.n_levels; i++) {
            float u = 2 * ((float)i + 0.5f) / (float)q->e.n_levels - 1;
            q->level[i] = u * fabsf(u) + 0.1f * u;
        }
    }
}

/* The model keeps pointers into `q`. */
static void set_enc(fb_model *m, int32_t tensor, enc *q)
{
    q->e.scale = &q->scale;
    q->e.zero = q->e.kind == FB_ENC_LEVELS && q->e.level_bits == 0 ? NULL : &q->zero;
    q->e.level = q->e.kind == FB_ENC_LEVELS ? q->level : NULL;
    m->tensors[tensor].enc = q->e;
}

/* Stored number to value and back, from the words of model/encoding.h and docs/NUMERICS.md. */
static float value_of(const enc *q, int32_t code)
{
    float stored = q->e.kind == FB_ENC_LEVELS ? q->level[code] : (float)code;
    return (stored - (q->e.zero ? (float)q->zero : 0)) * q->scale;
}

static int32_t code_of(const enc *q, float v)
{
    if (q->e.kind == FB_ENC_AFFINE) {
        int32_t least = q->e.is_signed ? -(1 << (q->e.bits - 1)) : 0;
        int32_t most = least + (1 << q->e.bits) - 1;
        float c = rintf(v / q->scale) + (float)q->zero;
        return c < (float)least ? least : c > (float)most ? most : (int32_t)c;
    }
    int32_t best = 0;
    for (int32_t i = 1; i < q->e.n_levels; i++) {
        if (fabs((double)value_of(q, i) - (double)v) < fabs((double)value_of(q, best) - (double)v))
            best = i;
    }
    return best;
}

/* --- layers ----------------------------------------------------------------------------------- */

typedef struct layer {
    const char *name;
    fb_op op;
    fb_attr attr;
    int64_t out[4]; /* h, w, c; or, out_rank 2, [0] features */
    int32_t out_rank;
    int64_t weight[4]; /* 0: none */
    int32_t weight_rank;
    bool f32_weight, twice; /* the second input is the first one; */
    bool gate;              /* or [n][1][1][c] */
    bool exact;             /* the result of every form is that of the floats */
    bool banded;            /* has a form in bands */
} layer;

enum { BATCH = 2, H = 13, W = 7, C = 5 };

static const layer layers[] = {
    {.name = "conv3x3",
     .banded = true,
     .op = FB_OP_CONV,
     .attr = {.conv = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, .act = {1, 0, 1}}},
     .out = {13, 7, 6},
     .out_rank = 4,
     .weight = {6, 3, 3, 5},
     .weight_rank = 4},
    {.name = "strided, dilated",
     .banded = true,
     .op = FB_OP_CONV,
     .attr = {.conv = {3, 2, 2, 1, 2, 3, 2, 1, 1, 2, 1, .act = {0}}},
     .out = {6, 7, 9},
     .out_rank = 4,
     .weight = {9, 3, 2, 5},
     .weight_rank = 4},
    {.name = "depthwise",
     .banded = true,
     .op = FB_OP_CONV,
     .attr = {.conv = {5, 5, 2, 2, 1, 1, 2, 2, 2, 2, 5, .act = {0}}},
     .out = {7, 4, 5},
     .out_rank = 4,
     .weight = {5, 5, 5, 1},
     .weight_rank = 4},
    {.name = "float weights",
     .banded = true,
     .op = FB_OP_CONV,
     .attr = {.conv = {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, .act = {0}}},
     .out = {7, 4, 6},
     .out_rank = 4,
     .weight = {6, 3, 3, 5},
     .weight_rank = 4,
     .f32_weight = true,
     .exact = true},
    {.name = "max pool",
     .banded = true,
     .op = FB_OP_MAX_POOL,
     .attr = {.pool = {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0}},
     .out = {7, 4, 5},
     .out_rank = 4},
    {.name = "average pool",
     .banded = true,
     .op = FB_OP_AVG_POOL,
     .attr = {.pool = {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0}},
     .out = {7, 4, 5},
     .out_rank = 4},
    {.name = "average pool with its padding",
     .banded = true,
     .op = FB_OP_AVG_POOL,
     .attr = {.pool = {4, 3, 3, 2, 1, 1, 2, 1, 1, 1, 0, 1, 0}},
     .out = {5, 4, 5},
     .out_rank = 4},
    {.name = "mean",
     .op = FB_OP_REDUCE,
     .attr = {.reduce = {FB_REDUCE_MEAN, 6, 1}},
     .out = {1, 1, 5},
     .out_rank = 4},
    {.name = "add",
     .banded = true,
     .op = FB_OP_BINARY,
     .attr = {.binary = {FB_BINARY_ADD, {1, -0.5f, 1}}},
     .out = {13, 7, 5},
     .out_rank = 4,
     .twice = true},
    {.name = "gate",
     .banded = true,
     .op = FB_OP_BINARY,
     .attr = {.binary = {FB_BINARY_MUL, {0, 0, 0}}},
     .out = {13, 7, 5},
     .out_rank = 4,
     .gate = true},
    {.name = "leaky",
     .banded = true,
     .op = FB_OP_UNARY,
     .attr = {.unary = {FB_UNARY_LEAKY_RELU, 0.1f, 0}},
     .out = {13, 7, 5},
     .out_rank = 4},
    {.name = "concat",
     .banded = true,
     .op = FB_OP_CONCAT,
     .attr = {.axis = {3}},
     .out = {13, 7, 10},
     .out_rank = 4,
     .twice = true},
    {.name = "concat of rows",
     .op = FB_OP_CONCAT,
     .attr = {.axis = {1}},
     .out = {26, 7, 5},
     .out_rank = 4,
     .twice = true},
    {.name = "flatten",
     .op = FB_OP_RESHAPE,
     .attr = {.shape = {2, {-1, 455}}},
     .out = {455},
     .out_rank = 2},
    {.name = "transpose",
     .op = FB_OP_TRANSPOSE,
     .attr = {.perm = {{0, 2, 3, 1}}},
     .out = {7, 5, 13},
     .out_rank = 4},
    {.name = "softmax",
     .banded = true,
     .op = FB_OP_SOFTMAX,
     .attr = {.softmax = {3, 4, 0}},
     .out = {13, 7, 5},
     .out_rank = 4,
     .exact = true},
    {.name = "convert", .op = FB_OP_CONVERT, .out = {13, 7, 5}, .out_rank = 4, .exact = true},
};

typedef struct net {
    fb_model *m;
    int32_t x, a, y;
    enc qa, qg, qy;
} net;

static int32_t add_tensor(net *n, const char *name, int32_t rank, const int64_t *dims, enc *q)
{
    int32_t t;
    assert_int_equal(fb_model_add_tensor(n->m, name, FB_F32, rank, dims, &t), FB_OK);
    if (q)
        set_enc(n->m, t, q);
    return t;
}

static void add_node(net *n, fb_op op, const char *name, uint32_t n_in, const int32_t *in,
                     int32_t out, fb_attr attr)
{
    if (fb_model_add_node(n->m, op, name, n_in, in, fb_op_get(op)->n_out, (int32_t[]){out, -1},
                          &attr, NULL) != FB_OK)
        fail_msg("%s", fb_error());
}

static int32_t add_weight(net *n, const layer *l)
{
    int64_t size = 1;
    float v[512];
    uint8_t codes[512];
    int32_t t;
    for (int32_t i = 0; i < l->weight_rank; i++)
        size *= l->weight[i];
    assert_true(size <= 512);
    for (int64_t i = 0; i < size; i++) { /* the same in the network and in its float twin */
        int32_t q = (int32_t)(i * 7919 % 255) - 127;
        codes[i] = (uint8_t)q;
        v[i] = (float)q * 0.00390625f;
    }
    assert_int_equal(fb_model_add_const(n->m, "w", FB_F32, l->weight_rank, l->weight, v, &t),
                     FB_OK);
    float scale = 0.00390625f;
    fb_encoding e = {.kind = FB_ENC_AFFINE,
                     .bits = 8,
                     .is_signed = true,
                     .axis = -1,
                     .n_scales = 1,
                     .scale = &scale};
    if (!l->f32_weight)
        assert_int_equal(fb_model_set_payload(n->m, t, &e, codes, (size_t)size), FB_OK);
    return t;
}

static int32_t add_layer_output(net *n, const layer *l, enc *q)
{
    int64_t dims[4] = {-1, l->out[0], l->out[1], l->out[2]};
    return add_tensor(n, "y", l->out_rank, dims, q);
}

/* x, g -> a, gate -> y with encodings; without, x and g are taken for a and gate. */
static void build(net *n, const layer *l, bool encoded)
{
    static const int64_t image[4] = {-1, H, W, C}, pixel[4] = {-1, 1, 1, C};
    fb_attr none = {.shape = {0}};
    assert_int_equal(fb_model_create(&n->m), FB_OK);
    int32_t in[2] = {add_tensor(n, "x", 4, image, NULL), -1}, inputs[2] = {in[0], -1};
    n->x = n->a = in[0];
    if (l->gate)
        in[1] = inputs[1] = add_tensor(n, "g", 4, pixel, NULL);
    if (encoded) {
        n->a = add_tensor(n, "a", 4, image, &n->qa);
        add_node(n, FB_OP_CONVERT, "encode", 1, &in[0], n->a, none);
        in[0] = n->a;
        if (l->gate) {
            int32_t gate = add_tensor(n, "gate", 4, pixel, &n->qg);
            add_node(n, FB_OP_CONVERT, "encode gate", 1, &in[1], gate, none);
            in[1] = gate;
        }
    }
    if (l->weight_rank)
        in[1] = add_weight(n, l);
    if (l->twice)
        in[1] = in[0];
    n->y = add_layer_output(n, l, encoded ? &n->qy : NULL);
    uint32_t n_in = in[1] >= 0 ? 2 : 1;
    if (!encoded && l->op == FB_OP_CONVERT)
        add_node(n, FB_OP_UNARY, l->name, 1, in, n->y, (fb_attr){.unary = {FB_UNARY_CLIP, -9, 9}});
    else
        add_node(n, l->op, l->name, n_in, in, n->y, l->attr);
    assert_int_equal(fb_model_set_io(n->m, inputs, l->gate ? 2 : 1, &n->y, 1), FB_OK);
}

/* --- running ---------------------------------------------------------------------------------- */

enum { MOST = BATCH * 2 * H * W * C };

typedef struct result {
    size_t n_a, n_y;
    float a[MOST], y[MOST]; /* values */
    size_t y_bytes;
    uint8_t stored[4 * MOST];
} result;

static void read_tensor(const fb_run *run, int32_t t, size_t *n, float *out, fb_view *v)
{
    if (fb_run_tensor(run, t, v) != FB_OK)
        fail_msg("%s", fb_error());
    *n = v->n_elems;
    assert_true(v->n_elems <= MOST);
    fb_view_read(v, 0, v->n_elems, out);
}

typedef struct how {
    uint32_t cpu, threads, band_rows;
    fb_form form;
    uint32_t n_steps; /* set: of the plan */
} how;

static void execute(const net *n, how *h, const float *x, size_t n_x, const float *g, result *r)
{
    fb_plan_options o;
    fb_plan *plan;
    fb_run *run;
    fb_view v;
    fb_plan_options_default(&o);
    o.batch = BATCH;
    o.cpu = h->cpu;
    o.keep_all = true;
    if (fb_plan_create_form(n->m, &o, h->form, h->band_rows, &plan) != FB_OK)
        fail_msg("%s", fb_error());
    h->n_steps = fb_plan_n_steps(plan);
    assert_int_equal(fb_run_create(plan, h->threads, &run), FB_OK);
    assert_int_equal(fb_run_write(run, 0, 0, n_x, x), FB_OK);
    if (fb_model_n_inputs(n->m) > 1)
        assert_int_equal(fb_run_write(run, 1, 0, BATCH * C, g), FB_OK);
    assert_int_equal(fb_run_execute(run), FB_OK);
    read_tensor(run, n->a, &r->n_a, r->a, &v);
    read_tensor(run, n->y, &r->n_y, r->y, &v);
    assert_true(v.bytes <= sizeof r->stored);
    r->y_bytes = v.bytes;
    memcpy(r->stored, v.data, v.bytes);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
}

/* Bands of every height, at every CPU level and number of threads, against the whole layer. */
static void in_bands(const net *n, const layer *l, const float *x, float *g, const result *want)
{
    static result got, fast;
    how h = {.threads = 1 + test_below(5), .form = FB_FORM_WHOLE, .cpu = fb_cpu_usable()};
    float gate[BATCH * C];
    memcpy(gate, g, sizeof gate);
    execute(n, &h, x, BATCH * H * W * C, gate, &fast);
    for (int i = 0; i < 6; i++) {
        h = (how){.cpu = i % 2 ? fb_cpu_usable() : 0,
                  .threads = 1 + test_below(5),
                  .band_rows = i / 2 == 2 ? 0 : 1 + test_below(2 * H),
                  .form = FB_FORM_BAND};
        execute(n, &h, x, BATCH * H * W * C, gate, &got);
        if (l->banded && n->qa.e.bits % 8 != 0)
            assert_int_equal(h.n_steps, l->gate ? 3 : 2); /* no conversions around the layer */
        const result *whole = h.cpu ? &fast : want;
        assert_int_equal(got.y_bytes, whole->y_bytes);
        for (size_t k = 0; k < got.y_bytes; k++) {
            if (got.stored[k] != whole->stored[k])
                fail_msg("%s: byte %zu of %zu is %d in bands of %u rows, %d as a whole", l->name, k,
                         got.y_bytes, got.stored[k], h.band_rows, whole->stored[k]);
        }
    }
}

static void one_case(const layer *l, enc_kind kind, unsigned bits)
{
    static result want, got;
    static float x[BATCH * H * W * C];
    float g[BATCH * C];
    net n = {.m = NULL}, twin = {.m = NULL};
    make_enc(&n.qa, kind, bits);
    make_enc(&n.qy, kind, bits);
    make_enc(&n.qg, AFFINE_U, 8);
    if (kind == AFFINE_S)
        make_enc(&n.qg, AFFINE_S, 8);
    if (l->op == FB_OP_RESHAPE || l->op == FB_OP_TRANSPOSE || l->op == FB_OP_MAX_POOL)
        n.qy = n.qa;
    test_fill_f32(x, BATCH * H * W * C);
    test_fill_f32(g, BATCH * C);
    build(&n, l, true);
    build(&twin, l, false);
    execute(&n, &(how){.threads = 1, .form = FB_FORM_WHOLE}, x, BATCH * H * W * C, g, &got);
    for (size_t i = 0; i < got.n_a; i++) {
        float must = value_of(&n.qa, code_of(&n.qa, x[i]));
        if (got.a[i] != must)
            fail_msg("%s, kind %d, %u bits: a[%zu] is %.9g, must be %.9g", l->name, kind, bits, i,
                     (double)got.a[i], (double)must);
    }
    for (size_t i = 0; i < BATCH * C; i++)
        g[i] = l->gate ? value_of(&n.qg, code_of(&n.qg, g[i])) : 0;
    execute(&twin, &(how){.threads = 1}, got.a, got.n_a, g, &want);
    assert_int_equal(got.n_y, want.n_y);
    int32_t most = l->exact || bits > 8 || (kind == FLOAT_LEVELS) ? 0 : 1;
    for (size_t i = 0; i < got.n_y; i++) {
        int32_t a = code_of(&n.qy, got.y[i]), b = code_of(&n.qy, want.y[i]);
        if (abs(a - b) > most)
            fail_msg("%s, kind %d, %u bits: y[%zu] is %.9g, code %d, must be %d of %.9g", l->name,
                     kind, bits, i, (double)got.y[i], a, b, (double)want.y[i]);
    }
    in_bands(&n, l, x, g, &got);
    fb_model_close(&n.m);
    fb_model_close(&twin.m);
}

static void test_layers(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof layers / sizeof *layers; k++) {
        for (unsigned bits = 1; bits <= 16; bits++) {
            one_case(&layers[k], AFFINE_U, bits);
            one_case(&layers[k], AFFINE_S, bits);
            if (bits > 8)
                continue;
            one_case(&layers[k], FLOAT_LEVELS, bits);
            if (bits < 8)
                one_case(&layers[k], GRID_LEVELS, bits);
        }
    }
}

/* A model whose input is stored in few bits: written, read back, used. */
static void test_input(void **state)
{
    static const int64_t image[4] = {-1, H, W, C};
    (void)state;
    for (unsigned bits = 1; bits <= 15; bits++) {
        for (enc_kind kind = AFFINE_U; kind < (bits < 8 ? ENC_KINDS : GRID_LEVELS); kind++) {
            float x[H * W * C], a[H * W * C], y[H * W * C];
            net n = {.m = NULL};
            fb_plan *plan;
            fb_run *run;
            fb_view v;
            size_t n_a, n_y;
            make_enc(&n.qa, kind, bits);
            assert_int_equal(fb_model_create(&n.m), FB_OK);
            n.a = add_tensor(&n, "a", 4, image, &n.qa);
            n.y = add_tensor(&n, "y", 4, image, NULL);
            add_node(&n, FB_OP_CONVERT, "decode", 1, &n.a, n.y, (fb_attr){.shape = {0}});
            assert_int_equal(fb_model_set_io(n.m, &n.a, 1, &n.y, 1), FB_OK);
            assert_int_equal(fb_plan_create(n.m, NULL, &plan), FB_OK);
            assert_int_equal(fb_run_create(plan, 2, &run), FB_OK);
            for (int again = 0; again < 2; again++) { /* what was there does not shine through */
                test_fill_f32(x, H * W * C);
                assert_int_equal(fb_run_write(run, 0, 0, 100, x), FB_OK);
                assert_int_equal(fb_run_write(run, 0, 100, H * W * C - 100, x + 100), FB_OK);
            }
            assert_int_equal(fb_run_write(run, 0, H * W * C, 1, x), FB_E_ARG);
            assert_int_equal(fb_run_write(run, 1, 0, 1, x), FB_E_ARG);
            assert_int_equal(fb_run_execute(run), FB_OK);
            read_tensor(run, n.a, &n_a, a, &v);
            read_tensor(run, n.y, &n_y, y, &v);
            for (int i = 0; i < H * W * C; i++) {
                float must = value_of(&n.qa, code_of(&n.qa, x[i]));
                if (a[i] != must || y[i] != must)
                    fail_msg("kind %d, %u bits: x[%d] = %.9g is stored as %.9g and decoded as "
                             "%.9g, must be %.9g",
                             (int)kind, bits, i, (double)x[i], (double)a[i], (double)y[i],
                             (double)must);
            }
            fb_run_destroy(&run);
            fb_plan_destroy(&plan);
            fb_model_close(&n.m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers), cmocka_unit_test(test_input)};
    test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
