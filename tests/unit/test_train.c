/* Nets as a whole, and runs of fb_train: in and out of models, the same bytes over interruptions.
 */
#include "train_net.h"

#include "fewbit/measure.h"
#include "fewbit/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { IMAGES = 96, SIDE = 8, CLASSES = 3 };

static char folder[64];

static const char *in_folder(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

/* Three classes of 8x8 grey images: bright on the left, on the right, or in the middle. */
static void write_data(void)
{
    char path[128];
    uint64_t random = 1;
    FILE *x = fopen(in_folder("t-images-idx3-ubyte", path), "wb");
    FILE *y = fopen(in_folder("t-labels-idx1-ubyte", path), "wb");
    assert_true(x && y);
    const uint8_t head[] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    const uint8_t label_head[] = {0, 0, 8, 1, 0, 0, 0, IMAGES};
    fwrite(head, 1, sizeof head, x);
    fwrite(label_head, 1, sizeof label_head, y);
    for (int i = 0; i < IMAGES; i++) {
        int label = i % CLASSES;
        fputc(label, y);
        for (int k = 0; k < SIDE * SIDE; k++) {
            int column = k % SIDE, third = column < 3 ? 0 : column > 4 ? 1 : 2;
            int value = (int)(fb_random_next(&random) % 100) + (third == label ? 100 : 0);
            fputc(value, x);
        }
    }
    fclose(x);
    fclose(y);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/fewbit-train.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    write_data();
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Every sort of layer with something to learn, a value of two readers, a clamp to fuse. */
static fb_model *small_model(void)
{
    maker k = make_start(4, (int64_t[]){-1, SIDE, SIDE, 1});
    const fb_attr_conv c3 = {.kh = 3,
                             .kw = 3,
                             .stride_h = 1,
                             .stride_w = 1,
                             .dil_h = 1,
                             .dil_w = 1,
                             .pad_t = 1,
                             .pad_l = 1,
                             .pad_b = 1,
                             .pad_r = 1,
                             .groups = 1};
    make_conv(&k, 8, &c3, false);
    make_norm(&k);
    make_unary(&k, FB_UNARY_RELU, 0, 0);
    int32_t skip = k.x;
    make_conv(&k, 8, &c3, true);
    make_norm(&k);
    make_binary(&k, FB_BINARY_ADD, k.x, skip);
    make_unary(&k, FB_UNARY_CLIP, 0, 6);
    make_pool_mean(&k);
    make_dense(&k, CLASSES, true);
    fb_attr softmax = {.softmax = {1, 2, 0}};
    make_node(&k, FB_OP_SOFTMAX, 1, &k.x, &softmax);
    return make_end(&k);
}

static size_t model_bytes(const fb_model *m, uint8_t **bytes)
{
    char path[128];
    OK(fb_model_save(m, in_folder("model", path)));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    *bytes = malloc(n);
    assert_int_equal(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

static void same_model(const fb_model *a, const fb_model *b, bool equal)
{
    uint8_t *x, *y;
    size_t n = model_bytes(a, &x), m = model_bytes(b, &y);
    assert_true((n == m && memcmp(x, y, n) == 0) == equal);
    free(x);
    free(y);
}

/* ---- nets ------------------------------------------------------------------------------------ */

static void fill_input(fb_net *net, uint64_t seed)
{
    size_t n;
    float *x = fb_net_input(net, &n);
    fb_random_fill(&seed, -1, 1, n, x);
}

/* Logits of the net in EVAL or MEASURE mode against a model run by the kernels that ship; the model
 * ends in a softmax. */
static void agrees(fb_net *net, fb_net_mode mode, const fb_model *m, uint32_t batch)
{
    fb_measure_options o;
    fb_predictor *p;
    size_t n_x, n;
    float scores[64], want[64];
    fb_measure_options_default(&o);
    OK(fb_predictor_create(m, &o, &p));
    fill_input(net, 11);
    OK(fb_predictor_run(p, batch, fb_net_input(net, &n_x), want));
    OK(fb_net_forward(net, mode, 0));
    const float *logits = fb_net_logits(net, &n);
    for (size_t i = 0; i < n; i += CLASSES) {
        double sum = 0;
        for (size_t k = 0; k < CLASSES; k++)
            sum += exp((double)logits[i + k]);
        for (size_t k = 0; k < CLASSES; k++) {
            scores[i + k] = (float)(exp((double)logits[i + k]) / sum);
            assert_true(fabsf(scores[i + k] - want[i + k]) < 1e-4f);
        }
    }
    fb_predictor_destroy(&p);
}

/* A model's batch norms, measured anew, change nothing; training then does, and what is written
 * computes what the net did. */
static void test_in_and_out(void **state)
{
    (void)state;
    const fb_net_options o = {.batch = 6, .n_threads = 1};
    fb_model *m = small_model(), *out;
    fb_net *net;
    OK(fb_net_create(m, &o, &net));
    assert_true(fb_net_has_norms(net));
    for (uint64_t i = 0; i < 4; i++) {
        fill_input(net, i);
        OK(fb_net_forward(net, FB_NET_MEASURE, 0));
    }
    agrees(net, FB_NET_MEASURE, m, 6);
    OK(fb_net_adopt(net));
    agrees(net, FB_NET_EVAL, m, 6);
    OK(fb_net_to_model(net, NULL, &out));
    agrees(net, FB_NET_EVAL, out, 6);
    /* conv, conv (with the norms), add (with the clamp), mean, dense, softmax; one relu is fused */
    assert_int_equal(fb_model_n_layers(out), 6);
    fb_model_close(&out);

    for (uint64_t i = 0; i < 5; i++) { /* running statistics and weights move */
        size_t n;
        fill_input(net, i);
        OK(fb_net_forward(net, FB_NET_TRAIN, i));
        (void)fb_net_logits(net, &n);
        for (size_t k = 0; k < n; k++)
            fb_net_logits_gradient(net)[k] = k % CLASSES ? 0.1f : -0.1f;
        OK(fb_net_backward(net));
        for (uint32_t k = 0; k < fb_net_n_params(net); k++) {
            fb_param *p = fb_net_param(net, k);
            for (size_t e = 0; p->g && e < p->n; e++)
                p->w[e] -= 0.1f * p->g[e];
        }
    }
    OK(fb_net_to_model(net, NULL, &out));
    agrees(net, FB_NET_EVAL, out, 6);
    same_model(m, out, false);
    fb_model_close(&out);
    fb_net_destroy(&net);
    fb_model_close(&m);
}

static void test_init(void **state)
{
    (void)state;
    fb_model *m;
    fb_net *a, *b;
    const fb_net_options o = {.batch = 2, .n_threads = 1};
    OK(fb_arch_create("resnet8", 10, &m));
    OK(fb_net_create(m, &o, &a));
    OK(fb_net_create(m, &o, &b));
    fb_net_init(a, 1);
    fb_net_init(b, 1);
    for (uint32_t i = 0; i < fb_net_n_params(a); i++) {
        const fb_param *p = fb_net_param(a, i), *q = fb_net_param(b, i);
        assert_memory_equal(p->w, q->w, p->n * sizeof *p->w);
        if (p->n < 4000 || !p->decay)
            continue;
        double sum = 0, sum2 = 0, n = (double)p->n;
        for (size_t k = 0; k < p->n; k++) {
            sum += (double)p->w[k];
            sum2 += (double)p->w[k] * (double)p->w[k];
        }
        double fan_in = n / (double)m->tensors[p->tensor].dims[0];
        assert_true(fabs(sum / n) < 0.05 * sqrt(2 / fan_in));
        assert_true(fabs(sum2 / n * fan_in / 2 - 1) < 0.1); /* variance 2 / fan in */
    }
    fb_net_init(b, 2);
    assert_memory_not_equal(fb_net_param(a, 0)->w, fb_net_param(b, 0)->w, 64);
    fb_net_destroy(&a);
    fb_net_destroy(&b);
    fb_model_close(&m);
}

/* Every architecture has a gradient for each parameter and its usual number of them. */
static void test_archs(void **state)
{
    (void)state;
    static const size_t params[] = {61706, 78042, 272474, 880362, 160042};
    for (uint32_t i = 0; i < fb_n_archs(); i++) {
        const fb_net_options o = {.batch = 2, .n_threads = 1};
        fb_model *m, *out;
        fb_net *net;
        size_t n, total = 0;
        OK(fb_arch_create(fb_arch_name(i), 10, &m));
        OK(fb_net_create(m, &o, &net));
        fb_net_init(net, 3);
        fill_input(net, 5);
        OK(fb_net_forward(net, FB_NET_TRAIN, 0));
        (void)fb_net_logits(net, &n);
        assert_int_equal(n, 20);
        for (size_t k = 0; k < n; k++)
            fb_net_logits_gradient(net)[k] = (float)(k % 3) - 1;
        OK(fb_net_backward(net));
        for (uint32_t k = 0; k < fb_net_n_params(net); k++) {
            const fb_param *p = fb_net_param(net, k);
            float most = 0;
            for (size_t e = 0; p->g && e < p->n; e++)
                most = fmaxf(most, fabsf(p->g[e]));
            if (p->g && !(most > 0))
                fail_msg("%s: '%s' has no gradient", fb_arch_name(i), p->name);
            total += p->g ? p->n : 0;
        }
        if (total != params[i])
            fail_msg("%s has %zu parameters", fb_arch_name(i), total);
        OK(fb_net_to_model(net, NULL, &out));
        fb_model_close(&out);
        fb_net_destroy(&net);
        fb_model_close(&m);
    }
    fb_model *m;
    assert_int_equal(fb_arch_create("resnet18", 10, &m), FB_E_ARG);
    assert_int_equal(fb_arch_create("lenet5", 1, &m), FB_E_ARG);
    assert_null(m);
}

/* ---- runs ------------------------------------------------------------------------------------ */

typedef struct bench {
    fb_model *m;
    fb_prep prep;
    fb_data *data;
    fb_train_options o;
    uint64_t stop_at; /* step, 0 = never */
} bench;

static bool stop_there(void *user, const fb_train_report *r)
{
    const bench *b = user;
    assert_true(r->steps == 24 && r->epochs == 4 && r->rate > 0);
    return r->step != b->stop_at;
}

static void bench_start(bench *b)
{
    char path[128];
    fb_data_options d = {.n_threads = 1};
    *b = (bench){.m = small_model()};
    OK(fb_prep_parse("none,scale=255,order=gray,mean=0.4,std=0.25", &b->prep));
    d.prep = b->prep;
    OK(fb_model_sample_shape(b->m, &d.shape));
    OK(fb_data_open(in_folder("t-images-idx3-ubyte", path), &d, &b->data));
    fb_train_options_default(&b->o);
    b->o.data = b->data;
    b->o.prep = &b->prep;
    b->o.init = true;
    b->o.epochs = 4;
    b->o.batch = 16;
    b->o.augment = "crop=1";
    b->o.rate = 0.05;
    b->o.dropout = 0.1;
    b->o.ema = 0.8;
    b->o.n_threads = 1;
    b->o.watch = stop_there;
    b->o.watch_user = b;
}

static void bench_stop(bench *b)
{
    fb_data_close(&b->data);
    fb_model_close(&b->m);
}

static fb_model *train(bench *b, fb_train_result *r)
{
    fb_model *out;
    fb_status status = fb_train(b->m, &b->o, r, &out);
    if (status != FB_OK)
        fail_msg("%s", fb_error());
    return out;
}

static void test_learns(void **state)
{
    (void)state;
    bench b;
    fb_train_result r;
    char path[128], line[256];
    bench_start(&b);
    b.o.val = b.data;
    b.o.log = in_folder("log.csv", path);
    fb_model *out = train(&b, &r);
    assert_true(r.finished && r.resumed == 0 && r.last.epoch == 4 && r.last.step == 24);
    assert_true(r.last.val_top1 > 95);
    assert_non_null(fb_model_note(out, "train"));
    assert_string_equal(fb_model_prep(out)->name, "none");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int i = 0; i < 5; i++)
        assert_non_null(fgets(line, sizeof line, f));
    assert_memory_equal(line, "4,24,", 5);
    fclose(f);

    /* from its own weights, with itself as the teacher, it is as good from the start */
    b.o.init = false;
    b.o.teacher = out;
    b.o.rate = 1e-4;
    b.o.ema = 0;
    b.o.log = NULL;
    fb_model *second;
    fb_train_result r2;
    OK(fb_train(out, &b.o, &r2, &second));
    assert_true(r2.last.val_top1 >= r.last.val_top1 - 2);
    fb_model_close(&second);
    fb_model_close(&out);
    bench_stop(&b);
}

/* Whatever a run is stopped by, wherever, it ends with the same bytes. */
static void test_resume(void **state)
{
    (void)state;
    static const uint64_t stops[] = {1, 5, 6, 7, 17, 24};
    static const char *const optimizers[] = {"nesterov", "adam"};
    bench b;
    fb_train_result r;
    char path[128];
    bench_start(&b);
    for (int i = 0; i < 2; i++) {
        b.o.optimizer = optimizers[i];
        b.o.rate = i ? 0.002 : 0.05;
        b.o.state = NULL;
        b.stop_at = 0;
        fb_model *whole = train(&b, &r), *out;
        b.o.state = in_folder("state", path);
        for (size_t k = 0; k < sizeof stops / sizeof *stops; k++) {
            b.stop_at = stops[k];
            assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_INTERRUPTED);
            assert_null(out);
            b.stop_at = 0;
            out = train(&b, &r);
            assert_int_equal(r.resumed, stops[k]);
            same_model(whole, out, true);
            fb_model_close(&out);
            remove(path);
        }
        /* in slices of no time, a state after every step */
        b.o.time_limit = 1e-9;
        b.o.state_seconds = 0;
        for (int calls = 1;; calls++) {
            out = train(&b, &r);
            if (r.finished)
                break;
            assert_true(calls < 30 && r.last.step <= 24);
            fb_model_close(&out);
        }
        same_model(whole, out, true);
        fb_model_close(&out);
        remove(path);
        b.o.time_limit = 0;
        b.o.seed++;
        out = train(&b, &r); /* another seed, another network */
        same_model(whole, out, false);
        fb_model_close(&out);
        fb_model_close(&whole);
        remove(path);
    }
    bench_stop(&b);
}

static void test_refused(void **state)
{
    (void)state;
    bench b;
    fb_train_result r;
    fb_model *out;
    char path[128];
    bench_start(&b);
    b.o.state = in_folder("state", path);
    b.stop_at = 3;
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_INTERRUPTED);
    b.stop_at = 0;
    b.o.rate = 0.06;
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "is the state of another run"));
    b.o.rate = 0.05;
    FILE *f = fopen(path, "r+b");
    fseek(f, 200, SEEK_SET);
    fputc(77, f);
    fclose(f);
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "damaged"));
    remove(path);
    b.o.state = NULL;
    b.o.batch = 97;
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_ARG);
    b.o.batch = 16;
    b.o.augment = "turn";
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_ARG);
    b.o.augment = "jitter=0.1"; /* one colour */
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_ARG);
    b.o.augment = "none";
    b.o.rate = 1000;
    b.o.weight_decay = 1;
    b.o.schedule = "constant";
    b.o.ema = 0;
    assert_int_equal(fb_train(b.m, &b.o, &r, &out), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "no longer finite"));
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_and_out), cmocka_unit_test(test_init),
        cmocka_unit_test(test_archs),      cmocka_unit_test(test_learns),
        cmocka_unit_test(test_resume),     cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
