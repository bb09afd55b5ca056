/* pq: weights as short vectors from codebooks (Q-CNN, METHODS A.2, A.4; V.1). Activations stay as
 * they are; a step int8 behind keeps the codes. */
#include "compress/edges.h"
#include "compress/method.h"
#include "compress/product_fit.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

enum {
    OPT_D,
    OPT_K,
    OPT_STAGES,
    OPT_BOOKS,
    OPT_SCALE,
    OPT_FIT,
    OPT_WORDS,
    OPT_ALONG,
    OPT_LAYERS,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

enum { LAYERS_ALL, LAYERS_CONV, LAYERS_DENSE, LAYERS_LAST, LAYERS_INNER };
enum { BOOKS_SUBSPACE, BOOKS_LAYER, BOOKS_GROUP };

typedef struct layer {
    uint32_t node;
    int32_t weight;
    fb_encoding form;
    uint32_t input; /* number in work.inputs, with fit=data */
} layer;

typedef struct work {
    fb_job *job;
    const fb_option *o;
    fb_pool *pool;
    uint32_t n;
    layer *layers;       /* [n] */
    bool *edge;          /* [n_nodes] first and last layers */
    uint32_t n_inputs;   /* with fit=data: */
    int32_t *inputs;     /* [n_inputs] tensors that layers read */
    fb_moments *moments; /* [n_inputs] */
    bool fits;           /* codes are wanted, not only their number */
} work;

/* ---- which layers, in which form ------------------------------------------------------------ */

static uint32_t groups_of(const fb_node *n)
{
    return n->op == FB_OP_CONV ? (uint32_t)n->attr.conv.groups : 1;
}

/* Stock 2020: no more codewords than a quarter of the vectors, a power of two. */
static unsigned clamp_words(unsigned k, uint64_t vectors)
{
    while (k > 2 && k > vectors / 4) {
        unsigned lower = 2;
        while (lower * 2 < k)
            lower *= 2;
        k = lower;
    }
    return k;
}

/* The encoding that the options ask for, for a weight with these dims. */
static fb_encoding form_of(const fb_option *o, const fb_node *n, const fb_tensor *t)
{
    static const uint8_t word_bits[] = {32, 16, 8};
    fb_encoding e = {.kind = FB_ENC_PRODUCT,
                     .axis = o[OPT_SCALE].choice == 1 ? 0 : -1,
                     .sub = (uint8_t)o[OPT_D].number,
                     .n_words = (uint16_t)o[OPT_K].number,
                     .n_stages = (uint8_t)o[OPT_STAGES].number,
                     .books =
                         o[OPT_BOOKS].choice == BOOKS_LAYER ? FB_BOOKS_LAYER : FB_BOOKS_SUBSPACE,
                     .n_groups = o[OPT_BOOKS].choice == BOOKS_GROUP ? groups_of(n) : 1,
                     .word_bits = word_bits[o[OPT_WORDS].choice]};
    int64_t kernel = 1, channels = t->dims[t->rank - 1];
    for (int32_t i = 1; i < t->rank - 1; i++)
        kernel *= t->dims[i];
    e.along_kernel = o[OPT_ALONG].choice == 1 && kernel > 1; /* else there is nothing along it */
    int64_t len = e.along_kernel ? kernel : channels;
    e.sub = e.sub > len ? (uint8_t)len : e.sub;
    uint64_t rows = (uint64_t)(t->dims[0] * (e.along_kernel ? channels : kernel));
    uint64_t m = ((uint64_t)len + e.sub - 1) / e.sub;
    uint64_t vectors = e.books == FB_BOOKS_LAYER ? rows * m : rows / e.n_groups;
    e.n_words = (uint16_t)clamp_words(e.n_words, vectors);
    return e;
}

/* Bytes at rest with a form. */
static uint64_t bytes_with(const fb_tensor *t, const fb_encoding *form)
{
    fb_tensor like = *t;
    like.enc = *form;
    like.enc.bits = (uint8_t)fb_product_bits(form->n_words);
    like.enc.n_scales = form->axis < 0 ? 1 : (uint32_t)t->dims[0];
    return fb_product_bytes(&like);
}

/* What weights may cost at most: those that will have 8 bits anyway a byte, others half of what
 * they have as floats. */
static uint64_t most_bytes(const fb_job *job, uint64_t elems)
{
    for (uint32_t i = job->step + 1; i < job->recipe->n_steps; i++) {
        if (strcmp(job->recipe->steps[i].method->name, "int8") == 0)
            return elems;
    }
    return 2 * elems;
}

/* Depthwise kernels have no vectors along channels, and small layers are no smaller with codebooks.
 */
static bool is_worth(const fb_job *job, const fb_node *n, const fb_tensor *t,
                     const fb_encoding *form)
{
    int64_t elems;
    bool depthwise = n->op == FB_OP_CONV && t->dims[3] == 1;
    return !depthwise && fb_tensor_elems(t, 0, &elems) &&
           bytes_with(t, form) < most_bytes(job, (uint64_t)elems);
}

/* Whether node i is a dense layer and none comes behind it. */
static bool is_last_dense(const fb_model *m, size_t i)
{
    for (size_t k = i + 1; k < m->n_nodes; k++) {
        if (m->nodes[k].op == FB_OP_DENSE && fb_node_weight(m, &m->nodes[k]) >= 0)
            return false;
    }
    return m->nodes[i].op == FB_OP_DENSE;
}

static bool is_chosen(const work *w, size_t i)
{
    const fb_option *o = w->o;
    const fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[i];
    int32_t layers = o[OPT_LAYERS].choice;
    if ((layers == LAYERS_CONV && n->op != FB_OP_CONV) ||
        (layers == LAYERS_DENSE && n->op != FB_OP_DENSE) ||
        (layers == LAYERS_LAST && !is_last_dense(m, i)) || (layers == LAYERS_INNER && w->edge[i]))
        return false;
    return (!*o[OPT_INCLUDE].text || fb_glob(o[OPT_INCLUDE].text, n->name)) &&
           !fb_glob(o[OPT_EXCLUDE].text, n->name);
}

static fb_status find_layers(work *w)
{
    const fb_model *m = w->job->model;
    bool before = false; /* a step before has given codebooks to a layer that is asked for */
    w->layers = fb_calloc(m->n_nodes + 1, sizeof *w->layers);
    w->edge = fb_calloc(m->n_nodes + 1, sizeof *w->edge);
    if (!w->layers || !w->edge)
        return fb_fail(FB_E_MEMORY, "no memory for a list of %zu layers", m->n_nodes);
    FB_TRY(fb_edges_find(m, w->edge));
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        int32_t weight = fb_node_weight(m, n);
        bool seen = false;
        for (uint32_t k = 0; k < w->n; k++)
            seen = seen || w->layers[k].weight == weight;
        if (weight >= 0 && is_chosen(w, i))
            before = before || m->tensors[weight].enc.kind == FB_ENC_PRODUCT;
        if (weight < 0 || seen || n->op == FB_OP_CONV_TRANSPOSE || !is_chosen(w, i) ||
            m->tensors[weight].enc.kind != FB_ENC_PLAIN || m->tensors[weight].dtype != FB_F32)
            continue;
        fb_encoding form = form_of(w->o, n, &m->tensors[weight]);
        if (is_worth(w->job, n, &m->tensors[weight], &form))
            w->layers[w->n++] = (layer){(uint32_t)i, weight, form, 0};
    }
    if (w->n == 0 && !before)
        return fb_fail(FB_E_UNSUPPORTED,
                       "no conv or dense layer with float weights is there that codebooks would "
                       "make much smaller");
    return FB_OK;
}

/* ---- importances ---------------------------------------------------------------------------- */

/* The layers' inputs, each once. */
static fb_status list_inputs(work *w)
{
    const fb_model *m = w->job->model;
    w->inputs = fb_calloc(w->n, sizeof *w->inputs);
    w->moments = fb_calloc(w->n, sizeof *w->moments);
    if (!w->inputs || !w->moments)
        return fb_fail(FB_E_MEMORY, "no memory for the statistics of %u layers", w->n);
    for (uint32_t i = 0; i < w->n; i++) {
        layer *l = &w->layers[i];
        const fb_node *n = &m->nodes[l->node];
        const fb_tensor *t = &m->tensors[n->in[0]];
        if (t->is_const || t->dtype != FB_F32 || t->enc.kind != FB_ENC_PLAIN)
            return fb_fail(FB_E_ARG,
                           "layer '%.200s' has no input in floats; fit=data measures inputs before "
                           "a step such as int8 encodes them",
                           n->name);
        l->input = 0;
        while (l->input < w->n_inputs && w->inputs[l->input] != n->in[0])
            l->input++;
        if (l->input < w->n_inputs)
            continue;
        w->inputs[w->n_inputs] = n->in[0];
        FB_TRY(fb_moments_init(&w->moments[w->n_inputs++], (uint32_t)t->dims[t->rank - 1]));
    }
    return FB_OK;
}

static fb_status measure(work *w)
{
    fb_watch_options options = fb_job_watch(w->job, "inputs");
    fb_samples samples;
    FB_TRY(list_inputs(w));
    FB_TRY(fb_samples_open(w->job->model, w->job->data, 0, &samples));
    fb_source source = fb_samples_source(&samples);
    fb_status status =
        fb_watch_moments(w->job->model, &source, w->inputs, w->n_inputs, &options, w->moments);
    fb_samples_close(&samples);
    return status;
}

/* The mean square of each channel, which all errors of its weights are multiplied with; a millionth
 * of the mean at least, so that weights of channels that calibration never saw stay determined. */
static fb_status importance_of(const work *w, const layer *l, float **out)
{
    *out = NULL;
    if (!w->moments)
        return FB_OK;
    const fb_moments *m = &w->moments[l->input];
    double mean = 0;
    *out = fb_alloc(m->channels * sizeof **out);
    if (!*out)
        return fb_fail(FB_E_MEMORY, "no memory for the importances of %u channels", m->channels);
    for (uint32_t c = 0; c < m->channels; c++)
        mean += m->sum_sq[c] / m->channels;
    for (uint32_t c = 0; c < m->channels; c++)
        (*out)[c] = mean > 0 ? (float)fmax(m->sum_sq[c] / mean, 1e-6) : 1;
    return FB_OK;
}

/* ---- the step ------------------------------------------------------------------------------- */

static fb_status check_finite(const float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(w[i]))
            return fb_fail(FB_E_FORMAT, "weight %zu is %g, must be finite", i, (double)w[i]);
    }
    return FB_OK;
}

static fb_status fit_layer(const work *w, const layer *l)
{
    fb_model *m = w->job->model;
    const fb_node *n = &m->nodes[l->node];
    const fb_tensor *t = &m->tensors[l->weight];
    fb_product_codes codes = {0};
    float *importance = NULL;
    fb_status status;
    int64_t elems;
    FB_GO(fb_product_codes_make(t, &l->form, &codes));
    FB_ENSURE(fb_tensor_elems(t, 0, &elems));
    if (w->fits) {
        FB_GO(check_finite(t->data, (size_t)elems));
        FB_GO(importance_of(w, l, &importance));
        FB_GO(fb_product_fit(&codes, t->data, importance, groups_of(n), w->job->seed, w->pool));
    }
    FB_GO(fb_product_codes_store(&codes, m, l->weight));
fail:
    fb_free(importance);
    fb_product_codes_free(&codes);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "layer '%.200s'", n->name);
}

static fb_status fit_layers(work *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        FB_TRY(fb_job_report(w->job, "codebooks", i, w->n));
        FB_TRY(fit_layer(w, &w->layers[i]));
    }
    return FB_OK;
}

static bool wants_data(const fb_recipe_step *step)
{
    return step->option[OPT_FIT].choice == 1;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    work w = {.job = job, .o = step->option};
    fb_status status;
    FB_GO(find_layers(&w));
    /* A dry run needs codes only where the size of the file will depend on them. */
    w.fits = !job->dry_run || (fb_job_will_code(job) && !wants_data(step));
    if (job->dry_run && wants_data(step))
        job->unknown_codes = step->text;
    if (wants_data(step) && w.n > 0 && !job->dry_run)
        FB_GO(measure(&w));
    FB_GO(fb_pool_create(job->n_threads, &w.pool));
    FB_GO(fit_layers(&w));
fail:
    fb_pool_destroy(w.pool);
    for (uint32_t i = 0; i < w.n_inputs; i++)
        fb_moments_free(&w.moments[i]);
    fb_free(w.moments);
    fb_free(w.inputs);
    fb_free(w.edge);
    fb_free(w.layers);
    return status;
}

const fb_method_def fb_method_pq = {
    .name = "pq",
    .summary = "weights as short vectors from codebooks that k-means chooses",
    .needs_data = false,
    .wants_data = wants_data,
    .n_options = 11,
    .options =
        {
            {.key = "d",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = FB_PRODUCT_SUB,
             .preset = "8",
             .meaning = "weights of a vector; layers with fewer channels take fewer"},
            {.key = "k",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = FB_PRODUCT_WORDS,
             .preset = "128",
             .meaning = "codewords of a codebook, at most one for four vectors"},
            {.key = "stages",
             .kind = FB_OPTION_WHOLE,
             .least = 1,
             .most = FB_PRODUCT_STAGES,
             .preset = "1",
             .meaning = "codewords that add up to a vector, each from a codebook of its own"},
            {.key = "books",
             .kind = FB_OPTION_CHOICE,
             .choices = "subspace|layer|group",
             .preset = "subspace",
             .meaning = "a codebook for each place of a vector among the channels; one for the "
                        "layer; or as subspace, for each group of a convolution"},
            {.key = "scale",
             .kind = FB_OPTION_CHOICE,
             .choices = "none|channel",
             .preset = "none",
             .meaning = "a scale for each output channel, which vectors are divided by"},
            {.key = "fit",
             .kind = FB_OPTION_CHOICE,
             .choices = "weight|data",
             .preset = "weight",
             .meaning =
                 "least squared error of the weights, or weighted by the mean square of what "
                 "they multiply"},
            {.key = "words",
             .kind = FB_OPTION_CHOICE,
             .choices = "32|16|8",
             .preset = "32",
             .meaning = "bits of a codeword's elements: floats, half floats, integers"},
            {.key = "along",
             .kind = FB_OPTION_CHOICE,
             .choices = "channels|kernel",
             .preset = "channels",
             .meaning = "a vector's weights lie along input channels or kernel positions"},
            {.key = "layers",
             .kind = FB_OPTION_CHOICE,
             .choices = "all|conv|dense|last|inner",
             .preset = "all",
             .meaning =
                 "which layers; last: the last dense one, inner: all but the first and the last"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay as they are"},
        },
    .apply = apply,
};
