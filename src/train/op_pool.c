/* max_pool and avg_pool. */
#include "train/layer.h"

static fb_status create(fb_net *net, fb_layer *l)
{
    const fb_attr_pool *a = &l->node->attr.pool;
    const fb_value *x = fb_layer_in(net, l, 0), *y = fb_layer_out(net, l);
    bool max = l->node->op == FB_OP_MAX_POOL;
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
                             .groups = 1};
    if (l->node->n_out > 1 && l->node->out[1] >= 0)
        return fb_layer_no(l, "its indices are used, and only its maxima have a gradient");
    /* A window that hangs over the padded image counts fewer values than oneDNN divides by. */
    bool over_h = (w.oh - 1) * w.stride_h + (w.kh - 1) * w.dil_h + 1 > w.ih + w.pad_t + a->pad_b;
    bool over_w = (w.ow - 1) * w.stride_w + (w.kw - 1) * w.dil_w + 1 > w.iw + w.pad_l + a->pad_r;
    if (!max && a->count_include_pad && (over_h || over_w))
        return fb_layer_no(l, "ceil_mode with count_include_pad has no gradient");
    fb_dnn_layer *self;
    FB_TRY(fb_dnn_pool(net->dnn, &w, max, a->count_include_pad != 0, &self));
    l->self = self;
    return FB_OK;
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    (void)mode;
    return fb_dnn_pool_forward(l->self, fb_layer_in(net, l, 0)->x, fb_layer_out(net, l)->x);
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    return fb_dnn_pool_backward(l->self, fb_layer_out(net, l)->g, dx[0]);
}

static void destroy(fb_layer *l)
{
    fb_dnn_layer_destroy(l->self);
}

const fb_layer_def fb_train_pool = {0, create, forward, backward, destroy};
