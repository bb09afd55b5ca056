/* Preprocessing as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fewbit/data.h"

#include <locale.h>
#include <string.h>

static fb_prep parse(const char *text)
{
    fb_prep prep;
    memset(&prep, 0xee, sizeof prep);
    if (fb_prep_parse(text, &prep) != FB_OK)
        fail_msg("'%s': %s", text, fb_error());
    return prep;
}

static void expect_geometry(const char *text, uint32_t rh, uint32_t rw, uint32_t ch, uint32_t cw)
{
    fb_prep p = parse(text);
    if (p.resize_h != rh || p.resize_w != rw || p.crop_h != ch || p.crop_w != cw)
        fail_msg("'%s' gives resize %u/%u crop %u/%u", text, p.resize_h, p.resize_w, p.crop_h,
                 p.crop_w);
}

static void expect_values(const fb_prep *p, float scale, fb_channel_order order,
                          const float mean[4], const float std[4])
{
    assert_true(p->scale == scale);
    assert_int_equal(p->order, order);
    for (int c = 0; c < 4; c++) {
        assert_true(p->mean[c] == mean[c]);
        assert_true(p->std[c] == std[c]);
    }
}

static const float imagenet_mean[4] = {0.485f, 0.456f, 0.406f, 0};
static const float imagenet_std[4] = {0.229f, 0.224f, 0.225f, 1};
static const float ones[4] = {1, 1, 1, 1};
static const float zeros[4] = {0, 0, 0, 0};

static void test_presets(void **state)
{
    (void)state;
    fb_prep p = parse("imagenet");
    assert_string_equal(p.name, "imagenet");
    expect_values(&p, 255, FB_RGB, imagenet_mean, imagenet_std);
    expect_geometry("imagenet", 256, 0, 224, 224);

    p = parse("tensorflow");
    expect_values(&p, 127.5f, FB_RGB, ones, ones);
    expect_geometry("tensorflow", 256, 0, 224, 224);

    p = parse("caffe");
    expect_values(&p, 1, FB_BGR, (const float[4]){104, 117, 123, 0}, ones);
    expect_geometry("caffe", 256, 0, 227, 227);

    p = parse("cifar10");
    expect_values(&p, 255, FB_RGB, imagenet_mean, imagenet_std);
    expect_geometry("cifar10", 0, 0, 0, 0);

    p = parse("mnist");
    expect_values(&p, 255, FB_GRAY, (const float[4]){0.1307f, 0.1307f, 0.1307f, 0.1307f},
                  (const float[4]){0.3081f, 0.3081f, 0.3081f, 0.3081f});
    expect_geometry("mnist", 0, 0, 0, 0);

    p = parse("none");
    expect_values(&p, 1, FB_RGB, zeros, ones);
    expect_geometry("none", 0, 0, 0, 0);

    p = parse("");
    assert_string_equal(p.name, "");
    expect_values(&p, 1, FB_RGB, zeros, ones);
}

static void test_sizes(void **state)
{
    (void)state;
    expect_geometry("imagenet,size=128", 146, 0, 128, 128);
    expect_geometry("imagenet,size=299", 342, 0, 299, 299);
    expect_geometry("imagenet,size=96/160", 183, 0, 96, 160);
    expect_geometry("imagenet,size=224,resize=232", 232, 0, 224, 224);
    expect_geometry("imagenet,resize=232,size=200", 232, 0, 200, 200);
    expect_geometry("imagenet,resize=224/224", 224, 224, 224, 224);
    expect_geometry("imagenet,resize=0", 0, 0, 224, 224);
    expect_geometry("imagenet,resize=0,size=0", 0, 0, 0, 0);
    expect_geometry("imagenet,size=0", 256, 0, 0, 0);
    expect_geometry("imagenet,size=16384", 16384, 0, 16384, 16384);
    expect_geometry("caffe,size=224", 253, 0, 224, 224);
    expect_geometry("cifar10,size=32", 32, 32, 0, 0);
    expect_geometry("cifar10,size=24/28", 24, 28, 0, 0);
    expect_geometry("cifar10,size=32,resize=40", 40, 0, 32, 32);
    expect_geometry("none,resize=40", 40, 0, 0, 0);
    expect_geometry("none,resize=40/50", 40, 50, 0, 0);
}

static void test_values(void **state)
{
    (void)state;
    fb_prep p = parse("none,mean=0.5,std=0.25,scale=255");
    expect_values(&p, 255, FB_RGB, (const float[4]){0.5f, 0.5f, 0.5f, 0.5f},
                  (const float[4]){0.25f, 0.25f, 0.25f, 0.25f});
    p = parse("none,mean=1e2/-3.5/+.5,std=1./2e-1,order=bgr");
    expect_values(&p, 1, FB_BGR, (const float[4]){100, -3.5f, 0.5f, 0},
                  (const float[4]){1, 0.2f, 1, 1});
    p = parse("none,mean=1/2/3/4");
    expect_values(&p, 1, FB_RGB, (const float[4]){1, 2, 3, 4}, ones);
    p = parse("imagenet,order=bgr");
    expect_values(&p, 255, FB_BGR, (const float[4]){0.406f, 0.456f, 0.485f, 0},
                  (const float[4]){0.225f, 0.224f, 0.229f, 1});
    p = parse("caffe,order=rgb");
    expect_values(&p, 1, FB_RGB, (const float[4]){123, 117, 104, 0}, ones);
    p = parse("imagenet,order=bgr,mean=1/2/3");
    expect_values(&p, 255, FB_BGR, (const float[4]){1, 2, 3, 0},
                  (const float[4]){0.225f, 0.224f, 0.229f, 1});
    p = parse("imagenet,order=gray,mean=0.5,std=0.5");
    assert_int_equal(p.order, FB_GRAY);
    p = parse("tensorflow,order=gray");
    expect_values(&p, 127.5f, FB_GRAY, ones, ones);
}

static void expect_refused(const char *text, const char *part)
{
    fb_prep prep = {.name = "kept"};
    if (fb_prep_parse(text, &prep) != FB_E_ARG || !strstr(fb_error(), part))
        fail_msg("'%s' gave \"%s\", and wanted was \"%s\"", text, fb_error(), part);
    assert_string_equal(prep.name, "kept");
}

static void test_errors(void **state)
{
    (void)state;
    expect_refused("imagnet", "'imagnet' is unknown (choose imagenet, tensorflow, caffe");
    expect_refused(",size=3", "is unknown (choose");
    expect_refused("IMAGENET", "is unknown");
    expect_refused("imagenet,", "'' is not key=value");
    expect_refused("imagenet,224", "'224' is not key=value");
    expect_refused("imagenet,sise=3", "key 'sise' is unknown (the keys are size, resize, mean");
    expect_refused("imagenet,=3", "key '' is unknown");
    expect_refused("imagenet,size=3,size=4", "key 'size' is given twice");
    expect_refused("imagenet,size=", "size= must be the side of a square");
    expect_refused("imagenet,size=-1", "size=-1 must be");
    expect_refused("imagenet,size=16385", "each 1 to 16384");
    expect_refused("imagenet,size=99999999999999999999999", "each 1 to 16384");
    expect_refused("imagenet,size=12/", "size=12/ must be");
    expect_refused("imagenet,size=0/12", "size=0/12 must be");
    expect_refused("imagenet,size=1/2/3", "size=1/2/3 must be");
    expect_refused("imagenet,resize=22x22", "resize=22x22 must be the length of the short side");
    expect_refused("imagenet,mean=", "mean= must be one to four numbers");
    expect_refused("imagenet,mean=1/2/3/4/5", "mean=1/2/3/4/5 must be one to four numbers");
    expect_refused("imagenet,mean=1//3", "mean=1//3 must be");
    expect_refused("imagenet,mean=nan", "mean=nan must be");
    expect_refused("imagenet,mean=1e39", "mean=1e39 must be");
    expect_refused("imagenet,mean=1e", "mean=1e must be");
    expect_refused("imagenet,mean= 1", "mean= 1 must be");
    expect_refused("imagenet,std=1/0/1", "std=1/0/1 must be one to four positive numbers");
    expect_refused("imagenet,std=-1", "positive");
    expect_refused("imagenet,scale=0", "scale=0 must be a positive number");
    expect_refused("imagenet,scale=1/2", "scale=1/2 must be a positive number");
    expect_refused("imagenet,scale=1e-60", "scale=1e-60 must be a positive number");
    expect_refused("imagenet,order=RGB", "order=RGB must be rgb, bgr or gray");
    expect_refused("imagenet,order=gray", "order=gray needs mean= and std=, because 'imagenet'");
    expect_refused("imagenet,order=gray,mean=1", "order=gray needs mean= and std=");
    fb_prep prep;
    assert_int_equal(fb_prep_parse(NULL, &prep), FB_E_ARG);
    assert_int_equal(fb_prep_parse("none", NULL), FB_E_ARG);
}

static void expect_text(const char *in, const char *want)
{
    fb_prep p = parse(in);
    char text[512];
    assert_int_equal(fb_prep_format(&p, text, sizeof text), FB_OK);
    assert_string_equal(text, want);
    fb_prep back = parse(text);
    assert_memory_equal(&p, &back, sizeof p);
}

static void test_format(void **state)
{
    (void)state;
    expect_text("", "");
    expect_text("imagenet", "imagenet");
    expect_text("imagenet,size=224,scale=255,order=rgb,resize=256", "imagenet");
    expect_text("imagenet,size=128", "imagenet,size=128");
    expect_text("imagenet,size=128,resize=146", "imagenet,size=128");
    expect_text("imagenet,size=96/160", "imagenet,size=96/160");
    expect_text("imagenet,size=128,resize=128", "imagenet,resize=128,size=128");
    expect_text("imagenet,resize=224/220", "imagenet,resize=224/220");
    expect_text("imagenet,size=0", "imagenet,resize=256,size=0");
    expect_text("imagenet,resize=0,size=0", "imagenet,resize=0,size=0");
    expect_text("cifar10,size=40", "cifar10,size=40");
    expect_text("cifar10,resize=40,size=32", "cifar10,resize=40,size=32");
    expect_text("cifar10,resize=0,size=32", "cifar10,resize=0,size=32");
    expect_text("cifar10,resize=40", "cifar10,resize=40");
    expect_text("imagenet,order=bgr", "imagenet,order=bgr");
    expect_text("imagenet,order=bgr,mean=0.406/0.456/0.485", "imagenet,order=bgr");
    expect_text("imagenet,mean=0.5", "imagenet,mean=0.5");
    expect_text("imagenet,mean=0", "imagenet,mean=0");
    expect_text("none,mean=1/0", "none,mean=1/0");
    expect_text("none,std=1/1/1/2", "none,std=1/1/1/2");
    expect_text("none,mean=0.123456789,scale=3.0000001", "none,scale=3,mean=0.12345679");
    expect_text("none,scale=1e-20,mean=-1e30", "none,scale=1e-20,mean=-1e+30");
    expect_text("imagenet,order=gray,mean=0.5/0.4,std=1", "imagenet,order=gray,mean=0.5/0.4,std=1");

    fb_prep p = parse("imagenet,size=128");
    char text[18];
    assert_int_equal(fb_prep_format(&p, text, 18), FB_OK);
    assert_int_equal(fb_prep_format(&p, text, 17), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "takes 18 bytes"));
    assert_string_equal(text, "");
}

static void expect_bad_field(fb_prep p, const char *part)
{
    char text[512];
    assert_int_equal(fb_prep_format(&p, text, sizeof text), FB_E_ARG);
    assert_non_null(strstr(fb_error(), part));
}

static void test_format_refuses_bad_fields(void **state)
{
    (void)state;
    fb_prep p = parse("none");
    memcpy(p.name, "nonesuch", 9);
    expect_bad_field(p, "'nonesuch' is unknown");
    memset(p.name, 'x', sizeof p.name);
    expect_bad_field(p, "is unknown");
    p = parse("none");
    p.resize_w = 3;
    expect_bad_field(p, "width without a height");
    p = parse("none");
    p.crop_h = 3;
    expect_bad_field(p, "width without a height");
    p = parse("none");
    p.crop_h = p.crop_w = 16385;
    expect_bad_field(p, "above 16384");
    p = parse("none");
    p.scale = 0;
    expect_bad_field(p, "scale 0");
    p = parse("none");
    p.std[2] = -1;
    expect_bad_field(p, "std -1");
    p = parse("none");
    p.order = (fb_channel_order)7;
    expect_bad_field(p, "channel order 7");
}

static void expect_fit(const char *text, uint32_t h, uint32_t w, const char *want)
{
    fb_prep p = parse(text);
    char out[512];
    fb_prep_fit(&p, h, w);
    assert_int_equal(fb_prep_format(&p, out, sizeof out), FB_OK);
    assert_string_equal(out, want);
}

static void test_fit(void **state)
{
    (void)state;
    expect_fit("imagenet", 224, 224, "imagenet");
    expect_fit("imagenet", 128, 128, "imagenet,size=128");
    expect_fit("imagenet", 96, 160, "imagenet,size=96/160");
    expect_fit("imagenet,resize=232", 200, 200, "imagenet,resize=232,size=200");
    expect_fit("imagenet,size=192", 128, 128, "imagenet,size=192");
    expect_fit("imagenet,resize=0", 227, 227, "imagenet,resize=0,size=227");
    expect_fit("caffe", 224, 224, "caffe,size=224");
    expect_fit("cifar10", 64, 64, "cifar10");
    expect_fit("", 64, 64, "");
    expect_fit("imagenet", 0, 64, "imagenet");
}

/* A host program with a decimal comma must not change what the text means. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    bool any = false;
    for (size_t i = 0; i < 4 && !any; i++)
        any = setlocale(LC_ALL, names[i]) != NULL;
    test_values(NULL);
    test_format(NULL);
    (void)setlocale(LC_ALL, "C");
    if (!any)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_format),  cmocka_unit_test(test_format_refuses_bad_fields),
        cmocka_unit_test(test_fit),     cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
