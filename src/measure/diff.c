/* Error by layer between two models that share layer names, streaming over the data. */
#include "measure/feed.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of one channel over everything seen; enough for the plain error and for the best gain. */
typedef struct channel {
    double xx, xy, yy;
} channel;

/* One tensor that both models have. */
typedef struct pair {
    int32_t a, b;        /* tensor indices */
    uint32_t layer;      /* of the second model */
    uint32_t n_channels; /* last dim */
    channel *channels;
    uint64_t elems;
    double error, worst; /* sum of (x - y)^2; max |x - y| */
    double noise;        /* aligned error over signal, once the report is filled */
} pair;

typedef struct side {
    const fb_model *model;
    fb_plan *plan;
    fb_run *run;
    fb_feed feed;
} side;

typedef struct comparison {
    side a, b;
    pair *pairs;
    uint32_t n_pairs, n_unmatched;
    float *x, *rows[2]; /* samples; values of one tensor on either side */
    size_t row_cap;
    uint64_t images, agree;
} comparison;

static void release(comparison *c)
{
    for (uint32_t i = 0; i < c->n_pairs; i++)
        fb_free(c->pairs[i].channels);
    fb_free(c->pairs);
    fb_free(c->x);
    fb_free(c->rows[0]);
    fb_free(c->rows[1]);
    fb_run_destroy(&c->a.run);
    fb_run_destroy(&c->b.run);
    fb_plan_destroy(&c->a.plan);
    fb_plan_destroy(&c->b.plan);
}

static fb_status open_side(side *s, const fb_model *model, const fb_measure_options *options)
{
    fb_sample_shape shape;
    fb_plan_options plan = {
        .batch = options->batch, .cpu = options->cpu, .keep_all = true, .tables = options->tables};
    s->model = model;
    FB_TRY(fb_model_sample_shape(model, &shape));
    FB_TRY(fb_plan_create(model, &plan, &s->plan));
    FB_TRY(fb_run_create(s->plan, options->n_threads, &s->run));
    return fb_feed_init(&s->feed, model, s->run);
}

/* Layers of a by name, sorted for the search. */
typedef struct named {
    const char *name, *op;
    int32_t tensor; /* first output */
} named;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static fb_status index_layers(const fb_model *model, named **out, size_t *n)
{
    uint32_t total = fb_model_n_layers(model);
    *n = 0;
    *out = fb_calloc((size_t)total + 1, sizeof **out);
    if (!*out)
        return fb_fail(FB_E_MEMORY, "no memory for %u layer names", total);
    for (uint32_t i = 0; i < total; i++) {
        fb_layer_info layer;
        FB_TRY(fb_model_layer(model, i, &layer));
        if (layer.name[0] && layer.n_out > 0 && layer.out[0] >= 0)
            (*out)[(*n)++] = (named){layer.name, layer.op, layer.out[0]};
    }
    qsort(*out, *n, sizeof **out, by_name);
    return FB_OK;
}

/* The layer of that name and operator, if there is only one of the name. */
static const named *find_layer(const named *names, size_t n, const fb_layer_info *layer)
{
    named key = {layer->name, NULL, 0};
    const named *found = bsearch(&key, names, n, sizeof *names, by_name);
    if (!found || strcmp(found->op, layer->op) != 0)
        return NULL;
    bool twice = (found > names && by_name(found - 1, found) == 0) ||
                 (found + 1 < names + n && by_name(found + 1, found) == 0);
    return twice ? NULL : found;
}

/* Whether the two tensors hold the same thing: dims equal as they will be in the run. */
static fb_status same_dims(comparison *c, int32_t a, int32_t b, bool *same)
{
    fb_tensor_info ta, tb;
    FB_TRY(fb_model_tensor(c->a.model, (uint32_t)a, &ta));
    FB_TRY(fb_model_tensor(c->b.model, (uint32_t)b, &tb));
    *same = ta.rank == tb.rank && ta.rank > 0 && !ta.is_const && !tb.is_const &&
            memcmp(ta.dims, tb.dims, ta.rank * sizeof *ta.dims) == 0;
    return FB_OK;
}

static fb_status add_pair(comparison *c, uint32_t layer, int32_t a, int32_t b)
{
    fb_tensor_info t;
    FB_TRY(fb_model_tensor(c->b.model, (uint32_t)b, &t));
    int64_t last = t.dims[t.rank - 1];
    pair p = {.a = a, .b = b, .layer = layer, .n_channels = last > 0 ? (uint32_t)last : 1};
    p.channels = fb_calloc(p.n_channels, sizeof *p.channels);
    if (!p.channels)
        return fb_fail(FB_E_MEMORY, "no memory to compare tensor '%s'", t.name);
    c->pairs[c->n_pairs++] = p;
    return FB_OK;
}

/* Every layer of b that a has, too; the models' outputs match whatever their layers are called. */
static fb_status match(comparison *c, const named *names, size_t n_names)
{
    uint32_t n = fb_model_n_layers(c->b.model);
    c->pairs = fb_calloc((size_t)n + 1, sizeof *c->pairs);
    if (!c->pairs)
        return fb_fail(FB_E_MEMORY, "no memory to compare %u layers", n);
    for (uint32_t i = 0; i < n; i++) {
        fb_layer_info layer;
        bool same = false;
        FB_TRY(fb_model_layer(c->b.model, i, &layer));
        if (layer.n_out < 1 || layer.out[0] < 0)
            continue;
        const named *found = find_layer(names, n_names, &layer);
        bool last = layer.out[0] == fb_model_output(c->b.model, 0);
        int32_t a = found ? found->tensor : last ? fb_model_output(c->a.model, 0) : -1;
        if (a >= 0)
            FB_TRY(same_dims(c, a, layer.out[0], &same));
        if (same)
            FB_TRY(add_pair(c, i, a, layer.out[0]));
        else
            c->n_unmatched++;
    }
    if (c->n_pairs == 0)
        return fb_fail(FB_E_ARG, "the two models have no layer name in common, so their layers "
                                 "cannot be compared");
    return FB_OK;
}

static fb_status prepare(comparison *c, const fb_model *a, const fb_model *b,
                         const fb_measure_options *options)
{
    named *names = NULL;
    size_t n_names;
    FB_TRY(open_side(&c->a, a, options));
    FB_TRY(open_side(&c->b, b, options));
    if (c->a.feed.sample != c->b.feed.sample || c->a.feed.per_run != c->b.feed.per_run)
        return fb_fail(FB_E_ARG, "the two models take different inputs (%zu and %zu values)",
                       c->a.feed.sample, c->b.feed.sample);
    fb_status status = index_layers(a, &names, &n_names);
    if (status == FB_OK)
        status = match(c, names, n_names);
    fb_free(names);
    FB_TRY(status);
    c->x = fb_calloc(c->a.feed.per_run, c->a.feed.sample * sizeof *c->x);
    return c->x ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a batch of images");
}

/* Grows the two rows to n floats. */
static fb_status want_rows(comparison *c, size_t n)
{
    if (n <= c->row_cap)
        return FB_OK;
    for (int k = 0; k < 2; k++) {
        fb_free(c->rows[k]);
        c->rows[k] = fb_calloc(n, sizeof(float));
    }
    c->row_cap = c->rows[0] && c->rows[1] ? n : 0;
    return c->row_cap ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to compare %zu values", n);
}

static void add_error(pair *p, size_t n, const float *x, const float *y)
{
    uint32_t ch = 0;
    for (size_t i = 0; i < n; i++) {
        channel *c = &p->channels[ch];
        double a = (double)x[i], b = (double)y[i], d = fabs(a - b);
        c->xx += a * a;
        c->xy += a * b;
        c->yy += b * b;
        p->error += d * d;
        if (!(d <= p->worst)) /* NaN counts as the worst */
            p->worst = d;
        if (++ch == p->n_channels)
            ch = 0;
    }
    p->elems += n;
}

/* The part of a tensor that belongs to `got` of the per_run samples. */
static size_t used_elems(const comparison *c, const fb_view *v, uint32_t got)
{
    return v->n_elems % c->a.feed.per_run == 0 ? v->n_elems / c->a.feed.per_run * got : v->n_elems;
}

static fb_status compare_tensors(comparison *c, uint32_t got)
{
    for (uint32_t i = 0; i < c->n_pairs; i++) {
        fb_view va, vb;
        if (fb_run_tensor(c->a.run, c->pairs[i].a, &va) != FB_OK ||
            fb_run_tensor(c->b.run, c->pairs[i].b, &vb) != FB_OK)
            continue; /* a fusion removed it; the report counts it as unmatched */
        size_t n = used_elems(c, &vb, got);
        FB_TRY(want_rows(c, n));
        fb_view_read(&va, 0, n, c->rows[0]);
        fb_view_read(&vb, 0, n, c->rows[1]);
        add_error(&c->pairs[i], n, c->rows[0], c->rows[1]);
    }
    return FB_OK;
}

static fb_status count_agreement(comparison *c, uint32_t got)
{
    fb_view va, vb;
    fb_guess ga, gb;
    FB_TRY(fb_run_tensor(c->a.run, fb_model_output(c->a.model, 0), &va));
    FB_TRY(fb_run_tensor(c->b.run, fb_model_output(c->b.model, 0), &vb));
    size_t na = va.n_elems / c->a.feed.per_run, nb = vb.n_elems / c->b.feed.per_run;
    FB_TRY(want_rows(c, na > nb ? na : nb));
    for (uint32_t i = 0; i < got; i++) {
        fb_view_read(&va, i * na, na, c->rows[0]);
        fb_view_read(&vb, i * nb, nb, c->rows[1]);
        if (fb_top(c->rows[0], (uint32_t)na, 1, &ga) && fb_top(c->rows[1], (uint32_t)nb, 1, &gb))
            c->agree += ga.label == gb.label;
    }
    return FB_OK;
}

static fb_status run_all(comparison *c, fb_data *data, const fb_measure_options *options)
{
    uint64_t total = fb_data_count(data);
    FB_TRY(fb_data_fits(data, &c->a.feed.shape));
    for (;;) {
        uint32_t got;
        if (options->progress &&
            !options->progress(options->progress_user, "comparing", c->images, total))
            return fb_fail(FB_E_INTERRUPTED, "interrupted after %llu of %llu images",
                           (unsigned long long)c->images, (unsigned long long)total);
        FB_TRY(fb_data_next(data, c->a.feed.per_run, c->x, NULL, &got));
        if (got == 0)
            break;
        FB_TRY(fb_feed_fill(&c->a.feed, c->a.run, got, c->x));
        FB_TRY(fb_feed_fill(&c->b.feed, c->b.run, got, c->x));
        FB_TRY(fb_run_execute(c->a.run));
        FB_TRY(fb_run_execute(c->b.run));
        FB_TRY(compare_tensors(c, got));
        FB_TRY(count_agreement(c, got));
        c->images += got;
    }
    return c->images ? FB_OK : fb_fail(FB_E_ARG, "the data set has no images");
}

/* --- the report ------------------------------------------------------------------------------ */

static double decibel(double signal, double error)
{
    if (error == 0)
        return (double)INFINITY;
    return signal > 0 ? 10 * log10(signal / error) : -(double)INFINITY;
}

/* Error that is left when each channel of y is multiplied by its best gain xy / yy. */
static double aligned_error(const pair *p)
{
    double left = 0;
    for (uint32_t i = 0; i < p->n_channels; i++) {
        const channel *c = &p->channels[i];
        double rest = c->yy > 0 ? c->xx - c->xy * c->xy / c->yy : c->xx;
        left += rest > 1e-14 * c->xx ? rest : 0; /* below that it is rounding of the sums */
    }
    return left < p->error ? left : p->error;
}

static double signal_of(const pair *p)
{
    double sum = 0;
    for (uint32_t i = 0; i < p->n_channels; i++)
        sum += p->channels[i].xx;
    return sum;
}

/* Noise over signal of a tensor; nothing is known against one that was not compared. */
static double noise_of_tensor(const comparison *c, int32_t tensor)
{
    for (uint32_t i = 0; i < c->n_pairs; i++) {
        if (c->pairs[i].b == tensor)
            return c->pairs[i].noise;
    }
    return 0;
}

static double added_by(const comparison *c, const fb_layer_info *layer, double noise)
{
    double before = 0;
    for (uint32_t k = 0; k < layer->n_in; k++) {
        double n = layer->in[k] >= 0 ? noise_of_tensor(c, layer->in[k]) : 0;
        before = n > before ? n : before;
    }
    return noise > before ? sqrt(noise - before) : 0;
}

/* Error over signal; an error without a signal is infinite. */
static double ratio(double error, double signal)
{
    return error == 0 ? 0 : signal > 0 ? error / signal : (double)INFINITY;
}

static fb_status fill_layer(comparison *c, pair *p, fb_diff_layer *out)
{
    fb_layer_info layer;
    fb_tensor_info t;
    FB_TRY(fb_model_layer(c->b.model, p->layer, &layer));
    FB_TRY(fb_model_tensor(c->b.model, (uint32_t)p->b, &t));
    char *encoding = fb_alloc(strlen(t.encoding) + 1);
    if (!encoding)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    strcpy(encoding, t.encoding);
    double signal = signal_of(p);
    double left = aligned_error(p);
    p->noise = ratio(left, signal);
    *out = (fb_diff_layer){.name = layer.name,
                           .op = layer.op,
                           .tensor = t.name,
                           .encoding = encoding,
                           .elems = p->elems,
                           .sqnr_db = decibel(signal, p->error),
                           .aligned_db = decibel(signal, left),
                           .relative = signal > 0     ? sqrt(p->error / signal)
                                       : p->error > 0 ? (double)INFINITY
                                                      : 0,
                           .worst = p->worst,
                           .added = added_by(c, &layer, p->noise)};
    return FB_OK;
}

static fb_status fill_report(comparison *c, double threshold_db, fb_diff_report *r)
{
    *r = (fb_diff_report){.images = c->images,
                          .n_unmatched = c->n_unmatched,
                          .first_wrong = -1,
                          .most_added = -1,
                          .threshold_db = threshold_db,
                          .agreement = 100.0 * (double)c->agree / (double)c->images};
    r->layers = fb_calloc(c->n_pairs, sizeof *r->layers);
    if (!r->layers)
        return fb_fail(FB_E_MEMORY, "no memory for the report");
    for (uint32_t i = 0; i < c->n_pairs; i++) {
        if (c->pairs[i].elems == 0) {
            r->n_unmatched++;
            continue;
        }
        int32_t at = (int32_t)r->n_layers;
        fb_diff_layer *l = &r->layers[at];
        FB_TRY(fill_layer(c, &c->pairs[i], l));
        r->n_layers++;
        if (r->first_wrong < 0 && !(l->aligned_db >= threshold_db))
            r->first_wrong = at;
        if (r->most_added < 0 || l->added > r->layers[r->most_added].added)
            r->most_added = at;
    }
    return FB_OK;
}

fb_status fb_diff(const fb_model *a, const fb_model *b, fb_data *data, double threshold_db,
                  const fb_measure_options *options, fb_diff_report *report)
{
    fb_measure_options defaults;
    fb_measure_options_default(&defaults);
    options = options ? options : &defaults;
    *report = (fb_diff_report){0};
    comparison c = {0};
    fb_status status;
    FB_GO(prepare(&c, a, b, options));
    FB_GO(run_all(&c, data, options));
    FB_GO(fill_report(&c, threshold_db, report));
fail:
    release(&c);
    if (status != FB_OK)
        fb_diff_report_free(report);
    return status;
}

void fb_diff_report_free(fb_diff_report *report)
{
    for (uint32_t i = 0; i < report->n_layers; i++)
        fb_free((char *)(uintptr_t)report->layers[i].encoding);
    fb_free(report->layers);
    *report = (fb_diff_report){0};
}
