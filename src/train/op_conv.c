/* conv and dense: the layers with a weight. Parameter 0 is the weight, 1 the bias. */
#include "train/layer.h"

static fb_status take_weights(fb_net *net, fb_layer *l)
{
    FB_TRY(fb_layer_take(net, l, 1, 0, true));
    if (l->n_in > 2 && l->in[2] >= 0)
        FB_TRY(fb_layer_take(net, l, 2, 1, false));
    return FB_OK;
}

static fb_status conv_create(fb_net *net, fb_layer *l)
{
    const fb_attr_conv *a = &l->node->attr.conv;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    const fb_dnn_window w = {.n = x->shape.dims[0],
                             .ih = x->shape.dims[1],
                             .iw = x->shape.dims[2],
                             .ic = x->shape.dims[3],
                             .oh = y->shape.dims[1],
                             .ow = y->shape.dims[2],
                             .oc = y->shape.dims[3],
                             .kh = a->kh,
                             .kw = a->kw,
                             .stride_h = a->stride_h,
                             .stride_w = a->stride_w,
                             .dil_h = a->dil_h,
                             .dil_w = a->dil_w,
                             .pad_t = a->pad_t,
                             .pad_l = a->pad_l,
                             .groups = a->groups};
    fb_dnn_layer *self;
    FB_TRY(take_weights(net, l));
    FB_TRY(fb_dnn_conv(net->dnn, &w, l->param[1] >= 0, x->wants_g, &self));
    l->self = self;
    return FB_OK;
}

static fb_status dense_create(fb_net *net, fb_layer *l)
{
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    int64_t k = x->shape.dims[x->shape.rank - 1], n = y->shape.dims[y->shape.rank - 1];
    fb_dnn_layer *self;
    FB_TRY(take_weights(net, l));
    FB_TRY(fb_dnn_dense(net->dnn, (int64_t)x->n / k, k, n, l->param[1] >= 0, x->wants_g, &self));
    l->self = self;
    return FB_OK;
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const fb_param *w = fb_layer_param(net, l, 0), *b = fb_layer_param(net, l, 1);
    (void)mode;
    return fb_dnn_conv_forward(l->self, fb_layer_in(net, l, 0)->x, fb_param_value(w),
                               b ? b->w : NULL, fb_layer_out(net, l)->x);
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const fb_param *w = fb_layer_param(net, l, 0), *b = fb_layer_param(net, l, 1);
    return fb_dnn_conv_backward(l->self, fb_layer_in(net, l, 0)->x, fb_param_value(w),
                                fb_layer_out(net, l)->g, dx[0], w->g, b ? b->g : NULL);
}

static void destroy(fb_layer *l)
{
    fb_dnn_layer_destroy(l->self);
}

const fb_layer_def fb_train_conv = {FB_KEEP_X, conv_create, forward, backward, destroy};
const fb_layer_def fb_train_dense = {FB_KEEP_X, dense_create, forward, backward, destroy};
