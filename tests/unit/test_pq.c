/* The step pq: k-means of vectors, planted codebooks, sizes, options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/compress_net.h"

#include "compress/product_fit.h"
#include "compress/vectors.h"
#include "format/format.h"

static const char *images;

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    return unlink(images);
}

/* ---- vectors -------------------------------------------------------------------------------- */

enum { N = 300, D = 3, K = 7 };

static double distance(const fb_vectors *x, size_t i, const float *word)
{
    double sum = 0;
    for (size_t j = 0; j < x->d; j++) {
        double e = (double)x->v[i * x->d + j] - (double)word[j];
        sum += (x->h ? (double)x->h[i * x->d + j] : 1.0) * e * e;
    }
    return sum;
}

/* Every vector at its nearest codeword; every codeword the mean of its vectors. */
static void assignment_and_means(void **state)
{
    (void)state;
    float v[N * D], h[N * D], word[K * D], error[N];
    uint16_t index[N];
    uint32_t uses[K];
    net_state = 5;
    for (int i = 0; i < N * D; i++) {
        v[i] = net_random();
        h[i] = 0.1f + fabsf(net_random());
    }
    for (int weighted = 0; weighted < 2; weighted++) {
        fb_vectors x = {N, D, v, weighted ? h : NULL};
        double total, sum = 0;
        net_ok(fb_vectors_seed(&x, K, 3, word));
        net_ok(fb_vectors_assign(&x, word, K, NULL, index, error, &total));
        for (size_t i = 0; i < N; i++) {
            double own = distance(&x, i, word + index[i] * D);
            for (size_t k = 0; k < K; k++)
                assert_true(own <= distance(&x, i, word + k * D) + 1e-6);
            assert_true(fabs(own - (double)error[i]) < 1e-6);
            sum += own;
        }
        assert_true(fabs(sum - total) < 1e-9);
        net_ok(fb_vectors_update(&x, index, K, NULL, word, uses));
        for (size_t k = 0; k < K; k++) {
            for (size_t j = 0; j < D; j++) {
                double a = 0, b = 0;
                for (size_t i = 0; i < N; i++) {
                    double g = weighted ? (double)h[i * D + j] : 1.0;
                    a += index[i] == k ? g * (double)v[i * D + j] : 0;
                    b += index[i] == k ? g : 0;
                }
                assert_true(fabs(a / b - (double)word[k * D + j]) < 1e-6);
            }
            assert_true(uses[k] > 0);
        }
    }
}

/* More stages, and more sweeps, are never worse. */
static void stages_lower_the_error(void **state)
{
    (void)state;
    float v[N * D], word[4][K * D];
    uint16_t index[4][N];
    double before = 1e30, total, start;
    net_state = 6;
    for (int i = 0; i < N * D; i++)
        v[i] = net_random();
    fb_vectors x = {N, D, v, NULL};
    for (size_t n = 1; n <= 4; n++) {
        fb_stages s = {.k = K, .n = n};
        for (size_t t = 0; t < n; t++) {
            s.word[t] = word[t];
            s.index[t] = index[t];
        }
        net_ok(fb_stages_fit(&x, &s, true, 0, 1, NULL, &start));
        for (int i = 0; i < 6; i++, start = total) {
            net_ok(fb_stages_fit(&x, &s, false, 1, 1, NULL, &total));
            assert_true(total <= start * (1 + 1e-9));
        }
        assert_true(total < before * 0.7);
        before = total;
        double sum = 0; /* the error is that of the sums of words */
        for (size_t i = 0; i < N; i++) {
            float value[D] = {0};
            for (size_t t = 0; t < n; t++) {
                for (size_t j = 0; j < D; j++)
                    value[j] += word[t][index[t][i] * D + j];
            }
            sum += distance(&x, i, value);
        }
        assert_true(fabs(sum - total) < 1e-5 * sum);
    }
}

/* ---- planted codebooks ---------------------------------------------------------------------- */

/* Fills a weight with words drawn from codebooks of its own, k for each subspace of d channels;
 * gain [ct] or NULL. */
static void plant(fb_model *m, const char *name, size_t d, size_t k, const float *gain)
{
    fb_tensor *t = &m->tensors[net_tensor(m, name)];
    float *w = (float *)(uintptr_t)t->data;
    size_t ct = (size_t)t->dims[0], c = (size_t)t->dims[t->rank - 1], books = (c + d - 1) / d;
    size_t rows = t->data_bytes / sizeof *w / c;
    float *word = malloc(books * k * d * sizeof *word);
    for (size_t i = 0; i < books * k * d; i++)
        word[i] = net_random() * 0.3f;
    for (size_t row = 0; row < rows; row++) {
        for (size_t j = 0; j < c; j += d) {
            uint64_t pick = (uint64_t)((double)(net_random() + 1) * 0x1p22);
            const float *from = word + (j / d * k + pick % k) * d;
            for (size_t i = 0; i < d && j + i < c; i++)
                w[row * c + j + i] = from[i] * (gain ? gain[row / (rows / ct)] : 1);
        }
    }
    free(word);
}

/* a: conv 3x3, 10 channels to 48; b: conv 1x1 in two groups, 24 channels of each to 32; fc. */
static fb_model *planted(size_t d, size_t k, const float *gain)
{
    const fb_act relu = {1, 0, INFINITY};
    fb_model *m;
    int32_t x, t, y;
    net_state = 88172645463325252u;
    net_ok(fb_model_create(&m));
    net_ok(fb_model_add_tensor(m, "image", FB_F32, 4, sample_dims(-1, 12, 12, 3), &x));
    t = net_conv(m, "first", x, 10, 1, 1, relu);
    t = net_conv(m, "a", t, 48, 3, 1, relu);
    t = net_conv(m, "b", t, 64, 1, 2, relu);
    fb_attr attr = {.reduce = {.kind = FB_REDUCE_MEAN, .axes = 6, .keep_dims = 1}};
    net_ok(sample_node(m, FB_OP_REDUCE, "mean", 1, &t, &attr, FB_F32, &y));
    attr = (fb_attr){.shape = {.rank = 2, .dims = {-1, 64}}};
    net_ok(sample_node(m, FB_OP_RESHAPE, "flatten", 1, &y, &attr, FB_F32, &t));
    int32_t w = net_weight(m, "fc.weight", 150, 0, 64, 2), b = net_bias(m, "fc.bias", 150);
    attr = (fb_attr){0};
    net_ok(sample_node(m, FB_OP_DENSE, "fc", 3, (int32_t[]){t, w, b}, &attr, FB_F32, &y));
    net_ok(fb_model_set_io(m, &x, 1, &y, 1));
    net_ok(fb_model_validate(m));
    plant(m, "a.weight", d, k, gain);
    plant(m, "b.weight", d, k, gain);
    plant(m, "fc.weight", d, k, gain);
    return m;
}

/* sqrt of the squared error of a weight over its power. */
static double weight_error(const fb_model *a, const fb_model *b, const char *name)
{
    const fb_tensor *s = &a->tensors[net_tensor(a, name)], *t = &b->tensors[net_tensor(b, name)];
    int64_t n;
    double error = 0, power = 0;
    assert_true(fb_tensor_elems(s, 0, &n));
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    net_ok(fb_tensor_decode(s, x));
    net_ok(fb_tensor_decode(t, y));
    for (int64_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        power += (double)x[i] * (double)x[i];
    }
    free(x);
    free(y);
    return sqrt(error / power);
}

static const char *const planted_weights[3] = {"a.weight", "b.weight", "fc.weight"};

/* METHODS A.2 in bytes: indices, codewords, scales. */
static size_t law(const fb_tensor *t, size_t d, size_t k, size_t bits, size_t stages,
                  size_t n_scales)
{
    size_t c = (size_t)t->dims[t->rank - 1], rows = (size_t)t->dims[0];
    for (int32_t i = 1; i < t->rank - 1; i++)
        rows *= (size_t)t->dims[i];
    return (rows * ((c + d - 1) / d) * stages * bits + 7) / 8 + 4 * c * k * stages + 4 * n_scales;
}

static uint64_t file_bytes(const fb_model *m)
{
    uint64_t bytes;
    net_ok(fb_model_file_bytes(m, &bytes));
    return bytes;
}

/* Zero error and the predicted bytes, by law, by a dry run and in the file. */
static void planted_is_found(void **state)
{
    (void)state;
    fb_model *m = planted(4, 16, NULL), *q, *dry;
    net_ok(net_compress(m, "pq:d=4,k=16,exclude=first", NULL, 2, false, &q));
    net_ok(net_compress(m, "pq:d=4,k=16,exclude=first", NULL, 1, true, &dry));
    for (int i = 0; i < 3; i++) {
        int32_t w = net_tensor(q, planted_weights[i]);
        fb_tensor_info info;
        net_ok(fb_model_tensor(q, (uint32_t)w, &info));
        assert_string_equal(info.encoding, "product 4/16");
        assert_true(weight_error(m, q, planted_weights[i]) == 0);
        assert_int_equal(info.stored_bytes, law(&q->tensors[w], 4, 16, 4, 1, 1));
    }
    assert_int_equal(file_bytes(q), file_bytes(dry));
    fb_model_close(&dry);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* A scale for each channel hides shared codewords; with the option they are found again, to the
 * rounding of floats. The scales of the second way are those of a folded batch normalisation. */
static void planted_under_scales_is_found(void **state)
{
    (void)state;
    float gain[150];
    for (int way = 0; way < 2; way++) {
        net_state = 99;
        for (int i = 0; i < 150; i++) {
            float gamma = 0.05f + fabsf(net_random()), var = 0.01f + fabsf(net_random());
            gain[i] = way ? gamma / sqrtf(var + 1e-5f) : 0.25f + (float)(i * 7 % 16);
        }
        fb_model *m = planted(4, 16, gain), *q, *plain;
        net_ok(net_compress(m, "pq:d=4,k=16,scale=channel,exclude=first", NULL, 2, false, &q));
        net_ok(net_compress(m, "pq:d=4,k=16,exclude=first", NULL, 2, false, &plain));
        for (int i = 0; i < 3; i++) {
            const fb_tensor *t = &q->tensors[net_tensor(q, planted_weights[i])];
            double error = weight_error(m, q, planted_weights[i]);
            if (error > 5e-7)
                fail_msg("%s: error %g", planted_weights[i], error);
            assert_true(weight_error(m, plain, planted_weights[i]) > 0.05);
            assert_int_equal(fb_product_bytes(t), law(t, 4, 16, 4, 1, (size_t)t->dims[0]));
        }
        fb_model_close(&q);
        fb_model_close(&plain);
        fb_model_close(&m);
    }
}

/* ---- options -------------------------------------------------------------------------------- */

/* One thread or three: the same bytes. Another seed: others. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    fb_model *m = planted(4, 64, NULL), *a, *b;
    fb_data *data = net_data(images);
    const char *methods[2] = {"pq:d=4,k=16,stages=2,scale=channel,fit=data",
                              "pq:d=4,k=32,books=layer,words=8"};
    for (int i = 0; i < 2; i++) {
        fb_out x, y;
        net_ok(net_compress(m, methods[i], data, 1, false, &a));
        net_ok(net_compress(m, methods[i], data, 3, false, &b));
        net_ok(fb_format_write(a, 0, &x));
        net_ok(fb_format_write(b, 0, &y));
        assert_true(x.n == y.n && memcmp(x.data, y.data, x.n) == 0);
        fb_out_free(&x);
        fb_out_free(&y);
        fb_model_close(&a);
        fb_model_close(&b);
    }
    fb_data_close(&data);
    fb_model_close(&m);
}

/* Every option gives a valid model whose size a dry run knows; errors fall as bits grow. */
static void options(void **state)
{
    (void)state;
    static const struct {
        const char *method, *encoding;
        double least, most; /* error of a.weight */
    } cases[] = {
        {"pq:d=4,k=16", "product 4/16", 0.3, 0.9},
        {"pq:d=4,k=64", "product 4/64", 0.1, 0.5},
        {"pq:d=4,k=16,stages=2", "product 4/2x16", 0.05, 0.35},
        {"pq:d=4,k=16,stages=4", "product 4/4x16", 0.001, 0.12},
        {"pq:d=4,k=16,stages=2,words=16", "product 4/2x16 words16", 0.05, 0.35},
        {"pq:d=4,k=16,stages=2,words=8", "product 4/2x16 words8", 0.05, 0.35},
        {"pq:d=4,k=16,stages=2,words=8,scale=channel", "product 4/2x16 per-channel words8", 0.05,
         0.35},
        {"pq:d=4,k=16,books=layer", "product 4/16 per-layer", 0.3, 0.9},
        {"pq:d=4,k=16,books=layer,stages=2", "product 4/2x16 per-layer", 0.1, 0.6},
        {"pq:d=9,k=64,along=kernel,books=layer", "product 9/64 per-layer along-kernel", 0.3, 0.9},
        {"pq:d=3,k=16,along=kernel,scale=channel", "product 3/16 along-kernel per-channel", 0.1,
         0.7},
        {"pq:d=3,k=20,fit=data", "product 3/20", 0.1, 0.7},
    };
    fb_model *m = planted(3, 256, NULL), *q, *dry;
    fb_data *data = net_data(images);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fb_tensor_info info;
        net_ok(net_compress(m, cases[i].method, data, 2, false, &q));
        net_ok(net_compress(m, cases[i].method, NULL, 1, true, &dry));
        net_ok(fb_model_tensor(q, (uint32_t)net_tensor(q, "a.weight"), &info));
        assert_string_equal(info.encoding, cases[i].encoding);
        double error = weight_error(m, q, "a.weight");
        if (error < cases[i].least || error > cases[i].most)
            fail_msg("%s: error %g", cases[i].method, error);
        assert_int_equal(file_bytes(q), file_bytes(dry));
        assert_true(net_difference(m, q, data) < 1);
        fb_model_close(&q);
        fb_model_close(&dry);
    }
    fb_data_close(&data);
    fb_model_close(&m);
}

/* Groups have codebooks of their own; small layers fewer codewords, or none at all. */
static void forms_follow_layers(void **state)
{
    (void)state;
    fb_model *m = planted(4, 16, NULL), *q;
    fb_tensor_info info;
    net_ok(net_compress(m, "pq:d=4,k=256,books=group", NULL, 2, false, &q));
    net_ok(fb_model_tensor(q, (uint32_t)net_tensor(q, "b.weight"), &info));
    assert_string_equal(info.encoding, "product 4/8 per-group"); /* 32 vectors of a subspace */
    net_ok(fb_model_tensor(q, (uint32_t)net_tensor(q, "fc.weight"), &info));
    assert_string_equal(info.encoding, "product 4/32"); /* 150 vectors */
    net_ok(fb_model_tensor(q, (uint32_t)net_tensor(q, "a.weight"), &info));
    assert_string_equal(info.encoding, "product 4/64"); /* 432 vectors */
    net_ok(fb_model_tensor(q, (uint32_t)net_tensor(q, "first.weight"), &info));
    assert_string_equal(info.encoding, "product 3/2"); /* 3 channels */
    fb_model_close(&q);
    fb_model_close(&m);
    m = net_build(false);
    net_ok(net_compress(m, "pq:d=4,k=16", NULL, 2, false, &q));
    assert_int_equal(net_encoding(q, "dw.weight")->kind, FB_ENC_PLAIN);
    fb_model_close(&q);
    fb_model_close(&m);
    m = planted(4, 16, NULL);
    net_ok(net_compress(m, "pq:d=4,k=16,layers=inner", NULL, 2, false, &q));
    assert_int_equal(net_encoding(q, "first.weight")->kind, FB_ENC_PLAIN);
    assert_int_equal(net_encoding(q, "a.weight")->kind, FB_ENC_PRODUCT);
    assert_int_equal(net_encoding(q, "fc.weight")->kind, FB_ENC_PLAIN);
    fb_model_close(&q);
    fb_model_close(&m);
    m = planted(4, 16, NULL); /* the paper's order: an earlier step's layers keep their form */
    net_ok(net_compress(m,
                        "pq:d=4,k=16,layers=conv + pq:d=1,k=4,layers=last + "
                        "pq:d=4,k=32,layers=dense",
                        NULL, 2, false, &q));
    assert_int_equal(net_encoding(q, "a.weight")->sub, 4);
    assert_int_equal(net_encoding(q, "fc.weight")->sub, 1);
    fb_model_close(&q);
    fb_model_close(&m);
}

/* int8 behind keeps the codes; weights of 8-bit words run on integers. */
static void with_integer_activations(void **state)
{
    (void)state;
    fb_model *m = planted(4, 16, NULL), *q;
    fb_data *data = net_data(images);
    net_ok(
        net_compress(m, "pq:d=4,k=16,words=8,scale=channel + int8:bias=keep", data, 2, false, &q));
    for (int i = 0; i < 3; i++) {
        const fb_tensor *t = &q->tensors[net_tensor(q, planted_weights[i])];
        assert_int_equal(t->enc.kind, FB_ENC_PRODUCT);
        assert_true(fb_tensor_is_int8(t));
    }
    assert_true(net_difference(m, q, data) < 0.1);
    fb_model_close(&q);
    /* float words: the same activations, decoded for the layer */
    net_ok(net_compress(m, "pq:d=4,k=16,stages=2 + int8:bias=keep", data, 2, false, &q));
    assert_true(net_difference(m, q, data) < 0.1);
    assert_int_equal(net_encoding(q, "a.weight")->kind, FB_ENC_PRODUCT);
    fb_model_close(&q);
    fb_data_close(&data);
    fb_model_close(&m);
}

/* ---- look-up arithmetic, with tables of floats (METHODS A.3, A.10.1) ------------------------ */

enum { H = 6, IC = 10, OC = 48 };

/* conv 3x3 with padding 1 by tables: inner products of each pixel's sub-vectors with all codewords,
 * once; then a look-up for each output channel, kernel position and subspace. */
static void look_up(const fb_product_codes *c, const float *x, float *y)
{
    const fb_product *p = &c->p;
    const fb_encoding view = {.word = c->word};
    float *table = malloc(H * H * p->m_count * p->stages * p->words * sizeof *table);
    for (size_t pixel = 0; pixel < H * H; pixel++) {
        for (size_t m = 0; m < p->m_count; m++) {
            for (size_t s = 0; s < p->stages; s++) {
                for (size_t k = 0; k < p->words; k++) {
                    float sum = 0;
                    for (size_t j = 0; j < p->sub && m * p->sub + j < IC; j++)
                        sum +=
                            x[pixel * IC + m * p->sub + j] * fb_product_word(&view, p, s, m, k)[j];
                    table[((pixel * p->m_count + m) * p->stages + s) * p->words + k] = sum;
                }
            }
        }
    }
    for (int i = 0; i < H * H * OC; i++) {
        int ct = i % OC, ox = i / OC % H, oy = i / OC / H;
        y[i] = 0;
        for (int pos = 0; pos < 9; pos++) {
            int sy = oy + pos / 3 - 1, sx = ox + pos % 3 - 1;
            for (size_t m = 0; m < p->m_count && sy >= 0 && sx >= 0 && sy < H && sx < H; m++) {
                for (size_t s = 0; s < p->stages; s++) {
                    size_t at = (((size_t)ct * 9 + (size_t)pos) * p->m_count + m) * p->stages + s;
                    size_t from = ((size_t)(sy * H + sx) * p->m_count + m) * p->stages + s;
                    y[i] += c->scale[ct] * table[from * p->words + c->index[at]];
                }
            }
        }
    }
    free(table);
}

static void look_up_equals_the_decoded_layer(void **state)
{
    (void)state;
    static float x[H * H * IC], y[H * H * OC], w[OC * 9 * IC];
    for (int stages = 1; stages <= 2; stages++) {
        fb_model *m = planted(3, 200, NULL), *q;
        net_ok(net_compress(m, stages == 1 ? "pq:d=4,k=32,scale=channel" : "pq:d=4,k=16,stages=2",
                            NULL, 1, false, &q));
        const fb_tensor *t = &q->tensors[net_tensor(q, "a.weight")];
        fb_product_codes c;
        net_ok(fb_product_codes_open(t, &c));
        net_ok(fb_tensor_decode(t, w));
        for (int i = 0; i < H * H * IC; i++)
            x[i] = net_random();
        look_up(&c, x, y);
        double worst = 0, most = 0;
        for (int i = 0; i < H * H * OC; i++) {
            int ct = i % OC, ox = i / OC % H, oy = i / OC / H;
            double sum = 0;
            for (int pos = 0; pos < 9; pos++) {
                int sy = oy + pos / 3 - 1, sx = ox + pos % 3 - 1;
                for (int j = 0; j < IC && sy >= 0 && sx >= 0 && sy < H && sx < H; j++)
                    sum += (double)x[(sy * H + sx) * IC + j] * (double)w[(ct * 9 + pos) * IC + j];
            }
            worst = fmax(worst, fabs(sum - (double)y[i]));
            most = fmax(most, fabs(sum));
        }
        assert_true(most > 0.1 && worst <= 1e-5 * most); /* A.10.1 asks for 1e-4 */
        fb_product_codes_free(&c);
        fb_model_close(&q);
        fb_model_close(&m);
    }
}

/* Taken apart and put together again: the same tensor. */
static void codes_come_back(void **state)
{
    (void)state;
    fb_model *m = planted(4, 16, NULL), *q, *copy;
    const char *what;
    net_ok(net_compress(m, "pq:d=4,k=16,stages=2,scale=channel,words=16", NULL, 1, false, &q));
    net_ok(fb_model_clone(q, true, &copy));
    for (int i = 0; i < 3; i++) {
        fb_product_codes c;
        int32_t w = net_tensor(q, planted_weights[i]);
        net_ok(fb_product_codes_open(&q->tensors[w], &c));
        net_ok(fb_product_codes_store(&c, copy, w));
        fb_product_codes_free(&c);
    }
    assert_true(sample_same(q, copy, &what));
    fb_model_close(&copy);
    fb_model_close(&q);
    fb_model_close(&m);
}

static void refusals(void **state)
{
    (void)state;
    fb_model *m = planted(4, 16, NULL), *q;
    fb_data *data = net_data(images);
    assert_int_equal(net_compress(m, "pq:exclude=*", NULL, 1, false, &q), FB_E_UNSUPPORTED);
    assert_int_equal(net_compress(m, "pq:d=65", NULL, 1, false, &q), FB_E_ARG);
    assert_int_equal(net_compress(m, "pq:k=257", NULL, 1, false, &q), FB_E_ARG);
    assert_int_equal(net_compress(m, "pq:fit=data", NULL, 1, false, &q), FB_E_ARG);
    assert_int_equal(net_compress(m, "act8 + pq:d=4,k=16,fit=data,include=b", data, 1, false, &q),
                     FB_E_ARG);
    assert_non_null(strstr(fb_error(), "fit=data measures inputs before"));
    ((float *)(uintptr_t)m->tensors[net_tensor(m, "b.weight")].data)[7] = NAN;
    assert_int_equal(net_compress(m, "pq:d=4,k=16", NULL, 1, false, &q), FB_E_FORMAT);
    assert_non_null(strstr(fb_error(), "layer 'b': weight 7 is nan"));
    fb_data_close(&data);
    fb_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assignment_and_means),
        cmocka_unit_test(stages_lower_the_error),
        cmocka_unit_test(planted_is_found),
        cmocka_unit_test(planted_under_scales_is_found),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(options),
        cmocka_unit_test(forms_follow_layers),
        cmocka_unit_test(with_integer_activations),
        cmocka_unit_test(look_up_equals_the_decoded_layer),
        cmocka_unit_test(codes_come_back),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
