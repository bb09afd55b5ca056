/* The diagnosis of files that the importer refuses. */
#include "fewbit/why.h"
#include "unit/test_import_util.h"

static void test_training_mode(void **state)
{
    net n;
    fb_why_report r;
    (void)state;
    conv_bn_relu(&n);
    n.opset.version = 14;
    net_int(n.nodes[1], "training_mode", 1);
    refused(&n, FB_E_UNSUPPORTED, "training mode");
    assert_int_equal(fb_why_refused(&r), FB_OK);
    assert_int_equal(r.n_findings, 1);
    assert_string_equal(r.findings[0].kind, "training-mode");
    assert_true(!r.findings[0].hint && r.findings[0].numbers[0].value == 1);
    assert_non_null(strstr(r.findings[0].what, "bn"));
    fb_why_report_free(&r);
}

static void test_something_else(void **state)
{
    net n;
    fb_why_report r;
    (void)state;
    conv_bn_relu(&n);
    net_node(&n, "Nonsense", "x", "out", "more");
    refused(&n, FB_E_UNSUPPORTED, "Nonsense");
    assert_int_equal(fb_why_refused(&r), FB_OK);
    assert_int_equal(r.n_findings, 0);
    fb_why_report_free(&r);
    fb_model_close(&(fb_model *){import((conv_bn_relu(&n), &n))}); /* a success clears the list */
    assert_int_equal(fb_why_refused(&r), FB_OK);
    assert_int_equal(r.n_findings, 0);
    fb_why_report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_mode),
        cmocka_unit_test(test_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
