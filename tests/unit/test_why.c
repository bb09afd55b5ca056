/* The diagnosis: disasters planted in a network that knows colours, and in its data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "measure/why.h"
#include "unit/why_net.h"

static int same_labels[WHY_CLASSES];

static int start(void **state)
{
    (void)state;
    for (int i = 0; i < WHY_CLASSES; i++)
        same_labels[i] = i;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    why_unlink();
    return 0;
}

static void chances(void **state)
{
    (void)state;
    assert_true(fabs(fb_binomial_tail(10, 9, 0.5) - 11.0 / 1024) < 1e-12);
    assert_true(fb_binomial_tail(10, 0, 0.5) == 1);
    assert_true(fabs(fb_binomial_tail(3, 3, 0.1) - 0.001) < 1e-12);
    assert_true(fabs(fb_binomial_tail(200, 1, 0.001) - (1 - pow(0.999, 200))) < 1e-9);
    assert_true(fabs(fb_sign_test(10, 0, 1) - 1.0 / 1024) < 1e-12);
    assert_true(fabs(fb_sign_test(10, 0, 5) - 5.0 / 1024) < 1e-12);
    assert_true(fb_sign_test(0, 0, 3) == 1 && fb_sign_test(2, 50, 1) == 1);
}

static void nothing_is_wrong(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = why_build();
    net_ok(why_ask(m, NULL, why_write(same_labels), "tensorflow,resize=0,size=0", 1, &r));
    assert_int_equal(r.n_findings, 0);
    assert_true(r.images == 200 && r.labelled && r.top1 == 100 && isnan(r.agreement));
    assert_true(r.n_looks == 3 && r.n_variants > 9 && r.n_layers == 2);
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void wrong_preprocessing(void **state)
{
    (void)state;
    static const char *const wrong[] = {"none,scale=255", "none", "cifar10", "none,order=bgr",
                                        "tensorflow,resize=0,size=0,order=bgr"};
    fb_model *m = why_build();
    const char *spec = why_write(same_labels);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fb_why_report r;
        net_ok(why_ask(m, NULL, spec, wrong[i], 1, &r));
        const fb_why_finding *f = why_found(&r, "prep");
        assert_non_null(f);
        assert_true(f == r.findings && !f->hint && f->points > 20);
        assert_string_equal(f->advice, "give --prep tensorflow,resize=0,size=0");
        assert_true(why_number(f, "best_top1") == 100 && why_number(f, "p") < 1e-6);
        assert_true(why_number(f, "lost") == 0);
        assert_true(fabs(why_number(f, "won") - 2 * f->points) < 1e-9);
        assert_null(why_found(&r, "chance"));
        fb_why_report_free(&r);
    }
    fb_model_close(&m);
}

static void unknown_preprocessing(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = why_build();
    net_ok(why_ask(m, NULL, why_write(same_labels), NULL, 1, &r));
    assert_non_null(why_found(&r, "prep"));
    assert_non_null(strstr(r.findings[0].advice, "--prep tensorflow"));
    assert_true(r.top1 == 100);
    fb_why_report_free(&r);
    assert_int_equal(why_ask(m, NULL, why_write(NULL), NULL, 1, &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "without labels"));
    net_ok(why_ask(m, NULL, why_write(NULL), "tensorflow,resize=0,size=0", 1, &r));
    assert_true(!r.labelled && isnan(r.top1) && r.n_findings == r.n_hints);
    fb_why_report_free(&r);
    assert_int_equal(why_ask(m, NULL, "/nowhere", "none", 1, &r), FB_E_IO);
    fb_model_close(&m);
}

/* Pixels that were divided by 255 before they were stored. */
static void values_that_are_no_pixels(void **state)
{
    (void)state;
    char x[80], shape[64];
    fb_why_report r;
    fb_model *m = why_build();
    const char *spec = why_write(same_labels);
    (void)snprintf(x, sizeof x, "/tmp/fewbit_why_x_%d.npy", (int)getpid());
    (void)snprintf(shape, sizeof shape, "%d, %d, %d, 3", WHY_IMAGES, WHY_SIDE, WHY_SIDE);
    FILE *f = fopen(x, "wb");
    assert_non_null(f);
    why_npy(f, "<f4", shape);
    for (int i = 0; i < WHY_IMAGES * WHY_SIDE * WHY_SIDE * 3; i++) {
        int label = why_class(i / (WHY_SIDE * WHY_SIDE * 3));
        float v = (float)why_pixel(label, i % 3) / 255;
        (void)fwrite(&v, sizeof v, 1, f);
    }
    assert_int_equal(fclose(f), 0);
    net_ok(why_ask(m, NULL, spec, "tensorflow,resize=0,size=0", 1, &r));
    const fb_why_finding *found = why_found(&r, "prep");
    assert_non_null(found);
    assert_non_null(strstr(found->advice, "tensorflow,resize=0,size=0,scale=0.5"));
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void labels_off_by_one(void **state)
{
    (void)state;
    int up[WHY_CLASSES];
    fb_why_report r;
    fb_model *m = why_build();
    for (int i = 0; i < WHY_CLASSES; i++)
        up[i] = i + 1;
    /* both at once: the preprocessing must not hide the labels, nor they it */
    net_ok(why_ask(m, NULL, why_write(up), "none,scale=255", 1, &r));
    const fb_why_finding *f = why_found(&r, "labels-shifted");
    assert_true(f && f->points == 100 && why_number(f, "shift") == -1);
    assert_true(f == r.findings);
    assert_non_null(why_found(&r, "prep"));
    f = why_found(&r, "labels-range"); /* 27 is one too many */
    assert_true(f && why_number(f, "largest_label") == 27 && f->points > 3 && f->points < 5);
    assert_null(why_found(&r, "labels-mixed"));
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void labels_in_another_order(void **state)
{
    (void)state;
    int swapped[WHY_CLASSES];
    fb_why_report r;
    fb_model *m = why_build();
    memcpy(swapped, same_labels, sizeof swapped);
    swapped[4] = 11;
    swapped[11] = 20;
    swapped[20] = 4;
    net_ok(why_ask(m, NULL, why_write(swapped), "tensorflow,resize=0,size=0", 1, &r));
    const fb_why_finding *f = why_found(&r, "labels-mixed");
    assert_true(f && why_number(f, "moved") == 3 && why_number(f, "best_top1") == 100);
    assert_non_null(strstr(f->what, "4 is 20, 11 is 4, 20 is 11"));
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void labels_of_something_else(void **state)
{
    (void)state;
    int one[WHY_CLASSES] = {0}; /* every picture is said to be of class 0 or 1 */
    fb_why_report r;
    fb_model *m = why_build();
    for (int i = 0; i < WHY_CLASSES; i++)
        one[i] = i % 2;
    net_ok(why_ask(m, NULL, why_write(one), "tensorflow,resize=0,size=0", 1, &r));
    const fb_why_finding *f = why_found(&r, "chance");
    assert_true(f && why_number(f, "top1") < 10 && why_number(f, "same_answer") < 10);
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void dead_channels(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = why_build();
    const char *spec = why_write(same_labels);
    why_data(m, "conv0.bias")[1] = -100; /* one of six dies behind its ReLU */
    net_ok(why_ask(m, NULL, spec, "tensorflow,resize=0,size=0", 1, &r));
    const fb_why_finding *f = why_found(&r, "dead");
    assert_true(f && f->hint && strcmp(f->layer, "conv0") == 0);
    assert_true(why_number(f, "dead") == 1 && why_number(f, "zero") == 1);
    assert_true(fabs(why_number(f, "weights_percent") - 100 * 3.0 / 180) < 1e-9);
    assert_true(r.layers[0].dead == 1 && r.layers[1].dead == 0);
    fb_why_report_free(&r);
    for (int c = 0; c < 6; c++) /* and all of them, at a value that is not 0 */
        why_data(m, "conv0.bias")[c] = 1000;
    memset(why_data(m, "conv0.weight"), 0, 18 * sizeof(float));
    net_ok(why_ask(m, NULL, spec, "tensorflow,resize=0,size=0", 1, &r));
    f = why_found(&r, "dead");
    assert_true(f && !f->hint && strstr(f->what, "gives the same for every image"));
    assert_true(r.layers[0].dead == 6 && r.layers[0].zero == 0);
    assert_non_null(why_found(&r, "chance"));
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void values_that_are_not_finite(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = why_build();
    for (int c = 0; c < 3; c++)
        why_data(m, "conv0.weight")[c] = 3e38f;
    why_data(m, "fc.weight")[0] = 3e38f;
    net_ok(why_ask(m, NULL, why_write(same_labels), "none", 1, &r));
    const fb_why_finding *f = why_found(&r, "not-finite");
    assert_true(f && strcmp(f->layer, "conv0") == 0 && why_number(f, "values") > 0);
    fb_why_report_free(&r);
    fb_model_close(&m);
}

static void the_same_story_every_time(void **state)
{
    (void)state;
    fb_why_report a, b;
    fb_model *m = why_build();
    const char *spec = why_write(same_labels);
    net_ok(why_ask(m, NULL, spec, "none,scale=255", 1, &a));
    net_ok(why_ask(m, NULL, spec, "none,scale=255", 3, &b));
    char *x = why_story(&a), *y = why_story(&b);
    assert_string_equal(x, y);
    free(x);
    free(y);
    fb_why_report_free(&a);
    fb_why_report_free(&b);
    fb_model_close(&m);
}

static bool stop_at_once(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    return --*(int *)user > 0;
}

static void interruption(void **state)
{
    (void)state;
    fb_why_report r;
    fb_why_options o;
    fb_prep p;
    fb_model *m = why_build();
    net_ok(fb_prep_parse("none", &p));
    fb_why_options_default(&o);
    o.data = why_write(same_labels);
    o.prep = &p;
    o.measure.progress = stop_at_once;
    for (int after = 1; after < 200; after += 40) {
        int left = after;
        o.measure.progress_user = &left;
        assert_int_equal(fb_why(m, &o, &r), FB_E_INTERRUPTED);
        assert_true(r.n_findings == 0 && !r.memory);
    }
    o.data = NULL;
    assert_int_equal(fb_why(m, &o, &r), FB_E_ARG);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chances),
        cmocka_unit_test(nothing_is_wrong),
        cmocka_unit_test(wrong_preprocessing),
        cmocka_unit_test(unknown_preprocessing),
        cmocka_unit_test(values_that_are_no_pixels),
        cmocka_unit_test(labels_off_by_one),
        cmocka_unit_test(labels_in_another_order),
        cmocka_unit_test(labels_of_something_else),
        cmocka_unit_test(dead_channels),
        cmocka_unit_test(values_that_are_not_finite),
        cmocka_unit_test(the_same_story_every_time),
        cmocka_unit_test(interruption),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
