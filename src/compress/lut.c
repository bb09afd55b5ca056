/* lut: product weights behind 8-bit inputs run by look-up (METHODS A.3, V.7; NUMERICS.md).
 * Codewords become integers, and the step of the tables is the one with which the products of
 * calibration images with codewords, each counted as often as outputs look it up, have the least
 * squared error of rounding and clipping. Indices stay. */
#include "compress/correct.h"
#include "compress/method.h"

#include "base/alloc.h"
#include "base/status.h"
#include "model/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_BITS, OPT_IMAGES, OPT_BIAS, OPT_INCLUDE, OPT_EXCLUDE };

enum {
    MOST_WORDS = 128, /* of a table that kernels look up in registers */
    WORD_SUM = 128,   /* most of sum |word|: products of 8-bit codes stay within 16 bits */
    LEAST_USES = 32,  /* outputs that share a table; with fewer it costs more than it saves */
    BINS = 4096,      /* of |product|, up to 2^15 */
    PIXELS = 32,      /* of an image */
    CANDIDATES = 96   /* ranges, 16 to an octave */
};

typedef struct layer {
    uint32_t node;
    int32_t weight, input;
    size_t groups, c; /* of the convolution; input channels of all groups */
    fb_product p;
    float *value;                   /* [stages][books][words][sub], word scales multiplied in */
    double unit[FB_PRODUCT_STAGES]; /* value of a codeword's integer 1, by stage */
    double *uses;                   /* [stages][books][words] by squares of the channels' scales */
    double *hist;                   /* [BINS] uses by |product| in integers of the first stage */
    int32_t *word;                  /* like value, integers */
    uint64_t state;                 /* of random positions */
} layer;

typedef struct work {
    fb_job *job;
    const fb_option *o;
    uint32_t n;
    layer *layers; /* [n] */
} work;

/* --- which layers ----------------------------------------------------------------------------- */

static bool input_fits(const fb_tensor *x)
{
    return x->enc.kind == FB_ENC_AFFINE && !x->enc.is_signed && x->enc.bits <= 8 &&
           x->enc.n_scales == 1;
}

/* Outputs that look a table up, on average. */
static int64_t uses_of(const fb_node *n, const fb_tensor *w)
{
    const fb_attr_conv *c = &n->attr.conv;
    if (n->op == FB_OP_DENSE)
        return w->dims[0];
    return w->dims[0] / c->groups * c->kh * c->kw / ((int64_t)c->stride_h * c->stride_w);
}

/* Whether look-ups save more than building the tables costs. Kernels see tables of more than 16
 * entries as 64 at least; against them stand `sub` multiply-adds for each look-up. */
static bool is_used_enough(const fb_encoding *e, int64_t uses)
{
    return uses >= LEAST_USES &&
           (e->n_words <= 16 || uses * e->sub >= 32 * (e->n_words < 64 ? 64 : e->n_words));
}

static bool is_wanted(const work *k, size_t i)
{
    const fb_model *m = k->job->model;
    const fb_node *n = &m->nodes[i];
    int32_t w = fb_node_weight(m, n);
    if (w < 0 || (n->op != FB_OP_CONV && n->op != FB_OP_DENSE))
        return false;
    const fb_tensor *t = &m->tensors[w];
    const fb_encoding *e = &t->enc;
    uint32_t groups = n->op == FB_OP_CONV ? (uint32_t)n->attr.conv.groups : 1;
    if (e->kind != FB_ENC_PRODUCT || e->along_kernel || e->n_words > MOST_WORDS ||
        groups % e->n_groups != 0 || !is_used_enough(e, uses_of(n, t)) ||
        !input_fits(&m->tensors[n->in[0]]))
        return false;
    for (size_t j = 0; j < m->n_nodes; j++) /* the tables' step is of one input */
        if (j != i && fb_node_weight(m, &m->nodes[j]) == w)
            return false;
    const char *include = k->o[OPT_INCLUDE].text;
    return (!*include || fb_glob(include, n->name)) && !fb_glob(k->o[OPT_EXCLUDE].text, n->name);
}

/* --- codewords as integers -------------------------------------------------------------------- */

/* Largest sum of |integers| of a codeword with this unit; the integers go to l->word. */
static int32_t round_words(const layer *l, size_t stage, double unit)
{
    size_t n = l->p.books * l->p.words, first = stage * n;
    int32_t most = 0;
    for (size_t i = first; i < first + n; i++) {
        int32_t sum = 0;
        for (size_t j = 0; j < l->p.sub; j++) {
            double v = rint((double)l->value[i * l->p.sub + j] / unit);
            l->word[i * l->p.sub + j] = (int32_t)fmax(-1e6, fmin(1e6, v));
            sum += abs(l->word[i * l->p.sub + j]);
            most = abs(l->word[i * l->p.sub + j]) > 127 ? WORD_SUM + 1 : most;
        }
        most = sum > most ? sum : most;
    }
    return most;
}

/* The finest unit with which all codewords of a stage fit. */
static double finest_unit(const layer *l, size_t stage)
{
    size_t n = l->p.books * l->p.words;
    double most = 0;
    for (size_t i = stage * n; i < (stage + 1) * n; i++) {
        double sum = 0;
        for (size_t j = 0; j < l->p.sub; j++)
            sum += fabs((double)l->value[i * l->p.sub + j]);
        most = sum > most ? sum : most;
    }
    double unit = most > 0 ? most / WORD_SUM : 1;
    while (round_words(l, stage, unit) > WORD_SUM)
        unit *= 1.01;
    return unit;
}

static void count_uses(const fb_tensor *t, layer *l)
{
    const fb_product *p = &l->p;
    for (size_t i = 0; i < p->n_indices; i++) {
        size_t stage = i % p->stages, m = i / p->stages % p->m_count;
        size_t ct = i / p->stages / p->m_count / p->rows_each;
        size_t k = (size_t)fb_packed_get(t->data, i, t->enc.bits, false);
        double scale = (double)t->enc.scale[t->enc.n_scales == 1 ? 0 : ct];
        l->uses[(stage * p->books + fb_product_book(p, ct, m)) * p->words + k] += scale * scale;
    }
}

static fb_status open_layer(const fb_model *m, uint32_t node, layer *l)
{
    const fb_node *n = &m->nodes[node];
    const fb_tensor *t = &m->tensors[fb_node_weight(m, n)];
    *l = (layer){.node = node,
                 .weight = fb_node_weight(m, n),
                 .input = n->in[0],
                 .groups = n->op == FB_OP_CONV ? (size_t)n->attr.conv.groups : 1,
                 .p = fb_product_of(t)};
    l->c = l->p.c * l->groups;
    size_t words = l->p.stages * l->p.books * l->p.words, each = words / l->p.stages * l->p.sub;
    l->value = fb_calloc(words * l->p.sub, sizeof *l->value);
    l->word = fb_calloc(words * l->p.sub, sizeof *l->word);
    l->uses = fb_calloc(words, sizeof *l->uses);
    l->hist = fb_calloc(BINS, sizeof *l->hist);
    if (!l->value || !l->word || !l->uses || !l->hist)
        return fb_fail(FB_E_MEMORY, "no memory for the tables of layer '%.200s'", n->name);
    for (size_t i = 0; i < words * l->p.sub; i++)
        l->value[i] = t->enc.word_scale[i / each] * t->enc.word[i];
    for (size_t s = 0; s < l->p.stages; s++)
        l->unit[s] = finest_unit(l, s);
    count_uses(t, l);
    return FB_OK;
}

static fb_status open_layers(work *k)
{
    const fb_model *m = k->job->model;
    k->layers = fb_calloc(m->n_nodes + 1, sizeof *k->layers);
    if (!k->layers)
        return fb_fail(FB_E_MEMORY, "no memory for the layers");
    for (size_t i = 0; i < m->n_nodes; i++) {
        if (!is_wanted(k, i))
            continue;
        k->n++;
        FB_TRY(open_layer(m, (uint32_t)i, &k->layers[k->n - 1]));
        k->layers[k->n - 1].state = k->job->seed + i;
    }
    return k->n ? FB_OK
                : fb_fail(FB_E_ARG,
                          "no layer has codewords along the channels, %d at most, and codes of up "
                          "to 8 bits without sign as input; steps like pq:k=16 + int8 give them",
                          (int)MOST_WORDS);
}

static void close_layers(work *k)
{
    for (uint32_t i = 0; i < k->n; i++) {
        fb_free(k->layers[i].value);
        fb_free(k->layers[i].word);
        fb_free(k->layers[i].uses);
        fb_free(k->layers[i].hist);
    }
    fb_free(k->layers);
}

/* --- products on calibration images ------------------------------------------------------------
 */

/* x: codes less zero point, of a pixel. */
static void count_pixel(layer *l, const int32_t *x)
{
    const fb_product *p = &l->p;
    for (size_t g = 0; g < l->groups; g++) {
        for (size_t m = 0; m < p->m_count; m++) {
            const int32_t *from = x + g * p->c + m * p->sub;
            size_t book = fb_product_book(p, g * (p->ct / l->groups), m);
            size_t n = m + 1 < p->m_count ? p->sub : fb_product_last(p);
            for (size_t s = 0; s < p->stages; s++) {
                double ratio = l->unit[s] / l->unit[0];
                for (size_t k = 0; k < p->words; k++) {
                    size_t at = (s * p->books + book) * p->words + k;
                    int32_t sum = 0;
                    for (size_t j = 0; j < n; j++)
                        sum += from[j] * l->word[at * p->sub + j];
                    double bin = fabs(sum * ratio) * (BINS / 32768.0);
                    l->hist[bin < BINS - 1 ? (size_t)bin : BINS - 1] += l->uses[at];
                }
            }
        }
    }
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static fb_status count_view(void *user, uint32_t k, const fb_view *view)
{
    work *w = user;
    layer *l = &w->layers[k];
    size_t pixels = view->n_elems / l->c;
    FB_ENSURE(view->dtype == FB_U8 && pixels * l->c == view->n_elems);
    float *values = fb_alloc(l->c * sizeof *values);
    int32_t *x = fb_alloc(l->c * sizeof *x);
    fb_status status = values && x ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a pixel");
    for (size_t i = 0; i < PIXELS && status == FB_OK; i++) {
        fb_view_read(view, (size_t)(next_random(&l->state) % pixels) * l->c, l->c, values);
        for (size_t j = 0; j < l->c; j++)
            x[j] = (int32_t)rintf(values[j] / view->scale);
        count_pixel(l, x);
    }
    fb_free(values);
    fb_free(x);
    return status;
}

static fb_status count_products(work *w)
{
    fb_watch_options options = fb_job_watch(w->job, "tables");
    fb_samples samples;
    int32_t *inputs = fb_calloc(w->n, sizeof *inputs);
    if (!inputs)
        return fb_fail(FB_E_MEMORY, "no memory for the layers");
    for (uint32_t i = 0; i < w->n; i++)
        inputs[i] = w->layers[i].input;
    fb_status status =
        fb_samples_open(w->job->model, w->job->data, (uint64_t)w->o[OPT_IMAGES].number, &samples);
    if (status == FB_OK) {
        fb_source source = fb_samples_source(&samples);
        status = fb_watch(w->job->model, &source, inputs, w->n, &options, count_view, w);
        fb_samples_close(&samples);
    }
    fb_free(inputs);
    return status;
}

/* --- the tables' step --------------------------------------------------------------------------
 */

/* Squared error of products that are rounded to steps and clipped to `most` of them. */
static double error_of(const layer *l, double step, double most)
{
    double sum = 0;
    for (size_t i = 0; i < BINS; i++) {
        double v = ((double)i + 0.5) * (32768.0 / BINS), over = v - step * most;
        sum += l->hist[i] * (over > step / 2 ? over * over : step * step / 12);
    }
    return sum;
}

/* The multiplier of the first stage's products: 2^15 / step. */
static int32_t choose_multiplier(const layer *l, unsigned bits)
{
    double most = (double)(1 << (bits - 1)) - 1, least = INFINITY, range = 0;
    int32_t best = 1;
    for (size_t i = 0; i < BINS; i++)
        range = l->hist[i] > 0 ? (double)(i + 1) * (32768.0 / BINS) : range;
    for (int i = 0; i < CANDIDATES && range > 0; i++) {
        double mul = rint(32768 * most / (range * exp2(-i / 16.0)));
        mul = fmax(1, fmin(mul, 16384));
        double error = error_of(l, 32768 / mul, most);
        if (error < least) {
            least = error;
            best = (int32_t)mul;
        }
    }
    return best;
}

/* Stage units that make all multipliers whole; integers by them. mul [stages]. */
static void fit_stages(layer *l, int32_t *mul)
{
    (void)round_words(l, 0, l->unit[0]);
    for (size_t s = 1; s < l->p.stages; s++) {
        mul[s] = (int32_t)fmin(32767, ceil(mul[0] * l->unit[s] / l->unit[0]));
        for (;; mul[s]++) {
            l->unit[s] = l->unit[0] * mul[s] / mul[0];
            if (round_words(l, s, l->unit[s]) <= WORD_SUM)
                break;
        }
    }
}

static fb_status write_layer(const work *w, layer *l)
{
    fb_model *m = w->job->model;
    const fb_tensor *t = &m->tensors[l->weight];
    int32_t mul[FB_PRODUCT_STAGES] = {w->job->dry_run ? 256 : 0};
    unsigned bits = (unsigned)w->o[OPT_BITS].number;
    size_t n = l->p.stages * l->p.books * l->p.words * l->p.sub;
    if (!w->job->dry_run)
        mul[0] = choose_multiplier(l, bits);
    fit_stages(l, mul);
    fb_encoding e = t->enc;
    float word_scale[FB_PRODUCT_STAGES];
    e.word_bits = 8;
    e.word_scale = word_scale;
    for (size_t s = 0; s < l->p.stages; s++)
        word_scale[s] = (float)mul[s] / (float)mul[0];
    e.table_bits = (uint8_t)bits;
    e.table_scale = m->tensors[l->input].enc.scale[0] * 32768 / (float)mul[0];
    e.word = l->value;
    for (size_t i = 0; i < n; i++)
        l->value[i] = (float)l->word[i];
    e.scale = fb_alloc(e.n_scales * sizeof *e.scale);
    void *data = fb_alloc(t->data_bytes);
    fb_status status = FB_OK;
    if (!e.scale || !data) {
        status = fb_fail(FB_E_MEMORY, "no memory for the codewords");
        goto fail;
    }
    for (uint32_t i = 0; i < e.n_scales; i++)
        e.scale[i] = (float)((double)t->enc.scale[i] * l->unit[0]);
    memcpy(data, t->data, t->data_bytes);
    FB_GO(fb_model_set_payload(m, l->weight, &e, data, t->data_bytes));
fail:
    fb_free(e.scale);
    fb_free(data);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", m->nodes[l->node].name);
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    work w = {.job = job, .o = step->option};
    fb_status status;
    FB_GO(open_layers(&w));
    if (!job->dry_run)
        FB_GO(count_products(&w));
    for (uint32_t i = 0; i < w.n; i++)
        FB_GO(write_layer(&w, &w.layers[i]));
    if (w.o[OPT_BIAS].choice == 0)
        FB_GO(fb_correct(job, FB_CORRECT_MEAN, (uint64_t)w.o[OPT_IMAGES].number, "bias-correct"));
fail:
    close_layers(&w);
    return status;
}

const fb_method_def fb_method_lut = {
    .name = "lut",
    .summary = "codewords with 8-bit inputs run by look-up in tables, behind pq and int8",
    .needs_data = true,
    .n_options = 5,
    .options =
        {
            {.key = "bits",
             .kind = FB_OPTION_WHOLE,
             .least = 5,
             .most = 8,
             .preset = "6",
             .meaning = "bits of a table's entries; 6 is fastest, 8 most exact"},
            {.key = "images",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = 1e6,
             .preset = "64",
             .meaning = "calibration images, at most"},
            {.key = "bias",
             .kind = FB_OPTION_CHOICE,
             .choices = "correct|keep",
             .preset = "correct",
             .meaning = "correct: what the step bias-correct does, at once"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that are decoded"},
        },
    .apply = apply,
};
