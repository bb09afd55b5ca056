/* The method text and what is said about bad ones. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "compress/method.h"

static void chain_is_parsed(void **state)
{
    (void)state;
    fb_recipe r;
    assert_int_equal(
        fb_recipe_parse("  equalize +int8:act=percentile, percentile=99.9 ,exclude=head*|conv1  "
                        "+ bias-correct:images=16",
                        &r),
        FB_OK);
    assert_int_equal(r.n_steps, 3);
    assert_true(r.needs_data);
    assert_string_equal(r.steps[0].method->name, "equalize");
    assert_int_equal(r.steps[1].bits, 8);
    assert_int_equal(r.steps[1].option[0].choice, 2);
    assert_true(r.steps[1].option[1].number == 99.9);
    assert_string_equal(r.steps[1].option[8].text, "head*|conv1");
    assert_string_equal(r.steps[1].option[7].text, "");
    assert_true(r.steps[2].option[0].number == 16);
    assert_string_equal(r.text, "equalize + int8:act=percentile, percentile=99.9 ,"
                                "exclude=head*|conv1 + bias-correct:images=16");
    fb_recipe_free(&r);
}

static void lines_and_comments(void **state)
{
    (void)state;
    fb_recipe r;
    assert_int_equal(
        fb_recipe_parse("# small + weights\n\nequalize # first\r\n  w4:group=64\n", &r), FB_OK);
    assert_string_equal(r.text, "equalize + w4:group=64");
    assert_int_equal(r.steps[1].bits, 4);
    assert_false(r.needs_data);
    fb_recipe_free(&r);
}

static void bad_text_is_explained(void **state)
{
    (void)state;
    const struct {
        const char *text, *says;
    } bad[] = {
        {"", "the method text is empty"},
        {" # nothing", "the method text is empty"},
        {"int8 +", "a step is missing beside a '+'"},
        {"+ int8", "a step is missing beside a '+'"},
        {"int8 + + w8", "a step is missing beside a '+'"},
        {"int9", "step 'int9': int takes 2 to 8 bits"},
        {"w17", "step 'w17': w takes 1 to 16 bits"},
        {"w", "'w' is not a method; the methods are int8, w8, kmeans4, levels4, ternary,"},
        {"int8x", "'int8x' is not a method"},
        {"kmeans9", "step 'kmeans9': kmeans takes 1 to 8 bits"},
        {"int8:act=foo", "step 'int8:act=foo': act=foo is not one of minmax|ema|percentile|mse"},
        {"int8:foo=1", "step 'int8:foo=1': option 'foo' is unknown; the options are act, perc"},
        {"int8:act=", "step 'int8:act=': option 'act' has no value; write act=minmax|ema"},
        {"int8:foo", "step 'int8:foo': act=foo is not one of minmax|ema|percentile|mse"},
        {"int8:kl,act=mse", "option 'act' is given twice"},
        {"int8:", NULL},
        {"int8:act=mse,act=kl", "option 'act' is given twice"},
        {"int8:percentile=101", "percentile=101 is not a number from 50.001 to 100"},
        {"int8:percentile=9x", "percentile=9x is not a number"},
        {"int8:percentile=nan", "percentile=nan is not a number"},
        {"w4:group=1.5", "group=1.5 is not a whole number from 0 to"},
        {"equalize:x=1", "option 'x' is unknown; the options are none"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fb_recipe r;
        fb_status status = fb_recipe_parse(bad[i].text, &r);
        if (!bad[i].says) {
            assert_int_equal(status, FB_OK);
            fb_recipe_free(&r);
            continue;
        }
        assert_int_equal(status, FB_E_ARG);
        assert_non_null(strstr(fb_error(), bad[i].says));
        assert_null(r.arena);
    }
}

/* A method that trains stands last, and is not for fb_compress. */
static void methods_that_train(void **state)
{
    (void)state;
    fb_recipe r;
    fb_method_info info;
    uint32_t seen = 0;
    assert_int_equal(fb_recipe_parse("prune:hist + equalize + slq:4,steps=3", &r), FB_OK);
    assert_ptr_equal(r.training, &r.steps[2]);
    assert_ptr_equal(r.training->method, &fb_method_slq);
    assert_true(r.training->option[0].number == 4);
    assert_string_equal(r.before, "prune:hist + equalize");
    fb_recipe_free(&r);
    assert_int_equal(fb_recipe_parse("ttq", &r), FB_OK);
    assert_non_null(r.training);
    assert_string_equal(r.before, "");
    assert_false(r.needs_data);
    fb_recipe_free(&r);
    assert_int_equal(fb_recipe_parse("int8 + w4", &r), FB_OK);
    assert_null(r.training);
    assert_string_equal(r.before, "int8 + w4");
    fb_recipe_free(&r);
    assert_int_equal(fb_recipe_parse("slq + int8", &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "step 'slq' trains the network, so it must be the last"));
    assert_int_equal(fb_recipe_parse("slq:9", &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "bits=9 is not a whole number from 2 to 8"));

    fb_compress_options options;
    fb_model *m, *out;
    assert_int_equal(fb_model_create(&m), FB_OK);
    fb_compress_options_default(&options);
    options.method = "equalize + mlq:bits=2,values=3";
    assert_int_equal(fb_compress(m, &options, &out), FB_E_ARG);
    assert_string_equal(fb_error(), "step 'mlq:bits=2,values=3' trains the network: 'fewbit tune' "
                                    "takes it, with labelled images");
    assert_null(out);
    fb_model_close(&m);
    for (uint32_t i = 0; i < fb_n_methods(); i++) {
        assert_int_equal(fb_method_at(i, &info), FB_OK);
        seen += info.trains;
        assert_true(info.trains == !fb_method_get(i)->apply);
    }
    assert_int_equal(seen, 6);
}

static void globs(void **state)
{
    (void)state;
    assert_true(fb_glob("conv*", "conv1/x"));
    assert_true(fb_glob("a|b?d|*end", "the end"));
    assert_true(fb_glob("a|b?d", "bcd"));
    assert_true(fb_glob("*a*b*", "xxaxxbxx"));
    assert_false(fb_glob("a|b?d", "bd"));
    assert_false(fb_glob("", "x"));
    assert_false(fb_glob("conv", "conv1"));
    assert_true(fb_glob("*", ""));
}

static void methods_describe_themselves(void **state)
{
    (void)state;
    fb_method_info info;
    assert_true(fb_n_methods() >= 5);
    for (uint32_t i = 0; i < fb_n_methods(); i++) {
        assert_int_equal(fb_method_at(i, &info), FB_OK);
        assert_true(strlen(info.name) > 0 && strlen(info.summary) > 10);
    }
    assert_int_equal(fb_method_at(0, &info), FB_OK);
    assert_non_null(strstr(info.options, "act=mse  (minmax|ema|"));
    assert_int_equal(fb_method_at(fb_n_methods(), &info), FB_E_ARG);
}

#ifndef FB_SOURCE_DIR
#define FB_SOURCE_DIR "."
#endif

static void the_recipes_that_ship(void **state)
{
    (void)state;
    DIR *dir = opendir(FB_SOURCE_DIR "/recipes");
    int seen = 0;
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char path[1024], text[2048];
        fb_recipe r;
        if (!strstr(e->d_name, ".txt"))
            continue;
        (void)snprintf(path, sizeof path, FB_SOURCE_DIR "/recipes/%s", e->d_name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        (void)fclose(f);
        if (fb_recipe_parse(text, &r) != FB_OK)
            fail_msg("%s: %s", e->d_name, fb_error());
        assert_true(r.n_steps >= 1);
        fb_recipe_free(&r);
        seen++;
    }
    (void)closedir(dir);
    assert_true(seen >= 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_is_parsed),
        cmocka_unit_test(lines_and_comments),
        cmocka_unit_test(bad_text_is_explained),
        cmocka_unit_test(methods_that_train),
        cmocka_unit_test(globs),
        cmocka_unit_test(methods_describe_themselves),
        cmocka_unit_test(the_recipes_that_ship),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
