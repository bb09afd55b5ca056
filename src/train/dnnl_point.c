/* The adapter to oneDNN: batch norms, pools, functions of single numbers. */
#include "train/dnnl_self.h"

#include <string.h>

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
    FB_DNN(dnnl_memory_desc_init_by_tag(&c, 1, (dnnl_dims_t){channels}, dnnl_f32, dnnl_x),
           "a shape");
    FB_DNN(dnnl_batch_normalization_forward_desc_init(&b, dnnl_forward_training, x, epsilon, flags),
           "a batch norm");
    FB_DNN(dnnl_primitive_desc_create(forward, &b, NULL, d->engine, NULL), "a batch norm");
    FB_DNN(dnnl_batch_normalization_backward_desc_init(&b, dnnl_backward, x, x, epsilon, flags),
           "a batch norm");
    FB_DNN(dnnl_primitive_desc_create(backward, &b, NULL, d->engine, *forward), "a batch norm");
    FB_DNN(dnnl_primitive_create(&l->forward.p, *forward), "a batch norm");
    FB_DNN(dnnl_primitive_create(&l->data.p, *backward), "a batch norm");
    for (int i = 0; i < 6; i++)
        FB_TRY(fb_dnn_add_arg(d, &l->forward, forward_args[i], i == 0 || i == 5 ? x : &c));
    for (int i = 0; i < 9; i++)
        FB_TRY(fb_dnn_add_arg(d, &l->data, backward_args[i], i == 0 || i == 5 || i == 6 ? x : &c));
    const dnnl_memory_desc_t *w = fb_dnn_md(*forward, dnnl_query_workspace_md);
    if (!relu || !w || dnnl_memory_desc_get_size(w) == 0)
        return FB_OK;
    l->workspace = fb_alloc(dnnl_memory_desc_get_size(w));
    if (!l->workspace)
        return fb_fail(FB_E_MEMORY, "no memory for a batch norm");
    FB_TRY(fb_dnn_add_arg(d, &l->forward, DNNL_ARG_WORKSPACE, w));
    return fb_dnn_add_arg(d, &l->data, DNNL_ARG_WORKSPACE, w);
}

fb_status fb_dnn_norm(fb_dnn *d, int64_t n, int64_t pixels, int64_t c, float epsilon, bool relu,
                      fb_dnn_layer **out)
{
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    dnnl_memory_desc_t x;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(fb_dnn_image(n, pixels, 1, c, &x));
    FB_TRY(fb_dnn_new_layer(d, &l));
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
    return FB_DNN_RUN(l->d, &l->forward, x, gamma, beta, mean, variance, y, l->workspace);
}

fb_status fb_dnn_norm_backward(fb_dnn_layer *l, const float *x, const float *gamma,
                               const float *beta, const float *mean, const float *variance,
                               const float *dy, float *dx, float *dgamma, float *dbeta)
{
    return FB_DNN_RUN(l->d, &l->data, x, gamma, beta, mean, variance, dy, dx, dgamma, dbeta,
                      l->workspace);
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
    FB_TRY(fb_dnn_image(g->n, g->ih, g->iw, g->ic, &x));
    FB_TRY(fb_dnn_image(g->n, g->oh, g->ow, g->ic, &y));
    FB_DNN(dnnl_pooling_v2_forward_desc_init(&p, dnnl_forward_training, kind, &x, &y, stride, k,
                                             dil, lo, hi),
           "a pool");
    FB_DNN(dnnl_primitive_desc_create(forward, &p, NULL, d->engine, NULL), "a pool");
    FB_DNN(dnnl_pooling_v2_backward_desc_init(&p, kind, &x, &y, stride, k, dil, lo, hi), "a pool");
    FB_DNN(dnnl_primitive_desc_create(backward, &p, NULL, d->engine, *forward), "a pool");
    return FB_OK;
}

static fb_status build_pool(fb_dnn_layer *l, bool max, const_dnnl_primitive_desc_t forward,
                            const_dnnl_primitive_desc_t backward)
{
    const fb_dnn_slot f[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                             {DNNL_ARG_DST, dnnl_query_dst_md},
                             {max ? DNNL_ARG_WORKSPACE : 0, dnnl_query_workspace_md},
                             {0, dnnl_query_undef}};
    const fb_dnn_slot b[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                             {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                             {max ? DNNL_ARG_WORKSPACE : 0, dnnl_query_workspace_md},
                             {0, dnnl_query_undef}};
    FB_TRY(fb_dnn_build(l->d, forward, f, &l->forward));
    FB_TRY(fb_dnn_build(l->d, backward, b, &l->data));
    if (!max)
        return FB_OK;
    l->workspace = fb_alloc(dnnl_memory_desc_get_size(fb_dnn_md(forward, dnnl_query_workspace_md)));
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
    FB_TRY(fb_dnn_new_layer(d, &l));
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
    return FB_DNN_RUN(l->d, &l->forward, x, y, l->workspace);
}

fb_status fb_dnn_pool_backward(fb_dnn_layer *l, const float *dy, float *dx)
{
    return FB_DNN_RUN(l->d, &l->data, dy, dx, l->workspace);
}

/* ---- single numbers -------------------------------------------------------------------------- */

static fb_status flat_md(int64_t n, dnnl_memory_desc_t *md)
{
    FB_DNN(dnnl_memory_desc_init_by_tag(md, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x), "a shape");
    return FB_OK;
}

static fb_status build_unary(fb_dnn_layer *l, dnnl_alg_kind_t kind, int64_t n,
                             dnnl_primitive_desc_t *forward, dnnl_primitive_desc_t *backward)
{
    float alpha = kind == dnnl_eltwise_hardswish ? 1.0f / 6 : 0, beta = 0.5f;
    dnnl_memory_desc_t x;
    dnnl_eltwise_desc_t e;
    FB_TRY(flat_md(n, &x));
    FB_DNN(dnnl_eltwise_forward_desc_init(&e, dnnl_forward_training, kind, &x, alpha, beta),
           "an activation");
    FB_DNN(dnnl_primitive_desc_create(forward, &e, NULL, l->d->engine, NULL), "an activation");
    FB_DNN(dnnl_eltwise_backward_desc_init(&e, kind, &x, &x, alpha, beta), "an activation");
    FB_DNN(dnnl_primitive_desc_create(backward, &e, NULL, l->d->engine, *forward), "an activation");
    FB_DNN(dnnl_primitive_create(&l->forward.p, *forward), "an activation");
    FB_DNN(dnnl_primitive_create(&l->data.p, *backward), "an activation");
    FB_TRY(fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_SRC, &x));
    FB_TRY(fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_DST, &x));
    FB_TRY(fb_dnn_add_arg(l->d, &l->data, DNNL_ARG_SRC, &x));
    FB_TRY(fb_dnn_add_arg(l->d, &l->data, DNNL_ARG_DIFF_DST, &x));
    return fb_dnn_add_arg(l->d, &l->data, DNNL_ARG_DIFF_SRC, &x);
}

fb_status fb_dnn_unary(fb_dnn *d, fb_dnn_point kind, int64_t n, fb_dnn_layer **out)
{
    static const dnnl_alg_kind_t kinds[] = {
        [FB_DNN_RELU] = dnnl_eltwise_relu, [FB_DNN_HARD_SWISH] = dnnl_eltwise_hardswish};
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(fb_dnn_new_layer(d, &l));
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
    return FB_DNN_RUN(l->d, &l->forward, x, y);
}

fb_status fb_dnn_unary_backward(fb_dnn_layer *l, const float *x, const float *dy, float *dx)
{
    return FB_DNN_RUN(l->d, &l->data, x, dy, dx);
}

static fb_status build_sum(fb_dnn_layer *l, int64_t n, dnnl_primitive_desc_t *pd)
{
    dnnl_memory_desc_t x;
    dnnl_binary_desc_t b;
    FB_TRY(flat_md(n, &x));
    FB_DNN(dnnl_binary_desc_init(&b, dnnl_binary_add, &x, &x, &x), "a sum");
    FB_DNN(dnnl_primitive_desc_create(pd, &b, NULL, l->d->engine, NULL), "a sum");
    FB_DNN(dnnl_primitive_create(&l->forward.p, *pd), "a sum");
    FB_TRY(fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_SRC_0, &x));
    FB_TRY(fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_SRC_1, &x));
    return fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_DST, &x);
}

fb_status fb_dnn_sum(fb_dnn *d, int64_t n, fb_dnn_layer **out)
{
    dnnl_primitive_desc_t pd = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(fb_dnn_new_layer(d, &l));
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
    return FB_DNN_RUN(l->d, &l->forward, a, b, y);
}
