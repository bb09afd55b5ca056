/* Candidates are judged against the float network; trials of single layers are kept and continued;
 * data of another shape is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compress/judge.h"
#include "fewbit/search.h"
#include "unit/compress_net.h"

static const char *images;
static fb_data *data;
static fb_model *net;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    data = net_data(images);
    net = net_build(false);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fb_data_close(&data);
    fb_model_close(&net);
    return unlink(images);
}

static void judge_knows_the_reference(void **state)
{
    (void)state;
    fb_job job = {.reference = net, .data = data, .n_threads = 2, .cpu = fb_cpu_usable()};
    fb_judge judge;
    fb_verdict own, same, other;
    fb_model *broken;
    net_ok(fb_judge_open(&job, 100, &judge));
    assert_int_equal(judge.classes, 5);
    assert_false(judge.labelled);
    net_ok(fb_judge_reference(&judge, &own));
    assert_int_equal(own.images, NET_IMAGES);
    assert_true(own.correct == 1 && own.loss == 0);
    net_ok(fb_judge_run(&judge, net, &same));
    assert_true(same.correct == 1 && same.loss < 1e-9);

    /* one logit moved by 50: KL is known in closed form */
    net_ok(fb_model_clone(net, true, &broken));
    float *bias = (float *)(uintptr_t)broken->tensors[net_tensor(broken, "fc.bias")].data;
    bias[3] += 50;
    net_ok(fb_judge_run(&judge, broken, &other));
    double loss = 0;
    for (uint64_t i = 0; i < NET_IMAGES; i++) {
        const float *w = judge.wanted + 5 * i;
        double sum = 0, kl = 0;
        for (int k = 0; k < 5; k++)
            sum += exp((double)w[k] + (k == 3 ? 50 : 0));
        for (int k = 0; k < 5; k++)
            kl += exp((double)w[k]) * (log(sum) - (k == 3 ? 50 : 0));
        loss += kl / NET_IMAGES;
    }
    assert_true(fabs(other.loss - loss) < 1e-4 * loss);
    fb_model_close(&broken);
    fb_judge_close(&judge);
}

static bool stop_at_five(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    (void)total;
    return strcmp(what, "sensitivity") != 0 || done < 5;
}

static void trials_go_on_where_they_stopped(void **state)
{
    (void)state;
    const uint32_t widths[3] = {8, 4, 2};
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/fewbit_sense_%d.txt", (int)getpid());
    fb_sensitivity_options o = {.data = data,
                                .images = 20,
                                .widths = widths,
                                .n_widths = 3,
                                .n_threads = 2,
                                .cpu = fb_cpu_usable()};
    fb_sensitivity whole, part;
    net_ok(fb_sensitivity_run(net, &o, &whole));
    assert_int_equal(whole.images, 20);
    /* five layers; the first reads the network's own input */
    assert_int_equal(whole.n_rows, 3 * (5 + 4));
    for (uint32_t i = 0; i < whole.n_rows; i += 3) {
        assert_true(whole.rows[i].bits == 8 && whole.rows[i + 2].bits == 2);
        assert_true(whole.rows[i].loss >= 0 && whole.rows[i].loss < whole.rows[i + 2].loss);
    }

    o.state = path;
    o.n_threads = 1;
    o.progress = stop_at_five;
    assert_int_equal(fb_sensitivity_run(net, &o, &part), FB_E_INTERRUPTED);
    assert_null(part.rows);
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    (void)fputs("7 0 4 0x1p", f); /* a line that a crash cut short */
    (void)fclose(f);
    o.progress = NULL;
    net_ok(fb_sensitivity_run(net, &o, &part));
    assert_int_equal(part.n_found, 5);
    assert_int_equal(part.n_rows, whole.n_rows);
    for (uint32_t i = 0; i < whole.n_rows; i++) {
        assert_true(part.rows[i].loss == whole.rows[i].loss);
        assert_true(part.rows[i].correct == whole.rows[i].correct);
    }
    fb_sensitivity_free(&part);
    net_ok(fb_sensitivity_run(net, &o, &part));
    assert_int_equal(part.n_found, part.n_rows);
    fb_sensitivity_free(&part);

    o.images = 19;
    assert_int_equal(fb_sensitivity_run(net, &o, &part), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "another model"));
    f = fopen(path, "wb");
    assert_non_null(f);
    (void)fputs("my thesis\n", f);
    (void)fclose(f);
    assert_int_equal(fb_sensitivity_run(net, &o, &part), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "not a file of sensitivities"));
    fb_sensitivity_free(&whole);
    assert_int_equal(unlink(path), 0);
}

static void data_of_another_shape_is_refused(void **state)
{
    (void)state;
    fb_sample_shape shape;
    fb_data_shape(data, &shape);
    assert_true(shape.height == 12 && shape.width == 12 && shape.channels == 3);
    net_ok(fb_data_fits(data, &shape));
    shape.width = 13;
    assert_int_equal(fb_data_fits(data, &shape), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "12x12x3, the model takes 12x13x3"));

    fb_model *m;
    int32_t x, y;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "x", FB_F32, 4, sample_dims(-1, 16, 16, 3), &x));
    y = net_conv(m, "conv", x, 4, 3, 1, (fb_act){0});
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    const fb_model *models[1] = {m};
    fb_compress_options o;
    fb_eval_result result;
    fb_diff_report diff;
    fb_model *out;
    fb_compress_options_default(&o);
    o.data = data;
    assert_int_equal(fb_compress(m, &o, &out), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "12x12x3"));
    assert_int_equal(fb_eval(models, 1, data, NULL, &result), FB_E_ARG);
    fb_measure_options how;
    fb_measure_options_default(&how);
    assert_int_equal(fb_diff(m, m, data, 20, &how, &diff), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "16x16x3"));
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judge_knows_the_reference),
        cmocka_unit_test(trials_go_on_where_they_stopped),
        cmocka_unit_test(data_of_another_shape_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
