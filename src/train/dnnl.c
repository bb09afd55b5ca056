/* The adapter to oneDNN 2.x. Every primitive is a `prim`: its arguments are memory objects without
 * memory, which get their pointers before each run. */
#include "train/dnnl.h"

#include "base/alloc.h"
#include "base/status.h"

#include <oneapi/dnnl/dnnl.h>

#include <string.h>

/* GNU OpenMP, which Debian's oneDNN is built with; its header belongs to one compiler. */
extern void omp_set_num_threads(int n);
extern int omp_get_max_threads(void);
extern int omp_get_num_procs(void);

struct fb_dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    uint32_t n_threads;
};

enum { MAX_ARGS = 10 };

typedef struct prim {
    dnnl_primitive_t p;
    int n;
    dnnl_exec_arg_t args[MAX_ARGS];
} prim;

/* A weight as we hold it and as a primitive wants it; `room` is NULL where they are the same. */
typedef struct weight {
    void *room;
    prim reorder; /* args: from, to */
} weight;

struct fb_dnn_layer {
    fb_dnn *d;
    bool bias;
    prim forward, data, weights;
    weight w_forward, w_data, w_grad;
    void *workspace;
};

/* ---- primitives ------------------------------------------------------------------------------ */

static fb_status check(dnnl_status_t s, const char *what)
{
    if (s == dnnl_success)
        return FB_OK;
    if (s == dnnl_out_of_memory)
        return fb_fail(FB_E_MEMORY, "no memory for %s", what);
    return fb_fail(s == dnnl_unimplemented ? FB_E_UNSUPPORTED : FB_E_INTERNAL,
                   "oneDNN refuses %s (status %d)", what, (int)s);
}

#define DNN(call, what) FB_TRY(check(call, what))

static fb_status add_arg(const fb_dnn *d, prim *p, int arg, const dnnl_memory_desc_t *md)
{
    FB_ENSURE(p->n < MAX_ARGS);
    dnnl_memory_t memory;
    DNN(dnnl_memory_create(&memory, md, d->engine, DNNL_MEMORY_NONE), "a buffer");
    p->args[p->n++] = (dnnl_exec_arg_t){arg, memory};
    return FB_OK;
}

/* Pointers in the order in which the arguments were added. */
static fb_status run(const fb_dnn *d, const prim *p, const void *const *pointers)
{
    for (int i = 0; i < p->n; i++)
        DNN(dnnl_memory_set_data_handle(p->args[i].memory, (void *)(uintptr_t)pointers[i]),
            "a buffer");
    DNN(dnnl_primitive_execute(p->p, d->stream, p->n, p->args), "to run a layer");
    DNN(dnnl_stream_wait(d->stream), "to finish a layer");
    return FB_OK;
}

#define RUN(d, p, ...) run(d, p, (const void *const[]){__VA_ARGS__})

static void drop(prim *p)
{
    for (int i = 0; i < p->n; i++)
        (void)dnnl_memory_destroy(p->args[i].memory);
    if (p->p)
        (void)dnnl_primitive_destroy(p->p);
    *p = (prim){0};
}

static void drop_weight(weight *w)
{
    drop(&w->reorder);
    fb_free(w->room);
    w->room = NULL;
}

fb_status fb_dnn_create(uint32_t n_threads, fb_dnn **out)
{
    *out = NULL;
    if (n_threads > 256)
        return fb_fail(FB_E_ARG, "%u threads asked for; at most 256 are allowed", n_threads);
    fb_dnn *d = fb_calloc(1, sizeof *d);
    if (!d)
        return fb_fail(FB_E_MEMORY, "no memory for the training engine");
    omp_set_num_threads(n_threads ? (int)n_threads : omp_get_num_procs());
    d->n_threads = (uint32_t)omp_get_max_threads();
    fb_status status;
    FB_GO(check(dnnl_engine_create(&d->engine, dnnl_cpu, 0), "an engine"));
    FB_GO(check(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags), "a stream"));
    *out = d;
    return FB_OK;
fail:
    fb_dnn_destroy(d);
    return status;
}

void fb_dnn_destroy(fb_dnn *d)
{
    if (!d)
        return;
    if (d->stream)
        (void)dnnl_stream_destroy(d->stream);
    if (d->engine)
        (void)dnnl_engine_destroy(d->engine);
    fb_free(d);
}

uint32_t fb_dnn_threads(const fb_dnn *d)
{
    return d->n_threads;
}

static fb_status new_layer(fb_dnn *d, fb_dnn_layer **out)
{
    *out = fb_calloc(1, sizeof **out);
    if (!*out)
        return fb_fail(FB_E_MEMORY, "no memory for a layer");
    (*out)->d = d;
    return FB_OK;
}

void fb_dnn_layer_destroy(fb_dnn_layer *l)
{
    if (!l)
        return;
    drop(&l->forward);
    drop(&l->data);
    drop(&l->weights);
    drop_weight(&l->w_forward);
    drop_weight(&l->w_data);
    drop_weight(&l->w_grad);
    fb_free(l->workspace);
    fb_free(l);
}

static const dnnl_memory_desc_t *md_of(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

/* The primitive of `pd`, with arguments {id, query} up to id 0. */
typedef struct slot {
    int arg;
    dnnl_query_t query;
} slot;

static fb_status build(const fb_dnn *d, const_dnnl_primitive_desc_t pd, const slot *slots, prim *p)
{
    DNN(dnnl_primitive_create(&p->p, pd), "a layer");
    for (; slots->arg; slots++)
        FB_TRY(add_arg(d, p, slots->arg, md_of(pd, slots->query)));
    return FB_OK;
}

/* Fills `w` for going from `from` to `to`, whose room it makes; nothing where they are equal. */
static fb_status build_reorder(const fb_dnn *d, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to, const dnnl_memory_desc_t *foreign,
                               weight *w)
{
    dnnl_primitive_desc_t pd;
    if (dnnl_memory_desc_equal(from, to))
        return FB_OK;
    w->room = fb_alloc(dnnl_memory_desc_get_size(foreign));
    if (!w->room)
        return fb_fail(FB_E_MEMORY, "no memory for a layer's weights");
    DNN(dnnl_reorder_primitive_desc_create(&pd, from, d->engine, to, d->engine, NULL), "a reorder");
    fb_status status = check(dnnl_primitive_create(&w->reorder.p, pd), "a reorder");
    (void)dnnl_primitive_desc_destroy(pd);
    FB_TRY(status);
    FB_TRY(add_arg(d, &w->reorder, DNNL_ARG_FROM, from));
    return add_arg(d, &w->reorder, DNNL_ARG_TO, to);
}

/* ---- convolution and dense ------------------------------------------------------------------- */

/* Shapes of one weighted layer, whatever its operator. */
typedef struct weighted {
    dnnl_memory_desc_t x, y, w_own, w_any, b;
    bool bias, want_dx;
} weighted;

/* One of the three primitive descriptors, by what `which` says. */
enum { FORWARD, DATA, WEIGHTS };
typedef fb_status (*describe)(const fb_dnn *d, const weighted *s, const void *geometry, int which,
                              const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd);

static fb_status build_forward(fb_dnn_layer *l, const weighted *s, const_dnnl_primitive_desc_t pd)
{
    const slot slots[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                          {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                          {DNNL_ARG_DST, dnnl_query_dst_md},
                          {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = md_of(pd, dnnl_query_weights_md);
    FB_TRY(build(l->d, pd, slots, &l->forward));
    if (s->bias)
        FB_TRY(add_arg(l->d, &l->forward, DNNL_ARG_BIAS, &s->b));
    return build_reorder(l->d, &s->w_own, w, w, &l->w_forward);
}

static fb_status build_data(fb_dnn_layer *l, const weighted *s, const_dnnl_primitive_desc_t pd)
{
    const slot slots[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                          {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                          {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                          {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = md_of(pd, dnnl_query_weights_md);
    FB_TRY(build(l->d, pd, slots, &l->data));
    return build_reorder(l->d, &s->w_own, w, w, &l->w_data);
}

static fb_status build_weights(fb_dnn_layer *l, const weighted *s, const_dnnl_primitive_desc_t pd)
{
    const slot slots[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                          {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                          {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
                          {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = md_of(pd, dnnl_query_diff_weights_md);
    FB_TRY(build(l->d, pd, slots, &l->weights));
    if (s->bias)
        FB_TRY(add_arg(l->d, &l->weights, DNNL_ARG_DIFF_BIAS, &s->b));
    return build_reorder(l->d, w, &s->w_own, w, &l->w_grad);
}

static fb_status build_weighted(fb_dnn *d, const weighted *s, const void *geometry, describe fn,
                                fb_dnn_layer **out)
{
    dnnl_primitive_desc_t forward = NULL, data = NULL, weights = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(new_layer(d, &l));
    l->bias = s->bias;
    fb_status status;
    FB_GO(fn(d, s, geometry, FORWARD, NULL, &forward));
    FB_GO(build_forward(l, s, forward));
    if (s->want_dx) {
        FB_GO(fn(d, s, geometry, DATA, forward, &data));
        FB_GO(build_data(l, s, data));
    }
    FB_GO(fn(d, s, geometry, WEIGHTS, forward, &weights));
    FB_GO(build_weights(l, s, weights));
    *out = l;
    l = NULL;
fail:
    fb_dnn_layer_destroy(l);
    (void)dnnl_primitive_desc_destroy(forward);
    (void)dnnl_primitive_desc_destroy(data);
    (void)dnnl_primitive_desc_destroy(weights);
    return status;
}

static fb_status describe_conv(const fb_dnn *d, const weighted *s, const void *geometry, int which,
                               const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd)
{
    const fb_dnn_window *g = geometry;
    const dnnl_memory_desc_t *b = s->bias ? &s->b : NULL;
    dnnl_dims_t stride = {g->stride_h, g->stride_w}, dil = {g->dil_h - 1, g->dil_w - 1};
    dnnl_dims_t lo = {g->pad_t, g->pad_l};
    dnnl_dims_t hi = {(g->oh - 1) * g->stride_h + (g->kh - 1) * g->dil_h + 1 - g->ih - g->pad_t,
                      (g->ow - 1) * g->stride_w + (g->kw - 1) * g->dil_w + 1 - g->iw - g->pad_l};
    dnnl_convolution_desc_t c;
    dnnl_status_t r;
    if (which == FORWARD)
        r = dnnl_dilated_convolution_forward_desc_init(&c, dnnl_forward_training,
                                                       dnnl_convolution_direct, &s->x, &s->w_any, b,
                                                       &s->y, stride, dil, lo, hi);
    else if (which == DATA)
        r = dnnl_dilated_convolution_backward_data_desc_init(&c, dnnl_convolution_direct, &s->x,
                                                             &s->w_any, &s->y, stride, dil, lo, hi);
    else
        r = dnnl_dilated_convolution_backward_weights_desc_init(
            &c, dnnl_convolution_direct, &s->x, &s->w_any, b, &s->y, stride, dil, lo, hi);
    DNN(r, "a convolution");
    DNN(dnnl_primitive_desc_create(pd, &c, NULL, d->engine, hint), "a convolution");
    return FB_OK;
}

static fb_status image_md(int64_t n, int64_t h, int64_t w, int64_t c, dnnl_memory_desc_t *md)
{
    dnnl_dims_t dims = {n, c, h, w};
    DNN(dnnl_memory_desc_init_by_tag(md, 4, dims, dnnl_f32, dnnl_nhwc), "a shape");
    return FB_OK;
}

fb_status fb_dnn_conv(fb_dnn *d, const fb_dnn_window *g, bool bias, bool want_dx,
                      fb_dnn_layer **out)
{
    weighted s = {.bias = bias, .want_dx = want_dx};
    int64_t icg = g->ic / g->groups, ocg = g->oc / g->groups, area = g->kh * g->kw;
    dnnl_dims_t plain = {g->oc, icg, g->kh, g->kw}, grouped = {g->groups, ocg, icg, g->kh, g->kw};
    dnnl_dims_t plain_at = {area * icg, 1, g->kw * icg, icg};
    dnnl_dims_t grouped_at = {ocg * area * icg, area * icg, 1, g->kw * icg, icg};
    bool one = g->groups == 1;
    *out = NULL;
    FB_TRY(image_md(g->n, g->ih, g->iw, g->ic, &s.x));
    FB_TRY(image_md(g->n, g->oh, g->ow, g->oc, &s.y));
    DNN(dnnl_memory_desc_init_by_strides(&s.w_own, one ? 4 : 5, one ? plain : grouped, dnnl_f32,
                                         one ? plain_at : grouped_at),
        "a weight's shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.w_any, one ? 4 : 5, one ? plain : grouped, dnnl_f32,
                                     dnnl_format_tag_any),
        "a weight's shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.b, 1, (dnnl_dims_t){g->oc}, dnnl_f32, dnnl_x), "a bias");
    return build_weighted(d, &s, g, describe_conv, out);
}

static fb_status describe_dense(const fb_dnn *d, const weighted *s, const void *geometry, int which,
                                const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd)
{
    (void)geometry;
    const dnnl_memory_desc_t *b = s->bias ? &s->b : NULL;
    dnnl_inner_product_desc_t c;
    dnnl_status_t r;
    if (which == FORWARD)
        r = dnnl_inner_product_forward_desc_init(&c, dnnl_forward_training, &s->x, &s->w_any, b,
                                                 &s->y);
    else if (which == DATA)
        r = dnnl_inner_product_backward_data_desc_init(&c, &s->x, &s->w_any, &s->y);
    else
        r = dnnl_inner_product_backward_weights_desc_init(&c, &s->x, &s->w_any, b, &s->y);
    DNN(r, "a dense layer");
    DNN(dnnl_primitive_desc_create(pd, &c, NULL, d->engine, hint), "a dense layer");
    return FB_OK;
}

fb_status fb_dnn_dense(fb_dnn *d, int64_t m, int64_t k, int64_t n, bool bias, bool want_dx,
                       fb_dnn_layer **out)
{
    weighted s = {.bias = bias, .want_dx = want_dx};
    *out = NULL;
    DNN(dnnl_memory_desc_init_by_tag(&s.x, 2, (dnnl_dims_t){m, k}, dnnl_f32, dnnl_nc), "a shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.y, 2, (dnnl_dims_t){m, n}, dnnl_f32, dnnl_nc), "a shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.w_own, 2, (dnnl_dims_t){n, k}, dnnl_f32, dnnl_oi),
        "a shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.w_any, 2, (dnnl_dims_t){n, k}, dnnl_f32,
                                     dnnl_format_tag_any),
        "a shape");
    DNN(dnnl_memory_desc_init_by_tag(&s.b, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x), "a bias");
    return build_weighted(d, &s, NULL, describe_dense, out);
}

/* The weight as the primitive wants it. */
static fb_status converted(fb_dnn_layer *l, const weight *w, const float *own, const void **out)
{
    *out = w->room ? w->room : own;
    return w->room ? RUN(l->d, &w->reorder, own, w->room) : FB_OK;
}

fb_status fb_dnn_conv_forward(fb_dnn_layer *l, const float *x, const float *w, const float *b,
                              float *y)
{
    const void *ready;
    FB_TRY(converted(l, &l->w_forward, w, &ready));
    return RUN(l->d, &l->forward, x, ready, y, b);
}

fb_status fb_dnn_conv_backward(fb_dnn_layer *l, const float *x, const float *w, const float *dy,
                               float *dx, float *dw, float *db)
{
    if (dx) {
        const void *ready;
        FB_TRY(converted(l, &l->w_data, w, &ready));
        FB_TRY(RUN(l->d, &l->data, dy, ready, dx));
    }
    if (!dw)
        return FB_OK;
    float *raw = l->w_grad.room ? l->w_grad.room : dw;
    FB_TRY(RUN(l->d, &l->weights, x, dy, raw, db));
    return raw != dw ? RUN(l->d, &l->w_grad.reorder, raw, dw) : FB_OK;
}

/* ---- batch normalisation --------------------------------------------------------------------- */

static fb_status build_norm(fb_dnn_layer *l, const dnnl_memory_desc_t *x, int64_t channels,
                            float epsilon, bool relu, dnnl_primitive_desc_t *forward,
                            dnnl_primitive_desc_t *backward)
{
    const fb_dnn *d = l->d;
    unsigned flags = dnnl_use_scale | dnnl_use_shift | (relu ? dnnl_fuse_norm_relu : 0u);
    static const int forward_args[] = {DNNL_ARG_SRC,  DNNL_ARG_SCALE,    DNNL_ARG_SHIFT,
                                       DNNL_ARG_MEAN, DNNL_ARG_VARIANCE, DNNL_ARG_DST};
    static const int backward_args[] = {
        DNNL_ARG_SRC,      DNNL_ARG_SCALE,      DNNL_ARG_SHIFT,
        DNNL_ARG_MEAN,     DNNL_ARG_VARIANCE,   DNNL_ARG_DIFF_DST,
        DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_SCALE, DNNL_ARG_DIFF_SHIFT};
    dnnl_memory_desc_t c;
    dnnl_batch_normalization_desc_t b;
    DNN(dnnl_memory_desc_init_by_tag(&c, 1, (dnnl_dims_t){channels}, dnnl_f32, dnnl_x), "a shape");
    DNN(dnnl_batch_normalization_forward_desc_init(&b, dnnl_forward_training, x, epsilon, flags),
        "a batch norm");
    DNN(dnnl_primitive_desc_create(forward, &b, NULL, d->engine, NULL), "a batch norm");
    DNN(dnnl_batch_normalization_backward_desc_init(&b, dnnl_backward, x, x, epsilon, flags),
        "a batch norm");
    DNN(dnnl_primitive_desc_create(backward, &b, NULL, d->engine, *forward), "a batch norm");
    DNN(dnnl_primitive_create(&l->forward.p, *forward), "a batch norm");
    DNN(dnnl_primitive_create(&l->data.p, *backward), "a batch norm");
    for (int i = 0; i < 6; i++)
        FB_TRY(add_arg(d, &l->forward, forward_args[i], i == 0 || i == 5 ? x : &c));
    for (int i = 0; i < 9; i++)
        FB_TRY(add_arg(d, &l->data, backward_args[i], i == 0 || i == 5 || i == 6 ? x : &c));
    const dnnl_memory_desc_t *w = md_of(*forward, dnnl_query_workspace_md);
    if (!relu || !w || dnnl_memory_desc_get_size(w) == 0)
        return FB_OK;
    l->workspace = fb_alloc(dnnl_memory_desc_get_size(w));
    if (!l->workspace)
        return fb_fail(FB_E_MEMORY, "no memory for a batch norm");
    FB_TRY(add_arg(d, &l->forward, DNNL_ARG_WORKSPACE, w));
    return add_arg(d, &l->data, DNNL_ARG_WORKSPACE, w);
}

fb_status fb_dnn_norm(fb_dnn *d, int64_t n, int64_t pixels, int64_t c, float epsilon, bool relu,
                      fb_dnn_layer **out)
{
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    dnnl_memory_desc_t x;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(image_md(n, pixels, 1, c, &x));
    FB_TRY(new_layer(d, &l));
    fb_status status = build_norm(l, &x, c, epsilon, relu, &forward, &backward);
    (void)dnnl_primitive_desc_destroy(forward);
    (void)dnnl_primitive_desc_destroy(backward);
    if (status != FB_OK) {
        fb_dnn_layer_destroy(l);
        return status;
    }
    *out = l;
    return FB_OK;
}

fb_status fb_dnn_norm_forward(fb_dnn_layer *l, const float *x, const float *gamma,
                              const float *beta, float *mean, float *variance, float *y)
{
    return RUN(l->d, &l->forward, x, gamma, beta, mean, variance, y, l->workspace);
}

fb_status fb_dnn_norm_backward(fb_dnn_layer *l, const float *x, const float *gamma,
                               const float *beta, const float *mean, const float *variance,
                               const float *dy, float *dx, float *dgamma, float *dbeta)
{
    return RUN(l->d, &l->data, x, gamma, beta, mean, variance, dy, dx, dgamma, dbeta, l->workspace);
}

/* ---- pools ----------------------------------------------------------------------------------- */

static fb_status describe_pool(const fb_dnn *d, const fb_dnn_window *g, dnnl_alg_kind_t kind,
                               dnnl_primitive_desc_t *forward, dnnl_primitive_desc_t *backward)
{
    dnnl_memory_desc_t x, y;
    dnnl_pooling_v2_desc_t p;
    dnnl_dims_t stride = {g->stride_h, g->stride_w}, k = {g->kh, g->kw};
    dnnl_dims_t dil = {g->dil_h - 1, g->dil_w - 1}, lo = {g->pad_t, g->pad_l};
    dnnl_dims_t hi = {(g->oh - 1) * g->stride_h + (g->kh - 1) * g->dil_h + 1 - g->ih - g->pad_t,
                      (g->ow - 1) * g->stride_w + (g->kw - 1) * g->dil_w + 1 - g->iw - g->pad_l};
    FB_TRY(image_md(g->n, g->ih, g->iw, g->ic, &x));
    FB_TRY(image_md(g->n, g->oh, g->ow, g->ic, &y));
    DNN(dnnl_pooling_v2_forward_desc_init(&p, dnnl_forward_training, kind, &x, &y, stride, k, dil,
                                          lo, hi),
        "a pool");
    DNN(dnnl_primitive_desc_create(forward, &p, NULL, d->engine, NULL), "a pool");
    DNN(dnnl_pooling_v2_backward_desc_init(&p, kind, &x, &y, stride, k, dil, lo, hi), "a pool");
    DNN(dnnl_primitive_desc_create(backward, &p, NULL, d->engine, *forward), "a pool");
    return FB_OK;
}

static fb_status build_pool(fb_dnn_layer *l, bool max, const_dnnl_primitive_desc_t forward,
                            const_dnnl_primitive_desc_t backward)
{
    const slot f[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                      {DNNL_ARG_DST, dnnl_query_dst_md},
                      {max ? DNNL_ARG_WORKSPACE : 0, dnnl_query_workspace_md},
                      {0, dnnl_query_undef}};
    const slot b[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                      {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                      {max ? DNNL_ARG_WORKSPACE : 0, dnnl_query_workspace_md},
                      {0, dnnl_query_undef}};
    FB_TRY(build(l->d, forward, f, &l->forward));
    FB_TRY(build(l->d, backward, b, &l->data));
    if (!max)
        return FB_OK;
    l->workspace = fb_alloc(dnnl_memory_desc_get_size(md_of(forward, dnnl_query_workspace_md)));
    return l->workspace ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for a pool");
}

fb_status fb_dnn_pool(fb_dnn *d, const fb_dnn_window *w, bool max, bool count_pads,
                      fb_dnn_layer **out)
{
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    dnnl_alg_kind_t kind = max          ? dnnl_pooling_max
                           : count_pads ? dnnl_pooling_avg_include_padding
                                        : dnnl_pooling_avg_exclude_padding;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(new_layer(d, &l));
    fb_status status = describe_pool(d, w, kind, &forward, &backward);
    if (status == FB_OK)
        status = build_pool(l, max, forward, backward);
    (void)dnnl_primitive_desc_destroy(forward);
    (void)dnnl_primitive_desc_destroy(backward);
    if (status != FB_OK) {
        fb_dnn_layer_destroy(l);
        return status;
    }
    *out = l;
    return FB_OK;
}

fb_status fb_dnn_pool_forward(fb_dnn_layer *l, const float *x, float *y)
{
    return RUN(l->d, &l->forward, x, y, l->workspace);
}

fb_status fb_dnn_pool_backward(fb_dnn_layer *l, const float *dy, float *dx)
{
    return RUN(l->d, &l->data, dy, dx, l->workspace);
}

/* ---- single numbers -------------------------------------------------------------------------- */

static fb_status flat_md(int64_t n, dnnl_memory_desc_t *md)
{
    DNN(dnnl_memory_desc_init_by_tag(md, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x), "a shape");
    return FB_OK;
}

static fb_status build_unary(fb_dnn_layer *l, dnnl_alg_kind_t kind, int64_t n,
                             dnnl_primitive_desc_t *forward, dnnl_primitive_desc_t *backward)
{
    float alpha = kind == dnnl_eltwise_hardswish ? 1.0f / 6 : 0, beta = 0.5f;
    dnnl_memory_desc_t x;
    dnnl_eltwise_desc_t e;
    FB_TRY(flat_md(n, &x));
    DNN(dnnl_eltwise_forward_desc_init(&e, dnnl_forward_training, kind, &x, alpha, beta),
        "an activation");
    DNN(dnnl_primitive_desc_create(forward, &e, NULL, l->d->engine, NULL), "an activation");
    DNN(dnnl_eltwise_backward_desc_init(&e, kind, &x, &x, alpha, beta), "an activation");
    DNN(dnnl_primitive_desc_create(backward, &e, NULL, l->d->engine, *forward), "an activation");
    DNN(dnnl_primitive_create(&l->forward.p, *forward), "an activation");
    DNN(dnnl_primitive_create(&l->data.p, *backward), "an activation");
    FB_TRY(add_arg(l->d, &l->forward, DNNL_ARG_SRC, &x));
    FB_TRY(add_arg(l->d, &l->forward, DNNL_ARG_DST, &x));
    FB_TRY(add_arg(l->d, &l->data, DNNL_ARG_SRC, &x));
    FB_TRY(add_arg(l->d, &l->data, DNNL_ARG_DIFF_DST, &x));
    return add_arg(l->d, &l->data, DNNL_ARG_DIFF_SRC, &x);
}

fb_status fb_dnn_unary(fb_dnn *d, fb_dnn_point kind, int64_t n, fb_dnn_layer **out)
{
    static const dnnl_alg_kind_t kinds[] = {
        [FB_DNN_RELU] = dnnl_eltwise_relu, [FB_DNN_HARD_SWISH] = dnnl_eltwise_hardswish};
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(new_layer(d, &l));
    fb_status status = build_unary(l, kinds[kind], n, &forward, &backward);
    (void)dnnl_primitive_desc_destroy(forward);
    (void)dnnl_primitive_desc_destroy(backward);
    if (status != FB_OK) {
        fb_dnn_layer_destroy(l);
        return status;
    }
    *out = l;
    return FB_OK;
}

fb_status fb_dnn_unary_forward(fb_dnn_layer *l, const float *x, float *y)
{
    return RUN(l->d, &l->forward, x, y);
}

fb_status fb_dnn_unary_backward(fb_dnn_layer *l, const float *x, const float *dy, float *dx)
{
    return RUN(l->d, &l->data, x, dy, dx);
}

static fb_status build_sum(fb_dnn_layer *l, int64_t n, dnnl_primitive_desc_t *pd)
{
    dnnl_memory_desc_t x;
    dnnl_binary_desc_t b;
    FB_TRY(flat_md(n, &x));
    DNN(dnnl_binary_desc_init(&b, dnnl_binary_add, &x, &x, &x), "a sum");
    DNN(dnnl_primitive_desc_create(pd, &b, NULL, l->d->engine, NULL), "a sum");
    DNN(dnnl_primitive_create(&l->forward.p, *pd), "a sum");
    FB_TRY(add_arg(l->d, &l->forward, DNNL_ARG_SRC_0, &x));
    FB_TRY(add_arg(l->d, &l->forward, DNNL_ARG_SRC_1, &x));
    return add_arg(l->d, &l->forward, DNNL_ARG_DST, &x);
}

fb_status fb_dnn_sum(fb_dnn *d, int64_t n, fb_dnn_layer **out)
{
    dnnl_primitive_desc_t pd = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(new_layer(d, &l));
    fb_status status = build_sum(l, n, &pd);
    (void)dnnl_primitive_desc_destroy(pd);
    if (status != FB_OK) {
        fb_dnn_layer_destroy(l);
        return status;
    }
    *out = l;
    return FB_OK;
}

fb_status fb_dnn_sum_run(fb_dnn_layer *l, const float *a, const float *b, float *y)
{
    return RUN(l->d, &l->forward, a, b, y);
}
