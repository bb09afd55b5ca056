/* unary: ReLU and hard swish by oneDNN, the others number by number. Derivatives at a kink are
 * those of the side where the function is flat. */
#include "train/layer.h"

#include <math.h>

static float value(const fb_attr_unary *a, float x)
{
    switch ((fb_unary)a->kind) {
    case FB_UNARY_LEAKY_RELU:
        return x > 0 ? x : a->a * x;
    case FB_UNARY_CLIP:
        return x < a->a ? a->a : x > a->b ? a->b : x;
    case FB_UNARY_SIGMOID:
        return 1 / (1 + expf(-x));
    case FB_UNARY_HARD_SIGMOID:
        return fminf(fmaxf(a->a * x + a->b, 0), 1);
    case FB_UNARY_TANH:
        return tanhf(x);
    case FB_UNARY_ELU:
        return x > 0 ? x : a->a * expm1f(x);
    case FB_UNARY_SOFTPLUS:
        return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
    case FB_UNARY_EXP:
        return expf(x);
    case FB_UNARY_ABS:
        return fabsf(x);
    default:
        return -x; /* FB_UNARY_NEG; create let no other pass */
    }
}

static float slope(const fb_attr_unary *a, float x)
{
    float s;
    switch ((fb_unary)a->kind) {
    case FB_UNARY_LEAKY_RELU:
        return x > 0 ? 1 : a->a;
    case FB_UNARY_CLIP:
        return x > a->a && x < a->b ? 1 : 0;
    case FB_UNARY_SIGMOID:
        s = 1 / (1 + expf(-x));
        return s * (1 - s);
    case FB_UNARY_HARD_SIGMOID:
        s = a->a * x + a->b;
        return s > 0 && s < 1 ? a->a : 0;
    case FB_UNARY_TANH:
        s = tanhf(x);
        return 1 - s * s;
    case FB_UNARY_ELU:
        return x > 0 ? 1 : a->a * expf(x);
    case FB_UNARY_SOFTPLUS:
        return 1 / (1 + expf(-x));
    case FB_UNARY_EXP:
        return expf(x);
    case FB_UNARY_ABS:
        return x > 0 ? 1 : x < 0 ? -1 : 0;
    default:
        return -1;
    }
}

static fb_status create(fb_net *net, fb_layer *l)
{
    fb_dnn_layer *self;
    int64_t n = (int64_t)fb_layer_out(net, l)->n;
    switch ((fb_unary)l->node->attr.unary.kind) {
    case FB_UNARY_RELU:
        FB_TRY(fb_dnn_unary(net->dnn, FB_DNN_RELU, n, &self));
        break;
    case FB_UNARY_HARD_SWISH:
        FB_TRY(fb_dnn_unary(net->dnn, FB_DNN_HARD_SWISH, n, &self));
        break;
    case FB_UNARY_LEAKY_RELU:
    case FB_UNARY_CLIP:
    case FB_UNARY_SIGMOID:
    case FB_UNARY_HARD_SIGMOID:
    case FB_UNARY_TANH:
    case FB_UNARY_ELU:
    case FB_UNARY_SOFTPLUS:
    case FB_UNARY_EXP:
    case FB_UNARY_ABS:
    case FB_UNARY_NEG:
        self = NULL;
        break;
    default:
        return fb_layer_no(l, "%s has no gradient", fb_unary_name(l->node->attr.unary.kind));
    }
    l->self = self;
    return FB_OK;
}

static fb_status forward(fb_net *net, fb_layer *l, fb_net_mode mode)
{
    const fb_value *x = fb_layer_in(net, l, 0);
    float *y = fb_layer_out(net, l)->x;
    (void)mode;
    if (l->self)
        return fb_dnn_unary_forward(l->self, x->x, y);
    for (size_t i = 0; i < x->n; i++)
        y[i] = value(&l->node->attr.unary, x->x[i]);
    return FB_OK;
}

static fb_status backward(fb_net *net, fb_layer *l, float *const *dx)
{
    const fb_value *x = fb_layer_in(net, l, 0);
    const float *dy = fb_layer_out(net, l)->g;
    if (l->self)
        return fb_dnn_unary_backward(l->self, x->x, dy, dx[0]);
    for (size_t i = 0; i < x->n; i++)
        dx[0][i] = dy[i] * slope(&l->node->attr.unary, x->x[i]);
    return FB_OK;
}

static void destroy(fb_layer *l)
{
    fb_dnn_layer_destroy(l->self);
}

const fb_layer_def fb_train_unary = {FB_KEEP_X, create, forward, backward, destroy};
