/* Export to ONNX and import again: the same numbers, to the bit where they are integers. With
 * arguments this program is the C half of tests/cli/test_ort.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "fewbit/compress.h"
#include "model/ort_peer.h"

#ifndef FB_SOURCE_DIR
#define FB_SOURCE_DIR "."
#endif
#define GLYPHS FB_SOURCE_DIR "/data/glyphs/"
#define BATCH  8u

static const char *const nets[] = {"glyphs_plain", "glyphs_resnet", "glyphs_mobile", "glyphs_fc"};

static void ok(fb_status status)
{
    if (status != FB_OK)
        print_error("%s\n", fb_error());
    assert_int_equal(status, FB_OK);
}

static fb_data *open_data(const fb_model *m, const char *path, uint64_t limit)
{
    fb_data *data;
    fb_data_options o = {.limit = limit};
    ok(fb_prep_parse("none,scale=255,mean=0.5/0.5/0.5,std=0.25/0.25/0.25,size=32", &o.prep));
    ok(fb_model_sample_shape(m, &o.shape));
    ok(fb_data_open(path, &o, &data));
    return data;
}

static fb_model *open_net(const char *name)
{
    char path[512];
    fb_model *m;
    (void)snprintf(path, sizeof path, GLYPHS "%s.onnx", name);
    ok(fb_open_any(path, &m));
    return m;
}

static fb_model *again(const fb_model *m)
{
    char path[] = "/tmp/fewbit-export-XXXXXX";
    fb_model *back;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    ok(fb_onnx_export(m, path));
    ok(fb_open_any(path, &back));
    (void)unlink(path);
    return back;
}

/* What the model gives for the first test images; the caller frees it. */
static float *outputs(const fb_model *m, size_t *n)
{
    fb_plan *plan;
    fb_run *run;
    fb_plan_options o;
    uint32_t got;
    size_t bytes;
    fb_plan_options_default(&o);
    o.batch = BATCH;
    ok(fb_plan_create(m, &o, &plan));
    ok(fb_run_create(plan, 1, &run));
    fb_data *data = open_data(m, GLYPHS "test-images-idx4-ubyte.gz", BATCH);
    ok(fb_data_next(data, BATCH, fb_run_input(run, 0, &bytes), NULL, &got));
    assert_int_equal(got, BATCH);
    ok(fb_run_execute(run));
    const void *y = fb_run_output(run, 0, &bytes);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, y, bytes);
    *n = bytes / sizeof *copy;
    fb_data_close(&data);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return copy;
}

/* Closes the model. */
static void survives(fb_model *m, const char *name, const char *what, double tolerance)
{
    size_t n, n_back;
    fb_model *back = again(m);
    float *a = outputs(m, &n), *b = outputs(back, &n_back);
    double off = 0, most = 0;
    assert_int_equal(n, n_back);
    for (size_t i = 0; i < n; i++) {
        double gap = fabs((double)a[i] - (double)b[i]);
        off = gap <= off ? off : gap;
        most = fmax(most, fabs((double)a[i]));
    }
    print_message("%-14s %-8s differs by %.3g of %.3g\n", name, what, off, most);
    assert_true(most > 0 && off <= tolerance * most);
    free(a);
    free(b);
    fb_model_close(&back);
    fb_model_close(&m);
}

static fb_model *compressed(const char *name, const char *method)
{
    fb_model *m = open_net(name), *out;
    fb_compress_options o;
    fb_compress_options_default(&o);
    o.method = method;
    o.data = open_data(m, GLYPHS "calib-images-idx4-ubyte.gz", 40);
    ok(fb_compress(m, &o, &out));
    fb_data_close(&o.data);
    fb_model_close(&m);
    return out;
}

static void float_networks(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        survives(open_net(nets[i]), nets[i], "f32", 1e-6);
}

static void integer_networks(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        survives(compressed(nets[i], "int8"), nets[i], "int8", 0);
}

static void few_bits_and_one_scale(void **state)
{
    (void)state;
    survives(compressed("glyphs_resnet", "int4"), "glyphs_resnet", "int4", 0);
    survives(compressed("glyphs_plain", "equalize + int8:per=tensor"), "glyphs_plain", "tensor", 0);
    survives(compressed("glyphs_mobile", "w4:group=32"), "glyphs_mobile", "w4", 1e-6);
}

/* A clamp that the codes do not imply, and codes of 7 bits: written behind the quantiser. */
static void clamps_on_codes(void **state)
{
    (void)state;
    for (int i = 1; i < 3; i++) {
        fb_model *m = compressed(nets[i], "int8");
        peer_shift(m);
        survives(m, nets[i], "shifted", 0);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return peer_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_networks),
        cmocka_unit_test(integer_networks),
        cmocka_unit_test(few_bits_and_one_scale),
        cmocka_unit_test(clamps_on_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
