/* The diagnosis of compressed networks: disasters planted in copies of a network that knows
 * colours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "measure/why.h"
#include "unit/why_net.h"

static const char *spec;
static const char prep[] = "tensorflow,resize=0,size=0";
static fb_model *net;

static int start(void **state)
{
    (void)state;
    int labels[WHY_CLASSES];
    for (int i = 0; i < WHY_CLASSES; i++)
        labels[i] = i;
    spec = why_write(labels);
    net = why_build();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fb_model_close(&net);
    why_unlink();
    return 0;
}

static fb_model *compress(const char *method, uint64_t images)
{
    fb_data *data;
    fb_model *m;
    fb_data_options o = {.shape = {WHY_SIDE, WHY_SIDE, 3, false}, .limit = images};
    net_ok(fb_prep_parse(prep, &o.prep));
    net_ok(fb_data_open(spec, &o, &data));
    net_ok(net_compress(net, method, data, 1, false, &m));
    fb_data_close(&data);
    return m;
}

static void a_good_file(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = compress("int8", 100);
    net_ok(why_ask(net, m, spec, prep, 1, &r));
    assert_int_equal(r.n_findings, 0);
    assert_true(r.small_top1 == r.top1 && r.agreement == 100);
    fb_why_report_free(&r);
    fb_model_close(&m);
}

/* A layer whose codes are all 0. */
static void blank(fb_model *m, const char *weight)
{
    static const uint8_t zeros[27 * 6];
    int32_t w = net_tensor(m, weight);
    fb_encoding e = m->tensors[w].enc;
    assert_true(m->tensors[w].data_bytes <= sizeof zeros && e.kind == FB_ENC_AFFINE);
    net_ok(fb_model_set_payload(m, w, &e, zeros, m->tensors[w].data_bytes));
}

static void one_layer_loses_it(void **state)
{
    (void)state;
    fb_why_report a, b;
    fb_model *m = compress("int8", 100);
    blank(m, "conv0.weight");
    net_ok(why_ask(net, m, spec, prep, 1, &a));
    const fb_why_finding *f = why_found(&a, "one-layer");
    assert_true(f && !f->hint && strcmp(f->layer, "conv0") == 0);
    assert_true(f == a.findings && f->points > 50 && why_number(f, "best_agreement") > 90);
    assert_true(a.agreement < 20 && a.small_top1 < 20 && a.top1 == 100);
    assert_non_null(strstr(f->advice, "exclude=conv0"));
    net_ok(why_ask(net, m, spec, prep, 2, &b));
    char *x = why_story(&a), *y = why_story(&b);
    assert_string_equal(x, y);
    free(x);
    free(y);
    fb_why_report_free(&a);
    fb_why_report_free(&b);
    fb_model_close(&m);
}

/* A range that ends far below what the layer gives. */
static void a_layer_saturates(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = compress("int8", 100);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        if (strcmp(n->name, "conv0") == 0)
            net_ok(fb_model_set_activation(m, n->out[0], 8, false, 0.001f, 0));
    }
    net_ok(why_ask(net, m, spec, prep, 1, &r));
    const fb_why_finding *f = why_found(&r, "saturated");
    assert_true(f && strcmp(f->layer, "conv0") == 0 && why_number(f, "saturated") > 20);
    assert_true(why_number(f, "best_agreement") > why_number(f, "agreement") + 30);
    fb_why_report_free(&r);
    fb_model_close(&m);
}

/* Both layers are blank: none of them alone brings anything back, all weights do. */
static void loss_without_one_culprit(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *m = compress("int8", 100);
    blank(m, "conv0.weight");
    blank(m, "fc.weight");
    net_ok(why_ask(net, m, spec, prep, 1, &r));
    const fb_why_finding *f = why_found(&r, "spread");
    assert_true(f && f == r.findings && f->points > 80);
    assert_true(why_number(f, "weights_agreement") > 95 && why_number(f, "outputs_agreement") < 20);
    assert_non_null(strstr(f->advice, "give all weights more bits"));
    fb_why_report_free(&r);
    fb_model_close(&m);
}

/* Pictures differ in what they need: a third of them is dark. */
static void few_images(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *whole = net, *m;
    net = why_build();
    memset(why_data(net, "conv0.weight") + 9, 0, 9 * sizeof(float));
    for (int c = 0; c < 3; c++)
        why_data(net, "conv0.bias")[c] = 1;
    m = compress("int8:act=minmax", 1);
    assert_int_equal(atoi(fb_model_note(m, "data.images")), 1);
    net_ok(why_ask(net, m, spec, prep, 1, &r));
    const fb_why_finding *f = why_found(&r, "few-images");
    assert_true(f && why_number(f, "images") == 1);
    assert_true(why_number(f, "shortfall") > 15 && why_number(f, "shortfall") < 60);
    fb_why_report_free(&r);
    fb_model_close(&m);
    fb_model_close(&net);
    net = whole;
}

static void another_network(void **state)
{
    (void)state;
    fb_why_report r;
    fb_model *other = net_build(false); /* takes other images */
    assert_int_equal(why_ask(net, other, spec, prep, 1, &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "takes samples of 12x12x3"));
    assert_true(r.n_findings == 0 && !r.memory);
    fb_model_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file),       cmocka_unit_test(one_layer_loses_it),
        cmocka_unit_test(a_layer_saturates), cmocka_unit_test(loss_without_one_culprit),
        cmocka_unit_test(few_images),        cmocka_unit_test(another_network),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
