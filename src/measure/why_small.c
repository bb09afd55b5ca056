/* A compressed network beside the float one. */
#include "measure/why_small.h"

#include <math.h>
#include <string.h>

static void release(fb_why_small *small)
{
    fb_free(small->twin);
    fb_free(small->high);
    fb_free(small->added);
}

/* --- twins -------------------------------------------------------------------------------------
 */

static bool same_dims(const fb_tensor *a, const fb_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

static int32_t find_twin(const fb_why_small *small, const fb_node *n)
{
    const fb_model *m = small->s->model;
    for (size_t i = 0; i < m->n_nodes && n->name[0]; i++) {
        const fb_node *f = &m->nodes[i];
        if (f->op == n->op && strcmp(f->name, n->name) == 0 &&
            same_dims(&m->tensors[f->out[0]], &small->model->tensors[n->out[0]]))
            return (int32_t)i;
    }
    return -1;
}

static fb_status same_samples(const fb_why_small *small)
{
    const fb_sample_shape *want = &small->s->shape;
    fb_sample_shape shape;
    FB_TRY(fb_model_sample_shape(small->model, &shape));
    if (shape.height == want->height && shape.width == want->width &&
        shape.channels == want->channels)
        return FB_OK;
    return fb_fail(
        FB_E_ARG, "the compressed network takes samples of %ux%ux%u and the float one of %ux%ux%u",
        shape.height, shape.width, shape.channels, want->height, want->width, want->channels);
}

static fb_status prepare(fb_why_small *small)
{
    size_t n = small->model->n_nodes;
    FB_TRY(same_samples(small));
    small->twin = fb_calloc(n + 1, sizeof *small->twin);
    small->high = fb_calloc(n + 1, sizeof *small->high);
    small->added = fb_calloc(n + 1, sizeof *small->added);
    if (!small->twin || !small->high || !small->added)
        return fb_fail(FB_E_MEMORY, "no memory to compare %zu layers", n);
    for (size_t i = 0; i < n; i++)
        small->twin[i] = find_twin(small, &small->model->nodes[i]);
    return FB_OK;
}

/* --- answers and overflows ---------------------------------------------------------------------
 */

/* Sums that left their accumulators, where the file says how wide they are. */
static fb_status say_overflows(fb_why_state *s, const fb_predictor *p)
{
    fb_overflow_report o;
    fb_predictor_overflows(p, &o);
    if (o.total.of == 0)
        return fb_why_look_at(s, "accumulators",
                              "no layer is in fixed point: sums of 32 bits hold");
    double share = fb_why_percent(o.total.sums, o.total.of);
    const char *look = fb_why_text(s, "%.3g%% of the sums left them", share);
    FB_TRY(fb_why_look_at(s, "accumulators", look));
    if (o.total.sums == 0)
        return FB_OK;
    const fb_saturations *w = &o.worst[0].over;
    const char *name = fb_arena_string(s->memory, o.worst[0].name);
    fb_why_say say = {
        .kind = "overflow",
        .hint = share < 0.01,
        .points = (double)NAN,
        .layer = name,
        .what = fb_why_text(s, "%.3g%% of the sums leave their accumulators, most in %s (%.3g%%)",
                            share, o.worst[0].name, fb_why_percent(w->sums, w->of)),
        .advice = "give the accumulators more bits (acc=), or the weights and activations fewer",
        .n_numbers = 2,
        .numbers = {{"sums_percent", share}, {"worst_percent", fb_why_percent(w->sums, w->of)}}};
    return fb_why_find(s, &say);
}

static fb_status answer(fb_why_small *small)
{
    fb_why_state *s = small->s;
    fb_status status = fb_why_answers(s, small->model, "running the compressed network",
                                      &small->trial, say_overflows);
    if (status != FB_OK)
        return status;
    const fb_trial *a = s->best, *b = &small->trial;
    uint64_t right = 0;
    for (uint64_t i = 0; i < a->n; i++) {
        small->agree += a->top[i] == b->top[i];
        right += b->label[i] >= 0 && (int64_t)b->top[i] == b->label[i];
    }
    s->report->agreement = fb_why_percent(small->agree, a->n);
    if (s->labelled)
        s->report->small_top1 = fb_why_percent(right, a->n);
    return FB_OK;
}

/* --- error by layer ----------------------------------------------------------------------------
 */

static void take_added(fb_why_small *small, const fb_diff_layer *l)
{
    for (size_t i = 0; i < small->model->n_nodes; i++) {
        if (small->model->nodes[i].name == l->name)
            small->added[i] = l->added;
    }
}

/* fb_diff on some of the images: both runs keep every tensor. */
static fb_status compare_layers(fb_why_small *small)
{
    enum { IMAGES = 16 };
    fb_why_state *s = small->s;
    fb_measure_options o = s->options->measure;
    fb_diff_report r;
    fb_data *data;
    uint64_t limit = s->best->n < IMAGES ? s->best->limit : IMAGES;
    FB_TRY(fb_why_open(s, &s->best->prep, limit, &data));
    o.batch = 1;
    fb_status status = fb_diff(s->model, small->model, data, 20, &o, &r);
    fb_data_close(&data);
    if (status == FB_E_ARG) /* no layer in common */
        return fb_why_look_at(s, "error by layer", fb_why_text(s, "%s", fb_error()));
    FB_TRY(status);
    for (uint32_t i = 0; i < r.n_layers; i++)
        take_added(small, &r.layers[i]);
    const char *look =
        r.most_added < 0
            ? "no layer is the same in both"
            : fb_why_text(s, "%u layers on %llu images; %s adds most, %.1f%% of its signal",
                          r.n_layers, (unsigned long long)r.images, r.layers[r.most_added].name,
                          100 * r.layers[r.most_added].added);
    fb_diff_report_free(&r);
    return fb_why_look_at(s, "error by layer", look);
}

fb_status fb_why_compressed(fb_why_state *s)
{
    fb_why_small small = {.s = s, .model = s->options->small};
    fb_status status;
    FB_GO(prepare(&small));
    FB_GO(answer(&small));
    FB_GO(compare_layers(&small));
    FB_GO(fb_why_saturation(&small));
    FB_GO(fb_why_blame(&small));
    FB_GO(fb_why_calibration(&small));
fail:
    release(&small);
    return status;
}
