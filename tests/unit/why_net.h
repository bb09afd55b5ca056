/* A small network that knows colours, pictures of them, and ways to spoil both: for the tests of
 * the diagnosis. Include setjmp/stdarg/stddef/cmocka first.
 *
 * A picture is one of 27 colours, each of red, green and blue at one of three levels, with noise.
 * The network takes pixels as -1..1 (the preset tensorflow), splits each channel by sign, averages
 * over the picture and compares with the 27 colours. */
#ifndef FB_TESTS_WHY_NET_H
#define FB_TESTS_WHY_NET_H

#include "fewbit/why.h"
#include "unit/compress_net.h"

enum { WHY_SIDE = 6, WHY_CLASSES = 27, WHY_IMAGES = 216 };

static const int why_level[3] = {20, 60, 200};

static inline int why_pixel(int label, int channel)
{
    const int digit[3] = {label / 9, label / 3 % 3, label % 3};
    return why_level[digit[channel]];
}

static inline void why_npy(FILE *f, const char *type, const char *shape)
{
    char header[128];
    int n = snprintf(header, sizeof header,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    memset(header + n, ' ', sizeof header - (size_t)n);
    header[117] = '\n';
    (void)fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
    (void)fwrite(header, 1, 118, f);
}

/* Of picture i: every class, in no order. */
static inline int why_class(int i)
{
    return (int)(((uint32_t)i * 2654435761u >> 8) % WHY_CLASSES);
}

/* "x.npy,y.npy" (or x.npy alone with labels NULL); labels[class] is what the file says. */
static inline const char *why_write(const int *labels)
{
    static char spec[160];
    char x[64], y[64], shape[64];
    (void)snprintf(x, sizeof x, "/tmp/fewbit_why_x_%d.npy", (int)getpid());
    (void)snprintf(y, sizeof y, "/tmp/fewbit_why_y_%d.npy", (int)getpid());
    (void)snprintf(shape, sizeof shape, "%d, %d, %d, 3", WHY_IMAGES, WHY_SIDE, WHY_SIDE);
    FILE *fx = fopen(x, "wb"), *fy = fopen(y, "wb");
    assert_true(fx && fy);
    why_npy(fx, "|u1", shape);
    (void)snprintf(shape, sizeof shape, "%d,", WHY_IMAGES);
    why_npy(fy, "|u1", shape);
    net_state = 362436069u;
    for (int i = 0; i < WHY_IMAGES; i++) {
        int label = why_class(i);
        for (int k = 0; k < WHY_SIDE * WHY_SIDE * 3; k++)
            (void)fputc(why_pixel(label, k % 3) + (int)(12 * net_random()), fx);
        (void)fputc(labels ? labels[label] : 0, fy);
    }
    assert_true(fclose(fx) == 0 && fclose(fy) == 0);
    (void)snprintf(spec, sizeof spec, labels ? "%s,%s" : "%s", x, y);
    return spec;
}

static inline void why_unlink(void)
{
    char path[64];
    for (const char *p = "xy"; *p; p++) {
        (void)snprintf(path, sizeof path, "/tmp/fewbit_why_%c_%d.npy", *p, (int)getpid());
        (void)unlink(path);
    }
}

static inline float *why_data(fb_model *m, const char *name)
{
    return (float *)(uintptr_t)m->tensors[net_tensor(m, name)].data;
}

/* conv0 relu (x and -x) - mean - flatten - fc */
static inline fb_model *why_build(void)
{
    const fb_act relu = {1, 0, INFINITY};
    fb_model *m;
    int32_t x, t, u, y;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, WHY_SIDE, WHY_SIDE, 3), &x));
    t = net_conv(m, "conv0", x, 6, 1, 1, relu);
    memset(why_data(m, "conv0.weight"), 0, 18 * sizeof(float));
    memset(why_data(m, "conv0.bias"), 0, 6 * sizeof(float));
    for (int c = 0; c < 3; c++) {
        why_data(m, "conv0.weight")[c * 3 + c] = 1;
        why_data(m, "conv0.weight")[(c + 3) * 3 + c] = -1;
    }
    fb_attr attr = {.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6, .keep_dims = 1}};
    net_ok(sample_node(m, FB_OP_REDUCE, "mean", 1, &t, &attr, FB_F32, &u));
    attr = (fb_attr){.shape = {.rank = 2, .dims = {-1, 6}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &u, &attr, FB_F32, &t));
    int32_t w = net_weight(m, "fc.weight", WHY_CLASSES, 0, 6, 1);
    int32_t b = net_bias(m, "fc.bias", WHY_CLASSES);
    for (int k = 0; k < WHY_CLASSES; k++) {
        float norm = 0;
        for (int c = 0; c < 3; c++) {
            float v = (float)why_pixel(k, c) / 127.5f - 1;
            why_data(m, "fc.weight")[k * 6 + c] = 20 * v;
            why_data(m, "fc.weight")[k * 6 + c + 3] = -20 * v;
            norm += v * v;
        }
        why_data(m, "fc.bias")[k] = -10 * norm;
    }
    attr = (fb_attr){0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    return m;
}

static inline const fb_why_finding *why_found(const fb_why_report *r, const char *kind)
{
    for (uint32_t i = 0; i < r->n_findings; i++) {
        if (strcmp(r->findings[i].kind, kind) == 0)
            return &r->findings[i];
    }
    return NULL;
}

static inline double why_number(const fb_why_finding *f, const char *name)
{
    for (uint32_t i = 0; i < f->n_numbers; i++) {
        if (strcmp(f->numbers[i].name, name) == 0)
            return f->numbers[i].value;
    }
    return (double)NAN;
}

/* Everything as one text, for comparisons. */
static inline char *why_story(const fb_why_report *r)
{
    char *text;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    for (uint32_t i = 0; i < r->n_findings; i++)
        (void)fprintf(f, "%s: %s -> %s\n", r->findings[i].kind, r->findings[i].what,
                      r->findings[i].advice);
    for (uint32_t i = 0; i < r->n_looks; i++)
        (void)fprintf(f, "%s: %s\n", r->looks[i].at, r->looks[i].result);
    for (uint32_t i = 0; i < r->n_variants; i++)
        (void)fprintf(f, "%s %a %a\n", r->variants[i].prep, r->variants[i].top1,
                      r->variants[i].confidence);
    (void)fclose(f);
    return text;
}

/* prep NULL: unknown; small NULL: none. */
static inline fb_status why_ask(const fb_model *m, const fb_model *small, const char *spec,
                                const char *prep, uint32_t threads, fb_why_report *r)
{
    fb_why_options o;
    fb_prep p;
    fb_why_options_default(&o);
    o.data = spec;
    o.small = small;
    o.measure.n_threads = threads;
    if (prep) {
        net_ok(fb_prep_parse(prep, &p));
        fb_prep_fit(&p, WHY_SIDE, WHY_SIDE);
        o.prep = &p;
    }
    fb_status status = fb_why(m, &o, r);
    if (status == FB_OK && getenv("WHY_TALK")) {
        char *story = why_story(r);
        (void)fputs(story, stderr);
        free(story);
    }
    return status;
}

#endif
