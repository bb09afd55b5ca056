/* The adapter to oneDNN: convolutions and dense layers. */
#include "train/dnnl_self.h"

#include <string.h>

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
    const fb_dnn_slot slots[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                 {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                 {DNNL_ARG_DST, dnnl_query_dst_md},
                                 {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = fb_dnn_md(pd, dnnl_query_weights_md);
    FB_TRY(fb_dnn_build(l->d, pd, slots, &l->forward));
    if (s->bias)
        FB_TRY(fb_dnn_add_arg(l->d, &l->forward, DNNL_ARG_BIAS, &s->b));
    return fb_dnn_build_reorder(l->d, &s->w_own, w, w, &l->w_forward);
}

static fb_status build_data(fb_dnn_layer *l, const weighted *s, const_dnnl_primitive_desc_t pd)
{
    const fb_dnn_slot slots[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                 {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                 {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                                 {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = fb_dnn_md(pd, dnnl_query_weights_md);
    FB_TRY(fb_dnn_build(l->d, pd, slots, &l->data));
    return fb_dnn_build_reorder(l->d, &s->w_own, w, w, &l->w_data);
}

static fb_status build_weights(fb_dnn_layer *l, const weighted *s, const_dnnl_primitive_desc_t pd)
{
    const fb_dnn_slot slots[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                 {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                 {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
                                 {0, dnnl_query_undef}};
    const dnnl_memory_desc_t *w = fb_dnn_md(pd, dnnl_query_diff_weights_md);
    FB_TRY(fb_dnn_build(l->d, pd, slots, &l->weights));
    if (s->bias)
        FB_TRY(fb_dnn_add_arg(l->d, &l->weights, DNNL_ARG_DIFF_BIAS, &s->b));
    return fb_dnn_build_reorder(l->d, w, &s->w_own, w, &l->w_grad);
}

static fb_status build_weighted(fb_dnn *d, const weighted *s, const void *geometry, describe fn,
                                fb_dnn_layer **out)
{
    dnnl_primitive_desc_t forward = NULL, data = NULL, weights = NULL;
    fb_dnn_layer *l;
    *out = NULL;
    FB_TRY(fb_dnn_new_layer(d, &l));
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
    FB_DNN(r, "a convolution");
    FB_DNN(dnnl_primitive_desc_create(pd, &c, NULL, d->engine, hint), "a convolution");
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
    FB_TRY(fb_dnn_image(g->n, g->ih, g->iw, g->ic, &s.x));
    FB_TRY(fb_dnn_image(g->n, g->oh, g->ow, g->oc, &s.y));
    FB_DNN(dnnl_memory_desc_init_by_strides(&s.w_own, one ? 4 : 5, one ? plain : grouped, dnnl_f32,
                                            one ? plain_at : grouped_at),
           "a weight's shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.w_any, one ? 4 : 5, one ? plain : grouped, dnnl_f32,
                                        dnnl_format_tag_any),
           "a weight's shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.b, 1, (dnnl_dims_t){g->oc}, dnnl_f32, dnnl_x), "a bias");
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
    FB_DNN(r, "a dense layer");
    FB_DNN(dnnl_primitive_desc_create(pd, &c, NULL, d->engine, hint), "a dense layer");
    return FB_OK;
}

fb_status fb_dnn_dense(fb_dnn *d, int64_t m, int64_t k, int64_t n, bool bias, bool want_dx,
                       fb_dnn_layer **out)
{
    weighted s = {.bias = bias, .want_dx = want_dx};
    *out = NULL;
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.x, 2, (dnnl_dims_t){m, k}, dnnl_f32, dnnl_nc),
           "a shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.y, 2, (dnnl_dims_t){m, n}, dnnl_f32, dnnl_nc),
           "a shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.w_own, 2, (dnnl_dims_t){n, k}, dnnl_f32, dnnl_oi),
           "a shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.w_any, 2, (dnnl_dims_t){n, k}, dnnl_f32,
                                        dnnl_format_tag_any),
           "a shape");
    FB_DNN(dnnl_memory_desc_init_by_tag(&s.b, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x), "a bias");
    return build_weighted(d, &s, NULL, describe_dense, out);
}

/* The weight as the primitive wants it. */
static fb_status converted(fb_dnn_layer *l, const fb_dnn_weight *w, const float *own,
                           const void **out)
{
    *out = w->room ? w->room : own;
    return w->room ? FB_DNN_RUN(l->d, &w->reorder, own, w->room) : FB_OK;
}

fb_status fb_dnn_conv_forward(fb_dnn_layer *l, const float *x, const float *w, const float *b,
                              float *y)
{
    const void *ready;
    FB_TRY(converted(l, &l->w_forward, w, &ready));
    return FB_DNN_RUN(l->d, &l->forward, x, ready, y, b);
}

fb_status fb_dnn_conv_backward(fb_dnn_layer *l, const float *x, const float *w, const float *dy,
                               float *dx, float *dw, float *db)
{
    if (dx) {
        const void *ready;
        FB_TRY(converted(l, &l->w_data, w, &ready));
        FB_TRY(FB_DNN_RUN(l->d, &l->data, dy, ready, dx));
    }
    if (!dw)
        return FB_OK;
    float *raw = l->w_grad.room ? l->w_grad.room : dw;
    FB_TRY(FB_DNN_RUN(l->d, &l->weights, x, dy, raw, db));
    return raw != dw ? FB_DNN_RUN(l->d, &l->w_grad.reorder, raw, dw) : FB_OK;
}
