/* int8 on networks that ship: within half a point of the float network, a quarter of its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "fewbit/compress.h"
#include "fewbit/measure.h"
#include "fewbit/onnx.h"

#ifndef FB_SOURCE_DIR
#define FB_SOURCE_DIR "."
#endif
#define GLYPHS FB_SOURCE_DIR "/data/glyphs/"

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

static void judge(const char *name, const char *method, double most_lost)
{
    char path[512];
    fb_model *models[2];
    fb_eval_result r[2];
    fb_measure_options mo;
    fb_compress_options co;
    uint64_t bytes[2];
    (void)snprintf(path, sizeof path, GLYPHS "%s.onnx", name);
    ok(fb_open_any(path, &models[0]));
    fb_data *calib = open_data(models[0], GLYPHS "calib-images-idx4-ubyte.gz", 200);
    fb_data *test = open_data(models[0], GLYPHS "test-images-idx4-ubyte.gz", 0);
    fb_compress_options_default(&co);
    co.method = method;
    co.data = calib;
    ok(fb_compress(models[0], &co, &models[1]));
    fb_measure_options_default(&mo);
    ok(fb_eval((const fb_model *const *)models, 2, test, &mo, r));
    ok(fb_model_file_bytes(models[0], &bytes[0]));
    ok(fb_model_file_bytes(models[1], &bytes[1]));
    print_message("%-14s %-28s float %.2f  now %.2f  agree %.2f  bytes %llu -> %llu\n", name,
                  method, r[0].top1, r[1].top1, r[1].agreement, (unsigned long long)bytes[0],
                  (unsigned long long)bytes[1]);
    assert_true(r[1].top1 >= r[0].top1 - most_lost);
    assert_true((double)bytes[1] < 0.26 * (double)bytes[0]);
    fb_data_close(&calib);
    fb_data_close(&test);
    fb_model_close(&models[0]);
    fb_model_close(&models[1]);
}

static void the_default_loses_little(void **state)
{
    (void)state;
    const char *nets[] = {"glyphs_plain", "glyphs_resnet", "glyphs_mobile", "glyphs_fc"};
    for (int i = 0; i < 4; i++)
        judge(nets[i], "int8", 0.5);
}

/* To the byte, before any image is read. */
static void dry_runs_know_the_size(void **state)
{
    (void)state;
    const char *nets[] = {"glyphs_mobile", "glyphs_resnet"};
    const char *methods[] = {"int8:images=8", "int8:entropy=off,images=8"};
    for (int i = 0; i < 4; i++) {
        char path[512];
        fb_model *m, *q;
        fb_compress_options co;
        uint64_t bytes[2];
        (void)snprintf(path, sizeof path, GLYPHS "%s.onnx", nets[i / 2]);
        ok(fb_open_any(path, &m));
        fb_data *calib = open_data(m, GLYPHS "calib-images-idx4-ubyte.gz", 16);
        fb_compress_options_default(&co);
        co.method = methods[i % 2];
        co.data = calib;
        for (int k = 0; k < 2; k++) {
            co.dry_run = k == 0;
            ok(fb_compress(m, &co, &q));
            ok(fb_model_file_bytes(q, &bytes[k]));
            fb_model_close(&q);
        }
        assert_int_equal(bytes[0], bytes[1]);
        fb_data_close(&calib);
        fb_model_close(&m);
    }
}

static void few_bits_with_corrections(void **state)
{
    (void)state;
    judge("glyphs_resnet", "equalize + int4 + bias-correct", 4);
    judge("glyphs_plain", "w4:group=32 + bn-stats", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_loses_little),
        cmocka_unit_test(dry_runs_know_the_size),
        cmocka_unit_test(few_bits_with_corrections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
