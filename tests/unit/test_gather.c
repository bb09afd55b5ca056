/* The moments of layers against brute force over every sample: pads, strides, dilation, groups and
 * dense layers, in two networks in step (METHODS IV.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/gather.h"
#include "unit/compress_net.h"

enum { SIDE = 12, MOST_IC = 6 };

typedef struct shape {
    const char *name;
    int32_t kh, kw, stride_h, stride_w, dil_h, dil_w, pad_t, pad_l, pad_b, pad_r;
    int64_t ic, oc;
    int32_t groups; /* 0: a dense layer on the flattened image */
} shape;

static const shape shapes[] = {
    {"1x1", 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 5, 4, 1},
    {"3x3", 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4, 1},
    {"3x3, no pads", 3, 3, 1, 1, 1, 1, 0, 0, 0, 0, 3, 2, 1},
    {"3x3, stride 2, pads behind only", 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 4, 3, 1},
    {"5x3, four different pads", 5, 3, 1, 1, 1, 1, 3, 0, 1, 2, 2, 3, 1},
    {"3x2, strides 2 and 3", 3, 2, 2, 3, 1, 1, 1, 1, 0, 1, 3, 3, 1},
    {"3x3, dilation 2 and 3", 3, 3, 1, 1, 2, 3, 2, 3, 2, 3, 2, 2, 1},
    {"two groups", 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 6, 4, 2},
    {"three groups, stride 2", 2, 2, 2, 2, 1, 1, 1, 0, 0, 1, 6, 6, 3},
    {"depthwise", 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6, 6},
    {"depthwise, two filters a channel", 3, 3, 2, 1, 1, 2, 0, 2, 1, 2, 3, 6, 3},
    {"dense", 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 3, 0},
};

/* image - mix (1x1, 3 to ic channels) - layer. */
static fb_model *build(const shape *s, uint64_t seed)
{
    fb_model *m;
    int32_t x, t, u, y, w;
    net_state = seed;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, SIDE, SIDE, 3), &x));
    t = net_conv(m, "mix", x, s->ic, 1, 1, (fb_act){0});
    fb_attr attr = {0};
    if (s->groups == 0) {
        attr.shape = (fb_attr_shape){.rank = 2, .dims = {-1, SIDE * SIDE * s->ic}};
        net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &t, &attr, FB_F32, &u));
        w = net_weight(m, "layer.weight", s->oc, 0, SIDE * SIDE * s->ic, 1);
        attr = (fb_attr){0};
        net_ok(sample_node(m, FB_OP_DENSE, "layer", 2, (int32_t[]){u, w}, &attr, FB_F32, &y));
    } else {
        const int64_t dims[4] = {s->oc, s->kh, s->kw, s->ic / s->groups};
        net_ok(fb_model_add_const(m, "layer.weight", FB_F32, 4, dims, NULL, &w));
        float *data = (float *)(uintptr_t)m->tensors[w].data;
        for (int64_t i = 0; i < dims[0] * dims[1] * dims[2] * dims[3]; i++)
            data[i] = net_random();
        attr.conv = (fb_attr_conv){.kh = s->kh,
                                   .kw = s->kw,
                                   .stride_h = s->stride_h,
                                   .stride_w = s->stride_w,
                                   .dil_h = s->dil_h,
                                   .dil_w = s->dil_w,
                                   .pad_t = s->pad_t,
                                   .pad_l = s->pad_l,
                                   .pad_b = s->pad_b,
                                   .pad_r = s->pad_r,
                                   .groups = s->groups};
        net_ok(sample_node(m, FB_OP_CONV, "layer", 2, (int32_t[]){t, w}, &attr, FB_F32, &y));
    }
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    return m;
}

/* The layer's input, [SIDE][SIDE][ic], as `mix` makes it of one image. */
static void mix(const fb_model *m, int64_t ic, const float *image, double *out)
{
    const float *w = (const float *)m->tensors[net_tensor(m, "mix.weight")].data;
    const float *b = (const float *)m->tensors[net_tensor(m, "mix.bias")].data;
    for (int64_t i = 0; i < SIDE * SIDE * ic; i++) {
        int64_t c = i % ic;
        const float *px = image + i / ic * 3;
        out[i] = (double)b[c];
        for (int k = 0; k < 3; k++)
            out[i] += (double)w[c * 3 + k] * (double)px[k];
    }
}

/* Tap j of a weight of group g at output (oy, ox). */
static double tap(const shape *s, const double *in, int64_t g, int64_t j, int64_t oy, int64_t ox)
{
    if (s->groups == 0)
        return in[j];
    int64_t icg = s->ic / s->groups, c = g * icg + j % icg;
    int64_t y = oy * s->stride_h - s->pad_t + j / icg / s->kw * s->dil_h;
    int64_t x = ox * s->stride_w - s->pad_l + j / icg % s->kw * s->dil_w;
    return y >= 0 && y < SIDE && x >= 0 && x < SIDE ? in[(y * SIDE + x) * s->ic + c] : 0;
}

/* Moments of one group by their definition, centred. */
typedef struct moments {
    double n, *gram, *cross, *power, *mean_x, *mean_y;
} moments;

static void expect(const shape *s, const fb_model *m, const fb_model *ref, double share,
                   const float *images, int64_t g, size_t rows, size_t d, moments *e)
{
    double xq[SIDE * SIDE * MOST_IC], xf[SIDE * SIDE * MOST_IC];
    const fb_tensor *out = &ref->tensors[ref->outputs[0]];
    const float *w = (const float *)ref->tensors[net_tensor(ref, "layer.weight")].data;
    int64_t oh = out->rank == 4 ? out->dims[1] : 1, ow = out->rank == 4 ? out->dims[2] : 1;
    double *q = malloc(d * sizeof *q), *y = malloc(rows * sizeof *y);
    *e = (moments){.gram = calloc(d * d, sizeof(double)),
                   .cross = calloc(rows * d, sizeof(double)),
                   .power = calloc(rows, sizeof(double)),
                   .mean_x = calloc(d, sizeof(double)),
                   .mean_y = calloc(rows, sizeof(double))};
    e->n = (double)(NET_IMAGES * oh * ow);
    for (int64_t i = 0; i < NET_IMAGES * oh * ow; i++) {
        mix(m, s->ic, images + i / (oh * ow) * NET_ELEMS, xq);
        mix(ref, s->ic, images + i / (oh * ow) * NET_ELEMS, xf);
        int64_t oy = i / ow % oh, ox = i % ow;
        memset(y, 0, rows * sizeof *y);
        for (size_t j = 0; j < d; j++) {
            q[j] = tap(s, xq, g, (int64_t)j, oy, ox);
            double f = share * tap(s, xf, g, (int64_t)j, oy, ox) + (1 - share) * q[j];
            e->mean_x[j] += q[j] / e->n;
            for (size_t r = 0; r < rows; r++)
                y[r] += f * (double)w[((size_t)g * rows + r) * d + j];
        }
        for (size_t j = 0; j < d; j++) {
            for (size_t k = 0; k < d; k++)
                e->gram[j * d + k] += q[j] * q[k] / e->n;
            for (size_t r = 0; r < rows; r++)
                e->cross[r * d + j] += y[r] * q[j] / e->n;
        }
        for (size_t r = 0; r < rows; r++) {
            e->mean_y[r] += y[r] / e->n;
            e->power[r] += y[r] * y[r] / e->n;
        }
    }
    for (size_t j = 0; j < d; j++) {
        for (size_t k = 0; k < d; k++)
            e->gram[j * d + k] -= e->mean_x[j] * e->mean_x[k];
        for (size_t r = 0; r < rows; r++)
            e->cross[r * d + j] -= e->mean_y[r] * e->mean_x[j];
    }
    for (size_t r = 0; r < rows; r++)
        e->power[r] -= e->mean_y[r] * e->mean_y[r];
    free(q);
    free(y);
}

static void release(moments *e)
{
    free(e->gram);
    free(e->cross);
    free(e->power);
    free(e->mean_x);
    free(e->mean_y);
}

static void same(const char *what, const double *got, const double *wanted, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++) {
        if (fabs(got[i] - wanted[i]) > 2e-5 * (scale + fabs(wanted[i])))
            fail_msg("%s[%zu] is %.9g, not %.9g", what, i, got[i], wanted[i]);
    }
}

/* The problem of the last node, in which so much of the inputs' error counts. */
static void problem_of(fb_model *m, fb_model *ref, float share, fb_data *data, uint32_t threads,
                       fb_problem *p)
{
    fb_job job = {
        .model = m, .reference = ref, .data = data, .n_threads = threads, .cpu = fb_cpu_usable()};
    bool wanted[8] = {false};
    fb_gather g;
    wanted[m->n_nodes - 1] = true;
    net_ok(fb_gather_open(&job, 1000, share, wanted, &g));
    assert_int_equal(g.n, 1);
    net_ok(fb_gather_problem(&g, 0, p));
    fb_gather_close(&g);
}

static float *read_images(fb_data *data, uint32_t n)
{
    uint32_t got;
    float *x = malloc(n * NET_ELEMS * sizeof *x);
    fb_data_rewind(data);
    net_ok(fb_data_next(data, n, x, NULL, &got));
    assert_int_equal(got, n);
    return x;
}

static void moments_by_brute_force(void **state)
{
    const char *path = net_write_images();
    fb_data *data = net_data(path);
    float *images = read_images(data, NET_IMAGES);
    (void)state;
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const shape *s = &shapes[k];
        fb_model *ref = build(s, 41 + k), *m = build(s, 4100 + k);
        fb_problem p;
        const float share = (float)(k % 3) / 2; /* plain, half, asymmetric */
        print_message("%s\n", s->name);
        problem_of(m, ref, share, data, 1 + (uint32_t)k % 3, &p);
        uint32_t groups = s->groups ? (uint32_t)s->groups : 1;
        assert_int_equal(p.n_parts, groups);
        for (uint32_t g = 0; g < groups; g++) {
            const fb_problem_part *part = &p.parts[g];
            moments e;
            size_t d = s->groups ? (size_t)(s->kh * s->kw * s->ic / s->groups)
                                 : (size_t)(SIDE * SIDE * s->ic);
            assert_int_equal(part->d, d);
            assert_int_equal(part->n_rows, (size_t)s->oc / groups);
            assert_int_equal(part->row, part->n_rows * g);
            expect(s, m, ref, (double)share, images, g, part->n_rows, d, &e);
            /* every output position of every image, none twice */
            assert_true((double)part->n_samples == e.n);
            same("gram", part->gram, e.gram, d * d, 1);
            same("cross", part->cross, e.cross, part->n_rows * d, 1);
            same("power", part->power, e.power, part->n_rows, 1);
            same("mean_x", part->mean_x, e.mean_x, d, 0.1);
            same("mean_y", part->mean_y, e.mean_y, part->n_rows, 0.1);
            release(&e);
        }
        fb_problem_free(&p);
        fb_model_close(&m);
        fb_model_close(&ref);
    }
    free(images);
    fb_data_close(&data);
    (void)unlink(path);
}

/* More positions than are wanted: a part of them, the same in both networks, the same for any
 * number of threads. */
static void a_sample_of_the_positions(void **state)
{
    enum { IMAGES = 40 };
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/fewbit_gather_%d.npy", (int)getpid());
    const char *few = net_write_images();
    fb_data *data = net_data(few);
    float *images = read_images(data, NET_IMAGES);
    (void)state;
    fb_data_close(&data);
    (void)unlink(few);
    char header[118];
    int n =
        snprintf(header, sizeof header,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 12, 12, 3), }", IMAGES);
    memset(header + n, ' ', sizeof header - (size_t)n);
    header[117] = '\n';
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    (void)fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
    (void)fwrite(header, 1, 118, f);
    for (int i = 0; i < IMAGES; i++)
        (void)fwrite(images + i % NET_IMAGES * NET_ELEMS, sizeof *images, NET_ELEMS, f);
    assert_int_equal(fclose(f), 0);
    data = net_data(path);

    const shape *s = &shapes[1];
    fb_model *m = build(s, 9), *ref = build(s, 9);
    fb_problem plain, asymmetric;
    problem_of(m, ref, 0, data, 1, &plain);
    problem_of(m, ref, 1, data, 3, &asymmetric);
    const fb_problem_part *a = &plain.parts[0], *b = &asymmetric.parts[0];
    /* 4096 over 40 images, rounded up: of 144 positions each */
    assert_int_equal(a->n_samples, 103 * IMAGES);
    assert_int_equal(b->n_samples, a->n_samples);
    assert_memory_equal(a->gram, b->gram, a->d * a->d * sizeof *a->gram);
    /* equal networks at equal positions: the moments of y follow from G */
    for (size_t r = 0; r < a->n_rows; r++) {
        for (size_t j = 0; j < a->d; j++) {
            double sum = 0;
            for (size_t i = 0; i < a->d; i++)
                sum += (double)plain.w[r * a->d + i] * a->gram[i * a->d + j];
            assert_true(fabs(sum - b->cross[r * a->d + j]) < 1e-4);
            assert_true(fabs(sum - a->cross[r * a->d + j]) < 1e-4);
        }
    }
    fb_problem_free(&plain);
    fb_problem_free(&asymmetric);
    fb_model_close(&m);
    fb_model_close(&ref);
    fb_data_close(&data);
    free(images);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_by_brute_force),
        cmocka_unit_test(a_sample_of_the_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
