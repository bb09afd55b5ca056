/* A small network with random weights, calibration data for it in a file of its own, and runs of
 * it: for the tests of compression. Include setjmp/stdarg/stddef/cmocka first. */
#ifndef FB_TESTS_COMPRESS_NET_H
#define FB_TESTS_COMPRESS_NET_H

#include "fewbit/compress.h"
#include "fewbit/measure.h"
#include "unit/sample_model.h"

#include <stdio.h>
#include <unistd.h>

#define NET_IMAGES 24
#define NET_ELEMS  (12 * 12 * 3)

static uint64_t net_state;

static inline float net_random(void) /* in [-1, 1) */
{
    net_state ^= net_state << 13;
    net_state ^= net_state >> 7;
    net_state ^= net_state << 17;
    return (float)((double)(net_state >> 40) / 8388608.0 - 1.0);
}

static inline void net_ok(fb_status status)
{
    if (status != FB_OK)
        print_error("%s\n", fb_error());
    assert_int_equal(status, FB_OK);
}

static inline int32_t net_weight(fb_model *m, const char *name, int64_t oc, int64_t k, int64_t ic,
                                 float gain)
{
    int32_t w;
    const int64_t dense[2] = {oc, ic}, conv[4] = {oc, k, k, ic};
    net_ok(fb_model_add_const(m, name, FB_F32, k ? 4 : 2, k ? conv : dense, NULL, &w));
    float *data = (float *)(uintptr_t)m->tensors[w].data;
    float fan = sqrtf(3 / (float)(ic * (k ? k * k : 1)));
    for (size_t i = 0; i < m->tensors[w].data_bytes / sizeof *data; i++)
        data[i] = net_random() * fan * gain;
    return w;
}

static inline int32_t net_bias(fb_model *m, const char *name, int64_t oc)
{
    int32_t b;
    net_ok(fb_model_add_const(m, name, FB_F32, 1, &oc, NULL, &b));
    float *data = (float *)(uintptr_t)m->tensors[b].data;
    for (int64_t i = 0; i < oc; i++)
        data[i] = 0.2f * net_random();
    return b;
}

/* conv, bias and activation; groups > 1 is depthwise */
static inline int32_t net_conv(fb_model *m, const char *name, int32_t x, int64_t oc, int32_t k,
                               int32_t groups, fb_act act)
{
    char text[64];
    int64_t ic = m->tensors[x].dims[3] / groups;
    (void)snprintf(text, sizeof text, "%s.weight", name);
    int32_t w = net_weight(m, text, oc, k, ic, 1.4f), y;
    (void)snprintf(text, sizeof text, "%s.bias", name);
    int32_t b = net_bias(m, text, oc);
    fb_attr attr = sample_conv(k, 1, k / 2);
    attr.conv.groups = groups;
    attr.conv.act = act;
    net_ok(sample_node(m, FB_OP_CONV, name, 3, (int32_t[]){x, w, b}, &attr, FB_F32, &y));
    return y;
}

static inline int32_t net_max_pool(fb_model *m, const char *name, int32_t x)
{
    int32_t y;
    fb_attr attr = {
        .pool = {.kh = 2, .kw = 2, .stride_h = 2, .stride_w = 2, .dil_h = 1, .dil_w = 1}};
    net_ok(sample_node(m, FB_OP_MAX_POOL, name, 1, &x, &attr, FB_F32, &y));
    return y;
}

/* conv0 relu - pool - dw relu - pw ; pool + pw relu ; conv3 relu - mean - flatten - fc - softmax */
static inline fb_model *net_build(bool with_softmax)
{
    const fb_act relu = {1, 0, INFINITY}, none = {0};
    fb_model *m;
    int32_t x, t, u, v, y;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 12, 12, 3), &x));
    t = net_conv(m, "conv0", x, 8, 3, 1, relu);
    t = net_max_pool(m, "pool", t);
    u = net_conv(m, "dw", t, 8, 3, 8, relu);
    u = net_conv(m, "pw", u, 8, 1, 1, none);
    fb_attr attr = {.binary = {.kind = FB_BINARY_ADD, .act = relu}};
    net_ok(sample_node(m, FB_OP_BINARY, "add", 2, (int32_t[]){t, u}, &attr, FB_F32, &v));
    v = net_conv(m, "conv3", v, 16, 3, 1, relu);
    attr = (fb_attr){.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6, .keep_dims = 1}};
    net_ok(sample_node(m, FB_OP_REDUCE, "mean", 1, &v, &attr, FB_F32, &u));
    attr = (fb_attr){.shape = {.rank = 2, .dims = {-1, 16}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &u, &attr, FB_F32, &t));
    int32_t w = net_weight(m, "fc.weight", 5, 0, 16, 2), b = net_bias(m, "fc.bias", 5);
    attr = (fb_attr){0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &y));
    if (with_softmax) {
        attr = (fb_attr){.softmax = {1, 2, 0}};
        net_ok(sample_node(m, FB_OP_SOFTMAX, "softmax", 1, &y, &attr, FB_F32, &u));
        y = u;
    }
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    return m;
}

static inline int32_t net_tensor(const fb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) == 0)
            return (int32_t)i;
    }
    return -1;
}

static inline const fb_encoding *net_encoding(const fb_model *m, const char *name)
{
    int32_t t = net_tensor(m, name);
    assert_true(t >= 0);
    return &m->tensors[t].enc;
}

/* NET_IMAGES samples in an npy file; smooth, so that channels differ from noise. */
static inline const char *net_write_images(void)
{
    static char path[64];
    char header[128];
    (void)snprintf(path, sizeof path, "/tmp/fewbit_compress_%d.npy", (int)getpid());
    int n = snprintf(header, sizeof header,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 12, 12, 3), }",
                     NET_IMAGES);
    memset(header + n, ' ', sizeof header - (size_t)n);
    header[117] = '\n';
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    (void)fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
    (void)fwrite(header, 1, 118, f);
    net_state = 362436069u;
    for (int i = 0; i < NET_IMAGES; i++) {
        float base[3] = {net_random(), net_random(), net_random()};
        for (int k = 0; k < NET_ELEMS; k++) {
            float v = base[k % 3] + 0.5f * net_random() + 0.3f * sinf((float)(k / 3 % 12 + i));
            (void)fwrite(&v, sizeof v, 1, f);
        }
    }
    assert_int_equal(fclose(f), 0);
    return path;
}

static inline fb_data *net_data(const char *path)
{
    fb_data *data;
    fb_data_options o = {.shape = {12, 12, 3, false}};
    net_ok(fb_prep_parse("none", &o.prep));
    net_ok(fb_data_open(path, &o, &data));
    return data;
}

static inline fb_status net_compress(const fb_model *m, const char *method, fb_data *data,
                                     uint32_t threads, bool dry, fb_model **out)
{
    fb_compress_options o;
    fb_compress_options_default(&o);
    o.method = method;
    o.data = data;
    o.n_threads = threads;
    o.dry_run = dry;
    return fb_compress(m, &o, out);
}

/* Outputs for all images, [NET_IMAGES][classes]; malloc'd. */
static inline float *net_outputs(const fb_model *m, fb_data *data, uint32_t *classes)
{
    fb_measure_options o;
    fb_predictor *p;
    uint32_t got;
    fb_measure_options_default(&o);
    o.n_threads = 1;
    net_ok(fb_predictor_create(m, &o, &p));
    *classes = fb_predictor_classes(p);
    float *x = malloc(NET_IMAGES * NET_ELEMS * sizeof *x);
    float *y = malloc(NET_IMAGES * *classes * sizeof *y);
    fb_data_rewind(data);
    net_ok(fb_data_next(data, NET_IMAGES, x, NULL, &got));
    assert_int_equal(got, NET_IMAGES);
    net_ok(fb_predictor_run(p, got, x, y));
    fb_predictor_destroy(&p);
    free(x);
    return y;
}

/* sqrt(sum (a - b)^2 / sum a^2) over the outputs of two models */
static inline double net_difference(const fb_model *a, const fb_model *b, fb_data *data)
{
    uint32_t n;
    double error = 0, power = 0;
    float *x = net_outputs(a, data, &n), *y = net_outputs(b, data, &n);
    for (uint32_t i = 0; i < NET_IMAGES * n; i++) {
        error += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
        power += (double)x[i] * (double)x[i];
    }
    free(x);
    free(y);
    if (getenv("NET_TALK"))
        print_message("difference %.4f\n", sqrt(error / power));
    return sqrt(error / power);
}

#endif
